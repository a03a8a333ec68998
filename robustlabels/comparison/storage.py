"""Rows of results: what ran, what was measured, and where, as lines of JSON."""

from __future__ import annotations

import inspect
import json
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from robustlabels import __version__
from robustlabels.training.parameters import default_batch_size, default_max_epochs

Row = dict[str, Any]

ELSEWHERE = {"random_state", "verbose", "callbacks", "checkpoint", "warm_start", "device"}
"""Parameters that do not identify a run: they do not change its result, or they stand elsewhere in the row."""


def make_row(run: Row, result: Row, about: Row | None = None) -> Row:
    """Return the row of one run, which every script of the project stores in this shape.

    Parameters
    ----------
    run : dict
        What identifies the run: ``data``, ``noise``, ``method``, ``seed`` and ``params``, a dict; and what else a
        repetition must share, such as ``rows`` or ``recipe``.
    result : dict
        What came out. Numbers (or None, for what could not be measured) become ``measures``; texts and lists, such as
        ``error`` or ``warnings``, stay beside them.
    about : dict or None, default=None
        ``machine`` and ``versions``. None takes :func:`~robustlabels.comparison.environment`.

    Returns
    -------
    dict
        ``run``, then ``measures``, a flat dict of numbers, then the rest of ``result``, ``machine``, ``versions`` and
        ``date``.

    Examples
    --------
    >>> from robustlabels.comparison import make_row
    >>> run = {"data": "digits", "noise": "sym40", "method": "mine", "seed": 0, "params": {}}
    >>> row = make_row(run, {"test_accuracy": 0.9, "warnings": ["slow"]})
    >>> row["measures"], row["warnings"], [name for name in row if name not in run]
    ({'test_accuracy': 0.9}, ['slow'], ['measures', 'warnings', 'machine', 'versions', 'date'])
    """
    measures = {name: value for name, value in result.items() if value is None or isinstance(value, int | float)}
    beside = {name: value for name, value in result.items() if name not in measures}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {**run, "measures": measures, **beside, **(environment() if about is None else about), "date": date}


def measured(row: Row, name: str) -> float | None:
    """Return one measure of a row, or None if the run failed or did not measure it."""
    value: float | None = row.get("measures", {}).get(name)
    return value


def settings(estimator: Any, n: int) -> Row:
    """Return all parameters of an estimator as JSON values, with the batch size and epochs that ``n`` rows get.

    Parameters
    ----------
    estimator : estimator
    n : int

    Returns
    -------
    dict

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from robustlabels.comparison import settings
    >>> settings(GaussianNB(), 100)
    {'priors': None, 'var_smoothing': 1e-09}
    """
    params = estimator.get_params(deep=True)
    for name in [name for name in params if name.rpartition("__")[2] == "max_epochs"]:
        batch = name.removesuffix("max_epochs") + "batch_size"
        if params.get(batch) == "auto":
            params[batch] = default_batch_size(n)
        if params[name] == "auto" and isinstance(params.get(batch), int):
            params[name] = default_max_epochs(n, params[batch])
    kept = {name: _as_json(value) for name, value in params.items() if name.rpartition("__")[2] not in ELSEWHERE}
    return dict(sorted(kept.items()))


def defaults(estimator: Any) -> Row:
    """Return the defaults of the parameters of an estimator and of all estimators in it, as JSON values.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    dict
        By the names of :func:`~robustlabels.comparison.settings`; without parameters that have no default, and without
        those that exist only once they are set, such as ``module__width``.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from robustlabels.comparison import defaults
    >>> defaults(GaussianNB(var_smoothing=0.1))
    {'priors': None, 'var_smoothing': 1e-09}
    """
    parts = {"": estimator}
    for name, part in estimator.get_params(deep=True).items():
        if hasattr(part, "get_params") and not isinstance(part, type):
            parts[f"{name}__"] = part
    return {f"{at}{name}": _as_json(value) for at, part in parts.items() for name, value in _own_defaults(part).items()}


def _own_defaults(estimator: Any) -> dict[str, Any]:
    try:
        return type(estimator)().get_params(deep=False)
    except Exception:  # a parameter without a default, such as the steps of a pipeline
        wanted = inspect.signature(type(estimator)).parameters
        return {name: it.default for name, it in wanted.items() if it.default is not it.empty}


def _as_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers, and NaN does not equal itself
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): _as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(v) for v in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__  # get_params lists its parameters separately
    return getattr(value, "__name__", re.sub(r" at 0x[0-9a-f]+", "", repr(value)))


def recipe(row: Row) -> int:
    """Return the version of the method that made a row; rows without the number are of the first."""
    return int(row.get("recipe", 1))


def alike(params: Row, others: Row, defaults: Row) -> bool:
    """Return whether two sets of parameters are the same, where one may lack a parameter that is at its default.

    A stored row thus stays valid when its method gets another parameter.
    """
    nothing = object()
    return all(
        params.get(name, defaults.get(name, nothing)) == others.get(name, defaults.get(name, nothing))
        for name in params.keys() | others.keys()
    )


def find(rows: Sequence[Row], wanted: Row, defaults: Row | None = None) -> Row | None:
    """Return the last row that has these settings and no error.

    Parameters
    ----------
    rows : sequence of dict
    wanted : dict
        Settings that the row must share, among them ``params``, a dict. A row without ``recipe`` has recipe 1.
    defaults : dict or None, default=None
        From :func:`~robustlabels.comparison.defaults`: a parameter that is younger than the row, which then lacks it,
        must be at its default. With None, no parameter may be missing.

    Returns
    -------
    dict or None
    """
    for row in reversed(rows):
        known = {**row, "recipe": recipe(row)}
        same = not row.get("error") and all(known.get(k) == v for k, v in wanted.items() if k != "params")
        if same and alike(row.get("params", {}), wanted.get("params", {}), defaults or {}):
            return row
    return None


def read_rows(path: str | Path) -> list[Row]:
    """Read the rows of a file of JSON lines, without an unfinished last line of a process that was killed.

    Parameters
    ----------
    path : str or Path
        A file that does not exist has no rows.

    Returns
    -------
    list of dict
    """
    path = Path(path)
    if not path.exists():
        return []
    text, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: this is not a row of results ({error}).") from error
    return rows


def append_row(path: str | Path, row: Row) -> None:
    """Append one row with a single write, after cutting off an unfinished line.

    Parameters
    ----------
    path : str or Path
        Its folder is created if it does not exist.
    row : dict
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            os.ftruncate(file, path.read_bytes().rfind(b"\n") + 1)
        os.write(file, (json.dumps(row) + "\n").encode())
        os.fsync(file)
    finally:
        os.close(file)


def environment() -> Row:
    """Return the machine and the versions of the packages.

    Returns
    -------
    dict
        Two dicts, ``machine`` and ``versions``.
    """
    versions = {"python": platform.python_version(), "robustlabels": __version__}
    for name in ("torch", "skorch", "scikit-learn", "numpy", "cleanlab"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    machine = {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system()}
    return {"machine": machine, "versions": versions}
