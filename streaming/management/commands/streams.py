"""`manage.py streams`: list, create, describe, close and remove streams; write one to a file and read it back."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from django.core.management.base import CommandError, CommandParser

from streaming.management.arguments import positive_integer
from streaming.management.console import Notices, neutralise
from streaming.management.site_command import SiteCommand

if TYPE_CHECKING:
    from streaming.client import Site, StreamInfo

__all__ = ["Command"]

STDIO = "-"


class Command(SiteCommand):
    """Manage the streams of a site."""

    help = "List, create, describe, close and remove streams; export one as NDJSON and import it again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions and their options."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

        def add(
            name: str, work: Callable[..., Coroutine[Any, Any, None]], text: str, *, names: str = "1"
        ) -> CommandParser:
            action: CommandParser = actions.add_parser(name, help=text, description=text)
            if names == "1":
                action.add_argument("stream", help="name of the stream")
            action.set_defaults(work=work)
            self.add_site_arguments(action)
            return action

        ls = add("ls", self._list, "List streams in the order of their names.", names="")
        ls.add_argument("prefix", nargs="?", default="", help="only names that begin so")
        ls.add_argument("--after", default="", metavar="NAME", help="only names behind this one")
        ls.add_argument("--limit", type=positive_integer, metavar="N", help="at most N")
        ls.add_argument("--json", action="store_true", help="a JSON object a line")

        create = add("create", self._create, "Create a stream; no error if it exists with the same settings.")
        create.add_argument("--content-type", default="application/json", help="default: application/json")
        create.add_argument("--ttl", type=positive_integer, metavar="S", help="remove it when unused for S seconds")
        create.add_argument("--expires-at", metavar="TIME", help="remove it at that time (RFC 3339)")
        create.add_argument("--retention", metavar="RULE", help="for instance age=86400, count=1000, bytes=1000000")
        create.add_argument("--closed", action="store_true", help="create it closed")

        show = add("show", self._show, "Describe a stream.")
        show.add_argument("--json", action="store_true", help="a JSON object")

        add("close", self._close, "Close a stream for ever; its events stay.")

        rm = add("rm", self._remove, "Remove streams and their events.", names="")
        rm.add_argument("streams", nargs="*", metavar="stream", help="names")
        rm.add_argument("--prefix", help="remove all whose names begin so")
        rm.add_argument("--yes", action="store_true", help="do not ask")

        export = add("export", self._export, "Write a stream as NDJSON.")
        export.add_argument("file", nargs="?", default=STDIO, help="a file; - or nothing writes to standard output")

        imports = add("import", self._import, "Append what an export holds to a new stream.")
        imports.add_argument("file", nargs="?", default=STDIO, help="a file; - or nothing reads standard input")
        imports.add_argument("--content-type", help="of the new stream; default: what the file says")
        imports.add_argument("--append", action="store_true", help="the stream may hold events already; it stays open")
        imports.add_argument("--producer", metavar="ID", help="producer id")

    def handle(self, *_: Any, **options: Any) -> None:
        """Do one action, then exit 0; 1 when it failed, 2 when the options are wrong."""
        self.run(self._act(options))

    async def _act(self, options: dict[str, Any]) -> None:
        async with self.open_site(options) as site:
            await options["work"](site, options)

    # The actions.

    async def _list(self, site: Site, options: dict[str, Any]) -> None:
        from streaming.client import list_streams

        streams = list_streams(site, prefix=options["prefix"], after=options["after"], limit=options["limit"])
        if options["json"]:
            async for info in streams:
                print(json.dumps(info.as_json()))
            return
        _print_table([info async for info in streams])

    async def _create(self, site: Site, options: dict[str, Any]) -> None:
        from streaming.client import create_stream

        info, is_new = await create_stream(
            site,
            options["stream"],
            options["content_type"],
            ttl_s=options["ttl"],
            expires_at=options["expires_at"],
            retention=options["retention"],
            closed=options["closed"],
        )
        print(f"{'created' if is_new else 'exists already:'} {info.name} ({info.content_type})")

    async def _show(self, site: Site, options: dict[str, Any]) -> None:
        from streaming.client import describe_stream, with_counts

        info = await with_counts(site, await describe_stream(site, options["stream"]))
        if options["json"]:
            print(json.dumps(info.as_json()))
            return
        known = info.as_json() | {"url": site.stream_url(info.name), "viewer": site.viewer_url(info.name)}
        width = max(map(len, known)) + 2
        for field, value in known.items():
            print(neutralise(f"{field.replace('_', ' '):<{width}}{_in_words(value)}"))

    async def _close(self, site: Site, options: dict[str, Any]) -> None:
        from streaming.client import close_stream

        print(f"closed {options['stream']} at {await close_stream(site, options['stream'])}")

    async def _remove(self, site: Site, options: dict[str, Any]) -> None:
        from streaming.client import UsageError, delete_prefix, delete_stream

        names, prefix = options["streams"], options["prefix"]
        if bool(names) == (prefix is not None):
            raise UsageError("name the streams to remove, or --prefix, not both")
        if prefix == "":
            raise UsageError("an empty prefix would remove every stream; name a prefix")
        what = f"all streams that begin with {prefix}" if prefix else ", ".join(names)
        if not options["yes"]:
            if not sys.stdin.isatty():
                raise UsageError(f"this removes {what} for ever; say --yes")
            if not _confirmed(f"Remove {what} for ever? [y/N] "):
                raise CommandError("nothing was removed")
        if prefix:
            print(f"removed {await delete_prefix(site, prefix)} streams")
            return
        for name in names:
            await delete_stream(site, name)
            print(f"removed {name}")

    async def _export(self, site: Site, options: dict[str, Any]) -> None:
        from streaming.management.transfer import export_stream

        notices = Notices("export", is_silent=options["verbosity"] == 0)
        with _output(options["file"]) as out:
            count = await export_stream(site, options["stream"], out, notices)
        notices.notice(f"{count:,} events of {options['stream']}")

    async def _import(self, site: Site, options: dict[str, Any]) -> None:
        from streaming.management.transfer import import_stream

        notices = Notices("import", is_silent=options["verbosity"] == 0)
        with _input(options["file"]) as source:
            count = await import_stream(
                site,
                options["stream"],
                source,
                content_type=options["content_type"],
                appends=options["append"],
                producer_id=options["producer"],
                listener=notices,
            )
        notices.notice(f"{count:,} events into {options['stream']}")


def _print_table(streams: list[StreamInfo]) -> None:
    """A table on a terminal; off it the same columns, separated by tabs, so that `cut` and `awk` can read them."""
    columns = ("name", "content type", "events", "bytes", "state", "tail offset")
    rows = [
        (
            info.name,
            info.content_type,
            "" if info.events is None else f"{info.events}",
            "" if info.bytes is None else f"{info.bytes}",
            "closed" if info.closed else "open",
            info.tail_offset,
        )
        for info in streams
    ]
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(map(neutralise, row)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in {"events", "bytes"} else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(neutralise(cell)) for cell in row))
    Console().print(table if rows else Text("no streams"))


def _confirmed(question: str) -> bool:
    print(neutralise(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


@contextlib.contextmanager
def _output(path: str) -> Iterator[BinaryIO]:
    from streaming.management.transfer import whole_file

    if path == STDIO:
        yield sys.stdout.buffer
    else:
        with whole_file(Path(path)) as out:
            yield out


@contextlib.contextmanager
def _input(path: str) -> Iterator[BinaryIO]:
    if path == STDIO:
        yield sys.stdin.buffer
    else:
        with Path(path).open("rb") as source:
            yield source
