"""What a fitted classifier or detector says of every row, checked and in one form: what pictures and reports draw from.

Numpy only: labels become numbers into ``classes``, and a million rows are ranked and counted without being sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, column_or_1d

__all__ = ["Beliefs", "encode", "ranking"]

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
"""What every fitted classifier says of the rows it was fitted on."""


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


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What is believed of every row.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted.
    given, suggested : ndarray of shape (n_samples,), int64
        Labels, as numbers into ``classes``.
    noise_scores, confidence : ndarray of shape (n_samples,)
        How suspicious the given label is, and how probable the suggested one.
    flagged : ndarray of shape (n_samples,), bool
    transition_matrix : ndarray of shape (n_classes, n_classes)
        Rows: believed class, columns: given label.
    noise_rate : float
    noise_rate_interval : tuple of two floats or None, default=None
        Between which the noise rate lies, where the estimator says so.
    threshold : float or None, default=None
        Rows with a higher score are flagged; None where the method decides otherwise.
    history : ndarray of shape (n_epochs, n_samples), float16, or None, default=None
        Probability of each given label during training, where it was recorded.
    method : str, default=""
        Who says so.
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
    history: NDArray[np.float16] | None = None
    method: str = ""

    @classmethod
    def of(cls, estimator: Any, y: Any) -> Self:
        """Ask a fitted estimator.

        Parameters
        ----------
        estimator : fitted classifier or detector
            Of this package, or a pipeline that ends in one, a search over one, a classifier around one.
        y : array-like of shape (n_samples,)
            The labels it was fitted on.

        Returns
        -------
        Beliefs
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
