"""What the API says of a wiped EMCO counts only where it said something; on hand-written journals."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import bson
import pytest

from fixtures.experiment import Ran
from fixtures.wipe import claim_lost, claim_mixed
from fixtures.wipe_refused import claim_key
from harness.crashpoints.outcomes import Outcome
from harness.pytest_claims import Claims
from harness.stores.snapshot import Snapshot

Outcomes = Callable[[], Mapping[str, Outcome]]
RUNS = {"status": 200, "said": "Instantiated", "running": True}
NOTHING = {"status": 400, "said": "", "running": False}
SILENT = {"status": 0, "said": "", "running": False}
FIRST, SECOND = "what the API says of the first group", "what the API says of the second group"
ATTEMPTS = ("everything is taken away", "what may help what is left", "everything is taken away once more")


def ran(outputs: Mapping[str, Any], *failed: str, snapshots: Mapping[str, Snapshot] | None = None) -> Ran:
    """failed: activities that failed; those in neither were not reached."""
    run = [{"activity": {"name": name}, "status": "succeeded", "output": output} for name, output in outputs.items()]
    run += [{"activity": {"name": name}, "status": "failed", "output": None} for name in failed]
    journal = {"status": "completed", "deviated": False, "run": run}
    kept = dict(snapshots or {})
    stage = SimpleNamespace(snapshots=kept, remembered=kept.__getitem__)
    return Ran(journal, cast("Any", stage))


def group(name: str, context: str) -> dict[str, Any]:
    actions = [{"state": "Approved", "contextid": ""}, {"state": "Instantiated", "contextid": context}]
    return {"_id": name, "deploymentIntentGroup": name, "keyId": "{deploymentIntentGroup}",
            "stateInfo": {"actions": actions}}  # fmt: skip


def snapshot(*documents: dict[str, Any], contexts: tuple[str, ...] = ()) -> Snapshot:
    mongo = {"emco.resources": tuple(bson.encode(one) for one in documents)}
    return Snapshot("x", mongo, {f"/context/{one}/".encode(): b'""' for one in contexts}, {})


RESTORED = snapshot(group("dig1", "1"), group("dig2", "2"), contexts=("1",))
MIXED = {"restored": RESTORED, "left": snapshot(), "end": snapshot()}
TRIED = {name: ["terminate-dig1 202"] for name in ATTEMPTS}


@pytest.mark.parametrize(
    "first, second, outcome",
    [
        (RUNS, NOTHING, Outcome.HOLDS),  # the first one's context is there
        (RUNS, RUNS, Outcome.BROKEN),  # the second one's is not
        (NOTHING, NOTHING, Outcome.HOLDS),
        (RUNS, SILENT, Outcome.UNKNOWN),
    ],
)
def test_of_no_pair_status_lies_where_the_groups_own_context_is_gone(
    first: object, second: object, outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    claim_mixed(proven, ran({FIRST: first, SECOND: second, **TRIED}, snapshots=MIXED))
    assert (outcomes()["status-true"], outcomes()["api-repairs"]) == (outcome, Outcome.HOLDS)


def test_of_no_pair_a_step_that_failed_says_nothing(proven: Claims, outcomes: Outcomes) -> None:
    claim_mixed(proven, ran({FIRST: RUNS}, SECOND, *ATTEMPTS, snapshots=MIXED))
    assert (outcomes()["status-true"], outcomes()["api-repairs"]) == (Outcome.UNKNOWN, Outcome.UNKNOWN)


@pytest.mark.parametrize(
    "outputs, failed, outcome",
    [
        ({"what the API says": NOTHING}, (), Outcome.HOLDS),
        ({"what the API says": RUNS}, (), Outcome.BROKEN),
        ({"what the API says": SILENT}, (), Outcome.UNKNOWN),
        ({}, ("what the API says",), Outcome.UNKNOWN),
        ({}, (), Outcome.UNKNOWN),
    ],
)
def test_a_loss_is_told_by_an_answer_only(
    outputs: Mapping[str, Any], failed: tuple[str, ...], outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    claim_lost(proven, ran(outputs, *failed))
    assert outcomes()["told"] == outcome


RESTORED_ALL_THE_SAME = {"mongo all the same": "9 documents", "etcd all the same": "9 keys"}


@pytest.mark.parametrize(
    "started, tried, outcome",
    [
        ("EMCO is up", ["update-dig1 500", "terminate-dig1 500"], Outcome.HOLDS),
        ("EMCO is up", ["update-dig1 202", "terminate-dig1 no answer"], Outcome.BROKEN),
        ("EMCO is up", ["update-dig1 500", "terminate-dig1 no answer"], Outcome.UNKNOWN),
        ("rsync ended: no key", ["update-dig1 500", "terminate-dig1 no answer"], Outcome.HOLDS),
        ("EMCO is up", None, Outcome.UNKNOWN),
        (None, ["update-dig1 500"], Outcome.UNKNOWN),
    ],
)
def test_that_a_key_does_not_fit_is_told_by_a_refusal_or_not_to_start(
    started: str | None, tried: list[str] | None, outcome: Outcome, proven: Claims, outcomes: Outcomes
) -> None:
    given = {**RESTORED_ALL_THE_SAME, "services start with it": started, "work is given to EMCO": tried}
    claim_key(proven, ran({name: one for name, one in given.items() if one is not None}))
    assert outcomes()["unreadable-told"] == outcome


@pytest.mark.parametrize("failed", RESTORED_ALL_THE_SAME)
def test_an_emco_without_its_records_refuses_all_and_says_nothing_of_its_key(
    failed: str, proven: Claims, outcomes: Outcomes
) -> None:
    given = {
        **RESTORED_ALL_THE_SAME,
        "services start with it": "EMCO is up",
        "work is given to EMCO": ["update-dig1 404"],
    }
    del given[failed]
    claim_key(proven, ran(given, failed))
    assert outcomes()["unreadable-told"] == Outcome.UNKNOWN
