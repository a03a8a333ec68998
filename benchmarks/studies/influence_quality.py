"""Influential Rank: how true its influences are, which rule stops on its own, and what post-training is worth.

    python -m benchmarks.studies.influence_quality [--part fidelity rule features loop] [--seeds 0 1 2]

appends one row per run to docs/benchmarks/results/influence_quality.jsonl; the tables on the method's page are made
from what is stored. Stored runs are skipped.

* ``fidelity``: influence against true leave-one-out, the last layer solved again without every single row, on Gaussian
  classes and on the features of a network that has memorized digits with wrong labels;
* ``rule``: which rows the automatic rule would remove first, beside outliers of the influence on the model;
* ``features``: for classifiers without a network, X against the decision function;
* ``loop``: test accuracy of a network before and after post-training, with nothing but noisy labels to choose by.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.results import Run, carry_out, identity, path_of, timed
from robustlabels import CrossEntropyClassifier, InfluentialRankClassifier
from robustlabels.maths.influence_functions import (
    BACKENDS,
    RidgeSoftmax,
    influence_outliers,
    loo_influence,
    model_influence,
)
from robustlabels.methods.influential_rank import AUTO_RIDGE
from robustlabels.noise import SymmetricNoise

FILE = path_of(__file__)


def kind_of(rate: float) -> str:
    """Return the name of symmetric noise of a rate."""
    return f"sym{round(100 * rate)}" if rate else "clean"


def digits(seed: int, rate: float, **split: Any) -> tuple[np.ndarray, ...]:
    """Digits with wrong labels: X, y, which are wrong, X and y to test on."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X.astype("float32"), y, random_state=seed, stratify=y, **split)
    if rate == 0:
        return X, y, np.zeros(len(y), dtype=bool), X_test, y_test
    noise = SymmetricNoise(rate, random_state=seed)
    return X, noise.flip(y), noise.flip_mask_, X_test, y_test


def overfitted(seed: int, **params: Any) -> CrossEntropyClassifier:
    """A network that has memorized its labels after 200 epochs."""
    params = {"lr": 0.05, "max_epochs": 200, "random_state": seed, "device": "cpu", **params}
    return CrossEntropyClassifier(**params)


# --- parts ------------------------------------------------------------------------------------------------------------


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two hundred rows, five columns, three classes, 15 % of the labels drawn anew."""
    rng = np.random.RandomState(seed)
    centers, y = rng.randn(3, 5), rng.randint(3, size=200)
    x = centers[y] + rng.randn(200, 5)
    drawn = rng.rand(200) < 0.15
    y[drawn] = rng.randint(3, size=drawn.sum())
    return x, y


def memorized(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (d = 32) of a network that has memorized 300 digits of which 20 % have a wrong label."""
    X, y, _, _, _ = digits(seed, 0.2, train_size=300)
    return overfitted(seed, module__width=32).fit(X, y).transform(X), y


def fidelity(seed: int) -> Iterator[Run]:
    """Against the layer solved again without every single row."""
    for name, noise, make in ("Gaussian classes", "drawn anew 15 %", blobs), ("memorized digits", "sym20", memorized):
        for damping in (0.01, 0.1, 1.0):

            def figures(make: Any = make, damping: float = damping) -> dict[str, float]:
                x, y = make(seed)
                n, k = len(y), int(y.max()) + 1
                head = RidgeSoftmax.fit(x, y, k, damping=damping, tol=1e-9)
                x = (x - head.mean.numpy()) / head.std.numpy()  # the standardization stays when a row leaves
                how = {"damping": damping * n / (n - 1), "standardize": False, "tol": 1e-9, "warm_start": head.weight}
                true = np.empty(n)
                for i in range(n):
                    keep = np.arange(n) != i
                    true[i] = (RidgeSoftmax.fit(x[keep], y[keep], k, **how).weight - head.weight).norm()
                head = RidgeSoftmax.fit(x, y, k, damping=damping, standardize=False, tol=1e-9)
                found = {backend: model_influence(head, x, y, backend=backend).numpy() for backend in BACKENDS}
                found["one step"] = loo_influence(head, x, y, backend="exact").numpy()
                error = {key: float(np.median(np.abs(m / true - 1))) for key, m in found.items()}
                rho = {key: float(spearmanr(m, true).statistic) for key, m in found.items()}
                return {**{f"rho {k}": v for k, v in rho.items()}, **{f"error {k}": v for k, v in error.items()}}

            params = {"part": "fidelity", "damping": damping}
            yield Run(identity(name, noise, "influence on the model", seed, params=params), figures)


def rule(seed: int) -> Iterator[Run]:
    """What the first round would flag on digits, at three noise rates and after 30 and 200 epochs."""
    for rate in (0.0, 0.1, 0.2, 0.4):
        for epochs in (30, 200):

            def figures(rate: float = rate, epochs: int = epochs) -> dict[str, float]:
                X, y, wrong, _, _ = digits(seed, rate, test_size=0.25)
                clf = overfitted(seed, max_epochs=epochs).fit(X, y)
                features = clf.transform(X)
                head = RidgeSoftmax.fit(features, y, 10)
                stiff = RidgeSoftmax.fit(features, y, 10, damping=AUTO_RIDGE * head.damping)
                flags = {
                    "outliers": influence_outliers(model_influence(head, features, y), torch.from_numpy(y)).numpy(),
                    "same ridge": head.proba(features).argmax(1).numpy() != y,
                    "ten times the ridge": stiff.proba(features).argmax(1).numpy() != y,
                }
                out = {"train accuracy": float(clf.score(X, y))}
                for name, flagged in flags.items():
                    out[f"flagged {name}"] = float(flagged.mean())
                    if rate and flagged.any():
                        out[f"precision {name}"] = float(wrong[flagged].mean())
                        out[f"recall {name}"] = float(flagged[wrong].mean())
                return out

            params = {"part": "rule", "rate": rate, "epochs": epochs}
            yield Run(identity("digits", kind_of(rate), "first round", seed, params=params), figures)


def features(seed: int) -> Iterator[Run]:
    """ROC AUC of the rank for wrong labels, from X and from the decision function."""
    classifiers = {
        "logistic regression": LogisticRegression(max_iter=500),
        "logistic regression, C=100": LogisticRegression(C=100, max_iter=500),
        "SVC, C=100": SVC(C=100),
        "gradient boosting": HistGradientBoostingClassifier(max_iter=30, random_state=seed),
    }
    for name, load, rate in (
        ("digits", load_digits, 0.2),
        ("digits", load_digits, 0.4),
        ("cancer", load_breast_cancer, 0.2),
    ):
        for classifier, make in classifiers.items():

            def figures(load: Any = load, rate: float = rate, make: Any = make) -> dict[str, float]:
                X, y = load(return_X_y=True)
                noise = SymmetricNoise(rate, random_state=seed)
                y = noise.flip(y)
                out = {}
                for layer in ("input", "decision_function"):
                    settings = {"refine": "none", "max_rounds": 1, "random_state": seed, "feature_layer": layer}
                    pipe = make_pipeline(StandardScaler(), clone(make))
                    clf = InfluentialRankClassifier(pipe, **settings).fit(X, y)
                    out[f"AUC {layer}"] = float(roc_auc_score(noise.flip_mask_, clf.noise_scores_))
                return out

            yield Run(identity(name, kind_of(rate), classifier, seed, params={"part": "features"}), figures)


def loop(seed: int) -> Iterator[Run]:
    """Digits, package defaults but for epochs enough to memorize."""
    for rate in (0.0, 0.2, 0.4):
        for method in ("base", "finetune", "last_layer", "retrain", "frozen, finetune", "frozen, retrain"):

            def figures(rate: float = rate, method: str = method) -> dict[str, float]:
                X, y, wrong, X_test, y_test = digits(seed, rate, test_size=0.25)
                base = overfitted(seed, max_epochs=100)
                if method == "base":
                    return {"accuracy": float(base.fit(X, y).score(X_test, y_test))}
                if method.startswith("frozen"):
                    base = FrozenEstimator(base.fit(X, y))
                refine = method.removeprefix("frozen, ")
                clf = InfluentialRankClassifier(base, refine=refine, random_state=seed).fit(X, y)
                flagged = clf.noise_mask_
                out = {
                    "accuracy": float(clf.score(X_test, y_test)),
                    "best round": float(clf.best_round_),
                    "flagged": float(flagged.mean()),
                    "estimated noise": clf.noise_rate_,
                }
                if rate:
                    out["AUC"] = float(roc_auc_score(wrong, clf.noise_scores_))
                    out["recall"] = float(flagged[wrong].mean())
                    if flagged.any():
                        out["precision"] = float(wrong[flagged].mean())
                return out

            params = {"part": "loop", "rate": rate}
            yield Run(identity("digits", kind_of(rate), method, seed, params=params), figures)


def main() -> None:
    """Run what is not stored."""
    parts: dict[str, Callable[[int], Iterator[Run]]] = {
        "fidelity": fidelity,
        "rule": rule,
        "features": features,
        "loop": loop,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    runs = (run for part in arguments.part for seed in arguments.seeds for run in parts[part](seed))
    carry_out(FILE, map(timed, runs))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
