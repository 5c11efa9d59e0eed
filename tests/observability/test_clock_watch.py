"""The wall clock's jumps."""

from __future__ import annotations

import asyncio
import time

import pytest

from observability import clock_watch


async def test_jump_is_one_line_and_drift_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Set forward by an hour: told once; a few milliseconds a second are not worth a line."""
    shifts = iter([0.0, 0.001, 0.002, 3600.0, 3600.001, 3600.002])
    last = [0.0]
    is_over = asyncio.Event()

    def shifted() -> float:
        last[0] = next(shifts, last[0])
        if last[0] == 3600.002:
            is_over.set()
        return 1e9 + time.monotonic() + last[0]

    monkeypatch.setattr(clock_watch, "PERIOD_S", 0.001)
    monkeypatch.setattr(time, "time", shifted)
    task = asyncio.create_task(clock_watch.watch_clock())
    await is_over.wait()
    task.cancel()
    (record,) = [record for record in caplog.records if record.message == "clock.jump"]
    assert record.__dict__["seconds"] == pytest.approx(3600.0, abs=0.1)
