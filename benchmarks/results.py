"""Where results are stored, and the loop that all studies share: run what is not stored, and append its row."""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from robustlabels.comparison import Row, append_row, find, isolated, make_row, read_rows

DOCS = Path(__file__).resolve().parents[1] / "docs"
RESULTS = DOCS / "benchmarks" / "results"


@dataclass(frozen=True)
class Run:
    """One run of a study.

    Parameters
    ----------
    row : dict
        What identifies it: ``data``, ``noise``, ``method``, ``seed`` and ``params``; see :func:`identity`.
    work : callable
        Carries it out; returns its measures.
    defaults : dict, default={}
        Defaults of the method's parameters: a stored row may lack a parameter that is younger than it.
    """

    row: Row
    work: Callable[[], Row]
    defaults: Row = field(default_factory=dict)


def path_of(script: str) -> Path:
    """Return the file of results of a script, which is named after it.

    Parameters
    ----------
    script : str
        ``__file__`` of the script.

    Returns
    -------
    Path
    """
    return RESULTS / f"{Path(script).stem}.jsonl"


def identity(
    data: str, noise: str, method: str, seed: int, *, rows: int | None = None, params: Row | None = None
) -> Row:
    """Return what identifies a run.

    Parameters
    ----------
    data, noise, method : str
    seed : int
    rows : int or None, default=None
        Number of training rows, where a study can change it.
    params : dict or None, default=None
        Settings of the method, or of the part of a study.

    Returns
    -------
    dict
    """
    count = {} if rows is None else {"rows": rows}
    return {"data": data, **count, "noise": noise, "method": method, "seed": seed, "params": params or {}}


def carry_out(
    path: Path, runs: Iterable[Run], *, only_stored: bool = False, minutes: float = float("inf")
) -> list[Row]:
    """Return the rows of the runs; what is not stored is run, appended and printed.

    Parameters
    ----------
    path : Path
        File of results.
    runs : iterable of Run
    only_stored : bool, default=False
        Whether to run nothing.
    minutes : float, default=inf
        No run starts later than this.

    Returns
    -------
    list of dict
        In the order of the runs, without those that were left out.
    """
    stored, rows, end = read_rows(path), [], time.monotonic() + 60 * minutes
    for run in runs:
        row = find(stored, run.row, run.defaults)
        if row is None and not only_stored and time.monotonic() < end:
            row = make_row(run.row, run.work())
            append_row(path, row)
            print(describe(row), flush=True)
        rows += [] if row is None else [row]
    return rows


def in_a_process(run: Run) -> Run:
    """Return the run in a new process, so that its peak memory is measured too."""
    return replace(run, work=lambda: isolated(run.work))


def timed(run: Run) -> Run:
    """Return the run with its wall time among the measures, and without warnings."""

    def work() -> Row:
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = run.work()
        return {**found, "seconds": round(time.perf_counter() - started, 1)}

    return replace(run, work=work)


def describe(row: Row) -> str:
    """Return a row on one line."""
    figures = (f"{name} {value:.4g}" for name, value in row["measures"].items() if value is not None)
    return f"{row['data']}, {row['noise']}, {row['method']}, seed {row['seed']}: {', '.join(figures)}"


def print_tables(*names: str) -> None:
    """Print tables of the documentation, made from what is stored.

    Parameters
    ----------
    *names : str
        As in ``docs/make_tables.py``.
    """
    sys.path.insert(0, str(DOCS))
    tables: Any = importlib.import_module("make_tables")
    for name in names:
        print(tables.render(name), end="\n\n")
