"""What training minimizes, and what it remembers about each sample: tensors only.

An :class:`Objective` sits in skorch's criterion slot, so its buffers and its own weights follow the device,
the optimizer, the checkpoint and the pickle without a line of their own. It never sees numpy, skorch or
scikit-learn, and runs just as well in a plain torch loop::

    for index in torch.randperm(len(x)).split(128):
        batch = Batch(x[index], y[index], index, torch.ones(len(index)))
        loss, logits = objective(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(model)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Batch(NamedTuple):
    """One training batch.

    Attributes
    ----------
    x : Tensor of shape (b, ...)
        Inputs on the training device, un-augmented.
    y : Tensor of shape (b, n_classes)
        Label distributions, rows summing to one: one-hot until something softens them.
    index : Tensor of shape (b,), int64
        Row numbers in the arrays given to ``fit``, before any validation split.
    weight : Tensor of shape (b,)
        Sample weights, of mean one over the fit.
    pass_number : int
        Which of the objective's passes over the rows this batch belongs to, below ``Objective.n_passes``.
    """

    x: Tensor
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody asks of a batch
    weight: Tensor
    pass_number: int = 0


Model = Callable[..., Tensor]
Augment = Callable[..., Tensor]
Plug = Callable[..., list[tuple[Tensor, Tensor]]]


class Objective(nn.Module):
    """Base of all objectives.

    A subclass writes ``forward(model, batch) -> (loss, logits)``. What it remembers about each sample is a
    registered buffer whose first axis is n_samples, addressed by ``batch.index``; weights it learns are its own
    parameters. Memory is written in training mode only.

    Parameters
    ----------
    augment : callable or None, default=None
        ``augment(x, generator=None) -> x`` on a batch tensor; :meth:`view` applies it in training mode.
    """

    n_passes: int = 1
    """Passes over the rows in one epoch: 2 where two networks are trained one after the other."""

    pools_views: bool = False
    """Whether ``forward`` asks for a plug's views itself, with :meth:`more_views`; else the plug calls ``forward`` on
    them, in eval mode, in which an objective neither augments nor remembers."""

    corrects_labels: bool = False
    """Whether the method itself keeps the network from learning labels it does not believe; a plug then does less."""

    plug: Plug | None = None

    def __init__(self, augment: Augment | None = None) -> None:
        super().__init__()
        self.augment = augment

    def view(self, x: Tensor) -> Tensor:
        """One random view of a batch: augmented in training mode, unchanged otherwise."""
        return self.augment(x) if self.training and self.augment is not None else x

    def more_views(
        self, model: Model, x: Tensor, target: Tensor, index: Tensor, *, member: int | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """What a plug adds to rows ``index``, seen as ``x`` and trained on ``target``: views and their own targets.

        For hosts that pool views, which call this once their targets are made; ``member`` is the network in training
        where there are two. Without a plug there are none.
        """
        return [] if self.plug is None else self.plug(model, x, target, index, member=member)

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss (a scalar with gradient) and logits (b, n_classes) of one training batch."""
        raise NotImplementedError(f"{type(self).__name__} is a subclass of Objective without a forward method")

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Before epoch number ``epoch`` (from 0); ``batches()`` walks the training set in order, un-augmented."""

    def after_step(self, model: Model) -> None:
        """After each optimizer step: weight averages live here."""

    def draw(self, index: Tensor, batch_size: int, pass_number: int) -> Iterable[Tensor] | None:
        """Row numbers of the batches of one pass over rows ``index``, where the method picks them itself; None is all
        rows in random order. Asked at the start of every pass.
        """
        return None

    def posterior(self, index: Tensor) -> tuple[Tensor, Tensor] | None:
        """What the memory believes of rows ``index``: class probabilities (b, n_classes) and, per row, whether the
        row was ever visited (b,); None for an objective without such a memory.
        """
        return None

    def quality(self, index: Tensor, *, member: int | None = None) -> Tensor | None:
        """Probability that the given labels of rows ``index`` are right (b,), where the method keeps one; else None."""
        return None


class ObjectiveWrapper(Objective):
    """An objective around an objective: forwards the hooks and the beliefs to ``inner``."""

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner = inner
        self.n_passes = inner.n_passes

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Forward to the inner objective."""
        self.inner.on_epoch_begin(epoch, model, batches)

    def after_step(self, model: Model) -> None:
        """Forward to the inner objective."""
        self.inner.after_step(model)

    def draw(self, index: Tensor, batch_size: int, pass_number: int) -> Iterable[Tensor] | None:
        """Forward to the inner objective."""
        return self.inner.draw(index, batch_size, pass_number)

    def posterior(self, index: Tensor) -> tuple[Tensor, Tensor] | None:
        """Forward to the inner objective."""
        return self.inner.posterior(index)

    def quality(self, index: Tensor, *, member: int | None = None) -> Tensor | None:
        """Forward to the inner objective."""
        return self.inner.quality(index, member=member)


def innermost(objective: Objective) -> Any:
    """The method's own objective, under whatever is wrapped around it."""
    while isinstance(objective, ObjectiveWrapper):
        objective = objective.inner
    return objective


class CrossEntropy(Objective):
    """Plain cross-entropy: the baseline every method is compared with, in the same loop.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.training.objective import Batch, CrossEntropy
    >>> y = torch.eye(2)
    >>> loss, logits = CrossEntropy()(torch.nn.Identity(), Batch(torch.zeros(2, 2), y, torch.arange(2), torch.ones(2)))
    >>> round(loss.item(), 4)
    0.6931
    """

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Weighted mean cross-entropy of one augmented view."""
        logits = model(self.view(batch.x))
        return weighted_mean(F.cross_entropy(logits, batch.y, reduction="none"), batch), logits


def weighted_mean(per_row_loss: Tensor, batch: Batch) -> Tensor:
    """Mean over the batch of weight times loss; the weights have mean one over the *fit*, not over the batch."""
    return (batch.weight * per_row_loss).mean()


class AtPrecision:
    """A module called under autocast that answers in float32.

    Objectives stay in float32 and need no island of their own: only the network's forward runs in ``dtype``.
    Anything else is asked of the module behind it.

    Parameters
    ----------
    module : nn.Module
    device_type : str
        "cpu" or "cuda".
    dtype : torch.dtype
        What autocast lowers to, bfloat16 as a rule.
    """

    def __init__(self, module: nn.Module, device_type: str, dtype: torch.dtype) -> None:
        self.module, self.device_type, self.dtype = module, device_type, dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Call the module under autocast."""
        with torch.autocast(self.device_type, self.dtype):
            return self.module(*args, **kwargs).float()

    def __getattr__(self, name: str) -> Any:
        if name in {"module", "device_type", "dtype"}:  # not there yet: unpickling
            raise AttributeError(name)
        return getattr(self.module, name)


def at_precision_of(model: Model, other: nn.Module) -> Model:
    """``other``, called at the precision ``model`` is called at: for a teacher beside a student."""
    return AtPrecision(other, model.device_type, model.dtype) if isinstance(model, AtPrecision) else other
