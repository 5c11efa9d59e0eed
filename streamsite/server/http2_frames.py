"""h2's connection with a scale at its door: every frame that moves nothing forward is weighed before h2 works on it.

A frame of some bytes can cost the receiver far more than the sender: a reset after each request (CVE-2023-44487), a
header block without end (CVE-2024-27316), settings and pings that have to be acknowledged (CVE-2019-9512, 9515), empty
data (CVE-2019-9518), windows opened by a byte (CVE-2019-9511). h2 answers each of them for as long as they come. Who
sends too many is told ENHANCE_YOUR_CALM and disconnected (RFC 9113, 10.5).

Some of h2's private names are used: the pinned requirements say which h2 that was written for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.exceptions import DenialOfServiceError, ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame, Frame, HeadersFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

from .limits import Limits

__all__ = ["Bucket", "Flood", "Frames"]

STREAMS = 100
"""Requests of one connection at a time: what clients assume before they are told, too."""
STREAM_WINDOW_BYTES = 256 * 1024
"""Of one body, sent but not yet taken by the application; a quarter of what crosses an ocean in one round trip."""
CONNECTION_WINDOW_BYTES = 1024 * 1024
"""Of all bodies of a connection together, so that 100 streams can't hold 25 MB."""
RESETS, RESETS_PER_S = 100, 10.0
"""Requests that a client may take back; 200 in ten seconds. A page that is left takes back what it has open."""
CONTROLS, CONTROLS_PER_S = 200, 20.0
"""Settings, pings, priorities, empty data, unknown frames. Clients that measure the line ping once a round trip."""
WINDOW_UPDATES, WINDOW_UPDATES_PER_DATA = 1000, 10
"""Two for each data frame is what the most careful clients send."""
BLOCK_FRAMES = 16
"""Pieces of one header block. Its bytes are bounded by twice what may be in them."""
TABLE_BYTES = 4096
"""Of the table that our answers' fields are packed with, whatever the client allows: it is our memory."""

_KNOWN_SETTINGS = frozenset(SettingCodes)


class Flood(DenialOfServiceError):
    """Too much of something.

    Args:
        kind: what; a label of the metric.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(f"too many frames of the kind {kind}")
        self.kind = kind


class Bucket:
    """So many at once, so many a second for ever.

    Args:
        burst, per_s: as said. now_mono: the clock.
    """

    __slots__ = ("_burst", "_left", "_now_mono", "_per_s", "_seen_mono")

    def __init__(self, burst: int, per_s: float, now_mono: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._now_mono = now_mono
        self._left = float(burst)
        self._seen_mono = now_mono()

    def take(self) -> bool:
        """Whether there was one left."""
        now_mono = self._now_mono()
        self._left = min(self._burst, self._left + (now_mono - self._seen_mono) * self._per_s)
        self._seen_mono = now_mono
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Frames(H2Connection):
    """The server's side of one connection, bounded.

    Args:
        limits: of a head.
        now_mono: the clock.
    """

    MAX_CLOSED_STREAMS = 1000
    """Streams whose end is remembered; h2 keeps 65,536, some 10 MB for a connection that lives long."""

    def __init__(self, limits: Limits, now_mono: Callable[[], float]) -> None:
        # What we send has been checked by us.
        super().__init__(H2Configuration(client_side=False, header_encoding=None, validate_outbound_headers=False))
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.head_bytes,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            },
        )
        # Beyond what was asked for a request is refused, beyond twice that its unpacking ends in the middle, and with
        # it the connection.
        self._block_bytes = self.decoder.max_header_list_size = 2 * limits.head_bytes
        self._resets = Bucket(RESETS, RESETS_PER_S, now_mono)
        self._controls = Bucket(CONTROLS, CONTROLS_PER_S, now_mono)
        self._window_updates_left = WINDOW_UPDATES

    def start(self) -> None:
        """Queue the settings and the connection's window."""
        self.initiate_connection()
        self.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65535)

    def receive_data(self, data: Any) -> list[Event]:
        """What came.

        Raises: ProtocolError, of which Flood is one.
        """
        try:
            events = super().receive_data(data)
        except Flood:
            raise
        except DenialOfServiceError as error:
            raise Flood("headers") from error
        except ProtocolError:
            if len(self.incoming_buffer._headers_buffer) > BLOCK_FRAMES:  # more than h2 takes, too
                raise Flood("headers") from None
            raise
        block = self.incoming_buffer._headers_buffer
        if len(block) > BLOCK_FRAMES or sum(len(frame.data) for frame in block) > self._block_bytes:
            raise Flood("headers")
        self.encoder.header_table_size = min(self.encoder.header_table_size, TABLE_BYTES)
        return events

    def on_reset(self) -> None:
        """Count a stream that was reset, by the client or because of it.

        Raises: Flood.
        """
        if not self._resets.take():
            raise Flood("resets")

    def on_control(self) -> None:
        """Count something that moved nothing forward.

        Raises: Flood.
        """
        if not self._controls.take():
            raise Flood("control")

    def on_data_sent(self) -> None:
        """Count a data frame, which the client may answer with window updates."""
        self._window_updates_left = min(WINDOW_UPDATES, self._window_updates_left + WINDOW_UPDATES_PER_DATA)

    def _receive_frame(self, frame: Frame) -> list[Event]:
        if isinstance(frame, RstStreamFrame):
            self.on_reset()
        elif isinstance(frame, WindowUpdateFrame):
            self._window_updates_left -= 1
            if self._window_updates_left < 0:
                raise Flood("window_updates")
        elif isinstance(frame, SettingsFrame):
            self.on_control()
            # h2 keeps all that it does not know: 65,536 of them take 45 MB.
            frame.settings = {code: value for code, value in frame.settings.items() if code in _KNOWN_SETTINGS}
        elif isinstance(frame, DataFrame):
            if not frame.data and "END_STREAM" not in frame.flags:
                self.on_control()
        elif not isinstance(frame, HeadersFrame):
            self.on_control()
        return super()._receive_frame(frame)
