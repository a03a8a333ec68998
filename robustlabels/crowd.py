"""Labels of several annotators, some of them missing, made into one label, one soft label and one quality each.

crowd-kit has these methods and more, but needs transformers and nltk; two of them are a page of numpy.
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
    """What :func:`~robustlabels.consensus` made of the annotations.

    Parameters
    ----------
    labels : ndarray of shape (n_samples,)
        The most probable class of each row, in the annotators' own labels.
    soft_labels : ndarray of shape (n_samples, n_classes)
        Probability of each class, rows summing to one, columns in the order of `classes`: what the classifiers with a
        soft-target loss take as ``soft_labels``.
    classes : ndarray of shape (n_classes,)
        All labels that any annotator gave, sorted.
    annotator_quality_ : ndarray of shape (n_annotators,)
        Expected share of right labels among those the annotator gave, in [0, 1]; NaN for one who gave none.
    confusion_matrices : ndarray of shape (n_annotators, n_classes, n_classes)
        Row k: how the annotator labels rows of class k, as `transition_matrix_` of a classifier. Rows sum to one.
    class_prior : ndarray of shape (n_classes,)
        Estimated share of each class.
    n_annotations : ndarray of shape (n_samples,)
        How many annotators labeled each row.
    n_iter : int
        Iterations done; 0 for the majority vote.
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
    """One label a row from several annotators who do not always agree.

    Parameters
    ----------
    annotations : array-like of shape (n_samples, n_annotators)
        Labels of any sortable type; array, masked array, DataFrame or list of lists. NaN, None and what is masked are
        missing. Whole numbers stored as floats, because of the NaN between them, become int64 again.
    method : {"dawid_skene", "majority"}, default="dawid_skene"
        "dawid_skene": annotators have confusion matrices, estimated with the labels by EM (Dawid and Skene, 1979), see
        :func:`~robustlabels.crowd.dawid_skene`. "majority": every annotation counts the same; soft labels are shares of
        votes, ties go to the class with more annotations over all rows.
    missing : object, default=None
        One more value that stands for a missing annotation, such as -1.
    smoothing : float, default=5.0
        How many annotations of each class by an average annotator, as the majority sees them, are added to everybody's
        own before a confusion matrix is made of them. 0 is the authors' method, which is too sure of annotators with
        few labels.
    max_iter : int, default=500
        Of EM.
    tol : float, default=1e-5
        EM ends when no soft label moves by more.

    Returns
    -------
    Consensus
        Its `labels`, `soft_labels`, `annotator_quality_` and more.

    Raises
    ------
    ValueError
        If there are no annotations, a row has none, all are of one class, or a parameter is out of range.
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
        raise TypeError(f"annotations mix labels that cannot be sorted ({error}); make them all str or int.") from None
    if len(classes) < 2:
        raise ValueError(f"annotations have a single class, {classes.tolist()[0]!r}: there is nothing to agree on.")
    (n, m), k = given.shape, len(classes)
    rows, annotators = np.nonzero(given)
    votes = sparse.csr_array((np.ones(len(rows)), (rows, annotators * k + codes)), shape=(n, m * k))
    shares = votes @ np.tile(np.eye(k), (m, 1))  # (n, K) counts
    shares /= shares.sum(axis=1, keepdims=True)
    if method == "majority":
        soft, n_iter, average = shares, 0, np.zeros((k, k))
        order = np.bincount(codes, minlength=k)  # decides ties
    else:
        average = smoothing * average_annotator(votes, shares)
        soft, n_iter = dawid_skene(votes, shares, average, max_iter=max_iter, tol=tol)
        order = soft.sum(axis=0)
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
    """Dawid and Skene's EM: class probabilities of the rows and confusion matrices of the annotators, in turn.

    Every round raises the likelihood of the annotations times the prior that ``pseudo`` stands for.

    Parameters
    ----------
    votes : csr_array of shape (n_samples, n_annotators * n_classes)
        1 in column j K + l where annotator j gave label l.
    soft : ndarray of shape (n_samples, n_classes)
        Where to start: shares of votes, as the authors do.
    pseudo : ndarray of shape (n_classes, n_classes)
        Added to the counts of every annotator.
    max_iter, tol
        As in :func:`~robustlabels.consensus`.

    Returns
    -------
    soft : ndarray of shape (n_samples, n_classes)
        Probability of each class.
    n_iter : int
        Iterations done.
    """
    for done in range(int(max_iter)):
        before = soft
        soft, _ = expectation(votes, *maximization(votes, before, pseudo))
        if np.abs(soft - before).max() <= tol:
            return soft, done + 1
    return soft, int(max_iter)


def average_annotator(votes: sparse.csr_array, soft: Floats) -> Floats:
    """Confusion matrix of all annotators taken for one, (n_classes, n_classes)."""
    k = soft.shape[1]
    counts = (votes.T @ soft).reshape(-1, k, k).sum(axis=0).T  # (K true, K given)
    return counts / counts.sum(axis=1, keepdims=True)


def maximization(votes: sparse.csr_array, soft: Floats, pseudo: Floats) -> tuple[Floats, Floats]:
    """Class shares and confusion matrices from soft labels (the authors' eq. 2.3 and 2.4).

    Parameters
    ----------
    votes : csr_array of shape (n_samples, n_annotators * n_classes)
    soft : ndarray of shape (n_samples, n_classes)
    pseudo : ndarray of shape (n_classes, n_classes)
        Added to the counts of every annotator: the mode under a Dirichlet prior of 1 + pseudo. The authors have none.

    Returns
    -------
    prior : ndarray of shape (n_classes,)
    confusions : ndarray of shape (n_annotators, n_classes, n_classes)
        Rows: class of the row, columns: label given. An annotator's row without any weight is uniform.
    """
    k = soft.shape[1]
    counts = (votes.T @ soft).reshape(-1, k, k).swapaxes(1, 2) + pseudo  # (m, K true, K given)
    mass = counts.sum(axis=2, keepdims=True)
    confusions = np.divide(counts, mass, out=np.full(counts.shape, 1 / k), where=mass > 0)
    return soft.mean(axis=0), confusions


def expectation(votes: sparse.csr_array, prior: Floats, confusions: Floats) -> tuple[Floats, float]:
    """Class probabilities from class shares and confusion matrices (the authors' eq. 2.5), in logarithms.

    Parameters
    ----------
    votes : csr_array of shape (n_samples, n_annotators * n_classes)
    prior : ndarray of shape (n_classes,)
    confusions : ndarray of shape (n_annotators, n_classes, n_classes)

    Returns
    -------
    soft : ndarray of shape (n_samples, n_classes)
    log_likelihood : float
        Of all annotations.
    """
    tiny = np.finfo(np.float64).tiny  # a logarithm of zero would make a row of NaN where all classes are impossible
    log_confusions = np.log(np.maximum(confusions, tiny)).swapaxes(1, 2).reshape(-1, len(prior))  # (m K given, K true)
    joint = np.log(np.maximum(prior, tiny)) + votes @ log_confusions  # (n, K)
    top = joint.max(axis=1, keepdims=True)
    soft = np.exp(joint - top)
    total = soft.sum(axis=1, keepdims=True)
    return soft / total, float((np.log(total) + top).sum())


def _read(annotations: Any, missing: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Annotations (n, m) as an array, and which of them are there."""
    masked = np.ma.getmaskarray(annotations) if isinstance(annotations, np.ma.MaskedArray) else None
    array = hasattr(annotations, "dtype")  # np.asarray would make "nan" of a NaN among the strings of a list
    cells = np.asarray(annotations) if array else np.asarray(annotations, dtype=object)
    if cells.ndim != 2:
        raise ValueError(
            f"annotations must have shape (n_samples, n_annotators), got shape {cells.shape}; stack the annotators' "
            "labels with np.column_stack([first, second, ...])."
        )
    if not cells.size:
        raise ValueError(f"annotations are empty: shape {cells.shape}.")
    typed = cells.dtype != object  # then what is missing is NaN or NaT, which differ from themselves
    given = cells == cells if typed else ~np.frompyfunc(is_missing, 1, 1)(cells).astype(bool)
    if masked is not None:
        given &= ~masked
    if missing is not None and not is_missing(missing):
        given &= np.asarray(cells != missing, dtype=bool)
    if not given.any(axis=1).all():
        none = np.flatnonzero(~given.any(axis=1))
        raise ValueError(
            f"{len(none)} of {len(given)} rows have no annotation, the first is row {none[0]}: leave them out, of X "
            "too."
        )
    if not typed:
        there = cells[given].tolist()  # numbers or strings again, if they are of one kind
        plain = np.asarray(there)
        if plain.dtype.kind in "biuf" or all(isinstance(cell, str) for cell in there):
            cells = np.zeros(cells.shape, dtype=plain.dtype)
            cells[given] = plain
    if cells.dtype.kind == "f" and np.isfinite(cells[given]).all() and (cells[given] == np.rint(cells[given])).all():
        cells = np.where(given, cells, 0).astype(np.int64)
    return cells, given
