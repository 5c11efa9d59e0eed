"""Directories that are ours alone, a socket path that fits, and locks that tell who lives."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.private_redis.place import SOCKET_PATH_MAX_BYTES, Place, PrivateRedisError

LONG = "a-rather-long-directory-name-for-a-socket/" * 4


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of short path for what does not fit in the data directory."""
    with tempfile.TemporaryDirectory(prefix="place-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def short() -> Iterator[Path]:
    """A data directory whose socket fits."""
    with tempfile.TemporaryDirectory(prefix="place-") as name:
        yield Path(name) / "var"


def prepared(data_dir: Path) -> Place:
    """A place that may be used."""
    place = Place(data_dir)
    place.prepare()
    return place


def test_prepare_directory_is_closed_to_others(short: Path) -> None:
    """Whatever the umask was, nobody else may enter."""
    (short / "redis").mkdir(parents=True)
    (short / "redis").chmod(0o777)
    assert stat.S_IMODE(prepared(short).directory.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directory_of_another_user_is_refused(short: Path) -> None:
    """Files of the wrong owner would keep the right one from starting."""
    prepared(short)
    os.chown(short / "redis", 12345, 12345)
    with pytest.raises(PrivateRedisError, match="belongs to user 12345"):
        prepared(short)


def test_data_dir_that_is_a_file_is_refused(short: Path) -> None:
    """A wrong setting is an error that names it."""
    short.write_text("")
    with pytest.raises(PrivateRedisError, match="STREAMSITE_DATA_DIR"):
        prepared(short)


def test_short_path_socket_is_in_the_data_directory(short: Path) -> None:
    """Where it fits, everything is in one place, by one name through any link."""
    place = prepared(short)
    link = short.with_name("link")
    link.symlink_to(short)
    assert place.claim_socket_path() == place.socket_path == Path(os.path.realpath(short)) / "redis/redis.sock"
    assert Place(link).socket_path == place.socket_path


def test_long_path_socket_is_in_a_private_directory(short: Path, temporary: Path) -> None:
    """Beyond what a socket address takes, a private directory stands in, the same one for every process."""
    place = prepared(short / LONG)
    path = place.claim_socket_path()
    assert len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES
    assert path.parent.parent == temporary
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert place.is_socket_trusted()
    assert prepared(short / LONG).claim_socket_path() == path


def test_long_path_is_found_with_another_temporary_directory(
    short: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TMPDIR differs between a service and a shell: the record in the data directory says where the socket is."""
    path = prepared(short / LONG).claim_socket_path()
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")
    assert Place(short / LONG).socket_path == path


def test_too_long_temporary_directory_is_passed_over(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TMPDIR that is itself too deep does not help."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / LONG))
    place = Place(short / LONG)
    assert len(os.fsencode(place.socket_path)) <= SOCKET_PATH_MAX_BYTES


@pytest.mark.parametrize("attack", ["open directory", "link", "file"])
def test_stranger_was_there_first_another_directory_is_taken(short: Path, temporary: Path, attack: str) -> None:
    """A guessed name that somebody made first is left alone, and can't keep the site from starting."""
    place = prepared(short / LONG)
    guessed = place.socket_path.parent
    if attack == "open directory":
        guessed.mkdir()
        guessed.chmod(0o777)
    elif attack == "link":
        (temporary / "elsewhere").mkdir(mode=0o700)
        guessed.symlink_to(temporary / "elsewhere")
    else:
        guessed.write_text("")
    assert not place.is_socket_trusted()
    path = place.claim_socket_path()
    assert path.parent != guessed
    assert path == place.socket_path == Place(short / LONG).socket_path
    assert place.is_socket_trusted()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_directory_of_a_stranger_is_not_trusted(short: Path, temporary: Path) -> None:
    """Closed, but his: he could listen there."""
    place = prepared(short / LONG)
    guessed = place.socket_path.parent
    guessed.mkdir(mode=0o700)
    os.chown(guessed, 12345, 12345)
    assert place.claim_socket_path().parent != guessed


def test_copied_data_directory_claims_a_socket_of_its_own(short: Path, temporary: Path) -> None:
    """A copy carries the original's record; to believe it would take the original's socket away."""
    original = prepared(short / LONG)
    path = original.claim_socket_path()
    path.write_text("in use")
    copy = prepared(short / LONG / "copy")
    (copy.directory / "socket.path").write_bytes((original.directory / "socket.path").read_bytes())
    assert copy.claim_socket_path() != path
    assert path.exists()


def test_stale_socket_is_removed_by_claim(short: Path) -> None:
    """What a killed server left does not stand in the way."""
    place = prepared(short)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place.socket_path))
    assert not place.claim_socket_path().exists()


def test_start_lock_is_held_by_one(short: Path) -> None:
    """While one starts the server nobody else does; afterwards anybody may."""
    place = prepared(short)
    with place.start_lock_nowait() as first, place.start_lock_nowait() as second:
        assert (first, second) == (True, False)
    with place.start_lock_nowait() as third:
        assert third


def test_server_lock_lives_as_long_as_its_process(short: Path) -> None:
    """The kernel says whether the server lives: a pid in a file can't."""
    place = prepared(short)
    assert not place.is_server_alive()
    fd = place.new_server_lock()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(fd,))
    os.close(fd)
    with child:
        assert place.is_server_alive()  # before its pid is known
        place.note_pid(child.pid)
        assert place.is_server_alive()
        assert place.holds_server_lock(child.pid)
        assert not place.holds_server_lock(os.getpid())
        child.kill()
    assert not place.is_server_alive()
    assert place.pid == child.pid


def test_child_of_a_killed_server_does_not_pass_for_it(short: Path) -> None:
    """The process that rewrites the append-only file may outlive the server, and holds its lock."""
    place = prepared(short)
    fd = place.new_server_lock()
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    place.note_pid(gone.pid)
    assert not place.is_server_alive()
    with socket.socket(socket.AF_UNIX) as listener:  # a server in another container, whose pids are not ours
        listener.bind(str(place.socket_path))
        listener.listen()
        assert place.is_server_alive()
    again = place.new_server_lock()
    assert place.is_server_alive()
    os.close(fd)
    os.close(again)
    assert not place.is_server_alive()


def test_tidy_leaves_the_data(short: Path, temporary: Path) -> None:
    """Of a stopped server only its data remain."""
    place = prepared(short / LONG)
    path = place.claim_socket_path()
    path.write_text("")
    place.note_pid(1)
    (place.directory / "appendonly.aof").write_text("data")
    place.tidy()
    assert not path.parent.exists()
    assert place.pid is None
    assert (place.directory / "appendonly.aof").read_text() == "data"
