"""How the benchmarks sum up and print their samples, and hold them against limits."""

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


class Limits:
    """What a run may come to. Each figure is printed beside its limit; the run fails with those that are above."""

    def __init__(self) -> None:
        self._missed: list[str] = []

    def hold(self, what: str, value: float, most: float, unit: str = "") -> None:
        """Compare one figure with the most that it may be."""
        line = f"{what}: {value:.4g}, at most {most:g} {unit}".rstrip()
        met = value <= most
        print(f"  {'met' if met else 'MISSED'}: {line}")
        if not met:
            self._missed.append(line)

    def end(self) -> None:
        """Leave with a line for each figure that was above its limit.

        Raises:
            SystemExit: there is one.
        """
        if self._missed:
            raise SystemExit("\n".join(f"missed: {line}" for line in self._missed))
