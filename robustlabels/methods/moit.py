r"""Multi-objective interpolation training (MOIT) and MOIT+.

Ortego, Arazo, Albert, O'Connor, McGuinness, "Multi-Objective Interpolation Training for Robustness to Label Noise",
CVPR 2021, arXiv 2012.04462. One encoder is trained with two heads: supervised contrastive learning and classification,
both on mixup-interpolated inputs, which keeps either from memorizing wrong labels. The neighbors of a row in the
contrastive space vote on its label, twice; rows that lose the vote are declared noisy, with as many clean rows in every
class, and from the middle of training learn from the network's own prediction instead of their label. MOIT+ then
trains a fresh classifier on the clean rows alone.

The interpolated contrastive loss of row i, whose dominant label is y_a and whose minor label is y_b, is

.. math:: L_i = \lambda L(z_i, y_a) + (1 - \lambda) L(z_i, y_b), \qquad
          L(z_i, y) = -\frac{1}{|P|} \sum_{j \in P} \log \frac{e^{z_i z_j / \tau}}{\sum_{r \ne i} e^{z_i z_r / \tau}},
          \quad P = \{j \ne i : y_j = y\}

over the batch (L_MIX) and over a memory bank of older embeddings (L_MEM).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from robustlabels import augment as augmentation
from robustlabels.maths.functional import (
    default_n_neighbors,
    draw_mixup,
    mixup,
    most_votes,
    nearest_neighbors,
    soft_cross_entropy,
    two_pass_votes,
)
from robustlabels.modules import features_and_logits, find_head
from robustlabels.training.base import RowSelectionClassifier, Wrap, identity
from robustlabels.training.net import RobustNet, unwrap
from robustlabels.training.objective import Augment, Batch, HostStateMixin, Model, Objective
from robustlabels.training.parameters import Interval, PublishedSettingsMixin, StrOptions, settings_of
from robustlabels.training.rows import Rows

# --- the contrastive equation -----------------------------------------------------------------------------------------


def interpolated_contrastive_loss(
    z: Tensor,
    y: Tensor,
    n_classes: int,
    lam: tuple[float, float],
    partner: tuple[Tensor, Tensor],
    *,
    temperature: float = 0.1,
    bank: Tensor | None = None,
    bank_y: Tensor | None = None,
    offset: int = 0,
    variant: str = "code",
) -> Tensor:
    """Mean of L_i over both views of a batch, against the batch itself (L_MIX) or a bank (L_MEM).

    Positives are "same label", so the numerator needs the sums of the candidates of each label and no mask of pairs;
    the (2b, m) products are made once, for the normalizer.

    Parameters
    ----------
    z : Tensor of shape (2b, d)
        Unit-norm embeddings of the mixed views: all rows of view 1, then all of view 2.
    y : Tensor of shape (b,), int64
        Given labels.
    n_classes : int
    lam : pair of float
        Share of the dominant row, per view.
    partner : pair of Tensor of shape (b,), int64
        Which row of the batch is the minor one, per view.
    temperature : float, default=0.1
    bank : Tensor of shape (m, d), default=None
        Candidates; a constant. None contrasts the batch with itself, with gradient through both sides.
    bank_y : Tensor of shape (m,), int64, default=None
    offset : int, default=0
        Where the bank holds its copies of this batch, rows ``offset`` to ``offset + 2b``: no row is contrasted with its
        own copy.
    variant : {"code", "paper"}, default="code"
        The authors' code counts the two views of the minor partner twice among the minor positives, the paper once.

    Returns
    -------
    loss : Tensor, a scalar
    """
    b = len(y)
    own_y = torch.cat([y, y])  # (2b,)
    minor = torch.cat([partner[0], partner[1]])  # (2b,): rows of the batch
    minor_y = y[minor]
    candidates, candidate_y = (z, own_y) if bank is None or bank_y is None else (bank, bank_y)
    sums = z.new_zeros(n_classes, z.shape[1]).index_add(0, candidate_y, candidates)  # (n_classes, d)
    counts = z.new_zeros(n_classes).index_add(0, candidate_y, torch.ones_like(candidate_y, dtype=z.dtype))

    copies = candidates[offset : offset + 2 * b]
    self_similarity = (z * copies).sum(1) / temperature
    normalizer = _LogNormalizer.apply(z / temperature, candidates, offset)  # (2b,), over all but the row itself

    def mean_log_p(which: Tensor, same: Tensor, extra: Tensor | float, extra_count: Tensor | float) -> Tensor:
        """Mean of log p over the candidates of a label, without the row itself where it has that label."""
        total = (z * sums[which]).sum(1) / temperature - same * self_similarity + extra
        return total / (counts[which] - same + extra_count) - normalizer

    dominant = mean_log_p(own_y, torch.ones_like(own_y), 0.0, 0.0)
    extra: Tensor | float = 0.0
    extra_count: Tensor | float = 0.0
    if variant == "code":  # the partner's own two views once more, unless one of them is the row itself
        views = torch.stack([minor, minor + b], dim=1)  # (2b, 2)
        itself = views == torch.arange(2 * b, device=z.device)[:, None]
        extra = ((z[:, None] * copies[views]).sum(2) / temperature).masked_fill(itself, 0.0).sum(1)
        extra_count = (~itself).sum(1)
    minority = mean_log_p(minor_y, (minor_y == own_y).long(), extra, extra_count)
    share = torch.cat([z.new_full((b,), lam[0]), z.new_full((b,), lam[1])])
    return -(share * dominant + (1 - share) * minority).mean()


class _LogNormalizer(torch.autograd.Function):
    """Per row, log of the summed exponentials of its products with all candidates but its own copy.

    Autograd would keep the (2b, m) products twice and walk over them once for every operation, forward and back. Here
    they are kept once, exponentiated, and the gradient is two products of them.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, candidates: Tensor, offset: int) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            terms = z @ candidates.T  # (2b, m)
        terms.diagonal(offset).fill_(-torch.inf)
        high = terms.amax(1, keepdim=True)
        total = terms.sub_(high).exp_().sum(1, keepdim=True)  # (2b, 1)
        ctx.save_for_backward(z, candidates, terms, total)
        return (high + total.log())[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        z, candidates, terms, total = ctx.saved_tensors
        share = gradient[:, None] / total
        return (
            share * (terms @ candidates) if ctx.needs_input_grad[0] else None,
            terms.T @ (share * z) if ctx.needs_input_grad[1] else None,
            None,
        )


# --- the classification equation --------------------------------------------------------------------------------------


def corrected_targets(
    y: Tensor, guess: Tensor, clean: Tensor, lam: float, partner: Tensor, *, variant: str = "paper"
) -> Tensor:
    """Targets of one mixed view: labels of clean rows, guesses for noisy ones.

    Parameters
    ----------
    y : Tensor of shape (b, n_classes)
        Given labels.
    guess : Tensor of shape (b, n_classes)
        The network's own probabilities on the plain rows.
    clean : Tensor of shape (b,), bool
    lam : float
        Share of the dominant row.
    partner : Tensor of shape (b,), int64
    variant : {"paper", "code"}, default="paper"
        The paper mixes the corrected labels of both rows (eq. 10-11). The authors' code lets the flag of the dominant
        row decide over the label of the minor one too, so that a target's mass is 2 - lam or lam where flags differ.

    Returns
    -------
    targets : Tensor of shape (b, n_classes)

    Examples
    --------
    >>> import torch
    >>> y, guess, clean = torch.eye(2), torch.tensor([[.5, .5], [.5, .5]]), torch.tensor([True, False])
    >>> corrected_targets(y, guess, clean, 0.8, torch.tensor([1, 0]))[0]
    tensor([0.9000, 0.1000])
    """
    flag = clean.to(y.dtype)[:, None]  # (b, 1)
    if variant == "paper":
        corrected = flag * y + (1 - flag) * guess
        return lam * corrected + (1 - lam) * corrected[partner]
    noisy = (1 - flag) * guess
    return flag * (lam * y + (1 - lam) * y[partner]) + lam * noisy + (1 - lam) * noisy[partner]


def bootstrapped_targets(y: Tensor, logits: Tensor, lam: float, partner: Tensor, weight: float) -> Tensor:
    """Targets of MOIT+ (eq. 13 with delta = 1 - weight): labels with a share of the network's own hard guess.

    Parameters
    ----------
    y, logits : Tensor of shape (b, n_classes)
        Given labels; the network's answer on the plain rows.
    lam : float
    partner : Tensor of shape (b,), int64
    weight : float
        0 is plain mixup.
    """
    guess = F.one_hot(logits.argmax(1), y.shape[1]).to(y.dtype)
    target = (1 - weight) * y + weight * guess
    return lam * target + (1 - lam) * target[partner]


# --- detection --------------------------------------------------------------------------------------------------------


def balanced_flags(first: Tensor, second: Tensor, y: Tensor, balance: str | None) -> tuple[Tensor, Tensor]:
    """Which rows win the vote, and which are declared clean: as many in every class (eq. 9).

    Parameters
    ----------
    first, second : Tensor of shape (n, n_classes), int32
    y : Tensor of shape (n,), int64
    balance : {"median", "min", "max"} or None
        Which of the classes' numbers of winners every class gets, of its best rows; classes without rows do not count.
        None declares the winners clean.

    Returns
    -------
    agreement, clean : Tensor of shape (n,), bool
        Ties are broken by the first vote, then by the row number: the authors' topk leaves them to chance.
    """
    rows = torch.arange(len(y), device=y.device)
    agreement = most_votes(second) == y
    if balance is None:
        return agreement, agreement.clone()
    n_classes = second.shape[1]
    size = torch.bincount(y, minlength=n_classes)
    winners = torch.bincount(y[agreement], minlength=n_classes)[size > 0].sort().values
    keep = int({"min": winners[0], "max": winners[-1], "median": winners[(len(winners) - 1) // 2]}[balance])
    # One order for all classes: by class, then discrepancy (fewer second votes), then fewer first votes, then row.
    order = rows
    for key in (-first[rows, y], -second[rows, y], y):
        order = order[key[order].argsort(stable=True)]
    start = size.cumsum(0) - size
    rank = torch.empty_like(rows)
    rank[order] = rows - start[y[order]]  # a row's place within its class
    return agreement, rank < keep


# --- the memory -------------------------------------------------------------------------------------------------------


class MemoryBank(HostStateMixin, nn.Module):
    """Embeddings of past batches and their labels, first in first out.

    A push that would run over the end goes into the last slots, and the next one starts at 0, as in the authors' code:
    a batch lies in one piece.

    Parameters
    ----------
    size, dim : int
    """

    host_state = ("pointer", "filled")

    z: Tensor
    y: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("z", torch.zeros(size, dim))
        self.register_buffer("y", torch.zeros(size, dtype=torch.int64))
        self.pointer = self.filled = 0  # on the host: no step asks the device

    @torch.no_grad()
    def push(self, z: Tensor, y: Tensor) -> int:
        """Store rows; returns the slot of the first."""
        size, q = len(self.z), len(z)
        start = size - q if self.pointer + q > size else self.pointer
        self.z[start : start + q] = z
        self.y[start : start + q] = y
        self.filled = max(self.filled, start + q)
        self.pointer = 0 if self.pointer + q > size else start + q
        return start


@dataclass(frozen=True)
class MOITSettings:
    """Settings of :class:`MOITObjective`, named as the parameters of :class:`MOITClassifier`.

    Parameters
    ----------
    projection_dim : int, default=128
        Size of the contrastive embedding.
    projection : {"linear", "mlp"}, default="linear"
        Kind of the projection head.
    temperature : float, default=0.1
        Temperature of the contrastive loss.
    mixup_alpha : float, default=1.0
        Parameter of the Beta distribution of the mixing weight.
    contrastive_weight : float, default=1.0
        Weight of the contrastive loss.
    mixup_space : {"input", "embedding"}, default="input"
        Where the two rows are mixed.
    memory_size : int, default=0
        Rows of the memory bank; 0 means that there is no bank.
    memory_start : int, default=3
        Epoch, counted from 0, from which the bank enters the loss.
    correction_start : int, default=130
        Epoch, counted from 0, from which labels are corrected.
    n_neighbors : int, default=250
        Number of neighbors that vote.
    balance : {"median", "min", "max"} or None, default="median"
        Rule for the number of clean rows in each class.
    backend : {"exact", "bf16", "faiss"}, default="exact"
        Backend of the neighbor search.
    contrastive_variant : {"code", "paper"}, default="code"
        Whether the loss is that of the authors' code or of the paper.
    ssl_targets : {"paper", "code"}, default="paper"
        Whether targets are those of the paper or of the authors' code.
    """

    projection_dim: int = 128
    projection: str = "linear"
    temperature: float = 0.1
    mixup_alpha: float = 1.0
    contrastive_weight: float = 1.0
    mixup_space: str = "input"
    memory_size: int = 0
    memory_start: int = 3
    correction_start: int = 130
    n_neighbors: int = 250
    balance: str | None = "median"
    backend: str = "exact"
    contrastive_variant: str = "code"
    ssl_targets: str = "paper"


class MOITObjective(HostStateMixin, Objective):
    """Contrastive loss on batch and bank plus classification of the same mixed views, in the order of the code.

    Parameters
    ----------
    n_samples, n_classes, n_features : int
        Sizes of the data and of the network's features.
    settings : MOITSettings or None, default=None
        None takes the defaults.
    head : str or None, default=None
        Dotted name of the network's last linear layer.
    augment : callable or None, default=None
        Makes each of the two views.
    """

    host_state = ("epoch",)

    corrects_labels = True

    clean: Tensor
    agreement: Tensor
    votes: Tensor

    def __init__(
        self,
        n_samples: int,
        n_classes: int,
        n_features: int,
        settings: MOITSettings | None = None,
        *,
        head: str | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(augment)
        self.settings = settings = MOITSettings() if settings is None else settings
        self.n_classes, self.head = n_classes, head
        hidden = 2 * n_features
        self.projector: nn.Module = nn.Linear(n_features, settings.projection_dim)
        if settings.projection == "mlp":
            self.projector = nn.Sequential(
                nn.Linear(n_features, hidden, bias=False),
                nn.BatchNorm1d(hidden),
                nn.ReLU(),
                nn.Linear(hidden, settings.projection_dim),
            )
        self.bank = MemoryBank(settings.memory_size, settings.projection_dim) if settings.memory_size else None
        self.register_buffer("clean", torch.ones(n_samples, dtype=torch.bool))
        self.register_buffer("agreement", torch.ones(n_samples, dtype=torch.bool))
        self.register_buffer("votes", torch.zeros(n_samples, n_classes, dtype=torch.int16))
        self.epoch = 0

    # --- the three forwards

    def embed(self, model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
        """Unit-norm embedding (b, d) and logits (b, n_classes)."""
        features, logits = features_and_logits(model, x, self.head)
        return F.normalize(self.projector(features.float()), dim=1), logits.float()

    def _mixed(self, model: Model, x: Tensor) -> tuple[Tensor, Tensor, float, Tensor]:
        """One view, mixed: embedding, logits, lam, partner."""
        lam, partner = draw_mixup(len(x), self.settings.mixup_alpha, device=x.device)
        view = self.view(x)
        if self.settings.mixup_space == "input":
            z, logits = self.embed(model, mixup(view, view, lam, partner)[0])
            return z, logits, lam, partner
        features, _ = features_and_logits(model, view, self.head)
        features = mixup(features.float(), features.float(), lam, partner)[0]
        logits = find_head(model, self.head)[1](features)  # type: ignore[arg-type]
        return F.normalize(self.projector(features), dim=1), logits, lam, partner

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """L_MIX + L_MEM + L_SSL of one batch."""
        z_a, logits_a, lam_a, partner_a = self._mixed(model, batch.x)
        z_b, logits_b, lam_b, partner_b = self._mixed(model, batch.x)
        with torch.no_grad():  # in train mode: this pass moves BatchNorm's buffers as the code's third pass does
            plain = model(batch.x)
        targets = [
            self._targets(batch, plain, lam_a, partner_a),
            self._targets(batch, plain, lam_b, partner_b),
        ]
        classification = soft_cross_entropy(torch.cat([logits_a, logits_b]), torch.cat(targets)).mean()
        loss = classification
        if self.settings.contrastive_weight > 0 and len(plain) > 1:
            contrastive = self._contrastive(
                torch.cat([z_a, z_b]), batch.y.argmax(1), (lam_a, lam_b), (partner_a, partner_b)
            )
            loss = loss + self.settings.contrastive_weight * contrastive
        return loss, plain

    def _targets(self, batch: Batch, plain: Tensor, lam: float, partner: Tensor) -> Tensor:
        if self.epoch < self.settings.correction_start:
            return lam * batch.y + (1 - lam) * batch.y[partner]
        guess = F.softmax(plain, dim=1)
        return corrected_targets(
            batch.y, guess, self.clean[batch.index], lam, partner, variant=self.settings.ssl_targets
        )

    def _contrastive(self, z: Tensor, y: Tensor, lam: tuple[float, float], partner: tuple[Tensor, Tensor]) -> Tensor:
        """L_MIX, and from its epoch on L_MEM; the given labels only, flags never enter."""
        settings: dict[str, Any] = {
            "temperature": self.settings.temperature,
            "variant": self.settings.contrastive_variant,
        }
        offset = self.bank.push(z.detach(), torch.cat([y, y])) if self.bank is not None and self.training else 0
        loss = interpolated_contrastive_loss(z, y, self.n_classes, lam, partner, **settings)
        if self.bank is not None and self.training and self.epoch >= self.settings.memory_start:
            bank, bank_y = self.bank.z[: self.bank.filled], self.bank.y[: self.bank.filled]
            loss = loss + interpolated_contrastive_loss(
                z, y, self.n_classes, lam, partner, bank=bank, bank_y=bank_y, offset=offset, **settings
            )
        return loss

    # --- the vote

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """From the first epoch that corrects labels on, flag what the epoch before has learned."""
        self.epoch = epoch
        if epoch >= self.settings.correction_start:
            self.detect(model, batches())

    @torch.no_grad()
    def detect(self, model: Any, batches: Iterable[Batch]) -> None:
        """Flag the training rows by the two-pass vote of their neighbors, on plain inputs in eval mode."""
        model.eval()
        self.eval()
        parts = [(batch.index, self.embed(model, batch.x)[0], batch.y.argmax(1)) for batch in batches]
        index, z, y = (torch.cat(part) for part in zip(*parts, strict=True))
        neighbors = nearest_neighbors(z, min(self.settings.n_neighbors, len(z) - 1), backend=self.settings.backend)
        first, second = two_pass_votes(neighbors, y, self.n_classes)
        agreement, clean = balanced_flags(first, second, y, self.settings.balance)
        if not clean.any():  # no row wins the vote: keep every label in this epoch
            warnings.warn("no row wins its neighbors' vote; labels are kept as given this epoch.", stacklevel=2)
            clean = torch.ones_like(clean)
        self.clean[index] = clean
        self.agreement[index] = agreement
        self.votes[index] = second.to(self.votes.dtype)

    def posterior(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of the second vote."""
        votes = self.votes[index].float()
        total = votes.sum(1, keepdim=True)
        return votes / total.clamp_min(1), total[:, 0] > 0


class FinetuneObjective(Objective):
    """MOIT+'s second stage: mixup on the clean rows, later with a share of the network's own hard guess.

    Parameters
    ----------
    mixup_alpha, bootstrap : float
    bootstrap_start : int
        Epoch, counted from 0, from which the guess enters.
    detector : MOITObjective
        The first stage's objective, kept for its votes; it is not trained.
    augment : callable or None
    """

    def __init__(
        self,
        detector: MOITObjective,
        *,
        mixup_alpha: float,
        bootstrap: float,
        bootstrap_start: int,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(augment)
        self.detector = detector.requires_grad_(False)
        self.mixup_alpha, self.bootstrap, self.bootstrap_start = mixup_alpha, bootstrap, bootstrap_start
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Remember the epoch."""
        self.epoch = epoch

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """One batch, one view."""
        lam, partner = draw_mixup(len(batch.x), self.mixup_alpha, device=batch.x.device)
        view = self.view(batch.x)
        logits = model(mixup(view, batch.y, lam, partner)[0])
        with torch.no_grad():
            plain = model(batch.x)
        weight = self.bootstrap if self.epoch >= self.bootstrap_start else 0.0
        targets = bootstrapped_targets(batch.y, plain, lam, partner, weight)
        return soft_cross_entropy(logits, targets).mean(), plain

    def posterior(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """What the first stage's vote says."""
        return self.detector.posterior(index)


# --- the estimators ---------------------------------------------------------------------------------------------------


class MOITClassifier(PublishedSettingsMixin, RowSelectionClassifier):
    """Multi-objective interpolation training: contrastive learning, k-NN noise detection, label correction.

    Two heads share an encoder: a contrastive one and a classifier. In the contrastive space the neighbors of a row vote
    on its label; a row that loses the vote is trained on the prediction instead of its label.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network; what its last linear layer sees is projected for the contrastive loss.
    augment : {"strong", "standard", "auto"}, callable or None, default="strong"
        Makes the two views. Its strength decides: under weak views the contrastive loss memorizes wrong labels too.
        "strong": crop, color and grayscale for images, corrupted columns for rows.
    projection_dim : int, default=128
        Width of the embedding.
    projection : {"linear", "mlp"}, default="linear"
        The contrastive head.
    temperature : float, default=0.1
        Of the similarities.
    mixup_alpha : float, default=1.0
        Of the Beta distribution both views are mixed by.
    mixup_space : {"input", "embedding"}, default="input"
        What is mixed; "embedding" for inputs that cannot be.
    memory_size : int or "auto", default="auto"
        Rows of the memory bank, at least two per row of a batch; 0 for none. "auto": 200 a class, as in the authors'
        scripts, at most n and 20000.
    memory_start : int, default=3
        Epochs before the bank enters the loss.
    n_neighbors : int or "auto", default="auto"
        Voters. "auto": half the mean size of a class, between 5 and 250.
    balance : {"median", "min", "max"} or None, default="median"
        How many rows of every class are declared clean, by the numbers of vote winners; None takes the winners.
    correction_start : float or int, default=0.52
        Fraction of the epochs, or epochs, before labels are corrected.
    ssl_targets : {"paper", "code"}, default="paper"
        Whose flag decides over the minor label of a mixed row: see
        :func:`~robustlabels.methods.moit.corrected_targets`.
    contrastive_variant : {"code", "paper"}, default="code"
        See :func:`~robustlabels.methods.moit.interpolated_contrastive_loss`.
    contrastive_weight : float, default=1.0
        Of both contrastive terms; 0 leaves classification with correction.
    backend : {"exact", "bf16", "faiss"}, default="exact"
        Of the neighbor search.
    finetune : bool, default=False
        MOIT+: a second stage with a fresh classifier on the clean rows.
    finetune_epochs : float or int, default=0.28
        Its length, as a fraction of the epochs or in epochs.
    finetune_lr : float, default=1.0
        Its learning rate at the start, as a fraction of ``lr``.
    finetune_bootstrap : float, default=0.2
        Share of the network's own hard guess in its targets, from 43 % of its epochs on.

    Attributes
    ----------
    noise_scores_ : ndarray of shape (n_samples,), float32
        One minus the share of neighbors that vote for the given label, in the second pass.
    clean_mask_ : ndarray of shape (n_samples,), bool
        Declared clean: the same number of rows in every class.
    noise_mask_ : ndarray of shape (n_samples,), bool
        Not declared clean. Balanced flags count rows, not noise.
    agreement_ : ndarray of shape (n_samples,), bool
        Rows whose label won the vote, before balancing.
    noise_rate_ : float
        Share of rows whose label lost the vote; never from the balanced flags.
    suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, from the second vote.

    See Also
    --------
    MOITPlusClassifier : The same, followed by training a new head on the clean rows.
    KNNNoiseDetector : The vote alone, on any features.
    ELRClassifier : Early-learning regularization, a good first method.

    Notes
    -----
    Where paper and code disagree both are options. Ours: the schedule, batch size and epochs of every classifier here,
    automatic sizes of bank and vote, ties in the vote broken the same way on every machine, and detection only in
    epochs that use its flags. Three forwards a batch: two to three times the time of plain training.

    References
    ----------
    Ortego, Arazo, Albert, O'Connor, McGuinness (CVPR 2021), arXiv 2012.04462, eq. 1-13.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import MOITClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = MOITClassifier(max_epochs=10, random_state=0).fit(X, y)
    >>> clf.transform(X).shape
    (150, 128)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "augment": [StrOptions({"auto", "standard", "strong"}), callable, None],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
        "projection": [StrOptions({"linear", "mlp"})],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "mixup_alpha": [Interval(Real, 0, None, closed="left")],
        "mixup_space": [StrOptions({"input", "embedding"})],
        "memory_size": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "memory_start": [Interval(Integral, 0, None, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "balance": [StrOptions({"median", "min", "max"}), None],
        "correction_start": [Interval(Real, 0, None, closed="left")],
        "ssl_targets": [StrOptions({"paper", "code"})],
        "contrastive_variant": [StrOptions({"code", "paper"})],
        "contrastive_weight": [Interval(Real, 0, None, closed="left")],
        "backend": [StrOptions({"exact", "bf16", "faiss"})],
        "finetune": ["boolean"],
        "finetune_epochs": [Interval(Real, 0, None, closed="neither")],
        "finetune_lr": [Interval(Real, 0, None, closed="left")],
        "finetune_bootstrap": [Interval(Real, 0, 1, closed="both")],
    }

    _published: ClassVar[dict[str, dict[str, Any]]] = {  # the scripts' settings; the same at every noise rate
        "cifar10": {"memory_size": 2000},
        "cifar100": {"memory_size": 20000},
    }
    _published_common: ClassVar[dict[str, Any]] = {
        "module": "preact_resnet18",
        "max_epochs": 250,
        "batch_size": 128,
        "lr": 0.1,
        "lr_schedule": {124: 0.1, 199: 0.1},  # the code steps before it trains: 125 and 200, counted from 1
        "optimizer__momentum": 0.9,
        "optimizer__weight_decay": 1e-4,
        "n_neighbors": 250,
        "correction_start": 0.52,  # after 130
        "ssl_targets": "code",
        "finetune_epochs": 0.28,  # 70
        "finetune_lr": 0.01,
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        augment: Any = "strong",
        projection_dim: int = 128,
        projection: str = "linear",
        temperature: float = 0.1,
        mixup_alpha: float = 1.0,
        mixup_space: str = "input",
        memory_size: int | str = "auto",
        memory_start: int = 3,
        n_neighbors: int | str = "auto",
        balance: str | None = "median",
        correction_start: float = 0.52,
        ssl_targets: str = "paper",
        contrastive_variant: str = "code",
        contrastive_weight: float = 1.0,
        backend: str = "exact",
        finetune: bool = False,
        finetune_epochs: float = 0.28,
        finetune_lr: float = 1.0,
        finetune_bootstrap: float = 0.2,
        **params: Any,
    ) -> None:
        super().__init__(module, augment=augment, **params)
        self.projection_dim = projection_dim
        self.projection = projection
        self.temperature = temperature
        self.mixup_alpha = mixup_alpha
        self.mixup_space = mixup_space
        self.memory_size = memory_size
        self.memory_start = memory_start
        self.n_neighbors = n_neighbors
        self.balance = balance
        self.correction_start = correction_start
        self.ssl_targets = ssl_targets
        self.contrastive_variant = contrastive_variant
        self.contrastive_weight = contrastive_weight
        self.backend = backend
        self.finetune = finetune
        self.finetune_epochs = finetune_epochs
        self.finetune_lr = finetune_lr
        self.finetune_bootstrap = finetune_bootstrap

    # --- sizes

    def _voters(self, n: int, n_classes: int) -> int:
        if self.n_neighbors == "auto":
            return default_n_neighbors(n, n_classes)
        if self.n_neighbors >= n:  # type: ignore[operator]
            raise ValueError(f"n_neighbors must be less than the {n} training rows, got {self.n_neighbors}.")
        return int(self.n_neighbors)

    def _bank(self, n: int, batch_size: int, n_classes: int) -> int:
        if self.memory_size == "auto":
            return default_memory_size(n, batch_size, n_classes)
        needed = 2 * (min(batch_size, n) + 1)
        if 0 < self.memory_size < needed:  # type: ignore[operator]
            raise ValueError(
                f"memory_size must hold both views of a batch, at least {needed} rows, or be 0, got {self.memory_size}."
            )
        return int(self.memory_size)

    # --- stages

    def _make_augment(self, rows: Rows) -> Any:
        augment = super()._make_augment(rows)
        if augment is None and self.contrastive_weight > 0:
            warnings.warn(
                "no augmentation makes the two views of a row differ, and the contrastive loss will memorize wrong "
                "labels; pass augment=, a function of a batch.",
                stacklevel=6,
            )
        return augment

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        batch_size, epochs = self._plan(len(rows))
        settings = settings_of(
            MOITSettings,
            self,
            memory_size=self._bank(len(rows), batch_size, rows.n_classes) if self.contrastive_weight > 0 else 0,
            correction_start=self._epochs(self.correction_start, epochs),
            n_neighbors=self._voters(len(rows), rows.n_classes),
        )
        n_features = find_head(module, self._head_path)[1].in_features
        augment = self._make_augment(rows)
        return MOITObjective(len(rows.y), rows.n_classes, n_features, settings, head=self._head_path, augment=augment)

    def _train(self, rows: Rows, wrap: Wrap = identity) -> None:
        """Contrastive training, the last vote, and for MOIT+ a fresh classifier on the clean rows."""
        super()._train(rows, wrap)
        objective = self._objective()
        objective.detect(self.net_.model, self.net_.batches_in_order(rows))
        if self.finetune:
            clean = rows.index[objective.clean[rows.index]]
            self._run(self._second_stage(unwrap(self.net_), objective, rows), rows.at(clean), stage=".finetune")

    def _untrained(self, rows: Rows) -> RobustNet:
        net = super()._untrained(rows)
        return self._second_stage(unwrap(net), net.criterion_, rows) if self.finetune else net

    def _second_stage(self, module: nn.Module, objective: MOITObjective, rows: Rows) -> RobustNet:
        """The net of MOIT+: the same network under a fresh head, and a small learning rate."""
        _, epochs = self._plan(len(rows))
        find_head(module, self._head_path)[1].reset_parameters()
        return self._make_net(
            module,
            FinetuneObjective(
                objective,
                mixup_alpha=self.mixup_alpha,
                bootstrap=self.finetune_bootstrap,
                bootstrap_start=round(30 / 70 * self._epochs(self.finetune_epochs, epochs)),
                augment=augmentation.resolve("auto", tuple(rows.inputs(rows.index[:1]).shape[1:])),
            ),
            rows,
            max_epochs=max(1, self._epochs(self.finetune_epochs, epochs)),
            lr=self.lr * self.finetune_lr,
        )

    def _objective(self) -> MOITObjective:
        return next(m for m in self.net_.criterion_.modules() if isinstance(m, MOITObjective))

    def _flag(self, rows: Rows, differs: np.ndarray) -> np.ndarray:
        """Flag the rows outside the balanced clean set; rows without a vote where another class is more probable."""
        objective = self._objective()
        voted = objective.posterior(torch.arange(len(rows.y), device=rows.device))[1].cpu().numpy()
        self.agreement_ = ~differs
        self.clean_mask_ = np.where(voted, objective.clean.cpu().numpy(), ~differs)
        return ~self.clean_mask_

    # --- features

    def _features(self, model: Model, x: Tensor) -> Tensor:
        """The unit-norm embedding."""
        return self._objective().embed(model, x)[0]

    @property
    def _n_features_out(self) -> int:
        return self.projection_dim


class MOITPlusClassifier(MOITClassifier):
    """MOIT+: MOIT, followed by training a new classifier head on the clean rows.

    It is :class:`MOITClassifier` with ``finetune=True``.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network.
    finetune : bool, default=True
        The second stage.

    See Also
    --------
    MOITClassifier : The first stage alone.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import MOITPlusClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> MOITPlusClassifier(max_epochs=10, random_state=0).fit(X, y).predict(X).shape
    (150,)
    """

    def __init__(self, module: Any = "auto", *, finetune: bool = True, **params: Any) -> None:
        super().__init__(module, finetune=finetune, **params)


def default_memory_size(n: int, batch_size: int, n_classes: int) -> int:
    """200 rows a class, two views of 100, at most n and 20000; at least two batches of two views, or 0 for fewer rows.

    The authors' scripts have the same: 2000 rows for CIFAR-10, 20000 for CIFAR-100. A bank of all rows
    cost more and brought nothing (``python -m benchmarks.studies.rules``).

    Examples
    --------
    >>> default_memory_size(50_000, 128, 10), default_memory_size(50_000, 128, 100), default_memory_size(1257, 78, 10)
    (2000, 20000, 1256)
    >>> default_memory_size(5_000, 128, 2), default_memory_size(20, 16, 2)
    (514, 0)
    """
    needed = 4 * batch_size + 2
    size = min(20_000, 2 * (n // 2), max(200 * n_classes, needed))
    return size if size >= needed else 0
