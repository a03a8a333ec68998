"""Influence functions against worked numbers, whole Hessians, true leave-one-out; the loop and everything it wraps."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from torch import nn

from robustlabels import (
    CoTeachingClassifier,
    CrossEntropyClassifier,
    ELRClassifier,
    InfluentialRankClassifier,
    MOITClassifier,
    SANMClassifier,
)
from robustlabels.maths import influence_functions as influence
from robustlabels.maths.influence_functions import (
    RidgeSoftmax,
    combined_rank,
    cook_distance,
    curvature,
    data_influence,
    influence_outliers,
    influence_scores,
    loo_influence,
    model_influence,
    pairwise_influence,
    rank01,
    rank_by_influence,
)
from robustlabels.methods import influential_rank_models
from robustlabels.methods.influential_rank import rows_to_remove, stratified_holdout
from robustlabels.methods.influential_rank_models import write_head
from robustlabels.noise import SymmetricNoise

TOY_X = np.array([-2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2])[:, None]
TOY_Y = np.array([0, 0, 0, 0, 1, 1, 1, 0])  # the last one is wrong
TOY = {"standardize": False, "tol": 1e-12}


@pytest.fixture(scope="module")
def toy():
    return RidgeSoftmax.fit(TOY_X, TOY_Y, 2, **TOY)


def assert_close(tensor, expected, digits=1e-6):
    np.testing.assert_allclose(np.asarray(tensor), expected, rtol=0, atol=digits)


# --- the maths --------------------------------------------------------------------------------------------------------


def test_oracle_1_ridge_softmax(toy):
    assert_close(toy.weight, [[-0.433786, 0.266966], [0.433786, -0.266966]])
    assert_close(
        toy.proba(TOY_X)[:, 1],
        [0.093717, 0.137609, 0.197578, 0.275336, 0.474984, 0.582645, 0.682964, 0.768740],
    )


def test_oracle_2_stationarity_and_representer(toy):
    h = F.pad(torch.from_numpy(TOY_X), (0, 1), value=1.0)
    r = toy.residuals(TOY_X, TOY_Y)
    assert (r.T @ h / 8 + 0.1 * toy.weight).abs().max() < 1e-8
    assert (toy.weight + r.T @ h / (0.1 * 8)).abs().max() < 1e-7
    assert toy.weight.sum(0).abs().max() < 1e-8
    assert toy.gradient < 1e-12


def test_oracle_3_exact_influence(toy):
    m = model_influence(toy, TOY_X, TOY_Y, backend="exact")
    assert_close(m, [0.075279, 0.093990, 0.112897, 0.130660, 0.195515, 0.163501, 0.144231, 0.420466])
    cook = cook_distance(toy, TOY_X, TOY_Y, backend="exact")
    assert_close(cook, [0.172811, 0.257283, 0.352431, 0.454871, 1.250345, 1.062544, 0.924173, 8.167030])


def test_oracle_4_approximate_influence(toy):
    m = model_influence(toy, TOY_X, TOY_Y, backend="kfac")
    assert_close(m, [0.055627, 0.070463, 0.087877, 0.109859, 0.209481, 0.185628, 0.162338, 0.456294])
    assert cook_distance(toy, TOY_X, TOY_Y, backend="kfac")[7].item() == pytest.approx(8.626531, abs=1e-6)
    assert cook_distance(toy, TOY_X, TOY_Y, backend="factored")[7].item() == pytest.approx(4.504286, abs=1e-6)
    for backend in ("exact", "kfac", "factored"):
        for criterion in (model_influence, cook_distance):
            order = criterion(toy, TOY_X, TOY_Y, backend=backend).argsort(descending=True)
            assert order.tolist() == [7, 4, 5, 6, 3, 2, 1, 0]


def left_out(x, y, i, damping=0.1, k=2, **how):
    """The layer without row i, at the same normalizer n: as on n - 1 rows with a ridge of damping n / (n - 1)."""
    n, keep = len(y), np.arange(len(y)) != i
    return RidgeSoftmax.fit(x[keep], y[keep], k, damping=damping * n / (n - 1), **how)


def test_oracle_5_leave_one_out(toy):
    true = [(left_out(TOY_X, TOY_Y, i, **TOY).weight - toy.weight).norm().item() for i in range(8)]
    assert_close(true, [0.091433, 0.111211, 0.128481, 0.144255, 0.226658, 0.191207, 0.181392, 0.807336])
    one_step = loo_influence(toy, TOY_X, TOY_Y, backend="exact")
    assert_close(one_step, [0.095156, 0.117715, 0.137498, 0.153654, 0.227713, 0.200718, 0.192015, 0.606829])
    ratio = model_influence(toy, TOY_X, TOY_Y, backend="exact").numpy() / true
    assert ratio[7] == pytest.approx(0.52, abs=0.005)
    assert 0.795 < ratio[:7].min() < ratio[:7].max() < 0.91


def test_oracle_6_reference_data(toy):
    v = np.array([[-1.2], [1.2]]), np.array([0, 1])
    a = pairwise_influence(toy, TOY_X, TOY_Y, v, backend="exact")
    assert a.shape == (2, 8)
    assert_close(a[:, 7], [-0.452196, -2.747078])
    d = data_influence(toy, TOY_X, TOY_Y, v, backend="exact")
    assert_close(d, [0, 0, 0.050712, 0.222876, 0.286193, 0.069837, 0, 3.199273])
    assert_close(a[:, 7] / 8, [-0.056524, -0.343385])

    def loss(head):
        return -head.proba(v[0])[[0, 1], v[1]].log()

    assert_close(loss(left_out(TOY_X, TOY_Y, 7, **TOY)) - loss(toy), [-0.091083, -0.370676])


def test_oracle_7_kfac_is_exact_where_all_probabilities_are_equal():
    x, y = np.concatenate([TOY_X, TOY_X]), np.repeat([0, 1], 8)  # either label of every row: W = 0
    head = RidgeSoftmax.fit(x, y, 2, **TOY)
    assert head.weight.abs().max() == 0
    exact, kfac = (cook_distance(head, TOY_X, TOY_Y, backend=curvature(head, x, backend=b)) for b in ("exact", "kfac"))
    assert (exact - kfac).abs().max() < 1e-12
    assert_close(kfac, [2.761044, 1.917671, 1.315261, 0.953815, 0.953815, 1.315261, 1.917671, 2.761044])
    blocks = [curvature(head, x, backend=b).blocks(head._design(x, 2).kept[0][1]) for b in ("exact", "kfac")]
    torch.testing.assert_close(*blocks)


def test_oracle_8_rank():
    m, d = torch.tensor([0.1, 0.5, 0.5, 0.9]), torch.tensor([3.0, 1.0, 2.0, 4.0])
    assert_close(rank01(m), [0, 0.5, 0.5, 1])
    assert_close(rank01(d), [2 / 3, 0, 1 / 3, 1])
    assert_close(combined_rank(m, d, torch.zeros(4, dtype=torch.int64)), [0.333333, 0.25, 0.416667, 1])
    assert_close(combined_rank(m, d, torch.zeros(4, dtype=torch.int64), data_weight=0), [0, 0.5, 0.5, 1])
    y = torch.tensor([0, 0, 1, 1])
    assert_close(combined_rank(m, d, y, data_weight=0, rank_by="class"), [0, 1, 0, 1])


def random_problem(n=200, d=5, k=3, flips=0.15):
    """Three Gaussian classes; the reference's own draws are not known beyond its sizes and seed."""
    rng = np.random.RandomState(0)
    centers = rng.randn(k, d)
    y = rng.randint(k, size=n)
    x = centers[y] + rng.randn(n, d)
    wrong = rng.rand(n) < flips
    y[wrong] = rng.randint(k, size=wrong.sum())
    return x, y


def test_oracle_9_fidelity_to_true_leave_one_out():
    x, y = random_problem()
    for damping in (1e-3, 1e-2, 1e-1):
        how = {"standardize": False, "tol": 1e-10}
        head = RidgeSoftmax.fit(x, y, 3, damping=damping, **how)
        leaving = (left_out(x, y, i, damping, k=3, warm_start=head.weight, **how) for i in range(len(y)))
        true = np.array([(other.weight - head.weight).norm() for other in leaving])
        m = {backend: model_influence(head, x, y, backend=backend).numpy() for backend in influence.BACKENDS}
        rho = {backend: spearmanr(true, scores).statistic for backend, scores in m.items()}
        assert rho["exact"] >= 0.9995
        assert rho["kfac"] >= 0.985
        assert rho["factored"] >= 0.986
        assert rho["representer"] == pytest.approx(0.88, abs=0.02)
        assert 0.025 < np.median(np.abs(m["exact"] / true - 1)) < 0.038
        one_step = loo_influence(head, x, y, backend="exact").numpy()
        assert np.median(np.abs(one_step / true - 1)) < 0.005  # ours: the Hessian without the row is nearly all of it


def test_oracle_10_invariances():
    x, y = random_problem()
    how = {"max_reference": len(y)}
    plain = influence_scores(x, y, 3, **how)
    order = np.random.RandomState(1).permutation(len(y))
    permuted = influence_scores(x[order], y[order], 3, **how)
    assert_close(permuted.rank, plain.rank[order], 1e-12)
    relabeled = influence_scores(x, np.array([2, 0, 1])[y], 3, **how)
    constant = influence_scores(np.c_[x, np.full(len(y), 1e6), np.full(len(y), 0.1)], y, 3, **how)
    scaled = influence_scores(1000 * x, y, 3, **how)
    rotation = np.linalg.qr(np.random.RandomState(2).randn(5, 5))[0]
    raw, rotated = (influence_scores(z, y, 3, standardize=False, **how) for z in (x, x @ rotation))
    for one, other in (plain, relabeled), (plain, constant), (plain, scaled), (raw, rotated):
        np.testing.assert_allclose(one.model, other.model, rtol=1e-4)
        np.testing.assert_allclose(one.data, other.data, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_every_product_with_the_hessian_is_that_of_autograd(weighted):
    x, y = random_problem(40)
    weight = np.random.RandomState(3).rand(40) + 0.5 if weighted else np.ones(40)
    share = torch.from_numpy(weight / weight.sum())
    head = RidgeSoftmax.fit(x, y, 3, damping=0.05, weight=weight, tol=1e-11)
    h = F.pad((torch.from_numpy(x) - head.mean) / head.std, (0, 1), value=1.0)
    torch.testing.assert_close(share @ h[:, :-1], torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)

    def loss(w):
        cross = F.cross_entropy(h @ w.view(3, -1).T, torch.from_numpy(y), reduction="none")
        return share @ cross + 0.05 / 2 * w.square().sum()

    w = head.weight.flatten()
    assert torch.autograd.functional.jacobian(loss, w).abs().max() < 1e-10
    inverse = torch.autograd.functional.hessian(loss, w).inverse()
    r = 40 * share[:, None] * head.residuals(x, y)
    g = (r[:, :, None] * h[:, None, :]).flatten(1)
    how = {"backend": "exact", "weight": weight}
    torch.testing.assert_close(model_influence(head, x, y, **how), (g @ inverse).norm(dim=1) / 40)
    torch.testing.assert_close(cook_distance(head, x, y, **how), ((g @ inverse) * g).sum(1))
    whole = g @ inverse @ g.T
    a = pairwise_influence(head, x, y, (x, y), **how)
    torch.testing.assert_close(a, whole / (40 * share[:, None]))
    harm = (-whole.fill_diagonal_(0)).clamp_min(0).sum(0)
    torch.testing.assert_close(data_influence(head, x, y, torch.arange(40), **how), harm)

    s = torch.diag_embed(head.proba(x)) - head.proba(x)[:, :, None] * head.proba(x)[:, None, :]
    a_bar, s_bar = h.T @ (share[:, None] * h), (share[:, None, None] * s).sum(0)
    torch.testing.assert_close(head.fisher, s_bar)
    eye, root = torch.eye(18, dtype=torch.float64), 0.05**0.5
    approximate = {
        "kfac": torch.kron(s_bar, a_bar) + 0.05 * eye,
        "factored": torch.kron(s_bar + root * eye[:3, :3], a_bar + root * eye[:6, :6]),
        "representer": 0.05 * eye,
    }
    for backend, hessian in approximate.items():
        how = {"backend": backend, "weight": weight}
        inverse = hessian.inverse()
        torch.testing.assert_close(model_influence(head, x, y, **how), (g @ inverse).norm(dim=1) / 40)
        torch.testing.assert_close(cook_distance(head, x, y, **how), ((g @ inverse) * g).sum(1))
        a = pairwise_influence(head, x, y, (x, y), **how)
        torch.testing.assert_close(a, (g / (40 * share[:, None])) @ inverse @ g.T)
        for i in (0, 17):  # the Woodbury form of a step that leaves row i out
            j = torch.kron(torch.eye(3, dtype=torch.float64), h[i][None])
            without = hessian - share[i] * j.T @ s[i] @ j
            step = torch.linalg.solve(without, g[i]).norm() / 40
            torch.testing.assert_close(loo_influence(head, x, y, **how)[i], step)


def test_a_weight_of_two_is_a_row_given_twice():
    x, y = random_problem(60)
    weight = np.ones(60)
    weight[:20] = 2
    weight[50:] = 0
    twice = np.r_[0:50, 0:20]
    weighted, repeated = (
        RidgeSoftmax.fit(x, y, 3, weight=weight, tol=1e-10),
        RidgeSoftmax.fit(x[twice], y[twice], 3, tol=1e-10),
    )
    torch.testing.assert_close(weighted.weight, repeated.weight)
    m = model_influence(weighted, x, y, weight=weight)
    one = model_influence(repeated, x[twice], y[twice])
    torch.testing.assert_close(m[:20], 2 * one[:20])  # both copies leave together
    torch.testing.assert_close(m[20:50], one[20:50])
    assert m[50:].abs().max() == 0


def test_two_classes_are_logistic_regression():
    x, y = random_problem(80, k=2)
    head = RidgeSoftmax.fit(x, y, 2, damping=0.1, standardize=False, tol=1e-10)
    binary = LogisticRegression(C=1 / (0.05 * 80), fit_intercept=False, tol=1e-10, max_iter=1000)
    binary.fit(np.c_[x, np.ones(80)], y)
    v = head.weight[1] - head.weight[0]
    assert_close(v, binary.coef_[0], 1e-5)
    weight, bias = head.raw()
    assert_close(weight[1] - weight[0], v[:-1], 1e-12)
    assert_close(bias[1] - bias[0], v[-1], 1e-12)


def test_chunks_memory_maps_and_tensors_give_the_same(tmp_path, monkeypatch):
    x, y = random_problem()
    plain = influence_scores(x, y, 3, max_reference=50)
    np.save(tmp_path / "x.npy", x)
    mapped = influence_scores(np.load(tmp_path / "x.npy", mmap_mode="r"), y, 3, max_reference=50)
    tensors = influence_scores(torch.from_numpy(x), torch.from_numpy(y), 3, max_reference=50)
    monkeypatch.setattr(influence, "CHUNK_BYTES", 8 * 7 * 6)
    monkeypatch.setattr(influence, "CACHE_BYTES", 0)
    small = influence_scores(x, y, 3, max_reference=50)
    kfac = [influence_scores(x, y, 3, backend="kfac") for _ in range(2)]
    for other in mapped, tensors, small:
        np.testing.assert_allclose(other.model, plain.model, rtol=1e-8)
        np.testing.assert_allclose(other.data, plain.data, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(kfac[0].rank, kfac[1].rank, rtol=0, atol=0)


def test_factored_ranks_pairs_as_kfac_does():
    x, y = random_problem()
    head = RidgeSoftmax.fit(x, y, 3)
    pairs = pairwise_influence(head, x, y, (x[:50], y[:50]), backend="kfac")
    whole = pairs.neg().clamp_min(0).sum(0)
    factored = data_influence(head, x, y, (x[:50], y[:50]), backend="kfac")
    assert spearmanr(whole, factored).statistic > 0.98


def test_the_mean_training_gradient_is_the_regularizer():
    """Why only harm is summed: the total influence on all training rows is that of the ridge."""
    x, y = random_problem()
    head = RidgeSoftmax.fit(x, y, 3, tol=1e-10)
    total = pairwise_influence(head, x, y, (x, y), backend="exact").mean(0)
    r, h = head.residuals(x, y), head._design(x, 3).kept[0][1]
    inverse = curvature(head, x, backend="exact").inverse
    regularizer = -0.1 * (head.weight.flatten() @ inverse) @ (r[:, :, None] * h[:, None, :]).flatten(1).T
    torch.testing.assert_close(total, regularizer, atol=1e-7, rtol=1e-5)


def test_duplicates_tie_and_outliers_are_found_within_their_class():
    x, y = random_problem(30)
    scores = influence_scores(np.r_[x, x], np.r_[y, y], 3)
    torch.testing.assert_close(scores.model[:30], scores.model[30:])
    m = torch.tensor([1.0, 1.1, 0.9, 1.2, 9.0, 10.0, 11.0, 9.0, 12.0, 90.0]).double()
    groups = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    flagged = influence_outliers(m, groups)
    assert flagged.nonzero()[:, 0].tolist() == [4, 9]
    assert not influence_outliers(torch.ones(5), torch.zeros(5, dtype=torch.int64)).any()


def test_the_solver_warns_where_it_stops_early():
    x, y = random_problem()
    with pytest.warns(RuntimeWarning, match="was not solved in 2 steps"):
        RidgeSoftmax.fit(x, y, 3, max_iter=2)
    far = RidgeSoftmax.fit(x, y, 3, warm_start=100 * torch.ones(3, 6))
    assert_close(far.weight, RidgeSoftmax.fit(x, y, 3).weight, 1e-4)


def test_many_features_take_no_second_moments(monkeypatch):
    x, y = random_problem()
    plain = RidgeSoftmax.fit(x, y, 3, tol=1e-9)
    monkeypatch.setattr(influence, "LARGEST_GRAM", 5)
    monkeypatch.setattr(influence, "SMALL_EXACT", 0)
    head = RidgeSoftmax.fit(x, y, 3, tol=1e-9)
    assert head.gram is None
    assert_close(head.weight, plain.weight, 1e-7)
    assert influence.resolve_backend("auto", 3, 5) == "representer"
    assert_close(influence_scores(x, y, 3).model, model_influence(plain, x, y, backend="representer"), 1e-5)
    with pytest.raises(ValueError, match="take backend='representer'"):
        influence_scores(x, y, 3, backend="kfac")


def test_bad_input_to_the_functions():
    x, y = random_problem()
    for damping in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="damping must be above 0"):
            RidgeSoftmax.fit(x, y, 3, damping=damping)
    with pytest.raises(ValueError, match="at least 2 classes, got n_classes=1"):
        influence_scores(x, np.zeros_like(y), 1)
    with pytest.raises(ValueError, match="class numbers from 0 to 1, got 0 to 2"):
        influence_scores(x, y, 2)
    with pytest.raises(ValueError, match="there are 200 rows of features"):
        influence_scores(x, y[:-1], 3)
    with pytest.raises(ValueError, match="must have shape"):
        influence_scores(x[:, 0], y, 3)
    with pytest.raises(ValueError, match=r"must have shape .* got \(200, 0\)"):
        influence_scores(x[:, :0], y, 3)
    with pytest.raises(ValueError, match="weight must be finite"):
        influence_scores(x, y, 3, weight=-np.ones(200))
    with pytest.raises(ValueError, match="weight has shape"):
        influence_scores(x, y, 3, weight=np.ones(3))
    with pytest.raises(ValueError, match=r"row 7 holds NaN"):
        influence_scores(np.where(np.arange(200)[:, None] == 7, np.nan, x), y, 3)
    head = RidgeSoftmax.fit(x, y, 3)
    with pytest.raises(ValueError, match="features have 4 columns, but the layer has 5"):
        head.proba(x[:, :4])
    with pytest.raises(ValueError, match="backend must be 'auto' or one of"):
        model_influence(head, x, y, backend="hessian")
    with pytest.raises(ValueError, match=r"inverts a matrix of .* 4020 rows, above 4000; take backend='kfac'"):
        wide = np.random.RandomState(0).randn(20, 1339)
        influence_scores(wide, np.arange(20) % 3, 3, backend="exact")
    with pytest.raises(ValueError, match=r"data_weight must be in \[0, 1\]"):
        rank_by_influence(head, x, y, data_weight=2)
    with pytest.raises(ValueError, match="max_reference must be 1 or more"):
        rank_by_influence(head, x, y, max_reference=0)
    with pytest.raises(ValueError, match="rank_by must be"):
        rank_by_influence(head, x, y, rank_by="rows")


# --- the loop ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flipped():
    """Digits with 20 % wrong labels, 600 rows to train on."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X.astype(np.float32), y, train_size=600, random_state=0, stratify=y)
    noise = SymmetricNoise(0.2, random_state=0)
    return X, noise.flip(y), noise.flip_mask_, X_test, y_test


def overfitting(**params):
    return CrossEntropyClassifier(**{"max_epochs": 60, "lr": 0.05, "device": "cpu", "random_state": 0, **params})


@pytest.fixture(scope="module")
def fitted(flipped):
    X, y, _, _, _ = flipped
    return overfitting().fit(X, y)


def skorch_net(**params):
    skorch = pytest.importorskip("skorch")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    settings = {"criterion": nn.CrossEntropyLoss, "lr": 0.1, "max_epochs": 30, "batch_size": 64, "verbose": 0}
    return skorch.NeuralNetClassifier(module, **{**settings, **params})


def weights(estimator):
    module = estimator.module_
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_oracle_11_kept_sets_are_nested_and_of_the_right_size(flipped):
    X, y, _, _, _ = flipped
    settings = {"removal_rate": 0.07, "max_rounds": 4, "patience": 4, "refine_epochs": 1, "random_state": 0}
    clf = InfluentialRankClassifier(overfitting(max_epochs=20), **settings).fit(X, y)
    n0 = clf.history_[0]["n_kept"]
    assert 500 <= n0 <= 520
    gone = [set(row["removed"]) for row in clf.history_[1:]]
    assert [len(rows) for rows in gone] == [round(0.07 * n0)] * 4
    assert len(set.union(*gone)) == sum(map(len, gone))  # nobody goes twice
    assert [row["n_kept"] for row in clf.history_] == [n0 - round(0.07 * n0) * t for t in range(5)]
    best = clf.best_round_
    for t in range(1, 5):
        removed = set(np.flatnonzero(clf.removal_round_ == t))
        assert removed == (gone[t - 1] if t <= best else set())
    assert clf.noise_mask_[clf.removal_round_ >= 0].all()
    np.testing.assert_array_equal(clf.support_, np.flatnonzero(clf.kept_mask_))
    np.testing.assert_array_equal(clf.kept_mask_, ~clf.noise_mask_)
    accuracies = [row["val_score"] for row in clf.history_]
    assert accuracies[best] == max(accuracies)
    assert accuracies.index(max(accuracies)) == best  # ties keep the earlier round

    floor = clone(clf).set_params(min_class_count=45, refine="last_layer", max_rounds=9, patience=9).fit(X, y)
    everybody = np.concatenate([row["removed"] for row in floor.history_])
    before = np.bincount(y[_trained(y)])
    np.testing.assert_array_equal(before - np.bincount(y[everybody], minlength=10), np.minimum(before, 45))
    assert len(everybody) < 9 * round(0.07 * n0)


def _trained(y):
    return np.setdiff1d(np.arange(len(y)), stratified_holdout(y, 0.15, np.random.RandomState(0)))


@pytest.mark.parametrize("refine", ["finetune", "last_layer"])
def test_oracle_11_no_better_round_leaves_the_input_model(flipped, fitted, refine):
    X, y, _, _, _ = flipped
    easy = X[:50], fitted.predict(X[:50])  # the input model is right on all of these
    clf = InfluentialRankClassifier(FrozenEstimator(fitted), refine=refine, patience=2, random_state=0)
    clf.fit(X, y, X_val=easy[0], y_val=easy[1])
    assert (clf.best_round_, clf.n_rounds_, clf.history_[0]["val_score"]) == (0, 2, 1.0)
    assert not clf.noise_mask_.any()
    np.testing.assert_array_equal(clf.predict_proba(X), fitted.predict_proba(X))
    assert any(len(row["removed"]) for row in clf.history_)


def test_oracle_11_refine_none_leaves_every_weight(flipped, fitted):
    X, y, wrong, X_test, y_test = flipped
    before = weights(fitted)
    settings = {"refine": "none", "max_rounds": 3, "random_state": 0}
    clf = InfluentialRankClassifier(FrozenEstimator(fitted), **settings).fit(X, y, X_val=X_test, y_val=y_test)
    assert clf.best_round_ > 0
    assert not clf.retrained_
    after = weights(clf.estimator_)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert wrong[clf.noise_mask_].mean() > 0.8


@pytest.mark.parametrize("outputs", [2, 1, 10])
def test_oracle_12_the_written_head_gives_the_solved_logits(flipped, outputs, monkeypatch):
    X, y, _, _, _ = flipped
    if outputs < 10:
        X, y = X[y < 2], y[y < 2]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, outputs))
    base = overfitting(module=net).fit(X, y)
    written = []
    monkeypatch.setattr(
        influential_rank_models, "write_head", lambda layer, head: (written.append(head), write_head(layer, head))
    )
    with pytest.warns(UserWarning, match="none of them can be held out"):  # so the last round is taken
        clf = InfluentialRankClassifier(FrozenEstimator(base), refine="last_layer", random_state=0).fit(X, y)
    assert clf.best_round_ == clf.n_rounds_ == len(written) > 0
    head, features = written[-1], clf.transform(X).astype(np.float64)
    kept = clf.kept_mask_
    assert head.n_samples == kept.sum()
    standardized = (features - features[kept].mean(0)) / np.where(
        features[kept].std(0) < 1e-8, 1, features[kept].std(0)
    )
    logits = standardized @ head.weight[:, :-1].numpy().T + head.weight[:, -1].numpy()
    with torch.no_grad():
        given = clf.estimator_.module_(torch.from_numpy(X)).numpy()
    assert_close(given, logits - logits[:, :1] if outputs == 1 else logits, 1e-5)


@pytest.mark.slow
def test_oracle_13_finds_what_an_overfitted_network_has_memorized():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split((X / 16).astype(np.float32), y, train_size=1078, random_state=0, stratify=y)
    noise = SymmetricNoise(0.2, random_state=0)
    y_noisy, wrong = noise.flip(y), noise.flip_mask_
    torch.manual_seed(0)
    layers = [nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 64), nn.BatchNorm1d(64), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(64, 10))
    settings = {"lr": 0.05, "max_epochs": 100, "optimizer__weight_decay": 1e-3, "random_state": 0, "device": "cpu"}
    base = CrossEntropyClassifier(net, **settings).fit(X, y_noisy)
    assert base.score(X, y_noisy) > 0.999
    proba = base.predict_proba(X)[np.arange(len(y)), y_noisy]
    clf = InfluentialRankClassifier(FrozenEstimator(base), max_rounds=8, patience=8, reference="train", random_state=0)
    clf.fit(X, y_noisy, X_val=X_test, y_val=y_test)
    auc = roc_auc_score(wrong, clf.influence_model_)
    assert auc > 0.92
    assert auc > roc_auc_score(wrong, 1 - proba) + 0.05
    removed = np.concatenate([row["removed"] for row in clf.history_])
    kept = np.setdiff1d(np.arange(len(y)), removed)
    assert len(clf.history_) == 9
    assert wrong[kept].mean() < 0.04
    assert clf.score(X_test, y_test) > base.score(X_test, y_test) + 0.02


@pytest.mark.slow
def test_post_training_beats_its_base_over_seeds():
    """Symmetric noise, nothing but noisy labels to choose by: every way of refining is worth more than its base."""
    X, y = load_digits(return_X_y=True)
    gain = {"finetune": [], "last_layer": [], "retrain": []}
    rates = []
    for seed in range(4):
        split = train_test_split(X.astype(np.float32), y, test_size=0.25, random_state=seed, stratify=y)
        X_train, X_test, y_train, y_test = split
        y_noisy = SymmetricNoise(0.4, random_state=seed).flip(y_train)
        base = CrossEntropyClassifier(lr=0.05, max_epochs=100, device="cpu", random_state=seed)
        plain = clone(base).fit(X_train, y_noisy).score(X_test, y_test)
        for refine, gains in gain.items():
            clf = InfluentialRankClassifier(base, refine=refine, random_state=seed).fit(X_train, y_noisy)
            gains.append(clf.score(X_test, y_test) - plain)
        rates.append(clf.noise_rate_)  # of a network trained afresh
    for gains in gain.values():
        assert min(gains) > 0
        assert np.mean(gains) > 0.08
    assert np.mean(rates) == pytest.approx(0.4, abs=0.06)


def test_rows_to_remove_and_to_hold_out():
    rank = np.array([0.5, 0.9, 0.9, 0.1, 0.8, 0.7])
    y = np.array([0, 0, 0, 1, 1, 1])
    assert rows_to_remove(rank, y, np.array([3, 3]), 4).tolist() == [1, 2, 4, 5]  # ties by row number
    assert rows_to_remove(rank, y, np.array([1, 2]), 4).tolist() == [1, 4, 5]
    assert rows_to_remove(rank, y, np.array([0, 0]), 4).tolist() == []
    assert rows_to_remove(rank, y, np.array([3, 3]), 4, rank < 0.8).tolist() == [5, 0, 3]
    y = np.repeat([0, 1, 2, 3], [100, 20, 3, 1])
    held = stratified_holdout(y, 0.5, np.random.RandomState(0))
    assert np.bincount(y[held], minlength=4).tolist() == [50, 10, 2, 0]  # of no class all
    assert (np.diff(held) > 0).all()


def test_imbalance_ranks_within_classes():
    m, d = torch.arange(50.0), torch.zeros(50)
    y = torch.repeat_interleave(torch.tensor([0, 1]), torch.tensor([40, 10]))
    auto = combined_rank(m, d, y)
    torch.testing.assert_close(auto, combined_rank(m, d, y, rank_by="class"))
    assert not torch.equal(auto, combined_rank(m, d, y, rank_by="all"))
    even = torch.arange(50) % 2
    torch.testing.assert_close(combined_rank(m, d, even), combined_rank(m, d, even, rank_by="all"))


# --- what it wraps ----------------------------------------------------------------------------------------------------

ROUNDS = {"max_rounds": 3, "refine_epochs": 1, "random_state": 0}
WRAPPED = {
    "ours": lambda X, y: overfitting(max_epochs=15),
    "ours, two networks": lambda X, y: CoTeachingClassifier(max_epochs=6, device="cpu"),
    "ours, its own embedding": lambda X, y: MOITClassifier(max_epochs=4, device="cpu"),
    "ours, around ours": lambda X, y: SANMClassifier(overfitting(max_epochs=6)),
    "distances for logits": lambda X, y: overfitting(max_epochs=15, head="distance"),
    "frozen": lambda X, y: FrozenEstimator(overfitting(max_epochs=15).fit(X, y)),
    "skorch": lambda X, y: skorch_net(),
    "skorch, initialized": lambda X, y: skorch_net().fit(X, y),
    "skorch, frozen": lambda X, y: FrozenEstimator(skorch_net().fit(X, y)),
    "linear": lambda X, y: LogisticRegression(C=1e-3),
    "no probabilities": lambda X, y: LinearSVC(C=1e-3),
    "trees": lambda X, y: HistGradientBoostingClassifier(max_iter=5),
    "pipeline": lambda X, y: make_pipeline(StandardScaler(), overfitting(max_epochs=15)),
    "pipeline of skorch": lambda X, y: make_pipeline(StandardScaler(), skorch_net()),
    "pipeline of trees": lambda X, y: make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=5)),
    "itself": lambda X, y: InfluentialRankClassifier(overfitting(max_epochs=10), **ROUNDS),
}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.filterwarnings("ignore:the fitted estimator was trained", "ignore:refine='finetune' needs a network")
def test_wraps(name, clean, flipped):
    X, y, wrong, X_test, y_test = flipped
    base = WRAPPED[name](X, y)
    before = pickle.dumps(base)
    val = {"X_val": X_test[:200], "y_val": y_test[:200]} if clean else {}
    clf = InfluentialRankClassifier(base, **ROUNDS).fit(X, y, **val)
    assert roc_auc_score(wrong, clf.noise_scores_) > 0.8
    assert clf.noise_scores_.min() >= 0
    assert clf.noise_scores_.max() <= 1
    np.testing.assert_array_equal(clf.noise_scores_, clf.influential_rank_.astype(np.float32))
    np.testing.assert_array_equal(clf.suggested_labels_[clf.kept_mask_], y[clf.kept_mask_])
    assert np.isfinite(clf.suggested_confidence_).all()
    np.testing.assert_allclose(clf.transition_matrix_.sum(1), 1)
    assert clf.score(X_test, y_test) > 0.7
    assert clf.n_rounds_ == len(clf.history_) - 1 >= clf.best_round_
    assert pickle.dumps(base) == before  # what was handed in is as it was
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict(X_test), clf.predict(X_test))
    same = InfluentialRankClassifier(base, **ROUNDS).fit(X, y, **val)
    if name != "skorch" and "of skorch" not in name:  # its first fit has a seed of its own
        np.testing.assert_array_equal(same.predict(X_test), clf.predict(X_test))
        np.testing.assert_array_equal(same.noise_scores_, clf.noise_scores_)
    rank = clf.rank_samples(X[:100], y[:100])
    assert rank.shape == (100,)
    assert 0 <= rank.min() <= rank.max() <= 1
    X_kept, y_kept = clf.filter(X, y)
    np.testing.assert_array_equal(X_kept, X[clf.kept_mask_])
    np.testing.assert_array_equal(y_kept, y[clf.kept_mask_])


def test_held_out_rows_are_scored_and_only_flagged_after_post_training(flipped):
    X, y, wrong, _, _ = flipped
    clf = InfluentialRankClassifier(overfitting(), random_state=0).fit(X, y)
    held = np.setdiff1d(np.arange(len(y)), _trained(y))
    assert clf.best_round_ > 0
    assert (clf.removal_round_[held] == -1).all()
    assert roc_auc_score(wrong[held], clf.noise_scores_[held]) > 0.9
    np.testing.assert_array_equal(clf.noise_mask_[held], clf.predict(X[held]) != y[held])
    assert clf.noise_scores_[held].min() == 0  # ranked among themselves
    assert clf.noise_scores_[held].max() > 0.9
    assert clf.noise_rate_ == pytest.approx(np.mean(clf.predict(X) != y))


def test_hold_out_of_the_first_fit_is_used_again(flipped):
    pytest.importorskip("skorch")
    from skorch.dataset import ValidSplit

    X, y, _, _, _ = flipped
    base = overfitting(train_split=ValidSplit(5, stratified=True), max_epochs=10).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = InfluentialRankClassifier(FrozenEstimator(base), **ROUNDS).fit(X, y)
    assert clf.history_[0]["n_kept"] == 480
    assert clf.history_[0]["val_score"] == pytest.approx(base.history_[-1, "valid_acc"])
    random = overfitting(train_split=ValidSplit(0.2), max_epochs=2).fit(X, y)  # drawn anew by every call
    with pytest.warns(UserWarning, match="none of them can be held out"):
        InfluentialRankClassifier(FrozenEstimator(random), **ROUNDS).fit(X, y)


@pytest.mark.parametrize("networks", ["first", "all"])
@pytest.mark.parametrize("refine", ["finetune", "last_layer", "none"])
def test_two_networks(networks, refine, flipped):
    X, y, _, X_test, y_test = flipped
    base = CoTeachingClassifier(max_epochs=8, device="cpu", random_state=0).fit(X, y)
    settings = {**ROUNDS, "networks": networks, "refine": refine}
    clf = InfluentialRankClassifier(FrozenEstimator(base), **settings).fit(X, y, X_val=X_test, y_val=y_test)
    features = base.transform(X)
    both = np.split(features, 2, axis=1)
    ranks = [
        rank_by_influence(RidgeSoftmax.fit(f, y, 10), f, y, reference=(v, y_test)).model
        for f, v in zip(both, np.split(base.transform(X_test), 2, axis=1), strict=True)
    ]
    expected = ranks[0] if networks == "first" else (ranks[0] + ranks[1]) / 2
    np.testing.assert_allclose(clf.influence_model_, expected, rtol=1e-6)
    moved = [
        not torch.equal(before, after)
        for before, after in zip(base.module_.parameters(), clf.estimator_.module_.parameters(), strict=True)
    ]
    if clf.best_round_ == 0 or refine == "none":
        assert not any(moved)
    elif refine == "finetune":
        assert all(moved)
    else:
        assert sum(moved) == 4  # weight and bias of both heads


def test_reference_and_weight_of_the_criteria(flipped, fitted):
    X, y, _, X_test, y_test = flipped
    frozen, val = FrozenEstimator(fitted), {"X_val": X_test, "y_val": y_test}
    features = fitted.transform(X)
    head = RidgeSoftmax.fit(features, y, 10)
    settings = {"refine": "none", "max_rounds": 1, "random_state": 0}

    def scores(**params):
        return InfluentialRankClassifier(frozen, **settings, **params).fit(X, y, **val)

    clean = scores()
    expected = rank_by_influence(head, features, y, reference=(fitted.transform(X_test), y_test))
    np.testing.assert_allclose(clean.influence_data_, expected.data, rtol=1e-6)
    np.testing.assert_allclose(clean.influential_rank_, expected.rank, atol=1e-9)
    train = scores(reference="train")
    expected = rank_by_influence(head, features, y)
    np.testing.assert_allclose(train.influence_data_, expected.data, rtol=1e-6)
    alone = scores(data_weight=0)
    assert not alone.influence_data_.any()
    np.testing.assert_allclose(alone.influential_rank_, rank01(expected.model), atol=1e-9)
    held = InfluentialRankClassifier(overfitting(max_epochs=5), reference="holdout", **settings).fit(X, y)
    other = InfluentialRankClassifier(overfitting(max_epochs=5), **settings).fit(X, y)
    np.testing.assert_array_equal(held.influence_model_, other.influence_model_)
    assert not np.allclose(held.influence_data_, other.influence_data_)


def test_sample_weight(flipped):
    X, y, _, _, _ = flipped
    weight = np.ones(len(y))
    weight[:100] = 0
    base = overfitting(max_epochs=10)
    clf = InfluentialRankClassifier(base, **ROUNDS).fit(X, y, sample_weight=weight)
    assert (clf.removal_round_[:100] == -1).all()
    assert np.isfinite(clf.noise_scores_).all()
    assert clf.history_[0]["n_kept"] == np.isin(_trained(y), np.arange(100, len(y))).sum()
    pipe = make_pipeline(StandardScaler(), base)
    InfluentialRankClassifier(pipe, **ROUNDS).fit(X, y, sample_weight=weight)
    for refused in CoTeachingClassifier(), SANMClassifier(CoTeachingClassifier()):
        with pytest.raises(TypeError, match=f"{type(refused).__name__} takes no sample_weight"):
            InfluentialRankClassifier(refused, **ROUNDS).fit(X, y, sample_weight=weight)


def test_sample_weight_reaches_what_is_wrapped(blobs):
    X, y = blobs
    weight = np.where(y == "ant", 0.0, 1.0)
    base = CrossEntropyClassifier(max_epochs=5, device="cpu")
    settings = {"max_rounds": 1, "random_state": 0, "refine": "none"}
    for inner in SANMClassifier(base), make_pipeline(StandardScaler(), SANMClassifier(base)):
        clf = InfluentialRankClassifier(inner, **settings).fit(X, y, sample_weight=weight)
        assert (clf.predict(X) != "ant").mean() > 0.9
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=3)
    clf = InfluentialRankClassifier(search, **settings).fit(X, y, sample_weight=weight)
    assert (clf.predict(X) != "ant").mean() > 0.9


def test_final_retrain_is_taken_unless_it_is_worse(flipped, fitted):
    X, y, _, X_test, y_test = flipped
    frozen, val = FrozenEstimator(fitted), {"X_val": X_test, "y_val": y_test}
    clf = InfluentialRankClassifier(frozen, final="retrain", random_state=0).fit(X, y, **val)
    plain = InfluentialRankClassifier(frozen, random_state=0).fit(X, y, **val)
    np.testing.assert_array_equal(clf.removal_round_, plain.removal_round_)
    assert clf.score(X_test, y_test) >= plain.score(X_test, y_test)
    assert clf.retrained_ == (clf.score(X_test, y_test) != plain.score(X_test, y_test))
    if clf.retrained_:
        kept = clf.removal_round_ < 0
        again = clone(fitted).fit(X[kept], y[kept])
        np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_layers_by_name_and_layers_that_cannot_be_written(flipped):
    X, y, _, _, _ = flipped

    class Convolved(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv1d(1, 8, 3, padding=1), nn.ReLU())
            self.out = nn.Conv1d(8, 10, 64)

        def forward(self, x):
            return self.out(self.body(x[:, None])).flatten(1)

    base = overfitting(module=Convolved(), max_epochs=3, augment=None)
    with pytest.raises(ValueError, match="set feature_layer to the dotted name"):
        InfluentialRankClassifier(base, **ROUNDS).fit(X, y)
    clf = InfluentialRankClassifier(base, feature_layer="out", **ROUNDS).fit(X, y)
    assert np.isfinite(clf.influential_rank_).all()
    with pytest.raises(ValueError, match="that is a Conv1d without a bias of its own; take refine='finetune'"):
        InfluentialRankClassifier(base, feature_layer="out", refine="last_layer", **ROUNDS).fit(X, y)
    distance = overfitting(head="distance", max_epochs=2)
    with pytest.raises(ValueError, match="that is a DistanceHead without a bias"):
        InfluentialRankClassifier(distance, refine="last_layer", **ROUNDS).fit(X, y)
    named = overfitting(max_epochs=5)
    first = InfluentialRankClassifier(named, feature_layer="body.3", **ROUNDS).fit(X, y)
    assert roc_auc_score(flipped[2], first.noise_scores_) > 0.8


def test_tables_that_are_no_features():
    X, y = make_classification(300, 8, n_informative=6, random_state=0)
    settings = {"refine": "none", **ROUNDS}
    holes = X.copy()
    holes[17, 2] = np.nan
    trees = HistGradientBoostingClassifier(max_iter=5)
    with pytest.raises(
        ValueError, match=r"X holds NaN or infinity among rows 0 to 299.*feature_layer='decision_function'"
    ):
        InfluentialRankClassifier(trees, **settings).fit(holes, y)
    InfluentialRankClassifier(trees, feature_layer="decision_function", **settings).fit(holes, y)
    words = np.array([["a", "b"], ["b", "a"]])[np.arange(300) % 2].astype(object)

    class Majority(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.full(len(X), self.classes_[0])

    with pytest.raises(ValueError, match="put an encoder before Majority"):
        InfluentialRankClassifier(Majority(), **settings).fit(words, y)
    InfluentialRankClassifier(make_pipeline(OrdinalEncoder(), Majority()), **settings).fit(words, y)
    with pytest.raises(ValueError, match="Majority has no decision_function"):
        InfluentialRankClassifier(Majority(), feature_layer="decision_function", **settings).fit(X, y)
    with pytest.raises(ValueError, match="feature_layer='fc' names a layer, but SVC is not a network"):
        InfluentialRankClassifier(SVC(), feature_layer="fc", **settings).fit(X, y)
    sparse = InfluentialRankClassifier(LogisticRegression(), **settings).fit(csr_matrix(X), y)
    columns = InfluentialRankClassifier(LogisticRegression(), feature_layer="decision_function", **settings).fit(X, y)
    np.testing.assert_allclose(sparse.noise_scores_, columns.noise_scores_, atol=0.05)
    with pytest.raises(TypeError, match="X is a sparse matrix"):
        InfluentialRankClassifier(LogisticRegression(), feature_layer="input", **settings).fit(csr_matrix(X), y)


def test_memory_map_of_features_stays_one(tmp_path):
    X, y = make_classification(300, 8, n_informative=6, random_state=0)
    np.save(tmp_path / "X.npy", X)
    settings = {"refine": "none", **ROUNDS}
    plain = InfluentialRankClassifier(LogisticRegression(), **settings).fit(X, y)
    mapped = InfluentialRankClassifier(LogisticRegression(), **settings).fit(
        np.load(tmp_path / "X.npy", mmap_mode="r"), y
    )
    np.testing.assert_array_equal(plain.noise_scores_, mapped.noise_scores_)


# --- the contract -----------------------------------------------------------------------------------------------------


def test_bad_input(flipped, fitted):
    X, y, _, X_test, y_test = flipped
    frozen = FrozenEstimator(fitted)
    with pytest.raises(NotFittedError, match="handed in as fitted, but is not"):
        InfluentialRankClassifier(FrozenEstimator(overfitting())).fit(X, y)
    with pytest.raises(ValueError, match="was trained on 600 rows, but X has 599"):
        InfluentialRankClassifier(frozen).fit(X[1:], y[1:])
    with pytest.raises(ValueError, match="at least 2 classes"):
        InfluentialRankClassifier(overfitting()).fit(X, np.zeros(len(y)))
    with pytest.raises(ValueError, match="label 99, which the fitted estimator does not know"):
        InfluentialRankClassifier(frozen).fit(X, np.where(y == 3, 99, y))
    for other in LinearRegression(), nn.Linear(64, 10), LogisticRegression, 3:
        with pytest.raises(TypeError, match="estimator must be a classifier, .* as module="):
            InfluentialRankClassifier(other).fit(X, y)
    for damping in (0, -0.1, "much"):
        with pytest.raises(ValueError, match=r"damping must be a number in \(0, inf"):
            InfluentialRankClassifier(frozen, damping=damping).fit(X, y)
    for name, value in {
        "removal_rate": 1.0,
        "max_rounds": 0,
        "patience": 0,
        "refine_epochs": 0,
        "refine_lr": 0,
        "data_weight": 2,
        "max_reference": 0,
        "min_class_fraction": -1,
        "min_class_count": 0,
        "validation_fraction": 1,
        "backend": "hessian",
        "rank_by": "rows",
        "refine": "nothing",
        "final": "finetune",
        "reference": "clean",
        "networks": "second",
        "scoring": "f1",
    }.items():
        with pytest.raises(ValueError, match=name):
            InfluentialRankClassifier(frozen, **{name: value}).fit(X, y)
    with pytest.raises(ValueError, match="X_val and y_val go together"):
        InfluentialRankClassifier(frozen).fit(X, y, X_val=X_test)
    with pytest.raises(ValueError, match="no label that y has"):
        InfluentialRankClassifier(frozen).fit(X, y, X_val=X_test, y_val=y_test + 100)
    bad = X.copy()
    bad[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        InfluentialRankClassifier(overfitting()).fit(bad, y)
    clf = InfluentialRankClassifier(frozen, refine="none", **ROUNDS).fit(X, y, X_val=X_test, y_val=y_test)
    with pytest.raises(ValueError, match="filter takes the 600 rows"):
        clf.filter(X_test, y_test)
    with pytest.raises(ValueError, match="label 77, which fit has not seen"):
        clf.rank_samples(X, np.full(len(y), 77))


def test_labels_only_the_validation_has_are_left_out(flipped, fitted):
    X, y, _, X_test, y_test = flipped
    extra = np.where(np.arange(len(y_test)) < 100, 42, y_test)
    settings = {"refine": "none", **ROUNDS}
    one = InfluentialRankClassifier(FrozenEstimator(fitted), **settings).fit(X, y, X_val=X_test, y_val=extra)
    other = InfluentialRankClassifier(FrozenEstimator(fitted), **settings).fit(
        X, y, X_val=X_test[100:], y_val=y_test[100:]
    )
    np.testing.assert_array_equal(one.noise_scores_, other.noise_scores_)
    assert one.history_[0]["val_score"] == other.history_[0]["val_score"]


def test_imbalanced_rounds_are_chosen_by_balanced_accuracy():
    X, y = make_classification(600, 6, n_informative=5, n_redundant=0, weights=[0.85], random_state=0)
    X_val, y_val, X, y = X[:200], y[:200], X[200:], y[200:]
    y = np.where((y == 1) & (np.arange(400) % 2 == 0), 0, y)  # half of the rare class is missed
    base, settings = LogisticRegression(), {"refine": "none", "removal_rate": 0.02, "random_state": 0}
    auto = InfluentialRankClassifier(base, **settings).fit(X, y, X_val=X_val, y_val=y_val)
    head = RidgeSoftmax.fit(X, y, 2)
    right = head.proba(X_val).argmax(1).numpy() == y_val
    expected = (right[y_val == 0].mean() + right[y_val == 1].mean()) / 2
    assert auto.history_[0]["val_score"] == pytest.approx(expected)
    plain = InfluentialRankClassifier(base, scoring="accuracy", **settings).fit(X, y, X_val=X_val, y_val=y_val)
    assert plain.history_[0]["val_score"] == pytest.approx(right.mean())
    assert auto.best_round_ > 0


def test_few_rows_leave_the_estimator_as_it_is(blobs):
    X, y = blobs
    X, y = X[:40], y[:40]
    base = overfitting(max_epochs=5)
    with pytest.warns(UserWarning, match="no row can be removed"):
        clf = InfluentialRankClassifier(base, min_class_count=20, random_state=0).fit(X, y)
    assert (clf.best_round_, clf.n_rounds_) == (0, 0)
    assert not clf.noise_mask_.any()
    np.testing.assert_array_equal(clf.predict_proba(X), clone(base).fit(X, y).predict_proba(X))
    assert len(np.unique(clf.noise_scores_)) > 20


def test_without_validation_the_automatic_rule_runs_to_its_end(flipped):
    X, y, wrong, _, _ = flipped
    clf = InfluentialRankClassifier(overfitting(), validation_fraction=0, random_state=0).fit(X, y)
    assert clf.best_round_ == clf.n_rounds_ > 0
    assert all(row["val_score"] is None for row in clf.history_)
    assert wrong[clf.noise_mask_].mean() > 0.9
    clean = InfluentialRankClassifier(overfitting(), validation_fraction=0, random_state=0)
    digits = load_digits(return_X_y=True)
    clean.fit(digits[0][:900].astype(np.float32), digits[1][:900])
    assert clean.n_rounds_ == 0


def test_a_failed_fit_changes_nothing(flipped, fitted, monkeypatch):
    X, y, _, X_test, y_test = flipped
    clf = InfluentialRankClassifier(FrozenEstimator(fitted), **ROUNDS)
    val = {"X_val": X_test, "y_val": y_test}
    stopped = iter([None, KeyboardInterrupt])

    def finetune(*_):
        error = next(stopped)
        if error is not None:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(influential_rank_models._OwnNet, "finetune", finetune)
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, y, **val)
    with pytest.raises(NotFittedError):
        clf.predict(X)
    clf.fit(X, y, **val)
    before = copy.deepcopy({name: value for name, value in vars(clf).items() if name.endswith("_")})
    with pytest.raises(ValueError, match="damping"):
        clf.set_params(damping=-1).fit(X, y, **val)
    assert vars(clf).keys() >= before.keys()
    np.testing.assert_array_equal(clf.noise_scores_, before["noise_scores_"])
    np.testing.assert_array_equal(clf.predict(X), before["estimator_"].predict(X))


class Impatient(nn.Module):
    """A linear layer that is interrupted in training once it is armed."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 10)
        self.armed = False

    def forward(self, x):
        if self.armed and self.training:
            raise KeyboardInterrupt
        return self.inner(x)


def test_ctrl_c_in_a_skorch_net_is_not_swallowed(flipped):
    skorch = pytest.importorskip("skorch")
    X, y, _, X_test, y_test = flipped
    net = skorch.NeuralNetClassifier(Impatient(), criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0).fit(X, y)
    net.module_.armed = True
    with pytest.raises(KeyboardInterrupt):
        InfluentialRankClassifier(net, **ROUNDS).fit(X, y, X_val=X_test, y_val=y_test)


def test_grid_search_over_inner_parameters_in_two_processes(blobs):
    X, y = blobs
    clf = InfluentialRankClassifier(overfitting(max_epochs=3), **ROUNDS)
    grid = {"estimator__module__width": [8, 16], "damping": [0.1, 1.0]}
    two = GridSearchCV(clf, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    one = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(X, y)
    np.testing.assert_array_equal(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])
    assert two.best_params_.keys() == grid.keys()


def test_estimator_without_a_seed_gets_one(blobs):
    X, y = blobs
    clf = InfluentialRankClassifier(CrossEntropyClassifier(max_epochs=3, device="cpu"), **ROUNDS)
    np.testing.assert_array_equal(clf.fit(X, y).predict_proba(X), clone(clf).fit(X, y).predict_proba(X))
    assert clf.estimator.random_state is None


def test_string_labels_and_a_line_a_round(blobs, capsys):
    X, y = blobs
    y = np.where(np.arange(len(y)) % 10 == 0, np.roll(y, 1), y)
    clf = InfluentialRankClassifier(ELRClassifier(max_epochs=5, device="cpu"), verbose=1, **ROUNDS).fit(X, y)
    assert set(clf.predict(X)) <= {"ant", "bee", "cat"}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == clf.n_rounds_
    assert lines[0].startswith("round 1: ")
    assert "validation accuracy" in lines[0]


def test_fine_tuning_leaves_the_methods_own_memory(flipped):
    X, y, _, X_test, y_test = flipped
    base = ELRClassifier(max_epochs=8, device="cpu", random_state=0).fit(X, y)
    clf = InfluentialRankClassifier(FrozenEstimator(base), **ROUNDS).fit(X, y, X_val=X_test, y_val=y_test)
    np.testing.assert_array_equal(clf.estimator_.soft_labels_, base.soft_labels_)
    assert len(clf.estimator_.history_) == len(base.history_)
    assert clf.estimator_.net_.lr == base.net_.lr
    embedding = MOITClassifier(max_epochs=3, device="cpu", random_state=0).fit(X, y)
    tuned = InfluentialRankClassifier(FrozenEstimator(embedding), **ROUNDS).fit(X, y, X_val=X_test, y_val=y_test)
    assert tuned.transform(X).shape == (600, 128)
