"""Choose defaults that depend on the data, on rows that no published comparison reports on.

::

    python -m benchmarks.studies.rules                         # what is not stored yet, then the tables
    python -m benchmarks.studies.rules --questions bank --seeds 100
    python -m benchmarks.studies.rules --table                 # run nothing

The core suite shows where a default is weak; choosing a better one there would be choosing on the test rows. So the
candidates are compared on 3000 rows of each set's *training* part, split 70 : 30 by seeds 100 to 102. They are scored
on the right labels of the smaller part, and the core suite reports on other rows and seeds. Iris and wine stand for
tables of a hundred rows, one digit against the others for a rare class (scored by F1). Of images, 10,000 are trained on
as in the pixels suite, and scored by others of the training part. Not every question has an answer that a rule can read
off the data: "views" would change all tables, and for "images" no lambda was best on all three sets. A run is one row
of ``docs/benchmarks/results/rules.jsonl`` and is not repeated.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import Any

from sklearn.datasets import load_digits, load_iris, load_wine

from benchmarks.results import path_of, print_tables
from benchmarks.studies.problems import digit_images, problem, table
from robustlabels import (
    CrossEntropyClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    GCEClassifier,
    MOITClassifier,
    datasets,
)
from robustlabels.augment import ColumnCorruption
from robustlabels.comparison import Problem, run_comparison
from robustlabels.noise import TransitionNoise

FILE = path_of(__file__)
SEEDS = (100, 101, 102)


def _one_digit(digit: int) -> datasets.NoisyDataset:
    """One digit against the others, with the rare label lost for two of five rows, or wrong on both sides."""
    X, digits = load_digits(return_X_y=True)
    y = (digits == digit).astype(int)
    lost, both = (
        TransitionNoise([[1 - up, up], [down, 1 - down]], random_state=0) for up, down in ((0, 0.4), (0.1, 0.2))
    )
    noisy = {"rare lost": lost.flip(y), "both wrong": both.flip(y)}
    name = f"{digit} of ten digits"
    return datasets.NoisyDataset(name, X.astype("float32"), y, noisy, X[:0], y[:0], ("other", str(digit)))


def _training_part(load: Callable[[], datasets.NoisyDataset], name: str) -> datasets.NoisyDataset:
    data = load()
    X, y = data.X_train, data.y_train
    return datasets.NoisyDataset(name, X, y, data.y_noisy, X[:0], y[:0], data.class_names)


def _problem(name: str, load: Callable[[], Any], rows: int, *noise: str, real: bool = True, **more: Any) -> Problem:
    return problem(name, load, rows, *noise, sources=noise if real else (), **more)


# Small tables, digits, and the training parts of the sets with real errors. Number of classes, problem.
PROBLEMS: dict[str, tuple[int, Problem]] = {
    "iris": (3, _problem("iris", lambda: table(load_iris, "iris"), 105, "clean", "sym40", real=False)),
    "wine": (3, _problem("wine", lambda: table(load_wine, "wine"), 124, "clean", "sym40", real=False)),
    "digits": (10, _problem("digits", lambda: table(load_digits, "digits"), 1257, "sym40", "pair40", real=False)),
    "news": (4, _problem("news", lambda: _training_part(datasets.load_noisyag_news, "news"), 3000, "human")),
    "trec": (6, _problem("trec", lambda: _training_part(datasets.load_trec, "trec"), 3000, "majority_vote")),
    "eight": (2, _problem("8 of ten digits", lambda: _one_digit(8), 1257, "rare lost", "both wrong", score="test_f1")),
    "three": (2, _problem("3 of ten digits", lambda: _one_digit(3), 1257, "rare lost", "both wrong", score="test_f1")),
    "defects": (
        2,
        _problem(
            "defects",
            lambda: _training_part(datasets.load_jira_defects, "defects"),
            3000,
            "heuristic",
            score="test_f1",
        ),
    ),
    "features": (
        10,
        _problem(
            "features", lambda: _training_part(datasets.load_cifar10_features, "features"), 3000, "aggre", "worse"
        ),
    ),
}
PROBLEMS |= {
    name: (
        10,
        _problem(
            f"{name} images",
            functools.partial(_training_part, load, f"{name} images"),
            10_000,
            *noise,
            real=name == "cifar",
            shared={"module": "cnn", "module__width": width, "max_epochs": 30},
        ),
    )
    for name, load, width, noise in (
        ("fashion", datasets.load_fashion_mnist, 8, ("sym40", "pair40")),
        ("cifar", datasets.load_cifar10, 16, ("worse",)),
    )
}
PROBLEMS["digit images"] = 10, _problem("digit images", digit_images, 1257, "sym40", "pair40", real=False)
LARGE = ("digits", "news", "trec", "features")

# What is asked: where, and the candidates for so many rows and classes.
QUESTIONS: dict[str, tuple[Sequence[str], Callable[[int, int], dict[str, Any]]]] = {
    "bank": (
        LARGE,
        lambda rows, n_classes: {
            "MOIT, bank of all rows": MOITClassifier(memory_size=2 * (rows // 2)),
            "MOIT, bank of 200 a class": MOITClassifier(memory_size=min(2 * (rows // 2), 200 * n_classes)),
        },
    ),
    "rare": (
        ("eight", "three", "defects"),
        lambda rows, n_classes: {
            "rare: cross-entropy": CrossEntropyClassifier(),
            **{f"rare: ELR, lam={lam:g}": ELRClassifier(lam=lam) for lam in (5.0, 3.0, 2.0, 1.0)},
            'rare: ELR, lam=5, class_weight="balanced"': ELRClassifier(lam=5.0, class_weight="balanced"),
        },
    ),
    "images": (
        ("fashion", "cifar", "digit images"),
        lambda rows, n_classes: {
            "images: cross-entropy": CrossEntropyClassifier(),
            **{f"images: ELR, lam={lam:g}": ELRClassifier(lam=lam) for lam in (5.0, 3.0, 1.0)},
            **{f"images: ELR+, lam={lam:g}": ELRPlusClassifier(lam=lam) for lam in (5.0, 3.0)},
            **{
                f"images: ELR, lam={lam:g}, 15 epochs": ELRClassifier(lam=lam, max_epochs=15)
                for lam in (5.0, 3.0)
                if rows < 3000
            },
        },
    ),
    "mixup": (
        ("iris", "wine", *LARGE),
        lambda rows, n_classes: {
            f"ELR+, mixup_alpha={alpha:g}": ELRPlusClassifier(lam=5.0, mixup_alpha=alpha)
            for alpha in (1.0, 0.4, 0.2, 0.0)
        },
    ),
    "views": (
        LARGE,
        lambda rows, n_classes: {
            f"{name}, {'no views' if not rate else f'{rate:.0%} of the entries'}": make(
                augment=ColumnCorruption(rate) if rate else None
            )
            for name, make, rates in (
                ("CE", CrossEntropyClassifier, (0, 0.4)),
                ("GCE", GCEClassifier, (0, 0.4)),
                ("ELR", functools.partial(ELRClassifier, lam=5.0), (0, 0.1)),
            )
            for rate in rates
        },
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.rules", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--questions", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--sets", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    for seed in () if options.table else options.seeds:
        for question in options.questions:
            sets, candidates = QUESTIONS[question]
            for name in (name for name in sets if name in options.sets):
                n_classes, problem = PROBLEMS[name]
                run_comparison(
                    candidates(problem.rows, n_classes), data=problem, seeds=[seed], results=FILE, curve=False
                )
    print_tables(*(f"rules_{question}" for question in options.questions))


if __name__ == "__main__":
    main()
