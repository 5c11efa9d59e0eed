"""Lines of a file or of stdin, as they come.

A thread of its own reads, because neither a regular file nor a terminal shared with a shell can be watched by an event
loop. It is a daemon that calls `os.read` and holds no lock, so that a read which never returns can't keep the process
alive. The queue between is short: what the consumer has not taken is not read.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import select
import stat
import sys
import threading
import time
from collections.abc import AsyncIterator
from enum import Enum, auto
from pathlib import Path
from typing import Any

from streaming.client.lines import LineSplitter

__all__ = ["STDIN", "LineSource"]

STDIN = "-"

_CHUNK_BYTES = 64 * 1024
_QUEUE_CHUNKS = 4
_SETTLE_S = 0.5
_SETTLE_STEP_S = 0.02
_POLL_S = 0.2
"""How soon a line that was added to a followed file is seen."""


class _Mark(Enum):
    END = auto()
    BOUNDARY = auto()
    """What follows comes from another file, or the same one begun anew: no line goes across."""


class LineSource:
    """Reads one input from its beginning.

    Args:
        path: of a file; `STDIN` for standard input.
        follow: wait at the end for more, also when the file is cut short or replaced, as log rotation does.
        max_line_bytes: bound of one line.

    Raises: OSError: the file can't be opened; a followed one is waited for.
    """

    def __init__(self, path: str, *, follow: bool, max_line_bytes: int) -> None:
        self._path = path
        self._follow = follow
        self._splitter = LineSplitter(max_line_bytes)
        self._queue: asyncio.Queue[bytes | _Mark | OSError] = asyncio.Queue(_QUEUE_CHUNKS)
        self._is_stopped = threading.Event()
        self._has_ended = threading.Event()
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._fd = self._open()
        self.read_bytes = 0
        """So far, of all files."""
        self.size_bytes = self._size()
        """Of the input; None when it has no end or nobody knows."""

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield each line with its LF; the last one without, when the input ends so.

        After `stop` the lines that were read are yielded still, but no line that is not whole.

        Raises:
            LineTooLong: the input can't be read on.
            OSError: reading failed.
        """
        threading.Thread(target=self._read, name="line-source", daemon=True).start()
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            while True:
                item = await self._next(stopped)
                if isinstance(item, OSError):
                    raise item
                if isinstance(item, bytes):
                    for line in self._splitter.feed(item):
                        yield line
                elif item is None:
                    return
                else:
                    if rest := self._splitter.take_rest():
                        yield rest
                    if item is _Mark.END:
                        return
        finally:
            stopped.cancel()
            self._is_stopped.set()

    async def settle(self) -> None:
        """Let what is in a pipe by now be read: who interrupts a pipeline has seen it written, and counts on it.

        Bounded: what writes on and on is not waited for.
        """
        if self._fd is None or not stat.S_ISFIFO(os.fstat(self._fd).st_mode):
            return
        deadline_mono = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline_mono and not self._has_ended.is_set():
            is_unread = bool(select.select([self._fd], [], [], 0)[0])
            await asyncio.sleep(_SETTLE_STEP_S)  # for the thread that has just read to hand it over, too
            if not is_unread:
                return

    def stop(self) -> None:
        """End `lines` after what was read already."""
        self._is_stopped.set()
        self._stopped.set()

    async def _next(self, stopped: asyncio.Future[Any]) -> bytes | _Mark | OSError | None:
        """The next item; None when there is none any more because of `stop`."""
        if self._queue.empty() and not stopped.done():
            get = asyncio.ensure_future(self._queue.get())
            both: set[asyncio.Future[Any]] = {get, stopped}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if get.done():
                return get.result()
            get.cancel()
        return None if self._queue.empty() else self._queue.get_nowait()

    # In the thread.

    def _read(self) -> None:
        try:
            self._read_all()
            self._put(_Mark.END)
        except OSError as error:
            self._put(error)
        except (RuntimeError, concurrent.futures.CancelledError):
            pass  # the loop is gone, and with it whoever wanted to read
        finally:
            self._has_ended.set()

    def _read_all(self) -> None:
        while not self._is_stopped.is_set():
            if self._fd is None:
                self._is_stopped.wait(_POLL_S)
                self._fd = self._open()
                continue
            # Looked at before reading: whatever was written to a replaced file before is read by what follows.
            is_replaced = self._is_replaced(self._fd)
            chunk = os.read(self._fd, _CHUNK_BYTES)
            if chunk:
                self.read_bytes += len(chunk)
                self._put(chunk)
            elif not self._follow:
                return
            elif is_replaced:
                os.close(self._fd)
                self._fd = self._open()
                self._put(_Mark.BOUNDARY)
            elif os.fstat(self._fd).st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
                os.lseek(self._fd, 0, os.SEEK_SET)
                self._put(_Mark.BOUNDARY)
            else:
                self._is_stopped.wait(_POLL_S)

    def _put(self, item: bytes | _Mark | OSError) -> None:
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._queue.put(item), self._loop).result()

    def _open(self) -> int | None:
        if self._path == STDIN:
            return sys.stdin.fileno()
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if self._follow:
                return None
            raise
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.close(fd)
            raise IsADirectoryError(21, os.strerror(21), self._path)
        return fd

    def _is_replaced(self, fd: int) -> bool:
        if not self._follow:
            return False
        try:
            now = Path(self._path).stat()
        except FileNotFoundError:
            return False  # between the two steps of a rotation: the old file is all there is
        return not os.path.samestat(now, os.fstat(fd))

    def _size(self) -> int | None:
        if self._fd is None or self._follow:
            return None
        status = os.fstat(self._fd)
        return status.st_size if stat.S_ISREG(status.st_mode) else None
