"""The site: composes the data path and the observability into one Django project. It alone knows every part."""

from __future__ import annotations

__all__: list[str] = []
