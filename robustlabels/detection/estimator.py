"""What a classifier of this package says of its own training rows."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from robustlabels.detection.base import NoiseDetector, dense_rows, fitted
from robustlabels.methods.elr import ELRClassifier
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.beliefs import Beliefs, Floats, Ints


class EstimatorNoiseDetector(NoiseDetector):
    """The row attributes of a classifier of this package, as a detector.

    The scores are those of the fitted classifier; thresholds, intervals and posteriors are added.

    Parameters
    ----------
    estimator : classifier of this package or None, default=None
        Also one around another, such as :class:`~robustlabels.InfluentialRankClassifier`. It is cloned and fitted; in
        a ``FrozenEstimator`` it is taken as it is, with the rows it was fitted on. None means
        :class:`~robustlabels.ELRClassifier`.
    random_state : int, RandomState or None, default=None
        Seeds the classifier where its own ``random_state`` is None.

    Attributes
    ----------
    estimator_ : classifier
        Fitted.
    noise_scores_ : ndarray of shape (n_samples,)
        Those of the classifier.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        What the classifier believes of the rows: the memory of the method, else its predictions.
    noise_mask_, threshold_, noise_rate_, noise_rate_interval_, suggested_labels_, suggested_confidence_, classes_
        As for every detector; ``estimator_.noise_mask_`` is the method's own.
    transition_matrix_ : ndarray of shape (n_classes, n_classes)
        As for every detector.

    See Also
    --------
    SmallLossNoiseDetector : Scores from the whole course of the training.

    Notes
    -----
    The beliefs have seen the labels, so the transition model finds fewer of them doubtful and ``threshold="fdr"`` flags
    little. ``score_labels`` is one minus the predicted probability of the label.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import ELRClassifier, EstimatorNoiseDetector
    >>> X, y = load_digits(return_X_y=True)
    >>> detector = EstimatorNoiseDetector(ELRClassifier(max_epochs=5), random_state=0).fit(X, y)
    >>> detector.label_posterior_.shape
    (1797, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": ["no_validation"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        random_state: Any = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.estimator = estimator
        self.random_state = random_state

    def _inner(self) -> Any:
        return ELRClassifier() if self.estimator is None else self.estimator

    def _network(self) -> Any:
        return self._inner()

    def _detect(self, X: Any, y: Ints) -> Beliefs:
        generator = check_random_state(self.random_state)
        X = dense_rows(self, X, generator.randint(np.iinfo(np.int32).max))
        given = self.classes_[y]
        self.estimator_ = fitted(self._inner(), generator, X, given)
        name = type(self.estimator_).__name__
        if not hasattr(self.estimator_, "noise_scores_"):
            raise TypeError(
                f"{name} leaves no noise_scores_; take one of this package's classifiers, or "
                "ConfidentLearningNoiseDetector for any other."
            )
        self._check_rows(given, name)
        scores = self.estimator_.noise_scores_
        return Beliefs.from_posterior(self._beliefs(X), y, self.classes_, scores=scores)

    def _check_rows(self, given: NDArray[Any], name: str) -> None:
        """Raise unless the classifier was fitted on these rows."""
        clf = self.estimator_
        if len(clf.noise_scores_) != len(given):
            raise ValueError(
                f"{name} scored {len(clf.noise_scores_)} rows when it was fitted, but X has {len(given)}; a frozen "
                "classifier is taken with its own rows. Give those, or the classifier unfrozen."
            )
        if not np.array_equal(clf.classes_, self.classes_) or (clf.suggested_labels_ != given)[~clf.noise_mask_].any():
            raise ValueError(f"{name} was fitted on other labels than y; give those, or the classifier unfrozen.")

    def _beliefs(self, X: Any) -> Floats:
        clf = self.estimator_
        if isinstance(clf, BaseNoisyLabelClassifier):
            return np.concatenate([proba for _, proba in clf._posterior(clf._read_new(X))])
        return clf.predict_proba(X)

    def _posterior(self, X: Any) -> Floats:
        return self.estimator_.predict_proba(dense_rows(self, X))
