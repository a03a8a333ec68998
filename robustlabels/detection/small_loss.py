"""Training dynamics: wrong labels are learned late."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import expit
from sklearn.utils import check_random_state

from robustlabels.detection import thresholds
from robustlabels.detection.base import NoiseDetector, dense_rows
from robustlabels.methods.elr import ELRClassifier
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.beliefs import Beliefs, Floats, Ints
from robustlabels.training.dynamics import Dynamics, fit_watched
from robustlabels.training.meta import seeded_clone
from robustlabels.training.parameters import StrOptions


def own_classifier(estimator: Any, detector: str) -> BaseNoisyLabelClassifier:
    """The classifier; raise unless its training can be watched."""
    if not isinstance(estimator, BaseNoisyLabelClassifier):
        raise TypeError(
            f"{detector} watches one of this package's classifiers while it trains, got {type(estimator).__name__}; "
            "ConfidentLearningNoiseDetector takes any classifier, EstimatorNoiseDetector also those around another."
        )
    return estimator


def mean_of(dynamics: Dynamics, name: str) -> Floats:
    """A mean of the dynamics over the visits of each row, as an array."""
    return dynamics.mean(name).cpu().double().numpy()


class SmallLossNoiseDetector(NoiseDetector):
    """Training dynamics: wrong labels are learned late.

    The loss, the margin or the forgetting of every label is averaged over the epochs of one fit; no cross-validation is
    needed.

    Parameters
    ----------
    estimator : classifier of this package or None, default=None
        Is cloned and trained; None means :class:`~robustlabels.ELRClassifier`, which does not learn wrong labels by
        heart even at the end.
    statistic : {"loss", "margin", "forgetting"}, default="loss"
        What is summed up over the epochs. "loss": the cross-entropy with the given label; the score is one minus the
        geometric mean of its probability. "margin": the logit of the given label minus the largest other one (area
        under the margin); the score is the sigmoid of minus its mean. "forgetting": how often a row that was predicted
        rightly no longer is; the score is the share of the largest number, and 1 for rows never predicted rightly.
    mixture : {"gaussian", "beta"}, default="gaussian"
        What ``threshold="auto"`` fits to the losses.
    random_state : int, RandomState or None, default=None
        Seeds the classifier where its own ``random_state`` is None.

    Attributes
    ----------
    estimator_ : classifier
        The trained classifier.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        The softmax averaged over the epochs.
    noise_scores_, noise_mask_, threshold_, noise_rate_, noise_rate_interval_
        As for every detector; the noise rate is estimated from the first 12 % of the epochs.
    suggested_labels_, suggested_confidence_, transition_matrix_, classes_
        As for every detector.

    See Also
    --------
    AutoNoiseDetector : The default, which ranks better on most data.
    fit_recorded : Keeps the probability of every label in every epoch.

    Notes
    -----
    The logits are those of the training steps, so nothing is computed twice. ``score_labels`` asks the trained
    network, since new rows have no dynamics; with "forgetting" they have no score. A CSR matrix becomes dense, above
    512 columns by its 256 leading singular directions.

    References
    ----------
    Arazo et al., "Unsupervised Label Noise Modeling and Loss Correction", ICML 2019, arXiv 1904.11238 (mixtures of
    losses). Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS 2020,
    arXiv 2001.10528. Toneva et al., "An Empirical Study of Example Forgetting", ICLR 2019, arXiv 1812.05159.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import ELRClassifier, SmallLossNoiseDetector, detection_report
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> noise = SymmetricNoise(0.3, random_state=0)
    >>> detector = SmallLossNoiseDetector(ELRClassifier(max_epochs=15), random_state=0).fit(X, noise.flip(y))
    >>> detection_report(detector.noise_scores_, noise.flip_mask_).average_precision > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": ["no_validation"],
        "statistic": [StrOptions({"loss", "margin", "forgetting"})],
        "mixture": [StrOptions({"gaussian", "beta"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        statistic: str = "loss",
        mixture: str = "gaussian",
        random_state: Any = None,
        **params: Any,
    ) -> None:
        super().__init__(**params)
        self.estimator = estimator
        self.statistic = statistic
        self.mixture = mixture
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        own_classifier(self._inner(), type(self).__name__)

    def _inner(self) -> Any:
        return ELRClassifier() if self.estimator is None else self.estimator

    def _network(self) -> Any:
        return self._inner()

    def _detect(self, X: Any, y: Ints) -> Beliefs:
        generator = check_random_state(self.random_state)
        self.estimator_ = seeded_clone(self._inner(), generator)
        X = dense_rows(self, X, generator.randint(np.iinfo(np.int32).max))
        dynamics = fit_watched(self.estimator_, X, self.classes_[y])
        if self.statistic == "loss":
            scores = -np.expm1(-mean_of(dynamics, "loss"))
        elif self.statistic == "margin":
            scores = expit(-mean_of(dynamics, "margin"))
        else:
            most = dynamics.forgotten.max().clamp_min(1)
            scores = torch.where(dynamics.learned, dynamics.forgotten / most, 1.0).cpu().numpy()
        posterior, early = mean_of(dynamics, "proba"), mean_of(dynamics, "early")
        return Beliefs.from_posterior(posterior, y, self.classes_, scores=scores, held_out=early)

    def _mixture_split(self, scores: Floats) -> float:
        if self.statistic != "loss":
            return thresholds.mixture_split(scores, self.mixture)
        losses = -np.log1p(-scores.clip(0, 1 - 1e-12))
        return float(-np.expm1(-thresholds.mixture_split(losses, self.mixture)))

    def _posterior(self, X: Any) -> Floats:
        return self.estimator_.predict_proba(dense_rows(self, X))

    def _score(self, X: Any, y: Ints) -> Floats:
        if self.statistic == "forgetting":
            raise ValueError(
                'statistic="forgetting" says nothing of rows that were not trained on; take "loss" or "margin" to '
                "score new rows."
            )
        proba = self._posterior(X)
        rows = np.arange(len(y))
        if self.statistic == "loss":
            return 1 - proba[rows, y]
        given = proba[rows, y].copy()
        proba[rows, y] = 0
        return expit(np.log(np.maximum(proba.max(1), 1e-12)) - np.log(np.maximum(given, 1e-12)))
