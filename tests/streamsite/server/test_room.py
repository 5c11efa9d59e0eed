"""When accepting pauses, and when it goes on."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable

import pytest

from observability import metrics
from streamsite.server.room import BACK, LOG_PERIOD_S, RESERVE, RETRY_S, Room

LIMIT = 100


class Port:
    """What Twisted's port does."""

    def __init__(self) -> None:
        self.connected = True
        self.is_reading = True

    def stopReading(self) -> None:  # noqa: N802 - Twisted names it
        self.is_reading = False

    def startReading(self) -> None:  # noqa: N802 - Twisted names it
        assert self.connected, "a closed port can't be watched"
        self.is_reading = True


class Scene:
    """A room, its ports and its clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.soft = LIMIT + RESERVE
        monkeypatch.setattr(resource, "getrlimit", lambda _: (self.soft, 4096))
        self.now_mono = 1000.0
        self.port = Port()
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.room = Room(
            lambda: [self.port],
            now_mono=lambda: self.now_mono,
            call_later=lambda seconds, function: self.later.append((seconds, function)),
        )

    def is_accepting(self) -> bool:
        """Whether the port is looked at."""
        return self.port.is_reading

    def fill(self, count: int) -> None:
        """Let so many come."""
        for _ in range(count):
            self.room.enter()

    def empty(self, count: int) -> None:
        """Let so many go."""
        for _ in range(count):
            self.room.leave()

    def pass_time(self) -> None:
        """Call what waits."""
        later, self.later = self.later, []
        for _, function in later:
            function()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """An empty room for LIMIT connections."""
    return Scene(monkeypatch)


def test_full_room_pauses_and_goes_on_when_some_have_left(scene: Scene) -> None:
    """Not at the first one that leaves: each of them would cost a pause."""
    before = metrics.accept_pauses._value.get()
    scene.fill(LIMIT - 1)
    assert scene.room.has_room()
    scene.fill(1)
    assert not scene.room.has_room()
    assert not scene.is_accepting()
    scene.empty(BACK - 1)
    assert not scene.is_accepting()
    scene.empty(1)
    assert scene.is_accepting()
    assert metrics.accept_pauses._value.get() == before + 1


def test_error_of_the_kernel_pauses_until_the_next_look(scene: Scene) -> None:
    """Something else has taken the descriptors; nobody may leave to tell that they are back."""
    scene.room.pause("EMFILE")
    assert not scene.is_accepting()
    assert [seconds for seconds, _ in scene.later] == [RETRY_S]
    scene.pass_time()
    assert scene.is_accepting()
    assert not scene.later


def test_pause_ends_when_the_limit_is_raised(scene: Scene) -> None:
    """What prlimit does to a running process is seen at the next look, and not before."""
    scene.fill(LIMIT)
    assert not scene.room.has_room()
    scene.pass_time()
    assert scene.room.is_paused
    scene.soft *= 2
    scene.pass_time()
    assert not scene.room.is_paused


def test_port_that_was_closed_stays_so(scene: Scene) -> None:
    """The drain has begun while accepting was paused."""
    scene.room.pause("EMFILE")
    scene.port.connected = False
    scene.pass_time()
    assert not scene.room.is_paused


def test_pauses_are_logged_now_and_then(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """A line for the first, then one for ten seconds, however often it happens."""
    with caplog.at_level(logging.WARNING, logger="streamsite.server"):
        for _ in range(5):
            scene.room.pause("EMFILE")
            scene.pass_time()
        assert [record.message for record in caplog.records] == ["accept.paused"]
        scene.now_mono += LOG_PERIOD_S
        scene.room.pause("limit")
    assert len(caplog.records) == 2


def test_low_limit_leaves_some_room(scene: Scene) -> None:
    """A limit below the reserve would mean that nobody is ever served."""
    scene.soft = 10
    assert scene.room.has_room()
