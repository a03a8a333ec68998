"""What came out: tables and pictures of means over seeds."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from robustlabels.comparison.entries import ENTRIES
from robustlabels.comparison.problems import HUMAN, INJECTED, PROBLEMS
from robustlabels.comparison.storage import Row, alike, defaults, recipe, settings


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
    >>> from robustlabels.comparison import mean_sd
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
    """What :func:`~robustlabels.comparison.summarize` makes of the rows; ``print`` it for all tables.

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
    """Rows by data set, noise and method: of each method the newest recipe, of each cell the newest settings.

    Sets, noise and methods come in their own order where they have a name, then in the order of the rows.
    """
    rows = list(rows)
    newest: dict[str, int] = {}
    for row in rows:
        newest[row["method"]] = max(newest.get(row["method"], 1), recipe(row))
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if recipe(row) == newest[row["method"]]:
            found.setdefault((row["data"], row["noise"], row["method"]), []).append(row)
    places = [{name: i for i, name in enumerate(names)} for names in (PROBLEMS, [*INJECTED, *HUMAN], ENTRIES)]
    cells: Cells = {}
    for key, its in sorted(found.items(), key=lambda it: [p.get(n, 99) for p, n in zip(places, it[0], strict=True)]):
        cells.setdefault(key[0], {}).setdefault(key[1], {})[key[2]] = _newest(key[2], its)
    return cells


def _newest(method: str, rows: Sequence[Row]) -> list[Row]:
    """Of a cell's rows those with the settings of the last one: of each seed the last, a failure only if alone."""
    by_seed: dict[int, Row] = {}
    for row in rows:
        same = all(row.get(k) == rows[-1].get(k) for k in ("rows", "contents"))
        counts = not row.get("error") or by_seed.get(row["seed"], row).get("error")
        if same and counts and alike(row["params"], rows[-1]["params"], _defaults(method)):
            by_seed[row["seed"]] = row
    return [by_seed[seed] for seed in sorted(by_seed)]


@functools.cache
def _defaults(method: str) -> Row:
    """Defaults of a named method's parameters: a row may be older than one of them."""
    return defaults(ENTRIES[method].make()) if method in ENTRIES else {}


def _values(rows: Sequence[Row], column: str) -> list[float]:
    return [row[column] for row in rows if row.get(column) is not None]


def _difference(rows: Sequence[Row], others: Sequence[Row], column: str) -> float | None:
    """Difference of two methods' means, over the seeds that both have."""
    mine, theirs = ({row["seed"]: row[column] for row in its if row.get(column) is not None} for its in (rows, others))
    both = sorted(mine.keys() & theirs.keys())
    return float(np.mean([mine[s] for s in both]) - np.mean([theirs[s] for s in both])) if both else None


def common_seeds(rows: Iterable[Row]) -> list[Row]:
    """Rows whose means can be compared: of each set and noise, the seeds that every method has there.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`.

    Returns
    -------
    list of dict
        Without failures, and of each method the newest settings, as in the tables. A method without a result somewhere
        is not among those that must have the seed there.

    Examples
    --------
    >>> from robustlabels.comparison import common_seeds
    >>> row = {"data": "digits", "noise": "sym40", "rows": 1257, "params": {}, "test_accuracy": 0.9}
    >>> rows = [{**row, "method": method, "seed": seed} for method, seed in [("CE", 0), ("CE", 1), ("ELR", 1)]]
    >>> [(row["method"], row["seed"]) for row in common_seeds(rows)]
    [('CE', 1), ('ELR', 1)]
    """
    kept: list[Row] = []
    for by_kind in _cells(rows).values():
        for by_method in by_kind.values():
            measured = [[row for row in its if not row.get("error")] for its in by_method.values()]
            measured = [its for its in measured if its]
            seeds = [{row["seed"] for row in its} for its in measured]
            common = set.intersection(*seeds) if seeds else set()
            kept += [row for its in measured for row in its if row["seed"] in common]
    return kept


def _methods(by_kind: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Methods of a data set, over all its noise."""
    order = {name: i for i, name in enumerate(ENTRIES)}
    return sorted(dict.fromkeys(m for by_method in by_kind.values() for m in by_method), key=lambda m: order.get(m, 99))


def _score_of(data: str) -> str:
    return PROBLEMS[data].score if data in PROBLEMS else "test_accuracy"


def summarize(rows: Iterable[Row]) -> Summary:
    """Mean and standard deviation over seeds, of everything that was measured.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`. Of each
        method the newest recipe counts, of runs that differ in a parameter those like the last one, and of the same run
        the last one that did not fail.

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
        notes += _of_its_settings(data, method, {kind: its[method] for kind, its in by_kind.items() if method in its})
    head = ["method"]
    for kind, by_method in by_kind.items():
        wrong = [rate for found in by_method.values() for rate in _values(found, "true_rate")]
        head.append(f"{kind} ({100 * np.mean(wrong):.1f} % wrong)" if wrong else kind)
    title = PROBLEMS[data].title if data in PROBLEMS else f"{every[0][-1]['rows']} training rows"
    what = {"test_accuracy": "test accuracy", "test_f1": "F1 on the test part"}[score]
    notes += _of_the_test_part(data, every) + _of_the_seeds(data, by_kind)
    return Table(f"{data}: {title}; {what} at the last epoch", head, lines, notes)


def _of_its_settings(data: str, method: str, by_kind: Mapping[str, Sequence[Row]]) -> list[str]:
    """What is to be said where a method is not the same in all columns, or not what it is now."""
    notes = []
    some = next((row for its in by_kind.values() for row in its), None)
    now: Row = {}
    if some is not None and method in ENTRIES:
        if recipe(some) < ENTRIES[method].recipe:
            notes.append(f"{method}: run before its code or its automatic settings were changed")
        shared = tuple(f"__{name}" for name in PROBLEMS[data].shared) if data in PROBLEMS else ()
        own = settings(ENTRIES[method].make(), some["rows"])
        now = {name: value for name, value in own.items() if not f"__{name}".endswith(shared)}  # of a part as well
    values: dict[str, dict[str, list[str]]] = {}  # columns, by parameter and value
    for kind, its in by_kind.items():
        for name, value in {**_defaults(method), **its[-1]["params"]}.items():
            values.setdefault(name, {}).setdefault(repr(value), []).append(kind)
    for name, by_value in values.items():
        if len(by_value) > 1 or sum(map(len, by_value.values())) < len(by_kind):
            each = "; ".join(f"{value} in {', '.join(kinds)}" for value, kinds in by_value.items())
            notes.append(f"{method}: not the same in all columns, {name} is {each}")
        elif name in now and any(name in its[-1]["params"] for its in by_kind.values()):
            (value,) = by_value
            notes += [] if value == repr(now[name]) else [f"{method}: run with {name} {value}, now {now[name]!r}"]
    return notes


def _of_the_test_part(data: str, every: Sequence[Sequence[Row]]) -> list[str]:
    """How far chance in the choice of the test rows moves an accuracy: one binomial standard error."""
    accuracies = [value for its in every for value in _values(its, "test_accuracy")]
    known = PROBLEMS[data].test_rows if data in PROBLEMS else None
    given = [row.get("test_rows", known) for its in every for row in its if "test_accuracy" in row]
    counts = [count for count in given if count]
    if not counts:
        return []
    rows, p = int(np.median(counts)), float(np.mean(accuracies))
    of = "; F1 rests on the rows of its class alone, and moves more" if _score_of(data) == "test_f1" else ""
    return [
        f"one standard error of the test part: {(p * (1 - p) / rows) ** 0.5:.3f}, at an accuracy of {p:.2f} on "
        f"{rows:,} rows{of}"
    ]


def _of_the_seeds(data: str, by_kind: Iterable[str]) -> list[str]:
    """What seeds do not vary."""
    if data in PROBLEMS and PROBLEMS[data].fixed and set(by_kind) <= set(PROBLEMS[data].sources):
        return [
            "rows, labels and test part are the same for every seed: seeds vary only the network and the rows' order"
        ]
    return []


def _detail_table(data: str, kind: str, by_method: Mapping[str, Sequence[Row]]) -> Table:
    """Methods x measures of one data set and noise."""
    lines = [
        [method, *(mean_sd(_values(found, column), digits) for column, digits in MEASURES.values())]
        for method, found in by_method.items()
    ]
    reasons = dict.fromkeys(
        f"{method}: suspects not measured, {row['no_detection']}"
        for method, found in by_method.items()
        for row in found
        if "no_detection" in row
    )
    return Table(f"{data}, {kind}", ["method", *MEASURES], lines, list(reasons))


def _places(by_method: Mapping[str, Sequence[Row]], column: str) -> dict[str, float]:
    """Share of the others that are better, each pair on the seeds that both have; equals count half."""
    places = {}
    for method, found in by_method.items():
        others = [_difference(found, its, column) for name, its in by_method.items() if name != method]
        lost = [(by < 0) + (by == 0) / 2 for by in others if by is not None]
        if lost:
            places[method] = float(np.mean(lost))
    return places


def _ranks(cells: Cells) -> Table:
    """Mean place of each method, 0 the best and 1 the last, by score and by the average precision of the suspects."""
    places: dict[str, tuple[dict[str, list[float]], dict[str, list[float]]]] = {}  # by score, by suspects; by set
    wins: dict[str, int] = {}
    for data, by_kind in cells.items():
        for by_method in by_kind.values():
            for i, column in enumerate((_score_of(data), "average_precision")):
                found = _places(by_method, column)
                for method, place in found.items():
                    places.setdefault(method, ({}, {}))[i].setdefault(data, []).append(place)
                    wins[method] = wins.get(method, 0) + (i == 0 and place == min(found.values()))
    means = {m: [[float(np.mean(its)) for its in by.values()] for by in both] for m, both in places.items()}
    lines = [
        [
            method,
            str(len(means[method][0])),
            *(f"{np.mean(its):.2f}" if its else "" for its in means[method]),
            f"{wins[method]} of {sum(map(len, places[method][0].values()))}",
        ]
        for method in sorted(places, key=lambda m: np.mean(means[m][0] or [1.0]))
    ]
    notes = [
        "Two methods are compared on the seeds that both have; places are averaged over the noise of a set, then over "
        "sets."
    ]
    notes += [f"{method}: {ENTRIES[method].note}" for method in ENTRIES if method in places and ENTRIES[method].note]
    title = "Mean place among the methods: 0 is always the best, 1 always the last"
    return Table(title, ["method", "sets", "by score", "by suspects' AP", "times the best"], lines, notes)


def _times(ratio: float) -> str:
    """Two digits.

    >>> _times(0.052), _times(1.02), _times(12.3)
    ('0.052', '1.0', '12')
    """
    return f"{ratio:.2g}" if ratio < 0.95 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def behind(rows: Iterable[Row], bases: Sequence[str] = ("CE", "LR")) -> Table:
    """Which methods score less than a simple one, and by how much.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`.
    bases : sequence of str, default=("CE", "LR")
        Names of the simple ones.

    Returns
    -------
    Table
        A row for each set and noise, a column for each base: methods below it, by a thousandth at least, with the
        difference of the means over the seeds that both have, the worst first; empty where the base has not run.

    Examples
    --------
    >>> from robustlabels.comparison import behind
    >>> row = {"data": "digits", "noise": "sym40", "rows": 1257, "params": {}, "seed": 0}
    >>> rows = [{**row, "method": m, "test_accuracy": a} for m, a in (("CE", 0.5), ("ELR", 0.9), ("mine", 0.4))]
    >>> print(behind(rows, ["CE"]))
    Methods behind a simple one, and by how much, on the seeds that both have
    data, noise    below CE
    digits, sym40  mine −0.100
    """
    lines = []
    for data, by_kind in _cells(rows).items():
        for kind, by_method in by_kind.items():
            line = [f"{data}, {kind}"]
            for base in bases:
                found = {
                    method: _difference(its, by_method.get(base, []), _score_of(data))
                    for method, its in by_method.items()
                    if method != base
                }
                known = {method: by for method, by in found.items() if by is not None}
                worse = sorted((by, method) for method, by in known.items() if round(by, 3) < 0)
                text = ", ".join(f"{method} {by:.3f}".replace("-0.", "\N{MINUS SIGN}0.") for by, method in worse)
                line.append(text or ("none" if known else ""))
            lines.append(line)
    title = "Methods behind a simple one, and by how much, on the seeds that both have"
    return Table(title, ["data, noise", *(f"below {base}" for base in bases)], lines)


def costs(rows: Iterable[Row], base: str = "CE") -> Table:
    """CPU time of every method over that of one, on the same set, noise and seed.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`.
    base : str, default="CE"
        The one; its own line has its seconds.

    Returns
    -------
    Table
        Methods x data sets: medians over noise and seeds.

    Examples
    --------
    >>> from robustlabels.comparison import costs
    >>> row = {"data": "digits", "noise": "sym40", "rows": 1257, "params": {}, "seed": 0}
    >>> rows = [{**row, "method": m, "cpu_seconds": s} for m, s in (("CE", 2.0), ("ELR", 2.5))]
    >>> print(costs(rows))
    CPU time over CE's
    method  digits
    CE      1 (2.0 s)
    ELR     1.2
    """
    cells = _cells(rows)
    ratios: dict[str, dict[str, list[float]]] = {}
    seconds: dict[str, list[float]] = {}
    for data, by_kind in cells.items():
        for by_method in by_kind.values():
            of_base = {row["seed"]: row["cpu_seconds"] for row in by_method.get(base, []) if "cpu_seconds" in row}
            seconds.setdefault(data, []).extend(of_base.values())
            for method, its in by_method.items():
                ratios.setdefault(method, {}).setdefault(data, []).extend(
                    row["cpu_seconds"] / of_base[row["seed"]]
                    for row in its
                    if "cpu_seconds" in row and row["seed"] in of_base
                )
    lines = []
    for method in _methods({"": ratios}):
        line = [method]
        for data in cells:
            if method == base:
                line.append(f"1 ({np.median(seconds[data]):.1f} s)" if seconds[data] else "")
            else:
                found = ratios[method].get(data)
                line.append(_times(float(np.median(found))) if found else "")
        lines.append(line)
    return Table(f"CPU time over {base}'s", ["method", *cells], lines)


def plot(rows: Iterable[Row], folder: str | Path) -> list[Path]:
    """Draw score and average precision of every method, a picture for each data set.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`.
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
