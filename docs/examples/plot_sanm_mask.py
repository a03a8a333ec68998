"""
What SANM masks, and what it does to the label
==============================================

SANM takes away the patch of an image that the network looks at most, and mass from its label: little where the label is
trusted, more where it is not. Here is what one training step does to two images of digits, one with the right label and
one with a wrong one.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from robustlabels import CrossEntropyClassifier, SANMClassifier
from robustlabels.methods.sanm_masking import activation, adversarial_mask
from robustlabels.modules import watching
from robustlabels.noise import SymmetricNoise

# %%
# A network that looks somewhere
# ------------------------------
# The digits are images of 8 x 8 pixels; 40 % of their labels are made wrong. The network is three convolutions, a
# global mean and a linear layer, so its last feature map, of 4 x 4 places, says where it looks. SANM finds that layer
# itself.

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
noise = SymmetricNoise(0.4, random_state=0)
y_noisy = noise.flip(y)
wrong = noise.flip_mask_


def block(c_in, c_out):
    return nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()


torch.manual_seed(0)
maps = nn.Sequential(*block(1, 16), *block(16, 32), nn.MaxPool2d(2), *block(32, 32))
net = nn.Sequential(maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
host = CrossEntropyClassifier(
    net, max_epochs=30, batch_size=128, lr=0.1, device="cpu", precision="float32", random_state=0
)
clf = SANMClassifier(host).fit(X, y_noisy)

objective = clf.estimator_.net_.criterion_
print(f"looks at {objective.feature_layer!r}")
print(f"label quality: mean {clf.label_quality_[~wrong].mean():.2f} of right labels", end=", ")
print(f"{clf.label_quality_[wrong].mean():.2f} of wrong ones")

# %%
# One step, two images
# --------------------
# The operator is a function of tensors: images, feature maps, targets and label qualities in, masked images and
# modulated targets out. We take two images of one digit: the one whose right label is trusted most, and the one whose
# wrong label is trusted least.

digit = 3
trusted = max(np.flatnonzero((y == digit) & ~wrong), key=lambda i: clf.label_quality_[i])
doubted = min(np.flatnonzero((y == digit) & wrong), key=lambda i: clf.label_quality_[i])
rows = [trusted, doubted]
x = torch.from_numpy(X[rows])
given = torch.eye(10)[y_noisy[rows]]
quality = torch.from_numpy(clf.label_quality_[rows])

with torch.no_grad(), watching(clf.module_, objective.feature_layer) as calls:
    clf.module_(x)
feature_map = calls[0].features  # (2, 32, 4, 4)
levels = activation(feature_map, (8, 8))
ratios = {"mask_ratio": (0.2, 0.2), "quality_weight": 0.4}  # the defaults over cross-entropy draw from .1 to .3
out = adversarial_mask(x, feature_map, given, quality, generator=torch.Generator().manual_seed(1), **ratios)

# %%
# The figure
# ----------
# From left to right: the image, where the network looks, the view without the most activated patch, the view without
# the least activated one, and the label before and after. The doubted label loses a larger patch and three times the
# mass: there is little left worth remembering.

orange, blue, gray = "#d55e00", "#0072b2", "#bbbbbb"
fig, axes = plt.subplots(2, 5, figsize=(11, 4.9), width_ratios=[1, 1, 1, 1, 1.7], layout="constrained")
titles = ("the image", "where it looks", "peak masked", "least masked", "the label, modulated")
for title, axis in zip(titles, axes[0], strict=True):
    axis.set_title(title, fontsize=11, loc="left")
for i, (axis_row, color) in enumerate(zip(axes, (blue, orange), strict=True)):
    label = y_noisy[rows[i]]
    pictures = [x[i, 0], x[i, 0], out.views[0][i, 0], out.views[1][i, 0]]
    for picture, axis in zip(pictures, axis_row, strict=False):
        axis.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
        axis.set_xticks([])
        axis.set_yticks([])
    axis_row[1].imshow(levels[i], cmap="inferno", alpha=0.75)
    for view, axis in enumerate(axis_row[2:4]):
        box = out.masks[view][i, 0].nonzero()
        (top, left), (bottom, right) = (v.tolist() for v in (box.min(0).values, box.max(0).values))
        frame = plt.Rectangle((left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, lw=2.5, ec=color)
        axis.add_patch(frame)
    state = "right" if label == digit else "wrong"
    axis_row[0].set_ylabel(f"label {label}: {state}\nquality {quality[i]:.2f}", fontsize=11, color=color)
    bars = axis_row[4]
    bars.bar(range(10), given[i], color=gray, width=0.85, label="given")
    bars.bar(range(10), out.target[i], color=color, width=0.55, label="modulated")
    bars.annotate(
        f"{out.target[i, label]:.2f}", (label, 1.0), (0, 2), textcoords="offset points", ha="center", color=color
    )
    bars.set(xticks=range(10), yticks=[0, 0.5, 1], ylim=(0, 1.45))
    bars.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    bars.spines[["top", "right"]].set_visible(False)
axes[1, 4].set_xlabel("class")
plt.show()

# %%
# What is left of the wrong labels
# --------------------------------
# Cross-entropy alone, the same network, epochs and seed, on the clean labels that neither of them saw:

alone = host.fit(X, y_noisy)
for name, fitted in (("cross-entropy", alone), ("SANM around it", clf)):
    followed = (fitted.predict(X)[wrong] == y_noisy[wrong]).mean()
    print(
        f"{name:15s} right class for {fitted.score(X, y):.3f} of the rows; repeats {followed:.3f} of the wrong labels"
    )
