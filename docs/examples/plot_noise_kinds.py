"""
Three kinds of label noise
==========================

In each of three panels, a third of the labels is wrong. They differ in which wrong label a row gets and in what that
depends on, and both decide how hard the noise is to detect.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.neighbors import NearestNeighbors

from robustlabels.noise import InstanceDependentNoise, PairNoise, SymmetricNoise

# %%
# The same rows, three simulators
# -------------------------------
# With *symmetric* noise, a wrong label is any other class with the same probability. With *pair* noise, it is always
# the next class. With *instance-dependent* noise, the probability of each class depends on the features of the row, and
# each row draws its own flip rate.

X, y = make_blobs(1200, centers=[[0, 0], [6, 0], [3, 5]], cluster_std=1.1, random_state=0)
simulators = {
    "symmetric": SymmetricNoise(0.33, random_state=0),
    "pair": PairNoise(0.33, random_state=0),
    "instance-dependent": InstanceDependentNoise(0.33, random_state=18),
}

# %%
# How much does the position of a row tell about its wrong label? For each wrong label, we take the nearest other wrong
# label of the same true class. How often are the two labels equal? Two wrong labels are possible, so by chance they are
# equal half of the time, and always with pair noise.


def same_as_nearest(given, wrong):
    """Return the share of wrong labels whose nearest wrong row of the same true class has the same label."""
    same = []
    for k in range(3):
        rows = np.flatnonzero(wrong & (y == k))
        nearest = NearestNeighbors(n_neighbors=1).fit(X[rows]).kneighbors(return_distance=False)[:, 0]
        same.append(given[rows] == given[rows[nearest]])
    return np.concatenate(same).mean()


results = {}
for name, simulator in simulators.items():
    given = simulator.flip(y, 3 * (X - X.mean(0)) / X.std(0))
    wrong = given != y
    matrix = np.stack([np.bincount(given[y == k], minlength=3) for k in range(3)]) / np.bincount(y)[:, None]
    results[name] = given, wrong, matrix, same_as_nearest(given, wrong)
    print(f"{name:20s} {wrong.mean():.1%} wrong; the nearest wrong label is the same in {results[name][3]:.0%}")

# %%
# The figure
# ----------
# The upper panels show the transition matrices as counted. The lower panels show the rows: pale if the label is right,
# and in the color and shape of the given label if it is wrong. Symmetric flips are mixed all over a class, pair flips
# are all the same, and instance-dependent flips change from one side of a class to the other. The last two look like
# another group of the wrong class, which a network learns as easily as the class itself.

colors, marks = ("#0072b2", "#d55e00", "#009e73"), ("o", "s", "^")

fig, axes = plt.subplots(2, 3, figsize=(11, 7.4), height_ratios=[1, 1.4], layout="constrained")
fig.suptitle(
    "One third wrong in three ways: spread evenly, all to one class, or by position", fontsize=14, fontweight="bold"
)
fig.get_layout_engine().set(hspace=0.05)
for (top, bottom), (name, (given, wrong, matrix, same)) in zip(axes.T, results.items(), strict=True):
    top.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(matrix):
        top.text(j, i, f"{100 * share:.0f}", ha="center", va="center", color="white" if share > 0.5 else "black")
    top.set(xticks=range(3), yticks=range(3), xlabel="given label, % of the row", ylabel="true class")
    top.set_title(name, loc="left", fontsize=13)
    top.spines[:].set_visible(False)
    top.tick_params(length=0)
    bottom.scatter(*X[~wrong].T, s=6, color="#dddddd", linewidths=0)
    for k, (color, mark) in enumerate(zip(colors, marks, strict=True)):
        bottom.scatter(*X[wrong & (given == k)].T, s=18, color=color, marker=mark, linewidths=0, label=f"label {k}")
    bottom.set(xticks=[], yticks=[])
    bottom.set_title(f"nearest wrong label is the same: {same:.0%}", loc="left", fontsize=11)
    bottom.set_aspect("equal")
    bottom.spines[:].set_color("#cccccc")
    for k, position in enumerate(([-3.4, 2.6], [9.4, 2.6], [5.8, 7.4])):
        bottom.annotate(f"class {k}", position, ha=("left", "right", "left")[k], va="center", fontsize=10)
marked = axes[1, 0].get_legend_handles_labels()
fig.legend(*marked, loc="outside lower center", ncols=3, frameon=False, title="wrong rows, by their label")
plt.show()
