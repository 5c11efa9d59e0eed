"""Rounds: every contender of a workload is measured once in each, and the order turns, so that a bad minute hits all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Figure", "Measured", "Series", "Workload", "measure"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one contender did in one round.

    Args:
        value: in the workload's unit.
        cpu_s: the contender's time on the processor for each request; None where none is meant. A busy neighbour changes
            it much less than the rate.
    """

    value: float
    cpu_s: float | None = None


class Series(AbstractContextManager["Series"], Protocol):
    """One contender under one workload; its block is the life of its processes."""

    name: str

    def warm_up(self) -> None:
        """Once, before the first round."""

    def measure(self, number: int) -> Figure:
        """The figure of a round.

        Raises: BenchError: it can't be had.
        """


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One part of the table.

    Args:
        key: for `--only`.
        title: in the table.
        unit: of the figures: /s, ms, KB, MB.
        series: makes the contenders; ours is the first.
        at_least: by contender, how many times as good ours has to be.
        at_most: for our figure itself, in the unit.
    """

    key: str
    title: str
    unit: str
    series: Sequence[Callable[[], Series]]
    at_least: dict[str, float] = field(default_factory=dict)
    at_most: float | None = None

    @property
    def is_more_better(self) -> bool:
        """Whether the figure is a rate, and not a time or a size."""
        return self.unit == "/s"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of one workload: contender by contender, round by round."""

    workload: Workload
    figures: dict[str, list[Figure]]


def measure(workload: Workload, rounds: int, on_step: Callable[[str], None]) -> Measured:
    """Measure all contenders of a workload.

    Args:
        on_step: called before each figure, with the name of the contender.

    Raises: BenchError: a contender failed.
    """
    with ExitStack() as stack:
        series = [stack.enter_context(make()) for make in workload.series]
        figures: dict[str, list[Figure]] = {one.name: [] for one in series}
        for one in series:
            on_step(one.name)
            one.warm_up()
        for number in range(rounds):
            turn = number % len(series)
            for one in series[turn:] + series[:turn]:
                on_step(one.name)
                figures[one.name].append(one.measure(number))
    return Measured(workload=workload, figures=figures)
