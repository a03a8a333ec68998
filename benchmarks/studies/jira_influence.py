"""JIRA's defect labels, wrong by a heuristic, split by release: gradient boosting with and without influence.

    ROBUSTLABELS_DATA=... python -m benchmarks.studies.jira_influence [--seeds 0 1 2]

appends one row per run to docs/benchmarks/results/jira_influence.jsonl; the table on the method's page is made from
what is stored. Stored runs are skipped.

The last release of each of six projects is the test part, labeled by the developers; training labels come from a
heuristic over fix commits. Columns are brought to normal quantiles first, which changes nothing for trees but gives the
last layer, solved on the columns, a fair chance. A seed seeds the boosting, the hold-out and what is dropped at random.
F1 is at the threshold of one half; AP is average precision. Both are of the defective class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from benchmarks.results import Run, carry_out, identity, path_of, timed
from robustlabels import InfluenceNoiseDetector, InfluentialRankClassifier, datasets

FILE = path_of(__file__)


def methods(data: datasets.NoisyDataset, seed: int) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    """Names, and what makes their figures."""
    X, y, true = data.X_train, data.y_noisy["heuristic"], data.y_train
    base = make_pipeline(
        QuantileTransformer(output_distribution="normal", random_state=seed),
        HistGradientBoostingClassifier(random_state=seed),
    )

    def figures(clf: Any) -> dict[str, float]:
        score = clf.predict_proba(data.X_test)[:, 1]
        f1 = f1_score(data.y_test, clf.predict(data.X_test))
        return {"F1": float(f1), "AP": float(average_precision_score(data.y_test, score))}

    def found(scores: np.ndarray, flagged: np.ndarray) -> dict[str, float]:
        wrong = y != true
        out = {"flagged": float(flagged.mean()), "detection AP": float(average_precision_score(wrong, scores))}
        if flagged.any():
            out["precision"], out["recall"] = float(wrong[flagged].mean()), float(flagged[wrong].mean())
        return out

    def fitted(labels: np.ndarray) -> dict[str, float]:
        return figures(clone(base).fit(X, labels))

    def post_trained(**how: Any) -> dict[str, float]:
        clf = InfluentialRankClassifier(base, refine="retrain", random_state=seed, **how).fit(X, y)
        return {**figures(clf), **found(clf.noise_scores_, clf.noise_mask_), "rounds": float(clf.best_round_)}

    def without(detect: Callable[[], tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
        scores, flagged = detect()
        return {**figures(clone(base).fit(X[~flagged], y[~flagged])), **found(scores, flagged)}

    def detector(**how: Any) -> tuple[np.ndarray, np.ndarray]:
        columns = base[0].fit_transform(X)
        detector = InfluenceNoiseDetector(random_state=seed, **how).fit(columns, y)
        return detector.noise_scores_, detector.noise_mask_

    def at_random(share: float) -> tuple[np.ndarray, np.ndarray]:
        draws = np.random.default_rng(seed).random(len(y))
        return draws, draws > 1 - share

    yield "true labels", lambda: fitted(true)
    yield "the heuristic's labels", lambda: fitted(y)
    yield "InfluentialRankClassifier", post_trained
    yield 'InfluentialRankClassifier, removal_rate="auto"', lambda: post_trained(removal_rate="auto")
    yield 'InfluentialRankClassifier, scoring="accuracy"', lambda: post_trained(scoring="accuracy")
    yield "InfluentialRankClassifier, validation_fraction=0", lambda: post_trained(validation_fraction=0)
    yield "without what InfluenceNoiseDetector flags", lambda: without(detector)
    yield "without its 5 % most suspicious rows", lambda: without(lambda: detector(threshold="quantile", quantile=0.95))
    yield "without its 10 % most suspicious rows", lambda: without(lambda: detector(threshold="quantile", quantile=0.9))
    yield "without 10 % of the rows at random", lambda: without(lambda: at_random(0.1))


def main() -> None:
    """Run what is not stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    data = datasets.load_jira_defects()
    runs = (
        Run(identity("jira", "heuristic", method, seed), work)
        for seed in arguments.seeds
        for method, work in methods(data, seed)
    )
    carry_out(FILE, map(timed, runs))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
