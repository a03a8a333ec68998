"""MOIT on digits, CIFAR-10N features and NoisyAG-News: the lines of its page, at the last epoch over seeds.

    python -m benchmarks.studies.moit_quality [--set digits|cifar10_feats|noisyag_news] [--seeds 0 1 2]

appends one row per run to docs/benchmarks/results/moit_quality.jsonl and prints the table of the page. Stored runs are
skipped.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.results import Run, carry_out, identity, path_of, print_tables
from robustlabels import CrossEntropyClassifier, ELRClassifier, MOITClassifier, MOITPlusClassifier, datasets
from robustlabels.augment import GaussianNoise
from robustlabels.comparison import Row, Split
from robustlabels.maths.functional import default_n_neighbors, most_votes, nearest_neighbors, two_pass_votes
from robustlabels.metrics import detection_report
from robustlabels.noise import SymmetricNoise

FILE = path_of(__file__)


class Setting(NamedTuple):
    """Rows with given and right labels, and the parameters that all networks share."""

    split: Split
    params: dict[str, Any]
    views: Any = "strong"

    @property
    def wrong(self) -> np.ndarray:
        """Which labels are wrong."""
        return self.split.given != self.split.true


def digits(seed: int) -> Setting:
    """Exactly 40 % symmetric flips, package defaults."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X.astype("float32"), y, test_size=0.3, random_state=seed, stratify=y)
    given = SymmetricNoise(0.4, random_state=seed).flip(y)
    return Setting(Split(X, given, y, X_test, y_test), {})


def cifar10_feats(seed: int) -> Setting:
    """10k rows with the labels "worse" (40 % wrong), a 512-wide network, 25 epochs; views by noise on the features."""
    data = datasets.load_cifar10_features()
    rows = np.random.default_rng(seed).permutation(len(data.X_train))[:10_000]
    X, y, clean = data.X_train[rows].astype("float32"), data.y_noisy["worse"][rows], data.y_train[rows]
    params = {"module__width": 512, "module__depth": 1, "max_epochs": 25}
    views = GaussianNoise(round(0.5 * float(X.std()), 4))
    return Setting(Split(X, y, clean, data.X_test.astype("float32"), data.y_test), params, views)


def noisyag_news(seed: int) -> Setting:
    """10k sentence embeddings with human errors (20 % wrong), 25 epochs."""
    data = datasets.load_noisyag_news()
    split = Split(data.X_train, data.y_noisy["human"], data.y_train, data.X_test, data.y_test)
    return Setting(split, {"max_epochs": 25})


def raw_votes(p: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Noise scores and flags of the same vote on the raw rows."""
    classes, numbers = np.unique(p.split.given, return_inverse=True)
    labels = torch.from_numpy(numbers)
    z = F.normalize(torch.from_numpy(np.asarray(p.split.X, dtype=np.float32)), dim=1)
    k = default_n_neighbors(len(z), len(classes))
    counts = two_pass_votes(nearest_neighbors(z, k), labels, len(classes))[1]
    share = counts[torch.arange(len(z)), labels].float() / k
    return 1 - share.numpy(), (most_votes(counts) != labels).numpy()


def methods(p: Setting, seed: int) -> Iterator[tuple[str, Callable[[], dict[str, float]]]]:
    """Names and what makes their figures."""

    def network(make: type, **params: Any) -> Callable[[], dict[str, float]]:
        def figures() -> dict[str, float]:
            clf = make(random_state=seed, device="cpu", **p.params, **params).fit(p.split.X, p.split.given)
            report = detection_report(clf.noise_scores_, p.wrong)
            clean = getattr(clf, "clean_mask_", ~clf.noise_mask_)
            agree = getattr(clf, "agreement_", clean)
            return {
                "accuracy": clf.score(p.split.X_test, p.split.y_test),
                "AP": report.average_precision,
                "clean precision": float((~p.wrong[clean]).mean()),
                "agreement precision": float((~p.wrong[agree]).mean()),
                "estimated noise": clf.noise_rate_,
            }

        return figures

    def linear(drop: bool) -> Callable[[], dict[str, float]]:
        def figures() -> dict[str, float]:
            scores, flags = raw_votes(p)
            keep = ~flags if drop else np.ones(len(p.wrong), dtype=bool)
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
                p.split.X[keep], p.split.given[keep]
            )
            kept = {"clean precision": float((~p.wrong[~flags]).mean()), "estimated noise": float(flags.mean())}
            ranked = {"AP": detection_report(scores, p.wrong).average_precision, **kept} if drop else {}
            return {"accuracy": model.score(p.split.X_test, p.split.y_test), **ranked}

        return figures

    yield "logistic regression", linear(drop=False)
    yield "k-NN on raw rows, flagged rows dropped, logistic regression", linear(drop=True)
    yield "CE", network(CrossEntropyClassifier)
    yield "ELR", network(ELRClassifier)
    yield "MOIT", network(MOITClassifier, augment=p.views)
    yield "MOIT+", network(MOITPlusClassifier, augment=p.views)


PROBLEMS = {
    "digits": ("sym40", digits),
    "cifar10_feats": ("worse", cifar10_feats),
    "noisyag_news": ("human", noisyag_news),
}


def runs(sets: Sequence[str], seeds: Sequence[int]) -> Iterator[Run]:
    """Yield every run."""
    for name in sets:
        noise, make = PROBLEMS[name]
        for seed in seeds:
            for method, figures in methods(make(seed), seed):
                yield Run(identity(name, noise, method, seed), functools.partial(timed, figures))


def timed(figures: Callable[[], Row]) -> Row:
    """Return figures and the wall time that they took."""
    started = time.perf_counter()
    return {**figures(), "seconds": time.perf_counter() - started}


def main() -> None:
    """Run what is not stored, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    carry_out(FILE, runs(arguments.set, arguments.seeds))
    print_tables("moit")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
