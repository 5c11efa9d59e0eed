"""The ASGI types that the site's signatures share, as Django's stubs have them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

__all__ = ["ON_LEAVE", "Application", "Message", "Receive", "Scope", "Send"]

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

ON_LEAVE = "streamsite.on_leave"
"""Our server's extension of ASGI: a function in the scope's `extensions` that takes a callback, which is called once if the
client leaves before its answer is complete.

Another server tells this only to whoever waits in `receive`, so that each request needs a second task for it, and costs
a third more.
"""
