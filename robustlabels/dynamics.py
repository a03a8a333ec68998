"""Training dynamics: a wrapper around any objective that remembers what the network said of every row.

A wrong label is fitted late or not at all, so what was said of it *during* training tells more than what is said at the
end, when it has been learned by heart. Nothing is computed twice: the logits are those of the training steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from robustlabels.objective import Batch, Model, Objective, ObjectiveWrapper


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Logit of the given label minus the largest other one (Pleiss et al. 2020).

    Parameters
    ----------
    logits : Tensor of shape (b, n_classes)
    y : Tensor of shape (b,), int64

    Returns
    -------
    Tensor of shape (b,)

    Examples
    --------
    >>> import torch
    >>> margin(torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]]), torch.tensor([0, 2]))
    tensor([ 2., -3.])
    """
    given = logits.gather(1, y[:, None])
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return given[:, 0] - other


class Dynamics(ObjectiveWrapper):
    """Training dynamics of every row: sums over its visits of what the network said.

    Works around every objective whose logits are those of the batch's rows: of one view in training mode, and of one
    network a turn where there are two.

    Parameters
    ----------
    inner : Objective
        What is trained; untouched by this.
    y : Tensor of shape (n_samples,), int64
        Given labels.
    n_classes : int
    early_epochs : int, default=0
        Of so many first epochs the softmaxes are summed apart: what was said before the labels were learned.

    Attributes
    ----------
    proba, early : Tensor of shape (n_samples, n_classes)
        Sums of the softmaxes, over all and over the early epochs.
    loss, margin : Tensor of shape (n_samples,)
        Sums of the cross-entropy with the given label, and of its :func:`margin`.
    visits, forgotten : Tensor of shape (n_samples,)
        How often the row was seen, and how often it was predicted wrongly right after it had been predicted rightly
        (Toneva et al. 2019).
    right, learned : Tensor of shape (n_samples,), bool
        Whether the last prediction was the given label, and whether any was.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.objective import Batch, CrossEntropy
    >>> y = torch.tensor([0, 1])
    >>> dynamics = Dynamics(CrossEntropy(), y, 2)
    >>> x = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> _ = dynamics(torch.nn.Identity(), Batch(x, torch.eye(2), torch.arange(2), torch.ones(2)))
    >>> dynamics.mean("margin")
    tensor([ 2., -2.])
    """

    y: Tensor
    proba: Tensor
    early: Tensor
    loss: Tensor
    margin: Tensor
    visits: Tensor
    forgotten: Tensor
    right: Tensor
    learned: Tensor

    def __init__(self, inner: Objective, y: Tensor, n_classes: int, *, early_epochs: int = 0) -> None:
        super().__init__(inner)
        n = len(y)
        self.early_epochs, self.epoch = early_epochs, 0
        self.register_buffer("early", torch.zeros(n if early_epochs else 0, n_classes, device=y.device))
        self.register_buffer("y", y.clone())
        self.register_buffer("proba", torch.zeros(n, n_classes, device=y.device))
        for name in ("loss", "margin", "visits", "forgotten"):
            self.register_buffer(name, torch.zeros(n, device=y.device))
        for name in ("right", "learned"):
            self.register_buffer(name, torch.zeros(n, dtype=torch.bool, device=y.device))

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Remember the epoch, and forward to the inner objective."""
        self.epoch = epoch
        self.inner.on_epoch_begin(epoch, model, batches)

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Forward to the inner objective, and remember its logits in training mode."""
        loss, logits = self.inner(model, batch)
        if self.training:
            self.record(batch.index, logits.detach().float())
        return loss, logits

    @torch.no_grad()
    def record(self, index: Tensor, logits: Tensor) -> None:
        """Add one visit of rows ``index`` (b,) with ``logits`` (b, n_classes)."""
        y = self.y.index_select(0, index)
        log_p = F.log_softmax(logits, dim=1)
        right = logits.argmax(1) == y
        was_right = self.right.index_select(0, index)
        p = log_p.exp()
        self.proba.index_add_(0, index, p)
        if self.epoch < self.early_epochs:
            self.early.index_add_(0, index, p)
        self.loss.index_add_(0, index, -log_p.gather(1, y[:, None])[:, 0])
        self.margin.index_add_(0, index, margin(logits, y))
        self.visits.index_add_(0, index, torch.ones_like(y, dtype=self.visits.dtype))
        self.forgotten.index_add_(0, index, (was_right & ~right).to(self.forgotten.dtype))
        self.right.index_copy_(0, index, right)
        self.learned.index_copy_(0, index, self.learned.index_select(0, index) | right)

    def mean(self, name: str) -> Tensor:
        """``proba``, ``early``, ``loss``, ``margin`` or ``forgotten`` over the visits; NaN for rows without any."""
        total = getattr(self, name)
        if name == "early":
            return total / total.sum(1, keepdim=True)
        return total / (self.visits if total.ndim == 1 else self.visits[:, None])

    def get_extra_state(self) -> int:
        """The epoch."""
        return self.epoch

    def set_extra_state(self, state: int) -> None:
        """The epoch."""
        self.epoch = state
