"""Detectors on labels that people, rules and heuristics got wrong: how well they rank, what they cost and promise.

::

    python -m benchmarks.studies.detectors                                   # all that is not stored yet
    python -m benchmarks.studies.detectors --set trec --methods Auto "k-NN" --seeds 0 1 2
    python -m benchmarks.studies.detectors --table                           # mean and spread of what is stored

A run is one line of ``docs/benchmarks/results/detectors.jsonl``. A seed draws the rows, where a set has more than
10 000 (CIFAR-10N, JIRA, Fashion-MNIST: all of their rows would take minutes a fit), flips the simulated labels, and
seeds networks and folds. Every method gets the same rows; columns of the table (JIRA) are standardized for those that
do not do so themselves. cleanlab scores out-of-fold probabilities of three classifiers: logistic regression on
standardized columns, the network of ``AutoNoiseDetector`` trained on cross-entropy, and gradient boosting on the table.

Stored of every method are average precision, ROC AUC and precision at the true number of wrong labels, and what it
flags by default; of our detectors also the estimated noise rate with its interval and, for several alpha, the rows that
``threshold="fdr"`` would flag with the share of them whose label is right. Seconds are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import robustlabels as rl
from robustlabels import datasets
from robustlabels.comparison import append_row, environment, mean_sd, read_rows
from robustlabels.detection import one_layer, thresholds
from robustlabels.metrics import detection_report
from robustlabels.noise import PairNoise, SymmetricNoise

RESULTS = Path(__file__).resolve().parents[1] / "docs/benchmarks/results/detectors.jsonl"
ROWS = 10_000
ALPHAS = (0.05, 0.1, 0.2, 0.3)


class Problem(NamedTuple):
    """Rows, the labels they were given and the right ones, and whether the columns are a table's."""

    X: np.ndarray
    y: np.ndarray
    true: np.ndarray
    table: bool = False


@cache
def _read(load: Callable[[], Any]) -> Any:
    return load()


def problem(load: Callable[[], Any], source: str, seed: int, *, table: bool = False) -> Problem:
    """Rows whose given and true labels are both known, at most ``ROWS`` of them."""
    data = _read(load)
    given, true = data.y_noisy[source], data.y_train
    known = np.flatnonzero((given >= 0) & (true >= 0))
    rows = np.random.default_rng(seed).permutation(known)[:ROWS]
    return Problem(np.asarray(data.X_train[rows], dtype=np.float32), given[rows], true[rows], table)


def simulated(load: Callable[[], Any], noise: Any, seed: int) -> Problem:
    """True labels, flipped by a simulator."""
    data = _read(load)
    rows = np.random.default_rng(seed).permutation(len(data.X_train))[:ROWS]
    X = np.asarray(data.X_train[rows], dtype=np.float32).reshape(len(rows), -1)
    return Problem(X, noise.flip(data.y_train[rows]), data.y_train[rows])


def digits(noise: Any) -> Problem:
    """All of scikit-learn's digits."""
    X, y = load_digits(return_X_y=True)
    return Problem(X.astype(np.float32), noise.flip(y), y)


def false_positives(seed: int) -> Problem:
    """World news or not, 6 % of the others labeled as such: errors in the rare label."""
    data = _read(datasets.load_noisyag_news)
    true = (data.y_train == 0).astype(np.int64)
    flip = np.random.default_rng(seed).random(len(true)) < 0.06
    return Problem(data.X_train, np.where(flip, 1, true), true)


SETS: dict[str, Callable[[int], Problem]] = {
    **{
        f"cifar10n_{source}": lambda seed, source=source: problem(datasets.load_cifar10_features, source, seed)
        for source in ("aggre", "random1", "worse")
    },
    "noisyag_news": lambda seed: problem(datasets.load_noisyag_news, "human", seed),
    "trec": lambda seed: problem(datasets.load_trec, "majority_vote", seed),
    "jira": lambda seed: problem(datasets.load_jira_defects, "heuristic", seed, table=True),
    "digits, symmetric 40 %": lambda seed: digits(SymmetricNoise(0.4, random_state=seed)),
    "digits, pairs 30 %": lambda seed: digits(PairNoise(0.3, random_state=seed)),
    "Fashion-MNIST, symmetric 20 %": lambda seed: simulated(
        datasets.load_fashion_mnist, SymmetricNoise(0.2, random_state=seed), seed
    ),
    "Fashion-MNIST, pairs 30 %": lambda seed: simulated(
        datasets.load_fashion_mnist, PairNoise(0.3, random_state=seed), seed
    ),
    "news, false positives 6 %": false_positives,
}


# --- the methods ------------------------------------------------------------------------------------------------------


def _detector(make: Callable[[int], Any], *, scale: bool = False) -> Callable[[Problem, int], dict[str, Any]]:
    def run(p: Problem, seed: int) -> dict[str, Any]:
        X = StandardScaler().fit_transform(p.X) if scale and p.table else p.X
        detector = make(seed).fit(X, p.y)
        wrong = p.y != p.true
        low, high = detector.noise_rate_interval_
        fdr = {}
        for alpha in ALPHAS:
            threshold = thresholds.fdr_threshold(detector.noise_scores_, detector.wrong_probability_, alpha)
            flagged = detector.noise_scores_ > (1 if threshold is None else threshold)
            fdr[str(alpha)] = [float(flagged.mean()), float((~wrong[flagged]).mean()) if flagged.any() else None]
        return {
            **_ranking(detector.noise_scores_, wrong, detector.noise_mask_),
            "noise_rate": detector.noise_rate_,
            "interval": [low, high],
            "fdr": fdr,
        }

    return run


def _cleanlab(make: Callable[[int, int], Any]) -> Callable[[Problem, int], dict[str, Any]]:
    def run(p: Problem, seed: int) -> dict[str, Any]:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        labels = np.unique(p.y, return_inverse=True)[1]
        proba = cross_val_predict(make(seed, len(labels)), p.X, labels, cv=folds, method="predict_proba")
        issues = find_label_issues(labels, proba, n_jobs=1)
        return _ranking(1 - get_label_quality_scores(labels, proba), p.y != p.true, issues)

    return run


def _ranking(scores: np.ndarray, wrong: np.ndarray, flagged: np.ndarray) -> dict[str, Any]:
    report = detection_report(scores, wrong, noise_mask=flagged)
    return {
        "average_precision": report.average_precision,
        "roc_auc": report.roc_auc,
        "precision_at_noise": report.precision_at_noise,
        "true_rate": report.true_rate,
        "flagged": report.estimated_rate,
        "precision": report.precision,
        "recall": report.recall,
    }


def _mlp(seed: int, n: int) -> Any:
    """The network of AutoNoiseDetector on plain cross-entropy."""
    network = rl.CrossEntropyClassifier(
        one_layer, max_epochs=25, batch_size=min(128, max(16, n // 20)), random_state=seed, device="cpu"
    )
    return make_pipeline(StandardScaler(), network)


def _linear(seed: int, n: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


METHODS: dict[str, Callable[[Problem, int], dict[str, Any]]] = {
    "Auto": _detector(lambda seed: rl.AutoNoiseDetector(random_state=seed, device="cpu")),
    "Auto, no transitions": _detector(
        lambda seed: rl.AutoNoiseDetector(random_state=seed, device="cpu", transition_weight=0)
    ),
    "Auto, neutral": _detector(
        lambda seed: rl.AutoNoiseDetector(random_state=seed, device="cpu", transition_weight=0, prior_exponent=0)
    ),
    "small loss": _detector(lambda seed: rl.SmallLossNoiseDetector(rl.ELRClassifier(device="cpu"), random_state=seed)),
    "margin": _detector(
        lambda seed: rl.SmallLossNoiseDetector(rl.ELRClassifier(device="cpu"), statistic="margin", random_state=seed)
    ),
    "ELR": _detector(lambda seed: rl.EstimatorNoiseDetector(rl.ELRClassifier(device="cpu"), random_state=seed)),
    "k-NN": _detector(lambda seed: rl.KNNNoiseDetector(device="cpu"), scale=True),
    "confident learning": _detector(lambda seed: rl.ConfidentLearningNoiseDetector(random_state=seed)),
    "influence": _detector(lambda seed: rl.InfluenceNoiseDetector(random_state=seed)),
    "ensemble": _detector(lambda seed: rl.EnsembleNoiseDetector(random_state=seed), scale=True),
    "cleanlab, LR out of fold": _cleanlab(_linear),
    "cleanlab, MLP out of fold": _cleanlab(_mlp),
    "cleanlab, boosting out of fold": _cleanlab(lambda seed, n: HistGradientBoostingClassifier(random_state=seed)),
}
TABLE_ONLY = {"cleanlab, boosting out of fold"}


# --- runs and lines ---------------------------------------------------------------------------------------------------


def run(name: str, method: str, seed: int) -> dict[str, Any]:
    """One fit of one method."""
    p = SETS[name](seed)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figures = METHODS[method](p, seed)
    return {
        "set": name,
        "method": method,
        "seed": seed,
        "rows": len(p.y),
        **figures,
        "cpu_seconds": time.process_time() - start,
        "versions": environment()["versions"],
    }


def table(lines: list[dict[str, Any]]) -> None:
    """Print means and standard deviations over seeds."""
    for name in dict.fromkeys(line["set"] for line in lines):
        print(f"\n{name}")
        for method in METHODS:
            runs = [line for line in lines if (line["set"], line["method"]) == (name, method)]
            if not runs:
                continue
            row = [f"{method:30s}"]
            for key in ("average_precision", "roc_auc", "precision_at_noise", "flagged", "precision", "cpu_seconds"):
                row.append(f"{key} {mean_sd([line[key] for line in runs])}")
            print("  ".join(row), f"({len(runs)} seeds)")


def main() -> None:
    """Run what is not stored, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = {(line["set"], line["method"], line["seed"]) for line in read_rows(RESULTS)}
    for seed in [] if options.table else options.seeds:
        for name in options.set:
            for method in options.methods:
                if (name, method, seed) in done or (method in TABLE_ONLY and name != "jira"):
                    continue
                line = run(name, method, seed)
                append_row(RESULTS, line)
                print(
                    f"{name} {seed} {method:30s} AP {line['average_precision']:.3f} {line['cpu_seconds']:.1f} s",
                    flush=True,
                )
    table(read_rows(RESULTS))


if __name__ == "__main__":
    main()
