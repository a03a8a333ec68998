"""Presets against published sizes and hand computations; building, checking and looking inside any module."""

import copy
import functools
import os
import pickle
import shutil
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustlabels.modules import (
    MLP,
    PRESETS,
    FastConvNet,
    LogitsOf,
    PreActResNet18,
    ResNet18,
    ResNet34,
    SmallConvNet,
    Standardize,
    Twin,
    TwoLogits,
    build,
    building,
    closest,
    evaluating,
    features_and_logits,
    find_feature_map,
    find_head,
    has_convolution,
    members,
    networks,
    probe,
    watching,
)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# --- standardize ------------------------------------------------------------------------------------------------------


def test_standardize_columns_and_channels():
    x, images = torch.randn(5, 3), torch.randn(5, 3, 4, 6)
    mean, std = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.25, 3.0])
    out, out_images = Standardize(mean, std)(x), Standardize(mean, std)(images)
    for j in range(3):
        assert torch.equal(out[:, j], (x[:, j] - mean[j]) / std[j])
        assert torch.equal(out_images[:, j], (images[:, j] - mean[j]) / std[j])


def test_standardize_counts_no_spread_as_one():
    std = np.array([0.0, np.nan, np.inf, 2.0])
    layer = Standardize(np.zeros(4), std)
    assert layer.std.tolist() == [1.0, 1.0, 1.0, 2.0]
    assert np.isnan(std[1])  # what was given stays


def test_standardize_keeps_copies_as_buffers():
    mean = torch.zeros(3)
    layer = Standardize(mean, [1, 1, 1])
    mean += 1
    assert layer.mean.sum() == 0
    assert set(layer.state_dict()) == {"mean", "std"}
    assert not list(layer.parameters())
    assert repr(layer) == "Standardize(3)"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_standardize_their_input(name):
    shape = (4,) if name == "mlp" else (2, 8, 8)
    mean, std = torch.arange(1.0, shape[0] + 1), torch.arange(2.0, shape[0] + 2)
    small = {"width": 8}
    net = build(name, input_shape=shape, n_classes=3, mean=mean, std=std, **small).eval()
    plain = build(name, input_shape=shape, n_classes=3, **small).eval()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("standardize")})
    x = torch.randn(4, *shape)
    by_channel = (-1, *[1] * (len(shape) - 1))
    expected = plain((x - mean.view(by_channel)) / std.view(by_channel))
    torch.testing.assert_close(net(x), expected)


def test_only_a_mean_or_only_a_std():
    x = torch.randn(3, 2)
    assert torch.equal(MLP(2, 2, mean=[1.0, 1.0]).standardize(x), x - 1)
    assert torch.equal(MLP(2, 2, std=[2.0, 2.0]).standardize(x), x / 2)


# --- presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "n_classes", "expected"),
    [
        (ResNet34, 10, 21_282_122),  # specs/elr.md section 4
        (ResNet34, 100, 21_328_292),
        (PreActResNet18, 10, 11_171_274),
        (PreActResNet18, 100, 11_217_444),
        (ResNet18, 10, 11_173_962),  # torchvision's 11 181 642 with a 3x3 stem: - 64 * 3 * (49 - 9)
    ],
)
def test_published_parameter_counts(preset, n_classes, expected):
    assert n_parameters(preset(3, n_classes)) == expected


def test_imagenet_stem_has_torchvisions_size():
    assert n_parameters(ResNet18(3, 1000, stem="imagenet")) == 11_689_512
    assert n_parameters(ResNet34(3, 1000, stem="imagenet")) == 21_797_672


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (28, 28), (32, 32), (17, 30), (64, 64)], ids=str)
@pytest.mark.parametrize("name", ["cnn", "auto"])
def test_small_conv_net_shapes(name, size, c):
    net = build(name, input_shape=(c, *size), n_classes=5)
    assert isinstance(net, SmallConvNet)
    for b in (2, 3):
        out = net(torch.randn(b, c, *size))
        assert out.shape == (b, 5)
        out.sum().backward()


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8), (1, 28, 28), (3, 32, 32), (4, 17, 30)], ids=str)
def test_fast_net_shapes(shape):
    net = FastConvNet(shape[0], 5, width=8)
    out = net(torch.randn(3, *shape))
    assert out.shape == (3, 5)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_fast_nets_first_layer_is_an_orthonormal_basis_with_both_signs():
    patches = FastConvNet(3, 10).patches.flatten(1)  # (24, 12)
    torch.testing.assert_close(patches[:12] @ patches[:12].T, torch.eye(12))
    torch.testing.assert_close(patches[12:], -patches[:12])
    torch.testing.assert_close(patches[0], torch.full((12,), 12**-0.5))
    assert "patches" in dict(FastConvNet(1, 2).named_buffers())  # it does not learn


def test_fast_nets_convolutions_pass_their_input_through_at_first():
    first = FastConvNet(3, 10, width=32).body[0]
    x = torch.randn(2, 24, 6, 6)
    torch.testing.assert_close(first(x)[:, :24], x)


def test_fast_net_takes_the_largest_value_of_every_channel():
    net, maps = FastConvNet(3, 5, width=8), []
    net.body.register_forward_hook(lambda module, args, out: maps.append(out))
    logits = net(torch.rand(2, 3, 32, 32))
    assert maps[0].shape == (2, 32, 4, 4)
    torch.testing.assert_close(logits, net.head(maps[0].amax((2, 3)) / 9))


@pytest.mark.slow  # half a minute of a C++ compiler
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
def test_fast_net_compiled_in_bfloat16_has_finite_gradients():
    torch.manual_seed(0)
    net = FastConvNet(3, 10, width=8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.85)
    x, y = torch.rand(64, 3, 8, 8).contiguous(memory_format=torch.channels_last), torch.arange(64) % 10
    compiled = torch.compile(net)
    losses = []
    for _ in range(5):
        with torch.autocast("cpu", torch.bfloat16):
            logits = compiled(x)
        loss = F.cross_entropy(logits.float(), y)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "preact_resnet18"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 80, 72), (3, 224, 224)], ids=str)
def test_resnet_shapes_and_stem(name, shape):
    net = build(name, input_shape=shape, n_classes=4, width=4)
    with torch.no_grad():
        assert net(torch.randn(2, *shape)).shape == (2, 4)
        before_pooling = net.body(net.stem(torch.randn(2, *shape)))
    big = max(shape[1:]) > 64
    assert any(isinstance(m, nn.MaxPool2d) for m in net.stem) == big
    assert before_pooling.shape[2] == -(-shape[1] // (32 if big else 8))


def test_stem_may_be_chosen():
    small = functools.partial(build, "resnet18", input_shape=(3, 224, 224), n_classes=4, width=4)
    assert len(small().stem) == 4
    assert len(small(stem="cifar").stem) == 3
    assert len(ResNet18(3, 4, width=4, image_size=[65, 32]).stem) == 4
    with pytest.raises(ValueError, match="stem must be 'auto', 'cifar' or 'imagenet', got 'cifar10'"):
        small(stem="cifar10")


def test_preact_block_as_in_the_authors_code():
    x = torch.randn(2, 4, 6, 6)
    block = networks._PreActBlock(4, 4, stride=1).eval()
    a = F.relu(block.bn1(x))
    torch.testing.assert_close(block(x), block.conv2(F.relu(block.bn2(block.conv1(a)))) + a)  # a, not x, is carried
    assert isinstance(networks._PreActBlock(4, 8, stride=1).shortcut, nn.Conv2d)
    net = PreActResNet18(3, 10, width=4).eval()
    x = torch.randn(2, 3, 8, 8)
    h = net.body(F.relu(net.stem[1](net.stem[0](x))))  # the stem is conv, BN, ReLU; nothing before pooling
    torch.testing.assert_close(net(x), net.head(h.mean(dim=(2, 3))))


def test_post_activation_block():
    x = torch.randn(2, 4, 6, 6)
    block = networks._Block(4, 8, stride=2).eval()
    conv1, bn1, _ = block.first
    conv2, bn2 = block.second
    expected = F.relu(bn2(conv2(F.relu(bn1(conv1(x))))) + block.shortcut[1](block.shortcut[0](x)))
    torch.testing.assert_close(block(x), expected)


def test_convolutions_keep_channels_last():
    x = torch.randn(2, 3, 16, 16)
    for preset in (SmallConvNet, PreActResNet18):
        net = preset(3, 4, width=8).eval()
        expected, kept = net(x), []
        net = net.to(memory_format=torch.channels_last)
        net.body.register_forward_hook(lambda _, __, out, kept=kept: kept.append(out))
        torch.testing.assert_close(net(x.to(memory_format=torch.channels_last)), expected)
        assert kept[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_mlp_layers(depth):
    net = MLP(4, 3, width=8, depth=depth, dropout=0.5)
    widths = [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
    assert sorted(widths) == sorted([[], [(4, 8)], None, [(4, 8), (8, 8), (8, 8)]][depth] + [(8 if depth else 4, 3)])
    for kind in (nn.BatchNorm1d, nn.Dropout, nn.ReLU):
        assert sum(isinstance(m, kind) for m in net.modules()) == depth
    assert not any(isinstance(m, nn.Dropout) for m in MLP(4, 3, depth=depth).modules())
    assert net(torch.randn(5, 4)).shape == (5, 3)


def test_mlp_trains_on_a_batch_of_one_row():
    net = MLP(4, 3, width=8)
    net(torch.randn(32, 4))
    state, x = copy.deepcopy(net.state_dict()), torch.randn(1, 4)
    out = net(x)
    out.sum().backward()
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())  # one row has no spread to learn from
    torch.testing.assert_close(out, net.eval()(x))


def test_mlp_flattens_images_with_statistics_of_their_channels():
    net = build("mlp", input_shape=(3, 8, 8), n_classes=4, mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 4.0], width=8)
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 4)


# --- build ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("auto", (20,), MLP),
        ("auto", (5, 20), MLP),
        ("auto", (1, 8, 8), SmallConvNet),
        ("auto", (3, 64, 64), SmallConvNet),
        ("auto", (3, 64, 65), ResNet18),
        ("mlp", (3, 8, 8), MLP),
        ("cnn", (3, 224, 224), SmallConvNet),
        ("resnet34", (1, 28, 28), ResNet34),
    ],
)
def test_presets_by_name(name, shape, expected):
    net = build(name, input_shape=shape, n_classes=3)
    assert type(net) is expected
    assert find_head(net)[1].out_features == 3


class Net(nn.Module):
    """Takes sizes under other names, most of them with defaults."""

    def __init__(self, input_dim, hidden=8, *, num_classes=1000, channels=5, mean="theirs"):
        super().__init__()
        self.hidden, self.channels, self.mean = nn.Linear(input_dim, hidden), channels, mean
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, x):
        return self.fc(self.hidden(x.flatten(1)))


def test_sizes_are_filled_by_name():
    net = build(Net, input_shape=(2, 3, 4), n_classes=6, mean=torch.zeros(2), std=torch.ones(2), hidden=7)
    assert (net.hidden.in_features, net.hidden.out_features, net.fc.out_features) == (24, 7, 6)
    assert net.channels == 5  # with a default it may well be a width
    assert net.mean == "theirs"  # statistics are for presets
    assert build(Net, input_shape=(2, 3, 4), n_classes=6, num_classes=2).fc.out_features == 2  # the user's word counts


@pytest.mark.parametrize("name", building._CLASSES.split())
def test_names_of_the_number_of_classes(name):
    assert _asked(name, (2, 8, 8)) == 3


@pytest.mark.parametrize("name", building._FEATURES.split())
def test_names_of_the_number_of_features(name):
    assert _asked(name, (7,)) == 7
    assert _asked(name, (2, 8, 8)) == 128


@pytest.mark.parametrize("name", building._CHANNELS.split())
def test_names_of_the_number_of_channels(name):
    assert _asked(name, (2, 8, 8)) == 2
    assert _asked(name, (4, 50)) == 4


@pytest.mark.parametrize("name", building._IMAGE_SIZE.split())
def test_names_of_the_image_size(name):
    assert _asked(name, (2, 8, 8)) == 8
    assert _asked(name, (2, 8, 6)) == (8, 6)


def test_name_of_the_input_shape():
    assert _asked("input_shape", (2, 8, 6)) == (2, 8, 6)


def _asked(name, input_shape):
    """What `build` hands a factory with one required argument of that name."""
    given = []
    factory = eval(f"lambda {name}: given.append({name}) or nn.Identity()", {"given": given, "nn": nn})
    build(factory, input_shape=input_shape, n_classes=3)
    return given[0]


def test_factories():
    def factory(n_classes, **kwargs):
        return nn.LazyLinear(n_classes, **kwargs)

    assert build(factory, input_shape=(4,), n_classes=3, bias=False).bias is None
    bound = build(functools.partial(Net, num_classes=2), input_shape=(4,), n_classes=3)
    assert (bound.hidden.in_features, bound.fc.out_features) == (4, 2)  # what partial bound stays
    assert build(nn.Linear, input_shape=(4,), n_classes=3).weight.shape == (3, 4)


def test_an_instance_is_copied_deeply():
    given = MLP(4, 3)
    built = build(given, input_shape=(4,), n_classes=3)
    assert built is not given
    assert same_weights(built, given)
    with torch.no_grad():
        built.head.weight.zero_()
    assert given.head.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("module", "params", "error", "message"),
    [
        ("mpl", {}, ValueError, r"'mpl' is not a preset \('auto', 'mlp', .*'resnet34'\). Did you mean 'mlp'\?"),
        ("zebra", {}, ValueError, r"'zebra' is not a preset \('auto', .*'resnet34'\)\.$"),
        ("cnn", {}, ValueError, r"'cnn' \(SmallConvNet\) needs images, .* got rows of shape \(4,\); set module='mlp'"),
        (ResNet18, {}, ValueError, "ResNet18 needs images"),
        ("mlp", {"widht": 3}, TypeError, r"'mlp' \(MLP\) takes no 'widht'; it takes .*'width'.* Did you mean 'width'"),
        ("auto", {"stem": 3}, TypeError, r"'auto' \(MLP\) takes no 'stem'"),
        (Net, {"hiden": 3}, TypeError, "Net takes no 'hiden'; .* Did you mean 'hidden'"),
        (lambda: nn.Identity(), {"a": 1}, TypeError, r"takes no 'a'; it takes nothing\.$"),
        (lambda depth, n_classes: None, {}, TypeError, r"needs 'depth'; set module__depth=\.\.\."),
        (lambda in_channels: None, {}, TypeError, r"needs 'in_channels'; set module__in_channels=\.\.\."),  # a flat row
        (lambda: 3, {}, TypeError, "must return an nn.Module, got int"),
        (
            3,
            {},
            TypeError,
            "must be the name of a preset, an nn.Module, or a class or function that returns one, got int: 3",
        ),
        (MLP(4, 3), {"width": 3}, ValueError, "'width' cannot be set on a MLP that is built already; give its class"),
    ],
)
def test_what_cannot_be_built(module, params, error, message):
    with pytest.raises(error, match=message):
        build(module, input_shape=(4,), n_classes=3, **params)


def test_closest():
    assert closest("resnet-18", PRESETS) == ". Did you mean 'resnet18'?"
    assert closest("zebra", PRESETS) == "."


# --- probe ------------------------------------------------------------------------------------------------------------


class HuggingFaceLike(nn.Module):
    def __init__(self, d=4, num_labels=3):
        super().__init__()
        self.classifier = nn.Linear(d, num_labels)

    def forward(self, x):
        return SimpleNamespace(logits=self.classifier(x), loss=None)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("k", [2, 3])
def test_probe_returns_a_good_module_itself(name, k):
    shape = (4,) if name == "mlp" else (1, 8, 8)
    net = build(name, input_shape=shape, n_classes=k, width=4)
    assert probe(net, torch.randn(2, *shape), k) is net
    assert probe(net, torch.randn(1, *shape), k) is net


def test_probe_leaves_modes_buffers_and_generator():
    net = MLP(4, 3, dropout=0.5)
    net.body[0].eval()
    net.body[1].eval()
    modes = [m.training for m in net.modules()]
    state, generator = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    probe(net, x, 3)
    with pytest.raises(ValueError, match="columns"):
        probe(net, x, 4)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


def test_probe_hides_what_a_forward_draws():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.randn(1)

    net, state = Noisy(4, 3), torch.get_rng_state()
    probe(net, torch.ones(2, 4), 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_probe_gives_lazy_layers_their_shape():
    def lazy():
        return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))

    first, second = (probe(lazy(), torch.randn(2, 5), 3) for _ in range(2))
    assert first[0].weight.shape == (8, 5)
    assert first.training
    assert first[1].num_batches_tracked == 0
    assert not torch.equal(first[0].weight, second[0].weight)  # two networks are not one


def test_probe_unwraps_logits():
    net = probe(HuggingFaceLike(), torch.randn(2, 4), 3)
    assert isinstance(net, LogitsOf)
    x = torch.randn(5, 4)
    assert torch.equal(net(x), net.module.classifier(x))
    assert probe(net, x[:2], 3) is net


@pytest.mark.parametrize("flat", [False, True])
def test_probe_makes_two_logits_of_one(flat):
    net = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0) if flat else nn.Identity())
    wrapped = probe(net, torch.randn(2, 4), 2)
    assert isinstance(wrapped, TwoLogits)
    x = torch.randn(5, 4)
    z = net(x).reshape(-1)
    torch.testing.assert_close(wrapped(x).softmax(1)[:, 1], z.sigmoid())
    assert torch.equal(wrapped(x)[:, 0], torch.zeros(5))
    assert wrapped(x[:1]).shape == (1, 2)


def test_probe_wraps_twice_if_need_be():
    net = probe(HuggingFaceLike(num_labels=1), torch.randn(2, 4), 2)
    assert isinstance(net, TwoLogits)
    assert isinstance(net.module, LogitsOf)
    assert net(torch.randn(3, 4)).shape == (3, 2)
    pickle.loads(pickle.dumps(probe(nn.Linear(4, 1), torch.randn(2, 4), 2)))


class Returns(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize(
    ("net", "k", "message"),
    [
        (
            nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 7)),
            3,
            r"returns 7 columns for 3 classes; set its last layer's out_features to 3, .* module__num_classes=3\). "
            r"Last linear layer found: '1' \(Linear 8 -> 7\)",
        ),
        (nn.Linear(4, 1), 3, "returns 1 columns for 3 classes"),
        (nn.Identity(), 3, "returns 4 columns for 3 classes; .* Last linear layer found: none"),
        (HuggingFaceLike(num_labels=2), 3, r"returns 2 columns .* 'module.classifier' \(Linear 4 -> 2\)"),
        (Returns(lambda x: x.mean()), 3, r"returns shape \(\) for 2 rows; it must return \(2, 3\)"),
        (Returns(lambda x: x[:, 0]), 3, r"returns shape \(2,\) for 2 rows"),
        (Returns(lambda x: x[:1]), 4, r"returns shape \(1, 4\) for 2 rows"),
        (Returns(lambda x: x[..., None]), 4, r"returns shape \(2, 4, 1\) for 2 rows"),
        (Returns(lambda x: (x, x)), 4, "returns a tuple; it must return a tensor of logits"),
        (Returns(lambda x: {"logits": x}), 4, "returns a dict"),
        (Returns(lambda x: x.argmax(1)), 2, "returns torch.int64 values; it must return floating-point logits"),
    ],
)
def test_probe_names_what_is_wrong(net, k, message):
    with pytest.raises(ValueError, match=message):
        probe(net, torch.randn(2, 4), k)


def test_probe_says_what_it_called_a_failing_module_with():
    net = nn.Linear(5, 3)
    with pytest.raises(RuntimeError) as caught:
        probe(net, torch.randn(2, 4), 3)
    assert caught.value.__notes__ == ["Linear was given 2 rows: a torch.float32 tensor of shape (2, 4)."]
    assert net.training


def test_probe_warns_of_probabilities():
    with pytest.warns(UserWarning, match="seems to return probabilities"):
        probe(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), torch.randn(2, 4), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe(nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1)), torch.randn(2, 4), 3)


# --- look inside ------------------------------------------------------------------------------------------------------


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.ModuleDict({"fc": nn.Linear(4, 6)})
        self.classifier = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.classifier(self.trunk["fc"](x))


@pytest.mark.parametrize(
    ("net", "path", "expected"),
    [
        (MLP(4, 3), None, "head"),
        (ResNet18(3, 4, width=4), None, "head"),
        (nn.Linear(4, 3), None, ""),
        (Deep(), None, "unused"),
        (Deep(), "classifier.2", "classifier.2"),
        (LogitsOf(HuggingFaceLike()), None, "module.classifier"),
        (TwoLogits(LogitsOf(HuggingFaceLike())), "classifier", "module.module.classifier"),
        (TwoLogits(Deep()), "classifier.2", "module.classifier.2"),
        (TwoLogits(nn.Linear(4, 1)), None, "module"),
        (Twin(MLP(4, 3), MLP(4, 3)), None, "members.1.head"),
    ],
)
def test_find_head(net, path, expected):
    name, head = find_head(net, path)
    assert name == expected
    assert head is net.get_submodule(name)


@pytest.mark.parametrize(
    ("net", "path", "message"),
    [
        (nn.Conv2d(1, 1, 1), None, "has no nn.Linear to take as its head, .* End the module with an nn.Linear"),
        (Deep(), "clasifier.2", "head='clasifier.2' is not in the module, .* Did you mean 'classifier.2'"),
        (Deep(), "classifier", "head='classifier' is a Sequential, not an nn.Linear; the module has 'trunk.fc', "),
        (Deep(), "fc", "head='fc' is not in the module, whose linear layers are 'trunk.fc'"),  # not half a name
        (nn.Identity(), "fc", r"head='fc' is not in the module, whose linear layers are none\.$"),
    ],
)
def test_find_head_names_what_to_set(net, path, message):
    with pytest.raises(ValueError, match=message):
        find_head(net, path)


def test_features_of_an_mlp_are_what_its_body_returns():
    net, x = MLP(4, 3, width=8, mean=[1.0] * 4, std=[2.0] * 4).eval(), torch.randn(5, 4)
    features, logits = features_and_logits(net, x)
    h = (x - 1) / 2
    for linear, bn in [net.body[:2], net.body[3:5]]:
        h = linear(h)
        h = F.relu((h - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias)
    torch.testing.assert_close(features, h)
    assert torch.equal(logits, net(x))
    torch.testing.assert_close(logits, features @ net.head.weight.T + net.head.bias)
    features.sum().backward()  # the graph is there for those who train on features
    assert net.body[0].weight.grad is not None


def test_features_of_a_given_layer():
    net, x = Deep(), torch.randn(5, 4)
    assert torch.equal(features_and_logits(net, x, head="classifier.0")[0], net.trunk["fc"](x))


def test_features_are_flattened():
    class Tokens(nn.Linear):
        def forward(self, x):
            return super().forward(input=x).mean(1)  # a keyword

    net, x = nn.Sequential(nn.Identity(), Tokens(4, 3)), torch.randn(5, 7, 4)
    assert torch.equal(features_and_logits(net, x)[0], x.flatten(1))


def hooks(module):
    return sum(len(m._forward_pre_hooks) for m in module.modules())


def test_hooks_are_removed_whatever_happens():
    net = Deep()
    features_and_logits(net, torch.randn(5, 4), head="classifier.2")
    assert hooks(net) == 0
    with pytest.raises(ValueError, match="did not call 'unused', taken as its head; set head"):
        features_and_logits(net, torch.randn(5, 4))
    with pytest.raises(RuntimeError):
        features_and_logits(net, torch.randn(5, 3))
    assert hooks(net) == 0


class Thin:
    """A callable around a module, such as one that casts, that lends its attributes."""

    def __init__(self, module):
        self.module, self.calls = module, 0

    def __call__(self, x):
        self.calls += 1
        return self.module(x) + 1

    def __getattr__(self, name):
        return getattr(self.module, name)


def test_features_through_a_thin_callable():
    net, x = MLP(4, 3, width=8).eval(), torch.randn(5, 4)
    thin = Thin(net)
    features, logits = features_and_logits(thin, x)
    assert torch.equal(features, features_and_logits(net, x)[0])
    assert torch.equal(logits, net(x) + 1)
    assert thin.calls == 1


@pytest.mark.parametrize("wrap", [lambda net: net, Thin])
def test_features_of_twins_lie_side_by_side(wrap):
    twin, x = Twin(MLP(4, 3, width=8), MLP(4, 3, width=6)).eval(), torch.randn(5, 4)
    features, _ = features_and_logits(wrap(twin), x)
    assert torch.equal(features, torch.cat([features_and_logits(m, x)[0] for m in twin], dim=1))
    assert hooks(twin) == 0


def conv_net(*tail):
    return nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()), *tail, nn.Flatten(), nn.LazyLinear(2))


class Wave(nn.Module):
    """A sequence network whose layers are not all called in the order they are defined in, nor all of them."""

    def __init__(self):
        super().__init__()
        self.late, self.unused, self.early = nn.Conv1d(6, 5, 3), nn.Conv1d(5, 5, 1), nn.Conv1d(2, 6, 3)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.late(self.early(x)).mean(2))


class Reshaped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 5, 3), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.conv(x.reshape(-1, 1, 4, 4)).mean((2, 3)))


@pytest.mark.parametrize(
    ("net", "x", "path", "expected"),
    [
        (lambda: SmallConvNet(1, 10), (1, 28, 28), None, "body"),
        (lambda: ResNet18(3, 10), (3, 32, 32), None, "body"),
        (lambda: PreActResNet18(3, 10), (3, 16, 16), "body.2", "body.2"),
        (lambda: Twin(SmallConvNet(1, 10), SmallConvNet(1, 10)), (1, 28, 28), None, "body"),
        (lambda: LogitsOf(Answer(SmallConvNet(1, 10))), (1, 28, 28), None, "module.net.body"),
        (lambda: TwoLogits(SmallConvNet(1, 1)), (1, 28, 28), "body", "module.body"),
        (lambda: conv_net(nn.AdaptiveAvgPool2d(1)), (3, 9, 9), None, "0"),
        (lambda: conv_net(nn.AdaptiveAvgPool2d(1)), (3, 9, 9), "0.0", "0.0"),
        (lambda: conv_net(nn.MaxPool2d(2)), (3, 9, 9), None, "1"),
        (Wave, (2, 20), None, "late"),
        (lambda: MLP(48, 3, mean=np.zeros(3), std=np.ones(3)), (3, 4, 4), None, None),  # standardized pixels only
        (lambda: MLP(5, 3), (5,), None, None),
        (Reshaped, (16,), None, None),  # a map of other axes than the input's
    ],
)
def test_find_feature_map(net, x, path, expected):
    net, x = net(), torch.randn(2, *x)
    net(x)  # lazy layers
    assert find_feature_map(net, x, path) == expected
    assert hooks(net) == 0


class Answer(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return SimpleNamespace(logits=self.net(x))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("boddy", "feature_layer='boddy' is not in the module. Did you mean 'body'"),
        ("head", r"feature_layer='head' gives \(2, 10\) for inputs \(2, 1, 28, 28\); name a layer that gives"),
    ],
)
def test_find_feature_map_names_what_to_set(path, message):
    with pytest.raises(ValueError, match=message):
        find_feature_map(SmallConvNet(1, 10), torch.randn(2, 1, 28, 28), path)
    with pytest.raises(ValueError, match="feature_layer='unused' gives no tensor"):
        find_feature_map(Wave(), torch.randn(2, 2, 20), "unused")
    for shape in (16,), (4, 4):
        with pytest.raises(ValueError, match="If the network reshapes its input, pass X in the shape of the images"):
            find_feature_map(Reshaped(), torch.randn(2, *shape), "conv")
    assert find_feature_map(Reshaped(), torch.randn(2, 1, 4, 4), "conv") == "conv"


@pytest.mark.parametrize("wrap", [lambda net: net, Thin])
def test_watching_keeps_every_forward(wrap):
    net, x = Wave(), torch.randn(4, 2, 20)
    model = wrap(net)
    with watching(model, "late") as calls:
        first = model(x)
        with torch.no_grad():
            model(x[:2])
    assert [len(call.x) for call in calls] == [4, 2]
    assert calls[0].x is x
    assert [call.features.requires_grad for call in calls] == [True, False]
    torch.testing.assert_close(net.head(calls[0].features.mean(2)), first - 1 * (wrap is Thin))
    assert hooks(net) == 0
    with watching(model, None) as calls:
        model(x)
    torch.testing.assert_close(calls[0].features, features_and_logits(net, x)[0])


def test_watching_tells_twins_apart():
    twin, x = Twin(Wave(), Wave()), torch.randn(4, 2, 20)
    with watching(twin, "late") as calls:
        twin(x, member=1)
        twin(x=x)
    assert [call.member for call in calls] == [1, 0, 1]
    assert all(call.x is x for call in calls)
    assert torch.equal(calls[0].features, twin[1].late(twin[1].early(x)))
    assert members(twin) == [*twin]


def test_evaluating_gives_every_part_its_mode_back():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()))
    net[1][0].eval()
    with pytest.raises(ZeroDivisionError), evaluating(net):
        assert not any(part.training for part in net.modules())
        1 / 0
    assert [part.training for part in net.modules()] == [True, True, True, False, True]


def test_has_convolution():
    assert has_convolution(nn.Sequential(nn.Linear(2, 2), nn.Conv1d(1, 1, 1)))
    assert has_convolution(SmallConvNet(1, 2))
    assert has_convolution(Twin(MLP(4, 3), nn.LazyConv2d(2, 3)))
    assert not has_convolution(MLP(4, 3))


# --- twin -------------------------------------------------------------------------------------------------------------


def test_twin():
    first, second = MLP(4, 3), MLP(4, 3)
    twin, x = Twin(first, second).eval(), torch.randn(5, 4)
    assert torch.equal(twin(x), (first(x) + second(x)) / 2)
    assert torch.equal(twin(x, member=0), first(x))
    assert torch.equal(twin(x, 1), second(x))
    assert isinstance(twin.members, nn.ModuleList)
    assert list(twin) == [first, second] == [twin[0], twin[1]]
    assert len(twin) == 2
    assert n_parameters(twin) == 2 * n_parameters(first)


def test_one_member_alone_gets_a_gradient():
    twin = Twin(MLP(4, 3), MLP(4, 3))
    twin(torch.randn(5, 4), member=1).sum().backward()
    assert all(p.grad is None for p in twin[0].parameters())
    assert all(p.grad is not None for p in twin[1].parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_pickled_and_copied(name):
    shape = (4,) if name == "mlp" else (1, 8, 8)
    net = build(name, input_shape=shape, n_classes=2, mean=[0.5] * shape[0], std=[2.0] * shape[0], width=4)
    assert same_weights(pickle.loads(pickle.dumps(net)), net)
    assert same_weights(copy.deepcopy(net), net)
