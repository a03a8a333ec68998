"""Confident learning on given probabilities, against cleanlab: the same issues, sooner and in less memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from benchmarks.speed.harness import Ratio, Skip, benchmark, compare
from benchmarks.speed.memory import peak
from robustlabels.maths.confident_joint import find_label_issues, label_quality

MIB = 1 << 20


def probabilities(n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, three in ten of them drawn anew, and softmaxes that know both the true and the given class."""
    rng = np.random.default_rng(0)
    true = rng.integers(n_classes, size=n)
    y = np.where(rng.random(n) < 0.3, rng.integers(n_classes, size=n), true)
    p = np.empty((n, n_classes), dtype=np.float32)
    for start in range(0, n, 20_000):  # in parts: what is made here must not hide what is measured
        part = p[start : start + 20_000]
        rows = np.arange(len(part))
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        part[rows, true[start : start + 20_000]] += 2.5
        part[rows, y[start : start + 20_000]] += 1
        np.exp(part, out=part)
        part /= part.sum(1, keepdims=True)
    return y, p


@benchmark
def confident(quick: bool) -> Iterator[Ratio]:
    """Label issues by noise rate, of given probabilities, against cleanlab in one process; the issues are the same."""
    try:
        from cleanlab.filter import find_label_issues as cleanlab_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise Skip("needs cleanlab") from error

    n = 50_000 if quick else 1_000_000
    how = {"rounds": 3 if quick else 7, "budget": 60.0}
    for n_classes, speedup in (10, 3), (100, 5):
        y, p = probabilities(n, n_classes)
        case = f"{n:,} x {n_classes}"

        def theirs(y: np.ndarray = y, p: np.ndarray = p) -> np.ndarray:
            return cleanlab_issues(y, p, n_jobs=1)

        def ours(y: np.ndarray = y, p: np.ndarray = p) -> np.ndarray:
            return find_label_issues(y, p)

        assert np.array_equal(theirs(), ours()), "other issues than cleanlab's"
        yield compare(
            f"{case}, issues", ("cleanlab", theirs), ("ours", ours), speedup=None if quick else speedup, **how
        )

        def their_margin(y: np.ndarray = y, p: np.ndarray = p) -> np.ndarray:
            return get_label_quality_scores(y, p, method="normalized_margin")

        def our_margin(y: np.ndarray = y, p: np.ndarray = p) -> np.ndarray:
            return label_quality(y, p, method="normalized_margin")

        np.testing.assert_allclose(their_margin(), our_margin(), atol=1e-6)
        yield compare(f"{case}, normalized margin", ("cleanlab", their_margin), ("ours", our_margin), **how)
        del y, p
        extra = {name: _extra(name, n, n_classes) for name in ("cleanlab", "ours")}
        print(f"  memory beyond the probabilities, MiB: { ({k: round(v / MIB) for k, v in extra.items()}) }")
        yield Ratio(
            f"{case}, memory of the issues",
            "cleanlab / ours",
            [extra["cleanlab"] / extra["ours"]],
            at_least=True,
            target=5 if n_classes == 100 and not quick else None,
        )


def _extra(name: str, n: int, n_classes: int) -> int:
    """Bytes a process of its own takes beyond the probabilities; at least one MiB, so that ratios stay finite."""
    command = [sys.executable, "-m", "benchmarks.speed.label_issues", name, str(n), str(n_classes)]
    return max(MIB, json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure(name: str, n: int, n_classes: int) -> int:
    """What finding issues adds to this process."""
    if name == "cleanlab":
        from cleanlab.filter import find_label_issues as find

        how = {"n_jobs": 1}
    else:
        find, how = find_label_issues, {}
    find(*probabilities(2_000, n_classes), **how)
    y, p = probabilities(n, n_classes)
    before = peak()
    find(y, p, **how)
    return peak() - before


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
