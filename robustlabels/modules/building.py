"""Build a network from what the user names, replace its head, and check its output on a few rows."""

import copy
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Collection, Container, Iterable
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robustlabels.modules.heads import DistanceHead, LogitsOf, TwoLogits
from robustlabels.modules.hints import closest, listed
from robustlabels.modules.inside import eval_forward, find_head
from robustlabels.modules.networks import MLP, PRESETS, Preset, ResNet18, SmallConvNet

# --- build ------------------------------------------------------------------------------------------------------------

# Names that constructors give to the sizes that they need.
_CLASSES = "n_classes num_classes n_outputs num_outputs num_labels n_labels output_dim output_size out_features n_out"
_FEATURES = "n_features num_features in_features n_inputs input_dim input_size n_in"
_CHANNELS = "in_channels in_chans input_channels n_channels num_channels channels"
_IMAGE_SIZE = "image_size img_size"
# An argument of these names that has a default is usually a width of the network, and not the channels of the input.
_AMBIGUOUS = {"n_channels", "num_channels", "channels"}


def build(
    module: str | nn.Module | Callable[..., nn.Module],
    /,
    *,
    input_shape: tuple[int, ...],
    n_classes: int,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    **params: Any,
) -> nn.Module:
    """Build the network for rows of one shape.

    Parameters
    ----------
    module : str, nn.Module class or other callable, or nn.Module
        One of three:

        * the name of a preset, or "auto", which takes a perceptron for flat rows, a small convolutional network for
          images of up to 64 px, and a ResNet-18 for larger ones;
        * a class or function that returns an ``nn.Module``. Its arguments that name a size (``n_classes``,
          ``num_labels``, ``in_features``, ``in_channels``, ``input_shape``, ``image_size``, ...) are filled in unless
          they are given;
        * a module, of which a deep copy is returned.
    input_shape : tuple of int
        Shape of one row: (n_features,), (n_channels, height, width) or any other.
    n_classes : int
        Number of classes.
    mean, std : array-like, default=None
        Statistics of the input, which only presets receive.
    **params
        Further arguments of the class or function.

    Returns
    -------
    nn.Module

    Raises
    ------
    TypeError
        If ``module`` is none of the three, does not take an argument or needs one that is missing, or returns something
        other than a module.
    ValueError
        If there is no such preset, if the preset needs images and the rows are not, or if arguments are given for a
        module that is already built.

    Examples
    --------
    >>> from robustlabels.modules import build
    >>> build("mlp", input_shape=(4,), n_classes=3, width=8).head
    Linear(in_features=8, out_features=3, bias=True)
    """
    if isinstance(module, nn.Module):
        if params:
            raise ValueError(
                f"{listed(params)} cannot be set on a {type(module).__name__} that is built already; "
                "give its class instead, or pass these arguments where you build it."
            )
        return copy.deepcopy(module)

    make: Callable[..., nn.Module]
    if isinstance(module, str):
        make = _preset(module, input_shape)
        name = f"{module!r} ({make.__name__})"
    elif callable(module):
        make, name = module, getattr(module, "__name__", repr(module))
    else:
        raise TypeError(
            "module must be the name of a preset, an nn.Module, or a class or function that returns one, "
            f"got {type(module).__name__}: {module!r}."
        )

    sizes = _sizes(tuple(input_shape), n_classes)
    if isinstance(make, type) and issubclass(make, Preset):
        sizes |= {"mean": mean, "std": std}
        if make.needs_images and len(input_shape) != 3:
            raise ValueError(
                f"module={name} needs images, which are rows of shape (channels, height, width), but got rows of shape "
                f"{tuple(input_shape)}; set module='mlp', or reshape X to (n_samples, channels, height, width)."
            )
    built = make(**_arguments(make, name, sizes, params))
    if not isinstance(built, nn.Module):
        raise TypeError(f"module={name} must return an nn.Module, got {type(built).__name__}.")
    return built


def _preset(name: str, input_shape: tuple[int, ...]) -> type[Preset]:
    if name == "auto":
        if len(input_shape) != 3:
            return MLP
        return SmallConvNet if max(input_shape[1:]) <= 64 else ResNet18
    if name not in PRESETS:
        names = ["auto", *PRESETS]
        raise ValueError(f"module={name!r} is not a preset ({listed(names)}){closest(name, names)}")
    return PRESETS[name]


def _sizes(input_shape: tuple[int, ...], n_classes: int) -> dict[str, Any]:
    """Return the value of every argument that names a size."""
    sizes: dict[str, Any] = {"input_shape": input_shape}
    sizes |= dict.fromkeys(_CLASSES.split(), n_classes) | dict.fromkeys(_FEATURES.split(), math.prod(input_shape))
    if len(input_shape) > 1:
        sizes |= dict.fromkeys(_CHANNELS.split(), input_shape[0])
    if len(input_shape) == 3:
        h, w = input_shape[1:]
        sizes |= dict.fromkeys(_IMAGE_SIZE.split(), h if h == w else (h, w))
    return sizes


def _arguments(make: Callable, name: str, sizes: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return `params` and those sizes that `make` asks for, checked against its signature."""
    try:
        signature = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # A callable written in C has no signature to check against.
        return params
    accepted = {p.name: p for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind == p.VAR_KEYWORD for p in signature):
        _refuse_unknown(params, accepted, name)
    required = {key for key, p in accepted.items() if p.default is p.empty}
    # What a partial has bound is the user's own choice, though its signature still shows the argument.
    bound = make.keywords if isinstance(make, functools.partial) else {}
    arguments = _filled(accepted, required, sizes, bound) | params
    if missing := sorted(required - set(arguments)):
        ways = ", ".join(f"module__{key}=..." for key in missing)
        raise TypeError(f"module={name} needs {listed(missing)}; set {ways}.")
    return arguments


def _refuse_unknown(params: Iterable[str], accepted: Collection[str], name: str) -> None:
    for key in params:
        if key not in accepted:
            hint = closest(key, accepted)
            raise TypeError(f"module={name} takes no {key!r}; it takes {listed(accepted) or 'nothing'}{hint}")


def _filled(
    accepted: Iterable[str], required: Container[str], sizes: dict[str, Any], bound: Container[str]
) -> dict[str, Any]:
    """Return the sizes that arguments name, without ambiguous names that have a default."""
    return {
        key: sizes[key]
        for key in accepted
        if key in sizes and key not in bound and (key in required or key not in _AMBIGUOUS)
    }


# --- replace the head -------------------------------------------------------------------------------------------------


def with_distance_head(
    module: nn.Module,
    n_classes: int,
    path: str | None = None,
    *,
    x: Tensor | None = None,
    rectify: bool = False,
    dropout: float = 0.0,
    **params: Any,
) -> nn.Module:
    """Return a copy of a network with a :class:`~robustlabels.modules.DistanceHead` in place of its last linear layer.

    Parameters
    ----------
    module : nn.Module
        The network, which is not changed.
    n_classes : int
        Number of classes. The replaced layer may have any number of outputs.
    path : str, default=None
        Dotted name of the layer; None takes the one that :func:`~robustlabels.modules.find_head` finds.
    x : Tensor of shape (2, ...), default=None
        Two rows, from which lazy layers take their shapes.
    rectify : bool, default=False
        Put a ReLU before the head. It changes nothing if no feature is negative.
    dropout : float, default=0.0
        Share of features that are dropped before the head in training.
    **params
        Parameters ``gamma``, ``prior`` and ``prior_at_test`` of the head.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If the module has no linear layer or none of this name, or has lazy layers and ``x`` is not given.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP, find_head, with_distance_head
    >>> find_head(with_distance_head(MLP(4, 3, width=8), 3, dropout=0.2))
    ('head.1', DistanceHead(in_features=8, n_classes=3, gamma=1))
    """
    module = copy.deepcopy(module)
    while isinstance(module, TwoLogits):  # A head of two centers returns two logits by itself.
        module = module.module
    if any(is_lazy(p) for p in module.parameters()):
        if x is None:
            raise ValueError("The module has lazy layers, whose shapes are not known yet; pass two rows as x=.")
        eval_forward(module, x)
    name, linear = find_head(module, path)
    head: nn.Module = DistanceHead(
        linear.in_features, n_classes, device=linear.weight.device, dtype=linear.weight.dtype, **params
    )
    before = [nn.ReLU()] * rectify + [nn.Dropout(dropout)] * bool(dropout)
    head = (nn.Sequential(*before, head) if before else head).train(linear.training)
    if not name:  # The module itself is the linear layer.
        return head
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, head)
    return module


# --- check ------------------------------------------------------------------------------------------------------------


def probe(module: nn.Module, x: Tensor, n_classes: int) -> nn.Module:
    """Run a few rows through a module and return it, wrapped if necessary, so that it gives one column per class.

    Lazy layers take their shape here. Training modes and buffers do not change; nor does the random generator, unless a
    lazy layer draws its weights from it.

    Parameters
    ----------
    module : nn.Module
        The network.
    x : Tensor of shape (b, ...)
        Two rows or a few more, on the module's device.
    n_classes : int
        Number of columns expected.

    Returns
    -------
    nn.Module
        `module`, or `module` in a `LogitsOf` or `TwoLogits`.

    Raises
    ------
    ValueError
        If the module returns no floating-point tensor of shape (b, n_classes), even when wrapped.

    Warns
    -----
    UserWarning
        If the module seems to return probabilities.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import probe
    >>> probe(torch.nn.Linear(4, 1), torch.zeros(2, 4), n_classes=2)
    TwoLogits(
      (module): Linear(in_features=4, out_features=1, bias=True)
    )
    """
    out = eval_forward(module, x)
    if not isinstance(out, Tensor) and hasattr(out, "logits"):
        module, out = LogitsOf(module), out.logits
    if not isinstance(out, Tensor):
        raise ValueError(
            f"The module returns a {type(out).__name__}; it must return a tensor of logits of shape "
            f"(n_rows, {n_classes}), or an object with .logits. Wrap it in an nn.Module that returns its logits."
        )
    if not out.is_floating_point():
        raise ValueError(f"The module returns {out.dtype} values; it must return floating-point logits, not labels.")
    if n_classes == 2 and out.shape in [(len(x),), (len(x), 1)]:
        return TwoLogits(module)
    if out.shape != (len(x), n_classes):
        raise ValueError(_wrong_shape(module, tuple(out.shape), len(x), n_classes))
    if (out >= 0).all() and torch.allclose(out.sum(1), torch.ones_like(out[:, 0]), atol=1e-3):
        warnings.warn(
            "The module seems to return probabilities: its outputs are non-negative and each row sums to 1. Training "
            "applies softmax to the outputs, so remove the module's own softmax.",
            stacklevel=2,
        )
    return module


def _wrong_shape(module: nn.Module, shape: tuple[int, ...], n_rows: int, n_classes: int) -> str:
    if len(shape) != 2 or shape[0] != n_rows:
        return f"The module returns shape {shape} for {n_rows} rows; it must return ({n_rows}, {n_classes})."
    try:
        name, head = find_head(module)
        last = f"'{name}' (Linear {head.in_features} -> {head.out_features})"
    except ValueError:
        last = "none"
    return (
        f"The module returns {shape[1]} columns for {n_classes} classes; set its last layer's out_features to "
        f"{n_classes}, or pass the number to its constructor (for example module__num_classes={n_classes}). "
        f"Last linear layer found: {last}."
    )
