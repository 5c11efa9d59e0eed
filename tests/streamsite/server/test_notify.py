"""What systemd is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamsite.server.notify import Notifier


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(1)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_states_arrive_one_by_one(systemd: socket.socket) -> None:
    """In the words of sd_notify(3)."""
    notifier = Notifier()
    notifier.ready()
    notifier.reloading()
    notifier.stopping()
    assert systemd.recv(100) == b"READY=1"
    assert systemd.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert systemd.recv(100) == b"STOPPING=1"


def test_watchdog_is_fed_twice_a_period(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """More would be noise, less a restart."""
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    notifier = Notifier()
    for now_mono in (100.0, 101.0, 104.9, 105.0):
        notifier.alive(now_mono)
    assert (systemd.recv(100), systemd.recv(100)) == (b"WATCHDOG=1", b"WATCHDOG=1")
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


def test_workers_do_not_inherit_the_socket(systemd: socket.socket) -> None:
    """A worker that said READY=1 would speak for the site."""
    Notifier()
    assert "NOTIFY_SOCKET" not in os.environ
    assert systemd.fileno() > 0


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where its socket is gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready()
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    Notifier().ready()
