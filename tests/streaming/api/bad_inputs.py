"""Bad inputs and their answers: the one table behind the tests and behind the rows of docs/reference/api.md.

Placeholders in targets and headers stand for what `streams.py` has prepared: `{json}`, `{text}`, `{closed}`, … are names of
streams, `{tail}` an offset of the JSON stream, `{foreign}` one of another stream, `{removed}` one that retention removed,
`{future}` one of a day far ahead, `{start}` and `{earliest}` the earliest places of the JSON and of the trimmed stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["BAD_INPUTS", "MAX_APPEND_EVENTS", "MAX_BODY_BYTES", "MAX_EVENT_BYTES", "BadInput", "document_rows"]

MAX_EVENT_BYTES = 1_048_576
MAX_BODY_BYTES = 2 * 1_048_576
"""Of the site that the tests start: eight MiB would only be slower."""
MAX_APPEND_EVENTS = 10_000

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True)
class BadInput:
    """One row.

    Args:
        what: came, as the documentation says it.
        status: of the answer.
        problem: its type; empty for an answer without a problem document.
        more: that the documentation says of the answer.
        body: of the request; None = none.
        answers: header fields that the answer has.
        members: further members of the problem document.
    """

    what: str
    method: str
    target: str
    status: int
    problem: str
    headers: Mapping[str, str]
    body: bytes | None
    more: str
    answers: Mapping[str, str]
    members: Mapping[str, object]

    @property
    def answer(self) -> str:
        """The second cell of the row."""
        if not self.problem:
            return f"{self.status}: {self.more}" if self.more else str(self.status)
        link = f"{self.status} [{self.problem}](errors.md#{self.problem})"
        return f"{link}; {self.more}" if self.more else link


def _row(
    what: str,
    method: str,
    target: str,
    status: int,
    problem: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    more: str = "",
    answers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> BadInput:
    return BadInput(what, method, target, status, problem, headers or {}, body, more, answers or {}, members or {})


def _name(what: str, raw: str) -> BadInput:
    return _row(what, "PUT", f"/v1/stream/{raw}", 400, "bad-name")


def _create(
    what: str, headers: Mapping[str, str], status: int = 400, problem: str = "bad-header", body: bytes | None = None
) -> BadInput:
    return _row(what, "PUT", "/v1/stream/{fresh}", status, problem, headers, body)


def _append(
    what: str,
    body: bytes,
    headers: Mapping[str, str],
    status: int = 400,
    problem: str = "bad-json",
    *,
    to: str = "json",
    more: str = "",
    answers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> BadInput:
    target = f"/v1/stream/{{{to}}}"
    return _row(what, "POST", target, status, problem, headers, body, more=more, answers=answers, members=members)


def _producer(what: str, id_: str | None, epoch: str | None, seq: str | None) -> BadInput:
    given = {"Producer-Id": id_, "Producer-Epoch": epoch, "Producer-Seq": seq}
    headers = {**JSON, **{name: value for name, value in given.items() if value is not None}}
    return _append(what, b"1", headers, problem="bad-header")


def _read(
    what: str,
    query: str,
    status: int = 400,
    problem: str = "bad-parameter",
    headers: Mapping[str, str] | None = None,
    *,
    of: str = "json",
    more: str = "",
    answers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> BadInput:
    target = f"/v1/stream/{{{of}}}{query}"
    return _row(what, "GET", target, status, problem, headers, more=more, answers=answers, members=members)


BAD_INPUTS: Mapping[str, Sequence[BadInput]] = {
    "Names and paths": (
        _name("no name: `/v1/stream/`", ""),
        _name("a segment `..`", "a/../b"),
        _name("a segment `..`, percent-encoded", "a/%2e%2e/b"),
        _name("a segment `.`", "a/./b"),
        _name("an empty segment: `a//b`", "a//b"),
        _name("an empty segment at the end: `a/`", "a/"),
        _name("an encoded slash: `a%2Fb`", "a%2Fb"),
        _name("an encoded backslash", "a%5Cb"),
        _name("NUL: `a%00`", "a%00"),
        _name("CR and LF: `a%0d%0a`", "a%0d%0a"),
        _name("a space", "a%20b"),
        _name("a space that is not ASCII's: U+00A0, U+2028", "a%c2%a0b"),
        _name("bytes that are not UTF-8", "a%ff"),
        _name("overlong UTF-8", "a%c0%af"),
        _name("`%` without two hex digits: `a%zz`", "a%zz"),
        _name("an invisible character: zero width space", "a%e2%80%8bb"),
        _name("a direction mark: right-to-left override", "a%e2%80%aeb"),
        _name("more than 255 bytes", "a" * 256),
        _name("the protocol's reserved segment: `__ds/…`", "__ds/subscriptions"),
        _row("an encoded letter before the name: `/%761/stream/a`", "GET", "/%761/stream/a", 404, "not-found"),
        _row("a path that there is not: `/v1/nothing`", "GET", "/v1/nothing", 404, "not-found"),
        _row("a query that is not UTF-8", "GET", "/v1/stream/{json}?offset=%ff", 400, "bad-parameter"),
        _row("a stream that there is not", "GET", "/v1/stream/{missing}", 404, "not-found"),
        _row("an append to it", "POST", "/v1/stream/{missing}", 404, "not-found", JSON, b"1"),
        _row("deleting it", "DELETE", "/v1/stream/{missing}", 404, "not-found"),
        _row("a deleted stream that forks still need", "GET", "/v1/stream/{deleted}", 410, "stream-deleted"),
        _row("creating it anew", "PUT", "/v1/stream/{deleted}", 409, "stream-deleted"),
        _row("a method that there is not", "PATCH", "/v1/stream/{json}", 405, "method-not-allowed", {}, b"1"),
        _row("the same on the list of streams", "POST", "/v1/streams", 405, "method-not-allowed", {}, b"1"),
    ),
    "Creating": (
        _create("`Stream-TTL: -1`", {"Stream-TTL": "-1"}),
        _create("`Stream-TTL: 1e3`", {"Stream-TTL": "1e3"}),
        _create("`Stream-TTL: 007`", {"Stream-TTL": "007"}),
        _create("`Stream-TTL` of 20 digits", {"Stream-TTL": "1" * 20}),
        _create("`Stream-TTL` of more than ten years", {"Stream-TTL": "316224001"}),
        _create("`Stream-TTL` that is empty", {"Stream-TTL": ""}),
        _row(
            "`Stream-TTL: 0`",
            "PUT",
            "/v1/stream/{fresh}",
            201,
            headers={"Stream-TTL": "0"},
            more="the stream has expired at once",
        ),
        _create("`Stream-Expires-At` that is no RFC 3339 time", {"Stream-Expires-At": "tomorrow"}),
        _create("`Stream-Expires-At` on a day that there is not", {"Stream-Expires-At": "2030-02-31T00:00:00Z"}),
        _create("`Stream-Expires-At` without time zone", {"Stream-Expires-At": "2030-01-31T00:00:00"}),
        _create(
            "`Stream-Expires-At` outside of the years 1 to 9999",
            {"Stream-Expires-At": "9999-12-31T23:59:59-23:59"},
        ),
        _create("two `Stream-TTL` fields", {"Stream-TTL": "1, 2"}),
        _create(
            "`Stream-TTL` and `Stream-Expires-At`", {"Stream-TTL": "60", "Stream-Expires-At": "2030-01-31T00:00:00Z"}
        ),
        _create("`Stream-Retention: age=0`", {"Stream-Retention": "age=0"}),
        _create("`Stream-Retention` with a word that there is not", {"Stream-Retention": "days=3"}),
        _create("`Stream-Retention` with a word twice", {"Stream-Retention": "age=1, age=2"}),
        _create("`Stream-Durability` that there is not", {"Stream-Durability": "forever"}),
        _create(
            "`Stream-Durability` that this Redis can't give",
            {"Stream-Durability": "replicated:9"},
            problem="durability-unavailable",
        ),
        _create("`Content-Type: text`", {"Content-Type": "text"}, problem="unsupported-media-type"),
        _create("`Content-Type: text/*`", {"Content-Type": "text/*"}, problem="unsupported-media-type"),
        _create(
            "`Content-Type` of text in another charset than UTF-8",
            {"Content-Type": "text/plain; charset=latin-1"},
            problem="unsupported-media-type",
        ),
        _create(
            "`Content-Type` with a parameter twice",
            {"Content-Type": "text/plain; a=1; a=2"},
            problem="unsupported-media-type",
        ),
        _create(
            "`Content-Type` of more than 255 bytes",
            {"Content-Type": "text/" + "a" * 251},
            problem="unsupported-media-type",
        ),
        _create("a body that does not fit the content type", JSON, problem="bad-json", body=b"{"),
        _row(
            "a stream that is there with another content type",
            "PUT",
            "/v1/stream/{json}",
            409,
            "stream-exists",
            TEXT,
        ),
        _row("a stream that is there and closed", "PUT", "/v1/stream/{closed}", 409, "stream-exists", JSON),
        _create("`Stream-Fork-Offset` without `Stream-Forked-From`", {"Stream-Fork-Offset": "{tail}"}),
        _create("`Stream-Forked-From` that is not below `/v1/stream/`", {"Stream-Forked-From": "/etc/passwd"}),
        _create("`Stream-Forked-From` with a bad name", {"Stream-Forked-From": "/v1/stream/a/../b"}),
        _create(
            "`Stream-Forked-From` a stream that there is not",
            {"Stream-Forked-From": "/v1/stream/{missing}"},
            404,
            "not-found",
        ),
        _create(
            "`Stream-Forked-From` a deleted stream",
            {"Stream-Forked-From": "/v1/stream/{deleted}"},
            409,
            "source-deleted",
        ),
        _create(
            "`Stream-Fork-Offset` that is none",
            {"Stream-Forked-From": "/v1/stream/{json}", "Stream-Fork-Offset": "x"},
            problem="bad-offset",
        ),
        _create(
            "`Stream-Fork-Offset` beyond the tail",
            {"Stream-Forked-From": "/v1/stream/{json}", "Stream-Fork-Offset": "{future}"},
            problem="bad-offset",
        ),
        _create(
            "`Stream-Fork-Sub-Offset: -1`",
            {"Stream-Forked-From": "/v1/stream/{json}", "Stream-Fork-Sub-Offset": "-1"},
            problem="bad-sub-offset",
        ),
        _create(
            "`Stream-Fork-Sub-Offset` beyond what follows",
            {
                "Stream-Forked-From": "/v1/stream/{json}",
                "Stream-Fork-Offset": "-1",
                "Stream-Fork-Sub-Offset": "100",
            },
            problem="bad-sub-offset",
        ),
        _create(
            "a fork with another content type than its source",
            {**TEXT, "Stream-Forked-From": "/v1/stream/{json}"},
            409,
            "content-type-mismatch",
        ),
    ),
    "Appending": (
        _append("no `Content-Type`", b"1", {}, problem="bad-header"),
        _append("a broken `Content-Type`", b"1", {"Content-Type": "json"}, problem="unsupported-media-type"),
        _append(
            "two `Content-Type` fields",
            b"1",
            {"Content-Type": "application/json, text/plain"},
            problem="unsupported-media-type",
        ),
        _append("another content type than the stream's", b"1", TEXT, 409, "content-type-mismatch"),
        _append("NDJSON to a stream that is not JSON", b"1", NDJSON, 409, "content-type-mismatch", to="text"),
        _append("an empty body", b"", JSON, problem="empty-body"),
        _append("`[]`", b"[]", JSON, problem="empty-array"),
        _append("only white space", b" \n", JSON),
        _append("JSON that is cut off", b'{"a":', JSON),
        _append("two JSON values", b"1 2", JSON),
        _append("a byte order mark", b"\xef\xbb\xbf1", JSON),
        _append("JSON nested 10,000 deep", b"[" * 10_000 + b"]" * 10_000, JSON),
        _append("`NaN`", b"[1, NaN]", JSON),
        _append("`Infinity`", b"[-Infinity]", JSON),
        _append('a lone surrogate: `"\\ud800"`', rb'"\ud800"', JSON),
        _append("a number that no double holds: `1e400`", b"1e400", JSON),
        _append("JSON that is not UTF-8", b'"\xff"', JSON),
        _append("text that is not UTF-8", b"a\xff", TEXT, problem="bad-text", to="text"),
        _append("NDJSON with a broken line", b"1\n\n{\n3\n", NDJSON, more="`line` is its number", members={"line": 3}),
        _append("NDJSON with blank lines only", b"\n\r\n\n", NDJSON, problem="empty-body"),
        _append(
            "an event of more than 1 MiB",
            b'"' + b"a" * MAX_EVENT_BYTES + b'"',
            JSON,
            413,
            "too-large",
        ),
        _append(
            "an NDJSON line of more than 1 MiB",
            b'1\n\n"' + b"a" * MAX_EVENT_BYTES + b'"',
            NDJSON,
            413,
            "too-large",
            more="`line` is its number",
            members={"line": 3},
        ),
        _append(
            "more than 10,000 events",
            b"[" + b"1," * MAX_APPEND_EVENTS + b"1]",
            JSON,
            413,
            "too-large",
        ),
        _append(
            "more than 10,000 lines",
            b"1\n" * (MAX_APPEND_EVENTS + 1),
            NDJSON,
            413,
            "too-large",
            more="`line` is the first too many",
            members={"line": MAX_APPEND_EVENTS + 1},
        ),
        _append(
            "a body of more than 8 MiB",
            b"[" + b" " * MAX_BODY_BYTES + b"1]",
            JSON,
            413,
            "too-large",
            more="before it is read if Content-Length tells, else as soon as it is passed; the connection ends",
            answers={"Connection": "close"},
        ),
        _append("`Content-Encoding: gzip`", b"1", {**JSON, "Content-Encoding": "gzip"}, 415, "encoded-body"),
        _append(
            "`Stream-Event-Type: error`, or another reserved word",
            b"1",
            {**JSON, "Stream-Event-Type": "error"},
            problem="bad-event-type",
        ),
        _append("`Stream-Event-Type` that is empty", b"1", {**JSON, "Stream-Event-Type": ""}, problem="bad-event-type"),
        _append(
            "`Stream-Event-Type` with a control character",
            b"1",
            {**JSON, "Stream-Event-Type": "a\x1bb"},
            problem="bad-request",  # the server's gate: no application sees the field
        ),
        _append(
            "`Stream-Event-Type` of more than 128 bytes",
            b"1",
            {**JSON, "Stream-Event-Type": "a" * 129},
            problem="bad-event-type",
        ),
        _append(
            "`Stream-Durability` that there is not", b"1", {**JSON, "Stream-Durability": "fsync"}, problem="bad-header"
        ),
        _append(
            "`Stream-Durability` that this Redis can't give",
            b"1",
            {**JSON, "Stream-Durability": "replicated:2"},
            problem="durability-unavailable",
        ),
        _append(
            "an append to a closed stream",
            b"1",
            JSON,
            409,
            "stream-closed",
            to="closed",
            answers={"Stream-Closed": "true"},
        ),
    ),
    "Writers' numbers": (
        _append("`Stream-Seq` that does not rise", b"1", {**JSON, "Stream-Seq": "b"}, 409, "sequence-regression"),
        _append("`Stream-Seq` that is empty", b"1", {**JSON, "Stream-Seq": ""}, problem="bad-header"),
        _append("`Stream-Seq` of more than 256 bytes", b"1", {**JSON, "Stream-Seq": "z" * 257}, problem="bad-header"),
        _producer("one of the three producer fields missing", "p", "0", None),
        _producer("`Producer-Id` that is empty", "", "0", "0"),
        _producer("`Producer-Id` of more than 256 bytes", "p" * 257, "0", "0"),
        _producer("`Producer-Epoch: -1`", "p", "-1", "0"),
        _producer("`Producer-Seq: 1.5`", "p", "0", "1.5"),
        _producer("`Producer-Seq` above 2^53 - 1", "p", "0", str(2**53)),
        _producer("two `Producer-Seq` fields", "p", "0", "0, 1"),
        _append(
            "a seq that leaves some out",
            b"1",
            {**JSON, "Producer-Id": "known", "Producer-Epoch": "5", "Producer-Seq": "7"},
            409,
            "producer-gap",
            answers={"Producer-Expected-Seq": "1", "Producer-Received-Seq": "7"},
        ),
        _append(
            "a stale epoch",
            b"1",
            {**JSON, "Producer-Id": "known", "Producer-Epoch": "4", "Producer-Seq": "0"},
            403,
            "producer-fenced",
            answers={"Producer-Epoch": "5"},
        ),
        _append(
            "a new epoch that does not begin with seq 0",
            b"1",
            {**JSON, "Producer-Id": "known", "Producer-Epoch": "6", "Producer-Seq": "1"},
            problem="producer-epoch-start",
        ),
        _append(
            "a seq that was stored before",
            b"1",
            {**JSON, "Producer-Id": "known", "Producer-Epoch": "5", "Producer-Seq": "0"},
            204,
            "",
            more="it is a duplicate, nothing is stored; Stream-Next-Offset is that of the first time",
            answers={"Producer-Epoch": "5", "Producer-Seq": "0"},
        ),
    ),
    "Reading": (
        _read("`offset=` that is empty", "?offset=", problem="bad-offset"),
        _read("`offset=1e3`", "?offset=1e3", problem="bad-offset"),
        _read("`offset=$`, which means something to Redis", "?offset=$", problem="bad-offset"),
        _read("`offset=+`, which does too", "?offset=%2B", problem="bad-offset"),
        _read("`offset` of another width: `1_1`", "?offset=1_1", problem="bad-offset"),
        _read("`offset` of 2^64", f"?offset={2**64}", problem="bad-offset"),
        _read("`offset` of 40 digits", f"?offset={'1' * 40}", problem="bad-offset"),
        _read("`offset=-2`", "?offset=-2", problem="bad-offset"),
        _read("an offset from the future", "?offset={future}", problem="bad-offset"),
        _read(
            "an offset of another stream, or of one that was deleted",
            "?offset={foreign}",
            410,
            "stream-rewound",
            more="`earliest_offset` and `tail_offset` say where to go on",
            members={"earliest_offset": "{start}", "tail_offset": "{tail}"},
        ),
        _read(
            "an offset whose events retention has removed",
            "?offset={removed}",
            410,
            "offset-gone",
            of="kept",
            more="`earliest_offset` and Stream-Earliest-Offset say where to go on",
            answers={"Stream-Earliest-Offset": "{earliest}"},
            members={"earliest_offset": "{earliest}"},
        ),
        _read(
            "a `Last-Event-ID` that is no offset",
            "",
            problem="bad-offset",
            headers={"Last-Event-ID": "42", "Accept": "text/event-stream"},
        ),
        _read("`offset` twice", "?offset=-1&offset=now"),
        _read("`tail` and `offset`", "?tail=1&offset=-1"),
        _read("`tail=0`", "?tail=0"),
        _read("`tail=-1`", "?tail=-1"),
        _read("`tail=x`", "?tail=x"),
        _read("`tail` above 10,000", "?tail=1000000000", 200, "", more="10,000 are given"),
        _read("`live=` with a word that there is not", "?live=websocket&offset=-1"),
        _read("`live=sse` without `offset`", "?live=sse"),
        _read("`live=long-poll` without `offset`", "?live=long-poll"),
        _read("a parameter that there is not", "?colour=red", 200, "", more="it is ignored"),
        _read("`Accept` that nothing fits", "", 406, "not-acceptable", {"Accept": "application/pdf"}),
        _read("`Range`", "", 200, "", {"Range": "bytes=0-1"}, more="it is ignored, the whole page is given"),
    ),
    "Listing": (
        _row("`limit=0`", "GET", "/v1/streams?limit=0", 400, "bad-parameter"),
        _row("`limit=x`", "GET", "/v1/streams?limit=x", 400, "bad-parameter"),
        _row("`limit` above 1,000", "GET", "/v1/streams?limit=1000000000", 200, more="1,000 are given"),
        _row("`prefix` twice", "GET", "/v1/streams?prefix=a&prefix=b", 400, "bad-parameter"),
        _row("`prefix` that is not UTF-8", "GET", "/v1/streams?prefix=%ff", 400, "bad-parameter"),
        _row("`after` that is not UTF-8", "GET", "/v1/streams?after=%ff", 400, "bad-parameter"),
        _row("deleting with such a prefix", "DELETE", "/v1/streams?prefix=%ff", 400, "bad-parameter"),
        _row("deleting without `prefix`", "DELETE", "/v1/streams", 400, "bad-parameter"),
    ),
}


def document_rows() -> Iterator[str]:
    """The tables as they stand in the documentation."""
    for title, rows in BAD_INPUTS.items():
        yield f"### {title}"
        yield ""
        yield "| input | answer |"
        yield "|---|---|"
        for row in rows:
            yield f"| {row.what} | {row.answer} |"
        yield ""
