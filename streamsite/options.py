"""The options of `serve` as environment variables, before Django reads its settings.

Django imports the settings before it parses a command's options, and the apps wire themselves from the settings, so an
option that changes a setting has to be in the environment by then. `manage.py` calls `export_options` first.
"""

from __future__ import annotations

import argparse
from collections.abc import MutableMapping, Sequence

from streamsite.config import variable_of

__all__ = ["OPTIONS", "add_options", "export_options"]

OPTIONS = {
    "bind": "IP address to listen on (127.0.0.1)",
    "port": "TCP port; 0 takes a free one (8000)",
    "workers": "processes that serve; 0 takes as many as there are cores (0)",
    "tls-cert": "file with the certificate in PEM form; with its key, TLS is spoken",
    "tls-key": "file with the certificate's key in PEM form",
    "redis-url": "Redis or Valkey of the log; without one an embedded server starts",
    "data-dir": "directory of the database, the secret key and the embedded server's data (var)",
}
"""Each option of `serve` and its help; the variable is STREAMSITE_ and the name."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options, each with the variable that says the same."""
    for name, text in OPTIONS.items():
        variable = variable_of(_field(name))
        parser.add_argument(
            f"--{name}", metavar=name.partition("-")[2].upper() or name.upper(), help=f"{text} [{variable}]"
        )


def export_options(arguments: Sequence[str], environ: MutableMapping[str, str]) -> None:
    """Put what the command line of `serve` says into the environment, where it wins over what was there.

    A line that does not parse is left as it is: the command's own parser reports it.
    """
    if not arguments or arguments[0] != "serve":
        return
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    add_options(parser)
    try:
        known, _ = parser.parse_known_args(arguments[1:])
    except argparse.ArgumentError:
        return
    for name in OPTIONS:
        value = getattr(known, _field(name))
        if value is not None:
            environ[variable_of(_field(name))] = value


def _field(option: str) -> str:
    return option.replace("-", "_")
