"""Augmentations against a loop over images, their draws, and what `resolve` and `check` accept."""

import colorsys
import functools
import itertools
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustlabels import augment
from robustlabels.augment import (
    ColorJitter,
    ColumnCorruption,
    Compose,
    Cutout,
    FeatureDropout,
    GaussianNoise,
    HorizontalFlip,
    RandAugment,
    RandomCrop,
    RandomGrayscale,
    RandomResizedCrop,
    check,
    randaugment,
    resolve,
    standard,
    strong,
)
from robustlabels.augment import images as image_augment

STEPS = [
    RandomCrop(3),
    HorizontalFlip(),
    GaussianNoise(0.5),
    standard((3, 12, 12)),
    RandomResizedCrop(),
    ColorJitter(),
    RandomGrayscale(0.5),
    FeatureDropout(0.3),
    strong((1, 12, 12)),
    strong((3, 12, 12)),
    strong((3, 32, 32)),
    RandAugment(3, p=1),
    Cutout(3),
]
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))


def images(b=6, c=3, h=12, w=12, channels_last=False, seed=0):
    x = torch.rand(b, c, h, w, generator=torch.Generator().manual_seed(seed))
    return x.to(memory_format=torch.channels_last) if channels_last else x


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --- one image at a time ----------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    padding=st.integers(0, 5),
    fill=st.sampled_from([0, 0.25, -1.0]),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_crop_is_a_loop_over_padded_images(shape, padding, fill, channels_last, seed):
    x = images(*shape, channels_last=channels_last, seed=seed)
    b, c, h, w = shape
    top, left = torch.randint(0, 2 * padding + 1, (2, b), generator=seeded(seed))
    expected = torch.empty(b, c, h, w)
    for i in range(b):
        padded = torch.full((c, h + 2 * padding, w + 2 * padding), float(fill))
        padded[:, padding : padding + h, padding : padding + w] = x[i]
        expected[i] = padded[:, top[i] : top[i] + h, left[i] : left[i] + w]
    torch.testing.assert_close(image_augment.crop(x, top, left, padding, fill), expected, rtol=0, atol=0)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    channels_last=st.booleans(),
    data=st.data(),
)
def test_flip_is_a_loop_over_images(shape, channels_last, data):
    x = images(*shape, channels_last=channels_last)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=shape[0], max_size=shape[0])))
    expected = x.clone()
    for i in range(shape[0]):
        for j in range(shape[3]):
            if mask[i]:
                expected[i, :, :, j] = x[i, :, :, shape[3] - 1 - j]
    torch.testing.assert_close(image_augment.flip(x, mask), expected, rtol=0, atol=0)


def bilinear(image, top, left, height, width):
    """One image through one box (fractions of its sides), pixel by pixel; beyond the image its edge goes on."""
    h, w = image.shape[1:]
    out = torch.empty_like(image)
    for i, j in itertools.product(range(h), range(w)):
        row = min(max((top + height * (i + 0.5) / h) * h - 0.5, 0), h - 1)
        column = min(max((left + width * (j + 0.5) / w) * w - 0.5, 0), w - 1)
        r, s = int(row), int(column)
        below, right, dr, ds = min(r + 1, h - 1), min(s + 1, w - 1), row - r, column - s
        upper = (1 - ds) * image[:, r, s] + ds * image[:, r, right]
        lower = (1 - ds) * image[:, below, s] + ds * image[:, below, right]
        out[:, i, j] = (1 - dr) * upper + dr * lower
    return out


@settings(deadline=None, derandomize=True, max_examples=60)
@given(shape=SHAPES, channels_last=st.booleans(), seed=st.integers(0, 99))
def test_resized_crop_is_a_loop_over_pixels(shape, channels_last, seed):
    x = images(*shape, channels_last=channels_last, seed=seed).double()
    boxes = RandomResizedCrop()._draw(shape[0], seeded(seed), torch.device("cpu"))
    expected = torch.stack([bilinear(x[i], *boxes[:, i].tolist()) for i in range(shape[0])])
    torch.testing.assert_close(image_augment.resized_crop(x, *boxes), expected, rtol=0, atol=1e-6)
    assert torch.equal(RandomResizedCrop()(x, seeded(seed)), image_augment.resized_crop(x, *boxes))


def test_resized_crop_of_whole_pixels_is_interpolate_inside_the_box():
    x, size = images(h=12, w=16).double(), (12, 16)
    for top, left, height, width in [(0, 0, 6, 8), (3, 5, 4, 9), (6, 0, 6, 16)]:
        expected = F.interpolate(x[:, :, top : top + height, left : left + width], size, mode="bilinear")
        box = [torch.full((len(x),), v, dtype=torch.float64) for v in (top / 12, left / 16, height / 12, width / 16)]
        out = image_augment.resized_crop(x, *box)
        # within half a pixel of the box's edges `interpolate` sees nothing beyond it, we do
        i, j = math.ceil(0.5 * 12 / height), math.ceil(0.5 * 16 / width)
        torch.testing.assert_close(out[:, :, i:-i, j:-j], expected[:, :, i:-i, j:-j])


def jitter_one(image, brightness, contrast, saturation, hue, clip):
    """Brightness, contrast, saturation and hue of one image, each by itself, the hue with the textbook's YIQ."""
    out = brightness * image
    if len(image) != 3:
        out = contrast * out + (1 - contrast) * out.mean()
    else:
        gray = 0.299 * out[0] + 0.587 * out[1] + 0.114 * out[2]
        out = contrast * out + (1 - contrast) * gray.mean()
        gray = 0.299 * out[0] + 0.587 * out[1] + 0.114 * out[2]
        out = saturation * out + (1 - saturation) * gray
        for i, j in itertools.product(range(image.shape[1]), range(image.shape[2])):
            y, a, b = rgb_yiq(*out[:, i, j].tolist())
            turned = complex(a, b) * complex(math.cos(2 * math.pi * hue), -math.sin(2 * math.pi * hue))
            out[:, i, j] = torch.tensor(yiq_rgb(y, turned.real, turned.imag))
    return out.clamp(0, 1) if clip else out


def rgb_yiq(r, g, b):
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v, c, s = 0.492 * (b - y), 0.877 * (r - y), math.cos(math.radians(33)), math.sin(math.radians(33))
    return y, v * c - u * s, v * s + u * c


def yiq_rgb(y, i, q):
    c, s = math.cos(math.radians(33)), math.sin(math.radians(33))
    u, v = q * c - i * s, q * s + i * c
    r, b = y + v / 0.877, y + u / 0.492
    return [r, (y - 0.299 * r - 0.114 * b) / 0.587, b]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    shape=SHAPES,
    scale=st.sampled_from([(1, 0), (16, 0), (4, -2), (255, 0)]),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_jitter_is_one_step_after_another_for_each_image(shape, scale, channels_last, seed):
    x = scale[0] * images(*shape, channels_last=channels_last, seed=seed).double() + scale[1]
    x[0, 0, 0, 0] = scale[0] + scale[1]
    f = ColorJitter(0.8, 0.8, 0.8, 0.5)
    draws = f._draw(shape[0], seeded(seed), torch.device("cpu"))
    expected = torch.stack([jitter_one(x[i], *draws[:, i].tolist(), clip=scale == (1, 0)) for i in range(shape[0])])
    torch.testing.assert_close(image_augment.jitter(x, *draws), expected, rtol=0, atol=1e-5 * scale[0])
    assert torch.equal(f(x, seeded(seed)), image_augment.jitter(x, *draws))


def test_hue_turns_as_the_color_wheel():
    red = torch.tensor([0.6, 0.4, 0.4], dtype=torch.float64).reshape(1, 3, 1, 1)
    one = torch.ones(1)
    for turn in torch.linspace(-0.5, 0.5, 11):
        out = image_augment.jitter(red, one, one, one, turn * one).flatten()
        luma = image_augment.GRAY @ out
        assert abs(luma - image_augment.GRAY @ red.flatten()) < 1e-6
        away = abs(colorsys.rgb_to_hsv(*out.tolist())[0] - turn.item() % 1)
        assert min(away, 1 - away) < 0.09  # YIQ's circle is not quite HSV's
    torch.testing.assert_close(image_augment.jitter(red, one, one, one, 1 * one), red, rtol=0, atol=1e-6)


def test_gray_stays_gray_and_saturation_0_makes_it():
    one = torch.ones(6)
    gray = images(c=1).expand(6, 3, 12, 12)
    torch.testing.assert_close(image_augment.jitter(gray, one, one, 1.7 * one, 0.3 * one), gray)
    everything = torch.ones(6, dtype=torch.bool)
    expected = image_augment.grayscale(images(), everything)
    torch.testing.assert_close(image_augment.jitter(images(), one, one, 0 * one, 0.2 * one), expected)


def test_jitter_is_cut_off_at_0_and_1_only_for_batches_that_lie_there():
    x = images(64)
    out = ColorJitter(p=1)(x, seeded())
    assert out.min() >= 0
    assert out.max() == 1
    wider = ColorJitter(p=1)(16 * x, seeded())
    assert wider.max() > 16
    torch.testing.assert_close(out, (wider / 16).clamp(0, 1))
    assert ColorJitter(p=1)(x - 0.5, seeded()).min() < -0.5


@settings(deadline=None, derandomize=True, max_examples=40)
@given(shape=SHAPES, channels_last=st.booleans(), data=st.data())
def test_grayscale_is_a_loop_over_images(shape, channels_last, data):
    x = images(*shape, channels_last=channels_last)
    mask = torch.tensor(data.draw(st.lists(st.booleans(), min_size=shape[0], max_size=shape[0])))
    if shape[1] != 3:
        assert torch.equal(RandomGrayscale(1)(x), x)
        return
    expected = x.clone()
    for i in range(shape[0]):
        if mask[i]:
            for channel in range(3):
                expected[i, channel] = 0.299 * x[i, 0] + 0.587 * x[i, 1] + 0.114 * x[i, 2]
    out = image_augment.grayscale(x, mask)
    torch.testing.assert_close(out, expected)
    assert torch.equal(out[~mask], x[~mask])


@settings(deadline=None, derandomize=True, max_examples=40)
@given(shape=SHAPES, size=st.integers(1, 10), channels_last=st.booleans(), seed=st.integers(0, 99))
def test_cutout_is_a_loop_over_pixels(shape, size, channels_last, seed):
    x = images(*shape, channels_last=channels_last)
    b, _, h, w = shape
    centers = torch.rand(2, b, generator=seeded(seed))
    expected = x.clone()
    for i in range(b):
        top, left = (int(max(0, c * side - size / 2)) for c, side in zip(centers[:, i], (h, w), strict=True))
        for row, column in itertools.product(range(top, min(top + size, h)), range(left, min(left + size, w))):
            expected[i, :, row, column] = 0.25
    assert torch.equal(Cutout(size, 0.25)(x, seeded(seed)), expected)


def pillow(image, name, v):
    """One of RandAugment's operations as FixMatch's code calls it, on an image of bytes."""
    from PIL import Image, ImageEnhance, ImageOps

    a, (w, h), share = abs(v), image.size, 0.09 * abs(v) + 0.05
    affine = {
        "shear_x": (1, 0.03 * v, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, 0.03 * v, 1, 0),
        "translate_x": (1, 0, int(0.03 * v * w), 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, int(0.03 * v * h)),
    }
    if name in affine:
        return image.transform(image.size, Image.Transform.AFFINE, affine[name])
    return {
        "identity": lambda: image,
        "auto_contrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(share),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(share),
        "color": lambda: ImageEnhance.Color(image).enhance(share),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(share),
        "posterize": lambda: ImageOps.posterize(image, int(0.4 * a) + 4),
        "solarize": lambda: ImageOps.solarize(image, 256 - int(25.6 * a)),
        "rotate": lambda: image.rotate(int(3 * v)),
    }[name]()


@pytest.mark.parametrize("name", randaugment.OPS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_each_operation_is_pillows_image_by_image(name, channels_last):
    Image = pytest.importorskip("PIL.Image")
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 32), indexing="ij")
    wave = [(0.5 + 0.45 * torch.sin(6 * k * rows + 5 * columns + k)).mul(255).round() for k in range(1, 4)]
    image = torch.stack(wave).to(torch.uint8)  # (3, 24, 32)
    levels = torch.tensor([-9, -6, -3, -1, 1, 2, 5, 8, 9])
    x = (image / 255).expand(len(levels), -1, -1, -1).contiguous()
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    out = randaugment.apply_operations(x, torch.full((len(levels),), randaugment.OPS.index(name)), levels)
    for i, v in enumerate(levels.tolist()):
        one = pillow(Image.fromarray(image.permute(1, 2, 0).numpy()), name, v)
        expected = torch.frombuffer(bytearray(one.tobytes()), dtype=torch.uint8).view(24, 32, 3).permute(2, 0, 1)
        assert (255 * out[i] - expected).abs().max() < 1.5, (name, v)  # Pillow rounds on its way


def test_every_image_meets_its_own_operations():
    x, f = images(40, 3, 9, 8), RandAugment(2, p=0.8)
    ops, levels = f._draw(40, seeded())
    expected = []
    for i in range(40):
        one = x[i : i + 1]
        for k in range(2):
            one = randaugment.apply_operations(one, ops[k, i : i + 1], levels[k, i : i + 1])
        expected.append(one)
    torch.testing.assert_close(f(x, seeded()), torch.cat(expected))
    x = x / x.max()
    torch.testing.assert_close(f(16 * x, seeded()), 16 * f(x, seeded()))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(b=st.integers(1, 8), d=st.integers(1, 6), rate=st.sampled_from([0, 0.4, 1]), seed=st.integers(0, 99))
def test_corruption_is_a_loop_over_entries(b, d, rate, seed):
    x = torch.arange(b * d).reshape(b, d)  # no value twice
    generator = seeded(seed)
    mask = torch.rand(b, d, generator=generator) < rate
    steps = torch.randint(1, max(2, b), (b, d), generator=generator)
    expected = x.clone()
    for i, j in itertools.product(range(b), range(d)):
        if mask[i, j]:
            expected[i, j] = x[(i + int(steps[i, j])) % b, j]
    out = ColumnCorruption(rate)(x, seeded(seed))
    assert torch.equal(out, expected)
    assert torch.equal(out % d, x % d)  # of the same column
    assert torch.equal(out != x, mask & (b > 1))  # and never of the same row


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    shape=SHAPES,
    f=st.sampled_from(STEPS),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    constant=st.booleans(),
)
def test_every_shape_and_dtype_comes_back_finite(shape, f, dtype, constant):
    x = (torch.zeros(shape) if constant else images(*shape)).to(dtype)
    out = f(x, seeded())
    assert out.shape == x.shape
    assert out.dtype == dtype
    assert out.isfinite().all()


def test_no_shift_in_the_middle():
    x = images()
    middle = torch.full((len(x),), 4)
    assert torch.equal(image_augment.crop(x, middle, middle, padding=4), x)
    assert torch.equal(RandomCrop(0)(x), x)
    assert torch.equal(HorizontalFlip(0)(x), x)
    assert torch.equal(HorizontalFlip(1)(x), x.flip(3))
    assert torch.equal(GaussianNoise(0)(x), x)
    torch.testing.assert_close(RandomResizedCrop((1, 1), (1, 1))(x), x, rtol=0, atol=1e-5)
    assert torch.equal(ColorJitter(p=0)(x), x)
    assert torch.equal(ColorJitter(0, 0, 0, 0)(x), x)
    assert torch.equal(RandomGrayscale(0)(x), x)
    assert torch.equal(FeatureDropout(0)(x), x)
    assert torch.equal(RandAugment(p=0)(x), x)
    assert torch.equal(RandAugment(0)(x), x)
    assert torch.equal(ColumnCorruption(0)(x.flatten(1)), x.flatten(1))
    assert torch.equal(ColumnCorruption(1)(x[:1].flatten(1)), x[:1].flatten(1))


def test_crop_takes_bytes():
    x = (images() * 255).to(torch.uint8)
    out = RandomCrop(2)(x, seeded())
    assert out.dtype == torch.uint8
    assert torch.equal(out.float(), RandomCrop(2)(x.float(), seeded()))


# --- draws ------------------------------------------------------------------------------------------------------------


def test_every_shift_is_equally_likely():
    b, p = 18_000, 1
    x = torch.zeros(b, 1, 3, 3)
    x[:, 0, 1, 1] = 1  # where the dot lands tells the shift
    place = RandomCrop(p)(x, seeded()).flatten(1).argmax(1)
    counts = place.bincount(minlength=9).double()
    chi2 = ((counts - b / 9) ** 2 / (b / 9)).sum()
    assert chi2 < 26.1  # the .999 quantile with 8 degrees of freedom


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_share_of_flips(p):
    x = torch.tensor([1.0, 0.0]).expand(10_000, 1, 1, 2)
    flipped = HorizontalFlip(p)(x, seeded())[:, 0, 0, 1].mean().item()
    assert abs(flipped - p) < 4 * (p * (1 - p) / 10_000) ** 0.5


def test_noise_has_the_asked_standard_deviation():
    noise = GaussianNoise(0.3)(torch.zeros(200, 500), seeded())
    assert abs(noise.mean()) < 0.005
    assert abs(noise.std() - 0.3) < 0.005


def test_areas_and_aspects_of_boxes():
    b, scale, ratio = 40_000, (0.1, 0.5), (0.6, 1.5)  # so that no box is clipped
    top, left, height, width = RandomResizedCrop(scale, ratio)._draw(b, seeded(), torch.device("cpu"))
    area, aspect = (height * width - 0.1) / 0.4, (width / height / 0.6).log() / math.log(1.5 / 0.6)
    for uniform in (area, aspect, top / (1 - height), left / (1 - width)):
        gap = (uniform.sort().values - (torch.arange(b) + 0.5) / b).abs().max()
        assert gap < 1.95 / b**0.5  # Kolmogorov and Smirnov's .999 quantile
    assert abs(torch.corrcoef(torch.stack([area, aspect, top / (1 - height), left / (1 - width)])).triu(1)).max() < 0.02


def test_operations_and_levels_are_equally_likely():
    ops, levels = RandAugment(2, p=0.7)._draw(40_000, seeded())
    counts = ops.flatten().bincount(minlength=14).double() / ops.numel()
    expected = torch.full((14,), 0.7 / 14, dtype=torch.float64)
    expected[0] += 0.3
    assert (counts - expected).abs().max() < 0.005
    sizes = levels.flatten().abs().bincount(minlength=11).double() / levels.numel()
    assert (sizes[1:10] - 1 / 9).abs().max() < 0.005
    assert sizes[0] == sizes[10] == 0
    assert abs((levels > 0).double().mean() - 0.5) < 0.01


def test_boxes_lie_inside_the_image():
    boxes = RandomResizedCrop((0.01, 1), (0.1, 10))._draw(10_000, seeded(), torch.device("cpu"))
    top, left, height, width = boxes
    assert boxes.min() >= 0
    assert (height > 0).all()
    assert (width > 0).all()
    assert (top + height).max() <= 1 + 1e-6
    assert (left + width).max() <= 1 + 1e-6
    assert (height == 1).any()  # some were clipped


def test_factors_of_the_jitter():
    factors = ColorJitter(0.4, 0.2, 1.5, 0.1, p=0.8)._draw(40_000, seeded(), torch.device("cpu"))
    changed = (factors != torch.tensor([1.0, 1, 1, 0])[:, None]).any(0)
    assert abs(changed.float().mean() - 0.8) < 0.01
    for values, (low, high) in zip(factors[:, changed], [(0.6, 1.4), (0.8, 1.2), (0, 2.5), (-0.1, 0.1)], strict=True):
        uniform = (values - low) / (high - low)
        n = len(uniform)
        assert (uniform.sort().values - (torch.arange(n) + 0.5) / n).abs().max() < 1.95 / n**0.5
    assert abs(torch.corrcoef(factors[:, changed]).triu(1)).max() < 0.02


def test_share_of_gray_images():
    out = RandomGrayscale(0.2)(torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1).expand(10_000, 3, 1, 1), seeded())
    assert abs((out[:, 1, 0, 0] > 0).float().mean() - 0.2) < 0.016


@pytest.mark.parametrize("rate", [0.3, 0.4])
def test_rate_and_donors_of_corruption(rate):
    x = torch.arange(40.0).repeat(500, 1) + 100 * torch.arange(500.0)[:, None]
    out = ColumnCorruption(rate)(x, seeded())
    assert abs((out != x).float().mean() - rate) < 4 * (rate * (1 - rate) / x.numel()) ** 0.5
    donors = ((out - x) / 100 % 500)[out != x]  # steps from the own row: 1 to 499, equally often
    counts = donors.long().bincount(minlength=500)[1:].double()
    expected = counts.mean()
    assert ((counts - expected) ** 2 / expected).sum() < 602  # the .999 quantile with 498 degrees of freedom
    changed = (out != x).float()
    assert abs(changed.mean(0) - rate).max() < 0.1  # no column, and no row, is spared
    assert abs(changed.mean(1) - rate).max() < 0.33


def test_dropout_keeps_the_mean():
    out = FeatureDropout(0.3)(torch.ones(200, 500), seeded())
    assert set(out.unique().tolist()) == {0.0, (torch.ones(1) / 0.7).item()}
    assert abs(out.mean() - 1) < 0.01


def test_corruption_draws_from_its_generator_alone():
    x, state = images().flatten(1), torch.get_rng_state()
    f = strong((432,))
    assert torch.equal(f(x, seeded(0)), f(x, generator=seeded(0)))
    assert not torch.equal(f(x, seeded(0)), f(x, seeded(1)))
    assert torch.equal(torch.get_rng_state(), state)
    check(f, x)


@pytest.mark.parametrize("f", STEPS, ids=str)
def test_a_generator_gives_the_same_views_and_leaves_the_default_alone(f):
    x, state = images(), torch.get_rng_state()
    first, again, other = f(x, seeded(0)), f(x, generator=seeded(0)), f(x, seeded(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("f", STEPS, ids=str)
def test_without_a_generator_the_default_one_draws(f):
    x = images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = f(x)
        torch.manual_seed(3)
        assert torch.equal(f(x), first)
        assert not torch.equal(f(x), first)


# --- what stays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", STEPS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("c", [1, 3])
def test_input_shape_dtype_and_memory_format_stay(f, channels_last, c):
    x = images(c=c, channels_last=channels_last)
    before, contiguous = x.clone(), x.contiguous()
    out = f(x, seeded())
    assert torch.equal(x, before)
    assert out.data_ptr() != x.data_ptr() or f == RandomGrayscale(0.5)  # which has nothing to do for one channel
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert torch.equal(out, f(contiguous, seeded()))  # the values know nothing of the format


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype):
    for f in STEPS:
        assert f(images().to(dtype)).dtype == dtype


@pytest.mark.parametrize("f", STEPS, ids=str)
def test_autocast_changes_nothing(f):
    with torch.autocast("cpu", torch.bfloat16):
        out = f(images(), seeded())
    assert torch.equal(out, f(images(), seeded()))


@pytest.mark.gpu
def test_a_generator_on_the_cpu_gives_the_same_views_on_cuda():
    for f in STEPS[:4]:
        assert torch.equal(f(images().cuda(), seeded()).cpu(), f(images(), seeded()))
    for f in STEPS[4:]:
        torch.testing.assert_close(f(images().cuda(), seeded()).cpu(), f(images(), seeded()), rtol=0, atol=1e-5)
    x = images().flatten(1)
    assert torch.equal(ColumnCorruption()(x.cuda(), seeded()).cpu(), ColumnCorruption()(x, seeded()))


# --- as objects -------------------------------------------------------------------------------------------------------


def test_repr_equality_and_pickle():
    assert repr(standard((3, 32, 32))) == "Compose(steps=(RandomCrop(padding=4, fill=0), HorizontalFlip(p=0.5)))"
    for f in STEPS:
        assert pickle.loads(pickle.dumps(f)) == f
        assert eval(repr(f), vars(augment)) == f
        assert hash(f) == hash(pickle.loads(pickle.dumps(f)))
    assert pickle.loads(pickle.dumps(strong((20,)))) == ColumnCorruption(0.4)
    assert hash(RandomResizedCrop([0.5, 1])) == hash(RandomResizedCrop((0.5, 1)))
    assert RandomCrop(2) != RandomCrop(3)
    assert GaussianNoise(0.5) != HorizontalFlip(0.5)
    assert Compose([RandomCrop(2), HorizontalFlip()]) != Compose([HorizontalFlip(), RandomCrop(2)])


def test_compose_applies_its_steps_in_turn():
    x = images()
    generator = seeded()
    expected = HorizontalFlip()(RandomCrop(2)(x, generator), generator)
    assert torch.equal(Compose([RandomCrop(2), HorizontalFlip()])(x, seeded()), expected)
    assert torch.equal(Compose([])(x), x)
    assert torch.equal(Compose([torch.neg, lambda x: x + 1])(x, seeded()), 1 - x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(-1), "padding must be 0 or more, got -1"),
        (lambda: HorizontalFlip(1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: GaussianNoise(-0.1), "sd must be 0 or more, got -0.1"),
        (lambda: GaussianNoise(float("nan")), "sd must be 0 or more, got nan"),
        (lambda: RandomCrop()(torch.zeros(4, 5)), r"RandomCrop.* needs images .* got \(4, 5\); .* GaussianNoise"),
        (lambda: HorizontalFlip()(torch.zeros(4, 5)), r"HorizontalFlip.* needs images .* got \(4, 5\)"),
        (lambda: RandomResizedCrop((0, 1)), r"scale must be .* 0 < least <= largest <= 1, got \(0, 1\)"),
        (lambda: RandomResizedCrop((0.8, 0.2)), r"scale must be .* got \(0.8, 0.2\)"),
        (lambda: RandomResizedCrop(ratio=(2, 1)), r"ratio must be .* got \(2, 1\)"),
        (lambda: RandomResizedCrop()(torch.zeros(4, 5)), r"RandomResizedCrop.* needs images .*; .* ColumnCorruption"),
        (
            lambda: RandomResizedCrop()(torch.zeros(1, 1, 2, 2, dtype=torch.uint8)),
            r"floats, got torch.uint8; .*float\(\)",
        ),
        (lambda: ColorJitter(contrast=-1), "contrast must be a finite number of 0 or more, got -1"),
        (lambda: ColorJitter(hue=0.6), r"hue must be .* in \[0, 0.5\], got 0.6"),
        (lambda: ColorJitter(p=2), r"p must be in \[0, 1\], got 2"),
        (lambda: ColorJitter()(torch.zeros(4, 5)), "ColorJitter.* needs images"),
        (lambda: ColorJitter()(torch.zeros(1, 3, 2, 2, dtype=torch.int64)), "ColorJitter.* needs floats"),
        (lambda: RandomGrayscale(-0.1), r"p must be in \[0, 1\], got -0.1"),
        (lambda: RandomGrayscale()(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)), "RandomGrayscale.* needs floats"),
        (lambda: ColumnCorruption(1.2), r"rate must be in \[0, 1\], got 1.2"),
        (
            lambda: ColumnCorruption()(images()),
            r"flat rows of shape \(b, d\), got \(6, 3, 12, 12\); .*RandomResizedCrop",
        ),
        (lambda: FeatureDropout(1), r"p must be in \[0, 1\), got 1"),
        (lambda: Cutout(0), "size must be 1 or more, got 0"),
        (lambda: Cutout()(torch.zeros(4, 5)), "Cutout.* needs images"),
        (lambda: RandAugment(magnitude=12), r"magnitude must be in \[2, 11\], got 12"),
        (lambda: RandAugment(n_ops=-1), "n_ops must be 0 or more, got -1"),
        (lambda: RandAugment(p=1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: RandAugment()(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)), "RandAugment.* needs floats"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- resolve ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (4, 1), (28, 3), (32, 4), (224, 28)])
def test_standard_shifts_by_an_eighth_of_the_side(side, padding):
    assert standard((1, side, side)) == Compose([RandomCrop(padding), HorizontalFlip()])
    assert standard((3, side, 2 * side)) == Compose([RandomCrop(padding), HorizontalFlip()])


@pytest.mark.parametrize(
    ("given", "shape", "expected"),
    [
        (None, (3, 32, 32), None),
        ("standard", (1, 8, 8), standard((1, 8, 8))),
        ("auto", (3, 32, 32), standard((3, 32, 32))),
        ("auto", (3, 64, 48), standard((3, 64, 48))),
        ("auto", (3, 28, 28), None),
        ("auto", (1, 28, 28), None),
        ("auto", (1, 64, 64), None),
        ("auto", (64,), None),
        ("auto", (3, 50), None),
        (GaussianNoise(0.1), (5,), GaussianNoise(0.1)),
        ("strong", (64,), ColumnCorruption(0.4)),
        ("strong", (3, 50), None),
        ("strong", (2, 3, 4, 5), None),
        ("strong", (), None),
        ("strong", (3, 32, 32), Compose([RandomResizedCrop(), HorizontalFlip(), ColorJitter(), RandomGrayscale()])),
        ("strong", (3, 64, 28), Compose([RandomResizedCrop((0.6, 1)), ColorJitter(), RandomGrayscale()])),
        ("strong", (1, 64, 64), Compose([RandomResizedCrop((0.6, 1)), ColorJitter()])),
        ("strong", (1, 8, 8), Compose([RandomResizedCrop((0.6, 1)), ColorJitter()])),
    ],
)
def test_resolve(given, shape, expected):
    assert resolve(given, shape) == expected


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


class Drawn(nn.Module):
    def forward(self, x, generator=None):
        return x + torch.rand(x.shape, generator=generator)


def doubled(x):
    return 2 * x


def times(x, factor):
    return factor * x


def test_a_callable_that_takes_a_generator_is_returned_as_it_is():
    def keyword_only(x, *, generator):
        return x

    for f in (keyword_only, Drawn(), RandomCrop(2), functools.partial(GaussianNoise.__call__, GaussianNoise(1))):
        assert resolve(f, (3, 8, 8)) is f


@pytest.mark.parametrize("f", [doubled, Doubled(), functools.partial(times, factor=2), lambda *x, **kw: 2 * x[0]])
def test_a_callable_of_the_batch_alone_is_wrapped(f):
    x = images()
    wrapped = resolve(f, (3, 12, 12))
    assert torch.equal(wrapped(x, generator=seeded()), 2 * x)
    assert torch.equal(wrapped(x, seeded()), 2 * x)
    assert resolve(wrapped, (3, 12, 12)) is wrapped


def test_a_wrapped_function_is_pickled():
    wrapped = resolve(doubled, (3,))
    assert pickle.loads(pickle.dumps(wrapped)) == wrapped
    assert torch.equal(resolve(torch.neg, (3,))(torch.ones(2, 3)), -torch.ones(2, 3))  # written in C


@pytest.mark.parametrize(
    ("given", "shape", "error", "message"),
    [
        (
            "standart",
            (3, 8, 8),
            ValueError,
            "'standard', 'strong', None or a callable, got 'standart'. Did you mean 'standa",
        ),
        ("mixup", (3, 8, 8), ValueError, r"got 'mixup'\.$"),
        (
            "standard",
            (20,),
            ValueError,
            r"needs images, .* got rows of shape \(20,\); set augment=None, or a callable",
        ),
        (3, (20,), TypeError, "must be callable .* got 3"),
        (times, (20,), TypeError, r"with \(x, factor\); bind its other arguments with functools.partial"),
    ],
)
def test_what_cannot_be_resolved(given, shape, error, message):
    with pytest.raises(error, match=message):
        resolve(given, shape)


# --- check ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [*STEPS, resolve(doubled, (3, 12, 12))], ids=lambda f: type(f).__name__)
def test_check_passes_and_leaves_the_generator(f):
    x, state = images(4), torch.get_rng_state()
    before = x.clone()
    assert check(f, x) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)


def test_check_lets_missing_values_through():
    check(GaussianNoise(1), torch.tensor([[float("nan"), 1.0], [2.0, 3.0]]))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x[:, :2], r"keep the shape \(4, 3\), got \(4, 2\)"),
        (lambda x: x[0], r"keep the shape \(4, 3\), got \(3,\)"),
        (lambda x: x.double(), "keep the dtype torch.float32, got torch.float64"),
        (lambda x: x.to("meta"), "keep the device cpu, got meta"),
        (lambda x: x / 0, "must not return NaN for rows without NaN"),
        (lambda x: x.add_(1), "changed its input in place"),
        (lambda x: x.numpy(), "must return a tensor, got ndarray"),
        (lambda x: (x, x), "must return a tensor, got tuple"),
    ],
)
def test_check_names_what_is_wrong(f, message):
    with pytest.raises(ValueError, match=message):
        check(resolve(f, (3,)), torch.zeros(4, 3))


def test_padding_matches_torch():
    x = images()
    zero = torch.zeros(len(x), dtype=torch.long)
    assert torch.equal(image_augment.crop(x, zero, zero, 2), F.pad(x, (2, 0, 2, 0))[:, :, :12, :12])
