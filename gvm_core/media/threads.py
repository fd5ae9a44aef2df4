"""Threads that read and write files while the networks compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

T = TypeVar("T")
END = object()


def prefetch(items: Iterable[T], count: int = 2) -> Generator[T, None, None]:
    """Yield ``items``. A thread fetches up to ``count`` items ahead.

    Example:
        >>> list(prefetch(range(4)))
        [0, 1, 2, 3]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "gvm-read") as thread:
        waiting: deque[Future[T | object]] = deque(thread.submit(next, iterator, END) for _ in range(count))
        try:
            while (item := waiting.popleft().result()) is not END:
                waiting.append(thread.submit(next, iterator, END))
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def in_background(work: Callable[[T], None], count: int = 2) -> Iterator[Callable[[T], None]]:
    """Yield a function that gives items to a thread. The thread calls ``work`` in order, at most ``count`` items late.

    If ``work`` fails, the other items are skipped. A later call or the end of the ``with`` block raises the error.

    Example:
        >>> done = []
        >>> with in_background(done.append) as later:
        ...     later(1)
        >>> done
        [1]
    """
    waiting: deque[Future[None]] = deque()
    failed = Event()

    def attempt(item: T) -> None:
        if failed.is_set():
            return
        try:
            work(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(1, "gvm-write") as thread:

        def later(item: T) -> None:
            if len(waiting) == count:
                waiting.popleft().result()
            waiting.append(thread.submit(attempt, item))

        try:
            yield later
            while waiting:
                waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
