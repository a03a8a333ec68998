"""The full-size CIFAR-10 benchmark, on a few hundred coloured squares in the stored format."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cifar10
from robustlabels.datasets import load_cifar10
from robustlabels.net import Rows

SIDE = 8
LEVELS = np.array([40, 128, 215])
COLOURS = LEVELS[np.array([np.arange(10) // 9, np.arange(10) // 3 % 3, np.arange(10) % 3])]  # red, green, blue


def squares(rng, n):
    """Images of one colour each, near their class's, as residuals: the first pixel says it all."""
    y = np.arange(n) % 10
    residuals = np.zeros((3, n, SIDE, SIDE), np.uint8)
    red, green, blue = np.clip(COLOURS[:, y] + rng.normal(0, 8, (3, n)), 0, 255).astype(np.uint8)
    residuals[:, :, 0, 0] = green, red - green, blue - green
    return {"x_med": residuals, "y": y.astype(np.uint8)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the four files: 600 training and 200 test images, a third of the human labels wrong."""
    folder = tmp_path_factory.mktemp("cifar10")
    rng = np.random.default_rng(0)
    parts = squares(rng, 300), squares(rng, 300)
    for number, part in enumerate(parts, start=1):
        np.savez(folder / f"cifar10_train_{number}.npz", **part)
    names = np.array([f"colour {label}" for label in range(10)])
    np.savez(folder / "cifar10_test.npz", **squares(rng, 200), class_names=names)
    clean = np.concatenate([part["y"] for part in parts])
    human = np.where(rng.random(600) < 1 / 3, (clean + 1) % 10, clean)
    sources = dict.fromkeys(("aggre", "random1", "random2", "random3", "worse"), human)
    np.savez(folder / "cifar10n_labels.npz", clean=clean, **sources)
    return folder


@pytest.fixture
def run(home, tmp_path, monkeypatch):
    """Call the benchmark on these data; exit status and the lines of JSON so far."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where checkpoints go
    results = tmp_path / "out" / "results.jsonl"

    def call(*args):
        fixed = ["--module", "cnn", "--param", "module__width=4", "--device", "cpu"]
        status = cifar10.main([*fixed, "--data-home", str(home), "--results", str(results), *args])
        lines = results.read_text().splitlines() if results.exists() else []
        return status, [json.loads(line) for line in lines]

    return call


@pytest.mark.parametrize("method", cifar10.METHODS)
def test_every_method_appends_one_line_of_json(run, method, capsys):
    status, (line,) = run("--method", method, "--noise", "sym40", "--epochs", "2", "--batch-size", "32", "--seed", "3")
    assert status == 0
    assert (line["method"], line["noise"], line["seed"], line["module"]) == (method, "sym40", 3, "cnn")
    assert (line["rows_trained"], line["rows_validation"], line["rows_test"]) == (540, 60, 200)
    stages = 3 if method == "moit+" else 2  # epochs: MOIT+ goes on for a fifth of them, at least one
    assert (line["epochs"], line["max_epochs"], line["batch_size"]) == (stages, 2, 32)
    assert line["paper_epochs"] >= 60
    width = "estimator__module__width" if method.startswith("sanm") else "module__width"
    assert line["params"][width] == 4
    for share in (
        *("test_last", "test_best_valid", "valid_last", "valid_best", "share_of_peak"),
        *("detection_ap", "detection_auroc", "detection_precision", "detection_recall", "estimated_noise_rate"),
    ):
        assert 0 <= line[share] <= 1, share
    for amount in (
        *("samples_per_second", "seconds_per_epoch", "seconds", "gflop_per_row_and_epoch", "tflops", "peak_tflops"),
        "peak_memory_mib",
    ):
        assert line[amount] > 0, amount
    assert line["noise_rate"] == pytest.approx(0.36, abs=0.03)
    assert line["best_valid_epoch"] in (1, 2)
    assert "2 epochs instead of" in cifar10.summary(line)
    assert line["device"]
    assert line["date"]
    assert {"robustlabels", "torch", "numpy", "python"} <= set(line["versions"])
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == stages + 1  # epochs and the summary
    assert f"test {100 * line['test_last']:.2f} % at the last epoch" in shown[-1]
    assert ("published" in shown[-1]) == (line["published"] is not None) == ((method, "sym40") in cifar10.PUBLISHED)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
@pytest.mark.parametrize("method", ["ce", "elr+"])
def test_on_a_gpu(run, method):
    _, (line,) = run("--method", method, "--device", "cuda", "--epochs", "12", "--batch-size", "16", "--noise", "clean")
    assert line["test_last"] > 0.9
    assert line["precision"] == line["peak_dtype"] == "bfloat16"
    assert line["peak_memory_of"] == "device"
    assert line["device"] == torch.cuda.get_device_name()
    assert 0 < line["share_of_peak"] < 1


@pytest.mark.parametrize("method", ["ce", "elr", "elr+"])
def test_the_fast_recipe_in_its_smallest_form(run, method):
    args = ["--setting", "fast", "--module", "fast", "--batch-size", "32", "--epochs", "6"]
    args += ["--param", "module__width=8"]
    _, (line,) = run("--method", method, "--noise", "sym20", *args)
    assert (line["module"], line["setting"], line["params"]["lr_schedule"]) == ("fast", "fast", "one_cycle")
    assert (line["max_epochs"], line["paper_epochs"]) == (6, 20)
    assert line["test_last"] > 0.4  # of one colour each, these images say nothing of the network; chance is 0.1
    assert line["precision"] in ("float32", "bfloat16")


@pytest.mark.slow
def test_the_fast_recipe_on_photographs(data_home):
    data = load_cifar10(data_home=data_home)
    clf = cifar10.make_classifier("ce", "clean", setting="fast", epochs=6, module__width=16, batch_size=256)
    clf.set_params(random_state=0, device="cpu").fit(data.X_train[:6000], data.y_train[:6000])
    assert clf.score(data.X_test[:2000], data.y_test[:2000]) > 0.5  # .59 to .63 was measured


def test_the_fast_recipe_keeps_a_methods_own_settings():
    params = cifar10.make_classifier("elr", "sym40", setting="fast", lam=7).get_params()
    assert (params["module"], params["batch_size"], params["lam"]) == ("fast", 1024, 7)
    assert params["beta"] == cifar10.METHODS["elr"]().beta
    rates = [cifar10.CrossEntropyClassifier(lr_schedule="one_cycle")._lr_factor()(epoch, 20) for epoch in range(20)]
    assert max(rates) == rates[5] > 0.9
    assert rates[0] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.05


def test_it_learns(run):
    _, (line,) = run("--method", "ce", "--noise", "clean", "--epochs", "12", "--batch-size", "16")
    assert line["test_last"] > 0.9
    assert line["noise_rate"] == 0
    assert line["detection_ap"] is None
    assert line["published"] is None


@pytest.mark.parametrize("method", ["elr", "elr+", "dividemix", "sanm(dividemix)"])
def test_stopped_and_resumed_is_uninterrupted(run, method, capsys, tmp_path):
    args = ["--method", method, "--noise", "cifar10n-worse", "--epochs", "3", "--batch-size", "64"]
    _, (whole,) = run(*args)
    for done in (1, 2):
        status, lines = run(*args, "--minutes", "0")
        assert status == 75
        assert len(lines) == 1  # nothing is reported yet
        assert f"unfinished: run again ({done} of 3 epochs done" in capsys.readouterr().out.splitlines()[-1]
    assert len(list(tmp_path.glob("robustlabels-cifar10-*/*.ckpt"))) == 1
    status, (_, resumed) = run(*args, "--minutes", "0")
    assert status == 0
    assert not list(tmp_path.glob("robustlabels-cifar10-*/*.ckpt"))
    timed = {"samples_per_second", "seconds_per_epoch", "seconds", "tflops", "peak_tflops", "share_of_peak"}
    for key in whole.keys() - timed - {"peak_memory_mib", "date", "params"}:
        assert resumed[key] == whole[key], key


def test_a_second_stage_goes_on_too(run, capsys, tmp_path):
    args = ["--method", "moit+", "--epochs", "3", "--batch-size", "64", "--noise", "sym40-others"]
    args += ["--param", "finetune_epochs=3"]
    _, (whole,) = run(*args)
    said = []
    while run(*args, "--minutes", "0")[0]:
        said.append(capsys.readouterr().out.splitlines()[-1].partition("(")[2].partition(",")[0])
    assert said == [f"{done} epochs done" for done in ("1 of 3", "2 of 3", "1 of stage 2", "2 of stage 2")]
    resumed = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[1])
    assert (resumed["test_last"], resumed["detection_ap"]) == (whole["test_last"], whole["detection_ap"])
    assert (resumed["epochs"], whole["epochs"]) == (6, 6)
    assert not list(tmp_path.glob("robustlabels-cifar10-*/*"))


def test_the_suite_runs_what_is_not_stored(run, monkeypatch, capsys):
    monkeypatch.setattr(cifar10, "SUITE", [("ce", "sym40", None), ("elr", "sym40", 3), ("elr", "cifar10n-worse", None)])
    args = ["--smallest", "--suite"]
    status, lines = run(*args, "--minutes", "0")
    assert (status, len(lines)) == (75, 0)
    for _ in range(20):
        status, lines = run(*args, "--minutes", "0")
        if status == 0:
            break
    assert [(line["method"], line["noise"], line["max_epochs"]) for line in lines] == [
        *(("ce", "sym40", 2), ("elr", "sym40", 2), ("elr", "cifar10n-worse", 2))
    ]
    assert {line["rows_trained"] for line in lines} == {450}
    capsys.readouterr()
    assert run(*args) == (0, lines)
    assert capsys.readouterr().out.count("stored") == 3
    assert run("--smallest", "--suite", "elr", "--seed", "1")[1][3:][0]["method"] == "elr"


def test_the_suite_has_what_was_asked_for():
    asked = {("elr", noise) for noise in ("sym20", "sym40", "sym80", "asym40")}
    asked |= {(method, "cifar10n-worse") for method in cifar10.METHODS if method not in ("gce", "sce", "coteaching")}
    assert asked <= {run[:2] for run in cifar10.SUITE}
    assert all(epochs for method, _, epochs in cifar10.SUITE if method.startswith("sanm"))


def test_a_split_is_the_same_in_another_process():
    split = [cifar10.HeldOut(np.arange(9), np.array([9])) for _ in range(2)]
    assert repr(split[0]) == repr(split[1])
    assert repr(split[0]).startswith("HeldOut(9 + 1 rows, ")  # no address in it: it names the fit in its checkpoint
    assert repr(split[0]) != repr(cifar10.HeldOut(np.arange(9), np.array([8])))


def test_unknown_noise_names_the_known_ones(run, capsys):
    with pytest.raises(SystemExit) as stop:
        run("--noise", "sym45")
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "'sym45'" in message
    assert "sym40" in message
    assert "cifar10n-worse" in message


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--method", "svm"], "invalid choice: 'svm'"),
        (["--rows", "50"], "--rows must be at least 100, ten of each class, got 50"),
        (["--param", "lam"], "'lam' is not NAME=VALUE"),
    ],
)
def test_bad_arguments(run, args, message, capsys):
    with pytest.raises(SystemExit):
        run(*args)
    assert message in capsys.readouterr().err


# --- data and noise


def test_split_is_stratified_and_rows_are_few(home):
    data = load_cifar10(data_home=home)
    task = cifar10.make_task(data, "clean", seed=0, n_rows=200)
    assert task.X.shape == (200, 3, SIDE, SIDE)
    assert task.X.dtype == np.uint8
    assert len(task.y_test) == 200
    assert np.bincount(task.y_true[task.split.train]).tolist() == [18] * 10
    assert np.bincount(task.y_true[task.split.valid]).tolist() == [2] * 10
    together = np.sort(np.concatenate([task.split.train, task.split.valid]))
    np.testing.assert_array_equal(together, np.arange(200))
    np.testing.assert_array_equal(task.y_given, task.y_true)


@pytest.mark.parametrize("percent", [20, 40, 60, 80])
def test_symmetric_noise_includes_the_true_class_in_both_parts(home, percent):
    task = cifar10.make_task(load_cifar10(data_home=home), f"sym{percent}", seed=0)
    wrong = task.y_given != task.y_true
    assert wrong[task.split.train].mean() == pytest.approx(0.9 * percent / 100, abs=0.04)
    assert wrong[task.split.valid].any()


def test_asymmetric_noise_is_the_authors_sequential_one(home):
    task = cifar10.make_task(load_cifar10(data_home=home), "asym40", seed=0)
    wrong = task.y_given != task.y_true
    by_class = [wrong[task.split.train][task.y_true[task.split.train] == label].mean() for label in range(10)]
    assert not any(by_class[label] for label in (0, 1, 6, 7, 8))
    assert [round(by_class[label], 1) for label in (2, 4, 5, 9)] == [0.4] * 4
    assert by_class[3] < 0.35  # cats flipped to dogs and partly back


@pytest.mark.parametrize(("noise", "rate"), [("sym40-others", 0.4), ("asym40-once", 0.2)])
def test_moits_noise_is_its_own(home, noise, rate):
    task = cifar10.make_task(load_cifar10(data_home=home), noise, seed=0)
    wrong = task.y_given != task.y_true
    assert wrong[task.split.train].mean() == pytest.approx(rate, abs=0.005)


def test_a_part_of_the_rows_is_split_by_row_number():
    rows = Rows(np.zeros((10, 2)), index=torch.tensor([1, 3, 8, 9]))
    train, valid = cifar10.HeldOut(np.arange(8), np.array([8, 9]))(rows)
    assert (train.indices.tolist(), valid.indices.tolist()) == ([0, 1], [2, 3])


def test_human_noise_is_as_stored_and_seeds_differ(home):
    data = load_cifar10(data_home=home)
    np.testing.assert_array_equal(cifar10.make_task(data, "cifar10n-worse", seed=0).y_given, data.y_noisy["worse"])
    first, again, other = (cifar10.make_task(data, "sym40", seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.y_given, again.y_given)
    np.testing.assert_array_equal(first.split.valid, again.split.valid)
    assert (first.y_given != other.y_given).any()
    assert (first.split.valid != other.split.valid).any()


def test_data_arrive_in_two_transfers(home, tmp_path):
    inbox, folder = tmp_path / "inbox", tmp_path / "data"
    inbox.mkdir()
    for name in ("cifar10_train_1.npz", "cifar10_test.npz", "cifar10n_labels.npz"):
        (inbox / name).write_bytes((home / name).read_bytes())
    script = Path(cifar10.__file__)
    command = [sys.executable, str(script), "--stage", str(inbox), "--data-home", str(folder)]
    first = subprocess.run(command, capture_output=True, text=True, check=False, cwd=script.parents[1])
    assert first.stderr == ""
    assert (first.returncode, first.stdout) == (75, f"{folder}: still missing cifar10_train_2.npz\n")
    for file in inbox.iterdir():
        file.unlink()
    (inbox / "cifar10_train_2.npz").write_bytes((home / "cifar10_train_2.npz").read_bytes())
    assert cifar10.main(command[2:]) == 0
    np.testing.assert_array_equal(load_cifar10(data_home=folder).X_train, load_cifar10(data_home=home).X_train)


# --- settings and measures


@pytest.mark.parametrize("method", cifar10.METHODS)
def test_baselines_train_as_elr_does(method):
    params = cifar10.make_classifier(method, "sym40").get_params()
    elr = cifar10.make_classifier("elr", "sym40").get_params()
    steps = {124: 0.1, 199: 0.1}
    own = {"elr+": {150: 0.1}, "moit": steps, "moit+": steps, "dividemix": {150: 0.1}}
    if method in own:
        assert (params["module"], params["lr_schedule"]) == ("preact_resnet18", own[method])
    elif method == "sanm(dividemix)":
        assert (params["estimator__module"], params["warmup"]) == ("preact_resnet18", params["estimator__warmup"])
    elif method == "pemm":
        assert params["module"] == "cnn6"
    else:
        shared = ["module", "max_epochs", "batch_size", "lr", "lr_schedule", "augment", "optimizer"]
        shared += ["optimizer__momentum", "optimizer__weight_decay"]
        assert {name: params[name] for name in shared} == {name: elr[name] for name in shared}
    assert type(cifar10.make_classifier(method, "sym40")) is cifar10.METHODS[method]


def test_settings_go_by_the_noise_and_schedules_by_the_epochs():
    assert cifar10.make_classifier("elr", "sym80").beta == 0.7
    assert cifar10.make_classifier("elr", "asym40").beta == 0.9
    assert cifar10.make_classifier("sce", "asym40").beta == 1.0  # its own, not ELR's
    short = cifar10.make_classifier("elr", "sym40", epochs=12, lam=7)
    assert (short.max_epochs, short.lr_schedule, short.lam) == (12, {4: 0.01, 8: 0.01}, 7)
    cosine = cifar10.make_classifier("elr", "sym40", setting="cifar10-sym-cosine")
    assert (cosine.max_epochs, cosine.lr_schedule) == (150, "cosine_restarts")
    assert cifar10.published("elr", "sym40", None)["accuracy"] == 89.15
    assert cifar10.published("elr", "sym40", "cifar10-sym-cosine")["accuracy"] == 91.43
    assert cifar10.published("coteaching", "sym40", None) is None
    assert cifar10.published("moit", "sym40", None) is None  # its 40 % are others
    assert cifar10.published("moit", "sym40-others", None)["accuracy"] == 90.55
    assert cifar10.published("dividemix", "sym20", None)["epoch"] == "best test"
    assert [cifar10.make_classifier("dividemix", noise).lambda_u for noise in ("sym20", "sym40", "asym40")] == [
        0,
        25,
        0,
    ]
    sanm = cifar10.make_classifier("sanm(dividemix)", "sym40", epochs=30, mask_aspect=(1, 1), lambda_u=0)
    assert (sanm.warmup, sanm.mask_aspect, sanm.estimator.lambda_u, sanm.estimator.max_epochs) == (1, (1, 1), 0, 30)


def test_work_is_counted_as_by_hand(run):
    params = ["--param", "module__width=16", "--param", "module__depth=1", "--batch-size", "64"]
    _, (line,) = run("--method", "ce", "--module", "mlp", *params, "--epochs", "1", "--rows", "100")
    d, width, k = 3 * SIDE**2, 16, 10
    forward = 2 * (d * width + width * k)
    backward = 2 * (d * width + 2 * width * k)  # nobody asks for the gradient of the images
    assert line["gflop_per_row_and_epoch"] * 1e9 == pytest.approx(forward + backward)
    assert line["peak_dtype"] == line["precision"] == "float32"  # no convolution, nothing lowered


def test_ties_go_to_the_later_epoch():
    class History(list):
        def __getitem__(self, key):
            rows, name = key
            chosen = list.__getitem__(self, rows)
            return [row[name] for row in chosen] if isinstance(rows, slice) else chosen[name]

    columns = {"valid_acc": [0.1, 0.7, 0.7, 0.2], "test_acc": [0.2, 0.8, 0.9, 0.3], "train_loss": [4, 3, 2, 1]}
    rows = zip(*columns.values(), strict=True)
    measured = cifar10.accuracies(History(dict(zip(columns, row, strict=True)) for row in rows))
    assert (measured["test_best_valid"], measured["best_valid_epoch"], measured["test_last"]) == (0.9, 3, 0.3)
