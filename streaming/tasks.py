"""Tasks that live as long as what owns them: one that dies on its own says so."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["own_task"]

logger = logging.getLogger("streamsite.tasks")


def own_task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task that its caller keeps and cancels; if it fails before that, the log has why.

    It begins with an empty context: what it logs later does not belong to the request that happened to start it.
    """
    task = asyncio.get_running_loop().create_task(work, name=name, context=contextvars.Context())
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("task.failed", exc_info=error, extra={"task": task.get_name()})
