"""The options of serve, which have to be variables before Django reads its settings."""

from __future__ import annotations

import pytest

from streamsite.options import export_options


@pytest.mark.parametrize(
    "line", [["serve", "--port", "9000"], ["serve", "--port=9000"], ["serve", "-v", "2", "--port", "9000"]]
)
def test_option_wins_over_the_environment(line: list[str]) -> None:
    """Who types it means it now."""
    environ = {"STREAMSITE_PORT": "1", "STREAMSITE_BIND": "127.0.0.2"}
    export_options(line, environ)
    assert environ == {"STREAMSITE_PORT": "9000", "STREAMSITE_BIND": "127.0.0.2"}


@pytest.mark.parametrize("line", [[], ["tail", "--port", "9000"], ["serve", "--port"], ["serve", "--po", "9000"]])
def test_other_lines_change_nothing(line: list[str]) -> None:
    """Other commands have options of their own, and a broken line is for the command's own parser to report."""
    environ: dict[str, str] = {}
    export_options(line, environ)
    assert environ == {}


def test_every_option_has_its_variable() -> None:
    """Names with a dash become names with an underscore."""
    environ: dict[str, str] = {}
    export_options(["serve", "--redis-url", "redis://a", "--data-dir", "/b", "--bind", "::1"], environ)
    assert environ == {"STREAMSITE_REDIS_URL": "redis://a", "STREAMSITE_DATA_DIR": "/b", "STREAMSITE_BIND": "::1"}
