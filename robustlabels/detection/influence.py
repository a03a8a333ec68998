"""How far each row moves the decision boundary, and whom it harms."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils import check_random_state

from robustlabels.detection import thresholds
from robustlabels.detection.base import NoiseDetector, dense_rows, fitted
from robustlabels.maths.influence_functions import (
    BACKENDS,
    curvature,
    data_influence,
    influence_outliers,
    influence_scores,
    model_influence,
)
from robustlabels.training.beliefs import Beliefs, Floats, Ints
from robustlabels.training.parameters import Interval, StrOptions


class InfluenceNoiseDetector(NoiseDetector):
    """Influence on the decision boundary: Influential Rank's scores, without its post-training.

    A softmax regression with a ridge is solved on the features; a row scores by how far it moves the solution, and by
    how much it harms other rows.

    Parameters
    ----------
    estimator : classifier with ``transform`` or None, default=None
        Whose features are taken: cloned and fitted, or as it is in a ``FrozenEstimator``. None takes X itself.
    damping : float or "auto", default="auto"
        The ridge, on standardized features. "auto": 0.1, more where there are fewer rows than features.
    backend : {"auto", "exact", "kfac", "factored", "representer"}, default="auto"
        Of the inverse Hessian: see :func:`~robustlabels.maths.influence_functions.curvature`.
    data_weight : float, default=0.5
        Share of the harm to other rows in the score; 0 leaves the influence on the model.
    max_reference : int, default=2000
        Rows whose harm is looked at; of more, some are drawn.
    rank_by : {"auto", "all", "class"}, default="auto"
        Rank within classes, as a row of a rare class moves the solution by being rare; "auto" where the largest class
        has more than 3 times the rows of the smallest.
    random_state : int, RandomState or None, default=None
        Draws the reference rows, and seeds the classifier where its own ``random_state`` is None.
    threshold : {"auto", "noise_rate", "quantile", "fdr"} or float, default="auto"
        As for every detector, except that "auto" flags as many rows as have an outlying influence on the model within
        their class, since ranks have no mixture.

    Attributes
    ----------
    noise_scores_ : ndarray of shape (n_samples,)
        The mean of two ranks: 0 for the least suspicious row.
    influence_model_, influence_data_ : ndarray of shape (n_samples,)
        What is ranked.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        Of the softmax regression.
    estimator_ : classifier
        Whose features were taken, if any.
    noise_mask_, threshold_, noise_rate_, noise_rate_interval_, suggested_labels_, suggested_confidence_, classes_
        As for every detector.
    transition_matrix_ : ndarray of shape (n_classes, n_classes)
        As for every detector.

    See Also
    --------
    InfluentialRankClassifier : Removes rows of high influence and refines the model.

    Notes
    -----
    "auto" flags few rows with high precision, as a round of :class:`~robustlabels.InfluentialRankClassifier` does. The
    method is our reconstruction of Influential Rank: see there. A CSR matrix becomes dense, above 512 columns by its
    256 leading singular directions.

    References
    ----------
    Park et al., "Influential Rank: A New Perspective of Post-training for Robust Model against Noisy Labels",
    arXiv 2106.07217.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import InfluenceNoiseDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> y[3] = 2
    >>> InfluenceNoiseDetector().fit(X, y).noise_scores_.argmax()
    np.int64(3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": ["no_validation"],
        "damping": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "backend": [StrOptions({"auto", *BACKENDS})],
        "data_weight": [Interval(Real, 0, 1, closed="both")],
        "max_reference": [Interval(Integral, 1, None, closed="left")],
        "rank_by": [StrOptions({"auto", "all", "class"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        damping: float | str = "auto",
        backend: str = "auto",
        data_weight: float = 0.5,
        max_reference: int = 2000,
        rank_by: str = "auto",
        random_state: Any = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.estimator = estimator
        self.damping = damping
        self.backend = backend
        self.data_weight = data_weight
        self.max_reference = max_reference
        self.rank_by = rank_by
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.estimator is not None and not hasattr(self.estimator, "transform"):
            raise TypeError(
                f"{type(self.estimator).__name__} has no transform, which gives the features; take one of this "
                "package's classifiers, or None for X itself."
            )

    def _network(self) -> Any:
        return self.estimator

    def _features(self, X: Any) -> Floats:
        X = dense_rows(self, X)
        if self.estimator is not None:
            return self.estimator_.transform(X)
        return np.asarray(X, dtype=np.float32).reshape(len(X), -1)

    def _detect(self, X: Any, y: Ints) -> Beliefs:
        generator = check_random_state(self.random_state)
        seed = int(generator.randint(np.iinfo(np.int32).max))
        dense = dense_rows(self, X, seed)
        if self.estimator is not None:
            self.estimator_ = fitted(self.estimator, generator, dense, self.classes_[y])
        features = self._features(X)
        n, d = features.shape
        found = influence_scores(
            features,
            y,
            len(self.classes_),
            damping=0.1 * max(1, d / n) if self.damping == "auto" else self.damping,  # type: ignore[arg-type]
            backend=self.backend,
            data_weight=self.data_weight,
            max_reference=self.max_reference,
            rank_by=self.rank_by,
            seed=seed,
        )
        self.influence_model_, self.influence_data_ = found.model.numpy(), found.data.numpy()
        self._n_outliers = int(influence_outliers(found.model, torch.from_numpy(y)).sum())
        self._head, self._labels = found.head, y
        self._curvature = curvature(found.head, features, backend=self.backend)
        chosen = np.sort(np.random.RandomState(seed).permutation(n)[: self.max_reference])
        self._reference = np.asarray(features[chosen]), y[chosen]
        posterior, ranks = found.head.proba(features).numpy(), found.rank.numpy()
        return Beliefs.from_posterior(posterior, y, self.classes_, scores=ranks)

    def _mixture_split(self, scores: Floats) -> float:
        return thresholds.rate_threshold(scores, self._n_outliers / len(scores))

    def _posterior(self, X: Any) -> Floats:
        return self._head.proba(self._features(X)).numpy()

    def _score(self, X: Any, y: Ints) -> Floats:
        features = self._features(X)
        model = model_influence(self._head, features, y, backend=self._curvature).numpy()
        scores = (1 - self.data_weight) * self._rank(model, y, self.influence_model_)
        if self.data_weight > 0:
            harm = data_influence(self._head, features, y, self._reference, backend=self._curvature).numpy()
            scores += self.data_weight * self._rank(harm, y, self.influence_data_)
        return scores

    def _rank(self, values: Floats, y: Ints, among: Floats) -> Floats:
        """Share of the fitted rows, of a row's class where ranks are by class, that lie below each value."""
        count = np.bincount(self._labels)
        by_class = self.rank_by == "class" or (self.rank_by == "auto" and count.max() > 3 * count.min())
        ranks = np.empty(len(values))
        for k in np.unique(y) if by_class else [None]:
            mine, theirs = (slice(None), among) if k is None else (y == k, among[self._labels == k])
            ranks[mine] = np.searchsorted(np.sort(theirs), values[mine]) / len(theirs)
        return ranks
