"""Hooks that run at every epoch but stay out of the net's pickle: the checkpoint file and the progress bar.

Both implement :class:`robustlabels.training.net.EpochHook`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
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


class ProgressBar:
    """Show one bar per fit on standard error: epoch, loss, estimated noise, samples per second, time left."""

    def __init__(self, epochs: int, y: Tensor) -> None:
        from tqdm.auto import tqdm  # imported here because most fits show no bar

        self.y = y
        self.bar = tqdm(total=epochs, unit="epoch", dynamic_ncols=True)

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Do nothing."""

    def on_epoch_end(self, net: RobustNet) -> None:
        """Advance the bar by one epoch and update its numbers."""
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
