"""What the kernel says of processes is read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.machine import BenchError
from bench.processes import cpu_s, descendants, pss_bytes, read_cpu_ticks, read_pss, working_in


def test_pss_is_read_in_bytes() -> None:
    """The kernel's kB are KiB; Pss_Anon and its like are other lines."""
    text = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss: 100 kB\nPss_Anon: 50 kB\n"
    assert read_pss(text) == 102_400
    with pytest.raises(BenchError, match="Pss"):
        read_pss("Rss: 9 kB\n")


def test_name_with_spaces_and_brackets_does_not_shift_the_fields() -> None:
    """A process may call itself anything."""
    text = "42 (tmux: s) R 7) S 1 42 42 0 -1 4194560 1 2 3 4 250 150 9 9 20 0 1 0 99\n"
    assert read_cpu_ticks(text) == 400


def test_this_process_and_its_child_are_found(tmp_path: Path) -> None:
    """A child is a descendant, a process that works in a folder is found there, and both use something."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd=tmp_path) as child:
        family = descendants(os.getpid())
        assert family[0] == os.getpid()
        assert child.pid in family
        assert working_in(tmp_path) == [child.pid]
        assert pss_bytes([os.getpid(), child.pid]) > 1_000_000
        assert cpu_s([os.getpid()]) > 0
        child.communicate()
