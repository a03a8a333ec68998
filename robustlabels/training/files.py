"""Atomic file writing, shared by everything that saves: checkpoints, estimators, reports and reviews."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside ``path`` and move into place: a full disk or a kill leaves the old file, never half a new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error  # of the kind the number says
    finally:
        partial.unlink(missing_ok=True)
