"""Reading and writing beside the network: files in one thread, arithmetic in another."""

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
    """``items``, fetched by a thread that is up to ``count`` of them ahead.

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
    """``work`` as a function that returns at once; a thread does it in order, at most ``count`` items behind.

    After the first item that ``work`` fails on it does no more; the error comes out of a later call or of the ``with``
    block.

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
