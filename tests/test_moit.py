"""MOIT and MOIT+ against the numbers of the authors' functions, slow mask forms, and their limits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustlabels import CrossEntropyClassifier, MOITClassifier, MOITPlusClassifier
from robustlabels.augment import GaussianNoise
from robustlabels.comparison import PROBLEMS
from robustlabels.maths.functional import most_votes, nearest_neighbors, two_pass_votes
from robustlabels.methods import moit
from robustlabels.methods.moit import (
    MemoryBank,
    MOITObjective,
    MOITSettings,
    balanced_flags,
    bootstrapped_targets,
    corrected_targets,
    interpolated_contrastive_loss,
)
from robustlabels.noise import SymmetricNoise
from robustlabels.training.objective import Batch


def circle(*degrees):
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], 1)


def masks(z, y, lam, partner, tau, bank=None, bank_y=None, offset=0, variant="code"):
    """The loss with every mask spelled out, one row and one candidate at a time."""
    b, n = len(y), 2 * len(y)
    source = [i % b for i in range(n)]
    minor = [partner[i // b][i % b].item() for i in range(n)]
    share = [lam[i // b] for i in range(n)]
    candidates = z if bank is None else bank
    labels = [y[s].item() for s in source] if bank is None else bank_y.tolist()
    total = 0.0
    for i in range(n):
        allowed = [j for j in range(len(candidates)) if j != offset + i]
        s = {j: (z[i] @ candidates[j]) / tau for j in allowed}
        normalizer = torch.logsumexp(torch.stack(list(s.values())), 0)
        in_batch = {offset + k: k for k in range(n)}
        w1 = {j: float(labels[j] == y[source[i]]) for j in allowed}
        w2 = {}
        for j in allowed:
            same_label = float(labels[j] == y[minor[i]])
            same_image = float(j in in_batch and source[in_batch[j]] == minor[i])
            w2[j] = same_label + same_image if variant == "code" else max(same_label, same_image)
        for weight, w in ((share[i], w1), (1 - share[i], w2)):
            total = total - weight * sum(w[j] * (s[j] - normalizer) for j in allowed) / sum(w.values())
    return total / n


M1 = {
    "y": torch.tensor([0, 0, 1]),
    "lam": (0.7, 0.6),
    "partner": (torch.tensor([2, 0, 1]), torch.tensor([1, 0, 2])),
}
M1_Z = circle(0, 30, 90, 10, 50, 120)


def loss(z, y, lam, partner, k=2, **kwargs):
    return interpolated_contrastive_loss(z, y, k, lam, partner, **kwargs)


def test_oracle_1_contrastive_loss_of_a_batch():
    z = M1_Z.clone().requires_grad_()
    value = loss(z, **M1)
    value.backward()
    assert value.item() == pytest.approx(1.8951806659, abs=1e-9)
    gradient = [
        (0.63697195, -1.13483417), (0.38552767, 0.57618666), (-0.22416675, 0.30756149),
        (0.84997302, -0.71584475), (-0.98574823, 0.78778064), (-0.24210989, 0.02834238),
    ]  # fmt: skip
    np.testing.assert_allclose(z.grad, gradient, atol=2e-7)
    slow = M1_Z.clone().requires_grad_()  # what the reference is off by, it is off from the masks in double as well
    masks(slow, **M1, tau=0.1).backward()
    np.testing.assert_allclose(z.grad, slow.grad, atol=1e-12)
    assert loss(M1_Z, **M1, variant="paper").item() == pytest.approx(1.905600, abs=1e-6)
    assert loss(M1_Z, **{**M1, "lam": (1.0, 1.0)}).item() == pytest.approx(1.111946, abs=1e-6)
    assert masks(M1_Z, **M1, tau=0.1).item() == pytest.approx(1.8951806659, abs=1e-9)


def test_oracle_2_contrastive_loss_of_a_bank():
    bank = MemoryBank(16, 2).double()
    bank.push(circle(*range(200, 260, 10)), torch.tensor([1, 1, 0, 1, 1, 0]))
    bank.push(circle(*range(260, 320, 10)), torch.tensor([0, 1, 1, 0, 1, 1]))
    assert bank.pointer == 12
    offset = bank.push(M1_Z, torch.tensor([0, 0, 1, 0, 0, 1]))
    assert (offset, bank.pointer) == (10, 0)
    assert bank.y.tolist() == [1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1]
    z = M1_Z.clone().requires_grad_()
    memory = loss(z, **M1, bank=bank.z, bank_y=bank.y, offset=offset)
    assert memory.item() == pytest.approx(10.1523593223, abs=1e-8)
    whole = memory + loss(z, **M1)
    assert whole.item() == pytest.approx(12.047540, abs=1e-6)
    whole.backward()
    gradient = [
        (2.14735788, -0.31934468), (1.30935184, 1.77401871), (-0.16835090, 2.33359837),
        (1.94450861, 0.06164508), (-0.25593710, 2.22980853), (0.38961095, 2.38911790),
    ]  # fmt: skip
    np.testing.assert_allclose(z.grad, gradient, atol=1e-7)
    assert not bank.z.requires_grad


def test_oracle_3_larger_seeded_case():
    rng = np.random.RandomState(0)

    def unit(n):
        rows = rng.randn(n, 4)
        return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    z = unit(16)
    y = torch.from_numpy(rng.randint(3, size=8))
    partner = (torch.from_numpy(rng.permutation(8)), torch.from_numpy(rng.permutation(8)))
    old, old_y = unit(20), torch.from_numpy(rng.randint(3, size=20))
    case = {"y": y, "lam": (0.9, 0.55), "partner": partner, "k": 3}
    assert y.tolist() == [2, 2, 0, 1, 2, 2, 1, 2]
    assert loss(z, **case).item() == pytest.approx(8.60404670649587, abs=1e-10)
    bank, bank_y = torch.cat([old, z]), torch.cat([old_y, y, y])
    memory = loss(z, **case, bank=bank, bank_y=bank_y, offset=20)
    assert memory.item() == pytest.approx(9.664578838406612, abs=1e-10)


@given(st.integers(2, 6), st.integers(0, 2**31), st.sampled_from(["code", "paper"]), st.integers(0, 7))
def test_class_sums_equal_the_mask_form(b, seed, variant, older):
    generator = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(2 * b, 3, generator=generator, dtype=torch.float64), dim=1).requires_grad_()
    y = torch.randint(3, (b,), generator=generator)
    partner = tuple(torch.randperm(b, generator=generator) for _ in range(2))
    case = {"y": y, "lam": (0.8, 0.55), "partner": partner, "variant": variant}
    fast, slow = loss(z, **case, k=3), masks(z, **case, tau=0.1)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad(value, z)[0] for value in (fast, slow)))
    old = F.normalize(torch.randn(older, 3, generator=generator, dtype=torch.float64), dim=1)
    bank = {
        "bank": torch.cat([old, z.detach()]),
        "bank_y": torch.cat([torch.randint(3, (older,), generator=generator), y, y]),
        "offset": older,
    }
    fast, slow = loss(z, **case, k=3, **bank), masks(z, **case, tau=0.1, **bank)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad(value, z)[0] for value in (fast, slow)))


@pytest.mark.parametrize("offset", [0, 3])
def test_gradient_of_the_normalizer(offset):
    generator = torch.Generator().manual_seed(0)
    z, candidates = (torch.randn(n, 2, generator=generator, dtype=torch.float64).requires_grad_() for n in (4, 9))
    assert torch.autograd.gradcheck(moit._LogNormalizer.apply, (z, candidates, offset))


def test_oracle_4_first_in_first_out():
    bank = MemoryBank(20, 1)
    pointers = []
    for number, size in enumerate([6, 6, 6, 6, 6, 4, 6, 6, 6]):
        bank.push(torch.zeros(size, 1), torch.full((size,), number))
        pointers.append(bank.pointer)
        assert (bank.filled == 20) == (number >= 3)
    assert pointers == [6, 12, 18, 0, 6, 10, 16, 0, 6]
    assert bank.y.tolist() == [8] * 6 + [5] * 4 + [6] * 4 + [7] * 6
    small = MemoryBank(12, 1)
    assert [small.push(torch.zeros(6, 1), torch.zeros(6, dtype=torch.int64)) for _ in range(3)] == [0, 6, 6]
    assert small.pointer == 0


A = (circle(0, 3, 7, 12, 18, 90, 94, 99, 105, 112), torch.tensor([0, 0, 1, 0, 0, 1, 1, 1, 0, 1]))
B = (
    circle(0, 2, 4, 6, 8, 10, 90, 92, 94, 97, 101, 200, 203, 207, 212),
    torch.tensor([0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 2, 2, 2, 2, 0]),
)


def detect(z, y, k, balance="median", **kwargs):
    n_classes = int(y.max()) + 1
    first, second = two_pass_votes(nearest_neighbors(z, k, **kwargs), y, n_classes)
    rows = torch.arange(len(y))
    d1, d2 = (-torch.log((v[rows, y] / k).clamp(0.01, 0.99)) for v in (first, second))
    return d1, d2, *balanced_flags(first, second, y, balance)


def test_oracle_5a_detection():
    wrong = torch.tensor([i in (2, 8) for i in range(10)])
    for balance in (None, "median", "min", "max"):
        d1, d2, agreement, clean = detect(*A, 3, balance)
        np.testing.assert_allclose(d1, np.where(wrong, 4.60517019, 0.40546511), atol=1e-6)
        np.testing.assert_allclose(d2, np.where(wrong, 4.60517019, 0.01005034), atol=1e-6)
        assert torch.equal(agreement, ~wrong)
        assert torch.equal(clean, ~wrong)
    d1, d2, _, clean = detect(*A, 4)
    np.testing.assert_allclose(d1, np.where(wrong, 4.60517019, 0.28768207), atol=1e-6)
    assert torch.equal(clean, ~wrong)


def test_oracle_5b_two_passes():
    d1, d2, agreement, _ = detect(*B, 3)
    expected = np.full(15, 0.01005034)
    expected[[6, 7]], expected[8], expected[[3, 10, 14]] = 0.405465, 1.098612, 4.605170
    np.testing.assert_allclose(d2, expected, atol=1e-6)
    assert agreement.nonzero()[:, 0].tolist() == [0, 1, 2, 4, 5, 6, 7, 9, 11, 12, 13]
    assert d1[9].item() == pytest.approx(1.098612, abs=1e-6)


def test_oracle_5c_balancing():
    *_, clean = detect(*B, 3, "median")
    chosen = set(clean.nonzero()[:, 0].tolist())
    assert len(chosen & {0, 1, 2, 4, 5}) == 3
    assert chosen - {0, 1, 2, 4, 5} == {6, 7, 9, 11, 12, 13}
    *_, clean = detect(*B, 3, "max")
    assert clean.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13]


def test_oracle_5d_order_and_blocks_do_not_matter():
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    for z, y in (A, B):
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
        d1, d2, agreement, clean = detect(z, y, 3, None)
        for block_size in (1, 4, 7, 100):
            moved = detect(z[order], y[order], 3, None, block_size=block_size)
            for before, after in zip((d1, d2, agreement, clean), moved, strict=True):
                assert torch.equal(before[order], after)


def test_oracle_5e_too_many_neighbors():
    *_, agreement, _ = detect(*B, 14)
    assert torch.equal(agreement, B[1] == 0)
    with pytest.raises(ValueError, match=r"n_neighbors must be in \[1, 14\] for 15 rows, got 15"):
        nearest_neighbors(B[0], 15)


def test_oracle_5f_labels_are_left_alone(blobs):
    y = B[1].clone()
    detect(B[0], y, 3)
    assert torch.equal(y, B[1])


H_A = torch.tensor([[1, 0, -1], [0, 0.5, 0], [0.2, 0, 1]])
H_B = torch.tensor([[0.5, 0.5, 0], [-1, 1, 0], [0, 0.3, 0.6]])
H_0 = torch.tensor([[2, 0, 0], [1, 1.5, 0], [0, 2, 1]])
PI = (torch.tensor([1, 2, 0]), torch.tensor([0, 2, 1]))


def classification(logits, clean, variant="paper"):
    targets = [
        corrected_targets(torch.eye(3), F.softmax(H_0, 1), clean, lam, pi, variant=variant)
        for lam, pi in zip((0.8, 0.6), PI, strict=True)
    ]
    return F.cross_entropy(torch.cat(logits), torch.cat(targets)), torch.cat(targets)


def test_oracle_6_classification_loss():
    every, flags, none = torch.ones(3), torch.tensor([1, 1, 0]), torch.zeros(3)
    assert classification((H_A, H_B), every)[0].item() == pytest.approx(0.8288834, abs=1e-6)
    assert classification((H_A, H_B), flags, "paper")[0].item() == pytest.approx(0.9031098, abs=1e-6)
    assert classification((H_A, H_B), every, "code")[0].item() == pytest.approx(0.8288834, abs=1e-6)
    for variant in ("code", "paper"):
        assert classification((H_A, H_B), none, variant)[0].item() == pytest.approx(1.0583891, abs=1e-6)
    h_a, h_b = H_A.clone().requires_grad_(), H_B.clone().requires_grad_()
    value, targets = classification((h_a, h_b), flags, "code")
    assert value.item() == pytest.approx(0.9182934, abs=1e-6)
    np.testing.assert_allclose(targets.sum(1), [1, 1.2, 0.8, 1, 1.4, 0.6], atol=1e-6)
    value.backward()
    np.testing.assert_allclose(
        h_a.grad,
        [[-0.02245984, 0.00745475, 0.01500510], [0.05181270, -0.06513549, 0.01332277],
         [0.02096437, -0.06170651, 0.04074215]],
        atol=1e-7,
    )  # fmt: skip
    np.testing.assert_allclose(
        h_b.grad,
        [[-0.10272472, 0.06394196, 0.03878276], [0.01500509, 0.01087348, -0.02587859],
         [0.01496639, -0.03416873, 0.01920233]],
        atol=1e-7,
    )  # fmt: skip


def test_oracle_7_fine_tuning_loss():
    for weight, expected in ((0.0, 0.7530947), (0.2, 0.7997614)):
        targets = bootstrapped_targets(torch.eye(3), H_0, 0.8, PI[0], weight)
        assert F.cross_entropy(H_A, targets).item() == pytest.approx(expected, abs=1e-6)


# --- invariants -------------------------------------------------------------------------------------------------------


def objective_and_batch(n=12, seed=0, **params):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    y = torch.arange(n) % 3
    batch = Batch(torch.randn(n, 4), F.one_hot(y, 3).float(), torch.arange(n), torch.ones(n))
    settings = {"memory_size": 4 * n, "memory_start": 0, "correction_start": 1, "n_neighbors": 3, **params}
    return MOITObjective(n, 3, 8, MOITSettings(projection_dim=5, **settings)), net, batch


def test_oracle_8a_embeddings_have_unit_norm():
    objective, net, batch = objective_and_batch()
    z, _ = objective.embed(net, batch.x)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(12))


def test_oracle_8b_no_gradient_reaches_bank_plain_pass_or_flags():
    objective, net, batch = objective_and_batch(correction_start=0)
    objective(net, batch)
    value, plain = objective(net, batch)
    value.backward()
    assert not objective.bank.z.requires_grad
    assert not plain.requires_grad
    assert all(p.grad is not None for p in objective.projector.parameters())


def test_oracle_8c_rotation_and_permutation():
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(8, 3, generator=generator, dtype=torch.float64), dim=1)
    y = torch.tensor([0, 1, 1, 2])
    partner = tuple(torch.randperm(4, generator=generator) for _ in range(2))
    value = loss(z, y, (0.7, 0.9), partner, k=3)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    torch.testing.assert_close(loss(z @ rotation, y, (0.7, 0.9), partner, k=3), value)
    order = torch.tensor([2, 0, 3, 1])
    place = order.argsort()
    moved = tuple(place[p[order]] for p in partner)
    torch.testing.assert_close(loss(torch.cat([z[:4][order], z[4:][order]]), y[order], (0.7, 0.9), moved, k=3), value)


def test_oracle_8d_views_may_be_swapped():
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(8, 3, generator=generator, dtype=torch.float64), dim=1)
    y = torch.tensor([0, 1, 1, 2])
    first, second = (torch.randperm(4, generator=generator) for _ in range(2))
    swapped = loss(torch.cat([z[4:], z[:4]]), y, (0.9, 0.7), (second, first), k=3)
    torch.testing.assert_close(loss(z, y, (0.7, 0.9), (first, second), k=3), swapped)


@pytest.mark.parametrize("variant", ["code", "paper"])
def test_oracle_8e_all_clean_is_plain_mixup(variant):
    y = torch.eye(3)[[0, 1, 2, 1]]
    partner = torch.tensor([3, 0, 1, 2])
    targets = corrected_targets(y, torch.full((4, 3), 1 / 3), torch.ones(4), 0.7, partner, variant=variant)
    torch.testing.assert_close(targets, 0.7 * y + 0.3 * y[partner])


@given(st.integers(2, 5), st.integers(8, 60), st.integers(0, 2**31), st.sampled_from(["median", "min", "max"]))
def test_oracle_8f_every_class_gets_the_same_number(k, n, seed, balance):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(k, (n,), generator=generator)
    first, second = (torch.randint(6, (n, k), generator=generator, dtype=torch.int32) for _ in range(2))
    agreement, clean = balanced_flags(first, second, y, balance)
    assert torch.equal(agreement, most_votes(second) == y)
    winners = sorted(int((agreement & (y == c)).sum()) for c in y.unique())
    keep = {"min": winners[0], "max": winners[-1], "median": winners[(len(winners) - 1) // 2]}[balance]
    for c in y.unique():
        rows = (y == c).nonzero()[:, 0]
        assert int(clean[rows].sum()) == min(keep, len(rows))
        best = sorted(rows.tolist(), key=lambda i: (-int(second[i, y[i]]), -int(first[i, y[i]]), i))[:keep]
        assert sorted(best) == rows[clean[rows]].tolist()


def test_oracle_8g_votes_are_counts():
    z = F.normalize(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    y = torch.arange(40) % 4
    for votes in two_pass_votes(nearest_neighbors(z, 7), y, 4):
        assert (votes.sum(1) == 7).all()


def test_oracle_8h_a_row_is_not_contrasted_with_its_stored_copy():
    bank = torch.cat([circle(200, 210), M1_Z])
    bank_y = torch.cat([torch.tensor([0, 1]), M1["y"], M1["y"]])

    def row_loss(stored):
        """Row 0's own term, by making every other row's gradient path constant."""
        z = M1_Z.clone().requires_grad_()
        value = loss(z, **M1, bank=stored, bank_y=bank_y, offset=2)
        return torch.autograd.grad(value, z)[0][0]

    changed = bank.clone()
    changed[2] = circle(77)[0]
    slow = masks(M1_Z, **M1, tau=0.1, bank=changed, bank_y=bank_y, offset=2)
    torch.testing.assert_close(loss(M1_Z, **M1, bank=changed, bank_y=bank_y, offset=2), slow)
    # The class sum moves with the stored copy, and is taken out again: row 0 does not notice.
    torch.testing.assert_close(row_loss(bank), row_loss(changed))


# --- votes ------------------------------------------------------------------------------------------------------------


@given(st.integers(3, 40) | st.integers(64, 200), st.integers(0, 2**31))  # many and few neighbors for the rows
def test_neighbors_against_sorting(n, seed):
    generator = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(n, 5, generator=generator), dim=1)
    k = 1 + seed % ((n - 1) if n < 64 else 3)
    similarity = (z.double() @ z.double().T).fill_diagonal_(-9)
    expected = similarity.sort(descending=True).indices[:, :k].sort().values
    for rows in (z, z.clone().requires_grad_()):
        assert torch.equal(nearest_neighbors(rows, k, block_size=3).long().sort().values, expected)


def test_backends_agree_on_nearly_all_votes(digits):
    pytest.importorskip("faiss")
    X, y, *_ = digits
    z = F.normalize(torch.from_numpy(X), dim=1)
    exact = two_pass_votes(nearest_neighbors(z, 30), torch.from_numpy(y), 10)[1]
    for backend in ("faiss", "bf16"):
        other = two_pass_votes(nearest_neighbors(z, 30, backend=backend), torch.from_numpy(y), 10)[1]
        assert (most_votes(other) == most_votes(exact)).float().mean() >= 0.995
    copies = torch.cat([z[:5]] * 3)
    assert nearest_neighbors(copies, 14, backend="faiss").sort().values.tolist() == [
        [j for j in range(15) if j != i] for i in range(15)
    ]


# --- the estimators ---------------------------------------------------------------------------------------------------


def fitted(X, y, cls=MOITClassifier, **params):
    return cls(**{"max_epochs": 6, "random_state": 0, "device": "cpu", **params}).fit(X, y)


def test_fitted_attributes(blobs):
    X, y = blobs
    clf = fitted(X, y)
    np.testing.assert_array_equal(clf.noise_mask_, ~clf.clean_mask_)
    assert clf.noise_rate_ == pytest.approx((~clf.agreement_).mean())
    labels, size = np.unique(y, return_counts=True)
    median = sorted(clf.agreement_[y == label].sum() for label in labels)[1]
    assert [clf.clean_mask_[y == label].sum() for label in labels] == [min(median, n) for n in size]
    np.testing.assert_array_equal(clf.suggested_labels_[clf.clean_mask_], y[clf.clean_mask_])
    z = clf.transform(X)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-5)
    neighbors = nearest_neighbors(torch.from_numpy(z), moit.default_n_neighbors(200, 3))
    numbers = torch.from_numpy(np.searchsorted(clf.classes_, y))
    votes = two_pass_votes(neighbors, numbers, 3)[1].float()
    expected = 1 - (votes / votes.sum(1, keepdim=True))[torch.arange(200), numbers]
    np.testing.assert_allclose(clf.noise_scores_, expected, atol=1e-6)


def test_without_its_parts_moit_is_cross_entropy(blobs):
    X, y = blobs
    plain = {"contrastive_weight": 0.0, "augment": None, "mixup_alpha": 0.0, "correction_start": 99, "batch_size": 200}
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    mine = fitted(X, y, module=net, **plain)
    theirs = fitted(X, y, CrossEntropyClassifier, module=net, batch_size=200)
    np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


def test_plus_is_moit_with_a_second_stage(blobs):
    X, y = blobs
    plus = fitted(X, y, MOITPlusClassifier)
    same = fitted(X, y, finetune=True)
    np.testing.assert_array_equal(plus.predict_proba(X), same.predict_proba(X))
    first = fitted(X, y)
    np.testing.assert_array_equal(plus.noise_scores_, first.noise_scores_)
    assert not np.allclose(plus.predict_proba(X), first.predict_proba(X))
    assert plus.n_iter_ == 2


def test_mixing_embeddings(blobs):
    assert fitted(*blobs, mixup_space="embedding", max_epochs=15).score(*blobs) > 0.8


@pytest.mark.parametrize("n", [12, 40])
def test_small_sets_have_no_bank(n):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = (rng.normal(size=(n, 4)) + 3 * y[:, None]).astype(np.float32)
    clf = fitted(X, y, batch_size=16)
    assert (clf.net_.criterion_.bank is None) == (n < 66)
    assert clf.predict(X).shape == (n,)


def test_a_class_of_one_row_and_two_classes():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(41, 3)).astype(np.float32)
    y = np.array([0] * 20 + [1] * 20 + [2])
    clf = fitted(X, y, batch_size=8, balance=None)
    assert set(clf.suggested_labels_) <= {0, 1, 2}
    assert fitted(X[:40], y[:40], batch_size=13, memory_size=0).clean_mask_.any()


def test_nobody_wins_the_vote(blobs, monkeypatch):
    X, y = blobs
    monkeypatch.setattr(moit, "balanced_flags", lambda first, second, y, balance: (y < 0, y < 0))
    with pytest.warns(UserWarning, match="no row wins"):
        clf = fitted(X, y)
    assert clf.clean_mask_.all()


def test_views_that_cannot_differ_are_warned_about(blobs):
    with pytest.warns(UserWarning, match="memorize"):
        fitted(*blobs, augment=None)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_neighbors": 200}, "n_neighbors must be less than the 200 training rows, got 200"),
        ({"memory_size": 10}, "memory_size must hold both views"),
        ({"balance": "mean"}, "balance must be 'max', 'median', 'min' or None, got 'mean'"),
        ({"temperature": 0}, "temperature"),
        ({"augment": lambda x: x[:, :2]}, "shape"),
        ({"augment": lambda x: x.double()}, "dtype"),
        ({"augment": lambda x: x * float("nan")}, "NaN"),
        ({"augment": lambda x: x + float(np.random.default_rng().random())}, "two results for the same seed"),
    ],
)
def test_bad_parameters_are_named(blobs, params, message):
    with pytest.raises(ValueError, match=message):
        fitted(*blobs, **params)


def test_from_paper_holds_the_scripts_settings():
    clf = MOITClassifier.from_paper("cifar10")
    assert (clf.n_neighbors, clf.memory_size, clf.correction_start, clf.ssl_targets) == (250, 2000, 0.52, "code")
    factor = clf._lr_factor()
    assert [factor(e, 250) for e in (123, 124, 199)] == pytest.approx([1, 0.1, 0.01])


@pytest.mark.slow
def test_oracle_9_behavior_on_a_mixture():
    """Views of sd 1 around rows of unit noise: the classification recovers, and the flags are right."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(4, 50))
    centers *= 3.5 / np.linalg.norm(centers, axis=1, keepdims=True)
    y = rng.integers(4, size=6000)
    X = (centers[y] + rng.normal(size=(6000, 50))).astype(np.float32)
    noise = SymmetricNoise(0.4, random_state=0)
    noisy = noise.flip(y[:3000])
    shared = {
        "module": "mlp",
        "max_epochs": 40,
        "batch_size": 64,
        "lr": 0.02,
        "lr_schedule": {20: 0.1, 32: 0.1},
        "random_state": 0,
        "device": "cpu",
    }
    clf = MOITClassifier(
        augment=GaussianNoise(1.0), projection_dim=64, memory_size=800, n_neighbors=100, correction_start=20, **shared
    ).fit(X[:3000], noisy)
    plain = CrossEntropyClassifier(**shared).fit(X[:3000], noisy)
    assert clf.score(X[3000:], y[3000:]) > 0.93
    assert (~noise.flip_mask_[clf.clean_mask_]).mean() > 0.95
    assert plain.score(X[3000:], y[3000:]) < 0.75


@pytest.mark.slow
def test_digits_over_seeds():
    """Defaults, 40 % symmetric noise: twenty points over cross-entropy, and balanced flags of which .95 are right."""
    gains, precisions = [], []
    for seed in range(5):
        split = PROBLEMS["digits"].split("sym40", seed)
        plain = CrossEntropyClassifier(random_state=seed, device="cpu").fit(split.X, split.given)
        clf = MOITClassifier(random_state=seed, device="cpu").fit(split.X, split.given)
        gains.append(clf.score(split.X_test, split.y_test) - plain.score(split.X_test, split.y_test))
        precisions.append((split.given == split.true)[clf.clean_mask_].mean())
    assert np.mean(gains) >= 0.2
    assert np.mean(precisions) >= 0.95
    assert min(precisions) >= 0.93
