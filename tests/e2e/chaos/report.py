"""What a run did, and how long the platform took: for people."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from tests.e2e.chaos.customers import Order
from tests.e2e.chaos.plan import Plan
from tests.e2e.chaos.saboteur import Saboteur


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` of all values do not exceed.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def convergence(orders: Iterable[Order]) -> list[str]:
    """Return a line per kind of operation, and one for all of them."""
    by_kind: dict[str, list[float]] = {}
    for order in orders:
        by_kind.setdefault(order.do, []).append(order.seconds)
        by_kind.setdefault("all", []).append(order.seconds)
    return [
        f"  {kind:<14}{len(seconds):>5} times   p50 {percentile(seconds, 0.5):6.1f} s   "
        f"p99 {percentile(seconds, 0.99):6.1f} s   worst {max(seconds):6.1f} s"
        for kind, seconds in sorted(by_kind.items(), key=lambda item: (item[0] == "all", item[0]))
    ]


def report(plan: Plan, orders: Sequence[Order], saboteur: Saboteur, settled_seconds: float) -> str:
    """Return the report of one run."""
    return "\n".join(
        [
            f"chaos: seed {plan.seed}, {plan.seconds:.0f} s, settled {settled_seconds:.1f} s after the last fault",
            "from request to effect:",
            *convergence(orders),
            "faults:",
            *_counted(saboteur.done),
            *(["nobody there to strike:", *_counted(saboteur.missed)] if saboteur.missed else []),
        ]
    )


def _counted(counts: Counter[str]) -> list[str]:
    return [f"  {name:<28}{count:>4}" for name, count in sorted(counts.items())]
