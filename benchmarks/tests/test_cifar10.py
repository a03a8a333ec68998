"""The full-size study on CIFAR-10, on a few hundred colored squares in the stored format."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.history import History

from benchmarks.studies import cifar10
from robustlabels.datasets import load_cifar10
from robustlabels.training.rows import Rows

ROOT = Path(cifar10.__file__).parents[2]
SIDE = 8
LEVELS = np.array([40, 128, 215])
COLORS = LEVELS[np.array([np.arange(10) // 9, np.arange(10) // 3 % 3, np.arange(10) % 3])]  # red, green, blue


def squares(rng, n):
    """Images of one color each, near their class's, as residuals: the first pixel says it all."""
    y = np.arange(n) % 10
    residuals = np.zeros((3, n, SIDE, SIDE), np.uint8)
    red, green, blue = np.clip(COLORS[:, y] + rng.normal(0, 8, (3, n)), 0, 255).astype(np.uint8)
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
    names = np.array([f"color {label}" for label in range(10)])
    np.savez(folder / "cifar10_test.npz", **squares(rng, 200), class_names=names)
    clean = np.concatenate([part["y"] for part in parts])
    human = np.where(rng.random(600) < 1 / 3, (clean + 1) % 10, clean)
    sources = dict.fromkeys(("aggre", "random1", "random2", "random3", "worse"), human)
    np.savez(folder / "cifar10n_labels.npz", clean=clean, **sources)
    return folder


def flat(row):
    return {**row, **row["measures"], **row["machine"]}


@pytest.fixture
def run(home, tmp_path, monkeypatch):
    """Call the study on these data; exit status and the rows so far, their measures beside what ran."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where checkpoints go
    results = tmp_path / "out" / "results.jsonl"

    def call(*args):
        fixed = ["--module", "cnn", "--param", "module__width=4", "--device", "cpu"]
        status = cifar10.main([*fixed, "--data-home", str(home), "--results", str(results), *args])
        lines = results.read_text().splitlines() if results.exists() else []
        return status, [flat(json.loads(line)) for line in lines]

    return call


@pytest.mark.parametrize("method", cifar10.METHODS)
def test_every_method_appends_one_line_of_json(run, method, capsys):
    status, lines = run("--method", method, "--noise", "sym40", "--epochs", "2", "--batch-size", "32", "--seed", "3")
    line = lines[0]
    assert status == 0
    assert [one["method"] for one in lines] == ([method, "moit"] if method == "moit+" else [method])
    assert (line["method"], line["noise"], line["seed"], line["module"]) == (method, "sym40", 3, "cnn")
    held_out = 60 if method in ("ce", "gce", "sce", "coteaching", "elr", "elr+") else 0  # as their papers do
    assert (line["rows_trained"], line["rows_validation"], line["rows_test"]) == (600 - held_out, held_out, 200)
    stages = 3 if method == "moit+" else 2  # epochs: MOIT+ goes on for a fifth of them, at least one
    assert (line["epochs"], line["max_epochs"], line["batch_size"]) == (stages, 2, 32)
    assert line["paper_epochs"] >= 60
    width = "estimator__module__width" if method.startswith("sanm") else "module__width"
    assert line["params"][width] == 4
    validated = ("test_best_valid", "valid_last", "valid_best")
    for share in (
        *("test_last", "share_of_peak", *(validated if held_out else ())),
        *("detection_ap", "detection_auroc", "detection_precision", "detection_recall", "estimated_noise_rate"),
    ):
        assert 0 <= line[share] <= 1, share
    for amount in (
        *("samples_per_second", "seconds_per_epoch", "seconds", "gflop_per_row_and_epoch", "tflops", "peak_tflops"),
        *("peak_memory_mib", "seconds_setup", "seconds_training", "seconds_between", "seconds_test"),
    ):
        assert line[amount] > 0, amount
    assert line["noise_rate"] == pytest.approx(0.36, abs=0.03)
    if held_out:
        assert line["best_valid_epoch"] in (1, 2)
    else:
        assert {line[name] for name in (*validated, "best_valid_epoch")} == {None}
        assert line["seconds_validation"] == pytest.approx(0, abs=0.1)
    assert "2 epochs instead of" in cifar10.summary(line)
    assert line["device"]
    assert line["date"]
    assert {"robustlabels", "torch", "numpy", "python"} <= set(line["versions"])
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == stages + len(lines)  # epochs and summaries
    assert f"test {100 * line['test_last']:.2f} % at the last epoch" in shown[stages]
    assert line["published"] is None  # of two epochs and another network
    assert "published" not in shown[stages]


def test_the_first_stage_of_moit_plus_is_a_moit(run, capsys):
    args = ["--noise", "sym40-others", "--epochs", "3", "--batch-size", "64"]
    _, (alone,) = run("--method", "moit", *args)
    _, (_, _) = run("--method", "moit+", *args)  # it is there: no second line
    _, (_, _, other, brought) = run("--method", "moit+", *args, "--seed", "1")
    assert (other["method"], brought["method"], brought["epochs"]) == ("moit+", "moit", 3)
    _, (*_, itself) = run("--method", "moit", *args, "--seed", "1")
    timed = {name for name in alone if name.startswith("seconds") or "tflops" in name}
    timed |= {"samples_per_second", "share_of_peak", "peak_memory_mib", "date", "measures"}
    assert {key for key in itself if itself[key] != brought[key]} <= timed
    monitored = capsys.readouterr().out.count("epoch   1")
    assert monitored == 2 + 2 * 2  # a MOIT+ has two stages


def test_where_the_time_goes(monkeypatch):
    class Net:
        history, device = History(), "cpu"

    now = 0.0

    def wait(seconds):
        nonlocal now
        now += seconds

    def walk(training, seconds):
        for its in seconds:
            watch.on_batch_begin(Net, batch=(None, [0, 0]), training=training)
            wait(its)
            watch.on_batch_end(Net, batch=(None, [0, 0]), training=training)

    def evaluate(self, net):
        for name in ("train_loss", "test_acc", "dur"):
            net.history.record(name, 0.5)
        wait(0.5)

    monkeypatch.setattr(cifar10.time, "perf_counter", lambda: now)
    monkeypatch.setattr(cifar10.AccuracyCurve, "on_train_begin", lambda self, net, X: None)
    monkeypatch.setattr(cifar10.AccuracyCurve, "on_epoch_end", evaluate)
    watch = cifar10.TestAccuracy(None, None)
    wait(7)  # building
    for epochs in (2, 1):  # two stages
        watch.on_train_begin(Net)
        for epoch in range(epochs):
            wait(3)  # a vote
            Net.history.new_epoch()
            watch.on_epoch_begin(Net)
            walk(True, [40 if epoch == 0 else 1, 1, 1])
            walk(False, [20 if epoch == 0 else 0.25, 0.25])
            watch.on_epoch_end(Net)
    names = ("setup_dur", "between_dur", "train_dur", "valid_dur", "rows_trained")
    assert Net.history[:, names] == [*((70, 0, 2, 0.25, 6), (0, 3, 3, 0.5, 6), (63, 0, 2, 0.25, 6))]


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
    assert line["test_last"] > 0.4  # of one color each, these images say nothing of the network; chance is 0.1
    assert line["precision"] in ("float32", "bfloat16")
    assert line["published"] is None
    assert line["params"]["compile"] is False  # that is for a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_the_fast_recipe_compiled_on_a_gpu(run):
    args = ["--setting", "fast", "--module", "fast", "--batch-size", "60", "--epochs", "6", "--device", "cuda"]
    _, (line,) = run("--method", "elr", "--noise", "sym20", *args, "--param", "module__width=8")
    assert (line["params"]["compile"], line["precision"], line["device_type"]) == (True, "bfloat16", "cuda")
    assert line["test_last"] > 0.4
    assert line["seconds_setup"] > line["seconds_training"]  # compilation is not counted as training


@pytest.mark.slow
def test_the_fast_recipe_on_photographs(data_home):
    data = load_cifar10(data_home=data_home)
    clf = cifar10.make_classifier("ce", "clean", setting="fast", epochs=6, module__width=16, batch_size=256)
    clf.set_params(compile=False)
    clf.set_params(random_state=0, device="cpu").fit(data.X_train[:6000], data.y_train[:6000])
    assert clf.score(data.X_test[:2000], data.y_test[:2000]) > 0.5  # .59 to .63 was measured


def test_the_fast_recipe_keeps_a_methods_own_settings():
    params = cifar10.make_classifier("elr", "sym40", setting="fast", lam=7).get_params()
    assert (params["module"], params["batch_size"], params["lam"]) == ("fast", 1000, 7)
    assert params["compile"] is True
    assert [rows % params["batch_size"] for rows in (45_000, 5_000, 10_000)] == [0, 0, 0]  # one shape to compile
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
    timed = {"samples_per_second", "tflops", "peak_tflops", "share_of_peak", "peak_memory_mib", "date", "measures"}
    timed |= {name for name in whole if name.startswith("seconds")}
    for key in whole.keys() - timed:
        assert resumed[key] == whole[key], key


def test_a_second_stage_goes_on_too(run, capsys, tmp_path):
    args = ["--method", "moit+", "--epochs", "3", "--batch-size", "64", "--noise", "sym40-others"]
    args += ["--param", "finetune_epochs=3"]
    _, (whole, _) = run(*args)
    said = []
    while run(*args, "--minutes", "0")[0]:
        said.append(capsys.readouterr().out.splitlines()[-1].partition("(")[2].partition(",")[0])
    assert said == [f"{done} epochs done" for done in ("1 of 3", "2 of 3", "1 of stage 2", "2 of stage 2")]
    resumed = flat(json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[2]))
    assert (resumed["test_last"], resumed["detection_ap"]) == (whole["test_last"], whole["detection_ap"])
    assert (resumed["epochs"], whole["epochs"]) == (6, 6)
    assert not list(tmp_path.glob("robustlabels-cifar10-*/*"))


def test_a_slice_ends_with_an_epoch_that_was_written(tmp_path):
    checkpoint = tmp_path / "one.ckpt"
    slice_ = cifar10.TimeSlice(0.0, checkpoint)

    def epoch(write):
        slice_.on_epoch_begin(None)
        slice_.on_epoch_end(None)
        if write:
            checkpoint.with_name("partial").write_bytes(b"x")
            checkpoint.with_name("partial").replace(checkpoint)

    slice_.on_train_begin(None)
    epoch(write=False)
    epoch(write=False)  # time is up, but what was done would have to be done again
    epoch(write=True)
    with pytest.raises(cifar10.OutOfTime):
        slice_.on_epoch_begin(None)
    slice_.on_train_begin(None)  # the next slice: at least one epoch
    epoch(write=True)
    with pytest.raises(cifar10.OutOfTime):
        slice_.on_epoch_begin(None)
    late = cifar10.TimeSlice(cifar10.time.monotonic() + 60, checkpoint)
    late.on_train_begin(None)
    late.on_epoch_end(None)
    checkpoint.write_bytes(b"xyz")
    late.on_epoch_begin(None)


@pytest.fixture
def suite(monkeypatch):
    """A suite of so many runs."""

    def replace(*entries):
        monkeypatch.setattr(cifar10, "SUITE", [cifar10.Entry(*entry) for entry in entries])

    return replace


def test_the_suite_runs_what_is_not_stored(run, suite, capsys):
    suite(("ce", "sym40"), ("elr", "sym40", None, 3), ("elr", "cifar10n-worse"))
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


FOREIGN = {
    "a parameter": lambda line: line["params"].update(lam=0.0),
    "the paper's settings as they were": lambda line: line["params"].update(beta=0.6),
    "the network": lambda line: line["params"].update(module="mlp"),
    "its width": lambda line: line["params"].update(module__width=64),
    "the batch": lambda line: line["params"].update(batch_size=999),
    "the epochs": lambda line: line["params"].update(max_epochs=3),
    "the precision": lambda line: line["params"].update(precision="float32"),
    "the device": lambda line: line.update(device_type="cuda"),
    "the rows": lambda line: line.update(rows_asked=None),
    "what is held out": lambda line: line.update(validation=False),
    "the setting": lambda line: line.update(setting="fast"),
    "the seed": lambda line: line.update(seed=9),
    "the labels": lambda line: line.update(noise="sym20"),
    "the method": lambda line: line.update(method="ce"),
}


@pytest.fixture(scope="module")
def stored_line(home, tmp_path_factory):
    """A line of the smallest ELR run."""
    results = tmp_path_factory.mktemp("stored") / "one.jsonl"
    args = ["--smallest", "--rows", "100", "--noise", "sym40", "--device", "cpu", "--data-home", str(home)]
    assert cifar10.main([*args, "--results", str(results)]) == 0
    return results.read_text()


@pytest.mark.parametrize("what", FOREIGN)
def test_a_run_of_other_settings_is_not_taken_for_the_suites(stored_line, what, suite, tmp_path):
    suite(("elr", "sym40"))
    results = tmp_path / "out.jsonl"
    args = cifar10.parse(["--smallest", "--suite", "--rows", "100", "--device", "cpu", "--results", str(results)])
    (one,) = cifar10.entries(args)
    line = json.loads(stored_line)
    assert cifar10.find([line], cifar10.identity(one, "cpu")) is line
    FOREIGN[what](line)
    assert cifar10.find([line], cifar10.identity(one, "cpu")) is None


def test_a_run_that_fails_does_not_stop_the_suite(run, suite, monkeypatch, capsys):
    suite(("ce", "sym40"), ("elr", "sym40"))
    real = cifar10.make_task

    def fail_once(*args, **kwargs):
        monkeypatch.setattr(cifar10, "make_task", real)
        raise FloatingPointError("the training loss became nan")

    monkeypatch.setattr(cifar10, "make_task", fail_once)
    status, (line,) = run("--smallest", "--suite", "--rows", "100")
    assert (status, line["method"]) == (1, "elr")
    shown = capsys.readouterr()
    assert "FloatingPointError: the training loss became nan" in shown.err
    assert shown.out.splitlines()[-1] == "failed: ce on sym40"
    status, lines = run("--smallest", "--suite", "--rows", "100")
    assert (status, [line["method"] for line in lines]) == (0, ["elr", "ce"])


def test_the_suite_is_narrowed_by_noise_and_setting(suite):
    suite(("ce", "sym40"), ("elr", "sym40"), ("elr", "sym40", "fast"), ("elr", "sym80"))

    def chosen(*args):
        return [(one.method, one.noise, one.setting) for one in cifar10.entries(cifar10.parse(["--suite", *args]))]

    assert len(chosen()) == 4
    assert chosen("--noise", "sym80") == [("elr", "sym80", None)]
    assert chosen("elr", "--noise", "sym40") == [("elr", "sym40", None), ("elr", "sym40", "fast")]
    assert chosen("--setting", "fast") == [("elr", "sym40", "fast")]


def test_what_does_not_fit_into_the_time_left_is_left_out(run, suite, capsys):
    suite(("ce", "sym40"), ("elr", "sym80", None, 400))
    args = ["--suite", "--rows", "100", "--left", "4"]
    assert cifar10.expected_minutes(cifar10.parse(["--method", "elr", "--epochs", "400"]), "cpu", []) > 4
    status, lines = run(*args, "--rows", "600", "--left", "0.1")
    assert (status, lines) == (3, [])
    assert "left out: ce on sym40, elr on sym80" in capsys.readouterr().out
    status, (line,) = run("--smallest", "--rows", "100", "--suite", "ce", "--left", "4")
    assert (status, line["method"]) == (0, "ce")


def test_expected_time_is_measured_where_it_can_be(run, tmp_path):
    args = ["--method", "elr", "--epochs", "5", "--batch-size", "32", "--noise", "clean", "--device", "cpu"]
    one = cifar10.parse([*args, "--module", "cnn", "--param", "module__width=4"])
    by_arithmetic = cifar10.expected_minutes(one, "cpu", [])
    assert by_arithmetic == pytest.approx((30 + 5 * 1.5) / 60)
    assert run(*args[:4], *args[4:], "--minutes", "0")[0] == 75
    checkpoint = next(tmp_path.glob("robustlabels-cifar10-*/*.ckpt"))
    one.param = [("module__width", 4)]
    one.data_home = one.minutes = None
    (row,) = torch.load(checkpoint, weights_only=True)["history"]
    left = 4 * (row["dur"] + row["test_dur"] + row["between_dur"])
    assert cifar10.expected_minutes(one, "cpu", []) == pytest.approx((30 + left) / 60)
    while run(*args, "--minutes", "0")[0]:
        pass
    _, lines = run(*args)
    line = lines[0]
    measured = cifar10.expected_minutes(one, "cpu", lines[:1])
    assert measured == pytest.approx(line["seconds"] / 60)


def test_the_list_says_what_is_stored_and_how_long_the_rest_takes(run, suite, capsys):
    suite(("ce", "sym40"), ("moit+", "sym40-others"), ("moit", "sym40-others"))
    run("--method", "ce", "--smallest", "--rows", "100")
    capsys.readouterr()
    status, lines = run("--list", "--smallest", "--rows", "100")
    shown = capsys.readouterr().out.splitlines()
    assert (status, len(lines)) == (0, 1)  # nothing was run
    assert [line.split("  ")[-1] for line in shown[:3]] == [
        "ce on sym40",
        "moit+ on sym40-others",
        "moit on sym40-others",
    ]
    assert [line[:10].strip().split()[-1] for line in shown[:3]] == ["stored", "min", "MOIT+"]
    assert "hours in all" in shown[3]


def test_the_suite_has_what_was_asked_for():
    runs = {entry[:2] for entry in cifar10.SUITE if entry.setting is None}
    asked = {("elr", noise) for noise in ("sym20", "sym40", "sym80", "asym40")}
    asked |= {(method, "cifar10n-worse") for method in cifar10.METHODS if method not in ("gce", "sce", "coteaching")}
    assert asked <= runs
    assert all(entry.epochs for entry in cifar10.SUITE if entry.method.startswith("sanm"))
    assert ("elr", "sym40", "fast", None) in cifar10.SUITE
    assert ("elr", "sym40", "cifar10-sym-cosine", None) in cifar10.SUITE
    for method in ("ce", "elr", "elr+", "moit", "moit+", "dividemix"):
        assert {noise for m, noise in runs if m == method and (m, noise) in cifar10.PUBLISHED}, method
    never = {entry[:2] for entry in cifar10.SUITE if cifar10.published(*entry[:3]) is None}
    assert {method for method, noise in never if noise != "cifar10n-worse"} <= {"pemm", "sanm(dividemix)"}
    assert 2 < cifar10.suite_hours() < 8
    assert set(cifar10.EPOCH_SECONDS) == set(cifar10.METHODS)


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
        (["--left", "9"], "--left chooses among the runs of --suite; a single run takes --minutes"),
        (["--suite", "gce"], "the suite has no run of gce; --list prints it"),
        (["--suite", "elr", "--noise", "sym60"], "the suite has no run of elr, sym60"),
        (["--suite", "--checkpoint", "x"], "--checkpoint is one run's file"),
    ],
)
def test_bad_arguments(run, args, message, capsys):
    with pytest.raises(SystemExit):
        run(*args)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("results", [[], ["--results", str(cifar10.RESULTS)]], ids=["none", "the committed file"])
def test_numbers_that_mean_nothing_do_not_go_into_the_committed_file(results, capsys):
    with pytest.raises(SystemExit):
        cifar10.parse(["--smallest", "--suite", *results])
    assert "give it another file, --results FILE" in capsys.readouterr().err


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


def test_papers_that_hold_nothing_out_train_on_every_row(home):
    task = cifar10.make_task(load_cifar10(data_home=home), "sym40", seed=0, validation=False)
    assert (len(task.split.train), len(task.split.valid)) == (600, 0)
    assert (task.y_given != task.y_true).mean() == pytest.approx(0.36, abs=0.04)
    held_out = {m: cifar10.default_validation(m, "sym40") for m in cifar10.METHODS}
    assert {m for m, yes in held_out.items() if not yes} == {"moit", "moit+", "pemm", "dividemix", "sanm(dividemix)"}
    assert [cifar10.default_validation("ce", noise) for noise in ("sym40-others", "asym40-once", "asym40")] == [
        *(False, False, True)
    ]
    assert cifar10.default_validation("elr", "sym40-others")


def test_rows_can_be_held_out_of_any_method(run):
    args = ["--epochs", "1", "--batch-size", "64"]
    _, (line,) = run("--method", "dividemix", "--validation", "yes", *args)
    assert (line["rows_trained"], line["rows_validation"], line["validation"]) == (540, 60, True)
    _, (_, line) = run("--method", "ce", "--validation", "no", *args)
    assert (line["rows_trained"], line["rows_validation"], line["validation"]) == (600, 0, False)


@pytest.mark.parametrize("percent", [20, 40, 50, 60, 80, 90])
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


def test_data_arrive_in_three_transfers(home, tmp_path):
    inbox, folder = tmp_path / "inbox", tmp_path / "data"
    inbox.mkdir()
    command = [sys.executable, "-m", "benchmarks.studies.cifar10", "--stage", str(inbox), "--data-home", str(folder)]

    def send(*names):
        for file in inbox.iterdir():
            file.unlink()
        for name in names:
            (inbox / name).write_bytes((home / name).read_bytes())

    send("cifar10_train_1.npz", "cifar10n_labels.npz")
    first = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert first.stderr == ""
    missing = "still missing cifar10_train_2.npz, cifar10_test.npz"
    assert (first.returncode, first.stdout) == (75, f"{folder}: {missing}\n")
    send("cifar10_train_2.npz")
    assert cifar10.main(command[3:]) == 75
    send("cifar10_test.npz")
    assert cifar10.main(command[3:]) == 0
    np.testing.assert_array_equal(load_cifar10(data_home=folder).X_train, load_cifar10(data_home=home).X_train)


def test_what_travels_beside_the_checkout_is_ignored():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for folder in ("inbox", ".wheels"):
        assert f"{folder}/" in cifar10.__doc__
        assert f"/{folder}/" in ignored


def test_no_transfer_is_too_large(data_home):
    """With the checkout, for which 12 MiB are kept."""
    size = {name: (Path(data_home) / name).stat().st_size / 2**20 for name in cifar10.FILES}
    for transfer in (("cifar10_train_1.npz", "cifar10n_labels.npz"), ("cifar10_train_2.npz",), ("cifar10_test.npz",)):
        assert all(name in cifar10.__doc__ for name in transfer)
        assert sum(size[name] for name in transfer) + 12 < 64


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
    sanm = cifar10.make_classifier("sanm(dividemix)", "sym40", epochs=36, mask_aspect=(1, 1), lambda_u=0)
    assert (sanm.warmup, sanm.mask_aspect, sanm.estimator.lambda_u, sanm.estimator.max_epochs) == (1, (1, 1), 0, 36)


def test_sanms_host_is_its_own():
    full = cifar10.make_classifier("sanm(dividemix)", "sym40")
    theirs = cifar10.SANMClassifier.from_paper("cifar10")
    assert full.get_params()["estimator__max_epochs"] == theirs.estimator.max_epochs == 361
    assert cifar10.paper_epochs("sanm(dividemix)", "sym40", None) == 361
    assert cifar10.paper_epochs("dividemix", "sym40", None) == 301
    assert {k: v for k, v in full.get_params().items() if k != "estimator"} == {
        k: v for k, v in theirs.get_params().items() if k != "estimator"
    }
    other = cifar10.make_classifier("sanm(dividemix)", "sym20", setting="cifar10-sym20").estimator
    assert (other.lambda_u, other.max_epochs) == (0.0, 361)


def test_cross_entropy_beside_moit_trains_as_moit():
    ce, moit = (cifar10.make_classifier(method, "sym40-others").get_params() for method in ("ce", "moit"))
    shared = ["module", "max_epochs", "batch_size", "lr", "lr_schedule", "augment", "optimizer"]
    shared += ["optimizer__momentum", "optimizer__weight_decay"]
    assert {name: ce[name] for name in shared} == {name: moit[name] for name in shared}
    assert ce["module"] == "preact_resnet18"
    assert cifar10.make_classifier("ce", "asym40").module == "resnet34"


def test_departures_are_what_is_not_the_papers():
    def row(**changes):
        clf = cifar10.make_classifier("elr", "sym40", **{"epochs": None, **changes})
        line = {"method": "elr", "noise": "sym40", "setting": "default", "max_epochs": clf.max_epochs}
        return {**line, "rows_asked": None, "rows_validation": 5000, "params": cifar10.settings(clf, 50_000)}

    assert cifar10.is_papers(row())
    assert cifar10.is_papers(row(precision="bfloat16", compile=True))
    assert cifar10.departures(row(lam=7)) == {"lam": 7}
    short = row(epochs=60)
    assert cifar10.departures(short) == {}  # the steps have moved along
    others = [row(lam=7), short, {**row(), "rows_asked": 500}, {**row(), "rows_validation": 0}]
    assert not any(map(cifar10.is_papers, others))


def test_work_is_counted_as_by_hand(run):
    params = ["--param", "module__width=16", "--param", "module__depth=1", "--batch-size", "64"]
    _, (line,) = run("--method", "ce", "--module", "mlp", *params, "--epochs", "1", "--rows", "100")
    d, width, k = 3 * SIDE**2, 16, 10
    forward = 2 * (d * width + width * k)
    backward = 2 * (d * width + 2 * width * k)  # nobody asks for the gradient of the images
    assert line["gflop_per_row_and_epoch"] * 1e9 == pytest.approx(forward + backward)
    assert line["peak_dtype"] == line["precision"] == "float32"  # no convolution, nothing lowered


def test_ties_go_to_the_later_epoch():
    history = History()
    columns = {"valid_acc": [0.1, 0.7, 0.7, 0.2], "test_acc": [0.2, 0.8, 0.9, 0.3], "train_loss": [4, 3, 2, 1]}
    for row in zip(*columns.values(), strict=True):
        history.new_epoch()
        for name, value in zip(columns, row, strict=True):
            history.record(name, value)
    measured = cifar10.accuracies(history)
    assert (measured["test_best_valid"], measured["best_valid_epoch"], measured["test_last"]) == (0.9, 3, 0.3)
