"""The commands run as processes of their own, as a user starts them, against a server that fails on command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.deadlines import bound
from tests.support.flaky_server import FlakyServer, flaky_server

ROOT = Path(__file__).resolve().parents[3]


class Commands:
    """Starts commands and ends with them.

    Args:
        url: handed to each command as STREAMSITE_URL.
    """

    root = ROOT

    def __init__(self, url: str) -> None:
        self._url = url
        self._started: list[asyncio.subprocess.Process] = []

    def argv(self, *arguments: str) -> list[str]:
        """The command line of a command."""
        return [sys.executable, "-m", "tests.support.run_command", *arguments]

    def environ(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """The environment of a command: nothing of the site's but its address."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("STREAM", "DJANGO"))}
        return inherited | {"STREAMSITE_URL": self._url} | (extra or {})

    async def start(self, *arguments: str, env: dict[str, str] | None = None) -> asyncio.subprocess.Process:
        """Start a command; its three streams are pipes."""
        process = await asyncio.create_subprocess_exec(
            *self.argv(*arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.root,
            env=self.environ(env),
            limit=2**24,
        )
        self._started.append(process)
        return process

    async def run(
        self, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> tuple[int, bytes, str]:
        """Run a command to its end; return exit code, stdout and stderr."""
        process = await self.start(*arguments, env=env)
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        assert b"Traceback" not in err, err.decode()
        return process.returncode, out, err.decode()

    async def end(self) -> None:
        """Kill what still runs."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture
async def server() -> AsyncIterator[FlakyServer]:
    """A server for one test."""
    async with asyncio.timeout(bound(20)), flaky_server(page_events=100) as server:
        yield server


@pytest.fixture
async def commands(server: FlakyServer) -> AsyncIterator[Commands]:
    """Commands that speak to it."""
    commands = Commands(server.url)
    yield commands
    await commands.end()
