"""Bad inputs: each row of the documented table against the real site, and the table against the documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.streaming.api.bad_inputs import BAD_INPUTS, BadInput, document_rows
from tests.streaming.api.raw_http import Answer, ask
from tests.support.site import Site

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "api.md"
ROWS = [row for rows in BAD_INPUTS.values() for row in rows]
_REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Prepared:
    """Streams that the rows name, and their offsets."""

    names: Mapping[str, str]
    offsets: Mapping[str, str]

    def fill(self, text: str) -> str:
        """The text with its placeholders replaced."""
        for key, value in {**self.names, **self.offsets}.items():
            text = text.replace(f"{{{key}}}", value)
        return text


@pytest.fixture(scope="module")
def prepared(site: Site) -> Prepared:
    """One stream of each kind that the table needs."""
    names = {kind: f"bad/{kind}" for kind in ("json", "text", "closed", "kept", "deleted", "missing", "other")}
    json = {"Content-Type": "application/json"}

    def put(kind: str, body: bytes = b"", headers: Mapping[str, str] = json) -> str:
        answer = site.request("PUT", f"/v1/stream/{names[kind]}", headers=headers, content=body)
        assert answer.status_code == 201, answer.text
        return answer.headers["Stream-Next-Offset"]

    def post(kind: str, body: bytes, **fields: str) -> str:
        headers = {**json, **{name.replace("_", "-"): value for name, value in fields.items()}}
        answer = site.request("POST", f"/v1/stream/{names[kind]}", headers=headers, content=body)
        assert answer.is_success, answer.text
        return answer.headers["Stream-Next-Offset"]

    put("json", b'[{"a":1},{"a":2}]')
    post("json", b'{"a":3}', Stream_Seq="b")
    tail = post("json", b'{"a":4}', Producer_Id="known", Producer_Epoch="5", Producer_Seq="0")
    put("text", b"one", {"Content-Type": "text/plain"})
    put("closed", b"1", {**json, "Stream-Closed": "true"})
    removed = put("kept", b"1", {**json, "Stream-Retention": "count=2"})
    for value in (b"2", b"3", b"4", b"5"):
        post("kept", value)
    put("deleted", b"1")
    fork = site.request("PUT", "/v1/stream/bad/fork", headers={"Stream-Forked-From": "/v1/stream/bad/deleted"})
    assert fork.status_code == 201, fork.text
    assert site.request("DELETE", f"/v1/stream/{names['deleted']}").status_code == 204
    foreign = put("other", b"1")
    kept = site.request("HEAD", f"/v1/stream/{names['kept']}").headers["Stream-Earliest-Offset"]
    start = site.request("HEAD", f"/v1/stream/{names['json']}").headers["Stream-Earliest-Offset"]
    offsets = {
        "start": start,
        "tail": tail,
        "removed": removed,
        "foreign": foreign,
        "future": "9999999999999999_0000000000000001",
        "earliest": kept,
    }
    return Prepared(names, offsets)


def contents(site: Site, prepared: Prepared) -> list[tuple[object, ...]]:
    """All that can be seen of the streams that the table names."""
    seen: list[tuple[object, ...]] = []
    for kind in ("json", "text", "closed", "kept"):
        path = f"/v1/stream/{prepared.names[kind]}"
        head, page = site.request("HEAD", path), site.get(path, headers={"Accept": "application/x-ndjson"})
        fields = {name: value for name, value in head.headers.items() if name.startswith("stream-")}
        seen.append((kind, head.status_code, fields, page.content))
    return seen


def send(site: Site, prepared: Prepared, row: BadInput, fresh: str) -> Answer:
    """Make the row's request."""
    headers = [(name, prepared.fill(value).encode("latin-1")) for name, value in row.headers.items()]
    target = prepared.fill(row.target).replace("{fresh}", fresh)
    return ask(site.address, row.method, target, headers, row.body)


@pytest.mark.parametrize("row", ROWS, ids=[row.what[:60] for row in ROWS])
def test_bad_input_gets_its_documented_answer_and_changes_nothing(
    site: Site, prepared: Prepared, row: BadInput
) -> None:
    """Status, problem type, fields and request id are as documented, and no stream is made or touched."""
    fresh = f"bad/fresh-{ROWS.index(row)}"
    before = contents(site, prepared)
    answer = send(site, prepared, row, fresh)
    assert (answer.status, answer.slug) == (row.status, row.problem), answer.body
    for name, value in row.answers.items():
        assert answer.headers[name] == prepared.fill(value)
    for name, member in row.members.items():
        assert answer.problem[name] == (prepared.fill(member) if isinstance(member, str) else member)
    if row.problem:
        assert answer.problem["status"] == row.status
        assert answer.problem["request_id"] == answer.headers["X-Request-ID"]
        assert _REQUEST_ID.fullmatch(answer.headers["X-Request-ID"])
        assert answer.headers["Cache-Control"] == "no-store"
    assert contents(site, prepared) == before
    assert site.request("HEAD", f"/v1/stream/{fresh}").status_code == 404


@pytest.mark.parametrize("row", [row for row in ROWS if row.problem], ids=lambda row: row.what[:60])
def test_refusal_says_something_in_one_line(site: Site, prepared: Prepared, row: BadInput) -> None:
    """The detail is a short sentence that a person can act on, without a trace of our insides."""
    detail = send(site, prepared, row, "bad/fresh").problem["detail"]
    assert 10 < len(detail) < 400
    assert "\n" not in detail
    assert not re.search(r"Traceback|Error\(|object at 0x|None", detail)


ODD_NAMES = ("{a}", "{", "}{a", "a:b", "*", "[a-z]", "%3Fa", "%C3%A9", "e%CC%81", "%D7%A9", "%F0%9F%92%A1")
"""Braces, colons and wildcards mean something to Redis; é is one character and two; right to left; beyond 16 bits."""


def test_odd_names_are_streams_of_their_own(site: Site) -> None:
    """What means something to Redis means nothing in a name, and nothing is normalised: é and é are two streams."""
    targets = [f"/v1/stream/odd/{name}" for name in ODD_NAMES]
    for target in targets:
        answer = ask(site.address, "PUT", target, [("Content-Type", b"text/plain")], target.encode())
        assert answer.status == 201, answer.body
    for target in targets:
        assert ask(site.address, "GET", target, [], None).body == target.encode()
    listed = [stream["name"] for stream in site.get("/v1/streams?prefix=odd/").json()["streams"]]
    assert sorted(listed) == sorted(f"odd/{unquote(name)}" for name in ODD_NAMES)
    assert site.request("DELETE", "/v1/streams", params={"prefix": "odd/*"}).json() == {"deleted": 1}
    assert site.request("DELETE", "/v1/streams", params={"prefix": "odd/"}).json() == {"deleted": len(ODD_NAMES) - 1}


def test_table_is_the_documented_one() -> None:
    """docs/reference/api.md has exactly these rows."""
    block = (
        PAGE.read_text(encoding="utf-8")
        .partition("<!-- bad inputs -->\n")[2]
        .partition("<!-- end of bad inputs -->")[0]
    )
    assert block.strip().splitlines() == "\n".join(document_rows()).strip().splitlines()
