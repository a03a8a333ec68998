"""The ratios and curves of ``benchmarks.speed``."""

import json
import time

import pytest

import robustlabels
from benchmarks.speed import harness, scaling
from benchmarks.speed.__main__ import main, registry
from benchmarks.speed.epochs import groups, methods
from benchmarks.speed.nets import PlainMLP
from benchmarks.speed.training import bare_loop, classifier, epochs_of, seeded
from robustlabels import MOITClassifier
from robustlabels.comparison import read_rows
from robustlabels.methods.moit import MOITObjective
from robustlabels.training.base import BaseNoisyLabelClassifier


def test_a_run_appends_a_row_per_ratio(monkeypatch, tmp_path):
    ratio = harness.Ratio("a case", "ours / theirs", [1.0, 2.0, 3.0], at_least=False, target=2.5, seconds={"ours": 0.1})

    def made(quick):
        """Nothing beside nothing."""
        yield ratio
        yield harness.Ratio("another", "ours / theirs", [1.0], at_least=True)

    monkeypatch.setitem(harness.REGISTRY, "made", made)
    monkeypatch.setattr(harness, "pin", lambda: None)  # it is of the whole process
    path = tmp_path / "speed.jsonl"
    assert main(["made", "--results", str(path)]) == 0
    first, second = read_rows(path)
    assert (first["data"], first["noise"], first["method"], first["seed"]) == ("generated", "none", "made", 0)
    assert first["params"] == {"case": "a case", "ratio": "ours / theirs", "target": "<= 2.5", "quick": False}
    assert first["measures"].items() >= {"median": 2.0, "min": 1.0, "max": 3.0, "seconds of ours": 0.1}.items()
    assert (first["verdict"], second["verdict"], second["params"]["target"]) == ("met", "", None)
    assert first["date"] == second["date"]
    assert {"cpu", "threads"} <= set(first["machine"])


def test_names_of_benchmarks(monkeypatch, capsys):
    monkeypatch.setattr(harness, "pin", lambda: None)
    assert main(["--list"]) == 0
    assert "SANM's operator on 128 images" in capsys.readouterr().out
    assert "epochs" in registry()
    with pytest.raises(SystemExit):
        main(["epoch"])
    assert "did you mean 'epochs'?" in capsys.readouterr().err


def test_costs_are_ratios_without_a_target():
    rounds = iter([1.0, 1.0, 1.0, 2.0, 4.0])  # two calls beforehand

    def dearer():
        return 3 * now[0]

    def base():
        now[0] = next(rounds)
        return now[0]

    now = [0.0]
    ratios = harness.costs("case", ("base", base), {"half": lambda: 0.5 * now[0], "dearer": dearer}, rounds=1)
    assert [ratio.sides for ratio in ratios] == ["half / base", "dearer / base"]
    assert [ratio.median for ratio in ratios] == [0.5, 3.0]
    record = ratios[1].record()
    assert (ratios[1].goal, record["verdict"]) == (None, "")
    assert (record["seconds of base"], record["seconds of dearer"]) == (1.0, 3.0)
    assert not ratios[1].regressed


def test_a_shaky_base_is_noisy_and_targets_are_kept():
    seconds = iter([1.0, 1.0, 1.0, 2.0, 1.0])
    ratio = harness.compare(
        "case", ("base", lambda: next(seconds)), ("other", lambda: 2.0), overhead=1.5, rounds=3, budget=9
    )
    assert (ratio.sides, ratio.target, ratio.at_least) == ("other / base", 1.5, False)
    assert list(ratio.values) == [2.0, 1.0, 2.0]
    assert ratio.verdict == "noisy"
    speedup = harness.compare("case", ("base", lambda: 6.0), ("other", lambda: 2.0), speedup=4, rounds=3)
    assert (speedup.sides, speedup.median, speedup.verdict) == ("base / other", 3.0, "missed")


def test_what_a_method_does_between_epochs_is_part_of_its_epoch(monkeypatch):
    x, _, y = groups(120, 8)
    estimator = classifier(MOITClassifier, seeded(PlainMLP, 8, 8), max_epochs=2, augment="strong", correction_start=0)
    detect, seconds = MOITObjective.detect, 0.3

    def slow(self, model, batches):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        detect(self, model, batches)

    monkeypatch.setattr(MOITObjective, "detect", slow)
    assert 2 * seconds <= epochs_of(estimator, x, y)() < 3 * seconds  # the vote after the last epoch is not of one
    assert seconds <= epochs_of(estimator, x, y, last=True)() < 2 * seconds


def test_the_epochs_that_are_timed_are_in_full_force():
    x, true, y = groups(600, 12)
    assert (y != true).mean() == pytest.approx(0.4)
    module = bare_loop(seeded(PlainMLP, 12, 32), x, true, epochs=20)
    fitted = {name: estimator.fit(x, y) for name, estimator in methods(module).items()}
    criteria = {name: getattr(estimator, "estimator_", estimator).net_.criterion_ for name, estimator in fitted.items()}
    assert criteria["Co-teaching"].keep == pytest.approx(0.6)
    moit = criteria["MOIT"]
    assert moit.epoch == 1 >= max(moit.settings.memory_start, moit.settings.correction_start)
    assert moit.bank.filled == len(moit.bank.z) > 0
    assert not moit.clean.all()
    divided = criteria["DivideMix"]
    assert divided.epoch == 1 >= divided.settings.warmup
    assert divided.divided == [True, True]
    assert 0 < fitted["DivideMix"].clean_mask_.mean() < 1
    assert criteria["SANM(cross-entropy)"].epoch == 1
    assert (criteria["SANM(cross-entropy)"].ratio > 0).all()  # every row was masked
    second = fitted["MOIT+, second stage"].net_
    assert len(second.history) == 1
    assert second.criterion_ is not fitted["MOIT"].net_.criterion_
    assert type(second.criterion_).__name__ == "FinetuneObjective"
    for estimator in fitted.values():
        params = getattr(estimator, "estimator", estimator).get_params()
        assert (params["batch_size"], params["lr"], params["precision"]) == (128, 0.02, "float32")


def test_every_method_that_trains_has_its_epoch_timed():
    timed = {type(estimator).__name__ for estimator in methods(PlainMLP(4, 4)).values()}
    trains = {
        name
        for name in robustlabels.__all__
        if isinstance(getattr(robustlabels, name), type)
        and issubclass(getattr(robustlabels, name), BaseNoisyLabelClassifier)
    }
    assert timed == trains | {"SANMClassifier"}


@pytest.mark.parametrize("power", [0.5, 1, 2, 3])
def test_slopes_of_known_powers(power):
    sizes = [100, 400, 1_600, 64_000]
    assert scaling.slope(sizes, [0.003 * size**power for size in sizes]) == pytest.approx(power)
    shaken = [0.003 * size**power * shake for size, shake in zip(sizes, (1.1, 0.9, 0.95, 1.05), strict=True)]
    assert scaling.slope(sizes, shaken) == pytest.approx(power, abs=0.05)


def points_of(task, axis, seconds):
    """A stored row for every size along an axis."""
    its = scaling.TASKS[task]
    return [
        {**scaling.point_of(task, {**its.base, axis: size}), "measures": {"seconds": s, "extra_mib": size / 1000}}
        for size, s in zip(its.axes[axis], seconds, strict=True)
    ]


def test_curves_are_read_off_the_rows():
    sizes = scaling.TASKS["vote"].axes["n"]
    linear, square = points_of("vote", "n", sizes), points_of("vote", "n", [1e-6 * n**2 for n in sizes])
    (vote,) = scaling.curves([*linear, *square])  # measured again: the later rows count
    assert (vote.task, vote.axis, vote.sizes) == ("vote", "n", list(sizes))
    assert vote.slope == pytest.approx(2)
    assert not vote.steeper
    assert vote.extra_mib[-1] == sizes[-1] / 1000
    (half,) = scaling.curves(square[:2])
    assert half.sizes == list(sizes[:2])
    assert scaling.curves(square[:1]) == []  # no slope
    flat = points_of("mixture", "n", [1.0, 1.0, 1.0, 10**1.2])
    (mixture,) = scaling.curves(flat)
    assert mixture.slope == pytest.approx(0.36)
    assert mixture.last_slope == pytest.approx(1.2)
    assert mixture.steeper
    assert "expected at most 1   STEEPER" in scaling.describe(mixture)
    assert "STEEPER" not in scaling.describe(vote)


def test_the_base_is_on_every_curve_and_measured_once():
    for name, task in scaling.TASKS.items():
        found = list(task.sizes())
        assert len(found) == sum(map(len, task.axes.values())) - len(task.axes) + 1, name
        assert set(task.axes) == set(task.slopes), name
        assert all(task.base[axis] in along for axis, along in task.axes.items()), name
    assert {name for name, _ in scaling.STYLES.items()} == set(scaling.TASKS)


def test_a_point_is_measured_in_a_process_of_its_own():
    n, n_classes = 160_000, 40
    result = scaling.isolated("elr-state", {"n": n, "K": n_classes})
    table = 4 * n * n_classes / 2**20
    assert table - 1 < result["extra_mib"] < 2 * table  # one row of targets a sample, and little else
    assert result["seconds"] > 0
    assert result["calls"] >= 2
    with pytest.raises(RuntimeError, match=r"vote at \{'n': 1\} failed:(.|\n)*Error"):
        scaling.isolated("vote", {"n": 1})


def test_scaling_appends_what_is_not_there(monkeypatch, tmp_path, capsys):
    made = []

    def isolated(name, sizes):
        made.append((name, sizes))
        return {"seconds": 2e-9 * sizes["n"], "calls": 2, "extra_mib": 1.0}

    monkeypatch.setattr(scaling, "isolated", isolated)
    monkeypatch.setattr(harness, "pin", lambda: None)  # it is of the whole process
    path = tmp_path / "scaling.jsonl"
    command = ["--task", "mixture", "--results", str(path)]
    scaling.main(command)
    assert made == [("mixture", {"n": n}) for n in scaling.TASKS["mixture"].axes["n"]]
    first = read_rows(path)
    assert (first[0]["method"], first[0]["params"]) == ("mixture", {"n": 10_000})
    assert {"python", "torch", "robustlabels"} <= set(first[0]["versions"])
    assert "cpu" in first[0]["machine"]
    assert "slope  1.00" in capsys.readouterr().out
    path.write_text("".join(json.dumps(row) + "\n" for row in first[1:]))
    scaling.main(command)  # one is missing
    assert made[len(first) :] == [("mixture", {"n": 10_000})]
    scaling.main([*command, "--again"])
    assert len(read_rows(path)) == 2 * len(first)
    before = len(made)
    scaling.main([*command, "--table", "--plot", str(tmp_path / "new" / "scaling.png")])
    assert len(made) == before
    assert (tmp_path / "new" / "scaling.png").read_bytes().startswith(b"\x89PNG")
