"""Django's secret key, made once and kept in the data directory."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from django.core.management.utils import get_random_secret_key

__all__ = ["load_secret_key"]


def load_secret_key(path: Path) -> str:
    """Read the key, or make it: readable by its owner only, and the same one for processes that start together."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(get_random_secret_key())
    # A link is made whole or not at all, and never over another: of two that start together, one wins for both.
    with suppress(FileExistsError):
        os.link(new, path)
    new.unlink()
    return path.read_text(encoding="ascii").strip()
