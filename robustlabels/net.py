"""The loop: skorch around any objective, fed from tensors that already lie on the training device.

The only file that imports skorch. Three things differ from a stock net, and each is one method below:

* a batch is an indexed slice of one tensor (:class:`Batches`), not a list of collated rows;
* the training step hands the whole batch to the objective, ``criterion_(module_, batch)``;
* losses are summed on the device and read once an epoch, so no step waits for the host.

skorch's callbacks, history, ``save_params`` and ``train_split`` work as they always do; per-batch history is not kept.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from torch.utils.data import Dataset

from robustlabels.modules import has_convolution
from robustlabels.objective import AtPrecision, Batch, Model, Objective

READ_AHEAD_BYTES = 2 << 30
"""Lazy inputs (paths, views) up to this size are decoded once and kept as they are, uint8 as a rule."""

SMALL_BATCH = 32
"""Smallest batch of flat rows sent through a network at prediction: see :meth:`RobustNet.outputs`."""


# --- rows -------------------------------------------------------------------------------------------------------------


class Rows(Dataset):
    """Rows of X with their labels, served in batches on the training device.

    Parameters
    ----------
    x : ndarray, Tensor or lazy container of shape (n_samples, ...)
        Kept once, whole: a plain array is shared with the caller on the CPU and copied once to another device if it
        takes less than half of what is free there; a larger one, or on the CPU a memory map or a read-only array, is
        read batch by batch, as is a lazy view that is too large to keep decoded.
    y : Tensor of shape (n_samples,), int64, or None
        None for rows to predict.
    n_classes : int
    index : Tensor of shape (n_rows,), int64, or None
        Which rows these are, as numbers in ``x``; all by default. A subset shares the storage of the whole.
    soft_labels : Tensor of shape (n_samples, n_classes) or None
    weight : Tensor of shape (n_samples,) or None
    layout : {"as_is", "channels_last", "grey"}
        How one row of ``x`` becomes what the module sees: as it is, (h, w, c) -> (c, h, w), (h, w) -> (1, h, w).
    dtype : torch.dtype or None
        What a batch is cast to; None leaves it. uint8 images are divided by 255 on the way.
    device : str
    """

    def __init__(
        self,
        x: Any,
        y: Tensor | None = None,
        *,
        n_classes: int = 0,
        index: Tensor | None = None,
        soft_labels: Tensor | None = None,
        weight: Tensor | None = None,
        layout: str = "as_is",
        dtype: torch.dtype | None = torch.float32,
        device: str = "cpu",
    ) -> None:
        self.x = _reside(x, device)
        self.y = (torch.zeros(len(x), dtype=torch.int64) if y is None else y).to(device)
        self.n_classes = n_classes
        self.index = (torch.arange(len(x)) if index is None else index).to(device)
        self.soft_labels = None if soft_labels is None else soft_labels.to(device)
        self.weight = None if weight is None else weight.to(device)
        self.layout, self.dtype, self.device = layout, dtype, device

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: Any) -> tuple[dict[str, Any], Tensor]:
        return self.read(self.index[torch.as_tensor(i, device=self.device)].reshape(-1))

    def at(self, index: Tensor) -> Rows:
        """The rows with these numbers: the same storage under another index."""
        part = copy.copy(self)
        part.index = index
        return part

    def take(self, positions: Sequence[int]) -> Rows:
        """The rows at these positions among these rows."""
        return self.at(self.index[torch.as_tensor(np.asarray(positions), device=self.index.device)])

    def inputs(self, index: Tensor) -> Tensor:
        """Module inputs of the rows numbered ``index``."""
        if isinstance(self.x, Tensor):
            x = self.x.index_select(0, index)
        else:
            x = torch.from_numpy(_gather(self.x, index.cpu().numpy())).to(self.device)
        return as_inputs(x, self.layout, self.dtype)

    def read(self, index: Tensor, turn: int = 0) -> tuple[dict[str, Any], Tensor]:
        """One batch in skorch's form: the row numbers travel inside X."""
        x = {"x": self.inputs(index), "index": index, "turn": turn}
        if self.weight is not None:
            x["weight"] = self.weight.index_select(0, index)
        if self.soft_labels is not None:
            x["soft_labels"] = self.soft_labels.index_select(0, index)
        return x, self.y.index_select(0, index)

    def batch(self, x: Mapping[str, Any], y: Tensor) -> Batch:
        """The same batch as an objective wants it."""
        if "soft_labels" in x:
            target = x["soft_labels"]  # (b, n_classes)
        else:
            target = torch.zeros(len(y), self.n_classes, device=y.device).scatter_(1, y[:, None], 1.0)
        weight = x["weight"] if "weight" in x else target.new_ones(()).expand(len(y))
        return Batch(x["x"], target, x["index"], weight, x["turn"])


def as_inputs(x: Tensor, layout: str, dtype: torch.dtype | None) -> Tensor:
    """Cast a batch and bring its axes into the module's order."""
    if dtype is not None and x.dtype != dtype:
        x = x.to(dtype).div_(255) if x.dtype == torch.uint8 and x.ndim > 2 else x.to(dtype)
    if layout == "channels_last":
        return x.permute(0, 3, 1, 2)  # (b, h, w, c) -> (b, c, h, w), no copy
    return x[:, None] if layout == "grey" else x


def _reside(x: Any, device: str) -> Any:
    """X on the device if it is an array, decoded if it is lazy and small, else as it is."""
    if isinstance(x, Tensor):
        return x.detach().to(device)
    lazy = not isinstance(x, np.ndarray)
    if lazy and math.prod(x.shape) * np.dtype(x.dtype).itemsize <= READ_AHEAD_BYTES:
        return torch.from_numpy(_gather(x, np.arange(len(x)))).to(device)
    if lazy or (torch.device(device).type == "cpu" and not x.flags.writeable) or x.nbytes > _room(device):
        return x
    x = x if x.flags.writeable and min(x.strides, default=0) >= 0 else x.copy()  # torch takes neither, X[::-1] say
    return torch.from_numpy(x.astype(x.dtype.newbyteorder("="), copy=False)).to(device)


def _room(device: str) -> float:
    """Bytes that data may take on a device."""
    return torch.cuda.mem_get_info(device)[0] / 2 if torch.device(device).type == "cuda" else math.inf


def _gather(x: Any, index: np.ndarray) -> np.ndarray:
    """Rows of a memory map or a lazy view as one array of their own; files are decoded in threads."""
    if isinstance(x, np.ndarray):
        return x[index]
    read = getattr(x, "read", None) or (lambda rows: np.stack([np.asarray(x[int(i)]) for i in rows]))
    if len(index) < SMALL_BATCH:
        return np.ascontiguousarray(read(index))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return np.concatenate(list(pool.map(read, np.array_split(index, 8))))


class Batches:
    """Batches of :class:`Rows` by one shuffled index, made anew by every walk.

    Parameters
    ----------
    rows : Rows
    batch_size : int
    shuffle : bool, default=False
        Draw a new order for every walk, from torch's seeded generator. While shuffling, a last batch of one row joins
        the batch before it: BatchNorm has no variance over one row.
    turns : int, default=1
        Walks over the rows in one epoch, each in an order of its own.
    """

    draw: Callable[[Tensor, int, int], Iterable[Tensor] | None] | None = None
    """The objective's hold on which rows a batch has: see :meth:`robustlabels.objective.Objective.draw`."""

    def __init__(self, rows: Rows, batch_size: int, shuffle: bool = False, turns: int = 1) -> None:
        self.rows, self.batch_size, self.shuffle, self.turns = rows, batch_size, shuffle, turns

    @property
    def sizes(self) -> list[int]:
        """Rows in each batch of one walk."""
        return batch_sizes(len(self.rows), self.batch_size, merge_last=self.shuffle)

    def __len__(self) -> int:
        return self.turns * len(self.sizes)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for turn in range(self.turns):
            index = self.rows.index
            parts = None if self.draw is None else self.draw(index, self.batch_size, turn)
            if parts is None:
                if self.shuffle:
                    index = index[torch.randperm(len(index)).to(index.device)]
                parts = index.split(self.sizes)
            for part in parts:
                yield self.rows.read(part, turn)


def batch_sizes(n: int, batch_size: int, *, merge_last: bool) -> list[int]:
    """Sizes of the batches ``n`` rows are cut into.

    Examples
    --------
    >>> batch_sizes(9, 4, merge_last=False), batch_sizes(9, 4, merge_last=True)
    ([4, 4, 1], [4, 5])
    """
    sizes = [batch_size] * (n // batch_size) + ([n % batch_size] if n % batch_size else [])
    if merge_last and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    return sizes


# --- the net ----------------------------------------------------------------------------------------------------------


class EpochHook(Protocol):
    """What may watch a fit from outside the net, and so outside its pickle: a bar, a checkpoint, scikit-learn."""

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Before an epoch."""

    def on_epoch_end(self, net: RobustNet) -> bool | None:
        """After an epoch; True stops the training here."""


class RobustNet(NeuralNetClassifier):
    """skorch's loop around any :class:`~robustlabels.objective.Objective`.

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


class CheckpointFile:
    """Writes everything a fit needs to go on, at the ends of epochs, in one atomic move.

    Writes after the first and the last epoch, and in between so often that it takes a twentieth of the time.

    Parameters
    ----------
    path : str or Path
    identity : dict of str
        What must be the same for the fit to be the same: data and parameters.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        self.path, self.identity = Path(path), dict(identity)
        self.next_time = 0.0

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Nothing."""

    def on_epoch_end(self, net: RobustNet) -> None:
        """Write, if it is time."""
        started = time.monotonic()
        last = len(net.history) == net.first_epoch_ + net.n_epochs_
        if started < self.next_time and not last:
            return
        state = {
            "identity": self.identity,
            "module": net.module_.state_dict(),
            "criterion": net.criterion_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "history": [{k: v for k, v in row.items() if k != "batches"} for row in net.history],
            "epochs": [net.first_epoch_, net.n_epochs_],
            "rng": torch.get_rng_state(),
            "device_rng": _device_rng(net.device),
        }
        replace_file(self.path, lambda partial: torch.save(state, partial))
        done = time.monotonic()
        self.next_time = done + 20 * (done - started)

    def read(self) -> dict[str, Any] | None:
        """The stored state, None if there is none yet, an error if it belongs to another fit."""
        if not self.path.exists():
            return None
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        then, now = state["identity"], self.identity
        differing = [key for key in {**now, **then} if then.get(key) != now.get(key)]
        if differing:
            raise ValueError(
                f"checkpoint {str(self.path)!r} belongs to another fit: {', '.join(differing)} "
                f"differ{'s' if len(differing) == 1 else ''}; delete the file to start afresh, or name another."
            )
        return state


def restore(net: RobustNet, state: Mapping[str, Any]) -> None:
    """Bring an initialised net, and the generators, to where a checkpoint was written."""
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


def _device_rng(device: str) -> Tensor | None:
    return torch.cuda.get_rng_state(device) if torch.device(device).type == "cuda" else None


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside ``path`` and move into place: a full disk or a kill leaves the old file, never half a new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error  # of the kind the number says
    finally:
        partial.unlink(missing_ok=True)


class ProgressBar:
    """One bar per fit on standard error: epoch, loss, estimated noise, samples per second, time to go."""

    def __init__(self, epochs: int, y: Tensor) -> None:
        from tqdm.auto import tqdm

        self.y = y
        self.bar = tqdm(total=epochs, unit="epoch", dynamic_ncols=True)

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Nothing."""

    def on_epoch_end(self, net: RobustNet) -> None:
        """Advance, and say how it goes."""
        row = net.history[-1]
        shown = {"loss": f"{row['train_loss']:.3f}"}
        if "valid_acc" in row:
            shown["valid_acc"] = f"{row['valid_acc']:.3f}"
        noise = disagreement(net.criterion_, self.y, net.device)
        if noise is not None:
            shown["noise"] = f"{noise:.1%}"
        if row.get("dur"):
            shown["samples/s"] = f"{len(self.y) / row['dur']:,.0f}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        self.bar.close()


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
    >>> from robustlabels.net import AccuracyCurve
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


def disagreement(objective: Objective, y: Tensor, device: str = "cpu", chunk: int = 65536) -> float | None:
    """Share of the visited rows whose believed class is not the given label; None without such beliefs."""
    differ = visited = 0
    for start in range(0, len(y), chunk):
        index = torch.arange(start, min(start + chunk, len(y)), device=device)
        belief = objective.posterior(index)
        if belief is None:
            return None
        proba, seen = belief
        differ += int(((proba.argmax(1).cpu() != y[start : start + chunk]) & seen.cpu()).sum())
        visited += int(seen.sum())
    return differ / max(visited, 1)
