"""Ids of crash points: stable, readable, and telling of what kind the point is."""

import pytest

from harness.crashpoints.model import CALLED, CrashPoint, kind_of


@pytest.mark.parametrize(
    "point, name, kind",
    [
        (
            CrashPoint("dcm/lcs/create-lc1", "dcm", "after", "mongo.data", 1, 1, "crash"),
            "dcm/lcs/create-lc1@after:mongo.data.crash",
            (CALLED, "crash"),
        ),
        (
            CrashPoint("o/digs/update-d", "o", "before", "etcd.put:context/ID/status", 2, 3, "disconnect"),
            "o/digs/update-d@before:etcd.put:context/ID/status~2.disconnect",
            (CALLED, "disconnect"),
        ),
        (
            CrashPoint("o/digs/update-d", "o", "after", "edge.POST:api/v1/x", 2, 3, "crash", "rsync"),
            "o/digs/update-d@after:rsync:edge.POST:api/v1/x~2.crash",
            ("rsync", "crash"),
        ),
        (
            CrashPoint("o/digs/delete-d", "o", "refused", "has-children", 1, 0, "none"),
            "o/digs/delete-d@refused:has-children.none",
            (CALLED, "none"),
        ),
    ],
)
def test_an_id_names_the_boundary_and_its_kind_can_be_read_from_it(
    point: CrashPoint, name: str, kind: tuple[str, str]
) -> None:
    assert (point.id, kind_of(point.id)) == (name, kind)


def test_the_victim_is_the_called_service_unless_another_one_is_named() -> None:
    called = CrashPoint("c", "dcm", "after", "mongo.data", 1, 1, "crash")
    assert (called.victim, called.elsewhere) == ("dcm", False)
    other = CrashPoint("c", "dcm", "after", "mongo.data", 1, 1, "crash", "rsync")
    assert (other.victim, other.elsewhere) == ("rsync", True)
