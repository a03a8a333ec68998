"""Peak memory, in a process of its own: inside a used one, freed blocks hide what a fit takes."""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.speed.harness import Ratio, benchmark


@benchmark
def memory(quick: bool) -> Iterator[Ratio]:
    """Peak memory of a fit to uint8 images, beyond torch and us warmed up, over the size of X (which it includes)."""
    n = 5_000 if quick else 50_000
    for name, target in ("CrossEntropyClassifier", 1.5), ("ELRClassifier", 1.5), ("MOITClassifier", None):
        runs = []
        for _ in range(1 if quick or target is None else 3):
            command = [sys.executable, "-m", "benchmarks.speed.memory", name, str(n)]
            runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        yield Ratio(
            f"{name}, {n:,} of 32x32x3",
            "peak / X",
            [run["peak"] / run["X"] for run in runs],
            at_least=False,
            target=target,
        )


def peak() -> int:
    """Bytes this process ever held. ru_maxrss would start at what its parent held when it forked."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> int:
    """Give freed blocks back and let the peak start at what is held now, where the system can; bytes that are held."""
    gc.collect()
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # not Linux: the peak stays what it was
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def measure(name: str, n: int) -> dict[str, int]:
    """One epoch of a tiny net, in this process."""
    import numpy as np
    import torch
    from torch import nn

    import robustlabels

    torch.set_num_threads(1)
    tiny = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 10))
    settings = {"max_epochs": 1, "batch_size": 128, "device": "cpu", "precision": "float32", "random_state": 0}
    estimator = getattr(robustlabels, name)(tiny, **settings)
    rng = np.random.default_rng(0)

    def images(n: int) -> np.ndarray:
        return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)

    estimator.fit(images(2_000), rng.integers(0, 10, 2_000))
    before = peak()
    x, y = images(n), rng.integers(0, 10, n)
    estimator.fit(x, y)
    return {"peak": peak() - before, "X": x.nbytes}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
