"""Stateless maths that two or more methods use, and one statistic that can be summed over batches and machines."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = [
    "MixtureHistogram",
    "TwoComponentMixture",
    "count_votes",
    "draw_mixup",
    "fit_two_component_mixture",
    "generalized_cross_entropy",
    "mixup",
    "most_votes",
    "nearest_neighbors",
    "reverse_cross_entropy",
    "sigmoid_rampup",
    "soft_cross_entropy",
    "squared_distances",
    "symmetric_cross_entropy",
    "update_average",
]


# -- Losses, mixing, averaging ----------------------------------------------------------------------------------------


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each row against a distribution over the classes, -sum_k targets_k log softmax(logits)_k.

    Parameters
    ----------
    logits : Tensor of shape (b, n_classes)
    targets : Tensor of shape (b, n_classes)
        Non-negative; the sum of a row weighs it.

    Returns
    -------
    Tensor of shape (b,)

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import soft_cross_entropy
    >>> soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    tensor([0.6931])
    """
    return F.cross_entropy(logits, targets, reduction="none")


def generalized_cross_entropy(logits: Tensor, y: Tensor, q: float) -> Tensor:
    """Per row, sum_k y_k (1 - p_k^q) / q: eq. 6 of Zhang and Sabuncu for label distributions.

    Between cross-entropy (q -> 0) and mean absolute error (q = 1), which forgives what it does not understand.

    Parameters
    ----------
    logits, y : Tensor of shape (b, n_classes)
    q : float in (0, 1]

    Returns
    -------
    loss : Tensor of shape (b,)

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import generalized_cross_entropy
    >>> generalized_cross_entropy(torch.zeros(1, 2), torch.tensor([[1., 0.]]), q=1.0)
    tensor([0.5000])
    """
    log_p = F.log_softmax(logits, dim=1)
    return (y * -torch.expm1(q * log_p)).sum(1) / q  # expm1: exact for small q, finite gradient at p = 0


def reverse_cross_entropy(logits: Tensor, y: Tensor, log_zero: float, *, p_min: float = 0.0) -> Tensor:
    """Per row, -sum_k p_k log y_k, with log 0 set to ``log_zero``: eq. 6 of Wang et al.

    Parameters
    ----------
    logits, y : Tensor of shape (b, n_classes)
    log_zero : float
        Negative: the paper's A.
    p_min : float, default=0.0
        Probabilities are clamped from below, as in the authors' code; a class below it gets no gradient.

    Returns
    -------
    loss : Tensor of shape (b,)

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import reverse_cross_entropy
    >>> reverse_cross_entropy(torch.zeros(1, 2), torch.tensor([[1., 0.]]), log_zero=-4.0)
    tensor([2.])
    """
    p = F.softmax(logits, dim=1)
    p = p.clamp_min(p_min) if p_min else p
    return -(p * torch.log(y).clamp_min(log_zero)).sum(1)


def symmetric_cross_entropy(
    logits: Tensor, y: Tensor, alpha: float, beta: float, log_zero: float, *, p_min: float = 0.0
) -> Tensor:
    """Per row, alpha times cross-entropy plus beta times its reverse: eq. 7 of Wang et al.

    Parameters
    ----------
    logits, y : Tensor of shape (b, n_classes)
    alpha, beta : float
    log_zero : float
    p_min : float, default=0.0
        See :func:`~robustlabels.maths.functional.reverse_cross_entropy`.

    Returns
    -------
    loss : Tensor of shape (b,)

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import symmetric_cross_entropy
    >>> symmetric_cross_entropy(torch.zeros(1, 2), torch.tensor([[1., 0.]]), 1.0, 0.5, log_zero=-4.0)
    tensor([1.6931])
    """
    return alpha * soft_cross_entropy(logits, y) + beta * reverse_cross_entropy(logits, y, log_zero, p_min=p_min)


def draw_mixup(
    batch_size: int,
    alpha: float,
    *,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
    keep_major: bool = True,
) -> tuple[float, Tensor]:
    """Draw how much, and with which rows, :func:`mixup` mixes a batch: lam ~ Beta(alpha, alpha).

    Both are drawn on the CPU, so a seed gives the same draws on every device and none of them waits for it.

    Parameters
    ----------
    batch_size : int
    alpha : float
        The smaller, the closer lam is to 0 or 1; zero or less mixes nothing (lam = 1, rows stay where they are).
    device : torch.device or str, default="cpu"
        Where the permutation is put.
    generator : torch.Generator of the CPU, default=None
        torch's default generator if None.
    keep_major : bool, default=True
        Take max(lam, 1 - lam): each row stays the larger part of its mixture.

    Returns
    -------
    lam : float
    permutation : Tensor of shape (b,), int64

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import draw_mixup
    >>> lam, permutation = draw_mixup(4, alpha=1.0, generator=torch.Generator().manual_seed(0))
    >>> 0.5 <= lam <= 1, sorted(permutation.tolist())
    (True, [0, 1, 2, 3])
    """
    if alpha <= 0:
        return 1.0, torch.arange(batch_size, device=device)
    # G1 / (G1 + G2) of two Gamma(alpha) draws is Beta. As logarithms, G(alpha) = G(alpha + 1) U^(1 / alpha) never
    # underflows, however small alpha is.
    gamma = torch._standard_gamma(torch.full((2,), alpha + 1, dtype=torch.float64), generator=generator)
    uniform = torch.rand(2, dtype=torch.float64, generator=generator)
    log_first, log_second = (gamma.log() + uniform.log() / alpha).tolist()
    lam = 1 / (1 + math.exp(min(log_second - log_first, 700)))
    permutation = torch.randperm(batch_size, generator=generator).to(device, non_blocking=True)
    return max(lam, 1 - lam) if keep_major else lam, permutation


def mixup(x: Tensor, y: Tensor, lam: float | Tensor, permutation: Tensor) -> tuple[Tensor, Tensor]:
    """Mix every row with another one: lam * x + (1 - lam) * x[permutation], and y alike (Zhang et al. 2018).

    Parameters
    ----------
    x : Tensor of shape (b, ...), floating
    y : Tensor of shape (b, n_classes), floating
        Label distributions.
    lam : float or Tensor of shape ()
    permutation : Tensor of shape (b,), int64

    Returns
    -------
    x, y : Tensor
        The mixtures, in new tensors of the same shapes; with lam = 1 the very tensors that were given, x of any dtype.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import mixup
    >>> x, y = torch.tensor([[0.0], [10.0]]), torch.eye(2)
    >>> mixup(x, y, 0.75, torch.tensor([1, 0]))
    (tensor([[2.5000],
            [7.5000]]), tensor([[0.7500, 0.2500],
            [0.2500, 0.7500]]))
    """
    if isinstance(lam, float) and lam == 1:
        return x, y
    for name, tensor in ("x", x), ("y", y):
        if not tensor.is_floating_point():
            hint = "mix embeddings, or switch mixup off with alpha=0" if name == "x" else "give one-hot rows"
            raise ValueError(f"mixup takes floating tensors, got {name} of {tensor.dtype}; cast it, {hint}.")
    return torch.lerp(x[permutation], x, lam), torch.lerp(y[permutation], y, lam)


def sigmoid_rampup(current: float, length: float) -> float:
    """exp(-5 (1 - current / length)^2) with current clipped to [0, length]: from 0.0067 up to 1 (Laine & Aila 2017).

    Parameters
    ----------
    current : float
        Step or epoch.
    length : float
        Where the ramp ends; 0 means no ramp, 1 from the start.

    Returns
    -------
    float

    Examples
    --------
    >>> from robustlabels.maths.functional import sigmoid_rampup
    >>> [round(sigmoid_rampup(step, 40), 4) for step in (0, 20, 40)]
    [0.0067, 0.2865, 1.0]
    """
    if length <= 0:
        return 1.0
    return math.exp(-5 * (1 - min(max(current, 0), length) / length) ** 2)


@torch.no_grad()
def update_average(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move a teacher's weights towards a student's, in place: teacher <- decay * teacher + (1 - decay) * student.

    Parameters alone are averaged. Buffers, BatchNorm's running statistics among them, stay as the teacher's own
    forward passes left them: a teacher that never runs in training mode has none that fit its weights.

    Parameters
    ----------
    teacher, student : nn.Module
        Of one architecture.
    decay : float
        In [0, 1]: 0 copies the student, 1 leaves the teacher.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import update_average
    >>> teacher, student = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    >>> _ = teacher.weight.data.fill_(0.0), student.weight.data.fill_(1.0)
    >>> update_average(teacher, student, decay=0.75)
    >>> teacher.weight.item()
    0.25
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], got {decay}.")
    get_ema_multi_avg_fn(decay)(list(teacher.parameters()), list(student.parameters()), None)  # one lerp for them all


# -- Distances --------------------------------------------------------------------------------------------------------


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distance of every row of x to every row of y.

    Norms and one matrix product, in float64: in float32 the expansion gives 0 for two points whose distance is small
    beside their norms. No difference of two rows is ever stored, autocast leaves float64 alone, and the
    backward pass is matrix products as well.

    Parameters
    ----------
    x : Tensor of shape (n, d)
    y : Tensor of shape (m, d)

    Returns
    -------
    Tensor of shape (n, m)
        Not negative; float32, or float64 if x or y is.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import squared_distances
    >>> squared_distances(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([[25.],
            [13.]])
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    if x.device.type == "mps":  # has no float64: all differences, then
        return (x.to(dtype)[:, None] - y.to(dtype)).square().sum(-1)
    a, b = x.double(), y.double()
    squares = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * (a @ b.T)  # (n, m)
    return squares.clamp_min(0).to(dtype)


# -- Two-component mixture --------------------------------------------------------------------------------------------

COLLAPSED = 1e-6
"""Means closer than this are one component."""

N_BINS = 4096
"""Bins of a histogram; also the most values that are worth treating one by one."""


class MixtureHistogram:
    """What a two-component mixture needs to know of any number of values: a few thousand sums.

    Per bin it keeps count, sum and sum of squares, so that means and variances carry no rounding to bins. Histograms of
    parts add up to the histogram of the whole: :meth:`merge` two of them, or all-reduce `state`.

    Parameters
    ----------
    low, high : float
        The range the bins divide. Values outside count in the first and last bin, with their own sums.
    n_bins : int, default=4096

    Attributes
    ----------
    state : Tensor of shape (3, n_bins), float64
        Count, sum and sum of squares of value - low; on the CPU.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import MixtureHistogram, fit_two_component_mixture
    >>> first = MixtureHistogram(0.0, 1.0).update(torch.tensor([0.0, 0.1]))
    >>> second = MixtureHistogram(0.0, 1.0).update(torch.tensor([0.9, 1.0]))
    >>> mixture = fit_two_component_mixture(first.merge(second))
    >>> [round(mean, 2) for mean in mixture.means]
    [0.05, 0.95]
    """

    def __init__(self, low: float, high: float, n_bins: int = N_BINS) -> None:
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"low and high must be finite and in order, got low={low}, high={high}.")
        if n_bins < 2:
            raise ValueError(f"n_bins must be 2 or more, got {n_bins}.")
        self.low, self.high, self.n_bins = low, high, n_bins
        self.state = torch.zeros(3, n_bins, dtype=torch.float64)

    def update(self, values: Tensor) -> MixtureHistogram:
        """Count values of any shape and device in."""
        offset = _finite(values)[0] - self.low  # (n,)
        scale = self.n_bins / (self.high - self.low) if self.high > self.low else 0.0
        which = (offset * scale).clamp_(0, self.n_bins - 1).int()
        for sums, weights in zip(self.state, (None, offset, offset.square()), strict=True):
            sums += torch.bincount(which, weights, minlength=self.n_bins)
        return self

    def merge(self, other: MixtureHistogram) -> MixtureHistogram:
        """Add the counts of another histogram over the same bins."""
        mine, theirs = (self.low, self.high, self.n_bins), (other.low, other.high, other.n_bins)
        if mine != theirs:
            raise ValueError(f"histograms merge over the same (low, high, n_bins), got {mine} and {theirs}.")
        self.state += other.state
        return self


class TwoComponentMixture(NamedTuple):
    """Two Gaussians on a line, the one of the smaller mean first.

    Attributes
    ----------
    weights, means, variances : tuple of two floats
    converged : bool
        Whether the last iteration moved the mean log-likelihood by less than ``tol``.
    n_iter : int
    """

    weights: tuple[float, float]
    means: tuple[float, float]
    variances: tuple[float, float]
    converged: bool
    n_iter: int

    def posterior(self, values: Tensor) -> Tensor:
        """Probability that each value is of the component with the smaller mean.

        1 everywhere if the means are closer than 1e-6: where there are no two groups, no value is suspicious.
        The component with the larger variance owns *both* far ends, as in any such mixture.

        Parameters
        ----------
        values : Tensor of any shape

        Returns
        -------
        Tensor of the same shape, floating
        """
        x = values.to(torch.promote_types(values.dtype, torch.float32))
        (m0, m1), (v0, v1), (w0, w1) = self.means, self.variances, self.weights
        if m1 - m0 < COLLAPSED:
            return torch.ones_like(x)
        odds = math.log(w0 / w1) + 0.5 * math.log(v1 / v0)
        return torch.sigmoid(odds + 0.5 * ((x - m1).square() / v1 - (x - m0).square() / v0))


def fit_two_component_mixture(
    values: Tensor | MixtureHistogram,
    *,
    max_iter: int = 10,
    tol: float = 1e-2,
    reg_covar: float = 5e-4,
) -> TwoComponentMixture:
    """Fit a mixture of two Gaussians to numbers, as scikit-learn's ``GaussianMixture(2)`` does.

    Same iterations, same stopping rule, same meaning of every parameter. Two things differ: the start is the best
    split in two (k-means solved exactly, so nothing is random), and more than 4096 values are first gathered in
    a :class:`MixtureHistogram`, whose bins move as one.

    Parameters
    ----------
    values : Tensor of any shape and device, or MixtureHistogram
        Losses, as a rule scaled to [0, 1]: `reg_covar` and the means' smallest distance of 1e-6 are in their units.
    max_iter : int, default=10
    tol : float, default=1e-2
        Smallest change of the mean log-likelihood that goes on.
    reg_covar : float, default=5e-4
        Above 0, added to the variances.

    Returns
    -------
    TwoComponentMixture

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import fit_two_component_mixture
    >>> losses = torch.tensor([0.0, 0.1, 0.05, 0.9, 1.0])
    >>> fit_two_component_mixture(losses).posterior(losses) > 0.5
    tensor([ True,  True,  True, False, False])
    """
    if not reg_covar > 0:
        raise ValueError(f"reg_covar must be above 0, got {reg_covar}.")
    low, moments = _grouped(values)  # moments: (3, g)
    n, total, square = moments.sum(1).tolist()
    if n < 2:
        raise ValueError(f"a mixture of two takes 2 values or more, got {n:.0f}; give those of the whole training set.")
    x = moments[1] / moments[0]  # (g,), ascending
    if x[-1] - x[0] < COLLAPSED:
        mean = low + total / n
        return TwoComponentMixture((1.0, 0.0), (mean, mean), (reg_covar, reg_covar), converged=True, n_iter=0)

    powers = torch.stack([torch.ones_like(x), x, x * x])  # (3, g)
    left = _best_cut(moments)
    sums = [left, [n - left[0], total - left[1], square - left[2]]]  # of the values each component owns, as moments
    bound, converged, n_iter = -math.inf, False, 0
    while True:
        components = [_component(*own, n=n, reg_covar=reg_covar) for own in sums]
        if converged or n_iter == max_iter:
            break
        log_joint = torch.tensor([_log_density(*c) for c in components], dtype=x.dtype) @ powers  # (2, g)
        log_density = torch.logaddexp(log_joint[0], log_joint[1])  # (g,)
        share = (log_joint - log_density).exp_()  # (2, g): what each component owns of each group
        sums = (share @ moments.T).tolist()
        bound, before = (log_density @ moments[0]).item() / n, bound
        converged, n_iter = abs(bound - before) < tol, n_iter + 1

    (w0, m0, v0), (w1, m1, v1) = sorted(components, key=lambda component: component[1])
    return TwoComponentMixture((w0, w1), (low + m0, low + m1), (v0, v1), converged, n_iter)


def unit_scaled(losses: Tensor) -> Tensor:
    """Losses on [0, 1], by their smallest and largest; a loss that is not finite counts as the largest.

    Parameters
    ----------
    losses : Tensor of shape (n,)

    Returns
    -------
    Tensor of shape (n,)
        Zeros where all losses are equal.

    Examples
    --------
    >>> import torch
    >>> unit_scaled(torch.tensor([1.0, 3.0, float("nan"), 2.0]))
    tensor([0.0000, 1.0000, 1.0000, 0.5000])
    """
    finite = losses.isfinite()
    if not finite.any():
        return torch.zeros_like(losses)
    high = losses[finite].max()
    losses = torch.where(finite, losses, high)
    low = losses.min()
    return (losses - low) / torch.where(high > low, high - low, 1.0)


def clean_probability(losses: Tensor) -> Tensor:
    """Probability that each label is right: that its loss is of the mixture's component with the smaller mean.

    Parameters
    ----------
    losses : Tensor of shape (n,)
        Of the whole training set.

    Returns
    -------
    Tensor of shape (n,)
        Ones where the losses fall into no two groups.

    Examples
    --------
    >>> import torch
    >>> clean_probability(torch.tensor([0.1, 0.2, 0.15, 2.0, 2.2])).round()
    tensor([1., 1., 1., 0., 0.])
    """
    if len(losses) < 2:
        return torch.ones_like(losses)
    scaled = unit_scaled(losses)
    return fit_two_component_mixture(scaled).posterior(scaled)


def _component(count: float, total: float, square: float, *, n: float, reg_covar: float) -> tuple[float, float, float]:
    """Weight, mean and variance of a component that owns these sums."""
    size = count + 10 * sys.float_info.epsilon  # scikit-learn's guard of an empty component
    mean = total / size
    return size / n, mean, max(square / size - mean * mean, 0.0) + reg_covar


def _log_density(weight: float, mean: float, variance: float) -> tuple[float, float, float]:
    """log(weight * Gaussian) as a polynomial: its coefficients of 1, x and x^2."""
    constant = math.log(weight) - 0.5 * math.log(2 * math.pi * variance) - mean * mean / (2 * variance)
    return constant, mean / variance, -1 / (2 * variance)


def _best_cut(moments: Tensor) -> list[float]:
    """Moments of the left one of the two clusters of least variance: on a sorted line, k-means is one cut."""
    n, total = moments[:2].sum(1).tolist()
    n_left, sum_left = moments[:2, :-1].cumsum(1)  # (g - 1,): of all cuts
    between = (sum_left - n_left * (total / n)).square_() / (n_left * (n - n_left))  # variance between, up to a factor
    return moments[:, : int(between.argmax()) + 1].sum(1).tolist()


def _grouped(values: Tensor | MixtureHistogram) -> tuple[float, Tensor]:
    """Origin, and moments (3, g) of groups of values from there, ascending: few values are a group each, many a bin."""
    if not isinstance(values, MixtureHistogram):
        flat, low, high = _finite(values)
        if len(flat) <= N_BINS:
            offset = flat.sort().values - low
            return low, torch.stack([torch.ones_like(offset), offset, offset.square()])
        values = MixtureHistogram(low, high).update(flat)
    return values.low, values.state.index_select(1, values.state[0].nonzero()[:, 0])


def _finite(values: Tensor) -> tuple[Tensor, float, float]:
    """Values as a flat float64 tensor on the CPU, their minimum and maximum."""
    flat = values.detach().flatten().cpu().double()
    if len(flat) == 0:
        return flat, 0.0, 0.0
    low, high = (bound.item() for bound in flat.aminmax())  # NaN if there is one
    if not -math.inf < low <= high < math.inf:
        n_bad = int((~flat.isfinite()).sum())
        raise ValueError(f"values must be finite, got {n_bad} NaN or infinite of {len(flat)}; is the loss diverging?")
    return flat, low, high


# -- Votes of the nearest neighbors -----------------------------------------------------------------------------------

BLOCK_BYTES = 64 << 20
"""Similarities held at once by :func:`nearest_neighbors`, unless a block size is given."""


def nearest_neighbors(z: Tensor, k: int, *, block_size: int | None = None, backend: str = "exact") -> Tensor:
    """The k rows most similar to each row by inner product, itself excluded.

    Parameters
    ----------
    z : Tensor of shape (n, d)
        Unit-norm rows make it cosine similarity. Blocks are compared on z's device; memory beyond the result is
        ``block_size * n`` similarities.
    k : int
        At most n - 1.
    block_size : int or None, default=None
        Rows compared at once; None takes as many as 64 MiB hold.
    backend : {"exact", "bf16", "faiss"}, default="exact"
        float32; bfloat16 products, which nearly tie where float32 does not; the faiss library, exact, on the CPU.

    Returns
    -------
    neighbors : Tensor of shape (n, k), int32
        In no particular order.

    Raises
    ------
    ValueError
        For k >= n, or an unknown backend.

    Examples
    --------
    >>> import torch
    >>> z = torch.nn.functional.normalize(torch.tensor([[1., 0.], [1., .1], [0., 1.]]))
    >>> nearest_neighbors(z, 1)[:, 0].tolist()
    [1, 0, 1]
    """
    n = len(z)
    if not 1 <= k < n:
        raise ValueError(f"n_neighbors must be in [1, {n - 1}] for {n} rows, got {k}.")
    if backend == "faiss":
        return _faiss_neighbors(z, k)
    if backend not in ("exact", "bf16"):
        raise ValueError(f"backend must be 'exact', 'bf16' or 'faiss', got {backend!r}.")
    z = z.detach().to(torch.bfloat16 if backend == "bf16" else torch.float32)
    block_size = block_size or max(1, BLOCK_BYTES // (n * z.element_size()))
    neighbors = torch.empty(n, k, dtype=torch.int32, device=z.device)
    for start in range(0, n, block_size):
        similarity = z[start : start + block_size] @ z.T  # (b, n)
        own = torch.arange(len(similarity), device=z.device)
        similarity[own, start + own] = -torch.inf
        neighbors[start : start + block_size] = _largest(similarity, k)
    return neighbors


def _largest(similarity: Tensor, k: int) -> Tensor:
    """Columns of the k largest entries of each row (b, n), in no particular order.

    On a CPU torch sorts the k best as it goes where they are a 64th of all or less, and selects without sorting where
    they are more. Numpy does that much faster on a processor with wide vectors, and about as fast on others.
    """
    n = similarity.shape[1]
    if similarity.device.type != "cpu" or n >= 64 * k:
        return similarity.topk(k, dim=1, sorted=False).indices
    found = torch.empty(len(similarity), k, dtype=torch.int32)
    for rows, columns in zip(similarity.split(64), found.split(64), strict=True):  # few: numpy has 8 bytes an entry
        columns.copy_(torch.from_numpy(np.argpartition(rows.float().numpy(), n - k, axis=1)[:, n - k :]))
    return found


def _faiss_neighbors(z: Tensor, k: int) -> Tensor:
    try:
        import faiss
    except ImportError as error:
        raise ImportError('backend="faiss" needs faiss: pip install "robustlabels[knn]"') from error
    rows = z.float().cpu().contiguous().numpy()
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    found = torch.from_numpy(index.search(rows, k + 1)[1]).to(torch.int32)  # (n, k + 1), the row itself among them
    own = found == torch.arange(len(z), dtype=torch.int32)[:, None]
    own[:, -1] |= ~own.any(1)  # a copy of the row pushed it out: drop the farthest instead
    return found[~own].view(len(z), k).to(z.device)


def count_votes(neighbors: Tensor, y: Tensor, n_classes: int, *, block_size: int = 8192) -> Tensor:
    """How many of each row's neighbors carry each label: unweighted counts.

    Parameters
    ----------
    neighbors : Tensor of shape (n, k), int32 or int64
    y : Tensor of shape (n,), int64
        Labels of the rows that ``neighbors`` numbers.
    n_classes : int
    block_size : int, default=8192
        Rows counted at once.

    Returns
    -------
    counts : Tensor of shape (n, n_classes), int32

    Examples
    --------
    >>> import torch
    >>> count_votes(torch.tensor([[1, 2], [0, 2], [0, 1]]), torch.tensor([0, 0, 1]), 2).tolist()
    [[1, 1], [1, 1], [2, 0]]
    """
    counts = torch.zeros(len(neighbors), n_classes, dtype=torch.int32, device=y.device)
    for rows, total in zip(neighbors.split(block_size), counts.split(block_size), strict=True):
        total.scatter_add_(1, y[rows.long()], torch.ones_like(rows, dtype=torch.int32))  # a view: fills counts
    return counts


def most_votes(counts: Tensor) -> Tensor:
    """The label with most votes, the smallest label among equals: the same on every device.

    Examples
    --------
    >>> import torch
    >>> most_votes(torch.tensor([[1, 3, 3], [2, 1, 1]])).tolist()
    [1, 0]
    """
    k = counts.shape[1]
    return (counts.long() * k + torch.arange(k - 1, -1, -1, device=counts.device)).argmax(1)


def two_pass_votes(neighbors: Tensor, y: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Votes of the neighbors' labels, and of the labels these votes give them: eq. 6-8.

    Returns
    -------
    first, second : Tensor of shape (n, n_classes), int32
        Counts; the second are the ones to trust.
    """
    first = count_votes(neighbors, y, n_classes)
    return first, count_votes(neighbors, most_votes(first), n_classes)


def default_n_neighbors(n: int, n_classes: int) -> int:
    """Half the mean size of a class, between 5 and 250, and less than n.

    Examples
    --------
    >>> default_n_neighbors(50_000, 10), default_n_neighbors(1257, 10), default_n_neighbors(4, 2)
    (250, 62, 3)
    """
    return min(250, max(5, n // (2 * n_classes)), n - 1)
