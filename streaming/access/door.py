"""The door: nothing is served that the operator did not open, nor an open site to a page of somebody else's."""

from __future__ import annotations

import functools

from django.conf import settings as django_settings
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

from streaming.conf import StreamingSettings
from streaming.errors import RequestError

__all__ = ["check_open"]


def check_open(settings: StreamingSettings, request: HttpRequest) -> None:
    """Refuse a request while the site is closed, and to an open one that was reached by another's name.

    Without keys the name is all that tells a browser's request from one that a foreign page makes by DNS rebinding: its
    own name, led to our address.

    Raises: RequestError.
    """
    if not settings.open:
        raise RequestError(403, "closed", "this site is closed: nothing has been opened yet by its operator")
    host = request.META.get("HTTP_HOST")
    # No Host is HTTP/1.0, which no browser speaks.
    if host is not None and not _is_ours(host, _allowed_hosts()):
        raise RequestError(
            400, "bad-host", "this site is open, and answers to its own names only; they are in ALLOWED_HOSTS"
        )


def _allowed_hosts() -> tuple[str, ...]:
    """As Django has them, which takes the names of the machine itself for granted while one develops."""
    if django_settings.DEBUG and not django_settings.ALLOWED_HOSTS:
        return (".localhost", "127.0.0.1", "[::1]")
    return tuple(django_settings.ALLOWED_HOSTS)


@functools.lru_cache(maxsize=256)
def _is_ours(host: str, allowed: tuple[str, ...]) -> bool:
    """Whether a Host field names this site, as Django judges it; 3 µs, and the same few hosts come again and again."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, allowed)
