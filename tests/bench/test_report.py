"""Figures become a table, with ratios that mean "better" both for rates and for times."""

from __future__ import annotations

import json

from bench.measure import Figure, Measured, Workload
from bench.report import markdown, ratios, to_json


def _measured(unit: str, ours: list[float], theirs: list[float], **targets: object) -> Measured:
    workload = Workload(key="w", title="work", unit=unit, series=(), **targets)  # type: ignore[arg-type]
    return Measured(
        workload=workload,
        figures={
            "ours": [Figure(value=value, cpu_s=50e-6) for value in ours],
            "theirs": [Figure(value=value) for value in theirs],
        },
    )


def test_ratio_of_a_rate_is_taken_round_by_round() -> None:
    """A bad minute that halves both figures leaves the ratio alone."""
    assert ratios(_measured("/s", [800, 400, 900], [100, 50, 100]), "theirs") == [8, 8, 9]


def test_ratio_of_a_time_is_turned_round() -> None:
    """More is better in the column, whatever the unit."""
    assert ratios(_measured("ms", [0.5, 1], [1, 1]), "theirs") == [2, 1]


def test_table_shows_median_spread_and_what_is_reached() -> None:
    """A target stands beside its ratio, and one that is missed is seen at once."""
    text = markdown(
        [
            _measured("/s", [24_680, 8000, 30_000], [1000, 1000, 10_000], at_least={"theirs": 8}),
            _measured("ms", [2, 2, 2], [1, 1, 1], at_most=1.0),
        ],
        {"commit": "abc"},
        "--rounds 3",
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        ["work", "ours", "24,700 /s", "8,000–30,000", "50", "", "", ""],
        ["", "theirs", "1,000 /s", "1,000–10,000", "", "8.00 × (3.00–24.68)", "8 ×", "yes"],
        ["work", "ours", "2 ms", "2–2", "50", "", "< 1 ms", "**no**"],
        ["", "theirs", "1 ms", "1–1", "", "0.50 × (0.50–0.50)", "", ""],
    ]
    assert "commit: abc" in text


def test_json_has_every_figure() -> None:
    """What the table leaves out can be looked up."""
    (workload,) = json.loads(to_json([_measured("/s", [8, 9], [1, 1])], {}, ""))["workloads"]
    assert [figure["value"] for figure in workload["figures"]["ours"]] == [8, 9]
    assert workload["ratios"] == {"theirs": [8, 9]}
