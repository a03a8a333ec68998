"""What an estimator says about every row: scores, flags, suggestions, the transition matrix and the noise rate.

:class:`Beliefs` computes them from class probabilities in one place, for classifiers and detectors alike, and reads
them back from a fitted estimator for cleaning and reports. Labels are numbers into ``classes``, and a million rows are
ranked and counted without a full sort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, column_or_1d

from robustlabels.maths.confident_joint import check_probabilities

__all__ = ["ROW_ATTRIBUTES", "Beliefs", "Floats", "Ints", "encode", "forget_fit", "ranking", "transition_matrix"]

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

ROW_ATTRIBUTES = (
    "noise_scores_",
    "noise_mask_",
    "noise_rate_",
    "suggested_labels_",
    "suggested_confidence_",
    "transition_matrix_",
)
"""What every fitted estimator says about the rows it was fitted on."""

NO_SUGGESTION = -1
"""Class number where a foreign detector suggests no label."""


def forget_fit(estimator: Any) -> None:
    """Delete all fitted attributes of an estimator, so that nothing of an earlier fit outlives the next one."""
    for name in [name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")]:
        delattr(estimator, name)


def encode(labels: Any, classes: NDArray[Any], name: str) -> Ints:
    """Labels as numbers into the sorted ``classes``.

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.training.beliefs import encode
    >>> encode(["dog", "cat"], np.array(["cat", "dog"]), "y")
    array([1, 0])
    """
    labels = column_or_1d(labels)
    try:
        numbers = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        known = np.asarray(classes[numbers] == labels, dtype=bool)
    except TypeError:  # text among numbers
        known = np.zeros(len(labels), dtype=bool)
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        shown = ", ".join(map(repr, classes[:10].tolist())) + (" …" if len(classes) > 10 else "")
        label = labels[row].item() if isinstance(labels[row], np.generic) else labels[row]
        raise ValueError(f"{name} has the label {label!r} in row {row}, which is not one of the classes {shown}.")
    return numbers.astype(np.int64)


def ranking(scores: Floats, n: int | None = None) -> Ints:
    """Numbers of the ``n`` rows with the highest scores, highest first; of equal scores the first row comes first.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
        Finite.
    n : int or None, default=None
        None ranks all rows.

    Returns
    -------
    rows : ndarray of shape (n,), int64

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.training.beliefs import ranking
    >>> ranking(np.array([0.1, 0.9, 0.5, 0.9]), 3)
    array([1, 3, 2])
    """
    if n is None or n >= len(scores):
        return np.argsort(-scores, kind="stable")
    if n < 1:
        return np.empty(0, dtype=np.int64)
    last = np.partition(scores, -n)[-n]
    above = np.flatnonzero(scores > last)
    rows = np.concatenate([above, np.flatnonzero(scores == last)[: n - len(above)]])
    return rows[np.argsort(-scores[rows], kind="stable")]


def transition_matrix(joint: Floats) -> Floats:
    """Normalize a joint distribution of true class and given label to the labels' distribution in each class.

    Parameters
    ----------
    joint : ndarray of shape (n_classes, n_classes)
        Rows: true class, columns: given label; not negative.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes)
        Each row sums to one. A class without mass keeps its labels: its row is that of the identity.
    """
    mass = joint.sum(1, keepdims=True)
    return np.where(mass > 0, joint / np.where(mass > 0, mass, 1), np.eye(len(joint)))


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What an estimator says about every row.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted.
    given, suggested : ndarray of shape (n_samples,), int64
        Labels, as numbers into ``classes``. A suggestion is -1 where a foreign detector makes none.
    noise_scores, confidence : ndarray of shape (n_samples,)
        How suspicious the given label is, and how probable the suggested one; NaN where that is unknown.
    flagged : ndarray of shape (n_samples,), bool
    transition_matrix : ndarray of shape (n_classes, n_classes)
        Rows: true class, as estimated; columns: given label.
    noise_rate : float
        Estimated share of wrong labels.
    noise_rate_interval : tuple of two floats or None, default=None
        Interval of the noise rate, where the estimator has one.
    threshold : float or None, default=None
        Rows with a higher score are flagged; None where flags follow another rule.
    posterior : ndarray of shape (n_samples, n_classes) or None, default=None
        Probability of each class being the true one, where it was kept whole.
    held_out : ndarray of shape (n_samples, n_classes) or None, default=None
        Class probabilities that do not depend on the row's own label, where there are any.
    history : ndarray of shape (n_epochs, n_samples), float16, or None, default=None
        Probability of each given label during training, where it was recorded.
    method : str, default=""
        Name of the estimator.
    """

    classes: NDArray[Any]
    given: Ints
    suggested: Ints
    noise_scores: Floats
    confidence: Floats
    flagged: NDArray[np.bool_]
    transition_matrix: Floats
    noise_rate: float
    noise_rate_interval: tuple[float, float] | None = None
    threshold: float | None = None
    posterior: Floats | None = None
    held_out: Floats | None = None
    history: NDArray[np.float16] | None = None
    method: str = ""

    @classmethod
    def from_posterior(
        cls,
        posterior: Floats | Iterable[tuple[Ints, Floats]],
        given: Ints,
        classes: NDArray[Any],
        *,
        flag: Callable[[NDArray[np.bool_]], NDArray[np.bool_]] | None = None,
        scores: Floats | None = None,
        held_out: Floats | None = None,
    ) -> Self:
        """Derive everything from class probabilities and the given labels.

        Parameters
        ----------
        posterior : ndarray of shape (n_samples, n_classes) or iterable of pairs
            Probability of each class being the true one. Pairs of row numbers and their probabilities are read one at a
            time, so that many rows and classes need no full matrix.
        given : ndarray of shape (n_samples,), int64
            Given labels, as numbers into ``classes``.
        classes : ndarray of shape (n_classes,)
            Sorted.
        flag : callable or None, default=None
            The rule for flags: it receives the mask of rows whose most probable class is not the given label, and
            returns the mask of flagged rows. None flags the rows it would receive.
        scores : ndarray of shape (n_samples,) or None, default=None
            Noise scores; None means one minus the posterior of the given label.
        held_out : ndarray of shape (n_samples, n_classes) or None, default=None
            Class probabilities that do not depend on the row's own label.

        Returns
        -------
        Beliefs
            Its noise rate is the share of rows whose most probable class is not the given label.

        Raises
        ------
        ValueError
            If whole probabilities have another shape than (n_samples, n_classes), or rows that do not sum to one.

        Examples
        --------
        >>> import numpy as np
        >>> from robustlabels.training.beliefs import Beliefs
        >>> posterior = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
        >>> beliefs = Beliefs.from_posterior(posterior, np.array([0, 0, 0]), np.array(["ant", "bee"]))
        >>> beliefs.flagged, beliefs.attributes()["suggested_labels_"].tolist()
        (array([False,  True, False]), ['ant', 'bee', 'ant'])
        """
        n, n_classes = len(given), len(classes)
        for name, proba in ("posterior", posterior), ("held_out", held_out):
            if isinstance(proba, np.ndarray):
                check_probabilities(proba, n, name=name)
                if proba.shape[1] != n_classes:
                    raise ValueError(f"{name} has {proba.shape[1]} classes, but y holds {n_classes}.")
        whole = posterior if isinstance(posterior, np.ndarray) else None
        chunks = ((np.arange(n), posterior),) if isinstance(posterior, np.ndarray) else posterior
        top = np.empty(n, dtype=np.int64)
        kind = np.float32 if whole is None else whole.dtype
        p_top, p_given = np.empty(n, dtype=kind), np.empty(n, dtype=kind)
        joint = np.zeros((n_classes, n_classes))  # true class, given label
        for index, proba in chunks:
            here, labels = np.arange(len(index)), given[index]
            top[index] = proba.argmax(1)
            p_top[index] = proba[here, top[index]]
            p_given[index] = proba[here, labels]
            for k in np.unique(labels):
                joint[:, k] += proba[labels == k].sum(0, dtype=np.float64)
        differs = top != given
        flagged = differs if flag is None else flag(differs)
        return cls(
            classes=classes,
            given=given,
            suggested=np.where(flagged, top, given),
            noise_scores=np.clip(1 - p_given, 0, 1) if scores is None else scores,
            confidence=np.where(flagged, p_top, p_given),
            flagged=flagged,
            transition_matrix=transition_matrix(joint),
            noise_rate=float(differs.mean()),
            posterior=whole,
            held_out=held_out,
        )

    def flagging(self, flagged: NDArray[np.bool_], threshold: float | None = None) -> Self:
        """Return a copy with other flags, and the suggestions that follow from them.

        Parameters
        ----------
        flagged : ndarray of shape (n_samples,), bool
        threshold : float or None, default=None
            The score above which these rows lie, if that is the rule.

        Returns
        -------
        Beliefs
        """
        assert self.posterior is not None  # only beliefs made from a whole posterior can change their flags
        suggested = np.where(flagged, self.posterior.argmax(1), self.given)
        confidence = self.posterior[np.arange(len(self)), suggested]
        return replace(self, flagged=flagged, suggested=suggested, confidence=confidence, threshold=threshold)

    def attributes(self) -> dict[str, Any]:
        """Fitted attributes by name: those of ``ROW_ATTRIBUTES``, with labels in the user's type.

        A threshold and an interval of the noise rate are among them where the estimator has them. What a foreign
        detector does not say is left out.
        """
        values: dict[str, Any] = {
            "noise_scores_": self.noise_scores,
            "noise_mask_": self.flagged,
            "noise_rate_": self.noise_rate,
            "suggested_labels_": self.classes[self.suggested] if self.has_suggestions else None,
            "suggested_confidence_": self.confidence if self.has_confidence else None,
            "transition_matrix_": None if np.isnan(self.transition_matrix).any() else self.transition_matrix,
            "threshold_": self.threshold,
            "noise_rate_interval_": self.noise_rate_interval,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def has_suggestions(self) -> bool:
        """Whether the estimator suggests labels; a foreign detector may not."""
        return bool((self.suggested != NO_SUGGESTION).all())

    @property
    def has_confidence(self) -> bool:
        """Whether the estimator says how probable its suggestions are."""
        return not np.isnan(self.confidence).any()

    @classmethod
    def of(cls, estimator: Any, y: Any) -> Self:
        """Read the beliefs of a fitted estimator.

        Parameters
        ----------
        estimator : fitted classifier or detector
            Of this package, or a pipeline that ends in one, a search over one, a classifier around one.
        y : array-like of shape (n_samples,)
            The labels it was fitted on.

        Returns
        -------
        Beliefs

        Raises
        ------
        TypeError
            If the estimator lacks row attributes.
        ValueError
            If ``y`` is not what the estimator was fitted on.
        """
        holder = _holder(estimator)
        scores = np.asarray(holder.noise_scores_)
        if y is None:
            raise ValueError(f"y is None; give the labels that {type(holder).__name__} was fitted on.")
        if len(y) != len(scores):
            raise ValueError(
                f"y has {len(y):,} labels, but {type(holder).__name__} was fitted on {len(scores):,} rows; give the X "
                "and y that fit was given."
            )
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(f"noise_scores_ must be finite, got {scores[row]} in row {row}.")
        classes = np.asarray(holder.classes_)
        given, suggested = encode(y, classes, "y"), encode(holder.suggested_labels_, classes, "suggested_labels_")
        flagged = np.asarray(holder.noise_mask_, dtype=bool)
        changed = np.flatnonzero(~flagged & (given != suggested))
        if changed.size:
            row = int(changed[0])
            now, then = (classes[labels[row : row + 1]].tolist()[0] for labels in (given, suggested))
            raise ValueError(
                f"y is not what {type(holder).__name__} was fitted on: row {row} has the label {now!r} now and had "
                f"{then!r} then; give the y that fit was given."
            )
        threshold = getattr(holder, "threshold_", None)
        return cls(
            classes=classes,
            given=given,
            suggested=suggested,
            noise_scores=scores,
            confidence=np.asarray(holder.suggested_confidence_),
            flagged=flagged,
            transition_matrix=np.asarray(holder.transition_matrix_),
            noise_rate=float(holder.noise_rate_),
            noise_rate_interval=getattr(holder, "noise_rate_interval_", None),
            threshold=None if threshold is None else float(threshold),
            history=_history(holder, len(scores)),
            method=type(holder).__name__,
        )

    @classmethod
    def of_detector(cls, detector: Any, given: Ints, classes: NDArray[Any]) -> Self:
        """Read and check what any fitted detector says, also one from another package.

        Parameters
        ----------
        detector : fitted detector
            ``noise_scores_`` and ``noise_mask_`` are required, all else may be missing.
        given : ndarray of shape (n_samples,), int64
            The labels it was fitted on, as numbers into ``classes``.
        classes : ndarray of shape (n_classes,)
            Sorted.

        Returns
        -------
        Beliefs

        Raises
        ------
        TypeError
            If the estimator is not a noise detector.
        ValueError
            If an attribute has another length than ``given``, scores leave [0, 1], or a suggestion is not a class.
        """
        name, n = type(detector).__name__, len(given)
        read: dict[str, NDArray[Any]] = {}
        for attribute in ("noise_scores_", "noise_mask_", "suggested_labels_", "suggested_confidence_"):
            if hasattr(detector, attribute):
                read[attribute] = np.asarray(getattr(detector, attribute))
                if read[attribute].shape != (n,):
                    raise ValueError(
                        f"{attribute} of {name} must have one entry for each of the {n} rows of X, got shape "
                        f"{read[attribute].shape}; a detector must neither be fitted elsewhere nor drop rows."
                    )
            elif attribute.startswith("noise"):
                raise TypeError(
                    f"{name} is not a noise detector: it has no {attribute} after fit. Use a detector of this package, "
                    "or a Pipeline that ends in one."
                )
        scores, flagged = read["noise_scores_"].astype(np.float64), read["noise_mask_"].astype(bool)
        if len(wrong := np.flatnonzero(~((scores >= 0) & (scores <= 1)))):
            raise ValueError(f"noise_scores_ of {name} must lie in [0, 1], got {scores[wrong[0]]:g} in row {wrong[0]}.")
        suggested = np.full(n, NO_SUGGESTION)
        if "suggested_labels_" in read:
            labels = read["suggested_labels_"]
            if len(wrong := np.flatnonzero(~np.isin(labels, classes))):
                raise ValueError(
                    f"suggested_labels_ of {name} must be among the classes {classes[:10].tolist()}, got "
                    f"{labels.tolist()[wrong[0]]!r} in row {wrong[0]}."
                )
            suggested = np.searchsorted(classes, labels)
        k = len(classes)
        threshold = getattr(detector, "threshold_", None)
        return cls(
            classes=classes,
            given=given,
            suggested=suggested,
            noise_scores=scores,
            confidence=read.get("suggested_confidence_", np.full(n, np.nan)),
            flagged=flagged,
            transition_matrix=np.asarray(getattr(detector, "transition_matrix_", np.full((k, k), np.nan))),
            noise_rate=float(getattr(detector, "noise_rate_", flagged.mean())),
            noise_rate_interval=getattr(detector, "noise_rate_interval_", None),
            threshold=None if threshold is None else float(threshold),
            method=name,
        )

    def __len__(self) -> int:
        return len(self.given)

    def ranking(self, n: int | None = None) -> Ints:
        """Row numbers, most suspicious first."""
        return ranking(self.noise_scores, n)

    def confusions(self, n: int) -> list[tuple[int, int, int]]:
        """The ``n`` most frequent changes among flagged rows: given class, suggested class, number of rows."""
        changed = self.flagged & (self.given != self.suggested)
        k = len(self.classes)
        pairs, counts = np.unique(self.given[changed] * k + self.suggested[changed], return_counts=True)
        first = np.argsort(-counts, kind="stable")[:n]
        return [(int(pairs[i] // k), int(pairs[i] % k), int(counts[i])) for i in first]


def _holder(estimator: Any) -> Any:
    """The fitted object that scored the rows: a pipeline's last step, a search's best, the detector of a classifier."""
    found = estimator
    while not hasattr(found, "noise_scores_"):
        inside = [
            getattr(found, name) for name in ("best_estimator_", "detector_", "estimator_") if hasattr(found, name)
        ]
        inside += [found.steps[-1][1]] if hasattr(found, "steps") else []
        if not inside:
            if hasattr(found, "fit"):
                check_is_fitted(found)
            raise TypeError(
                f"{type(found).__name__} has no noise_scores_: pass a fitted classifier or detector of this package, "
                "or a pipeline, search or NoiseAwareClassifier with one."
            )
        found = inside[0]
    missing = [name for name in (*ROW_ATTRIBUTES, "classes_") if not hasattr(found, name)]
    if missing:
        raise TypeError(f"{type(found).__name__} has noise_scores_, but no {', '.join(missing)}.")
    return found


def _history(holder: Any, n: int) -> NDArray[np.float16] | None:
    """What :func:`robustlabels.fit_recorded` left with the network, or a detector keeps of its own."""
    inner = getattr(holder, "estimator_", None)
    for part in (holder, getattr(holder, "net_", None), getattr(inner, "net_", None)):
        history = getattr(part, "proba_history_", None)
        if history is not None and history.shape[1] == n and len(history):
            return history
    return None
