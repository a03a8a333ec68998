"""Scoring 50 000 samples by influence: seconds and memory beyond the features, against fixed limits.

The only benchmark against a clock: what is asked for is that it stays feasible, in two minutes and 2 GiB. Both are
taken in a process of their own, the first as CPU seconds of one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed.harness import Ratio, benchmark
from benchmarks.speed.memory import peak

LIMIT_SECONDS, LIMIT_BYTES = 120, 2 << 30


@benchmark
def influence(quick: bool) -> Iterator[Ratio]:
    """Influence scores of 50k x 512 features of 100 classes: CPU seconds over 2 minutes, extra memory over 2 GiB."""
    n, d, k = (2_000, 64, 10) if quick else (50_000, 512, 100)
    for where in "array", "memory map":
        runs = []
        for _ in range(1 if quick else 3):
            command = [sys.executable, "-m", "benchmarks.speed.influence_scores", where, str(n), str(d), str(k)]
            runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        case = f"{n:,} x {d}, {k} classes, {where}"
        seconds = {"seconds": sorted(run["seconds"] for run in runs)[len(runs) // 2]}
        values = [run["seconds"] / LIMIT_SECONDS for run in runs]
        yield Ratio(case, "seconds of one core / 120", values, at_least=False, target=1, seconds=seconds)
        values = [run["extra"] / LIMIT_BYTES for run in runs]
        yield Ratio(case, "memory beyond the features / 2 GiB", values, at_least=False, target=1)


def measure(where: str, n: int, d: int, k: int) -> dict[str, float]:
    """Seconds and extra bytes of one scoring, in this process; resident pages of a memory map count as features."""
    import numpy as np
    import torch

    from robustlabels.maths.influence_functions import influence_scores

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y = rng.integers(k, size=n)
    mixing = rng.normal(size=(d, d)).astype("float32") / np.sqrt(d)
    with tempfile.TemporaryDirectory() as folder:
        features = np.lib.format.open_memmap(Path(folder) / "x.npy", mode="w+", dtype="float32", shape=(n, d))
        centers = rng.normal(size=(k, d)).astype("float32")
        for rows in np.array_split(
            np.arange(n), max(1, n // 1000)
        ):  # correlated and half of them zero, as after a ReLU
            raw = 2 * rng.normal(size=(len(rows), d)).astype("float32") + centers[y[rows]]
            features[rows] = np.maximum(raw @ mixing, 0)
        wrong = rng.random(n) < 0.4
        given = np.where(wrong, rng.integers(k, size=n), y)
        features = np.array(features) if where == "array" else features
        influence_scores(features[:500], given[:500] % 3, 3, backend="kfac")  # libraries warm
        before, started = peak(), time.process_time()
        influence_scores(features, given, k)
        return {"seconds": time.process_time() - started, "extra": peak() - before}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))
