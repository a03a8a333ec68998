"""
Which rows bend the decision boundary
=====================================

A linear classifier and two clouds of points. Some rows of one cloud carry the label of the other, far on the wrong
side. They are few, but the boundary turns towards them. Influence functions say by how much each row moves the
solution, without a second fit; taking out the rows that score highest turns the boundary back.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from robustlabels import InfluenceNoiseDetector

# %%
# Rows, and wrong labels
# ----------------------
# An eighth of the upper cloud is labeled as the lower one, all of them on its far right.

X, y = make_blobs(300, centers=[[0, 0], [1.5, 3]], cluster_std=[1.1, 1.1], random_state=3)
upper = np.flatnonzero(y == 1)
flipped = upper[np.argsort(X[upper, 0])[-18:]]
y_noisy = y.copy()
y_noisy[flipped] = 0
wrong = y_noisy != y

# %%
# Influence, and a second fit
# ---------------------------
# The detector solves a ridge-regularized softmax regression once. A row's score is the mean of two ranks: how far it
# moves the solution, and how much it harms the other rows.

detector = InfluenceNoiseDetector(random_state=0).fit(X, y_noisy)
n_removed = wrong.sum()
removed = np.argsort(-detector.noise_scores_)[:n_removed]
kept = np.setdiff1d(np.arange(len(X)), removed)
print(f"of the {n_removed} rows of highest score, {wrong[removed].sum()} are wrong")

classifiers = {
    "right labels": LogisticRegression().fit(X, y),
    "before": LogisticRegression().fit(X, y_noisy),
    "after": LogisticRegression().fit(X[kept], y_noisy[kept]),
}
for name, clf in classifiers.items():
    print(f"{name:14s} accuracy on right labels {clf.score(X, y):.3f}")


def angle(clf):
    """Of the boundary, in degrees."""
    return np.degrees(np.arctan(-clf.coef_[0, 0] / clf.coef_[0, 1]))


turned = {name: abs(angle(clf) - angle(classifiers["right labels"])) for name, clf in classifiers.items()}

# %%
# The figure
# ----------
# Left, all rows: the larger a mark, the more influence. Right, without the rows of highest score.

colors, marks = ("#0072b2", "#e69f00"), ("o", "s")
sizes = 8 + 150 * detector.noise_scores_**8

fig, axes = plt.subplots(1, 2, figsize=(11, 5.2), sharex=True, sharey=True, layout="constrained")
fig.suptitle(
    f"{n_removed} wrong labels turn the boundary by {turned['before']:.0f}°; "
    f"without the most influential rows {turned['after']:.0f}° are left",
    fontsize=14,
    fontweight="bold",
)
across = np.array([-4.0, 5.5])
for ax, name, rows in zip(axes, ("before", "after"), (np.arange(len(X)), kept), strict=True):
    for k, (color, mark) in enumerate(zip(colors, marks, strict=True)):
        its = rows[y_noisy[rows] == k]
        ax.scatter(*X[its].T, s=sizes[its], color=color, marker=mark, alpha=0.75, linewidths=0, label=f"label {k}")
    its = rows[wrong[rows]]
    ax.scatter(*X[its].T, s=sizes[its] + 60, facecolors="none", edgecolors="black", linewidths=1.2, label="wrong label")
    for clf, color, style, text in (
        (classifiers["right labels"], "#777777", "--", "with right labels"),
        (classifiers[name], "black", "-", "fitted"),
    ):
        (a, b), c = clf.coef_[0], clf.intercept_[0]
        ax.plot(across, -(a * across + c) / b, style, color=color, linewidth=2, label=text)
    score = classifiers[name].score(X, y)
    ax.set_title(f"{name}: right on {score:.1%} of the rows", loc="left", fontsize=12)
    ax.set(xlim=(-4, 5.5), ylim=(-3.6, 6.4), xticks=[], yticks=[])
    ax.spines[:].set_color("#cccccc")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
plt.show()
