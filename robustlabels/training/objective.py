"""What training minimizes, and what it remembers about each row: tensors only.

An :class:`Objective` takes the place of skorch's criterion, so skorch moves its buffers and its own weights to the
device, optimizes the weights, and saves both in checkpoints and pickles. It never sees numpy, skorch or scikit-learn,
and it runs just as well in a plain torch loop::

    for index in torch.randperm(len(x)).split(128):
        batch = Batch(x[index], y[index], index, torch.ones(len(index)))
        loss, logits = objective(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(model)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Batch(NamedTuple):
    """One training batch.

    Attributes
    ----------
    x : Tensor of shape (b, ...)
        Inputs on the training device, not augmented.
    y : Tensor of shape (b, n_classes)
        Label distributions, whose rows sum to one. They are one-hot unless soft labels were given.
    index : Tensor of shape (b,), int64
        Row numbers in the arrays given to ``fit``, before any validation split.
    weight : Tensor of shape (b,)
        Sample weights, whose mean over all training rows is one.
    pass_number : int
        Which of the objective's passes over the rows this batch belongs to, from 0 to ``Objective.n_passes - 1``.
    """

    x: Tensor
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # It shadows tuple.index, which a batch has no use for.
    weight: Tensor
    pass_number: int = 0


Model = Callable[..., Tensor]
Augment = Callable[..., Tensor]
ViewSource = Callable[..., list[tuple[Tensor, Tensor]]]


class Objective(nn.Module):
    """Base class of all objectives.

    A subclass writes ``forward(model, batch) -> (loss, logits)``. It keeps what it remembers about each row in
    registered buffers whose first axis is n_samples, and addresses them by ``batch.index``; weights that it learns are
    its own parameters. It writes to its memory in training mode only.

    Parameters
    ----------
    augment : callable or None, default=None
        A function ``augment(x, generator=None) -> x`` of a batch tensor, which :meth:`view` applies in training mode.
    """

    n_passes: int = 1
    """Number of passes over the rows in one epoch; 2 for methods that train two networks one after the other."""

    pools_views: bool = False
    """Whether ``forward`` itself asks a wrapper for its views, by calling :meth:`more_views`. Otherwise the wrapper
    calls ``forward`` on its views in eval mode, where an objective neither augments nor writes to its memory."""

    corrects_labels: bool = False
    """Whether the method itself keeps the network from learning labels that it considers wrong. A wrapper then
    intervenes less."""

    view_source: ViewSource | None = None
    """The method of a wrapper that makes views; a wrapper sets it on the innermost objective."""

    view_log: list[Tensor] | None = None
    """Views made by :meth:`view`, where a wrapper records them."""

    def __init__(self, augment: Augment | None = None) -> None:
        super().__init__()
        self.augment = augment

    def view(self, x: Tensor) -> Tensor:
        """Return one random view of a batch: augmented in training mode, unchanged otherwise."""
        view = self.augment(x) if self.training and self.augment is not None else x
        if self.view_log is not None:
            self.view_log.append(view)
        return view

    def more_views(
        self, model: Model, x: Tensor, target: Tensor, index: Tensor, *, member: int | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the views that a wrapper adds to a batch, each with its own targets; [] without a wrapper.

        Objectives with ``pools_views`` call this once their targets are made.

        Parameters
        ----------
        model : callable
            The network.
        x : Tensor of shape (b, ...)
            The view of the rows that the network is trained on.
        target : Tensor of shape (b, n_classes)
            Their targets.
        index : Tensor of shape (b,), int64
            Their row numbers.
        member : int, default=None
            The network that is being trained, where there are two.

        Returns
        -------
        list of (Tensor of shape (b, ...), Tensor of shape (b, n_classes))
        """
        return [] if self.view_source is None else self.view_source(model, x, target, index, member=member)

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss (a scalar with gradient) and the logits (b, n_classes) of one training batch."""
        raise NotImplementedError(
            f"{type(self).__name__} is a subclass of Objective without a forward method; "
            "define forward(self, model, batch), which returns the loss and the logits."
        )

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Run before epoch number ``epoch`` (from 0); ``batches()`` iterates over all rows in order, not augmented."""

    def after_step(self, model: Model) -> None:
        """Run after each optimizer step, for instance to update weight averages."""

    def draw(self, index: Tensor, batch_size: int, pass_number: int) -> Iterable[Tensor] | None:
        """Return the row numbers of each batch of one pass over rows ``index``; None takes all rows in random order.

        The loop calls this at the start of every pass.
        """
        return None

    def posterior(self, index: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return class probabilities of rows ``index`` from the memory; None for an objective without such a memory.

        Parameters
        ----------
        index : Tensor of shape (b,), int64
            Row numbers.

        Returns
        -------
        proba : Tensor of shape (b, n_classes)
            Class probabilities.
        visited : Tensor of shape (b,), bool
            Whether the row was ever seen in training. Probabilities of other rows mean nothing.
        """
        return None

    def quality(self, index: Tensor, *, member: int | None = None) -> Tensor | None:
        """Return the probability (b,) that the labels of rows ``index`` are right; None if the method estimates none.

        With two networks, ``member`` names the one that is being trained.
        """
        return None


class ObjectiveWrapper(Objective):
    """An objective around another one, ``inner``, to which it forwards all hooks and questions about rows."""

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
    """Return the method's own objective, without the wrappers around it."""
    while isinstance(objective, ObjectiveWrapper):
        objective = objective.inner
    return objective


class HostStateMixin:
    """Save counters that are kept as Python numbers, where reading them never waits for the device.

    PyTorch saves buffers and parameters by itself. A module with counters that checkpoints must hold too inherits from
    this class first and lists the names of these attributes in ``host_state``. Values may be numbers, strings, None and
    lists of them, which ``torch.load(..., weights_only=True)`` accepts.

    Examples
    --------
    >>> from torch import nn
    >>> from robustlabels.training.objective import HostStateMixin
    >>> class Counter(HostStateMixin, nn.Module):
    ...     host_state = ("n_steps",)
    ...     n_steps = 0
    >>> counter, resumed = Counter(), Counter()
    >>> counter.n_steps = 3
    >>> _ = resumed.load_state_dict(counter.state_dict())
    >>> resumed.n_steps
    3
    """

    host_state: ClassVar[tuple[str, ...]] = ()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the values of the attributes that ``host_state`` lists."""
        # Copies, so that a state_dict in memory does not change while the training continues.
        return {name: copy.copy(getattr(self, name)) for name in self.host_state}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Set the attributes that ``host_state`` lists."""
        for name in self.host_state:
            setattr(self, name, copy.copy(state[name]))


class CrossEntropy(Objective):
    """Plain cross-entropy: the baseline that every method is compared with, in the same loop.

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
        """Return the weighted mean cross-entropy of one augmented view, and its logits."""
        logits = model(self.view(batch.x))
        return weighted_mean(F.cross_entropy(logits, batch.y, reduction="none"), batch), logits


def weighted_mean(per_row_loss: Tensor, batch: Batch) -> Tensor:
    """Return the mean over the batch of weight times loss.

    The sum is not divided by the batch's own weights: they have mean one over all training rows, so dividing would give
    a row more weight in a batch of light rows than in a batch of heavy ones.
    """
    return (batch.weight * per_row_loss).mean()


class AtPrecision:
    """A module whose forward runs under autocast and returns float32.

    Only the network is lowered, so objectives compute in float32 without disabling autocast themselves. All other
    attributes are the module's.

    Parameters
    ----------
    module : nn.Module
        The network.
    device_type : str
        "cpu" or "cuda".
    dtype : torch.dtype
        What autocast lowers to, usually bfloat16.
    """

    def __init__(self, module: nn.Module, device_type: str, dtype: torch.dtype) -> None:
        self.module, self.device_type, self.dtype = module, device_type, dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Call the module under autocast."""
        with torch.autocast(self.device_type, self.dtype):
            return self.module(*args, **kwargs).float()

    def __getattr__(self, name: str) -> Any:
        # Unpickling looks up names before __init__ has set these three; without the guard it recurses forever.
        if name in {"module", "device_type", "dtype"}:
            raise AttributeError(name)
        return getattr(self.module, name)


def at_precision_of(model: Model, other: nn.Module) -> Model:
    """Return ``other`` called at the precision of ``model``, for instance a teacher beside its student."""
    return AtPrecision(other, model.device_type, model.dtype) if isinstance(model, AtPrecision) else other
