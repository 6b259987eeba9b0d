"""One instance of a source is let in at a time: the next one waits, the last one is turned away."""

from harness.wire.instances import UNKNOWN, Instances
from harness.wire.links import Arrival


class Door:
    """Gates of the sources `dcm` and `clm`, and what became of those who came."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.changed: list[str] = []
        self.gone: set[str] = set()
        self.instances = Instances(("dcm", "clm"), clock=lambda: self.now, changed=self.changed.append)

    def come(self, address: str, source: str = "dcm") -> None:
        self.instances.gate(source)(self._arrival(address))

    def come_to_common(self, address: str) -> None:
        self.instances.common_gate(self._arrival(address))

    def _arrival(self, address: str) -> Arrival:
        return Arrival(
            (address, 1),
            lambda: self.told.append(f"{address} in"),
            lambda: self.told.append(f"{address} away"),
            lambda: address not in self.gone,
        )


def test_nobody_is_let_in_before_an_instance_is_wanted() -> None:
    door = Door()
    door.come("10.0.0.1")
    assert (door.told, door.instances.address("dcm")) == ([], "")


def test_who_waits_is_let_in_when_an_instance_is_wanted_and_is_known_by_its_address_then() -> None:
    door = Door()
    door.come("10.0.0.1")
    door.come("10.0.0.1")
    door.instances.want("dcm")
    assert door.told == ["10.0.0.1 in", "10.0.0.1 in"]
    assert door.changed == ["dcm"]
    assert door.instances.source_at(("10.0.0.1", 5)) == "dcm"
    assert door.instances.source_at(("10.0.0.2", 5)) == UNKNOWN


def test_a_second_instance_waits_while_there_is_one() -> None:
    door = Door()
    door.instances.want("dcm")
    door.come("10.0.0.1")
    door.come("10.0.0.2")
    assert door.told == ["10.0.0.1 in"]


def test_the_retired_instance_is_turned_away_and_the_waiting_one_waits_until_it_is_wanted() -> None:
    door = Door()
    door.instances.want("dcm")
    door.come("10.0.0.1")
    door.come("10.0.0.2")
    assert door.instances.retire("dcm") == "10.0.0.1"
    door.come("10.0.0.1")
    door.come_to_common("10.0.0.1")
    assert door.told == ["10.0.0.1 in", "10.0.0.1 away", "10.0.0.1 away"]
    door.instances.want("dcm")
    assert door.told[3:] == ["10.0.0.2 in"]


def test_to_want_an_instance_while_there_is_one_lets_no_other_in_later() -> None:
    door = Door()
    door.instances.want("dcm")
    door.come("10.0.0.1")
    door.instances.want("dcm")
    door.instances.retire("dcm")
    door.come("10.0.0.2")
    assert door.told == ["10.0.0.1 in"]


def test_an_address_that_was_retired_long_ago_may_belong_to_somebody_new() -> None:
    door = Door()
    door.instances.want("dcm")
    door.come("10.0.0.1")
    door.instances.retire("dcm")
    door.instances.want("dcm")
    door.now = 59.0
    door.come("10.0.0.1")
    door.now = 61.0
    door.come("10.0.0.1")
    assert door.told == ["10.0.0.1 in", "10.0.0.1 away", "10.0.0.1 in"]


def test_sources_do_not_concern_each_other() -> None:
    door = Door()
    door.instances.want("clm")
    door.come("10.0.0.1", "dcm")
    door.come("10.0.0.2", "clm")
    assert door.told == ["10.0.0.2 in"]


def test_who_is_gone_while_it_waits_is_not_the_next_instance() -> None:
    door = Door()
    door.come("10.0.0.1")
    door.come("10.0.0.2")
    door.gone.add("10.0.0.1")
    door.instances.want("dcm")
    assert door.told == ["10.0.0.1 away", "10.0.0.2 in"]
    assert door.instances.address("dcm") == "10.0.0.2"


def test_who_is_banned_is_not_taken_for_the_next_instance() -> None:
    door = Door()
    door.come("10.0.0.1")
    door.come("10.0.0.2")
    door.instances.ban("10.0.0.1")
    door.instances.want("dcm")
    assert door.told == ["10.0.0.1 away", "10.0.0.2 in"]


def test_who_waits_at_the_end_is_turned_away() -> None:
    door = Door()
    door.come("10.0.0.1")
    door.instances.close()
    assert door.told == ["10.0.0.1 away"]


def test_no_more_than_so_many_wait() -> None:
    door = Door()
    for _ in range(300):
        door.come("10.0.0.1")
    assert door.told == ["10.0.0.1 away"] * 44


def test_a_second_instance_is_let_in_beside_the_first_when_that_is_wanted_and_both_are_known() -> None:
    door = Door()
    door.instances.want("dcm")
    door.come("10.0.0.1")
    door.instances.beside("dcm")
    assert (door.instances.address("dcm"), door.instances.newest("dcm")) == ("10.0.0.1", "")
    door.come("10.0.0.2")
    door.come("10.0.0.1")
    door.come("10.0.0.3")
    assert door.told == ["10.0.0.1 in", "10.0.0.2 in", "10.0.0.1 in"]
    assert door.instances.address("dcm") == door.instances.newest("dcm") == "10.0.0.2"
    assert [door.instances.source_at((f"10.0.0.{number}", 5)) for number in (1, 2, 3)] == ["dcm", "dcm", UNKNOWN]


def test_of_two_the_older_one_is_turned_away_and_the_newer_one_stays() -> None:
    door = Door()
    door.instances.want("dcm")
    door.come("10.0.0.1")
    door.instances.beside("dcm")
    door.come("10.0.0.2")
    door.instances.retire_older("dcm")
    door.come("10.0.0.1")
    door.come("10.0.0.2")
    assert door.told[2:] == ["10.0.0.1 away", "10.0.0.2 in"]


def test_both_are_turned_away_when_the_source_is() -> None:
    door = Door()
    door.instances.want("dcm")
    door.come("10.0.0.1")
    door.instances.beside("dcm")
    door.come("10.0.0.2")
    assert door.instances.retire("dcm") == "10.0.0.2"
    door.come("10.0.0.1")
    door.come("10.0.0.2")
    assert door.told[2:] == ["10.0.0.1 away", "10.0.0.2 away"]


def test_beside_nobody_nobody_is_let_in() -> None:
    door = Door()
    door.come("10.0.0.1")
    door.instances.beside("dcm")
    assert door.told == []
