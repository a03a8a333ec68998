"""Select the default lambda and beta of ELR and ELR+, on seeds that no reported number uses.

::

    python -m benchmarks.studies.elr_defaults             # what is not stored yet, then the tables
    python -m benchmarks.studies.elr_defaults --table     # the tables alone

Seeds are 100 to 102; a seed fixes split, noise and network, and :mod:`benchmarks.studies.robustness` reports on other
seeds. Beside test accuracy it measures two choices that the fitted attributes depend on: the share of flagged rows
against the mean score as an estimate of the noise rate, and the average precision of the targets' scores against that
of the training softmax averaged over all epochs. A run is one row of ``docs/benchmarks/results/elr_defaults.jsonl``.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.results import Run, carry_out, identity, in_a_process, path_of
from benchmarks.studies import robustness
from benchmarks.studies.problems import DIGITS, IRIS, WINE, cifar10_features, fashion_mnist
from robustlabels import CrossEntropyClassifier, ELRClassifier, ELRPlusClassifier
from robustlabels.comparison import Row, Split, defaults, mean_sd, settings
from robustlabels.metrics import detection_report
from robustlabels.training.objective import Batch, Model, Objective, ObjectiveWrapper
from robustlabels.training.rows import Rows

FILE = path_of(__file__)
SEEDS = (100, 101, 102)
LAMS = (1.0, 3.0, 5.0, 7.0)
GRID = [(lam, beta) for beta in (0.7, 0.9) for lam in LAMS]

PROBLEMS = {
    "digits": replace(DIGITS, noise=("sym40", "pair40", "clean")),
    "iris": IRIS,
    "wine": WINE,
    "cifar10_feats": cifar10_features(10_000, "worse", "clean"),
    "fashion_mnist": fashion_mnist(5_000, "sym40", shared={"module": "mlp", "max_epochs": 40}),
}


class Averaged(ObjectiveWrapper):
    """The objective inside, and the mean over all epochs of the softmax it trained on."""

    def __init__(self, inner: Objective, rows: Rows) -> None:
        super().__init__(inner)
        self.register_buffer("total", torch.zeros(len(rows.y), rows.n_classes))

    def forward(self, model: Model, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """One batch of the inner objective."""
        loss, logits = self.inner(model, batch)
        self.total.index_add_(0, batch.index, torch.softmax(logits.detach().float(), dim=1))
        return loss, logits


class AveragedELR(ELRClassifier):
    """ELR that also keeps its averaged training softmax."""

    def _make_objective(self, module: torch.nn.Module, rows: Rows) -> Objective:
        return Averaged(super()._make_objective(module, rows), rows)


class AveragedCE(CrossEntropyClassifier):
    """Cross-entropy that also keeps its averaged training softmax."""

    def _make_objective(self, module: torch.nn.Module, rows: Rows) -> Objective:
        return Averaged(super()._make_objective(module, rows), rows)


def measure(estimator: Any, split: Split) -> dict[str, Any]:
    """What :func:`benchmarks.studies.robustness.measure` does, and the average precision of the averaged softmax."""
    result = robustness.measure(estimator, split)
    if not isinstance(estimator.net_.criterion_, Averaged):
        return result
    proba = estimator.net_.criterion_.total.numpy() / estimator.n_iter_
    given = np.searchsorted(estimator.classes_, split.given)
    wrong = split.given != split.true
    if wrong.any():
        scores = 1 - proba[np.arange(len(given)), given]
        result["average_precision_of_mean_softmax"] = detection_report(scores, wrong).average_precision
    return result


def candidates(**params: Any) -> Iterator[tuple[str, Any]]:
    """Cross-entropy, and what is chosen among."""
    yield "CE", AveragedCE(**params)
    for lam, beta in GRID:
        yield "ELR", AveragedELR(lam=lam, beta=beta, **params)
    for lam in LAMS:
        yield "ELR+", ELRPlusClassifier(lam=lam, mixup_alpha=1.0, **params)  # before it read the rows


def runs(sets: Sequence[str]) -> Iterator[Run]:
    """Yield every run."""
    for name in sets:
        problem = PROBLEMS[name]
        for noise in map(str, problem.noise):
            for seed in SEEDS:
                for method, estimator in candidates(**problem.shared, random_state=seed):
                    params = settings(estimator, problem.rows)
                    row = identity(name, noise, method, seed, rows=problem.rows, params=params)
                    work = functools.partial(fitted, estimator, name, noise, seed)
                    yield Run(row, work, defaults(estimator))


def fitted(estimator: Any, name: str, noise: str, seed: int) -> Row:
    """Return the measures of one run."""
    return measure(estimator, PROBLEMS[name].split(noise, seed))


COLUMNS: dict[str, Callable[[Row], float]] = {
    "test accuracy at the last epoch": lambda found: found["test_accuracy"],
    "accuracy on the given training labels": lambda found: found["fitted_labels"],
    "share of flagged rows minus true noise rate": lambda found: found["flagged"] - found["true_rate"],
    "mean score minus true noise rate": lambda found: found["mean_score"] - found["true_rate"],
    "average precision of the scores": lambda found: found.get("average_precision", np.nan),
    "average precision of the averaged softmax": lambda found: found.get("average_precision_of_mean_softmax", np.nan),
    "precision of the mask": lambda found: found.get("precision", np.nan),
    "recall of the mask": lambda found: found.get("recall", np.nan),
}


def print_tables(rows: Sequence[Row]) -> None:
    """Print candidates against problems: accuracy, noise rate, average precision."""
    cells: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        params = row["params"]
        name = f"{row['method']} {params['lam']:g}, {params['beta']:g}" if "lam" in params else row["method"]
        cells.setdefault(name, {}).setdefault(f"{row['data']} {row['noise']}", []).append(row["measures"])
    for title, read in COLUMNS.items():
        print_table(title, cells, lambda results, read=read: mean_sd([read(found) for found in results]))
    print_table("worst seed", cells, lambda results: f"{min(found['test_accuracy'] for found in results):.3f}")


def print_table(title: str, cells: dict[str, dict[str, list[Row]]], text: Callable[[list[Row]], str]) -> None:
    """Print one measure."""
    problems = list(dict.fromkeys(problem for line in cells.values() for problem in line))
    print(f"\n{title}\n{'lambda, beta':<14}" + "".join(f"{problem[:20]:>21}" for problem in problems))
    for name, line in cells.items():
        found = (text(line[problem]) if problem in line else "" for problem in problems)
        print(f"{name:<14}" + "".join(f"{cell:>21}" for cell in found))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.elr_defaults", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--set", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, dest="sets", metavar="NAME")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print_tables(carry_out(FILE, map(in_a_process, runs(options.sets)), only_stored=options.table))


if __name__ == "__main__":
    main()
