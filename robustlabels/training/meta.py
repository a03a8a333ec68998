"""Classifiers around classifiers: the base class of wrappers, seeded clones, and what the inner ``fit`` accepts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from robustlabels.training.beliefs import ROW_ATTRIBUTES
from robustlabels.training.parameters import ConstrainedParametersMixin
from robustlabels.training.persistence import SavableMixin


def seeded_clone(estimator: Any, random_state: Any) -> Any:
    """An unfitted clone; where a ``random_state`` of its own is None it gets a seed derived from ``random_state``."""
    estimator = clone(estimator)
    params = estimator.get_params()
    unset = sorted(k for k in params if k.rpartition("__")[2] == "random_state" and params[k] is None)
    generator = check_random_state(random_state)
    return estimator.set_params(**{k: int(generator.randint(np.iinfo(np.int32).max)) for k in unset})


def _answers(name: str) -> Callable[[Any], bool]:
    return lambda self: hasattr(vars(self).get("estimator_", self._inner()), name)


class BaseMetaClassifier(SavableMixin, ConstrainedParametersMixin, TransformerMixin, ClassifierMixin, BaseEstimator):
    """Base of the classifiers around a classifier: what the fitted ``estimator_`` answers, they answer.

    Parameters
    ----------
    estimator : classifier or None, default=None
        None is the subclass's default.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": ["no_validation"],
    }

    def __init__(self, estimator: Any = None) -> None:
        self.estimator = estimator

    def _default(self) -> Any:
        """Return the estimator that ``estimator=None`` stands for."""
        raise NotImplementedError(f"{type(self).__name__} is a subclass without a _default method")

    def _inner(self) -> Any:
        return self._default() if self.estimator is None else self.estimator

    def _fresh(self, random_state: Any, inner: Any = None) -> Any:
        """An unfitted clone; where its own ``random_state`` is None it gets a seed derived from ``random_state``."""
        return seeded_clone(self._inner() if inner is None else inner, random_state)

    def _adopt(self, estimator: Any) -> None:
        """Take over a fitted estimator, with what it says of the rows."""
        self.estimator_ = estimator
        self.classes_ = estimator.classes_
        for name in (*ROW_ATTRIBUTES, "n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            In the type of the labels given to ``fit``.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(_answers("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_answers("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the confidence scores of the wrapped classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,)
            Columns in the order of ``classes_``; one column for two classes.
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    @available_if(_answers("transform"))
    def transform(self, X: Any) -> np.ndarray:
        """Compute the features of the wrapped classifier.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out)
            One row of features for each row of X.
        """
        check_is_fitted(self)
        return self.estimator_.transform(X)

    @available_if(_answers("get_feature_names_out"))
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Get the names of the wrapped classifier's features.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str
            One name for each feature.
        """
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out()

    def __sklearn_is_fitted__(self) -> bool:
        return "estimator_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._inner())
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags or tags.classifier_tags
        tags.non_deterministic = inner.non_deterministic
        if hasattr(self, "transform"):
            tags.transformer_tags.preserves_dtype = []
        else:
            tags.transformer_tags = None
        return tags


for _name in ("transform", "fit_transform"):  # set_output's wrapper hides available_if; apply it again
    setattr(BaseMetaClassifier, _name, available_if(_answers("transform"))(getattr(BaseMetaClassifier, _name)))


def routing() -> bool:
    """Whether scikit-learn's metadata routing is on."""
    return bool(sklearn.get_config()["enable_metadata_routing"])


def fit_parameters(estimator: Any) -> tuple[set[str], bool]:
    """Names that ``fit`` takes, and whether it takes any others too."""
    parameters = inspect.signature(estimator.fit).parameters.values() if hasattr(estimator, "fit") else ()
    return {p.name for p in parameters}, any(p.kind is p.VAR_KEYWORD for p in parameters)


def weight_name(estimator: Any) -> str | None:
    """What ``fit`` calls the weights of rows; None where it takes none. Looks into pipelines, searches and wrappers."""
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        name = weight_name(last)
        return name if name is None or routing() else f"{step}__{name}"
    names, others = fit_parameters(estimator)
    if "sample_weight" in names:
        return "sample_weight"
    return weight_name(inside(estimator)) if others else None


def inside(estimator: Any) -> Any:
    """What a wrapper wraps, or None."""
    return estimator._inner() if isinstance(estimator, BaseMetaClassifier) else getattr(estimator, "estimator", None)
