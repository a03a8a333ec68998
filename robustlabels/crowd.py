"""Consensus of several annotators: one label and one soft label for each row, and one quality for each annotator.

Annotations may be missing. The package crowd-kit has these methods and more, but it depends on transformers and nltk,
while the two methods here take about a hundred lines of numpy.
"""

from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from robustlabels.noise import is_missing

__all__ = ["Consensus", "average_annotator", "consensus", "dawid_skene", "expectation", "maximization"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Consensus:
    """Result of :func:`~robustlabels.consensus`.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        The most probable class of each row, in the annotators' own labels.
    soft_labels : ndarray of shape (n_samples, n_classes)
        Probability of each class, in the order of `classes`. Rows sum to one. Classifiers with a loss for soft targets
        take this array as ``soft_labels``.
    classes : ndarray of shape (n_classes,)
        All labels that any annotator gave, sorted.
    annotator_quality_ : ndarray of shape (n_annotators,)
        Expected share of right labels among those that the annotator gave, in [0, 1]; NaN if there are none.
    confusion_matrices : ndarray of shape (n_annotators, n_classes, n_classes)
        Row k holds the probabilities of the labels that the annotator gives to rows of class k, as in
        `transition_matrix_` of a classifier. Rows sum to one.
    class_prior : ndarray of shape (n_classes,)
        Estimated share of each class.
    n_annotations : ndarray of shape (n_samples,)
        Number of annotators who labeled each row.
    n_iter : int
        Number of iterations; 0 for the majority vote.
    """

    labels: NDArray[Any]
    soft_labels: Floats
    classes: NDArray[Any]
    annotator_quality_: Floats
    confusion_matrices: Floats
    class_prior: Floats
    n_annotations: NDArray[np.intp]
    n_iter: int

    def __repr__(self) -> str:
        n, (m, k) = len(self.labels), self.confusion_matrices.shape[:2]
        quality = ", ".join(f"{q:.2f}" for q in self.annotator_quality_[:8]) + (", ..." if m > 8 else "")
        return f"Consensus({n} rows, {k} classes, {m} annotators of quality {quality})"


def consensus(
    annotations: ArrayLike,
    *,
    method: str = "dawid_skene",
    missing: Any = None,
    smoothing: float = 5.0,
    max_iter: int = 500,
    tol: float = 1e-5,
) -> Consensus:
    """Estimate one label for each row from several annotators who do not always agree.

    Parameters
    ----------
    annotations : array-like of shape (n_samples, n_annotators)
        Labels of any sortable type, as an array, masked array, DataFrame or list of lists. NaN, None and masked entries
        are missing. Whole numbers that are stored as floats because of the NaN between them are converted to int64.
    method : {"dawid_skene", "majority"}, default="dawid_skene"
        "dawid_skene" estimates a confusion matrix of each annotator together with the labels by EM (Dawid and Skene,
        1979); see :func:`~robustlabels.crowd.dawid_skene`. "majority" weighs all annotations equally: soft labels are
        shares of votes, and a tie goes to the class with more annotations over all rows.
    missing : object, default=None
        A further value that marks a missing annotation, such as -1.
    smoothing : float, default=5.0
        Number of annotations per class by an average annotator that are added to each annotator's own counts before
        they become a confusion matrix. The average annotator is estimated from the majority vote. 0 is the authors'
        method, which is overconfident about annotators with few labels.
    max_iter : int, default=500
        Largest number of EM iterations.
    tol : float, default=1e-5
        EM ends when no soft label changes by more than this.

    Returns
    -------
    Consensus
        It holds `labels`, `soft_labels`, `annotator_quality_` and more.

    Raises
    ------
    ValueError
        If there are no annotations, if a row has none, if all are of one class, or if a parameter is out of range.
    TypeError
        If the labels cannot be sorted.

    References
    ----------
    .. [1] Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm", Journal of
           the Royal Statistical Society C 28 (1), 1979.

    Examples
    --------
    >>> from robustlabels import consensus
    >>> annotations = [["cat", "cat", None], ["dog", "dog", "cat"], ["dog", "dog", "dog"], ["cat", "cat", "dog"]]
    >>> result = consensus(annotations)
    >>> result.labels.tolist()
    ['cat', 'dog', 'dog', 'cat']
    >>> result
    Consensus(4 rows, 2 classes, 3 annotators of quality 0.92, 0.92, 0.39)
    """
    if method not in ("dawid_skene", "majority"):
        raise ValueError(f"method must be 'dawid_skene' or 'majority', got {method!r}.")
    for name, value, least in ("smoothing", smoothing, 0), ("max_iter", max_iter, 1), ("tol", tol, 0):
        if isinstance(value, bool) or not isinstance(value, Real) or not least <= value < np.inf:
            raise ValueError(f"{name} must be a finite number of at least {least}, got {value!r}.")
    cells, given = _read(annotations, missing)
    try:
        classes, codes = np.unique(cells[given], return_inverse=True)
    except TypeError as error:
        raise TypeError(
            f"annotations mix labels that cannot be sorted ({error}); convert them to str or int."
        ) from None
    if len(classes) < 2:
        raise ValueError(f"annotations must have two or more classes, got only {classes.tolist()[0]!r}.")
    (n, m), k = given.shape, len(classes)
    rows, annotators = np.nonzero(given)
    votes = sparse.csr_array((np.ones(len(rows)), (rows, annotators * k + codes)), shape=(n, m * k))
    shares = votes @ np.tile(np.eye(k), (m, 1))  # (n, K) counts
    shares /= shares.sum(axis=1, keepdims=True)
    if method == "majority":
        soft, n_iter, average = shares, 0, np.zeros((k, k))
        order = np.bincount(codes, minlength=k)  # It decides ties.
    else:
        average = smoothing * average_annotator(votes, shares)
        soft, n_iter = dawid_skene(votes, shares, average, max_iter=max_iter, tol=tol)
        order = soft.sum(axis=0)
    # Shares such as 1/3 are not exact, so probabilities within rounding error of the largest count as ties.
    best = soft >= soft.max(axis=1, keepdims=True) - 1e-12
    prior, confusions = maximization(votes, soft, average)
    count = np.bincount(annotators, minlength=m)
    right = np.bincount(annotators, weights=soft[rows, codes], minlength=m)
    return Consensus(
        labels=classes[np.where(best, order, -1).argmax(axis=1)],
        soft_labels=soft,
        classes=classes,
        annotator_quality_=np.divide(right, count, out=np.full(m, np.nan), where=count > 0),
        confusion_matrices=confusions,
        class_prior=prior,
        n_annotations=given.sum(axis=1),
        n_iter=n_iter,
    )


def dawid_skene(
    votes: sparse.csr_array, soft: Floats, pseudo: Floats, *, max_iter: int = 500, tol: float = 1e-5
) -> tuple[Floats, int]:
    """Run Dawid and Skene's EM, which alternates between class probabilities and annotators' confusion matrices.

    Every iteration increases the likelihood of the annotations times the prior that ``pseudo`` represents.

    Parameters
    ----------
    votes : csr_array of shape (n_samples, n_annotators * n_classes)
        Entries are 1 in column j K + l if annotator j gave label l, and 0 otherwise.
    soft : ndarray of shape (n_samples, n_classes)
        Initial probabilities; the authors start from the shares of votes.
    pseudo : ndarray of shape (n_classes, n_classes)
        Counts that are added to those of every annotator.
    max_iter, tol
        As in :func:`~robustlabels.consensus`.

    Returns
    -------
    soft : ndarray of shape (n_samples, n_classes)
        Probability of each class.
    n_iter : int
        Number of iterations.
    """
    for done in range(int(max_iter)):
        before = soft
        soft, _ = expectation(votes, *maximization(votes, before, pseudo))
        if np.abs(soft - before).max() <= tol:
            return soft, done + 1
    return soft, int(max_iter)


def average_annotator(votes: sparse.csr_array, soft: Floats) -> Floats:
    """Return the confusion matrix (n_classes, n_classes) of all annotators pooled, as if they were one."""
    k = soft.shape[1]
    counts = (votes.T @ soft).reshape(-1, k, k).sum(axis=0).T  # (K true, K given)
    return counts / counts.sum(axis=1, keepdims=True)


def maximization(votes: sparse.csr_array, soft: Floats, pseudo: Floats) -> tuple[Floats, Floats]:
    """Compute class shares and confusion matrices from soft labels (the authors' eq. 2.3 and 2.4).

    Parameters
    ----------
    votes : csr_array of shape (n_samples, n_annotators * n_classes)
        As in :func:`dawid_skene`.
    soft : ndarray of shape (n_samples, n_classes)
        Class probabilities.
    pseudo : ndarray of shape (n_classes, n_classes)
        Counts that are added to those of every annotator. The result is then the mode under a Dirichlet prior with
        parameters 1 + pseudo. The authors use no prior.

    Returns
    -------
    prior : ndarray of shape (n_classes,)
        Share of each class.
    confusions : ndarray of shape (n_annotators, n_classes, n_classes)
        Rows are true classes, and columns are the labels given. A row of an annotator without any weight is uniform.
    """
    k = soft.shape[1]
    counts = (votes.T @ soft).reshape(-1, k, k).swapaxes(1, 2) + pseudo  # (m, K true, K given)
    mass = counts.sum(axis=2, keepdims=True)
    confusions = np.divide(counts, mass, out=np.full(counts.shape, 1 / k), where=mass > 0)
    return soft.mean(axis=0), confusions


def expectation(votes: sparse.csr_array, prior: Floats, confusions: Floats) -> tuple[Floats, float]:
    """Compute class probabilities from class shares and confusion matrices (the authors' eq. 2.5), in logarithms.

    Parameters
    ----------
    votes : csr_array of shape (n_samples, n_annotators * n_classes)
        As in :func:`dawid_skene`.
    prior : ndarray of shape (n_classes,)
        Share of each class.
    confusions : ndarray of shape (n_annotators, n_classes, n_classes)
        Confusion matrices, as :func:`maximization` returns them.

    Returns
    -------
    soft : ndarray of shape (n_samples, n_classes)
        Class probabilities.
    log_likelihood : float
        Log-likelihood of all annotations.
    """
    # The logarithm of zero would give a row of NaN if all classes are impossible.
    tiny = np.finfo(np.float64).tiny
    log_confusions = np.log(np.maximum(confusions, tiny)).swapaxes(1, 2).reshape(-1, len(prior))  # (m K given, K true)
    joint = np.log(np.maximum(prior, tiny)) + votes @ log_confusions  # (n, K)
    top = joint.max(axis=1, keepdims=True)  # Subtracted before exp, which would underflow with many annotators.
    soft = np.exp(joint - top)
    total = soft.sum(axis=1, keepdims=True)
    return soft / total, float((np.log(total) + top).sum())


def _read(annotations: Any, missing: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return annotations as an array (n, m), and a mask (n, m) of those that are not missing."""
    # np.asarray turns a NaN among the strings of a list into the string "nan", so a list becomes an array of objects.
    cells = np.asarray(annotations) if hasattr(annotations, "dtype") else np.asarray(annotations, dtype=object)
    if cells.ndim != 2:
        raise ValueError(
            f"annotations must have shape (n_samples, n_annotators), got shape {cells.shape}; stack the annotators' "
            "labels with np.column_stack([first, second, ...])."
        )
    if not cells.size:
        raise ValueError(f"annotations must not be empty, got shape {cells.shape}.")
    given = _given(cells, missing)
    if isinstance(annotations, np.ma.MaskedArray):
        given &= ~np.ma.getmaskarray(annotations)
    if not given.any(axis=1).all():
        none = np.flatnonzero(~given.any(axis=1))
        raise ValueError(
            f"{len(none)} of {len(given)} rows have no annotation, the first of them row {none[0]}; leave these rows "
            "out, of X too."
        )
    return _simplest_dtype(cells, given), given


def _given(cells: NDArray[Any], missing: Any) -> NDArray[np.bool_]:
    """Return a mask of the entries that are neither None, NaN, NaT or pandas.NA nor equal to ``missing``."""
    # In an array that does not hold objects, missing entries are NaN or NaT, which differ from themselves.
    typed = cells.dtype != object
    given = cells == cells if typed else ~np.frompyfunc(is_missing, 1, 1)(cells).astype(bool)
    if missing is not None and not is_missing(missing):
        given &= np.asarray(cells != missing, dtype=bool)
    return given


def _simplest_dtype(cells: NDArray[Any], given: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the array as numbers, strings or int64 if all entries that are not missing allow it."""
    if cells.dtype == object:
        labels = cells[given].tolist()
        plain = np.asarray(labels)
        if plain.dtype.kind in "biuf" or all(isinstance(cell, str) for cell in labels):
            cells = np.zeros(cells.shape, dtype=plain.dtype)
            cells[given] = plain
    if cells.dtype.kind == "f" and np.isfinite(cells[given]).all() and (cells[given] == np.rint(cells[given])).all():
        cells = np.where(given, cells, 0).astype(np.int64)
    return cells
