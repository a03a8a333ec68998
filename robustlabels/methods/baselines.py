"""The baselines every method is compared with, in the same loop: cross-entropy, GCE, SCE, Co-teaching."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from robustlabels.maths.functional import (
    clean_probability,
    generalized_cross_entropy,
    soft_cross_entropy,
    symmetric_cross_entropy,
)
from robustlabels.modules import Twin
from robustlabels.training.base import RowLossClassifier, RowSelectionClassifier
from robustlabels.training.objective import (
    Augment,
    Batch,
    CrossEntropy,
    HostStateMixin,
    Model,
    Objective,
    innermost,
    weighted_mean,
)
from robustlabels.training.parameters import Interval
from robustlabels.training.rows import Rows


class CrossEntropyClassifier(RowLossClassifier):
    """Plain cross-entropy, the baseline.

    Given time, a network trained this way memorizes wrong labels. It runs in the same loop as every other method, so a
    comparison changes one word.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.

    Attributes
    ----------
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, from the final model: after memorization these know little.

    See Also
    --------
    ELRClassifier : Early-learning regularization, a good first method.
    GCEClassifier : A loss between cross-entropy and mean absolute error.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import CrossEntropyClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> CrossEntropyClassifier(random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    def __init__(self, module: Any = "auto", **params: Any) -> None:
        super().__init__(module, **params)

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        return CrossEntropy(self._make_augment(rows))


# --- generalized cross-entropy ----------------------------------------------------------------------------------------


class GeneralizedCrossEntropy(Objective):
    """Weighted mean of :func:`~robustlabels.maths.functional.generalized_cross_entropy`."""

    def __init__(self, q: float, augment: Augment | None = None) -> None:
        super().__init__(augment)
        self.q = q

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """One batch."""
        logits = model(self.view(batch.x))
        return weighted_mean(generalized_cross_entropy(logits, batch.y, self.q), batch), logits


class GCEClassifier(RowLossClassifier):
    """Generalized cross-entropy: a loss between cross-entropy and mean absolute error.

    Its gradient gives rows with a small probability of the given label less weight than cross-entropy does, and these
    are often the mislabeled rows.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network.
    q : float, default=0.7
        In (0, 1]: towards 0 cross-entropy, 1 is mean absolute error.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.

    Attributes
    ----------
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, from the final model.

    See Also
    --------
    SCEClassifier : Cross-entropy plus its reverse.
    CrossEntropyClassifier : The baseline that every method has to beat.

    Notes
    -----
    The paper's truncated variant with its alternating search is left out.

    References
    ----------
    Zhang, Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", NeurIPS 2018,
    arXiv 1805.07836, eq. 6.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import GCEClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> GCEClassifier(random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "q": [Interval(Real, 0, 1, closed="right")],
    }

    def __init__(self, module: Any = "auto", *, q: float = 0.7, **params: Any) -> None:
        super().__init__(module, **params)
        self.q = q

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        return GeneralizedCrossEntropy(self.q, self._make_augment(rows))


# --- symmetric cross-entropy ------------------------------------------------------------------------------------------


class SymmetricCrossEntropy(Objective):
    """alpha times cross-entropy plus beta times its reverse."""

    def __init__(self, alpha: float, beta: float, log_zero: float, augment: Augment | None = None) -> None:
        super().__init__(augment)
        self.alpha, self.beta, self.log_zero = alpha, beta, log_zero

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """One batch."""
        logits = model(self.view(batch.x))
        loss = symmetric_cross_entropy(logits, batch.y, self.alpha, self.beta, self.log_zero)
        return weighted_mean(loss, batch), logits


class SCEClassifier(RowLossClassifier):
    """Symmetric cross-entropy: cross-entropy plus its reverse.

    The reverse term is bounded and therefore robust; cross-entropy itself makes the network learn.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network.
    alpha : float, default=0.1
        Weight of cross-entropy (the paper's CIFAR-10; 6 for CIFAR-100).
    beta : float, default=1.0
        Weight of reverse cross-entropy.
    log_zero : float, default=-4.0
        What stands for log 0 (the paper's A; the authors' code clamps labels at 1e-4 instead, which is -9.2).
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.

    Attributes
    ----------
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, from the final model.

    See Also
    --------
    GCEClassifier : A loss between cross-entropy and mean absolute error.
    CrossEntropyClassifier : The baseline that every method has to beat.

    References
    ----------
    Wang, Ma, Chen, Luo, Yi, Bailey, "Symmetric Cross Entropy for Robust Learning with Noisy Labels", ICCV 2019,
    arXiv 1908.06112, eq. 5-7.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import SCEClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> SCEClassifier(random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "log_zero": [Interval(Real, None, 0, closed="neither")],
    }

    def __init__(
        self, module: Any = "auto", *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0, **params: Any
    ) -> None:
        super().__init__(module, **params)
        self.alpha = alpha
        self.beta = beta
        self.log_zero = log_zero

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        return SymmetricCrossEntropy(self.alpha, self.beta, self.log_zero, self._make_augment(rows))


# --- co-teaching ------------------------------------------------------------------------------------------------------


def remember_rate(epoch: int, noise_rate: float, start: int, length: int, exponent: float = 1.0) -> float:
    """Share of each batch that is kept in ``epoch``: R(T) = 1 - tau min(T^c / T_k, 1), counted from ``start``.

    Examples
    --------
    >>> [round(remember_rate(epoch, 0.4, start=2, length=4), 2) for epoch in (0, 2, 4, 6, 9)]
    [1.0, 1.0, 0.8, 0.6, 0.6]
    """
    return 1 - noise_rate * min(max(epoch - start, 0) ** exponent / max(length, 1), 1.0)


class CoTeaching(HostStateMixin, Objective):
    """Two networks on one batch, each trained on the rows that look easiest to the *other*, and on a plug's views of
    these rows.

    Parameters
    ----------
    noise_rate : float or None
        None estimates it once, at the start of the forgetting, from a two-component mixture on the losses.
    start, length : int
        Epoch in which forgetting starts, and epochs until it reaches the noise rate.
    exponent : float
    augment : callable or None
    """

    host_state = ("noise_rate",)

    pools_views = True

    def __init__(
        self, noise_rate: float | None, *, start: int, length: int, exponent: float, augment: Augment | None = None
    ) -> None:
        super().__init__(augment)
        self.noise_rate = noise_rate
        self.start, self.length, self.exponent = start, length, exponent
        self.keep = 1.0

    def on_epoch_begin(self, epoch: int, model: Model, batches: Callable[[], Iterable[Batch]]) -> None:
        """Estimate the noise rate when it is first needed, and set the share that is kept."""
        if self.noise_rate is None and epoch >= self.start:
            self.noise_rate = self._estimate(model, batches())
        self.keep = remember_rate(epoch, self.noise_rate or 0.0, self.start, self.length, self.exponent)

    @torch.no_grad()
    def _estimate(self, model: Any, batches: Iterable[Batch]) -> float:
        model.eval()
        losses = torch.cat([soft_cross_entropy(model(batch.x), batch.y) for batch in batches])
        model.train()
        return 1 - clean_probability(losses).mean().item()

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """One batch: the k smallest losses of either network choose the rows of the other."""
        x = self.view(batch.x)
        k = max(1, int(self.keep * len(x)))
        logits = [model(x, member=0), model(x, member=1)]
        losses = [soft_cross_entropy(z, batch.y) for z in logits]  # (b,) each
        easy = [loss.detach().topk(k, largest=False).indices for loss in losses]
        first, second = (self._taught(model, batch, x, losses[m], easy[1 - m], m) for m in (0, 1))
        return first + second, (logits[0] + logits[1]) / 2

    def _taught(self, model: Model, batch: Batch, x: Tensor, loss: Tensor, rows: Tensor, member: int) -> Tensor:
        """Mean loss of one network over the rows its peer chose, in all views there are of them."""
        more = self.more_views(model, x, batch.y, batch.index, member=member)
        if not more:
            return loss[rows].mean()
        views, targets = (torch.cat([part[rows] for part in parts]) for parts in zip(*more, strict=True))
        return torch.cat([loss[rows], soft_cross_entropy(model(views, member=member), targets)]).mean()


class CoTeachingClassifier(RowSelectionClassifier):
    """Co-teaching: two networks that select each other's rows of small loss.

    Each network is trained on the rows that the other one finds easy. The share of rows that are left out grows to the
    noise rate over the first epochs.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network; two are made.
    noise_rate : float or None, default=None
        Share of wrong labels, the paper's tau. None estimates it at the start of the forgetting from a two-component
        mixture on the losses.
    warmup : float, default=0.1
        Fraction of the epochs before forgetting starts (the paper starts at once).
    forget_rampup : float, default=0.05
        Fraction of the epochs over which the share of forgotten rows grows to the noise rate (the paper: 10 of 200).
    exponent : float, default=1.0
        Of that growth.

    Attributes
    ----------
    noise_scores_, noise_mask_, suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, from the mean of both final networks' logits.
    noise_rate_ : float
        The given or estimated tau.

    See Also
    --------
    DivideMixClassifier : Two networks that also learn from the other rows, without their labels.
    CrossEntropyClassifier : The baseline that every method has to beat.

    Notes
    -----
    Rows are chosen by count, so there are no sample weights. Both networks see the same batches, as in the authors'
    code, and predict together.

    References
    ----------
    Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, "Co-teaching: Robust Training of Deep Neural Networks with Extremely
    Noisy Labels", NeurIPS 2018, arXiv 1804.06872, Algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import CoTeachingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> CoTeachingClassifier(max_epochs=20, random_state=0).fit(X, y).predict(X).shape
    (150,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "noise_rate": [Interval(Real, 0, 1, closed="left"), None],
        "warmup": [Interval(Real, 0, 1, closed="both")],
        "forget_rampup": [Interval(Real, 0, 1, closed="both")],
        "exponent": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        noise_rate: float | None = None,
        warmup: float = 0.1,
        forget_rampup: float = 0.05,
        exponent: float = 1.0,
        **params: Any,
    ) -> None:
        super().__init__(module, **params)
        self.noise_rate = noise_rate
        self.warmup = warmup
        self.forget_rampup = forget_rampup
        self.exponent = exponent

    def _make_module(self, rows: Rows) -> nn.Module:
        return Twin(super()._make_module(rows), super()._make_module(rows))

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        _, epochs = self._plan(len(rows))
        return CoTeaching(
            self.noise_rate,
            start=round(self.warmup * epochs),
            length=round(self.forget_rampup * epochs),
            exponent=self.exponent,
            augment=self._make_augment(rows),
        )

    def _describe(self, rows: Rows) -> None:
        super()._describe(rows)
        self.noise_rate_ = float(innermost(self.net_.criterion_).noise_rate or 0.0)
