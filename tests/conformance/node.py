"""The npm side of these tests: what must be installed, the suite, and clients as processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.deadlines import bound

from .record import Record

__all__ = ["NodeClient", "SuiteResult", "install", "run_suite"]

FOLDER = Path(__file__).parent
_LOCKFILE = FOLDER / "package-lock.json"
_INSTALLED = FOLDER / "node_modules" / ".package-lock.json"
"""npm writes it at the end of an install that succeeded."""
_INSTALL_TIMEOUT_S = 300.0
_SUITE_TIMEOUT_S = 120.0
"""A quiet machine needs half a minute: the suite waits for streams to expire."""


def install() -> None:
    """Install the locked packages, unless they are there already.

    Raises: RuntimeError: Node is missing, or npm failed; says what to do.
    """
    if shutil.which("npm") is None:
        raise RuntimeError("the conformance tests need Node 20 or later with npm, and there is no npm on the PATH")
    if _INSTALLED.exists() and _INSTALLED.stat().st_mtime >= _LOCKFILE.stat().st_mtime:
        return
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"`npm ci` in {FOLDER} failed:\n{done.stderr[-2000:]}")


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What the conformance suite said, test by test."""

    passed: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: dict[str, str]
    """Full name of each failed test, with the first line of why."""

    @property
    def ran(self) -> int:
        return len(self.passed) + len(self.failed)


def run_suite(url: str, long_poll_s: float, report: Path) -> SuiteResult:
    """Run the whole conformance suite once against a server.

    Args:
        url: where streams are below `/v1/stream/`.
        long_poll_s: how long that server holds a long-poll.
        report: where vitest writes its JSON; must not exist yet.

    Raises: AssertionError: vitest came to no result; carries what it printed.
    """
    env = os.environ | {"CONFORMANCE_URL": url, "CONFORMANCE_LONG_POLL_MS": str(int(long_poll_s * 1000))}
    done = subprocess.run(
        ["node", "node_modules/vitest/vitest.mjs", "run", "--reporter=json", f"--outputFile={report}"],
        cwd=FOLDER,
        env=env,
        capture_output=True,
        text=True,
        timeout=bound(_SUITE_TIMEOUT_S),
        check=False,
    )
    assert report.exists(), f"vitest wrote no report:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    tests = [test for file in json.loads(report.read_text())["testResults"] for test in file["assertionResults"]]
    return SuiteResult(
        passed=tuple(test["fullName"] for test in tests if test["status"] == "passed"),
        skipped=tuple(test["fullName"] for test in tests if test["status"] == "skipped"),
        failed={
            test["fullName"]: "".join(test["failureMessages"]).partition("\n")[0]
            for test in tests
            if test["status"] not in ("passed", "skipped")
        },
    )


class NodeClient:
    """A program of `clients/` that runs beside the test, for as long as its block; `reports` grows by what it prints."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.reports: Record[dict[str, Any]] = Record()
        self._errors: list[str] = []
        self._process = subprocess.Popen(
            ["node", str(FOLDER / "clients" / f"{program}.mjs"), *arguments],
            cwd=FOLDER,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._threads = [threading.Thread(target=take, daemon=True) for take in (self._take_reports, self._take_errors)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for thread in self._threads:
            thread.join()
        with self._process:  # closes the pipes
            pass

    def wait_for_end(self, within_s: float) -> list[dict[str, Any]]:
        """Wait until the program ends by itself.

        Returns: everything that it reported.
        Raises: AssertionError: it did not end in time, or failed; carries what it said.
        """
        try:
            code = self._process.wait(bound(within_s))
        except subprocess.TimeoutExpired:
            last = self.reports.items()[-5:]
            raise AssertionError(f"still running after {bound(within_s):g} s, last reports: {last!r}") from None
        for thread in self._threads:
            thread.join()
        assert code == 0, f"exit code {code}:\n{''.join(self._errors)[-2000:]}"
        return self.reports.items()

    def _take_reports(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.reports.add(json.loads(line))

    def _take_errors(self) -> None:
        assert self._process.stderr
        self._errors.extend(self._process.stderr)
