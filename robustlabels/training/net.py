"""The loop: skorch around any objective, fed from tensors that already lie on the training device.

The only file that imports skorch. Three things differ from a stock net, and each is one method below:

* a batch is an indexed slice of one tensor (:class:`Batches`), not a list of collated rows;
* the training step hands the whole batch to the objective, ``criterion_(module_, batch)``;
* losses are summed on the device and read once an epoch, so no step waits for the host.

skorch's callbacks, history, ``save_params`` and ``train_split`` work as they always do; per-batch history is not kept.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EpochTimer
from skorch.utils import TeeGenerator
from torch import Tensor, nn

from robustlabels.modules import has_convolution
from robustlabels.training.objective import AtPrecision, Batch, Model, Objective
from robustlabels.training.rows import SMALL_BATCH, Batches, Rows

# --- rows -------------------------------------------------------------------------------------------------------------


# --- the net ----------------------------------------------------------------------------------------------------------


class EpochHook(Protocol):
    """What may watch a fit from outside the net, and so outside its pickle: a bar, a checkpoint, scikit-learn."""

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Before an epoch."""

    def on_epoch_end(self, net: RobustNet) -> bool | None:
        """After an epoch; True stops the training here."""


class RobustNet(NeuralNetClassifier):
    """skorch's loop around any :class:`~robustlabels.training.objective.Objective`.

    Built afresh by every ``fit`` and reachable as ``clf.net_`` (``history``, ``save_params``, callbacks). Validation
    loss is plain cross-entropy for every method, so that curves compare.

    Parameters
    ----------
    module : nn.Module
        Returns logits of shape (b, n_classes).
    criterion : Objective
    n_classes : int
    lr_schedule : callable or None
        ``factor(epoch, n_epochs)``; the learning rate of an epoch is ``lr`` times this.
    autocast : torch.dtype or None
        What the network's forward is lowered to; objectives stay in float32.
    gradient_clip : float or None
        Largest norm of the gradient of all weights together; None leaves it.
    **kwargs
        skorch's own parameters.
    """

    # A pickle made on a GPU opens on a CPU only if everything that holds a tensor goes through torch's loader.
    cuda_dependent_attributes_ = ["module", "criterion", "optimizer_"]  # noqa: RUF012

    def __init__(
        self,
        module: nn.Module,
        criterion: Objective,
        *,
        n_classes: int,
        lr_schedule: Callable[[int, int], float] | None = None,
        autocast: torch.dtype | None = None,
        gradient_clip: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion=criterion, classes=range(n_classes), **kwargs)
        self.n_classes = n_classes
        self.lr_schedule = lr_schedule
        self.autocast = autocast
        self.gradient_clip = gradient_clip

    # --- components

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return [("epoch_timer", EpochTimer())]

    def torch_compile(self, module: nn.Module, name: str) -> nn.Module:
        """Compile the network, never the objective: its memory is written in place."""
        return super().torch_compile(module, name) if name == "module" else module

    def initialize_module(self) -> RobustNet:
        """Take the module as it is; convolutions run channels-last."""
        super().initialize_module()
        if has_convolution(self.module_):
            self.module_.to(memory_format=torch.channels_last)
        return self

    def initialize_criterion(self) -> RobustNet:
        """Take the objective as it is; a teacher's convolutions lie in memory as its student's do."""
        super().initialize_criterion()
        if has_convolution(self.criterion_):
            self.criterion_.to(memory_format=torch.channels_last)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> RobustNet:
        """Refuse optimizers that evaluate the loss several times a step: per-sample memory moves once a batch."""
        if isinstance(self.optimizer, type) and issubclass(self.optimizer, torch.optim.LBFGS):
            raise ValueError(
                "optimizer LBFGS evaluates the loss several times a step, and an objective's per-sample memory may "
                "move only once a batch; take a first-order optimizer such as torch.optim.SGD or torch.optim.AdamW."
            )
        return super().initialize_optimizer(triggered_directly)

    @property
    def model(self) -> Model:
        """The module as objectives call it: under autocast where asked for, logits in float32."""
        if self.autocast is None:
            return self.module_
        return AtPrecision(self.module_, torch.device(self.device).type, self.autocast)

    # --- one step

    def infer(self, x: Any, **_: Any) -> Tensor:
        """Logits of one batch."""
        return self.model(x["x"] if isinstance(x, Mapping) else x)

    def train_step_single(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Forward through the objective, and backward."""
        loss, logits = self.criterion_(self.model, self.rows_.batch(*batch))
        loss.backward()
        return {"loss": loss.detach(), "y_pred": logits.detach()}

    def train_step(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """One optimizer step, then the objective's own."""
        self.optimizer_.zero_grad(set_to_none=True)
        step = self.train_step_single(batch)
        named_parameters = TeeGenerator(self.get_all_learnable_params())
        self.notify("on_grad_computed", named_parameters=named_parameters, batch=batch, training=True)
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_([parameter for _, parameter in named_parameters], self.gradient_clip)
        self.optimizer_.step()
        self.criterion_.after_step(self.model)
        return step

    @torch.no_grad()
    def validation_step(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Plain cross-entropy against the given labels, whatever the objective."""
        x, y = batch
        logits = self.model(x["x"])
        return {"loss": F.cross_entropy(logits, y), "y_pred": logits}

    # --- one epoch, and all of them

    def on_epoch_begin(
        self, net: RobustNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any
    ) -> None:
        """Open the history row, set the learning rate, and give the objective its turn."""
        super().on_epoch_begin(net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        epoch = len(self.history) - 1
        if self.lr_schedule is not None:
            factor = self.lr_schedule(epoch - self.first_epoch_, self.n_epochs_)
            for group in self.optimizer_.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        self.history.record("lr", self.optimizer_.param_groups[-1]["lr"])  # skorch puts special groups first

        self.criterion_.on_epoch_begin(epoch, self.model, functools.partial(self.batches_in_order, dataset_train))

    def batches_in_order(self, rows: Rows) -> Iterator[Batch]:
        """All rows, in order and un-augmented."""
        return (rows.batch(*item) for item in Batches(rows, 4 * self.batch_size))

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Callable, **fit_params: Any
    ) -> None:
        """Walk the batches; sums stay on the device and are read once, at the end."""
        if iterator is None:
            return
        self._set_training(training)
        total = torch.zeros((), device=self.device)
        right = torch.zeros((), device=self.device)
        n = n_batches = 0
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            total += step["loss"] * len(batch[1])
            if not training:
                right += (step["y_pred"].argmax(1) == batch[1]).sum()
            n += len(batch[1])
            n_batches += 1
            self.notify("on_batch_end", batch=batch, training=training, **step)
        loss = total.item() / n
        if training and not math.isfinite(loss):
            raise FloatingPointError(
                f"the training loss became {loss} in epoch {len(self.history)} at learning rate "
                f"{self.history[-1, 'lr']:g}; lower lr, or look for extreme values in X."
            )
        self._record(prefix + "_loss", loss, better=min)
        if not training:
            self._record(prefix + "_acc", right.item() / n, better=max)
        self.history.record(prefix + "_batch_count", n_batches)

    def _record(self, name: str, value: float, better: Callable) -> None:
        earlier = [row[name] for row in self.history[:-1] if name in row]
        self.history.record(name, value)
        self.history.record(name + "_best", not earlier or better([*earlier, value]) == value != better(earlier))

    def check_data(self, X: Any, y: Any = None) -> None:
        """Nothing to check: the estimator did."""

    def get_dataset(self, X: Any, y: Any = None) -> Rows:
        """Rows as they are; any other X (as skorch's own callbacks pass it) as flat rows in module layout."""
        if isinstance(X, Rows):
            return X
        return Rows(X, None if y is None else torch.as_tensor(y), n_classes=self.n_classes, device=self.device)

    def get_split_datasets(self, X: Any, y: Any = None, **_: Any) -> tuple[Rows, Rows | None]:
        """Training and validation rows; both keep the row numbers of the whole."""
        rows = self.get_dataset(X, y)
        if not self.train_split:
            return rows, None
        train, valid = self.train_split(rows, rows.y[rows.index].cpu().numpy())
        return rows.take(train.indices), rows.take(valid.indices)

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, hooks: Sequence[EpochHook] = (), **_: Any
    ) -> RobustNet:
        """Epochs in a row. A callback of the user's that raises KeyboardInterrupt after an epoch stops the training,
        as skorch's EarlyStopping does; one that arrives at any other time is the user's own and is passed on.
        """
        train, valid = self.get_split_datasets(X, y)
        datasets = {"dataset_train": train, "dataset_valid": valid}
        train_batches = self.get_iterator(train, training=True)
        train_batches.draw = self.criterion_.draw
        valid_batches = None if valid is None else self.get_iterator(valid, training=False)
        self.rows_ = train
        try:
            for _epoch in range(self.max_epochs if epochs is None else epochs):
                for hook in hooks:
                    hook.on_epoch_begin(self)
                self.notify("on_epoch_begin", **datasets)
                self.run_single_epoch(train_batches, training=True, prefix="train", step_fn=self.train_step)
                self.run_single_epoch(valid_batches, training=False, prefix="valid", step_fn=self.validation_step)
                stop = self._epoch_ended(datasets)
                if any([stop, *[hook.on_epoch_end(self) for hook in hooks]]):
                    break
        finally:
            del self.rows_  # a fitted net does not carry the data
        return self

    def _epoch_ended(self, datasets: dict[str, Any]) -> bool:
        """Tell the callbacks; whether one of the user's asks to stop."""
        try:
            self.notify("on_epoch_end", **datasets)
        except KeyboardInterrupt:
            if not self.callbacks:
                raise
            return True
        return False

    def fit_rows(self, rows: Rows, epochs: int, hooks: Sequence[EpochHook] = ()) -> RobustNet:
        """Train for ``epochs`` more epochs, which the learning-rate schedule spans.

        After a KeyboardInterrupt the unfinished epoch's history row is dropped.
        """
        self.n_epochs_ = epochs
        self.first_epoch_ = len(self.history)
        return self._continue(rows, epochs, hooks)

    def resume_rows(self, rows: Rows, checkpoint: Mapping[str, Any], hooks: Sequence[EpochHook] = ()) -> RobustNet:
        """Go on from a checkpoint as if nothing had happened."""
        restore(self, checkpoint)
        return self._continue(rows, self.first_epoch_ + self.n_epochs_ - len(self.history), hooks)

    def _continue(self, rows: Rows, epochs: int, hooks: Sequence[EpochHook]) -> RobustNet:
        self.notify("on_train_begin", X=rows, y=None)
        try:
            self.fit_loop(rows, epochs=epochs, hooks=hooks)
        except BaseException:
            if len(self.history) and "dur" not in self.history[-1]:
                del self.history[-1]
            raise
        finally:
            self.notify("on_train_end", X=rows, y=None)
            self._set_training(False)
        return self

    # --- prediction

    @torch.inference_mode()
    def outputs(self, rows: Rows, function: Callable[[Model, Tensor], Tensor] | None = None) -> Tensor:
        """``function(model, x)`` over all rows in order, on the CPU; logits by default.

        Flat batches under 32 rows are padded: matrix products of few rows take another kernel and differ in the last
        bits; padded, a row gives the same in any company.
        """
        self._set_training(False)
        parts = []
        for index in rows.index.split(max(self.batch_size, 512)):
            x = rows.inputs(index)
            if x.ndim == 2 and len(x) < SMALL_BATCH:
                x = F.pad(x, (0, 0, 0, SMALL_BATCH - len(x)))
            out = self.model(x) if function is None else function(self.model, x)
            parts.append(out[: len(index)])
        return torch.cat(parts).cpu()


def unwrap(net: RobustNet) -> nn.Module:
    """The module as it was built, without torch.compile's wrapper."""
    module: Any = net.module_
    return getattr(module, "_orig_mod", module)


# --- what the fit needs to know of the machine ------------------------------------------------------------------------


def resolve_device(device: str) -> str:
    """Resolve "auto" to cuda, mps or cpu; a device that is not there is an error."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda', 'cuda:0', 'mps' …, got {device!r}.") from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"device={device!r} was asked for, but torch finds none here; take device='auto' or 'cpu'.")
    return device


def resolve_precision(precision: str, device: str, module: nn.Module) -> torch.dtype | None:
    """The dtype a network's forward is lowered to, or None for float32.

    "auto" lowers networks with convolutions to bfloat16 where the hardware multiplies in it.
    """
    if precision == "auto":
        fast = has_convolution(module) and _multiplies_in_bfloat16(torch.device(device).type)
        return torch.bfloat16 if fast else None
    choices = {"float32": None, "bfloat16": torch.bfloat16}
    if precision not in choices:
        raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {precision!r}.")
    return choices[precision]


@functools.cache
def _multiplies_in_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return kind == "cpu" and ("avx512_bf16" in flags or "amx_bf16" in flags)
    return False


# --- checkpoints ------------------------------------------------------------------------------------------------------


def restore(net: RobustNet, state: Mapping[str, Any]) -> None:
    """Bring an initialized net, and the generators, to where a checkpoint was written."""
    net.module_.load_state_dict(state["module"])
    net.criterion_.load_state_dict(state["criterion"])
    net.optimizer_.load_state_dict(state["optimizer"])
    for row in state["history"]:
        net.history.new_epoch()
        for key, value in row.items():
            net.history.record(key, value)
    net.first_epoch_, net.n_epochs_ = state["epochs"]
    torch.set_rng_state(state["rng"])
    if state["device_rng"] is not None and torch.device(net.device).type == "cuda":
        torch.cuda.set_rng_state(state["device_rng"], net.device)


class AccuracyCurve(Callback):
    """Accuracy on rows of your own after every epoch, as ``test_acc`` of the history; for a classifier's ``callbacks``.

    It only watches: the training is the same with and without it. Copies of it share rows and clocks.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Rows shaped as those that are fitted.
    y : ndarray of shape (n_samples,)
        Their class numbers, positions in the classifier's ``classes_``.

    Attributes
    ----------
    seconds, cpu_seconds : float
        Spent on watching, by the clock on the wall and by the processor's.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import ELRClassifier
    >>> from robustlabels.training.net import AccuracyCurve
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = ELRClassifier(max_epochs=3, callbacks=[AccuracyCurve(X, y)], random_state=0).fit(X, y)
    >>> len(clf.history_[:, "test_acc"])
    3
    """

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y
        self.seconds = self.cpu_seconds = 0.0

    def __deepcopy__(self, memo: dict) -> AccuracyCurve:
        return self

    def __sklearn_clone__(self) -> AccuracyCurve:
        return self

    def on_train_begin(self, net: Any, X: Any = None, **_: Any) -> None:
        """Put the rows where those in training are."""
        self.rows_ = Rows(self.X, n_classes=net.n_classes, layout=X.layout, dtype=X.dtype, device=X.device)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Measure; the epoch's own duration is taken already."""
        start, cpu_start = time.perf_counter(), time.process_time()
        right = net.outputs(self.rows_).argmax(1).numpy() == self.y
        net.history.record("test_acc", float(right.mean()))
        seconds = time.perf_counter() - start
        net.history.record("test_dur", seconds)
        self.seconds += seconds
        self.cpu_seconds += time.process_time() - cpu_start

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Let the rows go."""
        del self.rows_
