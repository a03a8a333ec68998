"""What training said of every row: records around any objective, and fits that keep one.

A wrong label is fitted late or not at all, so what was said of it *during* training tells more than what is said at the
end, when it has been learned by heart. A record is an objective around the objective that trains the network: the
logits are those of the training steps, so nothing is computed twice and the training is not changed.
:class:`~robustlabels.training.dynamics.Dynamics` adds up what was said, for detectors;
:class:`~robustlabels.training.dynamics.RowHistory` keeps it epoch by epoch, for learning curves and data maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustlabels.training.base import BaseNoisyLabelClassifier, Wrap, identity
from robustlabels.training.inputs import take_rows
from robustlabels.training.objective import Batch, HostStateMixin, Model, Objective, ObjectiveWrapper
from robustlabels.training.rows import Rows

__all__ = ["Dynamics", "Recorder", "RowHistory", "Watch", "fit_recorded", "fit_watched", "margin"]

EARLY = 0.12
"""Share of the epochs, the first ones, in which a network has not yet learned single labels."""


# --- records ----------------------------------------------------------------------------------------------------------


class Recorder(ObjectiveWrapper):
    """Base of records: an objective around another that is told, in training mode, what the network said of each row.

    Works around every objective whose logits are those of the batch's rows: of one view in training mode, augmented or
    mixed where the method trains on such, and of one network a turn where there are two. A subclass writes
    ``record(index, logits)``; what it keeps are buffers whose first axis is the rows.

    Parameters
    ----------
    inner : Objective
        What is trained; untouched by this.
    y : Tensor of shape (n_samples,), int64
        Given labels.

    Examples
    --------
    How sure the network was when it saw each row last:

    >>> import torch
    >>> from robustlabels.training.dynamics import Recorder
    >>> from robustlabels.training.objective import Batch, CrossEntropy
    >>> class LastSeen(Recorder):
    ...     def __init__(self, inner, y):
    ...         super().__init__(inner, y)
    ...         self.register_buffer("sure", torch.zeros(len(y)))
    ...     def record(self, index, logits):
    ...         self.sure[index] = logits.softmax(1).amax(1)
    >>> last = LastSeen(CrossEntropy(), torch.tensor([0, 1]))
    >>> _ = last(torch.nn.Identity(), Batch(torch.zeros(2, 2), torch.eye(2), torch.arange(2), torch.ones(2)))
    >>> last.sure
    tensor([0.5000, 0.5000])
    """

    y: Tensor

    def __init__(self, inner: Objective, y: Tensor) -> None:
        super().__init__(inner)
        self.register_buffer("y", y.clone())

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Forward to the inner objective, and record its logits in training mode."""
        loss, logits = self.inner(model, batch)
        if self.training:
            with torch.no_grad():
                self.record(batch.index, logits.detach().float())
        return loss, logits

    def record(self, index: Tensor, logits: Tensor) -> None:
        """Add one visit of rows ``index`` (b,) with ``logits`` (b, n_classes)."""
        raise NotImplementedError(f"{type(self).__name__} is a subclass of Recorder without a record method")


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
    >>> from robustlabels.training.dynamics import margin
    >>> margin(torch.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]]), torch.tensor([0, 2]))
    tensor([ 2., -3.])
    """
    given = logits.gather(1, y[:, None])
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return given[:, 0] - other


class Dynamics(HostStateMixin, Recorder):
    """Training dynamics of every row: sums over its visits of what the network said.

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
        Sums of the cross-entropy with the given label, and of its :func:`~robustlabels.training.dynamics.margin`.
    visits, forgotten : Tensor of shape (n_samples,)
        How often the row was seen, and how often it was predicted wrongly right after it had been predicted rightly
        (Toneva et al. 2019).
    right, learned : Tensor of shape (n_samples,), bool
        Whether the last prediction was the given label, and whether any was.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.training.dynamics import Dynamics
    >>> from robustlabels.training.objective import Batch, CrossEntropy
    >>> y = torch.tensor([0, 1])
    >>> dynamics = Dynamics(CrossEntropy(), y, 2)
    >>> x = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> _ = dynamics(torch.nn.Identity(), Batch(x, torch.eye(2), torch.arange(2), torch.ones(2)))
    >>> dynamics.mean("margin")
    tensor([ 2., -2.])
    """

    host_state = ("epoch",)

    proba: Tensor
    early: Tensor
    loss: Tensor
    margin: Tensor
    visits: Tensor
    forgotten: Tensor
    right: Tensor
    learned: Tensor

    def __init__(self, inner: Objective, y: Tensor, n_classes: int, *, early_epochs: int = 0) -> None:
        super().__init__(inner, y)
        n = len(y)
        self.early_epochs, self.epoch = early_epochs, 0
        self.register_buffer("early", torch.zeros(n if early_epochs else 0, n_classes, device=y.device))
        self.register_buffer("proba", torch.zeros(n, n_classes, device=y.device))
        for name in ("loss", "margin", "visits", "forgotten"):
            self.register_buffer(name, torch.zeros(n, device=y.device))
        for name in ("right", "learned"):
            self.register_buffer(name, torch.zeros(n, dtype=torch.bool, device=y.device))

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Remember the epoch; forward to the inner objective."""
        self.epoch = epoch
        super().on_epoch_begin(epoch, model, batches)

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


class RowHistory(Recorder):
    """Remembers, for every epoch, the probability that the network gave each row's label while it trained.

    Two bytes a row and epoch, in host memory.

    Parameters
    ----------
    inner : Objective
        What is trained; untouched by this.
    y : Tensor of shape (n_samples,), int64
        Given labels.

    Attributes
    ----------
    epochs : list of Tensor of shape (n_samples,), float16
        The closed ones.
    total, visits : Tensor of shape (n_samples,)
        Of the open one: sum of the probabilities, and how often the row was seen.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.training.dynamics import RowHistory
    >>> from robustlabels.training.objective import Batch, CrossEntropy
    >>> history = RowHistory(CrossEntropy(), torch.tensor([0, 1]))
    >>> x = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> for epoch in range(3):
    ...     history.on_epoch_begin(epoch, torch.nn.Identity(), list)
    ...     _ = history(torch.nn.Identity(), Batch(x, torch.eye(2), torch.arange(2), torch.ones(2)))
    >>> history.proba().shape, round(history.proba()[0, 0].item(), 2)
    (torch.Size([3, 2]), 0.88)
    """

    total: Tensor
    visits: Tensor

    def __init__(self, inner: Objective, y: Tensor) -> None:
        super().__init__(inner, y)
        self.epochs: list[Tensor] = []
        self.register_buffer("total", torch.zeros(len(y), device=y.device))
        self.register_buffer("visits", torch.zeros(len(y), device=y.device))

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Close the last epoch; forward to the inner objective."""
        self.epochs += self._open()
        self.total.zero_()
        self.visits.zero_()
        super().on_epoch_begin(epoch, model, batches)

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


# --- fits that keep one -----------------------------------------------------------------------------------------------

Record = TypeVar("Record", bound=Recorder)
Classifier = TypeVar("Classifier", bound=BaseNoisyLabelClassifier)


class Watch(Generic[Record]):
    """A plug that holds a record around the objective of one fit, and takes it off afterwards.

    Of a method with several stages, the first is recorded.

    Parameters
    ----------
    make : callable
        ``make(objective, rows)`` returns the :class:`~robustlabels.training.dynamics.Recorder` to train with, which may
        be around another; ``rows`` are the :class:`~robustlabels.training.rows.Rows` of the fit.
    recording : str
        What is recorded, in words: a checkpoint is gone on from only where this is the same.
    wrap : callable, default=identity
        Another plug, ``wrap(objective, module, rows)``, which goes inside.

    Attributes
    ----------
    record : Recorder or None
        None before the training.
    net : RobustNet or None
        The one that was fitted, with the objective it would have without a record; None where no epoch was finished.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import ELRClassifier
    >>> from robustlabels.training.dynamics import Dynamics, Watch
    >>> X, y = load_iris(return_X_y=True)
    >>> watch = Watch(lambda objective, rows: Dynamics(objective, rows.y, rows.n_classes), "training dynamics")
    >>> watch.fit(ELRClassifier(max_epochs=5, random_state=0), X, y)
    >>> watch.record.visits.unique()
    tensor([5.])
    """

    def __init__(self, make: Callable[[Objective, Rows], Record], recording: str, wrap: Wrap = identity) -> None:
        self.make, self.wrap = make, wrap
        self.identity = {**getattr(wrap, "identity", {}), "recording": recording}
        self.record: Record | None = None
        self.net: Any = None

    def __call__(self, objective: Objective, module: nn.Module, rows: Rows) -> Objective:
        """Put the record around the objective."""
        self.record = self.make(self.wrap(objective, module, rows), rows)
        return self.record

    def fit(
        self, classifier: BaseNoisyLabelClassifier, X: Any, y: Any, sample_weight: Any = None, soft_labels: Any = None
    ) -> None:
        """Fit a classifier; after an interruption ``net`` is as of the last finished epoch.

        Parameters
        ----------
        classifier : classifier of this package
            One that trains a network itself.
        X : array-like of shape (n_samples, ...)
        y : array-like of shape (n_samples,)
        sample_weight, soft_labels : array-like or None, default=None
            For classifiers whose ``fit`` takes them.
        """
        before = getattr(classifier, "net_", None)
        try:
            classifier._fit(X, y, sample_weight, soft_labels, wrap=self)
        finally:
            net = getattr(classifier, "net_", None)
            if net is not before and self.record is not None:
                self._take_off(net)

    def _take_off(self, net: Any) -> None:
        assert self.record is not None  # a net was trained with it
        self.net = net
        if net.criterion_ is self.record:
            objective: Objective = self.record
            while isinstance(objective, Recorder):
                objective = objective.inner
            net.criterion = net.criterion_ = objective


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
        It is fitted in place.
    X : array-like of shape (n_samples, ...)
        As in its ``fit``.
    y : array-like of shape (n_samples,)
        As in its ``fit``.
    sample_weight, soft_labels : array-like or None, default=None
        For classifiers whose ``fit`` takes them.
    wrap : callable, default=identity
        A wrapper to put around the objective, ``wrap(objective, module, rows)``.

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
    watch = Watch(lambda objective, rows: RowHistory(objective, rows.y), "probability of the given label", wrap)
    try:
        watch.fit(classifier, X, y, sample_weight, soft_labels)
    finally:  # after an interruption too
        if watch.net is not None and watch.record is not None:
            watch.net.proba_history_ = watch.record.proba().numpy()
    return classifier


def fit_watched(classifier: BaseNoisyLabelClassifier, X: Any, y: Any) -> Dynamics:
    """Fit a classifier, and return its training dynamics, with its final answers for rows it never trained on.

    The network has what :func:`~robustlabels.fit_recorded` leaves with it, too.

    Parameters
    ----------
    classifier : classifier of this package
        One that trains a network itself.
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples,)

    Returns
    -------
    Dynamics
        Early are the first 12 % of the epochs.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import ELRClassifier
    >>> from robustlabels.training.dynamics import fit_watched
    >>> X, y = load_iris(return_X_y=True)
    >>> fit_watched(ELRClassifier(max_epochs=5, random_state=0), X, y).mean("proba").shape
    torch.Size([150, 3])
    """

    def make(objective: Objective, rows: Rows) -> Dynamics:
        _, epochs = classifier._plan(len(rows))
        history = RowHistory(objective, rows.y)
        return Dynamics(history, rows.y, rows.n_classes, early_epochs=max(1, round(EARLY * epochs)))

    watch = Watch(make, "training dynamics")
    watch.fit(classifier, X, y)
    dynamics = watch.record
    assert dynamics is not None  # the classifier is new and trained
    assert isinstance(dynamics.inner, RowHistory)
    watch.net.proba_history_ = dynamics.inner.proba().numpy()
    unseen = (dynamics.visits == 0).nonzero()[:, 0]
    if len(unseen):
        proba = torch.from_numpy(classifier.predict_proba(take_rows(X, unseen.cpu().numpy()))).to(unseen.device)
        dynamics.record(unseen, proba.clamp_min(1e-6).log())
        dynamics.early[unseen] = proba
    return dynamics
