"""Random requests: whatever comes, no 5xx, and each refusal is a problem document."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.streaming.api.raw_http import Answer, opened, read_answer, request_bytes
from tests.support.site import Site

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]
FIELDS = [
    "Accept", "Content-Type", "Content-Encoding", "If-None-Match", "Last-Event-ID", "Origin", "Producer-Epoch", "Producer-Id",
    "Producer-Seq", "Range", "Stream-Closed", "Stream-Durability", "Stream-Event-Type", "Stream-Expires-At", "Stream-Fork-Offset",
    "Stream-Fork-Sub-Offset", "Stream-Forked-From", "Stream-Retention", "Stream-Seq", "Stream-TTL", "X-Request-ID", "traceparent",
]  # fmt: skip
WORDS = [
    "", "0", "1", "-1", "now", "true", "1e3", "9" * 40, "0001764000000000_0000000000000001", "9999999999999999_0000000000000001",
    "0000000000000000_0000000000000000", "application/json", "application/x-ndjson", "text/plain", "text/event-stream", "*/*",
    "/v1/stream/fuzz/a", "/v1/stream/fuzz/b", "/v1/stream/", "fsynced", "replicated:1", "age=1, count=1", "2030-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00", "gzip", "a;q=0.5, b;q=x", "message", "error", "\xff\xfe", "a,b", '"', ";", "=", "%",
]  # fmt: skip
RANGES = [(0x20, 0x7E), (0xA0, 0xFF)]
NAMES = [
    "fuzz/a",
    "fuzz/b",
    "fuzz/json",
    "fuzz/%00",
    "fuzz/%ff",
    "fuzz/a%2Fb",
    "fuzz//b",
    "..",
    "__ds/x",
    "",
    "fuzz/" + "a" * 300,
]
PARAMETERS = ["offset", "tail", "cursor", "prefix", "after", "limit", "live"]
BODIES = [
    b"",
    b"1",
    b"[1,2]",
    b"[]",
    b"{",
    b'{"a":1}\n{"b":2}\n',
    b"\xff\xfe",
    b"[" * 2000,
    b"1e999",
    b'"\\ud800"',
    b"a" * 300_000,
]

# Without C1 controls: Twisted parses Content-Type by itself, takes U+0085 for a line end and closes without an answer.
header_text = st.one_of([st.text(st.characters(min_codepoint=lo, max_codepoint=hi), max_size=30) for lo, hi in RANGES])
values = st.one_of(st.sampled_from(WORDS), header_text.map(str.strip))
# `live` words that wait have their own tests; here every request must end by itself.
parameters = st.tuples(st.sampled_from(PARAMETERS), st.one_of(st.sampled_from(WORDS), st.text(max_size=10)))
quoted = st.binary(max_size=12).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw))
paths = st.one_of(
    st.just("/v1/stream/fuzz/json"),
    st.sampled_from(NAMES).map(lambda name: f"/v1/stream/{name}"),
    quoted.map(lambda name: f"/v1/stream/fuzz/{name}"),
    st.sampled_from(["/v1/streams", "/v1/", "/v1/stream", "/v1/viewer/viewer.js", "/livez", "/readyz"]),
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site of its own: a random prefix may delete anything."""
    with Site(
        tmp_path_factory.mktemp("fuzz"), env={"STREAMSITE_LONG_POLL_S": "0.1", "STREAMSITE_CORS_ORIGINS": "*"}
    ) as running:
        yield running


def send(site: Site, method: str, target: str, headers: list[tuple[str, str]], body: bytes | None) -> Answer | None:
    """One request; None for a live answer, which is left after its header."""
    fields = [(name, value.encode("latin-1")) for name, value in headers]
    with opened(site.address) as connection:
        connection.sendall(request_bytes(method, target.encode("ascii"), fields, body))
        head = connection.recv(65536, 0x02)  # MSG_PEEK
        if head.startswith(b"HTTP/1.1 200 ") and b"Transfer-Encoding: chunked" in head.partition(b"\r\n\r\n")[0]:
            return None
        return read_answer(connection, method)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(METHODS),
    path=paths,
    query=st.lists(parameters, max_size=3),
    headers=st.lists(st.tuples(st.sampled_from(FIELDS), values), max_size=5),
    body=st.one_of(st.none(), st.sampled_from(BODIES), st.binary(max_size=50)),
)
def test_no_request_makes_the_server_fail(
    fuzzed: Site,
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: bytes | None,
) -> None:
    """Never a 5xx; every 4xx but those of HTTP itself is a problem with the request's id."""
    fuzzed.request("PUT", "/v1/stream/fuzz/json", headers={"Content-Type": "application/json"}, content=b"[1,2,3]")
    encoded = "&".join(f"{name}={''.join(f'%{byte:02x}' for byte in value.encode())}" for name, value in query)
    answer = send(fuzzed, method, path + (f"?{encoded}" if encoded else ""), headers, body)
    if answer is None:
        return
    assert answer.status < 500, answer.body
    if answer.status >= 400 and method != "HEAD" and answer.headers.get("X-Request-ID"):
        assert answer.problem["request_id"] == answer.headers["X-Request-ID"], answer.body
