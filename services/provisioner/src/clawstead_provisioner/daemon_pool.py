"""A bounded pool of threads that do not hold up the end of the process.

``ThreadPoolExecutor`` joins its threads when the interpreter ends, so one graceful stop of a container, which
blocks for minutes, would keep a provisioner from ending. Whatever is cut off here, the next start completes.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonPool:
    """At most ``count`` threads, started as they are needed; more calls wait in line."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._started = 0
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have ``call`` run; its future may be cancelled until it begins."""
        future: Future[T] = Future()
        self._calls.put((future, call))
        with self._lock:
            if not self._idle.acquire(blocking=False) and self._started < self._count:
                self._started += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            future, call = self._calls.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del future, call
            self._idle.release()
