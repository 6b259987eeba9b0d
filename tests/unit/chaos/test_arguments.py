"""What YAML hands to an activity is refused where it is not what the activity takes."""

from typing import Any, Literal

import pytest

from harness.chaos.arguments import checked
from harness.chaos.opening import check_keys
from harness.faults.victim import UsageError


def act(name: str, side: Literal["before", "after"] = "after", times: int = 1, limit: float = 1.0) -> None:
    """An activity."""


CHECK = checked(act)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "a"},
        {"name": "a", "side": "before", "times": "3", "limit": "0.5"},
        {"name": "a", "times": 2, "limit": 7},
    ],
)
def test_what_an_activity_takes_is_let_through(arguments: dict[str, Any]) -> None:
    CHECK(**arguments)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"name": "a", "side": "befor"}, "side is 'befor'; it is before or after"),
        ({"name": "${nam}"}, r"name is '\$\{nam\}': the experiment's configuration does not have what it names"),
        ({"name": "a", "side": "${side}"}, "side is .* does not have what it names"),
        ({"name": "a", "times": "many"}, "times is 'many', and has to be a whole number"),
        ({"name": "a", "limit": "long"}, "limit is 'long', and has to be a number"),
    ],
)
def test_what_it_does_not_take_is_refused_by_name(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        CHECK(**arguments)


def experiment(module: str = "harness.chaos.actions", **configuration: Any) -> dict[str, Any]:
    provider = {"type": "python", "module": module, "func": "crash", "arguments": {"name": "${who}"}}
    return {"configuration": configuration, "method": [{"type": "action", "name": "a", "provider": provider}]}


def test_keys_of_a_configuration_that_are_settings_or_named_by_the_experiment_are_let_through() -> None:
    check_keys(experiment(who="rsync", emco_bin="", accepted=[], workload="w"))


def test_a_key_that_nothing_reads_is_refused_with_what_may_be_meant() -> None:
    with pytest.raises(UsageError, match="has 'emco-bin', which nothing in it reads: is 'emco_bin' meant"):
        check_keys({**experiment(who="rsync"), "configuration": {"who": "rsync", "emco-bin": "x"}})
    with pytest.raises(UsageError, match=r"has 'whom', which nothing in it reads$"):
        check_keys(experiment(whom="rsync"))


def test_an_activity_of_another_extension_may_read_any_key() -> None:
    check_keys(experiment("chaosk8s.pod.actions", who="rsync", ns="emco"))
