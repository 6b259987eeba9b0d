"""Whether something was made more often because of a fault, although the end looks as it should."""

from collections import Counter
from collections.abc import Iterable

from harness.crashpoints.lab import Profile
from harness.crashpoints.learn import Seen
from harness.wire.effects import Observation


def made_again(learned: Iterable[Seen], seen: Iterable[Observation], profile: Profile) -> tuple[str, ...]:
    """What edges were made to create more often than without the fault, a line each.

    Applying an object again changes nothing; creating it again means that it was gone in between, and with it what ran.
    """
    usual = Counter(one.slug for one in learned if one.store == "edge" and one.text.startswith("edge POST "))
    now = Counter(
        profile.slug(one.effect) for one in seen if one.effect.store == "edge" and one.effect.op == "POST" and one.ok
    )
    return tuple(f"{name}, {now[name]} times instead of {usual[name]}" for name in sorted(now - usual))
