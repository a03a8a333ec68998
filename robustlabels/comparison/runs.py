"""Run a comparison: every method on every data set, noise and seed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from robustlabels.comparison.entries import ENTRIES, Entry
from robustlabels.comparison.measuring import measure
from robustlabels.comparison.problems import INJECTED, PROBLEMS, Problem, problem_of
from robustlabels.comparison.processes import in_processes, start_method
from robustlabels.comparison.storage import (
    Row,
    append_row,
    defaults,
    environment,
    find,
    make_row,
    measured,
    read_rows,
    recipe,
    settings,
)
from robustlabels.datasets import NoisyDataset
from robustlabels.modules import closest
from robustlabels.noise import LabelNoise
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.parameters import check_number

# --- what to run ------------------------------------------------------------------------------------------------


def _problem(data: str | NoisyDataset | Problem) -> Problem:
    if isinstance(data, str):
        return _named(PROBLEMS, "data set", data)
    return problem_of(data) if isinstance(data, NoisyDataset) else data


def _chosen_methods(methods: Any) -> dict[str, Entry]:
    """Return entries by name, given names, estimators by name, or a list of both."""
    if methods is None:
        methods = list(ENTRIES)
    if not isinstance(methods, Mapping):
        names = [m if isinstance(m, str) else type(m).__name__ for m in methods]
        if len(set(names)) < len(names):
            raise ValueError(f"Every method needs a different name, got {', '.join(names)}; pass a dict by name.")
        methods = dict(zip(names, methods, strict=True))
    return {n: _named(ENTRIES, "method", m) if isinstance(m, str) else _of_user(n, m) for n, m in methods.items()}


def _of_user(name: str, estimator: Any) -> Entry:
    """Return the entry of a user's classifier.

    Under a known name it is taken for that method with other parameters, so it gets that method's recipe.
    """
    return Entry(lambda: estimator, cost=3, recipe=ENTRIES[name].recipe if name in ENTRIES else 1)


def _named(known: Mapping[str, Any], what: str, name: str) -> Any:
    if name not in known:
        raise ValueError(f"The {what} {name!r} is unknown{closest(name, known)} Known are: {', '.join(known)}.")
    return known[name]


def configured(estimator: Any, shared: Mapping[str, Any], seed: int, device: str) -> Any:
    """Return a clone with the seed in every ``random_state``, and the shared parameters in every network of ours.

    Only parameters at their defaults are replaced, so that what an estimator sets itself stays.
    """
    estimator = clone(estimator)
    parts = estimator.get_params(deep=True)
    over: dict[str, Any] = {name: seed for name in parts if name.rpartition("__")[2] == "random_state"}
    for prefix, part in [("", estimator), *((f"{name}__", value) for name, value in parts.items())]:
        if not isinstance(part, BaseNoisyLabelClassifier):
            continue
        own, default = part.get_params(), type(part)().get_params()
        for name, value in {**shared, "device": device}.items():
            # "module__width" exists only once it is set; without it, its root "module" says whether it was set.
            root = name.partition("__")[0]
            unset = own[name] == default[name] if name in default else name not in own and own[root] == default[root]
            if unset:
                over[prefix + name] = value
    return estimator.set_params(**over)


# --- running it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Task:
    """One run: a method on a data set, a noise and a seed."""

    method: str
    recipe: int
    times: float  # expected time as a multiple of cross-entropy's
    estimator: Any
    problem: Problem
    noise: str | LabelNoise
    seed: int
    curve: bool

    @functools.cached_property
    def settings(self) -> Row:
        """The settings that identify the run."""
        run = {"data": self.problem.name, "rows": self.problem.rows, "noise": _noise_name(self.noise)}
        if self.problem.contents is not None:
            run["contents"] = self.problem.contents
        params = settings(self.estimator, self.problem.rows)
        return {**run, "method": self.method, "recipe": self.recipe, "seed": self.seed, "params": params}

    def find(self, rows: Sequence[Row]) -> Row | None:
        """Return its row among stored ones, or None."""
        return find(rows, self.settings, defaults(self.estimator))

    def __call__(self) -> Row:
        try:
            split = self.problem.split(self.noise, self.seed)
        except FileNotFoundError as error:
            return {"missing": str(error)}
        return measure(self.estimator, split, curve=self.curve)


def _noise_name(noise: str | LabelNoise) -> str:
    """Return the name of a noise: of a simulator its class and the parameters that are not at their defaults."""
    if isinstance(noise, str):
        return noise
    values = {f.name: (repr(getattr(noise, f.name)), repr(f.default)) for f in fields(noise)}  # type: ignore[arg-type]
    given = [
        f"{name}={value}" for name, (value, default) in values.items() if name != "random_state" and value != default
    ]
    return f"{type(noise).__name__}({', '.join(given)})"


def _several(given: Any) -> Any:
    """Wrap a single value in a list; None stays None.

    An ensemble of classifiers can be iterated over, but is a single value: it has ``fit``.
    """
    several = isinstance(given, Iterable) and not isinstance(given, str) and not hasattr(given, "fit")
    return given if given is None or several else [given]


def _seeds(given: Any) -> list[int]:
    """Return the first seeds from 0, or the given ones as integers that JSON can store."""
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
    """Yield all runs, seed by seed: an unfinished suite then has complete tables of fewer seeds."""
    for seed in seeds:
        for problem in problems:
            for kind in problem.noise if noise is None else filter(problem.takes, noise):
                for name, method in methods.items():
                    if name not in problem.too_costly:
                        ready = configured(method.make(), problem.shared, seed, device)
                        times = method.times(problem.rows)
                        yield _Task(name, method.recipe, times, ready, problem, kind, seed, curve)


def _estimate(tasks: Sequence[_Task], rows: Sequence[Row]) -> float:
    """Estimate the seconds of the runs in sequence, from stored runs if possible, else from the entries' costs."""
    before: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if (seconds := measured(row, "seconds")) is not None:
            before.setdefault((row["data"], row["method"], recipe(row)), []).append(seconds)
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
    """Measure methods on data with wrong labels over seeds, each run in its own process with one thread.

    Parameters
    ----------
    methods : str, classifier, list or dict by name of them, or None, default=None
        Names of :data:`~robustlabels.comparison.entries.ENTRIES`, any scikit-learn classifiers, or both; None takes all
        entries. Your own classifier is cloned, and each of its ``random_state`` parameters is set to the seed.
    data : str, NoisyDataset, Problem, or list of them, default=("digits",)
        Names of :data:`~robustlabels.comparison.problems.PROBLEMS`, or your own data sets.
    noise : str, LabelNoise, list of them, or None, default=None
        "clean", "sym40", "pair40", "idn40", names of real sources, or simulators; each is run on the sets that have
        it. None takes the noise that each set names.
    seeds : int or list of int, default=3
        The number of seeds, counted from 0, or the seeds themselves.
    results : str, Path or None, default=None
        A file of JSON lines. Every run is appended when it is done, and a run that is stored with the same settings and
        without an error is not repeated. After changing the code of your own method, give it another name or use
        another file. Changes of the package's methods are counted (``recipe``), and they are run again.
    n_jobs : int, default=1
        Number of runs at the same time.
    curve : bool, default=True
        Whether to measure test accuracy after every epoch too, for the best epoch.
    device : str, default="cpu"
        Device of every network of the package that does not set one.
    verbose : int, default=1
        0 is silent; 1 prints the plan, its estimated time, and every run.

    Returns
    -------
    rows : list of dict
        One per run, new or stored: its settings (``data``, ``rows``, ``noise``, ``method``, ``recipe``, ``seed``,
        ``params``), ``measures``, a flat dict of what :func:`~robustlabels.comparison.measure` returns and ``peak_mib``
        of its process, ``machine``, ``versions`` and ``date``. A run that failed has ``error`` and ``traceback``, and
        is tried again the next time.

    Raises
    ------
    ValueError
        If a method, data set or noise is unknown, or a number is out of its range.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from robustlabels.comparison import run_comparison
    >>> (row,) = run_comparison({"mine": KNeighborsClassifier(15)}, noise=["pair40"], seeds=[7], verbose=0)
    >>> row["data"], row["method"], row["seed"], round(row["measures"]["true_rate"], 2)
    ('digits', 'mine', 7, 0.4)
    >>> row["measures"]["test_accuracy"] > 0.5
    True
    """
    check_number("n_jobs", n_jobs, 1, integer=True)
    say = print if verbose else lambda *_, **__: None
    problems, kinds = [_problem(d) for d in _several(data)], _several(noise)
    _check_noise(kinds or (), problems)
    stored = [] if results is None else read_rows(results)
    tasks = list(_tasks(_chosen_methods(_several(methods)), problems, kinds, _seeds(seeds), curve, device))
    rows = [task.find(stored) for task in tasks]
    todo = [i for i, row in enumerate(rows) if row is None]
    for problem in problems:
        for name, reason in problem.too_costly.items():
            say(f"not run: {name} on {problem.name}: {reason}")
    left = _duration(_estimate([tasks[i] for i in todo], stored) / n_jobs)
    say(f"{len(tasks)} runs, {len(tasks) - len(todo)} of them stored; about {left} to go", flush=True)
    for number, row in _carry_out([tasks[i] for i in todo], n_jobs, device, say):
        rows[todo[number]] = row
        # Written at once: a killed process loses the runs in progress, and none that is done.
        if results is not None:
            append_row(results, row)
    return [row for row in rows if row is not None]


def _check_noise(kinds: Iterable[str | LabelNoise], problems: Sequence[Problem]) -> None:
    """Raise ValueError for noise that no data set takes."""
    for kind in kinds:
        if not any(problem.takes(kind) for problem in problems):
            known = ", ".join(["clean", *INJECTED, *dict.fromkeys(s for p in problems for s in p.sources)])
            names = ", ".join(problem.name for problem in problems)
            raise ValueError(f"The noise {kind!r} is unknown for {names}; known are {known}, and simulators.")


def _carry_out(tasks: Sequence[_Task], n_jobs: int, device: str, say: Callable[..., None]) -> Iterator[tuple[int, Row]]:
    """Run the tasks, and yield the number and the row of each as it ends; data sets that are missing are skipped."""
    about = environment()
    about["machine"]["threads"] = 1  # what the processes of the runs use, not this one
    missing: set[str] = set()
    for done, (number, result) in enumerate(in_processes(tasks, n_jobs, start_method(device)), 1):
        task = tasks[number]
        if "missing" in result:
            if task.problem.name not in missing:
                say(f"not run: {task.problem.name}: {result['missing']}", flush=True)
            missing.add(task.problem.name)
            continue
        row = make_row(task.settings, result, about)
        yield number, row
        say(f"[{done}/{len(tasks)}] {describe(row)}", flush=True)


def describe(row: Row) -> str:
    """Return one run on one line.

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
    found = row["measures"]
    text += f" test {found['test_accuracy']:.3f}"
    if "best_test_accuracy" in found:
        text += f" (best {found['best_test_accuracy']:.3f})"
    if "average_precision" in found:
        text += f"  AP {found['average_precision']:.3f}"
    if "estimated_rate" in found:
        text += f"  noise {found['estimated_rate']:.3f} of {found['true_rate']:.3f}"
    if "no_detection" in row:
        text += f"  detection not measured: {row['no_detection']}"
    return f"{text}  {found['seconds']:.1f} s"


def _duration(seconds: float) -> str:
    """Return a rounded duration in words.

    >>> _duration(50), _duration(100), _duration(9000)
    ('50 s', '2 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
