"""Detectors on labels that people, rules and heuristics got wrong: how well they rank, what they cost and promise.

::

    python -m benchmarks.studies.detectors                                   # all that is not stored yet
    python -m benchmarks.studies.detectors --set trec --methods Auto "k-NN" --seeds 0 1 2
    python -m benchmarks.studies.detectors --table                           # mean and spread of what is stored

A run is one row of ``docs/benchmarks/results/detectors.jsonl``. A seed draws the rows, where a set has more than
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
import functools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import robustlabels as rl
from benchmarks.results import Run, carry_out, identity, path_of, print_tables
from robustlabels import datasets
from robustlabels.comparison import Row, Split
from robustlabels.detection import one_layer, thresholds
from robustlabels.metrics import detection_report
from robustlabels.noise import PairNoise, SymmetricNoise

FILE = path_of(__file__)
ROWS = 10_000
ALPHAS = (0.05, 0.1, 0.2, 0.3)


@cache
def _read(load: Callable[[], Any]) -> Any:
    return load()


def without_test(X: np.ndarray, given: np.ndarray, true: np.ndarray) -> Split:
    """Return rows with an empty test part: detectors are measured on the rows themselves."""
    return Split(X, given, true, X[:0], true[:0])


def labeled(load: Callable[[], Any], source: str, seed: int) -> Split:
    """Return rows whose given and right labels are both known, at most ``ROWS`` of them."""
    data = _read(load)
    given, true = data.y_noisy[source], data.y_train
    known = np.flatnonzero((given >= 0) & (true >= 0))
    rows = np.random.default_rng(seed).permutation(known)[:ROWS]
    return without_test(np.asarray(data.X_train[rows], dtype=np.float32), given[rows], true[rows])


def simulated(load: Callable[[], Any], noise: Any, seed: int) -> Split:
    """Return rows whose right labels were flipped by a simulator."""
    data = _read(load)
    rows = np.random.default_rng(seed).permutation(len(data.X_train))[:ROWS]
    X = np.asarray(data.X_train[rows], dtype=np.float32).reshape(len(rows), -1)
    return without_test(X, noise.flip(data.y_train[rows]), data.y_train[rows])


def digits(noise: Any) -> Split:
    """Return all digits of scikit-learn."""
    X, y = load_digits(return_X_y=True)
    return without_test(X.astype(np.float32), noise.flip(y), y)


def false_positives(seed: int) -> Split:
    """Return news, world or not, with 6 % of the others labeled as world: errors in the rare label."""
    data = _read(datasets.load_noisyag_news)
    true = (data.y_train == 0).astype(np.int64)
    flip = np.random.default_rng(seed).random(len(true)) < 0.06
    return without_test(data.X_train, np.where(flip, 1, true), true)


SETS: dict[str, tuple[str, Callable[[int], Split]]] = {
    **{
        f"cifar10n_{source}": (
            source,
            lambda seed, source=source: labeled(datasets.load_cifar10_features, source, seed),
        )
        for source in ("aggre", "random1", "worse")
    },
    "noisyag_news": ("human", lambda seed: labeled(datasets.load_noisyag_news, "human", seed)),
    "trec": ("majority_vote", lambda seed: labeled(datasets.load_trec, "majority_vote", seed)),
    "jira": ("heuristic", lambda seed: labeled(datasets.load_jira_defects, "heuristic", seed)),
    "digits, symmetric 40 %": ("sym40", lambda seed: digits(SymmetricNoise(0.4, random_state=seed))),
    "digits, pairs 30 %": ("pair30", lambda seed: digits(PairNoise(0.3, random_state=seed))),
    "Fashion-MNIST, symmetric 20 %": (
        "sym20",
        lambda seed: simulated(datasets.load_fashion_mnist, SymmetricNoise(0.2, random_state=seed), seed),
    ),
    "Fashion-MNIST, pairs 30 %": (
        "pair30",
        lambda seed: simulated(datasets.load_fashion_mnist, PairNoise(0.3, random_state=seed), seed),
    ),
    "news, false positives 6 %": ("false positives 6 %", false_positives),
}
"""By name: the noise, and the rows of a seed."""

TABLES = {"jira"}
"""Sets whose columns are those of a table."""


# --- the methods ------------------------------------------------------------------------------------------------------


def _detector(make: Callable[[int], Any], *, scale: bool = False) -> Callable[[Split, int, bool], dict[str, Any]]:
    def run(p: Split, seed: int, table: bool) -> dict[str, Any]:
        X = StandardScaler().fit_transform(p.X) if scale and table else p.X
        detector = make(seed).fit(X, p.given)
        wrong = p.given != p.true
        low, high = detector.noise_rate_interval_
        fdr: dict[str, float | None] = {}
        for alpha in ALPHAS:
            threshold = thresholds.fdr_threshold(detector.noise_scores_, detector.wrong_probability_, alpha)
            flagged = detector.noise_scores_ > (1 if threshold is None else threshold)
            fdr[f"fdr {alpha}: flagged"] = float(flagged.mean())
            fdr[f"fdr {alpha}: right"] = float((~wrong[flagged]).mean()) if flagged.any() else None
        return {
            **_ranking(detector.noise_scores_, wrong, detector.noise_mask_),
            "noise_rate": detector.noise_rate_,
            "noise_rate_low": low,
            "noise_rate_high": high,
            **fdr,
        }

    return run


def _cleanlab(make: Callable[[int, int], Any]) -> Callable[[Split, int, bool], dict[str, Any]]:
    def run(p: Split, seed: int, table: bool) -> dict[str, Any]:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        labels = np.unique(p.given, return_inverse=True)[1]
        proba = cross_val_predict(make(seed, len(labels)), p.X, labels, cv=folds, method="predict_proba")
        issues = find_label_issues(labels, proba, n_jobs=1)
        return _ranking(1 - get_label_quality_scores(labels, proba), p.given != p.true, issues)

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


METHODS: dict[str, Callable[[Split, int, bool], dict[str, Any]]] = {
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


# --- runs -------------------------------------------------------------------------------------------------------------


def runs(sets: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Run]:
    """Yield every run; the rows of a set and seed are read when its first run needs them."""
    for seed in seeds:
        for name in sets:
            split = cache(functools.partial(SETS[name][1], seed))
            for method in methods:
                if method not in TABLE_ONLY or name in TABLES:
                    row = identity(name, SETS[name][0], method, seed)
                    yield Run(row, functools.partial(fitted, split, name, method, seed))


def fitted(split: Callable[[], Split], name: str, method: str, seed: int) -> Row:
    """Return the measures of one fit."""
    rows = split()
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figures = METHODS[method](rows, seed, name in TABLES)
    return {**figures, "rows": len(rows.given), "cpu_seconds": time.process_time() - start}


def main() -> None:
    """Run what is not stored, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    carry_out(FILE, runs(options.set, options.methods, options.seeds), only_stored=options.table)
    print_tables("detectors", "detectors_more", "promises")


if __name__ == "__main__":
    main()
