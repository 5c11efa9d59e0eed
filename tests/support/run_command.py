"""Runs one management command of `streaming` without the site: `python -m tests.support.run_command publish …`.

No settings, no app, no database, no Redis: what a command needs of these would show here.
"""

from __future__ import annotations

import importlib
import sys

from django.conf import settings


def main() -> None:
    """Run the command that the first argument names, as manage.py would."""
    settings.configure()
    module = importlib.import_module(f"streaming.management.commands.{sys.argv[1]}")
    module.Command().run_from_argv(["manage.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
