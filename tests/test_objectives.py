"""Objectives in a plain torch loop, their limits, and the losses against slow recomputation."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustlabels.maths.functional import generalized_cross_entropy, reverse_cross_entropy
from robustlabels.methods.baselines import CoTeaching, GeneralizedCrossEntropy, SymmetricCrossEntropy, remember_rate
from robustlabels.methods.dividemix import DivideMixObjective, DivideMixSettings
from robustlabels.methods.elr import ELRObjective, ELRPlusObjective, ELRPlusSettings, TargetMemory
from robustlabels.modules import MLP, Twin
from robustlabels.training.objective import (
    AtPrecision,
    Batch,
    CrossEntropy,
    HostStateMixin,
    Objective,
    ObjectiveWrapper,
    at_precision_of,
)


def memory():
    return TargetMemory(300, 3, 0.7)


def make(name):
    """An objective and the network it trains."""
    torch.manual_seed(0)
    net = MLP(5, 3, width=16)
    twin = Twin(net, MLP(5, 3, width=16))
    return {
        "ce": lambda: (CrossEntropy(), net),
        "gce": lambda: (GeneralizedCrossEntropy(0.7), net),
        "sce": lambda: (SymmetricCrossEntropy(0.1, 1.0, -4.0), net),
        "elr": lambda: (ELRObjective(memory(), lam=3.0, clamp_eps=1e-4), net),
        "elr+": lambda: (ELRPlusObjective(twin, (memory(), memory()), ELRPlusSettings(ema_rampup=20)), twin),
        "co-teaching": lambda: (CoTeaching(0.2, start=0, length=1, exponent=1.0), twin),
        "dividemix": lambda: (DivideMixObjective(300, 3, DivideMixSettings(warmup=5, ramp=5)), twin),
    }[name]()


NAMES = ["ce", "gce", "sce", "elr", "elr+", "co-teaching", "dividemix"]


@pytest.mark.parametrize("name", NAMES)
def test_plain_torch_loop_learns(name):
    objective, model = make(name)
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (300,), generator=generator)
    x = torch.randn(300, 5, generator=generator) + 2 * torch.eye(3, 5)[y]
    optimizer = torch.optim.SGD([*model.parameters(), *objective.parameters()], lr=0.05, momentum=0.9)
    whole = Batch(x, F.one_hot(y, 3).float(), torch.arange(300), torch.ones(300))
    for epoch in range(20):
        objective.on_epoch_begin(epoch, model, lambda: iter([whole]))
        for pass_number in range(objective.n_passes):
            for index in torch.randperm(300, generator=generator).split(50):
                batch = Batch(x[index], F.one_hot(y[index], 3).float(), index, torch.ones(50), pass_number)
                loss, logits = objective(model, batch)
                assert logits.shape == (50, 3)
                assert loss.shape == ()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                objective.after_step(model)
    model.eval()
    assert (model(x).argmax(1) == y).float().mean() > 0.85


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_carries_the_memory(name):
    objective, model = make(name)
    index = torch.arange(8)
    batch = Batch(torch.randn(8, 5), F.one_hot(index % 3, 3).float(), index, torch.ones(8))
    objective.on_epoch_begin(5, model, lambda: iter([batch]))
    objective(model, batch)
    other, _ = make(name)
    other.load_state_dict(objective.state_dict())
    mine, theirs = objective.posterior(index), other.posterior(index)
    assert (mine is None) == (theirs is None)
    if mine is not None:
        torch.testing.assert_close(mine, theirs)
        assert mine[1].all()


def test_a_wrapper_is_what_it_wraps():
    class Wrapper(ObjectiveWrapper):
        def forward(self, model, batch):
            return self.inner(model, batch)

    plain, model = make("elr+")
    wrapped = Wrapper(make("elr+")[0])
    assert wrapped.n_passes == 2
    index = torch.arange(8)
    batch = Batch(torch.randn(8, 5), F.one_hot(index % 3, 3).float(), index, torch.ones(8), 1)
    torch.manual_seed(1)
    first = plain(model, batch)[0]
    torch.manual_seed(1)
    assert wrapped(model, batch)[0].item() == pytest.approx(first.item(), abs=1e-6)
    wrapped.after_step(model)
    assert wrapped.inner.steps == [0, 1]
    torch.testing.assert_close(wrapped.posterior(index), plain.posterior(index))
    with pytest.raises(NotImplementedError, match="Objective without a forward"):
        Objective()(model, batch)


def test_views_only_in_training():
    objective = CrossEntropy(augment=lambda x: x + 1)
    x = torch.zeros(2, 2)
    assert torch.equal(objective.view(x), x + 1)
    assert torch.equal(objective.eval().view(x), x)


def test_weights_enter_the_mean():
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    y, weight = torch.eye(2), torch.tensor([0.5, 1.5])
    loss, _ = CrossEntropy()(nn.Identity(), Batch(logits, y, torch.arange(2), weight))
    rows = [-math.log(math.e / (math.e + 1)), -math.log(math.e**2 / (math.e**2 + 1))]
    assert loss.item() == pytest.approx((0.5 * rows[0] + 1.5 * rows[1]) / 2, abs=1e-6)


@given(st.floats(0.05, 1.0), st.integers(0, 2**31))
def test_gce_against_its_formula(q, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    y = F.one_hot(torch.tensor([0, 3, 1, 4]), 5).double()
    slow = [(1 - F.softmax(z, 0)[t.argmax()].item() ** q) / q for z, t in zip(logits, y, strict=True)]
    np.testing.assert_allclose(generalized_cross_entropy(logits, y, q), slow, rtol=1e-9)


def test_gce_limits_are_cross_entropy_and_absolute_error():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = F.one_hot(torch.arange(6) % 4, 4).double()
    cross_entropy = F.cross_entropy(logits, y, reduction="none")
    torch.testing.assert_close(generalized_cross_entropy(logits, y, 1e-7), cross_entropy, rtol=1e-5, atol=1e-6)
    absolute = (F.softmax(logits, 1) - y).abs().sum(1) / 2
    torch.testing.assert_close(generalized_cross_entropy(logits, y, 1.0), absolute)


def test_gce_gradient_stays_finite_where_the_label_is_impossible():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    generalized_cross_entropy(logits, torch.tensor([[0.0, 1.0]]), 0.7).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_reverse_cross_entropy_is_minus_a_times_the_missed_mass():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1])
    p_y = F.softmax(logits, 1)[torch.arange(5), labels]
    expected = 4 * (1 - p_y)  # eq. 7: -A sum over k != y of p_k
    torch.testing.assert_close(reverse_cross_entropy(logits, F.one_hot(labels, 3).double(), -4.0), expected)


def test_sce_without_its_reverse_is_cross_entropy():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    batch = Batch(logits, F.one_hot(torch.arange(5) % 3, 3).float(), torch.arange(5), torch.ones(5))
    expected = CrossEntropy()(nn.Identity(), batch)[0]
    torch.testing.assert_close(SymmetricCrossEntropy(1.0, 0.0, -4.0)(nn.Identity(), batch)[0], expected)


class Two(nn.Module):
    """A twin with given logits."""

    def __init__(self, first, second):
        super().__init__()
        self.logits = nn.ParameterList([nn.Parameter(torch.tensor(first)), nn.Parameter(torch.tensor(second))])

    def forward(self, x, member):
        return self.logits[member]


def test_co_teaching_trains_each_network_on_the_rows_easy_for_the_other():
    first = [[3.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 1.0]]
    second = [[0.0, 3.0], [0.0, 1.0], [3.0, 0.0], [2.0, 0.0]]
    model = Two(first, second)
    objective = CoTeaching(0.5, start=0, length=1, exponent=1.0)
    objective.on_epoch_begin(1, model, lambda: iter(()))
    y = F.one_hot(torch.zeros(4, dtype=torch.int64), 2).float()
    loss, _ = objective(model, Batch(torch.zeros(4, 1), y, torch.arange(4), torch.ones(4)))
    loss.backward()
    trained = [(parameter.grad.abs().sum(1) > 0).tolist() for parameter in model.logits]
    assert trained == [[False, False, True, True], [True, True, False, False]]


def test_co_teaching_without_noise_is_two_cross_entropies():
    model = Two([[3.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [2.0, 0.0]])
    objective = CoTeaching(0.0, start=0, length=1, exponent=1.0)
    objective.on_epoch_begin(5, model, lambda: iter(()))
    batch = Batch(torch.zeros(2, 1), torch.eye(2), torch.arange(2), torch.ones(2))
    expected = sum(F.cross_entropy(z, torch.eye(2)).item() for z in model.logits)
    assert objective(model, batch)[0].item() == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 300), st.floats(0, 0.9), st.integers(0, 20), st.integers(0, 50))
def test_remember_rate_falls_from_one_to_the_clean_share(epoch, tau, start, length):
    kept = remember_rate(epoch, tau, start, length)
    assert 1 - tau - 1e-9 <= kept <= 1
    assert kept >= remember_rate(epoch + 1, tau, start, length)
    if epoch <= start:
        assert kept == 1


def test_autocast_answers_in_float32_and_delegates():
    net = nn.Linear(4, 2)
    model = AtPrecision(net, "cpu", torch.bfloat16)
    out = model(torch.ones(3, 4))
    assert out.dtype == torch.float32
    assert not torch.equal(out, net(torch.ones(3, 4)))
    assert model.in_features == 4
    teacher = at_precision_of(model, nn.Linear(4, 2))
    assert isinstance(teacher, AtPrecision)
    assert at_precision_of(net, net) is net


# --- state on the host ------------------------------------------------------------------------------------------------


class Counting(HostStateMixin, CrossEntropy):
    host_state = ("steps", "rate")

    def __init__(self):
        super().__init__()
        self.steps, self.rate = [0, 0], None


def test_host_state_is_saved_and_copied():
    objective = Counting()
    objective.steps, objective.rate = [3, 4], 0.25
    state = objective.state_dict()
    objective.steps[0] += 1  # a state in memory is of the moment when it was taken
    resumed = Counting()
    resumed.load_state_dict(state)
    assert (resumed.steps, resumed.rate) == ([3, 4], 0.25)
    resumed.steps[0] += 1
    again = Counting()
    again.load_state_dict(state)
    assert again.steps == [3, 4]


def test_host_state_survives_the_safe_loader(tmp_path):
    objective = Counting()
    objective.steps = [1, 2]
    torch.save(objective.state_dict(), tmp_path / "state.pt")
    resumed = Counting()
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (resumed.steps, resumed.rate) == ([1, 2], None)
