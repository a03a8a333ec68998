"""What training said of every given label, epoch by epoch: for learning curves and data maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustlabels.base import BaseNoisyLabelClassifier, Wrap, identity
from robustlabels.net import Rows
from robustlabels.objective import Batch, Model, Objective, ObjectiveWrapper

__all__ = ["RowHistory", "fit_recorded"]

Classifier = TypeVar("Classifier", bound=BaseNoisyLabelClassifier)


class RowHistory(ObjectiveWrapper):
    """Remembers, for every epoch, the probability that the network gave each row's label while it trained.

    Two bytes a row and epoch, in host memory. The logits are those of the training step, of an augmented or mixed view
    where the method trains on one: nothing is computed twice and the training is not changed.

    Parameters
    ----------
    inner : Objective
        What is trained.
    y : Tensor of shape (n_samples,), int64
        Given labels.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.objective import Batch, CrossEntropy
    >>> history = RowHistory(CrossEntropy(), torch.tensor([0, 1]))
    >>> x = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> for epoch in range(3):
    ...     history.on_epoch_begin(epoch, torch.nn.Identity(), list)
    ...     _ = history(torch.nn.Identity(), Batch(x, torch.eye(2), torch.arange(2), torch.ones(2)))
    >>> history.proba().shape, round(history.proba()[0, 0].item(), 2)
    (torch.Size([3, 2]), 0.88)
    """

    y: Tensor
    total: Tensor
    visits: Tensor

    def __init__(self, inner: Objective, y: Tensor) -> None:
        super().__init__(inner)
        self.epochs: list[Tensor] = []
        self.register_buffer("y", y.clone())
        self.register_buffer("total", torch.zeros(len(y), device=y.device))
        self.register_buffer("visits", torch.zeros(len(y), device=y.device))

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Close the last epoch; forward to the inner objective."""
        self.epochs += self._open()
        self.total.zero_()
        self.visits.zero_()
        super().on_epoch_begin(epoch, model, batches)

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Forward to the inner objective, and record its logits in training mode."""
        loss, logits = self.inner(model, batch)
        if self.training:
            self.record(batch.index, logits.detach().float())
        return loss, logits

    @torch.no_grad()
    def record(self, index: Tensor, logits: Tensor) -> None:
        """Add one visit of rows ``index`` (b,) with ``logits`` (b, n_classes)."""
        p = F.softmax(logits, dim=1).gather(1, self.y.index_select(0, index)[:, None])[:, 0]
        self.total.index_add_(0, index, p)
        self.visits.index_add_(0, index, torch.ones_like(p))

    def proba(self) -> Tensor:
        """Mean over the visits of each epoch, NaN for rows that were not visited, (n_epochs, n_samples), float16."""
        epochs = [*self.epochs, *self._open()]
        return torch.stack(epochs) if epochs else torch.empty(0, len(self.y), dtype=torch.float16)

    def _open(self) -> list[Tensor]:
        """The epoch that is not closed yet, if it has begun."""
        return [(self.total / self.visits).to("cpu", torch.float16)] if self.visits.any() else []

    def get_extra_state(self) -> Tensor:
        """The closed epochs: how many there are is part of the state. The open one is in the buffers."""
        return torch.stack(self.epochs) if self.epochs else torch.empty(0, len(self.y), dtype=torch.float16)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the closed epochs of a checkpoint."""
        self.epochs = list(state)


def fit_recorded(
    classifier: Classifier, X: Any, y: Any, sample_weight: Any = None, soft_labels: Any = None, *, wrap: Wrap = identity
) -> Classifier:
    """Fit a classifier, and keep what training said of every given label in every epoch.

    The result is that of ``classifier.fit(X, y)``. ``classifier.net_`` has one more attribute: ``proba_history_``, an
    array of shape (n_epochs, n_samples) with the probability of each row's label, NaN where a row was not trained on.
    Learning curves and data maps are drawn from it. Of a method with several stages, the first is recorded.

    Parameters
    ----------
    classifier : classifier of this package
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples,)
    sample_weight, soft_labels : array-like or None, default=None
        For classifiers whose ``fit`` takes them.
    wrap : callable, default=identity
        A plug of one's own around the objective, ``wrap(objective, module, rows)``.

    Returns
    -------
    classifier
        The same, fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import ELRClassifier, fit_recorded
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = fit_recorded(ELRClassifier(max_epochs=5, random_state=0), X, y)
    >>> clf.net_.proba_history_.shape
    (5, 150)
    """
    if not isinstance(classifier, BaseNoisyLabelClassifier):
        raise TypeError(
            f"fit_recorded takes a classifier of this package that trains a network itself, got "
            f"{type(classifier).__name__}."
        )
    recorder = _Recorder(wrap)
    try:
        classifier._fit(X, y, sample_weight, soft_labels, wrap=recorder)
    except KeyboardInterrupt:  # fitted as of the last finished epoch, if there is one
        if hasattr(classifier, "net_"):
            recorder.hand_over(classifier.net_)
        raise
    recorder.hand_over(classifier.net_)
    return classifier


class _Recorder:
    """Hold on the objective that trains the network, around another plug's."""

    def __init__(self, wrap: Wrap) -> None:
        self.wrap = wrap
        self.identity = {**getattr(wrap, "identity", {}), "recording": "probability of the given label"}
        self.history: RowHistory | None = None

    def __call__(self, objective: Objective, module: nn.Module, rows: Rows) -> Objective:
        self.history = RowHistory(self.wrap(objective, module, rows), rows.y)
        return self.history

    def hand_over(self, net: Any) -> None:
        """Leave the record with the net, and the net as it would be without."""
        if self.history is None:
            return
        net.proba_history_ = self.history.proba().numpy()
        if net.criterion_ is self.history:
            net.criterion = net.criterion_ = self.history.inner
