"""Where a detector acts: rows are found, repaired and learned from inside one ``fit``, on the training fold only.

A scikit-learn Pipeline can neither drop rows nor change labels, so :class:`~robustlabels.NoiseAwareClassifier` is a
classifier around a detector and a classifier. :class:`~robustlabels.NoiseFilter` drops rows in imbalanced-learn's
Pipeline, which can.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from joblib.hashing import NumpyHasher
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, check_random_state, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_memory

from robustlabels.detection import AutoNoiseDetector
from robustlabels.methods.baselines import CrossEntropyClassifier
from robustlabels.training.beliefs import Beliefs, forget_fit
from robustlabels.training.inputs import read_labels, take_params, take_rows
from robustlabels.training.meta import BaseMetaClassifier, fit_parameters, inside, routing, seeded_clone, weight_name
from robustlabels.training.parameters import ConstrainedParametersMixin, HasMethods, Interval, StrOptions
from robustlabels.training.persistence import SavableMixin

__all__ = ["NoiseAwareClassifier", "NoiseFilter", "Repair", "protected_rows", "repair"]

STRATEGIES = ("drop", "weight", "relabel")


# --- what a detector found, and what is done about it -----------------------------------------------------------------


class Repair(NamedTuple):
    """What becomes of the rows.

    Attributes
    ----------
    kept : ndarray of shape (n_samples,), bool
    labels : ndarray of shape (n_samples,)
    weights : ndarray of shape (n_samples,)
        Zero where the row is not kept.
    """

    kept: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def protected_rows(scores: np.ndarray, y: np.ndarray, min_per_class: int) -> np.ndarray:
    """The least suspicious rows of each class; of equal scores the first row.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
    y : ndarray of shape (n_samples,)
        Labels.
    min_per_class : int
        How many of each class; all, where a class has fewer.

    Returns
    -------
    protected : ndarray of shape (n_samples,), bool

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.cleaning import protected_rows
    >>> protected_rows(np.array([0.9, 0.2, 0.8, 0.8]), np.array([0, 0, 1, 1]), 1)
    array([False,  True,  True, False])
    """
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    order = np.lexsort((scores, codes))
    rank = np.empty(len(y), dtype=np.int64)  # of each row in its class, least suspicious first
    rank[order] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < min_per_class


def repair(
    beliefs: Beliefs, y: np.ndarray, strategy: str, *, min_per_class: int = 1, relabel_confidence: float = 0.0
) -> Repair:
    """What becomes of the rows of a training set.

    The ``min_per_class`` least suspicious rows of each class are neither dropped nor relabeled, and weigh at least the
    mean weight: a class never disappears.

    Parameters
    ----------
    beliefs : Beliefs
        What a detector says about the rows.
    y : ndarray of shape (n_samples,)
        Labels as given.
    strategy : {"drop", "weight", "relabel"}
        "drop": flagged rows are left out. "weight": a row weighs 1 - score, from 0 for a label that is wrong to 1 for
        one that is right; flags play no part. "relabel": flagged rows get the suggested label where its confidence
        reaches ``relabel_confidence``, and are left out where not.
    min_per_class : int, default=1
    relabel_confidence : float, default=0.0

    Returns
    -------
    Repair

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.cleaning import repair
    >>> from robustlabels.training.beliefs import Beliefs
    >>> y = np.array(["ant", "ant", "bee", "bee"])
    >>> posterior = np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    >>> beliefs = Beliefs.from_posterior(posterior, np.array([0, 0, 1, 1]), np.array(["ant", "bee"]))
    >>> repair(beliefs, y, "drop").kept
    array([ True, False,  True, False])
    >>> repair(beliefs, y, "weight").weights.round(1)
    array([0.9, 0.1, 0.8, 0.3])
    >>> repair(beliefs, y, "relabel").labels.tolist()
    ['ant', 'bee', 'bee', 'ant']
    """
    protected = protected_rows(beliefs.noise_scores, y, min_per_class)
    if strategy == "weight":
        weights = 1 - beliefs.noise_scores
        weights[protected] = np.maximum(weights[protected], weights.mean() or 1.0)
        return Repair(weights > 0, y, weights)
    kept, labels = ~beliefs.flagged | protected, y
    if strategy == "relabel":
        if not beliefs.has_suggestions or (relabel_confidence > 0 and not beliefs.has_confidence):
            lacking = "suggested_confidence_" if beliefs.has_suggestions else "suggested_labels_"
            raise TypeError(f'strategy="relabel" needs a detector with {lacking}; use "drop" or "weight".')
        sure = ~kept & (beliefs.confidence >= relabel_confidence) if beliefs.has_confidence else ~kept
        labels = y.copy()
        labels[sure] = beliefs.classes[beliefs.suggested[sure]]
        kept = kept | sure
    return Repair(kept, labels, kept.astype(np.float64))


# --- finding ----------------------------------------------------------------------------------------------------------


def _fit_detector(detector: Any, X: Any, y: np.ndarray, params: dict[str, Any], key: str | None = None) -> Any:
    """Fit a detector: a function of its arguments alone, so that joblib can remember what it returned, by the key."""
    return detector.fit(X, y, **params)


class _Hasher(NumpyHasher):
    """joblib's, but tensors are what they hold; joblib's hash of one depends on where in memory it lies."""

    def save(self, obj: Any) -> None:
        """Hash an object."""
        if isinstance(obj, torch.Tensor):
            values = obj.detach().cpu().contiguous()
            obj = (type(obj), str(obj.dtype), tuple(obj.shape), values.flatten().view(torch.uint8).numpy())
        super().save(obj)


def _key(*values: Any) -> str:
    """The same for equal values, and for a clone and its original."""
    return _Hasher(hash_name="sha1").hash(values)


def _last(estimator: Any) -> Any:
    """The last step of a Pipeline, of the Pipeline in it, and so on."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


class _Detecting:
    """What the estimators around a detector share."""

    detector: Any
    min_per_class: Any
    memory: Any
    random_state: Any

    def _inner_detector(self) -> Any:
        return AutoNoiseDetector() if self.detector is None else self.detector

    def _seeds(self) -> list[int | None]:
        """One for the detector and one for the classifier; None where nobody asked for one."""
        if self.random_state is None:
            return [None, None]
        return check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=2).tolist()

    def _detect(self, X: Any, y: Any, seed: int | None, params: Mapping[str, Any]) -> tuple[Any, Beliefs, Any]:
        """Fit a clone of the detector, or read the same detection from the memory.

        Return the fitted detector, its beliefs, and X as something whose rows can be picked.
        """
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        classes, codes = read_labels(self, y)
        X, labels = indexable(X, classes[codes])
        detector = _part(self._inner_detector(), seed)
        fit = _fit_detector
        key = None
        if self.memory is not None:
            memory = check_memory(os.fspath(self.memory) if isinstance(self.memory, os.PathLike) else self.memory)
            fit = memory.cache(_fit_detector, ignore=["detector", "X", "y", "params"])
            key = _key(detector, X, labels, dict(params))
        detector = fit(detector, X, labels, dict(params), key=key)
        return detector, Beliefs.of_detector(_last(detector), codes, classes), X

    def _look(self, *parts: Any) -> None:
        """Take over what X looked like from the first part that knows."""
        for name in ("n_features_in_", "feature_names_in_"):
            for part in parts:
                if hasattr(part, name):
                    setattr(self, name, getattr(part, name))
                    break


def _part(estimator: Any, seed: int | None) -> Any:
    """A clone, with seeds of its own where it has none; without a seed to derive them from, as it is."""
    return clone(estimator) if seed is None else seeded_clone(estimator, seed)


# --- weights ----------------------------------------------------------------------------------------------------------


def _request_weights(estimator: Any) -> None:
    """Under metadata routing, have whoever takes the weights in the end ask for them."""
    while estimator is not None:
        estimator = _last(estimator)
        if "sample_weight" in fit_parameters(estimator)[0]:
            estimator.set_fit_request(sample_weight=True)
            return
        estimator = inside(estimator)


# --- the estimators ---------------------------------------------------------------------------------------------------


class NoiseAwareClassifier(_Detecting, BaseMetaClassifier):
    """Find suspicious labels, repair the rows, and fit any classifier on the result.

    The detector sees the rows given to ``fit`` and no others: in cross-validation nothing of a test fold reaches the
    training. X is never converted: whatever the detector and the classifier take, this takes, and each of them may be a
    Pipeline that makes what it needs of it.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Any scikit-learn classifier, fitted on the repaired rows; cloned. None means
        :class:`~robustlabels.CrossEntropyClassifier`.
    detector : detector or None, default=None
        A :class:`~robustlabels.detection.NoiseDetector`, a Pipeline that ends in one, or anything whose ``fit(X, y)``
        leaves ``noise_scores_`` and ``noise_mask_``; cloned. None means :class:`~robustlabels.AutoNoiseDetector`.
    strategy : {"drop", "weight", "relabel"}, default="drop"
        "drop": leave flagged rows out. "weight": give every row the weight 1 - score; the classifier has to take
        ``sample_weight``. "relabel": give flagged rows the suggested label.
    relabel_confidence : float, default=0.0
        With "relabel": flagged rows whose suggestion is less probable than this are left out instead.
    min_per_class : int, default=1
        So many least suspicious rows of each class are neither dropped nor relabeled, and weigh at least the mean
        weight, so that no class disappears. Raise it for a classifier that splits the rows itself.
    memory : str, Path, joblib.Memory or None, default=None
        Where detections are kept: an equal detector on the same X and y is not fitted again, so that a search over
        ``estimator`` or ``strategy`` detects once a fold. Files are compared by name, not by contents.
    random_state : int, RandomState or None, default=None
        Seeds the detector and the classifier where their own ``random_state`` is None. With None and a ``memory``, the
        first draw of a detector without seed is used again.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the repaired rows.
    detector_ : detector
        Fitted on all rows.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    kept_mask_ : ndarray of shape (n_samples,), bool
        True for the rows that the classifier was fitted on.
    repaired_labels_ : ndarray of shape (n_samples,)
        The labels it was fitted on; those given, but for relabeled rows.
    row_weights_ : ndarray of shape (n_samples,)
        1 or, with "weight", 1 - score; 0 for rows that are not kept. A ``sample_weight`` of yours is not in it.
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_, threshold_
        What the detector says, as far as it says it, aligned with the rows of X.
    n_features_in_, feature_names_in_
        What X looked like, if the classifier or the detector says so.

    See Also
    --------
    NoiseFilter : The same in imbalanced-learn's Pipeline.

    Notes
    -----
    ``fit(X, y, **params)`` passes parameters on. With scikit-learn's metadata routing they go to the detector or the
    classifier, whichever requests them; without it, to the classifier. Those with an entry per row lose the entries of
    dropped rows. ``sample_weight`` finds the last step of an inner Pipeline by itself, is multiplied with the weights
    of "weight", and does not concern the detector.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from robustlabels import KNNNoiseDetector, NoiseAwareClassifier
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> y_noisy = SymmetricNoise(0.4, random_state=0).flip(y[:1000])
    >>> plain = LogisticRegression(C=0.01, max_iter=200).fit(X[:1000], y_noisy)
    >>> aware = NoiseAwareClassifier(LogisticRegression(C=0.01, max_iter=200), KNNNoiseDetector())
    >>> aware.fit(X[:1000], y_noisy).score(X[1000:], y[1000:]) > plain.score(X[1000:], y[1000:]) + 0.05
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "detector": ["no_validation"],
        "strategy": [StrOptions(set(STRATEGIES))],
        "relabel_confidence": [Interval(Real, 0, 1, closed="both")],
        "min_per_class": [Interval(Integral, 1, None, closed="left")],
        "memory": [str, os.PathLike, HasMethods("cache"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        detector: Any = None,
        *,
        strategy: str = "drop",
        relabel_confidence: float = 0.0,
        min_per_class: int = 1,
        memory: Any = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(estimator)
        self.detector = detector
        self.strategy = strategy
        self.relabel_confidence = relabel_confidence
        self.min_per_class = min_per_class
        self.memory = memory
        self.random_state = random_state

    def _default(self) -> CrossEntropyClassifier:
        return CrossEntropyClassifier()

    def fit(self, X: Any, y: Any, **params: Any) -> Self:
        """Detect, repair, fit.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Array, CSR matrix, DataFrame, images, list of paths: what the detector and the classifier take.
        y : array-like of shape (n_samples,)
            Labels, some of them wrong.
        **params : dict
            Passed on: see the notes of the class.

        Returns
        -------
        self
            The fitted estimator.
        """
        self._check_parameters()
        seeds = self._seeds()
        estimator = _part(self._inner(), seeds[1])
        given, for_detector = self._routed(params)
        given = self._checked(estimator, given)
        for key, value in given.items():
            if key.rpartition("__")[2] == "sample_weight" and y is not None:
                check_consistent_length(
                    y, value
                )  # Check lengths now: once rows are dropped, an error would quote lengths the user never passed.
        detector, beliefs, X = self._detect(X, y, seeds[0], for_detector)
        labels = beliefs.classes[beliefs.given]
        repaired = repair(
            beliefs,
            labels,
            self.strategy,
            min_per_class=self.min_per_class,
            relabel_confidence=self.relabel_confidence,
        )
        rows = np.flatnonzero(repaired.kept)
        if len(rows) < len(labels):
            X, given = take_rows(X, rows), take_params(X, given, rows)
        name = weight_name(estimator)
        if self.strategy == "weight" and name is not None:
            given[name] = repaired.weights[rows] * np.asarray(given.get(name, 1.0))
            if routing():
                _request_weights(estimator)
        estimator.fit(X, repaired.labels[rows], **given)
        forget_fit(self)
        self._look(estimator, detector)
        self.__dict__.update(
            beliefs.attributes(),
            estimator_=estimator,
            detector_=detector,
            classes_=beliefs.classes,
            kept_mask_=repaired.kept,
            repaired_labels_=repaired.labels,
            row_weights_=repaired.weights,
        )
        return self

    def _routed(self, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters for the classifier and for the detector."""
        params = {name: value for name, value in params.items() if value is not None}
        if not params or not routing():
            return params, {}
        routed = process_routing(self, "fit", **params)
        return dict(routed.estimator.fit), dict(routed.detector.fit)

    def _checked(self, estimator: Any, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters under the names that the classifier knows, or an error where it knows none."""
        last, weights = type(_last(estimator)).__name__, weight_name(estimator)
        if weights is None and self.strategy == "weight":
            raise TypeError(
                f'strategy="weight" needs a classifier whose fit takes sample_weight, and {last} does not; use "drop" '
                'or "relabel".'
            )
        if weights is None and "sample_weight" in params:
            raise TypeError(
                f"sample_weight cannot reach {last}, whose fit does not take it; leave it out, or take another "
                "classifier."
            )
        if weights is not None and "sample_weight" in params:
            params[weights] = params.pop("sample_weight")
        names, others = fit_parameters(estimator)
        for name in params:
            if name not in names and not others:
                raise TypeError(f"{type(estimator).__name__}.fit takes no {name}, which fit was given.")
            if self.strategy == "relabel" and name.rpartition("__")[2] == "soft_labels":
                raise ValueError(
                    'strategy="relabel" changes labels, which soft_labels would contradict; use "drop" or "weight".'
                )
        return params

    def get_metadata_routing(self) -> MetadataRouter:
        """Where metadata goes: to the detector and to the classifier, as they request it.

        Returns
        -------
        router : MetadataRouter
            The requests of the inner estimators.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        for part in {"estimator": self._inner()}, {"detector": self._inner_detector()}:
            router.add(**part, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        return router

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        also = get_tags(self._inner_detector()).input_tags
        for field in fields(also):  # what both can take, and what either of them needs
            one, other = getattr(tags.input_tags, field.name), getattr(also, field.name)
            needs = field.name in ("positive_only", "pairwise")
            setattr(tags.input_tags, field.name, one or other if needs else one and other)
        return tags


class NoiseFilter(_Detecting, SavableMixin, ConstrainedParametersMixin, BaseEstimator):
    """Drop suspicious rows, in a Pipeline of imbalanced-learn.

    It has ``fit_resample`` and no ``transform``: rows are dropped while a pipeline is fitted and never while it
    predicts. scikit-learn's own Pipeline cannot do this: use :class:`~robustlabels.NoiseAwareClassifier` there.
    imbalanced-learn is not needed to import or use this class.

    Parameters
    ----------
    detector : detector or None, default=None
        As for :class:`~robustlabels.NoiseAwareClassifier`.
    min_per_class : int, default=1
        So many least suspicious rows of each class are kept whatever their score.
    memory : str, Path, joblib.Memory or None, default=None
        Where detections are kept, so that an equal detector is not fitted again on the same X and y.
    random_state : int, RandomState or None, default=None
        Seeds the detector where its own ``random_state`` is None.

    Attributes
    ----------
    detector_ : detector
        Fitted on all rows.
    sample_indices_ : ndarray of shape (n_kept,)
        Numbers of the rows that were kept, in order.
    kept_mask_ : ndarray of shape (n_samples,), bool
        The same as a mask.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_, threshold_
        What the detector says, as far as it says it, aligned with the rows of X.
    n_features_in_, feature_names_in_
        What X looked like, if the detector says so.

    See Also
    --------
    NoiseAwareClassifier : For scikit-learn's Pipeline; also weighs and relabels.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import KNNNoiseDetector, NoiseFilter
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> y_noisy = SymmetricNoise(0.2, random_state=0).flip(y)
    >>> noise_filter = NoiseFilter(KNNNoiseDetector())
    >>> X_kept, y_kept = noise_filter.fit_resample(X, y_noisy)
    >>> bool((y_kept == y[noise_filter.sample_indices_]).mean() > 0.97)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "detector": ["no_validation"],
        "min_per_class": [Interval(Integral, 1, None, closed="left")],
        "memory": [str, os.PathLike, HasMethods("cache"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self, detector: Any = None, *, min_per_class: int = 1, memory: Any = None, random_state: Any = None
    ) -> None:
        self.detector = detector
        self.min_per_class = min_per_class
        self.memory = memory
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Find the rows to keep.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What the detector takes.
        y : array-like of shape (n_samples,)
            Labels, some of them wrong.

        Returns
        -------
        self
            The fitted estimator.
        """
        self._check_parameters()
        detector, beliefs, _ = self._detect(X, y, self._seeds()[0], {})
        labels = beliefs.classes[beliefs.given]
        kept = repair(beliefs, labels, "drop", min_per_class=self.min_per_class).kept
        forget_fit(self)
        self._look(detector)
        self.__dict__.update(
            beliefs.attributes(),
            detector_=detector,
            classes_=beliefs.classes,
            kept_mask_=kept,
            sample_indices_=np.flatnonzero(kept),
        )
        return self

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """The rows to keep, in the containers they came in.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What the detector takes.
        y : array-like of shape (n_samples,)
            Labels, some of them wrong.

        Returns
        -------
        X : array-like of shape (n_kept, ...)
            The kept rows.
        y : array-like of shape (n_kept,)
            Their labels.
        """
        self.fit(X, y)
        X, y = indexable(X, y)
        return take_rows(X, self.sample_indices_), take_rows(y, self.sample_indices_)

    def __sklearn_is_fitted__(self) -> bool:
        return "detector_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._inner_detector()).input_tags
        tags.target_tags.required = True
        return tags
