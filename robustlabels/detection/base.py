"""The contract of detectors: what one says of the rows it was fitted on, and all that follows from it."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from robustlabels.detection import thresholds
from robustlabels.maths import confident_joint as confident
from robustlabels.training import inputs
from robustlabels.training.beliefs import Beliefs, Floats, Ints
from robustlabels.training.meta import seeded_clone
from robustlabels.training.parameters import ConstrainedParametersMixin, Interval, StrOptions
from robustlabels.training.persistence import SavableMixin

THRESHOLDS = ("auto", "noise_rate", "quantile", "fdr")

WIDE = 512
"""Columns up to which a sparse X is made dense for a network; wider ones are projected."""

N_DIRECTIONS = 256
"""Number of singular vectors that wide sparse input is projected onto."""


class NoiseDetector(SavableMixin, ConstrainedParametersMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base of all detectors: a score for every label, and what follows from scores.

    A subclass writes ``_detect(X, y)``, where X is checked and y holds class numbers. It returns
    :meth:`Beliefs.from_posterior(...) <robustlabels.training.beliefs.Beliefs.from_posterior>`; flags are set
    afterwards, by the threshold. To score new rows, a subclass also writes ``_posterior(X)`` or ``_score(X, y)``.

    Parameters
    ----------
    threshold : {"auto", "noise_rate", "quantile", "fdr"} or float, default="auto"
        Rows whose score exceeds ``threshold_`` are flagged. "auto": the score at which the upper component of
        a mixture of two Gaussians becomes more probable than the lower one. "noise_rate": as many rows as there are
        wrong labels, by ``noise_rate`` or, if it is None, by the estimate. "quantile": the rows above ``quantile`` of
        the scores. "fdr": as many rows as leave the expected share of wrongly flagged ones at ``alpha``. A float in [0,
        1]: that score.
    noise_rate : float or None, default=None
        For "noise_rate", where it is known.
    quantile : float or None, default=None
        For "quantile".
    alpha : float, default=0.1
        For "fdr".

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    noise_scores_ : ndarray of shape (n_samples,)
        In [0, 1]; higher is more suspicious.
    threshold_ : float
    noise_mask_ : ndarray of shape (n_samples,), bool
        ``noise_scores_ > threshold_``.
    noise_rate_ : float
        Estimated share of wrong labels, whatever is flagged: what lies beside the diagonal of the calibrated confident
        joint (:func:`~robustlabels.maths.confident_joint.confident_joint`) of the beliefs.
    noise_rate_interval_ : tuple of two float
        From the share that the transition model sees (:mod:`robustlabels.detection.thresholds`) to the share of rows
        believed to be of another class, with two standard errors on either side.
    wrong_probability_ : ndarray of shape (n_samples,)
        Probability that each label is wrong, under the transition model: what "fdr" averages. Scores rank better.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        Probability of each class being the right one.
    suggested_labels_ : ndarray of shape (n_samples,)
        The most probable class of flagged rows; the given label of the others.
    suggested_confidence_ : ndarray of shape (n_samples,)
        Probability of the suggested label.
    transition_matrix_ : ndarray of shape (n_classes, n_classes)
        Rows: believed class, by the posterior; columns: given label; each row summing to one.
    n_features_in_, feature_names_in_, input_shape_
        What X looked like.

    Notes
    -----
    No noise rate is ever needed, and none can be known from the labels alone: a doubt of the model may be an error of
    the label or of the model. The interval holds both readings. "fdr" is an estimate under the transition model, and
    no guarantee; it warns where no set of rows reaches ``alpha``, since labels are right or scores do not tell.

    Examples
    --------
    A detector whose posterior falls with the distance to each class mean:

    >>> import numpy as np
    >>> from scipy.special import softmax
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels.detection import Beliefs, NoiseDetector
    >>> class MeanDetector(NoiseDetector):
    ...     def _detect(self, X, y):
    ...         self.means_ = np.stack([X[y == k].mean(0) for k in range(len(self.classes_))])
    ...         return Beliefs.from_posterior(self._posterior(X), y, self.classes_)
    ...     def _posterior(self, X):
    ...         return softmax(-((X[:, None] - self.means_) ** 2).sum(2), axis=1)
    >>> X, y = load_iris(return_X_y=True)
    >>> y[3] = 2
    >>> MeanDetector().fit(X, y).noise_scores_.argmax()
    np.int64(3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "threshold": [Interval(Real, 0, 1, closed="both"), StrOptions(set(THRESHOLDS))],
        "noise_rate": [Interval(Real, 0, 1, closed="both"), None],
        "quantile": [Interval(Real, 0, 1, closed="both"), None],
        "alpha": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        *,
        threshold: str | float = "auto",
        noise_rate: float | None = None,
        quantile: float | None = None,
        alpha: float = 0.1,
    ) -> None:
        self.threshold = threshold
        self.noise_rate = noise_rate
        self.quantile = quantile
        self.alpha = alpha

    # --- what a detector says

    def _detect(self, X: Any, y: Ints) -> Beliefs:
        """Judge checked rows and their labels, given as class numbers."""
        raise NotImplementedError(f"{type(self).__name__} is a subclass of NoiseDetector without a _detect method")

    def _posterior(self, X: Any) -> Floats:
        """Class probabilities (n, n_classes) of new rows."""
        raise NotImplementedError(f"{type(self).__name__} has no _posterior method and cannot score new rows")

    def _score(self, X: Any, y: Ints) -> Floats:
        """Scores (n,) of new rows."""
        return 1 - self._posterior(X)[np.arange(len(y)), y]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("noise_rate", "quantile"):
            value = getattr(self, name)
            if value is not None and self.threshold != name:
                raise ValueError(
                    f"{name}={value!r} is for threshold={name!r}, but threshold is {self.threshold!r}; change one of "
                    "the "
                    "two."
                )
        if self.threshold == "quantile" and self.quantile is None:
            raise ValueError('threshold="quantile" needs quantile, for instance quantile=0.9 to flag a tenth.')

    def _mixture_split(self, scores: Floats) -> float:
        """The threshold of "auto"."""
        return thresholds.mixture_split(scores)

    def _network(self) -> Any:
        """The classifier for which X is read: how large it has images decoded, whether it takes whole numbers."""
        return None

    # --- fit

    def fit(self, X: Any, y: Any) -> Self:
        """Score every label.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Table, CSR matrix and, for detectors that train a network, images, list of image paths, lazy view.
        y : array-like of shape (n_samples,)
            Labels of any type scikit-learn takes, some of them wrong.

        Returns
        -------
        self
            The fitted estimator.
        """
        self._check_parameters()
        X = self._read(X, y, reset=True)
        self.classes_, numbers = inputs.read_labels(self, y)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds 1 class, {self.classes_.tolist()[0]!r}; {type(self).__name__} needs labels of 2 classes or "
                "more."
            )
        self._describe(self._detect(X, numbers))
        return self

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        """X as a float array, CSR matrix or lazy container, checked against what was fitted."""
        if not scipy.sparse.issparse(X):
            network = self._network()
            size, dtype = parameter_of(network, "image_size", 64), parameter_of(network, "dtype", "float32")
            return inputs.read_X(self, X, y, reset=reset, image_size=size, integers=dtype is None)
        if reset and y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        X = validate_data(self, X, reset=reset, accept_sparse="csr", dtype=[np.float32, np.float64])
        if y is not None:
            inputs.check_consistent_length(X, y)
        if reset:
            self.input_shape_, self.input_bytes_, self.input_integers_ = (X.shape[1],), False, False
        return X

    def _describe(self, found: Beliefs) -> None:
        """Set the attributes that every fitted detector has, aligned with the rows of X."""
        assert found.posterior is not None  # a detector keeps the whole matrix, as label_posterior_
        y, posterior = found.given, found.posterior
        scores = self._check_scores(found.noise_scores, len(found))
        held_out = posterior if found.held_out is None else found.held_out
        self._held_out = found.held_out
        self.label_posterior_ = posterior
        self.wrong_probability_ = thresholds.fit_transition_model(held_out, y).wrong_probability(held_out, y)
        rate, interval = self._estimate_noise(held_out, y)
        self.noise_rate_ = rate  # the threshold may follow from it
        threshold = self._find_threshold(scores)
        flagged = scores > threshold
        beliefs = replace(found, noise_scores=scores, noise_rate=rate, noise_rate_interval=interval)
        self.__dict__.update(beliefs.flagging(flagged, threshold).attributes())

    def _check_scores(self, scores: Any, n: int) -> Floats:
        scores = np.asarray(scores, dtype=np.float64)
        name = type(self).__name__
        if scores.shape != (n,):
            raise ValueError(
                f"{name} gave scores of shape {scores.shape} for {n} rows; a detector must neither drop rows nor be "
                "fitted elsewhere."
            )
        bad = ~((scores >= -1e-6) & (scores <= 1 + 1e-6))
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"noise scores must lie in [0, 1], but {name} gave {scores[row]} to row {row}.")
        return scores.clip(0, 1)

    def _estimate_noise(self, held_out: Floats, y: Ints) -> tuple[float, tuple[float, float]]:
        """Estimate the noise rate and its interval."""
        n, wrong = len(y), self.wrong_probability_
        rate = 1 - float(np.trace(confident.confident_joint(y, held_out))) / n
        doubted = float((held_out.argmax(1) != y).mean())
        low = wrong.mean() - 2 * wrong.std() / math.sqrt(n)
        high = doubted + 2 * math.sqrt((doubted * (1 - doubted) + 1 / n) / n)
        return rate, (float(np.clip(low, 0, rate)), float(np.clip(high, rate, 1)))

    def _find_threshold(self, scores: Floats) -> float:
        if isinstance(self.threshold, Real):
            return float(self.threshold)
        if self.threshold == "noise_rate":
            return thresholds.rate_threshold(scores, self.noise_rate_ if self.noise_rate is None else self.noise_rate)
        if self.threshold == "quantile":
            assert self.quantile is not None  # checked before the fit
            return float(np.quantile(scores, self.quantile))
        if self.threshold == "auto":
            return self._mixture_split(scores)
        found = thresholds.fdr_threshold(scores, self.wrong_probability_, self.alpha)
        if found is None:
            warnings.warn(
                f"no threshold brings the expected share of wrongly flagged rows to alpha={self.alpha:g}, so no row is "
                "flagged: either nearly all labels are right, or the scores do not separate right from wrong ones. "
                "Look at the highest noise_scores_, raise alpha, or take another detector.",
                stacklevel=4,
            )
            return 1.0
        return found

    def fit_predict(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Score every label and say which are flagged, in scikit-learn's outlier convention.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.
        y : array-like of shape (n_samples,)
            As in ``fit``.

        Returns
        -------
        flags : ndarray of shape (n_samples,)
            -1 for flagged rows, 1 for the others.
        """
        return np.where(self.fit(X, y).noise_mask_, -1, 1)

    # --- new rows

    def transform(self, X: Any) -> Any:
        """Check X and return it: a detector in the middle of a pipeline looks, and changes nothing.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows of the kind that ``fit`` was given.

        Returns
        -------
        X
            The same object, where it has a shape; else the checked array.
        """
        check_is_fitted(self)
        if inputs.is_paths(X) or inputs.is_lazy(X):
            return X
        checked = self._check_numbers(X.detach().cpu().numpy() if isinstance(X, Tensor) else X)
        if tuple(np.shape(checked)[1:]) != self.input_shape_:
            raise ValueError(
                f"X has rows of shape {tuple(np.shape(checked)[1:])}, but {type(self).__name__} was fitted on rows of "
                f"shape {self.input_shape_}."
            )
        return X if hasattr(X, "shape") else checked

    def _check_numbers(self, X: Any) -> Any:
        return validate_data(self, X, reset=False, accept_sparse=True, allow_nd=True)

    def score_labels(self, X: Any, y: Any) -> Floats:
        """Score new labeled rows by what was learned from those given to ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            New rows.
        y : array-like of shape (n_samples,)
            Their labels, of the classes that ``fit`` saw.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Comparable with ``noise_scores_`` and ``threshold_``.
        """
        check_is_fitted(self)
        if y is None:
            raise ValueError(f"{type(self).__name__} scores labels, but y is None.")
        X = self._read(X, y, reset=False)
        present, which = inputs.read_labels(self, y)
        unknown = sorted(set(present.tolist()) - set(self.classes_.tolist()), key=str)
        if unknown:
            raise ValueError(f"y holds labels that fit did not see: {', '.join(map(repr, unknown[:5]))}.")
        return self._check_scores(self._score(X, np.searchsorted(self.classes_, present)[which]), len(which))

    def __sklearn_is_fitted__(self) -> bool:
        return "noise_mask_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags


# --- what detectors around a network share ----------------------------------------------------------------------------


def dense_rows(detector: NoiseDetector, X: Any, seed: int | None = None) -> Any:
    """What a network takes: a CSR matrix as an array, projected first if it is wide; anything else as it is.

    With a ``seed`` the projection is fitted.
    """
    if not scipy.sparse.issparse(X):
        return X
    if X.shape[1] <= WIDE:
        return X.toarray().astype(np.float32)
    if seed is not None:
        size = min(N_DIRECTIONS, X.shape[0])
        detector._directions = TruncatedSVD(size, random_state=seed).fit(X)
    return detector._directions.transform(X).astype(np.float32)


def parameter_of(estimator: Any, name: str, default: Any) -> Any:
    """A parameter of a classifier, or of one inside it."""
    params = {} if estimator is None else estimator.get_params()
    return next((v for k, v in params.items() if k.rpartition("__")[2] == name), default)


def fitted(estimator: Any, generator: np.random.RandomState, X: Any, y: Any) -> Any:
    """A seeded clone fitted on the rows; of a ``FrozenEstimator`` a copy of what is in it, as it was fitted."""
    if not isinstance(estimator, FrozenEstimator):
        return seeded_clone(estimator, generator).fit(X, y)
    inner = copy.deepcopy(estimator.estimator)
    check_is_fitted(inner)
    return inner
