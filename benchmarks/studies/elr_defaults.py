"""Select the default lambda and beta of ELR and ELR+, on seeds that no reported number uses.

::

    python -m benchmarks.studies.elr_defaults             # what is not stored yet, then the tables
    python -m benchmarks.studies.elr_defaults --table     # the tables alone

Seeds are 100 to 102; a seed fixes split, noise and network, and :mod:`benchmarks.studies.robustness` reports on others. Beside
test accuracy it measures two things that the attributes rest on: the share of flagged rows against the mean score as an
estimate of the noise rate, and the average precision of the targets' scores against that of the training softmax
averaged over all epochs. A run is one line of ``docs/benchmarks/results/defaults.jsonl``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits, load_iris, load_wine

from benchmarks.studies import robustness
from robustlabels import CrossEntropyClassifier, ELRClassifier, ELRPlusClassifier
from robustlabels.comparison import Split, append_row, defaults, isolated, mean_sd, read_rows
from robustlabels.datasets import load_cifar10_features, load_fashion_mnist
from robustlabels.metrics import detection_report
from robustlabels.training.objective import Batch, Model, Objective, ObjectiveWrapper
from robustlabels.training.rows import Rows

LINES = robustness.DOCS / "results" / "defaults.jsonl"
SEEDS = (100, 101, 102)
LAMS = (1.0, 3.0, 5.0, 7.0)
GRID = [(lam, beta) for beta in (0.7, 0.9) for lam in LAMS]

FEATURES = {"module__width": 512, "module__depth": 1, "max_epochs": 25}
# By name: training rows, how they are read, the labels tried, what all candidates share.
PROBLEMS: dict[str, tuple[int, Callable[[str, int], Split], Sequence[str], dict[str, Any]]] = {
    "digits": (1257, lambda *run: robustness.small_table(load_digits, *run), ("sym40", "pair40", "clean"), {}),
    "iris": (105, lambda *run: robustness.small_table(load_iris, *run), ("clean", "sym40"), {}),
    "wine": (124, lambda *run: robustness.small_table(load_wine, *run), ("clean", "sym40"), {}),
    "cifar10_feats": (
        10_000,
        lambda *run: robustness.published(load_cifar10_features, 10_000, *run),
        ("worse", "clean"),
        FEATURES,
    ),
    "fashion_mnist": (
        5_000,
        lambda *run: robustness.published(load_fashion_mnist, 5_000, *run),
        ("sym40",),
        {"module": "mlp", "max_epochs": 40},
    ),
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


def runs(sets: Sequence[str]) -> Iterator[robustness.Run]:
    """Every run."""
    for name in sets:
        rows, make, all_labels, shared = PROBLEMS[name]
        for labels in all_labels:
            for seed in SEEDS:
                for method, estimator in candidates(**shared, random_state=seed):
                    wanted = robustness.settings(name, labels, method, seed, estimator, rows)
                    unset = defaults(estimator)
                    yield wanted, lambda e=estimator, run=(labels, seed), make=make: measure(e, make(*run)), unset


def print_tables(lines: Sequence[dict[str, Any]]) -> None:
    """Candidates against problems: accuracy, noise rate, average precision."""
    cells: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for line in lines:
        run = line["settings"]
        params = run["params"]
        row = f"{run['method']} {params['lam']:g}, {params['beta']:g}" if "lam" in params else run["method"]
        cells.setdefault(row, {}).setdefault(f"{run['set']} {run['labels']}", []).append(line["result"])
    problems = list(dict.fromkeys(problem for row in cells.values() for problem in row))
    columns = {
        "test accuracy at the last epoch": lambda r: r["test_accuracy"],
        "worst seed": None,
        "accuracy on the given training labels": lambda r: r["fitted_labels"],
        "share of flagged rows minus true noise rate": lambda r: r["flagged"] - r["true_rate"],
        "mean score minus true noise rate": lambda r: r["mean_score"] - r["true_rate"],
        "average precision of the scores": lambda r: r.get("average_precision", np.nan),
        "average precision of the averaged softmax": lambda r: r.get("average_precision_of_mean_softmax", np.nan),
        "precision of the mask": lambda r: r.get("precision", np.nan),
        "recall of the mask": lambda r: r.get("recall", np.nan),
    }
    for title, read in columns.items():
        print(f"\n{title}\n{'lambda, beta':<14}" + "".join(f"{problem[:20]:>21}" for problem in problems))
        for row, by_problem in cells.items():
            text = f"{row:<14}"
            for problem in problems:
                results = by_problem.get(problem, [])
                if not results:
                    text += f"{'':>21}"
                elif read is None:
                    text += f"{min(r['test_accuracy'] for r in results):>21.3f}"
                else:
                    text += f"{mean_sd([read(r) for r in results]):>21}"
            print(text)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.elr_defaults", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--set", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, dest="sets", metavar="NAME")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    done = read_rows(LINES)
    shown: list[dict[str, Any]] = []
    for wanted, work, unset in runs(options.sets):
        line = robustness.find(done, wanted, unset)
        if line is None and not options.table:
            line = {
                "settings": wanted,
                "result": isolated(work),
                "environment": robustness.environment(),
            }
            append_row(LINES, line)
            print(robustness.describe(line), flush=True)
        if line is not None:
            shown.append(line)
    print_tables(shown)


if __name__ == "__main__":
    main()
