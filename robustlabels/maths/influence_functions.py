"""Which samples hold a decision boundary by force: influence functions of a ridge softmax regression.

The last layer of a network is solved again on its frozen features, with a ridge. That problem is strictly convex, so
what removing one sample does to the parameters, and to the loss of other samples, is an exact first-order quantity:
``g`` is a sample's gradient, ``H`` the Hessian, and all formulas below are products of the two.

Everything is in float64 and walks the rows in chunks: features may be a memory map, and nothing of size rows times
reference rows is ever held. Arrays are taken as they are; results are tensors, on the device of the features.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "BACKENDS",
    "InfluenceScores",
    "InverseHessian",
    "RidgeSoftmax",
    "combined_rank",
    "cook_distance",
    "curvature",
    "data_influence",
    "influence_outliers",
    "influence_scores",
    "loo_influence",
    "model_influence",
    "pairwise_influence",
    "rank01",
    "rank_by_influence",
    "resolve_backend",
]

BACKENDS = ("exact", "kfac", "factored", "representer")

LARGEST_EXACT = 4000
"""Parameters, classes times features, up to which the whole Hessian may be built."""

SMALL_EXACT = 1000
"""Parameters up to which "auto" builds it."""

LARGEST_GRAM = 4096
"""Features up to which "auto", and the solver's preconditioner, decompose their second moments."""

CHUNK_BYTES = 32 << 20
"""Size of one chunk of rows, in float64."""

CACHE_BYTES = 512 << 20
"""Standardized rows up to this size are kept; larger ones are made anew by every walk."""

IMBALANCED = 3
"""Largest over smallest class from which rank_by="auto" ranks within classes."""


# -- Rows --------------------------------------------------------------------------------------------------------------


def _doubles(rows: Any) -> Tensor:
    """A chunk of an array, a memory map or a tensor in float64."""
    tensor = rows.detach() if isinstance(rows, Tensor) else torch.from_numpy(np.array(rows, dtype=np.float64))
    return tensor.double()


def _chunks(n: int, width: int) -> Iterator[slice]:
    """Slices of ``n`` rows such that a row of ``width`` numbers makes chunks of CHUNK_BYTES."""
    size = max(1, CHUNK_BYTES // (8 * width))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


class _Design:
    """Standardized rows with the constant, (n, D), chunk by chunk; kept where they take little, made anew otherwise."""

    def __init__(self, features: Any, mean: Tensor, std: Tensor, width: int = 0) -> None:
        self.features, self.mean, self.std = features, mean, std
        self.n, self.width = len(features), max(width, len(mean) + 1)
        small = 8 * self.n * (len(mean) + 1) <= CACHE_BYTES
        self.kept = list(self._make()) if small else None

    def _make(self) -> Iterator[tuple[slice, Tensor]]:
        for rows in _chunks(self.n, self.width):
            h = (_doubles(self.features[rows]) - self.mean) / self.std
            yield rows, F.pad(h, (0, 1), value=1.0)  # (c, D)

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        return iter(self._make() if self.kept is None else self.kept)


def _checked(features: Any, y: Any, n_classes: int, weight: Any = None) -> tuple[Any, Tensor, Tensor]:
    """Features (n, d) as they are, labels (n,), and weights of mean one (n,)."""
    if n_classes < 2:
        raise ValueError(f"influence needs at least 2 classes, got n_classes={n_classes}.")
    if not isinstance(features, (Tensor, np.ndarray)):
        features = np.asarray(features)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features must have shape (n_samples, n_features), got {tuple(features.shape)}.")
    device = features.device if isinstance(features, Tensor) else "cpu"
    y = torch.as_tensor(y, dtype=torch.int64, device=device)
    if y.shape != (len(features),):
        raise ValueError(f"y has shape {tuple(y.shape)}, but there are {len(features)} rows of features.")
    if y.min() < 0 or y.max() >= n_classes:
        raise ValueError(f"y must hold class numbers from 0 to {n_classes - 1}, got {int(y.min())} to {int(y.max())}.")
    if weight is None:
        return features, y, torch.ones(len(y), dtype=torch.float64, device=device)
    weight = torch.as_tensor(weight, dtype=torch.float64, device=device)
    if weight.shape != y.shape:
        raise ValueError(f"weight has shape {tuple(weight.shape)}, but there are {len(y)} rows of features.")
    if not weight.isfinite().all() or weight.min() < 0 or weight.max() == 0:
        raise ValueError("weight must be finite, not negative, and above zero somewhere.")
    return features, y, weight / weight.mean()


def _moments(features: Any, weight: Tensor, standardize: bool) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation of each column; 0 and 1 where they are not wanted, 1 where it is zero."""
    n, d = features.shape
    total = torch.zeros(d, dtype=torch.float64, device=weight.device)
    for rows in _chunks(n, d):
        h = _doubles(features[rows])
        if not h.isfinite().all():
            bad = rows.start + int((~h.isfinite().all(1)).nonzero()[0])
            raise ValueError(f"features must be finite, but row {bad} holds NaN or infinity.")
        total += weight[rows] @ h
    if not standardize:
        return torch.zeros_like(total), torch.ones_like(total)
    mean = total / n
    square = torch.zeros_like(mean)
    for rows in _chunks(n, d):
        square += weight[rows] @ (_doubles(features[rows]) - mean).square_()
    std = (square / n).sqrt_()
    return mean, torch.where(std < 1e-8 * mean.abs().clamp_min(1), 1.0, std)


# -- The last layer ----------------------------------------------------------------------------------------------------


class ArrayState:
    """Tensors are arrays in the state of an object: pickle, skops and ``save`` then need to know NumPy alone."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: _as_arrays(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({name: _as_tensors(value) for name, value in state.items()})


def _as_arrays(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_as_arrays(part) for part in value)
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _as_tensors(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_as_tensors(part) for part in value)
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


@dataclass(frozen=True, eq=False)
class RidgeSoftmax(ArrayState):
    """Softmax regression with a ridge on all parameters, bias included; its ``fit`` solves it.

    Minimizes (1/n) sum_i w_i CE(W h_i, y_i) + (damping / 2) ||W||^2, where h_i is a standardized row with a constant 1.

    Attributes
    ----------
    weight : Tensor of shape (n_classes, n_features + 1), float64
        W; the last column belongs to the constant.
    mean, std : Tensor of shape (n_features,)
        Rows are standardized with these.
    damping : float
        The ridge (lambda).
    n_samples : int
    gram : tuple of Tensor or None
        Eigenvalues (D,) and eigenvectors (D, D) of A = (1/n) sum_i w_i h_i h_i^T, up to LARGEST_GRAM columns.
    fisher : Tensor of shape (n_classes, n_classes)
        (1/n) sum_i w_i (diag(p_i) - p_i p_i^T).
    n_iter : int
        Steps of the solver.
    gradient : float
        Largest entry of the gradient at W.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.influence_functions import RidgeSoftmax
    >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> head = RidgeSoftmax.fit(x, torch.tensor([0, 0, 1, 1]), 2)
    >>> head.proba(x)[:, 1]
    tensor([0.0640, 0.2073, 0.7927, 0.9360], dtype=torch.float64)
    """

    weight: Tensor
    mean: Tensor
    std: Tensor
    damping: float
    n_samples: int
    gram: tuple[Tensor, Tensor] | None
    fisher: Tensor
    n_iter: int
    gradient: float

    @classmethod
    def fit(
        cls,
        features: Any,
        y: Any,
        n_classes: int,
        *,
        damping: float = 0.1,
        weight: Any = None,
        standardize: bool = True,
        warm_start: Tensor | None = None,
        tol: float = 1e-6,
        max_iter: int = 1000,
    ) -> Self:
        """Solve the last layer.

        Parameters
        ----------
        features : ndarray, memory map or Tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Class numbers below ``n_classes``.
        n_classes : int
        damping : float, default=0.1
            The ridge, above 0.
        weight : array-like of shape (n_samples,) or None, default=None
            Sample weights; only their ratios count.
        standardize : bool, default=True
            Scale every column to mean 0 and standard deviation 1; constant columns become 0.
        warm_start : Tensor of shape (n_classes, n_features + 1) or None, default=None
            Where the solver starts.
        tol : float, default=1e-6
            The solver stops when no entry of the gradient is larger.
        max_iter : int, default=1000

        Returns
        -------
        RidgeSoftmax
        """
        if not 0 < damping < math.inf:
            raise ValueError(f"damping must be above 0, got {damping!r}: without it the Hessian has no inverse.")
        features, y, weight = _checked(features, y, n_classes, weight)
        mean, std = _moments(features, weight, standardize)
        design = _Design(features, mean, std, n_classes)
        share = weight / len(y)  # (n,), sums to one
        gram = _gram(design, share) if len(mean) < LARGEST_GRAM else None

        def value_and_gradient(w: Tensor) -> tuple[float, Tensor]:
            value, gradient = damping / 2 * w.square().sum(), damping * w
            for rows, h in design:
                log_p = F.log_softmax(h @ w.T, dim=1)  # (c, K)
                value = value + share[rows] @ F.nll_loss(log_p, y[rows], reduction="none")
                gradient = gradient + (share[rows, None] * _less_one_hot(log_p.exp_(), y[rows])).T @ h
            return value.item(), gradient

        start = torch.zeros(n_classes, len(mean) + 1, dtype=torch.float64, device=y.device)
        if warm_start is not None:
            start = start + warm_start.to(start)
        largest = 0.5 if gram is None else 0.5 * gram[0]  # no softmax curves more than 1/2

        def precondition(b: Tensor) -> Tensor:
            if gram is None:
                return b
            return (b @ gram[1] / (largest / n_classes + damping)) @ gram[1].T

        w, n_iter, gradient = _minimize(value_and_gradient, start, precondition, tol, max_iter)
        fisher = torch.zeros(n_classes, n_classes, dtype=torch.float64, device=y.device)
        for rows, h in design:
            p = F.softmax(h @ w.T, dim=1)
            fisher += torch.diag(share[rows] @ p) - (share[rows, None] * p).T @ p
        return cls(w, mean, std, float(damping), len(y), gram, fisher, n_iter, gradient)

    @property
    def n_classes(self) -> int:
        """Rows of W."""
        return len(self.weight)

    def proba(self, features: Any) -> Tensor:
        """Class probabilities (n, n_classes) of rows of features."""
        return torch.cat([F.softmax(h @ self.weight.T, dim=1) for _, h in self._design(features, self.n_classes)])

    def residuals(self, features: Any, y: Any) -> Tensor:
        """p_i - onehot(y_i) of shape (n, n_classes)."""
        features, y, _ = _checked(features, y, self.n_classes)
        return _less_one_hot(self.proba(features), y)

    def raw(self) -> tuple[Tensor, Tensor]:
        """Weight (n_classes, n_features) and bias (n_classes,) that give the same logits of rows not standardized."""
        weight = self.weight[:, :-1] / self.std
        return weight, self.weight[:, -1] - weight @ self.mean

    def _design(self, features: Any, width: int) -> _Design:
        if features.shape[1] != len(self.mean):
            raise ValueError(f"features have {features.shape[1]} columns, but the layer has {len(self.mean)}.")
        return _Design(features, self.mean, self.std, width)


def _less_one_hot(p: Tensor, y: Tensor) -> Tensor:
    """Probabilities minus one-hot labels, in place."""
    p[torch.arange(len(y), device=p.device), y] -= 1
    return p


def _gram(design: _Design, share: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, none negative, and eigenvectors of sum_i share_i h_i h_i^T."""
    d = len(design.mean) + 1
    a = torch.zeros(d, d, dtype=torch.float64, device=share.device)
    for rows, h in design:
        a.addmm_((share[rows, None] * h).T, h)
    values, vectors = torch.linalg.eigh(a)
    return values.clamp_min_(0), vectors


def _minimize(
    value_and_gradient: Callable[[Tensor], tuple[float, Tensor]],
    w: Tensor,
    precondition: Callable[[Tensor], Tensor],
    tol: float,
    max_iter: int,
    memory: int = 10,
) -> tuple[Tensor, int, float]:
    """L-BFGS of a strictly convex function from a preconditioner; the minimum, steps, largest entry of the gradient.

    Steps are halved until the value falls enough or, where values differ by rounding only, the slope does (Hager and
    Zhang's approximate Wolfe condition).
    """
    value, gradient = value_and_gradient(w)
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=memory)
    for n_iter in range(max_iter):
        largest = gradient.abs().max().item()
        if largest < tol:
            return w, n_iter, largest
        direction = -_two_loops(gradient, pairs, precondition)
        slope = (gradient * direction).sum().item()
        step = 1.0
        for _ in range(40):
            value_there, gradient_there = value_and_gradient(w + step * direction)
            slope_there = (gradient_there * direction).sum().item()
            falls = value_there <= value + 1e-4 * step * slope
            flattens = abs(value_there - value) <= 1e-12 * abs(value) and slope_there <= -0.9998 * slope
            if falls or flattens:
                break
            step /= 2
        else:
            break
        moved, turned = step * direction, gradient_there - gradient
        if (moved * turned).sum() > 0:
            pairs.append((moved, turned, 1 / (moved * turned).sum()))
        w, value, gradient = w + moved, value_there, gradient_there
    else:
        n_iter = max_iter
    largest = gradient.abs().max().item()
    if not largest < tol:
        warnings.warn(
            f"the last layer was not solved in {n_iter} steps: its gradient is {largest:.1e}, {tol:.1e} was asked for; "
            "raise damping, or look for extreme features.",
            RuntimeWarning,
            stacklevel=3,
        )
    return w, n_iter, largest


def _two_loops(gradient: Tensor, pairs: deque, precondition: Callable[[Tensor], Tensor]) -> Tensor:
    """Inverse Hessian times gradient, from the last steps (Nocedal and Wright, algorithm 7.4)."""
    q = gradient.clone()
    factors = []
    for moved, turned, rho in reversed(pairs):
        factors.append(rho * (moved * q).sum())
        q -= factors[-1] * turned
    q = precondition(q)
    for (moved, turned, rho), factor in zip(pairs, reversed(factors), strict=True):
        q += (factor - rho * (turned * q).sum()) * moved
    return q


# -- The inverse Hessian -----------------------------------------------------------------------------------------------


class InverseHessian(ArrayState):
    """H^-1, as far as influence asks for it; made by :func:`~robustlabels.maths.influence_functions.curvature`.

    A gradient g = vec(r h^T) is given as residuals r (c, K) and standardized rows h (c, D).
    """

    def norms(self, r: Tensor, h: Tensor) -> Tensor:
        """||H^-1 g|| of each row, (c,)."""
        raise NotImplementedError

    def quadratic(self, r: Tensor, h: Tensor) -> Tensor:
        """g^T H^-1 g of each row, (c,)."""
        raise NotImplementedError

    def pairwise(self, r_v: Tensor, h_v: Tensor, r: Tensor, h: Tensor) -> Tensor:
        """g_v^T H^-1 g of every pair, (m, c)."""
        raise NotImplementedError

    def blocks(self, h: Tensor) -> Tensor:
        """J H^-1 J^T of each row with J = I (x) h^T, (c, K, K)."""
        raise NotImplementedError


def _gradients(r: Tensor, h: Tensor) -> Tensor:
    """vec(r h^T) of each row, (c, K D)."""
    return (r[:, :, None] * h[:, None, :]).flatten(1)


class _Exact(InverseHessian):
    """H whole: (K D)^2 numbers."""

    def __init__(self, head: RidgeSoftmax, features: Any, weight: Any) -> None:
        k, d = head.weight.shape
        if k * d > LARGEST_EXACT:
            raise ValueError(
                f"backend='exact' inverts a matrix of (classes x features) = {k} x {d} = {k * d} rows, above "
                f"{LARGEST_EXACT}; take backend='kfac'."
            )
        features, _, weight = _checked(features, torch.zeros(len(features)), head.n_classes, weight)
        hessian = head.damping * torch.eye(k * d, dtype=torch.float64, device=weight.device)
        blocks = hessian.view(k, d, k, d).diagonal(dim1=0, dim2=2)  # (D, D, K), a view
        for rows, h in head._design(features, k * d):
            p = F.softmax(h @ head.weight.T, dim=1)
            share = (weight[rows] / len(weight))[:, None]
            z = _gradients(p, h)
            hessian.addmm_(z.T, share * z, alpha=-1)  # - p p^T (x) h h^T
            blocks.add_((h.T @ _gradients(share * p, h)).view(d, k, d).transpose(1, 2))  # diag(p) (x) h h^T
        self.shape = k, d
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))

    def norms(self, r: Tensor, h: Tensor) -> Tensor:
        return (_gradients(r, h) @ self.inverse).norm(dim=1)

    def quadratic(self, r: Tensor, h: Tensor) -> Tensor:
        g = _gradients(r, h)
        return ((g @ self.inverse) * g).sum(1)

    def pairwise(self, r_v: Tensor, h_v: Tensor, r: Tensor, h: Tensor) -> Tensor:
        return (_gradients(r_v, h_v) @ self.inverse) @ _gradients(r, h).T

    def blocks(self, h: Tensor) -> Tensor:
        k, d = self.shape
        return torch.einsum("nd,kdle,ne->nkl", h, self.inverse.view(k, d, k, d), h)


class _Kfac(InverseHessian):
    """H ~ S (x) A + damping I, in the bases of both factors: as many numbers as W has."""

    def __init__(self, head: RidgeSoftmax) -> None:
        self.a, self.q = _gram_of(head)
        self.s, self.u = torch.linalg.eigh(head.fisher)
        self.s.clamp_min_(0)
        self.g = 1 / (torch.outer(self.s, self.a) + head.damping)  # (K, D)

    def norms(self, r: Tensor, h: Tensor) -> Tensor:
        return ((((r @ self.u).square() @ self.g.square()) * (h @ self.q).square()).sum(1)).sqrt()

    def quadratic(self, r: Tensor, h: Tensor) -> Tensor:
        return (((r @ self.u).square() @ self.g) * (h @ self.q).square()).sum(1)

    def pairwise(self, r_v: Tensor, h_v: Tensor, r: Tensor, h: Tensor) -> Tensor:
        return (_gradients(r_v @ self.u, h_v @ self.q) * self.g.flatten()) @ _gradients(r @ self.u, h @ self.q).T

    def blocks(self, h: Tensor) -> Tensor:
        return (self.u * ((h @ self.q).square() @ self.g.T)[:, None, :]) @ self.u.T


class _Factored(InverseHessian):
    """H ~ (S + sqrt(damping) I) (x) (A + sqrt(damping) I): every influence is a product of one factor each."""

    def __init__(self, head: RidgeSoftmax) -> None:
        a, q = _gram_of(head)
        s, u = torch.linalg.eigh(head.fisher)
        root = math.sqrt(head.damping)
        self.s = (u / (s.clamp_min(0) + root)) @ u.T  # (K, K)
        self.a = (q / (a + root)) @ q.T  # (D, D)

    def norms(self, r: Tensor, h: Tensor) -> Tensor:
        return (r @ self.s).norm(dim=1) * (h @ self.a).norm(dim=1)

    def quadratic(self, r: Tensor, h: Tensor) -> Tensor:
        return ((r @ self.s) * r).sum(1) * ((h @ self.a) * h).sum(1)

    def pairwise(self, r_v: Tensor, h_v: Tensor, r: Tensor, h: Tensor) -> Tensor:
        return ((r_v @ self.s) @ r.T).mul_((h_v @ self.a) @ h.T)

    def blocks(self, h: Tensor) -> Tensor:
        return ((h @ self.a) * h).sum(1)[:, None, None] * self.s


class _Representer(InverseHessian):
    """H ~ damping I: a sample's own term in W = -(1 / damping n) sum_i r_i h_i^T."""

    def __init__(self, head: RidgeSoftmax) -> None:
        self.damping, self.eye = head.damping, torch.eye(head.n_classes, dtype=torch.float64, device=head.weight.device)

    def norms(self, r: Tensor, h: Tensor) -> Tensor:
        return r.norm(dim=1) * h.norm(dim=1) / self.damping

    def quadratic(self, r: Tensor, h: Tensor) -> Tensor:
        return (r.norm(dim=1) * h.norm(dim=1)).square() / self.damping

    def pairwise(self, r_v: Tensor, h_v: Tensor, r: Tensor, h: Tensor) -> Tensor:
        return (r_v @ r.T).mul_(h_v @ h.T).div_(self.damping)

    def blocks(self, h: Tensor) -> Tensor:
        return h.square().sum(1)[:, None, None] / self.damping * self.eye


def _gram_of(head: RidgeSoftmax) -> tuple[Tensor, Tensor]:
    if head.gram is None:
        raise ValueError(
            f"second moments of {len(head.mean)} features are not decomposed, {LARGEST_GRAM - 1} are the most; take "
            "backend='representer', or reduce the features first."
        )
    return head.gram


def resolve_backend(backend: str, n_classes: int, n_features: int) -> str:
    """The backend that "auto" stands for: exact for up to 1000 parameters, K-FAC, representer from 4096 features on.

    Examples
    --------
    >>> resolve_backend("auto", 3, 4), resolve_backend("auto", 10, 512), resolve_backend("auto", 2, 20_000)
    ('exact', 'kfac', 'representer')
    """
    if backend == "auto":
        if n_classes * (n_features + 1) <= SMALL_EXACT:
            return "exact"
        return "kfac" if n_features < LARGEST_GRAM else "representer"
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto' or one of {', '.join(map(repr, BACKENDS))}, got {backend!r}.")
    return backend


def curvature(head: RidgeSoftmax, features: Any, *, backend: str = "auto", weight: Any = None) -> InverseHessian:
    """Invert the Hessian of a solved layer.

    Parameters
    ----------
    head : RidgeSoftmax
    features : ndarray, memory map or Tensor of shape (n_samples, n_features)
        What it was fitted on; only "exact" reads them.
    backend : {"auto", "exact", "kfac", "factored", "representer"}, default="auto"
        "exact": as it is, up to 4000 parameters. "kfac": H ~ S (x) A + damping I, with S the mean of
        diag(p_i) - p_i p_i^T and A that of h_i h_i^T; exact where all p_i are equal. "factored":
        (S + sqrt(damping) I) (x) (A + sqrt(damping) I). "representer": damping I alone. "auto": see
        :func:`~robustlabels.maths.influence_functions.resolve_backend`.
    weight : array-like of shape (n_samples,) or None, default=None
        The weights it was fitted with.

    Returns
    -------
    InverseHessian
    """
    backend = resolve_backend(backend, head.n_classes, len(head.mean))
    if backend == "exact":
        return _Exact(head, features, weight)
    return {"kfac": _Kfac, "factored": _Factored, "representer": _Representer}[backend](head)


# -- Influence ---------------------------------------------------------------------------------------------------------


def _walk(
    head: RidgeSoftmax, features: Any, y: Any, weight: Any, *, wide: bool = False
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Rows, probabilities p (c, K), weighted residuals r (c, K) and standardized rows h (c, D), chunk by chunk.

    Chunks are ``wide`` where whole gradients (c, K D) are formed of them.
    """
    features, y, weight = _checked(features, y, head.n_classes, weight)
    for rows, h in head._design(features, head.weight.numel() if wide else head.n_classes):
        p = F.softmax(h @ head.weight.T, dim=1)
        yield rows, p, weight[rows, None] * _less_one_hot(p.clone(), y[rows]), h


def _inverted(head: RidgeSoftmax, backend: Any, features: Any, weight: Any) -> InverseHessian:
    return backend if isinstance(backend, InverseHessian) else curvature(head, features, backend=backend, weight=weight)


def model_influence(
    head: RidgeSoftmax, features: Any, y: Any, *, backend: str | InverseHessian = "auto", weight: Any = None
) -> Tensor:
    """M_i = ||H^-1 g_i|| / n: how far the parameters move when a sample is removed, to first order.

    Of a row the layer was not fitted on, it is how far they would move if it were added.

    Parameters
    ----------
    head : RidgeSoftmax
    features : ndarray, memory map or Tensor of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Class numbers.
    backend : str or InverseHessian, default="auto"
        The inverse Hessian, or its name as for :func:`~robustlabels.maths.influence_functions.curvature` if
        ``features`` are what the layer was fitted on.
    weight : array-like of shape (n_samples,) or None, default=None
        Sample weights; a row's influence scales with its own.

    Returns
    -------
    Tensor of shape (n_samples,)

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.influence_functions import RidgeSoftmax, model_influence
    >>> x = torch.tensor([[-3.0], [-2.0], [-1.0], [1.0], [2.0], [3.0]])
    >>> y = torch.tensor([0, 0, 0, 1, 1, 0])  # the last one is wrong
    >>> model_influence(RidgeSoftmax.fit(x, y, 2), x, y).argmax().item()
    5
    """
    curve = _inverted(head, backend, features, weight)
    walk = _walk(head, features, y, weight, wide=isinstance(curve, _Exact))
    return torch.cat([curve.norms(r, h) for _, _, r, h in walk]) / head.n_samples


def cook_distance(
    head: RidgeSoftmax, features: Any, y: Any, *, backend: str | InverseHessian = "auto", weight: Any = None
) -> Tensor:
    """g_i^T H^-1 g_i: n times a sample's influence on its own loss, Cook's distance in this setting.

    Parameters
    ----------
    head, features, y, backend, weight
        As for :func:`~robustlabels.maths.influence_functions.model_influence`.

    Returns
    -------
    Tensor of shape (n_samples,)
    """
    curve = _inverted(head, backend, features, weight)
    walk = _walk(head, features, y, weight, wide=isinstance(curve, _Exact))
    return torch.cat([curve.quadratic(r, h) for _, _, r, h in walk])


def loo_influence(
    head: RidgeSoftmax, features: Any, y: Any, *, backend: str | InverseHessian = "auto", weight: Any = None
) -> Tensor:
    """How far the parameters move when a sample is removed, by one Newton step that leaves it out of the Hessian too.

    dW_i = (1/n) H^-1 J_i^T (I - S_i A_i)^-1 r_i with A_i = J_i H^-1 J_i^T / n: closer to leaving the row out than
    :func:`~robustlabels.maths.influence_functions.model_influence`, at the price of a K x K solve per row.

    Parameters
    ----------
    head, features, y, backend, weight
        As for :func:`~robustlabels.maths.influence_functions.model_influence`.

    Returns
    -------
    Tensor of shape (n_samples,)
    """
    curve = _inverted(head, backend, features, weight)
    n, eye = head.n_samples, torch.eye(head.n_classes, dtype=torch.float64, device=head.weight.device)
    weight = _checked(features, y, head.n_classes, weight)[2]
    parts = []
    for rows, p, r, h in _walk(head, features, y, weight, wide=True):
        s = weight[rows, None, None] * (torch.diag_embed(p) - p[:, :, None] * p[:, None, :])  # (c, K, K)
        parts.append(curve.norms(torch.linalg.solve(eye - s @ curve.blocks(h) / n, r), h) / n)
    return torch.cat(parts)


def pairwise_influence(
    head: RidgeSoftmax,
    features: Any,
    y: Any,
    reference: tuple[Any, Any],
    *,
    backend: str | InverseHessian = "auto",
    weight: Any = None,
) -> Tensor:
    """a_vi = g_v^T H^-1 g_i, for a few rows: removing row i changes the loss of reference row v by a_vi / n.

    Parameters
    ----------
    head, features, y, backend, weight
        As for :func:`~robustlabels.maths.influence_functions.model_influence`.
    reference : tuple (features, y)
        Rows v.

    Returns
    -------
    Tensor of shape (n_reference, n_samples)
    """
    curve = _inverted(head, backend, features, weight)
    r_v, h_v = _whole(head, *reference)
    walk = _walk(head, features, y, weight, wide=True)
    return torch.cat([curve.pairwise(r_v, h_v, r, h) for _, _, r, h in walk], dim=1)


def _whole(head: RidgeSoftmax, features: Any, y: Any) -> tuple[Tensor, Tensor]:
    parts = [(r, h) for _, _, r, h in _walk(head, features, y, None)]
    return torch.cat([r for r, _ in parts]), torch.cat([h for _, h in parts])


def data_influence(
    head: RidgeSoftmax,
    features: Any,
    y: Any,
    reference: tuple[Any, Any] | Tensor,
    *,
    backend: str | InverseHessian = "auto",
    weight: Any = None,
) -> Tensor:
    """D_i = sum_v max(0, -a_vi): by how much a sample harms the loss of reference rows.

    Only harm is summed: what a row does for its own kind would hide it.

    Parameters
    ----------
    head, features, y, backend, weight
        As for :func:`~robustlabels.maths.influence_functions.model_influence`; for "kfac" the factored form stands in
        here, without which a pair of rows would cost as much as a gradient.
    reference : tuple (features, y), or Tensor of shape (n_reference,)
        Rows v, or which of ``features`` they are; then no row counts itself.

    Returns
    -------
    Tensor of shape (n_samples,)
    """
    features, y, weight = _checked(features, y, head.n_classes, weight)
    if isinstance(backend, _Kfac) or (
        isinstance(backend, str) and resolve_backend(backend, head.n_classes, len(head.mean)) == "kfac"
    ):
        backend = "factored"
    curve = _inverted(head, backend, features, weight)
    among = isinstance(reference, Tensor)
    if isinstance(reference, Tensor):
        reference = reference.to(y.device)
        known = features[reference if isinstance(features, Tensor) else reference.cpu().numpy()]
        r_v, h_v = _whole(head, known, y[reference])
        r_v *= weight[reference, None]
    else:
        r_v, h_v = _whole(head, *reference)
    parts = []
    for rows, _, r, h in _walk(head, features, y, weight, wide=isinstance(curve, _Exact)):
        for start in range(0, len(r), 1024):
            a = curve.pairwise(r_v, h_v, r[start : start + 1024], h[start : start + 1024])  # (m, <= 1024)
            if among:
                own = reference - rows.start - start  # (m,)
                inside = ((own >= 0) & (own < a.shape[1])).nonzero()[:, 0]
                a[inside, own[inside]] = 0
            parts.append(a.neg_().clamp_min_(0).sum(0))
    return torch.cat(parts)


# -- Ranks -------------------------------------------------------------------------------------------------------------


def rank01(scores: Tensor, groups: Tensor | None = None) -> Tensor:
    """(average rank - 1) / (n - 1): 0 for the smallest score, 1 for the largest, ties averaged.

    Parameters
    ----------
    scores : Tensor of shape (n,)
    groups : Tensor of shape (n,), int64, or None, default=None
        Rank within these. A group of one gets 0.

    Returns
    -------
    Tensor of shape (n,), float64

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.influence_functions import rank01
    >>> rank01(torch.tensor([0.1, 0.5, 0.5, 0.9]))
    tensor([0.0000, 0.5000, 0.5000, 1.0000], dtype=torch.float64)
    """
    if groups is not None:
        out = torch.zeros(len(scores), dtype=torch.float64, device=scores.device)
        for group in groups.unique():
            out[groups == group] = rank01(scores[groups == group])
        return out
    _, place, count = scores.unique(return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()  # rank of the last among equals
    return (last - (count - 1) / 2 - 1)[place] / max(len(scores) - 1, 1)


def combined_rank(model: Tensor, data: Tensor, y: Tensor, *, data_weight: float = 0.5, rank_by: str = "auto") -> Tensor:
    """R = (1 - data_weight) rank01(M) + data_weight rank01(D), over all rows or within each class.

    Parameters
    ----------
    model, data : Tensor of shape (n,)
        Both criteria.
    y : Tensor of shape (n,), int64
    data_weight : float, default=0.5
        Share of the second (omega).
    rank_by : {"auto", "all", "class"}, default="auto"
        "auto": within classes where the largest has more than 3 times the rows of the smallest, since rows of a rare
        class move the parameters by being rare.

    Returns
    -------
    Tensor of shape (n,), float64
        In [0, 1], higher is more suspicious.
    """
    if rank_by not in ("auto", "all", "class"):
        raise ValueError(f"rank_by must be 'auto', 'all' or 'class', got {rank_by!r}.")
    if rank_by == "auto":
        counts = y.unique(return_counts=True)[1]
        rank_by = "class" if counts.max() > IMBALANCED * counts.min() else "all"
    groups = y if rank_by == "class" else None
    return (1 - data_weight) * rank01(model, groups) + data_weight * rank01(data, groups)


class InfluenceScores(NamedTuple):
    """What :func:`~robustlabels.maths.influence_functions.influence_scores` found.

    Attributes
    ----------
    model : Tensor of shape (n_samples,)
        M, the influence on the model.
    data : Tensor of shape (n_samples,)
        D, the harm done to reference rows; zeros with ``data_weight=0``.
    rank : Tensor of shape (n_samples,)
        Both ranks together, in [0, 1]; higher is more suspicious.
    head : RidgeSoftmax
    """

    model: Tensor
    data: Tensor
    rank: Tensor
    head: RidgeSoftmax


def influence_scores(
    features: Any,
    y: Any,
    n_classes: int,
    *,
    damping: float = 0.1,
    standardize: bool = True,
    weight: Any = None,
    **how: Any,
) -> InfluenceScores:
    """Solve the last layer on features and rank every sample by its influence on model and data.

    Parameters
    ----------
    features : ndarray, memory map or Tensor of shape (n_samples, n_features)
        Best those of a network that has overfitted the labels, in eval mode.
    y : array-like of shape (n_samples,)
        Class numbers below ``n_classes``, some of them wrong.
    n_classes : int
    damping : float, default=0.1
        The ridge (lambda), relative to standardized features. With fewer rows than features, raise it in proportion.
    standardize : bool, default=True
        Scale the features first.
    weight : array-like of shape (n_samples,) or None, default=None
        Sample weights.
    **how
        As for :func:`~robustlabels.maths.influence_functions.rank_by_influence`: ``backend``, ``reference``,
        ``max_reference``, ``data_weight``, ``rank_by``, ``seed``.

    Returns
    -------
    InfluenceScores

    Notes
    -----
    Time is O(n d^2 + d^3) once, O(n K d) for each step of the solver and for M, and O(n m (K + d)) for D with m
    reference rows.

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.maths.influence_functions import influence_scores
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(100) % 2
    >>> features = rng.normal(size=(100, 3)) + 2 * y[:, None]
    >>> y[7] = 1 - y[7]  # a wrong label
    >>> influence_scores(features, y, 2).rank.argmax().item()
    7
    """
    head = RidgeSoftmax.fit(features, y, n_classes, damping=damping, weight=weight, standardize=standardize)
    return rank_by_influence(head, features, y, weight=weight, **how)


def rank_by_influence(
    head: RidgeSoftmax,
    features: Any,
    y: Any,
    *,
    backend: str | InverseHessian = "auto",
    reference: tuple[Any, Any] | None = None,
    max_reference: int = 2000,
    data_weight: float = 0.5,
    weight: Any = None,
    rank_by: str = "auto",
    seed: int = 0,
) -> InfluenceScores:
    """Rank every sample by its influence on a solved layer and on reference data.

    Parameters
    ----------
    head : RidgeSoftmax
    features : ndarray, memory map or Tensor of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Class numbers.
    backend : str or InverseHessian, default="auto"
        See :func:`~robustlabels.maths.influence_functions.curvature`.
    reference : tuple (features, y) or None, default=None
        Rows whose loss must not be harmed, clean ones if there are any; None takes ``features`` themselves, where no
        row counts itself.
    max_reference : int, default=2000
        Largest number of reference rows; more are sampled.
    data_weight : float, default=0.5
        Share of the influence on the reference in the rank (omega); with 0 it is not computed.
    weight : array-like of shape (n_samples,) or None, default=None
        Sample weights.
    rank_by : {"auto", "all", "class"}, default="auto"
        See :func:`~robustlabels.maths.influence_functions.combined_rank`.
    seed : int, default=0
        Of the sampled reference.

    Returns
    -------
    InfluenceScores
    """
    if not 0 <= data_weight <= 1:
        raise ValueError(f"data_weight must be in [0, 1], got {data_weight!r}.")
    if max_reference < 1:
        raise ValueError(f"max_reference must be 1 or more, got {max_reference!r}.")
    features, y, weight = _checked(features, y, head.n_classes, weight)
    curve = _inverted(head, backend, features, weight)
    model = model_influence(head, features, y, backend=curve, weight=weight)
    data = torch.zeros_like(model)
    if data_weight > 0:
        known: Any = reference
        if reference is None:
            known = _sampled(len(y), max_reference, seed)
        elif len(reference[1]) > max_reference:
            chosen = _sampled(len(reference[1]), max_reference, seed).numpy()
            known = reference[0][chosen], reference[1][chosen]
        data = data_influence(head, features, y, known, backend=curve, weight=weight)
    rank = combined_rank(model, data, y, data_weight=data_weight, rank_by=rank_by)
    return InfluenceScores(model, data, rank, head)


def _sampled(n: int, largest: int, seed: int) -> Tensor:
    """At most ``largest`` of ``n`` row numbers, in order."""
    if n <= largest:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:largest].sort().values


def influence_outliers(model: Tensor, y: Tensor, *, threshold: float = 2.0) -> Tensor:
    """Rows whose log M lies far above that of their class: (log M - median) / (1.4826 MAD) > threshold.

    Parameters
    ----------
    model : Tensor of shape (n,)
        The influence on the model.
    y : Tensor of shape (n,), int64
    threshold : float, default=2.0
        In robust standard deviations. Of clean rows about 1 % lie above 2.

    Returns
    -------
    Tensor of shape (n,), bool

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.influence_functions import influence_outliers
    >>> influence_outliers(torch.tensor([1.0, 1.1, 0.9, 1.2, 9.0]), torch.zeros(5, dtype=torch.int64)).tolist()
    [False, False, False, False, True]
    """
    flagged = torch.zeros(len(model), dtype=torch.bool, device=model.device)
    for c in y.unique():
        s = model[y == c].clamp_min(torch.finfo(torch.float64).tiny).log()
        off = s - _median(s)
        flagged[y == c] = off > threshold * 1.4826 * _median(off.abs()).clamp_min(1e-12)
    return flagged


def _median(values: Tensor) -> Tensor:
    """The middle value, or the mean of both; ``Tensor.median`` takes the lower one, ``quantile`` not so many values."""
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
