r"""Confident learning: which labels are wrong, given out-of-sample class probabilities of any classifier.

Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, arXiv 1911.00068.
A row is confidently of class j when its probability of j reaches what rows labeled j have on average, the threshold
t_j. Counting the given labels of the confident rows gives the joint of given and true labels, and with it how many rows
of every pair of classes are wrong:

.. math:: t_j = \frac{1}{|X_{\tilde y = j}|} \sum_{x \in X_{\tilde y = j}} p(j; x), \qquad
          C_{ij} = |\{x : \tilde y = i,\ p(j; x) \ge t_j,\ j = \arg\max_{l : p(l; x) \ge t_l} p(l; x)\}|

Scores, joint and filters are those of cleanlab 2.9, from which the constants are taken; the tests compare them. What
differs is how: row chunks that stay in the cache, and the rows a filter can never flag are left out before anything is
sorted. Probabilities may be a memory map; chunks and single rows of it are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["check_probabilities", "class_thresholds", "confident_joint", "find_label_issues", "label_quality"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

CHUNK = 1 << 18
"""Probabilities looked at together."""

SLACK = 1e-6
"""Two probabilities closer than this are equal."""

SHORT = 2048
"""Values up to which sorting many rows at once is quicker than a partial sort of each."""

FILTERS = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_self_confidence",
    "low_normalized_margin",
)
QUALITIES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


# --- reading ----------------------------------------------------------------------------------------------------------


def check_probabilities(proba: Any, n_samples: int, *, name: str = "proba", tol: float = 1e-3) -> Floats:
    """Class probabilities as they are, or an error that says what is wrong with them.

    Parameters
    ----------
    proba : array-like of shape (n_samples, n_classes)
        A memory map is read in chunks and not copied.
    n_samples : int
        Rows there have to be.
    name : str, default="proba"
        What the errors call it.
    tol : float, default=1e-3
        How far a row's sum may be from one.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes), floating

    Examples
    --------
    >>> check_probabilities([[0.5, 0.2]], 1)
    Traceback (most recent call last):
        ...
    ValueError: proba must be non-negative rows that sum to one, but row 0 sums to 0.7; normalize the rows.
    """
    proba = proba if isinstance(proba, np.ndarray) else np.asarray(proba)
    if proba.ndim != 2 or proba.shape[1] < 2 or proba.dtype.kind != "f":
        raise ValueError(
            f"{name} must be floats of shape (n_samples, n_classes) with 2 classes or more, got {proba.dtype} of shape "
            f"{proba.shape}."
        )
    if len(proba) != n_samples:
        raise ValueError(f"{name} has {len(proba)} rows, but there are {n_samples} labels; give one row a label.")
    for start, chunk in _chunks(proba):
        total = chunk @ np.ones(chunk.shape[1], dtype=chunk.dtype)
        if chunk.min() >= -SLACK and np.abs(total - 1).max() <= tol:
            continue  # NaN compares false
        bad = ~((chunk >= -SLACK).all(1) & (np.abs(total - 1) <= tol))
        row = int(bad.argmax())
        what = f"sums to {total[row]:.4g}" if chunk[row].min() >= -SLACK else f"is {chunk[row].tolist()}"
        raise ValueError(
            f"{name} must be non-negative rows that sum to one, but row {start + row} {what}; normalize the rows."
        )
    return proba


def _check(y: ArrayLike, proba: Any) -> tuple[Ints, Floats]:
    """Labels as class numbers and the probabilities that go with them."""
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"y must be class numbers of shape (n_samples,), got {labels.dtype} of shape {labels.shape}; "
            "np.unique(y, return_inverse=True) makes numbers of labels."
        )
    proba = check_probabilities(proba, len(labels))
    if len(labels) == 0:
        raise ValueError("y and proba hold no rows.")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= proba.shape[1]:
        raise ValueError(f"y must hold class numbers below the {proba.shape[1]} columns of proba, got {low} to {high}.")
    return labels.astype(np.int64, copy=False), proba


def _chunks(proba: Floats) -> Iterator[tuple[int, Floats]]:
    """Row chunks and where they start; halves are widened, since arithmetic on them is slow."""
    step = max(1, CHUNK // proba.shape[1])
    wide = np.float32 if proba.dtype == np.float16 else proba.dtype
    for start in range(0, len(proba), step):
        yield start, np.asarray(proba[start : start + step], dtype=wide)


def _given(y: Ints, proba: Floats) -> Floats:
    """Probability of each given label, (n,)."""
    parts = [chunk[np.arange(len(chunk)), y[start : start + len(chunk)]] for start, chunk in _chunks(proba)]
    return np.concatenate(parts)


def _thresholds(y: Ints, given: Floats, n_classes: int) -> Floats:
    """t_j (n_classes,); 2 for a class without rows, so that nothing reaches it.

    Means are taken of one class at a time, at the probabilities' own precision: as cleanlab does, to the last bit.
    """
    parts = _rows_by_class(y, np.arange(len(y)), n_classes)
    return np.maximum([given[rows].mean() if len(rows) else 2 for rows in parts], 2 * SLACK)


def _by_class(chunk: Floats) -> bool:
    """Whether a chunk is better turned: numpy reduces long axes quickly, and few classes are a short one."""
    return chunk.shape[1] <= 32


def _row_max(chunk: Floats) -> Floats:
    return chunk.T.copy().max(axis=0) if _by_class(chunk) else chunk.max(axis=1)


def _guess(chunk: Floats, thresholds: Floats) -> Ints:
    """The class each row is confidently of, the most probable one where there are several, -1 where there is none."""
    n, n_classes = chunk.shape
    reached = np.flatnonzero(
        chunk >= thresholds - SLACK
    )  # of the flattened chunk: few, as a row reaches about one threshold
    rows = reached // n_classes
    guess = np.full(n, -1)
    guess[rows] = reached - rows * n_classes
    several = np.flatnonzero(np.bincount(rows, minlength=n) > 1)
    guess[several] = chunk[several].argmax(1)
    return guess


# --- scores -----------------------------------------------------------------------------------------------------------


def class_thresholds(y: ArrayLike, proba: Any) -> Floats:
    """Mean probability of each class over the rows labeled with it, t_j.

    Parameters
    ----------
    y : array-like of shape (n_samples,), int
        Given labels, class numbers.
    proba : array-like of shape (n_samples, n_classes)
        Out-of-sample class probabilities.

    Returns
    -------
    thresholds : ndarray of shape (n_classes,)
        2 for classes without rows.

    Examples
    --------
    >>> class_thresholds([0, 0, 1], [[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
    array([0.7, 0.8])
    """
    labels, proba = _check(y, proba)
    return _thresholds(labels, _given(labels, proba), proba.shape[1])


def label_quality(y: ArrayLike, proba: Any, *, method: str = "self_confidence", adjusted: bool = False) -> Floats:
    """How right each given label looks, from 0 to 1; lower is more suspicious.

    Parameters
    ----------
    y : array-like of shape (n_samples,), int
        Given labels, class numbers.
    proba : array-like of shape (n_samples, n_classes)
        Out-of-sample class probabilities.
    method : {"self_confidence", "normalized_margin", "confidence_weighted_entropy"}, default="self_confidence"
        The probability of the given label; half of one plus its distance to the largest other probability; the entropy
        of the row over the probability of its label, brought to [0, 1].
    adjusted : bool, default=False
        Take each class's threshold from the probabilities first, for unbalanced classes; not for the entropy.

    Returns
    -------
    quality : ndarray of shape (n_samples,)

    Examples
    --------
    >>> label_quality([0, 0], [[0.9, 0.1], [0.3, 0.7]], method="normalized_margin")
    array([0.9, 0.3])
    """
    if method not in QUALITIES:
        raise ValueError(f"method must be one of {', '.join(map(repr, QUALITIES))}, got {method!r}.")
    if adjusted and method == "confidence_weighted_entropy":
        raise ValueError("adjusted=True is not defined for method='confidence_weighted_entropy'; take another method.")
    labels, proba = _check(y, proba)
    shift = None
    if adjusted:
        thresholds = _thresholds(labels, _given(labels, proba), proba.shape[1])
        shift = (thresholds.max() - thresholds).astype(proba.dtype)
    elif method == "self_confidence":
        return _given(labels, proba)
    return np.concatenate(
        [_quality(chunk, labels[start : start + len(chunk)], method, shift) for start, chunk in _chunks(proba)]
    )


def _quality(chunk: Floats, y: Ints, method: str, shift: Floats | None) -> Floats:
    rows = np.arange(len(chunk))
    if shift is not None:
        chunk = chunk + shift
        chunk /= chunk.sum(1, keepdims=True)
    given = chunk[rows, y]
    if method == "self_confidence":
        return given
    if method == "normalized_margin":
        other = chunk.T.copy() if _by_class(chunk) else chunk.copy().T  # (n_classes, b)
        other[y, rows] = -np.inf
        return (given - other.max(axis=0) + 1) / 2
    logarithm = np.log(chunk, out=np.zeros_like(chunk), where=chunk > 0)
    entropy = -np.einsum("ij,ij->i", chunk, logarithm) / np.log(chunk.shape[1])
    ratio = entropy / np.maximum(given, SLACK)
    return np.log(ratio + 1) / np.maximum(ratio, SLACK)


# --- the joint --------------------------------------------------------------------------------------------------------


def confident_joint(y: ArrayLike, proba: Any, *, calibrated: bool = True) -> Ints:
    """How many rows carry label i and are of class j, as far as one can be confident: C of the paper.

    Parameters
    ----------
    y : array-like of shape (n_samples,), int
        Given labels, class numbers.
    proba : array-like of shape (n_samples, n_classes)
        Out-of-sample class probabilities.
    calibrated : bool, default=True
        Scale the rows to the numbers of given labels; False counts the confident rows alone. At least one row of every
        class counts as right.

    Returns
    -------
    joint : ndarray of shape (n_classes, n_classes), int64
        Rows: given label, columns: true class.

    Examples
    --------
    >>> confident_joint([0, 0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    array([[2, 1],
           [0, 2]])
    """
    labels, proba = _check(y, proba)
    n_classes = proba.shape[1]
    thresholds = _thresholds(labels, _given(labels, proba), n_classes)
    guess = np.concatenate([_guess(chunk, thresholds) for _, chunk in _chunks(proba)])
    return _count(labels, guess, n_classes, calibrated)


def _count(y: Ints, guess: Ints, n_classes: int, calibrated: bool) -> Ints:
    sure = guess >= 0
    pairs = guess[sure] * n_classes + y[sure]
    joint = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes).T
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    if not calibrated:
        return joint
    count = np.bincount(y, minlength=n_classes)
    # Operations, their order and the joint's layout in memory are cleanlab's, so that roundings fall alike.
    scaled = (joint.T / joint.sum(1) * count).T
    return _rounded(scaled / scaled.sum() * count.sum())


def _rounded(counts: Floats) -> Ints:
    """Whole numbers with the same row sums: the roundings that went farthest are taken back.

    Equal ones in the order of numpy's default sort, which cleanlab takes too.
    """
    whole = np.round(counts)
    error = counts - whole
    missing = np.round(np.round(counts.sum(1)) - whole.sum(1)).astype(int)
    order = error.argsort(axis=1)
    for row in np.flatnonzero(missing):
        step = missing[row]
        whole[row, order[row, ::-1][:step] if step > 0 else order[row, :-step]] += np.sign(step)
    return whole.astype(np.int64)


def _prune_counts(joint: Ints, min_per_class: int, frac_noise: float) -> Ints:
    """How many rows of label i to prune as of class j, with `min_per_class` rows of every label left.

    What the diagonal is raised by is taken evenly from the other entries of its row that are not zero.
    """
    right = np.maximum(joint.diagonal(), min_per_class)
    raised = right - joint.diagonal()
    others = np.maximum((joint != 0).sum(1) - 1.0, 1.0)
    counts = np.maximum(joint - (raised / others)[:, None], 0)
    np.fill_diagonal(counts, right)
    pruned = counts * frac_noise
    np.fill_diagonal(pruned, 0)
    np.fill_diagonal(pruned, counts.sum(1) - pruned.sum(1))
    return pruned.astype(np.int64)


# --- filters ----------------------------------------------------------------------------------------------------------


def find_label_issues(
    y: ArrayLike,
    proba: Any,
    *,
    filter_by: str = "prune_by_noise_rate",
    frac_noise: float = 1.0,
    min_per_class: int = 1,
    joint: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Flag the rows whose label confident learning holds to be wrong.

    Parameters
    ----------
    y : array-like of shape (n_samples,), int
        Given labels, class numbers.
    proba : array-like of shape (n_samples, n_classes)
        Out-of-sample class probabilities.
    filter_by : str, default="prune_by_noise_rate"
        "prune_by_noise_rate": of every pair of classes, as many rows as the joint counts, by the margin between the two
        probabilities. "prune_by_class": of every class, as many rows as the joint counts, by the probability of the
        label. "both": flagged by either. "confident_learning": the rows the joint counts beside its diagonal.
        "predicted_neq_given": another class is more probable. "low_self_confidence", "low_normalized_margin": as many
        rows as "confident_learning" flags, those of the lowest :func:`label_quality`. A row whose given label is its
        most probable one is never flagged, but for the last two.
    frac_noise : float, default=1.0
        Share of the joint's counts to prune; for the first three filters.
    min_per_class : int, default=1
        Rows of each label that are left; for the first three filters.
    joint : array-like of shape (n_classes, n_classes), default=None
        Counts to prune by, instead of :func:`confident_joint`; for the first three filters.

    Returns
    -------
    issues : ndarray of shape (n_samples,), bool
        Rows that are equal in all that a filter looks at are taken in their order.

    Examples
    --------
    >>> find_label_issues([0, 0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    array([False, False,  True, False, False])
    """
    if filter_by not in FILTERS:
        raise ValueError(f"filter_by must be one of {', '.join(map(repr, FILTERS))}, got {filter_by!r}.")
    if not 0 <= frac_noise <= 1:
        raise ValueError(f"frac_noise must be in [0, 1], got {frac_noise!r}.")
    labels, proba = _check(y, proba)
    n_classes = proba.shape[1]
    given = _given(labels, proba)
    thresholds = _thresholds(labels, given, n_classes)
    guess, doubted = np.empty(len(labels), dtype=np.int64), np.empty(len(labels), dtype=bool)
    for start, chunk in _chunks(proba):
        here = slice(start, start + len(chunk))
        guess[here] = _guess(chunk, thresholds)
        doubted[here] = _row_max(chunk) > given[here] + given.dtype.type(SLACK)

    confident = doubted & (guess >= 0) & (guess != labels)
    if filter_by == "confident_learning":
        return confident
    if filter_by == "predicted_neq_given":
        return doubted
    if filter_by.startswith("low_"):
        quality = label_quality(labels, proba, method=filter_by.removeprefix("low_"))
        return _highest(-quality, int(confident.sum()))

    counted = _count(labels, guess, n_classes, calibrated=True) if joint is None else np.asarray(joint)
    if counted.shape != (n_classes, n_classes):
        raise ValueError(f"joint must have shape {(n_classes, n_classes)}, got {counted.shape}.")
    prune = _prune_counts(counted, min_per_class, frac_noise)
    prune[np.bincount(labels, minlength=n_classes) <= min_per_class] = 0
    issues = np.ones(len(labels), dtype=bool)
    if filter_by in ("prune_by_class", "both"):
        issues &= _prune_by_class(labels, given, prune)
    if filter_by in ("prune_by_noise_rate", "both"):
        issues &= _prune_by_noise_rate(labels, proba, given, doubted, prune)
    return issues & doubted


def _highest(values: Floats, count: int) -> NDArray[np.bool_]:
    """Which are the `count` highest of the values, equal ones in their order."""
    if count <= 0:
        return np.zeros(len(values), dtype=bool)
    if count >= len(values):
        return np.ones(len(values), dtype=bool)
    last = np.partition(values, len(values) - count)[len(values) - count]
    highest = values > last
    highest[np.flatnonzero(values == last)[: count - np.count_nonzero(highest)]] = True
    return highest


def _nth_highest(rows: Floats, n: Ints) -> Floats:
    """Of each row (k, m) the n-th highest value, n from 1 to m."""
    if rows.shape[1] <= SHORT:
        return np.sort(rows, axis=1)[np.arange(len(rows)), -n]
    place = rows.shape[1] - n
    return np.array([np.partition(row, at)[at] for row, at in zip(rows, place, strict=True)], dtype=rows.dtype)


def _rows_by_class(y: Ints, rows: Ints, n_classes: int) -> list[Ints]:
    """Of these rows, those of every class, ascending."""
    narrow = np.min_scalar_type(n_classes)  # few bits sort by radix
    order = rows[y[rows].astype(narrow).argsort(kind="stable")]
    return np.split(order, np.bincount(y[rows], minlength=n_classes).cumsum()[:-1])


def _prune_by_class(y: Ints, given: Floats, prune: Ints) -> NDArray[np.bool_]:
    issues = np.zeros(len(y), dtype=bool)
    for rows, counts, right in zip(
        _rows_by_class(y, np.arange(len(y)), len(prune)), prune, prune.diagonal(), strict=True
    ):
        if counts.any():
            issues[rows] = _highest(-given[rows], len(rows) - right)
    return issues


def _prune_by_noise_rate(
    y: Ints, proba: Floats, given: Floats, doubted: NDArray[np.bool_], prune: Ints
) -> NDArray[np.bool_]:
    """For every pair of label i and class j, the rows labeled i of the largest p_j - p_i.

    Only doubted rows can end up flagged, and every row with a positive margin is one. So as long as a pair wants no
    more rows than have a positive margin, the others need not be looked at.
    """
    issues = np.zeros(len(y), dtype=bool)
    n_classes = len(prune)
    for i, rows in enumerate(_rows_by_class(y, np.flatnonzero(doubted), n_classes)):
        wanted = prune[i].copy()
        wanted[i] = 0
        near = np.flatnonzero((wanted > 0) & (wanted <= len(rows)))
        margin = proba[rows].T[near]  # (n_near, m)
        margin -= given[rows]
        last = _nth_highest(margin, wanted[near])
        positive = last > 2 * SLACK
        near, margin, last = near[positive], margin[positive], last[positive]
        highest = margin >= last[:, None]
        if np.count_nonzero(highest) > wanted[near].sum():  # ties
            highest = np.array([_highest(values, count) for values, count in zip(margin, wanted[near], strict=True)])
        issues[rows] = highest.any(0)
        wanted[near] = 0
        for j in np.flatnonzero(wanted):
            every = np.flatnonzero(y == i)
            issues[every[_highest(proba[every, j] - given[every], wanted[j])]] = True
    return issues
