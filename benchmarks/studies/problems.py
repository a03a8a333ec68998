"""Data sets that several studies share, as problems of the comparison."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sklearn.datasets import load_digits, load_iris, load_wine

from robustlabels.comparison import Problem
from robustlabels.datasets import NoisyDataset, load_cifar10_features, load_fashion_mnist


def table(load: Callable[..., Any], name: str) -> NoisyDataset:
    """Return a data set of scikit-learn as raw rows of float32, without a test part."""
    X, y = load(return_X_y=True)
    return NoisyDataset(name, X.astype("float32"), y, {}, X[:0], y[:0], tuple(map(str, sorted(set(y)))))


def digit_images() -> NoisyDataset:
    """Return the digits as images of one channel in [0, 1]."""
    X, y = load_digits(return_X_y=True)
    X = X.astype("float32").reshape(-1, 1, 8, 8) / 16
    return NoisyDataset("digit images", X, y, {}, X[:0], y[:0], tuple("0123456789"))


def problem(
    name: str, load: Callable[[], NoisyDataset], rows: int, *noise: str, title: str = "", **more: Any
) -> Problem:
    """Return a problem whose data are read once; its noise is simulated unless ``sources`` names labels of the set."""
    return Problem(name, title or f"{rows} rows", functools.cache(load), rows, noise, **more)


FEATURES = {"module__width": 512, "module__depth": 1, "max_epochs": 25}
"""Network for CIFAR-10 as features."""

DIGITS = problem(
    "digits",
    lambda: table(load_digits, "digits"),
    1257,
    *("clean", "sym40"),
    title="Digits: 1257 images of 8 x 8 pixels as rows, 10 classes, 540 test rows",
)
IRIS = problem(
    "iris",
    lambda: table(load_iris, "iris"),
    105,
    *("clean", "sym40"),
    title="Iris: 105 rows, 4 columns, 3 classes, 45 test rows",
)
WINE = problem(
    "wine",
    lambda: table(load_wine, "wine"),
    124,
    *("clean", "sym40"),
    title="Wine: 124 rows, 13 raw columns, 3 classes, 54 test rows",
)


def cifar10_features(rows: int, *noise: str, **more: Any) -> Problem:
    """Return CIFAR-10 as features, with the human labels of CIFAR-10N."""
    return problem("cifar10_feats", load_cifar10_features, rows, *noise, sources=("worse",), shared=FEATURES, **more)


def fashion_mnist(rows: int, *noise: str, **more: Any) -> Problem:
    """Return Fashion-MNIST with simulated noise."""
    return problem("fashion_mnist", load_fashion_mnist, rows, *noise, **more)
