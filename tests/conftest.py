"""Settings of the tests of the harness itself."""

import os

from hypothesis import settings

# A busy machine makes an example slow, which says nothing about the code: no deadlines. CI tries the same examples for
# the same commit, so that a red run can be had again; elsewhere every run looks at new ones.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
