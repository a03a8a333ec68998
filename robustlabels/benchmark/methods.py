"""Methods by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from robustlabels.baselines import CoTeachingClassifier, CrossEntropyClassifier, GCEClassifier, SCEClassifier
from robustlabels.cleaning import NoiseAwareClassifier
from robustlabels.detection import ConfidentLearningNoiseDetector
from robustlabels.dividemix import DivideMixClassifier
from robustlabels.elr import ELRClassifier, ELRPlusClassifier
from robustlabels.influential_rank import InfluentialRankClassifier
from robustlabels.moit import MOITClassifier, MOITPlusClassifier
from robustlabels.pemm import PEMMClassifier
from robustlabels.sanm import SANMClassifier


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
