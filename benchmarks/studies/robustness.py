"""Accuracy under label noise, and how well the wrong labels are found: every method in the same loop, over seeds.

::

    python -m benchmarks.studies.robustness                                    # all that is not stored yet, cheap sets first
    python -m benchmarks.studies.robustness --set digits --methods CE ELR --seeds 0 1
    python -m benchmarks.studies.robustness --table                            # docs/benchmarks/robustness.inc from the lines

A seed fixes split, noise and network. Methods of one table share network, optimizer, schedule, batches, epochs,
split and noise: the package's defaults unless :data:`PROBLEMS` says otherwise. Every number is of the last epoch. A run
is one line of ``docs/benchmarks/results/robustness.jsonl`` and is not repeated while its settings stay what they were.
CIFAR-10 features and Fashion-MNIST are read from the folder ``ROBUSTLABELS_DATA``.

Seconds are CPU time of one thread, fit and scores together: neighbors on the machine disturb it less than they do a
clock. Peak memory is of the whole process: Python, torch and reading the data included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import robustlabels
from benchmarks.speed.nets import PlainCNN
from robustlabels import comparison as benchmark
from robustlabels.comparison import Split, append_row, detection, isolated, make_split, mean_sd, out_of_fold, read_rows
from robustlabels.datasets import NoisyDataset, load_cifar10_features, load_fashion_mnist

DOCS = Path(__file__).parents[1] / "docs" / "benchmarks"
LINES = DOCS / "results" / "robustness.jsonl"
TABLE = DOCS / "robustness.inc"

METHODS = {
    "CE": robustlabels.CrossEntropyClassifier,
    "GCE": robustlabels.GCEClassifier,
    "SCE": robustlabels.SCEClassifier,
    "Co-teaching": robustlabels.CoTeachingClassifier,
    "ELR": robustlabels.ELRClassifier,
    "ELR+": robustlabels.ELRPlusClassifier,
}
OUT_OF_FOLD = "LR out of fold"
"""Logistic regression on standardized columns; scores are 1 - p(given label) by 5-fold cross-validation."""


# -- The problems -----------------------------------------------------------------------------------------------------


def small_table(load: Callable[..., Any], labels: str, seed: int) -> Split:
    """A set of scikit-learn's, raw, 70 % of it for training."""
    X, y = load(return_X_y=True)
    return make_split(NoisyDataset("", X.astype(np.float32), y, {}, X[:0], y[:0], ()), labels, seed)


@cache
def _read(load: Callable[..., Any]) -> Any:
    return load()


def published(load: Callable[..., Any], rows: int, labels: str, seed: int) -> Split:
    """``rows`` training rows drawn at random from a published set, and its whole test part."""
    return make_split(_read(load), labels, seed, rows)


@dataclass(frozen=True)
class Problem:
    """A set, the labels it is tried with, and what its runs share."""

    title: str
    rows: int
    split: Callable[[str, int], Split]
    labels: Sequence[str]
    shared: dict[str, Any] = field(default_factory=dict)
    seeds: Sequence[int] = range(5)
    methods: Sequence[str] = (*METHODS, OUT_OF_FOLD)


PROBLEMS = {
    "digits": Problem(
        "Digits: 1257 images of 8 x 8 pixels as rows, 10 classes, 540 test rows",
        1257,
        lambda labels, seed: small_table(load_digits, labels, seed),
        ("clean", "sym40"),
    ),
    "iris": Problem(
        "Iris: 105 rows, 4 columns, 3 classes, 45 test rows",
        105,
        lambda labels, seed: small_table(load_iris, labels, seed),
        ("clean", "sym40"),
    ),
    "wine": Problem(
        "Wine: 124 rows, 13 raw columns, 3 classes, 54 test rows",
        124,
        lambda labels, seed: small_table(load_wine, labels, seed),
        ("clean", "sym40"),
    ),
    "cifar10_feats": Problem(
        "CIFAR-10 features: 50 000 rows, 128 columns, 10 classes, 10 000 test rows",
        50_000,
        lambda labels, seed: published(load_cifar10_features, 50_000, labels, seed),
        ("worse", "sym40", "clean"),
        {"module__width": 512, "module__depth": 1, "max_epochs": 25},
    ),
    "fashion_mnist": Problem(
        "Fashion-MNIST: 10 000 images of 28 x 28 pixels, 10 classes, 10 000 test images",
        10_000,
        lambda labels, seed: published(load_fashion_mnist, 10_000, labels, seed),
        ("sym40", "clean"),
        {"module": PlainCNN, "max_epochs": 40},
        seeds=range(3),
        methods=("CE", "ELR"),
    ),
}
LABELS = {
    "clean": "clean labels",
    "sym40": "40 % symmetric flips",
    "pair40": "40 % pair flips",
    "worse": "CIFAR-10N's worse labels",
}


# -- One run ----------------------------------------------------------------------------------------------------------


def measure(estimator: Any, split: Split) -> dict[str, Any]:
    """What :func:`robustlabels.comparison.measure` does; ``flagged`` is the estimated noise rate."""
    result = benchmark.measure(estimator, split)
    return {"flagged": result.pop("estimated_rate"), **result}


def measure_out_of_fold(split: Split) -> dict[str, Any]:
    """The same of logistic regression; only the numbers that it has."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    start = time.process_time()
    scores, mask = out_of_fold(model, split.X, split.given)
    seconds = time.process_time() - start
    model.fit(split.X, split.given)
    result = {
        "test_accuracy": float(model.score(split.X_test, split.y_test)),
        "fitted_labels": float(model.score(split.X, split.given)),
        "true_rate": float(np.mean(split.given != split.true)),
        "cpu_seconds": seconds,
    }
    return result | detection(scores, mask, split)


# -- What is stored ---------------------------------------------------------------------------------------------------


def settings(name: str, labels: str, method: str, seed: int, estimator: Any, n: int) -> dict[str, Any]:
    """Everything a run depends on, as JSON has it."""
    params = {} if estimator is None else benchmark.settings(estimator, n)
    return {"set": name, "rows": n, "labels": labels, "method": method, "seed": seed, "params": params}


def find(lines: Sequence[dict[str, Any]], run: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any] | None:
    """The last line with these settings; a parameter that came after it must be at its default."""
    return next((line for line in reversed(lines) if benchmark.find([line["settings"]], run, defaults)), None)


def environment() -> dict[str, str]:
    """Machine and versions."""
    found = benchmark.environment()
    machine, versions = found["machine"], found["versions"]
    names = ("python", "torch", "scikit-learn", "robustlabels")
    return {"cpu": machine["cpu"], "threads": str(machine["threads"]), **{name: versions[name] for name in names}}


# -- Runs and table ---------------------------------------------------------------------------------------------------


Run = tuple[dict[str, Any], Callable[[], dict[str, Any]], dict[str, Any]]
"""Settings, what carries it out, and the defaults of the method's parameters."""


def runs(
    sets: Sequence[str], methods: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> Iterator[Run]:
    """Every run, set by set, noise by noise, method by method."""
    for name in sets:
        problem = PROBLEMS[name]
        for labels in problem.labels:
            for method in methods or problem.methods:
                for seed in problem.seeds if seeds is None else seeds:
                    yield run(name, labels, method, seed)


def run(name: str, labels: str, method: str, seed: int) -> Run:
    """One run."""
    problem = PROBLEMS[name]
    if method == OUT_OF_FOLD:
        wanted = settings(name, labels, method, seed, None, problem.rows)
        return wanted, lambda: measure_out_of_fold(problem.split(labels, seed)), {}
    estimator = METHODS[method](**problem.shared, random_state=seed)
    wanted = settings(name, labels, method, seed, estimator, problem.rows)
    return wanted, lambda: measure(estimator, problem.split(labels, seed)), benchmark.defaults(estimator)


COLUMNS = {
    "test accuracy": ("test_accuracy", 3),
    "accuracy on the given training labels": ("fitted_labels", 3),
    "suspects' AP": ("average_precision", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "flagged": ("flagged", 3),
    "CPU seconds": ("cpu_seconds", 1),
    "peak MiB": ("peak_mib", 0),
}


def collect() -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Results by set, labels and method: stored lines whose settings are today's."""
    lines = read_rows(LINES)
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    names = {line["settings"]["set"] for line in lines}
    for name in [n for n in PROBLEMS if n in names]:
        for wanted, _, defaults in runs([name], methods=[*METHODS, OUT_OF_FOLD]):
            line = find(lines, wanted, defaults)
            if line is not None:
                found.setdefault((name, wanted["labels"], wanted["method"]), []).append(line)
    return found


def tables(found: dict[tuple[str, str, str], list[dict[str, Any]]]) -> str:
    """The page's include file."""
    lines = [line for group in found.values() for line in group]
    machines = sorted({", ".join(f"{k} {v}" for k, v in line["environment"].items()) for line in lines})
    text = [
        ".. Made by: python -m benchmarks.studies.robustness --table",
        "",
        "Mean ± standard deviation over seeds, at the last epoch. *Flagged* is the estimated noise rate. Made by "
        "``python -m benchmarks.studies.robustness`` on: " + "; ".join(machines) + ".",
        "",
    ]
    for name, labels in dict.fromkeys((name, labels) for name, labels, _ in found):
        groups = {method: group for (n, lab, method), group in found.items() if (n, lab) == (name, labels)}
        rates = [line["result"]["true_rate"] for group in groups.values() for line in group]
        params = next((g[0]["settings"]["params"] for m, g in groups.items() if m != OUT_OF_FOLD), None)
        plan = f", batch {params['batch_size']}, {params['max_epochs']} epochs" if params else ""
        seeds = sorted({line["settings"]["seed"] for group in groups.values() for line in group})
        title = f"{PROBLEMS[name].title}; {LABELS[labels]} ({np.mean(rates):.1%} wrong){plan}"
        text += [
            f".. csv-table:: {title}; seeds {seeds[0]} to {seeds[-1]}",
            f"   :header: {_row(['method', *COLUMNS])}",
            "",
        ]
        for method, group in groups.items():
            n = "" if len(group) == len(seeds) else f" ({len(group)} seed{'s' if len(group) > 1 else ''})"
            cells = [method + n]
            for column, digits in COLUMNS.values():
                values = [line["result"][column] for line in group if column in line["result"]]
                cells.append(mean_sd(values, digits) if values else "")
            text.append("   " + _row(cells))
        text.append("")
    return "\n".join([*text, *target_table(found)]).rstrip() + "\n"


def _row(cells: Sequence[str]) -> str:
    return ", ".join(f'"{cell}"' for cell in cells)


def target_table(found: dict[tuple[str, str, str], list[dict[str, Any]]]) -> list[str]:
    """What was asked of ELR, what was measured, and whether it holds; a miss is a row like any other."""

    def mean(name: str, labels: str, method: str, column: str = "test_accuracy") -> float:
        group = found.get((name, labels, method), [])
        return float(np.mean([line["result"][column] for line in group])) if group else float("nan")

    def gap(name: str, labels: str) -> float:
        return mean(name, labels, "ELR") - mean(name, labels, "CE")

    asked = [(f"{name}, clean: ELR minus CE", gap(name, "clean"), -0.02) for name in PROBLEMS]
    digits = mean("digits", "sym40", "ELR", "average_precision")
    out_of_fold = mean("digits", "sym40", OUT_OF_FOLD, "average_precision")
    asked += [
        ("digits, 40 %: ELR", mean("digits", "sym40", "ELR"), 0.95),
        ("digits, 40 %: ELR minus CE", gap("digits", "sym40"), 0.2),
        ("digits, 40 %: suspects' AP", digits, 0.98),
        ("digits, 40 %: suspects' AP minus logistic regression's", digits - out_of_fold, 0.0),
        ("cifar10_feats, worse: ELR", mean("cifar10_feats", "worse", "ELR"), 0.79),
        ("cifar10_feats, worse: ELR minus CE", gap("cifar10_feats", "worse"), 0.04),
        ("fashion_mnist, 40 %: ELR minus CE", gap("fashion_mnist", "sym40"), 0.1),
    ]
    text = [".. csv-table:: Targets", f"   :header: {_row(['what', 'at least', 'measured', ''])}", ""]
    for what, measured, least in asked:
        if not np.isnan(measured):
            verdict = "holds" if measured >= least else "missed"
            text.append("   " + _row([what, f"{least:.3f}", f"{measured:.3f}", verdict]))
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.robustness",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--set", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, dest="sets", metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, OUT_OF_FOLD], metavar="METHOD")
    parser.add_argument("--labels", nargs="+", choices=LABELS, metavar="LABELS", help="of the set's, only these")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--table", action="store_true", help="write the tables from what is stored, and run nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.table:
        TABLE.write_text(tables(collect()))
        print(TABLE.read_text())
        return
    done = read_rows(LINES)
    for wanted, work, defaults in runs(options.sets, options.methods, options.seeds):
        if options.labels and wanted["labels"] not in options.labels:
            continue
        line = find(done, wanted, defaults)
        if line is None:
            line = {"settings": wanted, "result": isolated(work), "environment": environment()}
            append_row(LINES, line)
        print(describe(line), flush=True)


def describe(line: dict[str, Any]) -> str:
    """One run on one line."""
    s, r = line["settings"], line["result"]
    text = f"{s['set']:<14} {s['labels']:<7} {s['method']:<14} seed {s['seed']:<3} test {r['test_accuracy']:.3f}"
    text += f"  fits {r['fitted_labels']:.3f}"
    if "flagged" in r:
        text += f"  flagged {r['flagged']:.3f} of {r['true_rate']:.3f}"
    if "average_precision" in r:
        text += f"  AP {r['average_precision']:.3f}  P {r['precision']:.3f}  R {r['recall']:.3f}"
    return text + f"  {r.get('cpu_seconds', 0):.1f} s  {r.get('peak_mib', 0):.0f} MiB"


if __name__ == "__main__":
    main()
