"""What accepts, and what speaks WebSocket. Its frames are in tests/hardening/test_daphne_traps.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.streamsite.server.served import Served
from tests.streamsite.server.websocket import open_websocket, websocket_frame, websocket_head


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The probe."""
    with Served() as running:
        yield running


def test_websocket_is_daphnes_and_counted_as_a_connection_no_more(served: Served) -> None:
    """Its limits are its own; the descriptor is counted all the same."""
    with served.wire() as wire:
        wire.send(websocket_head())
        assert wire.line() == b"HTTP/1.1 101 Switching Protocols\r\n"
        assert served.count("connections") == 1, "the one that asks"
        assert served.count("taken") == 2
    served.until("taken", 1)


def test_root_path_is_not_the_clients_to_choose(served: Served) -> None:
    """Stock daphne takes it from a field that any client may send."""
    assert open_websocket(served, b"Daphne-Root-Path: /evil\r\n")["root_path"] == ""


def test_websocket_that_ends_leaves_nothing(served: Served) -> None:
    """Frames, then a goodbye, or none."""
    for frame in (websocket_frame(8, b"\x03\xe8"), b""):
        with served.wire() as wire:
            wire.send(websocket_head() + websocket_frame(1, b"a"))
            while wire.line() != b"\r\n":
                pass
            wire.send(frame)
    served.until("taken", 1)


def test_no_access_log_is_written(served: Served) -> None:
    """The middleware has its line, with the request's id."""
    served.get("/hello")
    assert "/hello" not in served.log()
