"""Does a refit of every class give the same bits as at another commit?

A change that moves code and changes no behavior must pass this. Every public estimator is fitted on digits, and the
classifiers on small images too; predictions and row attributes must then be equal to the last bit in both versions.

::

    python -m benchmarks.studies.same_bits --against 0a68ab8

Exit status 1 says that something differs. ``--allow noise_rate_`` leaves an attribute out whose meaning was changed on
purpose.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ATTRIBUTES = (
    "noise_scores_",
    "noise_mask_",
    "noise_rate_",
    "noise_rate_interval_",
    "suggested_labels_",
    "suggested_confidence_",
    "transition_matrix_",
    "threshold_",
    "wrong_probability_",
    "label_posterior_",
    "label_quality_",
    "clean_mask_",
    "kept_mask_",
    "soft_labels_",
    "sample_indices_",
)


def estimators() -> dict:
    """Every public estimator, small, by public names alone, so that both commits understand it."""
    from sklearn.linear_model import LogisticRegression

    import robustlabels as rl

    single = ("CrossEntropy", "GCE", "SCE", "CoTeaching", "ELR", "ELRPlus", "MOIT", "MOITPlus", "DivideMix", "PEMM")
    found = {name: getattr(rl, name + "Classifier")(max_epochs=5, random_state=0, device="cpu") for name in single}
    ce = rl.CrossEntropyClassifier(max_epochs=4, random_state=0, device="cpu")
    elr = rl.ELRClassifier(max_epochs=4, random_state=0, device="cpu")
    found |= {
        "CE, strong views": rl.CrossEntropyClassifier(max_epochs=4, augment="strong", random_state=0, device="cpu"),
        "ELR, distance head": rl.ELRClassifier(max_epochs=4, head="distance", random_state=0, device="cpu"),
        "ELR, settings of the paper": rl.ELRClassifier.from_paper("cifar10-sym", max_epochs=3, random_state=0),
        "SANM(CE)": rl.SANMClassifier(ce, random_state=0),
        "SANM(ELR)": rl.SANMClassifier(elr, random_state=0),
        "IR(CE)": rl.InfluentialRankClassifier(ce, max_rounds=2, random_state=0),
        "IR(LR)": rl.InfluentialRankClassifier(LogisticRegression(max_iter=200), max_rounds=2, random_state=0),
        "knn": rl.KNNNoiseDetector(device="cpu"),
        "small loss": rl.SmallLossNoiseDetector(elr, random_state=0),
        "confident learning": rl.ConfidentLearningNoiseDetector(cv=3, random_state=0),
        "estimator": rl.EstimatorNoiseDetector(elr, random_state=0),
        "influence": rl.InfluenceNoiseDetector(random_state=0),
        "ensemble": rl.EnsembleNoiseDetector(
            [("knn", rl.KNNNoiseDetector(device="cpu")), ("influence", rl.InfluenceNoiseDetector(random_state=0))]
        ),
        "auto": rl.AutoNoiseDetector(n_repeats=1, random_state=0, device="cpu"),
        "fdr": rl.KNNNoiseDetector(threshold="fdr", device="cpu"),
    }
    for strategy in ("drop", "weight", "relabel"):
        detector = rl.KNNNoiseDetector(device="cpu")
        found[strategy] = rl.NoiseAwareClassifier(LogisticRegression(max_iter=200), detector, strategy=strategy)
    found["filter"] = rl.NoiseFilter(rl.KNNNoiseDetector(device="cpu"))
    return found


def fingerprints() -> dict[str, str]:
    """A checksum of every result of every fit."""
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    from robustlabels.noise import SymmetricNoise

    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X, y = X[:500].astype(np.float32), SymmetricNoise(0.3, random_state=0).flip(y[:500])
    images = (X.reshape(-1, 8, 8, 1) * 15).astype(np.uint8)
    found: dict[str, str] = {}

    def note(name: str, value: object) -> None:
        array = np.ascontiguousarray(np.asarray(value))
        data = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
        found[name] = f"{array.dtype} {array.shape} {hashlib.sha256(data).hexdigest()[:16]}"

    for name, estimator in estimators().items():
        is_network = hasattr(estimator, "max_epochs") and "paper" not in name and "views" not in name
        for kind, rows in {"rows": X, **({"images": images[:200]} if is_network else {})}.items():
            if "paper" in name:
                estimator.set_params(module="mlp", augment=None, device="cpu")
            if hasattr(estimator, "fit_resample"):
                note(f"{name}, {kind}: rows kept", estimator.fit_resample(rows, y[: len(rows)])[0])
            else:
                estimator.fit(rows, y[: len(rows)])
            for attribute in ATTRIBUTES:
                if hasattr(estimator, attribute):
                    note(f"{name}, {kind}: {attribute}", getattr(estimator, attribute))
            for method in ("predict_proba", "predict"):
                if hasattr(estimator, method):
                    note(f"{name}, {kind}: {method}", getattr(estimator, method)(rows))
            if hasattr(estimator, "score_labels"):
                with contextlib.suppress(NotImplementedError):
                    note(f"{name}, {kind}: score_labels", estimator.score_labels(rows[:50], y[:50]))
    return found


def main() -> int:
    """Compare this working tree with a commit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMIT", default="HEAD")
    parser.add_argument("--allow", nargs="*", default=[], metavar="ATTRIBUTE", help="attributes that may differ")
    parser.add_argument("--print", action="store_true", help="only print the checksums of this tree")
    args = parser.parse_args()
    if args.print:
        json.dump(fingerprints(), sys.stdout)
        return 0
    here, script = Path.cwd(), Path(__file__).resolve()
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        subprocess.run(["git", "worktree", "add", "--detach", "--quiet", str(other), args.against], check=True)
        try:
            both = []
            for tree in (other, here):
                environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
                command = [sys.executable, "-W", "ignore", str(script), "--print"]
                done = subprocess.run(command, env=environment, cwd=tree, check=True, stdout=subprocess.PIPE)
                both.append(json.loads(done.stdout))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], check=True)
    then, now = both
    names = [name for name in {**then, **now} if name.rpartition(": ")[2] not in args.allow]
    differing = [name for name in names if then.get(name) != now.get(name)]
    print(f"{len(names)} results compared, {len(differing)} differ")
    for name in differing:
        print(f"  {name}: {then.get(name)} then, {now.get(name)} now")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
