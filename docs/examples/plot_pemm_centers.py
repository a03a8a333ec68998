"""
Class centers settle: PEMM with and without its potential
=========================================================

PEMM's last layer measures distances to learned class centers. A potential between the centers repels them at short
range and attracts them at long range, and a particle fixed at the origin takes part. Left to itself it brings centers
and origin into a regular simplex: all of them at the distance 3/2 from each other. In training it works against the
label loss, which pushes the centers apart. We watch both, on images of digits of which 40 % of the training labels are
wrong.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits, make_blobs
from skorch.callbacks import Callback
from torch import nn

from robustlabels import PEMMClassifier
from robustlabels.methods.pemm import potential_energy
from robustlabels.modules import find_head
from robustlabels.noise import SymmetricNoise

# %%
# The centers of every epoch
# --------------------------
# The centers are the weight of the network's last layer. A callback of skorch's keeps them.


class Centers(Callback):
    """The class centers, into the history, after every epoch."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("centers", find_head(net.module_)[1].weight.detach().clone().numpy())


X, y = load_digits(return_X_y=True)
X = X.astype(np.float32)
y_noisy = SymmetricNoise(0.4, random_state=0).flip(y)

paths = {}
for name, weight in (("with potential", 2.0), ("without", 0.0)):
    clf = PEMMClassifier(potential_weight=weight, callbacks=[("centers", Centers())], device="cpu", random_state=0)
    paths[name] = np.stack(clf.fit(X, y_noisy).history_[:, "centers"])  # (epochs, classes, features)

# %%
# And the potential alone
# -----------------------
# No network and no labels: gradient descent on the potential, from the same kind of start.

torch.manual_seed(0)
alone = nn.Linear(256, 10, bias=False).weight
optimizer = torch.optim.SGD([alone], lr=0.5)
steps = []
for _ in range(20 * len(paths["without"])):
    steps.append(alone.detach().clone().numpy())
    optimizer.zero_grad()
    potential_energy(alone).backward()
    nn.utils.clip_grad_norm_([alone], 1.0)
    optimizer.step()
paths["potential alone"] = np.stack(steps[::20])
print(f"energy {potential_energy(alone).item():.6f}, at best {-8 / 27:.6f}")

# %%
# The figure
# ----------
# Lines are means, bands reach from the smallest distance to the largest. Alone, the potential makes all distances 3/2.
# In training they end where it balances the label loss, close together: still nearly a simplex, a wider one. Without it
# nothing holds the centers.

colors = {"with potential": "#0072b2", "without": "#d55e00", "potential alone": "#555555"}
styles = {"with potential": "-", "without": "--", "potential alone": ":"}
panels = ("From center to center", "From the origin to the centers")
pairs = np.triu_indices(10, 1)

fig, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True, layout="constrained")
fig.suptitle("The potential holds the centers near a simplex", fontsize=14, fontweight="bold")
for axis, panel in zip(axes, panels, strict=True):
    axis.axhline(1.5, color="black", linewidth=0.8)
    for name, centers in paths.items():
        if panel == panels[0]:
            lengths = np.linalg.norm(centers[:, pairs[0]] - centers[:, pairs[1]], axis=2)  # (epochs, 45)
        else:
            lengths = np.linalg.norm(centers, axis=2)  # (epochs, 10)
        epochs = 1 + np.arange(len(lengths))
        axis.plot(epochs, lengths.mean(1), styles[name], color=colors[name], linewidth=2.2, label=name)
        axis.fill_between(epochs, lengths.min(1), lengths.max(1), color=colors[name], alpha=0.2, linewidth=0)
    axis.set_title(panel, loc="left", fontsize=12)
    axis.set_xlabel("epoch (20 steps of the potential alone)", fontsize=11)
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("distance", fontsize=11)
axes[0].annotate("3/2", (1, 1.5), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center")
axes[0].legend(frameon=False, loc="lower right")
plt.show()

# %%
# Features and centers in a plane
# -------------------------------
# A network whose last layer sees two numbers shows what the terms do to the features. Colors are the given labels,
# crosses are rows whose label is wrong, lines are the ways the centers went. The particle at the origin keeps the three
# centers around it; without the potential this network puts all features on one line.

X, y = make_blobs(450, centers=[[0, 0], [4, 0], [2, 4]], cluster_std=1.1, random_state=0)
X = X.astype(np.float32)
noise = SymmetricNoise(0.4, random_state=0)
y_noisy = noise.flip(y)
wrong = noise.flip_mask_
classes = ["#0072b2", "#d55e00", "#009e73"]

fig, axes = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
fig.suptitle("Features of three classes, 40 % of the labels wrong", fontsize=14, fontweight="bold")
for axis, (name, weight) in zip(axes, (("with potential", 2.0), ("without", 0.0)), strict=True):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2), nn.Linear(2, 3))
    clf = PEMMClassifier(
        net, potential_weight=weight, rectify=False, dropout=0, callbacks=[("centers", Centers())], random_state=0
    )
    clf.fit(X, y_noisy)
    features, way = clf.transform(X), np.stack(clf.history_[:, "centers"])
    for k, color in enumerate(classes):
        for mask, marker in ((~wrong, "o"), (wrong, "x")):
            rows = mask & (y_noisy == k)
            axis.scatter(*features[rows].T, s=14, color=color, marker=marker, alpha=0.35, linewidths=0.8)
        axis.plot(*way[:, k].T, color="black", linewidth=1)
        axis.scatter(*way[-1, k], s=170, color=color, edgecolors="black", linewidths=1.5, marker="o", zorder=3)
    axis.scatter(0, 0, s=60, color="black", marker="+", zorder=3)
    apart = np.linalg.norm(clf.centers_, axis=1)
    axis.set_title(f"{name}: {apart.min():.1f} to {apart.max():.1f} from the origin (+)", loc="left", fontsize=12)
    axis.set_aspect("equal", adjustable="datalim")
    axis.spines[["top", "right"]].set_visible(False)
plt.show()
