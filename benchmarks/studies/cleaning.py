"""A classifier on labels that people, rules and heuristics got wrong, before and after they were repaired.

::

    python -m benchmarks.studies.cleaning                                  # all that is not stored yet
    python -m benchmarks.studies.cleaning --set trec --detectors Auto --seeds 0

Trained on the given labels, on those that :class:`~robustlabels.NoiseAwareClassifier` leaves after dropping, weighting
or relabeling what a detector flags, on what remains of the rows when cleanlab drops its issues, and on the right
labels: the most that any repair could give. All have the same classifier, logistic regression on standardized columns,
gradient boosting on the table, or the default network on digits, and the same rows: at most 10 000, drawn by the seed.
Scores are on right labels, accuracy, or F1 of the defects on JIRA. Every detector is as it comes, fitted once for its
three strategies; its CPU seconds (one thread) count for the first of them.

A repair is one row of ``docs/benchmarks/results/cleaning.jsonl`` and is not repeated. Data are read
from the folder ``ROBUSTLABELS_DATA``.
"""

from __future__ import annotations

import argparse
import functools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from cleanlab.filter import find_label_issues
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import robustlabels as rl
from benchmarks.results import Run, carry_out, identity, path_of, print_tables
from benchmarks.studies.problems import DIGITS
from robustlabels import datasets
from robustlabels.comparison import Row, Split, make_split

FILE = path_of(__file__)
ROWS = 10_000
STRATEGIES = ("drop", "weight", "relabel")


@cache
def _read(load: Callable[[], Any]) -> Any:
    return load()


SETS: dict[str, tuple[Callable[[], Any], str]] = {
    "digits, 40 % symmetric": (DIGITS.load, "sym40"),
    "cifar10n_aggre": (datasets.load_cifar10_features, "aggre"),
    "cifar10n_random1": (datasets.load_cifar10_features, "random1"),
    "cifar10n_worse": (datasets.load_cifar10_features, "worse"),
    "noisyag_news": (datasets.load_noisyag_news, "human"),
    "trec": (datasets.load_trec, "majority_vote"),
    "jira": (datasets.load_jira_defects, "heuristic"),
}

DETECTORS: dict[str, Callable[[int], Any]] = {
    "Auto": lambda seed: rl.AutoNoiseDetector(random_state=seed, device="cpu"),
    "k-NN": lambda seed: make_pipeline(StandardScaler(), rl.KNNNoiseDetector(device="cpu")),
    "confident learning": lambda seed: rl.ConfidentLearningNoiseDetector(random_state=seed),
}


def classifier(name: str, seed: int) -> Any:
    """What is trained on the labels, repaired or not."""
    if name == "jira":
        return HistGradientBoostingClassifier(random_state=seed)
    if name.startswith("digits"):
        return rl.CrossEntropyClassifier(random_state=seed)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def score(name: str, model: Any, split: Split) -> float:
    """Accuracy, or F1, on the test part's right labels."""
    predicted = model.predict(split.X_test)
    return float(f1_score(split.y_test, predicted) if name == "jira" else accuracy_score(split.y_test, predicted))


def read_split(load: Callable[[], Any], source: str, seed: int) -> Split:
    """Return the rows of a set and seed."""
    return make_split(_read(load), source, seed, ROWS)


WITHOUT_REPAIR = ("given labels", "cleanlab, drop", "right labels")


def without_repair(what: str, name: str, split: Split, seed: int) -> Row:
    """Train on the given labels, on the right ones, or after cleanlab dropped its issues."""
    model = classifier(name, seed)
    start = time.process_time()
    rows, y = np.ones(len(split.X), dtype=bool), split.true if what == "right labels" else split.given
    if what == "cleanlab, drop":
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        proba = cross_val_predict(clone(model), split.X, y, cv=folds, method="predict_proba")
        rows = ~find_label_issues(y, proba, n_jobs=1)
    trained = clone(model).fit(split.X[rows], y[rows])
    seconds = time.process_time() - start
    return {"score": score(name, trained, split), "kept": float(rows.mean()), "cpu_seconds": seconds}


def repaired(detector: str, strategy: str, memory: str, name: str, split: Split, seed: int) -> Row:
    """Train with a strategy of the classifier around a detector, which ``memory`` fits for the first of them alone."""
    start = time.process_time()
    aware = rl.NoiseAwareClassifier(
        classifier(name, seed), DETECTORS[detector](seed), strategy=strategy, memory=memory, random_state=seed
    )
    aware.fit(split.X, split.given)
    seconds = time.process_time() - start
    kept = aware.kept_mask_
    return {
        "score": score(name, aware, split),
        "kept": float(kept.mean()),
        "right": float((aware.repaired_labels_ == split.true)[kept].mean()),
        "cpu_seconds": seconds,
    }


def runs(options: argparse.Namespace) -> Iterator[Run]:
    """Yield every run; the rows of a set and seed are read when its first run needs them."""
    for seed in options.seeds:
        for name in options.sets:
            load, source = SETS[name]
            split = cache(functools.partial(read_split, load, source, seed))
            for what in WITHOUT_REPAIR:
                work = functools.partial(without_repair, what, name)
                yield Run(identity(name, source, what, seed), functools.partial(on_rows, work, split, seed))
            for detector in options.detectors:
                with TemporaryDirectory() as memory:
                    for strategy in STRATEGIES:
                        params = {"detector": detector, "strategy": strategy}
                        row = identity(name, source, f"{detector}, {strategy}", seed, params=params)
                        work = functools.partial(repaired, detector, strategy, memory, name)
                        yield Run(row, functools.partial(on_rows, work, split, seed))


def on_rows(work: Callable[[Split, int], Row], split: Callable[[], Split], seed: int) -> Row:
    """Return what the work measures on the rows of a set, and their number."""
    its = split()
    return {**work(its, seed), "rows": len(its.X)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not stored, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS), dest="sets", metavar="NAME")
    parser.add_argument("--detectors", nargs="*", choices=DETECTORS, default=list(DETECTORS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    carry_out(FILE, runs(options))
    print_tables("cleaning")


if __name__ == "__main__":
    main()
