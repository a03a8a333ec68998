r"""Potential energy based mixture model (PEMM).

Wang, Yang, Liu, Jia, "Potential Energy based Mixture Model for Noisy Label Learning", arXiv 2405.01186. The last layer
measures squared distances to learned class centers, so that its softmax is the posterior of a mixture of Gaussians:

.. math:: z_k = -\gamma \lVert u - c_k \rVert^2, \qquad p = \mathrm{softmax}(z)

Most robust losses look at labels alone. Two more terms here look at the geometry of centers and features, where a wrong
label cannot bend it: centers repel each other at short range and attract at long range, like molecules, and every
feature is rebuilt from the centers that its own posterior names,

.. math::
    L = L_{SCE}(z, y) + 2 L_{pe}(c) + L_{mix}, \qquad
    L_{pe} = \operatorname{mean}_k E(\lVert c_k \rVert) + \operatorname{mean}_{i<j} E(\lVert c_i - c_j \rVert), \qquad
    L_{mix} = \frac{1}{bd} \sum_i \left\lVert u_i - \sum_k p_{ik} c_k \right\rVert^2

with :math:`E(r) = r^{-3} - r^{-2}`, which is lowest at r = 3/2: the centers and the origin settle into a regular
simplex. Where the authors' code has a slip, this repairs it and a comment says so.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import kmeans_plusplus
from torch import Tensor, nn

from robustlabels.maths.functional import (
    generalized_cross_entropy,
    soft_cross_entropy,
    squared_distances,
    symmetric_cross_entropy,
)
from robustlabels.modules import DistanceHead, features_and_logits, find_head, with_distance_head
from robustlabels.training.base import RowLossClassifier, Wrap, identity
from robustlabels.training.net import RobustNet
from robustlabels.training.objective import Augment, Batch, Model, Objective, weighted_mean
from robustlabels.training.parameters import Interval, PublishedSettingsMixin, StrOptions, check_number, settings_of
from robustlabels.training.rows import Rows, batch_sizes

RowLoss = Callable[[Tensor, Tensor], Tensor]
Exponents = tuple[float, float]

# --- the potential ----------------------------------------------------------------------------------------------------


def rest_distance(exponents: Exponents = (3, 2)) -> float:
    """Where the pair potential is lowest: (s / t)^(1 / (s - t)).

    Examples
    --------
    >>> rest_distance((3, 2))
    1.5
    """
    s, t = exponents
    return (s / t) ** (1 / (s - t))


def pair_potential(r: Tensor, exponents: Exponents = (3, 2), core_radius: float = 0.1) -> Tensor:
    """E(r) = r^-s - r^-t from ``core_radius`` on, and its tangent there below.

    The authors' code clamps E at 1000 instead: without a gradient, so that two centers closer than 0.097 never part.

    Parameters
    ----------
    r : Tensor of any shape
        Distances, not negative.
    exponents : (float, float), default=(3, 2)
        s > t > 0: repulsion and attraction.
    core_radius : float, default=0.1
        Below :func:`~robustlabels.methods.pemm.rest_distance`.

    Returns
    -------
    energy : Tensor of the same shape

    Examples
    --------
    >>> import torch
    >>> pair_potential(torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]))
    tensor([ 3.7000e+03,  4.0000e+00,  0.0000e+00, -1.4815e-01, -1.2500e-01])
    """
    s, t = exponents
    slope = t * core_radius ** (-t - 1) - s * core_radius ** (-s - 1)  # E'(core_radius)
    outside = r.clamp_min(core_radius)
    return outside.pow(-s) - outside.pow(-t) - slope * F.relu(core_radius - r)


MAX_CENTERS, DRAWN_CENTERS = 2000, 450
"""Above so many centers the pairs of so many drawn ones, about 1e5, stand for all pairs."""


def potential_energy(
    centers: Tensor,
    exponents: Exponents = (3, 2),
    core_radius: float = 0.1,
    include_origin: bool = True,
    max_centers: int = MAX_CENTERS,
) -> Tensor:
    """Mean pair potential of the centers, plus their mean potential against a particle fixed at the origin.

    Means, not sums: the weight of the term does not depend on the number of classes. At the minimum, a regular simplex
    of edge 3/2 with the origin as one of its corners, it is -8/27.

    Parameters
    ----------
    centers : Tensor of shape (n_classes, d)
    exponents : (float, float), default=(3, 2)
    core_radius : float, default=0.1
        See :func:`~robustlabels.methods.pemm.pair_potential`.
    include_origin : bool, default=True
        Without the origin the energy does not change when all centers move together.
    max_centers : int, default=2000
        Above, the pairs of 450 centers drawn by torch's generator stand for all pairs, in every call others.

    Returns
    -------
    energy : Tensor, a scalar

    Examples
    --------
    >>> import torch
    >>> round(potential_energy(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).item(), 6)
    -0.139298
    """
    if len(centers) < 2:
        raise ValueError(f"a potential needs the pairs of 2 centers or more, got {len(centers)}.")
    centers = centers.to(torch.promote_types(centers.dtype, torch.float32))  # r^-3 overflows in half precision

    def energy(squares: Tensor) -> Tensor:
        return pair_potential(torch.sqrt(squares + 1e-12), exponents, core_radius)  # 1e-12: a gradient at 0

    origin = energy(centers.square().sum(1)).mean()
    if len(centers) > max_centers:
        centers = centers[torch.randperm(len(centers), device=centers.device)[:DRAWN_CENTERS]]
    n = len(centers)
    pairs = energy(squared_distances(centers, centers)).triu(1).sum() / (n * (n - 1) / 2)
    return pairs + origin if include_origin else pairs


def default_gamma(n_classes: int, exponents: Exponents = (3, 2)) -> float:
    """Inverse temperature at which a feature on its center has probability 0.9, all others at the rest distance.

    At gamma 1 it has 0.905 among 2 classes, 0.513 among 10 and 0.087 among 100: there the label loss can only win by
    pushing features far beyond the centers.

    Examples
    --------
    >>> [round(default_gamma(k), 2) for k in (2, 10, 100)]
    [0.98, 1.95, 3.02]
    """
    return math.log(9 * (n_classes - 1)) / rest_distance(exponents) ** 2


# --- the mixture ------------------------------------------------------------------------------------------------------


def mixture_reconstruction(features: Tensor, logits: Tensor, centers: Tensor) -> Tensor:
    """Mean squared error of rebuilding features by the posterior mean of the centers; labels are not used.

    A soft k-means: zero where every feature lies on its posterior mean. Gradients flow into features, centers and
    posterior. The mean is over columns too, so that a row weighs 1 / d.

    Parameters
    ----------
    features : Tensor of shape (b, d)
        What the distances were measured from, dropout included.
    logits : Tensor of shape (b, n_classes)
    centers : Tensor of shape (n_classes, d)

    Returns
    -------
    error : Tensor, a scalar

    Examples
    --------
    >>> import torch
    >>> centers = torch.tensor([[0.0, 0.0], [9.0, 9.0]])
    >>> mixture_reconstruction(centers, torch.tensor([[0.0, -81.0], [-81.0, 0.0]]), centers)
    tensor(0.)
    """
    wide = torch.float32 if centers.device.type == "mps" else torch.float64  # autocast leaves float64 alone
    p = F.softmax(logits, dim=1)  # (b, n_classes)
    rebuilt = p.to(wide) @ centers.to(wide)  # (b, d)
    dtype = torch.promote_types(features.dtype, torch.float32)
    return F.mse_loss(features.to(dtype), rebuilt.to(dtype))


# --- where centers start ----------------------------------------------------------------------------------------------


def simplex_centers(n_classes: int, n_features: int, edge: float = 1.5) -> Tensor:
    """Centers that form, with the origin, a regular simplex: the potential's minimum.

    Every class owns an equal share of the features, so that no coordinate is negative, as no rectified feature is.

    Parameters
    ----------
    n_classes, n_features : int
        At least as many features as classes.
    edge : float, default=1.5

    Returns
    -------
    centers : Tensor of shape (n_classes, n_features), float64

    Examples
    --------
    >>> round(potential_energy(simplex_centers(10, 64)).item() * 27, 6)
    -8.0
    """
    if n_features < n_classes:
        raise ValueError(
            f"a simplex of {n_classes} centers and the origin needs {n_classes} features, got {n_features}; "
            "take another centers_init."
        )
    owner = torch.arange(n_features) * n_classes // n_features
    axes = F.one_hot(owner, n_classes).T.double()
    axes = axes / axes.norm(dim=1, keepdim=True)  # (n_classes, d), orthonormal
    a = edge / math.sqrt(2)
    return a * axes + a * (math.sqrt(n_classes + 1) - 1) / n_classes * axes.sum(0)


def class_means(features: Tensor, y: Tensor, start: Tensor) -> Tensor:
    """Mean feature of every label (n_classes, d); a class without rows keeps its ``start``."""
    total = torch.zeros_like(start).index_add(0, y, features.to(start.dtype))
    count = torch.bincount(y, minlength=len(start))[:, None]
    return torch.where(count > 0, total / count.clamp_min(1), start)


def spread_rows(features: Tensor, y: Tensor, start: Tensor, seed: int) -> Tensor:
    """Rows far from each other, by k-means++, as centers (n_classes, d).

    A seed goes to the class whose labels it has most of in its cell, all seeds at once; single wrong labels do not
    decide. Fewer rows than classes leave the others at their ``start``.
    """
    f = features.double().cpu().numpy()
    rows = kmeans_plusplus(f, min(len(start), len(f)), random_state=seed)[1]
    seeds = features[torch.from_numpy(rows).to(features.device)]
    cell = squared_distances(features, seeds).argmin(1)
    votes = torch.zeros(len(seeds), len(start), device=y.device)
    votes.index_put_((cell, y), torch.ones_like(y, dtype=votes.dtype), accumulate=True)
    which, label = linear_sum_assignment(votes.cpu().numpy(), maximize=True)
    centers = start.clone()
    centers[torch.from_numpy(label)] = seeds[torch.from_numpy(which)].to(start.dtype)
    return centers


def separated(centers: Tensor) -> Tensor:
    """The centers, moved by N(0, 1e-4) if two of them coincide: there the potential's gradient has no direction."""
    squares = squared_distances(centers, centers).fill_diagonal_(torch.inf)
    return centers + 1e-4 * torch.randn_like(centers) if squares.min() < 1e-12 else centers


# --- the objective ----------------------------------------------------------------------------------------------------

LOG_ZERO, P_MIN = math.log(1e-4), 1e-7
"""The authors' clamps of labels and probabilities inside reverse cross-entropy."""


@dataclass(frozen=True)
class PEMMSettings:
    """Settings of :class:`PEMMObjective`, named as the parameters of :class:`PEMMClassifier`.

    Parameters
    ----------
    potential_weight : float, default=2.0
        Weight of the potential energy of the centers.
    mixture_weight : float, default=1.0
        Weight of the reconstruction by the mixture.
    exponents : pair of float, default=(3, 2)
        Exponents of repulsion and attraction.
    core_radius : float, default=0.1
        Distance below which the repulsion is cut off.
    include_origin : bool, default=True
        Whether the origin counts as a center.
    """

    potential_weight: float = 2.0
    mixture_weight: float = 1.0
    exponents: Exponents = (3, 2)
    core_radius: float = 0.1
    include_origin: bool = True


class PEMMObjective(Objective):
    """A robust label loss, the potential energy of the centers, and the reconstruction by the mixture.

    Parameters
    ----------
    row_loss : callable
        ``row_loss(logits, y) -> loss`` of shapes (b, n_classes), (b, n_classes) -> (b,).
    settings : PEMMSettings or None, default=None
        None takes the defaults.
    augment : callable or None, default=None

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.functional import soft_cross_entropy
    >>> from robustlabels.modules import MLP, with_distance_head
    >>> from robustlabels.training.objective import Batch
    >>> net = with_distance_head(MLP(4, 3), 3, rectify=True, dropout=0.2)
    >>> objective = PEMMObjective(soft_cross_entropy)
    >>> loss, logits = objective(net, Batch(torch.randn(8, 4), torch.eye(3)[[0] * 8], torch.arange(8), torch.ones(8)))
    >>> logits.shape
    torch.Size([8, 3])
    """

    def __init__(
        self, row_loss: RowLoss, settings: PEMMSettings | None = None, *, augment: Augment | None = None
    ) -> None:
        super().__init__(augment)
        self.settings = PEMMSettings() if settings is None else settings
        self.row_loss = row_loss

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """L of one batch; a term of weight zero is not computed."""
        features, logits = features_and_logits(model, self.view(batch.x))
        per_row = self.row_loss(logits, batch.y)
        if per_row.shape != batch.weight.shape:
            raise ValueError(
                f"loss must return one number a row, shape {tuple(batch.weight.shape)}, got {tuple(per_row.shape)}."
            )
        loss = weighted_mean(per_row, batch)
        centers = distance_head(model).weight
        if self.settings.potential_weight > 0:
            loss = loss + self.settings.potential_weight * self.potential_energy(centers)
        if self.settings.mixture_weight > 0:
            loss = loss + self.settings.mixture_weight * mixture_reconstruction(features, logits, centers)
        return loss, logits

    def potential_energy(self, centers: Tensor, max_centers: int = MAX_CENTERS) -> Tensor:
        """:func:`~robustlabels.methods.pemm.potential_energy` with this objective's constants."""
        return potential_energy(
            centers, self.settings.exponents, self.settings.core_radius, self.settings.include_origin, max_centers
        )


def distance_head(model: Any) -> DistanceHead:
    """The network's distance head, or an error that says how it gets one."""
    head = find_head(model)[1]
    if not isinstance(head, DistanceHead):
        raise TypeError(
            f"PEMM needs a network that ends in a DistanceHead, got {type(head).__name__}; see "
            "robustlabels.modules.with_distance_head."
        )
    return head


# --- the estimator ----------------------------------------------------------------------------------------------------

START_ROWS = 10_000
"""Rows, at most, that centers are started from."""

LOSSES = ("sce", "ce", "gce", "mae")
STARTS = ("uniform", "class_mean", "kmeans++", "simplex")


class PEMMClassifier(PublishedSettingsMixin, RowLossClassifier):
    """Potential energy based mixture model: distances to learned class centers.

    A robust loss uses the labels; a potential energy keeps the centers apart, and a mixture model draws every feature
    to the centers that its own posterior names.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network; its last linear layer (``head`` names it where it is not found) is replaced by a
        :class:`~robustlabels.modules.DistanceHead`.
    loss : {"sce", "ce", "gce", "mae"} or callable, default="sce"
        Of the labels: symmetric, plain or generalized cross-entropy, absolute error (1 - p_y of a hard label), or
        ``loss(logits, y) -> (b,)`` with label distributions y (b, n_classes).
    alpha : float, default=0.01
        Weight of cross-entropy in "sce" (the authors': 0.1). The smaller, the fewer wrong labels are memorized, and the
        slower the start.
    beta : float, default=1.0
        Weight of reverse cross-entropy in "sce".
    q : float, default=0.7
        Of "gce".
    potential_weight : float, default=2.0
        Of the potential energy.
    mixture_weight : float, default=1.0
        Of the reconstruction by the mixture.
    exponents : (float, float), default=(3, 2)
        Of the pair potential, s > t: it is lowest at the distance (s / t)^(1 / (s - t)).
    core_radius : float, default=0.1
        Below it the potential goes on along its tangent.
    include_origin : bool, default=True
        Whether a particle fixed at the origin takes part.
    gamma : float or "auto", default=1.0
        Inverse temperature of the softmax of distances; "auto" is :func:`~robustlabels.methods.pemm.default_gamma`,
        which grows with the number of classes.
    dropout : float, default=0.2
        Of the features before the head, while training.
    rectify : bool, default=True
        A ReLU on the features, as in the authors' networks. It does nothing after a ReLU; False for features whose sign
        matters, such as those of a linear probe.
    class_prior : "balanced", array-like of shape (n_classes,) or None, default=None
        Class probabilities of the mixture, whose logarithms join the logits. "balanced": the shares of the given
        labels, while training only, so that predictions weigh all classes alike.
    centers_init : {"uniform", "class_mean", "kmeans++", "simplex"}, default="uniform"
        Where centers start: as the weights of a linear layer; at the mean first feature of every given label; at first
        features far from each other; at the potential's minimum.
    centers_lr_scale : float, default=1.0
        Learning rate of the centers, as a multiple of ``lr``.
    centers_weight_decay : float or None, default=None
        Weight decay of the centers, which pulls them to the origin; None is that of the other weights.
    gradient_clip : float or None, default=5.0
        Largest norm of the gradient: that of close centers is some 1e4.
    class_weight : dict, "balanced" or None, default=None
        Enters the label term, as ``sample_weight`` does.

    Attributes
    ----------
    centers_ : ndarray of shape (n_classes, n_features_out), float32
        The class centers.
    center_distances_ : ndarray of shape (n_classes, n_classes), float32
        Their distances; at rest 3/2.
    potential_energy_ : float
        Of these centers; -8/27 at best.
    noise_scores_ : ndarray of shape (n_samples,), float32
        One minus the posterior of the given label: how far its center is from the features, against all the others.
    noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, from the final model.

    See Also
    --------
    ELRClassifier : Its ``head="distance"`` combines this head with another loss.
    SCEClassifier : The robust loss alone.

    Notes
    -----
    The authors' code drops features at test time too, clamps the potential where its gradient is needed, and expands
    squared distances in float32, where they cancel; all three are repaired. Its learning rate runs through cosine
    cycles and ends high; ours is one cosine. Our default alpha is a tenth of theirs, chosen on seeds not used for
    reporting. :meth:`from_paper` gives their other settings.

    References
    ----------
    Wang, Yang, Liu, Jia, arXiv 2405.01186.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import PEMMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = PEMMClassifier(max_epochs=20, random_state=0).fit(X, y)
    >>> clf.centers_.shape, clf.distance(X).shape
    ((3, 256), (150, 3))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "loss": [StrOptions(set(LOSSES)), callable],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "q": [Interval(Real, 0, 1, closed="right")],
        "potential_weight": [Interval(Real, 0, None, closed="left")],
        "mixture_weight": [Interval(Real, 0, None, closed="left")],
        "exponents": [tuple, list],
        "core_radius": [Interval(Real, 0, None, closed="neither")],
        "include_origin": ["boolean"],
        "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "rectify": ["boolean"],
        "class_prior": ["array-like", StrOptions({"balanced"}), None],
        "centers_init": [StrOptions(set(STARTS))],
        "centers_lr_scale": [Interval(Real, 0, None, closed="left")],
        "centers_weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
    }

    _published: ClassVar[dict[str, dict[str, Any]]] = {  # the commands of the authors' README
        "cifar10-sym": {"batch_size": 512, "max_epochs": 60},
        "cifar10-asym": {"batch_size": 256, "max_epochs": 95},
    }
    _published_common: ClassVar[dict[str, Any]] = {
        "module": "cnn6",
        "alpha": 0.1,
        "lr": 0.01,
        "augment": "standard",
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "optimizer__weight_decay": 1e-2,
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        loss: Any = "sce",
        alpha: float = 0.01,
        beta: float = 1.0,
        q: float = 0.7,
        potential_weight: float = 2.0,
        mixture_weight: float = 1.0,
        exponents: Any = (3, 2),
        core_radius: float = 0.1,
        include_origin: bool = True,
        gamma: float | str = 1.0,
        dropout: float = 0.2,
        rectify: bool = True,
        class_prior: Any = None,
        centers_init: str = "uniform",
        centers_lr_scale: float = 1.0,
        centers_weight_decay: float | None = None,
        gradient_clip: float | None = 5.0,
        **params: Any,
    ) -> None:
        super().__init__(module, **params)
        self.loss = loss
        self.alpha = alpha
        self.beta = beta
        self.q = q
        self.potential_weight = potential_weight
        self.mixture_weight = mixture_weight
        self.exponents = exponents
        self.core_radius = core_radius
        self.include_origin = include_origin
        self.gamma = gamma
        self.dropout = dropout
        self.rectify = rectify
        self.class_prior = class_prior
        self.centers_init = centers_init
        self.centers_lr_scale = centers_lr_scale
        self.centers_weight_decay = centers_weight_decay
        self.gradient_clip = gradient_clip

    def _check_parameters(self) -> None:
        self._check_potential()
        super()._check_parameters()

    def _check_potential(self) -> None:
        if not (isinstance(self.exponents, (tuple, list)) and len(self.exponents) == 2):
            raise ValueError(f"exponents must be two numbers, repulsion and attraction, got {self.exponents!r}.")
        s, t = self.exponents
        check_number("exponents[1]", t, 0, closed="neither")
        check_number("exponents[0]", s, t, closed="neither")
        check_number("core_radius", self.core_radius, 0, rest_distance((s, t)), closed="neither")

    # --- the network and its centers

    def _make_head(self, module: nn.Module, rows: Rows) -> nn.Module:
        """The network with a distance head."""
        k = rows.n_classes
        return with_distance_head(
            module,
            k,
            None if self.head == "distance" else self.head,
            x=rows.inputs(rows.index[:2]),
            rectify=self.rectify,
            dropout=self.dropout,
            gamma=default_gamma(k, self.exponents) if self.gamma == "auto" else float(self.gamma),
            prior=self._prior(rows),
            prior_at_test=not isinstance(self.class_prior, str),
        )

    @property
    def _head_path(self) -> None:
        """The distance head is found without a name."""

    def _prior(self, rows: Rows) -> Any:
        if not isinstance(self.class_prior, str):
            return self.class_prior
        count = torch.bincount(rows.y[rows.index], minlength=rows.n_classes).clamp_min(1)
        return count / count.sum()

    def _train(self, rows: Rows, wrap: Wrap = identity) -> None:
        """A network, its centers, one net."""
        if self.warm_start and hasattr(self, "net_"):
            super()._train(rows, wrap)
            return
        module = self._make_module(rows)
        self._place_centers(module, rows)
        objective = wrap(self._make_objective(module, rows), module, rows)
        self._run(self._make_net(module, objective, rows), rows)

    @torch.no_grad()
    def _place_centers(self, module: nn.Module, rows: Rows) -> None:
        """Initialize the centers, and separate any that coincide."""
        centers = distance_head(module).weight
        start: Tensor = centers
        if self.centers_init == "simplex":
            k, d = centers.shape
            start = simplex_centers(k, d, rest_distance(self.exponents)).to(centers)
        elif self.centers_init != "uniform":
            chosen = rows.index[torch.randperm(len(rows))[:START_ROWS].to(rows.device)]
            features, y = self._first_features(module, rows.at(chosen)).to(centers.dtype), rows.y[chosen]
            if self.centers_init == "class_mean":
                start = class_means(features, y, centers)
            else:
                start = spread_rows(features, y, centers, seed=int(torch.randint(2**31 - 1, ())))
        centers.copy_(separated(start))

    def _first_features(self, module: nn.Module, rows: Rows) -> Tensor:
        """Features as the first training steps see them, batch normalization by the batch, but nothing dropped."""
        module = copy.deepcopy(module).train()  # a copy, since train mode updates BatchNorm's running statistics
        for layer in module.modules():
            if isinstance(layer, nn.modules.dropout._DropoutNd):
                layer.eval()
        sizes = batch_sizes(len(rows), self._plan(len(rows))[0], merge_last=True)
        return torch.cat([features_and_logits(module, rows.inputs(part))[0] for part in rows.index.split(sizes)])

    # --- the stage

    def _row_loss(self) -> RowLoss:
        if callable(self.loss):
            return self.loss
        losses: dict[str, RowLoss] = {
            "sce": functools.partial(
                symmetric_cross_entropy, alpha=self.alpha, beta=self.beta, log_zero=LOG_ZERO, p_min=P_MIN
            ),
            "ce": soft_cross_entropy,
            "gce": functools.partial(generalized_cross_entropy, q=self.q),
            "mae": functools.partial(generalized_cross_entropy, q=1.0),
        }
        return losses[self.loss]

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        settings = settings_of(PEMMSettings, self, exponents=tuple(self.exponents))
        return PEMMObjective(self._row_loss(), settings, augment=self._make_augment(rows))

    def _make_net(self, module: nn.Module, objective: Objective, rows: Rows, **over: Any) -> RobustNet:
        own: dict[str, Any] = {"gradient_clip": self.gradient_clip}
        group = {} if self.centers_lr_scale == 1 else {"lr": self.lr * self.centers_lr_scale}
        group |= {} if self.centers_weight_decay is None else {"weight_decay": self.centers_weight_decay}
        if group:
            name = f"{find_head(module)[0]}.weight".lstrip(".")
            own["optimizer__param_groups"] = [(name, group), (f"_orig_mod.{name}", group)]  # compiled or not
        return super()._make_net(module, objective, rows, **{**own, **over})

    # --- what is known of rows

    def _distances(self, model: Model, x: Tensor) -> Tensor:
        """Squared distances of a batch to all centers."""
        return distance_head(model).distances(features_and_logits(model, x)[0])

    def _describe(self, rows: Rows) -> None:
        super()._describe(rows)
        centers = distance_head(self.module_).weight.detach()
        self.centers_ = centers.float().cpu().numpy()
        self.center_distances_ = squared_distances(centers, centers).sqrt().float().cpu().numpy()
        exponents = tuple(self.exponents)
        energy = potential_energy(centers, exponents, self.core_radius, self.include_origin, len(centers))
        self.potential_energy_ = float(energy)

    def distance(self, X: Any, *, squared: bool = True) -> np.ndarray:
        """Distance of every row's features to every center.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.
        squared : bool, default=True
            Squared distances, what the logits are made of; False: to compare with ``center_distances_``.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        rows = self._read_new(X)
        squares = self.net_.outputs(rows, self._distances)
        return (squares if squared else squares.sqrt()).numpy()

    def score_samples(self, X: Any) -> np.ndarray:
        """Log density of every row's features under the mixture: low for rows unlike any in training.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            Higher is more typical of the training data.
        """

        def log_density(model: Model, x: Tensor) -> Tensor:
            return distance_head(model).log_density(features_and_logits(model, x)[0])

        rows = self._read_new(X)
        return self.net_.outputs(rows, log_density).numpy()

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits; of two classes the second's minus the first's, as everywhere in scikit-learn.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,)
            Columns in the order of ``classes_``; one column for two classes.
        """
        rows = self._read_new(X)
        logits = self.net_.outputs(rows).numpy()
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits
