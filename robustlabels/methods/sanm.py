"""Self-supervised adversarial noisy masking (SANM): a wrapper around any classifier of this package.

Tu, Zhang, Li, Liu, Li, Zhang, Wang, Wang, Zhao, "Learning with Noisy Labels via Self-Supervised Adversarial Noisy
Masking", CVPR 2023, arXiv 2302.06805. A network that memorizes wrong labels also attends to the wrong places, where a
network trained on right labels does not. SANM masks the patch with the highest activation, a larger one the less the
label is trusted, and removes the same share of the label's mass, so that memorizing the row no longer pays. A small
linear decoder reconstructs the unmasked input from the features of the masked one, a task that needs no labels.

The equations and their functions are in ``sanm_masking.py``. This module has the objective that wraps another one and
remembers the quality of each label, and the estimator that wraps a classifier. Comments mark departures from the
authors' code.
"""

from __future__ import annotations

import contextlib
import copy
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from torch import Tensor, nn

from robustlabels.maths.functional import clean_probability, soft_cross_entropy, unit_scaled
from robustlabels.methods.baselines import CrossEntropyClassifier
from robustlabels.methods.dividemix import DivideMixClassifier
from robustlabels.methods.sanm_masking import (
    MILD,
    STRONG,
    MaskOutput,
    adversarial_mask,
    make_decoder,
    reconstruction_loss,
)
from robustlabels.modules import Call, Standardize, evaluating, find_feature_map, find_head, members, watching
from robustlabels.training import inputs
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.meta import BaseMetaClassifier, fit_parameters, routing
from robustlabels.training.objective import Batch, HostStateMixin, Model, Objective, ObjectiveWrapper, innermost
from robustlabels.training.parameters import (
    Interval,
    Options,
    PublishedSettingsMixin,
    StrOptions,
    check_number,
    settings_of,
)
from robustlabels.training.rows import Rows

__all__ = ["LEAST_ROWS", "MaskSettings", "MaskedObjective", "SANMClassifier", "default_mask", "recorded_views"]

LEAST_ROWS = 20
"""With fewer rows, no mixture is fitted, and every label counts as right."""


# --- the wrapping objective -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaskSettings:
    """Settings of :class:`MaskedObjective`, named as the parameters of :class:`SANMClassifier`.

    Parameters
    ----------
    mask_ratio : pair of float, default=MILD[0]
        Range of the masked share for a label that is certainly right.
    quality_weight : float, default=MILD[1]
        Added to the share for a label that is certainly wrong.
    mask_area_scale : float, default=0.5
        Share of the ratio that is masked in each view.
    mask_aspect : pair of float, default=(0.8, 1.25)
        Range of the aspect ratio of a patch.
    n_masks : {1, 2}, default=2
        Number of masked views.
    mask_anchor : {"center", "topleft"}, default="center"
        Which point of the patch lies on the place of highest activation.
    mask_fill : {"auto", "uniform", "zero", "mean", "permute"}, default="auto"
        How the patch is filled.
    label_modulation : bool, default=True
        Whether to remove mass from the labels too.
    keep_top_class : bool, default=True
        Whether the largest class of a label stays the largest.
    reconstruction_weight : float, default=0.02
        Weight of the reconstruction loss.
    quality : {"auto", "mixture"}, default="auto"
        Source of the label quality: the wrapped objective if it has one, or always a mixture fitted to the losses.
    n_average : int, default=1
        Epochs over which losses are averaged before the mixture is fitted.
    warmup : int, default=0
        Epochs in which the wrapped objective is evaluated without masks.
    """

    mask_ratio: tuple[float, float] = MILD[0]
    quality_weight: float = MILD[1]
    mask_area_scale: float = 0.5
    mask_aspect: tuple[float, float] = (0.8, 1.25)
    n_masks: int = 2
    mask_anchor: str = "center"
    mask_fill: str = "auto"
    label_modulation: bool = True
    keep_top_class: bool = True
    reconstruction_weight: float = 0.02
    quality: str = "auto"
    n_average: int = 1
    warmup: int = 0

    def of_the_mask(self) -> dict[str, Any]:
        """Return the parameters of :func:`~robustlabels.methods.sanm_masking.adversarial_mask`."""
        others = ("reconstruction_weight", "quality", "n_average", "warmup")
        return {name: value for name, value in vars(self).items() if name not in others}


class MaskedObjective(HostStateMixin, ObjectiveWrapper):
    """A wrapper that applies another objective to masked views and modulated targets as well.

    An objective with ``pools_views`` asks for the views itself and pools them with its own. Any other objective is
    evaluated as usual, and once more on the masked views in eval mode; the loss is the mean over plain and masked
    views. If the wrapped objective's own forward pass saw an unmixed view, its feature map is used. Otherwise one more
    forward pass is made, in eval mode and without gradient.

    Parameters
    ----------
    inner : Objective
        The wrapped objective.
    n_samples : int
        Number of training rows.
    feature_layer : str or None
        Dotted name of the layer whose output is the activation map. None: gradient times input of the squared features,
        as for tables.
    head : str or None, default=None
        Dotted name of the network's last linear layer, whose inputs are the features if there is no feature layer.
    n_members : int, default=1
        2 for two networks, each of which takes the label quality from its peer.
    settings : MaskSettings or None, default=None
        None takes the defaults.
    decoders : sequence of nn.Module, default=()
        One for each network; an empty sequence switches the reconstruction off.
    mean, std : float or Tensor of shape (c,), default=0.0, 1.0
        Statistics of the input's columns or channels: fills and reconstructions are on the standardized scale.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP
    >>> from robustlabels.training.objective import Batch, CrossEntropy
    >>> objective = MaskedObjective(CrossEntropy(), 8, MaskSettings(mask_ratio=(0.3, 0.3)), feature_layer=None)
    >>> batch = Batch(torch.randn(8, 4), torch.eye(2).repeat(4, 1), torch.arange(8), torch.ones(8))
    >>> loss, logits = objective(MLP(4, 2), batch)
    >>> loss.requires_grad, logits.shape
    (True, torch.Size([8, 2]))
    """

    host_state = ("n_scored",)

    label_quality: Tensor
    losses: Tensor
    ratio: Tensor

    def __init__(
        self,
        inner: Objective,
        n_samples: int,
        settings: MaskSettings | None = None,
        *,
        feature_layer: str | None,
        head: str | None = None,
        n_members: int = 1,
        decoders: Sequence[nn.Module] = (),
        mean: float | Tensor = 0.0,
        std: float | Tensor = 1.0,
    ) -> None:
        super().__init__(inner)
        self.settings = settings = MaskSettings() if settings is None else settings
        self.feature_layer, self.head, self.n_members = feature_layer, head, n_members
        self.decoders = nn.ModuleList(decoders)
        self.scale = Standardize(mean, std)
        self.register_buffer("label_quality", torch.ones(n_members, n_samples))  # as each network sees it
        self.register_buffer("losses", torch.zeros(n_members, settings.n_average, n_samples))  # scaled, newest last
        self.register_buffer("ratio", torch.full((n_samples,), -1.0))  # last mask ratio; -1 for rows never masked
        self.n_scored = 0
        self.epoch = 0
        self.pools = innermost(inner).pools_views
        innermost(inner).view_source = self.masked_views
        # Both lists belong to the current step only; forward empties them, so that no graph outlives its step.
        self._calls: list[Call] = []  # every forward pass of the network: its input, its features, its member
        self._masked_batches: list[
            tuple[Tensor, Tensor, int | None]
        ] = []  # to reconstruct: input, masked views, member

    # --- one batch
    #
    # One step, drawn:
    #
    #   batch --> inner objective --> loss on its own view x of the batch         the network's calls are recorded,
    #                 |                                                            with their features
    #                 v
    #   x, features of x --> adversarial_mask --> masked views, modulated targets
    #                 |                                |
    #                 v                                v
    #          inner objective in eval mode     decoder of the masked views' features --> reconstruction loss
    #                 |
    #                 v
    #          mean of the losses over x and the masked views, plus the weighted reconstruction loss
    #
    # Features are looked up by the identity of the input tensor: ``call.x is x``. A view that was mixed or copied
    # before it reached the network is another tensor, has no features, and costs one more forward pass.

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the wrapped objective's loss on plain and masked views plus that of the reconstruction, and logits."""
        member = batch.pass_number if self.inner.n_passes > 1 and self.n_members > 1 else None
        try:
            with watching(model, self.feature_layer, self.head) as self._calls:
                if self.pools or not self._masks():
                    loss, logits = self.inner(model, batch)
                else:
                    loss, logits = self._twice(model, batch, member)
                return loss + self._reconstruction(model, member), logits
        finally:
            self._calls, self._masked_batches = [], []

    def _masks(self) -> bool:
        return self.training and self.epoch >= self.settings.warmup

    def _twice(self, model: Model, batch: Batch, member: int | None) -> tuple[Tensor, Tensor]:
        """Evaluate the wrapped objective on its own view and then on the masked ones; return the mean over all
        views.
        """
        with recorded_views(innermost(self.inner)) as views:
            loss, logits = self.inner(model, batch)
        candidates = [*views, batch.x]
        x = next((view for view in candidates if self._features(view, member)), candidates[0])
        out = self._mask(model, x, batch.y, batch.index, member)
        n = len(out.views)
        masked = Batch(
            self._note(x, out.views, member),
            out.target.repeat(n, 1),
            batch.index.repeat(n),
            batch.weight.repeat(n),
            batch.pass_number,
        )
        with evaluating(self.inner):
            masked_loss, _ = self.inner(model, masked)
        return (loss + n * masked_loss) / (1 + n), logits

    def masked_views(
        self, model: Model, x: Tensor, target: Tensor, index: Tensor, *, member: int | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return masked views with their targets, for objectives that pool views."""
        if not self._masks():
            return []
        out = self._mask(model, x, target, index, member)
        self._note(x, out.views, member)
        return [(view, out.target) for view in out.views]

    def _mask(self, model: Model, x: Tensor, target: Tensor, index: Tensor, member: int | None) -> MaskOutput:
        quality = self.quality(index, member=member)
        fill_range = (self.scale.mean, self.scale.mean + self.scale.std)  # 0 and 1 on the standardized scale
        activation = self._activation(model, x, member)
        out = adversarial_mask(
            x, activation, target.detach(), quality, fill_range=fill_range, **self.settings.of_the_mask()
        )
        self.ratio[index] = out.ratio.to(self.ratio.dtype)
        if self.settings.keep_top_class:
            return out
        positive = out.target.clamp_min(0)  # The authors' code leaves negative entries, which are not a distribution.
        return out._replace(target=positive / positive.sum(1, keepdim=True))

    def _note(self, x: Tensor, views: list[Tensor], member: int | None) -> Tensor:
        """Join all views to one batch, and remember it for the reconstruction at the end of the step."""
        masked = torch.cat(views)
        self._masked_batches.append((x, masked, member))
        return masked

    # --- what the network attends to

    def _features(self, x: Tensor, member: int | None, *, grad: bool = False) -> list[Tensor]:
        """Return the features of this very tensor, one entry for each network; [] if a network has not seen it."""
        both = member is None and self.n_members > 1
        wanted: list[int | None] = list(range(self.n_members)) if both else [member]
        found = {c.member: c.features for c in self._calls if c.x is x and (c.features.requires_grad or not grad)}
        return [found[m] for m in wanted] if all(m in found for m in wanted) else []

    def _activation(self, model: Any, x: Tensor, member: int | None) -> Tensor:
        """Return the feature map of a view; for two networks together, both maps, each scaled to norm one."""
        if self.feature_layer is None:
            return self._contribution(model, x, member)
        if not self._features(x, member):
            with torch.no_grad(), evaluating(model):
                _logits(model, x, member)
        maps = [features.detach().float() for features in self._features(x, member)]
        if len(maps) == 1:
            return maps[0]
        return torch.cat([m / m.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, *[1] * (m.ndim - 1)) for m in maps], 1)

    def _contribution(self, model: Any, x: Tensor, member: int | None) -> Tensor:
        """Return gradient times standardized input of the squared features: how much each input entry contributes."""
        x = x.detach().requires_grad_()
        with torch.enable_grad(), evaluating(model), torch.backends.cudnn.flags(enabled=False):
            _logits(model, x, member)
            energy = torch.stack([features.float().square().sum() for features in self._features(x, member)]).sum()
            (gradient,) = torch.autograd.grad(energy, x)
        return self.scale(x.detach()) * self._std_like(x) * gradient

    def _std_like(self, x: Tensor) -> Tensor:
        std = self.scale.std
        return std.view(-1, *[1] * (x.ndim - 2)) if std.ndim else std

    # --- the reconstruction

    def _reconstruction(self, model: Model, member: int | None) -> Tensor | float:
        """Return the weighted reconstruction loss of all masked views; the target is the standardized unmasked
        input.
        """
        if not self.decoders:
            return 0.0
        if not self._masked_batches:
            # Fused SGD requires a gradient for every weight from the first step on, also during the warm-up.
            return 0.0 * sum(p.sum() for decoder in self._decoders_of(member) for p in decoder.parameters())
        losses = []
        for x, masked, trained in self._masked_batches:
            if not self._features(masked, trained, grad=True):
                _logits(model, masked, trained)
            target = self.scale(x).float()
            for decoder, features in zip(self._decoders_of(trained), self._features(masked, trained), strict=True):
                losses.append(reconstruction_loss(decoder(features.float()), target))
        return self.settings.reconstruction_weight * torch.stack(losses).mean()

    def _decoders_of(self, member: int | None) -> list[nn.Module]:
        return list(self.decoders) if member is None else [self.decoders[member]]

    # --- label quality

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Call the wrapped objective; after the warm-up, fit the mixture if the label quality is not known
        otherwise.
        """
        super().on_epoch_begin(epoch, model, batches)
        self.epoch = epoch
        here = torch.zeros(1, dtype=torch.int64, device=self.label_quality.device)
        if epoch >= self.settings.warmup and self._known_quality(here, None) is None:
            self.estimate_quality(model, batches())

    @torch.no_grad()
    def estimate_quality(self, model: Any, batches: Iterable[Batch]) -> None:
        """Estimate the probability that each given label is right, by a mixture fitted to the losses of all rows.

        Parameters
        ----------
        model : nn.Module
            The network or the pair of networks; each gets its own estimate.
        batches : iterable of Batch
            All rows, without augmentation.
        """
        with evaluating(model):
            parts = [(batch.index, self._losses(model, batch)) for batch in batches]
        if sum(len(index) for index, _ in parts) < LEAST_ROWS:
            return
        index, losses = (torch.cat(part) for part in zip(*parts, strict=True))  # (n,), (n, n_members)
        self.n_scored += 1
        self.losses.copy_(self.losses.roll(-1, dims=1))
        for member in range(self.n_members):
            self.losses[member, -1, index] = unit_scaled(losses[:, member])
            newest = self.losses[member, -self.n_scored :, index]  # fewer epochs than are kept, at the start
            self.label_quality[member, index] = clean_probability(newest.mean(0))

    def _losses(self, model: Model, batch: Batch) -> Tensor:
        which = range(self.n_members) if self.n_members > 1 else [None]
        losses = [soft_cross_entropy(_logits(model, batch.x, m), batch.y).float() for m in which]
        return torch.stack(losses, dim=1)  # (b, n_members)

    def _known_quality(self, index: Tensor, member: int | None) -> Tensor | None:
        return None if self.settings.quality == "mixture" else self.inner.quality(index, member=member)

    def quality(self, index: Tensor, *, member: int | None = None) -> Tensor:
        """Return the label quality of the wrapped objective or of the mixture.

        Network ``member`` of two gets its peer's estimate, so that its own mistakes do not confirm themselves; None
        gets the mean of both.
        """
        known = self._known_quality(index, member)
        if known is not None:
            return known
        if member is None or self.n_members == 1:
            return self.label_quality[:, index].mean(0)
        return self.label_quality[1 - member, index]


def _logits(model: Model, x: Tensor, member: int | None = None) -> Tensor:
    """Return the logits of a network, or of one network of two."""
    return model(x) if member is None else model(x, member=member)


@contextlib.contextmanager
def recorded_views(objective: Objective) -> Iterator[list[Tensor]]:
    """Record the views that an objective makes of its batches inside the ``with`` block."""
    views: list[Tensor] = []
    objective.view_log = views
    try:
        yield views
    finally:
        objective.view_log = None


# --- the estimator ----------------------------------------------------------------------------------------------------


def default_mask(*, table: bool, corrects_labels: bool) -> tuple[tuple[float, float], float]:
    """Return the mask ratio and the quality weight that "auto" stands for.

    Examples
    --------
    >>> default_mask(table=False, corrects_labels=True)
    ((0.02, 0.07), 0.03)
    """
    return MILD if corrects_labels and not table else STRONG


class SANMClassifier(PublishedSettingsMixin, BaseMetaClassifier):
    """Self-supervised adversarial noisy masking: a wrapper around any classifier of this package.

    During training it masks the part of each input that the network attends to most, and softens the label by the same
    share: little where the label is trusted, more where it is not.

    Parameters
    ----------
    estimator : classifier or None, default=None
        The wrapped classifier, which is cloned and trained. None: :class:`~robustlabels.CrossEntropyClassifier`.
    mask_ratio : pair of float or "auto", default="auto"
        Range of the masked share, of the input and of the label's mass, for a label that is certainly right. "auto":
        (0.02, 0.07), as published, around a classifier that corrects labels itself; (0.1, 0.3) around any other, and
        for tables.
    quality_weight : float or "auto", default="auto"
        Added to the share for a label that is certainly wrong (the paper's gamma). "auto": 0.03 in the first of these
        cases, 0.4 in the second.
    mask_area_scale : float, default=0.5
        Share of the ratio that is masked in each view: a half, since there are two views.
    mask_aspect : pair of float, default=(0.8, 1.25)
        Range of the aspect ratio of a patch.
    n_masks : {1, 2}, default=2
        1 masks the place of highest activation; 2 also masks, in a second view, the place of lowest activation.
    mask_anchor : {"center", "topleft"}, default="center"
        Which point of the patch lies on that place.
    mask_fill : {"auto", "uniform", "zero", "mean", "permute"}, default="auto"
        How the patch is filled: see :func:`~robustlabels.methods.sanm_masking.adversarial_mask`. "uniform" draws on
        the standardized scale, as the authors' code does.
    label_modulation : bool, default=True
        Whether to remove mass from the labels too.
    keep_top_class : bool, default=True
        Whether to limit that so that the label's largest class stays the largest.
    reconstruction_weight : float, default=0.02
        Weight of the reconstruction; with 0 no decoder is built.
    decoder : nn.Module, callable, "auto" or None, default="auto"
        Maps features to inputs. "auto": a few linear layers, :func:`~robustlabels.methods.sanm_masking.make_decoder`. A
        module is copied; a callable receives the shapes of one feature map and of one input. None: no reconstruction.
    keep_decoder : bool, default=True
        False discards the decoder after the fit, which makes pickles smaller.
    feature_layer : str, default="auto"
        Dotted name, within the network, of the layer whose output is the activation map. "auto": the last layer whose
        output has more than one place; for tables, and for networks without such a layer, gradient times input of the
        squared features.
    quality : {"auto", "mixture"}, default="auto"
        Source of the label quality: the wrapped classifier if it has one (DivideMix), or always a mixture of the
        losses.
    n_average : int, default=1
        Epochs over which the losses are averaged before the mixture is fitted (the authors: 5 at 90 % noise).
    clean_threshold : float, default=0.5
        Rows whose label quality is higher are in ``clean_mask_``.
    warmup : float or int, default=0.1
        Fraction of the epochs, or number of epochs, without masks.
    random_state : int, RandomState or None, default=None
        Seeds the wrapped classifier where its own ``random_state`` is None.

    Attributes
    ----------
    estimator_ : classifier
        The fitted wrapped classifier.
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_
        Those of the wrapped classifier, whose docstring says how the noise rate is estimated.
    label_quality_ : ndarray of shape (n_samples,), float32
        Probability that each label is right, as of the last epoch's beginning; for rows that were never masked, the
        probability of their label.
    clean_mask_ : ndarray of shape (n_samples,), bool
        True where the label quality exceeds the threshold.
    mask_ratio_mean_ : float
        Mean over the rows of the last mask ratio; NaN if no row was masked.
    decoder_ : nn.Module or None
        The decoder; a list of two for two networks.
    classes_, n_features_in_, feature_names_in_
        Those of the wrapped classifier.

    See Also
    --------
    InfluentialRankClassifier : A wrapper that acts after training.
    DivideMixClassifier : The base classifier of the published results.

    Notes
    -----
    The published results are those of SANM around DivideMix, whose labels are corrected already. Around plain
    cross-entropy the published ratios have next to no effect, hence "auto". Further departures: patches are centered on
    the peak, the largest class of a label does not change, and inputs may have any number of channels, or be sequences
    or tables.

    The settings of :meth:`from_paper` are those of the authors' scripts, "cifar10", "cifar100" and "clothing1m".

    References
    ----------
    Tu, Zhang, Li, Liu, Li, Zhang, Wang, Wang, Zhao (CVPR 2023), arXiv 2302.06805, eq. 2, 5, 7, 8 and 10.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import CrossEntropyClassifier, SANMClassifier
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> y_noisy = SymmetricNoise(0.4, random_state=0).flip(y)
    >>> clf = SANMClassifier(CrossEntropyClassifier(max_epochs=15), random_state=0).fit(X, y_noisy)
    >>> clf.score(X, y) > 0.8
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "mask_ratio": [tuple, list, StrOptions({"auto"})],
        "quality_weight": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "mask_area_scale": [Interval(Real, 0, 1, closed="both")],
        "mask_aspect": [tuple, list],
        "n_masks": [Options(Integral, {1, 2})],
        "mask_anchor": [StrOptions({"center", "topleft"})],
        "mask_fill": [StrOptions({"auto", "uniform", "zero", "mean", "permute"})],
        "label_modulation": ["boolean"],
        "keep_top_class": ["boolean"],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "decoder": [StrOptions({"auto"}), nn.Module, callable, None],
        "keep_decoder": ["boolean"],
        "feature_layer": [str],
        "quality": [StrOptions({"auto", "mixture"})],
        "n_average": [Interval(Integral, 1, None, closed="left")],
        "clean_threshold": [Interval(Real, 0, 1, closed="both")],
        "warmup": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    _published: ClassVar[dict[str, dict[str, Any]]] = {  # the scripts at the repository's head
        "cifar10": {"warmup": 10},
        "cifar100": {"warmup": 20},
        "clothing1m": {
            "warmup": 1,
            "mask_ratio": (0.06, 0.13),
            "quality_weight": 0.1,
            "mask_area_scale": 1.0,
            "reconstruction_weight": 0.3,
        },
    }
    _published_common: ClassVar[dict[str, Any]] = {
        "mask_ratio": MILD[0],
        "quality_weight": MILD[1],
        "mask_area_scale": 0.5,
        "reconstruction_weight": 0.02,
        "mask_anchor": "topleft",
        "keep_top_class": False,
    }
    _published_base: ClassVar[dict[str, dict[str, Any]]] = {
        "cifar10": {"max_epochs": 361, "warmup": 10},
        "cifar100": {"max_epochs": 361, "warmup": 20},
        "clothing1m": {
            "module": "auto",
            "max_epochs": 81,
            "warmup": 1,
            "batch_size": 16,
            "lr": 9e-4,
            "lr_schedule": {40: 0.1},
            "optimizer__weight_decay": 1e-3,
            "lambda_u": 0.0,
            "mixup_alpha": 0.5,
        },
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        mask_ratio: Any = "auto",
        quality_weight: float | str = "auto",
        mask_area_scale: float = 0.5,
        mask_aspect: tuple[float, float] = (0.8, 1.25),
        n_masks: int = 2,
        mask_anchor: str = "center",
        mask_fill: str = "auto",
        label_modulation: bool = True,
        keep_top_class: bool = True,
        reconstruction_weight: float = 0.02,
        decoder: Any = "auto",
        keep_decoder: bool = True,
        feature_layer: str = "auto",
        quality: str = "auto",
        n_average: int = 1,
        clean_threshold: float = 0.5,
        warmup: float = 0.1,
        random_state: Any = None,
    ) -> None:
        super().__init__(estimator)
        self.mask_ratio = mask_ratio
        self.quality_weight = quality_weight
        self.mask_area_scale = mask_area_scale
        self.mask_aspect = mask_aspect
        self.n_masks = n_masks
        self.mask_anchor = mask_anchor
        self.mask_fill = mask_fill
        self.label_modulation = label_modulation
        self.keep_top_class = keep_top_class
        self.reconstruction_weight = reconstruction_weight
        self.decoder = decoder
        self.keep_decoder = keep_decoder
        self.feature_layer = feature_layer
        self.quality = quality
        self.n_average = n_average
        self.clean_threshold = clean_threshold
        self.warmup = warmup
        self.random_state = random_state

    @classmethod
    def from_paper(cls, setting: str, estimator: Any = None, **params: Any) -> Self:
        """Construct the estimator with the settings of the authors' scripts, including the top-left mask anchor.

        Parameters
        ----------
        setting : {"cifar10", "cifar100", "clothing1m"}
            The script of the last one is broken (it adds areas of some pixels to label entries); its constants are used
            in the formula of the others.
        estimator : classifier or None, default=None
            The wrapped classifier. None: :class:`~robustlabels.DivideMixClassifier` with the scripts' settings. Their
            network for Clothing1M, a pretrained ResNet-50, is not among the presets: set ``estimator__module``.
        **params : dict
            Parameters that override the published ones.

        Returns
        -------
        estimator : SANMClassifier
            Not fitted.

        Examples
        --------
        >>> clf = SANMClassifier.from_paper("clothing1m")
        >>> clf.mask_ratio, clf.estimator.lr
        ((0.06, 0.13), 0.0009)
        """
        if estimator is None and setting in cls._published:
            estimator = DivideMixClassifier.from_paper("cifar10", **cls._published_base[setting])
        return super().from_paper(setting, estimator=estimator, **params)

    def _default(self) -> CrossEntropyClassifier:
        return CrossEntropyClassifier()

    # --- parameters

    def _check_parameters(self) -> None:
        if not _is_auto(self.mask_ratio):
            _check_pair("mask_ratio", self.mask_ratio)
            for value in self.mask_ratio:
                check_number("mask_ratio's ends", value, 0, 1, closed="left")
        _check_pair("mask_aspect", self.mask_aspect)
        check_number("mask_aspect's ends", self.mask_aspect[0], 0, closed="right")
        super()._check_parameters()

    def _ratios(self, objective: Objective, shape: Sequence[int]) -> dict[str, Any]:
        corrects = innermost(objective).corrects_labels
        default = default_mask(table=len(shape) == 1, corrects_labels=corrects)
        ratio = default[0] if self.mask_ratio == "auto" else tuple(self.mask_ratio)
        weight = default[1] if self.quality_weight == "auto" else float(self.quality_weight)
        if ratio[1] + weight >= 1:
            raise ValueError(
                "a label that is surely wrong loses mask_ratio[1] + quality_weight, which must be less than 1, got "
                f"{ratio[1]:g} + {weight:g}; lower one of them."
            )
        return {"mask_ratio": ratio, "quality_weight": weight}

    # --- fit

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Train the wrapped classifier on plain and masked views.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What the wrapped classifier takes.
        y : array-like of shape (n_samples,)
            Labels of any type scikit-learn takes.
        **fit_params : dict
            Further parameters of its ``fit``, such as ``sample_weight`` and ``soft_labels``. None counts as not given.

        Returns
        -------
        self
            The fitted estimator.
        """
        self._check_parameters()
        if not isinstance(self._inner(), BaseNoisyLabelClassifier):
            raise TypeError(
                "estimator must be a classifier of this package that trains a network, such as "
                f"SANMClassifier(ELRClassifier()), got {type(self._inner()).__name__}. Pass a network of your own to "
                "such a "
                "classifier, as module=."
            )
        base = self._fresh(self.random_state)
        if base.compile:
            raise ValueError(
                "compile must be False inside SANM, got True: SANM reads feature maps at every step, which a "
                "compiled network "
                "hides."
            )
        fit_params = {name: value for name, value in fit_params.items() if value is not None}
        names, others = fit_parameters(base)
        for name in fit_params:
            if name not in names and not others:
                raise TypeError(f"fit of {type(base).__name__} does not take {name}; leave it out.")
        if fit_params and routing():
            fit_params = dict(process_routing(self, "fit", **fit_params).estimator.fit)
        wrap = _Wrap(self, base)
        try:
            base._fit(X, y, **fit_params, wrap=wrap)
        finally:  # an interrupted classifier is fitted as of its last finished epoch
            if base.__sklearn_is_fitted__():
                self._take_over(base, wrap.objective)
        return self

    def get_metadata_routing(self) -> MetadataRouter:
        """Get the metadata that ``fit`` passes on to the wrapped classifier.

        Returns
        -------
        router : MetadataRouter
            The requests of the inner estimators.
        """
        router = MetadataRouter(owner=type(self).__name__)
        return router.add(estimator=self._inner(), method_mapping=MethodMapping().add(caller="fit", callee="fit"))

    def _masked(self, base: BaseNoisyLabelClassifier, objective: Objective, module: nn.Module, rows: Rows) -> Any:
        """Wrap the objective; sizes are taken from the network and the data."""
        net, n_members = members(module)[0], len(members(module))
        x = rows.inputs(rows.index[:2])
        if x.ndim not in (2, 3, 4):
            raise ValueError(
                "X must be a table, sequences or images for SANM, that is rows of 1 to 3 axes, got rows of shape "
                f"{tuple(x.shape[1:])}."
            )
        layer = self._find_layer(net, x, base._head_path)
        mean, std = _statistics(rows, x)
        epochs = base._plan(len(rows))[1]
        settings = settings_of(
            MaskSettings,
            self,
            mask_aspect=tuple(self.mask_aspect),
            warmup=round(self.warmup * epochs) if isinstance(self.warmup, float) else int(self.warmup),
            **self._ratios(objective, x.shape[1:]),
        )
        return MaskedObjective(
            objective,
            len(rows.y),
            settings,
            feature_layer=layer,
            head=base._head_path,
            n_members=n_members,
            decoders=[decoder for _ in range(n_members) for decoder in self._make_decoder(net, x, layer, base)],
            mean=mean,
            std=std,
        )

    def _find_layer(self, net: nn.Module, x: Tensor, head: str | None) -> str | None:
        """Find the layer whose output is the activation map; None means that the input's gradient serves instead."""
        if self.feature_layer != "auto":
            return find_feature_map(net, x, self.feature_layer)
        layer = None if x.ndim == 2 and x.is_floating_point() else find_feature_map(net, x)
        if layer is None and not _has_input_gradient(net, x, head):
            raise ValueError(
                "SANM needs an activation map, but no layer of the network has an output of shape (n_rows, channels, "
                "places "
                "…), and its features have no gradient with respect to the input. Name a layer with feature_layer=, or "
                "take a network that has one of the two."
            )
        return layer

    def _make_decoder(self, net: nn.Module, x: Tensor, layer: str | None, base: Any) -> list[nn.Module]:
        """Build the decoder and check its output shape; [] if reconstruction is off or the inputs are integers."""
        if self.decoder is None or self.reconstruction_weight == 0 or not x.is_floating_point():
            return []
        with torch.no_grad(), evaluating(net), watching(net, layer, base._head_path) as seen:
            net(x)
        features = seen[-1].features
        shapes = tuple(features.shape[1:]), tuple(x.shape[1:])
        if self.decoder == "auto":
            decoder: nn.Module = make_decoder(*shapes)
        else:
            decoder = copy.deepcopy(self.decoder) if isinstance(self.decoder, nn.Module) else self.decoder(*shapes)
        if not isinstance(decoder, nn.Module):
            raise TypeError(f"the function given as decoder must return an nn.Module, got {type(decoder).__name__}.")
        decoder = decoder.to(x.device)
        with torch.no_grad(), evaluating(decoder):
            try:
                out = decoder(features.float())
            except RuntimeError as error:
                raise ValueError(
                    f"decoder must take feature maps of shape {tuple(features.shape)}, but it failed: {error}. "
                    "Change its "
                    "first layer, or take decoder='auto' or None."
                ) from error
        if out.shape != x.shape:
            raise ValueError(
                f"decoder must return inputs of shape {tuple(x.shape)}, got {tuple(out.shape)} from feature maps of "
                "shape "
                f"{tuple(features.shape)}; change its last layer, or take decoder='auto' or None."
            )
        return [decoder]

    def _take_over(self, estimator: Any, objective: MaskedObjective) -> None:
        self._adopt(estimator)
        index = torch.arange(len(self.noise_scores_), device=objective.ratio.device)
        ratio = objective.ratio.cpu().numpy()
        masked = ratio >= 0
        quality = objective.quality(index).cpu().numpy()
        self.label_quality_ = np.where(masked, quality, 1 - self.noise_scores_).astype(np.float32)
        self.clean_mask_ = self.label_quality_ > self.clean_threshold
        self.mask_ratio_mean_ = float(ratio[masked].mean()) if masked.any() else math.nan
        if not self.keep_decoder:
            _forget(estimator.net_.optimizer_, objective.decoders)
            objective.decoders = nn.ModuleList()

    # --- properties of the wrapped classifier

    @property
    def decoder_(self) -> Any:
        """The decoder that reconstructs masked inputs, a list of two for two networks; None where none was kept."""
        decoders: Any = getattr(self.estimator_.net_.criterion_, "decoders", [])
        return None if not len(decoders) else decoders[0] if len(decoders) == 1 else decoders

    @property
    def module_(self) -> nn.Module:
        """The trained network."""
        return self.estimator_.module_

    @property
    def history_(self) -> Any:
        """Training history of skorch, one row for each epoch."""
        return self.estimator_.history_

    @property
    def n_iter_(self) -> int:
        """Number of epochs trained."""
        return self.estimator_.n_iter_


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _check_pair(name: str, value: Any) -> None:
    if not (isinstance(value, tuple | list) and len(value) == 2 and value[0] <= value[1]):
        raise ValueError(f"{name} must be a pair (least, largest), got {value!r}.")


def _forget(optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Remove the weights of a module from an optimizer."""
    gone = {id(p) for p in module.parameters()}
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if id(p) not in gone]
    for p in module.parameters():
        optimizer.state.pop(p, None)


def _has_input_gradient(net: nn.Module, x: Tensor, head: str | None) -> bool:
    """Return whether the inputs of the head are differentiable functions of the network's input."""
    try:
        find_head(net, head)
    except ValueError:
        if head is not None:
            raise
        return False
    if not x.is_floating_point():
        return False
    x = x.detach().requires_grad_()
    with (
        torch.enable_grad(),
        evaluating(net),
        torch.backends.cudnn.flags(enabled=False),
        watching(net, None, head) as seen,
    ):
        net(x)
        energy = seen[-1].features.sum()
        return energy.requires_grad and torch.autograd.grad(energy, x, allow_unused=True)[0] is not None


def _statistics(rows: Rows, x: Tensor) -> tuple[Any, Any]:
    """Return mean and standard deviation of each column or channel; 0 and 1 for integer (token) inputs."""
    if not x.is_floating_point():
        return 0.0, 1.0
    mean, std = inputs.column_statistics(rows)
    if x.ndim != 3:
        return mean, std
    mean, square = (v.view(x.shape[1:]).mean(1) for v in (mean, mean.square() + std.square()))  # over the places
    return mean, (square - mean.square()).clamp_min(0).sqrt()


class _Wrap:
    """The ``wrap`` argument of the wrapped classifier's fit: it receives the objective and returns the masked one."""

    objective: MaskedObjective

    def __init__(self, classifier: SANMClassifier, base: BaseNoisyLabelClassifier) -> None:
        self.classifier, self.base = classifier, base
        own = {k: v for k, v in classifier.get_params(deep=False).items() if k not in ("estimator", "random_state")}
        self.identity = {f"SANM's {k}": re.sub(r" at 0x[0-9a-f]+", "", repr(v)) for k, v in own.items()}

    def __call__(self, objective: Objective, module: nn.Module, rows: Rows) -> MaskedObjective:
        self.objective = self.classifier._masked(self.base, objective, module, rows)
        return self.objective
