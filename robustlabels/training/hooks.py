"""Hooks that run at every epoch but stay out of the net's pickle: the checkpoint file and the progress bar.

Both implement :class:`robustlabels.training.net.EpochHook`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustlabels.training.files import replace_file
from robustlabels.training.net import RobustNet
from robustlabels.training.objective import Objective


class CheckpointFile:
    """Write everything that a fit needs to resume, at the ends of epochs, in one atomic move.

    The file is written after the first and the last epoch. In between, it is written as often as takes about a
    twentieth of the time.

    Parameters
    ----------
    path : str or Path
        The file.
    identity : dict of str
        Checksums and descriptions of the data and the parameters. A fit resumes only from a file with the same ones.
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        self.path, self.identity = Path(path), dict(identity)
        self.next_time = 0.0

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Do nothing."""

    def on_epoch_end(self, net: RobustNet) -> None:
        """Write the file if enough time has passed, or if this was the last epoch."""
        started = time.monotonic()
        last = len(net.history) == net.first_epoch_ + net.n_epochs_
        if started < self.next_time and not last:
            return
        state = {
            "identity": self.identity,
            "module": net.module_.state_dict(),
            "criterion": net.criterion_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            # skorch adds an empty "batches" entry to every row that it creates, so restore() need not set it.
            "history": [{k: v for k, v in row.items() if k != "batches"} for row in net.history],
            "epochs": [net.first_epoch_, net.n_epochs_],
            "rng": torch.get_rng_state(),
            "device_rng": _device_rng(net.device),
        }
        replace_file(self.path, lambda partial: torch.save(state, partial))
        done = time.monotonic()
        self.next_time = done + 20 * (done - started)

    def read(self) -> dict[str, Any] | None:
        """Return the stored state, or None if the file does not exist yet.

        Raises
        ------
        ValueError
            If the file was written by a fit of other data or with other parameters.
        """
        if not self.path.exists():
            return None
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        then, now = state["identity"], self.identity
        differing = [key for key in {**now, **then} if then.get(key) != now.get(key)]
        if differing:
            raise ValueError(
                f"The checkpoint {str(self.path)!r} belongs to another fit: {', '.join(differing)} "
                f"differ{'s' if len(differing) == 1 else ''}; delete the file to start again, or set checkpoint= to "
                "another file."
            )
        return state


def _device_rng(device: str) -> Tensor | None:
    return torch.cuda.get_rng_state(device) if torch.device(device).type == "cuda" else None


LINE_SECONDS = 5.0
"""Shortest time between two lines of progress where a bar cannot be redrawn in place."""


class ProgressBar:
    """Show the progress of a fit on standard error: epochs, loss, estimated noise, samples per second, time left.

    A terminal or a notebook gets a bar that is redrawn in place. A log gets a line of text every few seconds and one
    at the end, since every redrawing of a bar would be kept there.

    Parameters
    ----------
    epochs : int
        Epochs of the fit.
    y : Tensor of shape (n_samples,), int64
        The given labels.
    """

    def __init__(self, epochs: int, y: Tensor) -> None:
        from tqdm.auto import tqdm
        from tqdm.notebook import tqdm_notebook

        self.y = y
        in_place = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)  # a notebook's stderr is no terminal
        self.bar: Any = tqdm(total=epochs, unit="epoch", dynamic_ncols=True) if in_place else ProgressLines(epochs)

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Do nothing: the bar advances at the end of an epoch."""

    def on_epoch_end(self, net: RobustNet) -> None:
        """Advance by one epoch, with the numbers of that epoch."""
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


class ProgressLines:
    """Progress for a log: a line of text at most every few seconds, and always one for the last epoch.

    The methods are those of tqdm's bar that :class:`ProgressBar` calls.

    Parameters
    ----------
    total : int
        Epochs of the fit.
    clock : callable, default=time.monotonic
        Returns seconds.
    """

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.clock = total, clock
        self.start = clock()
        self.next_time = self.start + LINE_SECONDS
        self.done = self.written = 0
        self.numbers = ""

    def set_postfix(self, shown: Mapping[str, str], refresh: bool = True) -> None:
        """Take the numbers that the next line shows."""
        self.numbers = "".join(f", {name}={value}" for name, value in shown.items())

    def update(self) -> None:
        """Count an epoch, and write a line if the last one is old enough."""
        self.done += 1
        if self.clock() >= self.next_time:
            self._write()

    def close(self) -> None:
        """Write the last epoch unless it is written: a fit may end early, or be interrupted."""
        if self.done > self.written:
            self._write()

    def _write(self) -> None:
        seconds = self.clock() - self.start
        left = seconds / self.done * (self.total - self.done)
        times = f"{_minutes(seconds)} elapsed, {_minutes(left)} left"
        # sys.stderr is looked up at every line, since pytest and loggers replace it while a program runs.
        print(f"epoch {self.done}/{self.total}: {times}{self.numbers}", file=sys.stderr, flush=True)
        self.written, self.next_time = self.done, self.clock() + LINE_SECONDS


def _minutes(seconds: float) -> str:
    """Format a duration as minutes and seconds, or with hours if it is that long."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def disagreement(objective: Objective, y: Tensor, device: str = "cpu", chunk: int = 65536) -> float | None:
    """Return the share of visited rows whose most probable class, by the objective's memory, is not the given label.

    Parameters
    ----------
    objective : Objective
        Asked for its ``posterior``.
    y : Tensor of shape (n_samples,), int64
        Given labels, on the CPU.
    device : str, default="cpu"
        Where the objective's memory is.
    chunk : int, default=65536
        Number of rows asked for at a time.

    Returns
    -------
    float or None
        None for an objective without class probabilities.
    """
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
