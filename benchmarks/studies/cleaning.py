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

A run is one line of ``docs/benchmarks/results/cleaning.jsonl`` and is not repeated while it is there. Data are read
from the folder ``ROBUSTLABELS_DATA``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from cleanlab.filter import find_label_issues
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import robustlabels as rl
from benchmarks.studies.robustness import environment
from robustlabels import datasets
from robustlabels.comparison import Split, append_row, make_split, mean_sd, read_rows

LINES = Path(__file__).parents[1] / "docs" / "benchmarks" / "results" / "cleaning.jsonl"
ROWS = 10_000
STRATEGIES = ("drop", "weight", "relabel")


@cache
def _read(load: Callable[[], Any]) -> Any:
    return load()


def _digits() -> Any:
    X, y = load_digits(return_X_y=True)
    return datasets.NoisyDataset("digits", X.astype(np.float32), y, {}, X[:0], y[:0], tuple("0123456789"))


SETS: dict[str, tuple[Callable[[], Any], str]] = {
    "digits, 40 % symmetric": (_digits, "sym40"),
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


def without_repair(name: str, split: Split, seed: int) -> dict[str, dict[str, float]]:
    """On the given labels, on the right ones, and after cleanlab dropped its issues."""
    model = classifier(name, seed)

    def fitted(what: str) -> dict[str, float]:
        start = time.process_time()
        rows, y = np.ones(len(split.X), dtype=bool), split.true if what == "right labels" else split.given
        if what == "cleanlab, drop":
            folds = StratifiedKFold(5, shuffle=True, random_state=seed)
            proba = cross_val_predict(clone(model), split.X, y, cv=folds, method="predict_proba")
            rows = ~find_label_issues(y, proba, n_jobs=1)
        trained = clone(model).fit(split.X[rows], y[rows])
        seconds = time.process_time() - start
        return {"score": score(name, trained, split), "kept": float(rows.mean()), "cpu_seconds": seconds}

    return {what: fitted(what) for what in ("given labels", "cleanlab, drop", "right labels")}


def repaired(name: str, detector: str, split: Split, seed: int) -> dict[str, dict[str, float]]:
    """After each strategy of the classifier around a detector, which is fitted for the first of them alone."""
    results = {}
    with TemporaryDirectory() as memory:
        for strategy in STRATEGIES:
            start = time.process_time()
            aware = rl.NoiseAwareClassifier(
                classifier(name, seed), DETECTORS[detector](seed), strategy=strategy, memory=memory, random_state=seed
            )
            aware.fit(split.X, split.given)
            seconds = time.process_time() - start
            kept = aware.kept_mask_
            results[f"{detector}, {strategy}"] = {
                "score": score(name, aware, split),
                "kept": float(kept.mean()),
                "right": float((aware.repaired_labels_ == split.true)[kept].mean()),
                "cpu_seconds": seconds,
            }
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not stored, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS), dest="sets", metavar="NAME")
    parser.add_argument("--detectors", nargs="*", choices=DETECTORS, default=list(DETECTORS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = {tuple(line["cleaning"][k] for k in ("set", "part", "seed")) for line in read_rows(LINES)}
    for seed in options.seeds:
        for name in options.sets:
            load, source = SETS[name]
            for part in ["no repair", *options.detectors]:
                if (name, part, seed) in done:
                    continue
                split = make_split(_read(load), source, seed, ROWS)
                if part == "no repair":
                    results = without_repair(name, split, seed)
                else:
                    results = repaired(name, part, split, seed)
                settings = {"set": name, "part": part, "seed": seed, "rows": len(split.X)}
                append_row(LINES, {"cleaning": settings, "results": results, "environment": environment()})
                print(name, seed, {what: round(result["score"], 4) for what, result in results.items()}, flush=True)
    groups: dict[tuple[str, str], list[float]] = {}
    for line in read_rows(LINES):
        for what, result in line["results"].items():
            groups.setdefault((line["cleaning"]["set"], what), []).append(result["score"])
    for (name, what), scores in groups.items():
        print(f"{name:20s} {what:30s} {mean_sd(scores)} ({len(scores)} seeds)")


if __name__ == "__main__":
    main()
