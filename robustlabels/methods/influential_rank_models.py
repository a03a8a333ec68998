"""What Influential Rank needs of a fitted model: features, a last layer to write, fine-tuning, a validation split.

One adapter for each kind of model: our own classifiers, initialized skorch nets, and any other scikit-learn classifier.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from torch import Tensor, nn

from robustlabels.maths.influence_functions import (
    RidgeSoftmax,
)
from robustlabels.modules import find_head, members
from robustlabels.training import inputs
from robustlabels.training.base import BaseNoisyLabelClassifier, seeded
from robustlabels.training.inputs import take_rows
from robustlabels.training.meta import BaseMetaClassifier
from robustlabels.training.net import unwrap
from robustlabels.training.objective import CrossEntropy, at_precision_of
from robustlabels.training.rows import Rows


class _Plain:
    """Any scikit-learn classifier: features are X itself or its decision function, and nothing is refined in place."""

    refinable = False

    def __init__(self, core: Any, feature_layer: str) -> None:
        if feature_layer not in ("auto", "input", "decision_function"):
            raise ValueError(
                f"feature_layer={feature_layer!r} names a layer, but {type(core).__name__} is not a network; take "
                "'input', 'decision_function' or 'auto'."
            )
        if feature_layer == "decision_function" and not hasattr(core, "decision_function"):
            raise ValueError(f"{type(core).__name__} has no decision_function; take feature_layer='input'.")
        self.core, self.feature_layer = core, feature_layer

    def read(self, X: Any, y: np.ndarray | None = None, sample_weight: Any = None) -> Any:
        """The features of all rows (n, d); numbers stay where they lie, in a memory map too."""
        name = type(self.core).__name__
        sparse = scipy.sparse.issparse(X)
        decides = hasattr(self.core, "decision_function")
        if self.feature_layer == "decision_function" or (sparse and decides and self.feature_layer == "auto"):
            scores = np.asarray(self.core.decision_function(X))
            return scores[:, None] if scores.ndim == 1 else scores
        if sparse:
            raise TypeError(
                f"X is a sparse matrix, and influence needs dense features: reduce it first, for instance "
                f"make_pipeline(TruncatedSVD(100), {name}())."
            )
        features = X if isinstance(X, np.ndarray) else np.asarray(X)
        if features.ndim != 2 or features.dtype.kind not in "fiub":
            try:
                features = features.astype(np.float64).reshape(len(features), -1)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"X must hold numbers to serve as features, got {features.dtype}: put an encoder before {name}, in "
                    "a Pipeline."
                ) from error
        for start in range(0, len(features), 4096):
            if not np.isfinite(features[start : start + 4096]).all():
                ways = " or, since it takes them as they are, set feature_layer='decision_function'" if decides else ""
                raise ValueError(
                    f"X holds NaN or infinity among rows {start} to {min(start + 4096, len(features)) - 1}, and "
                    f"features must be finite: impute them before {name}, in a Pipeline{ways}."
                )
        return features

    def features(self, rows: Any, index: np.ndarray | None = None) -> list[Any]:
        """Of each network, features (n, d); here of the one classifier. Row numbers ascend."""
        return [rows if index is None or len(index) == len(rows) else rows[index]]

    def holdout(self, X: Any, y: np.ndarray) -> np.ndarray | None:
        """Rows that a fitted model did not train on, where it is known."""
        return None


class _Network(_Plain):
    """What networks have in common: features by a hook, weights to write, keep and restore."""

    refinable = True
    module: nn.Module

    def __init__(self, core: Any, networks: list[nn.Module], feature_layer: str) -> None:
        self.core, self.members = core, networks
        self.layers = [_layer(member, feature_layer) for member in self.members]

    def check_head(self) -> None:
        """Raise unless a solved last layer can be written into the network's."""
        for layer in self.layers:
            if not isinstance(layer, nn.Linear) or layer.bias is None:
                raise ValueError(
                    "refine='last_layer' writes weight and bias into the last layer, but here that is a "
                    f"{type(layer).__name__} without a bias of its own; take refine='finetune'."
                )

    def write(self, heads: Sequence[RidgeSoftmax]) -> None:
        """Solved layers in place of the networks' own, standardization undone."""
        for layer, head in zip(self.layers, heads, strict=True):
            assert isinstance(layer, nn.Linear)
            write_head(layer, head)

    def state(self) -> dict[str, Any]:
        """A copy of all weights and buffers."""
        return copy.deepcopy(self.module.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """Weights and buffers as they were."""
        self.module.load_state_dict(state)


class _OwnNet(_Network):
    """One of our classifiers, or what one of ours wraps."""

    def __init__(self, core: BaseNoisyLabelClassifier, feature_layer: str) -> None:
        self.module = unwrap(core.net_)
        if feature_layer == "auto" and core._head_path is not None:
            feature_layer = core._head_path
        super().__init__(core, members(self.module), feature_layer)
        self.lr = core.lr / 5

    def read(self, X: Any, y: np.ndarray | None = None, sample_weight: Any = None) -> Rows:
        rows = self.core._read_new(X)
        if y is not None:
            weighted = has_fit_parameter(self.core, "sample_weight")
            weight = inputs.read_weights(
                sample_weight if weighted else None, getattr(self.core, "class_weight", None), self.core.classes_, y
            )[1]
            rows.y = torch.from_numpy(y).to(rows.device)
            rows.weight = None if weight is None else torch.from_numpy(weight).to(rows.device)
        return rows

    def features(self, rows: Rows, index: np.ndarray | None = None) -> list[Tensor]:
        part = rows if index is None else rows.at(torch.from_numpy(index).to(rows.device))
        widths: list[int] = []

        def caught(model: Any, x: Tensor) -> Tensor:
            seen = _inputs_of(self.layers, lambda: at_precision_of(model, self.module)(x))
            widths[:] = [batch.shape[1] for (batch,) in seen]
            return torch.cat([batch for (batch,) in seen], dim=1)

        found = self.core.net_.outputs(part, caught)
        if torch.device(rows.device).type == "cuda":  # solved where the network lives; float64 is not everywhere
            found = found.to(rows.device)
        return list(found.split(widths, dim=1))

    def holdout(self, X: Any, y: np.ndarray) -> np.ndarray | None:
        if not self.core.train_split:
            return None
        splits = [self.core.net_.get_split_datasets(self.read(X, y))[1].index.cpu().numpy() for _ in range(2)]
        return splits[0] if np.array_equal(splits[0], splits[1]) else None  # a random split cannot be found again

    def finetune(
        self,
        rows: Rows,
        index: np.ndarray,
        epochs: int,
        lr: float,
        seed: int,
        watched: tuple[Any, np.ndarray, np.ndarray] | None,
    ) -> None:
        """Go on with plain cross-entropy: a new net around each network, with fresh momentum."""
        stage = copy.copy(self.core)  # a hold-out and callbacks belong to the first training
        stage.train_split = stage.callbacks = None
        for name in [name for name in vars(stage) if name.startswith("callbacks__")]:
            delattr(stage, name)
        kept = rows.at(torch.from_numpy(index).to(rows.device))
        with seeded(seed, rows.device):
            for member in self.members:
                objective = CrossEntropy(BaseNoisyLabelClassifier._make_augment(stage, kept))
                net = stage._make_net(member, objective, kept, max_epochs=epochs, lr=lr, lr_schedule=None)
                net.fit_rows(kept, epochs)


class _SkorchNet(_Network):
    """An initialized skorch net, trained by its own loop."""

    def __init__(self, core: Any, feature_layer: str) -> None:
        self.module = getattr(core.module_, "_orig_mod", core.module_)
        super().__init__(core, [self.module], feature_layer)
        self.lr = core.lr / 5

    def read(self, X: Any, y: np.ndarray | None = None, sample_weight: Any = None) -> tuple[Any, np.ndarray | None]:
        return X, y

    def features(self, rows: tuple[Any, Any], index: np.ndarray | None = None) -> list[Tensor]:
        X = rows[0] if index is None else take_rows(rows[0], index)
        (seen,) = _inputs_of(self.layers, lambda: [None for _ in self.core.forward_iter(X)])
        return [torch.cat(seen)]

    def holdout(self, X: Any, y: np.ndarray) -> np.ndarray | None:
        if not self.core.train_split:
            return None
        splits = [np.asarray(self.core.get_split_datasets(X, y)[1].indices) for _ in range(2)]
        return splits[0] if np.array_equal(splits[0], splits[1]) else None

    def finetune(
        self,
        rows: tuple[Any, Any],
        index: np.ndarray,
        epochs: int,
        lr: float,
        seed: int,
        watched: tuple[Any, np.ndarray, np.ndarray] | None,
    ) -> None:
        """Go on with the net's own loss and batches at another learning rate; its settings are put back."""
        net = self.core
        if net.batch_size > 1 and len(index) % net.batch_size == 1:
            index = index[:-1]  # BatchNorm cannot train on a last batch of one row
        before, done = (net.lr, net.train_split, net.verbose), _epochs(net)
        if watched is not None:
            valid = net.get_dataset(take_rows(watched[0][0], watched[1]), watched[2])
            net.train_split = lambda dataset, y=None, **_: (dataset, valid)
        net.lr, net.verbose = lr, 0
        try:
            net.initialize_optimizer()
            with seeded(seed, net.device):
                net.partial_fit(take_rows(rows[0], index), rows[1][index], epochs=epochs)
        finally:
            net.set_params(lr=before[0])
            _, net.train_split, net.verbose = before
        if _epochs(net) < done + epochs and not net.callbacks:
            raise KeyboardInterrupt  # which partial_fit swallows


def _epochs(net: Any) -> int:
    """Finished epochs of a skorch net."""
    return sum("train_loss" in row for row in net.history)


def _layer(module: nn.Module, name: str) -> nn.Module:
    """The layer whose inputs are the features: the last linear one, or one by its dotted name."""
    named = dict(module.named_modules())
    if name and name in named:
        return named[name]
    try:
        return find_head(module, None if name == "auto" else name)[1]
    except ValueError as error:
        raise ValueError(
            f"{error} To take features elsewhere, set feature_layer to the dotted name of the layer whose inputs they "
            "are."
        ) from error


def _inputs_of(layers: Sequence[nn.Module], run: Callable[[], Any]) -> list[list[Tensor]]:
    """What went into each layer while ``run`` ran: a list of batches (b, d) in float32 or wider."""
    seen: list[list[Tensor]] = [[] for _ in layers]

    def keep(k: int, args: tuple, kwargs: dict) -> None:
        batch = (args[0] if args else kwargs["input"]).detach().flatten(1)
        seen[k].append(batch.to(torch.promote_types(batch.dtype, torch.float32)))

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, kwargs, k=k: keep(k, args, kwargs), with_kwargs=True)
        for k, layer in enumerate(layers)
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    if not all(seen):
        raise ValueError(
            "the network did not call the layer taken as its last; set feature_layer to the dotted name of the layer "
            "that it ends with."
        )
    return seen


def write_head(layer: nn.Linear, head: RidgeSoftmax) -> None:
    """Write a solved layer into a network, which then gives its logits; one output stands for two classes.

    Parameters
    ----------
    layer : nn.Linear
        With a bias.
    head : RidgeSoftmax

    Examples
    --------
    >>> import torch
    >>> from robustlabels.maths.influence_functions import RidgeSoftmax
    >>> from robustlabels.methods.influential_rank_models import write_head
    >>> x, y = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
    >>> layer, head = torch.nn.Linear(1, 2), RidgeSoftmax.fit(x, y, 2)
    >>> write_head(layer, head)
    >>> bool(torch.allclose(layer(x).softmax(1).double(), head.proba(x)))
    True
    """
    weight, bias = head.raw()
    if layer.out_features == 1 and head.n_classes == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def opened(estimator: Any) -> tuple[list[Any], Any, bool]:
    """Transforms before the innermost fitted classifier, that classifier, and whether it was frozen."""
    transforms, frozen = [], False
    while True:
        if isinstance(estimator, FrozenEstimator):
            estimator, frozen = estimator.estimator, True
        elif isinstance(estimator, Pipeline):
            if len(estimator) > 1:
                transforms.append(estimator[:-1])
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, BaseMetaClassifier):
            estimator = estimator.estimator_
        else:
            return transforms, estimator, frozen


def rests_on_frozen(estimator: Any) -> bool:
    """Whether fitting this estimator leaves the classifier in it as it is."""
    while not isinstance(estimator, FrozenEstimator):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, BaseMetaClassifier):
            estimator = estimator.estimator
        else:
            return False
    return True


def is_initialized_net(estimator: Any) -> bool:
    """Whether this is a skorch net with weights."""
    return hasattr(estimator, "forward_iter") and bool(getattr(estimator, "initialized_", False))


def model_for(core: Any, feature_layer: str) -> Any:
    """The adapter for a fitted classifier: one of ours, a skorch net, or any other."""
    if isinstance(core, BaseNoisyLabelClassifier):
        return _OwnNet(core, feature_layer)
    return _SkorchNet(core, feature_layer) if is_initialized_net(core) else _Plain(core, feature_layer)
