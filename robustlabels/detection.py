r"""Which labels are wrong: detectors that score every row, and say how many to flag and how sure they are of it.

A detector is a scikit-learn transformer that changes nothing: its ``fit(X, y)`` leaves ``noise_scores_`` and the like,
aligned with the rows of X. What acts on them is :class:`~robustlabels.NoiseAwareClassifier`. The contract is
:class:`NoiseDetector`; a detector writes one method, ``_detect(X, y)``, that returns a :class:`Verdict`.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.special import expit, ndtri
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from robustlabels import confident, inputs, thresholds
from robustlabels.base import BaseNoisyLabelClassifier, check_number, seeded_clone, take_rows
from robustlabels.dynamics import Dynamics
from robustlabels.elr import ELRClassifier
from robustlabels.functional import count_votes, most_votes, nearest_neighbours
from robustlabels.influence import (
    curvature,
    data_influence,
    influence_outliers,
    influence_scores,
    model_influence,
)
from robustlabels.modules import MLP
from robustlabels.moit import default_n_neighbors
from robustlabels.net import Rows, resolve_device
from robustlabels.objective import Objective

__all__ = [
    "AutoNoiseDetector",
    "ConfidentLearningNoiseDetector",
    "EnsembleNoiseDetector",
    "EstimatorNoiseDetector",
    "InfluenceNoiseDetector",
    "KNNNoiseDetector",
    "NoiseDetector",
    "SmallLossNoiseDetector",
    "Verdict",
]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

THRESHOLDS = ("auto", "noise_rate", "quantile", "fdr")

EARLY = 0.12
"""Share of the epochs, the first ones, in which a network has not yet learned single labels."""

WIDE = 512
"""Columns up to which a sparse X is made dense for a network; wider ones are projected."""

N_DIRECTIONS = 256
"""Singular directions onto which they are."""

HEAVY = 10.0
"""Excess kurtosis of the median column from which a table is heavy-tailed (normal: 0, exponential: 6)."""

FLOOR = 1e-3
"""Added to every belief before beliefs are multiplied: no expert rules a class out alone."""


# --- the contract -----------------------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What a detector makes of the rows it was fitted on.

    Attributes
    ----------
    posterior : ndarray of shape (n_samples, n_classes)
        Probability of each class being the right one.
    scores : ndarray of shape (n_samples,) or None
        In [0, 1], higher is more suspicious; None is one minus the posterior of the given label.
    belief : ndarray of shape (n_samples, n_classes) or None
        Class probabilities that have not seen the row's own label, where there are such: the noise rate and
        ``threshold="fdr"`` are estimated from them. None takes the posterior.
    """

    posterior: Floats
    scores: Floats | None = None
    belief: Floats | None = None


class NoiseDetector(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Base of all detectors: a score for every label, and what follows from scores.

    A subclass writes ``_detect(X, y)``, where X is checked and y holds class numbers, and returns a :class:`Verdict`;
    to score new rows it also writes ``_posterior(X)``, or ``_score(X, y)``.

    Parameters
    ----------
    threshold : {"auto", "noise_rate", "quantile", "fdr"} or float, default="auto"
        Rows whose score exceeds ``threshold_`` are flagged. "auto": where a mixture of two Gaussians goes over from the
        lower to the upper one. "noise_rate": as many rows as there are wrong labels, by ``noise_rate`` or, if it is
        None, by the estimate. "quantile": the rows above ``quantile`` of the scores. "fdr": as many rows as leave the
        expected share of wrongly flagged ones at ``alpha``. A float in [0, 1]: that score.
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
        joint (:func:`~robustlabels.confident.confident_joint`) of the beliefs.
    noise_rate_interval_ : tuple of two float
        From the share that the transition model sees (:mod:`robustlabels.thresholds`) to the share of rows believed to
        be of another class, with two standard errors on either side.
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
    A detector that believes in the nearest class mean:

    >>> import numpy as np
    >>> from scipy.special import softmax
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels.detection import NoiseDetector, Verdict
    >>> class MeanDetector(NoiseDetector):
    ...     def _detect(self, X, y):
    ...         self.means_ = np.stack([X[y == k].mean(0) for k in range(len(self.classes_))])
    ...         return Verdict(self._posterior(X))
    ...     def _posterior(self, X):
    ...         return softmax(-((X[:, None] - self.means_) ** 2).sum(2), axis=1)
    >>> X, y = load_iris(return_X_y=True)
    >>> y[3] = 2
    >>> MeanDetector().fit(X, y).noise_scores_.argmax()
    np.int64(3)
    """

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

    def _detect(self, X: Any, y: Ints) -> Verdict:
        """What the detector makes of checked rows and class numbers."""
        raise NotImplementedError(f"{type(self).__name__} is a subclass of NoiseDetector without a _detect method")

    def _posterior(self, X: Any) -> Floats:
        """Class probabilities (n, n_classes) of new rows."""
        raise NotImplementedError(f"{type(self).__name__} has no _posterior method and cannot score new rows")

    def _score(self, X: Any, y: Ints) -> Floats:
        """Scores (n,) of new rows."""
        return 1 - self._posterior(X)[np.arange(len(y)), y]

    def _check_parameters(self) -> None:
        """Raise for values out of range; a detector adds its own."""
        if isinstance(self.threshold, str):
            if self.threshold not in THRESHOLDS:
                names = ", ".join(map(repr, THRESHOLDS))
                raise ValueError(f"threshold must be one of {names} or a number in [0, 1], got {self.threshold!r}.")
        else:
            check_number("threshold", self.threshold, 0, 1)
        check_number("alpha", self.alpha, 0, 1)
        for name in ("noise_rate", "quantile"):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, 0, 1)
                if self.threshold != name:
                    raise ValueError(
                        f"{name}={value!r} is for threshold={name!r}, but threshold is {self.threshold!r}; change one "
                        "of the two."
                    )
        if self.threshold == "quantile" and self.quantile is None:
            raise ValueError('threshold="quantile" needs quantile, for instance quantile=0.9 to flag a tenth.')

    def _mixture_split(self, scores: Floats) -> float:
        """The threshold of "auto"."""
        return thresholds.mixture_split(scores)

    def _image_size(self) -> int:
        """Side to which images given as paths are decoded."""
        return 64

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
        """
        self._check_parameters()
        X = self._read(X, y, reset=True)
        self.classes_, numbers = inputs.read_labels(self, y)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds 1 class, {self.classes_.tolist()[0]!r}; {type(self).__name__} needs labels of 2 classes or "
                "more."
            )
        self._describe(self._detect(X, numbers), numbers)
        return self

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        """X as a float array, CSR matrix or lazy container, checked against what was fitted."""
        if not scipy.sparse.issparse(X):
            return inputs.read_X(self, X, y, reset=reset, image_size=self._image_size())
        if reset and y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        X = validate_data(self, X, reset=reset, accept_sparse="csr", dtype=[np.float32, np.float64])
        if reset:
            self.input_shape_, self.input_bytes_ = (X.shape[1],), False
        return X

    def _describe(self, found: Verdict, y: Ints) -> None:
        """Set the attributes every fitted detector carries, aligned with the rows of X."""
        n, n_classes = len(y), len(self.classes_)
        name = type(self).__name__
        posterior = confident.check_probabilities(found.posterior, n, name=f"label_posterior_ of {name}")
        if posterior.shape[1] != n_classes:
            raise ValueError(f"{name} believes in {posterior.shape[1]} classes, but y holds {n_classes}.")
        scores = 1 - posterior[np.arange(n), y] if found.scores is None else found.scores
        scores = self._check_scores(scores, n)
        belief = posterior if found.belief is None else found.belief
        belief = confident.check_probabilities(belief, n, name=f"belief of {name}")

        self._belief = found.belief
        self.label_posterior_ = posterior
        self.noise_scores_ = scores
        self.wrong_probability_ = thresholds.fit_transition_model(belief, y).wrong_probability(belief, y)
        self._estimate_noise(belief, y)
        self.threshold_ = self._find_threshold(scores)
        self.noise_mask_ = scores > self.threshold_

        suggested = np.where(self.noise_mask_, posterior.argmax(1), y)
        self.suggested_labels_ = self.classes_[suggested]
        self.suggested_confidence_ = posterior[np.arange(n), suggested]
        joint = np.stack([posterior[y == k].sum(0, dtype=np.float64) for k in range(n_classes)], axis=1)
        mass = joint.sum(1, keepdims=True)  # joint: believed class, given label
        self.transition_matrix_ = np.where(mass > 0, joint / np.where(mass > 0, mass, 1), np.eye(n_classes))

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

    def _estimate_noise(self, belief: Floats, y: Ints) -> None:
        """Set the noise rate and its interval."""
        n, wrong = len(y), self.wrong_probability_
        rate = 1 - float(np.trace(confident.confident_joint(y, belief))) / n
        doubted = float((belief.argmax(1) != y).mean())
        low = wrong.mean() - 2 * wrong.std() / math.sqrt(n)
        high = doubted + 2 * math.sqrt((doubted * (1 - doubted) + 1 / n) / n)
        self.noise_rate_ = rate
        self.noise_rate_interval_ = (float(np.clip(low, 0, rate)), float(np.clip(high, rate, 1)))

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
        y : array-like of shape (n_samples,)

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
        """Score new labelled rows by what was learned from those given to ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
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


# --- neighbours -------------------------------------------------------------------------------------------------------


def _unit(X: Any, device: str) -> Any:
    """Rows of norm one, flattened: a float32 tensor on the device, or a CSR matrix."""
    if scipy.sparse.issparse(X):
        norm = scipy.sparse.linalg.norm(X, axis=1)
        return scipy.sparse.csr_matrix(scipy.sparse.diags(1 / np.where(norm > 0, norm, 1)) @ X)
    rows = torch.from_numpy(np.array(X, dtype=np.float32).reshape(len(X), -1))
    return F.normalize(rows.to(device), dim=1)


def _neighbours_among(queries: Any, rows: Any, k: int, *, themselves: bool = False) -> Tensor:
    """The k of ``rows`` most similar to each query (n_queries, k), itself excluded where they are the same rows."""
    n, sparse = rows.shape[0], scipy.sparse.issparse(rows)
    step = max(1, (16 << 20) // n)
    found = []
    for start in range(0, queries.shape[0], step):
        part = queries[start : start + step]
        similarity = torch.from_numpy((part @ rows.T).toarray()) if sparse else part @ rows.T  # (b, n)
        if themselves:
            own = torch.arange(len(similarity), device=similarity.device)
            similarity[own, start + own] = -torch.inf
        found.append(similarity.topk(k, dim=1, sorted=False).indices)
    return torch.cat(found)


def _shares(counts: Tensor) -> Floats:
    """Votes as class probabilities."""
    votes = counts.cpu().numpy()
    return votes / votes.sum(1, keepdims=True)


def _voters(n_neighbors: Any, n: int, n_classes: int) -> int:
    if n_neighbors == "auto":
        if n < 2:
            raise ValueError(f"n_samples={n} is too few for neighbours to vote; 2 rows are needed.")
        return default_n_neighbors(n, n_classes)
    check_number("n_neighbors", n_neighbors, 1, integer=True)
    if n_neighbors >= n:
        raise ValueError(f"n_neighbors must be less than the {n} rows, got {n_neighbors}.")
    return int(n_neighbors)


def _check_backend(backend: str) -> None:
    if backend not in ("exact", "bf16", "faiss"):
        raise ValueError(f"backend must be 'exact', 'bf16' or 'faiss', got {backend!r}.")


class KNNNoiseDetector(NoiseDetector):
    """The neighbours vote on every label: MOIT's detector, on any features.

    Neighbours are found by cosine similarity on X as it is: scale columns of a table first, in a Pipeline.

    Parameters
    ----------
    n_neighbors : int or "auto", default="auto"
        "auto": half the mean size of a class, between 5 and 250.
    n_passes : {1, 2}, default=2
        In a second vote the neighbours vote with the labels that the first vote gave them (eq. 6-8 of MOIT), which
        corrects most of their own wrong labels.
    backend : {"exact", "bf16", "faiss"}, default="exact"
        Of the neighbour search: see :func:`~robustlabels.functional.nearest_neighbours`. A CSR matrix is searched
        exactly.
    device : str, default="auto"
        Where it runs.
    threshold : {"noise_rate", "auto", "quantile", "fdr"} or float, default="noise_rate"
        As for :class:`~robustlabels.detection.NoiseDetector`. The default flags as many rows as the noise rate says:
        these scores fall into no two groups, and a mixture splits them anyway.
    noise_rate, quantile, alpha
        As for :class:`~robustlabels.detection.NoiseDetector`.

    Attributes
    ----------
    n_neighbors_ : int
        Voters of each row.
    noise_scores_, noise_mask_, threshold_, noise_rate_, noise_rate_interval_, label_posterior_
        As for every detector, of the last vote.
    suggested_labels_, suggested_confidence_, transition_matrix_, classes_
        As for every detector.

    Notes
    -----
    A row does not vote on itself. The noise rate is estimated from the first vote, since in the second one a row's
    label has passed through its neighbours. Time and memory for n rows of d columns: n^2 d operations, in blocks.

    References
    ----------
    Ortego, Arazo, Albert, O'Connor, McGuinness (CVPR 2021), arXiv 2012.04462, eq. 6-8.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import KNNNoiseDetector, detection_report
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> noise = SymmetricNoise(0.3, random_state=0)
    >>> detector = KNNNoiseDetector().fit(X, noise.flip(y))
    >>> detection_report(detector.noise_scores_, noise.flip_mask_).average_precision > 0.95
    True
    """

    def __init__(
        self,
        n_neighbors: int | str = "auto",
        *,
        n_passes: int = 2,
        backend: str = "exact",
        device: str = "auto",
        threshold: str | float = "noise_rate",
        noise_rate: float | None = None,
        quantile: float | None = None,
        alpha: float = 0.1,
    ) -> None:
        super().__init__(threshold=threshold, noise_rate=noise_rate, quantile=quantile, alpha=alpha)
        self.n_neighbors = n_neighbors
        self.n_passes = n_passes
        self.backend = backend
        self.device = device

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.n_passes not in (1, 2):
            raise ValueError(f"n_passes must be 1 or 2, got {self.n_passes!r}.")
        _check_backend(self.backend)

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        if inputs.is_paths(X):
            raise TypeError(
                f"{type(self).__name__} compares features, not files; give embeddings of the images, or use "
                "AutoNoiseDetector, which makes its own."
            )
        return super()._read(X, y, reset=reset)

    def _detect(self, X: Any, y: Ints) -> Verdict:
        n, n_classes = X.shape[0], len(self.classes_)
        self.n_neighbors_ = _voters(self.n_neighbors, n, n_classes)
        device = "cpu" if scipy.sparse.issparse(X) else resolve_device(self.device)
        rows, labels = _unit(X, device), torch.from_numpy(y).to(device)
        if isinstance(rows, Tensor):
            neighbours = nearest_neighbours(rows, self.n_neighbors_, backend=self.backend)
        else:
            neighbours = _neighbours_among(rows, rows, self.n_neighbors_, themselves=True)
        first = counts = count_votes(neighbours, labels, n_classes)
        if self.n_passes == 2:
            labels = most_votes(first)
            counts = count_votes(neighbours, labels, n_classes)
        self._rows = rows.cpu() if isinstance(rows, Tensor) else rows
        self._labels = labels.cpu()
        return Verdict(_shares(counts), belief=None if self.n_passes == 1 else _shares(first))

    def _posterior(self, X: Any) -> Floats:
        if scipy.sparse.issparse(X) != scipy.sparse.issparse(self._rows):
            X = X.toarray() if scipy.sparse.issparse(X) else scipy.sparse.csr_matrix(X)
        neighbours = _neighbours_among(_unit(X, "cpu"), self._rows, self.n_neighbors_)
        return _shares(count_votes(neighbours, self._labels, len(self.classes_)))


# --- training dynamics ------------------------------------------------------------------------------------------------


def _dense_rows(detector: NoiseDetector, X: Any, seed: int | None = None) -> Any:
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


def _own_classifier(estimator: Any, detector: str) -> BaseNoisyLabelClassifier:
    if not isinstance(estimator, BaseNoisyLabelClassifier):
        raise TypeError(
            f"{detector} watches one of this package's classifiers while it trains, got {type(estimator).__name__}; "
            "ConfidentLearningNoiseDetector takes any classifier, EstimatorNoiseDetector also those around another."
        )
    return estimator


def _watched(clf: BaseNoisyLabelClassifier, X: Any, y: Any) -> Dynamics:
    """Fit a classifier and return its training dynamics, with its final answers for rows it never trained on."""
    seen: list[Dynamics] = []

    def wrap(objective: Objective, module: nn.Module, rows: Rows) -> Objective:
        _, epochs = clf._plan(len(rows))
        early = max(1, round(EARLY * epochs))
        seen.append(Dynamics(objective, rows.y, rows.n_classes, early_epochs=early))
        return seen[-1]

    clf._fit(X, y, wrap=wrap)
    dynamics = seen[-1]
    unseen = (dynamics.visits == 0).nonzero()[:, 0]
    if len(unseen):
        proba = torch.from_numpy(clf.predict_proba(take_rows(X, unseen.cpu().numpy()))).to(unseen.device)
        dynamics.record(unseen, proba.clamp_min(1e-6).log())
        dynamics.early[unseen] = proba
    return dynamics


def _mean(dynamics: Dynamics, name: str) -> Floats:
    return dynamics.mean(name).cpu().double().numpy()


class SmallLossNoiseDetector(NoiseDetector):
    """Wrong labels are learned late: training dynamics of one fit, without cross-validation.

    Parameters
    ----------
    estimator : classifier of this package or None, default=None
        Is cloned and trained; None means :class:`~robustlabels.ELRClassifier`, which does not learn wrong labels by
        heart even at the end.
    statistic : {"loss", "margin", "forgetting"}, default="loss"
        What is summed up over the epochs. "loss": the cross-entropy with the given label; the score is one minus the
        geometric mean of its probability. "margin": the logit of the given label minus the largest other one (area
        under the margin); the score is the sigmoid of minus its mean. "forgetting": how often a row that was predicted
        rightly no longer is; the score is the share of the largest number, and 1 for rows never predicted rightly.
    mixture : {"gaussian", "beta"}, default="gaussian"
        What ``threshold="auto"`` fits to the losses.
    random_state : int, RandomState or None, default=None
        Seeds the classifier where its own ``random_state`` is None.
    threshold, noise_rate, quantile, alpha
        As for :class:`~robustlabels.detection.NoiseDetector`.

    Attributes
    ----------
    estimator_ : classifier
        The trained classifier.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        The softmax averaged over the epochs.
    noise_scores_, noise_mask_, threshold_, noise_rate_, noise_rate_interval_
        As for every detector; the noise rate is estimated from the first 12 % of the epochs.
    suggested_labels_, suggested_confidence_, transition_matrix_, classes_
        As for every detector.

    Notes
    -----
    The logits are those of the training steps, so nothing is computed twice. ``score_labels`` asks the trained
    network, since new rows have no dynamics; with "forgetting" they have no score. A CSR matrix becomes dense, above
    512 columns by its 256 leading singular directions.

    References
    ----------
    Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019, arXiv 1904.11238 (mixtures of
    losses). Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS 2020,
    arXiv 2001.10528. Toneva et al., "An Empirical Study of Example Forgetting", ICLR 2019, arXiv 1812.05159.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import ELRClassifier, SmallLossNoiseDetector, detection_report
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> noise = SymmetricNoise(0.3, random_state=0)
    >>> detector = SmallLossNoiseDetector(ELRClassifier(max_epochs=15), random_state=0).fit(X, noise.flip(y))
    >>> detection_report(detector.noise_scores_, noise.flip_mask_).average_precision > 0.95
    True
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        statistic: str = "loss",
        mixture: str = "gaussian",
        random_state: Any = None,
        threshold: str | float = "auto",
        noise_rate: float | None = None,
        quantile: float | None = None,
        alpha: float = 0.1,
    ) -> None:
        super().__init__(threshold=threshold, noise_rate=noise_rate, quantile=quantile, alpha=alpha)
        self.estimator = estimator
        self.statistic = statistic
        self.mixture = mixture
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.statistic not in ("loss", "margin", "forgetting"):
            raise ValueError(f"statistic must be 'loss', 'margin' or 'forgetting', got {self.statistic!r}.")
        if self.mixture not in ("gaussian", "beta"):
            raise ValueError(f"mixture must be 'gaussian' or 'beta', got {self.mixture!r}.")
        _own_classifier(self._inner(), type(self).__name__)

    def _inner(self) -> Any:
        return ELRClassifier() if self.estimator is None else self.estimator

    def _image_size(self) -> int:
        return self._inner().image_size

    def _detect(self, X: Any, y: Ints) -> Verdict:
        generator = check_random_state(self.random_state)
        self.estimator_ = seeded_clone(self._inner(), generator)
        X = _dense_rows(self, X, generator.randint(np.iinfo(np.int32).max))
        dynamics = _watched(self.estimator_, X, self.classes_[y])
        if self.statistic == "loss":
            scores = -np.expm1(-_mean(dynamics, "loss"))
        elif self.statistic == "margin":
            scores = expit(-_mean(dynamics, "margin"))
        else:
            most = dynamics.forgotten.max().clamp_min(1)
            scores = torch.where(dynamics.learned, dynamics.forgotten / most, 1.0).cpu().numpy()
        return Verdict(_mean(dynamics, "proba"), scores, _mean(dynamics, "early"))

    def _mixture_split(self, scores: Floats) -> float:
        if self.statistic != "loss":
            return thresholds.mixture_split(scores, self.mixture)
        losses = -np.log1p(-scores.clip(0, 1 - 1e-12))
        return float(-np.expm1(-thresholds.mixture_split(losses, self.mixture)))

    def _posterior(self, X: Any) -> Floats:
        return self.estimator_.predict_proba(_dense_rows(self, X))

    def _score(self, X: Any, y: Ints) -> Floats:
        if self.statistic == "forgetting":
            raise ValueError(
                'statistic="forgetting" says nothing of rows that were not trained on; take "loss" or "margin" to '
                "score new rows."
            )
        proba = self._posterior(X)
        rows = np.arange(len(y))
        if self.statistic == "loss":
            return 1 - proba[rows, y]
        given = proba[rows, y].copy()
        proba[rows, y] = 0
        return expit(np.log(np.maximum(proba.max(1), 1e-12)) - np.log(np.maximum(given, 1e-12)))


# --- out of fold ------------------------------------------------------------------------------------------------------


class ConfidentLearningNoiseDetector(NoiseDetector):
    """Confident learning on out-of-fold probabilities of any classifier: cleanlab's numbers.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Any scikit-learn classifier with ``predict_proba``; cloned and fitted once a fold. None means logistic
        regression on standardised columns.
    cv : int, splitter or iterable, default=5
        Folds; every row has to be in one test fold. An int shuffles and stratifies.
    quality : {"self_confidence", "normalized_margin", "confidence_weighted_entropy"}, default="self_confidence"
        ``noise_scores_`` is one minus this :func:`~robustlabels.confident.label_quality`.
    adjusted : bool, default=False
        Adjust the probabilities for unbalanced classes before scoring.
    filter_by : str, default="prune_by_noise_rate"
        Which rows ``label_issues_`` flags: see :func:`~robustlabels.confident.find_label_issues`.
    n_jobs : int or None, default=None
        Folds fitted at once.
    random_state : int, RandomState or None, default=None
        Shuffles, and seeds the classifier where its own ``random_state`` is None.
    threshold : {"noise_rate", "auto", "quantile", "fdr"} or float, default="noise_rate"
        As for :class:`~robustlabels.detection.NoiseDetector`. The default flags as many rows as the noise rate says:
        these scores fall into no two groups, and a mixture splits them anyway.
    noise_rate, quantile, alpha
        As for :class:`~robustlabels.detection.NoiseDetector`.

    Attributes
    ----------
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        The out-of-fold probabilities.
    label_issues_ : ndarray of shape (n_samples,), bool
        What confident learning flags by ``filter_by``; ``noise_mask_`` goes by ``threshold`` instead.
    confident_joint_ : ndarray of shape (n_classes, n_classes)
        Calibrated counts; rows: given label, columns: true class.
    noise_rate_ : float
        Share of the joint beside its diagonal.
    transition_matrix_ : ndarray of shape (n_classes, n_classes)
        The joint by its columns: rows are true classes, each summing to one.
    estimators_ : list of classifier
        One a fold; new rows are scored by their mean.
    noise_scores_, noise_mask_, threshold_, noise_rate_interval_, suggested_labels_, suggested_confidence_, classes_
        As for every detector.

    Notes
    -----
    X goes to the classifier as it is, in any container: columns of text, missing values and the like are the
    classifier's, or its Pipeline's, to deal with. For probabilities you have already, call the functions of
    :mod:`robustlabels.confident`.

    References
    ----------
    Northcutt, Jiang, Chuang (JAIR 2021), arXiv 1911.00068.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import ConfidentLearningNoiseDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> y[3] = 2
    >>> detector = ConfidentLearningNoiseDetector(random_state=0).fit(X, y)
    >>> detector.noise_scores_.argmax(), bool(detector.label_issues_[3])
    (np.int64(3), True)
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        cv: Any = 5,
        quality: str = "self_confidence",
        adjusted: bool = False,
        filter_by: str = "prune_by_noise_rate",
        n_jobs: int | None = None,
        random_state: Any = None,
        threshold: str | float = "noise_rate",
        noise_rate: float | None = None,
        quantile: float | None = None,
        alpha: float = 0.1,
    ) -> None:
        super().__init__(threshold=threshold, noise_rate=noise_rate, quantile=quantile, alpha=alpha)
        self.estimator = estimator
        self.cv = cv
        self.quality = quality
        self.adjusted = adjusted
        self.filter_by = filter_by
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name, choices in {"quality": confident.QUALITIES, "filter_by": confident.FILTERS}.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}.")
        if self.estimator is not None and not hasattr(self.estimator, "predict_proba"):
            raise TypeError(
                f"confident learning needs predict_proba, which {type(self.estimator).__name__} does not have; wrap it "
                "in CalibratedClassifierCV, or take another classifier."
            )

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        """X as it is, checked as far as it is a matter of numbers."""
        if reset and y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        if inputs.is_paths(X) or inputs.is_lazy(X) or isinstance(X, Tensor):
            return super()._read(X, y, reset=reset)
        checked = self._check_numbers(X, reset=reset)
        inputs.check_consistent_length(checked, y)
        if reset:
            self.input_shape_ = tuple(checked.shape[1:])
        return checked

    def _check_numbers(self, X: Any, *, reset: bool = False) -> Any:
        if hasattr(X, "dtypes") and hasattr(X, "columns"):  # a table of any columns: names and their number alone
            kinds = {getattr(dtype, "kind", "O") for dtype in X.dtypes}
            if not kinds <= set("biuf"):
                validate_data(self, X, reset=reset, skip_check_array=True)
                return X
        missing = self.estimator is not None and get_tags(self.estimator).input_tags.allow_nan
        checked = validate_data(self, X, reset=reset, accept_sparse="csr", allow_nd=True, ensure_all_finite=not missing)
        return X if hasattr(X, "dtypes") else checked

    def _detect(self, X: Any, y: Ints) -> Verdict:
        generator = check_random_state(self.random_state)
        n, n_classes = len(y), len(self.classes_)
        inner = self._inner(X)
        folds = self._folds(X, y, generator)
        clones = [seeded_clone(inner, generator) for _ in folds]
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_fold)(clf, X, self.classes_[y], train, test)
            for clf, (train, test) in zip(clones, folds, strict=True)
        )
        self.estimators_ = [clf for clf, _ in results]
        out_of_fold = np.zeros((n, n_classes))
        for (clf, answers), (_, test) in zip(results, folds, strict=True):
            out_of_fold[test] = self._aligned(clf, answers)
        proba = confident.check_probabilities(out_of_fold, n, name=f"predict_proba of {type(inner).__name__}")
        self.confident_joint_ = confident.confident_joint(y, proba)
        self.label_issues_ = confident.find_label_issues(y, proba, filter_by=self.filter_by)
        right = confident.label_quality(y, proba, method=self.quality, adjusted=self.adjusted)
        return Verdict(proba, 1 - right)

    def _describe(self, found: Verdict, y: Ints) -> None:
        super()._describe(found, y)
        joint = self.confident_joint_.T
        self.transition_matrix_ = joint / joint.sum(1, keepdims=True)

    def _inner(self, X: Any) -> Any:
        if self.estimator is not None:
            return self.estimator
        return make_pipeline(StandardScaler(with_mean=not scipy.sparse.issparse(X)), LogisticRegression(max_iter=1000))

    def _folds(self, X: Any, y: Ints, generator: np.random.RandomState) -> list[tuple[Ints, Ints]]:
        if isinstance(self.cv, (int, np.integer)):
            check_number("cv", self.cv, 2, integer=True)
            count = np.bincount(y)
            rare = int(count.argmin())
            if count[rare] < self.cv:
                way = f"take cv={count[rare]}" if count[rare] > 1 else "leave the class out"
                raise ValueError(
                    f"class {self.classes_.tolist()[rare]!r} has {count[rare]} row(s), fewer than the {self.cv} folds; "
                    f"{way}, or take a detector without cross-validation such as AutoNoiseDetector."
                )
            splitter = StratifiedKFold(self.cv, shuffle=True, random_state=generator.randint(np.iinfo(np.int32).max))
        else:
            splitter = check_cv(self.cv, y, classifier=True)
        folds = list(splitter.split(np.zeros(len(y)), y))
        times = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(y))
        if not (times == 1).all():
            row = int((times != 1).argmax())
            raise ValueError(f"every row must be in one test fold, but cv puts row {row} into {times[row]}.")
        return folds

    def _aligned(self, clf: Any, answers: Floats) -> Floats:
        """Columns for all classes; those that a fold did not see are zero."""
        if len(clf.classes_) == len(self.classes_):
            return answers
        proba = np.zeros((len(answers), len(self.classes_)))
        proba[:, np.searchsorted(self.classes_, clf.classes_)] = answers
        return proba

    def _posterior(self, X: Any) -> Floats:
        return np.mean([self._aligned(clf, clf.predict_proba(X)) for clf in self.estimators_], axis=0)

    def _score(self, X: Any, y: Ints) -> Floats:
        return 1 - confident.label_quality(y, self._posterior(X), method=self.quality, adjusted=self.adjusted)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            inner = get_tags(self.estimator).input_tags
            tags.input_tags.sparse, tags.input_tags.allow_nan = inner.sparse, inner.allow_nan
        return tags


def _fit_fold(clf: Any, X: Any, y: Any, train: Ints, test: Ints) -> tuple[Any, Floats]:
    clf.fit(take_rows(X, train), y[train])
    return clf, clf.predict_proba(take_rows(X, test))


# --- a classifier's own opinion ---------------------------------------------------------------------------------------


def _is_frozen(estimator: Any) -> bool:
    return isinstance(estimator, FrozenEstimator)


class EstimatorNoiseDetector(NoiseDetector):
    """What one of this package's classifiers says of the rows it was fitted on, as a detector.

    Parameters
    ----------
    estimator : classifier of this package or None, default=None
        Also one around another, such as :class:`~robustlabels.InfluentialRankClassifier`. It is cloned and fitted; in
        a ``FrozenEstimator`` it is taken as it is, with the rows it was fitted on. None means
        :class:`~robustlabels.ELRClassifier`.
    random_state : int, RandomState or None, default=None
        Seeds the classifier where its own ``random_state`` is None.
    threshold, noise_rate, quantile, alpha
        As for :class:`~robustlabels.detection.NoiseDetector`.

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

    def __init__(
        self,
        estimator: Any = None,
        *,
        random_state: Any = None,
        threshold: str | float = "auto",
        noise_rate: float | None = None,
        quantile: float | None = None,
        alpha: float = 0.1,
    ) -> None:
        super().__init__(threshold=threshold, noise_rate=noise_rate, quantile=quantile, alpha=alpha)
        self.estimator = estimator
        self.random_state = random_state

    def _inner(self) -> Any:
        return ELRClassifier() if self.estimator is None else self.estimator

    def _image_size(self) -> int:
        params = self._inner().get_params()
        return next((v for k, v in params.items() if k.rpartition("__")[2] == "image_size"), 64)

    def _detect(self, X: Any, y: Ints) -> Verdict:
        generator = check_random_state(self.random_state)
        X = _dense_rows(self, X, generator.randint(np.iinfo(np.int32).max))
        given = self.classes_[y]
        if _is_frozen(self._inner()):
            self.estimator_ = copy.deepcopy(self._inner().estimator)
            check_is_fitted(self.estimator_)
        else:
            self.estimator_ = seeded_clone(self._inner(), generator).fit(X, given)
        name = type(self.estimator_).__name__
        if not hasattr(self.estimator_, "noise_scores_"):
            raise TypeError(
                f"{name} leaves no noise_scores_; take one of this package's classifiers, or "
                "ConfidentLearningNoiseDetector for any other."
            )
        self._check_rows(given, name)
        return Verdict(self._beliefs(X), self.estimator_.noise_scores_)

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
            return np.concatenate([proba for _, proba in clf._beliefs(clf._read_new(X))])
        return clf.predict_proba(X)

    def _posterior(self, X: Any) -> Floats:
        return self.estimator_.predict_proba(_dense_rows(self, X))


# --- influence --------------------------------------------------------------------------------------------------------


class InfluenceNoiseDetector(NoiseDetector):
    """Wrong labels hold the decision boundary by force: Influential Rank's scores, without its post-training.

    A softmax regression with a ridge is solved on the features; a row scores by how far it moves the solution, and by
    how much it harms other rows.

    Parameters
    ----------
    estimator : classifier with ``transform`` or None, default=None
        Whose features are taken: cloned and fitted, or as it is in a ``FrozenEstimator``. None takes X itself.
    damping : float or "auto", default="auto"
        The ridge, on standardised features. "auto": 0.1, more where there are fewer rows than features.
    backend : {"auto", "exact", "kfac", "factored", "representer"}, default="auto"
        Of the inverse Hessian: see :func:`~robustlabels.influence.curvature`.
    data_weight : float, default=0.5
        Share of the harm to other rows in the score; 0 leaves the influence on the model.
    max_reference : int, default=2000
        Rows whose harm is looked at; of more, some are drawn.
    rank_by : {"auto", "all", "class"}, default="auto"
        Rank within classes, as a row of a rare class moves the solution by being rare; "auto" where the largest class
        has more than 3 times the rows of the smallest.
    random_state : int, RandomState or None, default=None
        Of the drawn rows, and seeds the classifier where its own ``random_state`` is None.
    threshold, noise_rate, quantile, alpha
        As for :class:`~robustlabels.detection.NoiseDetector`, but that "auto" is the number of rows whose influence on
        the model is an outlier of their class: ranks have no mixture.

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
        threshold: str | float = "auto",
        noise_rate: float | None = None,
        quantile: float | None = None,
        alpha: float = 0.1,
    ) -> None:
        super().__init__(threshold=threshold, noise_rate=noise_rate, quantile=quantile, alpha=alpha)
        self.estimator = estimator
        self.damping = damping
        self.backend = backend
        self.data_weight = data_weight
        self.max_reference = max_reference
        self.rank_by = rank_by
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.damping != "auto":
            check_number("damping", self.damping, 0, closed="right")
        check_number("data_weight", self.data_weight, 0, 1)
        check_number("max_reference", self.max_reference, 1, integer=True)
        if self.rank_by not in ("auto", "all", "class"):
            raise ValueError(f"rank_by must be 'auto', 'all' or 'class', got {self.rank_by!r}.")
        if self.estimator is not None and not hasattr(self.estimator, "transform"):
            raise TypeError(
                f"{type(self.estimator).__name__} has no transform, which gives the features; take one of this "
                "package's classifiers, or None for X itself."
            )

    def _image_size(self) -> int:
        params = {} if self.estimator is None else self.estimator.get_params()
        return next((v for k, v in params.items() if k.rpartition("__")[2] == "image_size"), 64)

    def _features(self, X: Any) -> Floats:
        X = _dense_rows(self, X)
        if self.estimator is not None:
            return self.estimator_.transform(X)
        return np.asarray(X, dtype=np.float32).reshape(len(X), -1)

    def _detect(self, X: Any, y: Ints) -> Verdict:
        generator = check_random_state(self.random_state)
        seed = int(generator.randint(np.iinfo(np.int32).max))
        dense = _dense_rows(self, X, seed)
        if self.estimator is not None:
            if _is_frozen(self.estimator):
                self.estimator_ = copy.deepcopy(self.estimator.estimator)
                check_is_fitted(self.estimator_)
            else:
                self.estimator_ = seeded_clone(self.estimator, generator).fit(dense, self.classes_[y])
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
        self._reference = features[chosen], y[chosen]
        return Verdict(found.head.proba(features).numpy(), found.rank.numpy())

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


# --- several detectors ------------------------------------------------------------------------------------------------


class EnsembleNoiseDetector(NoiseDetector):
    """Several detectors as one.

    Parameters
    ----------
    detectors : list of (str, detector) or None, default=None
        Names and detectors; cloned. A detector is set to another one, or its parameters, by its name, as in a
        ``VotingClassifier``. None means k-NN, small loss and confident learning.
    combine : {"posterior", "rank"}, default="posterior"
        "posterior": the geometric mean of their posteriors, renormalised. "rank": the mean of the ranks of their
        scores, for detectors whose scores cannot be compared.
    random_state : int, RandomState or None, default=None
        Seeds the detectors where their own ``random_state`` is None.
    threshold : {"noise_rate", "auto", "quantile", "fdr"} or float, default="noise_rate"
        As for :class:`~robustlabels.detection.NoiseDetector`. The default flags as many rows as the noise rate says:
        these scores fall into no two groups, and a mixture splits them anyway.
    noise_rate, quantile, alpha
        As for :class:`~robustlabels.detection.NoiseDetector`; those of the parts are not used.

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

    def __init__(
        self,
        detectors: Sequence[tuple[str, Any]] | None = None,
        *,
        combine: str = "posterior",
        random_state: Any = None,
        threshold: str | float = "noise_rate",
        noise_rate: float | None = None,
        quantile: float | None = None,
        alpha: float = 0.1,
    ) -> None:
        super().__init__(threshold=threshold, noise_rate=noise_rate, quantile=quantile, alpha=alpha)
        self.detectors = detectors
        self.combine = combine
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of this detector, and of its parts by their names.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        params : dict
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

        Returns
        -------
        self
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
        super()._check_parameters()
        if self.combine not in ("posterior", "rank"):
            raise ValueError(f"combine must be 'posterior' or 'rank', got {self.combine!r}.")
        parts = self._parts()
        if self.detectors is not None and (not parts or len(self._named()) < len(parts)):
            raise ValueError(f"detectors must be (name, detector) pairs of different names, got {self.detectors!r}.")
        for name, part in parts:
            if not isinstance(part, NoiseDetector):
                raise TypeError(f"{name} must be a NoiseDetector, got {type(part).__name__}.")

    def _image_size(self) -> int:
        return next((size for _, part in self._parts() if (size := part._image_size()) != 64), 64)

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        """X as it is: every part reads it for itself."""
        super()._read(X, y, reset=reset)
        return X

    def _detect(self, X: Any, y: Ints) -> Verdict:
        generator = check_random_state(self.random_state)
        given = self.classes_[y]
        self.detectors_ = [seeded_clone(part, generator).fit(X, given) for _, part in self._parts()]
        beliefs = [part.label_posterior_ if part._belief is None else part._belief for part in self.detectors_]
        posterior = _geometric_mean([part.label_posterior_ for part in self.detectors_])
        scores = None
        if self.combine == "rank":
            scores = np.mean([_ranked(part.noise_scores_, part.noise_scores_) for part in self.detectors_], axis=0)
        return Verdict(posterior, scores, _geometric_mean(beliefs))

    def _posterior(self, X: Any) -> Floats:
        return _geometric_mean([part._posterior(part._read(X, reset=False)) for part in self.detectors_])

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


def _geometric_mean(beliefs: Sequence[Floats]) -> Floats:
    """Geometric mean of floored beliefs (n, n_classes), rows summing to one."""
    mean = np.exp(np.mean([np.log(_normalised(belief + FLOOR)) for belief in beliefs], axis=0))
    return _normalised(mean)


def _normalised(rows: Floats) -> Floats:
    return rows / rows.sum(1, keepdims=True)


# --- the default ------------------------------------------------------------------------------------------------------


def one_layer(n_features: int, n_classes: int, width: int = 256) -> MLP:
    """The network of :class:`~robustlabels.AutoNoiseDetector` on tables: one hidden layer, inputs as they are."""
    return MLP(n_features, n_classes, width=width, depth=1)


def is_heavy_tailed(X: Floats) -> bool:
    """Whether the columns of a table have heavy tails: their median excess kurtosis is above 10.

    The median, since in any table some columns are rare flags; constant columns do not count.

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.detection import is_heavy_tailed
    >>> normal = np.random.default_rng(0).normal(size=(500, 8))
    >>> is_heavy_tailed(normal), is_heavy_tailed(np.exp(2 * normal))
    (False, True)
    """
    kurtosis = []
    for start in range(0, X.shape[1], 16):
        part = X[:, start : start + 16].astype(np.float64)
        part -= part.mean(0)
        variance = (part**2).mean(0)
        varies = variance > 1e-12 * np.maximum(variance.max(), 1e-300)
        kurtosis.append((part[:, varies] ** 4).mean(0) / variance[varies] ** 2 - 3)
    found = np.concatenate(kurtosis)
    return bool(len(found) and np.median(found) > HEAVY)


def normal_quantiles(X: Floats, ordered: Floats) -> Floats:
    """Each column's values as quantiles of the normal distribution, within three standard deviations.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    ordered : ndarray of shape (n_known, n_features)
        The values to rank among, sorted column by column.

    Returns
    -------
    Z : ndarray of shape (n_samples, n_features), float32

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.detection import normal_quantiles
    >>> normal_quantiles(np.array([[1.0], [20.0], [300.0]]), np.array([[1.0], [20.0], [300.0]])).round(2).tolist()
    [[-0.9700000286102295], [0.0], [0.9700000286102295]]
    """
    Z = np.empty(X.shape, dtype=np.float32)
    for column, known, out in zip(X.T, ordered.T, Z.T, strict=True):
        rank = np.searchsorted(known, column) + np.searchsorted(known, column, side="right")  # equal values alike
        out[:] = ndtri(rank / (2 * len(known))).clip(-3, 3)
    return Z


def canonical_order(X: Floats, y: Ints) -> tuple[Ints, Ints]:
    """An order of rows, and one of classes, that depend on their contents alone.

    Trained in this order, a network gives the same whatever order rows came in and whatever classes are called.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows are ordered along a fixed random direction; equal ones by the size of their class.
    y : ndarray of shape (n_samples,), int

    Returns
    -------
    rows : ndarray of shape (n_samples,)
    classes : ndarray of shape (n_classes,)
        By first appearance.
    """
    direction = np.random.RandomState(0).normal(size=X.shape[1])
    step = max(1, (1 << 22) // X.shape[1])
    key = np.concatenate([X[i : i + step].astype(np.float64) @ direction for i in range(0, len(X), step)])
    rows = np.lexsort((np.bincount(y)[y], key.round(9)))
    present, first = np.unique(y[rows], return_index=True)
    return rows, present[np.argsort(first)]


class AutoNoiseDetector(NoiseDetector):
    r"""The default detector: a robust network's early beliefs times the vote of the neighbours.

    Two experts that fail in different places. The network is :class:`~robustlabels.ELRClassifier`, its belief of a row
    the softmax of the training steps averaged over epochs and over two seeds. The neighbours vote once, by cosine
    similarity. One setting for all data; no noise rate, no clean labels, no cross-validation.

    Parameters
    ----------
    estimator : classifier of this package or None, default=None
        The network, trained ``n_repeats`` times; None means ELR as specified below.
    n_neighbors : int or "auto", default="auto"
        Voters. "auto": half the mean size of a class, between 5 and 250.
    prior_exponent : float, default=0.5
        How far beliefs are divided by the frequency of the class. 0.5 helps where errors hide in the frequent label
        (questions labelled by rules: average precision .43 -> .64 without ``transition_weight``) and hurts where they
        sit in the rare one (6 % false positives of a binary set: .79 -> .76). Labels alone do not tell which of the two
        holds; 0 is neutral.
    transition_weight : float or "auto", default="auto"
        How far the flips that the first epochs show count: a row looks the more suspicious, the more often its believed
        class is given its label. "auto": the square of the share of flips that is not uniform; 0 leaves them out.
    n_repeats : int, default=2
        Networks trained, from different seeds.
    backend : {"exact", "bf16", "faiss"}, default="exact"
        Of the neighbour search: see :func:`~robustlabels.functional.nearest_neighbours`.
    device : str, default="auto"
        Of the network, if ``estimator`` is None, and of the neighbour search.
    random_state : int, RandomState or None, default=None
        Seeds the networks.
    threshold : {"noise_rate", "auto", "quantile", "fdr"} or float, default="noise_rate"
        As for :class:`~robustlabels.detection.NoiseDetector`. The default flags as many rows as the noise rate says: a
        mixture finds two groups also where all labels are right.
    noise_rate, quantile, alpha
        As for :class:`~robustlabels.detection.NoiseDetector`.

    Attributes
    ----------
    noise_scores_ : ndarray of shape (n_samples,)
        One minus Q at the given label: see the notes.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        P of the notes, without priors and flips.
    noise_rate_, noise_rate_interval_
        As for every detector, from beliefs of the first 12 % of the epochs times the vote.
    estimators_ : list of classifier
        The trained networks.
    n_neighbors_ : int
    transition_weight_ : float
        The weight taken.
    heavy_tailed_ : bool
        Whether the columns were brought to normal quantiles.
    noise_mask_, threshold_, suggested_labels_, suggested_confidence_, transition_matrix_, classes_
        As for every detector.

    Notes
    -----
    With A the network's belief and B the vote, both plus 0.001 and normalised, pi the class frequencies, e the prior
    exponent, T the flips (true class to label) and w the transition weight:

    .. math:: P_{ij} \propto \sqrt{A_{ij} B_{ij}}, \qquad Q_{ij} \propto P_{ij} \, \pi_j^{-e} \, T_{j \tilde y_i}^w,
              \qquad \text{score}_i = 1 - Q_{i \tilde y_i}

    T is fitted (:func:`~robustlabels.thresholds.fit_transition_model`) to the beliefs of the first 12 % of the epochs,
    on the rows where they name the same class as the vote, and :math:`w = (1 - u)^2` with the uniform share u of T
    (:func:`~robustlabels.thresholds.uniform_share`).

    Tables: columns are brought to normal quantiles if the median column has an excess kurtosis above 10; the network
    sees them standardised, with small ones kept small, and has one hidden layer of 256 units; lambda is 3, beta 0.7, 25
    epochs at batches of n / 20, at least 16 and at most 128. Rows are trained on in an order of their own, so that
    scores do not depend on the order they come in, nor on the names of classes. Images, files and lazy views: the
    classifier's own network, whose features the neighbours are found in. A CSR matrix becomes dense, above 512 columns
    by its 256 leading singular directions.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import AutoNoiseDetector, detection_report
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> noise = SymmetricNoise(0.3, random_state=0)
    >>> detector = AutoNoiseDetector(n_repeats=1, random_state=0).fit(X, noise.flip(y))
    >>> detection_report(detector.noise_scores_, noise.flip_mask_).average_precision > 0.98
    True
    >>> round(detector.noise_rate_, 1)
    0.3
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_neighbors: int | str = "auto",
        prior_exponent: float = 0.5,
        transition_weight: float | str = "auto",
        n_repeats: int = 2,
        backend: str = "exact",
        device: str = "auto",
        random_state: Any = None,
        threshold: str | float = "noise_rate",
        noise_rate: float | None = None,
        quantile: float | None = None,
        alpha: float = 0.1,
    ) -> None:
        super().__init__(threshold=threshold, noise_rate=noise_rate, quantile=quantile, alpha=alpha)
        self.estimator = estimator
        self.n_neighbors = n_neighbors
        self.prior_exponent = prior_exponent
        self.transition_weight = transition_weight
        self.n_repeats = n_repeats
        self.backend = backend
        self.device = device
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("prior_exponent", self.prior_exponent, 0)
        check_number("n_repeats", self.n_repeats, 1, integer=True)
        _check_backend(self.backend)
        if self.transition_weight != "auto":
            check_number("transition_weight", self.transition_weight, 0)
        if self.estimator is not None:
            _own_classifier(self.estimator, type(self).__name__)

    def _image_size(self) -> int:
        return 64 if self.estimator is None else self.estimator.image_size

    def _network(self, n: int, *, table: bool) -> Any:
        if self.estimator is not None:
            return self.estimator
        return ELRClassifier(
            one_layer if table else "auto",
            lam=3.0,
            beta=0.7,
            max_epochs=25,
            batch_size=min(128, max(16, n // 20)),
            device=self.device,
        )

    # --- tables

    def _prepare(self, X: Floats, *, reset: bool) -> tuple[Floats, Floats]:
        """What the neighbours are found in, and what the network sees."""
        if reset:
            self.heavy_tailed_ = is_heavy_tailed(X)
            if self.heavy_tailed_:
                ordered = np.sort(X, axis=0)
                self._ordered = ordered[np.linspace(0, len(X) - 1, min(len(X), 10_000)).astype(int)]
        if self.heavy_tailed_:
            X = normal_quantiles(X, self._ordered)
        if reset:
            std = X.std(0, dtype=np.float64)
            self._center = X.mean(0, dtype=np.float64).astype(np.float32)
            self._scale = (std + 0.1 * std.mean() + 1e-6).astype(np.float32)
        return X, (X - self._center) / self._scale

    # --- detect

    def _detect(self, X: Any, y: Ints) -> Verdict:
        generator = check_random_state(self.random_state)
        seeds = generator.randint(np.iinfo(np.int32).max, size=self.n_repeats + 1)
        n, n_classes = len(y), len(self.classes_)
        self.n_neighbors_ = _voters(self.n_neighbors, n, n_classes)
        X = _dense_rows(self, X, seeds[-1])
        self._is_table = isinstance(X, np.ndarray) and X.ndim == 2
        rows, order = np.arange(n), np.arange(n_classes)
        near = seen = X
        if self._is_table:
            near, seen = self._prepare(X, reset=True)
            rows, order = canonical_order(near, y)
            near, seen = near[rows], seen[rows]
        else:
            self.heavy_tailed_ = False
        place = np.argsort(order)  # of a class in the order it is trained in
        labels = place[y[rows]]

        self.estimators_, averaged, early = [], [], []
        for seed in seeds[:-1]:
            clf = seeded_clone(self._network(n, table=self._is_table), int(seed))
            dynamics = _watched(clf, seen, labels)
            self.estimators_.append(clf)
            averaged.append(_mean(dynamics, "proba"))
            early.append(_mean(dynamics, "early"))
        a, e = np.mean(averaged, axis=0), np.mean(early, axis=0)  # (n, n_classes)

        device = resolve_device(self.device)
        unit = _unit(near if self._is_table else self._network_features(seen), device)
        given = torch.from_numpy(labels).to(device)
        b = _shares(count_votes(nearest_neighbours(unit, self.n_neighbors_, backend=self.backend), given, n_classes))
        self._rows, self._votes, self._order = unit.cpu(), given.cpu(), order

        self._prior = np.bincount(labels, minlength=n_classes) / n
        self._fit_flips(e, b, labels)
        posterior = _geometric_mean([a, b])
        scores = self._suspicion(posterior, labels)
        back = np.argsort(rows)
        columns = np.ix_(back, place)
        return Verdict(posterior[columns], scores[back], _geometric_mean([e, b])[columns])

    def _fit_flips(self, early: Floats, votes: Floats, y: Ints) -> None:
        """T, where the first epochs and the vote name the same class, and how far it counts."""
        agree = (early.argmax(1) == votes.argmax(1)).astype(np.float64)
        self._flips = thresholds.fit_transition_model(early + FLOOR, y, weight=agree).transition
        weight = self.transition_weight
        self.transition_weight_ = (
            (1 - thresholds.uniform_share(self._flips)) ** 2 if weight == "auto" else float(weight)
        )

    def _network_features(self, X: Any) -> Floats:
        """Unit-norm features of all networks side by side."""
        parts = [clf.transform(X) for clf in self.estimators_]
        return np.hstack([part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts])

    def _suspicion(self, posterior: Floats, y: Ints) -> Floats:
        """1 - Q[i, y_i], (n,)."""
        q = posterior * self._prior**-self.prior_exponent
        if self.transition_weight_ > 0:
            q *= (0.98 * self._flips + 0.02 / len(self._flips)).T[y] ** self.transition_weight_
        return 1 - _normalised(q)[np.arange(len(y)), y]

    # --- new rows

    def _ordered_posterior(self, X: Any) -> Floats:
        """P of new rows, classes in the order they were trained in."""
        X = _dense_rows(self, X)
        near = seen = X
        if self._is_table:
            near, seen = self._prepare(X, reset=False)
        a = np.mean([clf.predict_proba(seen) for clf in self.estimators_], axis=0)
        unit = _unit(near if self._is_table else self._network_features(seen), "cpu")
        b = _shares(count_votes(_neighbours_among(unit, self._rows, self.n_neighbors_), self._votes, a.shape[1]))
        return _geometric_mean([a, b])

    def _posterior(self, X: Any) -> Floats:
        return self._ordered_posterior(X)[:, np.argsort(self._order)]

    def _score(self, X: Any, y: Ints) -> Floats:
        return self._suspicion(self._ordered_posterior(X), np.argsort(self._order)[y])
