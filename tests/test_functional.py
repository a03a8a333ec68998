import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import nn

from robustlabels.maths.functional import (
    MixtureHistogram,
    clean_probability,
    draw_mixup,
    fit_two_component_mixture,
    mixup,
    sigmoid_rampup,
    soft_cross_entropy,
    squared_distances,
    unit_scaled,
    update_average,
)

# -- Losses, mixing, averaging ----------------------------------------------------------------------------------------


def test_soft_cross_entropy_is_the_sum_over_classes():
    logits, targets = torch.randn(5, 3), torch.rand(5, 3)
    slow = [-sum(t * torch.log(p) for t, p in zip(targets[i], logits[i].softmax(0), strict=True)) for i in range(5)]
    torch.testing.assert_close(soft_cross_entropy(logits, targets), torch.stack(slow))


def test_mixup_row_by_row():
    x, y, permutation = torch.randn(6, 2, 3), torch.rand(6, 4), torch.tensor([3, 0, 1, 2, 5, 4])
    mixed_x, mixed_y = mixup(x, y, 0.7, permutation)
    for i, j in enumerate(permutation):
        torch.testing.assert_close(mixed_x[i], 0.7 * x[i] + 0.3 * x[j])
        torch.testing.assert_close(mixed_y[i], 0.7 * y[i] + 0.3 * y[j])
    torch.testing.assert_close(mixup(x, y, torch.tensor(0.7), permutation), (mixed_x, mixed_y))


def test_mixup_limits():
    x, y, permutation = torch.randn(4, 2), torch.rand(4, 3), torch.tensor([1, 2, 3, 0])
    for lam, rows in (1.0, torch.arange(4)), (0.0, permutation):
        mixed_x, mixed_y = mixup(x, y, lam, permutation)
        assert torch.equal(mixed_x, x[rows])
        assert torch.equal(mixed_y, y[rows])


def test_mixup_of_nothing_hands_back_what_it_was_given():
    x, y = torch.arange(6).view(3, 2), torch.eye(3)
    same_x, same_y = mixup(x, y, *draw_mixup(3, 0))
    assert same_x is x
    assert same_y is y


def test_mixup_refuses_integers():
    x, y, permutation = torch.zeros(2, 1), torch.eye(2), torch.arange(2)
    with pytest.raises(ValueError, match=r"x of torch\.uint8"):
        mixup(x.byte(), y, 0.5, permutation)
    with pytest.raises(ValueError, match=r"y of torch\.int64"):
        mixup(x, y.long(), 0.5, permutation)


@given(st.integers(1, 9), st.floats(1e-6, 1e6), st.booleans(), st.integers(0, 2**31))
def test_draw_mixup_is_a_share_and_a_permutation(b, alpha, keep_major, seed):
    draws = [
        draw_mixup(b, alpha, keep_major=keep_major, generator=torch.Generator().manual_seed(seed)) for _ in range(2)
    ]
    (lam, permutation), (same_lam, same_permutation) = draws
    assert lam == same_lam
    assert torch.equal(permutation, same_permutation)
    assert (0.5 if keep_major else 0) <= lam <= 1
    assert permutation.sort().values.tolist() == list(range(b))


def test_draw_mixup_follows_torchs_seed():
    def seeded():
        torch.manual_seed(3)
        return draw_mixup(50, 1.0)

    (lam, permutation), (same_lam, same_permutation) = seeded(), seeded()
    assert lam == same_lam
    assert torch.equal(permutation, same_permutation)


@pytest.mark.parametrize("alpha", [0.02, 0.5, 1.0, 4.0])
def test_draw_mixup_is_beta(alpha):
    generator = torch.Generator().manual_seed(0)
    draws = torch.tensor([draw_mixup(1, alpha, keep_major=False, generator=generator)[0] for _ in range(8000)])
    assert draws.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)


@pytest.mark.parametrize("alpha", [0, -1.0])
def test_no_alpha_no_mixing(alpha):
    before = torch.get_rng_state()
    lam, permutation = draw_mixup(3, alpha)
    assert (lam, permutation.tolist()) == (1.0, [0, 1, 2])
    assert torch.equal(torch.get_rng_state(), before)


def test_rampup():
    # elr.md T6; dividemix.md's linear ramp is not this one
    steps = {0: 0.00673795, 2: 0.00674132, 1000: 0.00862470, 10000: 0.06005467, 20000: 0.28650480, 30000: 0.73161563}
    assert {step: sigmoid_rampup(step, 40000) for step in steps} == pytest.approx(steps, abs=1e-8)
    assert [sigmoid_rampup(step, 40000) for step in (40000, 50000)] == [1.0, 1.0]
    assert sigmoid_rampup(-1, 10) == sigmoid_rampup(0, 10)
    assert sigmoid_rampup(0, 0) == 1.0


def test_average_along_a_ramp():
    # elr.md T6: the student's weight after step s is s, the teacher starts at -1
    teacher, student = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(teacher.weight, -1.0)
    weights = []
    for step in range(1, 11):
        nn.init.constant_(student.weight, float(step))
        update_average(teacher, student, decay=0.997 * sigmoid_rampup(step + 1, 10))
        weights.append(teacher.weight.item())
    assert weights[:5] == pytest.approx([0.91872017, 1.90697241, 2.81986578, 3.66290023, 4.40100474], abs=1e-6)
    assert weights[9] == pytest.approx(5.51460160, abs=1e-6)


def test_average_leaves_buffers_gradients_and_the_student():
    teacher, student = (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(2))
    student(torch.randn(8, 2)).sum().backward()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    update_average(teacher, student, decay=0.0)
    assert all(torch.equal(p, q) for p, q in zip(teacher.parameters(), student.parameters(), strict=True))
    assert not torch.equal(teacher[1].running_mean, student[1].running_mean)
    assert all(p.requires_grad and p.grad is None for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())

    kept = teacher[0].weight.clone()
    update_average(teacher, nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), decay=1.0)
    assert torch.equal(teacher[0].weight, kept)


def test_average_refuses_a_decay_above_one():
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 1.2"):
        update_average(nn.Linear(1, 1), nn.Linear(1, 1), decay=1.2)


# -- Two-component mixture --------------------------------------------------------------------------------------------


def losses(seed, n, kind):
    """Cross-entropies of 60 % right and 40 % wrong labels, scaled to [0, 1]."""
    rng = np.random.default_rng(seed)
    right, wrong = int(0.6 * n), n - int(0.6 * n)
    parts = {
        "separated": (rng.exponential(0.05, right), rng.normal(4.0, 0.5, wrong)),
        "overlapping": (rng.exponential(0.3, right), rng.gamma(6.0, 0.5, wrong)),
        "heavy": (rng.exponential(0.3, right), rng.lognormal(1.0, 0.6, wrong)),
    }
    x = np.concatenate(parts[kind])
    return (x - x.min()) / np.ptp(x)


def sklearn_mixture(x, start=None, max_iter=10, tol=1e-2, reg_covar=5e-4):
    """scikit-learn's (weights, means, variances), posterior, iterations; from its own k-means if no start is given."""
    mixture = GaussianMixture(2, max_iter=max_iter, tol=tol, reg_covar=reg_covar, random_state=0)
    if start is not None:
        w, m, v = (np.array(column) for column in start[:3])
        mixture.set_params(weights_init=w, means_init=m[:, None], precisions_init=1 / v[:, None, None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(x[:, None])
    order = mixture.means_[:, 0].argsort()
    columns = np.stack([mixture.weights_, mixture.means_[:, 0], mixture.covariances_[:, 0, 0]])[:, order]
    return columns, mixture.predict_proba(x[:, None])[:, order[0]], mixture.n_iter_


def test_mixture_of_ten_losses():
    # dividemix.md D5
    x = torch.tensor([0.02, 0.05, 0.03, 0.1, 0.08, 0.9, 1.0, 0.85, 0.12, 0.5])
    x = (x - x.min()) / (x.max() - x.min())
    mixture = fit_two_component_mixture(x)
    assert mixture.means == pytest.approx((0.04761475, 0.80852098), abs=1e-8)
    clean = mixture.posterior(x)
    assert (clean > 0.5).nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 8]
    assert clean[[0, 1, 2, 3, 4, 8]].min() > 0.999
    assert clean[[5, 6, 7, 9]].max() < 1e-6
    assert mixture.converged


KINDS = ["separated", "overlapping", "heavy"]


@pytest.mark.parametrize("n", [500, 20_000])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_mixture_is_scikit_learns_from_the_same_start(n, kind, seed):
    x = losses(seed, n, kind)
    start = fit_two_component_mixture(torch.as_tensor(x), max_iter=0)
    columns, clean, n_iter = sklearn_mixture(x, start)
    mixture = fit_two_component_mixture(torch.as_tensor(x))
    posterior = mixture.posterior(torch.as_tensor(x)).numpy()
    np.testing.assert_array_equal(posterior > 0.5, clean > 0.5)
    np.testing.assert_allclose(posterior, clean, atol=1e-9 if n <= 4096 else 1e-5)
    np.testing.assert_allclose(mixture[:3], columns, rtol=1e-5)
    assert mixture.n_iter == n_iter


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_mixture_is_scikit_learns_from_its_own_start(kind, seed):
    # Its k-means, random, stops a little short of the best cut, where ours is.
    x = losses(seed, 20_000, kind)
    columns, clean, _ = sklearn_mixture(x)
    mixture = fit_two_component_mixture(torch.as_tensor(x))
    differ = ((mixture.posterior(torch.as_tensor(x)).numpy() > 0.5) != (clean > 0.5)).mean()
    assert differ <= {"separated": 0, "overlapping": 2e-4, "heavy": 5e-3}[kind]
    np.testing.assert_allclose(mixture[:3], columns, atol=5e-3)


@pytest.mark.parametrize("settings", [{"max_iter": 1}, {"max_iter": 100, "tol": 1e-6}, {"reg_covar": 1e-2}])
def test_mixture_at_other_settings(settings):
    x = losses(0, 3000, "overlapping")
    start = fit_two_component_mixture(torch.as_tensor(x), **{**settings, "max_iter": 0})
    columns, _, n_iter = sklearn_mixture(x, start, **settings)
    mixture = fit_two_component_mixture(torch.as_tensor(x), **settings)
    np.testing.assert_allclose(mixture[:3], columns, rtol=1e-6)
    assert (mixture.n_iter, mixture.converged) == (n_iter, settings.get("max_iter") != 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_best_of_all_cuts(kind):
    x = np.sort(losses(0, 300, kind))
    spread = [x[:i].var() * i + x[i:].var() * (len(x) - i) for i in range(1, len(x))]
    best = np.argmin(spread) + 1
    start = fit_two_component_mixture(torch.as_tensor(x), max_iter=0)
    np.testing.assert_allclose(start.means, [x[:best].mean(), x[best:].mean()])
    np.testing.assert_allclose(start.variances, [x[:best].var() + 5e-4, x[best:].var() + 5e-4])


def test_bins_change_little():
    x = torch.as_tensor(losses(1, 4000, "overlapping"))
    one_by_one = fit_two_component_mixture(x)
    binned = fit_two_component_mixture(MixtureHistogram(0.0, 1.0).update(x))
    np.testing.assert_allclose(binned.means, one_by_one.means, atol=1e-5)
    np.testing.assert_allclose(binned.variances, one_by_one.variances, atol=1e-6)
    assert torch.equal(binned.posterior(x) > 0.5, one_by_one.posterior(x) > 0.5)


def test_seven_pieces_are_the_whole():
    x = torch.as_tensor(losses(2, 5000, "heavy"))
    whole = MixtureHistogram(0.0, 1.0, n_bins=256).update(x)
    merged = MixtureHistogram(0.0, 1.0, n_bins=256)
    for piece in x[torch.randperm(len(x))].split(len(x) // 6):
        merged.merge(MixtureHistogram(0.0, 1.0, n_bins=256).update(piece))
    torch.testing.assert_close(merged.state, whole.state, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(
        np.ravel(fit_two_component_mixture(merged)[:3]), np.ravel(fit_two_component_mixture(whole)[:3])
    )


def test_moments_do_not_depend_on_the_bins():
    # Outside the range, in two bins, without regularization: the mixture's mean and variance are still the sample's.
    x = torch.as_tensor(losses(3, 2000, "heavy"))
    histogram = MixtureHistogram(0.2, 0.3, n_bins=2).update(x)
    mixture = fit_two_component_mixture(histogram, reg_covar=1e-12)
    w, m, v = (torch.tensor(column, dtype=torch.float64) for column in mixture[:3])
    torch.testing.assert_close(w @ m, x.mean())
    torch.testing.assert_close(w @ (v + m**2) - (w @ m) ** 2, x.var(unbiased=False))


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=60),
    st.sampled_from([2, 64, 4096]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_mixture_on_its_domain(values, n_bins, dtype):
    x = torch.tensor(values, dtype=dtype)
    histogram = MixtureHistogram(x.min().item(), x.max().item(), n_bins).update(x)
    assert histogram.state[0].sum() == len(values)
    for given_as in x, histogram:
        mixture = fit_two_component_mixture(given_as)
        assert sum(mixture.weights) == pytest.approx(1)
        assert mixture.means[0] <= mixture.means[1]
        assert min(mixture.variances) > 0
        posterior = mixture.posterior(x)
        assert posterior.dtype == dtype
        assert ((posterior >= 0) & (posterior <= 1)).all()


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_mixture_moves_with_its_values(scale, shift):
    x = torch.as_tensor(losses(0, 300, "separated"))
    plain = fit_two_component_mixture(x, reg_covar=1e-4)
    moved = fit_two_component_mixture(scale * x + shift, reg_covar=1e-4 * scale**2)
    np.testing.assert_allclose(moved.means, scale * np.array(plain.means) + shift, atol=1e-6)
    np.testing.assert_allclose(moved.variances, scale**2 * np.array(plain.variances), rtol=1e-5)


@pytest.mark.parametrize("n", [2, 5000])
def test_equal_values_are_all_clean(n):
    x = torch.full((n,), 0.3)
    mixture = fit_two_component_mixture(x)
    assert torch.equal(mixture.posterior(x), torch.ones(n))
    assert mixture.means == pytest.approx((0.3, 0.3))


def test_posterior_keeps_shape_and_takes_any_type():
    mixture = fit_two_component_mixture(torch.tensor([0.0, 0.1, 0.9, 1.0]))
    for dtype in torch.float64, torch.bfloat16, torch.int64:
        posterior = mixture.posterior(torch.tensor([[0, 1]], dtype=dtype))
        assert posterior.shape == (1, 2)
        assert posterior.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n", [3, 5000])
def test_values_must_be_finite(bad, n):
    x = torch.linspace(0, 1, n)
    x[1] = bad
    with pytest.raises(ValueError, match=f"got 1 NaN or infinite of {n}"):
        fit_two_component_mixture(x)
    with pytest.raises(ValueError, match=f"got 1 NaN or infinite of {n}"):
        MixtureHistogram(0.0, 1.0).update(x)


def test_a_mixture_takes_two_values():
    for few in torch.tensor([]), torch.tensor([0.5]), MixtureHistogram(0.0, 1.0):
        with pytest.raises(ValueError, match=r"takes 2 values or more, got [01]"):
            fit_two_component_mixture(few)


@pytest.mark.parametrize("reg_covar", [0.0, -1.0, math.nan])
def test_variances_are_regularized(reg_covar):
    with pytest.raises(ValueError, match=f"reg_covar must be above 0, got {reg_covar}"):
        fit_two_component_mixture(torch.tensor([0.0, 1.0]), reg_covar=reg_covar)


def test_histograms_of_other_bins_do_not_merge():
    with pytest.raises(ValueError, match=r"got \(0.0, 1.0, 4096\) and \(0.0, 2.0, 4096\)"):
        MixtureHistogram(0.0, 1.0).merge(MixtureHistogram(0.0, 2.0))


@pytest.mark.parametrize(
    ("low", "high", "n_bins"), [(1.0, 0.0, 8), (math.nan, 1.0, 8), (0.0, math.inf, 8), (0.0, 1.0, 1)]
)
def test_a_histogram_needs_a_range_and_bins(low, high, n_bins):
    with pytest.raises(ValueError, match="got"):
        MixtureHistogram(low, high, n_bins)


@pytest.mark.gpu
def test_the_device_changes_nothing():
    x = torch.as_tensor(losses(0, 20_000, "overlapping"), dtype=torch.float32)
    here, there = fit_two_component_mixture(x), fit_two_component_mixture(x.cuda())
    assert here == there
    torch.testing.assert_close(there.posterior(x.cuda()).cpu(), here.posterior(x))
    torch.manual_seed(0)
    lam, permutation = draw_mixup(8, 1.0, device="cuda")
    torch.manual_seed(0)
    assert lam == draw_mixup(8, 1.0)[0]
    assert permutation.is_cuda


def test_losses_become_probabilities_of_a_right_label():
    losses = torch.tensor([0.1, 0.2, 0.15, 0.12, 2, 2.2, 1.9, 0.18, 0.3, 1.0])
    expected = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 1, 1, 1])
    scaled = unit_scaled(losses)
    assert (scaled.min(), scaled.max()) == (0, 1)
    torch.testing.assert_close(clean_probability(losses), clean_probability(5 * losses + 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(clean_probability(losses), expected, atol=1e-4, rtol=0)  # scikit-learn's mixture
    assert torch.equal(clean_probability(torch.full((9,), 0.3)), torch.ones(9))
    assert torch.equal(clean_probability(torch.tensor([0.3])), torch.ones(1))
    broken = torch.cat([losses, torch.tensor([float("nan"), float("inf")])])
    assert clean_probability(broken).isfinite().all()
    assert clean_probability(broken)[-2:].max() < 0.5


# -- Distances


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(0, 999))
def test_squared_distances_against_differences(n, m, d, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)
    slow = [[(a - b).square().sum().item() for b in y] for a in x]
    np.testing.assert_allclose(squared_distances(x, y), slow, rtol=1e-5, atol=1e-6)
    assert squared_distances(x, x).diagonal().max() < 1e-12


def test_squared_distances_do_not_cancel():
    x = torch.full((1, 512), 10.0)
    y = x + 1e-3 * torch.randn(1, 512, generator=torch.Generator().manual_seed(0))
    exact = (x.double() - y.double()).square().sum()
    assert exact < 1e-3
    assert squared_distances(x, y).item() == pytest.approx(exact.item(), rel=1e-6)
    x.requires_grad_()
    squared_distances(x, y).sum().backward()
    torch.testing.assert_close(x.grad, 2 * (x - y).detach(), rtol=1e-3, atol=1e-6)
    assert squared_distances(x.double(), y).dtype == torch.float64
    assert squared_distances(x.bfloat16(), y.bfloat16()).dtype == torch.float32
