"""What the commands that speak HTTP to a site have in common: where it is, the key, and how errors end the command.

They touch neither the database nor Redis, so they work without either, against any Durable Streams server; no checks
run before them. Exit codes: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

if TYPE_CHECKING:
    from streaming.client import Site, StreamGone

__all__ = ["SiteCommand", "leave_stdout"]


class SiteCommand(BaseCommand):
    """Base of a command that is a client of a site."""

    requires_system_checks = ()
    requires_migrations_checks = False

    def __init__(self, *args: Any, **options: Any) -> None:
        if os.environ.get("NO_COLOR"):
            options["no_color"] = True
        super().__init__(*args, **options)

    def add_site_arguments(self, parser: CommandParser) -> None:
        """Add where the site is and how to be let in."""
        parser.add_argument(
            "--url", help="address of the site; STREAMSITE_URL, else STREAM_URL, else http://127.0.0.1:8000"
        )
        parser.add_argument(
            "--key", help="access key; better in STREAMSITE_KEY, where other users of the machine can't see it"
        )

    def open_site(self, options: dict[str, Any]) -> Site:
        """The site that the options and the environment name.

        STREAM_URL and STREAM_AUTH (a whole Authorization value) are what the Durable Streams command line reads.

        Raises: UsageError: the address or the key can't be used.
        """
        from streaming.client import DEFAULT_URL, Site

        environ = os.environ
        return Site(
            options["url"] or environ.get("STREAMSITE_URL") or environ.get("STREAM_URL") or DEFAULT_URL,
            key=options["key"] or environ.get("STREAMSITE_KEY"),
            authorization=environ.get("STREAM_AUTH"),
        )

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a command's work to its end, and turn what goes wrong into one line and an exit code.

        Raises: CommandError: Django prints it and exits with its code.
        """
        from streaming.client import ClientError, StreamGone, UsageError

        try:
            asyncio.run(work)
        except UsageError as error:
            raise CommandError(str(error), returncode=2) from error
        except StreamGone as error:
            raise CommandError(_explain_gone(error)) from error
        except KeyboardInterrupt:
            self.run_interrupted()
        except BrokenPipeError:
            leave_stdout()
        except (ClientError, OSError) as error:
            raise CommandError(str(error)) from error

    def run_interrupted(self) -> None:
        """What Ctrl-C means to the command.

        Raises: CommandError: that its work is not done.
        """
        raise CommandError("interrupted")


def leave_stdout() -> None:
    """Whoever read the output has left, which is no error; the interpreter's last flush must not make it one."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain_gone(error: StreamGone) -> str:
    earliest = error.members.get("earliest_offset")
    hint = f"\nWhat is left begins at {earliest}: read on with --from {earliest}" if earliest else ""
    return f"{error}{hint}"
