"""Training rows: where X and y live during a fit, and how they are cut into batches.

Arrays stay in one piece on the training device; memory maps and lazy views are read batch by batch.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from robustlabels.training.objective import Batch

READ_AHEAD_BYTES = 2 << 30
"""Lazy inputs (paths, views) up to this size are decoded once and kept as they are, uint8 as a rule."""


SMALL_BATCH = 32
"""Smallest batch of flat rows sent through a network at prediction: see :meth:`RobustNet.outputs`."""


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
    layout : {"as_is", "channels_last", "gray"}
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

    def read(self, index: Tensor, pass_number: int = 0) -> tuple[dict[str, Any], Tensor]:
        """One batch in skorch's form: the row numbers travel inside X."""
        x = {"x": self.inputs(index), "index": index, "pass_number": pass_number}
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
        return Batch(x["x"], target, x["index"], weight, x["pass_number"])


def as_inputs(x: Tensor, layout: str, dtype: torch.dtype | None) -> Tensor:
    """Cast a batch and bring its axes into the module's order."""
    if dtype is not None and x.dtype != dtype:
        x = x.to(dtype).div_(255) if x.dtype == torch.uint8 and x.ndim > 2 else x.to(dtype)
    if layout == "channels_last":
        return x.permute(0, 3, 1, 2)  # (b, h, w, c) -> (b, c, h, w), no copy
    return x[:, None] if layout == "gray" else x


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
    n_passes : int, default=1
        Walks over the rows in one epoch, each in an order of its own.
    """

    draw: Callable[[Tensor, int, int], Iterable[Tensor] | None] | None = None
    """The objective's hold on which rows a batch has: see :meth:`robustlabels.training.objective.Objective.draw`."""

    def __init__(self, rows: Rows, batch_size: int, shuffle: bool = False, n_passes: int = 1) -> None:
        self.rows, self.batch_size, self.shuffle, self.n_passes = rows, batch_size, shuffle, n_passes

    @property
    def sizes(self) -> list[int]:
        """Rows in each batch of one walk."""
        return batch_sizes(len(self.rows), self.batch_size, merge_last=self.shuffle)

    def __len__(self) -> int:
        return self.n_passes * len(self.sizes)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for pass_number in range(self.n_passes):
            index = self.rows.index
            parts = None if self.draw is None else self.draw(index, self.batch_size, pass_number)
            if parts is None:
                if self.shuffle:
                    index = index[torch.randperm(len(index)).to(index.device)]
                parts = index.split(self.sizes)
            for part in parts:
                yield self.rows.read(part, pass_number)


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
