"""What the commands say on stderr: notices, and a line of progress on a terminal. stdout belongs to the data.

Off a terminal only what somebody must know is said: waiting for the server, and that it is back. NO_COLOR is honoured
by rich; the heavy parts of rich are imported when there is a terminal to draw on.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from streaming.client import ClientError

__all__ = ["Notices", "ProgressLine", "neutralise", "neutralise_json"]

_REPEAT_S = 30.0
"""A server that stays away is mentioned again this often."""

_HARMLESS = {0x09, 0x0A}
_DIRECTION = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
"""Characters that make a terminal show text in another order than it is."""
_CONTROLS = [point for point in (*range(0x20), *range(0x7F, 0xA0)) if point not in _HARMLESS]
_VISIBLE = {point: f"\\x{point:02x}" for point in _CONTROLS} | {point: f"\\u{point:04x}" for point in _DIRECTION}
_VISIBLE_JSON = {point: f"\\u{point:04x}" for point in (*range(0x7F, 0xA0), *_DIRECTION)}


def neutralise(text: str) -> str:
    """Make what would steer a terminal visible instead; tabs and line feeds stay."""
    return text.translate(_VISIBLE)


def neutralise_json(text: str) -> str:
    """The same for JSON text, as escapes that mean the same value: such characters stand inside strings only."""
    return text.translate(_VISIBLE_JSON)


class Notices:
    """Says on stderr what the retrying client reports.

    Args:
        command: begins every line.
        is_silent: say nothing at all.
    """

    def __init__(self, command: str, *, is_silent: bool = False) -> None:
        self._command = command
        self._is_silent = is_silent
        self._said_mono: float | None = None
        self.is_waiting = False

    def waiting(self, error: ClientError, attempt: int, wait_s: float) -> None:  # noqa: ARG002
        """Say it at the first failure that lasts, then now and then."""
        self.is_waiting = True
        now_mono = time.monotonic()
        # One failure is often over with the next attempt; nobody needs to read of it.
        if attempt == 1 or (self._said_mono is not None and now_mono - self._said_mono < _REPEAT_S):
            return
        self._said_mono = now_mono
        self.notice(f"waiting for the server: {error}")

    def recovered(self) -> None:
        """Say that the wait is over, if it was mentioned."""
        self.is_waiting = False
        if self._said_mono is not None:
            self._said_mono = None
            self.notice("the server is back")

    def notice(self, text: str) -> None:
        """Write one line."""
        if not self._is_silent:
            self._write(f"{self._command}: {neutralise(text)}")

    def _write(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class ProgressLine(Notices):
    """The same on a terminal, above a line that is drawn anew; a context manager.

    Args:
        command: begins every line.
        total_bytes: size of the input, for a bar; None when nobody knows it.
    """

    def __init__(self, command: str, total_bytes: int | None) -> None:
        super().__init__(command)
        self._total_bytes = total_bytes
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        known = (BarColumn(bar_width=24), TimeRemainingColumn()) if self._total_bytes else ()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            *known,
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=self._total_bytes)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def draw(self, text: str, read_bytes: int) -> None:
        """Draw the line anew."""
        if self._progress is not None and self._task is not None:
            waiting = " · waiting for the server" if self.is_waiting else ""
            self._progress.update(self._task, description=text + waiting, completed=read_bytes, refresh=True)

    def _write(self, line: str) -> None:
        if self._progress is None:
            super()._write(line)
        else:
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
