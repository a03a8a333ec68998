"""Tables and pictures of the stored rows: means over seeds."""

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
from robustlabels.comparison.storage import Row, alike, defaults, measured, recipe, settings


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """Return mean ± standard deviation; of a single value only the value, and of none an empty text.

    Parameters
    ----------
    values : sequence of float
    digits : int, default=3
        Number of decimals.

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
    """Table of text, whose columns ``print`` aligns.

    Parameters
    ----------
    title : str
    head : list of str
    rows : list of list of str
    notes : list of str, default=[]
        Printed below the table.
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
    """All tables of a comparison, made by :func:`~robustlabels.comparison.summarize`; ``print`` shows them.

    Parameters
    ----------
    scores : list of Table
        For each data set methods x noise, mean ± standard deviation over seeds.
    details : list of Table
        For each data set and noise methods x measures.
    ranks : Table
        The mean place of every method, over data sets and noise.
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
    "detection AP": ("average_precision", 3),
    "AUROC": ("roc_auc", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "estimated noise": ("estimated_rate", 3),
    "CPU s": ("cpu_seconds", 1),
    "MiB": ("peak_mib", 0),
}


Cells = dict[str, dict[str, dict[str, list[Row]]]]


def _cells(rows: Iterable[Row]) -> Cells:
    """Group rows by data set, noise and method: of each method the newest recipe, of each cell the newest settings.

    Named sets, noise and methods are in the order of their registries; others follow in the order of the rows.
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
    """Return the rows of a cell that share the settings of its last row: of each seed the last one.

    A failure counts only if no other row of its seed succeeded.
    """
    by_seed: dict[int, Row] = {}
    for row in rows:
        same = all(row.get(k) == rows[-1].get(k) for k in ("rows", "contents"))
        counts = not row.get("error") or by_seed.get(row["seed"], row).get("error")
        if same and counts and alike(row["params"], rows[-1]["params"], _defaults(method)):
            by_seed[row["seed"]] = row
    return [by_seed[seed] for seed in sorted(by_seed)]


@functools.cache
def _defaults(method: str) -> Row:
    """Return the defaults of a named method: a row may be older than one of its parameters."""
    return defaults(ENTRIES[method].make()) if method in ENTRIES else {}


def _values(rows: Sequence[Row], column: str) -> list[float]:
    return [value for row in rows if (value := measured(row, column)) is not None]


def _difference(rows: Sequence[Row], others: Sequence[Row], column: str) -> float | None:
    """Return the difference of the means of two methods, over the seeds that both have."""
    mine, theirs = (
        {row["seed"]: v for row in its if (v := measured(row, column)) is not None} for its in (rows, others)
    )
    both = sorted(mine.keys() & theirs.keys())
    return float(np.mean([mine[s] for s in both]) - np.mean([theirs[s] for s in both])) if both else None


def common_seeds(rows: Iterable[Row]) -> list[Row]:
    """Return rows whose means can be compared: of each set and noise, the seeds that all methods have there.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`.

    Returns
    -------
    list of dict
        Without failures, and of each method the newest settings, as in the tables. A method without any result on a set
        and noise does not restrict the seeds there.

    Examples
    --------
    >>> from robustlabels.comparison import common_seeds
    >>> row = {"data": "digits", "noise": "sym40", "rows": 1257, "params": {}, "measures": {}}
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
    """Return the methods of a data set, over all its noise, in the order of the entries."""
    order = {name: i for i, name in enumerate(ENTRIES)}
    return sorted(dict.fromkeys(m for by_method in by_kind.values() for m in by_method), key=lambda m: order.get(m, 99))


def _score_of(data: str) -> str:
    return PROBLEMS[data].score if data in PROBLEMS else "test_accuracy"


def summarize(rows: Iterable[Row]) -> Summary:
    """Return tables of means and standard deviations over seeds, of all measures.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`. Of each
        method the newest recipe counts; of runs that differ in a parameter, those with the settings of the last one;
        and of repetitions of the same run, the last one that did not fail.

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
    """Return methods x noise of one data set; a cell without a number says why."""
    score, methods = _score_of(data), _methods(by_kind)
    costly = PROBLEMS[data].too_costly if data in PROBLEMS else {}
    every = [found for by_method in by_kind.values() for found in by_method.values()]
    n_seeds = max(map(len, every))
    notes = [f"{method}: not run, {reason}" for method, reason in costly.items()]
    lines = []
    for method in [*methods, *(name for name in costly if name not in methods)]:
        its = {kind: by_method.get(method, []) for kind, by_method in by_kind.items()}
        lines.append([method, *(_score_cell(rows, score, n_seeds, method in costly) for rows in its.values())])
        errors = {kind: next((row["error"] for row in rows if row.get("error")), "") for kind, rows in its.items()}
        notes += [f"{method}, {kind}: {error}" for kind, error in errors.items() if error]
        notes += _of_its_settings(data, method, {kind: rows for kind, rows in its.items() if rows})
    head = ["method", *(_with_rate(kind, by_method) for kind, by_method in by_kind.items())]
    title = PROBLEMS[data].title if data in PROBLEMS else f"{every[0][-1]['rows']} training rows"
    what = {"test_accuracy": "test accuracy", "test_f1": "F1 on the test part"}[score]
    notes += _of_the_test_part(data, every) + _of_the_seeds(data, by_kind)
    return Table(f"{data}: {title}; {what} at the last epoch", head, lines, notes)


def _score_cell(rows: Sequence[Row], score: str, n_seeds: int, costly: bool) -> str:
    """Return mean and deviation, with the number of seeds if some are missing, or why there is no number."""
    if values := _values(rows, score):
        return mean_sd(values) + (f" ({len(values)})" if len(values) < n_seeds else "")
    return "failed" if any(row.get("error") for row in rows) else "too costly" if costly else ""


def _with_rate(kind: str, by_method: Mapping[str, Sequence[Row]]) -> str:
    """Return the name of a noise with the share of wrong labels that it made."""
    wrong = [rate for found in by_method.values() for rate in _values(found, "true_rate")]
    return f"{kind} ({100 * np.mean(wrong):.1f} % wrong)" if wrong else kind


def _of_its_settings(data: str, method: str, by_kind: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return notes on a method whose settings differ between the columns, or from what it is today."""
    some = next((row for its in by_kind.values() for row in its), None)
    notes = []
    if some is not None and method in ENTRIES and recipe(some) < ENTRIES[method].recipe:
        notes.append(f"{method}: run before its code or its automatic settings were changed")
    now = {} if some is None else _settings_today(data, method, some["rows"])
    stored = {name for its in by_kind.values() for name in its[-1]["params"]}
    for name, by_value in _by_value(method, by_kind).items():
        if len(by_value) > 1 or sum(map(len, by_value.values())) < len(by_kind):
            each = "; ".join(f"{value} in {', '.join(kinds)}" for value, kinds in by_value.items())
            notes.append(f"{method}: not the same in all columns, {name} is {each}")
        elif name in now and name in stored:
            (value,) = by_value
            notes += [] if value == repr(now[name]) else [f"{method}: run with {name} {value}, now {now[name]!r}"]
    return notes


def _settings_today(data: str, method: str, rows: int) -> Row:
    """Return the parameters that a named method has today, without those that all methods share on the data set."""
    if method not in ENTRIES:
        return {}
    # The leading "__" lets one comparison match the parameter of the estimator and that of a part of it.
    shared = tuple(f"__{name}" for name in PROBLEMS[data].shared) if data in PROBLEMS else ()
    own = settings(ENTRIES[method].make(), rows)
    return {name: value for name, value in own.items() if not f"__{name}".endswith(shared)}


def _by_value(method: str, by_kind: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, list[str]]]:
    """Return the columns by parameter and value; a row may be older than a parameter, which is then at its default."""
    values: dict[str, dict[str, list[str]]] = {}
    for kind, its in by_kind.items():
        for name, value in {**_defaults(method), **its[-1]["params"]}.items():
            values.setdefault(name, {}).setdefault(repr(value), []).append(kind)
    return values


def _of_the_test_part(data: str, every: Sequence[Sequence[Row]]) -> list[str]:
    """Return a note on how far the choice of the test rows moves an accuracy: one binomial standard error."""
    accuracies = [value for its in every for value in _values(its, "test_accuracy")]
    known = PROBLEMS[data].test_rows if data in PROBLEMS else None
    rows_measured = [row["measures"] for its in every for row in its if measured(row, "test_accuracy") is not None]
    given = [its.get("test_rows", known) for its in rows_measured]
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
    """Return a note on what seeds do not vary, if the set has fixed rows and labels."""
    if data in PROBLEMS and PROBLEMS[data].fixed and set(by_kind) <= set(PROBLEMS[data].sources):
        return [
            "rows, labels and test part are the same for every seed: seeds vary only the network and the rows' order"
        ]
    return []


def _detail_table(data: str, kind: str, by_method: Mapping[str, Sequence[Row]]) -> Table:
    """Return methods x measures of one data set and noise."""
    lines = [
        [method, *(mean_sd(_values(found, column), digits) for column, digits in MEASURES.values())]
        for method, found in by_method.items()
    ]
    reasons = dict.fromkeys(
        f"{method}: detection not measured, {row['no_detection']}"
        for method, found in by_method.items()
        for row in found
        if "no_detection" in row
    )
    return Table(f"{data}, {kind}", ["method", *MEASURES], lines, list(reasons))


def _places(by_method: Mapping[str, Sequence[Row]], column: str) -> dict[str, float]:
    """Return the share of other methods that are better, each pair on its common seeds; ties count half."""
    places = {}
    for method, found in by_method.items():
        others = [_difference(found, its, column) for name, its in by_method.items() if name != method]
        lost = [(by < 0) + (by == 0) / 2 for by in others if by is not None]
        if lost:
            places[method] = float(np.mean(lost))
    return places


def _ranks(cells: Cells) -> Table:
    """Return the mean place of each method, from 0 (best) to 1 (last), by score and by detection average precision."""
    places: dict[str, tuple[dict[str, list[float]], dict[str, list[float]]]] = {}  # by score, by detection AP; by set
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
    return Table(title, ["method", "sets", "by score", "by detection AP", "times the best"], lines, notes)


def _times(ratio: float) -> str:
    """Return a ratio with two significant digits.

    >>> _times(0.052), _times(1.02), _times(12.3)
    ('0.052', '1.0', '12')
    """
    return f"{ratio:.2g}" if ratio < 0.95 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def behind(rows: Iterable[Row], bases: Sequence[str] = ("CE", "LR")) -> Table:
    """Return the methods that score less than a simple one, and by how much.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`.
    bases : sequence of str, default=("CE", "LR")
        Names of the simple methods.

    Returns
    -------
    Table
        A row for each set and noise, a column for each base: the methods below it by at least a thousandth, worst
        first, each with the difference of the means over the seeds that both have. A cell is empty if the base has
        not run.

    Examples
    --------
    >>> from robustlabels.comparison import behind
    >>> row = {"data": "digits", "noise": "sym40", "rows": 1257, "params": {}, "seed": 0}
    >>> scores = {"CE": 0.5, "ELR": 0.9, "mine": 0.4}
    >>> rows = [{**row, "method": m, "measures": {"test_accuracy": a}} for m, a in scores.items()]
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
    """Return the CPU time of every method as a multiple of one method's, on the same set, noise and seed.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`.
    base : str, default="CE"
        The method to divide by; its own line has its seconds.

    Returns
    -------
    Table
        Methods x data sets: medians over noise and seeds.

    Examples
    --------
    >>> from robustlabels.comparison import costs
    >>> row = {"data": "digits", "noise": "sym40", "rows": 1257, "params": {}, "seed": 0}
    >>> rows = [{**row, "method": m, "measures": {"cpu_seconds": s}} for m, s in (("CE", 2.0), ("ELR", 2.5))]
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
            spent = {method: _cpu_seconds(its) for method, its in by_method.items()}
            of_base = spent.get(base, {})
            seconds.setdefault(data, []).extend(of_base.values())
            for method, its in spent.items():
                its_ratios = [value / of_base[seed] for seed, value in its.items() if seed in of_base]
                ratios.setdefault(method, {}).setdefault(data, []).extend(its_ratios)
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


def _cpu_seconds(rows: Sequence[Row]) -> dict[int, float]:
    return {row["seed"]: value for row in rows if (value := measured(row, "cpu_seconds")) is not None}


def plot(rows: Iterable[Row], folder: str | Path) -> list[Path]:
    """Draw the score and the detection average precision of every method, one picture per data set.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.comparison.run_comparison` or :func:`~robustlabels.comparison.read_rows`.
    folder : str or Path
        It is created if it does not exist.

    Returns
    -------
    paths : list of Path
        One PNG per data set: a panel per noise, methods from top to bottom, mean and standard deviation over seeds. A
        ring marks the best epoch.
    """
    try:
        Figure = import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise ImportError('Pictures need matplotlib: pip install "robustlabels[report]".') from error
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
            lower.set_xlabel("detection average precision")
            for panel in (upper, lower):
                panel.set_yticks(range(len(methods)), methods)
                panel.grid(axis="x", alpha=0.3)
        figure.suptitle(data)
        paths.append(folder / f"{re.sub(r'[^-.0-9A-Za-z]+', '_', data)}.png")
        figure.savefig(paths[-1])
    return paths
