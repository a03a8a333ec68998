"""Atomic file writing, shared by everything that saves: checkpoints, estimators, reports and reviews."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside ``path`` and move it into place, so that a full disk or a kill leaves the old file intact.

    Parameters
    ----------
    path : Path
        The file to create or replace.
    write : callable
        Called with the path of a temporary file in the same folder, which it writes.

    Raises
    ------
    OSError
        If the file cannot be written; the message names ``path`` and not the temporary file.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)  # atomic only within one file system, hence the same folder
    except OSError as error:
        if error.errno is None:
            raise
        # OSError() returns the subclass that errno stands for, such as PermissionError.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        partial.unlink(missing_ok=True)
