"""`python -m bench`: run the workloads, print the table, keep it under bench/results/."""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import report
from .contenders import PEERS_DIR
from .machine import BenchError, describe
from .measure import Measured, Workload, measure
from .workloads import workloads

__all__ = ["main"]

RESULTS_DIR = Path(__file__).parent / "results"
_PEER = PEERS_DIR / "node_modules" / "@durable-streams" / "server"


def main() -> int:
    """Measure as the command line says; return the exit code."""
    arguments = _parser().parse_args()
    chosen = [one for one in workloads(arguments.seconds) if not arguments.only or one.key in arguments.only]
    options = f"--rounds {arguments.rounds} --seconds {arguments.seconds:g}"
    try:
        _check_tools(chosen)
        machine = describe()
        results = _run(chosen, arguments.rounds)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    table = report.markdown(results, machine, options)
    stem = RESULTS_DIR / f"http-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    stem.with_suffix(".md").write_text(table, encoding="utf-8")
    stem.with_suffix(".json").write_text(report.to_json(results, machine, options), encoding="utf-8")
    sys.stdout.write(table)
    return 0


def _parser() -> argparse.ArgumentParser:
    keys = [one.key for one in workloads(1)]
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure the server beside its peers, in one run on this machine."
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of each workload (5)")
    parser.add_argument("--seconds", type=float, default=4, metavar="S", help="for each figure of a rate (4)")
    parser.add_argument(
        "--only",
        action="append",
        choices=keys,
        metavar="WORKLOAD",
        help=f"run these alone; again for more: {', '.join(keys)}",
    )
    return parser


def _check_tools(chosen: list[Workload]) -> None:
    """Say what is missing before anything starts.

    Raises: BenchError: something is.
    """
    for tool in ("wrk", "taskset"):
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is not installed; type: make bench-packages")
    if any(one.key.startswith("append") for one in chosen) and not _PEER.exists():
        raise BenchError("the reference server is not installed; type: make bench-peers")


def _run(chosen: list[Workload], rounds: int) -> list[Measured]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        steps = sum(len(one.series) for one in chosen) * (rounds + 1)
        task = progress.add_task("", total=steps)
        results = []
        for workload in chosen:

            def on_step(name: str, title: str = workload.title) -> None:
                progress.update(task, advance=1, description=f"{title}: {name}")

            results.append(measure(workload, rounds, on_step))
        return results


if __name__ == "__main__":
    sys.exit(main())
