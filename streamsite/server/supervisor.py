"""The supervisor: keeps the workers running, and takes no traffic.

    manage.py serve ── checks everything, binds, then becomes (exec) ──▶ supervisor ── starts ──▶ manage.py worker, N times

It never imports Django: the process that did the checks is replaced by this one, under the same process id, so it costs
some 10 MB. Each worker holds one end of a socket pair. What the worker sends on it is its heartbeat; that it can't be
read any more is how a worker learns that the supervisor is gone.

Signals: SIGTERM and SIGINT drain, a second one hurries; SIGHUP replaces the workers one by one, with no connection
refused, since all of them accept from the same listening sockets.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .notify import Notifier

__all__ = ["ALIVE", "HELD_BACK", "PLAN_VARIABLE", "READY", "Plan", "Supervisor", "main"]

PLAN_VARIABLE = "STREAMSITE_SUPERVISOR_PLAN"
"""Carries the plan through the exec; no worker sees it."""
READY, ALIVE = b"R", b"."
"""What a worker sends: once when it accepts, and every second from its event loop."""

HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that wait while `serve` becomes the supervisor."""
START_S = 60.0
"""For a worker to become ready: Redis may have a large log to load."""
STALLED_S = 10.0
"""Without a heartbeat for so long, a worker's loop is stuck or it is stopped."""
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.1, 30.0
STEADY_S = 10.0
"""A worker that lived so long is restarted at once; one that dies at every start is not."""
KILL_AFTER_S = 5.0
"""Past the grace period, in which workers end by themselves."""
HURRIED_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the supervisor has to know; written by `serve`, carried through its exec.

    Args:
        workers: how many.
        command: of a worker; its options for descriptors are added.
        listen_fds: listening sockets. metrics_fd: that of the listener for /metrics alone.
        lock_fd: held while the site runs; not handed on.
        data_dir: of the private Redis that is stopped at the end; None where the site has another Redis.
        run_dir: for what the processes tell each other.
        grace_s: from SIGTERM to the end of a worker at most.
        announcement: printed once, when the first worker accepts.
    """

    workers: int
    command: list[str]
    listen_fds: list[int]
    metrics_fd: int | None
    lock_fd: int
    data_dir: str | None
    run_dir: str
    grace_s: float
    announcement: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """For the environment."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


class _Worker:
    """One process and our end of its socket pair."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, now_mono: float) -> None:
        self.process = process
        self.control = control
        self.started_mono = now_mono
        self.heard_mono = now_mono
        self.is_ready = False
        self.is_leaving = False
        self.kill_mono = float("inf")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid


class Supervisor:
    """Runs until a signal ends it.

    Args:
        plan: what to do.
        now_mono: the clock.
    """

    def __init__(self, plan: Plan, now_mono: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._now = now_mono
        self._workers: list[_Worker] = []
        self._restart_at: list[float] = []
        self._backoff_s = BACKOFF_FIRST_S
        self._to_replace: list[_Worker] = []
        self._replacing: _Worker | None = None
        self._replacement: _Worker | None = None
        self._rolls_again = False
        self._signals: list[int] = []
        self._is_stopping = False
        self._exit_code = 0
        self._has_announced = False
        self._restarts: dict[str, int] = {}
        self._stalled = 0
        self._notifier = Notifier()
        self._poll = select.poll()
        self._wakeup, self._wakeup_write = socket.socketpair()

    def run(self) -> int:
        """Start the workers, look after them, and return the exit code."""
        self._prepare()
        for _ in range(self._plan.workers):
            if self._start_worker() is None:
                self._exit_code = 1
                self._stop(signal.SIGINT)
                break
        while self._workers or not self._is_stopping:
            self._poll.poll(self._pause_ms())
            self._read_signals()
            self._read_heartbeats()
            self._reap()
            self._check_times()
            self._notifier.alive(self._now())
        return self._exit_code

    # Starting

    def _prepare(self) -> None:
        run_dir = Path(self._plan.run_dir)
        shutil.rmtree(run_dir, ignore_errors=True)  # of a run that was killed
        (run_dir / "metrics").mkdir(parents=True, mode=0o700)
        self._write_state()
        for end in (self._wakeup, self._wakeup_write):
            end.setblocking(False)
        self._poll.register(self._wakeup, select.POLLIN)
        signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        # `serve` has held them back since before its exec, after which nobody would have heard them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)

    def _start_worker(self) -> _Worker | None:
        """Start one more; None where the system has no process to give, which is in the log."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            _log("error", "worker.not_started", error=str(error))
            return None
        with theirs:
            try:
                process = self._spawn(theirs.fileno())
            except OSError as error:
                ours.close()
                _log("error", "worker.not_started", error=str(error))
                return None
        ours.setblocking(False)
        worker = _Worker(process, ours, self._now())
        self._workers.append(worker)
        self._poll.register(ours, select.POLLIN)
        _log("info", "worker.started", pid=worker.pid)
        return worker

    def _spawn(self, control_fd: int) -> subprocess.Popen[bytes]:
        plan = self._plan
        command = [*plan.command, "--control-fd", str(control_fd), "--run-dir", plan.run_dir]
        for descriptor in plan.listen_fds:
            command += ["--listen-fd", str(descriptor)]
        handed = [*plan.listen_fds, control_fd]
        if plan.metrics_fd is not None:
            command += ["--metrics-fd", str(plan.metrics_fd)]
            handed.append(plan.metrics_fd)
        environment = dict(os.environ)
        if plan.workers > 1:  # before any import of prometheus_client
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(Path(plan.run_dir) / "metrics")
        return subprocess.Popen(
            command,
            env=environment,
            pass_fds=handed,
            process_group=0,  # Ctrl-C goes to the whole foreground group; a worker is to get it once, from us
            stdin=subprocess.DEVNULL,
        )

    # Looking after them

    def _pause_ms(self) -> int:
        times = [self._now() + 1.0, *self._restart_at, *(worker.kill_mono for worker in self._workers)]
        return max(1, int((min(times) - self._now()) * 1000) + 1)

    def _read_signals(self) -> None:
        try:
            while self._wakeup.recv(4096):
                pass
        except BlockingIOError:
            pass
        while self._signals:
            number = self._signals.pop(0)
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(number)
            elif number == signal.SIGHUP and not self._is_stopping:
                self._begin_replacing()

    def _read_heartbeats(self) -> None:
        for worker in self._workers:
            try:
                data = worker.control.recv(4096)
            except (BlockingIOError, ConnectionResetError):
                continue
            if not data:
                continue  # it ends; `_reap` hears of it
            worker.heard_mono = self._now()
            if READY in data and not worker.is_ready and not worker.is_leaving:
                self._on_ready(worker)

    def _on_ready(self, worker: _Worker) -> None:
        worker.is_ready = True
        if not self._has_announced:
            self._has_announced = True
            with suppress(OSError):  # who started it may not listen any more
                sys.stdout.write("\n".join(self._plan.announcement) + "\n")
                sys.stdout.flush()
            self._notifier.ready()
        if worker is self._replacement:
            old, self._replacing, self._replacement = self._replacing, None, None
            if old is not None:
                _log("info", "worker.replaced", old=old.pid, new=worker.pid)
                self._dismiss(old, signal.SIGTERM)
            self._replace_next()
        self._write_state()

    def _reap(self) -> None:
        for worker in list(self._workers):
            status = worker.process.poll()
            if status is None:
                continue
            self._workers.remove(worker)
            self._poll.unregister(worker.control)
            worker.control.close()
            self._forget_gauges(worker.pid)
            if worker.is_leaving:
                _log("info", "worker.ended", pid=worker.pid, status=status)
                if status != 0 and worker.is_ready and self._is_stopping:
                    self._exit_code = 1
            else:
                self._on_death(worker, status)
            self._write_state()

    def _on_death(self, worker: _Worker, status: int) -> None:
        """It ended unasked."""
        _log("error", "worker.died", pid=worker.pid, status=status)
        if self._is_stopping:
            return
        if worker in self._to_replace:
            self._to_replace.remove(worker)
        if worker is self._replacing:
            self._replacing = None  # its replacement, which is on its way, takes its place
            return
        if worker is self._replacement:
            is_needed = self._replacing is None
            self._end_replacing()
            if not is_needed:
                return
        if not self._has_announced:
            self._exit_code = 1
            self._stop(signal.SIGINT)  # its own last words say why; another one would say the same
            return
        name = signal.Signals(-status).name if status < 0 else "exit"
        self._restarts[name] = self._restarts.get(name, 0) + 1
        if self._now() - worker.started_mono > STEADY_S:
            self._backoff_s = BACKOFF_FIRST_S
        self._restart_later()

    def _restart_later(self) -> None:
        self._restart_at.append(self._now() + self._backoff_s)
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_LAST_S)

    def _check_times(self) -> None:
        now_mono = self._now()
        due = [at for at in self._restart_at if at <= now_mono]
        self._restart_at = [at for at in self._restart_at if at > now_mono]
        for _ in due:
            if self._start_worker() is None:
                self._restart_later()
        for worker in self._workers:
            limit_s = STALLED_S if worker.is_ready else START_S
            if now_mono >= worker.kill_mono:
                _log("warning", "worker.killed", pid=worker.pid)
                worker.process.kill()
                worker.kill_mono = float("inf")
            elif not worker.is_leaving and now_mono - worker.heard_mono > limit_s:
                _log("error", "worker.stalled", pid=worker.pid, silent_s=round(now_mono - worker.heard_mono, 1))
                self._stalled += 1
                worker.heard_mono = now_mono
                worker.process.kill()  # reaches a stopped process too

    # Replacing and stopping

    def _begin_replacing(self) -> None:
        if self._replacement is not None:
            self._rolls_again = True  # those that are new already have not seen what this signal is about
            return
        _log("info", "workers.replacing", workers=len(self._workers))
        self._notifier.reloading()
        self._to_replace = [worker for worker in self._workers if not worker.is_leaving]
        self._replace_next()

    def _replace_next(self) -> None:
        if self._to_replace:
            self._replacing = self._to_replace.pop(0)
            self._replacement = self._start_worker()
            if self._replacement is None:
                self._end_replacing()
        elif self._rolls_again:
            self._rolls_again = False
            self._begin_replacing()
        else:
            _log("info", "workers.replaced")
            self._notifier.ready()

    def _end_replacing(self) -> None:
        """Leave it at that: what was to be replaced goes on, and whoever sent SIGHUP finds the reason in the log."""
        self._replacing = self._replacement = None
        self._to_replace.clear()
        self._rolls_again = False
        self._notifier.ready()

    def _stop(self, number: int) -> None:
        if self._is_stopping:
            for worker in self._workers:
                worker.process.send_signal(signal.SIGTERM)
                worker.kill_mono = min(worker.kill_mono, self._now() + HURRIED_S)
            return
        self._is_stopping = True
        self._notifier.stopping()
        self._restart_at.clear()
        self._to_replace.clear()
        self._replacing = self._replacement = None
        for descriptor in (*self._plan.listen_fds, self._plan.metrics_fd):
            if descriptor is not None:
                os.close(descriptor)  # with the workers' own copies closed, a client is refused and goes elsewhere
        for worker in self._workers:
            if worker.is_ready:
                self._dismiss(worker, number)
            else:
                worker.is_leaving = True
                worker.process.kill()

    def _dismiss(self, worker: _Worker, number: int) -> None:
        worker.is_leaving = True
        worker.kill_mono = self._now() + self._plan.grace_s + KILL_AFTER_S
        worker.process.send_signal(number)

    # What others see

    def _write_state(self) -> None:
        """For the metrics, which a worker serves."""
        state = {
            "workers": sum(worker.is_ready and not worker.is_leaving for worker in self._workers),
            "restarts": self._restarts,
            "stalled": self._stalled,
        }
        path = Path(self._plan.run_dir) / "workers.json"
        fresh = path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(state))
            fresh.replace(path)
        except OSError as error:  # the disk is full: that must not end the site
            _log("error", "state.not_written", error=str(error))

    def _forget_gauges(self, pid: int) -> None:
        """The gauges of a process that has ended are nobody's; its counters happened, and a worker adds them up."""
        for path in (Path(self._plan.run_dir) / "metrics").glob(f"gauge_live*_{pid}.db"):
            path.unlink(missing_ok=True)


def main() -> int:
    """Supervise as the environment says; return the exit code."""
    plan = Plan.from_json(os.environ.pop(PLAN_VARIABLE))
    os.set_inheritable(plan.lock_fd, False)
    try:
        return Supervisor(plan).run()
    finally:
        if plan.data_dir is not None:
            _stop_private_redis(Path(plan.data_dir))


def _stop_private_redis(data_dir: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # A second Ctrl-C would leave the server behind, with nobody who feels responsible for it.
        signal.signal(number, signal.SIG_IGN)
    from streaming.private_redis import PrivateRedis, PrivateRedisError

    try:
        PrivateRedis(data_dir).stop()
    except PrivateRedisError as error:
        _log("error", "redis.not_stopped", error=str(error))


def _log(level: str, event: str, **fields: Any) -> None:
    """One line in the form of the workers' lines; structlog would cost more memory than all of this."""
    line: dict[str, Any] = {
        "timestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": level,
        "event": event,
        "logger": "streamsite.supervisor",
        "service_name": "streamsite",
        "request_id": "",
        **fields,
    }
    if sys.stderr.isatty():
        words = " ".join(f"{name}={value}" for name, value in fields.items())
        text = f"{line['timestamp']} [{level}] {event} {words}\n"
    else:
        text = json.dumps(line) + "\n"
    with suppress(OSError):  # nobody reads it, or the disk is full
        sys.stderr.write(text)
        sys.stderr.flush()
