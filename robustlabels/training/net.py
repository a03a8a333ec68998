"""The training loop: skorch around any objective, with data that is already on the training device.

This is the only module that imports skorch. Three things differ from skorch's own net:

* a batch is an indexed slice of one tensor (:class:`Batches`) and not a list of collated rows;
* the training step passes the whole batch to the objective, ``criterion_(module_, batch)``;
* losses are summed on the device and read once an epoch, so that no step waits for the device.

skorch's callbacks, history, ``save_params`` and ``train_split`` work unchanged. The history has no entries for batches.
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

# --- the net ----------------------------------------------------------------------------------------------------------


class EpochHook(Protocol):
    """A hook that runs at every epoch but is not part of the net, and so not of its pickle, as a callback would be.

    Progress bars, checkpoint files and scikit-learn's callbacks are such hooks.
    """

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Run before an epoch."""

    def on_epoch_end(self, net: RobustNet) -> bool | None:
        """Run after an epoch; returning True stops the training."""


class RobustNet(NeuralNetClassifier):
    """skorch's loop around any :class:`~robustlabels.training.objective.Objective`.

    Every ``fit`` creates a new net and stores it as ``clf.net_`` (``history``, ``save_params``, callbacks). The
    validation loss is plain cross-entropy for every method, so that methods can be compared.

    Parameters
    ----------
    module : nn.Module
        The network, which returns logits of shape (b, n_classes).
    criterion : Objective
        What training minimizes.
    n_classes : int
        Number of classes.
    lr_schedule : callable or None
        A function ``factor(epoch, n_epochs)``; the learning rate of an epoch is ``lr`` times its value.
    autocast : torch.dtype or None
        What the network's forward is lowered to; objectives compute in float32.
    gradient_clip : float or None
        Largest norm of the gradient of all weights together; None does not clip.
    **kwargs
        skorch's own parameters.
    """

    # skorch passes these attributes through PyTorch's loader, so that a pickle made on a GPU opens on a CPU. Every
    # attribute that holds a tensor must be listed.
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
        """Compile the network but never the objective, whose memory is written in place."""
        return super().torch_compile(module, name) if name == "module" else module

    def initialize_module(self) -> RobustNet:
        """Take the module as it is, in channels-last memory format if it has convolutions, which run faster so."""
        super().initialize_module()
        if has_convolution(self.module_):
            self.module_.to(memory_format=torch.channels_last)
        return self

    def initialize_criterion(self) -> RobustNet:
        """Take the objective as it is; the convolutions of a teacher get the memory format of the student's."""
        super().initialize_criterion()
        if has_convolution(self.criterion_):
            self.criterion_.to(memory_format=torch.channels_last)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> RobustNet:
        """Refuse optimizers that evaluate the loss several times a step.

        Raises
        ------
        ValueError
            For L-BFGS: every evaluation would update the memory of a batch's rows again.
        """
        if isinstance(self.optimizer, type) and issubclass(self.optimizer, torch.optim.LBFGS):
            raise ValueError(
                "The optimizer LBFGS evaluates the loss several times a step, but an objective must update its memory "
                "of each row only once a batch; set optimizer= to a first-order optimizer such as torch.optim.SGD or "
                "torch.optim.AdamW."
            )
        return super().initialize_optimizer(triggered_directly)

    @property
    def model(self) -> Model:
        """The module as objectives call it: under autocast if that is set, with logits in float32."""
        if self.autocast is None:
            return self.module_
        return AtPrecision(self.module_, torch.device(self.device).type, self.autocast)

    # --- one step

    def infer(self, x: Any, **_: Any) -> Tensor:
        """Return the logits of one batch."""
        return self.model(x["x"] if isinstance(x, Mapping) else x)

    def train_step_single(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Run the objective's forward and the backward pass."""
        loss, logits = self.criterion_(self.model, self.rows_.batch(*batch))
        loss.backward()
        return {"loss": loss.detach(), "y_pred": logits.detach()}

    def train_step(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Take one optimizer step, then run the objective's ``after_step``."""
        self.optimizer_.zero_grad(set_to_none=True)
        step = self.train_step_single(batch)
        # A generator can be read once, but both skorch's callbacks and the clipping need the parameters.
        named_parameters = TeeGenerator(self.get_all_learnable_params())
        self.notify("on_grad_computed", named_parameters=named_parameters, batch=batch, training=True)
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_([parameter for _, parameter in named_parameters], self.gradient_clip)
        self.optimizer_.step()
        self.criterion_.after_step(self.model)
        return step

    @torch.no_grad()
    def validation_step(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Compute plain cross-entropy against the given labels, whatever the objective."""
        x, y = batch
        logits = self.model(x["x"])
        return {"loss": F.cross_entropy(logits, y), "y_pred": logits}

    # --- epochs

    def on_epoch_begin(
        self, net: RobustNet, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any
    ) -> None:
        """Open the history row, set the learning rate, and run the objective's ``on_epoch_begin``."""
        super().on_epoch_begin(net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        epoch = len(self.history) - 1
        if self.lr_schedule is not None:
            factor = self.lr_schedule(epoch - self.first_epoch_, self.n_epochs_)
            for group in self.optimizer_.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
        # skorch puts groups with their own settings first, so the last one has the general learning rate.
        self.history.record("lr", self.optimizer_.param_groups[-1]["lr"])
        self.criterion_.on_epoch_begin(epoch, self.model, functools.partial(self.batches_in_order, dataset_train))

    def batches_in_order(self, rows: Rows) -> Iterator[Batch]:
        """Iterate over all rows in order, not augmented."""
        # Nothing is trained on these batches, so they may be larger than training's.
        return (rows.batch(*item) for item in Batches(rows, 4 * self.batch_size))

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Callable, **fit_params: Any
    ) -> None:
        """Run ``step_fn`` on every batch and record the mean loss, and the accuracy of validation rows.

        Raises
        ------
        FloatingPointError
            If the training loss is not finite.
        """
        if iterator is None:
            return
        # Sums stay on the device and are read once, at the end: reading them in every step would wait for the device.
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
                f"The training loss became {loss} in epoch {len(self.history)} at learning rate "
                f"{self.history[-1, 'lr']:g}; lower lr, or look for extreme values in X."
            )
        self._record(prefix + "_loss", loss, better=min)
        if not training:
            self._record(prefix + "_acc", right.item() / n, better=max)
        self.history.record(prefix + "_batch_count", n_batches)

    def _record(self, name: str, value: float, better: Callable) -> None:
        # The names are those of skorch's own callbacks, which its EarlyStopping and Checkpoint look for.
        earlier = [row[name] for row in self.history[:-1] if name in row]
        self.history.record(name, value)
        self.history.record(name + "_best", not earlier or better([*earlier, value]) == value != better(earlier))

    def check_data(self, X: Any, y: Any = None) -> None:
        """Check nothing, because the estimator has checked the data."""

    def get_dataset(self, X: Any, y: Any = None) -> Rows:
        """Return Rows as they are; wrap any other X, which must be in the layout that the module takes."""
        if isinstance(X, Rows):
            return X
        return Rows(X, None if y is None else torch.as_tensor(y), n_classes=self.n_classes, device=self.device)

    def get_split_datasets(self, X: Any, y: Any = None, **_: Any) -> tuple[Rows, Rows | None]:
        """Return the training rows and the validation rows; both keep their row numbers in the whole."""
        rows = self.get_dataset(X, y)
        if not self.train_split:
            return rows, None
        train, valid = self.train_split(rows, rows.y[rows.index].cpu().numpy())
        return rows.take(train.indices), rows.take(valid.indices)

    def fit_loop(
        self, X: Any, y: Any = None, epochs: int | None = None, hooks: Sequence[EpochHook] = (), **_: Any
    ) -> RobustNet:
        """Train for some epochs; :meth:`fit_rows` calls this, as skorch's ``partial_fit`` would."""
        train, valid = self.get_split_datasets(X, y)
        datasets = {"dataset_train": train, "dataset_valid": valid}
        train_batches = self.get_iterator(train, training=True)
        train_batches.draw = self.criterion_.draw
        valid_batches = None if valid is None else self.get_iterator(valid, training=False)
        self.rows_ = train
        try:
            # The order matters: a hook that writes a checkpoint needs the history row that callbacks complete.
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
            del self.rows_  # so that a fitted net and its pickle do not hold the data
        return self

    def _epoch_ended(self, datasets: dict[str, Any]) -> bool:
        """Notify the callbacks; return whether one of the user's asks to stop.

        skorch's EarlyStopping stops the training by raising KeyboardInterrupt after an epoch. A KeyboardInterrupt
        without callbacks of the user's, or at any other time, comes from the keyboard and is passed on.
        """
        try:
            self.notify("on_epoch_end", **datasets)
        except KeyboardInterrupt:
            if not self.callbacks:
                raise
            return True
        return False

    def fit_rows(
        self,
        rows: Rows,
        epochs: int,
        hooks: Sequence[EpochHook] = (),
        checkpoint: Mapping[str, Any] | None = None,
    ) -> RobustNet:
        """Train for ``epochs`` more epochs, which the learning-rate schedule spans, or finish a checkpoint's epochs.

        Parameters
        ----------
        rows : Rows
            Training rows, from which ``train_split`` takes the validation rows.
        epochs : int
            Number of epochs. With a checkpoint, the number that it was started with is finished instead.
        hooks : sequence of EpochHook
            Run at every epoch.
        checkpoint : mapping or None
            What ``CheckpointFile.read`` returned. Training resumes from it with the
            same bits as if it had never stopped.

        Returns
        -------
        RobustNet
            This net. If training is interrupted, the history row of the unfinished epoch is removed.
        """
        if checkpoint is None:
            self.n_epochs_ = epochs
            self.first_epoch_ = len(self.history)
        else:
            restore(self, checkpoint)
            epochs = self.first_epoch_ + self.n_epochs_ - len(self.history)
        self.notify("on_train_begin", X=rows, y=None)
        try:
            self.fit_loop(rows, epochs=epochs, hooks=hooks)
        except BaseException:
            # The epoch timer records "dur" at the end of an epoch, so a row without it is unfinished.
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
        """Return ``function(model, x)`` over all rows in order, on the CPU; logits by default.

        Flat batches of fewer than 32 rows are padded, because matrix products of few rows run in another kernel whose
        results differ in the last bits. With padding, a row gets the same output whichever rows are beside it.
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
    """Return the module as it was built, without torch.compile's wrapper."""
    module: Any = net.module_
    return getattr(module, "_orig_mod", module)


# --- device and precision ---------------------------------------------------------------------------------------------


def resolve_device(device: str) -> str:
    """Return the device that ``device`` stands for: "auto" is cuda, mps or cpu, the first that is available.

    Raises
    ------
    ValueError
        If the name is not a device's, or if PyTorch finds no such device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ValueError(
            f"device must be 'auto' or the name of a PyTorch device such as 'cpu', 'cuda', 'cuda:0' or 'mps', "
            f"got {device!r}."
        ) from error
    if (kind == "cuda" and not torch.cuda.is_available()) or (kind == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"device={device!r} is not available: PyTorch finds none here. Set device='auto' or 'cpu'.")
    return device


def resolve_precision(precision: str, device: str, module: nn.Module) -> torch.dtype | None:
    """Return the dtype that a network's forward is lowered to, or None for float32.

    "auto" lowers networks with convolutions to bfloat16 if the hardware multiplies in it.

    Raises
    ------
    ValueError
        If ``precision`` is not "auto", "float32" or "bfloat16".
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
    # Other CPUs emulate bfloat16, which is slower than float32. Only Linux has this file.
    with suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return kind == "cpu" and ("avx512_bf16" in flags or "amx_bf16" in flags)
    return False


# --- checkpoints ------------------------------------------------------------------------------------------------------


def restore(net: RobustNet, state: Mapping[str, Any]) -> None:
    """Set an initialized net and PyTorch's generators to the state that a checkpoint holds."""
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


# --- callbacks --------------------------------------------------------------------------------------------------------


class AccuracyCurve(Callback):
    """Callback that records the accuracy on given rows after every epoch as ``test_acc`` in the history.

    Pass it in a classifier's ``callbacks``. It changes nothing in the training. Copies share its rows and timings.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...)
        Rows in the shape of those that are fitted.
    y : ndarray of shape (n_samples,)
        Their class numbers, which are positions in the classifier's ``classes_``.

    Attributes
    ----------
    seconds, cpu_seconds : float
        Wall-clock time and processor time that the measurements took.

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

    # The estimator copies its callbacks, and clone() copies the estimator. The timings must reach the object that the
    # user holds, so both copies are the object itself.
    def __deepcopy__(self, memo: dict) -> AccuracyCurve:
        return self

    def __sklearn_clone__(self) -> AccuracyCurve:
        return self

    def on_train_begin(self, net: Any, X: Any = None, **_: Any) -> None:
        """Move the rows to the device and layout of the training rows."""
        self.rows_ = Rows(self.X, n_classes=net.n_classes, layout=X.layout, dtype=X.dtype, device=X.device)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Measure the accuracy. The epoch's own duration is recorded before this."""
        start, cpu_start = time.perf_counter(), time.process_time()
        right = net.outputs(self.rows_).argmax(1).numpy() == self.y
        net.history.record("test_acc", float(right.mean()))
        seconds = time.perf_counter() - start
        net.history.record("test_dur", seconds)
        self.seconds += seconds
        self.cpu_seconds += time.process_time() - cpu_start

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Release the rows."""
        del self.rows_
