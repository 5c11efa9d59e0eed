"""Lines as they come, and what an interruption leaves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from streaming.management.line_source import STDIN, LineSource
from tests.support.deadlines import bound


async def test_what_is_in_a_pipe_is_read_before_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a pipeline whose first half has just written a line: the line counts."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        source = LineSource(STDIN, follow=False, max_line_bytes=100)
        found: list[bytes] = []

        async def collect() -> None:
            found.extend([line async for line in source.lines()])

        for number in range(50):
            os.write(writing, b"%d\n" % number)
        collecting = asyncio.create_task(collect())
        await asyncio.sleep(0)
        os.write(writing, b"last\n")
        async with asyncio.timeout(bound(2)):
            await source.settle()
            source.stop()
            await collecting
        os.close(writing)
        assert await asyncio.to_thread(source._has_ended.wait, bound(2))
        assert found[-1] == b"last\n"
        assert len(found) == 51


async def test_file_is_not_waited_for(tmp_path: Path) -> None:
    """It can be read to its end at any time, and an interruption is about now."""
    (tmp_path / "lines").write_bytes(b"a\n" * 10)
    source = LineSource(str(tmp_path / "lines"), follow=False, max_line_bytes=100)
    async with asyncio.timeout(bound(0.2)):
        await source.settle()
