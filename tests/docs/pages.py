"""Markdown pages as the tests see them: links, anchors, and blocks with the directives that stand above them.

A directive is an HTML comment, which no reader sees:

    <!-- run -->                        the block is run by bash, and has to succeed
    <!-- run in NAME -->                it is typed into the shell NAME, and goes on beside what follows
    <!-- run in NAME, if COMMAND -->    only where that command is installed; `if no COMMAND` where it is not
    <!-- ctrl-c in NAME -->             no block: Ctrl-C in that shell
    <!-- output -->                     each line of the block has to be in what the last block printed; … stands for anything
    <!-- output of NAME -->             the same of a shell, waited for
    <!-- file: PATH -->                 the block becomes a file
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Step", "anchors", "links", "pages", "steps"]

ROOT = Path(__file__).resolve().parents[2]

_DIRECTIVE = re.compile(r"<!-- ((?:run|output|ctrl-c|file)\b[^>]*?) -->")
_FENCE = re.compile(r"(`{3,})(\w*)")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"#{1,6} (.+)")
_ID = re.compile(r'<a id="([^"]+)">')


@dataclass(frozen=True, slots=True)
class Step:
    """One directive and its block; `line` is where, for a failure's text."""

    directive: str
    text: str
    line: int


def pages() -> list[Path]:
    """Every page that people read."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "tests" / "faults" / "README.md"])


def steps(page: Path) -> list[Step]:
    """What is to be done, in order."""
    found: list[Step] = []
    pending: Step | None = None
    block: list[str] | None = None
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if block is not None:
            if line == fence:
                if pending is not None:
                    found.append(Step(pending.directive, "\n".join(block) + "\n", pending.line))
                pending = block = None
            else:
                block.append(line)
        elif match := _DIRECTIVE.fullmatch(line):
            if match[1].startswith("ctrl-c"):
                found.append(Step(match[1], "", number))
            else:
                pending = Step(match[1], "", number)
        elif match := _FENCE.match(line):
            block, fence = [], match[1]
    return found


def links(page: Path) -> list[str]:
    """Targets of the links outside of code."""
    return [target for line in _prose(page) for target in _LINK.findall(re.sub(r"`[^`]*`", "", line))]


def anchors(page: Path) -> set[str]:
    """What may follow `#` in a link to the page: its headings as forges name them, and ids."""
    found: set[str] = set()
    for line in _prose(page):
        if match := _HEADING.fullmatch(line):
            words = re.sub(r"[^\w\- ]", "", match[1].lower())
            found.add(words.replace(" ", "-"))
        found.update(_ID.findall(line))
    return found


def _prose(page: Path) -> Iterator[str]:
    is_code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield line
