"""
The wrong labels, as a picture and as a page
============================================

One fit of a robust classifier on digits, an eighth of whose labels are wrong, and what it shows: the most suspicious
rows, where the noise is, and one page to send to whoever corrects the labels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from robustlabels import ELRClassifier, LabelReport, fit_recorded
from robustlabels.noise import AsymmetricNoise
from robustlabels.report.displays import DatasetMapDisplay, LearningCurvesDisplay

# %%
# People mistake a 9 for a 4 and a 7 for a 1, not a 0 for a 1. Of such digits, 4 in 10 have the wrong label here.

digits = load_digits()
confusions = {9: 4, 7: 1, 3: 8}
noise = AsymmetricNoise(0.4, mapping=confusions, random_state=0)
y = noise.flip(digits.target)
print(f"{noise.flip_mask_.mean():.1%} of the labels are wrong.")

# %%
# ``fit_recorded`` fits as ``fit`` does and keeps what training said of every row in every epoch.

images = digits.images.astype(np.uint8)
clf = fit_recorded(ELRClassifier(max_epochs=25, device="cpu", random_state=0), images, y)
report = LabelReport.from_estimator(clf, images, y, y_true=digits.target)

# %%
# The most suspicious labels
# --------------------------
# Given label → suggested label. Nobody told the classifier how many labels are wrong, or which classes are confused.

gallery = report.plot_gallery(24, n_columns=8)

# %%
# Why it believes so
# ------------------
# Right labels are learned within a few epochs. Those that are flagged never are, and lie at the bottom of the map.

fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
curves = LearningCurvesDisplay.from_estimator(clf, images, y, ax=left)
rows = DatasetMapDisplay.from_estimator(clf, images, y, ax=right)

# %%
# The confusions come out as they were put in: 9 as 4, 7 as 1, 3 as 8.

matrix = report.plot_transition_matrix()

# %%
# The whole report
# ----------------
# ``report.to_html("report.html")`` writes it as one file that opens anywhere. A notebook shows it as it is here.

report
