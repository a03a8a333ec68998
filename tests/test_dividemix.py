"""DivideMix against the numbers of its specification, row-by-row recomputation, and its limits."""

import math
from itertools import chain

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn

from robustlabels import CrossEntropyClassifier, DivideMixClassifier, load
from robustlabels.maths.functional import clean_probability, draw_mixup, fit_two_component_mixture, unit_scaled
from robustlabels.methods.dividemix import (
    DivideMixObjective,
    DivideMixSettings,
    co_refined,
    confidence_penalty,
    default_lambda_u,
    linear_rampup,
    semi_supervised_losses,
    sharpened,
)
from robustlabels.modules import Twin
from robustlabels.noise import SymmetricNoise
from robustlabels.training.objective import Batch
from robustlabels.training.rows import Batches, Rows, batch_sizes


def double(rows):
    return torch.tensor(rows, dtype=torch.float64)


# --- the specification's numbers --------------------------------------------------------------------------------------


def test_oracle_1_co_refinement():
    y, p, w = double([[1, 0, 0], [0, 0, 1]]), double([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]), double([0.8, 0.25])
    mixed = co_refined(y, p, w)
    np.testing.assert_allclose(mixed, [[0.94, 0.04, 0.02], [0.375, 0.225, 0.4]])
    expected = [[0.997741644, 0.001806685, 0.000451671], [0.400355872, 0.144128114, 0.455516014]]
    np.testing.assert_allclose(sharpened(mixed, 0.5), expected, atol=5e-10)
    torch.testing.assert_close(sharpened(mixed, 1.0), mixed)
    extreme = sharpened(torch.tensor([[0.25, 0.25, 0.5, 0.0]]), 0.005)  # 0.5^200 is no float32 any more
    torch.testing.assert_close(extreme, torch.tensor([[0.0, 0.0, 1.0, 0.0]]))


class Told(nn.Module):
    """A network that gives one prepared answer after the other."""

    def __init__(self, *softmaxes):
        super().__init__()
        self.answers = [double([p]).log() for p in softmaxes]

    def forward(self, x):
        return torch.cat([self.answers.pop(0) for _ in x])


def test_oracle_2_co_guessing():
    model = Twin(Told([0.6, 0.3, 0.1], [0.2, 0.5, 0.3]), Told([0.4, 0.4, 0.2], [0.3, 0.3, 0.4]))
    objective = DivideMixObjective(1, 3)
    x, w = torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)  # not believed: unlabeled
    guessed = objective.targets(model, [x, x + 1], double([[1, 0, 0]]), w, 0)
    np.testing.assert_allclose(guessed, [[0.40909091, 0.40909091, 0.18181818]], atol=1e-8)
    np.testing.assert_allclose(guessed, sharpened(double([[0.375, 0.375, 0.25]]), 0.5))


def test_oracle_3_loss_and_gradient():
    logits = double([[2, 0, -1], [0, 1, 0], [0.5, 0.2, 0], [-1, 0, 2]]).requires_grad_()
    targets = double([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    labeled = torch.tensor([True, True, False, False])
    lx, lu, penalty = semi_supervised_losses(logits, targets, labeled, torch.full((3,), 1 / 3, dtype=torch.float64))
    assert lx.item() == pytest.approx(0.6106453667, abs=1e-10)
    assert lu.item() == pytest.approx(0.0024348511, abs=1e-10)
    assert penalty.item() == pytest.approx(0.0079346567, abs=1e-10)
    total = lx + 12.5 * lu + penalty
    assert total.item() == pytest.approx(0.6490156624, abs=1e-10)
    total.backward()
    expected = [
        [-0.01954794, -0.00074709, 0.02029503],
        [0.01681121, -0.07789171, 0.06108050],
        [-0.09732589, 0.02082330, 0.07650258],
        [-0.01513977, -0.01580997, 0.03094974],
    ]
    np.testing.assert_allclose(logits.grad, expected, atol=5e-9)


def test_oracle_4_confidence_penalty():
    logits = double([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]]).log()
    assert confidence_penalty(logits).item() == pytest.approx(-0.94535926, abs=1e-8)


def test_oracle_5_mixture():
    losses = double([0.02, 0.05, 0.03, 0.1, 0.08, 0.9, 1.0, 0.85, 0.12, 0.5])
    scaled = unit_scaled(losses)
    mixture = fit_two_component_mixture(scaled)
    assert mixture.means == pytest.approx((0.04761475, 0.80852098), abs=1e-6)
    w = clean_probability(losses)
    np.testing.assert_allclose(w, [1, 1, 1, 1, 1, 0, 0, 0, 1, 0], atol=5e-4)
    theirs = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(scaled[:, None])
    smaller = theirs.means_.argmin()
    np.testing.assert_allclose(w, theirs.predict_proba(scaled[:, None])[:, smaller], atol=1e-6)


def test_oracle_6_ramp():
    objective = DivideMixObjective(8, 2, DivideMixSettings(warmup=10, ramp=16, lambda_u=25.0))
    weights = []
    for epoch in (10, 14, 18, 26, 40):
        objective.on_epoch_begin(epoch, nn.Identity(), lambda: iter(()))
        weights.append(objective.unlabeled_weight())
    assert weights == [0, 6.25, 12.5, 25, 25]
    objective.on_epoch_begin(10, nn.Identity(), lambda: iter(()))
    for _ in objective.draw(torch.arange(8), 4, 0):  # two labeled rows a step
        weights.append(objective.unlabeled_weight())
        objective.after_step(None)
    assert weights[5:] == [25 * step / 4 / 16 for step in range(4)]
    assert linear_rampup(3, 3, 0) == 1 > linear_rampup(2, 3, 0) == 0


# --- the invariants, oracle 7 -----------------------------------------------------------------------------------------


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def problem(n=24, seed=0, augment=None, **params):
    """A twin of unequal networks, all rows as one batch, and an objective that has divided them."""
    torch.manual_seed(seed)
    model = Twin(network(), network())
    y = torch.arange(n) % 3
    x = torch.randn(n, 4) + 3 * torch.eye(3, 4)[torch.where(torch.arange(n) < n // 3, (y + 1) % 3, y)]
    batch = Batch(x, F.one_hot(y, 3).float(), torch.arange(n), torch.ones(n))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for member in (0, 1):
        for _ in range(20):
            optimizer.zero_grad()
            F.cross_entropy(model(x, member=member), batch.y).backward()
            optimizer.step()
    objective = DivideMixObjective(n, 3, DivideMixSettings(**{"lambda_u": 10.0, **params}), augment=augment)
    objective.on_epoch_begin(0, model, lambda: [batch])
    labeled = objective.clean_proba > 0.5
    assert labeled.any(1).all()
    assert not labeled.all(1).any()
    return model, batch, objective


def gradients(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def test_oracle_7a_swapped_names_swap_the_results():
    model, batch, objective = problem()
    swapped = Twin(model[1], model[0])
    other = DivideMixObjective(24, 3, DivideMixSettings(lambda_u=10.0))
    other.on_epoch_begin(0, swapped, lambda: [batch])
    torch.testing.assert_close(other.clean_proba, objective.clean_proba.flip(0), rtol=0, atol=0)
    torch.testing.assert_close(other.refined, objective.refined)
    results = []
    for trained, which, pass_number in ((objective, model, 0), (other, swapped, 1)):
        torch.manual_seed(3)
        loss, _ = trained(which, batch._replace(pass_number=pass_number))
        results.append((loss.item(), torch.autograd.grad(loss, list(model[0].parameters()))))
    assert results[0][0] == results[1][0]
    for mine, theirs in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_oracle_7b_sure_labels_are_the_targets():
    model, batch, objective = problem(temperature=1.0)
    target = objective.targets(model, [batch.x, batch.x], batch.y, torch.ones(24), 0)
    torch.testing.assert_close(target, batch.y)


def test_oracle_7c_without_mixing_and_unlabeled_loss_it_is_cross_entropy_on_clean_rows():
    model, batch, objective = problem(lambda_u=0.0, mixup_alpha=0.0, temperature=1.0)
    clean = objective.clean_proba[1] > 0.5
    objective.clean_proba[1] = clean.float()  # sure of all it keeps
    loss, _ = objective(model, batch)
    logits = model(batch.x.repeat(2, 1), member=0)
    p = F.softmax(logits, 1).mean(0)
    penalty = sum(math.log(1 / 3 / q) / 3 for q in p.tolist())
    expected = F.cross_entropy(logits[:24][clean], batch.y[clean]).item() + penalty
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_oracle_7d_the_peer_gets_no_gradient_and_stays_as_it_is():
    model, batch, objective = problem()
    model.zero_grad(set_to_none=True)
    before = {k: v.clone() for k, v in model[1].state_dict().items()}
    own = model[0][1].num_batches_tracked.item()
    loss, _ = objective(model, batch)
    loss.backward()
    assert all(g is None for g in gradients(model[1]))
    assert all(g is not None for g in gradients(model[0]))
    assert all(torch.equal(v, before[k]) for k, v in model[1].state_dict().items())  # BatchNorm's buffers, too
    assert model[0][1].num_batches_tracked.item() == own + 3  # two views without gradient, then the mixed batch
    assert all(part.training for part in model.modules())


def test_oracle_7e_both_split_before_either_trains():
    model, batch, objective = problem()
    split = objective.clean_proba.clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for index in objective.draw(batch.index, 8, 0):
        optimizer.zero_grad()
        objective(model, Batch(batch.x[index], batch.y[index], index, torch.ones(len(index)), 0))[0].backward()
        optimizer.step()
    torch.testing.assert_close(objective.clean_proba, split, rtol=0, atol=0)
    drawn = torch.cat(list(objective.draw(batch.index, 8, 1)))
    assert set(drawn[split[0, drawn] > 0.5].tolist()) == set((split[0] > 0.5).nonzero()[:, 0].tolist())
    objective.on_epoch_begin(1, model, lambda: [batch])
    assert not torch.equal(objective.clean_proba, split)


# --- slow recomputation -----------------------------------------------------------------------------------------------


def row_by_row(model, batch, w, seed, *, weight, alpha=0.5, temperature=0.5, noise=0.1):
    """The loss of network 0 as the paper's algorithm box has it, one row at a time; the same random draws."""
    torch.manual_seed(seed)
    b, k = batch.y.shape
    views = [batch.x + noise * torch.randn_like(batch.x) for _ in range(2)]
    mine = [F.softmax(model(v, member=0), 1).detach() for v in views]
    model[1].eval()
    theirs = [F.softmax(model(v, member=1), 1).detach() for v in views]
    model[1].train()
    targets = []
    for i in range(b):
        if w[i] > 0.5:
            p = [w[i] * batch.y[i, c] + (1 - w[i]) * (mine[0][i, c] + mine[1][i, c]) / 2 for c in range(k)]
        else:
            p = [(mine[0][i, c] + mine[1][i, c] + theirs[0][i, c] + theirs[1][i, c]) / 4 for c in range(k)]
        p = [q ** (1 / temperature) for q in p]
        targets.append([q / sum(p) for q in p])
    targets = torch.tensor(targets).repeat(2, 1)
    inputs = torch.cat(views)
    lam, order = draw_mixup(2 * b, alpha)
    mixed = torch.stack([lam * inputs[i] + (1 - lam) * inputs[order[i]] for i in range(2 * b)])
    soft = torch.stack([lam * targets[i] + (1 - lam) * targets[order[i]] for i in range(2 * b)])
    logits = model(mixed, member=0)
    lx, lu = [], []
    for i in range(2 * b):
        p = F.softmax(logits[i], 0)
        if w[i % b] > 0.5:
            lx.append(-(soft[i] * p.log()).sum())
        else:
            lu.append((p - soft[i]).square().sum() / k)
    p = F.softmax(logits, 1).mean(0)
    penalty = sum((1 / k / q).log() / k for q in p)
    return sum(lx) / len(lx) + weight * sum(lu) / len(lu) + penalty


@pytest.mark.parametrize("seed", range(3))
def test_a_step_against_rows_one_by_one(seed):
    model, batch, objective = problem(seed=seed, augment=lambda x: x + 0.1 * torch.randn_like(x))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(9)
    loss, logits = objective(model, batch)
    assert logits.shape == (24, 3)
    mine = torch.autograd.grad(loss, list(model[0].parameters()))
    model.load_state_dict(state)
    slow = row_by_row(model, batch, objective.clean_proba[1], 9, weight=10.0)
    assert loss.item() == pytest.approx(slow.item(), abs=1e-5)
    theirs = torch.autograd.grad(slow, list(model[0].parameters()))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_division_against_its_definition():
    model, batch, objective = problem()
    model.eval()
    for member in (0, 1):
        p = F.softmax(model(batch.x, member=member), 1)
        losses = torch.stack([-p[i, batch.y[i].argmax()].log() for i in range(24)])
        torch.testing.assert_close(objective.clean_proba[member], clean_probability(losses), rtol=1e-4, atol=1e-5)
    p = sum(F.softmax(model(batch.x, member=member), 1) for member in (0, 1)) / 2
    w = objective.clean_proba.mean(0)
    belief, seen = objective.posterior(batch.index)
    torch.testing.assert_close(belief, w[:, None] * batch.y + (1 - w[:, None]) * p)
    assert seen.all()
    torch.testing.assert_close(objective.quality(batch.index), w)
    torch.testing.assert_close(objective.quality(batch.index, member=0), objective.clean_proba[1])
    torch.testing.assert_close(objective.quality(batch.index, member=1), objective.clean_proba[0])


def test_losses_are_averaged_over_the_last_epochs():
    model, batch, objective = problem(n_average=2)
    model.eval()
    scaled = []
    for epoch in range(1, 4):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn_like(p))
            scaled.append(unit_scaled(F.cross_entropy(model(batch.x, member=0), batch.y, reduction="none")))
        objective.on_epoch_begin(epoch, model, lambda: [batch])
    expected = clean_probability((scaled[-1] + scaled[-2]) / 2)
    torch.testing.assert_close(objective.clean_proba[0], expected, rtol=1e-4, atol=1e-5)


def test_a_plugs_views_join_the_pool_on_their_side():
    model, batch, objective = problem(mixup_alpha=0.0)
    asked = []

    def plug(model, x, target, index, *, member):
        asked.append((x, target, index, member))
        return [(x + 1, target.flip(1))]

    objective.view_source = plug
    state = {name: value.clone() for name, value in model.state_dict().items()}
    loss, logits = objective(model, batch._replace(pass_number=1))
    ((x, target, index, member),) = asked
    assert (member, logits.shape) == (1, (24, 3))
    torch.testing.assert_close(index, batch.index)
    model.load_state_dict(state)
    torch.testing.assert_close(target, objective.targets(model, [x, x], batch.y, objective.clean_proba[0], 1))
    pooled = model(torch.cat([batch.x, batch.x, x + 1]), member=1)
    labeled = (objective.clean_proba[0] > 0.5).repeat(3)
    targets = torch.cat([target, target, target.flip(1)])
    lx, lu, penalty = semi_supervised_losses(pooled, targets, labeled, torch.full((3,), 1 / 3))
    assert loss.item() == pytest.approx((lx + 10 * lu + penalty).item(), abs=1e-5)


# --- batches ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 20), st.integers(0, 1))
def test_labeled_rows_once_and_as_many_unlabeled_ones(n_labeled, n_unlabeled, batch_size, pass_number):
    n = n_labeled + n_unlabeled
    objective = DivideMixObjective(n, 2, DivideMixSettings(warmup=3, ramp=1))
    index = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    objective.clean_proba[1 - pass_number] = (torch.arange(n) < n_labeled).float()
    objective.divided[pass_number] = n_labeled > 0
    assert objective.draw(index, batch_size, pass_number) is None  # the warm-up
    objective.epoch = 3
    batches = objective.draw(index, batch_size, pass_number)
    if not n_labeled:
        assert batches is None
        return
    batches, half = list(batches), batch_size // 2
    labeled = [batch[batch < n_labeled].tolist() for batch in batches]
    unlabeled = [batch[batch >= n_labeled].tolist() for batch in batches]
    assert sorted(chain.from_iterable(labeled)) == list(range(n_labeled))
    assert math.ceil(n_labeled / half) - len(batches) in (0, 1)  # a lone last row joins the others
    assert half == 1 or n_labeled == 1 or all(len(part) > 1 for part in labeled)
    least = min(half, n_unlabeled)
    assert all(len(part) in (least, least + 1, n_unlabeled % half) or part == [] for part in unlabeled)
    assert all(len(part) > 0 for part in unlabeled) == (n_unlabeled > 0)
    walked = list(chain.from_iterable(unlabeled))
    whole = walked[: len(walked) // max(n_unlabeled, 1) * n_unlabeled]
    for start in range(0, len(whole), max(n_unlabeled, 1)):  # all of them before any again
        assert sorted(whole[start : start + n_unlabeled]) == list(range(n_labeled, n))


def test_the_loop_takes_what_the_objective_draws():
    rows = Rows(np.zeros((6, 2), dtype=np.float32), torch.zeros(6, dtype=torch.int64), n_classes=2)
    batches = Batches(rows, 4, shuffle=True, n_passes=2)
    batches.draw = lambda index, batch_size, pass_number: [index[:1], index[4:]] if pass_number else None
    seen = [(x["pass_number"], x["index"].tolist()) for x, _ in batches]
    assert sorted(chain.from_iterable(index for pass_number, index in seen if pass_number == 0)) == list(range(6))
    assert [index for pass_number, index in seen if pass_number == 1] == [[0], [4, 5]]


def test_epochs_are_as_long_as_the_clean_set(blobs):
    class Count(Callback):
        def on_epoch_end(self, net, **kwargs):
            n_clean = (net.criterion_.clean_proba > 0.5).sum(1)
            sizes = [batch_sizes(int(n), 10, merge_last=True) for n in n_clean]
            net.history.record("labeled_batches", len(sizes[0]) + len(sizes[1]))

    clf = fitted(*blobs, max_epochs=5, warmup=1, batch_size=20, callbacks=[Count()])
    counts, expected = clf.history_[:, "train_batch_count"], clf.history_[:, "labeled_batches"]
    assert counts[0] == 2 * 10  # all rows, for each network
    assert counts[1:] == expected[1:]
    assert len(set(counts)) > 2


# --- where there is nothing to divide ---------------------------------------------------------------------------------


def test_equal_losses_are_all_clean():
    model, batch, objective = problem()
    for net in model:
        nn.init.zeros_(net[3].weight)
        nn.init.zeros_(net[3].bias)
    objective.on_epoch_begin(1, model, lambda: [batch])
    assert (objective.clean_proba == 1).all()
    loss, _ = objective(model, batch)  # no unlabeled rows: the labeled part alone
    assert loss.item() == pytest.approx(math.log(3), abs=1e-6)


def test_nobody_clean_is_a_step_of_the_warm_up():
    model, batch, objective = problem(clean_threshold=0.5)
    objective.clean_proba.zero_()
    objective.divided = [False, False]
    loss, logits = objective(model, batch)
    expected = F.cross_entropy(logits, batch.y) + confidence_penalty(logits)
    torch.testing.assert_close(loss, expected)
    assert objective.draw(batch.index, 8, 0) is None


@pytest.mark.parametrize("w", [0.4, 0.6])
def test_fits_with_no_row_or_every_row_clean(blobs, w, monkeypatch):
    X, y = blobs
    monkeypatch.setattr("robustlabels.methods.dividemix.clean_probability", lambda losses: torch.full_like(losses, w))
    clf = fitted(X, y, max_epochs=12)
    assert clf.clean_mask_.all() == (w > 0.5)
    assert clf.clean_mask_.any() == (w > 0.5)
    assert clf.score(X, y) > 0.85


def test_a_class_nobody_predicts_costs_a_finite_penalty():
    logits = double([[0, -2000.0], [0, -2000.0]]).requires_grad_()
    for prior in (double([0.5, 0.5]), double([1, 0])):
        terms = semi_supervised_losses(logits, double([[1, 0], [1, 0]]), torch.tensor([True, False]), prior)
        assert all(term.isfinite() for term in terms)
        sum(terms).backward()
        assert logits.grad.isfinite().all()
    assert terms[2].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 7, 20])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_tiny_sets(n, batch_size):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = (rng.normal(size=(n, 3)) + 4 * y[:, None]).astype(np.float32)
    clf = fitted(X, y, batch_size=batch_size, max_epochs=4)
    assert np.isfinite(clf.predict_proba(X)).all()
    assert np.isfinite(clf.noise_scores_).all()


def test_two_classes_one_of_them_rare():
    rng = np.random.default_rng(0)
    y = (np.arange(220) < 20).astype(int)
    X = (rng.normal(size=(220, 4)) + 4 * y[:, None]).astype(np.float32)
    clf = fitted(X, y, max_epochs=20)
    assert (clf.predict(X)[:20] == 1).mean() > 0.9
    noisy = fitted(X, y, prior="noisy", max_epochs=20)
    assert (noisy.predict(X)[:20] == 1).mean() < 0.9  # its losses are large, and nothing speaks for it
    np.testing.assert_allclose(clf.net_.criterion_.prior, [0.5, 0.5])
    np.testing.assert_allclose(noisy.net_.criterion_.prior, [200 / 220, 20 / 220], rtol=1e-6)


# --- the estimator ----------------------------------------------------------------------------------------------------


def fitted(X, y, **params):
    return DivideMixClassifier(**{"max_epochs": 6, "random_state": 0, "device": "cpu", **params}).fit(X, y)


def test_fitted_attributes(blobs):
    X, y = blobs
    clf = fitted(X, y)
    objective = clf.net_.criterion_
    assert clf.label_quality_.dtype == clf.soft_labels_.dtype == np.float32
    np.testing.assert_allclose(clf.label_quality_, objective.clean_proba.mean(0), atol=1e-6)
    np.testing.assert_array_equal(clf.clean_mask_, clf.label_quality_ > 0.5)
    assert not (clf.noise_mask_ & clf.clean_mask_).any()
    given = np.searchsorted(clf.classes_, y)
    p = np.mean([torch.softmax(net(torch.from_numpy(X)), 1).detach().numpy() for net in clf.module_.eval()], axis=0)
    w = clf.label_quality_[:, None]
    np.testing.assert_allclose(clf.soft_labels_, w * np.eye(3)[given] + (1 - w) * p, atol=1e-5)  # the final networks
    np.testing.assert_allclose(clf.noise_scores_, 1 - clf.soft_labels_[np.arange(200), given], atol=1e-6)
    np.testing.assert_array_equal(clf.noise_mask_, clf.soft_labels_.argmax(1) != given)
    assert clf.noise_rate_ == clf.noise_mask_.mean()
    logits = sum(net(torch.from_numpy(X)) for net in clf.module_)
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[logits.argmax(1)])


def test_rows_held_out_are_scored_by_the_final_model(blobs):
    X, y = blobs
    clf = fitted(X, y, train_split=ValidSplit(4))
    objective = clf.net_.criterion_
    held_out = ~objective.posterior(torch.arange(200))[1].numpy()
    assert held_out.sum() == 50
    assert (objective.clean_proba[:, held_out] == 1).all()
    p_given = clf.predict_proba(X)[np.arange(200), np.searchsorted(clf.classes_, y)]
    np.testing.assert_allclose(clf.noise_scores_[held_out], 1 - p_given[held_out], atol=1e-6)
    np.testing.assert_allclose(clf.label_quality_[held_out], p_given[held_out], atol=1e-6)
    np.testing.assert_array_equal(clf.clean_mask_[held_out], ~clf.noise_mask_[held_out])


def test_a_warm_up_without_end_is_two_networks_by_cross_entropy(blobs):
    X, y = blobs
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    same = {"module": net, "batch_size": 200, "augment": lambda x: x.clone()}
    mine = fitted(X, y, warmup=1.0, confidence_penalty=0.0, **same)
    plain = CrossEntropyClassifier(max_epochs=6, random_state=0, device="cpu", **same).fit(X, y)
    np.testing.assert_allclose(mine.predict_proba(X), plain.predict_proba(X), atol=1e-5)
    assert mine.clean_mask_.any()  # divided once, at the end


def test_networks_start_and_stay_apart(blobs):
    first, second = fitted(*blobs).module_
    assert not torch.equal(first.head.weight, second.head.weight)


def test_double_precision(blobs):
    assert fitted(*blobs, dtype="float64", max_epochs=12).score(*blobs) > 0.85


def test_inputs_that_cannot_be_mixed():
    torch.manual_seed(0)
    model = Twin(*(nn.Sequential(nn.Embedding(9, 8), nn.Flatten(), nn.Linear(16, 2)) for _ in range(2)))
    objective = DivideMixObjective(6, 2, DivideMixSettings(mixup_alpha=0.0))
    tokens = torch.arange(12).remainder(9).view(6, 2)
    loss, _ = objective(model, Batch(tokens, F.one_hot(torch.arange(6) % 2).float(), torch.arange(6), torch.ones(6)))
    loss.backward()
    assert all(g is not None for g in gradients(model[0]))


def test_saved_prior_and_memory_come_back(blobs, tmp_path):
    X, y = blobs
    clf = fitted(X, y, prior="noisy", n_average=3)
    clf.save(tmp_path / "clf.safetensors")
    again = load(tmp_path / "clf.safetensors")
    mine, theirs = clf.net_.criterion_.state_dict(), again.net_.criterion_.state_dict()
    torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    np.testing.assert_array_equal(again.soft_labels_, clf.soft_labels_)


def test_warm_start_goes_on_dividing(blobs):
    X, y = blobs
    clf = fitted(X, y, warm_start=True, max_epochs=3)
    before = clf.predict_proba(X)
    clf.fit(X, y)
    assert clf.n_iter_ == 6
    assert clf.net_.criterion_.epoch == 5
    assert not np.allclose(clf.predict_proba(X), before)


@pytest.mark.parametrize(
    ("shape", "kind"), [((30, 3, 32, 32), "HorizontalFlip"), ((30, 1, 8, 8), "RandomResizedCrop"), ((30, 5), "Column")]
)
def test_views_suit_the_rows(shape, kind):
    clf = DivideMixClassifier(max_epochs=1, module__width=2, random_state=0, device="cpu")
    if len(shape) == 4:
        clf.set_params(module="cnn", precision="float32")
    X = np.random.default_rng(0).random(shape).astype(np.float32)
    augment = clf.fit(X, np.arange(30) % 2).net_.criterion_.augment
    assert kind in repr(augment)
    assert ("Flip" in repr(augment)) == (kind == "HorizontalFlip")


def test_views_that_cannot_differ_are_warned_about(blobs):
    with pytest.warns(UserWarning, match="confirms itself"):
        fitted(*blobs, augment=None)


def test_lambda_u_by_the_share_of_labels_not_believed(blobs):
    assert default_lambda_u(0.3, 10) == 0
    assert default_lambda_u(0.6, 100) == default_lambda_u(0.9, 100) == 250
    _, batch, objective = problem(lambda_u="auto")
    flagged = (objective.refined.argmax(1) != batch.y.argmax(1)).float().mean().item()
    assert 0 < flagged < 1
    assert objective.weight == default_lambda_u(flagged, 3)
    X, y = blobs
    assert fitted(X, y).net_.criterion_.weight == 0
    assert fitted(X, y, lambda_u=3).net_.criterion_.weight == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"warmup": -1}, "warmup"),
        ({"ramp": -0.5}, "ramp"),
        ({"lambda_u": -1}, "lambda_u"),
        ({"temperature": 0}, r"temperature must be a number in \(0, 1\], got 0"),
        ({"mixup_alpha": -1}, "mixup_alpha"),
        ({"clean_threshold": 1}, "clean_threshold"),
        ({"confidence_penalty": -1}, "confidence_penalty"),
        ({"n_average": 0}, "n_average"),
        ({"prior": "flat"}, "prior must be 'noisy' or 'uniform', got 'flat'"),
    ],
)
def test_bad_parameters_are_named(blobs, params, message):
    with pytest.raises(ValueError, match=message):
        fitted(*blobs, **params)


def test_from_paper_holds_the_scripts_settings():
    clf = DivideMixClassifier.from_paper("cifar10")
    assert (clf.lambda_u, clf.warmup, clf.ramp, clf.mixup_alpha, clf.temperature) == (25, 10, 16, 4, 0.5)
    assert (clf._epochs(clf.warmup, clf.max_epochs), clf.confidence_penalty) == (10, 0)
    factor = clf._lr_factor()
    assert [factor(epoch, 301) for epoch in (149, 150, 300)] == pytest.approx([1, 0.1, 0.1])
    assert DivideMixClassifier.from_paper("cifar10-asym40").confidence_penalty == 1
    assert DivideMixClassifier.from_paper("cifar100-sym90").n_average == 5
    for setting in DivideMixClassifier._published:
        DivideMixClassifier.from_paper(setting)._check_parameters()
    with pytest.raises(ValueError, match="setting must be one of 'cifar10', "):
        DivideMixClassifier.from_paper("svhn")


@pytest.mark.slow
def test_digits_over_seeds():
    """Defaults, 40 % symmetric noise: twenty points over cross-entropy in the same loop, and nearly all flips found."""
    X, y = load_digits(return_X_y=True)
    gains, precision, ranked = [], [], []
    for seed in range(3):
        X_train, X_test, y_train, y_test = train_test_split(
            X.astype(np.float32), y, test_size=0.3, random_state=seed, stratify=y
        )
        noise = SymmetricNoise(0.4, random_state=seed)
        given = noise.flip(y_train)
        plain = CrossEntropyClassifier(random_state=seed, device="cpu").fit(X_train, given)
        clf = DivideMixClassifier(random_state=seed, device="cpu").fit(X_train, given)
        gains.append(clf.score(X_test, y_test) - plain.score(X_test, y_test))
        ranked.append(average_precision_score(noise.flip_mask_, clf.noise_scores_))
        precision.append((~noise.flip_mask_[clf.clean_mask_]).mean())
    assert np.mean(gains) >= 0.2
    assert np.mean(ranked) >= 0.98
    assert min(precision) >= 0.97
