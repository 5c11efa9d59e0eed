"""Rounds are interleaved, and their order turns."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from bench.measure import Figure, Workload, measure


class Recorder:
    """Writes down what is asked of it."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self._calls = calls

    def __enter__(self) -> Self:
        self._calls.append(f"start {self.name}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.append(f"stop {self.name}")

    def warm_up(self) -> None:
        self._calls.append(f"warm {self.name}")

    def measure(self, number: int) -> Figure:
        self._calls.append(f"{number} {self.name}")
        return Figure(value=float(number))


def test_contenders_take_turns_and_another_begins_each_round() -> None:
    """All are started, warmed up once, measured once a round, and stopped."""
    calls: list[str] = []
    steps: list[str] = []
    workload = Workload(
        key="k", title="t", unit="/s", series=[lambda: Recorder("a", calls), lambda: Recorder("b", calls)]
    )
    measured = measure(workload, 2, steps.append)
    assert calls == [
        "start a", "start b", "warm a", "warm b", "0 a", "0 b", "1 b", "1 a", "stop b", "stop a",
    ]  # fmt: skip
    assert steps == ["a", "b", "a", "b", "b", "a"]
    assert [figure.value for figure in measured.figures["b"]] == [0.0, 1.0]
