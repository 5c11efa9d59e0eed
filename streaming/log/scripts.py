"""The scripts in `scripts/`: each file's head says what it is given and what it answers.

A script is called by its SHA; when a server does not know it (it was restarted), it is told, and the call made again: a call
that was answered NOSCRIPT has done nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from streaming.store import Connection

__all__ = ["APPEND", "CREATE", "DELETE", "FORK_LINK", "FORK_PIN", "FORK_RELEASE", "READ", "TOUCH", "TRIM", "Script"]


_INCLUDE = re.compile(r"^--@include (\w+)\n", re.MULTILINE)


class Script:
    """A Lua script, called by its SHA.

    Args:
        name: of the file in `scripts/`, without ending.
        keys: how many keys it declares.
    """

    def __init__(self, name: str, keys: int) -> None:
        folder = files("streaming.log").joinpath("scripts")
        text = folder.joinpath(f"{name}.lua").read_text()
        text = _INCLUDE.sub(lambda part: folder.joinpath(f"{part[1]}.inc.lua").read_text(), text)
        self.name = name
        self.text = text.encode()
        self.keys = keys
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()

    def command(self, keys: Sequence[str], arguments: Sequence[Any]) -> list[Any]:
        """The command that calls it."""
        return [b"EVALSHA", self.sha, self.keys, *keys, *arguments]

    async def call(self, connection: Connection, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Call it, telling the server its text first if that is needed.

        Raises: ResponseError: Redis refused it, nothing was written.
        """
        try:
            return await connection.call(*self.command(keys, arguments))
        except NoScriptError:
            return await connection.call(b"EVAL", self.text, self.keys, *keys, *arguments)


APPEND = Script("append", 5)
READ = Script("read", 3)
CREATE = Script("create", 6)
DELETE = Script("delete", 5)
FORK_PIN = Script("fork_pin", 4)
FORK_LINK = Script("fork_link", 1)
FORK_RELEASE = Script("fork_release", 5)
TOUCH = Script("touch", 4)
TRIM = Script("trim", 3)
