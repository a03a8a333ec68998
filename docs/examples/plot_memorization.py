"""
Memorization, and how ELR prevents it
=====================================

A network learns the right labels first and the wrong ones later. This example shows it epoch by epoch on images of
digits, of which 40 % of the training labels are wrong. The same network is trained with the same batches and schedule
twice: with plain cross-entropy, and with early-learning regularization (ELR).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from robustlabels import CrossEntropyClassifier, ELRClassifier, detection_report
from robustlabels.noise import SymmetricNoise

# %%
# What to measure, and when
# -------------------------
# skorch's callbacks work as usual. This one records two numbers in the history after every epoch: the accuracy of the
# network on new images with right labels, and the share of the wrong training labels that it predicts.


class Watch(Callback):
    """Record the accuracy of the network on named rows in the history after every epoch."""

    def __init__(self, **rows):
        self.rows = rows

    def on_epoch_end(self, net, **kwargs):
        for name, (X, y) in self.rows.items():
            net.history.record(name, float(np.mean(net.predict(X) == y)))


# %%
# Three seeds, two losses
# -----------------------
# A seed fixes the split, the flips and the network. The two classifiers differ in their loss only, and both use the
# default parameters.

X, y = load_digits(return_X_y=True)
X = X.astype(np.float32)
curves = {"cross-entropy": [], "ELR": []}
for seed in range(3):
    parts = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
    X_train, X_test, y_train, y_test = parts
    noise = SymmetricNoise(0.4, random_state=seed)
    y_noisy = noise.flip(y_train)
    wrong = noise.flip_mask_
    watch = Watch(accuracy=(X_test, y_test), memorized=(X_train[wrong], y_noisy[wrong]))
    for name, method in (("cross-entropy", CrossEntropyClassifier), ("ELR", ELRClassifier)):
        clf = method(callbacks=[("watch", watch)], device="cpu", random_state=seed)
        clf.fit(X_train, y_noisy)
        curves[name].append(clf.history_[:, ("accuracy", "memorized")])

curves = {name: np.array(runs) for name, runs in curves.items()}  # (seeds, epochs, 2)
for name, runs in curves.items():
    accuracy, memorized = runs[:, -1].mean(0)
    print(f"{name:13s}  at the last epoch: accuracy {accuracy:.3f}, wrong labels memorized {memorized:.3f}")

# %%
# The figure
# ----------
# Lines are means over the seeds, and bands extend from the lowest to the highest value. Cross-entropy is best after a
# few epochs and gets worse as it fits the wrong labels. Without clean labels, there is no way to tell when to stop. ELR
# continues to learn from the right labels and repeats few of the wrong ones, so stopping at its last epoch is safe.

colors = {"cross-entropy": "#d55e00", "ELR": "#0072b2"}  # told apart by color-blind readers too
styles = {"cross-entropy": "--", "ELR": "-"}
panels = ("Accuracy on new images, right labels", "Share of wrong training labels repeated")

fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharex=True, layout="constrained")
title = "Cross-entropy memorizes wrong labels; ELR keeps what it learned before"
fig.suptitle(title, fontsize=14, fontweight="bold")
for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
    for name, runs in curves.items():
        epochs = 1 + np.arange(runs.shape[1])
        measured = runs[:, :, number]
        axis.plot(epochs, measured.mean(0), styles[name], color=colors[name], linewidth=2.2)
        low, high = measured.min(0), measured.max(0)
        axis.fill_between(epochs, low, high, color=colors[name], alpha=0.2, linewidth=0)
        axis.annotate(
            name,
            (epochs[-1], measured[:, -1].mean()),
            (6, 0),
            textcoords="offset points",
            va="center",
            color=colors[name],
            fontsize=12,
            fontweight="bold",
        )
    axis.set_title(panel, loc="left", fontsize=12)
    axis.set_xlabel("epoch", fontsize=11)
    axis.set_ylim(0, 1.02)
    axis.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The same fit finds the wrong labels
# -----------------------------------
# Every fitted classifier has a noise score and a flag for each training row, without any further training. Here the
# flips are known, so we can count how many of those of the last seed were found.

print(detection_report(clf.noise_scores_, wrong, noise_mask=clf.noise_mask_))
