"""`manage.py tail`: the events of a stream on stdout, each once, for as long as there may be more."""

from __future__ import annotations

import contextlib
import sys
from argparse import BooleanOptionalAction
from typing import Any

from django.core.management.base import CommandError, CommandParser

from streaming.management.arguments import positive_integer, positive_number
from streaming.management.console import Notices
from streaming.management.site_command import SiteCommand

__all__ = ["Command"]


class Command(SiteCommand):
    """Print a stream of any Durable Streams server."""

    help = (
        "Print the events of a stream, then wait for more; resumes by itself after a broken connection. "
        "Ends when the stream is closed, or with --no-follow at its present end."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("stream", help="name of the stream")
        where = parser.add_mutually_exclusive_group()
        where.add_argument(
            "--from", dest="start", default="start", metavar="start|now|OFFSET", help="begin there (default: start)"
        )
        where.add_argument("--last", type=positive_integer, metavar="N", help="begin with the last N events")
        parser.add_argument("--follow", action=BooleanOptionalAction, default=True, help="wait for more at the end")
        parser.add_argument("--json", action="store_true", help="a JSON object a line: offset, type, time, data")
        parser.add_argument("--raw", action="store_true", help="print terminal escapes as they are; they can do harm")
        parser.add_argument(
            "--timeout", type=positive_number, metavar="S", help="give up on a server that is away for S seconds"
        )
        self.add_site_arguments(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        """Print until the end, then exit 0; 1 when something went wrong or is lost, 2 when the options are wrong."""
        self.run(self._tail(options))

    def run_interrupted(self) -> None:
        """Ctrl-C is how this command is ended."""

    async def _tail(self, options: dict[str, Any]) -> None:
        from streaming.client import NOW, START, Reader
        from streaming.management.event_output import EventOutput, reader_has_left

        async with self.open_site(options) as site:
            reader = Reader(
                site,
                options["stream"],
                start={"start": START, "now": NOW}.get(options["start"], options["start"]),
                last=options["last"],
                follow=options["follow"],
                timeout_s=options["timeout"],
                listener=Notices("tail", is_silent=options["verbosity"] == 0),
            )
            output: EventOutput | None = None
            async with contextlib.aclosing(reader.events()) as events:
                async for event in events:
                    if event is None:
                        if reader_has_left():
                            return
                        continue
                    if output is None:
                        output = EventOutput(
                            sys.stdout.buffer, reader.content_type, as_json=options["json"], is_raw=options["raw"]
                        )
                    output.write(event)
        if reader.damaged:
            raise CommandError(f"{reader.damaged} damaged events were reported instead of delivered")
