"""Several detectors as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils import check_random_state

from robustlabels.detection.base import NoiseDetector
from robustlabels.detection.confident_learning import ConfidentLearningNoiseDetector
from robustlabels.detection.knn import KNNNoiseDetector
from robustlabels.detection.small_loss import SmallLossNoiseDetector
from robustlabels.training.beliefs import Beliefs, Floats, Ints
from robustlabels.training.meta import seeded_clone
from robustlabels.training.parameters import StrOptions

FLOOR = 1e-3
"""Added to every belief before beliefs are multiplied: no expert rules a class out alone."""


class EnsembleNoiseDetector(NoiseDetector):
    """Several detectors combined into one.

    The posteriors of all of them are averaged, or the ranks of their scores.

    Parameters
    ----------
    detectors : list of (str, detector) or None, default=None
        Names and detectors; cloned. A detector is set to another one, or its parameters, by its name, as in a
        ``VotingClassifier``. None means k-NN, small loss and confident learning.
    combine : {"posterior", "rank"}, default="posterior"
        "posterior": the geometric mean of their posteriors, renormalized. "rank": the mean of the ranks of their
        scores, for detectors whose scores cannot be compared.
    random_state : int, RandomState or None, default=None
        Seeds the detectors where their own ``random_state`` is None.
    threshold : {"noise_rate", "auto", "quantile", "fdr"} or float, default="noise_rate"
        As for :class:`~robustlabels.detection.NoiseDetector`. The default flags as many rows as the noise rate says:
        these scores fall into no two groups, and a mixture splits them anyway.

    Attributes
    ----------
    detectors_ : list of detector
        Fitted.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        The geometric mean.
    noise_scores_, noise_mask_, threshold_, noise_rate_, noise_rate_interval_, transition_matrix_
        As for every detector.
    suggested_labels_, suggested_confidence_, classes_
        As for every detector.

    See Also
    --------
    AutoNoiseDetector : Two experts that are tuned to each other.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import ConfidentLearningNoiseDetector, EnsembleNoiseDetector, KNNNoiseDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> y[3] = 2
    >>> parts = [("votes", KNNNoiseDetector()), ("folds", ConfidentLearningNoiseDetector())]
    >>> detector = EnsembleNoiseDetector(parts, random_state=0).set_params(votes__n_neighbors=15)
    >>> detector.fit(X, y).noise_scores_.argmax()
    np.int64(3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "detectors": [list, tuple, None],
        "combine": [StrOptions({"posterior", "rank"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        detectors: Sequence[tuple[str, Any]] | None = None,
        *,
        combine: str = "posterior",
        random_state: Any = None,
        threshold: str | float = "noise_rate",
        **params: Any,
    ) -> None:
        super().__init__(threshold=threshold, **params)
        self.detectors = detectors
        self.combine = combine
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters of this detector, and of its parts by their names.

        Parameters
        ----------
        deep : bool, default=True
            Include the parts and their parameters.

        Returns
        -------
        params : dict
            Values by name.
        """
        params = super().get_params(deep=False)
        for name, part in self._named().items() if deep else ():
            params[name] = part
            params.update({f"{name}__{key}": value for key, value in part.get_params().items()})
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and parts or their parameters by their names.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self
            The fitted estimator.
        """
        if "detectors" in params:
            self.detectors = params.pop("detectors")
        whole = {name: params.pop(name) for name in self._named() if name in params}
        if whole:
            self.detectors = [(name, whole.get(name, part)) for name, part in self._named().items()]
        parts = self._named()
        for key in list(params):
            name, _, rest = key.partition("__")
            if rest and name in parts:
                parts[name].set_params(**{rest: params.pop(key)})
        super().set_params(**params)
        return self

    def _named(self) -> dict[str, Any]:
        """Given parts by their names; none where what was given is no list of pairs, which ``fit`` will say."""
        try:
            return {name: part for name, part in self.detectors or [] if isinstance(name, str)}
        except (TypeError, ValueError):
            return {}

    def _parts(self) -> list[tuple[str, Any]]:
        if self.detectors is not None:
            return list(self.detectors)
        return [
            ("knn", KNNNoiseDetector()),
            ("small_loss", SmallLossNoiseDetector()),
            ("confident_learning", ConfidentLearningNoiseDetector()),
        ]

    def _check_parameters(self) -> None:
        parts = self._parts()
        if self.detectors is not None and (not parts or len(self._named()) < len(parts)):
            raise ValueError(f"detectors must be (name, detector) pairs of different names, got {self.detectors!r}.")
        for name, part in parts:
            if not isinstance(part, NoiseDetector):
                raise TypeError(f"{name} must be a NoiseDetector, got {type(part).__name__}.")
        super()._check_parameters()

    def _network(self) -> Any:
        return next((network for _, part in self._parts() if (network := part._network()) is not None), None)

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        """X as it is: every part reads it for itself."""
        super()._read(X, y, reset=reset)
        return X

    def _detect(self, X: Any, y: Ints) -> Beliefs:
        generator = check_random_state(self.random_state)
        given = self.classes_[y]
        self.detectors_ = [seeded_clone(part, generator).fit(X, given) for _, part in self._parts()]
        beliefs = [part.label_posterior_ if part._held_out is None else part._held_out for part in self.detectors_]
        posterior = geometric_mean([part.label_posterior_ for part in self.detectors_])
        scores = None
        if self.combine == "rank":
            scores = np.mean([_ranked(part.noise_scores_, part.noise_scores_) for part in self.detectors_], axis=0)
        held_out = geometric_mean(beliefs)
        return Beliefs.from_posterior(posterior, y, self.classes_, scores=scores, held_out=held_out)

    def _posterior(self, X: Any) -> Floats:
        return geometric_mean([part._posterior(part._read(X, reset=False)) for part in self.detectors_])

    def _score(self, X: Any, y: Ints) -> Floats:
        if self.combine == "posterior":
            return super()._score(X, y)
        given = self.classes_[y]
        return np.mean([_ranked(part.score_labels(X, given), part.noise_scores_) for part in self.detectors_], axis=0)


def _ranked(scores: Floats, among: Floats) -> Floats:
    """Share of ``among`` below each score, half of its equals included."""
    ordered = np.sort(among)
    below, upto = np.searchsorted(ordered, scores), np.searchsorted(ordered, scores, side="right")
    return (below + upto) / (2 * len(ordered))


def geometric_mean(beliefs: Sequence[Floats]) -> Floats:
    """Geometric mean of floored beliefs (n, n_classes), rows summing to one."""
    mean = np.exp(np.mean([np.log(normalized(belief + FLOOR)) for belief in beliefs], axis=0))
    return normalized(mean)


def normalized(rows: Floats) -> Floats:
    """Rows (n, n_classes) summing to one."""
    return rows / rows.sum(1, keepdims=True)
