"""Label-noise simulators: they make wrong labels at known rows, to measure how well methods and detectors cope.

All simulators have the same interface, need no fitting and change neither ``y`` nor the global random state:

>>> from robustlabels.noise import SymmetricNoise
>>> noise = SymmetricNoise(0.4, random_state=0)
>>> y_noisy = noise.flip(["cat", "dog", "owl", "cat", "dog"])
>>> int(noise.flip_mask_.sum()), noise.rate_
(2, 0.4)

The same noise rate means different things in different papers. This table lists the simulator for published tables:

=====================================  ==============================================================
published tables of                    simulator
=====================================  ==============================================================
ELR, DivideMix, SANM: symmetric        ``SymmetricNoise(rate, include_true_class=True)``
MOIT: symmetric                        ``SymmetricNoise(rate)``
PEMM: symmetric                        ``SymmetricNoise(rate, stratified=True)``
DivideMix, MOIT: asymmetric CIFAR-10   ``AsymmetricNoise(rate, CIFAR10_PAIRS)``
ELR, PEMM: asymmetric CIFAR-10         ``AsymmetricNoise(rate, CIFAR10_PAIRS, sequential=True)``
ELR, PEMM: asymmetric CIFAR-100        ``AsymmetricNoise(rate, cifar100_mapping())``
MOIT: asymmetric CIFAR-100             ``AsymmetricNoise(rate, cifar100_mapping("superclass"))``
=====================================  ==============================================================
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CIFAR10_PAIRS",
    "AsymmetricNoise",
    "InstanceDependentNoise",
    "LabelNoise",
    "PairNoise",
    "SymmetricNoise",
    "TransitionNoise",
    "cifar100_mapping",
]

Seed: TypeAlias = int | np.random.RandomState | np.random.Generator | None
Codes: TypeAlias = NDArray[np.intp]
Floats: TypeAlias = NDArray[np.float64]

#: CIFAR-10's asymmetric noise (Patrini et al., 2017): truck → automobile, bird → airplane, deer → horse, cat ↔ dog.
CIFAR10_PAIRS: dict[int, int] = {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}

# The superclass (a to t) of each of CIFAR-100's classes, which are numbered alphabetically.
_CIFAR100_SUPERCLASS = np.frombuffer(
    b"eboiaghhsddojshldjhlglfkhgnpdpalbkmoqjlfftiipnorskqerecaresrkdcmmqmbjtckabqmjnpnqtcegtffitsbcpgarion", np.uint8
)
_CHUNK = 2**22  # How many numbers of X InstanceDependentNoise holds at once: 32 MiB in float64.


def cifar100_mapping(variant: str = "next", *, random_state: Seed = None) -> dict[int, int]:
    """Return the mapping of CIFAR-100's classes for asymmetric noise, to be passed to :class:`AsymmetricNoise`.

    Parameters
    ----------
    variant : {"next", "pair", "superclass"}, default="next"
        "next" maps each class to the next one in its group of five consecutive ids (0-4, 5-9, ...), and the last to the
        first, as in the ELR authors' generator since October 2020. Ids are alphabetical, so these groups are not the
        superclasses. "pair" draws two classes from each of these groups and maps them to each other, as in the ELR
        authors' generator before October 2020; the noise over all rows is then 0.4 times the rate. "superclass" maps
        each class to the next one in its real superclass, as in the MOIT authors' code.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the draws of "pair"; it is unused otherwise.

    Returns
    -------
    dict of int to int
        An entry for each of the 100 classes, or for the 40 classes that "pair" changes.

    Raises
    ------
    ValueError
        If `variant` is unknown.

    Examples
    --------
    >>> from robustlabels.noise import cifar100_mapping
    >>> mapping = cifar100_mapping()
    >>> mapping[0], mapping[3], mapping[4]
    (1, 4, 0)
    >>> cifar100_mapping("superclass")[54]  # orchid -> poppy
    62
    """
    ids = np.arange(100)
    groups = ids.reshape(20, 5)
    if variant == "pair":
        groups = _generator(random_state).permuted(groups, axis=1)[:, :2]
    elif variant == "superclass":
        groups = np.argsort(_CIFAR100_SUPERCLASS, kind="stable").reshape(20, 5)
    elif variant != "next":
        raise ValueError(f'variant must be "next", "pair" or "superclass", got {variant!r}.')
    return dict(zip(groups.ravel().tolist(), np.roll(groups, -1, axis=1).ravel().tolist(), strict=True))


class LabelNoise(ABC):
    """Base class of all simulators, which checks and encodes the labels and sets the attributes after a flip.

    A new simulator is a subclass that defines ``_flip(codes, X, rng)``. It returns the noisy class numbers and the
    matrix of shape (n_classes, n_classes) of the probabilities that they were drawn with.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels of y, sorted.
    flip_mask_ : ndarray of shape (n_samples,), dtype bool
        True where the returned label differs from the given one.
    rate_ : float
        The fraction of True in `flip_mask_`.
    transition_matrix_ : ndarray of shape (n_classes, n_classes), dtype float64
        The nominal probabilities, and not the frequencies in this draw. Rows are true classes and sum to one.
    """

    classes_: NDArray[Any]
    flip_mask_: NDArray[np.bool_]
    rate_: float
    transition_matrix_: Floats
    random_state: Seed

    def flip(self, y: ArrayLike, X: Any = None) -> NDArray[Any]:
        """Return a noisy copy of the labels.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            True labels of any sortable type, such as integers or strings.
        X : array-like of shape (n_samples, ...), default=None
            Features, which only :class:`InstanceDependentNoise` uses.

        Returns
        -------
        ndarray of shape (n_samples,)
            A new array of the labels' dtype; row i belongs to row i of `y`.

        Raises
        ------
        ValueError
            If `y` is empty, is not 1-D, has a missing label or has fewer than two classes; if X and y have different
            lengths; or if a parameter is out of range.
        TypeError
            If the labels cannot be sorted, or if a parameter has the wrong type.
        """
        labels = _check_labels(y)
        try:
            classes, codes = np.unique(labels, return_inverse=True)
        except TypeError as error:
            raise TypeError(
                f"y mixes labels that cannot be sorted ({error}); convert all of them to str or to int."
            ) from None
        if len(classes) < 2:
            raise ValueError(
                f"y must have two or more classes, got only {classes[0]!r}; a flipped label needs another class."
            )
        n_rows = len(labels) if X is None else X.shape[0] if hasattr(X, "shape") else len(X)
        if n_rows != len(labels):
            raise ValueError(
                f"X and y must have the same number of rows, got {n_rows} rows of X and {len(labels)} of y."
            )
        self.classes_ = classes
        noisy, self.transition_matrix_ = self._flip(codes, X, _generator(self.random_state))
        self.flip_mask_ = noisy != codes
        self.rate_ = float(self.flip_mask_.mean())
        return classes[noisy]

    @abstractmethod
    def _flip(self, codes: Codes, X: Any, rng: np.random.Generator) -> tuple[Codes, Floats]:
        """Return noisy class numbers (n,) and the nominal transition matrix (K, K), from true class numbers (n,)."""


@dataclass(eq=False)
class SymmetricNoise(LabelNoise):
    """Symmetric noise: wrong labels are spread evenly over the other classes, on an exact number of rows.

    Two conventions are in use. By default, exactly ``round(rate * n_samples)`` labels change, each to one of the other
    K-1 classes, so the rate is the true error rate (MOIT). With ``include_true_class=True``, the same number of rows
    draw their label from all K classes, including the true one, so the rate is nominal and the true error rate is about
    ``rate * (K-1)/K``: 36 % for a "40 %" on CIFAR-10 (ELR, DivideMix).

    Parameters
    ----------
    rate : float
        Fraction of the rows that draw a new label, in [0, 1).
    include_true_class : bool, default=False
        Whether the drawn label may be the true one.
    stratified : bool, default=False
        Choose ``round(rate * n_c)`` rows within every class c instead of ``round(rate * n_samples)`` among all (PEMM).
    random_state : int, RandomState, Generator or None, default=None
        Seed. With an int, :meth:`flip` makes the same flips at every call; a generator is advanced by each call.

    Attributes
    ----------
    classes_, flip_mask_, rate_, transition_matrix_
        See :class:`LabelNoise`.

    References
    ----------
    .. [1] Liu et al., "Early-Learning Regularization Prevents Memorization of Noisy Labels", NeurIPS 2020, appendix G
           and the authors' code (``include_true_class=True``).

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.noise import SymmetricNoise
    >>> y = np.arange(1000) % 10
    >>> exact = SymmetricNoise(0.4, random_state=0)
    >>> y_noisy = exact.flip(y)
    >>> exact.rate_, bool((y_noisy[exact.flip_mask_] != y[exact.flip_mask_]).all())
    (0.4, True)
    >>> nominal = SymmetricNoise(0.4, include_true_class=True, random_state=0)
    >>> y_noisy = nominal.flip(y)
    >>> 0.34 < nominal.rate_ < 0.38
    True
    """

    rate: float
    _: KW_ONLY
    include_true_class: bool = False
    stratified: bool = False
    random_state: Seed = None

    def _flip(self, codes: Codes, X: Any, rng: np.random.Generator) -> tuple[Codes, Floats]:
        rate, n_classes = _check_rate(self.rate), len(self.classes_)
        all_rows = np.arange(len(codes))
        groups = [all_rows[codes == label] for label in range(n_classes)] if self.stratified else [all_rows]
        chosen = np.concatenate([_choose(rng, rows, rate) for rows in groups])
        # Labels move by a random step modulo K. A step of 0 keeps the true label, and the steps from 1 to K-1 lead to
        # each of the other labels with the same probability.
        first_step = 0 if self.include_true_class else 1
        noisy = codes.copy()
        noisy[chosen] = (codes[chosen] + rng.integers(first_step, n_classes, size=len(chosen))) % n_classes
        drawn = (np.ones((n_classes, n_classes)) - first_step * np.eye(n_classes)) / (n_classes - first_step)
        return noisy, (1 - rate) * np.eye(n_classes) + rate * drawn


@dataclass(eq=False)
class AsymmetricNoise(LabelNoise):
    """Asymmetric noise: labels change to the class that they are easily confused with, such as cat to dog.

    In every class c that `mapping` names, exactly ``round(rate * n_c)`` rows change; the other classes stay clean. All
    changes depend on the given labels only, and not on each other.

    Parameters
    ----------
    rate : float
        Fraction of each mapped class that changes, in [0, 1).
    mapping : dict or array-like of shape (n_classes, n_classes)
        A dict maps a class to the class that its flipped rows get, such as :data:`CIFAR10_PAIRS` or
        :func:`cifar100_mapping`. In a matrix, each row, in sorted class order, holds the shares of the other classes
        among the flipped rows of a class: the diagonal is zero, and a row sums to one, or to zero for a class that
        stays clean.
    sequential : bool, default=False
        True reproduces the ELR authors' CIFAR-10 generator, which processes the classes in sorted order on the labels
        that are already changed, so that some rows flipped from cat to dog are flipped back when dog is processed. At a
        nominal 40 %, only 24 % of the cats and 18.4 % of all rows end up wrong, instead of 40 % and 20 %;
        `transition_matrix_` contains these probabilities.
    random_state : int, RandomState, Generator or None, default=None
        Seed. With an int, :meth:`flip` makes the same flips at every call; a generator is advanced by each call.

    Attributes
    ----------
    classes_, flip_mask_, rate_, transition_matrix_
        See :class:`LabelNoise`.

    References
    ----------
    .. [1] Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction Approach", CVPR 2017.

    Examples
    --------
    >>> from robustlabels.noise import AsymmetricNoise
    >>> noise = AsymmetricNoise(0.5, {"cat": "dog"}, random_state=0)
    >>> y_noisy = noise.flip(["cat"] * 4 + ["dog"] * 4)
    >>> sorted(y_noisy.tolist())
    ['cat', 'cat', 'dog', 'dog', 'dog', 'dog', 'dog', 'dog']
    >>> noise.transition_matrix_
    array([[0.5, 0.5],
           [0. , 1. ]])
    """

    rate: float
    mapping: Mapping[Any, Any] | ArrayLike
    _: KW_ONLY
    sequential: bool = False
    random_state: Seed = None

    def _flip(self, codes: Codes, X: Any, rng: np.random.Generator) -> tuple[Codes, Floats]:
        targets = _check_mapping(self.mapping, self.classes_)
        return _flip_by_class(codes, targets, _check_rate(self.rate), rng, sequential=self.sequential)


@dataclass(eq=False)
class PairNoise(LabelNoise):
    """Pair noise ("pair flip"): each class is mistaken for the next one, and the last for the first.

    Exactly ``round(rate * n_c)`` rows of every class c change. At a rate above 0.5, most labels of a class are wrong.

    Parameters
    ----------
    rate : float
        Fraction of each class that changes, in [0, 1).
    mapping : dict or None, default=None
        A dict maps a class to the class that its flipped rows get; None takes the next class in sorted order.
    random_state : int, RandomState, Generator or None, default=None
        Seed. With an int, :meth:`flip` makes the same flips at every call; a generator is advanced by each call.

    Attributes
    ----------
    classes_, flip_mask_, rate_, transition_matrix_
        See :class:`LabelNoise`.

    References
    ----------
    .. [1] Han et al., "Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels", NeurIPS 2018.

    Examples
    --------
    >>> from robustlabels.noise import PairNoise
    >>> noise = PairNoise(0.25, random_state=0)
    >>> y_noisy = noise.flip([0, 1, 2] * 4)
    >>> noise.transition_matrix_
    array([[0.75, 0.25, 0.  ],
           [0.  , 0.75, 0.25],
           [0.25, 0.  , 0.75]])
    """

    rate: float
    _: KW_ONLY
    mapping: Mapping[Any, Any] | None = None
    random_state: Seed = None

    def _flip(self, codes: Codes, X: Any, rng: np.random.Generator) -> tuple[Codes, Floats]:
        if self.mapping is None:
            targets = np.roll(np.eye(len(self.classes_)), 1, axis=1)
        else:
            targets = _check_mapping(self.mapping, self.classes_)
        return _flip_by_class(codes, targets, _check_rate(self.rate), rng)


@dataclass(eq=False)
class InstanceDependentNoise(LabelNoise):
    """Instance-dependent noise: each row has its own flip rate and its own likely confusions, given by its features.

    Row i draws a flip rate q_i from a normal distribution around `rate`, truncated to [0, 1]. One random matrix W of
    shape (n_features, n_classes) per class gives the shares ``softmax(x_i @ W[y_i])`` of the other classes in q_i. The
    number of flips is random, and `rate_` is the fraction that results. `transition_matrix_` is the mean, over the rows
    of a class, of the probabilities that their labels were drawn with.

    Parameters
    ----------
    rate : float
        Mean flip rate before truncation, in [0, 1). At 0 no label changes, unlike in the paper's algorithm, where the
        truncated normal distribution has a mean of 0.08.
    std : float, default=0.1
        Standard deviation of the flip rates, 0.1 in the paper; 0 gives every row the same flip rate.
    random_state : int, RandomState, Generator or None, default=None
        Seed. With an int, :meth:`flip` makes the same flips at every call; a generator is advanced by each call.

    Attributes
    ----------
    classes_, flip_mask_, rate_, transition_matrix_
        See :class:`LabelNoise`.

    Notes
    -----
    ``flip(y, X)`` needs X, which is an array of shape (n_samples, n_features), or images, which are flattened. A memory
    map or a lazy view of images is read a chunk at a time. uint8 values are divided by 255. Other features are used
    unchanged; the larger they are, the more the flips of a row favor a single class.

    References
    ----------
    .. [1] Xia et al., "Part-dependent Label Noise: Towards Instance-dependent Label Noise", NeurIPS 2020, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.noise import InstanceDependentNoise
    >>> X, y = np.random.default_rng(0).normal(size=(900, 5)), np.arange(900) % 3
    >>> noise = InstanceDependentNoise(0.3, random_state=0)
    >>> y_noisy = noise.flip(y, X)
    >>> 0.25 < noise.rate_ < 0.35
    True
    """

    rate: float
    _: KW_ONLY
    std: float = 0.1
    random_state: Seed = None

    def _flip(self, codes: Codes, X: Any, rng: np.random.Generator) -> tuple[Codes, Floats]:
        rate, n_classes = _check_rate(self.rate), len(self.classes_)
        if not isinstance(self.std, Real) or not 0 <= self.std < np.inf:
            raise ValueError(f"std must be a finite number of 0 or more, got {self.std!r}.")
        if X is None:
            raise ValueError("InstanceDependentNoise needs the features; call flip(y, X).")
        if not (hasattr(X, "dtype") and hasattr(X, "shape")):
            X = np.asarray(X)
        n_features = int(np.prod(X.shape[1:]))
        if len(X.shape) < 2 or not n_features:
            raise ValueError(
                f"X must have shape (n_samples, n_features) or be images, got shape {tuple(X.shape)}; reshape it first."
            )
        flip_rate = _truncated_normal(rng, rate, float(self.std), len(codes)) if rate else np.zeros(len(codes))  # (n,)
        # The new label is the interval of a row's cumulative probabilities into which its uniform number falls.
        uniform = rng.random(len(codes))  # (n,)
        noisy, matrix = codes.copy(), np.zeros((n_classes, n_classes))
        for label in range(n_classes):
            weights = rng.standard_normal((n_features, n_classes))
            rows = np.flatnonzero(codes == label)
            n_chunks = min(len(rows), 1 + len(rows) * n_features // _CHUNK)
            for chunk in np.array_split(rows, n_chunks):
                proba = _instance_probabilities(_features(X, chunk), weights, flip_rate[chunk], label)  # (b, K)
                noisy[chunk] = (uniform[chunk, None] >= proba.cumsum(axis=1)[:, :-1]).sum(axis=1)
                matrix[label] += proba.sum(axis=0) / len(rows)
        return noisy, matrix


@dataclass(eq=False)
class TransitionNoise(LabelNoise):
    """Noise from a given transition matrix: the label of each row is drawn independently.

    Parameters
    ----------
    transition_matrix : array-like of shape (n_classes, n_classes)
        Probability that a row of class i is labeled j, for classes in sorted order. Entries are non-negative, and rows
        sum to one.
    random_state : int, RandomState, Generator or None, default=None
        Seed. With an int, :meth:`flip` makes the same flips at every call; a generator is advanced by each call.

    Attributes
    ----------
    classes_, flip_mask_, rate_, transition_matrix_
        See :class:`LabelNoise`. The number of flips is random, and `rate_` is the fraction that results.

    Examples
    --------
    >>> from robustlabels.noise import TransitionNoise
    >>> noise = TransitionNoise([[1, 0], [0.5, 0.5]], random_state=0)
    >>> y_noisy = noise.flip(["ham", "spam"] * 500)
    >>> int(noise.flip_mask_[::2].sum()), 0.45 < float(noise.flip_mask_[1::2].mean()) < 0.55
    (0, True)
    """

    transition_matrix: ArrayLike
    _: KW_ONLY
    random_state: Seed = None

    def _flip(self, codes: Codes, X: Any, rng: np.random.Generator) -> tuple[Codes, Floats]:
        matrix = _check_matrix(self.transition_matrix, self.classes_, name="transition_matrix")
        wrong = np.flatnonzero(np.abs(matrix.sum(axis=1) - 1) > 1e-6)
        if len(wrong):
            row = wrong[0]
            raise ValueError(
                f"The rows of transition_matrix must sum to 1, but row {row} sums to {matrix[row].sum():.6g}; "
                "divide each row by its sum."
            )
        matrix /= matrix.sum(axis=1, keepdims=True)  # rng.choice is stricter about the sum than the check above
        noisy = codes.copy()
        for label, proba in enumerate(matrix):
            rows = np.flatnonzero(codes == label)
            noisy[rows] = rng.choice(len(proba), size=len(rows), p=proba)
        return noisy, matrix


def _flip_by_class(
    codes: Codes, targets: Floats, rate: float, rng: np.random.Generator, *, sequential: bool = False
) -> tuple[Codes, Floats]:
    """Flip exactly round(rate * n_c) rows of each class c to classes drawn from targets[c], or none if it is zero."""
    noisy, identity = codes.copy(), np.eye(len(targets))
    matrix = identity.copy()
    for label in np.flatnonzero(targets.any(axis=1)):
        rows = _choose(rng, np.flatnonzero((noisy if sequential else codes) == label), rate)
        noisy[rows] = rng.choice(len(targets), size=len(rows), p=targets[label])
        # carriers (K,) is the share of each true class that carries this label before its rows are flipped.
        carriers = matrix[:, label].copy() if sequential else identity[label]
        matrix += rate * np.outer(carriers, targets[label] - identity[label])
    return noisy, matrix


def _instance_probabilities(x: Floats, weights: Floats, flip_rate: Floats, label: int) -> Floats:
    """Compute lines 4-7 of algorithm 2 of Xia et al. for rows of one class.

    The arguments have shapes x (b, d), weights (d, K) and flip_rate (b,), and the result has shape (b, K).
    """
    logits = x @ weights
    logits[:, label] = -np.inf  # The true class gets no share of the flip rate.
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    proba = flip_rate[:, None] * shares / shares.sum(axis=1, keepdims=True)
    proba[:, label] = 1 - flip_rate
    return proba


def _truncated_normal(rng: np.random.Generator, mean: float, std: float, size: int) -> Floats:
    """Draw from N(mean, std^2) restricted to [0, 1], with a mean in [0, 1], by redrawing values outside."""
    draws = rng.normal(mean, std, size)
    while len(outside := np.flatnonzero((draws < 0) | (draws > 1))):
        draws[outside] = rng.normal(mean, std, len(outside))
    return draws


def _features(X: Any, rows: Codes) -> Floats:
    """Read some rows of X as numbers (b, d): images are flattened, and uint8 values are scaled to [0, 1]."""
    part = X[rows]
    values = np.asarray(part.toarray() if hasattr(part, "toarray") else part)
    scale = 255 if values.dtype == np.uint8 else 1
    features = values.reshape(len(rows), -1).astype(np.float64) / scale
    if not np.isfinite(features).all():
        row = rows[~np.isfinite(features).all(axis=1)][0]
        raise ValueError(f"X contains NaN or infinity in row {row}; impute the values or drop the row first.")
    return features


def _choose(rng: np.random.Generator, rows: Codes, rate: float) -> Codes:
    """Choose round(rate * n) of n rows, without replacement."""
    return rng.choice(rows, size=round(rate * len(rows)), replace=False)


def _generator(random_state: Seed) -> np.random.Generator:
    """Return the Generator that a `random_state` stands for; a RandomState is advanced, as in scikit-learn."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint32))
    if random_state is None or isinstance(random_state, int | np.integer | np.random.Generator):
        return np.random.default_rng(random_state)
    raise TypeError(f"random_state must be None, an int, a RandomState or a Generator, got {random_state!r}.")


def _check_rate(rate: Any) -> float:
    if isinstance(rate, bool) or not isinstance(rate, Real):
        raise TypeError(f"rate must be a number in [0, 1), got {rate!r}.")
    if not 0 <= float(rate) < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}.")
    return float(rate)


def _check_labels(y: ArrayLike) -> NDArray[Any]:
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(
            f"y must be 1-D, got shape {labels.shape}; turn one-hot rows into labels with y.argmax(axis=1)."
        )
    if not len(labels):
        raise ValueError("y is empty; it must have labels of two or more classes.")
    # np.asarray turns a NaN among the strings of a list into the string "nan", so the objects themselves are checked.
    cells = labels if hasattr(y, "dtype") else np.asarray(y, dtype=object)
    if cells.dtype.kind in "fmMO":
        missing = np.array([is_missing(cell) for cell in cells])
        if missing.any():
            raise ValueError(f"y has a missing label in row {missing.argmax()}; drop or fill such rows first.")
    return labels


def is_missing(label: Any) -> bool:
    """Return whether one label is missing: None, NaN, NaT or pandas.NA.

    Examples
    --------
    >>> from robustlabels.noise import is_missing
    >>> is_missing(float("nan")), is_missing("nan")
    (True, False)
    """
    try:
        return label is None or bool(label != label)  # NaN and NaT are the values that differ from themselves.
    except TypeError:  # A comparison with pandas.NA has no truth value.
        return True


def _check_mapping(mapping: Mapping[Any, Any] | ArrayLike, classes: NDArray[Any]) -> Floats:
    """Return the shares of the classes among the flips of each class, (K, K); a row of zeros keeps a class clean."""
    if not isinstance(mapping, Mapping):
        targets = _check_matrix(mapping, classes, name="mapping")
        sums = targets.sum(axis=1)
        if targets.diagonal().any():
            raise ValueError(
                "The diagonal of mapping must be zero: mapping holds the classes that flipped rows get, and rate the "
                "share of rows that are flipped."
            )
        if len(wrong := np.flatnonzero((np.abs(sums - 1) > 1e-6) & (sums != 0))):
            raise ValueError(
                f"The rows of mapping must sum to 1 or to 0, but row {wrong[0]} sums to {sums[wrong[0]]:.6g}; "
                "divide each row by its sum."
            )
        return targets / np.where(sums == 0, 1, sums)[:, None]
    code = {label: number for number, label in enumerate(classes.tolist())}
    targets = np.zeros((len(classes), len(classes)))
    for source, target in mapping.items():
        for label in (source, target):
            if label not in code:
                raise ValueError(
                    f"mapping names the class {label!r}, which y does not have; the classes of y are {_list(code)}."
                )
        if source == target:
            raise ValueError(f"mapping sends the class {source!r} to itself; leave the class out to keep it clean.")
        targets[code[source], code[target]] = 1
    return targets


def _check_matrix(matrix: Any, classes: NDArray[Any], *, name: str) -> Floats:
    """Return a float64 copy of a (K, K) matrix without negative or missing entries."""
    values = np.array(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"{name} must be a square matrix, got shape {values.shape}.")
    if len(values) != len(classes):
        shown = _list(classes.tolist())
        raise ValueError(
            f"{name} must have a row for each of the {len(classes)} classes of y ({shown}), got {len(values)} rows."
        )
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"{name} must hold finite numbers of 0 or more, got a smallest entry of {values.min():.6g}.")
    return values


def _list(labels: Any) -> str:
    """Return at most ten labels as text."""
    shown = [repr(label) for label in labels]
    return ", ".join(shown if len(shown) <= 10 else [*shown[:9], f"... ({len(shown)} in all)"])
