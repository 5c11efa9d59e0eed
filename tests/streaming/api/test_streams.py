"""Creating, appending and deleting beyond the conformance suite."""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.streaming.api.bad_inputs import MAX_BODY_BYTES, MAX_EVENT_BYTES
from tests.streaming.api.conftest import Append
from tests.streaming.api.live_reader import sse
from tests.streaming.api.raw_http import ask, opened, read_answer
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import redis_binary
from tests.support.site import Site

Make = Callable[..., str]
NDJSON = "application/x-ndjson"


def test_ndjson_append_stores_an_event_a_line(site: Site, make: Make, append: Append) -> None:
    """An array on a line is one event; blank lines, CRLF and a missing last line end don't matter."""
    path = make()
    append(path, b'{"a": 1}\r\n\n[2, 3]\n"four"', NDJSON, Stream_Event_Type="row")
    assert site.get(path).content == b'[{"a": 1},[2, 3],"four"]'
    with sse(site, path) as reader:
        assert {event.type for event in reader.take(3)} == {"row"}


def test_ndjson_append_with_a_bad_line_stores_nothing(site: Site, make: Make) -> None:
    """All or nothing, whichever line it is, and the line is named as an editor counts."""
    path = make()
    good = [b"%d" % number for number in range(500)]
    for line in (1, 250, 500):
        body = b"\n".join([*good[: line - 1], b"{oops", *good[line:]])
        answer = site.request("POST", path, headers={"Content-Type": NDJSON}, content=body)
        assert (answer.status_code, answer.json()["line"]) == (400, line)
        assert site.get(path).content == b"[]"


@pytest.mark.parametrize("media", [NDJSON, "application/ndjson", "Application/X-NDJSON; charset=utf-8"])
def test_ndjson_goes_by_any_of_its_names(site: Site, make: Make, append: Append, media: str) -> None:
    """In any case, with parameters."""
    path = make()
    append(path, b"1\n2\n", media)
    assert site.get(path).json() == [1, 2]


def test_content_type_of_an_append_is_compared_without_case_and_parameters(
    site: Site, make: Make, append: Append
) -> None:
    """Every client adds its own charset."""
    path = make("Text/Plain; Charset=UTF-8")
    append(path, b"a", "TEXT/plain")
    append(path, b"b", "text/plain; charset=us-ascii")
    assert (site.get(path).content, site.get(path).headers["Content-Type"]) == (b"ab", "text/plain; charset=utf-8")


@pytest.fixture(scope="module", name="flushing")
def flushing_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose Redis can flush for one append alone, which the embedded server can't."""
    env = {"STREAMSITE_REDIS_SERVER": str(redis_binary("redis-8.2"))}
    with Site(tmp_path_factory.mktemp("flushing"), env=env) as running:
        yield running


def test_answer_says_what_the_append_has_survived(flushing: Site) -> None:
    """The default, and more where one append asks for it."""
    path, headers = "/v1/stream/durability/append", {"Content-Type": "application/json"}
    assert flushing.request("PUT", path, headers=headers).status_code == 201
    assert flushing.request("POST", path, headers=headers, content=b"1").headers["Stream-Durability"] == "written"
    more = {**headers, "Stream-Durability": "fsynced"}
    answer = flushing.request("POST", path, headers=more, content=b"2")
    assert (answer.status_code, answer.headers["Stream-Durability"]) == (204, "fsynced")


def test_stream_s_own_durability_is_the_least_of_each_append(flushing: Site) -> None:
    """It is told by HEAD, and each append's answer is at least that."""
    path, headers = "/v1/stream/durability/stream", {"Content-Type": "application/json"}
    made = flushing.request("PUT", path, headers={**headers, "Stream-Durability": "fsynced"})
    assert made.status_code == 201
    assert flushing.request("HEAD", path).headers["Stream-Durability"] == "fsynced"
    answer = flushing.request("POST", path, headers=headers, content=b"1")
    assert answer.headers["Stream-Durability"] == "fsynced"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_fsynced_on_the_embedded_server_says_how_to_get_it(site: Site, make: Make, method: str) -> None:
    """Its default mode flushes once a second, and can't be asked to flush for one append or stream."""
    path = make() if method == "POST" else f"/v1/stream/api/{secrets.token_hex(6)}"
    headers = {"Content-Type": "application/json", "Stream-Durability": "fsynced"}
    answer = site.request(method, path, headers=headers, content=b"1")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/durability-unavailable")
    assert "STREAMSITE_DURABILITY=fsynced" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "fields", "reason"),
    [
        (b"{", {}, "bad_json"),
        (b"", {}, "empty_body"),
        (b"1", {"Content-Type": "text/plain"}, "content_type_mismatch"),
        (b"1", {"Stream-Durability": "replicated:9"}, "durability_unavailable"),
        (b"1", {"Producer-Id": "p"}, "bad_header"),
        (b'"' + b"a" * MAX_EVENT_BYTES + b'"', {}, "too_large"),
    ],
)
def test_refused_append_is_counted_once_by_its_problem(
    site: Site, make: Make, body: bytes, fields: dict[str, str], reason: str
) -> None:
    """Whoever refuses it, the interface or the log; and what is refused to readers is not an append."""
    path = make()
    before = _rejections(site)
    answer = site.request("POST", path, headers={"Content-Type": "application/json", **fields}, content=body)
    assert answer.status_code >= 400
    assert site.get(f"{path}/none").status_code == 404
    assert site.request("PUT", path, headers={"Content-Type": "text/plain"}).status_code == 409
    after = _rejections(site)
    assert {name: count - before[name] for name, count in after.items() if count != before[name]} == {reason: 1}


def test_append_whose_name_is_refused_is_counted(site: Site) -> None:
    """It is refused before anybody looks at what it carries."""
    before = _rejections(site)
    answer = site.request("POST", "/v1/stream/a//b", headers={"Content-Type": "application/json"}, content=b"1")
    assert answer.json()["type"] == "/problems/bad-name"
    assert _rejections(site)["bad_name"] == before["bad_name"] + 1


def _rejections(site: Site) -> dict[str, float]:
    """The refused appends by their reason."""
    found = site.metrics().items()
    return {dict(has)["reason"]: value for (name, has), value in found if name == "stream_append_rejected_total"}


def test_retention_removes_the_oldest_and_says_from_where_to_read(site: Site, make: Make, append: Append) -> None:
    """The start still works; an offset before what is kept is 410 with where to go on."""
    path = make(Stream_Retention="count=3")
    first = append(path, b"[0]")
    for number in range(1, 10):
        append(path, b"[%d]" % number)
    head = site.request("HEAD", path).headers
    assert head["Stream-Retention"] == "count=3"
    kept = site.get(path).json()
    assert kept[-1] == 9
    assert 0 not in kept
    gone = site.get(f"{path}?offset={first}")
    assert gone.status_code == 410
    problem = gone.json()
    assert problem["type"] == "/problems/offset-gone"
    assert problem["earliest_offset"] == gone.headers["Stream-Earliest-Offset"] == head["Stream-Earliest-Offset"]
    assert site.get(f"{path}?offset={problem['earliest_offset']}").json() == kept


def test_names_that_look_alike_are_two_streams(site: Site) -> None:
    """Nothing is normalised: composed and decomposed letters stay apart."""
    base = f"api/{secrets.token_hex(4)}/é"
    names = [unicodedata.normalize(form, base) for form in ("NFC", "NFD")]
    for number, name in enumerate(names):
        headers = {"Content-Type": "text/plain"}
        answer = site.request("PUT", f"/v1/stream/{quote(name)}", headers=headers, content=b"%d" % number)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{site.url}/v1/stream/{quote(name)}"
    assert [site.get(f"/v1/stream/{quote(name)}").content for name in names] == [b"0", b"1"]


def test_location_without_a_host_is_a_path(tmp_path: Path) -> None:
    """HTTP/1.0 has none: the stream is made, so the answer says so, and names no host that is not ours."""
    with Site(tmp_path, env={"STREAMSITE_ALLOWED_HOSTS": "localhost"}) as named, opened(named.address) as connection:
        connection.sendall(b"PUT /v1/stream/old HTTP/1.0\r\n\r\n")
        answer = read_answer(connection, "PUT")
        assert (answer.status, answer.headers["Location"]) == (201, "/v1/stream/old")


def test_chunked_body_over_the_limit_is_refused_and_stores_nothing(site: Site, make: Make) -> None:
    """Its length is known only when the limit is passed."""
    path = make("application/octet-stream")
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    body = chunk * (MAX_BODY_BYTES // 0x10000 + 1) + b"0\r\n\r\n"
    headers = [("Content-Type", b"application/octet-stream"), ("Transfer-Encoding", b"chunked")]
    answer = ask(site.address, "POST", path, headers, body)
    assert (answer.status, answer.slug) == (413, "too-large")
    assert site.get(path).content == b""


def test_chunked_body_within_the_limit_is_stored(site: Site, make: Make) -> None:
    """In pieces or whole, it is one append."""
    path = make("application/octet-stream")
    headers = [("Content-Type", b"application/octet-stream"), ("Transfer-Encoding", b"chunked")]
    answer = ask(site.address, "POST", path, headers, b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")
    assert answer.status == 204
    assert site.get(path).content == b"abcde"


@pytest.mark.parametrize("given", ["abcdefgh", "A.b_c:d-1", "a" * 128])
def test_harmless_request_id_is_taken(site: Site, make: Make, given: str) -> None:
    """It comes back, in problems too."""
    assert site.get(make(), headers={"X-Request-ID": given}).headers["X-Request-ID"] == given
    problem = site.get("/v1/stream/no/such", headers={"X-Request-ID": given})
    assert problem.json()["request_id"] == problem.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["short", "a" * 129, "with space", "käse-käse", "a;b;c;d;e", ""])
def test_other_request_id_is_replaced(site: Site, given: str) -> None:
    """By a UUID, the same in the field and in the problem."""
    answer = ask(site.address, "GET", "/v1/stream/no/such", [("X-Request-ID", given.encode())])
    assert answer.headers["X-Request-ID"] != given
    assert len(answer.headers["X-Request-ID"]) == 36
    assert answer.problem["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.slow
def test_live_reader_keeps_a_stream_with_sliding_ttl(site: Site, make: Make) -> None:
    """The stream outlives its time while somebody follows it, and not for long afterwards."""
    ttl_s = 1
    path = make(body=b"1", Stream_TTL=str(ttl_s))
    with sse(site, path) as reader:
        until = time.monotonic() + 3 * ttl_s
        reader.until(lambda: time.monotonic() > until)
        assert site.request("HEAD", path).status_code == 200
    began = time.monotonic()
    eventually(lambda: site.request("HEAD", path).status_code == 404, 4 * ttl_s, "the stream has expired")
    assert time.monotonic() - began < bound(4 * ttl_s)
