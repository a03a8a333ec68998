"""Data sets, their noise, and the rows of one run."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from robustlabels.datasets import (
    NoisyDataset,
    load_cifar10,
    load_cifar10_features,
    load_fashion_mnist,
    load_jira_defects,
    load_noisyag_news,
    load_trec,
)
from robustlabels.noise import InstanceDependentNoise, LabelNoise, PairNoise, SymmetricNoise
from robustlabels.training.inputs import checksum


@dataclass(frozen=True, eq=False)
class Split:
    """Training rows with given and right labels, and test rows with right labels.

    Parameters
    ----------
    X : ndarray of shape (n_train, ...)
    given, true : ndarray of shape (n_train,)
    X_test, y_test : ndarray of shape (n_test, ...) and (n_test,)
    """

    X: NDArray[Any]
    given: NDArray[Any]
    true: NDArray[Any]
    X_test: NDArray[Any]
    y_test: NDArray[Any]


_SIMULATED = re.compile(r"(sym|pair|idn)(\d\d)")


def relabeled(y: NDArray[Any], noise: str | LabelNoise, seed: int, X: Any = None) -> NDArray[Any]:
    """Return labels of which some were made wrong.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        The right labels.
    noise : str or LabelNoise
        "clean"; "sym40", "pair20", …: exactly that percentage of the labels is wrong; "idn40": that percentage on
        average, depending on the features; or a simulator, whose ``random_state`` is replaced by `seed`.
    seed : int
    X : ndarray of shape (n_samples, ...), default=None
        Features, for noise that depends on them. The columns of a table are standardized first.

    Returns
    -------
    ndarray of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.comparison import relabeled
    >>> y = np.arange(1000) % 10
    >>> int((relabeled(y, "sym40", seed=0) != y).sum())
    400
    """
    if isinstance(noise, LabelNoise):
        simulator = replace(noise, random_state=seed)  # type: ignore[type-var]
    elif noise == "clean":
        return y
    elif found := _SIMULATED.fullmatch(noise):
        kinds = {"sym": SymmetricNoise, "pair": PairNoise, "idn": InstanceDependentNoise}
        simulator = kinds[found[1]](int(found[2]) / 100, random_state=seed)
    else:
        raise ValueError(f"noise must be like 'clean', 'sym40', 'pair40' or 'idn40', or a simulator, got {noise!r}.")
    if X is not None and X.ndim == 2:
        spread = X.std(0)
        X = (X - X.mean(0)) / np.where(spread > 0, spread, 1)
    return simulator.flip(y, X)


def is_known(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of the known labels: numbers below zero mark unknown ones, and names are always known."""
    return y >= 0 if y.dtype.kind in "iuf" else np.ones(len(y), dtype=bool)


def make_split(data: NoisyDataset, noise: str | LabelNoise, seed: int, rows: int | None = None) -> Split:
    """Draw training rows from a data set, make their labels wrong, and return them with a test part.

    Parameters
    ----------
    data : NoisyDataset
        A data set without a test part is split 70 : 30, stratified by class. Rows with an unknown label are dropped.
    noise : str or LabelNoise
        The name of a source in ``data.y_noisy``, or as for :func:`~robustlabels.comparison.relabeled`.
    seed : int
        Seed of the rows and of the noise.
    rows : int or None, default=None
        Number of training rows, drawn at random; None takes all.

    Returns
    -------
    Split
    """
    X, true, X_test, y_test = data.X_train, data.y_train, data.X_test, data.y_test
    given = data.y_noisy[noise] if isinstance(noise, str) and noise in data.y_noisy else true
    known = np.flatnonzero(is_known(given) & is_known(true))
    if len(X_test):
        chosen = known[np.random.default_rng(seed).permutation(len(known))[:rows]]
    else:
        train, test = train_test_split(known, test_size=0.3, random_state=seed, stratify=true[known])
        chosen, X_test, y_test = train[:rows], X[test], true[test]
    X, true, given = X[chosen], true[chosen], given[chosen]
    if not isinstance(noise, str) or noise not in data.y_noisy:
        given = relabeled(true, noise, seed, X)
    return Split(X, given, true, X_test, y_test)


@dataclass(frozen=True, eq=False)
class Problem:
    """Data set with its noise, and with the parameters that all methods share on it.

    Parameters
    ----------
    name : str
    title : str
        Description for readers of the tables.
    load : callable
        Returns a :class:`~robustlabels.datasets.NoisyDataset`.
    rows : int
        Number of training rows; drawn at random for each seed if the set has more.
    noise : sequence of str or LabelNoise
        Noise that it is run with by default.
    sources : sequence of str, default=()
        Names of its labels with real noise.
    shared : dict, default={}
        Parameters of every network, such as ``{"module": "cnn", "max_epochs": 30}``. A parameter that an estimator
        sets itself has precedence.
    score : {"test_accuracy", "test_f1"}, default="test_accuracy"
        Measure by which methods are compared.
    seconds : float, default=10
        Approximate time of a run of cross-entropy. It serves only the estimate before a suite starts.
    too_costly : dict of str, default={}
        Methods that are not run on it, each with the reason.
    test_rows : int or None, default=None
        Number of test rows, if it is known without reading the data.
    fixed : bool, default=False
        Whether all seeds have the same training rows and, for its `sources`, the same labels.
    """

    name: str
    title: str
    load: Callable[[], NoisyDataset]
    rows: int
    noise: Sequence[str | LabelNoise]
    sources: Sequence[str] = ()
    shared: Mapping[str, Any] = field(default_factory=dict)
    score: str = "test_accuracy"
    seconds: float = 10.0
    too_costly: Mapping[str, str] = field(default_factory=dict)
    test_rows: int | None = None
    fixed: bool = False

    @functools.cached_property
    def contents(self) -> str | None:
        """A checksum of rows, labels and test part; None for the data sets of this module, which everybody has."""
        if PROBLEMS.get(self.name) is self:
            return None
        data = self.load()
        parts = {"X": data.X_train, "y": data.y_train, "X_test": data.X_test, "y_test": data.y_test}
        parts |= {f"noisy {source}": y for source, y in sorted(data.y_noisy.items())}
        arrays = {name: part.astype(str) if part.dtype == object else part for name, part in parts.items()}
        text = [f"{name} {checksum(np.ascontiguousarray(array))}" for name, array in arrays.items()]
        return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]

    def split(self, noise: str | LabelNoise, seed: int) -> Split:
        """Return the rows of one run."""
        return make_split(self.load(), noise, seed, self.rows)

    def takes(self, noise: str | LabelNoise) -> bool:
        """Return whether the set has this noise, or it can be simulated."""
        return (
            noise in self.sources or not isinstance(noise, str) or noise == "clean" or bool(_SIMULATED.fullmatch(noise))
        )


def _digits() -> NoisyDataset:
    X, y = load_digits(return_X_y=True)
    return NoisyDataset("digits", X.astype(np.float32), y, {}, X[:0], y[:0], tuple("0123456789"))


def _same(data: NoisyDataset) -> NoisyDataset:
    return data


def problem_of(data: NoisyDataset) -> Problem:
    """Return a user's data set as a problem."""
    known = int(is_known(data.y_train).sum())
    rows = known if len(data.X_test) else known - math.ceil(0.3 * known)
    noise = tuple(data.y_noisy) or ("sym40",)
    title = f"{rows:,} training rows, {len(data.class_names)} classes"
    return Problem(data.name, title, functools.partial(_same, data), rows, noise, tuple(data.y_noisy))


INJECTED = ("sym20", "sym40", "sym60", "pair40", "idn40")
HUMAN = ("aggre", "random1", "random2", "random3", "worse")

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem(
            "digits",
            "1257 training rows of 8 x 8 pixels, 10 classes",
            _digits,
            1257,
            INJECTED,
            seconds=2,
            test_rows=540,
        ),
        Problem(
            "noisyag_news",
            "10 000 sentence embeddings of news, 384 columns, 4 classes, labeled by people",
            load_noisyag_news,
            10_000,
            ("human",),
            ("human",),
            seconds=9,
            test_rows=7600,
            fixed=True,
        ),
        Problem(
            "wrench_trec",
            "4791 sentence embeddings of questions, 384 columns, 6 classes, labeled by rules",
            load_trec,
            4791,
            ("majority_vote",),
            ("majority_vote",),
            seconds=5,
            test_rows=500,
            fixed=True,
        ),
        Problem(
            "jira_defects_dev",
            "10 000 source files, 65 code metrics, 2 classes, labeled by a heuristic; tested on the last releases",
            load_jira_defects,
            10_000,
            ("heuristic",),
            ("heuristic",),
            score="test_f1",
            seconds=7,
            test_rows=19_176,
        ),
        Problem(
            "cifar10_feats",
            "10 000 images of CIFAR-10 as 128 features, 10 classes, labeled by people",
            load_cifar10_features,
            10_000,
            ("aggre", "random1", "worse"),
            HUMAN,
            seconds=7,
            test_rows=10_000,
        ),
        Problem(
            "fashion_mnist",
            "10 000 gray images of 28 x 28 pixels, 10 classes; small convolutional network of 8 channels, 30 epochs",
            load_fashion_mnist,
            10_000,
            INJECTED,
            shared={"module": "cnn", "module__width": 8, "max_epochs": 30},
            seconds=18,
            test_rows=10_000,
        ),
        Problem(
            "cifar10",
            "10 000 color images of 32 x 32 pixels, 10 classes; small convolutional network of 16 channels, 30 epochs",
            load_cifar10,
            10_000,
            (*INJECTED, "worse"),
            HUMAN,
            shared={"module": "cnn", "module__width": 16, "max_epochs": 30},
            seconds=55,
            too_costly={
                "SANM(DivideMix)": "two networks, four views: about twelve minutes a run, estimated from Fashion-MNIST",
                "GB": "ten classes of trees on 3072 pixels, six times over, take half an hour a run",
            },
            test_rows=10_000,
        ),
    )
}
"""Data sets by name. All but digits are read from the folder ``ROBUSTLABELS_DATA``."""
