"""Threads that wait for nobody at the end."""

import threading
import time

import pytest

from clawstead_provisioner.daemon_pool import DaemonPool


def test_results_and_errors_come_back() -> None:
    pool = DaemonPool(2, "test")
    assert pool.submit(lambda: 1).result(5) == 1
    failing = pool.submit(lambda: {"a": 1}["b"])
    with pytest.raises(KeyError):
        failing.result(5)
    assert pool.submit(lambda: 2).result(5) == 2


def test_no_more_than_so_many_run_at_once_and_none_is_lost() -> None:
    pool, lock, counts = DaemonPool(3, "test"), threading.Lock(), [0, 0]

    def work() -> None:
        with lock:
            counts[0] += 1
            counts[1] = max(counts[1], counts[0])
        time.sleep(0.005)
        with lock:
            counts[0] -= 1

    for done in [pool.submit(work) for _ in range(50)]:
        done.result(10)
    assert counts == [0, 3]


def test_what_waits_in_line_can_be_cancelled() -> None:
    pool, gate = DaemonPool(1, "test"), threading.Event()
    first = pool.submit(lambda: gate.wait(5))
    second = pool.submit(lambda: True)
    assert second.cancel()
    gate.set()
    assert first.result(5)
    assert pool.submit(lambda: 3).result(5) == 3
