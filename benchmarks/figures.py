"""How the benchmarks sum up and print their samples."""

import statistics
from collections.abc import Sequence


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile; with fewer than 100 samples p99 is the maximum."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)]


def row(name: str, samples: Sequence[float], unit: str = "ms") -> str:
    """Return one line: minimum, median, p99 and maximum of ``samples``."""
    return (
        f"{name:<44} n={len(samples):<4} min {min(samples):8.1f}  p50 {statistics.median(samples):8.1f}  "
        f"p99 {percentile(samples, 99):8.1f}  max {max(samples):8.1f}  {unit}"
    )
