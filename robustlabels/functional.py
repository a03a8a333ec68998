"""Stateless maths that two or more methods use, and one statistic that can be summed over batches and machines."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = [
    "MixtureHistogram",
    "TwoComponentMixture",
    "draw_mixup",
    "fit_two_component_mixture",
    "mixup",
    "sigmoid_rampup",
    "soft_cross_entropy",
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
    >>> from robustlabels.functional import soft_cross_entropy
    >>> soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    tensor([0.6931])
    """
    return F.cross_entropy(logits, targets, reduction="none")


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
    >>> from robustlabels.functional import draw_mixup
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
    x : Tensor of shape (b, *features), floating
    y : Tensor of shape (b, n_classes), floating
        Label distributions.
    lam : float or Tensor of shape ()
    permutation : Tensor of shape (b,), int64

    Returns
    -------
    x, y : Tensor
        The mixtures, in new tensors of the same shapes.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.functional import mixup
    >>> x, y = torch.tensor([[0.0], [10.0]]), torch.eye(2)
    >>> mixup(x, y, 0.75, torch.tensor([1, 0]))
    (tensor([[2.5000],
            [7.5000]]), tensor([[0.7500, 0.2500],
            [0.2500, 0.7500]]))
    """
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
    >>> from robustlabels.functional import sigmoid_rampup
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
    >>> from robustlabels.functional import update_average
    >>> teacher, student = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    >>> _ = teacher.weight.data.fill_(0.0), student.weight.data.fill_(1.0)
    >>> update_average(teacher, student, decay=0.75)
    >>> teacher.weight.item()
    0.25
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be in [0, 1], got {decay}.")
    get_ema_multi_avg_fn(decay)(list(teacher.parameters()), list(student.parameters()), None)  # one lerp for them all


# -- Two-component mixture --------------------------------------------------------------------------------------------

COLLAPSED = 1e-6
"""Means closer than this are one component."""

N_BINS = 4096
"""Bins of a histogram; also the most values that are worth treating one by one."""


class MixtureHistogram:
    """What a two-component mixture needs to know of any number of values: a few thousand sums.

    Per bin it keeps count, sum and sum of squares, so means and variances carry no rounding to bin centres. Histograms
    of parts add up to the histogram of the whole: :meth:`merge` two of them, or all-reduce :attr:`state`.

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
    >>> from robustlabels.functional import MixtureHistogram, fit_two_component_mixture
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
        offset = _finite(values) - self.low  # (n,)
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

    def groups(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of each bin that is not empty, in ascending order: mean, count and sum of squares about the mean."""
        count, total, square = self.state[:, self.state[0] > 0]
        mean = total / count
        return self.low + mean, count, (square - total * mean).clamp_(min=0)


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
        Added to the variances.

    Returns
    -------
    TwoComponentMixture

    Examples
    --------
    >>> import torch
    >>> from robustlabels.functional import fit_two_component_mixture
    >>> losses = torch.tensor([0.0, 0.1, 0.05, 0.9, 1.0])
    >>> fit_two_component_mixture(losses).posterior(losses) > 0.5
    tensor([ True,  True,  True, False, False])
    """
    x, count, scatter = values.groups() if isinstance(values, MixtureHistogram) else _groups(values)
    n = float(count.sum())
    if n < 2:
        raise ValueError(f"a mixture of two takes 2 values or more, got {n:.0f}; give those of the whole training set.")
    if x[-1] - x[0] < COLLAPSED:
        only = float(x @ count) / n
        return TwoComponentMixture((1.0, 0.0), (only, only), (reg_covar, reg_covar), converged=True, n_iter=0)

    tiny = 10 * torch.finfo(x.dtype).eps  # scikit-learn's guard of an empty component
    share = _best_split(x, count)  # (2, g): how much of each group belongs to each component
    bound, converged, n_iter = -math.inf, False, 0
    while True:
        # Weights, means, variances of the components, given the shares.
        part = share * count  # (2, g)
        size = part.sum(1) + tiny  # (2,)
        mean = (part @ x) / size
        deviation = (x - mean[:, None]).square_()  # (2, g)
        variance = ((part * deviation).sum(1) + share @ scatter) / size + reg_covar
        weight = size / size.sum()
        if converged or n_iter == max_iter:
            break
        # Shares, given the components. The deviations are from the means just found.
        log_joint = (weight.log() - 0.5 * (2 * math.pi * variance).log())[:, None] - deviation / (2 * variance)[:, None]
        log_density = torch.logaddexp(log_joint[0], log_joint[1])  # (g,)
        share = (log_joint - log_density).exp_()
        bound, before = float(log_density @ count) / n, bound
        converged, n_iter = abs(bound - before) < tol, n_iter + 1

    order = mean.argsort()
    w, m, v = (tuple(column[order].tolist()) for column in (weight, mean, variance))
    return TwoComponentMixture(w, m, v, converged, n_iter)


def _finite(values: Tensor) -> Tensor:
    """Values as a flat float64 tensor on the CPU."""
    flat = values.detach().flatten().cpu().double()
    if not math.isfinite(flat.sum().item()):  # a finite sum has finite terms, and is quicker to find
        n_bad = int((~flat.isfinite()).sum())
        if n_bad:
            raise ValueError(
                f"values must be finite, got {n_bad} NaN or infinite of {len(flat)}; is the loss diverging?"
            )
    return flat


def _groups(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Few values, each a group of its own; many, in a histogram over their range."""
    flat = _finite(values)
    if len(flat) <= N_BINS:
        return flat.sort().values, torch.ones_like(flat), torch.zeros_like(flat)
    low, high = flat.aminmax()
    return MixtureHistogram(low.item(), high.item()).update(flat).groups()


def _best_split(x: Tensor, count: Tensor) -> Tensor:
    """Shares (2, g), 0 or 1, of the two clusters of least variance: on a sorted line, k-means is one cut."""
    n_left = count.cumsum(0)[:-1]  # (g - 1,): sizes and sums left of every cut
    sum_left = (x * count).cumsum(0)[:-1]
    n, total = count.sum(), (x * count).sum()
    between = (sum_left - n_left * (total / n)).square() / (n_left * (n - n_left))  # variance between, up to a factor
    left = (torch.arange(len(x)) <= between.argmax()).double()
    return torch.stack([left, 1 - left])
