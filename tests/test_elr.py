"""ELR and ELR+ against the numbers of the authors' loss code, a slow recomputation, and their own limits."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustlabels import CrossEntropyClassifier, ELRClassifier, ELRPlusClassifier, load
from robustlabels.comparison import Split
from robustlabels.maths.functional import sigmoid_rampup, update_average
from robustlabels.methods import elr
from robustlabels.methods.elr import (
    ELRObjective,
    ELRPlusObjective,
    ELRPlusSettings,
    TargetMemory,
    default_clamp,
    default_lam,
    early_learning_regularizer,
)
from robustlabels.modules import Twin
from robustlabels.noise import CIFAR10_PAIRS, AsymmetricNoise, SymmetricNoise
from robustlabels.training.objective import Batch


def batch(index, labels, n_classes, x=None, pass_number=0):
    """A batch whose inputs are whatever the model ignores."""
    index = torch.tensor(index)
    x = torch.zeros(len(index), 1) if x is None else x
    return Batch(x, F.one_hot(torch.tensor(labels), n_classes).float(), index, torch.ones(len(index)), pass_number)


class Fixed(nn.Module):
    """A model whose logits are given, and which collects their gradient."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x, member=None):
        return self.logits


def objective(n, k, lam=3.0, beta=0.7, **memory):
    return ELRObjective(TargetMemory(n, k, beta, **memory), lam=lam, clamp_eps=default_clamp(k))


# --- oracles ----------------------------------------------------------------------------------------------------------

FIRST = [[2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [-1.0, 2.0, 0.5]]
SECOND = [[2.5, 0.5, 0.0], [0.5, 0.0, 2.0], [-1.0, 1.0, 1.5]]


def test_oracle_1_two_elr_batches():
    elr_loss = objective(5, 3)
    model = Fixed(FIRST)
    loss, _ = elr_loss(model, batch([4, 0, 2], [0, 1, 1], 3))
    loss.backward()
    table = elr_loss.memory.table("values")
    expected = {4: (0.19957229, 0.07341854, 0.02700917), 0: (0.01358355, 0.01358355, 0.27283293)}
    expected |= {2: (0.01173377, 0.23567912, 0.05258712), 1: (0, 0, 0), 3: (0, 0, 0)}
    for row, target in expected.items():
        np.testing.assert_allclose(table[row], target, atol=1e-7)
    assert loss.item() == pytest.approx(0.5781792, abs=1e-6)
    cross_entropy = F.cross_entropy(model.logits, torch.tensor([0, 1, 1])).item()
    assert cross_entropy == pytest.approx(1.2479467, abs=1e-6)
    assert (loss.item() - cross_entropy) / 3 == pytest.approx(-0.2232558, abs=1e-6)
    gradient = [
        [-0.14804365, 0.10462160, 0.04342210],
        [0.02931453, -0.30401883, 0.27470431],
        [0.02193150, -0.11132769, 0.08939619],
    ]
    np.testing.assert_allclose(model.logits.grad, gradient, atol=1e-7)

    model = Fixed(SECOND)
    loss, _ = elr_loss(model, batch([4, 0, 2], [0, 1, 1], 3))
    loss.backward()
    expected = {4: (0.38612330, 0.08474267, 0.03913403), 0: (0.05878398, 0.03939558, 0.41182047)}
    expected |= {2: (0.02279689, 0.27273181, 0.21447130)}
    for row, target in expected.items():
        np.testing.assert_allclose(table[row], target, atol=1e-7)
        assert table[row].sum().item() == pytest.approx(0.51, abs=1e-6)
    assert loss.item() == pytest.approx(0.1391916, abs=1e-6)
    gradient = [
        [-0.12920699, 0.07757239, 0.05163454],
        [0.11675876, -0.25968865, 0.14292991],
        [0.02897208, -0.23525564, 0.20628354],
    ]
    np.testing.assert_allclose(model.logits.grad, gradient, atol=1e-7)


@pytest.mark.parametrize(
    ("p", "t", "y", "lam", "gradient"),
    [
        ((0.7, 0.2, 0.1), (0.1, 0.8, 0.1), 0, 1, (-0.17105263, 0.05263158, 0.11842105)),
        ((0.7, 0.2, 0.1), (0.1, 0.8, 0.1), 0, 3, (0.08684211, -0.24210526, 0.15526316)),
        ((0.7, 0.2, 0.1), (0.1, 0.8, 0.1), 0, 7, (0.60263158, -0.83157895, 0.22894737)),
        ((0.6, 0.3, 0.1), (1, 0, 0), 1, 3, (-1.2, 0.65, 0.55)),
        ((0.6, 0.3, 0.1), (1, 0, 0), 0, 3, (-2.2, 1.65, 0.55)),
        ((0.6, 0.3, 0.1), (1, 0, 0), 0, 1, (-1.0, 0.75, 0.25)),
        ((0.6, 0.3, 0.1), (1, 0, 0), 1, 1, (0.0, -0.25, 0.25)),
    ],
)
def test_oracle_2_gradient_of_the_lemma(p, t, y, lam, gradient):
    logits = torch.log(torch.tensor([p], dtype=torch.float64)).requires_grad_()
    target = torch.tensor([t], dtype=torch.float64)
    regularizer = early_learning_regularizer(F.softmax(logits, 1), target)
    (g,) = torch.autograd.grad(regularizer.sum(), logits, retain_graph=True)
    assert g.sum().item() == pytest.approx(0, abs=1e-12)
    if p[0] == 0.7:
        assert regularizer.item() == pytest.approx(-0.27443685, abs=1e-8)
        np.testing.assert_allclose(g[0], (0.12894737, -0.14736842, 0.01842105), atol=1e-8)
    else:
        np.testing.assert_allclose(g[0], (-0.6, 0.45, 0.15), atol=1e-12)
    loss = F.cross_entropy(logits, torch.tensor([y])) + lam * regularizer.sum()
    (total,) = torch.autograd.grad(loss, logits)
    np.testing.assert_allclose(total[0], gradient, atol=1e-8)


@pytest.mark.parametrize(
    ("k", "floor"), [(2, -8.51703), (3, -8.11156), (10, -6.90842), (100, -4.61502), (1000, -2.39781)]
)
def test_oracle_3_saturation(k, floor):
    logits = torch.zeros(1, k)
    logits[0, 0] = 60
    model = Fixed(logits.tolist())
    elr_loss = ELRObjective(TargetMemory(1, k, beta=0.0), lam=1.0, clamp_eps=1e-4)
    loss, _ = elr_loss(model, batch([0], [0], k))
    loss.backward()
    assert loss.item() == pytest.approx(floor, abs=2e-4)
    assert model.logits.grad.abs().max() < 1e-20


def test_oracle_4_precision_of_the_storage():
    assert torch.tensor(1 - 1e-4, dtype=torch.float16) == 1
    assert torch.tensor(1 - 1e-4, dtype=torch.bfloat16) == 1
    assert torch.tensor(1 - 1e-4) < 1

    def average(dtype):
        t, value = torch.zeros((), dtype=dtype), torch.tensor(0.9, dtype=dtype)
        for _ in range(2000):
            t = 0.99 * t + 0.01 * value
        return t.item()

    assert average(torch.float32) == pytest.approx(0.8999982, abs=2e-6)
    assert average(torch.float16) == pytest.approx(0.8545, abs=1e-3)
    assert average(torch.bfloat16) == pytest.approx(0.5859, abs=1e-3)
    with pytest.raises(ValueError, match="bfloat16 has too few digits"):
        ELRClassifier(target_dtype="bfloat16").fit(np.zeros((4, 2)), [0, 1, 0, 1])


class Teachers(nn.Module):
    """A twin whose members answer with given logits."""

    def __init__(self, logits):
        super().__init__()
        self.members = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, x, member=None):
        return self.logits


@pytest.mark.parametrize(
    ("refinement", "steps", "ramp", "loss_expected", "gradient"),
    [
        (
            False, 0, 0, 0.7341903,
            [[0.20234516, 0.07648082, -0.27882600], [0.14444943, -0.18301120, 0.03856176]],
        ),
        (
            True, 0, 0, 0.6318861,
            [[0.20234515, 0.02655430, -0.22889945], [0.14444943, -0.26035202, 0.11590260]],
        ),
        (True, 19999, 40000, 0.9133879, None),
    ],
)  # fmt: skip
def test_oracle_5_elr_plus_batch(monkeypatch, refinement, steps, ramp, loss_expected, gradient):
    monkeypatch.setattr(elr, "draw_mixup", lambda *a, **k: (0.8, torch.tensor([1, 0])))
    plus = ELRPlusObjective(
        Teachers([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]),
        (TargetMemory(4, 3, 0.7), TargetMemory(4, 3, 0.7)),
        ELRPlusSettings(lam=3.0, clamp_eps=1e-4, lam_rampup=ramp, label_refinement=refinement),
    )
    plus.steps = [steps, 0]
    seen = {}
    monkeypatch.setattr(elr, "soft_cross_entropy", lambda z, y: seen.setdefault("y", y) is y and _soft(z, y))
    regularizer = elr.early_learning_regularizer
    monkeypatch.setattr(
        elr, "early_learning_regularizer", lambda p, q: seen.setdefault("q", q) is q and regularizer(p, q)
    )
    model = Fixed([[0.5, 0.2, -0.3], [0.1, 1.0, 0.0]])
    loss, _ = plus(model, batch([3, 1], [2, 1], 3))
    loss.backward()
    table = plus.memory(0).table("values")
    np.testing.assert_allclose(table[3], (0.17283507, 0.06358247, 0.06358247), atol=1e-7)
    np.testing.assert_allclose(table[1], (0.03195210, 0.23609583, 0.03195210), atol=1e-7)
    q = [[0.14465848, 0.09808514, 0.05725639], [0.06012869, 0.20159316, 0.03827817]]
    np.testing.assert_allclose(seen["q"], q, atol=1e-7)
    y = [[0, 0.29985303, 0.70014691], [0, 0.95468163, 0.04531834]] if refinement else [[0, 0.2, 0.8], [0, 0.8, 0.2]]
    np.testing.assert_allclose(seen["y"], y, atol=1e-6)
    assert loss.item() == pytest.approx(loss_expected, abs=1e-6)
    if gradient is not None:
        np.testing.assert_allclose(model.logits.grad, gradient, atol=1e-7)
    assert plus.memory(1).table("values").abs().sum() == 0


def _soft(z, y):
    return -(y * F.log_softmax(z, 1)).sum(1)


def test_oracle_6_ramps_and_teacher():
    expected = {0: 0.00673795, 2: 0.00674132, 1000: 0.00862470, 10000: 0.06005467, 20000: 0.28650480, 30000: 0.73161563}
    for step, value in expected.items():
        assert sigmoid_rampup(step, 40000) == pytest.approx(value, abs=1e-8)
    assert sigmoid_rampup(40000, 40000) == sigmoid_rampup(50000, 40000) == sigmoid_rampup(0, 0) == 1

    def teacher(ramp, gamma, start, steps):
        plus = ELRPlusObjective(
            Twin(nn.Linear(1, 1), nn.Linear(1, 1)), (TargetMemory(1, 2, 0.7), TargetMemory(1, 2, 0.7)),
            ELRPlusSettings(lam=0.0, clamp_eps=1e-4, ema_decay=gamma, ema_rampup=ramp),
        )  # fmt: skip
        students = Twin(nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double())
        plus.teachers = Twin(nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double())
        nn.init.constant_(plus.teachers.members[0].weight, start)
        seen = []
        for step in range(1, steps + 1):
            nn.init.constant_(students.members[0].weight, step)
            plus.after_step(students)
            seen.append(plus.teachers.members[0].weight.item())
        return seen

    ramped = teacher(10, 0.997, -1.0, 10)
    np.testing.assert_allclose(ramped[:5], [0.91872017, 1.90697241, 2.81986578, 3.66290023, 4.40100474], atol=1e-8)
    assert ramped[9] == pytest.approx(5.51460160, abs=1e-8)
    running = teacher(None, 0.9999, -1.0, 5)
    np.testing.assert_allclose(running, [0, 0.66666667, 1.25, 1.8, 2.33333333], atol=1e-8)


def test_oracle_7a_row_sum_after_m_visits():
    memory = TargetMemory(3, 4, beta=0.9)
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    for m in range(1, 8):
        memory.update(torch.tensor([1]), p)
        assert memory.read(torch.tensor([1])).sum().item() == pytest.approx(1 - 0.9**m, abs=1e-6)
    assert memory.read(torch.tensor([0, 2])).abs().sum() == 0


def test_oracle_7b_one_epoch_without_learning_remembers_every_row(blobs):
    X, y = blobs
    net = nn.Linear(5, 3)
    clf = ELRClassifier(net, lr=0.0, max_epochs=1, random_state=0, device="cpu", batch_size=16).fit(X, y)
    p = F.softmax(net(torch.from_numpy(X)), 1).detach().clamp(1e-4, 1 - 1e-4)
    expected = 0.3 * p / p.sum(1, keepdim=True)
    np.testing.assert_allclose(clf.net_.criterion_.memory.table("values"), expected, atol=1e-6)


def test_oracle_7c_targets_follow_their_rows(blobs):
    X, y = blobs
    order = np.random.default_rng(1).permutation(len(y))
    params = {"module": nn.Linear(5, 3), "lr": 0.0, "max_epochs": 2, "random_state": 0, "device": "cpu"}
    straight = ELRClassifier(**params).fit(X, y)
    permuted = ELRClassifier(**params).fit(X[order], y[order])
    np.testing.assert_allclose(permuted.soft_labels_, straight.soft_labels_[order], atol=1e-6)


def test_oracle_7d_no_graph_is_kept():
    elr_loss = objective(4, 3)
    elr_loss(Fixed(FIRST), batch([0, 1, 2], [0, 1, 1], 3))
    assert not elr_loss.memory.table("values").requires_grad
    assert elr_loss.memory.table("values").grad_fn is None


def test_oracle_7e_evaluation_leaves_targets_alone():
    elr_loss = objective(5, 3)
    elr_loss(Fixed(FIRST), batch([4, 0, 2], [0, 1, 1], 3))
    before = elr_loss.memory.table("values").clone()
    elr_loss.eval()
    elr_loss(Fixed(SECOND), batch([4, 0, 2], [0, 1, 1], 3))
    assert torch.equal(elr_loss.memory.table("values"), before)


def test_oracle_7f_lambda_zero_is_cross_entropy(blobs):
    X, y = blobs
    params = {"max_epochs": 5, "random_state": 0, "device": "cpu"}
    plain = CrossEntropyClassifier(**params).fit(X, y)
    without = ELRClassifier(lam=0.0, **params).fit(X, y)
    np.testing.assert_array_equal(plain.predict_proba(X), without.predict_proba(X))


@given(st.integers(2, 6), st.integers(0, 2**31))
def test_oracle_7g_gradient_sums_to_zero_without_clamping(k, seed):
    generator = torch.Generator().manual_seed(seed)
    model = Fixed((torch.randn(4, k, generator=generator)).tolist())
    elr_loss = ELRObjective(TargetMemory(4, k, 0.7), lam=3.0, clamp_eps=1e-6)
    loss, _ = elr_loss(model, batch([0, 1, 2, 3], [0, 1, 0, 1], k))
    loss.backward()
    assert model.logits.grad.sum(1).abs().max() < 1e-6


def test_oracle_7h_elr_plus_without_its_parts_is_elr():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    twin = Twin(net, net)
    plus = ELRPlusObjective(
        twin, (TargetMemory(6, 3, 0.7), TargetMemory(6, 3, 0.7)),
        ELRPlusSettings(lam=3.0, clamp_eps=1e-4, mixup_alpha=0.0, ema_decay=0.0, ema_rampup=0),
    )  # fmt: skip
    plus.train()
    twin.train()
    plain = objective(6, 3)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for seed in range(3):
        x = torch.randn(4, 2, generator=torch.Generator().manual_seed(seed))
        rows = batch([5, 0, 2, 3], [0, 1, 2, 1], 3, x)
        loss, _ = plus(twin, rows)
        expected, _ = plain(lambda x: twin(x, member=0), rows)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for k in (0, 1):  # one network: both teachers are the student
            update_average(plus.teachers.members[k], net, 0.0)
        np.testing.assert_allclose(plus.memory(0).table("values"), plain.memory.table("values"), atol=1e-4)


def test_elr_plus_without_mixup_takes_what_cannot_be_mixed():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.embed(x).mean(1))

    X = np.random.default_rng(0).integers(9, size=(40, 6))
    y = np.arange(40) % 2
    params = {"module": Tokens, "dtype": None, "max_epochs": 2, "device": "cpu", "random_state": 0}
    clf = ELRPlusClassifier(mixup_alpha=0, **params).fit(X, y)
    np.testing.assert_array_equal(clf.predict_proba(X), ELRPlusClassifier(**params).fit(X, y).predict_proba(X))
    with pytest.raises(ValueError, match=r"mixup takes floating tensors, got x of torch\.int64"):
        ELRPlusClassifier(mixup_alpha=0.4, **params).fit(X, y)


@pytest.mark.parametrize("method", [ELRClassifier, ELRPlusClassifier])
def test_a_rare_class_lowers_lambda(blobs, method):
    X, y = blobs
    rare = np.flatnonzero((y != y[0]) | (np.cumsum(y == y[0]) <= 5))
    params = {"max_epochs": 3, "random_state": 0, "device": "cpu"}
    for rows, lam in ((np.arange(len(y)), 5.0), (rare, 1.0)):
        auto = method(**params).fit(X[rows], y[rows])
        assert auto.lam_ == lam
        np.testing.assert_array_equal(
            auto.predict_proba(X), method(lam=lam, **params).fit(X[rows], y[rows]).predict_proba(X)
        )


def test_lambda_is_settled_by_the_labels_it_was_fitted_on(blobs, tmp_path):
    X, y = blobs
    rare = np.flatnonzero((y != y[0]) | (np.cumsum(y == y[0]) <= 5))
    clf = ELRClassifier(max_epochs=2, random_state=0, device="cpu", warm_start=True).fit(X[rare], y[rare])
    clf.save(tmp_path / "clf.safetensors")
    again = load(tmp_path / "clf.safetensors")
    assert again.lam_ == again.net_.criterion_.lam == clf.lam_ == 1
    assert clf.fit(X[rare], y[rare]).net_.criterion_.lam == 1
    assert ELRClassifier(max_epochs=2, random_state=0, device="cpu").fit(X[rare], y[rare]).fit(X, y).lam_ == 5


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_default_lambda_knows_no_order_and_no_empty_classes(counts):
    lam = default_lam(counts)
    assert lam == default_lam(sorted(counts)) == default_lam([*counts, 0]) == default_lam([10 * c for c in counts])
    assert default_lam([7] * len(counts)) == 5


@pytest.mark.parametrize(("shape", "alpha"), [((120, 9), 0.4), ((120, 1, 9, 9), 1.0)])
def test_elr_plus_mixes_rows_less_than_images(shape, alpha):
    X, y = np.random.default_rng(0).normal(size=shape), np.arange(120) % 3
    params = {"module": "mlp", "max_epochs": 2, "random_state": 0, "device": "cpu"}
    proba = [ELRPlusClassifier(mixup_alpha=a, **params).fit(X, y).predict_proba(X) for a in ("auto", alpha, 0.1)]
    np.testing.assert_array_equal(proba[0], proba[1])
    assert np.abs(proba[0] - proba[2]).max() > 1e-3
    assert ELRPlusClassifier.from_paper("cifar100").mixup_alpha == 1


def test_oracle_8_noise_of_the_published_tables():
    y = np.repeat(np.arange(10), 4500)
    nominal = SymmetricNoise(0.4, include_true_class=True, random_state=0)
    nominal.flip(y)
    assert nominal.rate_ == pytest.approx(0.36, abs=0.005)
    published = AsymmetricNoise(0.4, CIFAR10_PAIRS, sequential=True, random_state=0)
    published.flip(y)
    assert published.rate_ == pytest.approx(0.1835, abs=0.005)
    wrong = [published.flip_mask_[y == c].mean() for c in (3, 5, 2)]
    np.testing.assert_allclose(wrong, (0.237, 0.397, 0.4), atol=0.02)
    correct = AsymmetricNoise(0.4, CIFAR10_PAIRS, random_state=0)
    correct.flip(y)
    assert correct.rate_ == pytest.approx(0.2, abs=1e-12)


def test_oracle_9_flags_are_where_the_target_disagrees(digits):
    X, y, *_ = digits
    clf = ELRClassifier(max_epochs=10, random_state=0, device="cpu").fit(X, y)
    targets = clf.net_.criterion_.memory.table("values").numpy()
    np.testing.assert_array_equal(clf.noise_mask_, targets.argmax(1) != y)
    normalized = targets / targets.sum(1, keepdims=True)
    np.testing.assert_allclose(clf.noise_scores_, 1 - normalized[np.arange(len(y)), y], atol=1e-6)
    np.testing.assert_allclose(clf.soft_labels_, normalized, atol=1e-6)
    slow = np.array([[normalized[y == k, j].sum() for k in range(10)] for j in range(10)])
    np.testing.assert_allclose(clf.transition_matrix_, slow / slow.sum(1, keepdims=True), atol=1e-6)


# --- the memory -------------------------------------------------------------------------------------------------------


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 2**31))
def test_memory_against_an_obvious_loop(k, visits, seed):
    generator = torch.Generator().manual_seed(seed)
    memory = TargetMemory(6, k, 0.7)
    slow = np.zeros((6, k))
    for _ in range(visits):
        index = torch.randperm(6, generator=generator)[:4]
        p = F.softmax(torch.randn(4, k, generator=generator), 1)
        returned = memory.update(index, p)
        for row, i in enumerate(index.tolist()):
            slow[i] = 0.7 * slow[i] + 0.3 * p[row].double().numpy()
            np.testing.assert_allclose(returned[row], slow[i], atol=1e-6)
    np.testing.assert_allclose(memory.read(torch.arange(6)), slow, atol=1e-6)


@pytest.mark.parametrize("storage", ["device", "cpu", "memmap"])
@pytest.mark.parametrize("top_m", [None, 5, 99])
def test_storages_agree(storage, top_m):
    generator = torch.Generator().manual_seed(0)
    plain = TargetMemory(8, 5, 0.9)
    other = TargetMemory(8, 5, 0.9, storage=storage, top_m=top_m)
    for _ in range(5):
        index = torch.randperm(8, generator=generator)[:4]
        p = F.softmax(3 * torch.randn(4, 5, generator=generator), 1)
        torch.testing.assert_close(plain.update(index, p), other.update(index, p))
    torch.testing.assert_close(plain.read(torch.arange(8)), other.read(torch.arange(8)))
    again = TargetMemory(8, 5, 0.9, storage=storage, top_m=top_m)
    again.load_state_dict(other.state_dict())
    torch.testing.assert_close(again.read(torch.arange(8)), other.read(torch.arange(8)))


def test_top_m_keeps_the_largest_entries():
    memory = TargetMemory(1, 4, 0.5, top_m=2)
    memory.update(torch.tensor([0]), torch.tensor([[0.4, 0.1, 0.3, 0.2]]))
    torch.testing.assert_close(memory.read(torch.tensor([0])), torch.tensor([[0.2, 0.0, 0.15, 0.0]]))
    assert memory.table("values").shape == memory.table("classes").shape == (1, 2)


def test_float16_storage_stays_within_its_rounding():
    memory, half = TargetMemory(1, 3, 0.9), TargetMemory(1, 3, 0.9, dtype="float16")
    for _ in range(50):
        p = torch.tensor([[0.7, 0.2, 0.1]])
        memory.update(torch.tensor([0]), p)
        half.update(torch.tensor([0]), p)
    torch.testing.assert_close(half.read(torch.tensor([0])), memory.read(torch.tensor([0])), atol=4e-3, rtol=0)
    assert half.table("values").dtype == torch.float16


def test_non_finite_predictions_leave_their_targets():
    memory = TargetMemory(2, 2, 0.5)
    memory.update(torch.tensor([0, 1]), torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    memory.update(torch.tensor([0, 1]), torch.tensor([[math.nan, 0.5], [1.0, 0.0]]))
    torch.testing.assert_close(memory.read(torch.tensor([0, 1])), torch.tensor([[0.25, 0.25], [0.625, 0.125]]))
    assert memory.table("values").isfinite().all()


@pytest.mark.parametrize("storage", ["cpu", "memmap"])
def test_other_storages_train_the_same_model(blobs, storage):
    X, y = blobs
    params = {"max_epochs": 4, "random_state": 0, "device": "cpu"}
    plain = ELRClassifier(**params).fit(X, y)
    other = ELRClassifier(target_storage=storage, **params).fit(X, y)
    np.testing.assert_array_equal(plain.predict_proba(X), other.predict_proba(X))
    np.testing.assert_array_equal(plain.noise_scores_, other.noise_scores_)
    assert not hasattr(other, "soft_labels_")


def test_top_m_of_a_hundred_classes_moves_accuracy_by_little():
    rng = np.random.default_rng(0)
    y = rng.integers(100, size=2000)
    X = (rng.normal(size=(2000, 60)) + 1.2 * rng.normal(size=(100, 60))[y]).astype(np.float32)
    params = {"max_epochs": 12, "random_state": 0, "device": "cpu", "beta": 0.9}
    whole = ELRClassifier(**params).fit(X[:1500], y[:1500])
    top = ELRClassifier(target_top_m=8, **params).fit(X[:1500], y[:1500])
    assert abs(whole.score(X[1500:], y[1500:]) - top.score(X[1500:], y[1500:])) <= 0.01


# --- ELR+ -------------------------------------------------------------------------------------------------------------


def test_elr_plus_walks_the_rows_once_for_each_student(blobs):
    X, y = blobs
    clf = ELRPlusClassifier(max_epochs=2, batch_size=50, random_state=0, device="cpu").fit(X, y)
    assert clf.net_.criterion_.steps == [8, 8]
    sums = [clf.net_.criterion_.memory(k).table("values").sum(1) for k in (0, 1)]
    for total in sums:
        np.testing.assert_allclose(total, 1 - 0.7**2, atol=1e-5)
    first, second = clf.module_.members
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_elr_plus_predicts_by_the_mean_of_the_logits(blobs):
    X, y = blobs
    clf = ELRPlusClassifier(max_epochs=2, random_state=0, device="cpu").fit(X, y)
    x = torch.from_numpy(X)
    with torch.no_grad():
        logits = (clf.module_.members[0](x) + clf.module_.members[1](x)) / 2
    np.testing.assert_allclose(clf.predict_proba(X), F.softmax(logits, 1), atol=1e-5)


def test_teachers_learn_only_by_averaging(blobs):
    X, y = blobs
    clf = ELRPlusClassifier(max_epochs=1, ema_decay=1.0, ema_rampup=0.0, random_state=0, device="cpu").fit(X, y)
    teacher, student = clf.net_.criterion_.teachers.members[0], clf.module_.members[0]
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not torch.equal(next(iter(teacher.parameters())), next(iter(student.parameters())))
    copied = ELRPlusClassifier(max_epochs=1, ema_decay=0.0, random_state=0, device="cpu").fit(X, y)
    teacher, student = copied.net_.criterion_.teachers.members[0], copied.module_.members[0]
    for a, b in zip(teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_from_paper_holds_the_published_settings():
    clf = ELRClassifier.from_paper("cifar10-asym", max_epochs=1)
    assert (clf.lam, clf.beta, clf.module, clf.batch_size, clf.max_epochs) == (1.0, 0.9, "resnet34", 128, 1)
    assert clf.get_params()["optimizer__weight_decay"] == 1e-3
    factor = ELRClassifier.from_paper("cifar10-sym")._lr_factor()
    assert [factor(e, 120) for e in (0, 39, 40, 80)] == pytest.approx([1, 1, 0.01, 0.0001])
    cosine = ELRClassifier.from_paper("cifar10-sym-cosine")._lr_factor()
    published = [0.02, 0.019535, 0.018186, 0.016084, 0.013436, 0.0105, 0.007564, 0.004916, 0.002814, 0.001465]
    assert [0.02 * cosine(e, 150) for e in range(10)] == pytest.approx(published, abs=1e-6)
    plus = ELRPlusClassifier.from_paper("cifar100")
    assert (plus.lam, plus.label_refinement, plus.module) == (7.0, True, "preact_resnet18")
    with pytest.raises(ValueError, match="'cifar10-sym'"):
        ELRClassifier.from_paper("mnist")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lam": -1}, r"lam must be a number in \[0, inf\) or 'auto', got -1"),
        ({"beta": 1.0}, r"beta must be a number in \[0, 1\), got 1.0"),
        ({"target_storage": "disk"}, "target_storage must be"),
        ({"target_top_m": 0}, "target_top_m must be an integer"),
        ({"clamp_eps": 0.6}, "clamp_eps"),
    ],
)
def test_bad_parameters_are_named(blobs, params, message):
    with pytest.raises(ValueError, match=message):
        ELRClassifier(**params).fit(*blobs)


# --- behavior on Gaussian mixtures -----------------------------------------------------------------------------------


def gaussian_mixture(seed, n, d, n_classes, norm):
    """Means in random directions, unit noise, 40 % symmetric flips; the test part is clean."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(n_classes, d))
    means *= norm / np.linalg.norm(means, axis=1, keepdims=True)
    true, y_test = rng.integers(n_classes, size=n), rng.integers(n_classes, size=4000)
    X, X_test = ((means[y] + rng.normal(size=(len(y), d))).astype(np.float32) for y in (true, y_test))
    return Split(X, SymmetricNoise(0.4, random_state=seed).flip(true), true, X_test, y_test)


class ReluNet(nn.Sequential):
    def __init__(self, n_features, n_classes):
        super().__init__(nn.Linear(n_features, 256), nn.ReLU(), nn.Linear(256, n_classes))


PLAIN = {"module": ReluNet, "batch_size": 64, "lr": 0.02, "lr_schedule": "constant"}


@pytest.mark.parametrize("seed", [0, 1])
def test_oracle_10_medium_mixture(seed):
    split = gaussian_mixture(seed, n=3000, d=50, n_classes=4, norm=3.5)
    settings = {**PLAIN, "max_epochs": 60, "random_state": seed}
    plain = CrossEntropyClassifier(**settings).fit(split.X, split.given)
    elr = ELRClassifier(**settings, lam=7.0, beta=0.7).fit(split.X, split.given)
    assert elr.score(split.X_test, split.y_test) - plain.score(split.X_test, split.y_test) > 0.2
    assert (elr.noise_mask_ == (split.given != split.true)).mean() > 0.9


# T10's means over seeds at the last epoch, with its tolerance.
SMALL = {"n": 600, "d": 100, "n_classes": 3, "norm": 4.0}
MEDIUM = {"n": 3000, "d": 50, "n_classes": 4, "norm": 3.5}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mixture", "max_epochs", "seeds", "lam", "beta", "accuracy"),
    [
        (SMALL, 150, 3, 0.0, 0.7, 0.695),
        (SMALL, 150, 3, 1.0, 0.7, 0.673),
        (SMALL, 150, 3, 3.0, 0.7, 0.657),
        (SMALL, 150, 3, 7.0, 0.7, 0.951),
        (SMALL, 150, 3, 15.0, 0.7, 0.38),
        (SMALL, 150, 3, 3.0, 0.0, 0.335),
        (MEDIUM, 60, 2, 0.0, 0.7, 0.606),
        (MEDIUM, 60, 2, 1.0, 0.7, 0.599),
        (MEDIUM, 60, 2, 3.0, 0.7, 0.821),
        (MEDIUM, 60, 2, 7.0, 0.7, 0.961),
    ],
)
def test_oracle_10_mixtures(mixture, max_epochs, seeds, lam, beta, accuracy):
    scores = []
    for seed in range(seeds):
        split = gaussian_mixture(seed, **mixture)
        elr = ELRClassifier(**PLAIN, max_epochs=max_epochs, lam=lam, beta=beta, random_state=seed)
        scores.append(elr.fit(split.X, split.given).score(split.X_test, split.y_test))
    assert np.mean(scores) == pytest.approx(accuracy, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("lam", "accuracy"), [(0.0, 0.654), (1.0, 0.713), (3.0, 0.924), (7.0, 0.974)])
def test_oracle_10_elr_plus(lam, accuracy):
    split = gaussian_mixture(0, **MEDIUM)
    settings = {"module": "mlp", "module__depth": 1, "batch_size": 64, "lr_schedule": "constant", "max_epochs": 60}
    elr = ELRPlusClassifier(**settings, mixup_alpha=1.0, lam=lam, random_state=0).fit(split.X, split.given)
    assert elr.score(split.X_test, split.y_test) == pytest.approx(accuracy, abs=0.05)
