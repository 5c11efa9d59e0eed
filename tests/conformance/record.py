"""What a reader in another thread or process received, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from tests.support.deadlines import bound

__all__ = ["Record"]

_T = TypeVar("_T")


class Record(Generic[_T]):
    """A list that grows in one thread while another waits for it to have grown."""

    def __init__(self) -> None:
        self._items: list[_T] = []
        self._changed = threading.Condition()

    def items(self) -> list[_T]:
        """What is there so far, oldest first."""
        with self._changed:
            return list(self._items)

    def add(self, item: _T) -> None:
        """Put one more at the end."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def wait_for(self, enough: Callable[[list[_T]], bool], within_s: float, what: str) -> list[_T]:
        """Wait until the list is as it should be.

        Args:
            enough: asked after each change, with all items.
            within_s: the promised bound, before slack.
            what: what was waited for, for the failure's text.

        Returns: all items at that moment.
        Raises: AssertionError: it did not come in time; carries the last items.
        """
        deadline_mono = time.monotonic() + bound(within_s)
        with self._changed:
            while not enough(self._items):
                left_s = deadline_mono - time.monotonic()
                if left_s <= 0:
                    raise AssertionError(
                        f"not within {bound(within_s):g} s: {what} (got {len(self._items)}: {self._items[-5:]!r})"
                    )
                self._changed.wait(left_s)
            return list(self._items)
