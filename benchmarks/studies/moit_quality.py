"""MOIT on digits, CIFAR-10N features and NoisyAG-News: the lines of its page, at the last epoch over seeds.

    python -m benchmarks.studies.moit_quality [--set digits|cifar10_feats|noisyag_news] [--seeds 0 1 2]

appends one JSON line a run to docs/benchmarks/results/moit.jsonl and prints mean ± sd of what is stored there. Runs
that are stored already are skipped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robustlabels import CrossEntropyClassifier, ELRClassifier, MOITClassifier, MOITPlusClassifier, datasets
from robustlabels.augment import GaussianNoise
from robustlabels.comparison import append_row, environment, mean_sd, read_rows
from robustlabels.maths.functional import default_n_neighbors, most_votes, nearest_neighbors, two_pass_votes
from robustlabels.metrics import detection_report
from robustlabels.noise import SymmetricNoise

RESULTS = Path(__file__).resolve().parents[1] / "docs/benchmarks/results/moit.jsonl"


class Problem(NamedTuple):
    """Rows with wrong labels, which ones are wrong, clean rows to test on, and the common parameters."""

    X: np.ndarray
    y: np.ndarray
    wrong: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    params: dict[str, Any]
    views: Any = "strong"


def digits(seed: int) -> Problem:
    """Exactly 40 % symmetric flips, package defaults."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X.astype("float32"), y, test_size=0.3, random_state=seed, stratify=y)
    noise = SymmetricNoise(0.4, random_state=seed)
    return Problem(X, noise.flip(y), noise.flip_mask_, X_test, y_test, {})


def cifar10_feats(seed: int) -> Problem:
    """10k rows with the labels "worse" (40 % wrong), a 512-wide network, 25 epochs; views by noise on the features."""
    data = datasets.load_cifar10_features()
    rows = np.random.default_rng(seed).permutation(len(data.X_train))[:10_000]
    X, y, clean = data.X_train[rows].astype("float32"), data.y_noisy["worse"][rows], data.y_train[rows]
    params = {"module__width": 512, "module__depth": 1, "max_epochs": 25}
    views = GaussianNoise(round(0.5 * float(X.std()), 4))
    return Problem(X, y, y != clean, data.X_test.astype("float32"), data.y_test, params, views)


def noisyag_news(seed: int) -> Problem:
    """10k sentence embeddings with human errors (20 % wrong), 25 epochs."""
    data = datasets.load_noisyag_news()
    y = data.y_noisy["human"]
    return Problem(data.X_train, y, y != data.y_train, data.X_test, data.y_test, {"max_epochs": 25})


def raw_votes(p: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Noise scores and flags of the same vote on the raw rows."""
    classes, numbers = np.unique(p.y, return_inverse=True)
    labels = torch.from_numpy(numbers)
    z = F.normalize(torch.from_numpy(np.asarray(p.X, dtype=np.float32)), dim=1)
    k = default_n_neighbors(len(z), len(classes))
    counts = two_pass_votes(nearest_neighbors(z, k), labels, len(classes))[1]
    share = counts[torch.arange(len(z)), labels].float() / k
    return 1 - share.numpy(), (most_votes(counts) != labels).numpy()


def methods(p: Problem, seed: int) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    """Names and what makes their figures."""

    def network(make: type, **params: Any) -> Callable[[], dict[str, float]]:
        def figures() -> dict[str, float]:
            clf = make(random_state=seed, device="cpu", **p.params, **params).fit(p.X, p.y)
            report = detection_report(clf.noise_scores_, p.wrong)
            clean = getattr(clf, "clean_mask_", ~clf.noise_mask_)
            agree = getattr(clf, "agreement_", clean)
            return {
                "accuracy": clf.score(p.X_test, p.y_test),
                "AP": report.average_precision,
                "clean precision": float((~p.wrong[clean]).mean()),
                "agreement precision": float((~p.wrong[agree]).mean()),
                "estimated noise": clf.noise_rate_,
            }

        return figures

    def linear(drop: bool) -> Callable[[], dict[str, float]]:
        def figures() -> dict[str, float]:
            scores, flags = raw_votes(p)
            keep = ~flags if drop else np.ones(len(p.y), dtype=bool)
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(p.X[keep], p.y[keep])
            kept = {"clean precision": float((~p.wrong[~flags]).mean()), "estimated noise": float(flags.mean())}
            ranked = {"AP": detection_report(scores, p.wrong).average_precision, **kept} if drop else {}
            return {"accuracy": model.score(p.X_test, p.y_test), **ranked}

        return figures

    yield "logistic regression", linear(drop=False)
    yield "k-NN on raw rows, suspects dropped, logistic regression", linear(drop=True)
    yield "CE", network(CrossEntropyClassifier)
    yield "ELR", network(ELRClassifier)
    yield "MOIT", network(MOITClassifier, augment=p.views)
    yield "MOIT+", network(MOITPlusClassifier, augment=p.views)


def main() -> None:
    """Run what is not stored, and print the table."""
    problems = {"digits": digits, "cifar10_feats": cifar10_feats, "noisyag_news": noisyag_news}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=problems, default=list(problems))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    stored = read_rows(RESULTS)
    done = {(run["set"], run["method"], run["seed"]) for run in stored}
    for name in arguments.set:
        for seed in arguments.seeds:
            problem = problems[name](seed)
            for method, figures in methods(problem, seed):
                if (name, method, seed) in done:
                    continue
                started = time.perf_counter()
                run = {"set": name, "method": method, "seed": seed, **figures()}
                run["seconds"] = time.perf_counter() - started
                run["versions"] = environment()["versions"]
                stored.append(run)
                append_row(RESULTS, run)
                print(name, method, seed, round(run["accuracy"], 4), f"{run['seconds']:.0f} s", flush=True)
    for name in dict.fromkeys(run["set"] for run in stored):
        print(f"\n{name}")
        for method in dict.fromkeys(run["method"] for run in stored if run["set"] == name):
            runs = [run for run in stored if (run["set"], run["method"]) == (name, method)]
            line = [f"{method:58s}"]
            for key in ("accuracy", "AP", "clean precision", "agreement precision", "estimated noise", "seconds"):
                values = [run[key] for run in runs if key in run]
                line += [f"{key} {mean_sd(values)}"] if values else []
            print(", ".join(line), f"({len(runs)} seeds)")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
