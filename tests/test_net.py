"""The loop: rows, batches, what is read when, and that it is the loop one would write by hand."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustlabels import CrossEntropyClassifier
from robustlabels.training.files import replace_file
from robustlabels.training.hooks import disagreement
from robustlabels.training.net import RobustNet, _multiplies_in_bfloat16, resolve_precision
from robustlabels.training.objective import AtPrecision, CrossEntropy
from robustlabels.training.rows import Batches, Rows, as_inputs, batch_sizes


def rows(n=10, **kwargs):
    x = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    return Rows(x, torch.arange(n) % 3, n_classes=3, **kwargs)


@given(st.integers(1, 500), st.integers(1, 130), st.booleans())
def test_batch_sizes_cover_the_rows_without_a_lone_last_one(n, size, merge):
    sizes = batch_sizes(n, size, merge_last=merge)
    assert sum(sizes) == n
    assert all(s == size for s in sizes[:-1])
    if merge and len(sizes) > 1 and size > 1:
        assert sizes[-1] > 1


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 3))
def test_every_row_once_a_pass_and_aligned(n, size, n_passes):
    data = rows(n)
    torch.manual_seed(0)
    seen = [[] for _ in range(n_passes)]
    batches = Batches(data, size, shuffle=True, n_passes=n_passes)
    count = 0
    for x, y in batches:
        count += 1
        np.testing.assert_array_equal(x["x"][:, 0], 2 * x["index"])
        np.testing.assert_array_equal(y, x["index"] % 3)
        seen[x["pass_number"]] += x["index"].tolist()
    assert count == len(batches)
    assert all(sorted(walk) == list(range(n)) for walk in seen)


def test_subsets_share_storage_and_keep_row_numbers():
    data = rows(10, index=torch.tensor([1, 3, 5, 7]))
    part = data.take([2, 0])
    assert part.index.tolist() == [5, 1]
    assert part.x is data.x
    x, y = part.read(part.index)
    assert x["x"][:, 0].tolist() == [10, 2]
    assert y.tolist() == [2, 1]
    assert data.at(torch.tensor([9])).inputs(torch.tensor([9])).tolist() == [[18, 19]]
    assert data[0][0]["index"].tolist() == [1]


def test_plain_arrays_are_shared_not_copied():
    x = np.zeros((4, 2), dtype=np.float32)
    assert Rows(x).x.data_ptr() == x.ctypes.data


def test_batch_carries_weights_and_soft_labels():
    soft = torch.full((10, 3), 1 / 3)
    weight = torch.arange(10.0)
    data = rows(weight=weight, soft_labels=soft)
    batch = data.batch(*data.read(torch.tensor([4, 2])))
    assert batch.weight.tolist() == [4, 2]
    torch.testing.assert_close(batch.y, soft[:2])
    plain = rows().batch(*rows().read(torch.tensor([4, 2])))
    assert plain.weight.tolist() == [1, 1]
    assert plain.y.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_inputs_are_cast_and_brought_into_order():
    images = torch.full((2, 4, 5, 3), 255, dtype=torch.uint8)
    x = as_inputs(images, "channels_last", torch.float32)
    assert x.shape == (2, 3, 4, 5)
    assert x.max() == 1
    assert images.max() == 255
    assert as_inputs(torch.zeros(2, 4, 5), "gray", torch.float32).shape == (2, 1, 4, 5)
    table = as_inputs(torch.full((2, 3), 200, dtype=torch.uint8), "as_is", torch.float32)
    assert table.max() == 200  # a column of small integers is not a picture
    assert as_inputs(torch.zeros(2, 3, dtype=torch.int64), "as_is", None).dtype == torch.int64


def test_the_loop_is_the_loop_one_would_write():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 4, generator=generator), torch.randint(3, (50,), generator=generator)
    module = nn.Linear(4, 3)
    by_hand = copy.deepcopy(module)
    data = Rows(x, y, n_classes=3)
    net = RobustNet(
        module, CrossEntropy(), n_classes=3, max_epochs=3, batch_size=16, lr=0.1, optimizer=torch.optim.SGD,
        optimizer__momentum=0.9, iterator_train=Batches, iterator_train__shuffle=True, train_split=None, verbose=0,
    ).initialize()  # fmt: skip
    torch.manual_seed(1)
    net.fit_rows(data, 3)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(1)
    losses = []
    for _ in range(3):
        total = 0.0
        for index in torch.randperm(50).split(16):
            optimizer.zero_grad()
            loss = F.cross_entropy(by_hand(x[index]), F.one_hot(y[index], 3).float())
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index)
        losses.append(total / 50)
    for mine, theirs in zip(net.module_.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-7)
    np.testing.assert_allclose(net.history[:, "train_loss"], losses, rtol=1e-6)
    assert net.history[0, "train_loss_best"]
    assert not hasattr(net, "rows_")
    torch.testing.assert_close(net.outputs(data), by_hand(x).detach())


def test_a_row_predicts_the_same_in_any_company(blobs):
    X, y = blobs
    clf = CrossEntropyClassifier(max_epochs=2, random_state=0, device="cpu").fit(X, y)
    whole = clf.predict_proba(X)
    for part in (slice(0, 1), slice(3, 10), slice(50, 90)):
        np.testing.assert_array_equal(clf.predict_proba(X[part]), whole[part])


def test_precision_follows_the_hardware(monkeypatch):
    convolution, linear = nn.Conv2d(1, 1, 1), nn.Linear(1, 1)
    assert resolve_precision("auto", "cpu", linear) is None
    assert resolve_precision("bfloat16", "cpu", linear) == torch.bfloat16
    assert resolve_precision("float32", "cpu", convolution) is None
    expected = torch.bfloat16 if _multiplies_in_bfloat16("cpu") else None
    assert resolve_precision("auto", "cpu", convolution) is expected
    assert not _multiplies_in_bfloat16("mps")


def test_bfloat16_network_with_float32_objective(digits):
    X, y, X_test, y_test, _ = digits
    images, test = X.reshape(-1, 1, 8, 8), X_test.reshape(-1, 1, 8, 8)
    clf = CrossEntropyClassifier("cnn", precision="bfloat16", max_epochs=4, random_state=0, device="cpu")
    clf.fit(images, y)
    assert isinstance(clf.net_.model, AtPrecision)
    assert next(clf.module_.parameters()).dtype == torch.float32
    assert clf.net_.outputs(clf._make_rows(test, "cpu")).dtype == torch.float32
    assert clf.score(test, y_test) > 0.6


def test_replace_file_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def broken(partial):
        partial.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'$"):
        replace_file(path, broken)
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError, match=r"no[/\\]+a\.txt'$"):
        replace_file(tmp_path / "no" / "a.txt", lambda partial: partial.write_text("new"))
    replace_file(path, lambda partial: partial.write_text("new"))
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_disagreement_counts_visited_rows_only():
    class Believes(CrossEntropy):
        def posterior(self, index):
            return torch.eye(3)[index % 3], index < 4

    assert disagreement(CrossEntropy(), torch.zeros(6)) is None
    assert disagreement(Believes(), torch.tensor([0, 1, 0, 0, 2, 2]), chunk=4) == 0.25


def test_nothing_is_read_from_the_device_within_an_epoch(monkeypatch):
    """Reads of tensor values per epoch do not grow with the number of steps."""
    reads = []
    item = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda self: reads.append(1) or item(self))

    def count(n):
        reads.clear()
        data = Rows(torch.randn(n, 4), torch.arange(n) % 3, n_classes=3)
        net = RobustNet(
            nn.Linear(4, 3), CrossEntropy(), n_classes=3, batch_size=8, iterator_train=Batches,
            iterator_train__shuffle=True, train_split=None, verbose=0,
        ).initialize()  # fmt: skip
        net.fit_rows(data, 1)
        return len(reads)

    assert count(400) == count(40)
