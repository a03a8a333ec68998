"""Methods x data x noise x seeds: what is to be run, and running it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from robustlabels.comparison.entries import ENTRIES, Entry
from robustlabels.comparison.measuring import measure
from robustlabels.comparison.problems import INJECTED, PROBLEMS, Problem, problem_of
from robustlabels.comparison.processes import in_processes, start_method
from robustlabels.comparison.storage import Row, append_row, defaults, environment, find, read_rows, recipe, settings
from robustlabels.datasets import NoisyDataset
from robustlabels.modules import closest
from robustlabels.noise import LabelNoise
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.parameters import check_number

# --- what is asked for ------------------------------------------------------------------------------------------------


def _problem(data: str | NoisyDataset | Problem) -> Problem:
    if isinstance(data, str):
        return _named(PROBLEMS, "data set", data)
    return problem_of(data) if isinstance(data, NoisyDataset) else data


def _chosen_methods(methods: Any) -> dict[str, Entry]:
    """Methods by name, of names, of estimators by name, or of both in a list."""
    if methods is None:
        methods = list(ENTRIES)
    if not isinstance(methods, Mapping):
        names = [m if isinstance(m, str) else type(m).__name__ for m in methods]
        if len(set(names)) < len(names):
            raise ValueError(f"each method needs a name of its own, got {', '.join(names)}; pass a dict by name.")
        methods = dict(zip(names, methods, strict=True))
    return {n: _named(ENTRIES, "method", m) if isinstance(m, str) else _of_user(n, m) for n, m in methods.items()}


def _of_user(name: str, estimator: Any) -> Entry:
    """A classifier of the user's; under a known name, one of ours with other parameters say, it is as new as ours."""
    return Entry(lambda: estimator, cost=3, recipe=ENTRIES[name].recipe if name in ENTRIES else 1)


def _named(known: Mapping[str, Any], what: str, name: str) -> Any:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}{closest(name, known)} Known are: {', '.join(known)}.")
    return known[name]


def configured(estimator: Any, shared: Mapping[str, Any], seed: int, device: str) -> Any:
    """A clone with the seed in every ``random_state``, and what is shared in every network of ours.

    What an estimator sets itself stays: only parameters at their defaults are replaced.
    """
    estimator = clone(estimator)
    parts = estimator.get_params(deep=True)
    over: dict[str, Any] = {name: seed for name in parts if name.rpartition("__")[2] == "random_state"}
    for prefix, part in [("", estimator), *((f"{name}__", value) for name, value in parts.items())]:
        if not isinstance(part, BaseNoisyLabelClassifier):
            continue
        own, default = part.get_params(), type(part)().get_params()
        for name, value in {**shared, "device": device}.items():
            root = name.partition("__")[0]
            unset = own[name] == default[name] if name in default else name not in own and own[root] == default[root]
            if unset:
                over[prefix + name] = value
    return estimator.set_params(**over)


# --- all runs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Task:
    """One run."""

    method: str
    recipe: int
    times: float  # what it takes, over cross-entropy's
    estimator: Any
    problem: Problem
    noise: str | LabelNoise
    seed: int
    curve: bool

    @functools.cached_property
    def settings(self) -> Row:
        """What makes it this run and no other."""
        run = {"data": self.problem.name, "rows": self.problem.rows, "noise": _noise_name(self.noise)}
        if self.problem.contents is not None:
            run["contents"] = self.problem.contents
        params = settings(self.estimator, self.problem.rows)
        return {**run, "method": self.method, "recipe": self.recipe, "seed": self.seed, "params": params}

    def find(self, rows: Sequence[Row]) -> Row | None:
        """Its row, if it is stored."""
        return find(rows, self.settings, defaults(self.estimator))

    def __call__(self) -> Row:
        try:
            split = self.problem.split(self.noise, self.seed)
        except FileNotFoundError as error:
            return {"missing": str(error)}
        return measure(self.estimator, split, curve=self.curve)


def _noise_name(noise: str | LabelNoise) -> str:
    """A simulator with its parameters, without the seed and without defaults."""
    if isinstance(noise, str):
        return noise
    values = {f.name: (repr(getattr(noise, f.name)), repr(f.default)) for f in fields(noise)}  # type: ignore[arg-type]
    given = [
        f"{name}={value}" for name, (value, default) in values.items() if name != "random_state" and value != default
    ]
    return f"{type(noise).__name__}({', '.join(given)})"


def _several(given: Any) -> Any:
    """A list where one thing alone was given, an ensemble of classifiers included; None stays."""
    several = isinstance(given, Iterable) and not isinstance(given, str) and not hasattr(given, "fit")
    return given if given is None or several else [given]


def _seeds(given: Any) -> list[int]:
    """So many from 0, or these, as numbers that JSON has."""
    if not isinstance(given, Iterable):
        check_number("seeds", given, 1, integer=True)
        return list(range(int(given)))
    seeds = list(given)
    for seed in seeds:
        check_number("a seed", seed, 0, integer=True)
    return [int(seed) for seed in seeds]


def _tasks(
    methods: Mapping[str, Entry],
    problems: Sequence[Problem],
    noise: Sequence[str | LabelNoise] | None,
    seeds: Iterable[int],
    curve: bool,
    device: str,
) -> Iterator[_Task]:
    """All runs; one seed after the other, so that an unfinished suite has whole tables of fewer seeds."""
    for seed in seeds:
        for problem in problems:
            for kind in problem.noise if noise is None else filter(problem.takes, noise):
                for name, method in methods.items():
                    if name not in problem.too_costly:
                        ready = configured(method.make(), problem.shared, seed, device)
                        times = method.times(problem.rows)
                        yield _Task(name, method.recipe, times, ready, problem, kind, seed, curve)


def _estimate(tasks: Sequence[_Task], rows: Sequence[Row]) -> float:
    """Seconds that runs will take one after the other: as the same took before, or by what is known of both parts."""
    before: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if "seconds" in row:
            before.setdefault((row["data"], row["method"], recipe(row)), []).append(row["seconds"])
    total = 0.0
    for task in tasks:
        known = before.get((task.problem.name, task.method, task.recipe))
        total += float(np.median(known)) if known else task.times * task.problem.seconds
    return total


def run_comparison(
    methods: Any = None,
    data: str | NoisyDataset | Problem | Sequence[str | NoisyDataset | Problem] = ("digits",),
    noise: str | LabelNoise | Sequence[str | LabelNoise] | None = None,
    seeds: int | Sequence[int] = 3,
    *,
    results: str | Path | None = None,
    n_jobs: int = 1,
    curve: bool = True,
    device: str = "cpu",
    verbose: int = 1,
) -> list[Row]:
    """Measure methods on data with wrong labels, over seeds; each run in a process and a thread of its own.

    Parameters
    ----------
    methods : str, classifier, list or dict by name of them, or None, default=None
        Names of :data:`~robustlabels.comparison.entries.ENTRIES`, any scikit-learn classifiers, or both; None takes all
        that have a name. A classifier of your own is cloned, and each of its ``random_state`` parameters set to the
        seed.
    data : str, NoisyDataset, Problem, or list of them, default=("digits",)
        Names of :data:`~robustlabels.comparison.problems.PROBLEMS`, or sets of your own.
    noise : str, LabelNoise, list of them, or None, default=None
        "clean", "sym40", "pair40", "idn40", names of real sources, simulators; each is tried on the sets that have it.
        None takes what each set names.
    seeds : int or list of int, default=3
        So many, from 0; or these.
    results : str, Path or None, default=None
        A file of JSON lines: every run is appended when it is done, and one that is there, with the same settings and
        no error, is not repeated. After changing the code of your method name it anew, or take another file. Changes
        of the named ones are counted (``recipe``), and they are run again.
    n_jobs : int, default=1
        Runs at a time.
    curve : bool, default=True
        Also measure test accuracy after every epoch, to say what the best would have been.
    device : str, default="cpu"
        Of all networks here that do not name one.
    verbose : int, default=1
        0 is silent; 1 prints what will be done, how long it may take, and every run.

    Returns
    -------
    rows : list of dict
        One a run, new or stored: its settings (``data``, ``rows``, ``noise``, ``method``, ``recipe``, ``seed``,
        ``params``), what :func:`~robustlabels.comparison.measure` returns, ``peak_mib`` of its process, ``machine``,
        ``versions`` and ``date``. A run that failed has ``error`` and ``traceback`` instead of measures, and is tried
        again the next time.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from robustlabels.comparison import run_comparison
    >>> (row,) = run_comparison({"mine": KNeighborsClassifier(15)}, noise=["pair40"], seeds=[7], verbose=0)
    >>> row["data"], row["method"], row["seed"], round(row["true_rate"], 2), row["test_accuracy"] > 0.5
    ('digits', 'mine', 7, 0.4, True)
    """
    check_number("n_jobs", n_jobs, 1, integer=True)
    say = print if verbose else lambda *_, **__: None
    problems, kinds = [_problem(d) for d in _several(data)], _several(noise)
    for kind in kinds or ():
        if not any(problem.takes(kind) for problem in problems):
            known = ", ".join(["clean", *INJECTED, *dict.fromkeys(s for p in problems for s in p.sources)])
            raise ValueError(f"unknown noise {kind!r} for {', '.join(p.name for p in problems)}; there is {known}.")
    stored = [] if results is None else read_rows(results)
    tasks = list(_tasks(_chosen_methods(_several(methods)), problems, kinds, _seeds(seeds), curve, device))
    rows = [task.find(stored) for task in tasks]
    todo = [i for i, row in enumerate(rows) if row is None]
    for problem in problems:
        for name, reason in problem.too_costly.items():
            say(f"not run: {name} on {problem.name}: {reason}")
    left = _duration(_estimate([tasks[i] for i in todo], stored) / n_jobs)
    say(f"{len(tasks)} runs, {len(tasks) - len(todo)} of them stored; about {left} to go", flush=True)

    about = environment()
    about["machine"]["threads"] = 1
    missing: dict[str, str] = {}
    for done, (number, result) in enumerate(in_processes([tasks[i] for i in todo], n_jobs, start_method(device)), 1):
        task = tasks[todo[number]]
        if "missing" in result:
            if task.problem.name not in missing:
                say(f"not run: {task.problem.name}: {result['missing']}", flush=True)
            missing[task.problem.name] = result["missing"]
            continue
        row = {**task.settings, **result, **about, "date": datetime.now(UTC).isoformat(timespec="seconds")}
        if results is not None:
            append_row(results, row)
        rows[todo[number]] = row
        say(f"[{done}/{len(todo)}] {describe(row)}", flush=True)
    return [row for row in rows if row is not None]


def describe(row: Row) -> str:
    """One run on one line.

    Parameters
    ----------
    row : dict

    Returns
    -------
    str
    """
    text = f"{row['data']:<16} {row['noise']:<8} {row['method']:<16} seed {row['seed']:<3}"
    if row.get("error"):
        return f"{text} failed: {row['error']}"
    text += f" test {row['test_accuracy']:.3f}"
    if "best_test_accuracy" in row:
        text += f" (best {row['best_test_accuracy']:.3f})"
    if "average_precision" in row:
        text += f"  AP {row['average_precision']:.3f}"
    if "estimated_rate" in row:
        text += f"  noise {row['estimated_rate']:.3f} of {row['true_rate']:.3f}"
    if "no_detection" in row:
        text += f"  suspects not measured: {row['no_detection']}"
    return f"{text}  {row['seconds']:.1f} s"


def _duration(seconds: float) -> str:
    """In words: the whole is an estimate.

    >>> _duration(50), _duration(100), _duration(9000)
    ('50 s', '2 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
