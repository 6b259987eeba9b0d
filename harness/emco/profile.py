"""What crash points have to know of EMCO, as one value."""

from functools import partial

from harness.crashpoints.lab import Profile
from harness.emco import records

PROFILE = Profile(
    rules=records.rules,
    slug=records.effect_slug,
    at_work=partial(records.at_work, restarted=False),
    at_work_after_restart=partial(records.at_work, restarted=True),
    may_be_at_work=records.may_be_at_work,
    without_inert=records.without_inert,
    without_unowned=records.without_unowned,
    namer=records.EffectNames,
    paced=records.reported,
    retries=records.retries,
    between_tries=records.between_tries,
    never_masked=records.never_masked,
)
