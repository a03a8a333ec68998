"""What came out: tables and pictures of means over seeds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from robustlabels.benchmark.methods import METHODS
from robustlabels.benchmark.problems import HUMAN, INJECTED, PROBLEMS
from robustlabels.benchmark.storage import Row


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation, as far as there is one.

    Parameters
    ----------
    values : sequence of float
    digits : int, default=3

    Returns
    -------
    str

    Examples
    --------
    >>> from robustlabels.benchmark import mean_sd
    >>> mean_sd([0.9, 0.8]), mean_sd([0.9], 1)
    ('0.850 ± 0.071', '0.9')
    """
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


@dataclass(frozen=True)
class Table:
    """A table of text; ``print`` aligns its columns.

    Parameters
    ----------
    title : str
    head : list of str
    rows : list of list of str
    notes : list of str, default=[]
        Said below.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([self.title, *map(str.rstrip, text), *self.notes])


@dataclass(frozen=True)
class Summary:
    """What :func:`~robustlabels.benchmark.summarise` makes of the rows; ``print`` it for all tables.

    Parameters
    ----------
    scores : list of Table
        A data set each: methods x noise, mean ± standard deviation over seeds.
    details : list of Table
        A data set and noise each: methods x measures.
    ranks : Table
        Every method's place among the others, over data sets and noise.
    """

    scores: list[Table]
    details: list[Table]
    ranks: Table

    def __str__(self) -> str:
        return "\n\n".join(str(table) for table in [*self.scores, *self.details, self.ranks])


MEASURES = {
    "test accuracy": ("test_accuracy", 3),
    "at the best epoch": ("best_test_accuracy", 3),
    "F1": ("test_f1", 3),
    "suspects' AP": ("average_precision", 3),
    "AUROC": ("roc_auc", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "estimated noise": ("estimated_rate", 3),
    "CPU s": ("cpu_seconds", 1),
    "MiB": ("peak_mib", 0),
}


Cells = dict[str, dict[str, dict[str, list[Row]]]]


def _cells(rows: Iterable[Row]) -> Cells:
    """Rows by data set, noise and method: the last of each seed, and only those with the settings of the last one.

    Sets, noise and methods come in their own order where they have a name, then in the order of the rows.
    """
    last: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row["data"], row["noise"], row["method"], row["seed"])
        if not row.get("error") or last.get(key, row).get("error"):
            last.pop(key, None)
            last[key] = row
    places = [{name: i for i, name in enumerate(names)} for names in (PROBLEMS, [*INJECTED, *HUMAN], METHODS)]
    age = {id(row): i for i, row in enumerate(last.values())}
    cells: Cells = {}
    for key, row in sorted(last.items(), key=lambda it: [p.get(n, 99) for p, n in zip(places, it[0][:3], strict=True)]):
        cells.setdefault(key[0], {}).setdefault(key[1], {}).setdefault(key[2], []).append(row)
    for by_method in (by_method for by_kind in cells.values() for by_method in by_kind.values()):
        for method, found in by_method.items():
            newest = max(found, key=lambda row: age[id(row)])
            same = ("params", "rows", "contents")
            by_method[method] = [row for row in found if all(row.get(k) == newest.get(k) for k in same)]
    return cells


def _values(rows: Sequence[Row], column: str) -> list[float]:
    return [row[column] for row in rows if row.get(column) is not None]


def _methods(by_kind: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Methods of a data set, over all its noise."""
    order = {name: i for i, name in enumerate(METHODS)}
    return sorted(dict.fromkeys(m for by_method in by_kind.values() for m in by_method), key=lambda m: order.get(m, 99))


def _score_of(data: str) -> str:
    return PROBLEMS[data].score if data in PROBLEMS else "test_accuracy"


def summarise(rows: Iterable[Row]) -> Summary:
    """Mean and standard deviation over seeds, of everything that was measured.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.benchmark.run_benchmark` or :func:`~robustlabels.benchmark.read_rows`. Of the same
        run the last one counts, and of runs that differ in a parameter those like the last one.

    Returns
    -------
    Summary
    """
    cells = _cells(rows)
    return Summary(
        [_score_table(data, by_kind) for data, by_kind in cells.items()],
        [_detail_table(data, kind, found) for data, by_kind in cells.items() for kind, found in by_kind.items()],
        _ranks(cells),
    )


def _score_table(data: str, by_kind: Mapping[str, Mapping[str, Sequence[Row]]]) -> Table:
    """Methods x noise of one data set; a cell without a number says why."""
    score, methods = _score_of(data), _methods(by_kind)
    costly = PROBLEMS[data].too_costly if data in PROBLEMS else {}
    every = [found for by_method in by_kind.values() for found in by_method.values()]
    n_seeds = max(map(len, every))
    notes = [f"{method}: not run, {reason}" for method, reason in costly.items()]
    lines = []
    for method in [*methods, *(name for name in costly if name not in methods)]:
        line = [method]
        for kind, by_method in by_kind.items():
            found = by_method.get(method, [])
            values = _values(found, score)
            failed = [row["error"] for row in found if row.get("error")]
            if values:
                line.append(mean_sd(values) + (f" ({len(values)})" if len(values) < n_seeds else ""))
            else:
                line.append("failed" if failed else "too costly" if method in costly else "")
                notes += [f"{method}, {kind}: {failed[0]}"] if failed else []
        lines.append(line)
    head = ["method"]
    for kind, by_method in by_kind.items():
        wrong = [rate for found in by_method.values() for rate in _values(found, "true_rate")]
        head.append(f"{kind} ({100 * np.mean(wrong):.1f} % wrong)" if wrong else kind)
    title = PROBLEMS[data].title if data in PROBLEMS else f"{every[0][-1]['rows']} training rows"
    what = {"test_accuracy": "test accuracy", "test_f1": "F1 on the test part"}[score]
    return Table(f"{data}: {title}; {what} at the last epoch", head, lines, notes)


def _detail_table(data: str, kind: str, by_method: Mapping[str, Sequence[Row]]) -> Table:
    """Methods x measures of one data set and noise."""
    lines = [
        [method, *(mean_sd(_values(found, column), digits) for column, digits in MEASURES.values())]
        for method, found in by_method.items()
    ]
    return Table(f"{data}, {kind}", ["method", *MEASURES], lines)


def _ranks(cells: Cells) -> Table:
    """Mean place of each method, 0 the best and 1 the last, by score and by the average precision of the suspects."""
    places: dict[str, list[list[float]]] = {}  # by score, by suspects
    wins: dict[str, int] = {}
    for data, by_kind in cells.items():
        for by_method in by_kind.values():
            for i, column in enumerate((_score_of(data), "average_precision")):
                means = {
                    m: float(np.mean(_values(found, column)))
                    for m, found in by_method.items()
                    if _values(found, column)
                }
                for method, mean in means.items() if len(means) > 1 else ():
                    others = [value for name, value in means.items() if name != method]
                    place = np.mean([(value > mean) + (value == mean) / 2 for value in others])
                    places.setdefault(method, [[], []])[i].append(float(place))
                    wins[method] = wins.get(method, 0) + (i == 0 and mean == max(means.values()))
    lines = [
        [method, str(len(by[0])), *(f"{np.mean(its):.2f}" if its else "" for its in by), str(wins[method])]
        for method, by in sorted(places.items(), key=lambda item: np.mean(item[1][0] or [1.0]))
    ]
    title = "Mean place among the methods, over data sets and noise: 0 is always the best, 1 always the last"
    return Table(title, ["method", "tables", "by score", "by suspects' AP", "times the best"], lines)


def plot(rows: Iterable[Row], folder: str | Path) -> list[Path]:
    """Draw score and average precision of every method, a picture for each data set.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.benchmark.run_benchmark` or :func:`~robustlabels.benchmark.read_rows`.
    folder : str or Path
        Made if it is not there.

    Returns
    -------
    paths : list of Path
        One PNG a data set: panels of noise, methods from top to bottom, mean and standard deviation over seeds; a ring
        is the best epoch.
    """
    try:
        Figure = import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise ImportError('A picture needs matplotlib: pip install "robustlabels[report]".') from error
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for data, by_kind in _cells(rows).items():
        score, methods = _score_of(data), _methods(by_kind)[::-1]
        figure = Figure(figsize=(2 + 2.6 * len(by_kind), 2 + 0.5 * len(methods)), dpi=110, layout="constrained")
        axes = figure.subplots(2, len(by_kind), sharex="row", sharey=True, squeeze=False)
        for (upper, lower), (kind, by_method) in zip(axes.T, by_kind.items(), strict=True):
            upper.set_title(kind)
            for y, method in enumerate(methods):
                found = by_method.get(method, [])
                for panel, column in ((upper, score), (lower, "average_precision")):
                    if values := _values(found, column):
                        spread = np.std(values, ddof=1) if len(values) > 1 else 0
                        panel.errorbar(np.mean(values), y, xerr=spread, fmt="o", color="#0072b2", capsize=3)
                if score == "test_accuracy" and (best := _values(found, "best_test_accuracy")):
                    upper.plot(np.mean(best), y, "o", mfc="none", mec="#d55e00")
            upper.set_xlabel({"test_accuracy": "test accuracy, last epoch (ring: best)"}.get(score, "F1, last epoch"))
            lower.set_xlabel("suspects' average precision")
            for panel in (upper, lower):
                panel.set_yticks(range(len(methods)), methods)
                panel.grid(axis="x", alpha=0.3)
        figure.suptitle(data)
        paths.append(folder / f"{re.sub(r'[^-.0-9A-Za-z]+', '_', data)}.png")
        figure.savefig(paths[-1])
    return paths
