"""Look inside any network: its head, its features, its last feature map, every forward; and leave it as it was."""

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

# -- Layers ------------------------------------------------------------------------------------------------------------


def find_head(module: nn.Module, path: str | None = None) -> tuple[str, nn.Linear]:
    """Find the last linear layer: its input is the features, its output the logits.

    Parameters
    ----------
    module : nn.Module
        The network, wrapped or not.
    path : str, default=None
        Dotted name of the layer; None takes the :class:`~robustlabels.modules.DistanceHead`, or else the ``nn.Linear``
        that was defined last.

    Returns
    -------
    name : str
        Dotted name in `module`.
    head : nn.Linear
        The layer.

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
                "the module has no nn.Linear to take as its head; features are the input of the last one. "
                "End the module with an nn.Linear."
            )
        distance = {name: m for name, m in linear.items() if isinstance(m, DistanceHead)}
        return list((distance or linear).items())[-1]

    for name, m in linear.items():  # "fc", also when a wrapper made it "module.fc"
        if name == path or (name.endswith(f".{path}") and _is_wrapped(named, name.removesuffix(f".{path}"))):
            return name, m
    if path in named:
        found = type(named[path]).__name__
        raise ValueError(f"head={path!r} is a {found}, not an nn.Linear; the module has {listed(linear) or 'none'}.")
    names = listed(linear) or "none"
    raise ValueError(f"head={path!r} is not in the module, whose linear layers are {names}{closest(path, linear)}")


def find_feature_map(module: nn.Module, x: Tensor, path: str | None = None) -> str | None:
    """Find the layer whose output is the last spatial feature map: what goes into the global pooling, as a rule.

    Parameters
    ----------
    module : nn.Module
        The network, wrapped or not; of a `Twin`, its first member.
    x : Tensor of shape (b, ...)
        A few rows.
    path : str, default=None
        Dotted name of the layer; None takes the last one to answer whose output (b, channels, ...) has as many axes as
        images or sequences `x` have, and more than one place. What comes before any weights is input, not features.

    Returns
    -------
    name : str or None
        Dotted name in `module`; None if there is no such layer.

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
    answers: dict[str, Any] = {}
    weighty: set[str] = set()  # answered once there were weights behind it

    def note(layer: nn.Module, _: Any, output: Any, name: str) -> None:
        answers.pop(name, None)  # the last time counts
        answers[name] = output
        if weighty or next(layer.parameters(), None) is not None:
            weighty.add(name)

    hooks = [m.register_forward_hook(functools.partial(note, name=name)) for name, m in named.items() if name]
    try:
        eval_forward(net, x)
    finally:
        for hook in hooks:
            hook.remove()
    if path is not None:
        found = [n for n in named if n == path or (n.endswith(f".{path}") and _is_wrapped(named, n[: -len(path) - 1]))]
        if not found:
            raise ValueError(f"feature_layer={path!r} is not in the module{closest(path, [n for n in named if n])}")
        if not _is_map(answers.get(found[0]), x):
            what = answers.get(found[0])
            what = f"gives {tuple(what.shape)}" if isinstance(what, Tensor) else "gives no tensor"
            raise ValueError(
                f"feature_layer={path!r} {what} for inputs {tuple(x.shape)}; name a layer that gives (n_rows, "
                "channels, length) for rows of a sequence, or (n_rows, channels, height, width) for images, with more "
                "than one place. Give X the shape of what it holds, where the network reshapes it."
            )
        return found[0]
    maps = [n for n, a in answers.items() if n in weighty and _is_map(a, x)]
    return maps[-1] if maps else None


def _is_map(output: Any, x: Tensor) -> bool:
    """Whether this has channels, and as many axes of places as inputs (b, l), (b, c, l) or (b, c, h, w)."""
    return isinstance(output, Tensor) and output.ndim == max(x.ndim, 3) and math.prod(output.shape[2:]) > 1


def _is_wrapped(named: dict[str, nn.Module], name: str) -> bool:
    """Whether all that lies above the module called `name` is our wrappers."""
    parents = ["", *[name[:i] for i, letter in enumerate(name) if letter == "."]]
    return all(isinstance(named[p], LogitsOf | TwoLogits) for p in parents)


def has_convolution(module: nn.Module) -> bool:
    """Whether any layer convolves: then channels_last and bf16 pay."""
    return any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())


# -- Forwards ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Eval mode inside; every part's own mode again outside: a frozen part may be in eval mode while the rest trains.

    Parameters
    ----------
    module : nn.Module, or a callable that forwards attributes to one

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
    """``module(x)`` in eval mode, leaving no trace but materialized lazy layers."""
    lazy = any(is_lazy(p) for p in [*module.parameters(), *module.buffers()])
    # A lazy layer that drew from a fork would give two networks the same weights.
    fork = torch.random.fork_rng(devices=[x.device] if x.is_cuda else [], enabled=not lazy)
    try:
        with fork, torch.no_grad(), evaluating(module):
            return module(x)
    except Exception as error:
        note = f"{type(module).__name__} was given {len(x)} rows: a {x.dtype} tensor of shape {tuple(x.shape)}."
        error.add_note(note)
        raise


def features_and_logits(module: Any, x: Tensor, head: str | None = None) -> tuple[Tensor, Tensor]:
    """One forward that also returns what went into the last linear layer.

    Parameters
    ----------
    module : nn.Module
        The network, or a callable that forwards attributes to one. A `Twin` gives the features of both, side by side.
    x : Tensor of shape (b, ...)
        A batch.
    head : str, default=None
        Dotted name of the layer; None takes the last.

    Returns
    -------
    features : Tensor of shape (b, D)
        Input of the layer, flattened.
    logits : Tensor of shape (b, n_classes)
        Output of the module.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP, features_and_logits
    >>> features, logits = features_and_logits(MLP(4, 3, width=8), torch.zeros(5, 4))
    >>> features.shape, logits.shape
    (torch.Size([5, 8]), torch.Size([5, 3]))
    """
    root = next(module.modules())  # the nn.Module itself, also behind a callable that forwards attributes
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
                f"the module did not call {name!r}, taken as its head; set head to the layer it ends with."
            )
    return torch.cat([seen[k].flatten(1) for k in range(len(heads))], dim=1), logits


class Call(NamedTuple):
    """One forward of a network, as :func:`~robustlabels.modules.watching` saw it.

    Attributes
    ----------
    member : int or None
        Which network of a `Twin`; None for a network alone.
    x : Tensor
        Its input, the very tensor that it was given.
    features : Tensor
        Output of the watched layer, or input of the head; with gradient if the forward had.
    """

    member: int | None
    x: Tensor
    features: Tensor


@contextlib.contextmanager
def watching(model: Any, layer: str | None, head: str | None = None) -> Iterator[list[Call]]:
    """Keep the features of every forward inside, whoever calls it.

    Parameters
    ----------
    model : nn.Module
        The network, a `Twin`, or a callable that forwards attributes to one.
    layer : str or None
        Dotted name of the layer whose output is kept; None keeps what goes into the head, flattened.
    head : str, default=None
        Dotted name of the head; None takes the last linear layer.

    Yields
    ------
    calls : list of Call
        One more after every forward.

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
    given: dict[int | None, Tensor] = {}  # input of the forward that is on its way

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
