"""The site under other servers than its own, with everything else the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.site import _MARK, ROOT, Site, _environment

__all__ = ["SERVERS", "ServedBy"]

_APPLICATION = "streamsite.asgi:application"
_UVICORN = ("-m", "uvicorn", _APPLICATION, "--log-level", "warning", "--no-access-log")

SERVERS: Mapping[str, tuple[str, ...]] = {
    "serve": (),
    "daphne": ("-m", "daphne", "--verbosity", "0", _APPLICATION),
    "uvicorn": (*_UVICORN, "--loop", "asyncio"),
}
"""Module and arguments; none for our own."""


class ServedBy(Site):
    """A site whose process is another server."""

    def __init__(
        self, server: str, directory: Path, *, env: Mapping[str, str] | None = None, is_started: bool = True
    ) -> None:
        variables = {**(env or {}), "STREAMSITE_DATA_DIR": str(directory / "var")}
        super().__init__(directory, env=variables, is_started=is_started)
        self._arguments = SERVERS[server]

    def spawn(self, *, env: Mapping[str, str] | None = None) -> None:
        """Start the process and return at once."""
        if not self._arguments:
            super().spawn(env=env)
            return
        module, name, *rest = self._arguments
        port = "-p" if name == "daphne" else "--port"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, module, name, port, str(self.port), *rest],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment({**self.env, **(env or {}), _MARK: str(self.data_dir)}),
            )
