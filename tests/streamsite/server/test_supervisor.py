"""The supervisor as a process, over workers that do as they are told; the real ones are in tests/faults (FT14 to 17)."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamsite.server.supervisor import PLAN_VARIABLE, Plan
from tests.support.deadlines import bound, eventually

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow

_WORKER = """
import os, signal, socket, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
control = socket.socket(fileno=int(options["--control-fd"]))
mode = open(sys.argv[0] + ".mode").read()
def leave(number, frame):
    if mode != "deaf":
        sys.exit(3 if mode == "fails" else 0)
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
if mode == "broken":
    sys.exit("it can't start")
if mode == "slow":
    time.sleep(1.5)
control.send(b"R")
while True:
    time.sleep(0.2)
    try:
        control.send(b".")
    except OSError:
        os._exit(1)
"""


class _Supervised:
    """One supervisor and what it says."""

    def __init__(self, directory: Path, mode: str, workers: int, grace_s: float) -> None:
        self.script = directory / "worker.py"
        self.script.write_text(f"#!{sys.executable}{_WORKER}")
        self.script.chmod(0o700)
        self.set_mode(mode)
        self.listener = socket.create_server(("127.0.0.1", 0))
        lock = (directory / "lock").open("w")
        plan = Plan(
            workers=workers,
            command=[str(self.script)],
            listen_fds=[self.listener.fileno()],
            metrics_fd=None,
            lock_fd=lock.fileno(),
            data_dir=None,
            run_dir=str(directory / "run"),
            grace_s=grace_s,
            announcement=["it serves"],
        )
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=ROOT,
            env={**os.environ, PLAN_VARIABLE: plan.to_json()},
            pass_fds=(*plan.listen_fds, plan.lock_fd),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lock.close()
        self.said: queue.Queue[str] = queue.Queue()
        self._lines: list[dict[str, Any]] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.said.put), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self._note), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def set_mode(self, mode: str) -> None:
        """What workers do that begin from now on."""
        self.script.with_name("worker.py.mode").write_text(mode)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of one kind."""
        return [line for line in list(self._lines) if line["event"] == event]

    def pids(self) -> list[int]:
        """Of the workers that were started and have not ended."""
        gone = {line["pid"] for event in ("worker.died", "worker.ended") for line in self.logged(event)}
        return [line["pid"] for line in self.logged("worker.started") if line["pid"] not in gone]

    def end(self) -> None:
        """Leave nothing behind."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.kill()
        self.process.wait(bound(5))
        for reader in self._readers:
            reader.join(bound(2))
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.listener.close()

    def _note(self, line: str) -> None:
        if line.startswith("{"):
            self._lines.append(json.loads(line))

    @staticmethod
    def _read(pipe: Any, take: Callable[[str], object]) -> None:
        for line in pipe:
            take(line.rstrip("\n"))


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., _Supervised]]:
    """Start a supervisor; everything is ended with the test."""
    begun: list[_Supervised] = []

    def start(mode: str = "good", workers: int = 2, grace_s: float = 1.0) -> _Supervised:
        begun.append(_Supervised(tmp_path, mode, workers, grace_s))
        return begun[-1]

    yield start
    for one in begun:
        one.end()


def test_plan_survives_the_environment() -> None:
    """What `serve` wrote is what the supervisor reads."""
    plan = Plan(
        workers=2, command=["a"], listen_fds=[3], metrics_fd=None, lock_fd=4, data_dir=None, run_dir="r", grace_s=1.5
    )
    assert Plan.from_json(plan.to_json()) == plan


def test_it_is_slim_and_knows_no_django(supervise: Callable[..., _Supervised]) -> None:
    """The process that did the checks is gone, and its memory with it."""
    supervised = supervise()
    assert supervised.said.get(timeout=bound(5)) == "it serves"
    rollup = Path(f"/proc/{supervised.process.pid}/smaps_rollup").read_text()
    pss_kib = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss_kib < 15 * 1024
    code = "import streamsite.server.supervisor, sys; print(sorted({'django', 'daphne', 'redis'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_signal_is_passed_on_once_and_the_end_is_exit_code_0(supervise: Callable[..., _Supervised]) -> None:
    """It waits for all of them."""
    supervised = supervise()
    supervised.said.get(timeout=bound(5))
    eventually(lambda: len(supervised.pids()) == 2, 2, "two workers run")
    supervised.process.terminate()
    assert supervised.process.wait(bound(5)) == 0
    assert len(supervised.logged("worker.ended")) == 2


def test_deaf_worker_is_killed_after_the_grace_period(supervise: Callable[..., _Supervised]) -> None:
    """A stop ends, whatever a worker does; that it had to be forced is the exit code."""
    supervised = supervise("deaf", workers=1, grace_s=-4.5)  # half a second with what is added to it
    supervised.said.get(timeout=bound(5))
    supervised.process.terminate()
    assert supervised.process.wait(bound(5)) == 1
    assert supervised.logged("worker.killed")


def test_second_signal_hurries(supervise: Callable[..., _Supervised]) -> None:
    """Long before the grace period is over."""
    supervised = supervise("deaf", workers=1, grace_s=600)
    supervised.said.get(timeout=bound(5))
    supervised.process.terminate()
    supervised.process.send_signal(signal.SIGINT)
    supervised.process.terminate()
    assert supervised.process.wait(bound(5)) == 1


def test_first_worker_that_does_not_start_ends_the_site(supervise: Callable[..., _Supervised]) -> None:
    """Trying again for ever would hide a mistake in the settings."""
    supervised = supervise("broken", workers=1)
    assert supervised.process.wait(bound(5)) == 1
    assert len(supervised.logged("worker.started")) == 1
    assert supervised.said.empty()


def test_worker_that_dies_again_and_again_is_restarted_with_pauses(supervise: Callable[..., _Supervised]) -> None:
    """At once the first time, then ever more slowly; the others go on."""
    supervised = supervise(workers=2)
    supervised.said.get(timeout=bound(5))
    eventually(lambda: len(supervised.pids()) == 2, 2, "two workers run")
    supervised.set_mode("broken")
    os.kill(supervised.pids()[0], signal.SIGKILL)
    eventually(lambda: len(supervised.logged("worker.died")) >= 3, 3, "its successors die too")
    assert supervised.process.poll() is None
    supervised.set_mode("good")
    eventually(lambda: len(supervised.pids()) == 2, 5, "two workers run again")


def test_orphaned_workers_end(supervise: Callable[..., _Supervised]) -> None:
    """Whoever starts the site again finds the port free."""
    supervised = supervise()
    supervised.said.get(timeout=bound(5))
    eventually(lambda: len(supervised.pids()) == 2, 2, "two workers run")
    pids = supervised.pids()
    supervised.process.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 2, "they have ended")


def test_worker_that_dies_while_it_is_replaced_costs_nothing(supervise: Callable[..., _Supervised]) -> None:
    """Its replacement, which is on its way, takes its place, and nobody else's."""
    supervised = supervise(workers=1)
    supervised.said.get(timeout=bound(5))
    (old,) = supervised.pids()
    supervised.set_mode("slow")
    supervised.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(supervised.pids()) == 2, 2, "the replacement begins")
    os.kill(old, signal.SIGKILL)
    eventually(lambda: supervised.logged("workers.replaced"), 5, "the roll is over")
    assert supervised.process.poll() is None
    assert len(supervised.pids()) == 1
    supervised.process.terminate()
    assert supervised.process.wait(bound(5)) == 0


def test_stop_during_a_roll_ends_everything(supervise: Callable[..., _Supervised]) -> None:
    """Whether the replacement was ready or not, the end is clean."""
    supervised = supervise(workers=2)
    supervised.said.get(timeout=bound(5))
    eventually(lambda: len(supervised.pids()) == 2, 2, "two workers run")
    supervised.set_mode("slow")
    supervised.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(supervised.pids()) == 3, 2, "the replacement begins")
    supervised.process.terminate()
    assert supervised.process.wait(bound(5)) == 0


def test_second_reload_during_a_roll_is_not_lost(supervise: Callable[..., _Supervised]) -> None:
    """What it is about came after the first workers were new."""
    supervised = supervise(workers=1)
    supervised.said.get(timeout=bound(5))
    supervised.set_mode("slow")
    supervised.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(supervised.pids()) == 2, 2, "the replacement begins")
    supervised.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(supervised.logged("worker.replaced")) == 2, 6, "each was replaced twice")
    eventually(lambda: len(supervised.logged("workers.replaced")) == 1, 2, "the roll is over")


def test_state_that_can_not_be_written_does_not_end_the_site(supervise: Callable[..., _Supervised]) -> None:
    """A full disk, for example: the metric is stale, the log says why, and the workers go on."""
    supervised = supervise(workers=1)
    supervised.said.get(timeout=bound(5))
    run_dir = supervised.script.parent / "run"
    eventually((run_dir / "workers.json").exists, 2, "the state is written")
    run_dir.rename(run_dir.with_name("gone"))
    (pid,) = supervised.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: supervised.logged("state.not_written"), 2, "it says so")
    eventually(lambda: len(supervised.pids()) == 1, 2, "another worker runs")
    assert supervised.process.poll() is None


def test_process_that_can_not_be_had_is_tried_again(supervise: Callable[..., _Supervised]) -> None:
    """A deployment that moves the files, a limit of processes: the others go on meanwhile."""
    supervised = supervise(workers=2)
    supervised.said.get(timeout=bound(5))
    eventually(lambda: len(supervised.pids()) == 2, 2, "two workers run")
    elsewhere = supervised.script.rename(supervised.script.with_name("elsewhere"))
    os.kill(supervised.pids()[0], signal.SIGKILL)
    eventually(lambda: supervised.logged("worker.not_started"), 3, "it says so")
    assert supervised.process.poll() is None
    elsewhere.rename(supervised.script)
    eventually(lambda: len(supervised.pids()) == 2, 10, "two workers run again")
