"""
Cleaning inside a pipeline
==========================

A logistic regression on digits, whose training labels become worse and worse. Alone it follows them. With a detector in
front of it, inside the same ``fit``, it follows less. How much is left of its accuracy, and does it matter what is done
with the suspicious rows?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from robustlabels import KNNNoiseDetector, NoiseAwareClassifier
from robustlabels.noise import SymmetricNoise

# %%
# Four classifiers
# ----------------
# The same logistic regression, plain and in a :class:`~robustlabels.NoiseAwareClassifier` with each of its strategies.
# All are pipelines with a scaler in front, as one would search and cross-validate them.


def logistic():
    return LogisticRegression(C=1.0, max_iter=300)


def cleaned(strategy):
    return NoiseAwareClassifier(logistic(), KNNNoiseDetector(device="cpu"), strategy=strategy)


classifiers = {"plain": logistic(), **{name: cleaned(name) for name in ("drop", "weight", "relabel")}}
pipelines = {name: make_pipeline(MinMaxScaler(), clf) for name, clf in classifiers.items()}

# %%
# Noise rates from nothing to 60 %, three splits each. Test labels are right: they are what we want to know about, and
# what nobody has in practice.

X, y = load_digits(return_X_y=True)
rates = np.array([0.0, 0.15, 0.3, 0.45, 0.6])
accuracy = {name: np.zeros((len(rates), 3)) for name in pipelines}
for seed in range(3):
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=seed)
    for i, rate in enumerate(rates):
        y_noisy = SymmetricNoise(rate, random_state=seed).flip(y_train)
        for name, pipeline in pipelines.items():
            accuracy[name][i, seed] = pipeline.fit(X_train, y_noisy).score(X_test, y_test)
for name, scores in accuracy.items():
    print(
        f"{name:8s}", "  ".join(f"{rate:.0%}: {score:.3f}" for rate, score in zip(rates, scores.mean(1), strict=True))
    )

# %%
# The figure
# ----------
# Lines are means, bands reach from the worst split to the best. At 0 % they show the price: what is lost when a
# detector is asked about labels that are all right. So simple a model withstands a little noise by itself; the more of
# it, the more there is to gain.

colors = {"plain": "#555555", "drop": "#0072b2", "weight": "#e69f00", "relabel": "#009e73"}
styles = {"plain": ":", "drop": "-", "weight": "-.", "relabel": "--"}
done = {"plain": "kept (plain)", "drop": "dropped", "weight": "weighed down", "relabel": "relabeled"}
marks = {"plain": "X", "drop": "o", "weight": "D", "relabel": "s"}

fig, ax = plt.subplots(figsize=(8.4, 5), layout="constrained")
for name, scores in accuracy.items():
    ax.fill_between(rates, scores.min(1), scores.max(1), color=colors[name], alpha=0.15, linewidth=0)
    look = {"color": colors[name], "linewidth": 2.2, "marker": marks[name], "markersize": 7}
    ax.plot(rates, scores.mean(1), styles[name], label=done[name], **look)
ax.set(
    xlabel="wrong training labels",
    ylabel="accuracy on right test labels",
    xlim=(-0.01, 0.61),
    yticks=np.arange(0.75, 1, 0.05),
)
for axis in (ax.xaxis, ax.yaxis):
    axis.set_major_formatter(lambda share, _: f"{share:.0%}")
gain = 100 * (accuracy["drop"][-1].mean() - accuracy["plain"][-1].mean())
ax.set_title(
    f"With {rates[-1]:.0%} wrong, dropping suspicious rows gives back {gain:.0f} points",
    loc="left",
    fontsize=13,
    fontweight="bold",
)
ax.legend(title="suspects are", frameon=False, loc="lower left", alignment="left")
ax.grid(axis="y", alpha=0.3)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The detector saw the training rows only, in every fit. That is also why such a pipeline can be cross-validated as it
# is: :doc:`/cleaning` has what happens when the whole set is cleaned first.
