"""The idempotent producer: what it was given is in the stream once, in order, whatever happens on the way.

Every request carries (producer id, epoch, seq), and the server keeps the last seq that it took (Durable Streams 5.2.1).
So a request whose answer got lost is simply sent again under the same numbers: it is taken now, or it was taken before.

Three rules make that hold with several requests under way:

- *Establish alone.* Until the server has answered the first request of an epoch nothing else is sent; otherwise a claim of
  a new epoch could leave requests of the old one behind.
- *Fall in line.* A request that failed, or came before its predecessor (409 with Producer-Expected-Seq), is sent again
  only when its predecessor is acknowledged. So one request at a time probes a server in trouble.
- *Claim only with clean hands.* A 403 is answered with a newer epoch only if nothing of this producer can have been taken
  under the old one. Later it means that another process has taken over the id, and this one stops.

A stream that is not JSON gets one event a request, because the server makes one event of such a body; several requests
are then under way at once. JSON values are joined into an array, which the server takes apart again (9.1.2); what gathers
while one request is under way is the next batch, so batches grow with the load and nobody waits for a full one.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .errors import BadAnswer, ClientError, ProblemAnswer, ProducerFenced, SequenceGap, StreamIsClosed, UsageError
from .retry import Backoff, Listener, Quiet
from .site import Site

__all__ = ["Producer", "ProducerStatistics", "is_json"]

DEFAULT_TYPE = "message"
MAX_SEQ = 2**53 - 1

_IN_FLIGHT = 8
"""Most requests under way for streams without batches: a round trip of 50 ms still leaves 160 events a second."""
_GROW_AFTER = 16
_GROW_AFTER_MOST = 1024
"""Acknowledgements without a gap before one more request goes under way. Requests on several connections overtake each
other, and each that does is sent twice: on loopback, eight at once took 2.3 times as long as one after the other. So the
window begins at one, and each gap halves it and doubles what it takes to grow."""
_BATCH_BYTES = 512 * 1024
_BATCH_EVENTS = 1000
_BUFFER_BYTES = 4 * 1024 * 1024
_EVENT_OVERHEAD_BYTES = 100
"""What a waiting event costs beside its data, so that a million empty ones are bounded too."""


@dataclass(frozen=True, slots=True)
class ProducerStatistics:
    """Counted since the producer was made, except the two gauges."""

    acked_events: int
    acked_bytes: int
    duplicates: int
    """Requests that the server had already taken: each would have been a repeated event without sequence numbers."""
    retries: int
    waiting_events: int
    """Gauge: taken by `append`, not yet acknowledged."""
    in_flight: int
    """Gauge: requests under way."""
    tail_offset: str
    """From the newest acknowledgement; empty before the first."""


@dataclass(frozen=True, slots=True)
class _Pending:
    data: bytes
    type: str

    @property
    def cost_bytes(self) -> int:
        return len(self.data) + _EVENT_OVERHEAD_BYTES


@dataclass(eq=False, slots=True)
class _Batch:
    """One request: its numbers and body never change once sent, except by a new epoch before anything was taken."""

    seq: int
    body: bytes
    type: str
    events: int
    data_bytes: int
    cost_bytes: int
    closes: bool
    acked: asyncio.Future[None]
    previous: asyncio.Future[None] | None
    is_uncertain: bool = False


class Producer:
    """Appends to one stream. An async context manager; leaving it flushes, unless an exception is on its way.

    Args:
        site: not closed by the producer.
        stream: exists already.
        content_type: the stream's own; decides whether events are batched.
        producer_id: None makes a random one. With a given one, a later producer of the same id shuts this one out.
        max_in_flight: requests under way; None chooses by content type.
        linger_s: how long to gather before a batch that is not full is sent; 0 sends at once.
        timeout_s: how long one request is retried; None means for ever.
        listener: told about retries.
    """

    def __init__(
        self,
        site: Site,
        stream: str,
        content_type: str,
        *,
        producer_id: str | None = None,
        max_in_flight: int | None = None,
        linger_s: float = 0.0,
        max_batch_bytes: int = _BATCH_BYTES,
        max_batch_events: int = _BATCH_EVENTS,
        max_buffer_bytes: int = _BUFFER_BYTES,
        timeout_s: float | None = None,
        listener: Listener | None = None,
    ) -> None:
        if producer_id is not None and not (producer_id and producer_id.isascii() and producer_id.isprintable()):
            raise UsageError("a producer id is printable ASCII and not empty")
        self._site = site
        self._url = site.stream_url(stream)
        self._content_type = content_type
        self._is_json = is_json(content_type)
        self._id = producer_id or f"publish-{uuid.uuid4()}"
        # With a given id an earlier run may have used epoch 0 with these very numbers, and the server would take the
        # new events for repeats of the old ones. The clock gives an epoch that no earlier run can have had.
        self._epoch = 0 if producer_id is None else time.time_ns() // 1_000_000
        self._max_in_flight = max_in_flight or (1 if self._is_json else _IN_FLIGHT)
        self._window = 1
        self._grow_after = _GROW_AFTER
        self._acks_without_gap = 0
        self._linger_s = linger_s
        self._max_batch_bytes = max_batch_bytes
        self._max_batch_events = max_batch_events if self._is_json else 1
        self._max_buffer_bytes = max_buffer_bytes
        self._timeout_s = timeout_s
        self._listener = listener or Quiet()

        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self._held_bytes = 0
        self._next_seq = 0
        self._is_established = False
        self._in_flight: dict[_Batch, asyncio.Task[None]] = {}
        self._is_troubled = False
        self._newest: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._is_flushing = False
        self._changed = asyncio.Event()
        self._error: ClientError | None = None

        self._acked_events = 0
        self._acked_bytes = 0
        self._waiting_events = 0
        self._duplicates = 0
        self._retries = 0
        self._tail_offset = ""

    @property
    def producer_id(self) -> str:
        """The id that the server knows this producer by."""
        return self._id

    def statistics(self) -> ProducerStatistics:
        """The counters now."""
        return ProducerStatistics(
            self._acked_events,
            self._acked_bytes,
            self._duplicates,
            self._retries,
            self._waiting_events,
            len(self._in_flight),
            self._tail_offset,
        )

    # Use.

    async def append(self, data: bytes, *, type: str = DEFAULT_TYPE) -> None:
        """Take an event for sending; wait while too much is unacknowledged.

        Args:
            data: not empty; for a JSON stream one JSON document.

        Raises: ClientError: what stopped the producer, now or earlier.
        Cancellation: the event is taken, or not.
        """
        if not data:
            raise UsageError("an event can't be empty")
        while self._error is None and self._held_bytes >= self._max_buffer_bytes:
            await self._wait_for_change()
        self._raise_error()
        event = _Pending(data, type)
        self._pending.append(event)
        self._pending_bytes += len(data)
        self._held_bytes += event.cost_bytes
        self._waiting_events += 1
        self._pump()

    async def flush(self) -> None:
        """Wait until all that was taken is acknowledged.

        Raises: ClientError: what stopped the producer.
        Cancellation: sending goes on.
        """
        self._is_flushing = True
        try:
            self._pump()
            while self._error is None and (self._pending or self._in_flight):
                await self._wait_for_change()
        finally:
            self._is_flushing = False
        self._raise_error()

    async def close_stream(self) -> None:
        """Flush, then close the stream for ever; may be repeated like any other request of the producer."""
        await self.flush()
        self._launch(self._make_batch([], closes=True))
        await self.flush()

    async def aclose(self) -> None:
        """Drop what is not acknowledged and end all tasks."""
        if self._linger is not None:
            self._linger.cancel()
        self._pending.clear()
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.flush()
        finally:
            await self.aclose()

    # Making batches.

    def _pump(self) -> None:
        """Send what may be sent now."""
        while self._pending and self._error is None:
            if not self._may_launch():
                return
            is_full = len(self._pending) >= self._max_batch_events or self._pending_bytes >= self._max_batch_bytes
            if self._linger_s and not is_full and not self._is_flushing:
                if self._linger is None:
                    self._linger = asyncio.get_running_loop().call_later(self._linger_s, self._linger_over)
                return
            self._launch(self._take_batch())

    def _linger_over(self) -> None:
        self._linger = None
        if self._pending and self._may_launch():
            self._launch(self._take_batch())
        self._pump()

    def _may_launch(self) -> bool:
        """Room in the window, and nobody is waiting in line: who came now would only get a gap for an answer."""
        return not self._is_troubled and len(self._in_flight) < (self._window if self._is_established else 1)

    def _take_batch(self) -> _Batch:
        """Cut the next batch: events of one type, because the type is a header of the request."""
        taken = [self._pending.popleft()]
        size = len(taken[0].data)
        while self._pending and len(taken) < self._max_batch_events:
            event = self._pending[0]
            if event.type != taken[0].type or size + len(event.data) > self._max_batch_bytes:
                break
            taken.append(self._pending.popleft())
            size += len(event.data)
        self._pending_bytes -= size
        return self._make_batch(taken)

    def _make_batch(self, events: list[_Pending], *, closes: bool = False) -> _Batch:
        body = b",".join(event.data for event in events)
        batch = _Batch(
            seq=self._next_seq,
            body=b"[" + body + b"]" if self._is_json and events else body,
            type=events[0].type if events else DEFAULT_TYPE,
            events=len(events),
            data_bytes=sum(len(event.data) for event in events),
            cost_bytes=sum(event.cost_bytes for event in events),
            closes=closes,
            acked=asyncio.get_running_loop().create_future(),
            previous=self._newest,
        )
        self._newest = batch.acked
        self._next_seq += 1
        return batch

    def _launch(self, batch: _Batch) -> None:
        self._in_flight[batch] = asyncio.create_task(self._deliver(batch), name=f"append {self._id} {batch.seq}")

    # Delivering one.

    async def _deliver(self, batch: _Batch) -> None:
        try:
            await self._send_until_acked(batch)
        except asyncio.CancelledError:
            batch.acked.cancel()
            raise
        except ClientError as error:
            # The first to fail is the cause; those behind it fail only because they can't follow.
            self._error = self._error or error
            batch.acked.cancel()
        else:
            batch.acked.set_result(None)
            self._acked_events += batch.events
            self._acked_bytes += batch.data_bytes
            self._waiting_events -= batch.events
            self._held_bytes -= batch.cost_bytes
        finally:
            del self._in_flight[batch]
            self._is_troubled = self._is_troubled and bool(self._in_flight)
            self._pump()
            self._changed.set()

    async def _send_until_acked(self, batch: _Batch) -> None:
        backoff = Backoff(self._timeout_s, self._listener)
        while True:
            # Decided before sending: only an answer to a request that was sent in line says something about the server.
            is_in_line = batch.previous is None or batch.previous.done()
            epoch = self._epoch
            try:
                await self._send(batch, epoch)
            except ClientError as error:
                self._retries += 1
                self._is_troubled = True
                batch.is_uncertain = batch.is_uncertain or error.is_uncertain
                if not is_in_line and (error.is_retryable or _is_about_numbers(error)):
                    self._shrink_window()
                    await self._wait_for_previous(batch)
                elif not self._renumber(batch, epoch, error):
                    await backoff.wait(error)
            else:
                backoff.reset()
                self._is_established = True
                self._grow_window()
                return

    def _shrink_window(self) -> None:
        if self._acks_without_gap:
            self._window = max(1, self._window // 2)
            self._grow_after = min(self._grow_after * 2, _GROW_AFTER_MOST)
            self._acks_without_gap = 0

    def _grow_window(self) -> None:
        self._acks_without_gap += 1
        if self._acks_without_gap >= self._grow_after and self._window < self._max_in_flight:
            self._window += 1
            self._acks_without_gap = 0

    async def _wait_for_previous(self, batch: _Batch) -> None:
        if batch.previous is None:
            return
        try:
            await asyncio.shield(batch.previous)
        except asyncio.CancelledError:
            if self._error is None:
                raise
            raise self._error from None

    async def _send(self, batch: _Batch, epoch: int) -> None:
        headers = {"Producer-Id": self._id, "Producer-Epoch": str(epoch), "Producer-Seq": str(batch.seq)}
        if batch.body:
            headers["Content-Type"] = self._content_type
        if batch.type != DEFAULT_TYPE:
            headers["Stream-Event-Type"] = batch.type
        if batch.closes:
            headers["Stream-Closed"] = "true"
        try:
            answer = await self._site.request("POST", self._url, headers=headers, content=batch.body)
        except StreamIsClosed:
            if batch.closes:
                return
            raise
        if "producer-seq" not in answer.headers and "stream-next-offset" not in answer.headers:
            raise BadAnswer(
                f"{self._url} answered {answer.status_code} to an append, but not as a Durable Streams server does"
            )
        if answer.status_code == 204 and not batch.closes:
            self._duplicates += 1
        self._tail_offset = max(self._tail_offset, answer.headers.get("stream-next-offset", ""))

    def _renumber(self, batch: _Batch, epoch: int, error: ClientError) -> bool:
        """Take new numbers where that is safe; False when the error is not about numbers.

        Raises: ProducerFenced: another producer has the id.
        """
        if isinstance(error, ProducerFenced):
            if epoch != self._epoch:
                return True
            if self._is_established or batch.is_uncertain or error.current_epoch >= MAX_SEQ:
                raise error
            self._epoch = error.current_epoch + 1
            return True
        expected_seq = _expected_seq(error)
        if expected_seq is None or expected_seq >= batch.seq:
            return False
        # In line, and yet the server waits for a number that it has acknowledged: its data went back.
        lost = batch.seq - expected_seq
        self._listener.notice(
            f"the server no longer knows {lost} request(s) that it had acknowledged, so their events may be lost;"
            " going on under a new epoch"
        )
        self._epoch += 1
        self._next_seq = 0
        self._is_established = False
        for waiting in sorted(self._in_flight, key=lambda other: other.seq):
            waiting.seq = self._next_seq
            self._next_seq += 1
        return True

    # Waiting.

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _is_about_numbers(error: ClientError) -> bool:
    return isinstance(error, ProducerFenced) or _expected_seq(error) is not None


def _expected_seq(error: ClientError) -> int | None:
    """The seq that the server would take; None when the error is about something else."""
    if isinstance(error, SequenceGap):
        return error.expected_seq
    # The whole epoch is unknown to the server, so it waits for the first seq of one.
    is_start = isinstance(error, ProblemAnswer) and error.slug == "producer-epoch-start"
    return 0 if is_start else None


def is_json(content_type: str) -> bool:
    """Whether the protocol keeps message boundaries for this content type (Durable Streams 9.1)."""
    return content_type.partition(";")[0].strip().lower() == "application/json"
