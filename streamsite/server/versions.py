"""The versions that this extension was written for: it overrides what daphne, Twisted and h2 may change in any release."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["VersionError", "check_versions"]

WRITTEN_FOR = {"daphne": "4.2.3", "Twisted": "26.10.0", "h2": "4.4.1"}


class VersionError(Exception):
    """Another version is installed; the text says which is needed."""


def check_versions() -> None:
    """Refuse to serve with other versions.

    Raises: VersionError.
    """
    for package, wanted in WRITTEN_FOR.items():
        if (found := version(package)) != wanted:
            raise VersionError(
                f"{package} {found} is installed, and the server extends {package} {wanted}: "
                "install requirements.txt as it is, or serve with `daphne streamsite.asgi:application`"
            )
