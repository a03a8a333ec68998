r"""From scores to flags: where a mixture splits the scores, how many labels are wrong, and what share of flags is.

Scores rank the rows. How many of the first are wrong is another question, which labels that may be wrong cannot answer
alone: a network that is right on 85 % of the rows contradicts 15 % of the labels even if all of them are right. Three
answers are given here, from class beliefs b_i that have not seen the row's own label (out of fold, of neighbors, of
the first epochs):

* the share of rows whose most believed class is not their label, which calls every doubt of the model an error;
* the confident joint (:mod:`robustlabels.maths.confident_joint`), which asks for a class's usual confidence first;
* the transition model, which lets doubt be doubt. Labels are flipped by class alone, and the beliefs are right up to a
  temperature:

  .. math:: p(\tilde y_i = k) = \sum_j g_{ij} T_{jk}, \quad g_i = \mathrm{softmax}(\beta \log b_i), \qquad
            p(\text{wrong} \mid \tilde y_i) = 1 - \frac{g_{i\tilde y_i} T_{\tilde y_i \tilde y_i}}{p(\tilde y_i)}

  with T and beta of maximum likelihood. Errors that only happen where the model is in doubt look like doubt to it, so
  that with people's errors it sees too few, rarely too many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaln, expit

from robustlabels.maths.functional import fit_two_component_mixture

__all__ = [
    "TransitionModel",
    "fdr_threshold",
    "fit_transition_model",
    "mixture_split",
    "rate_threshold",
    "uniform_share",
]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

LARGEST = 500_000
"""Beliefs that a transition model is fitted on; of more rows, evenly spaced ones are taken."""

NARROW = 5e-3
"""Least variance of a Gaussian over values scaled to [0, 1], so that a spike at zero does not become a group."""

TINY = 1e-12


# --- one number on the line of scores ---------------------------------------------------------------------------------


def rate_threshold(scores: Floats, rate: float) -> float:
    """The threshold that the round(rate n) highest scores exceed; of equal scores at the border, none does.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
    rate : float
        Share of rows to flag.

    Returns
    -------
    threshold : float

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([0.9, 0.1, 0.4, 0.2])
    >>> rate_threshold(scores, 0.5), scores > rate_threshold(scores, 0.5)
    (0.2, array([ True, False,  True, False]))
    """
    count = round(rate * len(scores))
    if count >= len(scores):
        return float(np.nextafter(scores.min(), -np.inf))
    return float(np.partition(scores, len(scores) - count - 1)[len(scores) - count - 1])


def mixture_split(values: Floats, kind: str = "gaussian") -> float:
    """Where a mixture of two components goes over from the lower to the upper one.

    Parameters
    ----------
    values : ndarray of shape (n_samples,)
        Scores or losses; finite.
    kind : {"gaussian", "beta"}, default="gaussian"
        Beta components (Arazo et al. 2019) are skewed, as losses are; they are fitted by moments to the values scaled
        to [0, 1].

    Returns
    -------
    split : float
        The smallest value above the lower component's mean that is more probably of the upper one; the largest value,
        which nothing exceeds, where there are no two components.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.r_[np.linspace(0, 0.2, 80), np.linspace(0.8, 1, 20)]
    >>> [bool(0.2 < mixture_split(values, kind) < 0.8) for kind in ("gaussian", "beta")]
    [True, True]
    """
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high
    unit = (values - low) / (high - low)
    lower_mean, is_lower = (_gaussians if kind == "gaussian" else _betas)(unit)
    grid = np.linspace(lower_mean, 1, 2048)
    upper = np.flatnonzero(is_lower(grid) < 0.5)
    return high if len(upper) == 0 else low + (high - low) * float(grid[upper[0]])


Posterior = Callable[[Floats], Floats]


def _gaussians(unit: Floats) -> tuple[float, Posterior]:
    """Mean of the lower component, and the probability of being of it."""
    values = torch.from_numpy(np.ascontiguousarray(unit))
    mixture = fit_two_component_mixture(values, max_iter=100, tol=1e-4, reg_covar=NARROW)
    return mixture.means[0], lambda x: mixture.posterior(torch.from_numpy(x)).numpy()


def _betas(unit: Floats, n_iter: int = 50) -> tuple[float, Posterior]:
    """As :func:`_gaussians`, with two beta components fitted by EM that matches moments in the M-step."""
    x = unit.clip(1e-4, 1 - 1e-4)
    count, edges = np.histogram(x, 1024)
    x = (edges[1:] + edges[:-1]) / 2
    weights = np.stack([count * (1 - x), count * x])  # what each component owns of each bin
    for _ in range(n_iter):
        total = weights.sum(1, keepdims=True) + TINY
        mean = (weights * x).sum(1, keepdims=True) / total
        variance = (weights * (x - mean) ** 2).sum(1, keepdims=True) / total + 1e-6
        size = np.maximum(mean * (1 - mean) / variance - 1, 1e-2)
        share = total / total.sum()
        log_joint = _log_beta(x, share, mean * size, (1 - mean) * size)
        own = expit(log_joint - log_joint[::-1])
        weights = count * own
    lower = int(mean[:, 0].argmin())

    def is_lower(values: Floats) -> Floats:
        log_joint = _log_beta(values.clip(1e-4, 1 - 1e-4), share, mean * size, (1 - mean) * size)
        return expit(log_joint[lower] - log_joint[1 - lower])

    return float(mean[lower, 0]), is_lower


def _log_beta(x: Floats, share: Floats, a: Floats, b: Floats) -> Floats:
    """Log of share times density, (2, n)."""
    return np.log(share + TINY) + (a - 1) * np.log(x) + (b - 1) * np.log1p(-x) - betaln(a, b)


def fdr_threshold(scores: Floats, wrong: Floats, alpha: float) -> float | None:
    """The lowest threshold above which the expected share of rows that are *not* wrong is at most alpha.

    One right row is added to those expected (as by Barber and Candès 2015), so that alpha is never reached by a handful
    of rows: 1 / alpha of them are the fewest.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,)
    wrong : ndarray of shape (n_samples,)
        Probability that each label is wrong, of a calibrated model.
    alpha : float

    Returns
    -------
    threshold : float or None
        None where no threshold is high enough.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.linspace(1, 0, 101)
    >>> wrong = np.where(scores > 0.5, 1.0, 0.0)
    >>> round(fdr_threshold(scores, wrong, alpha=0.1), 2)
    0.46
    >>> fdr_threshold(scores, np.zeros(101), alpha=0.1) is None
    True
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    right = (1 + np.cumsum(1 - wrong[order])) / np.arange(1, len(scores) + 1)
    last = np.append(ordered[1:] < ordered[:-1], True)  # of equal scores: they are flagged together
    found = np.flatnonzero(last & (right <= alpha))
    if len(found) == 0:
        return None
    k = found[-1]
    return float(ordered[k + 1]) if k + 1 < len(ordered) else float(np.nextafter(ordered[k], -np.inf))


# --- the transition model ---------------------------------------------------------------------------------------------


class TransitionModel(NamedTuple):
    """Given labels as class-conditional flips of what is believed.

    Attributes
    ----------
    transition : ndarray of shape (n_classes, n_classes)
        T: rows are true classes, columns given labels.
    temperature : float
        Beta, by which log beliefs are multiplied: above 1 for beliefs that are too timid.
    """

    transition: Floats
    temperature: float

    def wrong_probability(self, belief: Floats, y: Ints) -> Floats:
        """Probability that each given label is wrong.

        Parameters
        ----------
        belief : ndarray of shape (n_samples, n_classes)
        y : ndarray of shape (n_samples,), int
            Given labels, class numbers.

        Returns
        -------
        wrong : ndarray of shape (n_samples,)
        """
        joint = _sharpened(_log(belief), self.temperature)
        joint *= self.transition.T[y]  # (n, n_classes): p(true class, given label)
        return 1 - joint[np.arange(len(y)), y] / np.maximum(joint.sum(1), TINY)


def fit_transition_model(belief: Floats, y: Ints, *, weight: Floats | None = None, n_iter: int = 40) -> TransitionModel:
    """Fit transitions and temperature to given labels, by maximum likelihood.

    Parameters
    ----------
    belief : ndarray of shape (n_samples, n_classes)
        Class beliefs that have not seen the row's own label; those that have take every label for right.
    y : ndarray of shape (n_samples,), int
        Given labels, class numbers.
    weight : ndarray of shape (n_samples,), default=None
        Of the rows.
    n_iter : int, default=40
        Steps of EM.

    Returns
    -------
    TransitionModel

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> true = rng.integers(2, size=4000)
    >>> belief = np.where(true[:, None] == [0, 1], 0.9, 0.1)
    >>> true = np.where(rng.random(4000) < 0.1, 1 - true, true)  # beliefs of 0.9 are right nine times of ten
    >>> y = np.where((true == 1) & (rng.random(4000) < 0.4), 0, true)  # 40 % of class 1 are labeled 0
    >>> fit_transition_model(belief, y).transition.round(1)
    array([[1. , 0. ],
           [0.4, 0.6]])
    """
    n, n_classes = belief.shape
    most = max(1000, LARGEST // n_classes)
    if n > most:
        rows = np.linspace(0, n - 1, most).astype(np.int64)
        belief, y, weight = belief[rows], y[rows], None if weight is None else weight[rows]
    log_belief = _log(belief)
    given = np.eye(n_classes)[y]  # (n, n_classes)
    if weight is None or not weight.any():
        weight = np.ones(len(y))
    transition = np.full((n_classes, n_classes), 0.1 / (n_classes - 1))
    np.fill_diagonal(transition, 0.9)
    temperature = 1.0
    for step in range(n_iter):
        joint = _sharpened(log_belief, temperature) * transition.T[y]
        joint *= (weight / np.maximum(joint.sum(1), TINY))[:, None]  # weighted responsibilities
        transition = joint.T @ given + 1e-3
        transition /= transition.sum(1, keepdims=True)
        if step % 2 == 0:

            def loss(log_temperature: float, likelihood: Floats = transition.T[y]) -> float:
                p = np.einsum("ij,ij->i", _sharpened(log_belief, math.exp(log_temperature)), likelihood)
                return -float(weight @ np.log(np.maximum(p, TINY)))

            temperature = math.exp(_golden(loss, math.log(0.2), math.log(8.0)))
    return TransitionModel(transition, temperature)


def _log(belief: Floats) -> Floats:
    return np.log(np.maximum(belief, 1e-6, dtype=np.float64))


def _sharpened(log_belief: Floats, temperature: float) -> Floats:
    """softmax(temperature * log belief), (n, n_classes)."""
    z = temperature * log_belief
    z -= z.max(1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(1, keepdims=True)
    return z


def _golden(loss: Callable[[float], float], low: float, high: float, tol: float = 0.02) -> float:
    """Minimum of a function with one, by golden section."""
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    loss_a, loss_b = loss(a), loss(b)
    while high - low > tol:
        if loss_a < loss_b:
            high, b, loss_b = b, a, loss_a
            a = high - ratio * (high - low)
            loss_a = loss(a)
        else:
            low, a, loss_a = a, b, loss_b
            b = low + ratio * (high - low)
            loss_b = loss(b)
    return (low + high) / 2


def uniform_share(transition: Floats) -> float:
    """How far flips go to all classes alike: median over mean of the off-diagonal entries, at most 1.

    Parameters
    ----------
    transition : ndarray of shape (n_classes, n_classes)

    Returns
    -------
    share : float
        1 for symmetric noise, about 0 where few of the possible flips happen.

    Examples
    --------
    >>> import numpy as np
    >>> uniform_share(np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]))
    1.0
    >>> uniform_share(np.array([[0.8, 0.2, 0.0], [0.0, 0.8, 0.2], [0.2, 0.0, 0.8]]))
    0.0
    """
    flips = np.sort(transition[~np.eye(len(transition), dtype=bool)])
    mean = flips.mean()
    return 1.0 if mean <= 0 else min(1.0, float(flips[(len(flips) - 1) // 2] / mean))
