"""Settings of the whole suite: property tests draw anew at every run, except in CI, whose verdict must not depend on luck."""

import os

from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
