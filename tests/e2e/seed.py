"""The seed of what tests leave to chance: the same in every run, so that a red run tells of a change."""

import os
import random

_USUAL = 4711


def chosen_seed() -> int:
    """Return ``CLAWSTEAD_CHAOS_SEED``, or one that no run had before if that is ``random``."""
    asked = os.environ.get("CLAWSTEAD_CHAOS_SEED", "")
    return random.randrange(2**32) if asked == "random" else int(asked or _USUAL)
