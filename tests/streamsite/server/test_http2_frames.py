"""The scale at HTTP/2's door: what is counted, and when it is enough."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame, PingFrame, RstStreamFrame, WindowUpdateFrame

from streamsite.server.http2_frames import CONTROLS, RESETS, WINDOW_UPDATES, Bucket, Flood, Frames
from streamsite.server.limits import Limits


class _Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    """At zero."""
    return _Clock()


@pytest.fixture
def frames(clock: _Clock) -> Frames:
    """A server's side that has begun, and has the client's first words."""
    made = Frames(Limits(), clock)
    made.start()
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    made.receive_data(client.data_to_send())
    return made


def request(number: int) -> Frame:
    """A GET, complete."""
    fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a")]
    frame = HeadersFrame(number, data=Encoder().encode(fields))
    frame.flags.add("END_HEADERS")
    frame.flags.add("END_STREAM")
    return frame


def test_bucket_gives_its_burst_and_then_its_rate(clock: _Clock) -> None:
    """And no more after a pause than the burst."""
    bucket = Bucket(3, 2.0, clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.now = 0.5
    assert [bucket.take(), bucket.take()] == [True, False]
    clock.now = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_resets_are_taken_at_the_rate_of_a_browser(frames: Frames, clock: _Clock) -> None:
    """A page that is left takes back a few requests every second, for as long as it likes."""
    number = 1
    for _ in range(100):
        clock.now += 1.0
        for _ in range(9):
            frames.receive_data(request(number).serialize() + RstStreamFrame(number, error_code=8).serialize())
            number += 2


def test_too_many_resets_are_a_flood(frames: Frames) -> None:
    """A hundred at once, and not one more."""
    for number in range(1, 2 * RESETS, 2):
        frames.receive_data(request(number).serialize() + RstStreamFrame(number, error_code=8).serialize())
    with pytest.raises(Flood) as caught:
        frames.receive_data(
            request(2 * RESETS + 1).serialize() + RstStreamFrame(2 * RESETS + 1, error_code=8).serialize()
        )
    assert caught.value.kind == "resets"


def test_pings_of_a_client_that_measures_the_line_are_answered(frames: Frames, clock: _Clock) -> None:
    """One in 50 ms, for ever; a heap of them is a flood."""
    ping = PingFrame(0, opaque_data=bytes(8)).serialize()
    for _ in range(1000):
        clock.now += 0.05
        frames.receive_data(ping)
    with pytest.raises(Flood, match="control"):
        frames.receive_data(ping * (CONTROLS + 1))


def test_window_updates_are_taken_as_far_as_data_were_sent(frames: Frames) -> None:
    """Ten for each frame, and a thousand in advance."""
    update = WindowUpdateFrame(0, window_increment=1).serialize()
    frames.receive_data(update * WINDOW_UPDATES)
    for _ in range(50):
        frames.on_data_sent()
    frames.receive_data(update * 500)
    with pytest.raises(Flood, match="window_updates"):
        frames.receive_data(update)


@pytest.mark.parametrize("size", [0, 100, 16384])
def test_header_block_that_does_not_end_is_a_flood(frames: Frames, size: int) -> None:
    """By its pieces or by its bytes, before it is complete."""
    first = request(1)
    first.flags.discard("END_HEADERS")
    frames.receive_data(first.serialize())
    more = ContinuationFrame(1, data=bytes(size)).serialize()
    with pytest.raises(Flood, match="headers"):
        frames.receive_data(more * 20)
