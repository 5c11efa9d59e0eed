#!/usr/bin/env python3
"""The entry point: `manage.py serve` starts everything, `manage.py help` lists the rest."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one command, or supervise: `serve` replaces itself by the supervisor, which must not import Django."""
    if "STREAMSITE_SUPERVISOR_PLAN" in os.environ:
        from streamsite.server import supervisor

        sys.exit(supervisor.main())
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("Django is not installed here: run `make run`, or .venv/bin/python manage.py after `make install`.")
    from streamsite.options import export_options

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "streamsite.settings")
    export_options(sys.argv[1:], os.environ)
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
