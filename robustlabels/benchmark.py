"""The published comparison, and yours: methods x data x noise x seeds, one row of results a run.

::

    robustlabels benchmark smoke                      # one data set, every method, a few minutes
    robustlabels benchmark core --results core.jsonl  # goes on where it was stopped
    robustlabels benchmark core --results core.jsonl --table

A seed fixes split, noise and network. Every method runs with one setting, its default, on every row; where a problem
says so, all of them share another network and number of epochs. Accuracy is on right labels at the *last* epoch, since
nobody without right labels can choose another; the best epoch stands beside it for reference. Results are lines of
JSON, one a run, written as soon as the run is done; a run that is there already is not repeated.

To compare a method of your own, pass any scikit-learn classifier:

>>> from sklearn.neighbors import KNeighborsClassifier
>>> from robustlabels.benchmark import run_benchmark, summarise
>>> mine = KNeighborsClassifier(15)
>>> rows = run_benchmark({"mine": mine}, data=["digits"], noise=["sym40"], seeds=2, verbose=0)
>>> print(summarise(rows).scores[0])
digits: 1257 training rows of 8 x 8 pixels, 10 classes; test accuracy at the last epoch
method  sym40 (40.0 % wrong)
mine    0.9... ± 0.0...
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import os
import platform
import re
import signal
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from robustlabels import __version__
from robustlabels.base import BaseNoisyLabelClassifier, check_number, default_batch_size, default_max_epochs
from robustlabels.baselines import CoTeachingClassifier, CrossEntropyClassifier, GCEClassifier, SCEClassifier
from robustlabels.cleaning import NoiseAwareClassifier
from robustlabels.datasets import (
    NoisyDataset,
    load_cifar10,
    load_cifar10_features,
    load_fashion_mnist,
    load_jira_defects,
    load_noisyag_news,
    load_trec,
)
from robustlabels.detection import ConfidentLearningNoiseDetector
from robustlabels.dividemix import DivideMixClassifier
from robustlabels.elr import ELRClassifier, ELRPlusClassifier
from robustlabels.influential_rank import InfluentialRankClassifier
from robustlabels.inputs import checksum
from robustlabels.metrics import detection_report
from robustlabels.modules import closest
from robustlabels.moit import MOITClassifier, MOITPlusClassifier
from robustlabels.net import AccuracyCurve
from robustlabels.noise import InstanceDependentNoise, LabelNoise, PairNoise, SymmetricNoise
from robustlabels.pemm import PEMMClassifier
from robustlabels.sanm import SANMClassifier

__all__ = [
    "METHODS",
    "PROBLEMS",
    "SUITES",
    "Method",
    "Problem",
    "Split",
    "Suite",
    "Summary",
    "Table",
    "append_row",
    "describe",
    "detection",
    "environment",
    "find",
    "isolated",
    "make_split",
    "mean_sd",
    "measure",
    "out_of_fold",
    "plot",
    "read_rows",
    "register",
    "relabelled",
    "run_benchmark",
    "settings",
    "summarise",
]

Row = dict[str, Any]


# --- data and noise ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Split:
    """Training rows with the labels they are given and the right ones, and test rows with right labels.

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


def relabelled(y: NDArray[Any], noise: str | LabelNoise, seed: int, X: Any = None) -> NDArray[Any]:
    """Labels made wrong.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        The right ones.
    noise : str or LabelNoise
        "clean"; "sym40", "pair20", …: so many per cent wrong, exactly, and none drawn that stays right; "idn40":
        so many on average, depending on the features; or a simulator, whose ``random_state`` is replaced by `seed`.
    seed : int
    X : ndarray of shape (n_samples, ...), default=None
        Features, for noise that depends on them; columns of a table are standardised first.

    Returns
    -------
    ndarray of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.benchmark import relabelled
    >>> y = np.arange(1000) % 10
    >>> int((relabelled(y, "sym40", seed=0) != y).sum())
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
        raise ValueError(f"noise must be 'clean', 'sym40', 'pair40', 'idn40' or a simulator, got {noise!r}.")
    if X is not None and X.ndim == 2:
        spread = X.std(0)
        X = (X - X.mean(0)) / np.where(spread > 0, spread, 1)
    return simulator.flip(y, X)


def make_split(data: NoisyDataset, noise: str | LabelNoise, seed: int, rows: int | None = None) -> Split:
    """Training rows drawn from a data set, their labels made wrong, and a test part.

    Parameters
    ----------
    data : NoisyDataset
        One without a test part is split 70 : 30, class by class. Rows whose label is not known are left out.
    noise : str or LabelNoise
        The name of a source in ``data.y_noisy``, or as for :func:`~robustlabels.benchmark.relabelled`.
    seed : int
        Of the rows drawn and of the noise.
    rows : int or None, default=None
        So many training rows, drawn at random; None takes all.

    Returns
    -------
    Split
    """
    X, true, X_test, y_test = data.X_train, data.y_train, data.X_test, data.y_test
    given = data.y_noisy[noise] if isinstance(noise, str) and noise in data.y_noisy else true
    known = np.flatnonzero((given >= 0) & (true >= 0))
    if len(X_test):
        chosen = known[np.random.default_rng(seed).permutation(len(known))[:rows]]
    else:
        train, test = train_test_split(known, test_size=0.3, random_state=seed, stratify=true[known])
        chosen, X_test, y_test = train[:rows], X[test], true[test]
    X, true, given = X[chosen], true[chosen], given[chosen]
    if not isinstance(noise, str) or noise not in data.y_noisy:
        given = relabelled(true, noise, seed, X)
    return Split(X, given, true, X_test, y_test)


@dataclass(frozen=True, eq=False)
class Problem:
    """A data set, the noise it is tried with, and what all methods share on it.

    Parameters
    ----------
    name : str
    title : str
        What it is, for readers.
    load : callable
        Returns a :class:`~robustlabels.datasets.NoisyDataset`.
    rows : int
        Training rows; drawn at random for each seed where the set has more.
    noise : sequence of str or LabelNoise
        What it is tried with unless told otherwise.
    sources : sequence of str, default=()
        Labels with real noise that it has.
    shared : dict, default={}
        Parameters of every network, ``{"module": "cnn", "max_epochs": 30}`` say; where an estimator sets one of its
        own, that one stays.
    score : {"test_accuracy", "test_f1"}, default="test_accuracy"
        What methods are compared by.
    seconds : float, default=10
        What a run of cross-entropy takes, about; only for the estimate before a suite starts.
    too_costly : dict of str, default={}
        Methods that are not run on it, and why.
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

    @functools.cached_property
    def contents(self) -> str | None:
        """A name for what is in the set, None for one that everybody has."""
        if PROBLEMS.get(self.name) is self:
            return None
        data = self.load()
        return checksum(np.ascontiguousarray(data.X_train)) + checksum(np.ascontiguousarray(data.y_train))

    def split(self, noise: str | LabelNoise, seed: int) -> Split:
        """The rows of one run."""
        return make_split(self.load(), noise, seed, self.rows)

    def takes(self, noise: str | LabelNoise) -> bool:
        """Whether the set has these labels, or they can be made."""
        return noise in self.sources or not isinstance(noise, str) or noise == "clean" or bool(_SIMULATED.match(noise))


def _digits() -> NoisyDataset:
    X, y = load_digits(return_X_y=True)
    return NoisyDataset("digits", X.astype(np.float32), y, {}, X[:0], y[:0], tuple("0123456789"))


def _same(data: NoisyDataset) -> NoisyDataset:
    return data


def _problem_of(data: NoisyDataset) -> Problem:
    """A user's data set as a problem; its contents are part of its name in the settings of a run."""
    known = int((data.y_train >= 0).sum())
    rows = known if len(data.X_test) else known - math.ceil(0.3 * known)
    noise = tuple(data.y_noisy) or ("sym40",)
    title = f"{rows:,} training rows, {len(data.class_names)} classes"
    return Problem(data.name, title, functools.partial(_same, data), rows, noise, tuple(data.y_noisy))


INJECTED = ("sym20", "sym40", "sym60", "pair40", "idn40")
_HUMAN = ("aggre", "random1", "random2", "random3", "worse")

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem("digits", "1257 training rows of 8 x 8 pixels, 10 classes", _digits, 1257, INJECTED, seconds=2),
        Problem(
            "noisyag_news",
            "10 000 sentence embeddings of news, 384 columns, 4 classes, labelled by people",
            load_noisyag_news,
            10_000,
            ("human",),
            ("human",),
            seconds=9,
        ),
        Problem(
            "wrench_trec",
            "4791 sentence embeddings of questions, 384 columns, 6 classes, labelled by rules",
            load_trec,
            4791,
            ("majority_vote",),
            ("majority_vote",),
            seconds=5,
        ),
        Problem(
            "jira_defects_dev",
            "10 000 source files, 65 code metrics, 2 classes, labelled by a heuristic; tested on the last releases",
            load_jira_defects,
            10_000,
            ("heuristic",),
            ("heuristic",),
            score="test_f1",
            seconds=7,
        ),
        Problem(
            "cifar10_feats",
            "10 000 images of CIFAR-10 as 128 features, 10 classes, labelled by people",
            load_cifar10_features,
            10_000,
            ("aggre", "random1", "worse"),
            _HUMAN,
            seconds=7,
        ),
        Problem(
            "fashion_mnist",
            "10 000 grey images of 28 x 28 pixels, 10 classes; small convolutional network of 8 channels, 30 epochs",
            load_fashion_mnist,
            10_000,
            INJECTED,
            shared={"module": "cnn", "module__width": 8, "max_epochs": 30},
            seconds=18,
        ),
        Problem(
            "cifar10",
            "10 000 colour images of 32 x 32 pixels, 10 classes; small convolutional network of 16 channels, 30 epochs",
            load_cifar10,
            10_000,
            (*INJECTED, "worse"),
            _HUMAN,
            shared={"module": "cnn", "module__width": 16, "max_epochs": 30},
            seconds=55,
            too_costly={"GB": "ten classes of trees on 3072 pixels, six times over, take half an hour a run"},
        ),
    )
}
"""Data sets by name. All but digits are read from the folder ``ROBUSTLABELS_DATA``."""


# --- methods ----------------------------------------------------------------------------------------------------------


class CleanlabClassifier(ClassifierMixin, BaseEstimator):
    """cleanlab's own ``CleanLearning`` around a classifier: out-of-fold issues, and a fit on the other rows.

    Parameters
    ----------
    estimator : classifier
        Fitted once a fold, and once on the rows without an issue.
    random_state : int or None, default=None
        Of the folds.

    Attributes
    ----------
    noise_scores_, noise_mask_, noise_rate_
        One minus cleanlab's label quality; its issues; their share.
    """

    def __init__(self, estimator: Any, random_state: int | None = None) -> None:
        self.estimator = estimator
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> CleanlabClassifier:
        """Find issues and fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,)

        Returns
        -------
        self
        """
        CleanLearning = import_module("cleanlab.classification").CleanLearning
        self.classes_, numbers = np.unique(y, return_inverse=True)
        one_process = {"n_jobs": 1}
        learner = CleanLearning(
            clone(self.estimator), seed=self.random_state, find_label_issues_kwargs=one_process, verbose=False
        )
        learner.fit(X, numbers)
        issues = learner.get_label_issues()
        self.noise_mask_ = issues["is_label_issue"].to_numpy()
        self.noise_scores_ = 1 - issues["label_quality"].to_numpy()
        self.noise_rate_ = float(self.noise_mask_.mean())
        self.estimator_ = learner.clf
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        return self.classes_[self.estimator_.predict(X)]


def _flat(X: NDArray[Any]) -> NDArray[Any]:
    return X.reshape(len(X), -1)


def _logistic_regression() -> Any:
    return make_pipeline(FunctionTransformer(_flat), StandardScaler(), LogisticRegression(max_iter=1000))


def _gradient_boosting() -> Any:
    return make_pipeline(FunctionTransformer(_flat), HistGradientBoostingClassifier())


class Method(NamedTuple):
    """An estimator by name.

    Attributes
    ----------
    make : callable
        Returns a new one, with its defaults.
    cost : float
        Time over cross-entropy's, about; only for the estimate before a suite starts.
    """

    make: Callable[[], Any]
    cost: float


def _confident_learning() -> Any:
    return NoiseAwareClassifier(CrossEntropyClassifier(), ConfidentLearningNoiseDetector(CrossEntropyClassifier()))


METHODS: dict[str, Method] = {
    "CE": Method(CrossEntropyClassifier, 1),
    "GCE": Method(GCEClassifier, 1.1),
    "SCE": Method(SCEClassifier, 1.1),
    "Co-teaching": Method(CoTeachingClassifier, 1.7),
    "ELR": Method(ELRClassifier, 1.2),
    "ELR+": Method(ELRPlusClassifier, 2.5),
    "MOIT": Method(MOITClassifier, 4.5),
    "MOIT+": Method(MOITPlusClassifier, 4.5),
    "PEMM": Method(PEMMClassifier, 1.9),
    "DivideMix": Method(DivideMixClassifier, 5),
    "SANM(CE)": Method(lambda: SANMClassifier(CrossEntropyClassifier()), 2.8),
    "SANM(ELR)": Method(lambda: SANMClassifier(ELRClassifier()), 3),
    "SANM(DivideMix)": Method(lambda: SANMClassifier(DivideMixClassifier()), 9),
    "IR(CE)": Method(lambda: InfluentialRankClassifier(CrossEntropyClassifier()), 2),
    "IR(ELR)": Method(lambda: InfluentialRankClassifier(ELRClassifier()), 2),
    "CL + CE": Method(_confident_learning, 5),
    "cleanlab + CE": Method(lambda: CleanlabClassifier(CrossEntropyClassifier()), 5),
    "LR": Method(_logistic_regression, 0.1),
    "GB": Method(_gradient_boosting, 8),
}
"""Methods by name: "SANM(ELR)" is SANM around ELR, "IR(CE)" Influential Rank after cross-entropy, "CL + CE" confident
learning's filter before it, "cleanlab + CE" cleanlab's own, "LR" and "GB" logistic regression and gradient boosting."""


def _chosen_methods(methods: Any) -> dict[str, Any]:
    """Estimators by name, of names, of estimators by name, or of both in a list."""
    if methods is None:
        methods = list(METHODS)
    if not isinstance(methods, Mapping):
        names = [m if isinstance(m, str) else type(m).__name__ for m in methods]
        if len(set(names)) < len(names):
            raise ValueError(f"each method needs a name of its own, got {', '.join(names)}; pass a dict by name.")
        methods = dict(zip(names, methods, strict=True))
    return {name: _named(METHODS, "method", m).make() if isinstance(m, str) else m for name, m in methods.items()}


def _named(known: Mapping[str, Any], what: str, name: str) -> Any:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}{closest(name, known)} Known are: {', '.join(known)}.")
    return known[name]


def _configured(estimator: Any, shared: Mapping[str, Any], seed: int, device: str) -> Any:
    """A clone with the seed in every ``random_state``, and what is shared in every network of ours.

    What an estimator sets itself stays: only parameters at their defaults are replaced.
    """
    estimator = clone(estimator)
    parts = estimator.get_params(deep=True)
    over: dict[str, Any] = {name: seed for name in parts if name.rpartition("__")[2] == "random_state"}
    for prefix, part in [("", estimator), *((f"{name}__", value) for name, value in parts.items())]:
        if not isinstance(part, BaseNoisyLabelClassifier):
            continue
        own, default = part.get_params(), type(part)().get_params()
        for name, value in {**shared, "device": device}.items():
            root = name.partition("__")[0]
            unset = own[name] == default[name] if name in default else name not in own and own[root] == default[root]
            if unset:
                over[prefix + name] = value
    return estimator.set_params(**over)


# --- one run ----------------------------------------------------------------------------------------------------------


def measure(estimator: Any, split: Split, *, curve: bool = False) -> Row:
    """Fit on the given labels, and compare with the right ones.

    Parameters
    ----------
    estimator : classifier
        One without ``noise_scores_`` after its fit is scored out of fold, if it has ``predict_proba``.
    split : Split
    curve : bool, default=False
        Also measure test accuracy after every epoch, outside the time, where the training lets itself be watched.

    Returns
    -------
    dict
        ``test_accuracy`` and ``test_f1`` (of the second class where there are two, else the mean over classes) at the
        last epoch, ``fitted_labels`` (accuracy on the given training labels), ``estimated_rate`` and ``mean_score``
        (two estimates of the noise rate), ``true_rate``, ``seconds`` and ``cpu_seconds`` of fit and scores together;
        where some label is wrong what :func:`~robustlabels.benchmark.detection` returns; with a curve
        ``best_test_accuracy``, ``best_epoch`` and ``epochs``, of the last stage.
    """
    watch = _watch(estimator, split) if curve else None
    start, cpu_start = time.perf_counter(), time.process_time()
    estimator.fit(split.X, split.given)
    found: tuple[NDArray[Any], NDArray[Any]] | None = None
    if hasattr(estimator, "noise_scores_"):
        found = np.asarray(estimator.noise_scores_), np.asarray(estimator.noise_mask_)
    elif hasattr(estimator, "predict_proba"):
        found = out_of_fold(estimator, split.X, split.given)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    if watch is not None:
        seconds, cpu_seconds = seconds - watch.seconds, cpu_seconds - watch.cpu_seconds
    predicted = np.asarray(estimator.predict(split.X_test))
    two = len(np.unique(split.true)) == 2
    result: Row = {
        "test_accuracy": float(np.mean(predicted == split.y_test)),
        "test_f1": float(f1_score(split.y_test, predicted, average="binary" if two else "macro", zero_division=0)),
        "fitted_labels": float(np.mean(np.asarray(estimator.predict(split.X)) == split.given)),
        "true_rate": float(np.mean(split.given != split.true)),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }
    if found is not None:
        scores, mask = found
        result["estimated_rate"] = float(getattr(estimator, "noise_rate_", mask.mean()))
        result["mean_score"] = float(scores.mean())
        result |= detection(scores, mask, split)
    history = getattr(_network(estimator), "history", None) if watch is not None else None
    if history is not None and len(history):
        accuracy = history[:, "test_acc"]
        accuracy[-1] = result["test_accuracy"]  # of what predicts: a method may work on it after the last epoch
        result["best_test_accuracy"] = max(accuracy)
        result["best_epoch"] = 1 + int(np.argmax(accuracy))
        result["epochs"] = len(accuracy)
    return result


def _watch(estimator: Any, split: Split) -> AccuracyCurve | None:
    """A callback in the network that predicts in the end, where there is one."""
    part, path = estimator, ""
    while not isinstance(part, BaseNoisyLabelClassifier):
        part, path = getattr(part, "estimator", None), f"{path}estimator__"
        if part is None:
            return None
    classes = np.unique(split.given)
    place = np.searchsorted(classes, split.y_test).clip(max=len(classes) - 1)
    watch = AccuracyCurve(split.X_test, np.where(classes[place] == split.y_test, place, -1))
    estimator.set_params(**{f"{path}callbacks": [*(part.callbacks or []), watch]})
    return watch


def _network(estimator: Any) -> Any:
    """The net that predicts, inside whatever is around it."""
    while estimator is not None and not hasattr(estimator, "net_"):
        estimator = getattr(estimator, "estimator_", None)
    return getattr(estimator, "net_", None)


def out_of_fold(estimator: Any, X: Any, y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores of a classifier that has none: 1 - p(given label) by 5-fold cross-validation, and where it disagrees.

    Parameters
    ----------
    estimator : classifier with predict_proba
    X : array-like of shape (n_samples, ...)
    y : ndarray of shape (n_samples,)

    Returns
    -------
    scores : ndarray of shape (n_samples,)
    mask : ndarray of shape (n_samples,), dtype bool
    """
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    proba = cross_val_predict(estimator, X, y, cv=folds, method="predict_proba")
    given = np.searchsorted(np.unique(y), y)
    return 1 - proba[np.arange(len(given)), given], proba.argmax(1) != given


def detection(scores: NDArray[Any], mask: NDArray[Any], split: Split) -> Row:
    """How well the wrong labels were found; nothing where every label is right.

    Parameters
    ----------
    scores, mask : ndarray of shape (n_train,)
    split : Split

    Returns
    -------
    dict
        ``average_precision`` and ``roc_auc`` of the scores, ``precision`` and ``recall`` of the mask.
    """
    wrong = split.given != split.true
    if not wrong.any():
        return {}
    report = detection_report(scores, wrong, noise_mask=mask)
    return {name: getattr(report, name) for name in ("average_precision", "roc_auc", "precision", "recall")}


# --- what is stored ---------------------------------------------------------------------------------------------------

ELSEWHERE = {"random_state", "verbose", "callbacks", "checkpoint", "warm_start", "device"}
"""Parameters that are no part of what a run is: they change nothing, or stand elsewhere in its settings."""


def settings(estimator: Any, n: int) -> Row:
    """All parameters of an estimator as JSON has them, with batch size and epochs as ``n`` rows get them.

    Parameters
    ----------
    estimator : estimator
    n : int

    Returns
    -------
    dict

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from robustlabels.benchmark import settings
    >>> settings(GaussianNB(), 100)
    {'priors': None, 'var_smoothing': 1e-09}
    """
    params = estimator.get_params(deep=True)
    for name in [name for name in params if name.rpartition("__")[2] == "max_epochs"]:
        batch = name.removesuffix("max_epochs") + "batch_size"
        if params.get(batch) == "auto":
            params[batch] = default_batch_size(n)
        if params[name] == "auto" and isinstance(params.get(batch), int):
            params[name] = default_max_epochs(n, params[batch])
    kept = {name: _as_json(value) for name, value in params.items() if name.rpartition("__")[2] not in ELSEWHERE}
    return dict(sorted(kept.items()))


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(k): _as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(v) for v in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__  # its parameters have names of their own
    return getattr(value, "__name__", re.sub(r" at 0x[0-9a-f]+", "", repr(value)))


def find(rows: Sequence[Row], wanted: Row) -> Row | None:
    """The last row that has these settings and no error.

    A parameter that a method got after the row was written does not count, if it is at its default.

    Parameters
    ----------
    rows : sequence of dict
    wanted : dict
        With ``params``, a dict of its own.

    Returns
    -------
    dict or None
    """
    for row in reversed(rows):
        if not row.get("error") and all(row.get(k) == v for k, v in wanted.items() if k != "params"):
            old, new = row.get("params", {}), wanted.get("params", {})
            if all(name in new and new[name] == value for name, value in old.items()):
                return row
    return None


def read_rows(path: str | Path) -> list[Row]:
    """Rows of a file of JSON lines; an unfinished last line, of a machine that went down, is left out.

    Parameters
    ----------
    path : str or Path
        A file that is not there has no rows.

    Returns
    -------
    list of dict
    """
    path = Path(path)
    if not path.exists():
        return []
    text, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def append_row(path: str | Path, row: Row) -> None:
    """Append one row in one piece, after cutting off an unfinished line.

    Parameters
    ----------
    path : str or Path
        Its folder is made if it is not there.
    row : dict
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            os.ftruncate(file, path.read_bytes().rfind(b"\n") + 1)
        os.write(file, (json.dumps(row) + "\n").encode())
        os.fsync(file)
    finally:
        os.close(file)


def environment() -> Row:
    """Machine and versions.

    Returns
    -------
    dict
        Two dicts, ``machine`` and ``versions``.
    """
    versions = {"python": platform.python_version(), "robustlabels": __version__}
    for name in ("torch", "skorch", "scikit-learn", "numpy", "cleanlab"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    machine = {"cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system()}
    return {"machine": machine, "versions": versions}


# --- a process a run --------------------------------------------------------------------------------------------------


def _start_method(device: str = "cpu") -> str:
    """Fork where it is safe: any estimator can then be run, lambdas and notebooks' classes included."""
    return "fork" if sys.platform == "linux" and device == "cpu" else "spawn"


def peak_mib() -> float | None:
    """Peak memory of this process: Python, torch and the data included."""
    try:
        resource = import_module("resource")
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _work(send: Connection, function: Callable[[], Row]) -> None:
    """In the new process: one thread, no interruption but the parent's end, and an error is a result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    torch.set_num_threads(1)
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always")
        try:
            result = function()
        except Exception as error:
            name = type(error).__name__
            result = {"error": f"{name}: {error}", "traceback": traceback.format_exc()}
    said = list(dict.fromkeys(f"{w.category.__name__}: {w.message}"[:300] for w in caught))
    if said:
        result["warnings"] = said[:5]
    send.send(result | {"peak_mib": peak_mib()})
    send.close()


def _in_processes(functions: Sequence[Callable[[], Row]], n_jobs: int, start_method: str) -> Iterator[tuple[int, Row]]:
    """Number and result of each function as it ends, at most ``n_jobs`` at a time."""
    context: Any = multiprocessing.get_context(start_method)
    waiting = list(enumerate(functions))[::-1]
    running: dict[Any, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < n_jobs:
                number, function = waiting.pop()
                receive, send = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(send, function))
                process.start()
                send.close()
                running[receive] = number, process
            ready = wait(list(running))
            for receive in [connection for connection in running if connection in ready]:
                number, process = running[receive]
                try:
                    result = receive.recv()
                except EOFError:
                    process.join()
                    status = process.exitcode
                    result = {"error": f"the process ended with status {status}" + (" (killed)" if status < 0 else "")}
                process.join()
                del running[receive]
                yield number, result
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def isolated(function: Callable[[], Row]) -> Row:
    """Call in a process of its own, whose peak memory is its own.

    Parameters
    ----------
    function : callable
        Returns a dict.

    Returns
    -------
    dict
        The same with ``peak_mib``.

    Raises
    ------
    RuntimeError
        With the function's own traceback, if it fails.
    """
    ((_, result),) = _in_processes([function], 1, _start_method())
    if result.get("error"):
        raise RuntimeError(result.get("traceback") or result["error"])
    result.pop("warnings", None)
    return result


# --- many runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Task:
    """One run."""

    method: str
    estimator: Any
    problem: Problem
    noise: str | LabelNoise
    seed: int
    curve: bool

    @functools.cached_property
    def settings(self) -> Row:
        """What makes it this run and no other."""
        run = {"data": self.problem.name, "rows": self.problem.rows, "noise": _noise_name(self.noise)}
        if self.problem.contents is not None:
            run["contents"] = self.problem.contents
        params = settings(self.estimator, self.problem.rows)
        return {**run, "method": self.method, "seed": self.seed, "params": params}

    def __call__(self) -> Row:
        try:
            split = self.problem.split(self.noise, self.seed)
        except FileNotFoundError as error:
            return {"missing": str(error)}
        return measure(self.estimator, split, curve=self.curve)


def _noise_name(noise: str | LabelNoise) -> str:
    if isinstance(noise, str):
        return noise
    names = [f.name for f in fields(noise) if f.name != "random_state"]  # type: ignore[arg-type]
    given = [f"{name}={getattr(noise, name)!r}" for name in names]
    return f"{type(noise).__name__}({', '.join(given)})"


def _tasks(
    methods: Mapping[str, Any],
    problems: Sequence[Problem],
    noise: Sequence[str | LabelNoise] | None,
    seeds: Iterable[int],
    curve: bool,
    device: str,
) -> Iterator[_Task]:
    """All runs; one seed after the other, so that an unfinished suite has whole tables of fewer seeds."""
    for seed in seeds:
        for problem in problems:
            for kind in problem.noise if noise is None else filter(problem.takes, noise):
                for name, estimator in methods.items():
                    if name not in problem.too_costly:
                        ready = _configured(estimator, problem.shared, seed, device)
                        yield _Task(name, ready, problem, kind, seed, curve)


def _estimate(tasks: Sequence[_Task], rows: Sequence[Row]) -> float:
    """Seconds that runs will take one after the other: as the same took before, or by what is known of both parts."""
    before: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        if "seconds" in row:
            before.setdefault((row["data"], row["method"]), []).append(row["seconds"])
    total = 0.0
    for task in tasks:
        known = before.get((task.problem.name, task.method))
        cost = METHODS[task.method].cost if task.method in METHODS else 3.0
        total += float(np.median(known)) if known else cost * task.problem.seconds
    return total


def run_benchmark(
    methods: Sequence[str | Any] | Mapping[str, Any] | None = None,
    data: Sequence[str | NoisyDataset | Problem] = ("digits",),
    noise: Sequence[str | LabelNoise] | None = None,
    seeds: int | Sequence[int] = 3,
    *,
    results: str | Path | None = None,
    n_jobs: int = 1,
    curve: bool = True,
    device: str = "cpu",
    verbose: int = 1,
) -> list[Row]:
    """Measure methods on data with wrong labels, over seeds; each run in a process and a thread of its own.

    Parameters
    ----------
    methods : list or dict by name, of str and classifiers, or None, default=None
        Names of :data:`~robustlabels.benchmark.METHODS`, any scikit-learn classifiers, or both; None takes all that
        have a name. A classifier of your own is cloned, and each of its ``random_state`` parameters set to the seed.
    data : list of str, NoisyDataset and Problem, default=("digits",)
        Names of :data:`~robustlabels.benchmark.PROBLEMS`, or sets of your own.
    noise : list of str and LabelNoise, or None, default=None
        "clean", "sym40", "pair40", "idn40", names of real sources, simulators; each is tried on the sets that have it.
        None takes what each set names.
    seeds : int or list of int, default=3
        So many, from 0; or these.
    results : str, Path or None, default=None
        A file of JSON lines: every run is appended when it is done, and one that is there, with the same settings and
        no error, is not repeated. After changing the code of your method name it anew, or take another file.
    n_jobs : int, default=1
        Runs at a time.
    curve : bool, default=True
        Also measure test accuracy after every epoch, to say what the best would have been.
    device : str, default="cpu"
        Of all networks here that do not name one.
    verbose : int, default=1
        0 is silent; 1 prints what will be done, how long it may take, and every run.

    Returns
    -------
    rows : list of dict
        One a run, new or stored: its settings (``data``, ``rows``, ``noise``, ``method``, ``seed``, ``params``), what
        :func:`~robustlabels.benchmark.measure` returns, ``peak_mib`` of its process, ``machine``, ``versions`` and
        ``date``. A run that failed has ``error`` and ``traceback`` instead of measures, and is tried again the next
        time.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from robustlabels.benchmark import run_benchmark
    >>> (row,) = run_benchmark({"mine": KNeighborsClassifier(15)}, noise=["pair40"], seeds=[7], verbose=0)
    >>> row["data"], row["method"], row["seed"], round(row["true_rate"], 2), row["test_accuracy"] > 0.5
    ('digits', 'mine', 7, 0.4, True)
    """
    check_number("n_jobs", n_jobs, 1, integer=True)
    say = print if verbose else lambda *_, **__: None
    problems = [_problem(d) for d in data]
    for kind in noise or ():
        if not any(problem.takes(kind) for problem in problems):
            known = ", ".join(["clean", *INJECTED, *dict.fromkeys(s for p in problems for s in p.sources)])
            raise ValueError(f"unknown noise {kind!r} for {', '.join(p.name for p in problems)}; there is {known}.")
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    stored = [] if results is None else read_rows(results)
    tasks = list(_tasks(_chosen_methods(methods), problems, noise, seeds, curve, device))
    rows = [find(stored, task.settings) for task in tasks]
    todo = [i for i, row in enumerate(rows) if row is None]
    for problem in problems:
        for name, reason in problem.too_costly.items():
            say(f"not run: {name} on {problem.name}: {reason}")
    left = _duration(_estimate([tasks[i] for i in todo], stored) / n_jobs)
    say(f"{len(tasks)} runs, {len(tasks) - len(todo)} of them stored; about {left} to go", flush=True)

    about = environment()
    about["machine"]["threads"] = 1
    missing: dict[str, str] = {}
    for done, (number, result) in enumerate(_in_processes([tasks[i] for i in todo], n_jobs, _start_method(device)), 1):
        task = tasks[todo[number]]
        if "missing" in result:
            if task.problem.name not in missing:
                say(f"not run: {task.problem.name}: {result['missing']}", flush=True)
            missing[task.problem.name] = result["missing"]
            continue
        row = {**task.settings, **result, **about, "date": datetime.now(UTC).isoformat(timespec="seconds")}
        if results is not None:
            append_row(results, row)
        rows[todo[number]] = row
        say(f"[{done}/{len(todo)}] {describe(row)}", flush=True)
    return [row for row in rows if row is not None]


def _problem(data: str | NoisyDataset | Problem) -> Problem:
    if isinstance(data, str):
        return _named(PROBLEMS, "data set", data)
    return _problem_of(data) if isinstance(data, NoisyDataset) else data


def describe(row: Row) -> str:
    """One run on one line.

    Parameters
    ----------
    row : dict

    Returns
    -------
    str
    """
    text = f"{row['data']:<16} {row['noise']:<8} {row['method']:<16} seed {row['seed']:<3}"
    if row.get("error"):
        return f"{text} failed: {row['error']}"
    text += f" test {row['test_accuracy']:.3f}"
    if "best_test_accuracy" in row:
        text += f" (best {row['best_test_accuracy']:.3f})"
    if "average_precision" in row:
        text += f"  AP {row['average_precision']:.3f}"
    if "estimated_rate" in row:
        text += f"  noise {row['estimated_rate']:.3f} of {row['true_rate']:.3f}"
    return f"{text}  {row['seconds']:.1f} s"


def _duration(seconds: float) -> str:
    """In words: the whole is an estimate.

    >>> _duration(50), _duration(100), _duration(9000)
    ('50 s', '2 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


# --- suites -----------------------------------------------------------------------------------------------------------


class Suite(NamedTuple):
    """What one command runs: arguments of :func:`~robustlabels.benchmark.run_benchmark`.

    Attributes
    ----------
    title : str
    data : tuple of str
    noise : tuple of str or None
    seeds : int
    """

    title: str
    data: tuple[str, ...]
    noise: tuple[str, ...] | None = None
    seeds: int = 3


CORE = ("digits", "wrench_trec", "noisyag_news", "jira_defects_dev", "cifar10_feats")

SUITES: dict[str, Suite] = {
    "smoke": Suite("does everything run? digits, 40 % wrong, one seed, every method", ("digits",), ("sym40",), 1),
    "core": Suite("five sets, four of them with real noise, three seeds", CORE),
    "pixels": Suite(
        "images as pixels, three seeds; hours, so stop and go on as you like", ("fashion_mnist", "cifar10")
    ),
}
"""Suites by name. The full-size one for a GPU is ``benchmarks/cifar10.py`` of the source."""


# --- what came out ----------------------------------------------------------------------------------------------------


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation, as far as there is one.

    Parameters
    ----------
    values : sequence of float
    digits : int, default=3

    Returns
    -------
    str

    Examples
    --------
    >>> from robustlabels.benchmark import mean_sd
    >>> mean_sd([0.9, 0.8]), mean_sd([0.9], 1)
    ('0.850 ± 0.071', '0.9')
    """
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


@dataclass(frozen=True)
class Table:
    """A table of text; ``print`` aligns its columns.

    Parameters
    ----------
    title : str
    head : list of str
    rows : list of list of str
    notes : list of str, default=[]
        Said below.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([self.title, *map(str.rstrip, text), *self.notes])


@dataclass(frozen=True)
class Summary:
    """What :func:`~robustlabels.benchmark.summarise` makes of the rows; ``print`` it for all tables.

    Parameters
    ----------
    scores : list of Table
        A data set each: methods x noise, mean ± standard deviation over seeds.
    details : list of Table
        A data set and noise each: methods x measures.
    ranks : Table
        Every method's place among the others, over data sets and noise.
    """

    scores: list[Table]
    details: list[Table]
    ranks: Table

    def __str__(self) -> str:
        return "\n\n".join(str(table) for table in [*self.scores, *self.details, self.ranks])


MEASURES = {
    "test accuracy": ("test_accuracy", 3),
    "at the best epoch": ("best_test_accuracy", 3),
    "F1": ("test_f1", 3),
    "suspects' AP": ("average_precision", 3),
    "AUROC": ("roc_auc", 3),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "estimated noise": ("estimated_rate", 3),
    "CPU s": ("cpu_seconds", 1),
    "MiB": ("peak_mib", 0),
}


Cells = dict[str, dict[str, dict[str, list[Row]]]]


def _cells(rows: Iterable[Row]) -> Cells:
    """Rows by data set, noise and method: the last of each seed, and only those with the settings of the last one.

    Sets, noise and methods come in their own order where they have a name, then in the order of the rows.
    """
    last: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = (row["data"], row["noise"], row["method"], row["seed"])
        if not row.get("error") or last.get(key, row).get("error"):
            last.pop(key, None)
            last[key] = row
    places = [{name: i for i, name in enumerate(names)} for names in (PROBLEMS, [*INJECTED, *_HUMAN], METHODS)]
    age = {id(row): i for i, row in enumerate(last.values())}
    cells: Cells = {}
    for key, row in sorted(last.items(), key=lambda it: [p.get(n, 99) for p, n in zip(places, it[0][:3], strict=True)]):
        cells.setdefault(key[0], {}).setdefault(key[1], {}).setdefault(key[2], []).append(row)
    for by_method in (by_method for by_kind in cells.values() for by_method in by_kind.values()):
        for method, found in by_method.items():
            newest = max(found, key=lambda row: age[id(row)])
            same = ("params", "rows", "contents")
            by_method[method] = [row for row in found if all(row.get(k) == newest.get(k) for k in same)]
    return cells


def _values(rows: Sequence[Row], column: str) -> list[float]:
    return [row[column] for row in rows if row.get(column) is not None]


def _methods(by_kind: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Methods of a data set, over all its noise."""
    order = {name: i for i, name in enumerate(METHODS)}
    return sorted(dict.fromkeys(m for by_method in by_kind.values() for m in by_method), key=lambda m: order.get(m, 99))


def _score_of(data: str) -> str:
    return PROBLEMS[data].score if data in PROBLEMS else "test_accuracy"


def summarise(rows: Iterable[Row]) -> Summary:
    """Mean and standard deviation over seeds, of everything that was measured.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.benchmark.run_benchmark` or :func:`~robustlabels.benchmark.read_rows`. Of the same
        run the last one counts, and of runs that differ in a parameter those like the last one.

    Returns
    -------
    Summary
    """
    cells = _cells(rows)
    return Summary(
        [_score_table(data, by_kind) for data, by_kind in cells.items()],
        [_detail_table(data, kind, found) for data, by_kind in cells.items() for kind, found in by_kind.items()],
        _ranks(cells),
    )


def _score_table(data: str, by_kind: Mapping[str, Mapping[str, Sequence[Row]]]) -> Table:
    """Methods x noise of one data set; a cell without a number says why."""
    score, methods = _score_of(data), _methods(by_kind)
    costly = PROBLEMS[data].too_costly if data in PROBLEMS else {}
    every = [found for by_method in by_kind.values() for found in by_method.values()]
    n_seeds = max(map(len, every))
    notes = [f"{method}: not run, {reason}" for method, reason in costly.items()]
    lines = []
    for method in [*methods, *(name for name in costly if name not in methods)]:
        line = [method]
        for kind, by_method in by_kind.items():
            found = by_method.get(method, [])
            values = _values(found, score)
            failed = [row["error"] for row in found if row.get("error")]
            if values:
                line.append(mean_sd(values) + (f" ({len(values)})" if len(values) < n_seeds else ""))
            else:
                line.append("failed" if failed else "too costly" if method in costly else "")
                notes += [f"{method}, {kind}: {failed[0]}"] if failed else []
        lines.append(line)
    head = ["method"]
    for kind, by_method in by_kind.items():
        wrong = [rate for found in by_method.values() for rate in _values(found, "true_rate")]
        head.append(f"{kind} ({100 * np.mean(wrong):.1f} % wrong)" if wrong else kind)
    title = PROBLEMS[data].title if data in PROBLEMS else f"{every[0][-1]['rows']} training rows"
    what = {"test_accuracy": "test accuracy", "test_f1": "F1 on the test part"}[score]
    return Table(f"{data}: {title}; {what} at the last epoch", head, lines, notes)


def _detail_table(data: str, kind: str, by_method: Mapping[str, Sequence[Row]]) -> Table:
    """Methods x measures of one data set and noise."""
    lines = [
        [method, *(mean_sd(_values(found, column), digits) for column, digits in MEASURES.values())]
        for method, found in by_method.items()
    ]
    return Table(f"{data}, {kind}", ["method", *MEASURES], lines)


def _ranks(cells: Cells) -> Table:
    """Mean place of each method, 0 the best and 1 the last, by score and by the average precision of the suspects."""
    places: dict[str, list[list[float]]] = {}  # by score, by suspects
    wins: dict[str, int] = {}
    for data, by_kind in cells.items():
        for by_method in by_kind.values():
            for i, column in enumerate((_score_of(data), "average_precision")):
                means = {
                    m: float(np.mean(_values(found, column)))
                    for m, found in by_method.items()
                    if _values(found, column)
                }
                for method, mean in means.items() if len(means) > 1 else ():
                    others = [value for name, value in means.items() if name != method]
                    place = np.mean([(value > mean) + (value == mean) / 2 for value in others])
                    places.setdefault(method, [[], []])[i].append(float(place))
                    wins[method] = wins.get(method, 0) + (i == 0 and mean == max(means.values()))
    lines = [
        [method, str(len(by[0])), *(f"{np.mean(its):.2f}" if its else "" for its in by), str(wins[method])]
        for method, by in sorted(places.items(), key=lambda item: np.mean(item[1][0] or [1.0]))
    ]
    title = "Mean place among the methods, over data sets and noise: 0 is always the best, 1 always the last"
    return Table(title, ["method", "tables", "by score", "by suspects' AP", "times the best"], lines)


def plot(rows: Iterable[Row], folder: str | Path) -> list[Path]:
    """Draw score and average precision of every method, a picture for each data set.

    Parameters
    ----------
    rows : iterable of dict
        From :func:`~robustlabels.benchmark.run_benchmark` or :func:`~robustlabels.benchmark.read_rows`.
    folder : str or Path
        Made if it is not there.

    Returns
    -------
    paths : list of Path
        One PNG a data set: panels of noise, methods from top to bottom, mean and standard deviation over seeds; a ring
        is the best epoch.
    """
    try:
        Figure = import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise ImportError('A picture needs matplotlib: pip install "robustlabels[report]".') from error
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for data, by_kind in _cells(rows).items():
        score, methods = _score_of(data), _methods(by_kind)[::-1]
        figure = Figure(figsize=(2 + 2.6 * len(by_kind), 2 + 0.5 * len(methods)), dpi=110, layout="constrained")
        axes = figure.subplots(2, len(by_kind), sharex="row", sharey=True, squeeze=False)
        for (upper, lower), (kind, by_method) in zip(axes.T, by_kind.items(), strict=True):
            upper.set_title(kind)
            for y, method in enumerate(methods):
                found = by_method.get(method, [])
                for panel, column in ((upper, score), (lower, "average_precision")):
                    if values := _values(found, column):
                        spread = np.std(values, ddof=1) if len(values) > 1 else 0
                        panel.errorbar(np.mean(values), y, xerr=spread, fmt="o", color="#0072b2", capsize=3)
                if score == "test_accuracy" and (best := _values(found, "best_test_accuracy")):
                    upper.plot(np.mean(best), y, "o", mfc="none", mec="#d55e00")
            upper.set_xlabel({"test_accuracy": "test accuracy, last epoch (ring: best)"}.get(score, "F1, last epoch"))
            lower.set_xlabel("suspects' average precision")
            for panel in (upper, lower):
                panel.set_yticks(range(len(methods)), methods)
                panel.grid(axis="x", alpha=0.3)
        figure.suptitle(data)
        paths.append(folder / f"{re.sub(r'[^-.0-9A-Za-z]+', '_', data)}.png")
        figure.savefig(paths[-1])
    return paths


# --- the command ------------------------------------------------------------------------------------------------------


def register(commands: Any) -> None:
    """Add ``benchmark`` to the commands of the package.

    Parameters
    ----------
    commands : subparsers of an ArgumentParser
    """
    methods = textwrap.fill(f"methods: {', '.join(METHODS)}", 88, subsequent_indent="  ")
    suites = "\n".join(f"  {name:<8} {suite.title}" for name, suite in SUITES.items())
    command = commands.add_parser(
        "benchmark",
        help="compare methods on data with known wrong labels",
        description="Run methods x data x noise x seeds, a line of JSON a run, and print means over seeds.",
        epilog=f"suites:\n{suites}\n\n{methods}\n\nThe suite for a GPU, CIFAR-10 at full size, is "
        "benchmarks/cifar10.py of the source.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_command)
    command.add_argument("suite", choices=SUITES, nargs="?", default="smoke", help="default: smoke")
    command.add_argument("--methods", nargs="+", metavar="NAME", help="only these")
    command.add_argument("--data", nargs="+", metavar="NAME", help=f"only these: {', '.join(PROBLEMS)}")
    command.add_argument(
        "--noise", nargs="+", metavar="NAME", help="only these: clean, sym40, pair40, idn40, worse ..."
    )
    command.add_argument("--seeds", nargs="+", type=int, metavar="N", help="only these")
    command.add_argument(
        "--results", metavar="FILE", type=Path, help="go on from and append to (default: benchmark-SUITE.jsonl)"
    )
    command.add_argument("--jobs", metavar="N", type=int, default=1, help="runs at a time (default: 1)")
    command.add_argument("--device", default="cpu", help="default: cpu, one thread a run")
    command.add_argument("--plot", metavar="FOLDER", type=Path, help="also draw the results")
    command.add_argument("--table", action="store_true", help="run nothing, print what is stored")


def _command(args: argparse.Namespace) -> None:
    suite = SUITES[args.suite]
    results = args.results or Path(f"benchmark-{args.suite}.jsonl")
    if args.table:
        rows = read_rows(results)
        if not rows:
            raise ValueError(f"{results} has no rows; run the suite without --table first.")
    else:
        rows = run_benchmark(
            args.methods,
            args.data or suite.data,
            args.noise or suite.noise,
            args.seeds or suite.seeds,
            results=results,
            n_jobs=args.jobs,
            device=args.device,
        )
    print(f"\n{summarise(rows)}")
    if args.plot is not None:
        print("\ndrawn:", *plot(rows, args.plot))
