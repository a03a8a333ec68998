"""The contract with the user: validation, labels, seeds, fit and predict, and what every fitted classifier knows.

A method is a subclass with an objective; see :class:`robustlabels.methods.elr.ELRClassifier` for one that fits on a
page.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from robustlabels import augment as augmentation
from robustlabels import modules
from robustlabels.training import inputs
from robustlabels.training.beliefs import Beliefs
from robustlabels.training.hooks import CheckpointFile, ProgressBar
from robustlabels.training.net import EpochHook, RobustNet, resolve_device, resolve_precision, unwrap
from robustlabels.training.objective import Model, Objective
from robustlabels.training.parameters import (
    LR_SCHEDULES,
    OPTIMIZERS,
    Interval,
    RoutedParametersMixin,
    StrOptions,
    _multistep,
    default_batch_size,
    default_max_epochs,
)
from robustlabels.training.persistence import SavableMixin
from robustlabels.training.rows import Batches, Rows

try:  # scikit-learn 1.9's own callback protocol
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an older scikit-learn: nothing to support

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in where scikit-learn has no callbacks."""

    def with_callbacks(method: Callable) -> Callable:
        """Leave the method alone."""
        return method


Wrap = Callable[[Objective, nn.Module, Rows], Objective]

_SEED_LOCK = threading.RLock()


def identity(objective: Objective, module: nn.Module, rows: Rows) -> Objective:
    """No-op wrapper: return the objective unchanged."""
    return objective


@contextlib.contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Torch's generators at ``seed`` inside, and as they were outside.

    ``fork_rng`` is process-wide, so the section holds a lock: fits in threads give what serial fits give, one after
    the other. Never start threads that fit from inside.
    """
    kind = torch.device(device).type
    with _SEED_LOCK, torch.random.fork_rng(devices=[torch.device(device)] if kind == "cuda" else []):
        torch.random.default_generator.manual_seed(seed)
        if kind == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        if kind == "mps":
            torch.mps.manual_seed(seed)
        yield


# --- parameters -------------------------------------------------------------------------------------------------------


# --- the estimator ----------------------------------------------------------------------------------------------------


class BaseNoisyLabelClassifier(
    SavableMixin,
    RoutedParametersMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """Base of all classifiers: one fit gives a model and, aligned with the rows of X, what it thinks of each label.

    A method overrides :meth:`_make_objective`; one with several stages or networks also :meth:`_train` and
    :meth:`_make_module`. See ``docs/development/adding_a_method.rst``.

    Parameters
    ----------
    module : str, nn.Module class or instance, default="auto"
        The network, returning logits. "auto": "mlp" for rows, "cnn" for images up to 64 pixels, "resnet18" above; or a
        preset by name ("mlp", "cnn", "cnn6", "fast", "preact_resnet18", "resnet18", "resnet34"). A class gets
        ``module__*`` and, where it asks for them by name, the sizes of the data. An instance is copied, never trained
        itself.
    max_epochs : int or "auto", default="auto"
        "auto": at least 50 epochs and at least 600 updates.
    batch_size : int or "auto", default="auto"
        "auto": n / 16, between 16 and 128.
    lr : float, default=0.02
        Learning rate at the start of the schedule.
    optimizer : {"sgd", "adamw"} or torch.optim.Optimizer class, default="sgd"
        "sgd" has momentum 0.9 and weight decay 1e-3 unless ``optimizer__*`` says otherwise.
    lr_schedule : {"cosine", "cosine_restarts", "one_cycle", "constant"}, dict, callable or None, default="cosine"
        Over epochs. A dict ``{40: 0.01, 80: 0.01}`` multiplies from these epochs on; a callable is
        ``factor(epoch, n_epochs)``; None leaves the learning rate to a scheduler in ``callbacks``.
    augment : {"auto", "standard", "strong"}, callable or None, default="auto"
        Of batches on the device, ``augment(x, generator=None) -> x``. "standard": random crop and mirror. "strong":
        crops of any size, color and grayscale for images, corrupted columns for rows. "auto": "standard"
        for color images of 32 pixels and more, nothing otherwise: digits and letters must not be mirrored.
    channels : {"auto", "first", "last"}, default="auto"
        Where images keep their channels; "auto" looks for an axis of 1, 3 or 4.
    image_size : int, default=64
        Side to which images given as paths are decoded.
    device : str, default="auto"
        "auto": cuda, mps or cpu, what there is.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Of the network's forward; "auto": bfloat16 for convolutions where the hardware multiplies in it. Losses and
        per-sample memory are float32 always.
    dtype : {"float32", "float64"} or None, default="float32"
        Of weights and inputs; None leaves inputs as they are: whole numbers, of tokens say,
        reach the module as integers.
    compile : bool, default=False
        Compile the network with ``torch.compile``; pays from a few minutes of GPU training on, never on a CPU.
    head : str or None, default=None
        Dotted name of the last linear layer, for :meth:`transform`; None finds it. "distance" puts a
        :class:`~robustlabels.modules.DistanceHead` in its place: distances to learned class centers as logits.
    callbacks : list of skorch callbacks or None, default=None
        With ``callbacks__*``.
    train_split : callable or None, default=None
        As skorch's, ``ValidSplit(5)`` say: rows held out to watch, not trained on, but scored like all others.
    warm_start : bool, default=False
        Continue from the last fit, on the same X and y.
    checkpoint : str, Path or None, default=None
        A file written after every epoch; a fit that finds it goes on from there, with the same result as without
        the interruption.
    random_state : int, RandomState or None, default=None
        Refits with the same int are bit-identical on a CPU.
    verbose : int, default=0
        1 shows a bar: epoch, loss, estimated noise, samples per second, time to go.
    **net_params : dict
        ``module__*``, ``optimizer__*``, ``callbacks__*``, ``iterator_train__*``, ``compile__*``, passed on.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    noise_scores_ : ndarray of shape (n_samples,), float32
        One minus the posterior probability of the given label; higher is more suspicious.
    noise_mask_ : ndarray of shape (n_samples,), bool
        True for flagged rows: those whose most probable class is not the given label.
    noise_rate_ : float
        Estimated share of wrong labels: the share of rows whose most probable class is not the given label. The share
        of flagged rows is ``noise_mask_.mean()``.
    suggested_labels_ : ndarray of shape (n_samples,)
        The most probable class of flagged rows; the given label of all others.
    suggested_confidence_ : ndarray of shape (n_samples,), float32
        Posterior probability of the suggested label.
    transition_matrix_ : ndarray of shape (n_classes, n_classes)
        Rows: true class, as estimated from the posterior; columns: given label; each row sums to one.
    net_ : RobustNet
        The trained skorch net; ``net_.history`` is the learning curve.
    n_features_in_, feature_names_in_, input_shape_, input_bytes_, input_integers_
        What X looked like; ``input_bytes_`` tells images of uint8, which reach the network divided by 255,
        ``input_integers_`` whole numbers that reach it as such.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "module": [str, nn.Module, callable],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "lr": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions(set(OPTIMIZERS)), type],
        "lr_schedule": [StrOptions(set(LR_SCHEDULES)), Mapping, callable, None],
        "augment": [StrOptions({"auto", "standard", "strong"}), callable, None],
        "channels": [StrOptions({"auto", "first", "last"})],
        "image_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "compile": ["boolean"],
        "head": [str, None],
        "callbacks": [list, tuple, None],
        "train_split": [callable, None],
        "warm_start": ["boolean"],
        "checkpoint": [str, PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module: Any = "auto",
        *,
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr: float = 0.02,
        optimizer: Any = "sgd",
        lr_schedule: Any = "cosine",
        augment: Any = "auto",
        channels: str = "auto",
        image_size: int = 64,
        device: str = "auto",
        precision: str = "auto",
        dtype: str | None = "float32",
        compile: bool = False,
        head: str | None = None,
        callbacks: Any = None,
        train_split: Any = None,
        warm_start: bool = False,
        checkpoint: Any = None,
        random_state: Any = None,
        verbose: int = 0,
        **net_params: Any,
    ) -> None:
        self.module = module
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.lr_schedule = lr_schedule
        self.augment = augment
        self.channels = channels
        self.image_size = image_size
        self.device = device
        self.precision = precision
        self.dtype = dtype
        self.compile = compile
        self.head = head
        self.callbacks = callbacks
        self.train_split = train_split
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose
        self.__dict__.update(net_params)

    # --- what a method says

    def _check_parameters(self) -> None:
        """Raise for values out of range; a method adds its own."""
        super()._check_parameters()
        self._check_routed()

    def _make_objective(self, module: nn.Module, rows: Rows) -> Objective:
        """The objective of the one stage; memory has ``len(rows.y)`` rows and ``rows.n_classes`` columns."""
        raise NotImplementedError(f"{type(self).__name__} is a subclass without a _make_objective method")

    def _make_module(self, rows: Rows) -> nn.Module:
        """A fresh network on the device, its width checked."""
        x = rows.inputs(rows.index[:2])
        sizes = {"input_shape": tuple(x.shape[1:]), "n_classes": rows.n_classes}
        if isinstance(self.module, str) or self.module in modules.PRESETS.values():
            sizes["mean"], sizes["std"] = inputs.column_statistics(rows)
        module = modules.build(self.module, **{**sizes, **self._params_for("module")})
        module = module.to(device=rows.device, dtype=torch.float64 if self.dtype == "float64" else None)
        return modules.probe(self._make_head(module, rows), x, rows.n_classes)

    def _make_head(self, module: nn.Module, rows: Rows) -> nn.Module:
        """A network as it was built, or with the head that was asked for."""
        if self.head != "distance":
            return module
        return modules.with_distance_head(module, rows.n_classes, x=rows.inputs(rows.index[:2]))

    @property
    def _head_path(self) -> str | None:
        """Dotted name of the network's last layer, None where it is found without one."""
        return None if self.head == "distance" else self.head

    def _make_net(self, module: nn.Module, objective: Objective, rows: Rows, **over: Any) -> RobustNet:
        """A stage: a new net around a module, with a history and a learning rate of its own."""
        batch_size, max_epochs = self._plan(len(rows))
        optimizer, defaults = OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else (self.optimizer, {})
        given = self._params_for("optimizer")
        accepted = [n for n in inspect.signature(optimizer).parameters if n != "params"]
        for name in given:
            if name not in accepted:
                raise TypeError(
                    f"optimizer {optimizer.__name__} takes no parameter {name!r}{modules.closest(name, accepted)}"
                )
        settings: dict[str, Any] = {
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "lr": self.lr,
            "optimizer": optimizer,
            **{f"optimizer__{k}": v for k, v in {**defaults, **given}.items()},
            "iterator_train": Batches,
            "iterator_train__shuffle": True,
            "iterator_train__n_passes": objective.n_passes,
            "iterator_valid": Batches,
            **{f"iterator_train__{k}": v for k, v in self._params_for("iterator_train").items()},
            "callbacks": copy.deepcopy(self.callbacks),
            **{f"callbacks__{k}": v for k, v in self._params_for("callbacks").items()},
            "train_split": self.train_split,
            "compile": self.compile,
            **{f"compile__{k}": v for k, v in self._params_for("compile").items()},
            "predict_nonlinearity": functools.partial(torch.softmax, dim=-1),
            "device": rows.device,
            "verbose": 0,
            "n_classes": rows.n_classes,
            "lr_schedule": self._lr_factor(),
            "autocast": resolve_precision(self.precision, rows.device, module),
        }
        return RobustNet(module, objective, **{**settings, **over}).initialize()

    def _train(self, rows: Rows, wrap: Wrap = identity) -> None:
        """The method's stages on clean rows, leaving ``net_``.

        ``wrap(objective, module, rows)`` lets a wrapper replace the objective that trains the network. The default is
        one module, one objective and one net.
        """
        if self.warm_start and hasattr(self, "net_"):
            self._run(self.net_, rows)
            return
        module = self._make_module(rows)
        objective = wrap(self._make_objective(module, rows), module, rows)
        self._run(self._make_net(module, objective, rows), rows)

    def _features(self, model: Model, x: torch.Tensor) -> torch.Tensor:
        """Penultimate features of a batch; of both networks side by side where there are two."""
        return modules.features_and_logits(model, x, self._head_path)[0].float()

    def _rebuild(self, n_samples: int) -> None:
        """An untrained ``net_`` of the fitted shape, for saved weights to be read into."""
        with seeded(0):
            zero = np.zeros(1, dtype=np.int64 if self.input_integers_ else np.float32)
            blank = np.broadcast_to(zero, (n_samples, *self.input_shape_))  # one number
            self.net_ = self._untrained(self._make_rows(blank, "cpu"))

    def _untrained(self, rows: Rows) -> RobustNet:
        """The last stage's net, before training."""
        module = self._make_module(rows)
        return self._make_net(module, self._make_objective(module, rows), rows)

    # --- helpers of the stages

    def _plan(self, n: int) -> tuple[int, int]:
        """Batch size and epochs for ``n`` rows."""
        batch_size = default_batch_size(n) if self.batch_size == "auto" else int(self.batch_size)
        max_epochs = default_max_epochs(n, batch_size) if self.max_epochs == "auto" else int(self.max_epochs)
        return batch_size, max_epochs

    def _epochs(self, value: float, total: int) -> int:
        """A number of epochs given as such or as a fraction."""
        return round(value * total) if isinstance(value, float) and value <= 1 else int(value)

    def _lr_factor(self) -> Callable[[int, int], float] | None:
        schedule = self.lr_schedule
        if schedule is None or callable(schedule):
            return schedule
        if isinstance(schedule, Mapping):
            return functools.partial(_multistep, steps=dict(schedule))
        return LR_SCHEDULES[schedule]

    def _make_augment(self, rows: Rows) -> Any:
        x = rows.inputs(rows.index[:2])
        augment = augmentation.resolve(self.augment, tuple(x.shape[1:]))
        if augment is not None:
            augmentation.check(augment, x)
        return augment

    def _run(self, net: RobustNet, rows: Rows, stage: str = "") -> None:
        """Train a net, or go on from its checkpoint; ``net_`` is set once an epoch is done, whatever happens then."""
        hooks: list[EpochHook] = list(self._hooks)
        try:
            if self.checkpoint is None:
                net.fit_rows(rows, net.max_epochs, hooks)
            else:
                path = Path(self.checkpoint)
                file = CheckpointFile(path.with_name(path.name + stage), self._identity)
                net.fit_rows(rows, net.max_epochs, [*hooks, file], checkpoint=file.read())
        finally:
            if len(net.history):
                self.net_ = net

    # --- fit

    @with_callbacks
    def _fit(
        self, X: Any, y: Any, sample_weight: Any = None, soft_labels: Any = None, *, wrap: Wrap = identity
    ) -> Self:
        """Check parameters, validate, encode, seed, train, and describe every row; all or nothing.

        A wrapper passes ``wrap``. Its ``identity`` attribute, a dict of str, is added to what a checkpoint must agree
        with.
        """
        before = self._fitted_state()
        started = False
        try:
            self._check_parameters()
            rows = self._read_rows(X, y, sample_weight, soft_labels)
            if hasattr(self, "_identity"):
                self._identity.update(getattr(wrap, "identity", {}))
            if not self.warm_start:
                self.__dict__.pop("net_", None)
            trained = len(self.net_.history) if hasattr(self, "net_") else 0
            with self._watching(X, y, rows), seeded(self._seed(), rows.device):
                started = True
                self._train(rows, wrap)
            self._describe(rows)
        except KeyboardInterrupt:
            if not (started and hasattr(self, "net_") and len(self.net_.history) > trained):
                self._restore(before)
                raise
            self._describe(rows)
            warnings.warn(
                f"fit was interrupted after {len(self.net_.history)} epochs; the estimator is fitted as of the last "
                "finished one.",
                stacklevel=3,
            )
            raise
        except BaseException:
            self._restore(before)
            raise
        return self

    def _fitted_state(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}

    def _restore(self, state: dict[str, Any]) -> None:
        for name in self._fitted_state():
            if name not in state:
                delattr(self, name)
        self.__dict__.update(state)

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _read_rows(self, X: Any, y: Any, sample_weight: Any, soft_labels: Any) -> Rows:
        """Clean rows on the device, with what is fitted by looking at them."""
        device = resolve_device(self.device)
        X = inputs.read_X(self, X, y, reset=True, image_size=self.image_size, integers=self.dtype is None)
        self.classes_, numbers = inputs.read_labels(self, y)
        trained, weight = inputs.read_weights(
            sample_weight, getattr(self, "class_weight", None), self.classes_, numbers
        )
        soft = inputs.read_soft_labels(soft_labels, len(numbers), len(self.classes_))
        self.layout_ = inputs.read_layout(X, self.module, self.channels)
        if self.warm_start or self.checkpoint is not None:
            self._identify(X, numbers)
        return self._make_rows(
            X,
            device,
            y=torch.from_numpy(numbers),
            index=torch.from_numpy(trained),
            weight=None if weight is None else torch.from_numpy(weight),
            soft_labels=None if soft is None else torch.from_numpy(soft),
        )

    def _make_rows(self, X: Any, device: str, **kwargs: Any) -> Rows:
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        return Rows(X, n_classes=len(self.classes_), layout=self.layout_, dtype=dtype, device=device, **kwargs)

    def _identify(self, X: Any, y: np.ndarray) -> None:
        """Name X, y and the parameters; refuse to continue on other data."""
        data = {
            "shape of X": str(tuple(X.shape)),
            "dtype of X": str(X.dtype),
            "contents of X": inputs.checksum(X),
            "y": inputs.checksum(y) + inputs.checksum(np.asarray([str(c) for c in self.classes_])),
        }
        fitted = getattr(self, "data_", None)
        if self.warm_start and hasattr(self, "net_") and fitted is not None and fitted != data:
            what = next(k for k in data if data[k] != fitted[k])
            raise ValueError(
                f"warm_start=True continues on the same rows, but {what} changed since the last fit: {fitted[what]} "
                f"then, {data[what]} now; set warm_start=False to start afresh."
            )
        self.data_ = data
        silent = {"verbose", "checkpoint", "device", "callbacks", "warm_start"}
        params = {k: re.sub(r" at 0x[0-9a-f]+", "", repr(v)) for k, v in self.get_params().items() if k not in silent}
        self._identity = {**data, **{f"parameter {k}": v for k, v in params.items()}}

    @contextlib.contextmanager
    def _watching(self, X: Any, y: Any, rows: Rows) -> Iterator[None]:
        """The bar and scikit-learn's callbacks, for the length of the training."""
        _, epochs = self._plan(len(rows))
        self._hooks: list[EpochHook] = []
        bar = ProgressBar(epochs, rows.y.cpu()) if self.verbose else None
        if bar is not None:
            self._hooks.append(bar)
        context = None
        if hasattr(self, "_init_callback_context"):
            context = self._init_callback_context(max_subtasks=epochs)
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
            if context._callbacks:
                self._hooks.append(_ScikitLearnCallbacks(self, context, X, y))
        try:
            yield
            if context is not None:
                context.call_on_fit_task_end(estimator=self, X=X, y=y)
        finally:
            del self._hooks
            self.__dict__.pop("_identity", None)
            if bar is not None:
                bar.close()

    # --- what one fit knows of every row

    def _posterior(self, rows: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers and class probabilities, chunk by chunk: the objective's memory of the rows it visited, the final
        model's answer for the others (zero weight, validation split) and for methods without a memory.
        """
        for index in torch.arange(len(rows.y), device=rows.device).split(16384):
            known = self.net_.criterion_.posterior(index)
            proba = torch.empty(len(index), rows.n_classes)
            ask = torch.ones(len(index), dtype=torch.bool)
            if known is not None:
                believed, visited = known
                ask = ~visited.cpu()
                proba[~ask] = believed.float().cpu()[~ask]
            if ask.any():
                proba[ask] = self._softmax(rows.at(index[ask.to(index.device)])).float()
            yield index.cpu().numpy(), proba.numpy()

    def _flag(self, rows: Rows, differs: np.ndarray) -> np.ndarray:
        """Apply the rule for flagged rows; ``differs`` is True where the most probable class is not the given label."""
        return differs

    def _describe(self, rows: Rows) -> None:
        """Set the attributes that every fitted classifier has, aligned with the rows of X."""
        given = rows.y.cpu().numpy()
        beliefs = Beliefs.from_posterior(
            self._posterior(rows), given, self.classes_, flag=functools.partial(self._flag, rows)
        )
        self.__dict__.update(beliefs.attributes())

    # --- predict

    def _softmax(self, rows: Rows) -> torch.Tensor:
        return torch.softmax(self.net_.outputs(rows), dim=1)

    def _read_new(self, X: Any) -> Rows:
        check_is_fitted(self)
        X = inputs.read_X(self, X, reset=False, image_size=self.input_shape_[-1], integers=self.dtype is None)
        return self._make_rows(X, self.net_.device)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return self._softmax(self._read_new(X)).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            In the type of the labels given to ``fit``.
        """
        rows = self._read_new(X)
        return self.classes_[self.net_.outputs(rows).argmax(1).numpy()]

    def transform(self, X: Any) -> np.ndarray:
        """Compute the penultimate features: the inputs of the last linear layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in ``fit``.

        Returns
        -------
        features : ndarray of shape (n_samples, n_features_out), float32
            One row of features for each row of X.
        """
        rows = self._read_new(X)
        return self.net_.outputs(rows, self._features).numpy()

    @property
    def _n_features_out(self) -> int:
        module = unwrap(self.net_)
        members = module.members if isinstance(module, modules.Twin) else [module]
        return sum(modules.find_head(member, self._head_path)[1].in_features for member in members)

    @property
    def module_(self) -> nn.Module:
        """The trained network."""
        check_is_fitted(self)
        return unwrap(self.net_)

    @property
    def history_(self) -> Any:
        """Skorch's history: one row an epoch."""
        check_is_fitted(self)
        return self.net_.history

    @property
    def n_iter_(self) -> int:
        """Epochs trained."""
        check_is_fitted(self)
        return len(self.net_.history)

    def __sklearn_is_fitted__(self) -> bool:
        return "net_" in vars(self) and "noise_scores_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags


class RowSelectionClassifier(BaseNoisyLabelClassifier):
    """Base class of the classifiers that select rows by count or vote, and therefore take no sample weights."""

    def fit(self, X: Any, y: Any) -> Self:
        """Train on labels that may be wrong, and score every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Table, images (n, c, h, w) or (n, h, w, c), memory map, torch tensor, list of image paths, lazy view.
        y : array-like of shape (n_samples,)
            Labels of any type scikit-learn takes.

        Returns
        -------
        self
            The fitted estimator.
        """
        return self._fit(X, y)


class RowLossClassifier(BaseNoisyLabelClassifier):
    """Base of the classifiers whose loss is a weighted mean over rows.

    Parameters
    ----------
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with ``sample_weight``.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(self, module: Any = "auto", *, class_weight: Any = None, **params: Any) -> None:
        super().__init__(module, **params)
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None, soft_labels: Any = None) -> Self:
        """Train on labels that may be wrong, and score every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Table, images (n, c, h, w) or (n, h, w, c), memory map, torch tensor, list of image paths, lazy view.
        y : array-like of shape (n_samples,)
            Labels of any type scikit-learn takes.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Non-negative; rows of weight zero are not trained on, but scored. A weight differs from repeating the row,
            since rows are drawn into batches.
        soft_labels : array-like of shape (n_samples, n_classes) or None, default=None
            Label distributions to train on instead of ``y`` (columns in sorted class order, rows summing to one);
            ``y`` still says which label each row was given.

        Returns
        -------
        self
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, soft_labels)


# --- rows of anything -------------------------------------------------------------------------------------------------


# --- a classifier around a classifier ---------------------------------------------------------------------------------


# --- what a fit takes -------------------------------------------------------------------------------------------------


class _ScikitLearnCallbacks:
    """scikit-learn's callback protocol, told of every epoch."""

    def __init__(self, estimator: BaseNoisyLabelClassifier, context: Any, X: Any, y: Any) -> None:
        self.estimator, self.context, self.data = estimator, context, {"X": X, "y": y}

    def on_epoch_begin(self, net: RobustNet) -> None:
        """Open the epoch's task."""
        self.epoch = self.context.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def on_epoch_end(self, net: RobustNet) -> bool:
        """Close it; a callback may ask to stop."""
        stop = self.epoch.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=lambda: {"net_": net, "noise_scores_": None},
            **self.data,
        )
        return bool(stop)
