"""
Four detectors on flips from class to class
===========================================

Flips that go from each class to one other are the hard kind: they look like a mistake that people make, and a model
takes them over. Four detectors look for them in the digits, in 40 % of the labels. All of them score every row; none is
told how many labels are wrong.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from robustlabels import (
    AutoNoiseDetector,
    ConfidentLearningNoiseDetector,
    KNNNoiseDetector,
    SmallLossNoiseDetector,
    detection_report,
)
from robustlabels.noise import PairNoise

# %%
# The labels
# ----------
# 0 becomes 1, 1 becomes 2, and so on.

X, y = load_digits(return_X_y=True)
noise = PairNoise(0.4, random_state=0)
y_noisy = noise.flip(y)
wrong = noise.flip_mask_

# %%
# The detectors
# -------------
# *Auto* multiplies what two small networks believed early in training and the vote of the neighbors, and counts how
# often each class is taken for which. *k-NN* is the vote alone, *small loss* the training dynamics of one network,
# *confident learning* the out-of-fold probabilities of a logistic regression.

detectors = {
    "Auto": AutoNoiseDetector(device="cpu", random_state=0),
    "k-NN": KNNNoiseDetector(device="cpu"),
    "small loss": SmallLossNoiseDetector(random_state=0),
    "confident learning": ConfidentLearningNoiseDetector(LogisticRegression(max_iter=1000), random_state=0),
}
reports = {}
for name, detector in detectors.items():
    detector.fit(X / 16, y_noisy)
    reports[name] = detection_report(detector.noise_scores_, wrong, noise_mask=detector.noise_mask_)
    report = reports[name]
    print(f"{name:20s} AP {report.average_precision:.3f}   flagged: ", end="")
    print(f"precision {report.precision:.2f}, recall {report.recall:.2f}; noise {detector.noise_rate_:.1%}")

# %%
# The figure
# ----------
# Down each list from the top: how many of the wrong labels were met (recall), and which share of what was met is wrong
# (precision). The mark is where the detector stops to flag.

colors = ("#0072b2", "#009e73", "#e69f00", "#d55e00")
styles = ("-", "--", "-.", ":")
marks = ("o", "s", "D", "X")

fig, ax = plt.subplots(figsize=(8.4, 5), layout="constrained")
for (name, detector), color, style, mark in zip(detectors.items(), colors, styles, marks, strict=True):
    precision, recall, _ = precision_recall_curve(wrong, detector.noise_scores_)
    report = reports[name]
    label = f"{name}: {report.average_precision:.2f}"
    enough = recall > 0.02  # the share of the first few rows is anything
    ax.plot(recall[enough], precision[enough], style, color=color, linewidth=2.4)
    ax.plot(report.recall, report.precision, mark, color=color, markersize=10, markeredgecolor="white", zorder=3)
    ax.plot([], [], style, marker=mark, color=color, linewidth=2.4, markersize=9, markeredgecolor="white", label=label)
ax.axhline(wrong.mean(), color="#777777", linewidth=1)
ax.annotate(
    "a random order", (1, wrong.mean()), (-4, -5), textcoords="offset points", va="top", ha="right", color="#555555"
)
ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
ax.set_title(
    "Flips to the next class hide from confident learning alone",
    loc="left",
    fontsize=13,
    fontweight="bold",
)
ax.legend(title="average precision", frameon=False, loc="lower left", alignment="left")
ax.grid(alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
