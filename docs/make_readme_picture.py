"""README's picture and table: all methods on digits with 40 % wrong labels, five seeds.

Run ``OMP_NUM_THREADS=1 python docs/make_readme_picture.py``; in five to ten minutes it writes
``docs/images/readme.png`` and prints the table.
"""

import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from robustlabels import detection_report
from robustlabels.commands.audit import METHODS
from robustlabels.noise import SymmetricNoise

SEEDS = range(5)
COLORS = {"ce": "#d55e00", "elr": "#0072b2"}  # told apart by color-blind readers, and in print by their brightness


class TestAccuracy(Callback):
    """Record the accuracy on new images with right labels after every epoch."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def on_epoch_end(self, net, **kwargs):
        net.history.record("test_acc", float((net.predict(self.X) == self.y).mean()))


def run(method, seed):
    """Train one method; the classifier, its measures, and the data it had."""
    digits = load_digits()
    X, X_test, y, y_test = train_test_split(
        digits.images.astype(np.uint8)[:, None],
        digits.target,
        test_size=0.25,
        stratify=digits.target,
        random_state=seed,
    )
    noise = SymmetricNoise(0.4, random_state=seed)
    y_noisy = noise.flip(y)
    watch = TestAccuracy(X_test, y_test)
    start = time.process_time()
    clf = METHODS[method](random_state=seed, device="cpu", callbacks=[watch]).fit(X, y_noisy)
    seconds = time.process_time() - start
    found = detection_report(clf.noise_scores_, noise.flip_mask_, noise_mask=clf.noise_mask_)
    figures = [clf.score(X_test, y_test), found.average_precision, found.precision, found.recall, seconds]
    return clf, figures, X, y_noisy, noise.flip_mask_


def draw(curves, clf, X, y_noisy, wrong):
    """Accuracy over epochs on the left, the most suspicious images on the right."""
    figure = Figure(figsize=(11, 4.4), dpi=110)
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    axis = left.subplots(gridspec_kw={"left": 0.11, "right": 0.97, "top": 0.85, "bottom": 0.13})
    for method, label in (("elr", "ELR"), ("ce", "cross-entropy")):
        runs = 100 * np.array(curves[method])  # (seeds, epochs)
        epochs = np.arange(1, runs.shape[1] + 1)
        axis.plot(epochs, runs.mean(0), color=COLORS[method], linewidth=2)
        axis.fill_between(epochs, runs.min(0), runs.max(0), color=COLORS[method], alpha=0.2, linewidth=0)
        axis.text(epochs[-1], runs.mean(0)[-1] - 4, label, color=COLORS[method], fontsize=13, ha="right", va="top")
    axis.set(
        xlabel="epoch (mean and range over five seeds)",
        ylabel="accuracy on new images, %",
        ylim=(40, 101),
        xlim=(1, epochs[-1]),
    )
    axis.spines[["top", "right"]].set_visible(False)
    left.suptitle("40 % of the training labels are wrong:\ncross-entropy learns them by heart, ELR does not", y=0.97)

    worst = np.argsort(-clf.noise_scores_, kind="stable")[:15]
    right.suptitle(
        f"The {len(worst)} labels that ELR finds most suspicious:\n{wrong[worst].sum()} are wrong (given → suggested)",
        y=0.97,
    )
    axes = right.subplots(3, 5, gridspec_kw={"left": 0.03, "right": 0.97, "top": 0.77, "bottom": 0.02, "hspace": 0.42})
    for axis, row in zip(axes.flat, worst, strict=True):
        axis.imshow(X[row, 0], cmap="gray_r")
        axis.set_title(f"{y_noisy[row]} → {clf.suggested_labels_[row]}  {'✓' if wrong[row] else '✗'}", fontsize=11)
        axis.set_axis_off()
    figure.savefig(Path(__file__).parent / "images" / "readme.png")


def main():
    curves, gallery = {}, ()
    print("| class | method | accuracy on new images | average precision | precision | recall | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    for method, estimator in METHODS.items():
        results = [run(method, seed) for seed in SEEDS]
        curves[method] = [clf.history_[:, "test_acc"] for clf, *_ in results]
        if method == "elr":
            clf, _, *gallery = results[0]
            gallery = (clf, *gallery)
        mean, spread = (f(np.array([figures for _, figures, *_ in results]), axis=0) for f in (np.mean, np.std))
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean[:4], spread[:4], strict=True)]
        title = estimator.__doc__.partition("\n")[0].partition(":")[0].rstrip(".")
        print("|", " | ".join([f"`{estimator.__name__}`", title, *cells, f"{mean[4]:.0f}"]), "|", flush=True)
    draw(curves, *gallery)


if __name__ == "__main__":
    main()
