"""Augmentations against a loop over images, their draws, and what `resolve` and `check` accept."""

import functools
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from robustlabels import augment
from robustlabels.augment import Compose, GaussianNoise, HorizontalFlip, RandomCrop, check, resolve, standard

STEPS = [RandomCrop(3), HorizontalFlip(), GaussianNoise(0.5), standard((3, 12, 12))]


def images(b=6, c=3, h=12, w=12, channels_last=False, seed=0):
    x = torch.rand(b, c, h, w, generator=torch.Generator().manual_seed(seed))
    return x.to(memory_format=torch.channels_last) if channels_last else x


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# -- One image at a time


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
    torch.testing.assert_close(augment._crop(x, top, left, padding, fill), expected, rtol=0, atol=0)


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
    torch.testing.assert_close(augment._flip(x, mask), expected, rtol=0, atol=0)


def test_no_shift_in_the_middle():
    x = images()
    middle = torch.full((len(x),), 4)
    assert torch.equal(augment._crop(x, middle, middle, padding=4), x)
    assert torch.equal(RandomCrop(0)(x), x)
    assert torch.equal(HorizontalFlip(0)(x), x)
    assert torch.equal(HorizontalFlip(1)(x), x.flip(3))
    assert torch.equal(GaussianNoise(0)(x), x)


def test_crop_takes_bytes():
    x = (images() * 255).to(torch.uint8)
    out = RandomCrop(2)(x, seeded())
    assert out.dtype == torch.uint8
    assert torch.equal(out.float(), RandomCrop(2)(x.float(), seeded()))


# -- Draws


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


# -- What stays


@pytest.mark.parametrize("f", STEPS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("c", [1, 3])
def test_input_shape_dtype_and_memory_format_stay(f, channels_last, c):
    x = images(c=c, channels_last=channels_last)
    before, contiguous = x.clone(), x.contiguous()
    out = f(x, seeded())
    assert torch.equal(x, before)
    assert out.data_ptr() != x.data_ptr()
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert torch.equal(out, f(contiguous, seeded()))  # the values know nothing of the format


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(dtype):
    for f in STEPS:
        assert f(images().to(dtype)).dtype == dtype


@pytest.mark.gpu
def test_a_generator_on_the_cpu_gives_the_same_views_on_cuda():
    for f in STEPS:
        assert torch.equal(f(images().cuda(), seeded()).cpu(), f(images(), seeded()))


# -- As objects


def test_repr_equality_and_pickle():
    assert repr(standard((3, 32, 32))) == "Compose(steps=(RandomCrop(padding=4, fill=0), HorizontalFlip(p=0.5)))"
    for f in STEPS:
        assert pickle.loads(pickle.dumps(f)) == f
        assert eval(repr(f), vars(augment)) == f
        assert hash(f) == hash(pickle.loads(pickle.dumps(f)))
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
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- Resolve


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
        ("standart", (3, 8, 8), ValueError, "'auto', 'standard', None or a callable, got 'standart'. Did you mean 'st"),
        ("mixup", (3, 8, 8), ValueError, r"got 'mixup'\.$"),
        (
            "standard",
            (20,),
            ValueError,
            r"needs images, .* got rows of shape \(20,\); take augment=None, or a callable",
        ),
        (3, (20,), TypeError, "must be callable .* got 3"),
        (times, (20,), TypeError, r"with \(x, factor\); bind its other arguments with functools.partial"),
    ],
)
def test_what_cannot_be_resolved(given, shape, error, message):
    with pytest.raises(error, match=message):
        resolve(given, shape)


# -- Check


@pytest.mark.parametrize("f", [*STEPS, resolve(doubled, (3, 12, 12))], ids=str)
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
        (lambda x: x / 0, "must not return NaN where there was none"),
        (lambda x: x.add_(1), "changed in place"),
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
    assert torch.equal(augment._crop(x, zero, zero, 2), F.pad(x, (2, 0, 2, 0))[:, :, :12, :12])
