"""Label-noise simulators: wrong labels whose rows are known, to measure what a method or a detector does about them.

Every simulator is used the same way, needs no fitting and touches neither ``y`` nor the global random state:

>>> from robustlabels.noise import SymmetricNoise
>>> noise = SymmetricNoise(0.4, random_state=0)
>>> y_noisy = noise.flip(["cat", "dog", "owl", "cat", "dog"])
>>> int(noise.flip_mask_.sum()), noise.rate_
(2, 0.4)

One noise rate has several meanings in the literature, so published tables are matched by naming the convention:

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
_CHUNK = 2**22  # numbers of X looked at together by InstanceDependentNoise: 32 MiB


def cifar100_mapping(variant: str = "next", *, random_state: Seed = None) -> dict[int, int]:
    """Where CIFAR-100's classes go under asymmetric noise, for :class:`AsymmetricNoise`.

    Parameters
    ----------
    variant : {"next", "pair", "superclass"}, default="next"
        "next": each class goes to the next one of its five consecutive ids (0-4, 5-9, ...), the last to the first: the
        ELR authors' generator since October 2020. Ids are alphabetical, so these groups are not the superclasses.
        "pair": in each of those groups two classes, drawn at random, go to each other, so that the noise over all rows
        is 0.4 times the rate: the ELR authors' generator before October 2020.
        "superclass": each class goes to the next one of its real superclass, as in the MOIT authors' code.
    random_state : int, RandomState, Generator or None, default=None
        Draws the pairs of "pair"; unused otherwise.

    Returns
    -------
    dict of int to int
        100 classes, or the 40 that change with "pair".

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
    """What all simulators share: the checks, the label types and the attributes left by :meth:`LabelNoise.flip`.

    A new simulator is a subclass that returns, from ``_flip(codes, X, rng)``, the noisy class numbers and the (K, K)
    probabilities they were drawn with.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels of y, sorted.
    flip_mask_ : ndarray of shape (n_samples,), dtype bool
        True where the returned label differs from the given one.
    rate_ : float
        The fraction of True in `flip_mask_`.
    transition_matrix_ : ndarray of shape (n_classes, n_classes), dtype float64
        The nominal probabilities, not this draw's frequencies; rows are true classes and sum to one.
    """

    classes_: NDArray[Any]
    flip_mask_: NDArray[np.bool_]
    rate_: float
    transition_matrix_: Floats
    random_state: Seed

    def flip(self, y: ArrayLike, X: Any = None) -> NDArray[Any]:
        """Noisy copy of the labels.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            True labels of any sortable type: integers, strings, ...
        X : array-like of shape (n_samples, ...), default=None
            Features; only :class:`InstanceDependentNoise` looks at them.

        Returns
        -------
        ndarray of shape (n_samples,)
            A new array of the labels' dtype; row i belongs to row i of `y`.

        Raises
        ------
        ValueError
            If `y` is empty, is not 1-D, has a missing label or fewer than two classes, if X and y have different
            lengths, or if a parameter is out of its range.
        TypeError
            If the labels cannot be sorted, or if a parameter has the wrong type.
        """
        labels = _check_labels(y)
        try:
            classes, codes = np.unique(labels, return_inverse=True)
        except TypeError as error:
            raise TypeError(f"y mixes labels that cannot be sorted ({error}); make them all str or all int.") from None
        if len(classes) < 2:
            raise ValueError(f"y has a single class, {classes[0]!r}: a flipped label needs a second one to go to.")
        n_rows = len(labels) if X is None else X.shape[0] if hasattr(X, "shape") else len(X)
        if n_rows != len(labels):
            raise ValueError(f"X has {n_rows} rows and y {len(labels)}: they must belong together.")
        self.classes_ = classes
        noisy, self.transition_matrix_ = self._flip(codes, X, _generator(self.random_state))
        self.flip_mask_ = noisy != codes
        self.rate_ = float(self.flip_mask_.mean())
        return classes[noisy]

    @abstractmethod
    def _flip(self, codes: Codes, X: Any, rng: np.random.Generator) -> tuple[Codes, Floats]:
        """Noisy class numbers (n,) and nominal transition matrix (K, K) from the true numbers, 0 to K-1."""


@dataclass(eq=False)
class SymmetricNoise(LabelNoise):
    """Wrong labels spread evenly over the classes, on an exact number of rows.

    Two conventions are in use. By default exactly ``round(rate * n_samples)`` labels change, each to one of the other
    K-1 classes: the rate is the real error rate (MOIT). With ``include_true_class=True`` as many rows draw their label
    from all K classes, the true one included: the rate is nominal and the real error rate is about ``rate * (K-1)/K``,
    36 % for a "40 %" on CIFAR-10 (ELR, DivideMix).

    Parameters
    ----------
    rate : float
        Fraction of the rows that draw a new label, in [0, 1).
    include_true_class : bool, default=False
        Whether the drawn label may be the true one.
    stratified : bool, default=False
        Choose ``round(rate * n_c)`` rows inside every class c instead of ``round(rate * n_samples)`` over all (PEMM).
    random_state : int, RandomState, Generator or None, default=None
        With an int, :meth:`flip` gives the same flips at every call; a generator is advanced by it.

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
        everyone = np.arange(len(codes))
        groups = [everyone[codes == label] for label in range(n_classes)] if self.stratified else [everyone]
        chosen = np.concatenate([_choose(rng, rows, rate) for rows in groups])
        # a step of 0 round the circle of classes keeps the true label, 1 to K-1 reach every other one equally often
        first_step = 0 if self.include_true_class else 1
        noisy = codes.copy()
        noisy[chosen] = (codes[chosen] + rng.integers(first_step, n_classes, size=len(chosen))) % n_classes
        drawn = (np.ones((n_classes, n_classes)) - first_step * np.eye(n_classes)) / (n_classes - first_step)
        return noisy, (1 - rate) * np.eye(n_classes) + rate * drawn


@dataclass(eq=False)
class AsymmetricNoise(LabelNoise):
    """Wrong labels that go where the classes are confused: cat to dog, truck to automobile.

    Exactly ``round(rate * n_c)`` rows of every class c that `mapping` names change, all decided from the labels as they
    were given; the other classes stay clean.

    Parameters
    ----------
    rate : float
        Fraction of each mapped class that changes, in [0, 1).
    mapping : dict or array-like of shape (n_classes, n_classes)
        {class: the class its flipped rows get}, such as :data:`CIFAR10_PAIRS` or :func:`cifar100_mapping`; or, row by
        row in sorted class order, how the flipped rows of a class are spread over the others: the diagonal is zero and
        a row sums to one, or to zero for a class that stays clean.
    sequential : bool, default=False
        True is the ELR authors' CIFAR-10 generator: the classes are processed in sorted order on the labels changed so
        far, so that some rows flipped from cat to dog are flipped back when dog's turn comes. At a nominal 40 % only
        24 % of the cats and 18.4 % of all rows end up wrong, instead of 40 % and 20 %. `transition_matrix_` says so.
    random_state : int, RandomState, Generator or None, default=None
        With an int, :meth:`flip` gives the same flips at every call; a generator is advanced by it.

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
    """Each class is mistaken for the next one, the last for the first ("pair flip" noise).

    Exactly ``round(rate * n_c)`` rows of every class c change. From a rate of 0.5 on most labels of a class are wrong.

    Parameters
    ----------
    rate : float
        Fraction of each class that changes, in [0, 1).
    mapping : dict or None, default=None
        {class: the class its flipped rows get}; None is the next class in sorted order.
    random_state : int, RandomState, Generator or None, default=None
        With an int, :meth:`flip` gives the same flips at every call; a generator is advanced by it.

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
    """Wrong labels that depend on the features: each row has its own flip rate and its own likely confusions.

    Row i draws a flip rate q_i from a normal distribution around `rate`, truncated to [0, 1], and one random (d, K)
    matrix per class turns its features into the shares ``softmax(x_i @ W[y_i])`` that the other classes get of q_i.
    The number of flips is random; `rate_` says what came out, and `transition_matrix_` is the mean, over the rows of a
    class, of the probabilities that their labels were drawn with.

    Parameters
    ----------
    rate : float
        Mean flip rate before truncation, in [0, 1). At 0 no label changes, unlike the paper's algorithm whose
        truncated normal has a mean of 0.08 there.
    std : float, default=0.1
        Spread of the rows' flip rates, the paper's 0.1; 0 gives every row the same.
    random_state : int, RandomState, Generator or None, default=None
        With an int, :meth:`flip` gives the same flips at every call; a generator is advanced by it.

    Attributes
    ----------
    classes_, flip_mask_, rate_, transition_matrix_
        See :class:`LabelNoise`.

    Notes
    -----
    ``flip(y, X)`` needs X: an array of shape (n_samples, d), or images, which are flattened; a memmap or a lazy image
    view is read a chunk at a time. uint8 is divided by 255; other features are used as they are, and the larger they
    are, the more the flips of a row favor one class.

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
            raise ValueError(f"std must be a finite number >= 0, got {self.std!r}.")
        if X is None:
            raise ValueError("InstanceDependentNoise needs the features: call flip(y, X).")
        if not (hasattr(X, "dtype") and hasattr(X, "shape")):
            X = np.asarray(X)
        n_features = int(np.prod(X.shape[1:]))
        if len(X.shape) < 2 or not n_features:
            raise ValueError(f"X must have shape (n_samples, n_features) or be images, got shape {tuple(X.shape)}.")
        flip_rate = _truncated_normal(rng, rate, float(self.std), len(codes)) if rate else np.zeros(len(codes))  # (n,)
        dart = rng.random(len(codes))  # (n,): where it lands among a row's cumulated probabilities is the new label
        noisy, matrix = codes.copy(), np.zeros((n_classes, n_classes))
        for label in range(n_classes):
            weights = rng.standard_normal((n_features, n_classes))
            rows = np.flatnonzero(codes == label)
            n_chunks = min(len(rows), 1 + len(rows) * n_features // _CHUNK)
            for chunk in np.array_split(rows, n_chunks):
                proba = _instance_probabilities(_features(X, chunk), weights, flip_rate[chunk], label)  # (b, K)
                noisy[chunk] = (dart[chunk, None] >= proba.cumsum(axis=1)[:, :-1]).sum(axis=1)
                matrix[label] += proba.sum(axis=0) / len(rows)
        return noisy, matrix


@dataclass(eq=False)
class TransitionNoise(LabelNoise):
    """Labels drawn from a given transition matrix, each row on its own.

    Parameters
    ----------
    transition_matrix : array-like of shape (n_classes, n_classes)
        Probability that a row of class i (in sorted order) is labeled j: non-negative, rows sum to one.
    random_state : int, RandomState, Generator or None, default=None
        With an int, :meth:`flip` gives the same flips at every call; a generator is advanced by it.

    Attributes
    ----------
    classes_, flip_mask_, rate_, transition_matrix_
        See :class:`LabelNoise`. The number of flips is random; `rate_` says what came out.

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
            raise ValueError(f"the rows of transition_matrix must sum to 1, row {row} sums to {matrix[row].sum():.6g}.")
        matrix /= matrix.sum(axis=1, keepdims=True)
        noisy = codes.copy()
        for label, proba in enumerate(matrix):
            rows = np.flatnonzero(codes == label)
            noisy[rows] = rng.choice(len(proba), size=len(rows), p=proba)
        return noisy, matrix


def _flip_by_class(
    codes: Codes, targets: Floats, rate: float, rng: np.random.Generator, *, sequential: bool = False
) -> tuple[Codes, Floats]:
    """Send exactly round(rate * n_c) rows of each class c to targets[c], (K, K), a row of zeros for a clean class."""
    noisy, identity = codes.copy(), np.eye(len(targets))
    matrix = identity.copy()
    for label in np.flatnonzero(targets.any(axis=1)):
        rows = _choose(rng, np.flatnonzero((noisy if sequential else codes) == label), rate)
        noisy[rows] = rng.choice(len(targets), size=len(rows), p=targets[label])
        carriers = matrix[:, label].copy() if sequential else identity[label]  # share of each true class that may move
        matrix += rate * np.outer(carriers, targets[label] - identity[label])
    return noisy, matrix


def _instance_probabilities(x: Floats, weights: Floats, flip_rate: Floats, label: int) -> Floats:
    """Xia et al., algorithm 2, lines 4-7, for rows of one class: x (b, d), weights (d, K), flip_rate (b,) -> (b, K)."""
    logits = x @ weights
    logits[:, label] = -np.inf
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    proba = flip_rate[:, None] * shares / shares.sum(axis=1, keepdims=True)
    proba[:, label] = 1 - flip_rate
    return proba


def _truncated_normal(rng: np.random.Generator, mean: float, std: float, size: int) -> Floats:
    """Draw from N(mean, std^2) restricted to [0, 1], mean in [0, 1], by drawing the rows outside again."""
    draws = rng.normal(mean, std, size)
    while len(outside := np.flatnonzero((draws < 0) | (draws > 1))):
        draws[outside] = rng.normal(mean, std, len(outside))
    return draws


def _features(X: Any, rows: Codes) -> Floats:
    """Read some rows of X as (b, d) numbers: images flattened, uint8 scaled to [0, 1]."""
    part = X[rows]
    values = np.asarray(part.toarray() if hasattr(part, "toarray") else part)
    scale = 255 if values.dtype == np.uint8 else 1
    features = values.reshape(len(rows), -1).astype(np.float64) / scale
    if not np.isfinite(features).all():
        row = rows[~np.isfinite(features).all(axis=1)][0]
        raise ValueError(f"X contains NaN or infinity in row {row}: impute or drop it first.")
    return features


def _choose(rng: np.random.Generator, rows: Codes, rate: float) -> Codes:
    return rng.choice(rows, size=round(rate * len(rows)), replace=False)


def _generator(random_state: Seed) -> np.random.Generator:
    """Return the Generator a `random_state` stands for; a RandomState is advanced, as scikit-learn does."""
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
        raise ValueError(f"y must be 1-D, got shape {labels.shape}; one-hot rows become labels with y.argmax(axis=1).")
    if not len(labels):
        raise ValueError("y is empty: there is no label to flip.")
    cells = labels if hasattr(y, "dtype") else np.asarray(y, dtype=object)  # a NaN among strings would become "nan"
    if cells.dtype.kind in "fmMO":
        missing = np.array([is_missing(cell) for cell in cells])
        if missing.any():
            raise ValueError(f"y has a missing label in row {missing.argmax()}: drop or fill such rows first.")
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
    """Where the flips of each class go, (K, K): rows sum to one or, for a class that stays clean, to zero."""
    if not isinstance(mapping, Mapping):
        targets = _check_matrix(mapping, classes, name="mapping")
        sums = targets.sum(axis=1)
        if targets.diagonal().any():
            raise ValueError("the diagonal of mapping must be zero: it says where flipped rows go, rate says how many.")
        if len(wrong := np.flatnonzero((np.abs(sums - 1) > 1e-6) & (sums != 0))):
            raise ValueError(f"the rows of mapping must sum to 1 or to 0, row {wrong[0]} sums to {sums[wrong[0]]:.6g}.")
        return targets / np.where(sums == 0, 1, sums)[:, None]
    code = {label: number for number, label in enumerate(classes.tolist())}
    targets = np.zeros((len(classes), len(classes)))
    for source, target in mapping.items():
        for label in (source, target):
            if label not in code:
                raise ValueError(
                    f"mapping names the class {label!r}, which y does not have; its classes: {_list(code)}."
                )
        if source == target:
            raise ValueError(f"mapping sends the class {source!r} to itself: leave it out to keep it clean.")
        targets[code[source], code[target]] = 1
    return targets


def _check_matrix(matrix: Any, classes: NDArray[Any], *, name: str) -> Floats:
    """Return a float64 copy of a (K, K) matrix without negative or missing entries."""
    values = np.array(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"{name} must be square, got shape {values.shape}.")
    if len(values) != len(classes):
        shown = _list(classes.tolist())
        raise ValueError(f"{name} has {len(values)} rows but y has {len(classes)} classes: {shown}.")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"{name} must hold finite numbers >= 0, got a smallest entry of {values.min():.6g}.")
    return values


def _list(labels: Any) -> str:
    shown = [repr(label) for label in labels]
    return ", ".join(shown if len(shown) <= 10 else [*shown[:9], f"... ({len(shown)} in all)"])
