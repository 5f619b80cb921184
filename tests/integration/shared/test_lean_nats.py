"""The skeleton stays small: what the platform costs idle is a promise to its operator."""

import subprocess
import sys


def test_the_skeleton_does_not_load_aiohttp_and_does_not_hide_it() -> None:
    code = (
        "import sys, clawstead_shared.service; assert 'aiohttp' not in sys.modules;"
        "import aiohttp; assert aiohttp.ClientSession"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
