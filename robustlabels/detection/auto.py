"""The default: a robust network's early beliefs times the vote of the neighbors."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from scipy.special import ndtri
from sklearn.utils import check_random_state

from robustlabels.detection import thresholds
from robustlabels.detection.base import NoiseDetector, dense_rows
from robustlabels.detection.ensemble import FLOOR, geometric_mean, normalized
from robustlabels.detection.knn import neighbors_among, shares, unit_rows, voters
from robustlabels.detection.small_loss import mean_of, own_classifier
from robustlabels.maths.functional import count_votes, nearest_neighbors
from robustlabels.methods.elr import ELRClassifier
from robustlabels.modules import MLP
from robustlabels.training.beliefs import Beliefs, Floats, Ints
from robustlabels.training.dynamics import fit_watched
from robustlabels.training.meta import seeded_clone
from robustlabels.training.net import resolve_device
from robustlabels.training.parameters import Interval, StrOptions

HEAVY = 10.0
"""Excess kurtosis of the median column from which a table is heavy-tailed (normal: 0, exponential: 6)."""


def one_layer(n_features: int, n_classes: int, width: int = 256) -> MLP:
    """The network of :class:`~robustlabels.AutoNoiseDetector` on tables: one hidden layer, inputs as they are."""
    return MLP(n_features, n_classes, width=width, depth=1)


def is_heavy_tailed(X: Floats) -> bool:
    """Whether the columns of a table have heavy tails: their median excess kurtosis is above 10.

    The median, since in any table some columns are rare flags; constant columns do not count.

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.detection import is_heavy_tailed
    >>> normal = np.random.default_rng(0).normal(size=(500, 8))
    >>> is_heavy_tailed(normal), is_heavy_tailed(np.exp(2 * normal))
    (False, True)
    """
    kurtosis = []
    for start in range(0, X.shape[1], 16):
        part = X[:, start : start + 16].astype(np.float64)
        part -= part.mean(0)
        variance = (part**2).mean(0)
        varies = variance > 1e-12 * np.maximum(variance.max(), 1e-300)
        kurtosis.append((part[:, varies] ** 4).mean(0) / variance[varies] ** 2 - 3)
    found = np.concatenate(kurtosis)
    return bool(len(found) and np.median(found) > HEAVY)


def normal_quantiles(X: Floats, ordered: Floats) -> Floats:
    """Each column's values as quantiles of the normal distribution, within three standard deviations.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    ordered : ndarray of shape (n_known, n_features)
        The values to rank among, sorted column by column.

    Returns
    -------
    Z : ndarray of shape (n_samples, n_features), float32

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.detection import normal_quantiles
    >>> normal_quantiles(np.array([[1.0], [20.0], [300.0]]), np.array([[1.0], [20.0], [300.0]])).round(2).tolist()
    [[-0.9700000286102295], [0.0], [0.9700000286102295]]
    """
    Z = np.empty(X.shape, dtype=np.float32)
    for column, known, out in zip(X.T, ordered.T, Z.T, strict=True):
        rank = np.searchsorted(known, column) + np.searchsorted(known, column, side="right")  # equal values alike
        out[:] = ndtri(rank / (2 * len(known))).clip(-3, 3)
    return Z


def canonical_order(X: Floats, y: Ints) -> tuple[Ints, Ints]:
    """An order of rows, and one of classes, that depend on their contents alone.

    Trained in this order, a network gives the same whatever order rows came in and whatever classes are called.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows are ordered along a fixed random direction; equal ones by the size of their class.
    y : ndarray of shape (n_samples,), int

    Returns
    -------
    rows : ndarray of shape (n_samples,)
    classes : ndarray of shape (n_classes,)
        By first appearance.
    """
    direction = np.random.RandomState(0).normal(size=X.shape[1])
    step = max(1, (1 << 22) // X.shape[1])
    key = np.concatenate([X[i : i + step].astype(np.float64) @ direction for i in range(0, len(X), step)])
    rows = np.lexsort((np.bincount(y)[y], key.round(9)))
    present, first = np.unique(y[rows], return_index=True)
    return rows, present[np.argsort(first)]


class _Inputs(NamedTuple):
    """Training rows in the order in which networks see them."""

    for_vote: Any  # rows among which neighbors are found
    for_network: Any  # the same rows, standardized
    labels: Ints  # (n,), class numbers in the order of ``classes``
    rows: Ints  # (n,), the user's row number of each row
    classes: Ints  # (n_classes,), the user's class number of each class


class _Trained(NamedTuple):
    """What the networks predicted during training, averaged over them."""

    averaged: Floats  # (n, n_classes), over all epochs
    early: Floats  # (n, n_classes), over the first epochs
    history: Any  # (n_epochs, n), float16: probability of each given label


class AutoNoiseDetector(NoiseDetector):
    r"""The default detector: early predictions of a robust network times the vote of the neighbors.

    Two experts that fail in different places. The network is :class:`~robustlabels.ELRClassifier`, its belief of a row
    the softmax of the training steps averaged over epochs and over two seeds. The neighbors vote once, by cosine
    similarity. One setting for all data; no noise rate, no clean labels, no cross-validation.

    Parameters
    ----------
    estimator : classifier of this package or None, default=None
        The network, trained ``n_repeats`` times; None means ELR as specified below.
    n_neighbors : int or "auto", default="auto"
        Voters. "auto": half the mean size of a class, between 5 and 250.
    prior_exponent : float, default=0.5
        How far beliefs are divided by the frequency of the class. 0.5 helps where errors hide in the frequent label
        (questions labeled by rules: average precision .43 -> .64 without ``transition_weight``) and hurts where they
        sit in the rare one (6 % false positives of a binary set: .79 -> .76). Labels alone do not tell which of the two
        holds; 0 is neutral.
    transition_weight : float or "auto", default="auto"
        How far the flips that the first epochs show count: a row looks the more suspicious, the more often its believed
        class is given its label. "auto": the square of the share of flips that is not uniform; 0 leaves them out.
    n_repeats : int, default=2
        Networks trained, from different seeds.
    backend : {"exact", "bf16", "faiss"}, default="exact"
        Of the neighbor search: see :func:`~robustlabels.maths.functional.nearest_neighbors`.
    device : str, default="auto"
        Of the network, if ``estimator`` is None, and of the neighbor search.
    random_state : int, RandomState or None, default=None
        Seeds the networks.
    threshold : {"noise_rate", "auto", "quantile", "fdr"} or float, default="noise_rate"
        As for :class:`~robustlabels.detection.NoiseDetector`. The default flags as many rows as the noise rate says: a
        mixture finds two groups also where all labels are right.

    Attributes
    ----------
    noise_scores_ : ndarray of shape (n_samples,)
        One minus Q at the given label: see the notes.
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        P of the notes, without priors and flips.
    noise_rate_, noise_rate_interval_
        As for every detector, from beliefs of the first 12 % of the epochs times the vote.
    estimators_ : list of classifier
        The trained networks.
    proba_history_ : ndarray of shape (n_epochs, n_samples), float16
        Probability of each given label in every epoch that all networks were trained for, their mean; NaN where it was
        not trained on. Reports draw learning curves from it.
    n_neighbors_ : int
    transition_weight_ : float
        The weight taken.
    heavy_tailed_ : bool
        Whether the columns were brought to normal quantiles.
    noise_mask_, threshold_, suggested_labels_, suggested_confidence_, transition_matrix_, classes_
        As for every detector.

    See Also
    --------
    KNNNoiseDetector : The vote alone, in a fraction of the time.
    ConfidentLearningNoiseDetector : Out-of-fold probabilities of any classifier.
    NoiseAwareClassifier : Acts on what a detector flags.

    Notes
    -----
    With A the network's belief and B the vote, both plus 0.001 and normalized, pi the class frequencies, e the prior
    exponent, T the flips (true class to label) and w the transition weight:

    .. math:: P_{ij} \propto \sqrt{A_{ij} B_{ij}}, \qquad Q_{ij} \propto P_{ij} \, \pi_j^{-e} \, T_{j \tilde y_i}^w,
              \qquad \text{score}_i = 1 - Q_{i \tilde y_i}

    T is fitted (:func:`~robustlabels.detection.thresholds.fit_transition_model`) to the beliefs of the first 12 % of
    the epochs, on the rows where they name the same class as the vote, and :math:`w = (1 - u)^2` with the uniform share
    u of T (:func:`~robustlabels.detection.thresholds.uniform_share`).

    Tables: columns are brought to normal quantiles if the median column has an excess kurtosis above 10; the
    network sees them standardized, with small ones kept small, and has one hidden layer of 256 units; lambda is 3,
    beta 0.7, 25 epochs at batches of n / 20, at least 16 and at most 128. Rows are trained on in an order of their
    own, so that scores do not depend on the order they come in, nor on the names of classes. Images, files, lazy
    views and whole numbers for an ``estimator`` with ``dtype=None``: the classifier's own network, whose features
    the neighbors are found in. A CSR matrix becomes dense, above 512 columns by its 256 leading singular
    directions.

    Rows unlike all others are a blind spot: nothing contradicts their label, which the network learns at once, whatever
    it is. Of images of random pixels with random labels among digits a tenth is flagged, where out-of-fold logistic
    regression flags more than eight tenths; they come after the wrong labels and before most of the right ones.
    :doc:`/coming_from_pyod` says what finds such rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import AutoNoiseDetector, detection_report
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> noise = SymmetricNoise(0.3, random_state=0)
    >>> detector = AutoNoiseDetector(n_repeats=1, random_state=0).fit(X, noise.flip(y))
    >>> detection_report(detector.noise_scores_, noise.flip_mask_).average_precision > 0.98
    True
    >>> round(detector.noise_rate_, 1)
    0.3
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": ["no_validation"],
        "n_neighbors": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "prior_exponent": [Interval(Real, 0, None, closed="left")],
        "transition_weight": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "backend": [StrOptions({"exact", "bf16", "faiss"})],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_neighbors: int | str = "auto",
        prior_exponent: float = 0.5,
        transition_weight: float | str = "auto",
        n_repeats: int = 2,
        backend: str = "exact",
        device: str = "auto",
        random_state: Any = None,
        threshold: str | float = "noise_rate",
        **params: Any,
    ) -> None:
        super().__init__(threshold=threshold, **params)
        self.estimator = estimator
        self.n_neighbors = n_neighbors
        self.prior_exponent = prior_exponent
        self.transition_weight = transition_weight
        self.n_repeats = n_repeats
        self.backend = backend
        self.device = device
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.estimator is not None:
            own_classifier(self.estimator, type(self).__name__)

    def _network(self) -> Any:
        return self.estimator

    def _trained(self, n: int, *, table: bool) -> Any:
        if self.estimator is not None:
            return self.estimator
        return ELRClassifier(
            one_layer if table else "auto",
            lam=3.0,
            beta=0.7,
            max_epochs=25,
            batch_size=min(128, max(16, n // 20)),
            device=self.device,
        )

    # --- tables

    def _prepare(self, X: Floats, *, reset: bool) -> tuple[Floats, Floats]:
        """What the neighbors are found in, and what the network sees."""
        if reset:
            self.heavy_tailed_ = is_heavy_tailed(X)
            if self.heavy_tailed_:
                ordered = np.sort(X, axis=0)
                self._ordered = ordered[np.linspace(0, len(X) - 1, min(len(X), 10_000)).astype(int)]
        if self.heavy_tailed_:
            X = normal_quantiles(X, self._ordered)
        if reset:
            std = X.std(0, dtype=np.float64)
            self._center = X.mean(0, dtype=np.float64).astype(np.float32)
            self._scale = (std + 0.1 * std.mean() + 1e-6).astype(np.float32)
        return X, (X - self._center) / self._scale

    # --- detect

    def _detect(self, X: Any, y: Ints) -> Beliefs:
        generator = check_random_state(self.random_state)
        seeds = generator.randint(np.iinfo(np.int32).max, size=self.n_repeats + 1)
        self.n_neighbors_ = voters(self.n_neighbors, len(y), len(self.classes_))
        inputs = self._table_inputs(dense_rows(self, X, seeds[-1]), y)
        trained = self._train_networks(inputs, seeds[:-1])
        votes = self._vote(inputs)
        return self._combine(inputs, trained, votes, y)

    def _table_inputs(self, X: Any, y: Ints) -> _Inputs:
        """Prepare the columns of a table, and put its rows and classes into an order that their contents determine.

        Trained in that order, the networks do not depend on how rows were sorted or classes were named. Images and
        other containers are left as they are.
        """
        self._is_table = isinstance(X, np.ndarray) and X.ndim == 2 and not self.input_integers_
        if not self._is_table:
            self.heavy_tailed_ = False
            return _Inputs(X, X, y, np.arange(len(y)), np.arange(len(self.classes_)))
        for_vote, for_network = self._prepare(X, reset=True)
        rows, classes = canonical_order(for_vote, y)
        rank_of_class = np.argsort(classes)
        return _Inputs(for_vote[rows], for_network[rows], rank_of_class[y[rows]], rows, classes)

    def _train_networks(self, inputs: _Inputs, seeds: Ints) -> _Trained:
        """Train one network for each seed, and average what they predicted for every row during training."""
        self.estimators_, averaged, early, histories = [], [], [], []
        for seed in seeds:
            clf = seeded_clone(self._trained(len(inputs.labels), table=self._is_table), int(seed))
            dynamics = fit_watched(clf, inputs.for_network, inputs.labels)
            self.estimators_.append(clf)
            averaged.append(mean_of(dynamics, "proba"))
            early.append(mean_of(dynamics, "early"))
            # The history leaves the network, whose pickle would carry it once more.
            histories.append(clf.net_.__dict__.pop("proba_history_").astype(np.float32))
        n_epochs = min(map(len, histories))  # networks may have stopped early
        history = np.mean([h[:n_epochs] for h in histories], axis=0).astype(np.float16)
        return _Trained(np.mean(averaged, axis=0), np.mean(early, axis=0), history)

    def _vote(self, inputs: _Inputs) -> Floats:
        """Let the neighbors of each row vote on its class: shares of votes, (n, n_classes)."""
        device = resolve_device(self.device)
        features = inputs.for_vote if self._is_table else self._network_features(inputs.for_network)
        unit = unit_rows(features, device)
        given = torch.from_numpy(inputs.labels).to(device)
        neighbors = nearest_neighbors(unit, self.n_neighbors_, backend=self.backend)
        self._rows, self._votes, self._order = unit.cpu().numpy(), given.cpu().numpy(), inputs.classes
        return shares(count_votes(neighbors, given, len(self.classes_)))

    def _combine(self, inputs: _Inputs, trained: _Trained, votes: Floats, y: Ints) -> Beliefs:
        """Combine networks and vote to posteriors and scores, and put rows and classes back into the user's order."""
        labels = inputs.labels
        self._prior = np.bincount(labels, minlength=len(self.classes_)) / len(labels)
        self._fit_flips(trained.early, votes, labels)
        posterior = geometric_mean([trained.averaged, votes])
        scores = self._suspicion(posterior, labels)
        back = np.argsort(inputs.rows)
        back_with_classes = np.ix_(back, np.argsort(inputs.classes))
        self.proba_history_ = trained.history[:, back]
        return Beliefs.from_posterior(
            posterior[back_with_classes],
            y,
            self.classes_,
            scores=scores[back],
            held_out=geometric_mean([trained.early, votes])[back_with_classes],
        )

    def _fit_flips(self, early: Floats, votes: Floats, y: Ints) -> None:
        """T, where the first epochs and the vote name the same class, and how far it counts."""
        agree = (early.argmax(1) == votes.argmax(1)).astype(np.float64)
        self._flips = thresholds.fit_transition_model(early + FLOOR, y, weight=agree).transition
        weight = self.transition_weight
        self.transition_weight_ = (
            (1 - thresholds.uniform_share(self._flips)) ** 2 if weight == "auto" else float(weight)
        )

    def _network_features(self, X: Any) -> Floats:
        """Unit-norm features of all networks side by side."""
        parts = [clf.transform(X) for clf in self.estimators_]
        return np.hstack([part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts])

    def _suspicion(self, posterior: Floats, y: Ints) -> Floats:
        """1 - Q[i, y_i], (n,)."""
        q = posterior * self._prior**-self.prior_exponent
        if self.transition_weight_ > 0:
            q *= (0.98 * self._flips + 0.02 / len(self._flips)).T[y] ** self.transition_weight_
        return 1 - normalized(q)[np.arange(len(y)), y]

    # --- new rows

    def _ordered_posterior(self, X: Any) -> Floats:
        """P of new rows, classes in the order they were trained in."""
        X = dense_rows(self, X)
        near = seen = X
        if self._is_table:
            near, seen = self._prepare(X, reset=False)
        a = np.mean([clf.predict_proba(seen) for clf in self.estimators_], axis=0)
        unit = unit_rows(near if self._is_table else self._network_features(seen), "cpu")
        neighbors = neighbors_among(unit, torch.from_numpy(self._rows), self.n_neighbors_)
        b = shares(count_votes(neighbors, torch.from_numpy(self._votes), a.shape[1]))
        return geometric_mean([a, b])

    def _posterior(self, X: Any) -> Floats:
        return self._ordered_posterior(X)[:, np.argsort(self._order)]

    def _score(self, X: Any, y: Ints) -> Floats:
        return self._suspicion(self._ordered_posterior(X), np.argsort(self._order)[y])
