"""Read the inside of any network without changing it: its head, features, last feature map and every forward."""

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robustlabels.modules.heads import DistanceHead, LogitsOf, TwoLogits
from robustlabels.modules.hints import closest, listed
from robustlabels.modules.twin import Twin, members

# --- layers -----------------------------------------------------------------------------------------------------------


def find_head(module: nn.Module, path: str | None = None) -> tuple[str, nn.Linear]:
    """Find the head, the last linear layer, whose input is the features and whose output is the logits.

    Parameters
    ----------
    module : nn.Module
        The network, with or without a wrapper.
    path : str, default=None
        Dotted name of the layer. None takes the :class:`~robustlabels.modules.DistanceHead` if there is one, and the
        ``nn.Linear`` that was defined last otherwise.

    Returns
    -------
    name : str
        Dotted name in `module`.
    head : nn.Linear
        The layer.

    Raises
    ------
    ValueError
        If the module has no ``nn.Linear``, or none called `path`.

    Examples
    --------
    >>> from robustlabels.modules import MLP, find_head
    >>> find_head(MLP(4, 3))
    ('head', Linear(in_features=256, out_features=3, bias=True))
    """
    named = dict(module.named_modules())
    linear = {name: m for name, m in named.items() if isinstance(m, nn.Linear)}
    if path is None:
        if not linear:
            raise ValueError(
                "The module has no nn.Linear to take as its head, and the features are the input of the head. End the "
                "module with an nn.Linear."
            )
        distance = {name: m for name, m in linear.items() if isinstance(m, DistanceHead)}
        return list((distance or linear).items())[-1]

    for name, m in linear.items():  # The user's "fc" is "module.fc" within one of our wrappers.
        if name == path or (name.endswith(f".{path}") and _is_wrapped(named, name.removesuffix(f".{path}"))):
            return name, m
    if path in named:
        found = type(named[path]).__name__
        raise ValueError(f"head={path!r} is a {found}, not an nn.Linear; the module has {listed(linear) or 'none'}.")
    names = listed(linear) or "none"
    raise ValueError(f"head={path!r} is not in the module, whose linear layers are {names}{closest(path, linear)}")


def find_feature_map(module: nn.Module, x: Tensor, path: str | None = None) -> str | None:
    """Find the layer whose output is the last spatial feature map, which is usually the input of the global pooling.

    Parameters
    ----------
    module : nn.Module
        The network, with or without a wrapper; of a `Twin`, its first member is searched.
    x : Tensor of shape (b, ...)
        A few rows.
    path : str, default=None
        Dotted name of the layer. None takes the last layer in the order of the forward whose output (b, channels, ...)
        has as many axes as the images or sequences `x` and more than one position. Layers that run before any layer
        with weights do not count, because their output is still the input.

    Returns
    -------
    name : str or None
        Dotted name in `module`; None if there is no such layer.

    Raises
    ------
    ValueError
        If there is no layer called `path`, or its output is not a feature map.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP, SmallConvNet, find_feature_map
    >>> find_feature_map(SmallConvNet(1, 10), torch.zeros(2, 1, 28, 28))
    'body'
    >>> find_feature_map(MLP(784, 10), torch.zeros(2, 1, 28, 28)) is None
    True
    """
    net = members(module)[0]
    named = dict(net.named_modules())
    outputs: dict[str, Any] = {}
    with_weights: set[str] = set()  # layers that ran after, or themselves are, a layer with weights

    def note(layer: nn.Module, _: Any, output: Any, name: str) -> None:
        outputs.pop(name, None)  # A layer that runs twice moves to the end of the dict, as its last output counts.
        outputs[name] = output
        if with_weights or next(layer.parameters(), None) is not None:
            with_weights.add(name)

    hooks = [m.register_forward_hook(functools.partial(note, name=name)) for name, m in named.items() if name]
    try:
        eval_forward(net, x)
    finally:
        for hook in hooks:
            hook.remove()
    if path is not None:
        return _named_feature_map(named, outputs, x, path)
    maps = [name for name, output in outputs.items() if name in with_weights and _is_map(output, x)]
    return maps[-1] if maps else None


def _named_feature_map(named: dict[str, nn.Module], outputs: dict[str, Any], x: Tensor, path: str) -> str:
    """Return the full name of the layer called `path`, or raise if there is none or its output is not a map."""
    found = [n for n in named if n == path or (n.endswith(f".{path}") and _is_wrapped(named, n[: -len(path) - 1]))]
    if not found:
        raise ValueError(f"feature_layer={path!r} is not in the module{closest(path, [n for n in named if n])}")
    output = outputs.get(found[0])
    if not _is_map(output, x):
        what = f"gives {tuple(output.shape)}" if isinstance(output, Tensor) else "gives no tensor"
        raise ValueError(
            f"feature_layer={path!r} {what} for inputs {tuple(x.shape)}; name a layer that gives (n_rows, channels, "
            "length) for sequences, or (n_rows, channels, height, width) for images, with more than one position. "
            "If the network reshapes its input, pass X in the shape of the images or sequences instead."
        )
    return found[0]


def _is_map(output: Any, x: Tensor) -> bool:
    """Return whether an output has channels, and as many spatial axes as inputs (b, l), (b, c, l) or (b, c, h, w)."""
    return isinstance(output, Tensor) and output.ndim == max(x.ndim, 3) and math.prod(output.shape[2:]) > 1


def _is_wrapped(named: dict[str, nn.Module], name: str) -> bool:
    """Return whether all modules above the one called `name` are our wrappers."""
    parents = ["", *[name[:i] for i, letter in enumerate(name) if letter == "."]]
    return all(isinstance(named[p], LogitsOf | TwoLogits) for p in parents)


def has_convolution(module: nn.Module) -> bool:
    """Return whether any layer is a convolution, which runs faster in channels-last format and bfloat16."""
    return any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())


# --- forwards ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Set eval mode within the context, and restore the mode of every submodule afterwards.

    ``module.train()`` would not restore it: a frozen submodule may be in eval mode while the others train.

    Parameters
    ----------
    module : nn.Module, or a callable that forwards attributes to one
        The network.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import evaluating
    >>> net = torch.nn.Dropout()
    >>> with evaluating(net):
    ...     net.training
    False
    >>> net.training
    True
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def eval_forward(module: nn.Module, x: Tensor) -> Any:
    """Return ``module(x)`` in eval mode without any side effect, except that lazy layers take their shape.

    An error in the module gets a note that states the input.
    """
    lazy = any(is_lazy(p) for p in [*module.parameters(), *module.buffers()])
    # A lazy layer draws its weights in this forward. Two networks that drew them from a fork would get the same ones.
    fork = torch.random.fork_rng(devices=[x.device] if x.is_cuda else [], enabled=not lazy)
    try:
        with fork, torch.no_grad(), evaluating(module):
            return module(x)
    except Exception as error:
        note = f"{type(module).__name__} was given {len(x)} rows: a {x.dtype} tensor of shape {tuple(x.shape)}."
        error.add_note(note)
        raise


def features_and_logits(module: Any, x: Tensor, head: str | None = None) -> tuple[Tensor, Tensor]:
    """Run one forward that also returns the features, which are the input of the head.

    Parameters
    ----------
    module : nn.Module
        The network, or a callable that forwards attributes to one. For a `Twin`, the features of both networks are
        concatenated.
    x : Tensor of shape (b, ...)
        A batch.
    head : str, default=None
        Dotted name of the head; None takes the last linear layer.

    Returns
    -------
    features : Tensor of shape (b, n_features)
        Input of the head, flattened.
    logits : Tensor of shape (b, n_classes)
        Output of the module.

    Raises
    ------
    ValueError
        If there is no such layer, or if the module's forward does not call it.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP, features_and_logits
    >>> features, logits = features_and_logits(MLP(4, 3, width=8), torch.zeros(5, 4))
    >>> features.shape, logits.shape
    (torch.Size([5, 8]), torch.Size([5, 3]))
    """
    # The first of modules() is the module itself, even if `module` is a callable that forwards attributes to it.
    root = next(module.modules())
    heads = [find_head(m, head) for m in (root if isinstance(root, Twin) else [root])]
    seen: dict[int, Tensor] = {}

    def keep(k: int, args: tuple, kwargs: dict) -> None:
        seen[k] = args[0] if args else kwargs["input"]

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, kwargs, k=k: keep(k, args, kwargs), with_kwargs=True)
        for k, (_, layer) in enumerate(heads)
    ]
    try:
        logits = module(x)
    finally:
        for hook in hooks:
            hook.remove()
    for k, (name, _) in enumerate(heads):
        if k not in seen:
            raise ValueError(
                f"The module did not call {name!r}, taken as its head; set head= to the name of its last linear layer."
            )
    return torch.cat([seen[k].flatten(1) for k in range(len(heads))], dim=1), logits


class Call(NamedTuple):
    """One forward of a network, as recorded by :func:`~robustlabels.modules.watching`.

    Attributes
    ----------
    member : int or None
        The position of the network in a `Twin`; None for a single network.
    x : Tensor
        The input, which is the same object that the network was called with.
    features : Tensor
        The output of the watched layer, or the input of the head. It carries a gradient if the forward did.
    """

    member: int | None
    x: Tensor
    features: Tensor


@contextlib.contextmanager
def watching(model: Any, layer: str | None, head: str | None = None) -> Iterator[list[Call]]:
    """Record the features of every forward within the context.

    Parameters
    ----------
    model : nn.Module
        The network, a `Twin`, or a callable that forwards attributes to one.
    layer : str or None
        Dotted name of the layer whose output is recorded; None records the input of the head, flattened.
    head : str, default=None
        Dotted name of the head; None takes the last linear layer.

    Yields
    ------
    calls : list of Call
        A list to which every forward appends one entry.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP, watching
    >>> net, x = MLP(4, 3, width=8), torch.zeros(5, 4)
    >>> with watching(net, None) as calls:
    ...     logits = net(x)
    >>> calls[0].x is x, calls[0].features.shape
    (True, torch.Size([5, 8]))
    """
    root = next(model.modules())
    calls: list[Call] = []
    given: dict[int | None, Tensor] = {}  # input of each network's current forward

    def begin(_: nn.Module, args: tuple, kwargs: dict, member: int | None) -> None:
        given[member] = args[0] if args else next(iter(kwargs.values()))

    def keep(_: nn.Module, args: tuple, output: Tensor, member: int | None) -> None:
        calls.append(Call(member, given[member], args[0].flatten(1) if layer is None else output))

    hooks = []
    for k, net in enumerate(members(root)):
        member = k if isinstance(root, Twin) else None
        hooks.append(net.register_forward_pre_hook(functools.partial(begin, member=member), with_kwargs=True))
        watched = find_head(net, head)[1] if layer is None else net.get_submodule(layer)
        hooks.append(watched.register_forward_hook(functools.partial(keep, member=member)))
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
