"""What PEMM's parts are worth: head, label loss, potential and mixture, on digits; and the whole, on three more sets.

::

    python -m benchmarks.studies.pemm_ablation                     # what is not stored yet, then the tables of the page
    python -m benchmarks.studies.pemm_ablation --part ablation --seeds 0
    python -m benchmarks.studies.pemm_ablation --table             # run nothing

A run is one row of ``docs/benchmarks/results/pemm_ablation.jsonl`` and is not repeated. Every number is of the last
epoch; a seed fixes split, noise and network. The linear head has the same rectified and dropped features, and the same
clipping of gradients, as the distance head: the head alone differs.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import nn

from benchmarks.results import Run, carry_out, identity, path_of, print_tables
from benchmarks.studies.problems import FEATURES, IRIS, WINE, cifar10_features
from robustlabels import CrossEntropyClassifier, ELRClassifier, PEMMClassifier, SCEClassifier
from robustlabels.comparison import Split
from robustlabels.metrics import detection_report
from robustlabels.modules import find_head
from robustlabels.noise import SymmetricNoise
from robustlabels.training.base import RowLossClassifier
from robustlabels.training.objective import Batch, Model, Objective, weighted_mean
from robustlabels.training.rows import Rows

FILE = path_of(__file__)
RATES = (0.2, 0.4, 0.6)
OURS, THEIRS = 0.01, 0.1
"""Weights of cross-entropy in SCE: the package's default and the authors'."""


# -- The ablation -----------------------------------------------------------------------------------------------------


class LabelTerm(Objective):
    """The label term of PEMM alone."""

    def __init__(self, row_loss: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.row_loss = row_loss

    def forward(self, model: Model, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """One batch."""
        logits = model(batch.x)
        return weighted_mean(self.row_loss(logits, batch.y), batch), logits


class LinearHead(PEMMClassifier):
    """PEMM's label term on a linear head: no distances, so neither potential nor mixture."""

    def _make_head(self, module: nn.Module, rows: Rows) -> nn.Module:
        name, linear = find_head(module)
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, nn.Sequential(nn.ReLU(), nn.Dropout(self.dropout), linear))
        return module

    def _place_centers(self, module: nn.Module, rows: Rows) -> None:
        """Do nothing: a linear head has no centers."""

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        return LabelTerm(self._row_loss())

    def _describe(self, rows: Rows) -> None:
        RowLossClassifier._describe(self, rows)


class Cell(NamedTuple):
    """One combination of parts; ``alpha`` is SCE's and 0 for cross-entropy."""

    head: str
    loss: str
    alpha: float
    potential: float
    mixture: float
    clip: float | None = 5.0

    def make(self, **params: Any) -> Any:
        """Its classifier."""
        weights = {"potential_weight": self.potential, "mixture_weight": self.mixture}
        make = LinearHead if self.head == "linear" else PEMMClassifier
        return make(loss=self.loss, alpha=self.alpha, gradient_clip=self.clip, **weights, **params)


LABEL_TERMS = (("ce", 0.0), ("sce", THEIRS), ("sce", OURS))
CELLS = [Cell("linear", *term, 0.0, 0.0) for term in LABEL_TERMS]
CELLS += [
    Cell("distance", *term, *weights) for term in LABEL_TERMS for weights in itertools.product((0.0, 2.0), (0.0, 1.0))
]
UNCLIPPED = [
    cell._replace(clip=None)
    for cell in CELLS
    if cell.loss == "sce" and (cell.head == "linear" or cell.potential == 2 * cell.mixture)
]


def digits(rate: float, seed: int) -> Split:
    """Digits, 70 % of them for training, exactly ``rate`` of their labels wrong."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X.astype(np.float32), y, test_size=0.3, random_state=seed, stratify=y
    )
    return Split(X_train, SymmetricNoise(rate, random_state=seed).flip(y_train), y_train, X_test, y_test)


def fitted(estimator: Any, split: Split) -> dict[str, float]:
    """Accuracy on right labels, and what is known of the wrong ones."""
    estimator.fit(split.X, split.given)
    wrong = split.given != split.true
    report = detection_report(estimator.noise_scores_, wrong, noise_mask=estimator.noise_mask_)
    found = {"accuracy": float(estimator.score(split.X_test, split.y_test)), "AP": float(report.average_precision)}
    if hasattr(estimator, "center_distances_"):
        pairs = estimator.center_distances_[np.triu_indices(len(estimator.centers_), 1)]
        found |= {"center distance": float(pairs.mean()), "potential energy": estimator.potential_energy_}
    return found


def ablated(cell: Cell, rate: float, seed: int) -> dict[str, float]:
    """One cell with the package's defaults for all else."""
    return fitted(cell.make(random_state=seed, device="cpu"), digits(rate, seed))


# -- Other sets, and new classes --------------------------------------------------------------------------------------

SETS: dict[str, tuple[str, Callable[[int], Split], dict[str, Any]]] = {
    "digits, 40 % symmetric": ("sym40", lambda seed: digits(0.4, seed), {}),
    "iris, 40 % symmetric": ("sym40", lambda seed: IRIS.split("sym40", seed), {}),
    "wine, 40 % symmetric": ("sym40", lambda seed: WINE.split("sym40", seed), {}),
    "CIFAR-10N features, worse labels": (
        "worse",
        lambda seed: cifar10_features(10_000, "worse").split("worse", seed),
        FEATURES,
    ),
}
"""By name: the noise, the rows of a seed, and the parameters that all methods share."""

METHODS = {"CE": CrossEntropyClassifier, "SCE": SCEClassifier, "ELR": ELRClassifier, "PEMM": PEMMClassifier}


def unseen_digits(mixture: float, seed: int) -> dict[str, float]:
    """Trained on the digits 0 to 7 with 40 % wrong labels: does the density tell 8 and 9, and random pixels, apart?"""
    split = digits(0.0, seed)
    known = split.true < 8
    y = SymmetricNoise(0.4, random_state=seed).flip(split.true[known])
    clf = PEMMClassifier(mixture_weight=mixture, random_state=seed, device="cpu").fit(split.X[known], y)
    old = split.y_test < 8
    random = np.random.default_rng(seed).uniform(0, 16, size=split.X_test.shape).astype(np.float32)
    density, alien = clf.score_samples(split.X_test), clf.score_samples(random)
    far = np.concatenate([density[old], alien])
    return {
        "accuracy": float(clf.score(split.X_test[old], split.y_test[old])),
        "AUC of the density, digits 8 and 9": float(roc_auc_score(old, density)),
        "AUC of the density, random pixels": float(roc_auc_score(np.arange(len(far)) < old.sum(), far)),
        "AUC of the largest probability, digits 8 and 9": float(
            roc_auc_score(old, clf.predict_proba(split.X_test).max(1))
        ),
    }


# -- Runs and tables --------------------------------------------------------------------------------------------------


def runs(parts: Sequence[str], seeds: Sequence[int]) -> Iterator[Run]:
    """Yield every run of the parts."""
    of_parts = {"ablation": ablations, "sets": comparisons, "density": densities}
    for seed in seeds:
        for part in parts:
            yield from of_parts[part](seed)


def ablations(seed: int) -> Iterator[Run]:
    """Yield the cells at every noise rate."""
    for rate, cell in itertools.product(RATES, [*CELLS, *UNCLIPPED]):
        params = {"part": "ablation", "rate": rate, **cell._asdict()}
        row = identity("digits", f"sym{round(100 * rate)}", "PEMM", seed, params=params)
        yield Run(row, lambda cell=cell, rate=rate: ablated(cell, rate, seed))


def comparisons(seed: int) -> Iterator[Run]:
    """Yield every method on every set."""
    for (name, (noise, make, shared)), method in itertools.product(SETS.items(), METHODS):
        estimator = METHODS[method](random_state=seed, device="cpu", **shared)
        row = identity(name, noise, method, seed, params={"part": "sets"})
        yield Run(row, lambda estimator=estimator, make=make: fitted(estimator, make(seed)))


def densities(seed: int) -> Iterator[Run]:
    """Yield the weights of the mixture."""
    for mixture in (1.0, 10.0, 50.0):
        row = identity("digits", "sym40", "PEMM", seed, params={"part": "density", "mixture": mixture})
        yield Run(row, lambda mixture=mixture: unseen_digits(mixture, seed))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.pemm_ablation",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parts = ("ablation", "sets", "density")
    parser.add_argument("--part", nargs="+", choices=parts, default=parts, dest="parts")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    carry_out(FILE, runs(options.parts, options.seeds), only_stored=options.table)
    print_tables("pemm", "pemm_sets", "pemm_density")


if __name__ == "__main__":
    main()
