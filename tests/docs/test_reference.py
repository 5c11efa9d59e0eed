"""The reference pages say what the code says, and all of it."""

from __future__ import annotations

import ast
import subprocess
import sys

from docs.tools.reference import COMMANDS
from observability import metrics, workers  # noqa: F401 - declares some of the metrics
from streaming.api.problems import TITLES
from streamsite.config import Config, variable_of
from tests.docs.pages import ROOT
from tests.support.deadlines import bound

REFERENCE = ROOT / "docs" / "reference"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}


def test_generated_pages_are_fresh() -> None:
    """`make docs` would change nothing: settings, errors, metrics and commands are described as they are."""
    done = subprocess.run(
        [sys.executable, "-m", "docs.tools.reference", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=bound(10),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_setting_problem_metric_and_command_is_documented() -> None:
    """Nothing that an operator can set, get or type is missing, whatever makes the pages."""
    text = {name: (REFERENCE / f"{name}.md").read_text(encoding="utf-8") for name in _NAMES}
    assert not [name for name in Config.model_fields if f"`{variable_of(name)}`" not in text["settings"]]
    assert not [slug for slug in TITLES if f"`/problems/{slug}`" not in text["errors"]]
    assert not [row.name for row in metrics.describe() if f"`{row.name}`" not in text["metrics"]]
    assert not [name for _, name in COMMANDS if f"\n## {name}\n" not in text["commands"]]
    there_are = {path.stem for path in ROOT.glob("stream*/management/commands/[a-z]*.py")}
    assert there_are - {"worker"} == {name for _, name in COMMANDS}  # which `serve` starts, and nobody types


def test_every_log_line_above_debug_is_in_the_page_on_monitoring() -> None:
    """Whoever finds a line in the log finds its name in the documentation."""
    page = (ROOT / "docs/operations/monitoring.md").read_text(encoding="utf-8")
    assert not sorted(event for event in _logged() if f"`{event}`" not in page)


def test_metric_that_a_page_names_exists() -> None:
    """No operations page sends anybody to a metric that is not exported."""
    known = {row.name for row in metrics.describe()}
    for page in ROOT.glob("docs/operations/*.md"):
        named = {word for word in _words(page.read_text(encoding="utf-8")) if word.startswith("stream_")}
        assert named <= known, page


_NAMES = ("settings", "errors", "metrics", "commands")


def _words(text: str) -> set[str]:
    return {
        word for word in "".join(c if c.isalnum() or c == "_" else " " for c in text).split() if not word.endswith("_")
    }


def _logged() -> set[str]:
    """The events that some line of the code logs at info or above."""
    found = set()
    for package in ("streamsite", "streaming", "observability"):
        for path in ROOT.glob(f"{package}/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and LEVELS.get(node.func.attr, "debug") != "debug"
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in {"logger", "_logger"}
                    and node.args
                    and isinstance(node.args[0], ast.Constant)
                ):
                    found.add(str(node.args[0].value))
    return found
