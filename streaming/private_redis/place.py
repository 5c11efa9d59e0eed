"""Where the private server lives: its directory, its socket's path, and the two locks.

All of it is in `<data_dir>/redis`, which is ours alone (0700): nobody else can connect, whatever a umask made of the
socket. Only the log file is beside it, where one looks for a log.

`start.lock` is held for moments by whoever starts the server or tidies up after it. `server.lock` is held by the server
itself: the descriptor is handed down when it is started, so the kernel lets go of it exactly when the process ends,
however it ends. A pid alone can't tell that: pids are used again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streaming.errors import StreamsiteError

__all__ = ["SOCKET_PATH_MAX_BYTES", "Place", "PrivateRedisError"]

SOCKET_PATH_MAX_BYTES = 100
"""sun_path takes 107 on Linux and 103 on a Mac; beyond that Redis says "path too long" and does not start."""
_SOCKET_NAME = "redis.sock"


class PrivateRedisError(StreamsiteError):
    """The private server can't be had; the text says why and what to do."""


class Place:
    """The files of one private server. Nothing is created before `prepare`.

    Args:
        data_dir: made if it is not there; symbolic links in it are followed once, here.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = Path(os.path.realpath(data_dir))
        self.directory = Path(os.path.realpath(self.data_dir / "redis"))
        self.log_path = self.data_dir / "redis.log"
        self.pid_path = self.directory / "server.pid"
        self._start_lock_path = self.directory / "start.lock"
        self._server_lock_path = self.directory / "server.lock"
        self._record_path = self.directory / "socket.path"
        self._inner_socket_path = self.directory / _SOCKET_NAME

    @property
    def socket_path(self) -> Path:
        """Where the server listens, or would: inside the directory, or in a private one under the temporary directory."""
        if _fits(self._inner_socket_path):
            return self._inner_socket_path
        try:
            recorded = Path(os.fsdecode(self._record_path.read_bytes()))
        except FileNotFoundError:
            return self._outer_directory() / _SOCKET_NAME
        return recorded

    @property
    def pid(self) -> int | None:
        """The server's process, as noted by who started it; it may be dead."""
        try:
            return int(self.pid_path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def prepare(self) -> None:
        """Make the directory, and see to it that it is ours and closed to others.

        Raises: PrivateRedisError: it belongs to somebody else, or can't be made.
        """
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.directory.mkdir(mode=0o700)
            owner = self.directory.stat().st_uid
            if owner != os.geteuid():
                # A server started by the wrong user leaves files that the right one can't open: the next start fails.
                raise PrivateRedisError(
                    f"{self.directory} belongs to user {owner} and this process runs as user {os.geteuid()}: run it as "
                    "the owner, or give another data directory"
                )
            self.directory.chmod(0o700)
        except OSError as error:
            raise PrivateRedisError(
                f"the private Redis can't use {self.data_dir} ({error.strerror}): STREAMSITE_DATA_DIR must be a "
                "directory that this user may write"
            ) from error

    def claim_socket_path(self) -> Path:
        """Choose the path for a server that is about to start, and remove what a dead one left there.

        Only while the start lock is held. The record of an earlier choice is not believed: a copied data directory
        carries that of the original, and Redis would unlink the original's live socket. It only serves to find.
        """
        if _fits(self._inner_socket_path):
            path = self._inner_socket_path
            self._record_path.unlink(missing_ok=True)
        else:
            path = self._claim_outer_directory() / _SOCKET_NAME
            _write_whole(self._record_path, os.fsencode(path))
        path.unlink(missing_ok=True)
        return path

    def is_socket_trusted(self) -> bool:
        """Whether the socket's directory is ours alone, so that nobody else can be listening there.

        A cleaner of the temporary directory may have removed ours, and a stranger made his own under its name.
        """
        parent = self.socket_path.parent
        return parent == self.directory or _is_private(parent)

    @contextmanager
    def start_lock_nowait(self) -> Iterator[bool]:
        """Hold the start lock, if nobody else does; the value says whether.

        The file is never removed: a lock on a removed file excludes nobody.
        """
        fd = os.open(self._start_lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _lock_nowait(fd, fcntl.LOCK_EX)
        finally:
            os.close(fd)

    def new_server_lock(self) -> int:
        """Make and take the lock that the next server will hold; the caller hands the descriptor down and closes it.

        Only while the start lock is held. Always a new file: when a server is killed while it rewrites its append-only
        file, the child that does the writing holds the old one for as long as it goes on.
        """
        self.pid_path.unlink(missing_ok=True)
        new = self._server_lock_path.with_name("server.lock.new")
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Locked before it has its name: whoever asks whether the server is alive must not get the lock first.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.replace(self._server_lock_path)
        return fd

    def note_pid(self, pid: int) -> None:
        """Write down which process the server is."""
        _write_whole(self.pid_path, str(pid).encode())

    def is_server_alive(self) -> bool:
        """Whether a server's process exists, whatever state it is in.

        Cost: a few system calls; fine on an event loop.
        """
        try:
            fd = os.open(self._server_lock_path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if _lock_nowait(fd, fcntl.LOCK_SH):
                return False
        finally:
            os.close(fd)
        pid = self.pid
        if pid is None:
            return True  # being started, or its starter died before it could write the pid
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            # A rewriting child outlived the server, or the server runs in another container, whose pids we don't see.
            return self.is_listening()
        except PermissionError:
            pass
        return True

    def is_listening(self) -> bool:
        """Whether anything accepts connections at the socket's path; True too where that can't be told."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(os.fspath(self.socket_path))
            except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
                return False
            except OSError:  # its backlog is full, for instance
                return True
        return True

    def holds_server_lock(self, pid: int) -> bool:
        """Whether this process is the server, so that it may be sent a signal; a pid may have become another process."""
        try:
            fds = sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda fd: int(fd.name))
        except OSError:
            return False
        try:
            lock = self._server_lock_path.stat()
        except FileNotFoundError:
            return False
        for fd in fds:
            with suppress(OSError):
                if os.path.samestat(fd.stat(), lock):
                    return True
        return False

    def tidy(self) -> None:
        """Remove what a stopped server left. Only while the start lock is held and no server is alive."""
        path = self.socket_path
        if self.is_socket_trusted():
            path.unlink(missing_ok=True)
            if path.parent != self.directory:
                with suppress(OSError):
                    path.parent.rmdir()
        self._record_path.unlink(missing_ok=True)
        self.pid_path.unlink(missing_ok=True)

    # private

    def _outer_directory(self) -> Path:
        """The directory that stands in when the path inside is too long: the same one for every process of this user."""
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return _short_temporary_directory() / f"streamsite-{os.geteuid()}-{digest}"

    def _claim_outer_directory(self) -> Path:
        """Make that directory, or another where somebody has been there first.

        The name can be guessed, so anybody on the machine can make it before us, as a directory of his own or a symbolic
        link, and listen in it (CWE-377, CWE-379). Such a one is left alone; a random name takes its place, so that he
        can't keep the site from starting either.
        """
        path = self._outer_directory()
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        if _is_private(path):
            return path
        return Path(tempfile.mkdtemp(prefix="streamsite-", dir=path.parent))


def _fits(socket_path: Path) -> bool:
    return len(os.fsencode(socket_path)) <= SOCKET_PATH_MAX_BYTES


def _short_temporary_directory() -> Path:
    """The temporary directory, unless it is so deep itself that no socket fits."""
    for name in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  (what is made in it is checked)
        if len(os.fsencode(name)) <= SOCKET_PATH_MAX_BYTES - 50:
            return Path(name)
    raise PrivateRedisError(
        "no temporary directory has a path short enough for a Unix socket: set TMPDIR to a short one"
    )


def _is_private(path: Path) -> bool:
    """Whether it is a directory, not a link to one, that is ours and that nobody else may enter."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _lock_nowait(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_whole(path: Path, data: bytes) -> None:
    """Replace a small file in one step, so that no reader ever sees half of it."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    new.replace(path)
