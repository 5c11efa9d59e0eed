"""The handler that writes log lines without making the caller wait.

The caller makes the line; a thread writes it. Whoever reads standard error may be slow or gone, a disk behind it may be
full: then lines are given up, the less important ones first, and counted, and the event loop goes on.

Not `logging.handlers.QueueListener`: its queue is bounded in records, not bytes, a full one drops warnings as readily as
debug lines, and a thread that is stuck in the buffer of `sys.stderr` makes the interpreter abort at its end. This one
writes to the file descriptor.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import threading

from observability import metrics

__all__ = ["BackgroundHandler"]

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""About 15,000 lines: several seconds of a busy site, and nothing beside what the site itself needs."""
MAX_BATCH_BYTES = 64 * 1024
"""One write: what a pipe takes at most."""
FLUSH_S = 2.0
"""How long the end of the process waits for a slow reader."""

_Line = tuple[str, bytes]


class BackgroundHandler(logging.Handler):
    """Writes formatted records to a file descriptor, in a thread that starts with the first of them.

    Lines below WARNING are dropped once half of the room is taken, all others once it is full.

    Args:
        fd: stays open as long as the process; standard error unless said otherwise.
        max_waiting_bytes: the room.
    """

    def __init__(self, fd: int = 2, *, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        super().__init__()
        self._fd = fd
        self._max_waiting_bytes = max_waiting_bytes
        self._queue: queue.SimpleQueue[_Line | threading.Event]
        self._thread: threading.Thread | None
        self._reset()

    @property
    def waiting_bytes(self) -> int:
        """What is not yet written."""
        return self._put_bytes - self._done_bytes

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record's line; never waits. Called under the handler's lock."""
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 - as every handler of the standard library
            self.handleError(record)
            return
        level = record.levelname.lower()
        if self._pid != os.getpid():  # after a fork the thread is the parent's, and so are its lines
            self._reset()
        room = self._max_waiting_bytes if record.levelno >= logging.WARNING else self._max_waiting_bytes // 2
        if self.waiting_bytes + len(line) > room:
            metrics.log_dropped.labels(level).inc()
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
        self._put_bytes += len(line)
        self._queue.put((level, line))

    def flush(self) -> None:
        """Wait until what was queued is written, or `FLUSH_S` have passed."""
        if self._thread is not None and self._pid == os.getpid():
            done = threading.Event()
            self._queue.put(done)
            done.wait(FLUSH_S)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._queue = queue.SimpleQueue()
        self._thread = None
        # Two counters with one writer each need no lock: emit adds to the first, the thread to the second.
        self._put_bytes = 0
        self._done_bytes = 0

    # The thread

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            batch, marks = self._collect(item)
            self._write(batch)
            for mark in marks:
                mark.set()

    def _collect(self, first: _Line) -> tuple[list[_Line], list[threading.Event]]:
        """Take what waits beside the first line, up to one write."""
        batch, marks, size = [first], [], len(first[1])
        while size < MAX_BATCH_BYTES:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, threading.Event):
                marks.append(item)
            else:
                batch.append(item)
                size += len(item[1])
        return batch, marks

    def _write(self, batch: list[_Line]) -> None:
        data = b"".join(line for _, line in batch)
        try:
            _write_all(self._fd, data)
        except OSError:  # the reader is gone, the disk is full: there is nobody to tell but the metric
            for level, _ in batch:
                metrics.log_dropped.labels(level).inc()
        finally:
            self._done_bytes += len(data)


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:  # whoever shares standard error has made it non-blocking
            select.select([], [fd], [], 1.0)
