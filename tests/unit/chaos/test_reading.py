"""Whether a record has lost its contexts, which is not the same as an EMCO that cannot read etcd."""

from typing import Any

import bson
import pytest

from harness.chaos.reading import lost_contexts
from harness.stores.snapshot import Snapshot

KEY = "{compositeApp,compositeAppVersion,deploymentIntentGroup,project}"


def group(name: str, *ids: str) -> dict[str, Any]:
    actions = [{"state": "Instantiated", "contextid": one} for one in ids]
    return {
        "_id": name, "project": "p", "compositeApp": "c", "compositeAppVersion": "v1", "deploymentIntentGroup": name,
        "keyId": KEY, "data": {"metadata": {"name": name}},
        "stateInfo": {"actions": [{"state": "Created", "contextid": ""}, *actions]},
    }  # fmt: skip


def snapshot(*documents: dict[str, Any], contexts: tuple[str, ...] = ()) -> Snapshot:
    keys = {f"/context/{one}/".encode(): b'""' for one in contexts}
    return Snapshot("x", {"emco.resources": tuple(bson.encode(one) for one in documents)}, keys, {})


@pytest.mark.parametrize(
    "there, expected",
    [
        (snapshot(group("dig1", "1")), True),
        (snapshot(group("dig1", "1"), group("dig2", "2"), contexts=("2",)), True),
        (snapshot(group("dig1", "1"), contexts=("1",)), False),
        (snapshot(group("dig1", "1", "2"), contexts=("2",)), False),
        (snapshot(group("dig1")), False),
        (snapshot(group("dig2", "2")), False),
    ],
)
def test_contexts_are_lost_where_a_record_names_some_and_none_of_them_is_there(there: Snapshot, expected: bool) -> None:
    assert lost_contexts(there, "dig1") is expected
