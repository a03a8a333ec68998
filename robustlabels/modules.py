"""Networks: presets, how an estimator builds and checks the user's own, and what methods ask of any of them.

Every preset takes float rows, standardises them itself (the statistics are buffers: they travel with the weights) and
returns logits. Any other ``nn.Module`` that returns one column per class works just as well.
"""

import contextlib
import copy
import difflib
import functools
import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robustlabels.functional import squared_distances

__all__ = [
    "MLP",
    "PRESETS",
    "Call",
    "DistanceHead",
    "FastConvNet",
    "LogitsOf",
    "PreActResNet18",
    "ResNet18",
    "ResNet34",
    "SixConvNet",
    "SmallConvNet",
    "Standardize",
    "Twin",
    "TwoLogits",
    "build",
    "closest",
    "evaluating",
    "features_and_logits",
    "find_feature_map",
    "find_head",
    "has_convolution",
    "members",
    "probe",
    "watching",
    "with_distance_head",
]


# -- Input ------------------------------------------------------------------------------------------------------------


class Standardize(nn.Module):
    """Subtract the mean and divide by the standard deviation of each column or channel.

    Parameters
    ----------
    mean, std : array-like of shape (n_features,) or (n_channels,)
        Entries of `std` that are zero or not finite count as 1: a constant column stays constant.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import Standardize
    >>> Standardize([1.0, 5.0], [2.0, 0.0])(torch.tensor([[3.0, 6.0]]))
    tensor([[1., 1.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: ArrayLike, std: ArrayLike) -> None:
        super().__init__()
        dtype = torch.get_default_dtype()
        std = torch.as_tensor(std, dtype=dtype)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=dtype).clone())
        self.register_buffer("std", torch.where(std.isfinite() & (std != 0), std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise `x` of shape (b, d) or (b, c, h, w)."""
        ones = (1,) * (x.ndim - 2)
        mean, std = (s.view(-1, *ones) if s.ndim == 1 else s for s in (self.mean, self.std))  # (d,) or (c, 1, 1)
        return (x - mean) / std

    def extra_repr(self) -> str:
        """Size shown by ``print(module)``."""
        return str(self.mean.numel())


class _Preset(nn.Module):
    """A network that standardises its own input."""

    needs_images: ClassVar[bool] = False

    def __init__(self, mean: ArrayLike | None, std: ArrayLike | None) -> None:
        super().__init__()
        given = mean is not None or std is not None
        mean, std = 0.0 if mean is None else mean, 1.0 if std is None else std
        self.standardize: nn.Module = Standardize(mean, std) if given else nn.Identity()


# -- Tables -----------------------------------------------------------------------------------------------------------


class _BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation that takes a training batch of one row: it has no spread, so the running statistics serve."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class MLP(_Preset):
    """Multi-layer perceptron with batch normalisation; rows of any shape are flattened.

    Parameters
    ----------
    n_features : int
        Columns of a flattened row.
    n_classes : int
        Columns of the output.
    width : int, default=256
        Units of each hidden layer.
    depth : int, default=2
        Hidden layers; 0 is multinomial logistic regression.
    dropout : float, default=0.0
        Share of hidden units dropped while training.
    mean, std : array-like, default=None
        Standardise the input with these.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP
    >>> MLP(4, 3, width=16)(torch.zeros(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        width: int = 256,
        depth: int = 2,
        dropout: float = 0.0,
        mean: ArrayLike | None = None,
        std: ArrayLike | None = None,
    ) -> None:
        super().__init__(mean, std)
        sizes = [n_features] + [width] * depth
        layers: list[nn.Module] = []
        for d_in, d_out in itertools.pairwise(sizes):
            layers += [nn.Linear(d_in, d_out), _BatchNorm1d(d_out), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of rows (b, ...)."""
        x = self.standardize(x if x.ndim == 4 else x.flatten(1)).flatten(1)  # (b, d); images per channel
        return self.head(self.body(x))


# -- Images -----------------------------------------------------------------------------------------------------------


def _conv(in_channels: int, out_channels: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)  # batch norm has the bias


def _conv_bn_relu(in_channels: int, out_channels: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    conv = _conv(in_channels, out_channels, stride, size)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class _Block(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))), He et al. 2016a."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = _conv_bn_relu(in_channels, channels, stride)
        self.second = nn.Sequential(_conv(channels, channels), nn.BatchNorm2d(channels))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != channels:
            self.shortcut = nn.Sequential(_conv(in_channels, channels, stride, size=1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class _PreActBlock(nn.Module):
    """a + conv(relu(bn(conv(a)))) with a = relu(bn(x)), as ELR's code has it.

    He et al. 2016b carry x itself over an identity shortcut; the authors' code carries the activated a.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(in_channels), _conv(in_channels, channels, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), _conv(channels, channels)
        same = stride == 1 and in_channels == channels
        self.shortcut = nn.Identity() if same else _conv(in_channels, channels, stride, size=1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.bn1(x))
        return self.conv2(F.relu(self.bn2(self.conv1(a)))) + self.shortcut(a)


class SmallConvNet(_Preset):
    """Residual network of seven 3x3 convolutions for images up to 64 px, quick enough for a CPU.

    About 10 million multiply-adds for an image of 28x28.

    Parameters
    ----------
    in_channels : int
        Colour channels.
    n_classes : int
        Columns of the output.
    width : int, default=32
        Channels of the first of three blocks; the others have two and four times as many.
    image_size : int or (int, int), default=32
        The stem halves images of 16 px and more. Other sizes than this one work too.
    mean, std : array-like of shape (in_channels,), default=None
        Standardise the input with these.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import SmallConvNet
    >>> SmallConvNet(1, 10, width=8, image_size=8)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    needs_images = True

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        width: int = 32,
        image_size: int | tuple[int, int] = 32,
        mean: ArrayLike | None = None,
        std: ArrayLike | None = None,
    ) -> None:
        super().__init__(mean, std)
        self.stem = _conv_bn_relu(in_channels, width, stride=2 if _side(image_size) >= 16 else 1)
        self.body = nn.Sequential(
            _Block(width, width, stride=1),
            _Block(width, 2 * width, stride=2),
            _Block(2 * width, 4 * width, stride=2),
        )
        self.head = nn.Linear(4 * width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of images (b, c, h, w)."""
        x = self.body(self.stem(self.standardize(x)))  # (b, 4 width, ~h/8, ~w/8)
        return self.head(x.mean((2, 3)))


class SixConvNet(_Preset):
    """Six 3x3 convolutions and a hidden layer, the CIFAR-10 network of SCE and PEMM: 1.6 million weights.

    Parameters
    ----------
    in_channels : int
        Colour channels.
    n_classes : int
        Columns of the output.
    width : int, default=64
        Channels of the first pair of convolutions; the others have twice and 49/16 times as many (128 and 196).
    hidden : int, default=256
        Features that the head sees.
    image_size : int or (int, int), default=32
        Of all images, from 8 px on: the convolutions' output is flattened.
    mean, std : array-like of shape (in_channels,), default=None
        Standardise the input with these.
    """

    needs_images = True

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        width: int = 64,
        hidden: int = 256,
        image_size: int | tuple[int, int] = 32,
        mean: ArrayLike | None = None,
        std: ArrayLike | None = None,
    ) -> None:
        super().__init__(mean, std)
        height, breadth = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
        if min(height, breadth) < 8:
            raise ValueError(f"image_size must be 8 or more for three poolings, got {image_size}.")
        layers: list[nn.Module] = []
        c = in_channels
        for channels in (width, 2 * width, 49 * width // 16):
            layers += [*_conv_bn_relu(c, channels), *_conv_bn_relu(channels, c := channels), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        flat = c * (height // 8) * (breadth // 8)
        self.hidden = nn.Sequential(nn.Linear(flat, hidden), _BatchNorm1d(hidden), nn.ReLU())
        self.head = nn.Linear(hidden, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of images (b, c, h, w)."""
        return self.head(self.hidden(self.body(self.standardize(x)).flatten(1)))


class FastConvNet(_Preset):
    """Shallow and wide, to be trained in seconds on a GPU: six 3x3 convolutions behind a fixed first layer.

    Its shape is that of Jordan's airbench. There the first layer holds the principal components of the training
    images' 2x2 patches, whitened. Here it holds the means and differences of a patch's pixels and channels, which is
    about what these are for photographs, and a batch normalisation scales each to unit variance: nothing has to be
    known of the data. Both signs of each go on. The other convolutions start by passing their input through.

    Parameters
    ----------
    in_channels : int
        Colour channels.
    n_classes : int
        Columns of the output.
    width : int, default=64
        Channels of the first of three blocks; the others have four times as many.
    image_size : int or (int, int), default=32
        Ignored: images of any size work.
    mean, std : array-like of shape (in_channels,), default=None
        Standardise the input with these.

    References
    ----------
    Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import FastConvNet
    >>> FastConvNet(3, 10, width=8)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    needs_images = True
    patches: Tensor

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        width: int = 64,
        image_size: int | tuple[int, int] = 32,
        mean: ArrayLike | None = None,
        std: ArrayLike | None = None,
    ) -> None:
        super().__init__(mean, std)
        basis = torch.einsum("ac,bh,dw->abdchw", _cosines(in_channels), _cosines(2), _cosines(2))
        basis = basis.reshape(4 * in_channels, in_channels, 2, 2)  # orthonormal
        self.register_buffer("patches", torch.cat([basis, -basis]))
        self.scale = nn.BatchNorm2d(8 * in_channels, affine=False)
        layers, c = [], 8 * in_channels
        for channels in (width, 4 * width, 4 * width):
            layers += [_conv(c, channels), nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(channels), nn.GELU()]
            layers += [_conv(channels, channels), nn.BatchNorm2d(channels), nn.GELU()]
            c = channels
        self.body = nn.Sequential(*layers)
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight.data[: layer.in_channels])
        self.head = nn.Linear(c, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of images (b, c, h, w)."""
        x = F.gelu(self.scale(F.conv2d(self.standardize(x), self.patches)))  # (b, 8 c, h - 1, w - 1)
        return self.head(self.body(x).amax((2, 3)) / 9)  # airbench's factor: logits start small


def _cosines(n: int) -> Tensor:
    """Orthonormal (n, n): the mean of n numbers, then ever faster changes among them."""
    k = torch.arange(n, dtype=torch.get_default_dtype())
    waves = torch.cos(math.pi / n * torch.outer(k, k + 0.5))
    return waves / waves.norm(dim=1, keepdim=True)


class _ResNet(_Preset):
    """Stem, four stages of residual blocks, global average, linear head."""

    needs_images = True
    block: ClassVar[type[nn.Module]] = _Block
    depths: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        stem: str = "auto",
        width: int = 64,
        image_size: int | tuple[int, int] = 32,
        mean: ArrayLike | None = None,
        std: ArrayLike | None = None,
    ) -> None:
        super().__init__(mean, std)
        if stem not in ("auto", "cifar", "imagenet"):
            raise ValueError(f"stem must be 'auto', 'cifar' or 'imagenet', got {stem!r}.")
        if stem == "auto":
            stem = "imagenet" if _side(image_size) > 64 else "cifar"
        if stem == "cifar":
            self.stem = _conv_bn_relu(in_channels, width)
        else:
            self.stem = _conv_bn_relu(in_channels, width, stride=2, size=7).append(nn.MaxPool2d(3, 2, padding=1))

        blocks, c = [], width
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                stride = 2 if stage and i == 0 else 1
                blocks.append(self.block(c, c := width * 2**stage, stride))
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(c, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of images (b, c, h, w)."""
        x = self.body(self.stem(self.standardize(x)))  # (b, 8 width, h', w')
        return self.head(x.mean((2, 3)))


class ResNet18(_ResNet):
    """ResNet-18 (He et al. 2016a), 11 million weights.

    Parameters
    ----------
    in_channels : int
        Colour channels.
    n_classes : int
        Columns of the output.
    stem : {"auto", "cifar", "imagenet"}, default="auto"
        "cifar" is one 3x3 convolution; "imagenet" is a 7x7 one of stride 2 and a max-pooling, which leave a sixteenth
        of the pixels; "auto" takes the second for sides above 64 px.
    width : int, default=64
        Channels of the first stage; each of the others doubles them.
    image_size : int or (int, int), default=32
        What "auto" looks at; images of other sizes work too.
    mean, std : array-like of shape (in_channels,), default=None
        Standardise the input with these.
    """

    depths = (2, 2, 2, 2)


class ResNet34(_ResNet):
    """ResNet-34 (He et al. 2016a), 21 million weights.

    Parameters
    ----------
    in_channels : int
        Colour channels.
    n_classes : int
        Columns of the output.
    stem : {"auto", "cifar", "imagenet"}, default="auto"
        "cifar" is one 3x3 convolution; "imagenet" is a 7x7 one of stride 2 and a max-pooling, which leave a sixteenth
        of the pixels; "auto" takes the second for sides above 64 px.
    width : int, default=64
        Channels of the first stage; each of the others doubles them.
    image_size : int or (int, int), default=32
        What "auto" looks at; images of other sizes work too.
    mean, std : array-like of shape (in_channels,), default=None
        Standardise the input with these.
    """

    depths = (3, 4, 6, 3)


class PreActResNet18(_ResNet):
    """ResNet-18 with pre-activation blocks as in ELR's code, 11 million weights.

    Parameters
    ----------
    in_channels : int
        Colour channels.
    n_classes : int
        Columns of the output.
    stem : {"auto", "cifar", "imagenet"}, default="auto"
        "cifar" is one 3x3 convolution; "imagenet" is a 7x7 one of stride 2 and a max-pooling, which leave a sixteenth
        of the pixels; "auto" takes the second for sides above 64 px.
    width : int, default=64
        Channels of the first stage; each of the others doubles them.
    image_size : int or (int, int), default=32
        What "auto" looks at; images of other sizes work too.
    mean, std : array-like of shape (in_channels,), default=None
        Standardise the input with these.
    """

    block = _PreActBlock
    depths = (2, 2, 2, 2)


def _side(image_size: int | tuple[int, int]) -> int:
    return max(image_size) if isinstance(image_size, tuple | list) else image_size


PRESETS: dict[str, type[_Preset]] = {
    "mlp": MLP,
    "cnn": SmallConvNet,
    "cnn6": SixConvNet,
    "fast": FastConvNet,
    "preact_resnet18": PreActResNet18,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
}


# -- Build ------------------------------------------------------------------------------------------------------------

# What constructors call the sizes they need.
_CLASSES = "n_classes num_classes n_outputs num_outputs num_labels n_labels output_dim output_size out_features n_out"
_FEATURES = "n_features num_features in_features n_inputs input_dim input_size n_in"
_CHANNELS = "in_channels in_chans input_channels n_channels num_channels channels"
_IMAGE_SIZE = "image_size img_size"
_VAGUE = {"n_channels", "num_channels", "channels"}  # with a default these are a width of the network's own


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
    """Make the network for rows of one shape.

    Parameters
    ----------
    module : str, nn.Module class or other callable, or nn.Module
        The name of a preset, "auto" among them (a perceptron for rows, a small convolutional network for images up to
        64 px, a ResNet-18 above); a class or function that returns an ``nn.Module``, whose arguments that name a size
        (``n_classes``, ``num_labels``, ``in_features``, ``in_channels``, ``input_shape``, ``image_size``, ...) are
        filled in unless given; or a module, of which a deep copy is returned.
    input_shape : tuple of int
        Shape of one row: (n_features,), (n_channels, height, width) or any other.
    n_classes : int
        Number of classes.
    mean, std : array-like, default=None
        Statistics of the input, handed to presets alone.
    **params
        Further arguments of the class or function.

    Returns
    -------
    nn.Module

    Examples
    --------
    >>> from robustlabels.modules import build
    >>> build("mlp", input_shape=(4,), n_classes=3, width=8).head
    Linear(in_features=8, out_features=3, bias=True)
    """
    if isinstance(module, nn.Module):
        if params:
            raise ValueError(
                f"{_listed(params)} cannot be set on a {type(module).__name__} that is built already; "
                "give its class instead, or build it with them."
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
            "module must be a preset's name, an nn.Module, or a class or function that returns one, "
            f"got {type(module).__name__}: {module!r}."
        )

    sizes = _sizes(tuple(input_shape), n_classes)
    if isinstance(make, type) and issubclass(make, _Preset):
        sizes |= {"mean": mean, "std": std}
        if make.needs_images and len(input_shape) != 3:
            raise ValueError(
                f"module={name} needs images, rows of shape (channels, height, width), got rows of shape "
                f"{tuple(input_shape)}; take module='mlp', or reshape X to (n_samples, channels, height, width)."
            )
    built = make(**_arguments(make, name, sizes, params))
    if not isinstance(built, nn.Module):
        raise TypeError(f"module={name} must return an nn.Module, got {type(built).__name__}.")
    return built


def _preset(name: str, input_shape: tuple[int, ...]) -> type[_Preset]:
    if name == "auto":
        if len(input_shape) != 3:
            return MLP
        return SmallConvNet if max(input_shape[1:]) <= 64 else ResNet18
    if name not in PRESETS:
        names = ["auto", *PRESETS]
        raise ValueError(f"module={name!r} is not a preset ({_listed(names)}){closest(name, names)}")
    return PRESETS[name]


def _sizes(input_shape: tuple[int, ...], n_classes: int) -> dict[str, Any]:
    """Value of every argument that names a size."""
    sizes: dict[str, Any] = {"input_shape": input_shape}
    sizes |= dict.fromkeys(_CLASSES.split(), n_classes) | dict.fromkeys(_FEATURES.split(), math.prod(input_shape))
    if len(input_shape) > 1:
        sizes |= dict.fromkeys(_CHANNELS.split(), input_shape[0])
    if len(input_shape) == 3:
        h, w = input_shape[1:]
        sizes |= dict.fromkeys(_IMAGE_SIZE.split(), h if h == w else (h, w))
    return sizes


def _arguments(make: Callable, name: str, sizes: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """`params` and those sizes that `make` asks for, checked against its signature."""
    try:
        signature = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # written in C: nothing to look at
        return params
    accepted = {p.name: p for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind == p.VAR_KEYWORD for p in signature):
        for key in params:
            if key not in accepted:
                hint = closest(key, accepted)
                raise TypeError(f"module={name} takes no {key!r}; it takes {_listed(accepted) or 'nothing'}{hint}")

    bound = make.keywords if isinstance(make, functools.partial) else {}
    required = {key for key, p in accepted.items() if p.default is p.empty}
    filled = {
        key: sizes[key]
        for key in accepted
        if key in sizes and key not in bound and (key in required or key not in _VAGUE)
    }
    arguments = filled | params
    if missing := sorted(required - set(arguments)):
        ways = ", ".join(f"module__{key}=..." for key in missing)
        raise TypeError(f"module={name} needs {_listed(missing)}; set {ways}.")
    return arguments


def closest(name: str, options: Iterable[str]) -> str:
    """End of an error about an unknown `name`: the option most like it, if any is.

    Examples
    --------
    >>> from robustlabels.modules import closest
    >>> closest("widht", ["width", "depth"])
    ". Did you mean 'width'?"
    """
    found = difflib.get_close_matches(str(name), list(options), n=1)
    return f". Did you mean {found[0]!r}?" if found else "."


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(n) for n in names)


# -- Check ------------------------------------------------------------------------------------------------------------


class LogitsOf(nn.Module):
    """A module that returns an object with ``.logits`` (Hugging Face's do), made to return these.

    Parameters
    ----------
    module : nn.Module
        The module inside.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Logits (b, n_classes)."""
        return self.module(*args, **kwargs).logits


class TwoLogits(nn.Module):
    """A module with one logit z for two classes, made to return (0, z): the softmax of it is z's sigmoid.

    Parameters
    ----------
    module : nn.Module
        The module inside.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import TwoLogits
    >>> TwoLogits(torch.nn.Flatten())(torch.tensor([[2.0], [-1.0]]))
    tensor([[ 0.,  2.],
            [ 0., -1.]])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Logits (b, 2)."""
        z = self.module(*args, **kwargs).reshape(-1, 1)  # (b, 1)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def probe(module: nn.Module, x: Tensor, n_classes: int) -> nn.Module:
    """Run a few rows through a module and return it, wrapped if need be, as one that gives a column per class.

    Lazy layers take their shape here. Modes and buffers are left as found; so is the random generator, unless a lazy
    layer draws its weights from it.

    Parameters
    ----------
    module : nn.Module
        The network.
    x : Tensor of shape (2, ...)
        Two rows, or a few, on the module's device.
    n_classes : int
        Number of columns wanted.

    Returns
    -------
    nn.Module
        `module`, or `module` in a `LogitsOf` or `TwoLogits`.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import probe
    >>> probe(torch.nn.Linear(4, 1), torch.zeros(2, 4), n_classes=2)
    TwoLogits(
      (module): Linear(in_features=4, out_features=1, bias=True)
    )
    """
    out = _eval_forward(module, x)
    if not isinstance(out, Tensor) and hasattr(out, "logits"):
        module, out = LogitsOf(module), out.logits
    if not isinstance(out, Tensor):
        raise ValueError(
            f"the module returns a {type(out).__name__}; it must return a tensor of logits of shape "
            f"(n_rows, {n_classes}), or an object with .logits. Wrap it in an nn.Module that picks them out."
        )
    if not out.is_floating_point():
        raise ValueError(f"the module returns {out.dtype} values; it must return floating-point logits, not labels.")
    if n_classes == 2 and out.shape in [(len(x),), (len(x), 1)]:
        return TwoLogits(module)
    if out.shape != (len(x), n_classes):
        raise ValueError(_wrong_shape(module, tuple(out.shape), len(x), n_classes))
    if (out >= 0).all() and torch.allclose(out.sum(1), torch.ones_like(out[:, 0]), atol=1e-3):
        warnings.warn(
            "the module seems to return probabilities: its rows are not negative and sum to 1. Softmax is applied to "
            "what it returns, so let it end before its own softmax.",
            stacklevel=2,
        )
    return module


def _eval_forward(module: nn.Module, x: Tensor) -> Any:
    """``module(x)`` in eval mode, leaving no trace but materialised lazy layers."""
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


def _wrong_shape(module: nn.Module, shape: tuple[int, ...], n_rows: int, n_classes: int) -> str:
    if len(shape) != 2 or shape[0] != n_rows:
        return f"the module returns shape {shape} for {n_rows} rows; it must return ({n_rows}, {n_classes})."
    try:
        name, head = find_head(module)
        last = f"'{name}' (Linear {head.in_features} -> {head.out_features})"
    except ValueError:
        last = "none"
    return (
        f"the module returns {shape[1]} columns for {n_classes} classes; set its last layer's out_features to "
        f"{n_classes}, or pass the number to its constructor (for example module__num_classes={n_classes}). "
        f"Last linear layer found: {last}."
    )


# -- Look inside ------------------------------------------------------------------------------------------------------


def find_head(module: nn.Module, path: str | None = None) -> tuple[str, nn.Linear]:
    """Find the last linear layer: its input is the features, its output the logits.

    Parameters
    ----------
    module : nn.Module
        The network, wrapped or not.
    path : str, default=None
        Dotted name of the layer; None takes the :class:`DistanceHead`, or else the ``nn.Linear`` that was defined last.

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
        raise ValueError(f"head={path!r} is a {found}, not an nn.Linear; the module has {_listed(linear) or 'none'}.")
    names = _listed(linear) or "none"
    raise ValueError(f"head={path!r} is not in the module, whose linear layers are {names}{closest(path, linear)}")


def _is_wrapped(named: dict[str, nn.Module], name: str) -> bool:
    """Whether all that lies above the module called `name` is our wrappers."""
    parents = ["", *[name[:i] for i, letter in enumerate(name) if letter == "."]]
    return all(isinstance(named[p], LogitsOf | TwoLogits) for p in parents)


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


# -- Distance head ----------------------------------------------------------------------------------------------------


class DistanceHead(nn.Linear):
    """Last layer whose logits are negative squared distances to learned class centres.

    Of features u and centres c_k, z_k = -gamma ||u - c_k||^2 (+ log prior_k): the softmax is the posterior of a mixture
    of Gaussians N(c_k, I / (2 gamma)). It is the linear layer of weight 2 gamma c_k and bias -gamma ||c_k||^2, so it
    tells apart what a linear layer does; what changes is the geometry that losses on distances act in. Centres start as
    the weights of an ``nn.Linear`` do, at a norm of about 0.58 and 0.82 from each other, and are trained like them.

    Distances are exact in float32 whatever precision the rest of the network runs in.

    Parameters
    ----------
    in_features, n_classes : int
    gamma : float, default=1.0
        Inverse temperature; 1 is PEMM's.
    prior : array-like of shape (n_classes,) or None, default=None
        Probabilities of the classes, of which the logarithm is added; None adds nothing.
    prior_at_test : bool, default=True
        False adds them in training mode only: what is predicted then weighs all classes alike.
    device, dtype
        Of the centres.

    Attributes
    ----------
    weight : Parameter of shape (n_classes, in_features)
        The centres.

    References
    ----------
    Wang, Yang, Liu, Jia, "Potential Energy based Mixture Model for Noisy Label Learning", arXiv 2405.01186.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import DistanceHead
    >>> head = DistanceHead(2, 3)
    >>> _ = head.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    >>> head(torch.tensor([[0.5, 0.5]])).detach()
    tensor([[-0.5000, -0.5000, -2.5000]])
    """

    log_prior: Tensor | None

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        *,
        gamma: float = 1.0,
        prior: ArrayLike | None = None,
        prior_at_test: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if n_classes < 2:
            raise ValueError(f"a distance head tells classes apart, so n_classes must be 2 or more, got {n_classes}.")
        if not 0 < gamma < math.inf:
            raise ValueError(f"gamma must be a number in (0, inf), got {gamma!r}.")
        super().__init__(in_features, n_classes, bias=False, device=device, dtype=dtype)
        self.gamma, self.prior_at_test = float(gamma), prior_at_test
        if prior is not None:
            prior = torch.as_tensor(prior, device=device, dtype=self.weight.dtype)
            if prior.shape != (n_classes,) or not (prior > 0).all() or abs(float(prior.sum()) - 1) > 1e-3:
                raise ValueError(f"prior must be {n_classes} positive numbers that sum to 1, got {prior.tolist()}.")
        self.register_buffer("log_prior", None if prior is None else torch.log(prior))

    def distances(self, features: Tensor) -> Tensor:
        """Squared distances (..., n_classes) of features (..., in_features) to the centres."""
        rows = features.reshape(-1, self.in_features)
        return squared_distances(rows, self.weight).view(*features.shape[:-1], self.out_features)

    def forward(self, input: Tensor) -> Tensor:
        """Logits (..., n_classes) of features (..., in_features)."""
        logits = -self.gamma * self.distances(input)
        return logits if self._added is None else logits + self._added

    def linear_form(self) -> tuple[Tensor, Tensor]:
        """Weight (n_classes, in_features) and bias (n_classes,) of the linear layer with the same softmax."""
        bias = -self.gamma * self.weight.square().sum(1)
        return 2 * self.gamma * self.weight, bias if self._added is None else bias + self._added

    def log_density(self, features: Tensor) -> Tensor:
        """Log density (...,) of features (..., in_features) under the mixture; equal priors where none are given."""
        d = self.in_features
        uniform = torch.full((self.out_features,), -math.log(self.out_features), device=features.device)
        log_prior = uniform if self.log_prior is None or not self.prior_at_test else self.log_prior
        log_joint = log_prior - self.gamma * self.distances(features)  # (..., n_classes), up to the constant
        return torch.logsumexp(log_joint, dim=-1) + d / 2 * math.log(self.gamma / math.pi)

    @property
    def _added(self) -> Tensor | None:
        """What joins the logits, in this mode."""
        return self.log_prior if self.training or self.prior_at_test else None

    def extra_repr(self) -> str:
        """Sizes and gamma, shown by ``print(module)``."""
        return f"in_features={self.in_features}, n_classes={self.out_features}, gamma={self.gamma:g}"


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
    """Copy of a network with a :class:`DistanceHead` in the place of its last linear layer.

    Parameters
    ----------
    module : nn.Module
        Left as it is.
    n_classes : int
        The replaced layer may have any number of outputs.
    path : str, default=None
        Dotted name of the layer; None finds it.
    x : Tensor of shape (2, ...), default=None
        Two rows, from which lazy layers take their shapes.
    rectify : bool, default=False
        Put a ReLU before the head, which does nothing where features are not negative already.
    dropout : float, default=0.0
        Share of features dropped before the head while training.
    **params
        ``gamma``, ``prior``, ``prior_at_test`` of the head.

    Returns
    -------
    nn.Module

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP, find_head, with_distance_head
    >>> find_head(with_distance_head(MLP(4, 3, width=8), 3, dropout=0.2))
    ('head.1', DistanceHead(in_features=8, n_classes=3, gamma=1))
    """
    module = copy.deepcopy(module)
    while isinstance(module, TwoLogits):  # two distances are two logits already
        module = module.module
    if any(is_lazy(p) for p in module.parameters()):
        if x is None:
            raise ValueError("the module has lazy layers, whose shapes are not known yet; pass two rows as x=.")
        _eval_forward(module, x)
    name, linear = find_head(module, path)
    head: nn.Module = DistanceHead(
        linear.in_features, n_classes, device=linear.weight.device, dtype=linear.weight.dtype, **params
    )
    before = [nn.ReLU()] * rectify + [nn.Dropout(dropout)] * bool(dropout)
    head = (nn.Sequential(*before, head) if before else head).train(linear.training)
    if not name:
        return head
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, head)
    return module


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
        _eval_forward(net, x)
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


def has_convolution(module: nn.Module) -> bool:
    """Whether any layer convolves: then channels_last and bf16 pay."""
    return any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())


class Twin(nn.Module):
    """Two networks trained as one module, and their mean.

    Parameters
    ----------
    first, second : nn.Module
        The networks; ``twin[0]``, ``twin[1]``.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP, Twin
    >>> twin = Twin(MLP(4, 3), MLP(4, 3)).eval()
    >>> x = torch.ones(2, 4)
    >>> torch.equal(twin(x), (twin(x, member=0) + twin(x, member=1)) / 2)
    True
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList([first, second])

    def forward(self, x: Tensor, member: int | None = None) -> Tensor:
        """Logits of one network, or the mean of both."""
        if member is not None:
            return self.members[member](x)
        first, second = self.members
        return (first(x) + second(x)) / 2

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.members)

    def __getitem__(self, member: int) -> nn.Module:
        return self.members[member]


def members(module: nn.Module) -> list[nn.Module]:
    """The networks of a `Twin`, or the one network.

    Examples
    --------
    >>> from robustlabels.modules import MLP, Twin, members
    >>> len(members(MLP(4, 3))), len(members(Twin(MLP(4, 3), MLP(4, 3))))
    (1, 2)
    """
    return list(module) if isinstance(module, Twin) else [module]
