"""Cutting bytes that arrive in pieces into lines, within a bound. Pure.

Only LF ends a line: `str.splitlines` and httpx's `aiter_lines` also break at U+2028 and its like, which may stand
inside a JSON string or a line of text.
"""

from __future__ import annotations

__all__ = ["LineSplitter", "LineTooLong"]


class LineTooLong(ValueError):
    """A line is longer than the bound; `before` holds the whole lines of the same call that stand before it."""

    def __init__(self, text: str, before: list[bytes]) -> None:
        super().__init__(text)
        self.before = before


class LineSplitter:
    """Holds what has come of a line that is not whole yet.

    Args:
        max_bytes: bound of one line, its LF included, > 0; also the bound of what is held.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the lines that are whole now, each with its LF.

        Raises: LineTooLong: the splitter is of no use after it.
        Cost: O(len(chunk)), a long line is joined once.
        """
        end = chunk.rfind(b"\n") + 1
        lines: list[bytes] = []
        if end:
            whole = bytes(self._held) + chunk[:end]
            self._held.clear()
            for line in whole[:-1].split(b"\n"):
                if len(line) >= self._max_bytes:
                    raise LineTooLong(f"a line has {len(line) + 1} bytes, at most {self._max_bytes} are allowed", lines)
                lines.append(line + b"\n")
        if len(self._held) + len(chunk) - end > self._max_bytes:
            raise LineTooLong(f"a line has more than {self._max_bytes} bytes", lines)
        self._held += chunk[end:]
        return lines

    def take_rest(self) -> bytes:
        """What came after the last LF; empty when the input ended with one. The splitter is empty after it."""
        rest = bytes(self._held)
        self._held.clear()
        return rest
