"""Figures into a table: medians, their spread, ratios beside what has to be reached; and everything as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from .measure import Measured

__all__ = ["markdown", "ratios", "to_json"]

_HEAD = (
    "| workload | contender | median | spread | CPU µs each | ours is | to reach | reached |",
    "|---|---|---|---|---|---|---|---|",
)


def ratios(measured: Measured, contender: str) -> list[float]:
    """How many times as good as a contender ours was, round by round.

    By rounds, and not of the medians: the two figures of a round were taken within seconds of each other.
    """
    ours = [figure.value for figure in next(iter(measured.figures.values()))]
    theirs = [figure.value for figure in measured.figures[contender]]
    if measured.workload.is_more_better:
        return [our / their for our, their in zip(ours, theirs, strict=True)]
    return [their / our for our, their in zip(ours, theirs, strict=True)]


def markdown(results: Sequence[Measured], machine: Mapping[str, str], options: str) -> str:
    """The table, and under it what it was measured on."""
    lines = list(_HEAD)
    for measured in results:
        lines += _rows(measured)
    lines += ["", *(f"{name}: {value}  " for name, value in machine.items()), f"options: {options}"]
    return "\n".join(lines) + "\n"


def to_json(results: Sequence[Measured], machine: Mapping[str, str], options: str) -> str:
    """Every figure of every round."""
    document: dict[str, Any] = {"machine": dict(machine), "options": options, "workloads": []}
    for measured in results:
        workload = measured.workload
        document["workloads"].append(
            {
                "workload": workload.key,
                "title": workload.title,
                "unit": workload.unit,
                "figures": {name: [asdict(figure) for figure in figures] for name, figures in measured.figures.items()},
                "ratios": {name: ratios(measured, name) for name in list(measured.figures)[1:]},
                "at_least": workload.at_least,
                "at_most": workload.at_most,
            }
        )
    return json.dumps(document, indent=2) + "\n"


def _rows(measured: Measured) -> list[str]:
    workload = measured.workload
    rows = []
    for number, (name, figures) in enumerate(measured.figures.items()):
        values = [figure.value for figure in figures]
        cpu_us = [figure.cpu_s * 1e6 for figure in figures if figure.cpu_s is not None]
        cells = [workload.title if number == 0 else "", name, f"{_figure(median(values))} {workload.unit}"]
        cells += [_spread(values), f"{median(cpu_us):.0f}" if cpu_us else ""]
        if number == 0:
            limit = workload.at_most
            cells += ["", *_verdict(f"< {limit:g} {workload.unit}", median(values) < limit)] if limit else ["", "", ""]
        else:
            times, target = ratios(measured, name), workload.at_least.get(name)
            cells.append(f"{median(times):.2f} × ({min(times):.2f}–{max(times):.2f})")
            cells += _verdict(f"{target:g} ×", median(times) >= target) if target else ["", ""]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _verdict(target: str, is_reached: bool) -> list[str]:
    return [target, "yes" if is_reached else "**no**"]


def _spread(figures: Sequence[float]) -> str:
    return f"{_figure(min(figures))}–{_figure(max(figures))}"


def _figure(number: float) -> str:
    """Three digits, which is more than the spread allows to believe."""
    if number >= 1000:
        return f"{round(number, -1 if number < 10_000 else -2):,.0f}"
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"
