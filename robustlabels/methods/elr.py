r"""Early-learning regularization (ELR) and ELR+.

Liu, Niles-Weed, Razavian, Fernandez-Granda, "Early-Learning Regularization Prevents Memorization of Noisy Labels",
NeurIPS 2020, arXiv 2007.00151. A network fits the right labels first and memorizes the wrong ones later, so its own
averaged predictions from the early phase know better than the labels on the mislabeled rows. Eq. 7 adds to the
cross-entropy a term that keeps the predictions p aligned with these averages t:

.. math:: L = \frac1n \sum_i -\log p_{i, y_i} + \lambda \log(1 - \langle p_i, t_i \rangle),
          \qquad t_i \leftarrow \beta t_i + (1 - \beta) p_i \text{ at every visit of row } i

Its gradient (Lemma 2) cancels the pull of a wrong label and keeps that of a clean row from vanishing.

Where the paper and the authors' code disagree, this follows the code, and a comment says so.
"""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustlabels.maths.functional import draw_mixup, mixup, sigmoid_rampup, soft_cross_entropy, update_average
from robustlabels.modules import Twin
from robustlabels.training.base import RowLossClassifier, Wrap, identity
from robustlabels.training.objective import (
    Augment,
    Batch,
    HostStateMixin,
    Model,
    Objective,
    at_precision_of,
    weighted_mean,
)
from robustlabels.training.parameters import Interval, PublishedSettingsMixin, StrOptions, settings_of
from robustlabels.training.rows import Rows

# --- the equation -----------------------------------------------------------------------------------------------------


def early_learning_regularizer(p: Tensor, target: Tensor) -> Tensor:
    """Per row, log(1 - <p, t>): eq. 7's second term.

    Parameters
    ----------
    p : Tensor of shape (b, n_classes)
        Clamped probabilities, with gradient; after clamping they need not sum to one.
    target : Tensor of shape (b, n_classes)
        Averaged past predictions, a constant.

    Returns
    -------
    regularizer : Tensor of shape (b,)
        At most about 0. Finite in float32: p is clamped below 1 and the target sums to at most 1.

    Examples
    --------
    >>> import torch
    >>> p, t = torch.tensor([[.7, .2, .1]]), torch.tensor([[.1, .8, .1]])
    >>> round(early_learning_regularizer(p, t).item(), 6)
    -0.274437
    """
    return torch.log(1 - (target * p).sum(1))


def clamped_softmax(logits: Tensor, eps: float) -> Tensor:
    """Softmax with every entry brought into [eps, 1 - eps]: the authors' code clamps, the paper does not."""
    return F.softmax(logits, dim=1).clamp(eps, 1 - eps)


def default_clamp(n_classes: int) -> float:
    """1e-4 as in the authors' code up to 100 classes; above, a hundredth of the uniform probability.

    Examples
    --------
    >>> default_clamp(10), default_clamp(1000)
    (0.0001, 1e-05)
    """
    return min(1e-4, 0.01 / n_classes)


# --- the memory -------------------------------------------------------------------------------------------------------


class TargetMemory(nn.Module):
    """One averaged prediction per training row.

    Zero at the start and not bias-corrected: after m visits a row sums to 1 - beta^m, which is the warm-up. Dividing it
    out makes the method collapse. A row visited twice in one batch keeps one of the two updates; batches here are drawn
    without replacement.

    Parameters
    ----------
    n_samples, n_classes : int
    beta : float
        Share of the past in an update.
    storage : {"device", "cpu", "memmap"}
        Beside the network, in host memory, or in an unnamed file that is mapped. The latter two fetch and store the
        rows of a batch every step.
    dtype : {"float32", "float16"}
        Of the storage; arithmetic is float32. bfloat16 would lose updates smaller than 2^-9 of a target: an average of
        the constant .9 at beta .99 ends at .586.
    top_m : int or None
        Keep the m largest entries of a row and treat the others as zero; exact for m >= n_classes.
    """

    def __init__(
        self,
        n_samples: int,
        n_classes: int,
        beta: float,
        *,
        storage: str = "device",
        dtype: str = "float32",
        top_m: int | None = None,
    ) -> None:
        super().__init__()
        self.n_samples, self.n_classes, self.beta = n_samples, n_classes, beta
        self.storage = storage
        m = n_classes if top_m is None else min(top_m, n_classes)
        self.sparse = m < n_classes
        n_rows = n_samples + 1  # updates that are not finite are written to an extra scratch row
        tables = {"values": _zeros(n_rows, m, getattr(torch, dtype), storage)}
        if self.sparse:
            tables["classes"] = _zeros(n_rows, m, torch.int32, storage)
        if storage == "device":
            for name, table in tables.items():
                self.register_buffer(name, table)
        else:
            self._host = tables  # a plain dict: Module.to() leaves it where it is

    def table(self, name: str) -> Tensor:
        """The stored "values" (n_samples, m) or "classes" (n_samples, m)."""
        return self._whole(name)[: self.n_samples]

    def read(self, index: Tensor) -> Tensor:
        """Targets of rows ``index``, (b, n_classes) in float32, on the index's device."""
        values = self._take("values", index).float()
        if not self.sparse:
            return values
        return values.new_zeros(len(index), self.n_classes).scatter_(1, self._take("classes", index).long(), values)

    @torch.no_grad()
    def update(self, index: Tensor, p: Tensor) -> Tensor:
        """Move the targets of rows ``index``: t <- beta t + (1 - beta) p. Where p is not finite they stay.

        Parameters
        ----------
        index : Tensor of shape (b,), int64
        p : Tensor of shape (b, n_classes)
            Probabilities: a row of a softmax is finite as a whole or not at all, so its first entry tells.

        Returns
        -------
        target : Tensor of shape (b, n_classes)
            After the update, not finite where p is not.
        """
        values = target = self.read(index).lerp_(p.float(), 1 - self.beta)
        place = torch.where(p[:, 0].isfinite(), index, self.n_samples)
        if self.sparse:
            values, classes = target.topk(self._whole("values").shape[1], dim=1)
            self._put("classes", place, classes)
            target = torch.zeros_like(target).scatter_(1, classes, values)
        self._put("values", place, values)
        return target

    def _whole(self, name: str) -> Tensor:
        return getattr(self, name) if self.storage == "device" else self._host[name]

    def _take(self, name: str, index: Tensor) -> Tensor:
        table = self._whole(name)
        return table.index_select(0, index.to(table.device)).to(index.device)

    def _put(self, name: str, index: Tensor, rows: Tensor) -> None:
        table = self._whole(name)
        table.index_copy_(0, index.to(table.device), rows.to(table.device, table.dtype))

    def get_extra_state(self) -> dict[str, Tensor]:
        """The tables that are not buffers, so that a checkpoint holds them too."""
        return {} if self.storage == "device" else self._host

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Fill these tables in place."""
        for name, table in state.items():
            self._host[name].copy_(table)


def _zeros(n: int, m: int, dtype: torch.dtype, storage: str) -> Tensor:
    if storage != "memmap":
        return torch.zeros(n, m, dtype=dtype)
    handle, path = tempfile.mkstemp(prefix="robustlabels-targets-")
    os.close(handle)
    table = torch.from_file(path, shared=True, size=n * m, dtype=dtype).view(n, m)  # grows the file, with zeros
    with suppress(PermissionError):  # the mapping outlives the name, except on Windows
        os.unlink(path)
    return table


# --- ELR --------------------------------------------------------------------------------------------------------------


class ELRObjective(Objective):
    """Cross-entropy plus lambda times the early-learning regularizer, in the order of the authors' code.

    Parameters
    ----------
    memory : TargetMemory
    lam : float
    clamp_eps : float
    augment : callable or None
    """

    corrects_labels = True

    def __init__(self, memory: TargetMemory, *, lam: float, clamp_eps: float, augment: Augment | None = None) -> None:
        super().__init__(augment)
        self.memory = memory
        self.lam, self.clamp_eps = lam, clamp_eps

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Eq. 7 on one batch; the target moves first, then enters the loss."""
        logits = model(self.view(batch.x))
        p = clamped_softmax(logits, self.clamp_eps)  # (b, n_classes)
        believed = p.detach() / p.detach().sum(1, keepdim=True)  # re-normalized for the memory only
        target = self.memory.update(batch.index, believed) if self.training else self.memory.read(batch.index)
        cross_entropy = weighted_mean(soft_cross_entropy(logits, batch.y), batch)
        return cross_entropy + self.lam * early_learning_regularizer(p, target).mean(), logits

    def posterior(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The targets, normalized."""
        return _normalized(self.memory.read(index))


def _normalized(target: Tensor) -> tuple[Tensor, Tensor]:
    mass = target.sum(1, keepdim=True)
    return target / mass.clamp_min(1e-12), mass[:, 0] > 0


class ELRClassifier(PublishedSettingsMixin, RowLossClassifier):
    """Early-learning regularization: the average of early predictions holds back wrong labels.

    One network, and one memory: for every training row a moving average of the predictions. A term of the loss keeps
    the network close to it, which cancels the gradient of a wrong label and keeps that of a right one.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network.
    lam : float or "auto", default="auto"
        Weight of the regularizer (the paper's lambda: 3 for CIFAR-10, 1 for its class-dependent noise, 7 for 100
        classes). It must exceed 1 to overrule a wrong label; 0 is plain cross-entropy. "auto": 5, but 1 where a class
        has less than half of its even share of the given labels, since 5 unlearns rare classes.
    beta : float, default=0.7
        Share of the past in a target. The paper takes 0.9 with lambda 1 for class-dependent noise on CIFAR-10, and 0.9
        with lambda 7 for 100 classes; on small data the default did better on both kinds of noise.
    clamp_eps : float or "auto", default="auto"
        Probabilities are clamped to [eps, 1 - eps] inside the regularizer. "auto": 1e-4, less above 100 classes.
    target_storage : {"device", "cpu", "memmap"}, default="device"
        Where the n x K targets lie.
    target_dtype : {"float32", "float16"}, default="float32"
        Their storage; bfloat16 is refused, it loses updates.
    target_top_m : int or None, default=None
        Keep only the m largest entries of a target: an approximation for thousands of classes.
    class_weight : dict, "balanced" or None, default=None
        Enters the cross-entropy term, as ``sample_weight`` does.

    Attributes
    ----------
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, read off the targets: a row is flagged where the target's largest entry is not the
        given label.
    lam_ : float
        The weight that was taken.
    soft_labels_ : ndarray of shape (n_samples, n_classes), float32
        The targets, each row summing to one: cleaned label distributions. Only where they are kept whole beside the
        network; ``net_.criterion_.memory.read(index)`` reads rows of the other storages.

    See Also
    --------
    ELRPlusClassifier : Two networks with weight-averaged teachers and mixup.
    SANMClassifier : Adversarial masking around this or any other classifier.
    CrossEntropyClassifier : The baseline that every method has to beat.

    Notes
    -----
    The targets start at zero and are not bias-corrected, the loss may go below zero, and lambda is constant without
    warm-up, all as in the authors' code. Ours: default lambda 5 or 1 (chosen on seeds not used for reporting), batch
    size and epochs from n, a cosine schedule. :meth:`from_paper` gives the published settings.

    References
    ----------
    Liu, Niles-Weed, Razavian, Fernandez-Granda (NeurIPS 2020), arXiv 2007.00151, eq. 7 and Lemma 2.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import ELRClassifier
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> noise = SymmetricNoise(0.4, random_state=0)
    >>> y_noisy = noise.flip(y)
    >>> clf = ELRClassifier(max_epochs=20, random_state=0).fit(X, y_noisy)
    >>> bool((clf.noise_mask_ == noise.flip_mask_).mean() > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "lam": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "beta": [Interval(Real, 0, 1, closed="left")],
        "clamp_eps": [Interval(Real, 0, 0.5, closed="left"), StrOptions({"auto"})],
        "target_storage": [StrOptions({"device", "cpu", "memmap"})],
        "target_dtype": [StrOptions({"float32", "float16"})],
        "target_top_m": [Interval(Integral, 1, None, closed="left"), None],
    }

    _published: ClassVar[dict[str, dict[str, Any]]] = {  # appendix, section 4, and the shipped configurations
        "cifar10-sym": {"lam": 3.0, "beta": 0.7, "max_epochs": 120, "lr_schedule": {40: 0.01, 80: 0.01}},
        "cifar10-sym-cosine": {"lam": 3.0, "beta": 0.7, "max_epochs": 150, "lr_schedule": "cosine_restarts"},
        "cifar10-asym": {"lam": 1.0, "beta": 0.9, "max_epochs": 120, "lr_schedule": {40: 0.01, 80: 0.01}},
        "cifar100": {"lam": 7.0, "beta": 0.9, "max_epochs": 150, "lr_schedule": {80: 0.01, 120: 0.01}},
    }
    _published_common: ClassVar[dict[str, Any]] = {
        "module": "resnet34",
        "batch_size": 128,
        "lr": 0.02,
        "augment": "standard",
        "optimizer__momentum": 0.9,
        "optimizer__weight_decay": 1e-3,
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        lam: float | str = "auto",
        beta: float = 0.7,
        clamp_eps: float | str = "auto",
        target_storage: str = "device",
        target_dtype: str = "float32",
        target_top_m: int | None = None,
        **params: Any,
    ) -> None:
        super().__init__(module, **params)
        self.lam = lam
        self.beta = beta
        self.clamp_eps = clamp_eps
        self.target_storage = target_storage
        self.target_dtype = target_dtype
        self.target_top_m = target_top_m

    def _check_parameters(self) -> None:
        if self.target_dtype == "bfloat16":
            raise ValueError(
                "target_dtype must be 'float32' or 'float16', got 'bfloat16'; bfloat16 has too few digits for a moving "
                "average and loses its updates."
            )
        super()._check_parameters()

    def _make_memory(self, rows: Rows) -> TargetMemory:
        return TargetMemory(
            len(rows.y),
            rows.n_classes,
            self.beta,
            storage=self.target_storage,
            dtype=self.target_dtype,
            top_m=self.target_top_m,
        )

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        return ELRObjective(
            self._make_memory(rows), lam=self.lam_, clamp_eps=self._eps(rows), augment=self._make_augment(rows)
        )

    def _train(self, rows: Rows, wrap: Wrap = identity) -> None:
        """Resolve ``lam="auto"`` from the class counts, except when a warm start continues."""
        if not (self.warm_start and hasattr(self, "net_")):
            counts = torch.bincount(rows.y[rows.index], minlength=rows.n_classes).tolist()
            self.lam_ = default_lam(counts) if self.lam == "auto" else float(self.lam)
        super()._train(rows, wrap)

    def _eps(self, rows: Rows) -> float:
        return default_clamp(rows.n_classes) if self.clamp_eps == "auto" else float(self.clamp_eps)

    def _describe(self, rows: Rows) -> None:
        super()._describe(rows)
        if self.target_storage == "device" and self.target_top_m is None:
            self.soft_labels_ = np.concatenate([proba for _, proba in self._posterior(rows)])


# --- ELR+ -------------------------------------------------------------------------------------------------------------


def refined(y: Tensor, target: Tensor) -> Tensor:
    """Labels times targets, re-normalized: the label refinement of the CIFAR-100 setting.

    A tiny constant keeps a row whose target vanishes on its labels from dividing by zero.
    """
    product = y * target
    return product / product.sum(1, keepdim=True).clamp_min(1e-12)


@dataclass(frozen=True)
class ELRPlusSettings:
    """Settings of :class:`ELRPlusObjective`, named as the parameters of :class:`ELRPlusClassifier`.

    Parameters
    ----------
    lam : float, default=3.0
        Weight of the regularizer.
    clamp_eps : float, default=1e-4
        Probabilities are clamped to [eps, 1 - eps] inside the regularizer.
    mixup_alpha : float, default=1.0
        Parameter of the Beta distribution of the mixing weight; 0 switches mixup off.
    ema_decay : float, default=0.997
        Decay of the teachers' weights.
    ema_rampup : int or None, default=0
        Steps over which the decay ramps up; None is min(1 - 1/(step + 1), decay), as for Clothing1M.
    lam_rampup : int, default=0
        Steps over which lambda ramps up; 0 is constant.
    label_refinement : bool, default=False
        Whether labels are multiplied by targets.
    """

    lam: float = 3.0
    clamp_eps: float = 1e-4
    mixup_alpha: float = 1.0
    ema_decay: float = 0.997
    ema_rampup: int | None = 0
    lam_rampup: int = 0
    label_refinement: bool = False


class ELRPlusObjective(HostStateMixin, Objective):
    """ELR with two students, each regularized by the weight-averaged teacher of the other, and mixup.

    In an epoch student 1 sees all rows, then student 2, each in an order of its own. Student k's targets come from the
    *other* teacher on the un-mixed view; teachers stay in train mode, as in the authors' code, so that BatchNorm uses
    the statistics of the batch and only its running buffers drift. Teachers start as copies of their students; the
    authors' start from other random weights, which differs in the first steps only.

    Parameters
    ----------
    students : Twin
        Copied for the teachers.
    memories : pair of TargetMemory
    settings : ELRPlusSettings or None, default=None
        None takes the defaults.
    augment : callable or None, default=None
    """

    host_state = ("steps",)

    corrects_labels = True
    n_passes = 2

    def __init__(
        self,
        students: Twin,
        memories: tuple[TargetMemory, TargetMemory],
        settings: ELRPlusSettings | None = None,
        *,
        augment: Augment | None = None,
    ) -> None:
        super().__init__(augment)
        self.settings = ELRPlusSettings() if settings is None else settings
        self.memories = nn.ModuleList(memories)
        self.teachers: Twin = copy.deepcopy(students).requires_grad_(False)
        self.steps = [0, 0]  # of each student; on the host, so that no step asks the device
        self.pass_number = 0

    def forward(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """One batch of student ``batch.pass_number``."""
        me, other = batch.pass_number, 1 - batch.pass_number
        self.pass_number = me
        x = self.view(batch.x)
        lam, order = draw_mixup(len(x), self.settings.mixup_alpha, device=x.device)
        x_mixed, y_mixed = mixup(x, batch.y, lam, order)
        logits = model(x_mixed, member=me)
        with torch.no_grad():
            believed = F.softmax(at_precision_of(model, self.teachers)(x, member=other), dim=1)  # not clamped here
        memory = self.memory(me)
        target = memory.update(batch.index, believed) if self.training else memory.read(batch.index)
        target = lam * target + (1 - lam) * target[order]  # mixed like the inputs
        if self.settings.label_refinement:
            y_mixed = refined(y_mixed, target)
        weight = lam * batch.weight + (1 - lam) * batch.weight[order]
        cross_entropy = (weight * soft_cross_entropy(logits, y_mixed)).mean()
        regularizer = early_learning_regularizer(clamped_softmax(logits, self.settings.clamp_eps), target).mean()
        ramp = sigmoid_rampup(self.steps[me] + 1, self.settings.lam_rampup)
        return cross_entropy + ramp * self.settings.lam * regularizer, logits

    def memory(self, student: int) -> TargetMemory:
        """The targets of student 0 or 1."""
        memory = self.memories[student]
        assert isinstance(memory, TargetMemory)
        return memory

    def after_step(self, model: Any) -> None:
        """The student's weights enter its teacher's average."""
        me = self.pass_number
        self.steps[me] += 1
        update_average(self.teachers.members[me], model.members[me], self.decay(self.steps[me]))

    def decay(self, step: int) -> float:
        """The teacher's decay after step number ``step``, counted from 1; the code's argument is one more."""
        if self.settings.ema_rampup is None:
            return min(1 - 1 / (step + 1), self.settings.ema_decay)
        return self.settings.ema_decay * sigmoid_rampup(step + 1, self.settings.ema_rampup)

    def posterior(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of both memories, normalized."""
        return _normalized((self.memory(0).read(index) + self.memory(1).read(index)) / 2)


class ELRPlusClassifier(ELRClassifier):
    """ELR+: early-learning regularization with two networks, weight-averaged teachers and mixup.

    The average that regularizes one network is made by the weight-averaged teacher of the other. Predictions use the
    mean of the two students' logits.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network; two are made. Two copies of one instance start with equal weights.
    mixup_alpha : float or "auto", default="auto"
        Of the Beta distribution; 0 mixes nothing. "auto": the paper's 1 for images, 0.4 for rows of numbers, 0 for
        whole numbers that reach the module as such, which cannot be mixed.
    ema_decay : float, default=0.997
        Decay of the teachers' weights.
    ema_rampup : float or None, default=0.57
        Fraction of the training over which the decay ramps up (the paper's 40000 steps); None is
        min(1 - 1/(step + 1), decay).
    lam_rampup : float, default=0.0
        Fraction of the training over which lambda ramps up (0.45 for the paper's CIFAR-100).
    label_refinement : bool, default=False
        Multiply labels by targets (the authors' code: wherever there are 100 classes).

    Attributes
    ----------
    noise_scores_, noise_mask_, noise_rate_, suggested_labels_, suggested_confidence_, transition_matrix_
        As for every classifier, read off the mean of both memories.
    soft_labels_ : ndarray of shape (n_samples, n_classes)
        That mean, each row summing to one.

    See Also
    --------
    ELRClassifier : One network, at half of the cost or less.
    DivideMixClassifier : Another method with two networks.

    Notes
    -----
    Both networks see one set of labels; in the authors' code each draws a split and a noise of its own. Ramps are
    fractions of the training: 40000 steps never end on small data. On tables the mean of two classes may look like a
    third: the paper's even mixtures (alpha 1) were worse on two of six sets, level on the others.

    References
    ----------
    Liu, Niles-Weed, Razavian, Fernandez-Granda (NeurIPS 2020), arXiv 2007.00151, section 4.4 and Algorithm 2.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import ELRPlusClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ELRPlusClassifier(max_epochs=10, random_state=0).fit(X, y).predict(X).shape
    (150,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "mixup_alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "ema_decay": [Interval(Real, 0, 1, closed="both")],
        "ema_rampup": [Interval(Real, 0, 1, closed="both"), None],
        "lam_rampup": [Interval(Real, 0, 1, closed="both")],
        "label_refinement": ["boolean"],
    }

    _published: ClassVar[dict[str, dict[str, Any]]] = {  # table G.2
        "cifar10-sym": {"lam": 3.0, "beta": 0.7, "max_epochs": 200, "lr_schedule": {150: 0.1}},
        "cifar10-asym": {"lam": 1.0, "beta": 0.9, "max_epochs": 200, "lr_schedule": {150: 0.1}},
        "cifar100": {
            "lam": 7.0,
            "beta": 0.9,
            "max_epochs": 250,
            "lr_schedule": {200: 0.1},
            "ema_rampup": 0.45,
            "lam_rampup": 0.45,
            "label_refinement": True,
        },
    }
    _published_common: ClassVar[dict[str, Any]] = {
        **ELRClassifier._published_common,
        "mixup_alpha": 1.0,
        "module": "preact_resnet18",
        "optimizer__weight_decay": 5e-4,
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        mixup_alpha: float | str = "auto",
        ema_decay: float = 0.997,
        ema_rampup: float | None = 0.57,
        lam_rampup: float = 0.0,
        label_refinement: bool = False,
        **params: Any,
    ) -> None:
        super().__init__(module, **params)
        self.mixup_alpha = mixup_alpha
        self.ema_decay = ema_decay
        self.ema_rampup = ema_rampup
        self.lam_rampup = lam_rampup
        self.label_refinement = label_refinement

    def _alpha(self) -> float:
        if self.mixup_alpha == "auto":
            return default_mixup_alpha(self.input_shape_, integers=self.input_integers_)
        return float(self.mixup_alpha)

    def _make_module(self, rows: Rows) -> nn.Module:
        return Twin(super()._make_module(rows), super()._make_module(rows))

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        batch_size, epochs = self._plan(len(rows))
        steps = epochs * -(-len(rows) // batch_size)
        assert isinstance(module, Twin)
        settings = settings_of(
            ELRPlusSettings,
            self,
            lam=self.lam_,
            clamp_eps=self._eps(rows),
            mixup_alpha=self._alpha(),
            ema_rampup=None if self.ema_rampup is None else round(self.ema_rampup * steps),
            lam_rampup=round(self.lam_rampup * steps),
        )
        memories = (self._make_memory(rows), self._make_memory(rows))
        return ELRPlusObjective(module, memories, settings, augment=self._make_augment(rows))


def default_lam(counts: Sequence[int]) -> float:
    """5, but 1 where the rarest class has less than half of its even share of the rows.

    A memory that averages early predictions knows the common classes first and, with a weight of 5, talks the network
    out of a rare one (``python -m benchmarks.studies.rules --questions rare``).

    Parameters
    ----------
    counts : sequence of int
        Rows a class; classes without rows do not count.

    Examples
    --------
    >>> from robustlabels.methods.elr import default_lam
    >>> default_lam([50, 60, 40]), default_lam([90, 10])
    (5.0, 1.0)
    """
    counts = [count for count in counts if count]
    return 1.0 if counts and 2 * len(counts) * min(counts) < sum(counts) else 5.0


def default_mixup_alpha(input_shape: tuple[int, ...], *, integers: bool = False) -> float:
    """1 for images, 0.4 for rows of numbers, 0 for whole numbers that a module reads as such.

    ``python -m benchmarks.studies.rules`` has what the middle one was chosen by.

    Examples
    --------
    >>> from robustlabels.methods.elr import default_mixup_alpha
    >>> default_mixup_alpha((3, 32, 32)), default_mixup_alpha((64,)), default_mixup_alpha((20,), integers=True)
    (1.0, 0.4, 0.0)
    """
    if integers:
        return 0.0
    return 1.0 if len(input_shape) > 1 else 0.4
