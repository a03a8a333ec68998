"""Training rows: where X and y are stored during a fit, and how they are divided into batches.

Arrays stay in one piece on the training device. Memory maps and large lazy views are read batch by batch.
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
"""Lazy inputs (paths, views) up to this size are decoded once and kept in their own dtype, which is usually uint8."""


SMALL_BATCH = 32
"""Smallest batch of flat rows that is sent through a network at prediction; see :meth:`RobustNet.outputs`."""


class Rows(Dataset):
    """Rows of X with their labels, read in batches on the training device.

    Parameters
    ----------
    x : ndarray, Tensor or lazy container of shape (n_samples, ...)
        Stored once. On the CPU, a plain array is shared with the caller; a memory map or a read-only array is read
        batch by batch. On another device, an array is copied there once if it takes less than half of the free memory,
        and is read batch by batch otherwise. A lazy view is decoded once, or read batch by batch if it is too large.
    y : Tensor of shape (n_samples,), int64, or None
        Class numbers; None for rows to predict.
    n_classes : int, default=0
        Number of classes; 0 for rows to predict.
    index : Tensor of shape (n_rows,), int64, or None
        Which rows of ``x`` these are; None takes all. A subset shares the storage of the whole.
    soft_labels : Tensor of shape (n_samples, n_classes) or None
        Label distributions, used in place of ``y``.
    weight : Tensor of shape (n_samples,) or None
        Sample weights; None is one for every row.
    layout : {"as_is", "channels_last", "gray"}
        How one row of ``x`` becomes what the module receives: unchanged, (h, w, c) -> (c, h, w), or
        (h, w) -> (1, h, w).
    dtype : torch.dtype or None
        What a batch is cast to; None leaves it unchanged. uint8 images are divided by 255 when they are cast.
    device : str
        The training device.
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
        self.x = _store(x, device)
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
        """Return the rows with these numbers, which share the storage."""
        part = copy.copy(self)
        part.index = index
        return part

    def take(self, positions: Sequence[int]) -> Rows:
        """Return the rows at these positions of ``index``, which share the storage."""
        return self.at(self.index[torch.as_tensor(np.asarray(positions), device=self.index.device)])

    def inputs(self, index: Tensor) -> Tensor:
        """Return the module's inputs for the rows numbered ``index``."""
        if isinstance(self.x, Tensor):
            x = self.x.index_select(0, index)
        else:
            x = torch.from_numpy(_gather(self.x, index.cpu().numpy())).to(self.device)
        return as_inputs(x, self.layout, self.dtype)

    def read(self, index: Tensor, pass_number: int = 0) -> tuple[dict[str, Any], Tensor]:
        """Return one batch as skorch's pair (X, y). X is a dict that also holds row numbers, pass and weights."""
        x = {"x": self.inputs(index), "index": index, "pass_number": pass_number}
        if self.weight is not None:
            x["weight"] = self.weight.index_select(0, index)
        if self.soft_labels is not None:
            x["soft_labels"] = self.soft_labels.index_select(0, index)
        return x, self.y.index_select(0, index)

    def batch(self, x: Mapping[str, Any], y: Tensor) -> Batch:
        """Return the same batch in the form that objectives take."""
        if "soft_labels" in x:
            target = x["soft_labels"]  # (b, n_classes)
        else:
            target = torch.zeros(len(y), self.n_classes, device=y.device).scatter_(1, y[:, None], 1.0)
        weight = x["weight"] if "weight" in x else target.new_ones(()).expand(len(y))
        return Batch(x["x"], target, x["index"], weight, x["pass_number"])


def as_inputs(x: Tensor, layout: str, dtype: torch.dtype | None) -> Tensor:
    """Cast a batch and bring its axes into the module's order.

    Parameters
    ----------
    x : Tensor of shape (b, ...)
        Rows as they are stored.
    layout, dtype
        As in :class:`Rows`.

    Returns
    -------
    Tensor of shape (b, ...)
    """
    if dtype is not None and x.dtype != dtype:
        # Rows of a table are not images: a uint8 column is a number, which must not be scaled. div_ works in place on
        # the copy that the cast made.
        x = x.to(dtype).div_(255) if x.dtype == torch.uint8 and x.ndim > 2 else x.to(dtype)
    if layout == "channels_last":
        return x.permute(0, 3, 1, 2)  # (b, h, w, c) -> (b, c, h, w), no copy
    return x[:, None] if layout == "gray" else x


def _store(x: Any, device: str) -> Any:
    """Return X as a tensor on the device, or X itself if it has to be read batch by batch."""
    if isinstance(x, Tensor):
        return x.detach().to(device)
    lazy = not isinstance(x, np.ndarray)
    if lazy and math.prod(x.shape) * np.dtype(x.dtype).itemsize <= READ_AHEAD_BYTES:
        return torch.from_numpy(_gather(x, np.arange(len(x)))).to(device)
    if lazy or (torch.device(device).type == "cpu" and not x.flags.writeable) or x.nbytes > _data_budget(device):
        return x
    # PyTorch takes neither read-only arrays nor negative strides, such as those of X[::-1], nor foreign byte orders.
    x = x if x.flags.writeable and min(x.strides, default=0) >= 0 else x.copy()
    return torch.from_numpy(x.astype(x.dtype.newbyteorder("="), copy=False)).to(device)


def _data_budget(device: str) -> float:
    """Return how many bytes the data may take on a device: half of what is free, which leaves the rest to training."""
    return torch.cuda.mem_get_info(device)[0] / 2 if torch.device(device).type == "cuda" else math.inf


def _gather(x: Any, index: np.ndarray) -> np.ndarray:
    """Return rows of a memory map or a lazy view as a new array; files are decoded in threads."""
    if isinstance(x, np.ndarray):
        return x[index]
    # A view with a method read(rows) decodes many rows at once; others are asked for one row at a time.
    read = getattr(x, "read", None) or (lambda rows: np.stack([np.asarray(x[int(i)]) for i in rows]))
    if len(index) < SMALL_BATCH:
        return np.ascontiguousarray(read(index))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return np.concatenate(list(pool.map(read, np.array_split(index, 8))))


class Batches:
    """An iterable of batches of :class:`Rows`, which draws a new order every time.

    Parameters
    ----------
    rows : Rows
        The rows.
    batch_size : int
        Rows in a batch.
    shuffle : bool, default=False
        Draw a new order for every pass, from PyTorch's default generator. While shuffling, a last batch of one row is
        merged with the batch before it, because batch normalization has no variance over one row.
    n_passes : int, default=1
        Passes over the rows in one iteration, each in its own order.
    """

    draw: Callable[[Tensor, int, int], Iterable[Tensor] | None] | None = None
    """The method by which an objective chooses the rows of each batch itself; see
    :meth:`robustlabels.training.objective.Objective.draw`."""

    def __init__(self, rows: Rows, batch_size: int, shuffle: bool = False, n_passes: int = 1) -> None:
        self.rows, self.batch_size, self.shuffle, self.n_passes = rows, batch_size, shuffle, n_passes

    @property
    def sizes(self) -> list[int]:
        """Number of rows in each batch of one pass."""
        return batch_sizes(len(self.rows), self.batch_size, merge_last=self.shuffle)

    def __len__(self) -> int:
        return self.n_passes * len(self.sizes)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for pass_number in range(self.n_passes):
            index = self.rows.index
            parts = None if self.draw is None else self.draw(index, self.batch_size, pass_number)
            if parts is None:
                if self.shuffle:
                    # Drawn on the CPU, so that a seed gives the same order on every device.
                    index = index[torch.randperm(len(index)).to(index.device)]
                parts = index.split(self.sizes)
            for part in parts:
                yield self.rows.read(part, pass_number)


def batch_sizes(n: int, batch_size: int, *, merge_last: bool) -> list[int]:
    """Return the sizes of the batches that ``n`` rows are divided into.

    Parameters
    ----------
    n : int
        Number of rows.
    batch_size : int
        Rows in a batch.
    merge_last : bool
        Whether a last batch of one row is merged with the batch before it.

    Returns
    -------
    list of int

    Examples
    --------
    >>> batch_sizes(9, 4, merge_last=False), batch_sizes(9, 4, merge_last=True)
    ([4, 4, 1], [4, 5])
    """
    sizes = [batch_size] * (n // batch_size) + ([n % batch_size] if n % batch_size else [])
    if merge_last and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    return sizes
