"""The handler never waits for whoever reads the log."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest

from observability.log_writer import BackgroundHandler
from tests.support.deadlines import bound, eventually

ROOT = Path(__file__).resolve().parents[2]


def dropped(level: str) -> float:
    """What the metric says."""
    return prometheus_client.REGISTRY.get_sample_value("stream_log_dropped_total", {"level": level}) or 0.0


def record_of(text: str, level: int = logging.INFO) -> logging.LogRecord:
    """A record."""
    return logging.LogRecord("test", level, "file.py", 1, text, (), None)


@pytest.fixture(name="pipe")
def pipe_fixture() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe, the reading one first."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_lines_are_written_whole_and_in_order(tmp_path: Path) -> None:
    """Whatever was logged is in the file after a flush, in the order of logging."""
    with (tmp_path / "log").open("wb") as file:
        handler = BackgroundHandler(file.fileno())
        for number in range(5000):
            handler.handle(record_of(f"line {number}"))
        handler.flush()
        assert handler.waiting_bytes == 0
    assert (tmp_path / "log").read_text().splitlines() == [f"line {number}" for number in range(5000)]


def test_reader_that_does_not_read_costs_lines_and_no_time(pipe: tuple[int, int]) -> None:
    """With a full pipe the caller goes on; info lines are given up first, errors while there is room, all counted."""
    room = 100_000
    handler = BackgroundHandler(pipe[1], max_waiting_bytes=room)
    infos, errors = dropped("info"), dropped("error")
    began = time.monotonic()
    for _ in range(1000):
        handler.handle(record_of("x" * 999))
    took_s = time.monotonic() - began
    assert took_s < bound(1)
    lost = dropped("info") - infos
    assert 1000 - (room // 2 + 65536 + 65536) // 1000 - 2 <= lost < 1000
    assert handler.waiting_bytes <= room // 2
    handler.handle(record_of("the error", logging.ERROR))
    assert dropped("error") == errors
    for _ in range(200):
        handler.handle(record_of("x" * 999, logging.ERROR))
    assert dropped("error") > errors
    assert handler.waiting_bytes <= room
    # It reads again: what was kept arrives.
    fcntl.fcntl(pipe[0], fcntl.F_SETFL, os.O_NONBLOCK)
    text = b""

    def is_all_read() -> bool:
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            text += os.read(pipe[0], 1 << 20)
        return b"the error\n" in text and handler.waiting_bytes == 0

    assert eventually(is_all_read, 5, "the kept lines arrive")


def test_flush_ends_although_nobody_reads(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the process does not wait for ever."""
    monkeypatch.setattr("observability.log_writer.FLUSH_S", 0.1)
    handler = BackgroundHandler(pipe[1])
    for _ in range(200):
        handler.handle(record_of("x" * 999))
    began = time.monotonic()
    handler.flush()
    assert time.monotonic() - began < bound(1)
    os.close(pipe[0])  # lets the thread go


def test_full_disk_loses_lines_and_is_counted() -> None:
    """Lines that the device refuses are counted, and the handler goes on."""
    with Path("/dev/full").open("wb") as file:
        handler = BackgroundHandler(file.fileno())
        before = dropped("warning")
        handler.handle(record_of("lost", logging.WARNING))
        handler.flush()
        assert dropped("warning") == before + 1
        assert handler.waiting_bytes == 0


def test_non_blocking_descriptor_gets_whole_lines(pipe: tuple[int, int]) -> None:
    """A standard error that others made non-blocking takes as long as it takes and loses nothing."""
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
    handler = BackgroundHandler(pipe[1])
    for _ in range(300):
        handler.handle(record_of("x" * 999))
    size = 0
    while size < 300_000:
        size += len(os.read(pipe[0], 1 << 16))
    assert size == 300_000


def test_record_that_can_not_be_formatted_is_reported_and_costs_only_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong % in somebody's log call is shown as the standard library shows it."""
    with (tmp_path / "log").open("wb") as file:
        handler = BackgroundHandler(file.fileno())
        handler.handle(logging.LogRecord("test", logging.INFO, "file.py", 1, "%d", ("x",), None))
        handler.handle(record_of("next"))
        handler.flush()
    assert (tmp_path / "log").read_text() == "next\n"
    assert "--- Logging error ---" in capsys.readouterr().err


def run(script: str) -> subprocess.Popen[bytes]:
    """A process that logs."""
    head = """
        import logging, os, sys
        from observability import logs
        logs.configure("INFO", False)
        logger = logging.getLogger("streamsite.child")
    """
    text = textwrap.dedent(head) + textwrap.dedent(script)
    return subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stderr=subprocess.PIPE)


def test_process_that_ends_has_written_its_last_line() -> None:
    """Lines just before the end are not lost."""
    process = run("logger.info('last')")
    _, text = process.communicate(timeout=bound(10))
    assert b'"event":"last"' in text
    assert process.returncode == 0


def test_child_after_fork_writes_its_own_lines_once() -> None:
    """A forked worker has a thread of its own, and does not repeat what the parent had waiting."""
    process = run(
        """
        logger.info("parent")
        pid = os.fork()
        if pid == 0:
            logger.info("child")
            logging.shutdown()
            os._exit(0)
        os.waitpid(pid, 0)
        """
    )
    _, text = process.communicate(timeout=bound(10))
    assert text.count(b'"event":"parent"') == 1
    assert text.count(b'"event":"child"') == 1


def test_process_whose_reader_is_stuck_ends_without_a_crash() -> None:
    """The interpreter's end does not wait for the thread, nor abort because of it."""
    process = run("for _ in range(3000): logger.warning('x' * 900)")
    try:
        assert process.wait(timeout=bound(10)) == 0, "not stuck, and no SIGABRT"
    finally:
        process.send_signal(signal.SIGKILL) if process.poll() is None else None
        assert process.stderr is not None
        process.stderr.close()
        process.wait()


def test_warnings_become_lines() -> None:
    """What Python warns of is JSON too."""
    process = run("import warnings; warnings.warn('old ways')")
    _, text = process.communicate(timeout=bound(10))
    assert b'"logger":"py.warnings"' in text
    assert b"old ways" in text
