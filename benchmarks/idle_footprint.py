"""Time to ready, and what the idle platform costs: resident memory and CPU of every process.

Shared pages count once in PSS and once per process in RSS; both are printed, the goal is set on RSS.

    python -m benchmarks.idle_footprint [--seconds 60]
"""

import argparse
import tempfile
import time
from pathlib import Path

import psutil

from tests.e2e.platform import SERVICES, Platform
from tests.support.factories import STANDIN_IMAGE

MIB = 1024 * 1024


def measure(platform: Platform, seconds: float) -> None:
    """Print one row per process and the totals."""
    processes = {name: psutil.Process(platform.pid(name)) for name in (*SERVICES, "nats")}
    time.sleep(10)
    before = {name: process.cpu_times() for name, process in processes.items()}
    begun = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begun
    totals = [0.0, 0.0, 0.0]
    print(f"{'process':<14}{'RSS MiB':>10}{'PSS MiB':>10}{'CPU %':>8}")
    for name, process in processes.items():
        memory, cpu = process.memory_full_info(), process.cpu_times()
        used = cpu.user + cpu.system - before[name].user - before[name].system
        figures = [memory.rss / MIB, memory.pss / MIB, 100 * used / elapsed]
        totals = [total + figure for total, figure in zip(totals, figures, strict=True)]
        print(f"{name:<14}{figures[0]:>10.1f}{figures[1]:>10.1f}{figures[2]:>8.2f}")
    print(f"{'all':<14}{totals[0]:>10.1f}{totals[1]:>10.1f}{totals[2]:>8.2f}   (goal 450 MiB, 3 %)")


def main() -> None:
    """Start a platform of our own, measure, and take it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        platform = Platform(Path(directory), image=STANDIN_IMAGE, CLAWSTEAD_INSTALLATION="bench-idle")
        try:
            begun = time.monotonic()
            platform.up()
            print(f"first start to ready: {time.monotonic() - begun:.1f} s (goal 15)")
            measure(platform, arguments.seconds)
            platform.down()
            begun = time.monotonic()
            platform.up()
            print(f"second start to ready: {time.monotonic() - begun:.1f} s")
        finally:
            platform.down()


if __name__ == "__main__":
    main()
