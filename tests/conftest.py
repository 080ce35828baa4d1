"""What holds for all tests below."""

import os

from hypothesis import settings

# How long an example takes says more of the machine than of the code. In CI every run tries the
# same examples, so that a red run is the fault of the change; elsewhere the search goes on.
settings.register_profile("plimsoll", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("plimsoll")
