"""The address of a site, the key to it, and the connections: everything above speaks through this.

A stream's URL is `<url>/v1/stream/<name>`; an address that already ends in `/v1/stream` (the form that the Durable
Streams command line takes) means the same. The key goes into the Authorization header and nowhere else: not into
`repr`, not into an error, and to no other host, because redirects are not followed.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from streaming.names import check_name, quote_name

from .errors import NoAnswer, NotSent, UsageError, answer_error

__all__ = ["DEFAULT_URL", "Site"]

DEFAULT_URL = "http://127.0.0.1:8000"
STREAM_ROOT = "/v1/stream"

_CONNECT_S = 5.0
_ANSWER_S = 20.0
"""For one answer; the server's own deadline for an append is 5 s, and a proxy may sit between."""
_MAX_CONNECTIONS = 16


class Site:
    """A Durable Streams server, as its clients see it. An async context manager that owns its connections.

    Args:
        url: http or https; a path is kept as a prefix.
        key: sent as `Authorization: Bearer <key>`.
        authorization: a whole Authorization value, for servers that want another scheme; `key` wins.

    Raises: UsageError: the address or the key can't be used.
    """

    def __init__(self, url: str = DEFAULT_URL, *, key: str | None = None, authorization: str | None = None) -> None:
        self.url = _check_url(url)
        value = f"Bearer {key}" if key else authorization
        headers = {"User-Agent": "streamsite-client", "Accept-Encoding": "identity"}
        if value:
            if not value.isascii() or not value.isprintable():
                raise UsageError("the key holds characters that an HTTP header can't carry")
            headers["Authorization"] = value
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=_MAX_CONNECTIONS, keepalive_expiry=60.0
            ),
            # Loading the certificates takes longer than a whole command; without TLS nothing is verified.
            verify=self.url.startswith("https:"),
            # A proxy from the environment can't reach this machine's own loopback.
            trust_env=not _is_loopback(self.url),
        )

    def __repr__(self) -> str:
        return f"Site({self.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def stream_url(self, name: str) -> str:
        """Where a stream is read and appended to.

        Raises: UsageError: no stream can have that name.
        """
        return f"{self.url}{STREAM_ROOT}/{_quoted(name)}"

    def viewer_url(self, name: str) -> str:
        """The page that shows a stream in a browser."""
        return f"{self.url}/streams/{_quoted(name)}"

    @property
    def list_url(self) -> str:
        """Where streams are listed; an extension of the protocol."""
        return f"{self.url}/v1/streams"

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> httpx.Response:
        """Send one request and read the answer whole.

        Returns: a 2xx answer.
        Raises:
            NoAnswer: nothing whole came back.
            ProblemAnswer: the server refused.
        Cancellation: the request may have been carried out.
        """
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
        with _transport_errors(self.url):
            answer = await self._client.request(
                method, url, headers=headers, params=params, content=content, timeout=timeout
            )
        if not answer.is_success:
            raise answer_error(answer.status_code, answer.headers, answer.content)
        return answer

    @contextlib.asynccontextmanager
    async def stream(
        self, url: str, *, headers: Mapping[str, str], params: Mapping[str, str], silence_s: float
    ) -> AsyncIterator[httpx.Response]:
        """Send a GET and hand out its answer while the body is still coming.

        Args:
            silence_s: longest wait for the next bytes, > the server's heartbeat.

        Raises: as `request`; reading the body raises `NoAnswer` when it breaks off.
        """
        timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S, read=silence_s)
        with _transport_errors(self.url):
            async with self._client.stream("GET", url, headers=headers, params=params, timeout=timeout) as answer:
                if not answer.is_success:
                    raise answer_error(answer.status_code, answer.headers, await answer.aread())
                yield answer

    async def aclose(self) -> None:
        """Close all connections; waits for nobody."""
        await self._client.aclose()


@contextlib.contextmanager
def _transport_errors(url: str) -> Iterator[None]:
    """Turn httpx's errors into ours; the cause is kept."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotSent(f"can't connect to {url}: {_reason(error)}") from error
    except httpx.TimeoutException as error:
        raise NoAnswer(f"no answer from {url} in time") from error
    except (httpx.TransportError, httpx.DecodingError, httpx.StreamError) as error:
        raise NoAnswer(f"the connection to {url} broke: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"not an address: {url!r}: {error}") from error
    if port == 0 or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"the address must look like http://host:port or https://host, got {url!r}")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise UsageError("the address may not hold a query, a fragment or credentials; give the key with --key")
    return url.rstrip("/").removesuffix(STREAM_ROOT).rstrip("/")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _quoted(name: str) -> str:
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(f"not a stream name: {error}") from error
    return quote_name(name)
