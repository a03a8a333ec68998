"""Accuracy under label noise, and how well the wrong labels are found: every method in the same loop, over seeds.

::

    python -m benchmarks.studies.robustness                            # all that is not stored yet, cheap sets first
    python -m benchmarks.studies.robustness --set digits --methods CE ELR --seeds 0 1
    python -m benchmarks.studies.robustness --table                    # docs/benchmarks/robustness.inc from the rows

A seed fixes split, noise and network. Methods of one table share network, optimizer, schedule, batches, epochs,
split and noise: the package's defaults unless :data:`PROBLEMS` says otherwise. Every number is of the last epoch. A run
is one row of ``docs/benchmarks/results/robustness.jsonl`` and is not repeated as long as its settings stay the same.
CIFAR-10 features and Fashion-MNIST are read from the folder ``ROBUSTLABELS_DATA``.

Seconds are CPU time of one thread, fit and scores together: other processes on the machine disturb it less than they do
a clock. Peak memory is of the whole process: Python, torch and reading the data included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import robustlabels
from benchmarks.results import DOCS, Run, carry_out, identity, in_a_process, path_of
from benchmarks.speed.nets import PlainCNN
from benchmarks.studies.problems import DIGITS, IRIS, WINE, cifar10_features, fashion_mnist
from robustlabels import comparison
from robustlabels.comparison import Row, Split, detection, find, mean_sd, measured, out_of_fold, read_rows

FILE = path_of(__file__)
TABLE = DOCS / "benchmarks" / "robustness.inc"

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

PROBLEMS = {
    "digits": DIGITS,
    "iris": IRIS,
    "wine": WINE,
    "cifar10_feats": cifar10_features(
        50_000,
        *("worse", "sym40", "clean"),
        title="CIFAR-10 features: 50 000 rows, 128 columns, 10 classes, 10 000 test rows",
    ),
    "fashion_mnist": replace(
        fashion_mnist(10_000, "sym40", "clean", shared={"module": PlainCNN, "max_epochs": 40}),
        title="Fashion-MNIST: 10 000 images of 28 x 28 pixels, 10 classes, 10 000 test images",
    ),
}
SEEDS: dict[str, Sequence[int]] = {"fashion_mnist": range(3)}
TRIED: dict[str, Sequence[str]] = {"fashion_mnist": ("CE", "ELR")}
"""Of a set that is too costly for all of them: its seeds and methods."""

NOISE = {
    "clean": "clean labels",
    "sym40": "40 % symmetric flips",
    "pair40": "40 % pair flips",
    "worse": "CIFAR-10N's worse labels",
}


# -- One run ----------------------------------------------------------------------------------------------------------


def measure(estimator: Any, split: Split) -> Row:
    """Return what :func:`robustlabels.comparison.measure` does, with the estimated noise rate as ``flagged``."""
    result = comparison.measure(estimator, split)
    return {"flagged": result.pop("estimated_rate"), **result}


def measure_out_of_fold(split: Split) -> Row:
    """Return the same measures of logistic regression, as far as it has them."""
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


# -- Runs and table ---------------------------------------------------------------------------------------------------


def runs(
    sets: Sequence[str], methods: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> Iterator[Run]:
    """Yield every run, set by set, noise by noise, method by method."""
    for name in sets:
        for noise in PROBLEMS[name].noise:
            for method in methods or TRIED.get(name, (*METHODS, OUT_OF_FOLD)):
                for seed in SEEDS.get(name, range(5)) if seeds is None else seeds:
                    yield run(name, str(noise), method, seed)


def run(name: str, noise: str, method: str, seed: int) -> Run:
    """Return one run."""
    problem = PROBLEMS[name]
    if method == OUT_OF_FOLD:
        row = identity(name, noise, method, seed, rows=problem.rows)
        return Run(row, lambda: measure_out_of_fold(problem.split(noise, seed)))
    estimator = METHODS[method](**problem.shared, random_state=seed)
    params = comparison.settings(estimator, problem.rows)
    row = identity(name, noise, method, seed, rows=problem.rows, params=params)
    return Run(row, lambda: measure(estimator, problem.split(noise, seed)), comparison.defaults(estimator))


COLUMNS = {
    "test accuracy": ("test_accuracy", 3),
    "accuracy on the given training labels": ("fitted_labels", 3),
    "detection AP": ("average_precision", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "flagged": ("flagged", 3),
    "CPU seconds": ("cpu_seconds", 1),
    "peak MiB": ("peak_mib", 0),
}

Groups = dict[tuple[str, str, str], list[Row]]


def collect() -> Groups:
    """Return the stored rows whose settings are today's, by set, noise and method."""
    stored = read_rows(FILE)
    found: Groups = {}
    names = {row["data"] for row in stored}
    for one in runs([name for name in PROBLEMS if name in names], methods=[*METHODS, OUT_OF_FOLD]):
        row = find(stored, one.row, one.defaults)
        if row is not None:
            found.setdefault((row["data"], row["noise"], row["method"]), []).append(row)
    return found


def tables(found: Groups) -> str:
    """Return the include file of the page."""
    text = [
        ".. Made by: python -m benchmarks.studies.robustness --table",
        "",
        "Mean ± standard deviation over seeds, at the last epoch. *Flagged* is the estimated noise rate. Made by "
        f"``python -m benchmarks.studies.robustness`` on: {'; '.join(machines(found))}.",
        "",
    ]
    for name, noise in dict.fromkeys((name, noise) for name, noise, _ in found):
        by_method = {method: rows for (n, kind, method), rows in found.items() if (n, kind) == (name, noise)}
        text += [*one_table(name, noise, by_method), ""]
    return "\n".join([*text, *target_table(found)]).rstrip() + "\n"


def machines(found: Groups) -> list[str]:
    """Return where the rows were measured."""
    rows = [row for group in found.values() for row in group]
    its = [{**row["machine"], **row["versions"]} for row in rows]
    names = ("cpu", "threads", "python", "torch", "scikit-learn", "robustlabels")
    return sorted({", ".join(f"{name} {where[name]}" for name in names) for where in its})


def one_table(name: str, noise: str, by_method: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return methods x measures of one set and noise."""
    rows = [row for group in by_method.values() for row in group]
    seeds = sorted({row["seed"] for row in rows})
    rate = np.mean([measured(row, "true_rate") for row in rows])
    params = next((row["params"] for row in rows if row["method"] != OUT_OF_FOLD), None)
    plan = f", batch {params['batch_size']}, {params['max_epochs']} epochs" if params else ""
    title = f"{PROBLEMS[name].title}; {NOISE[noise]} ({rate:.1%} wrong){plan}"
    text = [
        f".. csv-table:: {title}; seeds {seeds[0]} to {seeds[-1]}",
        f"   :header: {_line(['method', *COLUMNS])}",
        "",
    ]
    for method, group in by_method.items():
        n = "" if len(group) == len(seeds) else f" ({len(group)} seed{'s' if len(group) > 1 else ''})"
        cells = [mean_sd(values(group, column), digits) for column, digits in COLUMNS.values()]
        text.append("   " + _line([method + n, *cells]))
    return text


def values(rows: Sequence[Row], name: str) -> list[float]:
    """Return what the rows measured."""
    return [value for row in rows if (value := measured(row, name)) is not None]


def _line(cells: Sequence[str]) -> str:
    return ", ".join(f'"{cell}"' for cell in cells)


def target_table(found: Groups) -> list[str]:
    """Return what was asked of ELR, what was measured, and whether it holds; a miss is a line like any other."""

    def mean(name: str, noise: str, method: str, column: str = "test_accuracy") -> float:
        its = values(found.get((name, noise, method), []), column)
        return float(np.mean(its)) if its else float("nan")

    def gap(name: str, noise: str) -> float:
        return mean(name, noise, "ELR") - mean(name, noise, "CE")

    asked = [(f"{name}, clean: ELR minus CE", gap(name, "clean"), -0.02) for name in PROBLEMS]
    digits = mean("digits", "sym40", "ELR", "average_precision")
    by_regression = mean("digits", "sym40", OUT_OF_FOLD, "average_precision")
    asked += [
        ("digits, 40 %: ELR", mean("digits", "sym40", "ELR"), 0.95),
        ("digits, 40 %: ELR minus CE", gap("digits", "sym40"), 0.2),
        ("digits, 40 %: detection AP", digits, 0.98),
        ("digits, 40 %: detection AP minus logistic regression's", digits - by_regression, 0.0),
        ("cifar10_feats, worse: ELR", mean("cifar10_feats", "worse", "ELR"), 0.79),
        ("cifar10_feats, worse: ELR minus CE", gap("cifar10_feats", "worse"), 0.04),
        ("fashion_mnist, 40 %: ELR minus CE", gap("fashion_mnist", "sym40"), 0.1),
    ]
    text = [".. csv-table:: Targets", f"   :header: {_line(['what', 'at least', 'measured', ''])}", ""]
    for what, got, least in asked:
        if not np.isnan(got):
            text.append("   " + _line([what, f"{least:.3f}", f"{got:.3f}", "holds" if got >= least else "missed"]))
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.robustness",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--set", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, dest="sets", metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, OUT_OF_FOLD], metavar="METHOD")
    parser.add_argument("--noise", nargs="+", choices=NOISE, metavar="NOISE", help="of the set's noise, only this")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED")
    parser.add_argument("--table", action="store_true", help="write the tables from what is stored, and run nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.table:
        TABLE.write_text(tables(collect()))
        print(TABLE.read_text())
        return
    chosen = runs(options.sets, options.methods, options.seeds)
    wanted = (one for one in chosen if not options.noise or one.row["noise"] in options.noise)
    carry_out(FILE, map(in_a_process, wanted))


if __name__ == "__main__":
    main()
