"""SANM: the spec's oracles, the authors' nine steps image by image, section 7 by hand, every wrapped classifier, every
shape."""

import copy
import math
import pickle
from dataclasses import fields

import numpy as np
import pytest
import sklearn
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

import robustlabels
from robustlabels import (
    CoTeachingClassifier,
    CrossEntropyClassifier,
    DivideMixClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    GCEClassifier,
    InfluentialRankClassifier,
    MOITClassifier,
    MOITPlusClassifier,
    PEMMClassifier,
    SANMClassifier,
    SCEClassifier,
    load,
)
from robustlabels.augment import GaussianNoise
from robustlabels.maths.functional import clean_probability, fit_two_component_mixture, unit_scaled
from robustlabels.methods import dividemix
from robustlabels.methods.baselines import CoTeaching
from robustlabels.methods.elr import ELRObjective, TargetMemory
from robustlabels.methods.moit import MOITObjective, MOITSettings
from robustlabels.methods.sanm import MaskedObjective, MaskSettings
from robustlabels.methods.sanm_masking import (
    MILD,
    STRONG,
    activation,
    adversarial_mask,
    column_masks,
    extremes,
    make_decoder,
    modulated,
    patch_mask,
    patch_sides,
    reconstruction_loss,
)
from robustlabels.modules import Twin, watching
from robustlabels.training.objective import Batch, CrossEntropy, Objective


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def one(value):
    return torch.tensor([value], dtype=torch.float64)


# --- the operator's oracles -------------------------------------------------------------------------------------------


def test_oracle_1_ratio_and_shape():
    x, look, y = torch.zeros(1, 1, 32, 32), torch.rand(1, 2, 4, 4), torch.eye(10)[:1]
    out = adversarial_mask(x, look, y, torch.tensor([0.5]), mask_ratio=(0.05, 0.05), quality_weight=0.03)
    assert out.ratio.item() == pytest.approx(0.065)
    expected = {
        0.065: {0.8: (5, 6), 1.0: (6, 6), 1.25: (6, 5)},
        0.02: {0.8: (3, 4), 1.0: (3, 3), 1.25: (4, 3)},
        0.10: {0.8: (6, 8), 1.0: (7, 7), 1.25: (8, 6)},
    }
    for rho, shapes in expected.items():
        for aspect, shape in shapes.items():
            assert tuple(s.item() for s in patch_sides(one(0.5 * rho), one(aspect), (32, 32))) == shape


@pytest.mark.parametrize(("k", "other"), [(2, 0.065), (3, 0.0325), (10, 0.00722222), (100, 0.000656566)])
def test_oracle_2_modulated_label(k, other):
    target = modulated(torch.eye(k, dtype=torch.float64)[1:2], one(0.065))[0]
    assert target[1].item() == pytest.approx(0.935)
    assert target[0].item() == pytest.approx(other, abs=1e-8)
    assert target.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("cell", "most", "least", "ties"),
    [
        ((0, 0), (0, 0), (0, 12), 16),
        ((1, 2), (11, 19), (0, 0), 4),
        ((2, 1), (19, 11), (0, 0), 4),
        ((3, 3), (28, 28), (0, 0), 16),
    ],
)
def test_oracle_3_position_of_one_hot_cell(cell, most, least, ties):
    look = torch.zeros(1, 1, 4, 4)
    look[(0, 0, *cell)] = 3.0
    levels = activation(look, (32, 32))
    assert (levels == 255).sum() == ties
    places = [divmod(place.item(), 32) for place in extremes(levels)]
    assert places == [most, least]


def test_oracle_3_position_of_a_ramp():
    levels = activation(torch.arange(16.0).view(1, 1, 4, 4), (32, 32))
    assert [divmod(place.item(), 32) for place in extremes(levels)] == [(28, 28), (0, 0)]


def test_oracle_4_corner_and_center():
    six = torch.tensor([6])

    def lines(place, anchor):
        mask = patch_mask(torch.tensor([place[0] * 32 + place[1]]), [six, six], (32, 32), anchor)[0, 0]
        return [(side.nonzero().min().item(), side.nonzero().max().item()) for side in (mask.any(1), mask.any(0))]

    assert lines((31, 31), "topleft") == [(26, 31), (26, 31)]
    assert lines((11, 19), "center") == [(8, 13), (16, 21)]
    assert lines((11, 19), "topleft") == [(11, 16), (19, 24)]
    assert lines((1, 30), "center") == [(0, 5), (26, 31)]


def test_oracle_5_only_the_patch_differs():
    x = 2 + torch.rand(16, 3, 32, 20, generator=seeded())  # no fill is above 1
    before = x.clone()
    out = adversarial_mask(x, torch.rand(16, 8, 4, 3), torch.eye(4).repeat(4, 1), torch.rand(16), generator=seeded())
    assert torch.equal(x, before)
    for view, mask in zip(out.views, out.masks, strict=True):
        assert torch.equal(view != x, mask.expand_as(x))
        rows, columns = mask[:, 0].any(2).sum(1), mask[:, 0].any(1).sum(1)
        assert torch.equal(mask.flatten(1).sum(1), rows * columns)
        assert all(len(view[i, c][mask[i, 0]].unique()) == 1 for i in range(16) for c in range(3))
    assert torch.equal(*[mask.flatten(1).sum(1) for mask in out.masks])


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_oracle_6_better_quality_masks_less(w, other, seed):
    low, high = sorted([w, other])
    x, look = torch.rand(1, 3, 32, 32), torch.rand(1, 2, 4, 4)
    worse, better = (
        adversarial_mask(
            x, look, torch.eye(3)[:1], one(q), generator=seeded(seed), mask_ratio=(0.1, 0.3), quality_weight=0.4
        )
        for q in (low, high)
    )
    assert better.ratio <= worse.ratio
    assert better.masks[0].sum() <= worse.masks[0].sum()
    sure = adversarial_mask(x, look, torch.eye(3)[:1], one(1.0), generator=seeded(seed), mask_ratio=(0.1, 0.1))
    assert sure.ratio.item() == pytest.approx(0.1)


def test_oracle_7_cross_entropy_with_a_modulated_target():
    z = torch.tensor([[2.0, 0, 0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    target = modulated(y, one(0.06))
    np.testing.assert_allclose(target[0], [0.94, 0.03, 0.03])
    loss = F.cross_entropy(z, target)
    loss.backward()
    assert loss.item() == pytest.approx(0.3595447662, abs=1e-10)
    assert loss.item() - F.cross_entropy(z, y).item() == pytest.approx(0.12)
    np.testing.assert_allclose(z.grad[0], [-0.153014, 0.076507, 0.076507], atol=1e-6)


def test_oracle_8_reconstruction_loss():
    x = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    assert reconstruction_loss(torch.zeros(2, 2, 2), x).item() == 7.0
    assert reconstruction_loss(torch.cat([x, x + 1]), x).item() == 1.0


@pytest.mark.parametrize(
    ("features", "image", "sizes", "weights"),
    [((512, 4, 4), (3, 32, 32), (10, 15, 32), 3_283_331), ((2048, 7, 7), (3, 224, 224), (25, 75, 224), 19_007_363)],
)
def test_oracle_9_published_decoders(features, image, sizes, weights):
    decoder = make_decoder(features, image)
    assert sum(p.numel() for p in decoder.parameters()) == weights
    x = torch.randn(1, *features, generator=seeded())
    reached = []
    for layer in decoder:
        x = layer(x)
        reached.append(x.shape[-1])
    assert tuple(reached) == sizes
    assert x.shape[1:] == image


def test_oracle_9_the_decoder_is_affine():
    decoder = make_decoder((32, 3, 5), (2, 11, 30))
    a, b = torch.randn(2, 4, 32, 3, 5, generator=seeded())
    torch.testing.assert_close(
        decoder(a) + decoder(b) - decoder(a + b), decoder(torch.zeros_like(a)), atol=1e-5, rtol=0
    )


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 70)), min_size=1, max_size=2), st.integers(1, 40))
def test_decoders_of_any_size(sides, n_features):
    places, size = zip(*sides, strict=True)
    decoder = make_decoder((n_features, *places), (3, *size))
    assert decoder(torch.zeros(2, n_features, *places)).shape == (2, 3, *size)
    assert make_decoder((n_features,), (3, *size))(torch.zeros(2, n_features)).shape == (2, 3, *size)


def test_oracle_10_quality_from_losses():
    losses = torch.tensor([0.1, 0.2, 0.15, 0.12, 2, 2.2, 1.9, 0.18, 0.3, 1.0])
    assert unit_scaled(losses).max() == 1
    mixture = fit_two_component_mixture(unit_scaled(losses))
    assert mixture.means == pytest.approx((0.0918, 0.9206), abs=1e-4)
    assert mixture.weights == pytest.approx((0.7, 0.3), abs=1e-4)
    np.testing.assert_allclose(clean_probability(losses), [1, 1, 1, 1, 0, 0, 0, 1, 1, 1], atol=5e-5)


def test_oracle_11_penalties_of_the_host():
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    assert dividemix.confidence_penalty(p.log()).item() == pytest.approx(-0.8018185525, abs=1e-9)
    prior = torch.full((3,), 1 / 3, dtype=torch.float64)
    penalty = dividemix.semi_supervised_losses(p.log(), p, torch.ones(1, dtype=torch.bool), prior)[2]
    assert penalty.item() == pytest.approx(0.3242870278, abs=1e-9)


def test_one_class_has_nobody_to_give_mass_to():
    for keep in True, False:
        with pytest.raises(ValueError, match="2 columns or more, got 1"):
            modulated(torch.ones(2, 1), torch.tensor([0.1, 0.1]), keep_top_class=keep)


def test_oracle_12_the_leading_class_stays():
    t = torch.tensor([[0.55, 0.45]], dtype=torch.float64)
    np.testing.assert_allclose(modulated(t, one(0.1), keep_top_class=False), [[0.45, 0.55]])
    np.testing.assert_allclose(modulated(t, one(0.1)), [[0.5, 0.5]])


@given(st.integers(2, 12), st.integers(0, 2**31), st.floats(0, 0.9))
def test_modulated_targets_are_distributions_with_the_same_leader(k, seed, rho):
    t = torch.rand(5, k, generator=seeded(seed), dtype=torch.float64).softmax(1)
    out = modulated(t, torch.full((5,), rho, dtype=torch.float64))
    torch.testing.assert_close(out.sum(1), torch.ones(5, dtype=torch.float64))
    assert out.min() >= 0
    rows = torch.arange(5)
    assert (out[rows, t.argmax(1)] >= out.max(1).values - 1e-12).all()


def test_oracle_13_the_operator_is_outside_autograd():
    x = torch.rand(4, 3, 16, 16, requires_grad=True)
    look, t = torch.rand(4, 2, 4, 4, requires_grad=True), torch.eye(4, requires_grad=True)
    state = torch.get_rng_state()
    outs = [adversarial_mask(x, look, t, torch.ones(4), generator=seeded(3)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(outs[0].views[0], outs[1].views[0])
    assert not any(v.requires_grad for v in (*outs[0].views, outs[0].target, outs[0].ratio))


# --- the nine steps, one image at a time ------------------------------------------------------------------------------


def stretched(a: np.ndarray, m: int) -> np.ndarray:
    """The rows of an array, linearly interpolated to m of them between half-pixel centers."""
    n = len(a)
    place = ((np.arange(m) + 0.5) * (n / m) - 0.5).clip(0, n - 1)
    low = place.astype(int)
    share = (place - low).astype(np.float32)[:, None]
    return a[low] * (1 - share) + a[np.minimum(low + 1, n - 1)] * share


def nine_steps(
    x: torch.Tensor,
    look: torch.Tensor,
    quality: torch.Tensor,
    target: torch.Tensor,
    u: torch.Tensor,
    ratios: tuple[float, float, float],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The authors' function on a batch, by a loop over images; ``u`` (b, 2 + 2c) is their stream of random numbers."""
    lo, hi, gamma = ratios
    x_max, x_min, targets = x.clone(), x.clone(), target.clone()
    b, c, h, w = x.shape
    for i in range(b):
        draws = iter(u[i].tolist())
        energy = look[i].square().sum(0)  # step 1
        energy = energy / energy.norm()
        a = stretched(stretched(energy.numpy(), h).T, w).T  # step 2
        a = (255 * ((a - a.min()) / (a.max() - a.min() + 1e-12))).astype(np.uint8)  # step 3
        places = [np.unravel_index(a.argmax(), a.shape), np.unravel_index(a.argmin(), a.shape)]  # step 4
        rho = lo + (hi - lo) * next(draws) + gamma * (1 - quality[i].item())  # step 5
        k = target[i].argmax().item()  # step 6
        for j in range(target.shape[1]):
            targets[i, j] += -rho if j == k else rho / (target.shape[1] - 1)
        area, aspect = 0.5 * rho * h * w, 0.8 + (1.25 - 0.8) * next(draws)  # step 7
        hh, ww = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        hh, ww = min(max(hh, 1), h - 1), min(max(ww, 1), w - 1)  # the code tries again instead; never needed at 32x32
        for view, (row, column) in zip((x_max, x_min), places, strict=True):
            row, column = min(row, h - hh), min(column, w - ww)  # step 8
            for channel in range(c):  # step 9
                view[i, channel, row : row + hh, column : column + ww] = next(draws)
    return x_max, x_min, targets


@given(
    st.sampled_from([(3, 32, 32), (1, 28, 28), (4, 9, 23), (3, 64, 16)]),
    st.sampled_from([(8, 4, 4), (16, 10, 10), (3, 2, 7)]),
    st.sampled_from([(0.02, 0.07, 0.03), (0.1, 0.3, 0.4)]),
    st.sampled_from([2, 3, 10]),
    st.integers(0, 2**31),
)
def test_parity_mode_is_the_nine_steps_exactly(image, features, ratios, k, seed):
    b, generator = 6, seeded(seed)
    x, look = torch.randn(b, *image, generator=generator), torch.randn(b, *features, generator=generator).relu()
    quality = torch.rand(b, generator=generator, dtype=torch.float64)
    target = (3 * torch.randn(b, k, generator=generator)).softmax(1)
    lo, hi, gamma = ratios
    u = torch.rand(b, 2 + 2 * image[0], generator=seeded(seed), dtype=torch.float64)
    expected = nine_steps(x, look, quality, target, u, ratios)
    out = adversarial_mask(
        x,
        look,
        target,
        quality,
        generator=seeded(seed),
        mask_ratio=(lo, hi),
        quality_weight=gamma,
        mask_anchor="topleft",
        keep_top_class=False,
    )
    for got, slow in zip((*out.views, out.target), expected, strict=True):
        assert torch.equal(got, slow)


def test_upsampling_is_bilinear_between_half_pixel_centers():
    look = torch.rand(1, 1, 3, 5, generator=seeded()).sqrt()
    levels = activation(look, (12, 10))[0]
    energy = look[0, 0].double().square().numpy()

    def at(position, n):
        position = min(max(position, 0), n - 1)
        lower = min(int(position), n - 2)
        return lower, position - lower

    a = np.empty((12, 10))
    for i in range(12):
        for j in range(10):
            (r, dr), (c, dc) = at((i + 0.5) * 3 / 12 - 0.5, 3), at((j + 0.5) * 5 / 10 - 0.5, 5)
            a[i, j] = (1 - dr) * ((1 - dc) * energy[r, c] + dc * energy[r, c + 1]) + dr * (
                (1 - dc) * energy[r + 1, c] + dc * energy[r + 1, c + 1]
            )
    np.testing.assert_allclose(levels, 255 * (a - a.min()) / (a.max() - a.min()), atol=1.001)
    theirs = F.interpolate(look.square(), (12, 10), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(theirs, a, atol=1e-6)


def test_mean_masked_area_of_the_published_ratios():
    b = 4000
    x, look, y = torch.zeros(b, 1, 32, 32), torch.rand(b, 1, 4, 4), torch.eye(10)[[0] * b]
    for w, share in ((1.0, 0.0223), (0.0, 0.0374)):
        out = adversarial_mask(x, look, y, torch.full((b,), w), generator=seeded())
        assert out.masks[0].float().mean().item() == pytest.approx(share, abs=5e-4)


# --- other shapes -----------------------------------------------------------------------------------------------------


def test_sequences_lose_one_span():
    x, look = torch.rand(3, 2, 40) + 2, torch.zeros(3, 5, 10)
    look[torch.arange(3), :, torch.tensor([0, 4, 9])] = 1.0
    out = adversarial_mask(x, look, torch.eye(3), torch.ones(3), mask_ratio=(0.5, 0.5), mask_aspect=(1, 1))
    spans = [mask[0].nonzero()[:, 0].tolist() for mask in out.masks[0]]
    assert [len(span) for span in spans] == [10, 10, 10]  # half of .5 of 40
    assert spans[0] == list(range(10))
    assert spans[1][0] <= 17 < spans[1][-1]  # cell 4 covers 16..19
    assert spans[2] == list(range(30, 40))
    assert torch.equal(out.views[0] != x, out.masks[0].expand_as(x))


def test_tokens_become_padding():
    x = torch.randint(1, 100, (4, 30), generator=seeded())
    out = adversarial_mask(
        x, torch.rand(4, 8, 15), torch.eye(4), torch.zeros(4), mask_ratio=(0.2, 0.2), quality_weight=0.2
    )
    for view, mask in zip(out.views, out.masks, strict=True):
        assert view.dtype == torch.int64
        assert torch.equal(view, torch.where(mask[:, 0], 0, x))


@given(st.integers(1, 9), st.integers(2, 12), st.floats(0.01, 0.95), st.integers(0, 99))
def test_tables_lose_the_columns_that_count_most_and_least(b, d, rho, seed):
    contribution = torch.randn(b, d, generator=seeded(seed)).round(decimals=1)
    most, least = column_masks(contribution, torch.full((b,), 0.5 * rho))
    count = min(max(round(0.5 * rho * d), 1), d - 1)
    for i in range(b):
        size = contribution[i].abs().tolist()
        assert most[i].nonzero()[:, 0].tolist() == sorted(sorted(range(d), key=lambda j: -size[j])[:count])
        assert least[i].nonzero()[:, 0].tolist() == sorted(sorted(range(d), key=lambda j: size[j])[:count])


def test_tables_are_filled_from_one_other_row():
    x = torch.arange(40.0).view(5, 8)
    out = adversarial_mask(x, torch.rand(5, 8), torch.eye(5), torch.zeros(5), mask_ratio=(0.6, 0.6), quality_weight=0.2)
    for view, mask in zip(out.views, out.masks, strict=True):
        for i in range(5):
            donors = set((view[i][mask[i]] // 8).int().tolist())
            assert len(donors) == 1
            assert donors != {i}
            assert torch.equal(view[i][~mask[i]], x[i][~mask[i]])
    column = adversarial_mask(x[:, :1], torch.rand(5, 1), torch.eye(5), torch.zeros(5))
    assert torch.equal(column.views[0], x[:, :1])  # one column: nothing would be left


@pytest.mark.parametrize(("fill", "expected"), [("zero", 0.0), ("mean", 5.0), ("uniform", 3.0)])
def test_fills(fill, expected):
    x = torch.full((4, 2, 8, 8), 5.0)
    out = adversarial_mask(
        x, torch.rand(4, 1, 4, 4), torch.eye(4), torch.zeros(4), mask_fill=fill, fill_range=(3 * torch.ones(2), 3.0)
    )
    patch = out.views[0][out.masks[0].expand_as(x)]
    torch.testing.assert_close(patch, torch.full_like(patch, expected))


@pytest.mark.parametrize("value", [0.0, 5.0, float("nan"), float("inf")])
def test_dead_and_diverged_features_mask_the_corner(value):
    out = adversarial_mask(torch.ones(2, 1, 8, 8), torch.full((2, 4, 2, 2), value), torch.eye(2), torch.zeros(2))
    assert all(mask[:, 0, 0, 0].all() for mask in out.masks)
    assert all(view.isfinite().all() for view in out.views)


def test_what_cannot_be_masked_is_named():
    x, look, y, w = torch.rand(2, 3, 8, 8), torch.rand(2, 4, 2, 2), torch.eye(2), torch.ones(2)
    for name, value in {"n_masks": 3, "mask_anchor": "left", "mask_fill": "noise"}.items():
        with pytest.raises(ValueError, match=f"{name} must be one of .* got {value!r}"):
            adversarial_mask(x, look, y, w, **{name: value})
    for shape in (2, 8, 8), (2, 16):
        with pytest.raises(ValueError, match=r"feature map of shape \(2, 4, 2, 2\) does not tell where"):
            adversarial_mask(torch.rand(shape), look, y, w)
    with pytest.raises(ValueError, match="does not tell where"):
        adversarial_mask(x, torch.rand(2, 5), y, w)


def test_a_column_of_qualities_is_as_good():
    x, look, y, w = torch.rand(2, 3, 8, 8), torch.rand(2, 4, 2, 2), torch.eye(2), torch.tensor([0.2, 0.9])
    one, other = (adversarial_mask(x, look, y, v, generator=seeded(0)) for v in (w, w[:, None]))
    assert torch.equal(one.ratio, other.ratio)
    assert all(torch.equal(a, b) for a, b in zip(one.views, other.views, strict=True))


def test_one_mask_and_no_modulation():
    out = adversarial_mask(
        torch.ones(2, 1, 8, 8), torch.rand(2, 4, 2, 2), torch.eye(2), torch.zeros(2), n_masks=1, label_modulation=False
    )
    assert len(out.views) == len(out.masks) == 1
    assert torch.equal(out.target, torch.eye(2))


# --- the objective ----------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A convolution, a global mean, a head; no BatchNorm, so that rows do not mix."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))


def batch_of(n=12, seed=0, pass_number=0):
    y = F.one_hot(torch.arange(n) % 3, 3).float()
    weight = torch.rand(n, generator=seeded(seed)) + 0.5
    return Batch(torch.randn(n, 2, 8, 8, generator=seeded(seed)), y, torch.arange(n), weight, pass_number)


def masked(inner, n=12, **params):
    names = {field.name for field in fields(MaskSettings)}
    settings = MaskSettings(**{"mask_ratio": (0.2, 0.4), **{k: v for k, v in params.items() if k in names}})
    others = {k: v for k, v in params.items() if k not in names}
    return MaskedObjective(inner, n, settings, **{"feature_layer": "conv", **others})


def test_section_7_by_hand():
    net, batch = Net(), batch_of()
    decoder = make_decoder((4, 4, 4), (2, 8, 8))
    mean, std = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 3.0])
    objective = masked(CrossEntropy(), decoders=[decoder], reconstruction_weight=0.3, mean=mean, std=std)
    objective.label_quality[:] = torch.rand(12, generator=seeded(1))
    torch.manual_seed(7)
    loss, logits = objective(net, batch)
    torch.manual_seed(7)
    out = adversarial_mask(
        batch.x,
        net.conv(batch.x).detach(),
        batch.y,
        objective.label_quality[0],
        mask_ratio=(0.2, 0.4),
        fill_range=(mean, mean + std),
    )

    def row_loss(x, y):
        return (batch.weight * -(y * net(x).log_softmax(1)).sum(1)).mean()

    expected = (row_loss(batch.x, batch.y) + sum(row_loss(view, out.target) for view in out.views)) / 3
    z = (batch.x - mean[:, None, None]) / std[:, None, None]
    expected = expected + 0.3 * sum(((decoder(net.conv(view)) - z) ** 2).mean() for view in out.views)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits, net(batch.x))
    torch.testing.assert_close(objective.ratio, out.ratio.float())
    parameters = [*net.parameters(), *decoder.parameters()]
    for one_, other in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(one_, other)


def test_the_views_of_a_host_are_what_is_masked():
    """Augmented once; the mask, the map and the reconstruction are all of that view."""
    net, batch = Net(), batch_of()
    objective = masked(CrossEntropy(augment=GaussianNoise(1.0)), decoders=[make_decoder((4, 4, 4), (2, 8, 8))])
    noted = []
    objective._note = lambda x, views, member: noted.append(x) or MaskedObjective._note(objective, x, views, member)
    with watching(net, "conv") as calls:
        objective(net, batch)
    assert len(calls) == 2  # the host's own, and one for both masked views
    assert calls[0].x is noted[0]
    assert not torch.equal(noted[0], batch.x)
    assert calls[1].x.shape == (24, 2, 8, 8)
    assert (calls[1].x[:12] == noted[0]).float().mean() > 0.5


def hosts():
    """Objectives, how many forwards each makes, and how many SANM may add to twice that."""
    memory = lambda: TargetMemory(12, 3, 0.7)  # noqa: E731
    twin = Twin(Net(), Net(1))
    return {
        "ce": (CrossEntropy(), Net(), 2),
        "elr": (ELRObjective(memory(), lam=3.0, clamp_eps=1e-4), Net(), 2),
        "moit": (MOITObjective(12, 3, 4, MOITSettings(projection_dim=3, n_neighbors=3)), Net(), 6),
        "elr+": (
            robustlabels.methods.elr.ELRPlusObjective(twin, (memory(), memory())),
            twin,
            3,
        ),
        "co-teaching": (CoTeaching(0.2, start=0, length=1, exponent=1.0), twin, 4),
        "dividemix": (dividemix.DivideMixObjective(12, 3, augment=GaussianNoise(0.1)), twin, 4),
    }


@pytest.mark.parametrize("name", list(hosts()))
def test_no_forward_too_many(name):
    """What a host asks anyway shows the map: MOIT's third pass, DivideMix's guesses. Only ELR+ mixes every input."""
    inner, net, expected = hosts()[name]
    objective = masked(inner, n_members=2 if isinstance(net, Twin) else 1)
    with watching(net, "conv") as calls:
        loss, _ = objective(net, batch_of(pass_number=0))
    assert len(calls) == expected
    assert loss.requires_grad


@pytest.mark.parametrize("name", list(hosts()))
def test_masked_views_leave_the_memory_of_the_host_alone(name):
    inner, net, _ = hosts()[name]
    plain = copy.deepcopy(inner)
    torch.manual_seed(0)
    plain(net, batch_of())
    torch.manual_seed(0)
    masked(inner, n_members=2 if isinstance(net, Twin) else 1)(net, batch_of())
    for (key, mine), theirs in zip(inner.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(mine, theirs), key
    assert all(part.training for part in inner.modules())
    assert "view" not in vars(inner)


def test_co_teaching_pools_the_views_of_the_rows_its_peer_chose():
    twin, batch = Twin(Net(), Net(1)), batch_of()
    inner = CoTeaching(0.5, start=0, length=1, exponent=1.0)
    inner.on_epoch_begin(1, twin, lambda: iter(()))
    objective = masked(inner, n_members=2)
    objective.label_quality[:] = torch.rand(2, 12, generator=seeded(1))
    torch.manual_seed(3)
    loss, _ = objective(twin, batch)
    torch.manual_seed(3)
    losses = [-(batch.y * twin(batch.x, member=m).log_softmax(1)).sum(1) for m in (0, 1)]
    expected = 0.0
    for m in (0, 1):
        chosen = losses[1 - m].topk(6, largest=False).indices
        out = adversarial_mask(
            batch.x, twin[m].conv(batch.x), batch.y, objective.label_quality[1 - m], mask_ratio=(0.2, 0.4)
        )
        parts = [losses[m]] + [-(out.target * twin(view, member=m).log_softmax(1)).sum(1) for view in out.views]
        expected = expected + sum(part[chosen].mean() for part in parts) / 3
    torch.testing.assert_close(loss, expected)


def test_before_the_warm_up_is_over_there_is_the_host_alone():
    for name in ("ce", "co-teaching"):
        inner, net, _ = hosts()[name]
        objective = masked(inner, n_members=2 if isinstance(net, Twin) else 1, warmup=2)
        objective.on_epoch_begin(1, net, lambda: iter([batch_of()]))
        torch.testing.assert_close(objective(net, batch_of())[0], inner(net, batch_of())[0])
        assert (objective.ratio == -1).all()
        objective.on_epoch_begin(2, net, lambda: iter([batch_of()]))
        objective(net, batch_of())
        assert (objective.ratio >= 0).all()
        objective.eval()
        torch.testing.assert_close(objective(net, batch_of())[0], inner.eval()(net, batch_of())[0])


def test_quality_is_a_mixture_on_the_losses_of_the_peer():
    n = 60
    x, y = torch.randn(n, 2, 8, 8, generator=seeded()), F.one_hot(torch.arange(n) % 3, 3).float()
    twin = Twin(Net(), Net(1))
    objective = masked(CoTeaching(0.2, start=0, length=1, exponent=1.0), n, n_members=2, n_average=2)
    history = []
    for epoch in range(3):
        with torch.no_grad():
            for p in twin.parameters():
                p.add_(0.3 * torch.randn(p.shape, generator=seeded(epoch)))
        batches = [Batch(x[i], y[i], i, torch.ones(len(i))) for i in torch.arange(n).split(25)]
        objective.on_epoch_begin(epoch, twin, lambda batches=batches: iter(batches))
        losses = [F.cross_entropy(net(x), y, reduction="none").detach() for net in twin]
        history.append([(loss - loss.min()) / (loss.max() - loss.min()) for loss in losses])
        for m in (0, 1):
            average = torch.stack([past[1 - m] for past in history[-2:]]).mean(0)
            index = torch.arange(n)
            torch.testing.assert_close(objective.quality(index, member=m), clean_probability(average))
        both = (objective.quality(index, member=0) + objective.quality(index, member=1)) / 2
        torch.testing.assert_close(objective.quality(index), both)
    assert twin.training


class Known(CrossEntropy):
    """A host that knows the quality of its labels."""

    def quality(self, index, *, member=None):
        return index / 100


def test_the_host_is_asked_first():
    index = torch.arange(12)
    for source, expected in (("auto", index / 100), ("mixture", torch.ones(12))):
        objective = masked(Known(), quality=source)
        objective.on_epoch_begin(0, Net(), lambda: iter([batch_of()]))  # twelve rows: no mixture
        torch.testing.assert_close(objective.quality(index), expected)
        objective(Net(), batch_of())
        floor = objective.ratio - MILD[1] * (1 - expected)
        assert (floor >= 0.2 - 1e-6).all()
        assert (floor <= 0.4 + 1e-6).all()


class Pooling(Objective):
    """A host of somebody else's: sharpened targets, views pooled, nothing known of SANM."""

    pools_views = True

    def forward(self, model, batch):
        x = self.view(batch.x)
        target = (batch.y + 0.1).square()
        target = target / target.sum(1, keepdim=True)
        pool = [(x, target), *self.more_views(model, x, target, batch.index)]
        x, t = (torch.cat(part) for part in zip(*pool, strict=True))
        logits = model(x)
        return F.cross_entropy(logits, t), logits[: len(batch.y)]


def test_a_new_host_needs_to_know_nothing():
    net, batch = Net(), batch_of()
    alone = Pooling()(net, batch)[0]
    objective = masked(Pooling(), keep_top_class=False, decoders=[make_decoder((4, 4, 4), (2, 8, 8))])
    loss, logits = objective(net, batch)
    assert logits.shape == (12, 3)
    assert loss.item() != pytest.approx(alone.item())
    loss.backward()
    assert all(p.grad is not None for p in [*net.parameters(), *objective.parameters()])


def test_negative_targets_are_clamped_behind_the_operator():
    targets = []

    class Listening(CrossEntropy):
        def forward(self, model, batch):
            targets.append(batch.y)
            return super().forward(model, batch)

    flat = batch_of()._replace(y=torch.full((12, 3), 1 / 3))
    masked(Listening(), keep_top_class=False, mask_ratio=(0.4, 0.4))(Net(), flat)
    assert targets[1].min() == 0
    torch.testing.assert_close(targets[1].sum(1), torch.ones(24))


@pytest.mark.parametrize("name", list(hosts()))
def test_objectives_are_copied_and_pickled_with_their_wrapper(name):
    inner, net, _ = hosts()[name]
    objective = masked(inner, n_members=2 if isinstance(net, Twin) else 1)
    for again in (copy.deepcopy(objective), pickle.loads(pickle.dumps(objective))):
        assert again.inner.view_source.__self__ is again
        torch.manual_seed(0)
        expected = copy.deepcopy(objective)(net, batch_of())[0]
        torch.manual_seed(0)
        torch.testing.assert_close(again(net, batch_of())[0], expected)
    other = masked(hosts()[name][0], n_members=2 if isinstance(net, Twin) else 1)
    other.load_state_dict(objective.state_dict())


def test_contribution_is_gradient_times_standardized_input():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    x, mean, std = torch.randn(4, 5) * 3 + 2, torch.arange(5.0), torch.full((5,), 3.0)
    objective = MaskedObjective(CrossEntropy(), 4, feature_layer=None, mean=mean, std=std)
    with watching(net, None) as objective._calls:
        got = objective._activation(net, x, None)
    z = (x - mean) / std
    expected = torch.empty_like(x)
    for i in range(4):
        for j in range(5):
            step = torch.zeros(5)
            step[j] = 1e-2
            up, down = (net[:2]((z[i] + s) * std + mean).square().sum() for s in (step, -step))
            expected[i, j] = z[i, j] * (up - down) / 2e-2
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2)


# --- the estimator ----------------------------------------------------------------------------------------------------

HOSTS = [
    CrossEntropyClassifier,
    GCEClassifier,
    SCEClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    PEMMClassifier,
    MOITClassifier,
    MOITPlusClassifier,
    CoTeachingClassifier,
    DivideMixClassifier,
]
every_host = pytest.mark.parametrize("host", HOSTS, ids=lambda cls: cls.__name__)


def small(host=CrossEntropyClassifier, settings=None, **params):
    inner = host(**{"max_epochs": 5, "device": "cpu", **params})
    return SANMClassifier(inner, random_state=0, **{"warmup": 1, **(settings or {})})


@pytest.fixture(scope="module")
def pictures():
    """Sixty small color images of two classes, not square, told apart by a patch."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.random((60, 3, 12, 10)).astype(np.float32)
    X[y == 1, :, 3:6, 2:5] += 2
    return X, y


@every_host
def test_every_host_trains_pickles_and_refits_identically(host, blobs):
    X, y = blobs
    clf = small(host).fit(X, y)
    assert clf.score(X, y) > 0.6
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.label_quality_, clf.label_quality_)
    np.testing.assert_array_equal(clone(clf).fit(X, y).predict_proba(X), clf.predict_proba(X))
    assert clf.label_quality_.shape == clf.clean_mask_.shape == clf.noise_scores_.shape == (200,)
    assert 0 <= clf.label_quality_.min() <= clf.label_quality_.max() <= 1
    np.testing.assert_array_equal(clf.clean_mask_, clf.label_quality_ > 0.5)
    assert 0.1 <= clf.mask_ratio_mean_ <= 0.7
    assert clf.transform(X).shape == (200, len(clf.get_feature_names_out()))


@every_host
def test_every_host_trains_on_images(host, pictures):
    X, y = pictures
    clf = small(host, precision="float32", max_epochs=3).fit(X, y)
    objective = clf.estimator_.net_.criterion_
    corrects = host not in (CrossEntropyClassifier, GCEClassifier, SCEClassifier, PEMMClassifier, CoTeachingClassifier)
    ratio, weight = MILD if corrects else STRONG
    assert ratio[0] <= clf.mask_ratio_mean_ <= ratio[1] + weight
    if host is not MOITPlusClassifier:  # whose second stage is MOIT's own
        assert (objective.settings.mask_ratio, objective.settings.quality_weight) == (ratio, weight)
    np.testing.assert_array_equal(clone(clf).fit(X, y).predict_proba(X), clf.predict_proba(X))


@every_host
def test_a_warm_up_without_end_is_the_host(host, blobs):
    X, y = blobs
    clf = small(host, {"warmup": 1.0, "reconstruction_weight": 0}).fit(X, y)
    alone = clone(clf.estimator_).fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), alone.predict_proba(X))
    np.testing.assert_allclose(clf.label_quality_, 1 - clf.noise_scores_)
    assert math.isnan(clf.mask_ratio_mean_)


def test_oracle_13_refits_are_identical_whatever_the_global_generator(pictures):
    X, y = pictures
    fits = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        fits.append(small(precision="float32").fit(X, y).module_.state_dict())
    assert all(torch.equal(fits[0][key], fits[1][key]) for key in fits[0])


def test_oracle_14_without_reconstruction_there_is_no_decoder(pictures):
    X, y = pictures
    off, none, on = (
        small(settings=given, precision="float32").fit(X, y)
        for given in ({"reconstruction_weight": 0}, {"decoder": None}, {})
    )
    for clf in (off, none):
        assert clf.decoder_ is None
        optimized = sum(p.numel() for group in clf.estimator_.net_.optimizer_.param_groups for p in group["params"])
        assert optimized == sum(p.numel() for p in clf.module_.parameters())
    np.testing.assert_array_equal(off.predict_proba(X), none.predict_proba(X))
    assert isinstance(on.decoder_, nn.Module)
    assert not np.array_equal(on.predict_proba(X), off.predict_proba(X))


def test_the_decoder_may_be_thrown_away(pictures):
    X, y = pictures
    kept, thrown = (small(settings={"keep_decoder": keep}, precision="float32").fit(X, y) for keep in (True, False))
    np.testing.assert_array_equal(kept.predict_proba(X), thrown.predict_proba(X))
    assert thrown.decoder_ is None
    weights = sum(p.numel() for p in kept.decoder_.parameters())
    saved = len(pickle.dumps(kept)) - len(pickle.dumps(thrown))
    assert saved > 2 * 4 * weights  # the weights and their momentum


def test_sequences(blobs):
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    X = rng.normal(size=(80, 2, 30)).astype(np.float32)
    X[y == 1, :, 8:14] += 2

    class Wave(nn.Module):
        def __init__(self, in_channels, n_classes):
            super().__init__()
            self.body = nn.Sequential(nn.Conv1d(in_channels, 8, 5, stride=2), nn.BatchNorm1d(8), nn.ReLU())
            self.head = nn.Linear(8, n_classes)

        def forward(self, x):
            return self.head(self.body(x).amax(2))

    clf = small(module=Wave, max_epochs=25, lr=0.1).fit(X, y)
    assert clf.estimator_.net_.criterion_.feature_layer == "body"
    assert isinstance(clf.decoder_[0], nn.ConvTranspose1d)
    assert clf.score(X, y) > 0.9


def test_tokens():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    X = rng.integers(1, 40, size=(80, 12)).astype(np.float32)
    X[y == 1, 3:6] = 7

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(50, 8, padding_idx=0)
            self.conv = nn.Conv1d(8, 16, 3)
            self.head = nn.Linear(16, 2)

        def forward(self, x):
            return self.head(self.conv(self.embed(x.long()).transpose(1, 2)).relu().amax(2))

    clf = small(module=Bag, max_epochs=20, dtype=None).fit(X.astype(int), y)  # known to be tokens: nothing to say
    assert clf.estimator_.net_.criterion_.feature_layer == "conv"
    assert clf.decoder_ is None
    assert clf.score(X.astype(int), y) > 0.9
    clf = small(module=Bag, max_epochs=20, settings={"feature_layer": "conv", "mask_fill": "zero", "decoder": None})
    assert clf.fit(X, y).score(X, y) > 0.9
    with pytest.raises(ValueError, match=r"no gradient with respect to the input\. Name a layer with feature_layer="):
        small(module=Bag()).fit(X, y)


@pytest.mark.parametrize("host", [CrossEntropyClassifier, ELRPlusClassifier, DivideMixClassifier])
@pytest.mark.parametrize("params", [{"precision": "bfloat16"}, {"precision": "float32", "dtype": "float64"}])
def test_other_precisions(pictures, host, params):
    X, y = pictures
    for images, module in ((X, "cnn"), (X.reshape(60, -1), "mlp")):
        clf = small(host, module=module, max_epochs=3, **params).fit(images, y)
        assert np.isfinite(clf.predict_proba(images)).all()
        assert clf.mask_ratio_mean_ > 0


def test_a_perceptron_on_images_has_no_map_but_a_gradient(pictures):
    X, y = pictures
    clf = small(module="mlp").fit(X, y)
    assert clf.estimator_.net_.criterion_.feature_layer is None
    assert clf.decoder_(torch.zeros(1, 256)).shape == (1, 3, 12, 10)


def test_what_the_host_takes_goes_through(blobs):
    X, y = blobs
    weight = np.where(y == "ant", 0.0, 1.0)
    clf = small().fit(X, y, sample_weight=weight)
    assert (clf.predict(X) != "ant").mean() > 0.9
    assert np.isfinite(clf.label_quality_).all()
    np.testing.assert_allclose(clf.label_quality_[y == "ant"], 1 - clf.noise_scores_[y == "ant"])
    soft = (y[:, None] == np.unique(y)).astype(np.float32)
    np.testing.assert_array_equal(
        small().fit(X, y, soft_labels=soft).predict_proba(X), small().fit(X, y).predict_proba(X)
    )
    with pytest.raises(TypeError, match="MOITClassifier does not take sample_weight; leave it out"):
        small(MOITClassifier).fit(X, y, sample_weight=weight)
    small(MOITClassifier, max_epochs=1).fit(X, y, sample_weight=None)


def test_metadata_routing(blobs):
    X, y = blobs
    weight = np.where(y == "ant", 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = small()
        clf.estimator.set_fit_request(sample_weight=True)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clf)
        pipe.fit(X, y, sample_weight=weight)
    assert (pipe.predict(X) != "ant").mean() > 0.9


def test_checkpoint_resumes_exactly_and_knows_the_plug(blobs, tmp_path):
    from skorch.callbacks import Callback

    class Killed(Exception):
        pass

    class Kill(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                raise Killed

    X, y = blobs
    path = tmp_path / "fit.ckpt"
    for host in (CrossEntropyClassifier, CoTeachingClassifier):
        whole = small(host).fit(X, y)
        broken = small(host, checkpoint=path, callbacks=[Kill()])
        with pytest.raises(Killed):
            broken.fit(X, y)
        resumed = small(host, checkpoint=path).fit(X, y)
        np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
        np.testing.assert_array_equal(resumed.label_quality_, whole.label_quality_)
        with pytest.raises(ValueError, match="SANM's n_masks differs"):
            small(host, {"n_masks": 1}, checkpoint=path).fit(X, y)
        path.unlink()


def test_a_stopped_fit_is_fitted_as_of_the_last_epoch(blobs):
    from skorch.callbacks import Callback

    class Stop(Callback):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                raise KeyboardInterrupt

    X, y = blobs
    clf = small(callbacks=[Stop()])
    with pytest.warns(UserWarning, match="interrupted after 3 epochs"), pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert clf.n_iter_ == len(clf.history_) == 3
    assert clf.predict(X).shape == (200,)


def test_the_fitted_host_is_saved_as_itself(blobs, tmp_path):
    X, y = blobs
    clf = small(ELRClassifier).fit(X, y)
    clf.estimator_.save(tmp_path / "elr.safetensors")
    again = load(tmp_path / "elr.safetensors")
    assert type(again) is ELRClassifier
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_influential_rank_goes_around_it(blobs):
    X, y = blobs
    clf = InfluentialRankClassifier(small(), max_rounds=1, random_state=0).fit(X, y)
    assert isinstance(clf.estimator_, SANMClassifier)
    assert clf.score(X, y) > 0.6


def test_few_rows_and_two_classes():
    rng = np.random.default_rng(0)
    y = np.arange(12) % 2
    X = (rng.normal(size=(12, 4)) + 3 * y[:, None]).astype(np.float32)
    clf = small().fit(X, y)
    np.testing.assert_array_equal(clf.label_quality_, 1)


def test_own_decoder_and_layer(pictures):
    X, y = pictures
    made = []

    def factory(features, image):
        made.append((features, image))
        return make_decoder(features, image)

    clf = small(settings={"decoder": factory, "feature_layer": "stem"}, precision="float32", max_epochs=2).fit(X, y)
    assert made == [((32, 12, 10), (3, 12, 10))]
    given = make_decoder((128, 3, 3), (3, 12, 10))
    before = copy.deepcopy(given.state_dict())
    clf = small(settings={"decoder": given}, precision="float32", max_epochs=3).fit(X, y)
    assert all(torch.equal(v, before[k]) for k, v in given.state_dict().items())
    assert not torch.equal(clf.decoder_[0].weight, given[0].weight)


@pytest.mark.parametrize(
    ("clf", "error", "message"),
    [
        (
            SANMClassifier(LogisticRegression()),
            TypeError,
            "must be a classifier of this package .* got LogisticRegression",
        ),
        (SANMClassifier(FrozenEstimator(CrossEntropyClassifier())), TypeError, "got FrozenEstimator"),
        (SANMClassifier(SANMClassifier()), TypeError, "got SANMClassifier"),
        (small(compile=True), ValueError, "compile must be False"),
        (
            small(settings={"mask_ratio": (0.5, 1.0)}),
            ValueError,
            r"mask_ratio's ends must be a number in \[0, 1\), got 1.0",
        ),
        (small(settings={"mask_ratio": (-0.1, 0.5)}), ValueError, r"\[0, 1\), got -0.1"),
        (small(settings={"mask_ratio": (0.5, 0.2)}), ValueError, r"pair \(least, largest\), got \(0.5, 0.2\)"),
        (small(settings={"mask_ratio": 0.5}), ValueError, "must be a pair"),
        (small(settings={"mask_ratio": np.array([0.1, 0.2])}), ValueError, "must be a pair"),
        (small(settings={"mask_ratio": (0.2, 0.7)}), ValueError, r"less than 1, got 0.7 \+ 0.4"),
        (
            small(settings={"quality_weight": 1.0}),
            ValueError,
            r"quality_weight must be a number in \[0, 1\) or 'auto', got 1.0",
        ),
        (small(settings={"mask_aspect": (0.0, 1.0)}), ValueError, "mask_aspect's ends"),
        (
            small(settings={"mask_anchor": "middle"}),
            ValueError,
            "mask_anchor must be 'center' or 'topleft', got 'middle'",
        ),
        (small(settings={"n_masks": 3}), ValueError, "n_masks must be 1 or 2, got 3"),
        (small(settings={"decoder": 3}), ValueError, "decoder must be 'auto', .* or None, got 3"),
        (small(settings={"warmup": -1}), ValueError, "warmup"),
        (
            small(settings={"decoder": nn.Linear(256, 4)}),
            ValueError,
            r"decoder must return .*\(2, 5\), got \(2, 4\)",
        ),
        (small(settings={"decoder": nn.Linear(3, 5)}), ValueError, r"decoder must take feature maps .* \(2, 256\)"),
        (small(settings={"decoder": lambda *_: "no module"}), TypeError, "must return an nn.Module, got str"),
        (
            small(settings={"feature_layer": "bodi"}),
            ValueError,
            "feature_layer='bodi' is not in the module. Did you mean 'body'",
        ),
        (small(settings={"feature_layer": "body"}), ValueError, r"feature_layer='body' gives \(2, 256\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_bad_input_is_named(blobs, clf, error, message):
    with pytest.raises(error, match=message):
        clf.fit(*blobs)
    assert not hasattr(clf, "classes_")


def test_neither_map_nor_gradient(blobs):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            return self.head(x.detach().sign())

    with pytest.raises(ValueError, match="SANM needs an activation map"):
        small(module=Steps()).fit(*blobs)
    with pytest.raises(ValueError, match="rows of 1 to 3 axes"):
        small(module=nn.Sequential(nn.Flatten(), nn.Linear(16, 2))).fit(np.zeros((10, 2, 2, 2, 2)), np.arange(10) % 2)


def test_from_paper_holds_the_scripts_settings():
    clf = SANMClassifier.from_paper("cifar10", ELRClassifier(), n_masks=1)
    assert (clf.mask_ratio, clf.quality_weight, clf.mask_area_scale) == ((0.02, 0.07), 0.03, 0.5)
    assert (clf.mask_anchor, clf.keep_top_class, clf.warmup, clf.n_masks) == ("topleft", False, 10, 1)
    clothing = SANMClassifier.from_paper("clothing1m")
    assert clothing.reconstruction_weight == 0.3
    assert (clothing.estimator.max_epochs, clothing.estimator.lambda_u) == (81, 0.0)
    assert SANMClassifier.from_paper("cifar100").estimator.warmup == 20
    with pytest.raises(ValueError, match="'cifar10', 'cifar100', 'clothing1m', got 'mnist'"):
        SANMClassifier.from_paper("mnist")


@pytest.mark.slow
def test_scikit_learns_checks_on_the_defaults():
    clf = SANMClassifier(CrossEntropyClassifier(device="cpu"))
    results = check_estimator(clf, on_fail=None, on_skip=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []
    assert len(results) > 40


# --- what it is good for ----------------------------------------------------------------------------------------------


def tiny():
    """Three convolutions for images of 8 x 8, on a map of 4 x 4."""
    torch.manual_seed(0)
    layers = []
    for c_in, c_out, pool in ((1, 16, False), (16, 32, True), (32, 64, False)):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def digits_problem(digits, kind):
    """The digits as rows of 64 columns for the default network, or as images for the one above."""
    X, y, X_test, y_test, wrong = digits
    if kind == "table":
        return "auto", X, y, X_test, y_test, wrong
    return tiny(), X.reshape(-1, 1, 8, 8), y, X_test.reshape(-1, 1, 8, 8), y_test, wrong


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "images"])
def test_oracle_15_behavior_on_digits(digits, kind):
    """40 % symmetric noise, fifty epochs: three points over cross-entropy, and a quality that knows them."""
    module, X, y, X_test, y_test, wrong = digits_problem(digits, kind)
    gains, aucs = [], []
    for seed in range(3):
        host = CrossEntropyClassifier(module, max_epochs=50, random_state=seed, device="cpu", precision="float32")
        plug = {"mask_ratio": (0.1, 0.3), "quality_weight": 0.4}
        clf = SANMClassifier(host, **plug).fit(X, y)
        gains.append(clf.score(X_test, y_test) - clone(host).fit(X, y).score(X_test, y_test))
        early = SANMClassifier(clone(host).set_params(max_epochs=9, lr_schedule="constant"), warmup=8, **plug).fit(X, y)
        aucs.append(roc_auc_score(wrong, -early.label_quality_))  # as of the beginning of the ninth epoch
    assert np.mean(gains) > 0.03
    assert np.mean(aucs) > {"table": 0.85, "images": 0.95}[kind]  # a perceptron on rows learns wrong labels sooner
