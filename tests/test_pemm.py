"""PEMM against the numbers of the authors' classes, slow recomputation, its limits, and its head elsewhere."""

import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from torch import nn

import robustlabels
from robustlabels import CrossEntropyClassifier, PEMMClassifier, load
from robustlabels.maths.functional import soft_cross_entropy, symmetric_cross_entropy
from robustlabels.methods.pemm import (
    LOG_ZERO,
    P_MIN,
    PEMMObjective,
    class_means,
    default_gamma,
    mixture_reconstruction,
    pair_potential,
    potential_energy,
    rest_distance,
    separated,
    simplex_centers,
    spread_rows,
)
from robustlabels.modules import MLP, DistanceHead, Twin, features_and_logits, find_head, with_distance_head
from robustlabels.training.objective import AtPrecision, Batch

C = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
U = torch.tensor([[0.5, 0.5], [2.0, -1.0]], dtype=torch.float64)
Y = F.one_hot(torch.tensor([0, 2]), 3).double()
REST = -8 / 27


def head_at(centers, **params):
    head = DistanceHead(centers.shape[1], centers.shape[0], dtype=centers.dtype, **params)
    head.weight.data.copy_(centers)
    return head


def distances(centers):
    """Norms (k,) and pair distances (k (k - 1) / 2,)."""
    return centers.norm(dim=1), F.pdist(centers)


def one_batch(x, y):
    return Batch(x, y, torch.arange(len(x)), torch.ones(len(x), dtype=x.dtype))


def sce(alpha=0.1, beta=1.0):
    return lambda logits, y: symmetric_cross_entropy(logits, y, alpha, beta, LOG_ZERO, p_min=P_MIN)


# --- oracles ----------------------------------------------------------------------------------------------------------


def test_oracle_1_logits_of_the_distance_head():
    head = head_at(C)
    logits = head(U)
    np.testing.assert_allclose(logits.detach(), [[-0.5, -0.5, -2.5], [-2, -8, -10]], atol=1e-12)
    p = [[0.46831, 0.46831, 0.063379], [0.99719, 0.0024718, 0.00033452]]
    np.testing.assert_allclose(logits.softmax(1).detach(), p, rtol=2e-5)
    linear = 2 * U @ C.T - C.square().sum(1)
    torch.testing.assert_close(linear.softmax(1), logits.softmax(1))
    torch.testing.assert_close(F.linear(U, *head.linear_form()), linear)


def test_oracle_2_potential_and_its_gradient():
    c = C.clone().requires_grad_()
    energy = potential_energy(c)
    assert energy.item() == pytest.approx(-0.1392977396, abs=1e-10)
    energy.backward()
    gradient = [[-0.32261, 0.01011], [0, -0.35355], [0.32261, 0.01011]]
    np.testing.assert_allclose(c.grad, gradient, atol=5e-6)
    assert potential_energy(C, include_origin=False).item() == pytest.approx(-0.1392977396, abs=1e-10)


def test_oracle_3_mixture_reconstruction():
    logits = head_at(C)(U)
    np.testing.assert_allclose(logits.softmax(1).detach() @ C, [[0.4049, 0.4683], [0.9969, 0.0025]], atol=5e-5)
    assert mixture_reconstruction(U, logits, C).item() == pytest.approx(0.5053208670, abs=1e-10)


def test_oracle_4_total_loss():
    logits = head_at(C)(U).detach()
    assert soft_cross_entropy(logits, Y).mean().item() == pytest.approx(4.380716969, abs=1e-9)
    assert sce(0.0, 1.0)(logits, Y).mean().item() == pytest.approx(7.052150150, abs=1e-9)
    assert sce()(logits, Y).mean().item() == pytest.approx(7.490221847, abs=1e-9)
    loss, returned = PEMMObjective(sce())(nn.Sequential(head_at(C)), one_batch(U, Y))
    assert loss.item() == pytest.approx(7.716946568 + 2 * 3.334e-7, abs=1e-8)  # theirs shifts the origin by 1e-6
    torch.testing.assert_close(returned.detach(), logits)
    loss, _ = PEMMObjective(sce())(nn.Sequential(head_at(C.float())), one_batch(U.float(), Y.float()))
    assert loss.item() == pytest.approx(7.7169471, abs=2e-6)


def test_oracle_5_pair_potential():
    r = torch.tensor([0.1, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64)
    np.testing.assert_allclose(pair_potential(r), [900, 4, 0, -4 / 27, -0.125], atol=1e-9)
    root = torch.tensor(0.0966679, dtype=torch.float64)
    assert pair_potential(root, core_radius=0.05).item() == pytest.approx(1000, abs=0.01)
    assert rest_distance() == 1.5


def test_oracle_6_the_minimum_is_a_simplex():
    centers = simplex_centers(10, 10).requires_grad_()
    norms, pairs = distances(centers)
    for lengths in norms, pairs:
        np.testing.assert_allclose(lengths.detach(), 1.5, atol=1e-12)
    s = (math.sqrt(11) - 1) * 1.5 / math.sqrt(2) / 10
    assert s == pytest.approx(0.2457151648, abs=1e-10)
    torch.testing.assert_close(centers.detach(), 1.5 / math.sqrt(2) * torch.eye(10).double() + s)
    energy = potential_energy(centers)
    assert energy.item() == pytest.approx(-0.2962962963, abs=1e-10)
    energy.backward()
    assert centers.grad.abs().max() < 1e-12


def descend(centers, steps, lr, clip, momentum=0.0, weight=1.0):
    """Gradient descent on the potential alone."""
    c = centers.clone().requires_grad_()
    optimizer = torch.optim.SGD([c], lr=lr, momentum=momentum)
    for _ in range(steps):
        optimizer.zero_grad()
        (weight * potential_energy(c)).backward()
        nn.utils.clip_grad_norm_([c], clip)
        optimizer.step()
    return c.detach()


def test_oracle_6_descent_reaches_the_simplex():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = DistanceHead(64, 10).weight.detach()
    centers = descend(start, steps=3000, lr=0.5, clip=1.0)
    assert potential_energy(centers).item() == pytest.approx(-0.296296, abs=2e-6)
    for lengths in distances(centers):
        np.testing.assert_allclose(lengths, 1.5, atol=2e-5)


@pytest.mark.parametrize(
    ("k", "d", "energy", "norm", "pair"), [(10, 9, -0.29530, 1.4997, 1.5125), (3, 2, -0.27923, 1.5005, 1.731)]
)
def test_oracle_6_too_few_dimensions_for_a_simplex(k, d, energy, norm, pair):
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(3):
        start = torch.rand(k, d, generator=generator, dtype=torch.float64) * 2 - 1
        centers = descend(start, steps=1500, lr=1.0, clip=1.0)
        found.append((potential_energy(centers).item(), *[lengths.mean().item() for lengths in distances(centers)]))
    best = min(found)  # of ten in nine dimensions the specification's best is -.29530; a lower one exists
    assert REST < best[0] < energy + 5e-6
    assert best[0] == pytest.approx(energy, abs=3e-4)
    assert best[1] == pytest.approx(norm, abs=5e-4)
    assert best[2] == pytest.approx(pair, abs=3e-3)


def test_oracle_7_invariances():
    rotation = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    z = head_at(C)(U)

    def terms(u, c):
        logits = head_at(c)(u)
        return logits.softmax(1), potential_energy(c), mixture_reconstruction(u, logits, c)

    for mine, rotated in zip(terms(U, C), terms(U @ rotation, C @ rotation), strict=True):
        torch.testing.assert_close(mine, rotated)
    order = [2, 0, 1]
    torch.testing.assert_close(head_at(C[order])(U), z[:, order])
    shift = torch.tensor([3.0, -1.0], dtype=torch.float64)
    p, energy, mixture = terms(U, C)
    moved_p, moved_energy, moved_mixture = terms(U + shift, C + shift)
    torch.testing.assert_close(moved_p, p)
    torch.testing.assert_close(moved_mixture, mixture)
    assert abs(moved_energy - energy) > 0.01
    without = potential_energy(C, include_origin=False)
    torch.testing.assert_close(potential_energy(C + shift, include_origin=False), without)


def test_oracle_8_reverse_cross_entropy():
    p = torch.tensor([1.0, 0.9, 0.5, 0.1], dtype=torch.float64)
    logits = torch.stack([p, 1 - p], 1).clamp_min(1e-300).log()
    values = sce(0.0, 1.0)(logits, F.one_hot(torch.zeros(4, dtype=torch.int64), 2).double())
    np.testing.assert_allclose(values, [0, 0.921034, 4.605170, 8.289306], atol=1e-6)
    assert -LOG_ZERO == pytest.approx(9.210340372, abs=1e-9)
    confident = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)  # the others' p is below the clamp
    sce(0.0, 1.0)(confident, torch.eye(3)[:1]).sum().backward()
    assert confident.grad.abs().max() == 0


def test_oracle_9_the_same_answer_twice(blobs):
    X, y = blobs
    clf = PEMMClassifier(max_epochs=2, dropout=0.5, random_state=0, device="cpu").fit(X, y)
    first = clf.predict_proba(X)
    np.testing.assert_array_equal(clf.predict_proba(X), first)
    net = clf.module_.train()
    assert not torch.equal(net(torch.from_numpy(X)), net(torch.from_numpy(X)))  # dropout is there, in training


def test_oracle_10_coincident_centers_part():
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, generator=generator)
    start[1] = start[0]
    official = {"steps": 10, "lr": 0.01, "clip": 5.0, "momentum": 0.9, "weight": 2.0}
    assert torch.isfinite(descend(start, **official)).all()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        near = separated(start)
    assert 0 < (near[0] - near[1]).norm() < 1e-3
    assert F.pdist(descend(near, **official)).min() > 1.7
    assert pair_potential(torch.zeros(())).item() == pytest.approx(3700, rel=1e-6)
    # the official clamp leaves the pair where it is, and two equal centers make it NaN
    clamped = near.clone().requires_grad_()
    r = F.pdist(clamped)
    (r**-3 - r**-2).clamp(-1.5, 1000).mean().backward()
    assert (clamped.grad[0] - clamped.grad[1]).abs().max() < 0.1
    assert torch.isnan((F.pdist(start) ** -3 - F.pdist(start) ** -2).clamp(-1.5, 1000).mean())


@pytest.mark.parametrize(("k", "expected"), [(2, 0.9046505), (10, 0.5131908), (100, 0.0874545)])
def test_oracle_11_probability_at_a_center(k, expected):
    centers = simplex_centers(k, k)
    p = head_at(centers)(centers).softmax(1).diagonal()
    np.testing.assert_allclose(p.detach(), expected, atol=1e-7)
    sharp = head_at(centers, gamma=default_gamma(k))(centers).softmax(1).diagonal()
    assert sharp.min() >= 0.9 - 1e-9


@pytest.mark.parametrize(("d", "norm", "pair"), [(16, 0.554, 0.778), (256, 0.5775, 0.816), (2048, 0.5768, 0.8156)])
def test_oracle_12_where_centers_start(d, norm, pair):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        starts = [distances(DistanceHead(d, 50).weight.detach()) for _ in range(20)]
    norms, pairs = (torch.cat(lengths) for lengths in zip(*starts, strict=True))
    assert norms.mean().item() == pytest.approx(norm, abs=0.03)
    assert pairs.mean().item() == pytest.approx(pair, abs=0.03)


# --- the functions ----------------------------------------------------------------------------------------------------


@given(
    st.integers(2, 6), st.integers(1, 5), st.floats(2.1, 6.0), st.floats(0.5, 2.0), st.booleans(), st.integers(0, 999)
)
def test_potential_against_a_loop(k, d, s, t, include_origin, seed):
    c = torch.randn(k, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def energy(r):
        slope = t * 0.1 ** (-t - 1) - s * 0.1 ** (-s - 1)
        outside = max(r, 0.1)
        return outside**-s - outside**-t + slope * (r - outside)

    origin = np.mean([energy(c[i].norm().item()) for i in range(k)])
    pairs = np.mean([energy((c[i] - c[j]).norm().item()) for i in range(k) for j in range(i)])
    expected = pairs + origin * include_origin
    value = potential_energy(c, (s, t), include_origin=include_origin)
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-8)


@given(st.floats(1.1, 8.0), st.floats(0.2, 1.0))
def test_rest_distance_is_where_the_potential_is_lowest(s, t):
    rest = rest_distance((s, t))
    r = torch.tensor([0.99 * rest, rest, 1.01 * rest], dtype=torch.float64, requires_grad=True)
    energy = pair_potential(r, (s, t), core_radius=0.01 * rest)
    assert energy.argmin() == 1
    energy.sum().backward()
    assert r.grad[1].item() == pytest.approx(0, abs=1e-6 * abs(energy[1].item()) + 1e-9)


def test_the_core_is_a_tangent():
    r = torch.tensor([0.1 - 1e-9, 0.1, 0.05, 0.0], dtype=torch.float64, requires_grad=True)
    energy = pair_potential(r)
    energy.sum().backward()
    np.testing.assert_allclose(r.grad, [-28000, -28000, -28000, -28000], rtol=1e-9)
    np.testing.assert_allclose(energy.detach(), [900, 900, 2300, 3700], rtol=1e-6)


def test_a_line_of_centers():
    """Oracle 6's note on d = 1: -1.5, 0.75, 1.5 from the origin."""
    energy = pair_potential(torch.tensor([1.5, 0.75, 1.5], dtype=torch.float64))
    np.testing.assert_allclose(energy, [-0.148, 0.593, -0.148], atol=5e-4)


def test_above_so_many_centers_drawn_pairs_stand_for_all():
    c = 0.2 * torch.randn(600, 16, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = torch.stack([potential_energy(c, max_centers=500) for _ in range(20)])
    assert drawn.std() > 0
    assert drawn.mean().item() == pytest.approx(potential_energy(c).item(), rel=0.02)


@given(st.integers(2, 12), st.integers(0, 30), st.floats(0.5, 3.0))
def test_simplex_centers(k, extra, edge):
    centers = simplex_centers(k, k + extra, edge)
    for lengths in distances(centers):
        np.testing.assert_allclose(lengths, edge, rtol=1e-9)
    assert centers.min() >= 0
    assert (centers > 0).any(0).all()  # every feature takes part
    with pytest.raises(ValueError, match=f"needs {k} features, got {k - 1}"):
        simplex_centers(k, k - 1, edge)


def test_mixture_reconstruction_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    u, c = torch.randn(5, 3, generator=generator), torch.randn(4, 3, generator=generator)
    logits = torch.randn(5, 4, generator=generator)
    total = 0.0
    for i in range(5):
        p = torch.softmax(logits[i], 0)
        total += (u[i] - sum(p[k] * c[k] for k in range(4))).square().sum().item()
    assert mixture_reconstruction(u, logits, c).item() == pytest.approx(total / 15, rel=1e-5)


def test_gradients_reach_features_centers_and_posterior():
    u, c = U.clone().requires_grad_(), C.clone().requires_grad_()
    head = head_at(C)
    logits = head(u)
    mixture_reconstruction(u, logits, c).backward()
    assert all(g.abs().sum() > 0 for g in (u.grad, c.grad, head.weight.grad))


def test_float32_under_autocast():
    generator = torch.Generator().manual_seed(0)
    c, u = 30 + torch.randn(10, 64, generator=generator), 30 + torch.randn(8, 64, generator=generator)
    head = head_at(c)
    logits = head(u)
    exact = (u.double()[:, None] - c.double()).square().sum(-1)
    np.testing.assert_allclose(-logits.detach(), exact, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = head(u)
        assert lowered.dtype == torch.float32
        torch.testing.assert_close(lowered, logits)
        energy = potential_energy(0.02 * c.bfloat16())
        mixture = mixture_reconstruction(u, logits, c)
    assert energy.dtype == mixture.dtype == torch.float32
    torch.testing.assert_close(mixture, mixture_reconstruction(u, logits, c))
    torch.testing.assert_close(energy, potential_energy((0.02 * c.bfloat16()).float()))
    assert head.double()(u.double()).dtype == torch.float64
    net = AtPrecision(with_distance_head(MLP(4, 3, width=8), 3), "cpu", torch.bfloat16)
    loss, out = PEMMObjective(sce())(
        net, one_batch(torch.randn(6, 4, generator=generator), torch.eye(3)[[0, 1, 2] * 2])
    )
    assert loss.dtype == out.dtype == torch.float32


# --- where centers start ----------------------------------------------------------------------------------------------


def test_class_means_keep_the_start_of_a_class_without_rows():
    features, y = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0, 2])
    means = class_means(features, y, torch.full((3, 2), 9.0))
    assert means.tolist() == [[2, 0], [9, 9], [0, 2]]


def test_spread_rows_are_rows_of_all_clusters_and_named_by_most_labels():
    rng = np.random.default_rng(0)
    true = np.arange(90) % 3
    features = torch.from_numpy((10 * np.eye(3)[true] + rng.normal(size=(90, 3))).astype(np.float32))
    y = torch.from_numpy(np.where(rng.random(90) < 0.4, rng.integers(3, size=90), true))  # wrong labels among them
    centers = spread_rows(features, y, torch.zeros(3, 3), seed=0)
    assert centers.argmax(1).tolist() == [0, 1, 2]
    assert all(any(torch.equal(c, f) for f in features) for c in centers)


def test_spread_rows_of_few_or_equal_rows():
    start = torch.arange(8.0).view(4, 2)
    two = spread_rows(torch.tensor([[5.0, 5.0], [9.0, 9.0]]), torch.tensor([3, 1]), start, seed=0)
    assert two.tolist() == [[0, 1], [9, 9], [4, 5], [5, 5]]
    equal = spread_rows(torch.ones(6, 2), torch.arange(6) % 4, start, seed=0)
    with torch.random.fork_rng(devices=[]):
        assert F.pdist(separated(equal)).min() > 0


def test_separated_leaves_what_is_apart():
    assert separated(C) is C


@pytest.mark.parametrize("start", ["uniform", "class_mean", "kmeans++", "simplex"])
def test_centers_start_where_they_are_told(start, blobs, tmp_path):
    X, y = blobs
    params = {"centers_init": start, "rectify": False, "device": "cpu", "random_state": 0, "max_epochs": 1}
    clf = PEMMClassifier(nn.Linear(5, 3), lr=0.0, **params).fit(X, y)
    assert clf.centers_.shape == (3, 5)
    if start == "class_mean":
        np.testing.assert_allclose(clf.centers_, [X[y == c].mean(0) for c in clf.classes_], rtol=1e-4, atol=1e-5)
    if start == "kmeans++":
        assert all((X == c).all(1).any() for c in clf.centers_)
    if start == "simplex":
        assert clf.potential_energy_ == pytest.approx(REST, abs=1e-6)
    clf = PEMMClassifier(class_prior="balanced", **{**params, "max_epochs": 5}).fit(X, y)
    assert clf.score(X, y) > 0.8
    clf.save(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "a.safetensors").predict_proba(X), clf.predict_proba(X))


def test_first_features_leave_the_network_alone(blobs):
    X, y = blobs
    clf = PEMMClassifier(centers_init="class_mean", lr=0.0, max_epochs=1, random_state=0, device="cpu").fit(X, y)
    plain = clone(clf).set_params(centers_init="uniform").fit(X, y)
    mine, theirs = dict(clf.module_.named_parameters()), dict(plain.module_.named_parameters())
    assert [k for k in mine if not torch.equal(mine[k], theirs[k])] == ["head.2.weight"]
    state = {k: v.clone() for k, v in clf.module_.state_dict().items()}
    features = clf._first_features(clf.module_, clf._make_rows(X, "cpu"))
    assert features.norm(dim=1).mean() > 5  # normalized by the batch, not by statistics that are still 0 and 1
    assert all(torch.equal(v, state[k]) for k, v in clf.module_.state_dict().items())


# --- limits -----------------------------------------------------------------------------------------------------------


def test_without_its_terms_it_is_cross_entropy_on_a_distance_head(blobs):
    X, y = blobs
    common = {"max_epochs": 3, "random_state": 0, "device": "cpu"}
    terms = {"loss": "ce", "potential_weight": 0, "mixture_weight": 0, "dropout": 0, "gradient_clip": None}
    mine = PEMMClassifier(**terms, **common).fit(X, y)
    plain = CrossEntropyClassifier(head="distance", **common).fit(X, y)
    np.testing.assert_array_equal(mine.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(mine.noise_scores_, plain.noise_scores_)
    assert not np.array_equal(
        clone(mine).set_params(potential_weight=1.0).fit(X, y).predict_proba(X), plain.predict_proba(X)
    )


def test_distances_do_what_their_linear_form_does(blobs):
    X, y = blobs
    clf = PEMMClassifier(max_epochs=3, random_state=0, gamma=0.7, class_prior=[0.5, 0.3, 0.2], device="cpu").fit(X, y)
    head = find_head(clf.module_)[1]
    logits = F.linear(torch.from_numpy(clf.transform(X)), *head.linear_form())
    np.testing.assert_allclose(logits.softmax(1).detach(), clf.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "same"),
    [
        ("ce", lambda z, y: F.cross_entropy(z, y, reduction="none")),
        ("mae", lambda z, y: (z.softmax(1) - y).abs().sum(1) / 2),
        ("gce", lambda z, y: (1 - (z.softmax(1) * y).sum(1) ** 0.7) / 0.7),
        (
            "sce",
            lambda z, y: 0.01 * F.cross_entropy(z, y, reduction="none") - LOG_ZERO * (1 - (z.softmax(1) * y).sum(1)),
        ),
    ],
)
def test_losses_by_name(loss, same):
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    y = torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    torch.testing.assert_close(PEMMClassifier(loss=loss)._row_loss()(logits, y), same(logits, y), rtol=1e-4, atol=1e-5)


def test_any_loss_by_row(blobs):
    X, y = blobs
    mine = PEMMClassifier(loss=soft_cross_entropy, max_epochs=2, random_state=0, device="cpu").fit(X, y)
    np.testing.assert_array_equal(mine.predict_proba(X), clone(mine).set_params(loss="ce").fit(X, y).predict_proba(X))
    with pytest.raises(ValueError, match=r"one number a row, shape \(16,\), got \(\)"):
        PEMMClassifier(loss=F.cross_entropy, max_epochs=2).fit(X, y)


def test_sample_weights_enter_the_label_term_alone():
    net, y = nn.Sequential(head_at(C)), Y
    half = one_batch(U, y)._replace(weight=torch.tensor([2.0, 0.0], dtype=torch.float64))
    both, first = PEMMObjective(sce())(net, one_batch(U, y))[0], PEMMObjective(sce())(net, half)[0]
    labels = sce()(net(U), y)
    torch.testing.assert_close(both - first, labels.mean() - labels[0])


# --- the head ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(2, 5), st.floats(0.1, 5.0), st.booleans(), st.integers(0, 999))
def test_log_density_is_that_of_the_mixture(d, k, gamma, with_prior, seed):
    generator = torch.Generator().manual_seed(seed)
    c, u = (torch.randn(n, d, generator=generator, dtype=torch.float64) for n in (k, 4))
    prior = torch.softmax(torch.randn(k, generator=generator, dtype=torch.float64), 0)
    head = head_at(c, gamma=gamma, prior=prior if with_prior else None)
    weights = prior if with_prior else torch.full((k,), 1 / k, dtype=torch.float64)
    parts = [
        torch.distributions.MultivariateNormal(c[j], torch.eye(d, dtype=torch.float64) / (2 * gamma)) for j in range(k)
    ]
    expected = torch.logsumexp(
        torch.stack([w.log() + part.log_prob(u) for w, part in zip(weights, parts, strict=True)]), 0
    )
    torch.testing.assert_close(head.log_density(u), expected)


def test_prior_at_test_or_in_training_alone():
    prior = [0.5, 0.25, 0.25]
    plain, always = head_at(C)(U), head_at(C, prior=prior)
    torch.testing.assert_close(always.eval()(U), plain + torch.tensor(prior).log())
    balanced = head_at(C, prior=prior, prior_at_test=False)
    torch.testing.assert_close(balanced.train()(U), plain + torch.tensor(prior).log())
    torch.testing.assert_close(balanced.eval()(U), plain)
    torch.testing.assert_close(balanced.log_density(U), head_at(C).log_density(U))


def test_balanced_prior_is_the_share_of_the_labels(blobs):
    X, y = blobs
    keep = np.flatnonzero((y != "ant") | (np.arange(len(y)) % 7 == 0))
    clf = PEMMClassifier(class_prior="balanced", max_epochs=2, random_state=0).fit(X[keep], y[keep])
    share = np.unique(y[keep], return_counts=True)[1] / len(keep)
    np.testing.assert_allclose(find_head(clf.module_)[1].log_prior.exp(), share, rtol=1e-5)
    given = PEMMClassifier(class_prior=share, max_epochs=2, random_state=0).fit(X[keep], y[keep])
    assert clf.predict_proba(X)[:, 0].mean() > given.predict_proba(X)[:, 0].mean()


class Deep(nn.Module):
    """A head that is not the layer defined last."""

    def __init__(self):
        super().__init__()
        self.body, self.fc, self.unused = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(self.body(x))


def test_the_head_replaces_the_layer_that_is_named(blobs):
    X, y = blobs
    net = Deep()
    swapped = with_distance_head(net, 4, "fc", dropout=0.5, rectify=True)
    assert isinstance(net.fc, nn.Linear)
    assert not isinstance(net.fc, DistanceHead)
    assert find_head(swapped)[0] == "fc.2"
    features, logits = features_and_logits(swapped.train(), torch.from_numpy(X))
    assert logits.shape == (200, 4)
    torch.testing.assert_close(find_head(swapped)[1](features), logits)  # dropped features, seen once
    assert 0.2 < (features == 0).float().mean() < 0.95
    clf = PEMMClassifier(net, head="fc", max_epochs=2, random_state=0).fit(X, y)
    assert clf.transform(X).shape == (200, 8)
    assert clf.transform(X).min() >= 0


def test_a_bare_linear_layer_one_logit_and_lazy_layers():
    bare = with_distance_head(nn.Linear(5, 3), 3)
    assert isinstance(bare, DistanceHead)
    x = torch.randn(4, 5)
    one = with_distance_head(robustlabels.modules.TwoLogits(nn.Linear(5, 1)), 2)
    assert one(x).shape == (4, 2)
    lazy = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(3))
    with pytest.raises(ValueError, match="pass two rows as x="):
        with_distance_head(lazy, 3)
    assert with_distance_head(lazy, 3, x=x[:2])(x).shape == (4, 3)
    assert with_distance_head(nn.Linear(5, 3).double(), 3)(x.double()).dtype == torch.float64


@pytest.mark.parametrize("n", [1, 2])
def test_rows_of_any_shape(n):
    head = DistanceHead(4, 3)
    x = torch.randn(2, 5, 4)
    torch.testing.assert_close(head(x), torch.stack([head(rows) for rows in x]))
    torch.testing.assert_close(head(x[0, 0]), head(x[0])[0])


def test_one_class_is_refused(blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="2 classes"):
        PEMMClassifier().fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="n_classes must be 2 or more, got 1"):
        DistanceHead(4, 1)
    with pytest.raises(ValueError, match="2 centers or more, got 1"):
        potential_energy(torch.ones(1, 3))
    with pytest.raises(TypeError, match="DistanceHead, got Linear"):
        PEMMObjective(sce())(nn.Linear(2, 3), one_batch(U.float(), Y.float()))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "hinge"}, "loss must be 'ce', 'gce', 'mae', 'sce' or a callable, got 'hinge'"),
        ({"alpha": -1}, r"alpha must be a number in \[0, inf\), got -1"),
        ({"q": 0}, r"q must be a number in \(0, 1\], got 0"),
        ({"potential_weight": "much"}, "potential_weight must be a number"),
        ({"mixture_weight": -0.5}, "mixture_weight must be a number"),
        ({"exponents": 3}, "exponents must be two numbers, repulsion and attraction, got 3"),
        ({"exponents": (2, 3)}, r"exponents\[0\] must be a number in \(3, inf\), got 2"),
        ({"core_radius": 1.5}, r"core_radius must be a number in \(0, 1.5\), got 1.5"),
        ({"gamma": 0}, "gamma must be a number"),
        ({"gamma": "high"}, "gamma must be a number"),
        ({"dropout": 1}, r"dropout must be a number in \[0, 1\), got 1"),
        ({"class_prior": "empirical"}, "class_prior must be an array-like, 'balanced' or None, got 'empirical'"),
        ({"class_prior": [0.5, 0.5]}, "prior must be 3 positive numbers that sum to 1"),
        ({"class_prior": [0.5, 0.6, -0.1]}, "prior must be 3 positive numbers that sum to 1"),
        (
            {"centers_init": "zeros"},
            r"centers_init must be 'class_mean', 'kmeans\+\+', 'simplex' or 'uniform', got 'zeros'",
        ),
        ({"centers_init": "simplex", "module__width": 2}, "needs 3 features, got 2"),
        ({"centers_lr_scale": -1}, "centers_lr_scale must be a number"),
        ({"centers_weight_decay": -1}, "centers_weight_decay must be a number"),
        ({"gradient_clip": 0}, r"gradient_clip must be a number in \(0, inf\) or None, got 0"),
    ],
)
def test_bad_parameters_say_the_value_and_the_way_out(params, message, blobs):
    with pytest.raises(ValueError, match=message):
        PEMMClassifier(max_epochs=1, **params).fit(*blobs)


# --- the estimator ----------------------------------------------------------------------------------------------------


def test_what_is_fitted(blobs):
    X, y = blobs
    clf = PEMMClassifier(max_epochs=20, random_state=0, device="cpu").fit(X, y)
    features = clf.transform(X).astype(np.float64)
    squares = ((features[:, None] - clf.centers_.astype(np.float64)) ** 2).sum(-1)
    np.testing.assert_allclose(clf.distance(X), squares, rtol=1e-5)
    np.testing.assert_allclose(clf.distance(X, squared=False), np.sqrt(squares), rtol=1e-5)
    np.testing.assert_allclose(clf.decision_function(X), -squares, rtol=1e-5)
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[squares.argmin(1)])
    pairs = clf.center_distances_
    np.testing.assert_allclose(pairs, np.linalg.norm(clf.centers_[:, None] - clf.centers_, axis=-1), atol=1e-5)
    assert clf.potential_energy_ == pytest.approx(potential_energy(torch.from_numpy(clf.centers_)).item(), abs=1e-6)
    given = np.searchsorted(clf.classes_, y)
    posterior = np.exp(-squares - np.logaddexp.reduce(-squares, axis=1, keepdims=True))
    np.testing.assert_allclose(clf.noise_scores_, 1 - posterior[np.arange(len(y)), given], atol=1e-4)
    np.testing.assert_array_equal(clf.noise_mask_, squares.argmin(1) != given)
    far = clf.score_samples(X + 50 * np.sign(X))
    assert far.max() < clf.score_samples(X).min()


def test_two_classes_have_one_score(blobs):
    X, y = blobs
    keep = y != "ant"
    clf = PEMMClassifier(max_epochs=3, random_state=0).fit(X[keep], y[keep])
    scores = clf.decision_function(X)
    assert scores.shape == (len(X),)
    np.testing.assert_array_equal(scores > 0, clf.predict(X) == "cat")


def test_auto_gamma_grows_with_the_classes(blobs):
    clf = PEMMClassifier(gamma="auto", max_epochs=1, random_state=0).fit(*blobs)
    assert find_head(clf.module_)[1].gamma == pytest.approx(math.log(18) / 2.25)


def test_centers_have_their_own_rate_and_decay(blobs):
    X, y = blobs
    clf = PEMMClassifier(max_epochs=2, lr=0.1, centers_lr_scale=0.5, centers_weight_decay=0.0, random_state=0)
    groups = clf.fit(X, y).net_.optimizer_.param_groups
    assert [len(group["params"]) for group in groups] == [1, 8]
    assert groups[0]["params"][0] is find_head(clf.module_)[1].weight
    assert [group["initial_lr"] for group in groups] == [0.05, 0.1]
    assert [group["weight_decay"] for group in groups] == [0.0, 1e-3]
    assert clf.history_[0, "lr"] == 0.1
    still = clone(clf).set_params(centers_lr_scale=0.0, centers_init="simplex").fit(X, y)
    assert still.potential_energy_ == pytest.approx(REST, abs=1e-5)
    assert len(PEMMClassifier(max_epochs=1).fit(X, y).net_.optimizer_.param_groups) == 1


def test_gradients_are_clipped_to_the_norm(blobs):
    X, y = blobs
    common = {"max_epochs": 1, "batch_size": 200, "optimizer__momentum": 0.0, "optimizer__weight_decay": 0.0}
    clf = PEMMClassifier(lr=1.0, gradient_clip=0.25, random_state=0, device="cpu", **common)
    before = clone(clf).set_params(lr=0.0).fit(X, y).module_.parameters()
    after = clf.fit(X, y).module_.parameters()
    moved = math.sqrt(sum((a - b).square().sum().item() for a, b in zip(after, before, strict=True)))
    assert moved == pytest.approx(0.25, rel=1e-3)  # one step of rate 1


def test_nothing_is_read_from_the_device_within_an_epoch(monkeypatch, blobs):
    X, y = blobs
    reads = []
    item = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda self: reads.append(1) or item(self))

    def count(batch_size):
        reads.clear()
        PEMMClassifier(max_epochs=2, batch_size=batch_size, random_state=0).fit(X, y)
        return len(reads)

    assert count(20) == count(100)


def test_paper_settings():
    clf = PEMMClassifier.from_paper("cifar10-asym", max_epochs=3)
    assert (clf.batch_size, clf.max_epochs, clf.module, clf.alpha, clf.dropout) == (256, 3, "cnn6", 0.1, 0.2)
    assert (clf.potential_weight, clf.mixture_weight, clf.exponents, clf.gradient_clip) == (2.0, 1.0, (3, 2), 5.0)
    net = robustlabels.modules.build("cnn6", input_shape=(3, 32, 32), n_classes=10)
    assert net.hidden[0].in_features == 3136
    assert find_head(net)[1].in_features == 256
    with pytest.raises(ValueError, match="image_size must be 8 or more"):
        robustlabels.modules.build("cnn6", input_shape=(3, 6, 6), n_classes=10)
    with pytest.raises(ValueError, match="'cifar10-sym', 'cifar10-asym', got 'cifar100'"):
        PEMMClassifier.from_paper("cifar100")


def test_images_through_the_papers_network():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = (rng.normal(size=(40, 3, 8, 8)) + 2 * y[:, None, None, None]).astype(np.float32)
    clf = PEMMClassifier.from_paper("cifar10-sym", max_epochs=8, batch_size=8, module__width=8, random_state=0)
    assert clf.set_params(augment=None, precision="float32").fit(X, y).score(X, y) > 0.9


# --- the head under other methods -------------------------------------------------------------------------------------

HOSTS = ["CrossEntropyClassifier", "GCEClassifier", "ELRClassifier", "ELRPlusClassifier", "MOITClassifier",
         "MOITPlusClassifier", "CoTeachingClassifier", "DivideMixClassifier", "SANMClassifier"]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in HOSTS if hasattr(robustlabels, name)])
def test_distance_head_under_every_method(name, blobs, tmp_path):
    X, y = blobs
    plug = name == "SANMClassifier"
    host = CrossEntropyClassifier if plug else getattr(robustlabels, name)
    clf = host(head="distance", max_epochs=12, random_state=0, device="cpu")
    clf = robustlabels.SANMClassifier(clf, random_state=0) if plug else clf
    clf.fit(X, y)
    assert clf.score(X, y) > 0.8
    fitted = clf.estimator_ if plug else clf
    net = fitted.module_
    heads = [find_head(member)[1] for member in (net if isinstance(net, Twin) else [net])]
    assert all(isinstance(head, DistanceHead) for head in heads)
    assert len({head.weight.data_ptr() for head in heads}) == len(heads)  # each network has its own centers
    assert fitted.transform(X).shape == (200, len(fitted.get_feature_names_out()))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(clone(clf).fit(X, y).predict_proba(X), clf.predict_proba(X))
    if hasattr(fitted, "save"):
        fitted.save(tmp_path / "a.safetensors")
        np.testing.assert_array_equal(load(tmp_path / "a.safetensors").predict_proba(X), fitted.predict_proba(X))


def test_averaged_teachers_average_the_centers(blobs):
    clf = robustlabels.ELRPlusClassifier(head="distance", max_epochs=2, random_state=0).fit(*blobs)
    teacher, student = clf.net_.criterion_.teachers[0], clf.module_[0]
    weights = [find_head(m)[1].weight for m in (teacher, student)]
    assert not torch.equal(*weights)
    torch.testing.assert_close(*weights, atol=0.5, rtol=0)
