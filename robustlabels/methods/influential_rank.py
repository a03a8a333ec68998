"""Influential Rank: post-training of a classifier that has overfitted wrong labels.

This is a reconstruction. Only the abstracts of the paper (Park et al., arXiv 2106.07217) were available: a
post-training step for any trained model; two criteria, how abnormally a sample affects the model and how it affects
clean data; samples of high influence are removed step by step, and the decision boundary is refined. The formulas, in
``maths/influence_functions.py``, the number of removed rows and the stopping rule are ours.

One fit:

1. Train the estimator, unless it is trained already, and hold out rows to choose the best round by.
2. In each round, solve the last layer on the network's features, with a ridge, and rank the training rows by influence.
3. Remove the rows of highest rank, but never so many that a class gets too small.
4. Refine the network on the remaining rows.
5. Stop after ``patience`` rounds without improvement, and restore the best round.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import scipy.sparse
import torch
from sklearn.base import is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from robustlabels.maths.influence_functions import (
    BACKENDS,
    IMBALANCED,
    RidgeSoftmax,
    curvature,
    influence_scores,
    rank_by_influence,
)
from robustlabels.methods.baselines import CrossEntropyClassifier
from robustlabels.methods.influential_rank_models import is_initialized_net, model_for, opened, rests_on_frozen
from robustlabels.training import inputs
from robustlabels.training.beliefs import Beliefs, forget_fit
from robustlabels.training.inputs import take_rows
from robustlabels.training.meta import BaseMetaClassifier, weight_name
from robustlabels.training.parameters import Interval, StrOptions

AUTO_LIMIT = 0.1
"""Largest share of the training rows that the automatic rule removes in one round."""

AUTO_STOP = 0.02
"""The automatic rule stops when it flags a smaller share of the rows than this."""

AUTO_RIDGE = 10
"""The automatic rule multiplies the ridge by this number, so that the layer cannot follow single labels."""

LEAST_KEPT = 0.3
"""No further round begins when a smaller share of the training rows than this is left."""


# --- what can be post-trained -----------------------------------------------------------------------------------------


# --- which rows go ----------------------------------------------------------------------------------------------------


def rows_to_remove(
    rank: np.ndarray, y: np.ndarray, room: np.ndarray, limit: int, among: np.ndarray | None = None
) -> np.ndarray:
    """The rows of highest rank, passing over those of classes that may lose no more.

    Parameters
    ----------
    rank : ndarray of shape (n,)
        Ties go by row number.
    y : ndarray of shape (n,)
        Class numbers.
    room : ndarray of shape (n_classes,)
        How many rows each class may lose.
    limit : int
        How many rows all classes may lose.
    among : ndarray of shape (n,), bool, or None, default=None
        Rows to choose from.

    Returns
    -------
    ndarray of int
        At most ``limit`` row numbers, highest rank first.

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.methods.influential_rank import rows_to_remove
    >>> rank, y = np.array([0.9, 0.8, 0.7, 0.1]), np.array([0, 0, 1, 1])
    >>> rows_to_remove(rank, y, room=np.array([1, 1]), limit=2)
    array([0, 2])
    """
    order = np.argsort(-rank, kind="stable")
    if among is not None:
        order = order[among[order]]
    allowed = np.zeros(len(order), dtype=bool)
    for c, most in enumerate(room):
        allowed[np.flatnonzero(y[order] == c)[: max(most, 0)]] = True
    return order[allowed][:limit]


def stratified_holdout(y: np.ndarray, fraction: float, random_state: np.random.RandomState) -> np.ndarray:
    """Row numbers of a fraction of every class, sorted; of no class all.

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.methods.influential_rank import stratified_holdout
    >>> y = np.repeat([0, 1], [40, 20])
    >>> np.bincount(y[stratified_holdout(y, 0.15, np.random.RandomState(0))])
    array([6, 3])
    """
    parts = []
    for c in np.unique(y):
        rows = random_state.permutation(np.flatnonzero(y == c))
        parts.append(rows[: min(round(fraction * len(rows)), len(rows) - 1)])
    return np.sort(np.concatenate(parts))


# --- the rounds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Problem:
    """The rows of a fit; y and y_val are class numbers."""

    X: Any
    y: np.ndarray  # (n,)
    classes: np.ndarray
    weight: np.ndarray  # (n,), 0 for rows that are not trained on
    trained: np.ndarray  # (n,) bool: weighed above 0 and not held out
    holdout: np.ndarray  # row numbers
    X_val: Any
    y_val: np.ndarray | None
    balanced: bool  # every class counts alike in the accuracy

    @property
    def judged(self) -> bool:
        """Whether there are rows by whose accuracy a round is chosen."""
        return self.y_val is not None or len(self.holdout) > 0

    @cached_property
    def judges(self) -> tuple[Any, np.ndarray]:
        """These rows and their class numbers."""
        if self.y_val is not None:
            return self.X_val, self.y_val
        return take_rows(self.X, self.holdout), self.y[self.holdout]

    def accuracy(self, predict: Callable[[Any], np.ndarray]) -> float | None:
        """How often what predicts class numbers of these rows is right."""
        if not self.judged:
            return None
        X, y = self.judges
        right = predict(X) == y
        return float(np.mean([right[y == c].mean() for c in np.unique(y)]) if self.balanced else right.mean())

    def accuracy_of(self, estimator: Any) -> float | None:
        """The same of a fitted classifier."""
        return self.accuracy(lambda X: _positions(self.classes, estimator.predict(X)))


class _Criteria(NamedTuple):
    """Both criteria and their rank, each (n,)."""

    model: np.ndarray
    data: np.ndarray
    rank: np.ndarray


class _PostTraining:
    """The loop: rank, remove, refine, judge.

    After ``run``, ``first`` has the scores of all rows on the input model, and ``best_round`` is the one taken.
    """

    def __init__(self, clf: InfluentialRankClassifier, base: Any, problem: _Problem, random_state: Any) -> None:
        self.clf, self.base, self.p = clf, base, problem
        transforms, core, _ = opened(base)
        self.host = model_for(core, clf.feature_layer)
        self.refine = clf._refine(self.host)
        self.seeds = random_state
        self.sampling = int(random_state.randint(np.iinfo(np.int32).max))
        self.rows = self.host.read(_transformed(transforms, problem.X), problem.y, problem.weight)
        self.val = None if problem.X_val is None else self.host.read(_transformed(transforms, problem.X_val))
        judges = np.arange(len(problem.y_val)) if problem.y_val is not None else problem.holdout
        labels = problem.y[judges] if problem.y_val is None else problem.y_val
        self.judging = self.rows if problem.y_val is None else self.val, judges, labels
        self.seen: list[Any] | None = None  # features of the judging rows, where those stay as they are
        self.ranked = slice(None if clf.networks == "all" else 1)  # networks whose influence counts
        self.known: list[Any] | None = None  # features of the reference rows
        self.solved = slice(None) if self.refine == "last_layer" else self.ranked  # networks whose head is needed

    # --- one step each

    def features(self, index: np.ndarray, *, val: bool = False) -> list[Any]:
        """Features (b, d) of rows of X, or of X_val, in each network that is needed."""
        return self.host.features(self.val if val else self.rows, index)[self.solved]

    def solve(
        self,
        features: list[Any],
        index: np.ndarray,
        before: Sequence[RidgeSoftmax] = (),
        damping: float | None = None,
    ) -> list[RidgeSoftmax]:
        """The last layers on the rows ``index``, starting from those before."""
        return [
            RidgeSoftmax.fit(
                f,
                self.p.y[index],
                len(self.p.classes),
                damping=self.clf.damping if damping is None else damping,
                weight=self.p.weight[index],
                standardize=self.clf.standardize,
                warm_start=before[k].weight if before else None,
            )
            for k, f in enumerate(features)
        ]

    def reference(self) -> tuple[list[Any], np.ndarray] | None:
        """Features of each network and class numbers of the rows not to be harmed; None for the ranked rows."""
        wanted = self.p.y_val is not None or (self.clf.reference == "holdout" and len(self.p.holdout))
        if self.clf.reference == "train" or not wanted:
            return None
        if self.known is None or self.refine == "finetune":
            self.known = self.features(self.judging[1], val=self.p.y_val is not None)
        return self.known, self.judging[2]

    def rank(self, heads: list[RidgeSoftmax], features: list[Any], index: np.ndarray) -> tuple[_Criteria, list[Any]]:
        """Scores of the rows the heads were solved on, and how to score others by them."""
        reference, weight = self.reference(), self.p.weight[index]
        parts, others = [], []
        for k, (head, f) in enumerate(zip(heads[self.ranked], features[self.ranked], strict=True)):
            how: dict[str, Any] = {
                "backend": curvature(head, f, backend=self.clf.backend, weight=weight),
                "max_reference": self.clf.max_reference,
                "data_weight": self.clf.data_weight,
                "rank_by": self.clf.rank_by,
                "seed": self.sampling,
            }
            known = None if reference is None else (reference[0][k], reference[1])
            parts.append(rank_by_influence(head, f, self.p.y[index], reference=known, weight=weight, **how))
            others.append((head, {**how, "reference": known or (f, self.p.y[index])}))
        return _mean(parts), others

    def describe(
        self, heads: list[RidgeSoftmax], features: list[Any], index: np.ndarray
    ) -> tuple[_Criteria, _Criteria]:
        """Scores of all rows, those not trained on ranked among themselves; and of the rows ``index`` alone."""
        n = len(self.p.y)
        own, how = self.rank(heads, features, index)
        whole = _Criteria(*(np.zeros(n) for _ in own))
        rest = np.setdiff1d(np.arange(n), index)
        for scores, inside in zip(whole, own, strict=True):
            scores[index] = inside
        if len(rest):
            found, y = self.features(rest)[self.ranked], self.p.y[rest]
            parts = [rank_by_influence(head, f, y, **h) for (head, h), f in zip(how, found, strict=True)]
            for scores, outside in zip(whole, _mean(parts), strict=True):
                scores[rest] = outside
        return whole, own

    def posterior(self) -> np.ndarray:
        """Class probabilities (n, n_classes) of all rows by the layer solved on the kept ones."""
        features = self.features(np.arange(len(self.p.y)))
        kept = np.flatnonzero(self.p.trained & (self.removal_round < 0))
        heads = self.solve([_take(f, kept) for f in features], kept)
        return _mean_proba(heads[self.ranked], features[self.ranked])

    def choose(self, scores: _Criteria, features: list[Any], index: np.ndarray, room: np.ndarray, n: int) -> np.ndarray:
        """Which of the rows ``index`` go."""
        y = self.p.y[index]
        rate = self.clf.removal_rate
        if not isinstance(rate, str) and self.p.judged:
            return index[rows_to_remove(scores.rank, y, room, max(1, round(rate * n)))]
        stiff = self.solve(features, index, damping=AUTO_RIDGE * self.clf.damping)
        flagged = _mean_proba(stiff[self.ranked], features[self.ranked]).argmax(1) != y
        if flagged.mean() < AUTO_STOP:
            return index[:0]
        return index[rows_to_remove(scores.rank, y, room, max(1, int(AUTO_LIMIT * n)), flagged)]

    def score(self, heads: list[RidgeSoftmax]) -> float | None:
        """Accuracy on the judging rows: of the classifier, or of the layer where the classifier stays as it is."""
        if not self.p.judged or self.refine in ("finetune", "last_layer"):
            return self.p.accuracy_of(self.base)
        if self.seen is None:
            self.seen = self.features(self.judging[1], val=self.p.y_val is not None)
        proba = _mean_proba(heads[self.ranked], self.seen[self.ranked])
        return self.p.accuracy(lambda X: proba.argmax(1))

    # --- all of them

    def run(self, room: np.ndarray) -> None:
        """Rounds until nothing is left to remove, or to gain; the best one is restored."""
        clf, moves = self.clf, self.refine in ("finetune", "last_layer")
        index = np.flatnonzero(self.p.trained)
        n = len(index)
        whole = features = self.features(index)
        place = np.arange(n)  # of the rows of index among those of whole
        heads = self.solve(features, index)
        self.first, scores = self.describe(heads, features, index)
        self.removal_round = np.full(len(self.p.y), -1)
        self.best_round, best, state = 0, self.score(heads), self.host.state() if moves else None
        self.history = [{"round": 0, "n_kept": n, "val_score": best, "removed": index[:0]}]
        for t in range(1, clf.max_rounds + 1):
            if t > 1:
                scores, _ = self.rank(heads, features, index)
            gone = self.choose(scores, features, index, room, n)
            if not len(gone):
                break
            self.removal_round[gone] = t
            room = room - np.bincount(self.p.y[gone], minlength=len(room))
            stay = ~np.isin(index, gone)
            index, place = index[stay], place[stay]
            if self.refine == "finetune":
                self.finetune(index)
                features = self.features(index)
                heads = self.solve(features, index, heads)
            else:
                features = [_take(f, place) for f in whole]
                heads = self.solve(features, index, heads)
                if self.refine == "last_layer":
                    self.host.write(heads)
            score = self.score(heads)
            self.history.append({"round": t, "n_kept": len(index), "val_score": score, "removed": gone})
            if clf.verbose:
                accuracy = "" if score is None else f", validation accuracy {score:.4f}"
                print(f"round {t}: {len(index)} rows kept{accuracy}")
            if score is None or best is None or score > best:
                self.best_round, best, state = t, score, self.host.state() if moves else None
            if t - self.best_round >= clf.patience or len(index) < LEAST_KEPT * n:
                break
        if moves and self.best_round < t:
            self.host.restore(state)
        self.n_rounds = len(self.history) - 1
        self.removal_round[self.removal_round > self.best_round] = -1

    def finetune(self, index: np.ndarray) -> None:
        """Train the network on."""
        lr = self.host.lr if self.clf.refine_lr == "auto" else self.clf.refine_lr
        seed = int(self.seeds.randint(np.iinfo(np.int32).max))
        watched = self.judging if self.p.judged else None
        self.host.finetune(self.rows, index, self.clf.refine_epochs, lr, seed, watched)


def _indexable(X: Any) -> Any:
    """X where rows can be picked: CSR, an array for what is one by protocol only, or as it is."""
    if scipy.sparse.issparse(X):
        return X.tocsr()
    return X if X is None or hasattr(X, "__len__") else np.asarray(X)


def _take(features: Any, index: np.ndarray) -> Any:
    return features[torch.from_numpy(index).to(features.device) if isinstance(features, Tensor) else index]


def _mean(parts: list[Any]) -> _Criteria:
    """Scores over the networks."""
    return _Criteria(*(np.mean([getattr(p, name).cpu().numpy() for p in parts], axis=0) for name in _Criteria._fields))


def _mean_proba(heads: list[RidgeSoftmax], features: list[Any]) -> np.ndarray:
    return np.mean([head.proba(f).cpu().numpy() for head, f in zip(heads, features, strict=True)], axis=0)


def _transformed(transforms: list[Any], X: Any) -> Any:
    for transform in transforms:
        X = transform.transform(X)
    return X


def _positions(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Class numbers of labels, -1 for those that are not among the classes."""
    found = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    return np.where(classes[found] == labels, found, -1)


# --- the estimator ----------------------------------------------------------------------------------------------------


class InfluentialRankClassifier(BaseMetaClassifier):
    """Influential Rank: post-training that removes the rows which distort the decision boundary.

    A few rows are removed in each round, and the model is refined on the others.

    A reconstruction of Influential Rank from the abstract of its paper, not the authors' algorithm line by line.

    Parameters
    ----------
    estimator : classifier or None, default=None
        What is post-trained; None is :class:`~robustlabels.CrossEntropyClassifier`. Best one that overfits. It is
        cloned and fitted first, on the rows that are not held out. Inside a
        :class:`~sklearn.frozen.FrozenEstimator`, or as an initialized skorch net, it is used as it is, on a copy; then
        pass the X and y that it was trained on. A Pipeline's transforms are applied first.
    damping : float, default=0.1
        The ridge of the re-solved last layer (lambda), relative to standardized features.
    backend : {"auto", "exact", "kfac", "factored", "representer"}, default="auto"
        How the Hessian is inverted: see :func:`~robustlabels.maths.influence_functions.curvature`.
    data_weight : float, default=0.5
        Share of the influence on reference data in the rank (omega), beside that on the model; 0 and 1 leave one.
    rank_by : {"auto", "all", "class"}, default="auto"
        Rank all rows together or within each class; "auto" within classes where they are imbalanced by more than 3.
    removal_rate : float or "auto", default=0.05
        Share of the training rows removed in a round. "auto": of the rows whose label a last layer with ten times the
        ridge does not predict, those of highest rank, at most 10 %; until there are fewer than 2 % of them.
    max_rounds : int, default=20
        Largest number of rounds.
    patience : int, default=4
        Rounds without a better validation accuracy after which to stop.
    refine : {"finetune", "last_layer", "retrain", "none"}, default="finetune"
        After each removal: "finetune" trains the network on with cross-entropy; "last_layer" writes the re-solved layer
        into it, in seconds; "none" leaves it, and only says which rows to keep; "retrain" does so too, and then fits
        a fresh clone on them. Classifiers that are no networks allow the last two.
    refine_epochs : int, default=3
        Epochs of fine-tuning in each round.
    refine_lr : float or "auto", default="auto"
        Learning rate of the fine-tuning; "auto" is a fifth of the estimator's.
    final : {None, "retrain"}, default=None
        "retrain" fits a fresh clone on the kept rows at the end, and takes it unless it is worse on validation.
    reference : {"auto", "train", "holdout"}, default="auto"
        Rows whose loss must not be harmed: "auto" is ``X_val`` where given, else the kept rows themselves.
    max_reference : int, default=2000
        Largest number of reference rows.
    min_class_fraction : float, default=0.2
        Every class keeps at least this share of its rows.
    min_class_count : int, default=10
        Every class keeps at least this many rows.
    validation_fraction : float, default=0.15
        Share of the rows, of every class alike, that is held out to choose a round where there is no ``X_val``. With 0
        the automatic rule runs to its end.
    scoring : {"auto", "accuracy", "balanced_accuracy"}, default="auto"
        What a round is chosen by; "auto" is balanced where the largest class has more than 3 times the rows of the
        smallest.
    feature_layer : str, default="auto"
        Dotted name of the layer whose inputs are the features; "auto" is the last linear one. For classifiers that are
        no networks "input", X itself, or "decision_function"; "auto" takes X unless it is sparse.
    standardize : bool, default=True
        Scale the features.
    networks : {"first", "all"}, default="first"
        Of two networks, whose influence ranks the rows. Both are refined, and both predict as they always do.
    random_state : int, RandomState or None, default=None
        Of the hold-out, the estimator where it has no seed of its own, and the fine-tuning.
    verbose : int, default=0
        1 prints a line a round.

    Attributes
    ----------
    estimator_ : classifier
        The post-trained one.
    classes_ : ndarray of shape (n_classes,)
    noise_scores_ : ndarray of shape (n_samples,), float32
        ``influential_rank_``.
    noise_mask_ : ndarray of shape (n_samples,), bool
        Removed rows; and of those that were not trained on (held out, weight zero), which cannot be removed, the ones
        whose believed class is not the given one. None where the input model is returned.
    noise_rate_ : float
        Share of rows whose believed class is not the given one. More rows than that may have been removed; and a
        network that was not trained afresh still has memorized some wrong labels, so that it is rather too low.
    suggested_labels_ : ndarray of shape (n_samples,)
        The believed class: what ``estimator_`` predicts or, where it stayed as it was, the layer re-solved on the kept
        rows. The given label for rows that are not flagged.
    suggested_confidence_ : ndarray of shape (n_samples,), float32
        Believed probability of the suggested label.
    transition_matrix_ : ndarray of shape (n_classes, n_classes)
        Rows: believed class, columns: given label, each row summing to one.
    influential_rank_, influence_model_, influence_data_ : ndarray of shape (n_samples,)
        Rank in [0, 1] and both criteria, on the input model, before anything was removed. Rows that were not trained on
        are ranked among themselves: the network has not memorized them.
    kept_mask_ : ndarray of shape (n_samples,), bool
        ``~noise_mask_``.
    support_ : ndarray of int
        The kept rows.
    removal_round_ : ndarray of shape (n_samples,), int
        Round in which a training row was removed, -1 for all others.
    n_rounds_, best_round_ : int
        Rounds run, and the one that was taken; 0 is the input model, untouched.
    history_ : list of dict
        Of each round: "round", "n_kept", "val_score" (see ``scoring``; None without validation), "removed" (row
        numbers). With ``refine`` "none" and "retrain" the score is that of the re-solved last layer.
    retrained_ : bool
        Whether ``estimator_`` is the fresh clone.

    See Also
    --------
    InfluenceNoiseDetector : The scores alone, without post-training.
    SANMClassifier : A wrapper that acts during training.

    Notes
    -----
    A fitted estimator has seen all rows, and its accuracy on rows it has memorized says nothing. So for one that is
    used as it is, pass ``X_val`` and ``y_val``; without, and unless it held out rows of its own (``train_split``), rows
    are removed by the automatic rule to its end.

    References
    ----------
    Park, Song, Um, Jo, Yun, Choi, "Influential Rank: A New Perspective of Post-training for Robust Model against Noisy
    Labels", arXiv 2106.07217 (abstract).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import CrossEntropyClassifier, InfluentialRankClassifier
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_iris(return_X_y=True)
    >>> noise = SymmetricNoise(0.2, random_state=0)
    >>> y_noisy = noise.flip(y)
    >>> base = CrossEntropyClassifier(max_epochs=30)
    >>> clf = InfluentialRankClassifier(base, max_rounds=4, random_state=0).fit(X, y_noisy)
    >>> suspects = clf.noise_scores_.argsort()[::-1][:10]
    >>> bool(noise.flip_mask_[suspects].mean() > 0.6)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "damping": [Interval(Real, 0, None, closed="neither")],
        "backend": [StrOptions({"auto", *BACKENDS})],
        "data_weight": [Interval(Real, 0, 1, closed="both")],
        "rank_by": [StrOptions({"auto", "all", "class"})],
        "removal_rate": [Interval(Real, 0, 1, closed="neither"), StrOptions({"auto"})],
        "max_rounds": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "refine": [StrOptions({"finetune", "last_layer", "retrain", "none"})],
        "refine_epochs": [Interval(Integral, 1, None, closed="left")],
        "refine_lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "final": [StrOptions({"retrain"}), None],
        "reference": [StrOptions({"auto", "train", "holdout"})],
        "max_reference": [Interval(Integral, 1, None, closed="left")],
        "min_class_fraction": [Interval(Real, 0, 1, closed="both")],
        "min_class_count": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "scoring": [StrOptions({"auto", "accuracy", "balanced_accuracy"})],
        "feature_layer": [str],
        "standardize": ["boolean"],
        "networks": [StrOptions({"first", "all"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        damping: float = 0.1,
        backend: str = "auto",
        data_weight: float = 0.5,
        rank_by: str = "auto",
        removal_rate: float | str = 0.05,
        max_rounds: int = 20,
        patience: int = 4,
        refine: str = "finetune",
        refine_epochs: int = 3,
        refine_lr: float | str = "auto",
        final: str | None = None,
        reference: str = "auto",
        max_reference: int = 2000,
        min_class_fraction: float = 0.2,
        min_class_count: int = 10,
        validation_fraction: float = 0.15,
        scoring: str = "auto",
        feature_layer: str = "auto",
        standardize: bool = True,
        networks: str = "first",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(estimator)
        self.damping = damping
        self.backend = backend
        self.data_weight = data_weight
        self.rank_by = rank_by
        self.removal_rate = removal_rate
        self.max_rounds = max_rounds
        self.patience = patience
        self.refine = refine
        self.refine_epochs = refine_epochs
        self.refine_lr = refine_lr
        self.final = final
        self.reference = reference
        self.max_reference = max_reference
        self.min_class_fraction = min_class_fraction
        self.min_class_count = min_class_count
        self.validation_fraction = validation_fraction
        self.scoring = scoring
        self.feature_layer = feature_layer
        self.standardize = standardize
        self.networks = networks
        self.random_state = random_state
        self.verbose = verbose

    def _default(self) -> Any:
        return CrossEntropyClassifier()

    # --- fit

    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Fit the estimator, unless it is used as it is, and post-train it.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What the estimator takes; for one that is used as it is, what it was trained on.
        y : array-like of shape (n_samples,)
            Labels, some of them wrong.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            For estimators that take it. Non-negative; a row of weight zero is scored, but neither trained on nor
            removed.
        X_val, y_val : array-like or None, default=None
            Clean rows: the reference of the influence on data, and what the best round is chosen by. Labels that y does
            not have are left out.

        Returns
        -------
        self
            The fitted estimator.
        """
        self._check_parameters()
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together, but only one of them was given.")
        check_consistent_length(X, y)
        labels = inputs.read_labels(self, y)
        if len(labels[0]) < 2:
            raise ValueError(f"influence needs labels of at least 2 classes, but y holds one class: {labels[0]}.")
        random_state = check_random_state(self.random_state)
        given = self._given(len(labels[1]))
        problem = self._problem(_indexable(X), *labels, sample_weight, _indexable(X_val), y_val, given, random_state)
        room = self._room(problem)
        if room.max() <= 0:
            warnings.warn(
                f"no row can be removed: every class has at most {self.min_class_count} rows, or the share "
                "min_class_fraction of them; the estimator stays as it is.",
                stacklevel=2,
            )
            if X_val is None and given is None:  # then nothing is judged either, and no row need be held out
                problem = replace(problem, trained=problem.weight > 0, holdout=problem.holdout[:0])
        base = given
        if base is None:
            base = self._trained(self._fresh(random_state), problem, sample_weight)
            base = copy.deepcopy(base) if opened(base)[2] else base  # a frozen part is the caller's
        work = _PostTraining(self, base, problem, random_state)
        work.run(room)
        retrained = False
        if work.best_round > 0 and "retrain" in (work.refine, self.final):
            inner = self._inner()
            fresh = self._fresh(random_state, inner.estimator if isinstance(inner, FrozenEstimator) else inner)
            fresh = self._trained(fresh, problem, sample_weight, problem.trained & (work.removal_round < 0))
            before, after = problem.accuracy_of(base), problem.accuracy_of(fresh)
            retrained = before is None or after is None or after >= before
        self._conclude(fresh if retrained else base, work, retrained)
        return self

    def _given(self, n: int) -> Any:
        """A copy of the fitted estimator that is to be used as it is, or None."""
        inner = self._inner()
        if is_initialized_net(inner):
            return copy.deepcopy(inner)
        regresses = hasattr(inner, "__sklearn_tags__") and not isinstance(inner, type) and is_regressor(inner)
        if isinstance(inner, type) or not hasattr(inner, "fit") or regresses:
            raise TypeError(
                f"estimator must be a classifier, InfluentialRankClassifier(ELRClassifier()) for one, got {inner!r}. A"
                " network of your own goes into such a classifier as module=."
            )
        if not isinstance(inner, FrozenEstimator):
            return None
        try:
            check_is_fitted(inner.estimator)
        except NotFittedError as error:
            raise NotFittedError(
                f"the {type(inner.estimator).__name__} in FrozenEstimator was handed in as fitted, but is not; fit it "
                "first, or hand it in without FrozenEstimator."
            ) from error
        known = getattr(inner.estimator, "noise_scores_", None)
        if known is not None and len(known) != n:
            raise ValueError(
                f"the fitted {type(inner.estimator).__name__} was trained on {len(known)} rows, but X has {n}; pass "
                "the X and y it was trained on."
            )
        return copy.deepcopy(inner.estimator)

    def _problem(
        self,
        X: Any,
        classes: np.ndarray,
        numbers: np.ndarray,
        sample_weight: Any,
        X_val: Any,
        y_val: Any,
        given: Any,
        random_state: Any,
    ) -> _Problem:
        """Class numbers as the estimator has them, weights, and who is held out."""
        if hasattr(given, "classes_"):
            labels, classes = classes, np.asarray(given.classes_)
            positions = _positions(classes, labels)
            if positions.min() < 0:
                unknown = labels.tolist()[positions.argmin()]
                raise ValueError(
                    f"y holds the label {unknown!r}, which the fitted estimator does not know; its classes are "
                    f"{classes.tolist()}."
                )
            numbers = positions[numbers]
        weight = inputs.read_weights(sample_weight, None, classes, numbers)[1]
        weight = np.ones(len(numbers)) if weight is None else weight.astype(np.float64)
        holdout = np.empty(0, dtype=np.int64)
        if X_val is not None:
            check_consistent_length(X_val, y_val)
            y_val = _positions(classes, np.asarray(y_val))
            known = np.flatnonzero(y_val >= 0)
            if not len(known):
                raise ValueError(f"y_val holds no label that y has; its classes are {classes.tolist()}.")
            X_val, y_val = take_rows(X_val, known), y_val[known]
        elif self.validation_fraction > 0:
            if given is None and not rests_on_frozen(self._inner()):
                holdout = stratified_holdout(numbers, self.validation_fraction, random_state)
            else:
                holdout = self._own_holdout(given, X, numbers)
        trained = weight > 0
        trained[holdout] = False
        counts = np.bincount(numbers, minlength=len(classes))
        balanced = (
            counts.max() > IMBALANCED * counts[counts > 0].min()
            if self.scoring == "auto"
            else self.scoring != "accuracy"
        )
        return _Problem(X, numbers, classes, weight, trained, holdout, X_val, y_val, bool(balanced))

    def _own_holdout(self, given: Any, X: Any, y: np.ndarray) -> np.ndarray:
        """The rows that a fitted estimator held out itself, or none and a warning."""
        if given is not None:
            transforms, core, _ = opened(given)
            found = model_for(core, self.feature_layer).holdout(_transformed(transforms, X), y)
            if found is not None:
                return np.sort(found)
        warnings.warn(
            "the fitted estimator was trained on these rows, so that none of them can be held out to choose a round: "
            "rows are removed by the automatic rule to its end. Pass X_val and y_val to choose by accuracy.",
            stacklevel=4,
        )
        return np.empty(0, dtype=np.int64)

    def _room(self, p: _Problem) -> np.ndarray:
        """How many training rows each class may lose."""
        counts = np.bincount(p.y[p.trained], minlength=len(p.classes))
        floor = np.maximum(self.min_class_count, np.ceil(self.min_class_fraction * counts))
        return np.maximum(counts - floor.astype(np.int64), 0)

    def _trained(self, estimator: Any, p: _Problem, sample_weight: Any, mask: np.ndarray | None = None) -> Any:
        """Fit an estimator on some rows, by default on all that are not held out."""
        rows = np.setdiff1d(np.arange(len(p.y)), p.holdout) if mask is None else np.flatnonzero(mask)
        params = {}
        if sample_weight is not None:
            name = weight_name(estimator)
            if name is None:
                last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
                raise TypeError(f"{type(last).__name__} takes no sample_weight; fit without it.")
            params[name] = np.asarray(sample_weight)[rows]
        X = p.X if len(rows) == len(p.y) else take_rows(p.X, rows)
        return estimator.fit(X, p.classes[p.y[rows]], **params)

    def _refine(self, host: Any) -> str:
        """What is done after a removal, as far as the estimator allows."""
        if not host.refinable and self.refine in ("finetune", "last_layer"):
            warnings.warn(
                f"refine={self.refine!r} needs a network, and {type(host.core).__name__} is not one: "
                "refine='retrain' is used "
                "instead.",
                stacklevel=4,
            )
            return "retrain"
        if self.refine == "last_layer":
            host.check_head()
        return self.refine

    def _conclude(self, estimator: Any, work: _PostTraining, retrained: bool) -> None:
        """All that is learned, at once: a fit that fails on the way changes nothing."""
        p = work.p
        moved = retrained or work.refine in ("finetune", "last_layer")
        asked = moved and hasattr(estimator, "predict_proba")
        posterior = np.asarray(estimator.predict_proba(p.X) if asked else work.posterior(), dtype=np.float64)
        removed = work.removal_round >= 0

        def flag(differs: np.ndarray) -> np.ndarray:
            # Rows that were never trained on cannot be removed; the refined model flags them instead.
            return removed | (~p.trained & differs) if work.best_round > 0 else removed

        ranks = work.first.rank.astype(np.float32)
        beliefs = Beliefs.from_posterior(posterior, p.y, p.classes, flag=flag, scores=ranks)
        forget_fit(self)
        self._adopt(estimator)
        self.__dict__.update(beliefs.attributes())
        self.suggested_confidence_ = beliefs.confidence.astype(np.float32)
        self.classes_ = p.classes
        self.influence_model_, self.influence_data_, self.influential_rank_ = work.first
        self.kept_mask_ = ~beliefs.flagged
        self.support_ = np.flatnonzero(self.kept_mask_)
        self.removal_round_ = work.removal_round
        self.n_rounds_, self.best_round_ = work.n_rounds, work.best_round
        self.history_, self.retrained_ = work.history, retrained

    # --- of other rows

    def rank_samples(self, X: Any, y: Any) -> np.ndarray:
        """Influential rank of labeled rows: what a round would compute, were these the training rows.

        Nothing is removed: the last layer is solved on the features that the post-trained estimator gives these rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.
        y : array-like of shape (n_samples,)
            Labels that ``fit`` has seen.

        Returns
        -------
        rank : ndarray of shape (n_samples,)
            In [0, 1], higher is more suspicious.
        """
        check_is_fitted(self)
        check_consistent_length(X, y)
        numbers = _positions(self.classes_, np.asarray(y))
        if numbers.min() < 0:
            unknown = np.asarray(y).tolist()[numbers.argmin()]
            raise ValueError(
                f"y holds the label {unknown!r}, which fit has not seen; the classes are {self.classes_.tolist()}."
            )
        transforms, core, _ = opened(self.estimator_)
        host = model_for(core, self.feature_layer)
        features = host.features(host.read(_transformed(transforms, X)))
        ranks = [
            influence_scores(
                f,
                numbers,
                len(self.classes_),
                damping=self.damping,
                standardize=self.standardize,
                backend=self.backend,
                max_reference=self.max_reference,
                data_weight=self.data_weight,
                rank_by=self.rank_by,
            ).rank.cpu()
            for f in (features if self.networks == "all" else features[:1])
        ]
        return np.mean([rank.numpy() for rank in ranks], axis=0)

    def filter(self, X: Any, y: Any) -> tuple[Any, Any]:
        """The rows of X and y that were kept.

        Parameters
        ----------
        X, y : array-like of n_samples rows
            As given to ``fit``.

        Returns
        -------
        X, y : array-like
            In the containers they came in.
        """
        check_is_fitted(self)
        check_consistent_length(X, y)
        if np.shape(y)[0] != len(self.kept_mask_):
            raise ValueError(
                f"filter takes the {len(self.kept_mask_)} rows that fit was given, got {np.shape(y)[0]} rows."
            )
        return take_rows(X, self.support_), take_rows(y, self.support_)
