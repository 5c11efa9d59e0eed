"""`manage.py publish`: the lines of a file or a pipe become events, each in the stream once."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandParser

from streaming.management.arguments import not_negative_number, positive_integer, positive_number
from streaming.management.console import Notices, ProgressLine
from streaming.management.site_command import SiteCommand

if TYPE_CHECKING:
    from streaming.client import Producer
    from streaming.management.line_source import LineSource
    from streaming.management.publishing import PublishOptions

__all__ = ["Command"]

_DRAW_S = 0.25


class Command(SiteCommand):
    """Publish lines to a stream of any Durable Streams server."""

    help = (
        "Publish the lines of a file or of standard input to a stream, each as soon as it comes. "
        "A broken connection or a restart of the site neither loses nor doubles an event: publish waits and goes on. "
        "Example: vmstat 1 | manage.py publish host/vmstat"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("stream", help="name of the stream, for instance host/vmstat")
        parser.add_argument("file", nargs="?", default="-", help="a file; - or nothing reads standard input")
        parser.add_argument("--ndjson", "--json", action="store_true", help="each line is a JSON value")
        parser.add_argument(
            "--follow", action="store_true", help="go on with what is added to the file, also over log rotation"
        )
        parser.add_argument("--type", default="message", help="event type that readers see (default: message)")
        parser.add_argument(
            "--chomp", action="store_true", help="leave line ends out of text events (default: they are kept)"
        )
        parser.add_argument(
            "--content-type", help="of a new stream (default: text/plain, or application/json with --ndjson)"
        )
        parser.add_argument("--no-create", action="store_true", help="fail if the stream does not exist")
        parser.add_argument("--close", action="store_true", help="close the stream for ever at the end of the input")
        parser.add_argument(
            "--producer", metavar="ID", help="producer id; shuts out whoever publishes under the same one"
        )
        parser.add_argument("--rate", type=positive_number, metavar="N", help="at most N events a second")
        parser.add_argument(
            "--linger-ms", type=not_negative_number, default=0.0, help="gather JSON values this long (default: 0)"
        )
        parser.add_argument("--batch-events", type=positive_integer, default=1000, help="most JSON values in a request")
        parser.add_argument(
            "--batch-bytes", type=positive_integer, default=512 * 1024, help="most bytes of JSON in a request"
        )
        parser.add_argument(
            "--max-line-bytes", type=positive_integer, default=1024 * 1024, help="longest line (default: 1 MiB)"
        )
        parser.add_argument(
            "--timeout", type=positive_number, metavar="S", help="give up on a server that is away for S seconds"
        )
        self.add_site_arguments(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        """Publish, then exit 0; 1 when something was not published, 2 when the options are wrong."""
        self.run(self._publish(options))

    async def _publish(self, options: dict[str, Any]) -> None:
        from streaming.client import Producer, UsageError
        from streaming.management.line_source import STDIN, LineSource
        from streaming.management.publishing import ensure_stream, publish

        if options["follow"] and options["file"] == STDIN:
            raise UsageError("--follow needs a file; standard input is followed anyway")
        settings = _read_options(options)
        stream = options["stream"]
        source = LineSource(options["file"], follow=options["follow"], max_line_bytes=options["max_line_bytes"])
        is_drawn = sys.stderr.isatty() and options["verbosity"] > 0
        line = ProgressLine("publish", source.size_bytes) if is_drawn else None
        listener = line or Notices("publish", is_silent=options["verbosity"] == 0)
        async with self.open_site(options) as site:
            listener.notice(f"{stream}: see it at {site.viewer_url(stream)}")
            info = await ensure_stream(site, stream, settings, listener)
            producer = Producer(
                site,
                stream,
                info.content_type,
                producer_id=settings.producer_id,
                linger_s=settings.linger_s,
                max_batch_bytes=settings.max_batch_bytes,
                max_batch_events=settings.max_batch_events,
                timeout_s=settings.timeout_s,
                listener=listener,
            )
            try:
                async with _drawn(line, producer, source):
                    await publish(producer, source, settings, info.content_type, listener)
            finally:
                await producer.aclose()


@contextlib.asynccontextmanager
async def _drawn(line: ProgressLine | None, producer: Producer, source: LineSource) -> AsyncIterator[None]:
    """Draw the line of progress while the body runs, and sum up after it; without a line do nothing."""
    if line is None:
        yield
        return
    began_mono = time.monotonic()

    async def draw() -> None:
        while True:
            line.draw(_describe(producer, time.monotonic() - began_mono), source.read_bytes)
            await asyncio.sleep(_DRAW_S)

    with line:
        drawing = asyncio.create_task(draw())
        try:
            yield
        finally:
            drawing.cancel()
    line.notice(_describe(producer, time.monotonic() - began_mono))


def _describe(producer: Producer, seconds: float) -> str:
    now = producer.statistics()
    text = f"{now.acked_events:,} events · {now.acked_events / max(seconds, 0.001):,.0f}/s"
    if now.waiting_events:
        text += f" · {now.waiting_events:,} under way"
    if now.retries:
        text += f" · {now.retries:,} retries"
    return text


def _read_options(options: dict[str, Any]) -> PublishOptions:
    from streaming.management.publishing import PublishOptions

    return PublishOptions(
        is_json=options["ndjson"],
        content_type=options["content_type"],
        may_create=not options["no_create"],
        type=options["type"],
        chomp=options["chomp"],
        close=options["close"],
        rate_per_s=options["rate"],
        producer_id=options["producer"],
        linger_s=options["linger_ms"] / 1000,
        max_batch_bytes=options["batch_bytes"],
        max_batch_events=options["batch_events"],
        timeout_s=options["timeout"],
    )
