"""Independent pieces of work on several cores, their results in order."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# numpy lets go of the interpreter during large operations, so threads are enough.
T = TypeVar("T")
AHEAD = 1  # pieces in work beyond one per thread; more would only hold memory
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 1 << 25  # bytes


class Workers:
    """Threads for numpy work; a context in which BLAS keeps to one thread of its own.

    A product is then computed alike whatever the number of cores, and the threads do not compete.

    Args:
        threads: How many; the cores this process may use where None.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self.threads)
        self._limits = threadpool_limits(1, user_api="blas")
        _keep_freed_memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._limits.restore_original_limits()

    def in_order(self, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
        """Results of the jobs in their order; only a few are in work or waiting at a time."""
        waiting: deque[Future[T]] = deque()
        try:
            for job in jobs:
                waiting.append(self._pool.submit(job))
                if len(waiting) > self.threads + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _keep_freed_memory() -> None:
    """Have glibc hand out again what slices have freed.

    It would give each back to the system and take the next from there, page by page, which costs as much
    as the arithmetic.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for threshold in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(threshold, KEPT)
