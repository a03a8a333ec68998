"""Entries of the comparison: the package's methods, combinations of them, and two scikit-learn classifiers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from robustlabels.cleaning import NoiseAwareClassifier
from robustlabels.detection import ConfidentLearningNoiseDetector
from robustlabels.methods import (
    METHODS,
    CrossEntropyClassifier,
    DivideMixClassifier,
    ELRClassifier,
    GCEClassifier,
    InfluentialRankClassifier,
    SANMClassifier,
)


class CleanlabClassifier(ClassifierMixin, BaseEstimator):
    """Wrapper of cleanlab's ``CleanLearning``: find label issues out of fold, and fit on the other rows.

    Parameters
    ----------
    estimator : classifier
        It is fitted once per fold, and once on the rows without an issue.
    random_state : int or None, default=None
        Seed of the folds.

    Attributes
    ----------
    noise_scores_, noise_mask_, noise_rate_
        One minus cleanlab's label quality; its label issues; their share.
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
            The fitted estimator.
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
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,)
            In the type of the labels given to ``fit``.
        """
        return self.classes_[self.estimator_.predict(X)]


def _flat(X: NDArray[Any]) -> NDArray[Any]:
    return X.reshape(len(X), -1)


def _logistic_regression() -> Any:
    return make_pipeline(FunctionTransformer(_flat), StandardScaler(), LogisticRegression(max_iter=1000))


def _gradient_boosting() -> Any:
    return make_pipeline(FunctionTransformer(_flat), HistGradientBoostingClassifier())


class Entry(NamedTuple):
    """Estimator of the comparison.

    Attributes
    ----------
    make : callable
        Returns a new estimator with its defaults.
    cost : float
        Approximate time as a multiple of cross-entropy's on 1,000 rows of a table. It serves only the estimate before
        a suite starts.
    large : float or None
        The same on 10,000 rows; None if it does not differ.
    recipe : int
        Version number, raised whenever a rule behind "auto" or the code of the method changes its results. Stored rows
        of an older recipe are run again, and are not averaged with newer ones.
    note : str
        A note for readers of the tables.
    """

    make: Callable[[], Any]
    cost: float
    large: float | None = None
    recipe: int = 1
    note: str = ""

    def times(self, rows: int) -> float:
        """Return the time as a multiple of cross-entropy's: a power of the rows from 1,000 to 10,000, constant outside.

        Examples
        --------
        >>> from robustlabels.comparison import Entry
        >>> entry = Entry(dict, cost=2, large=8)
        >>> [entry.times(rows) for rows in (100, 1_000, 10_000, 50_000)]
        [2.0, 2.0, 8.0, 8.0]
        """
        share = min(max(math.log10(rows / 1_000), 0.0), 1.0)
        return float(self.cost ** (1 - share) * (self.large or self.cost) ** share)


def _confident_learning() -> Any:
    return NoiseAwareClassifier(CrossEntropyClassifier(), ConfidentLearningNoiseDetector(CrossEntropyClassifier()))


VIEWS = 'with augment="strong", as MOIT has it, instead of its default: what augmentation alone brings'

_STRONG_VIEWS = {"CE": CrossEntropyClassifier, "GCE": GCEClassifier}

_COMBINED: dict[str, Entry] = {
    "SANM(CE)": Entry(lambda: SANMClassifier(CrossEntropyClassifier()), 2.6, 5),
    "SANM(ELR)": Entry(lambda: SANMClassifier(ELRClassifier()), 2.8, 5),
    "SANM(DivideMix)": Entry(lambda: SANMClassifier(DivideMixClassifier()), 8, 23),
    "IR(CE)": Entry(lambda: InfluentialRankClassifier(CrossEntropyClassifier()), 1.6, 2),
    "IR(ELR)": Entry(lambda: InfluentialRankClassifier(ELRClassifier()), 1.4, 1.8),
    "CL + CE": Entry(_confident_learning, 2.9, 4.4),
    "cleanlab + CE": Entry(lambda: CleanlabClassifier(CrossEntropyClassifier()), 2.9, 4.4),
    "LR": Entry(_logistic_regression, 0.1),
    "GB": Entry(_gradient_boosting, 5.4, 10),
}


def _entries() -> dict[str, Entry]:
    """Return the baselines first, in the order of the tables, then the other methods, then combinations."""
    baselines = ("CE", "GCE", "SCE", "Co-teaching")
    entries: dict[str, Entry] = {}
    for name in (*baselines, *(name for name in METHODS if name not in baselines)):
        method = METHODS[name]
        entries[name] = Entry(method.classifier, method.cost, method.large, method.recipe)
        if name in _STRONG_VIEWS:
            make = partial(_STRONG_VIEWS[name], augment="strong")
            entries[f"{name} + views"] = Entry(make, 1.1, note=VIEWS)
    return {**entries, **_COMBINED}


ENTRIES = _entries()
"""Methods by name, all but two at their defaults: "CE + views" and "GCE + views" are cross-entropy and GCE with
``augment="strong"``, and show what augmentation alone brings; on rows without views they equal "CE" and "GCE".
"SANM(ELR)" is SANM around ELR, "IR(CE)" is Influential Rank after cross-entropy, "CL + CE" is cross-entropy on the rows
that confident learning keeps, "cleanlab + CE" the same with cleanlab, and "LR" and "GB" are logistic regression and
gradient boosting."""
