"""The preset networks: a perceptron, small convolutional networks and ResNets.

Each takes float rows, standardizes them itself and returns logits. The statistics are buffers, so they are saved and
moved with the weights.
"""

import itertools
import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

# --- input ------------------------------------------------------------------------------------------------------------


class Standardize(nn.Module):
    """Subtract the mean and divide by the standard deviation of each column or channel.

    Parameters
    ----------
    mean, std : array-like of shape (n_features,) or (n_channels,)
        Statistics of the data. Entries of `std` that are zero or not finite are replaced by 1, so that a constant
        column stays finite.

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
        """Standardize `x` of shape (b, d) or (b, c, h, w)."""
        ones = (1,) * (x.ndim - 2)
        mean, std = (s.view(-1, *ones) if s.ndim == 1 else s for s in (self.mean, self.std))  # (d,) or (c, 1, 1)
        return (x - mean) / std

    def extra_repr(self) -> str:
        """Return the number of columns, which ``print(module)`` shows."""
        return str(self.mean.numel())


class Preset(nn.Module):
    """Base class of the presets: a network that standardizes its own input."""

    needs_images: ClassVar[bool] = False

    def __init__(self, mean: ArrayLike | None, std: ArrayLike | None) -> None:
        super().__init__()
        given = mean is not None or std is not None
        mean, std = 0.0 if mean is None else mean, 1.0 if std is None else std
        self.standardize: nn.Module = Standardize(mean, std) if given else nn.Identity()


# --- tables -----------------------------------------------------------------------------------------------------------


class _BatchNorm1d(nn.BatchNorm1d):
    """Batch normalization that also takes a training batch of one row.

    One row has no variance, so the running statistics are used as in eval mode.
    """

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class MLP(Preset):
    """Multi-layer perceptron with batch normalization; rows of any shape are flattened.

    Parameters
    ----------
    n_features : int
        Number of columns of a flattened row.
    n_classes : int
        Number of columns of the output.
    width : int, default=256
        Number of units in each hidden layer.
    depth : int, default=2
        Number of hidden layers; 0 is multinomial logistic regression.
    dropout : float, default=0.0
        Share of hidden units that are dropped in training.
    mean, std : array-like, default=None
        Statistics that the input is standardized with; None does not standardize it.

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
        """Return logits (b, n_classes) of rows (b, ...)."""
        # Images are standardized before they are flattened, because their statistics are per channel.
        x = self.standardize(x if x.ndim == 4 else x.flatten(1)).flatten(1)  # (b, d)
        return self.head(self.body(x))


# --- images -----------------------------------------------------------------------------------------------------------


def _conv(in_channels: int, out_channels: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    # Batch normalization follows, which subtracts any bias.
    return nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)


def _conv_bn_relu(in_channels: int, out_channels: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    conv = _conv(in_channels, out_channels, stride, size)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class _Block(nn.Module):
    """Residual block relu(x + bn(conv(relu(bn(conv(x)))))) of He et al. 2016a."""

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
    """Pre-activation block a + conv(relu(bn(conv(a)))) with a = relu(bn(x)), as in the code of ELR's authors.

    In He et al. 2016b an identity shortcut passes on x itself; in the authors' code it passes on the activated a.
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


class SmallConvNet(Preset):
    """Residual network of seven 3x3 convolutions for images of up to 64 px, fast enough for a CPU.

    It takes about 10 million multiply-adds for an image of 28x28 pixels.

    Parameters
    ----------
    in_channels : int
        Number of color channels.
    n_classes : int
        Number of columns of the output.
    width : int, default=32
        Channels of the first of three blocks; the others have twice and four times as many.
    image_size : int or (int, int), default=32
        The stem halves the sides of images of 16 px and more. Images of other sizes work too.
    mean, std : array-like of shape (in_channels,), default=None
        Statistics that the input is standardized with; None does not standardize it.

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
        """Return logits (b, n_classes) of images (b, c, h, w)."""
        x = self.body(self.stem(self.standardize(x)))  # (b, 4 width, ~h/8, ~w/8)
        return self.head(x.mean((2, 3)))


class SixConvNet(Preset):
    """Network of six 3x3 convolutions and a hidden layer: the CIFAR-10 network of SCE and PEMM, 1.6 million weights.

    Parameters
    ----------
    in_channels : int
        Number of color channels.
    n_classes : int
        Number of columns of the output.
    width : int, default=64
        Channels of the first pair of convolutions; the others have twice and 49/16 times as many (128 and 196).
    hidden : int, default=256
        Number of features, which are the input of the head.
    image_size : int or (int, int), default=32
        Size of the images, at least 8 px. All images must have it, because the output of the convolutions is flattened.
    mean, std : array-like of shape (in_channels,), default=None
        Statistics that the input is standardized with; None does not standardize it.
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
            raise ValueError(f"image_size must be 8 or more, because three poolings halve it, got {image_size}.")
        layers: list[nn.Module] = []
        c = in_channels
        for channels in (width, 2 * width, 49 * width // 16):
            layers += [*_conv_bn_relu(c, channels), *_conv_bn_relu(channels, c := channels), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        flat = c * (height // 8) * (breadth // 8)
        self.hidden = nn.Sequential(nn.Linear(flat, hidden), _BatchNorm1d(hidden), nn.ReLU())
        self.head = nn.Linear(hidden, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (b, n_classes) of images (b, c, h, w)."""
        return self.head(self.hidden(self.body(self.standardize(x)).flatten(1)))


class FastConvNet(Preset):
    """Shallow, wide network that trains in seconds on a GPU: a fixed first layer and six 3x3 convolutions.

    The architecture is that of Jordan's airbench. There, the first layer holds the whitened principal components of the
    training images' 2x2 patches. Here, it holds means and differences of a patch's pixels and channels, which
    approximate the principal components of photographs, and a batch normalization scales each to unit variance; so the
    layer does not depend on the data. Each output is passed on with both signs. The weights of the other convolutions
    are initialized to pass their input through.

    Parameters
    ----------
    in_channels : int
        Number of color channels.
    n_classes : int
        Number of columns of the output.
    width : int, default=64
        Channels of the first of three blocks; the other two have four times as many.
    image_size : int or (int, int), default=32
        Ignored, because images of any size work.
    mean, std : array-like of shape (in_channels,), default=None
        Statistics that the input is standardized with; None does not standardize it.

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
        basis = basis.reshape(4 * in_channels, in_channels, 2, 2)  # one orthonormal filter a row
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
        """Return logits (b, n_classes) of images (b, c, h, w)."""
        x = F.gelu(self.scale(F.conv2d(self.standardize(x), self.patches)))  # (b, 8 c, h - 1, w - 1)
        # max and not amax: amax spreads its gradient over all entries that equal the maximum. A compiled backward in
        # bfloat16 compares them with a value that is not yet rounded, finds none and divides by zero.
        top = self.body(x).flatten(2).max(2).values  # (b, 4 width)
        return self.head(top / 9)  # airbench's factor, with which logits are small at first


def _cosines(n: int) -> Tensor:
    """Return the orthonormal matrix (n, n) of the discrete cosine transform, from the mean to the highest frequency."""
    k = torch.arange(n, dtype=torch.get_default_dtype())
    waves = torch.cos(math.pi / n * torch.outer(k, k + 0.5))
    return waves / waves.norm(dim=1, keepdim=True)


class _ResNet(Preset):
    """Base class of ResNets: a stem, four stages of residual blocks, global average pooling and a linear head."""

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
                stride = 2 if stage and i == 0 else 1  # The first block of every stage but the first halves the sides.
                blocks.append(self.block(c, c := width * 2**stage, stride))
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(c, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (b, n_classes) of images (b, c, h, w)."""
        x = self.body(self.stem(self.standardize(x)))  # (b, 8 width, h', w')
        return self.head(x.mean((2, 3)))


class ResNet18(_ResNet):
    """ResNet-18 (He et al. 2016a), 11 million weights.

    Parameters
    ----------
    in_channels : int
        Number of color channels.
    n_classes : int
        Number of columns of the output.
    stem : {"auto", "cifar", "imagenet"}, default="auto"
        The first layers. "cifar" is one 3x3 convolution; "imagenet" is a 7x7 convolution with stride 2 and a
        max-pooling, which together keep a sixteenth of the pixels; "auto" is "imagenet" for sides above 64 px.
    width : int, default=64
        Channels of the first stage; each further stage has twice as many as the one before.
    image_size : int or (int, int), default=32
        Size by which ``stem="auto"`` decides; images of other sizes work too.
    mean, std : array-like of shape (in_channels,), default=None
        Statistics that the input is standardized with; None does not standardize it.
    """

    depths = (2, 2, 2, 2)


class ResNet34(_ResNet):
    """ResNet-34 (He et al. 2016a), 21 million weights.

    Parameters
    ----------
    in_channels : int
        Number of color channels.
    n_classes : int
        Number of columns of the output.
    stem : {"auto", "cifar", "imagenet"}, default="auto"
        The first layers. "cifar" is one 3x3 convolution; "imagenet" is a 7x7 convolution with stride 2 and a
        max-pooling, which together keep a sixteenth of the pixels; "auto" is "imagenet" for sides above 64 px.
    width : int, default=64
        Channels of the first stage; each further stage has twice as many as the one before.
    image_size : int or (int, int), default=32
        Size by which ``stem="auto"`` decides; images of other sizes work too.
    mean, std : array-like of shape (in_channels,), default=None
        Statistics that the input is standardized with; None does not standardize it.
    """

    depths = (3, 4, 6, 3)


class PreActResNet18(_ResNet):
    """ResNet-18 with the pre-activation blocks of the ELR authors' code, 11 million weights.

    Parameters
    ----------
    in_channels : int
        Number of color channels.
    n_classes : int
        Number of columns of the output.
    stem : {"auto", "cifar", "imagenet"}, default="auto"
        The first layers. "cifar" is one 3x3 convolution; "imagenet" is a 7x7 convolution with stride 2 and a
        max-pooling, which together keep a sixteenth of the pixels; "auto" is "imagenet" for sides above 64 px.
    width : int, default=64
        Channels of the first stage; each further stage has twice as many as the one before.
    image_size : int or (int, int), default=32
        Size by which ``stem="auto"`` decides; images of other sizes work too.
    mean, std : array-like of shape (in_channels,), default=None
        Statistics that the input is standardized with; None does not standardize it.
    """

    block = _PreActBlock
    depths = (2, 2, 2, 2)


def _side(image_size: int | tuple[int, int]) -> int:
    return max(image_size) if isinstance(image_size, tuple | list) else image_size


PRESETS: dict[str, type[Preset]] = {
    "mlp": MLP,
    "cnn": SmallConvNet,
    "cnn6": SixConvNet,
    "fast": FastConvNet,
    "preact_resnet18": PreActResNet18,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
}
