"""Threads that do not hold up the end of their process."""

import subprocess
import sys


def test_a_blocked_call_does_not_hold_up_the_end_of_the_process() -> None:
    script = (
        "import time; from clawstead_provisioner.daemon_pool import DaemonPool;"
        "DaemonPool(1, 'test').submit(lambda: time.sleep(60)); time.sleep(0.1)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)
