"""The generated secret key."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from streamsite.secret_key import load_secret_key


def test_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """Sessions survive a restart; other users of the machine can't read the key (CWE-732)."""
    path = tmp_path / "secret_key"
    key = load_secret_key(path)
    assert len(key) >= 50
    assert load_secret_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    """Of those that find none, one wins for all, and none reads half a key."""
    path = tmp_path / "secret_key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_secret_key(path), range(8)))
    assert len(keys) == 1
    assert list(tmp_path.iterdir()) == [path]
