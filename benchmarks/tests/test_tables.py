"""The tables of the documentation, made from stored rows."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.speed.scaling import TASKS, point_of
from benchmarks.studies.cifar10 import default_validation, make_classifier, paper_epochs, published, trained_part
from robustlabels.comparison import make_row, settings

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

import make_tables
import other_tables
import pivot


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """Tables are made from an empty folder."""
    monkeypatch.setattr(pivot, "RESULTS", tmp_path)
    monkeypatch.setattr(other_tables, "ROBUSTNESS", tmp_path / "robustness.inc")


@pytest.fixture
def store(tmp_path):
    """Write rows into a file of results."""

    def write(name, *rows):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return write


def made(data="digits", noise="sym40", method="CE", seed=0, params=None, rows=9, **result):
    run = {"data": data, "rows": rows, "noise": noise, "method": method, "seed": seed, "params": params or {}}
    return make_row(run, result, {"machine": {"cpu": "x"}, "versions": {"torch": "9"}})


def ratio(case, median, *, method="elr", sides="ELR / cross-entropy", target="<= 1.05", verdict="met", **more):
    params = {"case": case, "ratio": sides, "target": target, "quick": more.pop("quick", False)}
    measures = {"median": median, "min": median - 0.1, "max": median + 0.1, "wall_seconds": more.pop("wall", 1.0)}
    return made("generated", "none", method, params=params, verdict=verdict, **measures) | {"date": "today"}


RATIOS = (ratio("PlainCNN", 1.2, verdict="missed"), ratio("MLP", 1.04))


def test_pages_and_tables_know_each_other():
    shown = [
        line.strip().removeprefix(".. measured:: ")
        for page in DOCS.rglob("*.rst")
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(".. measured:: ")
    ]
    assert len(shown) > 30
    assert set(shown) == {*make_tables.TABLES, *make_tables.FUNCTIONS}


@pytest.mark.parametrize("name", sorted({*make_tables.TABLES, *make_tables.FUNCTIONS} - {"benchmarks", "published"}))
def test_without_results_the_tables_say_so(name):
    assert make_tables.render(name) == make_tables.NOTHING


def test_misses_are_listed(store, monkeypatch):
    store("speed", *RATIOS)
    other_tables.ROBUSTNESS.write_text(
        '.. csv-table:: Targets\n   :header: "what", "at least", "measured", ""\n\n'
        '   "digits, 40 %: ELR", "0.950", "0.940", "missed"\n   "iris, clean: ELR", "0.950", "0.960", "holds"\n'
    )
    first, second = make_tables.render("missed").splitlines()
    assert first == "* digits, 40 %: ELR: at least 0.950 was asked for, 0.940 was measured."
    assert "1.2 (1.1 to 1.3); the target is at most 1.05." in second
    monkeypatch.setitem(other_tables.REASONS, "elr", "Because.")
    assert make_tables.render("missed").endswith("Because.")


def test_ratios_take_the_last_full_run(store):
    later, quick = ratio("PlainCNN", 1.01, wall=2.0), ratio("PlainCNN", 1.5, wall=3.0, quick=True)
    store("speed", *RATIOS, later, quick)
    table = make_tables.render("ratios")
    assert "1.01 (0.91 to 1.11)" in table
    assert "missed" not in table
    assert "MLP" not in table  # the rows of a run belong together
    assert table.endswith("Measured on: cpu x, torch 9.")


def test_ratios_without_a_target_are_shown_and_never_missed(store):
    store("speed", ratio("PlainCNN", 1.2, target=None, verdict="noisy"))
    assert "1.2 (1.1 to 1.3)\n     - –\n     - noisy" in make_tables.render("ratios")
    assert make_tables.render("missed") == make_tables.NOTHING


def test_epochs_are_a_table_of_their_own(store):
    def cell(case, method, median, verdict=""):
        sides = f"{method} / cross-entropy"
        return ratio(case, median, method="epochs", sides=sides, target=None, verdict=verdict)

    store("speed", *RATIOS, cell("MLP", "ELR", 1.25), cell("MLP", "MOIT", 20.5, "noisy"), cell("CNN", "ELR", 1.0))
    head, elr, moit = make_tables.render("epochs").split("   * -")[1:]
    assert head.splitlines() == ["", "     - MLP", "     - CNN"]
    assert elr.splitlines() == [" ELR", "     - 1.25 (1.15 to 1.35)", "     - 1 (0.9 to 1.1)"]
    assert moit.splitlines() == [" MOIT", "     - 20.5 (20.4 to 20.6), noisy", "     -"]
    assert "20.5" not in make_tables.render("ratios")


def test_scaling_shows_ends_slopes_and_what_is_too_steep(store):
    def point(task, n, seconds, mib):
        measured = {"seconds": seconds, "extra_mib": mib}
        return make_row(
            point_of(task, {**TASKS[task].base, "n": n}),
            measured,
            {"machine": {"cpu": "x"}, "versions": {"torch": "9"}},
        )

    sizes = TASKS["vote"].axes["n"]
    votes = [point("vote", n, 1e-8 * n**2, n / 100) for n in sizes]
    store("scaling", *votes, *(point("mixture", n, 1e-12 * n**2, 3.4) for n in TASKS["mixture"].axes["n"]))
    result = make_tables.render("scaling")
    vote = [cell.strip().removeprefix("- ") for cell in result.split("   * -")[2].splitlines()]
    assert vote[:8] == [
        TASKS["vote"].title,
        f"n = {sizes[0]:,} to {sizes[-1]:,}",
        "K = 10, d = 128",
        "0.01 to 2.6",
        "2.00",
        "2.00",
        "2",
        "10 to 160",
    ]
    assert "between the last two: mixture of losses along n.\n\nMeasured on: x, torch 9, one thread." in result
    store("scaling", *votes)
    assert "between the last two: none." in make_tables.render("scaling")


def test_suites_are_summed_up(store):
    runs = [("ELR", 0, 0.9), ("ELR", 1, 0.8), ("CE", 0, 0.5)]
    store("core", *(made(method=m, seed=s, test_accuracy=accuracy, true_rate=0.4) for m, s, accuracy in runs))
    table = make_tables.render("core")
    assert "   * - CE\n     - 0.500 (1)\n   * - ELR\n     - 0.850 ± 0.071" in table
    assert table.index("Mean place") < table.index("digits: 1257 training rows")


def test_which_method_is_read_off_the_rows(store):
    def row(data, noise, method, seed, score=None, seconds=None, ap=None):
        if score is None:
            return made(data, noise, method, seed, error="ValueError: no")
        found = {"test_accuracy": score, "test_f1": score / 2, "cpu_seconds": seconds, "true_rate": 0.4}
        return made(data, noise, method, seed, **found, **({} if ap is None else {"average_precision": ap}))

    store(
        "core",
        row("digits", "sym40", "CE", 0, 0.5, 2.0, ap=0.6),
        row("digits", "sym40", "CE", 1, 0.7, 2.0, ap=0.6),
        row("digits", "sym40", "ELR", 0, 0.9, 3.0, ap=0.9),
        row("digits", "sym40", "ELR", 1, 0.9, 3.0, ap=0.9),
        row("digits", "sym40", "MOIT", 0, 0.95, 8.0, ap=0.8),
        row("digits", "sym40", "LR", 0, 0.8, 0.2),
        row("digits", "sym40", "GCE", 0),
        row("digits", "pair40", "CE", 0, 0.5, 2.0),
        row("jira_defects_dev", "heuristic", "GB", 0, 0.8, 9.0),
    )
    note, table = make_tables.render("which_method").split("\n\n", 1)
    assert "1 seed(s)" in note  # MOIT, which has one, is compared with others on that one
    assert note.endswith("Left out until every method has run there: small images as rows (pair40).")
    digits, jira = (entry.splitlines() for entry in table.split("* - ")[2:])
    assert [cell.strip().removeprefix("- ").strip() for cell in digits][:7] == [
        "small images as rows",
        "sym40",
        "**MOIT** 0.950, 4.0 ×",
        "**ELR** 0.900, 1.5 ×",
        "**ELR** 0.900, 1.5 ×",
        "0.500 (−0.450)",
        "**ELR** 0.900",
    ]
    assert jira[0].endswith("; F1")
    assert jira[2].endswith("**GB** 0.400")
    assert {cell.strip() for cell in jira[3:7]} == {"-"}  # nothing to compare with


def cifar10_row(method, noise, **changes):
    """A row as the full-size study writes it; ``lam`` and the like go into its parameters."""
    setting, epochs = changes.pop("setting", None), changes.pop("epochs", None)
    params = {name: changes.pop(name) for name in ("lam", "module", "precision", "compile") if name in changes}
    clf = make_classifier(method, noise, setting=setting, epochs=epochs, **params)
    held_out = 5000 * default_validation(method, noise)
    names = ("test_last", "test_best_valid", "detection_ap", "seconds_per_epoch", "seconds_training")
    measures = {**dict.fromkeys(names, 0.5), "epochs": trained_part(clf).max_epochs}
    measures |= {name: changes.pop(name) for name in names if name in changes}
    row = {
        "data": "cifar10",
        "method": method,
        "noise": noise,
        "setting": setting or "default",
        "module": trained_part(clf).module,
        "params": settings(clf, 50_000),
        "precision": "bfloat16",
        "machine": {"device": changes.pop("device", "NVIDIA H200")},
        "seed": 0,
        "max_epochs": trained_part(clf).max_epochs,
        "paper_epochs": paper_epochs(method, noise, setting),
        "rows_asked": None,
        "rows_trained": 50_000 - held_out,
        "rows_validation": held_out,
        "published": published(method, noise, setting),
    }
    return {**row, "measures": measures, **changes}


def test_which_method_says_where_no_seed_is_common(store):
    runs = [("sym40", "CE", 0), ("sym40", "ELR", 1), ("pair40", "CE", 0), ("pair40", "ELR", 0)]
    measures = {"test_accuracy": 0.5, "cpu_seconds": 1.0, "true_rate": 0.4}
    store("core", *(made(noise=noise, method=method, seed=seed, **measures) for noise, method, seed in runs))
    text = make_tables.render("which_method")
    assert "Left out until every method has run there: small images as rows (sym40)." in text
    assert "- pair40" in text


def test_which_method_does_not_let_one_slow_method_decide_on_the_seeds(store):
    runs = [(method, seed, 0.5 + seed / 10) for method in ("CE", "ELR") for seed in range(3)] + [("MOIT", 0, 0.9)]
    measures = {"cpu_seconds": 1.0, "true_rate": 0.4}
    store("core", *(made(method=method, seed=seed, test_accuracy=a, **measures) for method, seed, a in runs))
    text = make_tables.render("which_method")
    assert "too few seeds to stand among them everywhere: MOIT." in text
    assert "3 seed(s)" in text
    assert "0.600 ± 0.100" in text
    assert "**MOIT**" not in text


def test_rules_are_read_off_their_rows(store):
    runs = [("ELR+, mixup_alpha=1", "iris", s, 0.5 + s / 10) for s in (0, 1)]
    runs += [("ELR+, mixup_alpha=0", "wine", 0, 0.7)]
    runs += [("rare: ELR, lam=1", "eight", 0, 0.9), ("CE, no views", "iris", 0, 0.1)]
    store(
        "rules",
        *(made(d, method=m, seed=s, test_accuracy=a, test_f1=a / 2, cpu_seconds=2.0) for m, d, s, a in runs),
    )
    head, first, second = (
        [c.strip("- ") for c in e.splitlines()] for e in make_tables.render("rules_mixup").split("* -")[1:]
    )
    assert head[:4] == ["", "iris, sym40", "wine, sym40", "CPU s a run"]
    assert [cell.strip() for cell in first][:4] == ["mixup_alpha=1", "0.550 ± 0.071", "", "2"]
    assert [cell.strip() for cell in second][:4] == ["mixup_alpha=0", "", "0.700", "2"]
    assert "ELR, lam=1\n     - 0.450" in make_tables.render("rules_rare")  # F1
    assert make_tables.render("rules_bank") == make_tables.NOTHING


def test_what_the_core_suite_missed_and_what_it_cost(store):
    runs = [("CE", 0, 0.5, 2.0), ("CE", 1, 0.9, 2.0), ("ELR", 0, 0.6, 3.0), ("SCE", 0, 0.4, 2.2), ("SCE", 1, 0.7, 2.2)]
    store(
        "core",
        *(
            made(method=method, seed=seed, test_accuracy=score, cpu_seconds=seconds, true_rate=0.4)
            for method, seed, score, seconds in runs
        ),
    )
    assert make_tables.render("core_missed") == (
        "* digits, sym40: below cross-entropy: SCE −0.150; below logistic regression: not compared."
    )
    assert "   * - CE\n     - 1 (2.0 s)\n   * - SCE\n     - 1.1\n   * - ELR\n     - 1.5" in make_tables.render("costs")


def test_shortened_runs_and_published_numbers_are_marked(store):
    short = cifar10_row("moit", "sym40-others", epochs=2, module="cnn", test_best_valid=None)
    store("cifar10", short)
    table = make_tables.render("cifar10")
    assert "cnn, 2 epochs instead of 250, 50,000 rows" in table
    assert "90.55" not in table  # that is of all the epochs and another network
    store("cifar10", cifar10_row("moit", "sym40-others"))
    assert "- 90.55 (not stated)" in make_tables.render("cifar10")


def test_only_the_papers_own_settings_stand_beside_published_numbers(store):
    others = [
        cifar10_row("elr", "sym40", setting="fast", test_last=0.1, seconds_training=8.76),
        cifar10_row("elr", "sym40", lam=0.0, test_last=0.2),
        cifar10_row("elr", "sym40", rows_asked=500, rows_trained=450, rows_validation=50, test_last=0.3),
        cifar10_row("elr", "sym40", epochs=60, test_last=0.4),
        cifar10_row("elr", "sym40", rows_trained=50_000, rows_validation=0, test_last=0.45),
        cifar10_row("elr", "sym40", module="cnn", test_last=0.47),
    ]
    cosine = cifar10_row("elr", "sym40", setting="cifar10-sym-cosine", test_last=0.91)
    same = [
        cifar10_row("elr", "sym40", seed=seed, test_last=0.88, precision=p, compile=c)
        for seed, p, c in ((0, "auto", False), (1, "float32", True))
    ]

    def ours():
        rows = make_tables.render("published").split("   * - ")[2:]
        cells = [[cell.strip() for cell in row.splitlines()[1:8]] for row in rows if row.startswith("``sym40``")]
        return {cell[1].removeprefix("- "): (cell[5], cell[6]) for cell in cells}

    store("cifar10", *others)
    assert {last for last, _ in ours().values()} == {"- not run yet"}
    store("cifar10", *others, cosine, *same)
    assert ours()["elr"] == ("- 88.00 ± 0.00", "- resnet34, 45,000 rows")
    assert ours()["elr cosine"] == ("- 91.00", "- resnet34, 45,000 rows")

    groups = [[c.strip()[2:] for c in row.splitlines()] for row in make_tables.render("cifar10").split("   * - ")[2:]]
    assert len(groups) == len([*others, cosine]) + 1  # seeds share a row, and nothing else does
    printed = sorted(group[7] for group in groups if group[7])
    assert printed == [f"{number} (best noisy validation)" for number in ("89.15 ± 0.17", "91.43 ± 0.21")]
    assert any("lam = 0.0" in group[2] for group in groups)
    (fast,) = (group for group in groups if "``--setting fast``" in group[2])
    assert (fast[5], fast[10]) == ("10.00", "8.8")


def test_the_bar_of_the_fast_recipe_says_whether_it_was_measured(store):
    assert "in 10 seconds of training on one H200" in make_tables.render("published")
    assert "Measured: not yet" in make_tables.render("published")
    elsewhere = cifar10_row("elr", "sym40", setting="fast", device="AMD EPYC")
    fast = cifar10_row("elr", "sym40", setting="fast", test_last=0.915, seconds_training=8.76)
    store("cifar10", elsewhere)
    assert "Measured: not yet" in make_tables.render("published")
    store("cifar10", elsewhere, fast)
    assert "Measured: elr 91.50 % in 8.8 s (seed 0)." in make_tables.render("published")


def test_candidates_are_means_over_seeds(store):
    params = {"lam": 5.0, "beta": 0.7}
    rows = [made(method="ELR", seed=seed, params=params, test_accuracy=a) for seed, a in ((100, 0.9), (101, 0.8))]
    store("elr_defaults", *rows, made(method="ELR+", seed=100, params=params, test_accuracy=0.1))
    assert make_tables.render("candidates").splitlines()[-2:] == ["   * - λ\xa05, β\xa00.7", "     - 0.850 ± 0.071"]


def test_a_pivot_orders_lines_and_columns(store):
    rows = [made(data, method=m, seed=s, score=v) for data, m, s, v in [("b", "x", 0, 1.0), ("a", "x", 0, 2.0)]]
    store(
        "some", *rows, made("a", method="w", score=3.0), made("a", method="x", seed=1, score=4.0), made("c", method="v")
    )
    spec = pivot.Table(
        "some",
        {"method": lambda row: row["method"]},
        {"score": ("score", 1), "n": lambda its: str(len(its))},
        lambda row: row["data"],
        lambda row: row["data"] != "c",
        {"all": lambda its: str(len(its))},
        [["w"]],
        "sorted",
        before="A table:",
    )
    assert spec() == "A table:\n\n" + pivot.table(
        ["method", "a, score", "b, score", "a, n", "b, n", "all"],
        [["w", "3.0", "", "1", "", "1"], ["x", "3.0 ± 1.4", "1.0", "2", "1", "3"]],
    )
