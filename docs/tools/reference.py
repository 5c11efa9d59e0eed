"""Writes the pages of docs/reference/ that say what the code says: settings, errors, metrics, commands.

    .venv/bin/python -m docs.tools.reference          write them
    .venv/bin/python -m docs.tools.reference --check  exit with 1 if one is not what it would write

What can be read from the code is; the words that the code has no place for, what to do about a problem and the variables
that are not settings, are below, and a problem type without them stops the run.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ADVICE", "PAGES", "stale"]

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
HEAD = "<!-- Made by `make docs` from {source}; change that instead. -->\n\n"
WIDTH = 100

# The environment of whoever runs this must not get into the pages, nor stop them from being made.
for _name in [name for name in os.environ if name.startswith("STREAMSITE_")] + ["REDIS_URL", "DATABASE_URL"]:
    os.environ.pop(_name, None)

ADVICE: Mapping[str, str] = {
    "bad-event-type": "Use another type: 1 to 128 bytes of printable text that is not one of the reserved words.",
    "bad-header": "Correct the field that the detail names.",
    "bad-host": "Use one of the site's names, or add this one to `STREAMSITE_ALLOWED_HOSTS`.",
    "bad-json": "Correct the body; `line` says which line of an NDJSON body is broken. Nothing of the body was stored.",
    "bad-name": "Use another name; the grammar is in [limits](limits.md).",
    "bad-offset": "Use an offset that this stream gave, `-1` for its start or `now` for its end.",
    "bad-parameter": "Correct the parameter that the detail names.",
    "bad-request": "Correct the request as the detail says; it is not HTTP, or can be read in two ways.",
    "bad-sub-offset": "Use a number that is not beyond what follows the fork's offset.",
    "bad-text": "Send UTF-8, or create the stream with another content type.",
    "closed": "Open the site: see [production](../operations/production.md).",
    "content-type-mismatch": "Send the content type that the stream was created with.",
    "draining": "Repeat it as Retry-After says: nothing was done, and another process answers.",
    "durability-unavailable": "Ask for less, or give the site a Redis that can do it: see [durability](../explanation/durability.md).",
    "empty-array": "Send at least one value; only a PUT may carry an empty array.",
    "empty-body": "Send a body; only an append that closes the stream may be empty.",
    "encoded-body": "Send the body without Content-Encoding.",
    "event-corrupt": "Go on from `offset`, which skips the event; then see [damaged data](../operations/damaged-data.md).",
    "expectation-failed": "Leave Expect out, or send `100-continue`.",
    "fields-too-large": "Send fewer or shorter header fields.",
    "forbidden": "Send forms from the site's own pages only, and ask its operator for what else you need.",
    "fork-expired": "Make the fork again.",
    "fork-too-deep": "Fork a stream that stands on fewer others.",
    "internal": "Report it; the log of the site has the details under `request_id`.",
    "method-not-allowed": "Use a method that the Allow field names.",
    "not-acceptable": "Accept one of the formats that the detail names, or leave Accept out.",
    "not-found": "Create the stream with PUT, or correct the address.",
    "offset-gone": "Go on from `earliest_offset`; what is between is removed for ever.",
    "outcome-unknown": "Look at the stream, or repeat the append as a producer with the same sequence number, which can't store it twice.",
    "overloaded": "Wait for as long as Retry-After says, then repeat: nothing was done.",
    "producer-epoch-start": "Begin the new epoch with Producer-Seq 0.",
    "producer-fenced": "Stop, for another one has taken over; or take over from it with a higher epoch.",
    "producer-gap": "Send what is missing first: Producer-Expected-Seq says where to begin.",
    "request-timeout": "Send it again, faster; the limits are in [settings](settings.md).",
    "sequence-regression": "Send a Stream-Seq that is larger, compared byte by byte.",
    "source-changing": "Make the fork again.",
    "source-deleted": "Fork a stream that is still there.",
    "store-full": "Delete streams or give Redis more memory: see [the store is full](../operations/store-full.md).",
    "store-readonly": "Wait; the operator finds the cause in [the store refuses writes](../operations/store-readonly.md).",
    "store-unavailable": "Wait for as long as Retry-After says, then repeat: nothing was done.",
    "stream-closed": "Use another stream: a closed one stays closed.",
    "stream-deleted": "Use another name, until the forks that hold its events are deleted too.",
    "stream-exists": "Use another name, or ask for what is there.",
    "stream-gone": "Stop reading; a stream of that name that is created later is another one.",
    "stream-rewound": "Go on from `earliest_offset` or `tail_offset`, knowing that events are lost: see [data went back](../operations/data-went-back.md).",
    "too-large": "Send less at once; the bounds are in [limits](limits.md).",
    "too-many-producers": "Use fewer producer ids for one stream.",
    "unconfirmed": "Repeat the append as a producer with the same sequence number: it is written, and repeating waits again.",
    "unsupported-media-type": "Send a media type such as `text/plain` or `application/json`.",
    "uri-too-long": "Use a shorter address; parameters belong into the body where they are long.",
}
"""What the one who gets a problem can do about it."""

OTHER_VARIABLES: Sequence[tuple[str, str, str]] = (
    ("STREAMSITE_URL", "commands", "The site that `publish`, `tail` and `streams` speak to; `http://127.0.0.1:8000` without one."),
    ("STREAMSITE_KEY", "commands", "The key that they send as `Authorization: Bearer …`; this site needs none yet."),
    ("STREAM_URL, STREAM_AUTH", "commands", "What the Durable Streams command line reads: used where the two above are not set; the second is a whole Authorization value."),
    ("NO_COLOR", "commands", "Any value: no colours."),
    ("OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER, OTEL_SERVICE_NAME", "site", "OpenTelemetry's own; without the first two no spans are made."),
    ("STREAMSITE_FAILPOINT", "tests", "Breaks the site on purpose at a named place; never set it where data matter."),
    ("STREAMSITE_TEST_SLACK", "tests", "How much slower than an idle developer machine this one may be; 5 without it."),
)  # fmt: skip


def settings_page() -> str:
    """docs/reference/settings.md."""
    from observability.conf import ObservabilitySettings
    from streaming.conf import StreamingSettings
    from streamsite.config import Config

    text = HEAD.format(source="`streamsite/config.py`, `streaming/conf.py` and `observability/conf.py`")
    text += (
        "# Settings\n\n"
        "Every setting is an environment variable; a few are options of `manage.py serve` too, and then the option wins.\n"
        "A wrong value stops the start with one line and exit code 2, and so does a name that is nearly one of these.\n"
        "Sizes are numbers of bytes, or such as `512kb`, `8mb`, `2gb` (powers of 1024); lists are written with commas.\n\n"
        "## The site\n\n"
        "| variable | value | default | meaning |\n|---|---|---|---|\n"
    )
    for name, field in Config.model_fields.items():
        variables = "<br>".join(f"`{variable}`" for variable in _variables(name, field))
        default = _default(field.default, name)
        text += f"| {variables} | {_value(field)} | {default} | {field.description} |\n"
    text += "\n## Variables that are not settings of the site\n\n| variable | read by | meaning |\n|---|---|---|\n"
    for variable, reader, meaning in OTHER_VARIABLES:
        names = ", ".join(f"`{name}`" for name in variable.split(", "))
        text += f"| {names} | {reader} | {meaning} |\n"
    text += (
        "\n## In another Django project\n\n"
        "There the apps read `STREAMING` and `OBSERVABILITY` from Django's settings, and no environment.\n"
        "See [how to use streamsite in an existing project](../how-to/use-in-a-django-project.md).\n"
    )
    for title, settings in (("STREAMING", StreamingSettings), ("OBSERVABILITY", ObservabilitySettings)):
        text += f"\n### {title}\n\n| key | default | meaning |\n|---|---|---|\n"
        meanings = _meanings(settings)
        for spec in dataclasses.fields(settings):
            value: Any = spec.default
            plain = value if type(value) in {bool, int, float, tuple} else str(value)
            shown = "none" if value is None else f"`{plain!r}`"
            text += f"| `{spec.name.upper()}` | {shown} | {meanings[spec.name]} |\n"
    return text


def errors_page() -> str:
    """docs/reference/errors.md.

    Raises: LookupError: a problem type without advice, or advice for none.
    """
    from streaming.api.problems import TITLES

    if ADVICE.keys() != TITLES.keys():
        raise LookupError(f"advice and problem types differ in {sorted(ADVICE.keys() ^ TITLES.keys())}")
    statuses = _statuses()
    text = HEAD.format(source="`streaming/api/problems.py` and the places that raise")
    text += (
        "# Errors\n\n"
        "Every error is a problem document (RFC 9457) of type `application/problem+json`, unless the protocol fixes another body.\n\n"
        "```json\n"
        '{"type": "/problems/not-found", "title": "There is no such stream or page", "status": 404,\n'
        ' "detail": "there is no stream \'orders\'; create it with PUT", "request_id": "0b0f3a0e-…"}\n'
        "```\n\n"
        "- `type` is stable for ever: programs should look at it and at the status, not at the words.\n"
        "- `detail` says what came and what would be right.\n"
        "- `request_id` is the X-Request-ID of the answer, and is in every log line that the request made.\n"
        "- Some have further members, such as `earliest_offset` and `tail_offset` of a 410.\n"
        "- An answer that is worth repeating has a Retry-After field.\n\n"
        "Inside a stream that is being delivered, an error is an SSE event `stream-rewound`, `stream-gone` or `event-corrupt` "
        'with the document as its data, or an NDJSON line `{"error": {…}}`.\n\n'
        "| type | status | means | what to do |\n|---|---|---|---|\n"
    )
    for slug, title in TITLES.items():
        codes = ", ".join(str(status) for status in sorted(statuses.get(slug, ()))) or "in-band"
        text += f'| <a id="{slug}"></a>`/problems/{slug}` | {codes} | {title} | {ADVICE[slug]} |\n'
    return text


def metrics_page() -> str:
    """docs/reference/metrics.md."""
    from observability import metrics, workers  # noqa: F401 - declares some too

    text = HEAD.format(source="`observability/`")
    text += (
        "# Metrics\n\n"
        "In Prometheus' text format at `/metrics` in development, or on a listener of their own: `STREAMSITE_METRICS_BIND=127.0.0.1:9090`.\n"
        "Labels have closed sets of values, and what is in no set is counted as `other`: the number of series is bounded.\n"
        "Beside these there are `python_…`, `process_…` and `django_…` of the libraries.\n\n"
        "| name | type | labels | meaning |\n|---|---|---|---|\n"
    )
    for row in metrics.describe():
        labels = ", ".join(f"`{label}`" for label in row.labels) or "–"
        text += f"| `{row.name}` | {row.type} | {labels} | {row.help} |\n"
    text += (
        "\nA histogram is exported as `…_bucket`, `…_sum` and `…_count`.\n"
        "Which of them tell of trouble, and of which, is in [monitoring](../operations/monitoring.md).\n"
    )
    return text


def commands_page() -> str:
    """docs/reference/commands.md."""
    import django
    from django.core.management import load_command_class

    os.environ["COLUMNS"] = str(WIDTH)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    text = HEAD.format(source="the commands' own `--help`")
    text += (
        "# Commands\n\n"
        "`manage.py` runs with the Python of the virtual environment: `.venv/bin/python manage.py …`.\n"
        "`serve` is the site; `publish`, `tail` and `streams` are clients, which speak HTTP to any Durable Streams server and need "
        "neither its database nor its Redis.\n"
        "Exit codes: 0 done, 1 failed, 2 wrong use.\n"
    )
    for app, name in COMMANDS:
        parser = load_command_class(app, name).create_parser("manage.py", name)
        text += f"\n## {name}\n\n```text\n{_help(parser)}```\n"
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for sub, sub_parser in action.choices.items():
                    text += f"\n### {name} {sub}\n\n```text\n{_help(sub_parser)}```\n"
    text += "\nDjango's own commands are there too: `migrate` makes the tables, `createsuperuser` an account for `/admin/`.\n"
    return text


COMMANDS: Sequence[tuple[str, str]] = (
    ("streamsite", "serve"),
    ("streaming", "publish"),
    ("streaming", "tail"),
    ("streaming", "streams"),
)
PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "commands.md": commands_page,
}


def stale() -> list[str]:
    """The pages that are not what they would be if they were written now."""
    return [name for name, make in PAGES.items() if not _is_fresh(REFERENCE / name, make())]


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="Write docs/reference/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is not fresh")
    if parser.parse_args().check:
        pages = stale()
        for name in pages:
            sys.stderr.write(f"docs/reference/{name} is not fresh: run `make docs`\n")
        return 1 if pages else 0
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")
    return 0


def _is_fresh(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _help(parser: argparse.ArgumentParser) -> str:
    """The help without what Django adds to every command."""
    hidden = {
        "--version",
        "--settings",
        "--pythonpath",
        "--traceback",
        "--force-color",
        "--skip-checks",
        "--no-color",
        "-v",
    }
    for action in parser._actions:
        if hidden & set(action.option_strings):
            action.help = argparse.SUPPRESS
    return "\n".join(line.rstrip() for line in parser.format_help().splitlines()) + "\n"


def _variables(name: str, field: Any) -> list[str]:
    from streamsite.config import variable_of

    alias = field.validation_alias
    return [str(choice) for choice in alias.choices] if alias is not None else [variable_of(name)]


def _value(field: Any) -> str:
    """What may stand in the variable, in words."""
    annotation = field.annotation
    kinds = (
        [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        if _is_union(annotation)
        else [annotation]
    )
    kind, metadata = kinds[0], list(field.metadata)
    if typing.get_origin(kind) is typing.Annotated:
        kind, *inner = typing.get_args(kind)
        metadata += [item for info in inner for item in getattr(info, "metadata", ())]
    bounds = {name: getattr(item, name) for item in metadata for name in ("gt", "ge", "le") if hasattr(item, name)}
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return "list"
    word = {int: "whole number", float: "number", str: "text", Path: "path"}.get(kind, "secret text")
    if {"ge", "le"} <= bounds.keys():
        return f"{word}, {bounds['ge']} to {bounds['le']}"
    if bounds.get("gt") == 0:
        return f"{word} above 0"
    return f"{word} from {bounds['ge']:g}" if "ge" in bounds else word


def _is_union(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def _default(value: Any, name: str) -> str:
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, Path):
        return f"`{value.relative_to(ROOT)}` beside manage.py"
    if name.endswith("_bytes") and value % 1024 == 0:
        return f"`{value // 1024**2}mb`" if value % 1024**2 == 0 else f"`{value // 1024}kb`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _meanings(settings: type[Any]) -> dict[str, str]:
    """What the docstring of a settings class says of each field."""
    names = [spec.name for spec in dataclasses.fields(settings)]
    words = " ".join((inspect.getdoc(settings) or "").partition("Args:")[2].split())
    parts = re.split(r"(?:^|(?<=[. ]))((?:[a-z_]+, )*[a-z_]+): ", words)[1:]
    found: dict[str, str] = {}
    for keys, text in zip(parts[::2], parts[1::2], strict=True):
        meaning = text.strip().replace("`", "")
        for key in keys.split(", "):
            if key in names:
                found[key] = meaning[0].upper() + meaning[1:]
    return found


def _statuses() -> dict[str, set[int]]:
    """Each problem type and the statuses that some line of the code gives it."""
    found: dict[str, set[int]] = {}
    for path in (*ROOT.glob("streaming/**/*.py"), *ROOT.glob("streamsite/**/*.py")):
        for status, slug in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(slug, set()).add(status)
    return found


def _raised(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or len(node.args) < 2:
            continue
        values = [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args[:2]]
        status, slug = values
        if isinstance(status, int) and isinstance(slug, str) and _called(node.func).endswith("Error"):
            yield status, slug


def _called(function: ast.expr) -> str:
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


if __name__ == "__main__":
    sys.exit(main())
