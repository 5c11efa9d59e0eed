"""Small C libraries that a test preloads into a process, compiled when they are needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["compile_preload"]


def compile_preload(source: Path, directory: Path) -> Path:
    """Compile one C file to a shared library.

    Returns: the library's path, for LD_PRELOAD.
    Raises: AssertionError: there is no compiler, or it does not like the file.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise AssertionError("this test needs a C compiler: apt-get install gcc libc6-dev")
    library = directory / f"{source.stem}.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return library
