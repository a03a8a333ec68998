"""
Three kinds of label noise
==========================

A third of the labels is wrong in each of the three panels, and that is all they have in common. Which wrong label a row
gets, and what that depends on, decides how hard the noise is to see.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.neighbors import NearestNeighbors

from robustlabels.noise import InstanceDependentNoise, PairNoise, SymmetricNoise

# %%
# The same rows, three simulators
# -------------------------------
# *Symmetric*: any other class, with the same probability. *Pair*: always the next class. *Instance-dependent*: how
# probable each of the other classes is depends on the features of the row; each row also draws a flip rate of its own.

X, y = make_blobs(1200, centers=[[0, 0], [6, 0], [3, 5]], cluster_std=1.1, random_state=0)
simulators = {
    "symmetric": SymmetricNoise(0.33, random_state=0),
    "pair": PairNoise(0.33, random_state=0),
    "instance-dependent": InstanceDependentNoise(0.33, random_state=18),
}

# %%
# How much does a place say? For each wrong label we look at the nearest other wrong label of the same class: how often
# is it the same one? Half of the time is chance, where two labels are possible.


def same_as_nearest(given, wrong):
    """Share of wrong labels whose nearest wrong row, of the same true class, has the same label."""
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
# Above, the transition matrices as counted. Below, the rows: pale where the label is right, in the color and shape of
# the label they were given where it is wrong. Symmetric flips are mixed all over a class, pair flips are all alike, and
# instance-dependent ones change from one side of a class to the other. The last two look like a second kind of the
# wrong class, which a network learns as readily as the first.

colors, marks = ("#0072b2", "#d55e00", "#009e73"), ("o", "s", "^")

fig, axes = plt.subplots(2, 3, figsize=(11, 7.4), height_ratios=[1, 1.4], layout="constrained")
fig.suptitle(
    "One third wrong, three ways: spread evenly, all to one class, or by the place", fontsize=14, fontweight="bold"
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
    bottom.set_title(f"nearest wrong label the same: {same:.0%}", loc="left", fontsize=11)
    bottom.set_aspect("equal")
    bottom.spines[:].set_color("#cccccc")
    for k, place in enumerate(([-3.4, 2.6], [9.4, 2.6], [5.8, 7.4])):
        bottom.annotate(f"class {k}", place, ha=("left", "right", "left")[k], va="center", fontsize=10)
marked = axes[1, 0].get_legend_handles_labels()
fig.legend(*marked, loc="outside lower center", ncols=3, frameon=False, title="wrong rows, by their label")
plt.show()
