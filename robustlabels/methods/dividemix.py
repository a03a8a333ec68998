r"""DivideMix: learning with noisy labels as semi-supervised learning.

Li, Socher, Hoi, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning", ICLR 2020, arXiv 2002.07394. Wrong
labels have a larger loss early on. A mixture of two Gaussians on the losses tells how probably each label is right, w.
Rows above a threshold keep their label, the others become unlabeled; both are trained on together in the manner of
MixMatch. Two networks divide the rows for *each other*, so that neither confirms its own mistakes:

.. math:: L = L_X + \lambda_u L_U + \sum_k \pi_k \log \frac{\pi_k}{\bar p_k}

with cross-entropy to refined labels on the labeled rows, L_X, squared distance to guessed labels on the unlabeled
ones, L_U, and a pull of the mean prediction to the prior of the classes. Where the paper leaves something open, this
follows the authors' code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustlabels import augment as augmentation
from robustlabels.maths.functional import clean_probability, draw_mixup, mixup, soft_cross_entropy, unit_scaled
from robustlabels.modules import Twin, evaluating
from robustlabels.training.base import RowSelectionClassifier, Wrap, identity
from robustlabels.training.objective import Augment, Batch, HostStateMixin, Model, Objective, innermost
from robustlabels.training.parameters import Interval, PublishedSettingsMixin, StrOptions, settings_of
from robustlabels.training.rows import Rows, batch_sizes

# --- the targets ------------------------------------------------------------------------------------------------------


def co_refined(y: Tensor, p: Tensor, w: Tensor) -> Tensor:
    """Labels of labeled rows: the given one as far as it is trusted, the prediction for the rest, w y + (1 - w) p.

    Parameters
    ----------
    y, p : Tensor of shape (b, n_classes)
        Given label; softmax of the network in training, averaged over views.
    w : Tensor of shape (b,)
        Probability, to the *other* network, that the label is right.

    Returns
    -------
    Tensor of shape (b, n_classes)

    Examples
    --------
    >>> import torch
    >>> co_refined(torch.eye(2)[:1], torch.tensor([[0.5, 0.5]]), torch.tensor([0.8]))
    tensor([[0.9000, 0.1000]])
    """
    return w[:, None] * y + (1 - w[:, None]) * p


def sharpened(p: Tensor, temperature: float) -> Tensor:
    """Distributions made more certain: p^(1 / T), summing to one again; T = 1 leaves them.

    Examples
    --------
    >>> import torch
    >>> sharpened(torch.tensor([[0.6, 0.3, 0.1]]), 0.5)
    tensor([[0.7826, 0.1957, 0.0217]])
    """
    return F.softmax(p.log() / temperature, dim=1)  # in logarithms, so that nothing underflows


# --- the losses -------------------------------------------------------------------------------------------------------


def confidence_penalty(logits: Tensor) -> Tensor:
    """Mean over the batch of sum_k p_k log p_k: the penalty on confidence in the warm-up.

    Where one class is often labeled as one other, networks are soon sure of wrong labels, and the losses of right and
    wrong ones become alike.

    Examples
    --------
    >>> import torch
    >>> round(confidence_penalty(torch.zeros(1, 2)).item(), 4)
    -0.6931
    """
    log_p = F.log_softmax(logits, dim=1)
    return (log_p.exp() * log_p).sum(1).mean()


def semi_supervised_losses(
    logits: Tensor, targets: Tensor, labeled: Tensor, prior: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of the loss of a mixed batch: L_X, L_U and the pull to the prior.

    Parameters
    ----------
    logits, targets : Tensor of shape (m, n_classes)
    labeled : Tensor of shape (m,), bool
        Whether the larger part of a mixed row was labeled. A term without rows is zero.
    prior : Tensor of shape (n_classes,)

    Returns
    -------
    labeled_loss, unlabeled_loss, prior_penalty : Tensor, scalars
        Mean cross-entropy; mean squared distance, over rows and classes; Kullback-Leibler divergence of the mean
        prediction from the prior.
    """
    p = F.softmax(logits, dim=1)  # (m, n_classes)
    share = labeled.to(p.dtype)  # (m,)
    labeled_loss = (share * soft_cross_entropy(logits, targets)).sum() / share.sum().clamp_min(1)
    distance = (p - targets).square().mean(1)
    unlabeled_loss = ((1 - share) * distance).sum() / (1 - share).sum().clamp_min(1)
    mean = p.mean(0).clamp_min(1e-8)
    prior_penalty = (torch.xlogy(prior, prior) - prior * mean.log()).sum()
    return labeled_loss, unlabeled_loss, prior_penalty


def linear_rampup(current: float, start: float, length: float) -> float:
    """From 0 at ``start`` up to 1 at ``start + length``, on a line.

    Examples
    --------
    >>> [linear_rampup(epoch, 10, 16) for epoch in (10, 14, 18, 26, 40)]
    [0.0, 0.25, 0.5, 1.0, 1.0]
    """
    if length <= 0:
        return float(current >= start)
    return min(max((current - start) / length, 0.0), 1.0)


def default_lambda_u(noise_rate: float, n_classes: int) -> float:
    """Weight of the unlabeled loss: none up to 30 % of wrong labels, 2.5 per class from 60 % on, a line between.

    The loss is a mean over classes, so its weight grows with their number. The published runs have 0, 25, 25 and 50 for
    CIFAR-10 with 18, 45, 72 and 81 % of wrong labels, and 25, 150, 150 and 150 for CIFAR-100.

    Examples
    --------
    >>> [round(default_lambda_u(rate, 10), 1) for rate in (0.18, 0.45, 0.72, 0.81)]
    [0.0, 12.5, 25.0, 25.0]
    """
    return 2.5 * n_classes * linear_rampup(noise_rate, 0.3, 0.3)


# --- the memory -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DivideMixSettings:
    """Settings of :class:`DivideMixObjective`, named as the parameters of :class:`DivideMixClassifier`.

    Parameters
    ----------
    warmup : int, default=0
        Epochs of plain training before rows are divided.
    ramp : int, default=0
        Epochs over which lambda_u then grows.
    lambda_u : float or "auto", default="auto"
        Weight of the loss on unlabeled rows.
    temperature : float, default=0.5
        Exponent of sharpening is one over this.
    mixup_alpha : float, default=0.5
        Parameter of the Beta distribution of the mixing weight.
    clean_threshold : float, default=0.5
        Rows of a higher clean probability keep their label.
    confidence_penalty : float, default=1.0
        Weight of the entropy term during the warm-up.
    n_average : int, default=1
        Epochs over which the losses are averaged before rows are divided.
    """

    warmup: int = 0
    ramp: int = 0
    lambda_u: float | str = "auto"
    temperature: float = 0.5
    mixup_alpha: float = 0.5
    clean_threshold: float = 0.5
    confidence_penalty: float = 1.0
    n_average: int = 1


class DivideMixObjective(HostStateMixin, Objective):
    """Warm-up, then co-divide, co-refine, co-guess and MixMatch; ``batch.pass_number`` is the network in training.

    Parameters
    ----------
    n_samples, n_classes : int
        Sizes of the data.
    settings : DivideMixSettings or None, default=None
        None takes the defaults.
    prior : Tensor of shape (n_classes,) or None, default=None
        Class distribution that predictions are pulled to; None is uniform.
    augment : callable or None, default=None
        Makes each of the two views.
    """

    host_state = ("n_scored",)

    n_passes = 2
    pools_views = True
    corrects_labels = True

    clean_proba: Tensor
    losses: Tensor
    refined: Tensor
    prior: Tensor

    def __init__(
        self,
        n_samples: int,
        n_classes: int,
        settings: DivideMixSettings | None = None,
        *,
        prior: Tensor | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(augment)
        self.settings = settings = DivideMixSettings() if settings is None else settings
        self.register_buffer("prior", torch.full((n_classes,), 1 / n_classes) if prior is None else prior)
        self.register_buffer("clean_proba", torch.ones(2, n_samples))  # by each network
        self.register_buffer("losses", torch.zeros(2, settings.n_average, n_samples))  # scaled, newest last
        self.register_buffer("refined", torch.zeros(n_samples, n_classes))  # labels, co-refined by both
        self.n_scored = 0
        # Of the epoch, on the host, so that no step asks the device:
        self.epoch = self.step = 0
        self.n_steps: float = float("inf")
        self.divided = [True, True]  # whether there are labeled rows for each network
        self.weight = 0.0 if settings.lambda_u == "auto" else float(settings.lambda_u)

    # --- divide

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """After the warm-up, divide the rows by what both networks have learned; then either is trained."""
        self.epoch, self.step, self.n_steps = epoch, 0, float("inf")
        if epoch >= self.settings.warmup:
            self.divide(model, batches())

    @torch.no_grad()
    def divide(self, model: Any, batches: Iterable[Batch]) -> None:
        """Losses of all rows under both networks, in eval mode on plain inputs, and what they say of each label."""
        with evaluating(model):
            parts = [(batch.index, batch.y, *self._answers(model, batch)) for batch in batches]
        if not parts:
            return
        index, y, losses, p = (torch.cat(part) for part in zip(*parts, strict=True))
        self.n_scored += 1
        self.losses.copy_(self.losses.roll(-1, dims=1))
        for member in (0, 1):
            self.losses[member, -1, index] = unit_scaled(losses[:, member])
            newest = self.losses[member, -self.n_scored :, index]  # at most as many epochs as are kept
            w = clean_probability(newest.mean(0))
            self.clean_proba[member, index] = w
            self.divided[1 - member] = bool((w > self.settings.clean_threshold).any())
        w = self.clean_proba[:, index].mean(0)
        self.refined[index] = co_refined(y, p, w)
        if self.settings.lambda_u == "auto":
            flagged = self.refined[index].argmax(1) != y.argmax(1)
            self.weight = default_lambda_u(flagged.float().mean().item(), y.shape[1])

    def _answers(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses (b, 2) against the given labels, and the mean softmax (b, n_classes)."""
        logits = [model(batch.x, member=member).float() for member in (0, 1)]
        losses = torch.stack([soft_cross_entropy(z, batch.y) for z in logits], dim=1)
        return losses, (F.softmax(logits[0], dim=1) + F.softmax(logits[1], dim=1)) / 2

    def draw(self, index: Tensor, batch_size: int, pass_number: int) -> Iterable[Tensor] | None:
        """After the warm-up, half of a batch is of labeled rows, which are all seen once, and half of unlabeled ones,
        which start again when they run out.
        """
        if not self._divides(pass_number):
            return None
        labeled = self.clean_proba[1 - pass_number, index] > self.settings.clean_threshold
        half = max(1, batch_size // 2)
        parts = list(_shuffled(index[labeled], half))
        self.step, self.n_steps = 0, len(parts)
        return _paired(parts, index[~labeled], half)

    def _divides(self, pass_number: int) -> bool:
        return self.epoch >= self.settings.warmup and self.divided[pass_number]

    # --- and mix

    def forward(self, model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """One batch of network ``batch.pass_number``, of rows in any proportion of labeled and unlabeled ones."""
        me = batch.pass_number
        if not self._divides(me):
            logits = model(self.view(batch.x), member=me)
            loss = soft_cross_entropy(logits, batch.y).mean() + self.settings.confidence_penalty * confidence_penalty(
                logits
            )
            return loss, logits
        w = self.clean_proba[1 - me, batch.index]  # (b,)
        labeled = w > self.settings.clean_threshold
        views = [self.view(batch.x), self.view(batch.x)]
        target = self.targets(model, views, batch.y, w, me)
        pool = [(view, target) for view in views]
        pool += self.more_views(model, views[0], target, batch.index, member=me)
        x, t = (torch.cat(part) for part in zip(*pool, strict=True))
        x, t = mixup(x, t, *draw_mixup(len(x), self.settings.mixup_alpha, device=x.device))
        logits = model(x, member=me)
        terms = semi_supervised_losses(logits, t, labeled.repeat(len(pool)), self.prior)
        return terms[0] + self.unlabeled_weight() * terms[1] + terms[2], logits[: len(labeled)]

    @torch.no_grad()
    def targets(self, model: Any, views: list[Tensor], y: Tensor, w: Tensor, me: int) -> Tensor:
        """Refined labels of labeled rows and guessed ones of unlabeled rows, sharpened: (b, n_classes).

        The network in training stays in train mode, its peer answers in eval mode, as in the authors' code.
        """
        mine = torch.stack([F.softmax(model(view, member=me), dim=1) for view in views]).mean(0)
        with evaluating(model.members[1 - me]):
            theirs = F.softmax(model(torch.cat(views), member=1 - me), dim=1).view(len(views), *y.shape).mean(0)
        refined, guessed = co_refined(y, mine, w), (mine + theirs) / 2
        return sharpened(
            torch.where((w > self.settings.clean_threshold)[:, None], refined, guessed), self.settings.temperature
        )

    def unlabeled_weight(self) -> float:
        """lambda_u at this step of the ramp."""
        return self.weight * linear_rampup(
            self.epoch + self.step / self.n_steps, self.settings.warmup, self.settings.ramp
        )

    def after_step(self, model: Model) -> None:
        """Count."""
        self.step += 1

    # --- what is believed

    def posterior(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Labels co-refined by both networks together, as of the last division."""
        refined = self.refined[index]
        return refined, refined.sum(1) > 0

    def quality(self, index: Tensor, *, member: int | None = None) -> Tensor:
        """Probability that labels are right: the peer's for network ``member``, else the mean of both."""
        return self.clean_proba[:, index].mean(0) if member is None else self.clean_proba[1 - member, index]


def _shuffled(index: Tensor, size: int) -> tuple[Tensor, ...]:
    """Row numbers in random order, in batches; a last one of one row joins the one before it."""
    order = torch.randperm(len(index)).to(index.device)
    return index[order].split(batch_sizes(len(index), size, merge_last=True))


def _paired(labeled: Iterable[Tensor], unlabeled: Tensor, size: int) -> Iterator[Tensor]:
    """Each batch of labeled rows with the next batch of unlabeled ones, if there are any."""
    waiting: list[Tensor] = []
    for part in labeled:
        if not waiting and len(unlabeled):
            waiting = list(_shuffled(unlabeled, size))
        yield torch.cat([part, *waiting[:1]])
        del waiting[:1]


# --- the estimator ----------------------------------------------------------------------------------------------------


class DivideMixClassifier(PublishedSettingsMixin, RowSelectionClassifier):
    """DivideMix: two networks decide for each other which labels to trust.

    The rows whose labels they do not trust become unlabeled, and both kinds of rows are trained on in the manner of
    MixMatch.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network; two are made. Two copies of one instance start with equal weights.
    warmup : float or int, default=0.2
        Fraction of the epochs, or epochs, of plain training before rows are divided.
    lambda_u : float or "auto", default="auto"
        Weight of the unlabeled loss. "auto": by the share of labels that are not believed, anew every epoch; see
        :func:`~robustlabels.methods.dividemix.default_lambda_u`.
    ramp : float or int, default=0.05
        Fraction of the epochs, or epochs, over which it grows from 0 after the warm-up.
    temperature : float, default=0.5
        Of the sharpening of refined and guessed labels; 1 leaves them as they are.
    mixup_alpha : float, default=0.5
        Of the Beta distribution; the paper has 4 for CIFAR and 0.5 for Clothing1M. 0 for inputs that cannot be mixed.
    clean_threshold : float, default=0.5
        Rows whose label is right with a larger probability are labeled.
    confidence_penalty : float, default=1.0
        Weight of the negative entropy in the warm-up.
    n_average : int, default=1
        Epochs over which losses are averaged before rows are divided (the authors: 5 at 90 % noise).
    prior : {"uniform", "noisy"}, default="uniform"
        What the mean prediction is pulled to: all classes alike, as in the authors' code, which keeps rare classes from
        being lost, or the given labels' frequencies.
    augment : {"auto", "standard", "strong"}, callable or None, default="auto"
        Makes the two views of a row. "auto": crop and mirror for color images of 32 pixels and more, else as "strong":
        crops for smaller or gray ones, corrupted columns for rows.
    **params : dict
        Parameters of every classifier: see :class:`~robustlabels.training.base.BaseNoisyLabelClassifier`. Of
        ``batch_size`` rows, half are labeled after the warm-up and half are not.

    Attributes
    ----------
    label_quality_ : ndarray of shape (n_samples,), float32
        Probability that the label is right, by the losses under the final networks: the mean of both mixtures.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Whether it is above ``clean_threshold``: the rows that count as labeled.
    soft_labels_ : ndarray of shape (n_samples, n_classes), float32
        Labels refined by both networks: the given one as far as it is right, their mean prediction for the rest.
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, read off ``soft_labels_``: a row is flagged where another class has more of it. That
        takes a large loss and a prediction of another class; a large loss alone leaves ``clean_mask_`` False.

    See Also
    --------
    CoTeachingClassifier : Two networks that leave out the rows they do not trust.
    SANMClassifier : A wrapper whose published results build on DivideMix.
    ELRClassifier : Early-learning regularization, a good first method.

    Notes
    -----
    Ours: the schedule, batch size and epochs of every classifier here, a warm-up and a ramp that are fractions of the
    epochs, the confidence penalty for every kind of noise, labeled and unlabeled rows passing the network together
    when their targets are made, and defaults for lambda_u and mixup. :meth:`from_paper` gives the authors' settings.
    Where no label is believed an epoch is one of the warm-up; where all are, there are no unlabeled rows.

    References
    ----------
    Li, Socher, Hoi (ICLR 2020), arXiv 2002.07394, Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from robustlabels import DivideMixClassifier
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_wine(return_X_y=True)
    >>> noise = SymmetricNoise(0.3, random_state=0)
    >>> clf = DivideMixClassifier(max_epochs=10, random_state=0).fit(X, noise.flip(y))
    >>> bool((clf.noise_mask_ == noise.flip_mask_).mean() > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "warmup": [Interval(Real, 0, None, closed="left")],
        "lambda_u": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "ramp": [Interval(Real, 0, None, closed="left")],
        "temperature": [Interval(Real, 0, 1, closed="right")],
        "mixup_alpha": [Interval(Real, 0, None, closed="left")],
        "clean_threshold": [Interval(Real, 0, 1, closed="left")],
        "confidence_penalty": [Interval(Real, 0, None, closed="left")],
        "n_average": [Interval(Integral, 1, None, closed="left")],
        "prior": [StrOptions({"uniform", "noisy"})],
    }

    _published: ClassVar[dict[str, dict[str, Any]]] = {  # lambda_u by data and noise; "cifar10" is the script as it is
        "cifar10": {},
        "cifar10-sym20": {"lambda_u": 0.0},
        "cifar10-sym50": {"lambda_u": 25.0},
        "cifar10-sym80": {"lambda_u": 25.0},
        "cifar10-sym90": {"lambda_u": 50.0, "n_average": 5},
        "cifar10-asym40": {"lambda_u": 0.0, "confidence_penalty": 1.0},
        "cifar100-sym20": {"lambda_u": 25.0, "warmup": 30},
        "cifar100-sym50": {"lambda_u": 150.0, "warmup": 30},
        "cifar100-sym80": {"lambda_u": 150.0, "warmup": 30},
        "cifar100-sym90": {"lambda_u": 150.0, "warmup": 30, "n_average": 5},
    }
    _published_common: ClassVar[dict[str, Any]] = {
        "module": "preact_resnet18",
        "max_epochs": 301,
        "batch_size": 128,  # 64 labeled and 64 unlabeled rows
        "lr": 0.02,
        "lr_schedule": {150: 0.1},
        "augment": "standard",
        "optimizer__momentum": 0.9,
        "optimizer__weight_decay": 5e-4,
        "warmup": 10,
        "ramp": 16,
        "lambda_u": 25.0,
        "mixup_alpha": 4.0,
        "confidence_penalty": 0.0,
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        warmup: float = 0.2,
        lambda_u: float | str = "auto",
        ramp: float = 0.05,
        temperature: float = 0.5,
        mixup_alpha: float = 0.5,
        clean_threshold: float = 0.5,
        confidence_penalty: float = 1.0,
        n_average: int = 1,
        prior: str = "uniform",
        **params: Any,
    ) -> None:
        super().__init__(module, **params)
        self.warmup = warmup
        self.lambda_u = lambda_u
        self.ramp = ramp
        self.temperature = temperature
        self.mixup_alpha = mixup_alpha
        self.clean_threshold = clean_threshold
        self.confidence_penalty = confidence_penalty
        self.n_average = n_average
        self.prior = prior

    # --- stages

    def _make_module(self, rows: Rows) -> nn.Module:
        return Twin(super()._make_module(rows), super()._make_module(rows))

    def _make_augment(self, rows: Rows) -> Any:
        """Two views have to differ: "auto" is "strong" where it would be nothing."""
        augment = super()._make_augment(rows)
        if augment is None and self.augment == "auto":
            augment = augmentation.resolve("strong", tuple(rows.inputs(rows.index[:1]).shape[1:]))
        if augment is None:
            warnings.warn(
                "no augmentation makes the two views of a row differ, and a network that guesses labels from one view "
                "confirms itself; pass augment=, a function of a batch.",
                stacklevel=6,
            )
        return augment

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        _, epochs = self._plan(len(rows))
        given = torch.bincount(rows.y[rows.index], minlength=rows.n_classes)
        warmup, ramp = self._epochs(self.warmup, epochs), self._epochs(self.ramp, epochs)
        settings = settings_of(DivideMixSettings, self, warmup=warmup, ramp=ramp)
        prior = given / given.sum() if self.prior == "noisy" else None
        augment = self._make_augment(rows)
        return DivideMixObjective(len(rows.y), rows.n_classes, settings, prior=prior, augment=augment)

    def _train(self, rows: Rows, wrap: Wrap = identity) -> None:
        """Train, and let the final networks divide the rows once more; those held out stay out."""
        super()._train(rows, wrap)
        objective = innermost(self.net_.criterion_)
        divided = rows.index[objective.posterior(rows.index)[1]]
        objective.divide(self.net_.model, self.net_.batches_in_order(rows.at(divided) if len(divided) else rows))

    def _describe(self, rows: Rows) -> None:
        super()._describe(rows)
        objective = innermost(self.net_.criterion_)
        index = torch.arange(len(rows.y), device=rows.device)
        quality, divided = objective.quality(index).cpu().numpy(), objective.posterior(index)[1].cpu().numpy()
        self.label_quality_ = np.where(divided, quality, 1 - self.noise_scores_)
        self.clean_mask_ = np.where(divided, quality > self.clean_threshold, ~self.noise_mask_)
        self.soft_labels_ = np.concatenate([proba for _, proba in self._posterior(rows)])
