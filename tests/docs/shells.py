"""Shells that a page is pasted into, on a site of its own: another port, another data directory, nothing of the developer's.

The text of the page is run as it stands but for the port. `pkill` is one of ours, which ends what the page means and
nothing else: the processes that these shells started.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Self

import httpx

from tests.docs.pages import ROOT, Step
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import free_port

__all__ = ["Shells"]

PORT = "127.0.0.1:8000"
_RUN_S = 20.0
_OUTPUT_S = 6.0
_MARK = "STREAMSITE_DOCS_SHELLS"

_PKILL = """\
    #!{python}
    import os, pathlib, re, signal, sys
    option, flag, pattern = sys.argv[1:]
    assert (option, flag) == ("-9", "-f"), sys.argv
    found = False
    for entry in pathlib.Path("/proc").iterdir():
        try:
            is_ours = b"{mark}={directory}" in (entry / "environ").read_bytes().split(b"\\0")
            line = (entry / "cmdline").read_bytes().replace(b"\\0", b" ").decode()
        except OSError:
            continue
        # The shell that this stands in names the pattern too; pasted by hand, it would not have it in its arguments.
        if is_ours and entry.name.isdigit() and int(entry.name) not in (os.getpid(), os.getppid()) and re.search(pattern, line):
            os.kill(int(entry.name), signal.SIGKILL)
            found = True
    sys.exit(0 if found else 1)
"""


class Shells:
    """A context manager; leaving it ends everything that was started.

    Args:
        folder: where the commands run.
    """

    def __init__(self, folder: Path = ROOT) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # In /tmp whatever TMPDIR says: a Unix socket's path has 107 bytes.
        self.scratch = Path(tempfile.mkdtemp(prefix="streamsite-docs-", dir="/tmp"))
        self._shells: dict[str, subprocess.Popen[bytes]] = {}
        self._seen: dict[str, int] = {}
        self._printed = ""
        self.env = self._environment()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for name in self._shells:
                sys.stdout.write(f"--- {name}\n{self._output(name)[-4000:]}\n")
        self.close()

    def follow(self, steps: list[Step]) -> None:
        """Do what the steps say.

        Raises: AssertionError: one did not do what the page says; carries its line.
        """
        for step in steps:
            self._do(step)

    def close(self) -> None:
        """End every process that was started, the private server last, and remove what they wrote."""
        for name in ("site", *self._shells):
            if name in self._shells and self._shells[name].poll() is None:
                os.killpg(self._shells[name].pid, signal.SIGINT)
                try:
                    self._shells[name].wait(bound(4))
                except subprocess.TimeoutExpired:
                    os.killpg(self._shells[name].pid, signal.SIGKILL)
                    self._shells[name].wait()
        for pid in self._left_over():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.scratch, ignore_errors=True)

    # Steps

    def _do(self, step: Step) -> None:
        words, _, condition = step.directive.partition(", if ")
        if condition and (shutil.which(condition.removeprefix("no ")) is None) != condition.startswith("no "):
            return
        where = f"line {step.line}"
        if match := re.fullmatch(r"run in (\w+)", words):
            self._type(match[1], self._text(step))
        elif match := re.fullmatch(r"ctrl-c in (\w+)", words):
            shell = self._shells[match[1]]
            os.killpg(shell.pid, signal.SIGINT)
            shell.wait(bound(_RUN_S))
        elif match := re.fullmatch(r"output of (\w+)", words):
            name = match[1]
            eventually(
                lambda: _has_lines(self._output(name)[self._seen[name] :], self._text(step)),
                _OUTPUT_S,
                f"{where}: {name} prints\n{step.text}",
            )
        elif match := re.fullmatch(r"file: (\S+)", words):
            path = self.folder / match[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._text(step), encoding="utf-8")
        elif words == "output":
            assert _has_lines(self._printed, self._text(step)), f"{where}: printed was\n{self._printed}"
        else:
            assert words == "run", f"{where}: there is no directive {step.directive!r}"
            self._run(step, where)

    def _run(self, step: Step, where: str) -> None:
        self._wait_for_site()
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", self._text(step)],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=bound(_RUN_S),
            check=False,
        )
        self._printed = done.stdout
        assert done.returncode == 0, f"{where}: exit code {done.returncode}\n{done.stdout}"

    def _type(self, name: str, text: str) -> None:
        if name != "site":
            self._wait_for_site()
        old = self._shells.get(name)
        if old is not None:
            old.wait(bound(_RUN_S))
        self._seen[name] = len(self._output(name))
        with self._log(name).open("ab") as log:
            self._shells[name] = subprocess.Popen(
                ["bash", "-c", text],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for_site(self) -> None:
        """As a person would: nobody types the next line before the site has said that it is there."""
        if "site" in self._shells and self._shells["site"].poll() is None:
            eventually(self._is_ready, _OUTPUT_S, "the site serves")
        if "publisher" in self._shells and self._shells["publisher"].poll() is None:
            had = self._events()
            eventually(lambda: self._events() > had, _OUTPUT_S, "the published stream grows")

    # What is there

    def _text(self, step: Step) -> str:
        text = step.text.replace("/tmp/", f"{self.scratch}/")
        return text.replace(PORT, f"127.0.0.1:{self.port}").replace("--port 8000", f"--port {self.port}")

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=bound(2), trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _events(self) -> int:
        """How many events the site holds; none while it is away."""
        try:
            answer = httpx.get(f"{self.url}/v1/streams", timeout=bound(2), trust_env=False)
        except httpx.HTTPError:
            return 0
        return sum(stream["events"] for stream in answer.json()["streams"])

    def _log(self, name: str) -> Path:
        return self.scratch / f"{name}.log"

    def _output(self, name: str) -> str:
        path = self._log(name)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMSITE_")}
        for name in (
            "REDIS_URL",
            "DATABASE_URL",
            "DJANGO_SETTINGS_MODULE",
            "MAKEFLAGS",
            "MAKELEVEL",
            "PYTEST_CURRENT_TEST",
        ):
            own.pop(name, None)
        tools = self.scratch / "bin"
        tools.mkdir()
        pkill = tools / "pkill"
        pkill.write_text(
            textwrap.dedent(_PKILL).format(python=sys.executable, mark=_MARK, directory=self.scratch), encoding="utf-8"
        )
        pkill.chmod(0o755)
        (self.scratch / ".curlrc").write_text("no-progress-meter\n")  # on a terminal it has none either
        return {
            **own,
            "CURL_HOME": str(self.scratch),
            _MARK: str(self.scratch),
            "PATH": f"{tools}:{Path(sys.executable).parent}:{own.get('PATH', os.defpath)}",
            "STREAMSITE_DATA_DIR": str(self.scratch / "var"),
            "STREAMSITE_PORT": str(self.port),
            "STREAMSITE_URL": self.url,
            "PYTHONUNBUFFERED": "1",
        }

    def _left_over(self) -> list[int]:
        """Processes of these shells that still run; a server's title has replaced its environment, so its directory counts."""
        folders = [self.scratch] if self.folder == ROOT else [self.scratch, self.folder]
        found = []
        for entry in Path("/proc").iterdir():
            try:
                cwd = (entry / "cwd").readlink()
                is_ours = entry.name.isdigit() and (
                    f"{_MARK}={self.scratch}".encode() in (entry / "environ").read_bytes().split(b"\0")
                    or any(cwd.is_relative_to(folder) for folder in folders)
                )
            except OSError:
                continue
            if is_ours:
                found.append(int(entry.name))
        return found


def _has_lines(printed: str, wanted: str) -> bool:
    """Whether every wanted line is among the printed ones, in order; … stands for anything, alone for any lines."""
    lines = iter(printed.splitlines())
    return all(
        any(re.fullmatch(".*".join(map(re.escape, line.strip().split("…"))), found.strip()) for found in lines)
        for line in wanted.splitlines()
        if line.strip() != "…"
    )
