"""Confident learning on probabilities of classifiers that did not see the row."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.validation import validate_data
from torch import Tensor

from robustlabels.detection.base import NoiseDetector
from robustlabels.maths import confident_joint as confident
from robustlabels.training import inputs
from robustlabels.training.beliefs import Beliefs, Floats, Ints
from robustlabels.training.inputs import take_rows
from robustlabels.training.meta import seeded_clone
from robustlabels.training.parameters import StrOptions, check_number


class ConfidentLearningNoiseDetector(NoiseDetector):
    """Confident learning on out-of-fold probabilities of any classifier; equal to cleanlab's numbers.

    Every row is judged by a model that was not trained on it. The confident joint estimates how often each class is
    given each label.

    Parameters
    ----------
    estimator : classifier or None, default=None
        Any scikit-learn classifier with ``predict_proba``; cloned and fitted once a fold. None means logistic
        regression on standardized columns.
    cv : int, splitter or iterable, default=5
        Folds; every row has to be in one test fold. An int shuffles and stratifies.
    quality : {"self_confidence", "normalized_margin", "confidence_weighted_entropy"}, default="self_confidence"
        ``noise_scores_`` is one minus this :func:`~robustlabels.maths.confident_joint.label_quality`.
    adjusted : bool, default=False
        Adjust the probabilities for unbalanced classes before scoring.
    filter_by : str, default="prune_by_noise_rate"
        The rule of ``label_issues_``: "prune_by_noise_rate", "prune_by_class", "both", "confident_learning",
        "predicted_neq_given", "low_normalized_margin" or "low_self_confidence"; see
        :func:`~robustlabels.maths.confident_joint.find_label_issues`.
    n_jobs : int or None, default=None
        Folds fitted at once.
    random_state : int, RandomState or None, default=None
        Shuffles, and seeds the classifier where its own ``random_state`` is None.
    threshold : {"noise_rate", "auto", "quantile", "fdr"} or float, default="noise_rate"
        As for :class:`~robustlabels.detection.NoiseDetector`. The default flags as many rows as the noise rate says:
        these scores fall into no two groups, and a mixture splits them anyway.

    Attributes
    ----------
    label_posterior_ : ndarray of shape (n_samples, n_classes)
        The out-of-fold probabilities.
    label_issues_ : ndarray of shape (n_samples,), bool
        What confident learning flags by ``filter_by``; ``noise_mask_`` goes by ``threshold`` instead.
    confident_joint_ : ndarray of shape (n_classes, n_classes)
        Calibrated counts; rows: given label, columns: true class.
    noise_rate_ : float
        Share of the joint beside its diagonal.
    transition_matrix_ : ndarray of shape (n_classes, n_classes)
        The joint by its columns: rows are true classes, each summing to one.
    estimators_ : list of classifier
        One a fold; new rows are scored by their mean.
    noise_scores_, noise_mask_, threshold_, noise_rate_interval_, suggested_labels_, suggested_confidence_, classes_
        As for every detector.

    See Also
    --------
    AutoNoiseDetector : The default, without cross-validation.
    robustlabels.maths.confident_joint.find_label_issues : The same for probabilities that exist already.

    Notes
    -----
    X goes to the classifier as it is, in any container: texts, files, columns of text, missing values and the like are
    the classifier's, or its Pipeline's, to deal with. For probabilities you have already, call the functions of
    :mod:`robustlabels.maths.confident_joint`.

    References
    ----------
    Northcutt, Jiang, Chuang (JAIR 2021), arXiv 1911.00068.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from robustlabels import ConfidentLearningNoiseDetector
    >>> X, y = load_iris(return_X_y=True)
    >>> y[3] = 2
    >>> detector = ConfidentLearningNoiseDetector(random_state=0).fit(X, y)
    >>> detector.noise_scores_.argmax(), bool(detector.label_issues_[3])
    (np.int64(3), True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": ["no_validation"],
        "cv": ["cv_object"],
        "quality": [StrOptions(set(confident.QUALITIES))],
        "adjusted": ["boolean"],
        "filter_by": [StrOptions(set(confident.FILTERS))],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        cv: Any = 5,
        quality: str = "self_confidence",
        adjusted: bool = False,
        filter_by: str = "prune_by_noise_rate",
        n_jobs: int | None = None,
        random_state: Any = None,
        threshold: str | float = "noise_rate",
        **params: Any,
    ) -> None:
        super().__init__(threshold=threshold, **params)
        self.estimator = estimator
        self.cv = cv
        self.quality = quality
        self.adjusted = adjusted
        self.filter_by = filter_by
        self.n_jobs = n_jobs
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.estimator is not None and not hasattr(self.estimator, "predict_proba"):
            raise TypeError(
                f"confident learning needs predict_proba, which {type(self.estimator).__name__} does not have; wrap it "
                "in CalibratedClassifierCV, or take another classifier."
            )

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        """X as it is, checked as far as it is a matter of numbers."""
        if reset and y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        if isinstance(X, Tensor):
            X = X.detach().cpu().numpy()
        if inputs.is_lazy(X):
            return super()._read(X, y, reset=reset)
        checked = X if inputs.is_paths(X) else self._check_numbers(X, reset=reset)  # files, or texts
        inputs.check_consistent_length(checked, y)
        if reset:
            self.input_shape_ = tuple(getattr(checked, "shape", (0,))[1:])
        return checked

    def _check_numbers(self, X: Any, *, reset: bool = False) -> Any:
        if hasattr(X, "dtypes") and hasattr(X, "columns"):  # a table of any columns: names and their number alone
            kinds = {getattr(dtype, "kind", "O") for dtype in X.dtypes}
            if not kinds <= set("biuf"):
                validate_data(self, X, reset=reset, skip_check_array=True)
                return X
        missing = self.estimator is not None and get_tags(self.estimator).input_tags.allow_nan
        checked = validate_data(self, X, reset=reset, accept_sparse="csr", allow_nd=True, ensure_all_finite=not missing)
        return X if hasattr(X, "dtypes") else checked

    def _detect(self, X: Any, y: Ints) -> Beliefs:
        generator = check_random_state(self.random_state)
        n, n_classes = len(y), len(self.classes_)
        inner = self._inner(X)
        folds = self._folds(X, y, generator)
        clones = [seeded_clone(inner, generator) for _ in folds]
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_fold)(clf, X, self.classes_[y], train, test)
            for clf, (train, test) in zip(clones, folds, strict=True)
        )
        self.estimators_ = [clf for clf, _ in results]
        out_of_fold = np.zeros((n, n_classes))
        for (clf, answers), (_, test) in zip(results, folds, strict=True):
            out_of_fold[test] = self._aligned(clf, answers)
        proba = confident.check_probabilities(out_of_fold, n, name=f"predict_proba of {type(inner).__name__}")
        self.confident_joint_ = confident.confident_joint(y, proba)
        self.label_issues_ = confident.find_label_issues(y, proba, filter_by=self.filter_by)
        right = confident.label_quality(y, proba, method=self.quality, adjusted=self.adjusted)
        return Beliefs.from_posterior(proba, y, self.classes_, scores=1 - right)

    def _describe(self, found: Beliefs) -> None:
        super()._describe(found)
        joint = self.confident_joint_.T
        self.transition_matrix_ = joint / joint.sum(1, keepdims=True)

    def _inner(self, X: Any) -> Any:
        if self.estimator is not None:
            return self.estimator
        return make_pipeline(StandardScaler(with_mean=not scipy.sparse.issparse(X)), LogisticRegression(max_iter=1000))

    def _folds(self, X: Any, y: Ints, generator: np.random.RandomState) -> list[tuple[Ints, Ints]]:
        if isinstance(self.cv, (int, np.integer)):
            check_number("cv", self.cv, 2, integer=True)
            count = np.bincount(y)
            rare = int(count.argmin())
            if count[rare] < self.cv:
                way = f"take cv={count[rare]}" if count[rare] > 1 else "leave the class out"
                raise ValueError(
                    f"class {self.classes_.tolist()[rare]!r} has {count[rare]} row(s), fewer than the {self.cv} folds; "
                    f"{way}, or take a detector without cross-validation such as AutoNoiseDetector."
                )
            splitter = StratifiedKFold(self.cv, shuffle=True, random_state=generator.randint(np.iinfo(np.int32).max))
        else:
            splitter = check_cv(self.cv, y, classifier=True)
        folds = list(splitter.split(np.zeros(len(y)), y))
        times = np.bincount(np.concatenate([test for _, test in folds]), minlength=len(y))
        if not (times == 1).all():
            row = int((times != 1).argmax())
            raise ValueError(f"every row must be in one test fold, but cv puts row {row} into {times[row]}.")
        return folds

    def _aligned(self, clf: Any, answers: Floats) -> Floats:
        """Columns for all classes; those that a fold did not see are zero."""
        if len(clf.classes_) == len(self.classes_):
            return answers
        proba = np.zeros((len(answers), len(self.classes_)))
        proba[:, np.searchsorted(self.classes_, clf.classes_)] = answers
        return proba

    def _posterior(self, X: Any) -> Floats:
        return np.mean([self._aligned(clf, clf.predict_proba(X)) for clf in self.estimators_], axis=0)

    def _score(self, X: Any, y: Ints) -> Floats:
        return 1 - confident.label_quality(y, self._posterior(X), method=self.quality, adjusted=self.adjusted)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.estimator is not None:
            inner = get_tags(self.estimator).input_tags
            tags.input_tags.sparse, tags.input_tags.allow_nan = inner.sparse, inner.allow_nan
        return tags


def _fit_fold(clf: Any, X: Any, y: Any, train: Ints, test: Ints) -> tuple[Any, Floats]:
    clf.fit(take_rows(X, train), y[train])
    return clf, clf.predict_proba(take_rows(X, test))
