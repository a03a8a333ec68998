r"""Mask where a network looks, and rebuild what was masked: the pure part of SANM.

The operator takes away the patch that a network looks at most, a larger one the less the label is trusted, and as much
of the label's mass. With w the probability that a label is right, rho is the share masked (eq. 2) and t' the modulated
target (eq. 7):

.. math:: \rho = u + \gamma (1 - w), \quad u \sim U(s_0, s_1), \qquad
          t'_k = t_k - \rho \text{ for } k = \arg\max t, \quad t'_j = t_j + \frac{\rho}{K - 1} \text{ else}

A small linear decoder reconstructs the unmasked input from the features of the masked one (eq. 10), a task without
labels. Numbers of equations are those of the paper, which ``sanm.py`` cites; they are known to us through the authors'
code, which this follows. A comment says where not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

MILD = ((0.02, 0.07), 0.03)
"""The authors' mask ratio and quality weight, tuned for a host that corrects labels itself."""

STRONG = ((0.1, 0.3), 0.4)
"""For hosts that do not, and for tables, where the mild ones mask a column or two."""

CHOICES: dict[str, tuple] = {
    "n_masks": (1, 2),
    "mask_anchor": ("center", "topleft"),
    "mask_fill": ("auto", "uniform", "zero", "mean", "permute"),
}
"""What these parameters may be."""


# --- the operator, in nine steps --------------------------------------------------------------------------------------


class MaskOutput(NamedTuple):
    """What :func:`~robustlabels.methods.sanm_masking.adversarial_mask` makes of a batch.

    Attributes
    ----------
    views : list of Tensor of shape (b, ...)
        The inputs without their most activated patch and, with two masks, without their least activated one.
    target : Tensor of shape (b, n_classes)
        The modulated targets, the same for all views.
    ratio : Tensor of shape (b,)
        The mask ratios rho.
    masks : list of Tensor, bool
        What was masked in each view: (b, 1, h, w) of images, (b, 1, l) of sequences, (b, d) of tables.
    """

    views: list[Tensor]
    target: Tensor
    ratio: Tensor
    masks: list[Tensor]


@torch.no_grad()
def adversarial_mask(
    x: Tensor,
    feature_map: Tensor,
    target: Tensor,
    quality: Tensor,
    *,
    generator: Generator | None = None,
    mask_ratio: tuple[float, float] = MILD[0],
    quality_weight: float = MILD[1],
    mask_area_scale: float = 0.5,
    mask_aspect: tuple[float, float] = (0.8, 1.25),
    n_masks: int = 2,
    mask_anchor: str = "center",
    mask_fill: str = "auto",
    fill_range: tuple[float | Tensor, float | Tensor] = (0.0, 1.0),
    label_modulation: bool = True,
    keep_top_class: bool = True,
) -> MaskOutput:
    """Mask where the network looks, and take as much from the target, for a whole batch at once.

    With ``mask_anchor="topleft", keep_top_class=False`` and inputs normalized already, these are the authors' nine
    steps, number for number.

    Parameters
    ----------
    x : Tensor of shape (b, c, h, w), (b, c, l), (b, l) or (b, d)
        Images, sequences of channels, of tokens, or rows of a table.
    feature_map : Tensor of shape (b, f, h', w'), (b, f, l') or (b, d)
        What tells where the network looks: its last feature map for images and sequences; for tables, the contribution
        of each column. The sum of its squares over the channels is the activation.
    target : Tensor of shape (b, n_classes)
        What the host would train on.
    quality : Tensor of shape (b,) or (b, 1)
        Probability w that the label is right.
    generator : torch.Generator, default=None
        Torch's default one if None.
    mask_ratio : pair of float, default=(0.02, 0.07)
        Between these lies rho for a label that is surely right.
    quality_weight : float, default=0.03
        What is added to rho for a label that is surely wrong: the paper's gamma.
    mask_area_scale : float, default=0.5
        Share of rho that each view loses: a half, since there are two.
    mask_aspect : pair of float, default=(0.8, 1.25)
        Between these lies the aspect of a patch; of a sequence, a factor on the length.
    n_masks : {1, 2}, default=2
        Mask the most activated place alone, or also, in a second view, the least activated one.
    mask_anchor : {"center", "topleft"}, default="center"
        What of the patch lies on that place: its center, as in the paper, or its corner, as in the authors' code.
    mask_fill : {"auto", "uniform", "zero", "mean", "permute"}, default="auto"
        One random constant per channel; zero; the channel's mean over the batch; the values of another row of the
        batch. "auto": "permute" for tables, "zero" for whole numbers (tokens), "uniform" for the rest.
    fill_range : pair of float or of Tensor of shape (c,), default=(0.0, 1.0)
        Between these lie the constants of "uniform".
    label_modulation : bool, default=True
        False leaves the target.
    keep_top_class : bool, default=True
        Take no more from the largest entry than the second largest can bear: else a modulated target of few classes may
        prefer another class. False is the authors' code, whose entries may be negative where max(t) < rho.

    Returns
    -------
    MaskOutput

    Examples
    --------
    >>> import torch
    >>> x, y = torch.zeros(1, 1, 8, 8), torch.eye(2)[:1]
    >>> look = torch.zeros(1, 1, 4, 4)
    >>> look[0, 0, 1, 2] = 1.0
    >>> out = adversarial_mask(x, look, y, torch.zeros(1), mask_ratio=(0.3, 0.3), mask_aspect=(1, 1))
    >>> out.ratio, out.target
    (tensor([0.3300]), tensor([[0.6700, 0.3300]]))
    >>> out.masks[0][0, 0].int()
    tensor([[0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 1, 1, 1, 0, 0],
            [0, 0, 0, 1, 1, 1, 0, 0],
            [0, 0, 0, 1, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """
    for name, value in {"n_masks": n_masks, "mask_anchor": mask_anchor, "mask_fill": mask_fill}.items():
        check_choice(name, value)
    if feature_map.ndim != max(x.ndim, 3) and feature_map.shape != x.shape:
        raise ValueError(
            f"a feature map of shape {tuple(feature_map.shape)} does not tell where in inputs of shape "
            f"{tuple(x.shape)} to look: it needs as many axes of places."
        )
    given, table = x, feature_map.ndim == 2
    if mask_fill == "auto":
        mask_fill = "permute" if table else "uniform" if x.is_floating_point() else "zero"
    if x.ndim == 2 and not table:
        x = x[:, None]  # tokens: a sequence of one channel
    b, n_channels = x.shape[:2]
    n_fills = {"uniform": n_channels, "permute": 1}.get(mask_fill, 0)
    device = x.device if generator is None else generator.device
    u = torch.rand(b, 2 + n_masks * n_fills, generator=generator, device=device, dtype=_wide(device)).to(x.device)

    ratio = _between(*mask_ratio, u[:, 0]) + quality_weight * (1 - quality.to(u.dtype).flatten())  # (b,): step 5, eq. 2
    aspect = _between(*mask_aspect, u[:, 1])
    if table:
        masks = column_masks(feature_map, mask_area_scale * ratio)[:n_masks]
    else:
        size = x.shape[2:]
        sides = patch_sides(mask_area_scale * ratio, aspect, size)
        places = extremes(activation(feature_map, size))[:n_masks]
        masks = [patch_mask(place, sides, size, mask_anchor) for place in places]
    fills = [_fill(x, v, mask_fill, fill_range) for v in u[:, 2:].view(b, n_masks, n_fills).unbind(1)]
    views = [_filled(x, mask, fill).view_as(given) for mask, fill in zip(masks, fills, strict=True)]  # step 9
    if label_modulation:
        target = modulated(target, ratio, keep_top_class=keep_top_class)
    return MaskOutput(views, target, ratio.to(target.dtype), masks)


def check_choice(name: str, value: Any) -> None:
    """Refuse a value that is not among a parameter's `CHOICES`.

    Examples
    --------
    >>> check_choice("n_masks", 3)
    Traceback (most recent call last):
    ValueError: n_masks must be one of (1, 2), got 3.
    """
    if value not in CHOICES[name]:
        raise ValueError(f"{name} must be one of {CHOICES[name]}, got {value!r}.")


def _wide(device: torch.device) -> torch.dtype:
    """float64 where there is one: sides are rounded, and should round as Python's do."""
    return torch.float32 if device.type == "mps" else torch.float64


def _between(low: float, high: float, u: Tensor) -> Tensor:
    return low + (high - low) * u


def activation(feature_map: Tensor, size: Sequence[int]) -> Tensor:
    """Where the network looks, at the size of the input, in 256 levels: steps 1 to 3.

    Parameters
    ----------
    feature_map : Tensor of shape (b, f, h', w') or (b, f, l')
    size : sequence of int
        (h, w) or (l,).

    Returns
    -------
    levels : Tensor of shape (b, h, w) or (b, l)
        Whole numbers from 0 to 255; all 0 where the map is constant.

    Examples
    --------
    >>> import torch
    >>> activation(torch.tensor([[[0.0, 1.0]], [[2.0, 2.0]]]), (4,))
    tensor([[  0.,  63., 191., 255.],
            [  0.,   0.,   0.,   0.]])
    """
    energy = feature_map.float().square().sum(1)  # (b, h', w'); in float32, since half precision overflows
    energy = F.normalize(energy.flatten(1), dim=1).nan_to_num().view_as(energy)
    a = energy
    for axis, m in enumerate(size, start=1):
        a = _stretched(a, axis, m)  # (b, h, w)
    places = tuple(range(1, a.ndim))
    low, high = a.amin(places, keepdim=True), a.amax(places, keepdim=True)  # much quicker than both in one
    return a.sub_(low).div_(high - low + 1e-12).mul_(255).floor_()


def _stretched(a: Tensor, axis: int, m: int) -> Tensor:
    """``m`` places along an axis, linearly between half-pixel centers: axis by axis, what ``F.interpolate`` does."""
    n = a.shape[axis]
    place = ((torch.arange(m, device=a.device, dtype=_wide(a.device)) + 0.5) * (n / m) - 0.5).clamp(0, n - 1)
    low = place.long()
    share = (place - low).to(a.dtype).view(-1, *[1] * (a.ndim - 1 - axis))
    return a.index_select(axis, low) * (1 - share) + a.index_select(axis, (low + 1).clamp_max(n - 1)) * share


def extremes(levels: Tensor) -> tuple[Tensor, Tensor]:
    """First largest and first smallest place in row-major order, step 4: the same on every device.

    Parameters
    ----------
    levels : Tensor of shape (b, h, w) or (b, l)

    Returns
    -------
    most, least : Tensor of shape (b,), int64
        As numbers in the flattened map.

    Examples
    --------
    >>> import torch
    >>> extremes(torch.tensor([[3.0, 9.0, 9.0, 3.0]]))
    (tensor([1]), tensor([0]))
    """
    flat = levels.flatten(1)
    n = flat.shape[1]
    flat = flat.to(torch.float32 if 256 * n < 1 << 24 else torch.float64)
    here = torch.arange(n, device=flat.device, dtype=flat.dtype)
    # Level and place in one number: argmax itself may give any of equal ones.
    most = n - 1 - torch.add(n - 1 - here, flat, alpha=n).amax(1) % n
    least = torch.add(here, flat, alpha=n).amin(1) % n
    return most.long(), least.long()


def patch_sides(area: Tensor, aspect: Tensor, size: Sequence[int]) -> list[Tensor]:
    """Height and width of a patch with a share of the area; length of a span: step 7.

    Parameters
    ----------
    area : Tensor of shape (b,)
        Share of the input.
    aspect : Tensor of shape (b,)
        Height over width; for a span, a factor.
    size : sequence of int
        (h, w) or (l,).

    Returns
    -------
    sides : list of Tensor of shape (b,), int64
        At least 1, and less than the input's where that has more than one place.

    Examples
    --------
    >>> import torch
    >>> patch_sides(torch.tensor([0.0325]), torch.tensor([0.8]), (32, 32))
    [tensor([5]), tensor([6])]
    """
    cells = area * math.prod(size)
    raw = [cells * aspect] if len(size) == 1 else [(cells * aspect).sqrt(), (cells / aspect).sqrt()]
    return [side.round().long().clamp(1, max(1, s - 1)) for side, s in zip(raw, size, strict=True)]


def patch_mask(place: Tensor, sides: Sequence[Tensor], size: Sequence[int], anchor: str = "center") -> Tensor:
    """The patch with its center, or its top left corner, at a place; moved inside where it juts out: step 8.

    Parameters
    ----------
    place : Tensor of shape (b,), int64
        As a number in the flattened map.
    sides : sequence of Tensor of shape (b,), int64
    size : sequence of int
        (h, w) or (l,).
    anchor : {"center", "topleft"}, default="center"

    Returns
    -------
    mask : Tensor of shape (b, 1, h, w) or (b, 1, l), bool

    Examples
    --------
    >>> import torch
    >>> patch_mask(torch.tensor([3]), [torch.tensor([2])], (4,), "topleft")
    tensor([[[False, False,  True,  True]]])
    """
    inside = []
    positions = [place] if len(size) == 1 else [place // size[1], place % size[1]]
    for position, side, s in zip(positions, sides, size, strict=True):
        start = position - side // 2 if anchor == "center" else position
        start = start.clamp_min(0).minimum(s - side)[:, None]
        line = torch.arange(s, device=place.device)
        inside.append((line >= start) & (line < start + side[:, None]))  # (b, s)
    mask = inside[0] if len(inside) == 1 else inside[0][:, :, None] & inside[1][:, None]
    return mask[:, None]


def column_masks(contribution: Tensor, share: Tensor) -> list[Tensor]:
    """The columns of a table that contribute most, and those that contribute least; the first of equal ones.

    Parameters
    ----------
    contribution : Tensor of shape (b, d)
    share : Tensor of shape (b,)
        Of the columns: at least one is masked, and one is left.

    Returns
    -------
    masks : list of two Tensors of shape (b, d), bool

    Examples
    --------
    >>> import torch
    >>> column_masks(torch.tensor([[-3.0, 1.0, 2.0, 0.5]]), torch.tensor([0.5]))
    [tensor([[ True, False,  True, False]]), tensor([[False,  True, False,  True]])]
    """
    d = contribution.shape[1]
    count = (share * d).round().long().clamp(1, d - 1)[:, None]
    energy = contribution.float().square()
    ordered = energy.sort(dim=1).values  # once for both ends; sorting is most of the work
    most, least = ordered.gather(1, (d - count).clamp_max(d - 1)), ordered.gather(1, (count - 1).clamp_min(0))
    ends = ((energy > most, energy == most), (energy < least, energy == least))
    return [beyond | (last & (last.cumsum(1) <= count - beyond.sum(1, keepdim=True))) for beyond, last in ends]


def _fill(x: Tensor, u: Tensor, fill: str, fill_range: tuple[float | Tensor, float | Tensor]) -> Tensor:
    """What stands in the patches of one view, by uniform draws (b, n) of each row; broadcastable to x."""
    b, c = x.shape[:2]
    ones = [1] * (x.ndim - 2)
    if fill == "zero":
        return x.new_zeros(())
    if fill == "mean":
        return x.mean((0, *range(2, x.ndim)), keepdim=True)
    if fill == "permute":  # another row, the same one for the whole patch
        step = 1 + (u[:, 0] * (b - 1)).long()
        return x[(torch.arange(b, device=x.device) + step) % b]
    low, high = (v.view(c, *ones) if isinstance(v, Tensor) and v.shape == (c,) else v for v in fill_range)
    return low + (high - low) * u.to(x.dtype).view(b, c, *ones)


def _filled(x: Tensor, mask: Tensor, fill: Tensor) -> Tensor:
    """The fill where the mask is true, x elsewhere."""
    if not x.is_floating_point():
        return torch.where(mask, fill, x)
    return torch.lerp(x, fill.to(x.dtype), mask.to(x.dtype))  # exact at 0 and 1, and several times as quick


def modulated(target: Tensor, ratio: Tensor, *, keep_top_class: bool = True) -> Tensor:
    """Targets with mass rho taken from their largest entry and spread over the others: step 6, eq. 7.

    Parameters
    ----------
    target : Tensor of shape (b, n_classes)
    ratio : Tensor of shape (b,)
    keep_top_class : bool, default=True
        At most as much as makes the two largest entries equal. One-hot targets are not affected up to rho = 1 - 1/K.

    Returns
    -------
    target : Tensor of shape (b, n_classes)
        Rows sum to what they did.

    Examples
    --------
    >>> import torch
    >>> modulated(torch.tensor([[0.55, 0.45]]), torch.tensor([0.1]))
    tensor([[0.5000, 0.5000]])
    >>> modulated(torch.tensor([[0.55, 0.45]]), torch.tensor([0.1]), keep_top_class=False)
    tensor([[0.4500, 0.5500]])
    """
    n_classes = target.shape[1]
    if n_classes < 2:
        raise ValueError(f"mass goes from one class to others, so targets need 2 columns or more, got {n_classes}.")
    if keep_top_class:
        first, second = target.topk(2, dim=1).values.unbind(1)
        ratio = ratio.minimum((first - second).to(ratio.dtype) * (n_classes - 1) / n_classes)
    top = target.argmax(1, keepdim=True)
    share = (ratio / (n_classes - 1)).to(target.dtype)[:, None]
    less = target.gather(1, top) - ratio.to(target.dtype)[:, None]
    return (target + share).scatter(1, top, less)


# --- the decoder ------------------------------------------------------------------------------------------------------

_PUBLISHED = {  # (places of the map, of the input): kernel, stride, padding and output padding of each layer
    (4, 32): [(4, 2, 0, 0), (6, 1, 0, 0), (4, 2, 0, 0)],
    (7, 224): [(6, 3, 0, 1), (2, 3, 0, 1), (2, 3, 0, 0)],
}


def make_decoder(feature_shape: Sequence[int], input_shape: Sequence[int]) -> nn.Sequential:
    """A small linear network from features to inputs: three transposed convolutions, or one linear layer.

    From 4x4 to 32x32 and from 7x7 to 224x224 the layers are the authors'. Between other sizes they grow geometrically,
    and what juts out is cut off all round. No activation and no normalization, as in the authors' code.

    Parameters
    ----------
    feature_shape : sequence of int
        (f, h', w'), (f, l'), or (f,) for features without places.
    input_shape : sequence of int
        Shape of one input.

    Returns
    -------
    nn.Sequential

    Examples
    --------
    >>> import torch
    >>> decoder = make_decoder((512, 4, 4), (3, 32, 32))
    >>> decoder(torch.zeros(2, 512, 4, 4)).shape, sum(p.numel() for p in decoder.parameters())
    (torch.Size([2, 3, 32, 32]), 3283331)
    """
    n_features, *places = feature_shape
    if not places:
        return nn.Sequential(nn.Linear(n_features, math.prod(input_shape)), nn.Unflatten(1, tuple(input_shape)))
    flat = len(input_shape) == len(places)  # a sequence without an axis of channels
    n_channels, *size = (1, *input_shape) if flat else input_shape
    first = max(n_channels, min(256, n_features // 2))
    widths = [n_features, first, max(n_channels, first // 2), n_channels]
    plans = [_growth(n, m) for n, m in zip(places, size, strict=True)]  # per axis
    make = nn.ConvTranspose2d if len(places) == 2 else nn.ConvTranspose1d
    layers: list[nn.Module] = []
    for i, layer in enumerate(zip(*plans, strict=True)):
        kernel, stride, padding, more = zip(*layer, strict=True)
        layers.append(make(widths[i], widths[i + 1], kernel, stride, padding, more))
    return nn.Sequential(*layers, nn.Flatten(1)) if flat else nn.Sequential(*layers)


def _growth(n: int, m: int) -> list[tuple[int, int, int, int]]:
    """Three layers from n places to m: kernel, stride, padding and output padding of each."""
    if (n, m) in _PUBLISHED:
        return _PUBLISHED[n, m]
    sizes = [n, *(max(1, round(n * (m / n) ** (i / 3))) for i in (1, 2)), m]
    layers = []
    for here, there in itertools.pairwise(sizes):
        stride = max(1, math.ceil(there / here))
        kernel = stride + 2  # patches overlap
        excess = (here - 1) * stride + kernel - there
        kernel += excess % 2 if stride == 1 else 0  # where output padding cannot even it out
        excess = (here - 1) * stride + kernel - there
        layers.append((kernel, stride, (excess + 1) // 2, excess % 2))
    return layers


def reconstruction_loss(reconstructed: Tensor, x: Tensor) -> Tensor:
    """Sum over the views of the mean squared error of all entries, masked or not (eq. 10).

    Parameters
    ----------
    reconstructed : Tensor of shape (m * b, ...)
        From the features of m masked views, one after the other.
    x : Tensor of shape (b, ...)
        The unmasked input, standardized.

    Returns
    -------
    loss : Tensor, a scalar

    Examples
    --------
    >>> import torch
    >>> reconstruction_loss(torch.zeros(2, 2, 2), torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]))
    tensor(7.)
    """
    n_views = len(reconstructed) // len(x)
    return n_views * F.mse_loss(reconstructed, x.repeat(n_views, *[1] * (x.ndim - 1)))
