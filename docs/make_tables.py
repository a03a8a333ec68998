"""Tables of the pages, as rst, from what the benchmark scripts stored: no number on a page is typed by hand.

``.. measured:: NAME`` in a page calls the function of that name; ``python docs/make_tables.py NAME`` prints it.
"""

import csv
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS / "benchmarks" / "results"
ROBUSTNESS = DOCS / "benchmarks" / "robustness.inc"

# Why a ratio of a benchmark missed its target: shown beside it as long as it does.
REASONS = {
    "elr_state": "What is left are six small operations, among them the guard against predictions that are no numbers.",
    "skorch": "At 784-256-10 the work is matrix products on both sides; what skorch spends on rows is little.",
    "contrastive": (
        "The masks here are built at once and used once. What is left is to a large part the two products with the "
        "bank, which both forms need."
    ),
}


def lines() -> Iterator[dict[str, Any]]:
    """Every stored result, oldest first within a file."""
    for path in sorted(RESULTS.glob("*.jsonl")):
        for text in path.read_text(encoding="utf-8").splitlines():
            if text.strip():
                yield json.loads(text)


# --- what was missed --------------------------------------------------------------------------------------------------


def missed() -> str:
    """Targets that the stored results do not reach."""
    asked = list(targets())
    measured = list(ratio_lines())
    found = [
        f"* {what}: at least {least} was asked for, {got} was measured."
        for what, least, got, verdict in asked
        if verdict == "missed"
    ]
    for name, ratio in measured:
        if ratio["target"] and ratio["verdict"] in ("missed", "noisy"):
            noisy = " The machine was too noisy to say for sure." if ratio["verdict"] == "noisy" else ""
            reason = f" {REASONS[name]}" if name in REASONS else ""
            found.append(
                f"* ``{name}``, {ratio['case']}, {ratio['ratio']}: {spread(ratio)}; "
                f"the target is {goal(ratio)}.{noisy}{reason}"
            )
    if found:
        return "\n".join(found)
    judged = len(asked) + sum(ratio["target"] is not None for _, ratio in measured)
    return f"None: the {judged} that were judged so far are all reached." if judged else NOTHING


NOTHING = "No results are stored in this checkout; the commands below make them."


def targets() -> Iterator[list[str]]:
    """Rows of the table of targets that ``benchmarks.studies.robustness`` wrote."""
    if not ROBUSTNESS.exists():
        return
    rows = ROBUSTNESS.read_text(encoding="utf-8").partition(".. csv-table:: Targets")[2].partition("\n\n")[2]
    yield from (row for row in csv.reader(rows.splitlines(), skipinitialspace=True) if len(row) == 4)


# --- the tables -------------------------------------------------------------------------------------------------------


def robustness() -> str:
    """Accuracy and detection under noise."""
    return ROBUSTNESS.read_text(encoding="utf-8") if ROBUSTNESS.exists() else NOTHING


def benchmarks() -> str:
    """Names of the speed benchmarks, and what they compare."""
    sys.path.insert(0, str(DOCS.parent))
    from benchmarks import (  # noqa: F401 - they register themselves
        confident,
        epochs,
        functions,
        harness,
        influence,
        memory,
        moit,
        sanm,
        training,
    )

    return table(["name", "what is compared"], ([f"``{name}``", harness.summary(name)] for name in harness.REGISTRY))


def ratio_lines() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of the benchmark and one ratio, of the last full run of each."""
    last = {line["benchmark"]: line for line in lines() if "ratios" in line and not line["quick"]}
    for name, line in last.items():
        for ratio in line["ratios"]:
            yield name, ratio


def ratios() -> str:
    """Speed and memory, but for ``epochs``, which has a table of its own."""
    rows = [
        [f"``{name}``", ratio["case"], ratio["ratio"], spread(ratio), goal(ratio), ratio["verdict"] or ""]
        for name, ratio in ratio_lines()
        if name != "epochs"
    ]
    if not rows:
        return NOTHING
    machines = {json.dumps(line["machine"]) for line in lines() if "ratios" in line and not line["quick"]}
    where = "; ".join(
        ", ".join(f"{key} {' '.join(value) if isinstance(value, list) else value}" for key, value in machine.items())
        for machine in map(json.loads, sorted(machines))
    )
    text = table(["benchmark", "case", "ratio", "median (range)", "target", ""], rows)
    return f"{text}\n\nMeasured on: {where}."


def spread(ratio: dict[str, Any]) -> str:
    """Median and range over the rounds."""
    return f"{ratio['median']:.3g} ({ratio['min']:.3g} to {ratio['max']:.3g})"


def goal(ratio: dict[str, Any]) -> str:
    """The target in words; a dash where there is none."""
    return (ratio["target"] or "\N{EN DASH}").replace(">=", "at least").replace("<=", "at most")


def epochs() -> str:
    """An epoch of every method over one of cross-entropy: a row a method, a column a network."""
    cells: dict[str, dict[str, str]] = {}
    for name, ratio in ratio_lines():
        if name == "epochs":
            method = ratio["ratio"].partition(" / ")[0]
            noisy = ", noisy" if ratio["verdict"] == "noisy" else ""
            cells.setdefault(method, {})[ratio["case"]] = spread(ratio) + noisy
    cases = list(dict.fromkeys(case for row in cells.values() for case in row))
    rows = [[method, *(row.get(case, "") for case in cases)] for method, row in cells.items()]
    return table(["", *cases], rows) if rows else NOTHING


def scaling() -> str:
    """How seconds and memory grow with rows, classes and columns."""
    sys.path.insert(0, str(DOCS.parent))
    from benchmarks.speed.scaling import STEEPER, TASKS, curves

    stored = [line for line in lines() if "scaling" in line]
    found = curves(stored)
    if not found:
        return NOTHING
    rows = [
        [
            TASKS[curve.task].title,
            f"{curve.axis} = {curve.sizes[0]:,} to {curve.sizes[-1]:,}",
            ", ".join(f"{axis} = {size:,}" for axis, size in TASKS[curve.task].base.items() if axis != curve.axis),
            " to ".join(f"{seconds:.2g}" for seconds in (curve.seconds[0], curve.seconds[-1])),
            f"{curve.slope:.2f}",
            f"{curve.last_slope:.2f}",
            f"{curve.expected:g}",
            " to ".join(f"{mib:.0f}" for mib in (curve.extra_mib[0], curve.extra_mib[-1])),
        ]
        for curve in found
    ]
    steeper = [f"{TASKS[curve.task].title} along {curve.axis}" for curve in found if curve.steeper]
    note = f"Steeper than expected by more than {STEEPER:g}, over all sizes or between the last two: "
    where = sorted({f"{line['machine']['cpu']}, torch {line['versions']['torch']}, one thread" for line in stored})
    head = ["", "along", "at", "CPU seconds", "slope", "last two sizes", "expected, at most", "MiB beyond the inputs"]
    return f"{table(head, rows)}\n\n{note}{'; '.join(steeper) or 'none'}.\n\nMeasured on: {'; '.join(where)}."


def cifar10() -> str:
    """CIFAR-10 at full size: a row for what differs in anything but the seed."""
    sys.path.insert(0, str(DOCS.parent))
    from benchmarks.studies.cifar10 import departures, is_papers, published

    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for line in lines():
        if line.get("benchmark") == "cifar10":
            asked = line["paper_epochs"]
            short = f" instead of {asked}" if line["max_epochs"] < asked else ""
            setting = [] if line["setting"] == "default" else [f"``--setting {line['setting']}``"]
            changed = [f"{name} = {value}" for name, value in departures(line).items() if name != "module"]
            what = [line["module"], *setting, f"{line['epochs']} epochs{short}", f"{line['rows_trained']:,} rows"]
            where = line["device"] + ("" if line["precision"] == "bfloat16" else f", {line['precision']}")
            row = (line["method"], line["noise"], ", ".join([*what, *changed]), where)
            groups.setdefault(row, []).append(line)
    rows = []
    for (method, noise, what, device), group in groups.items():
        theirs = None
        if is_papers(group[-1]):
            theirs = published(method, noise, group[-1]["setting"])
        printed = ""
        if theirs is not None:
            printed = f"{theirs['accuracy']:.2f}" + ("" if theirs["spread"] is None else f" ± {theirs['spread']:.2f}")
            printed += f" ({theirs['epoch']})"
        last, best = (
            mean_sd([100 * line[key] for line in group if line[key] is not None], 2)
            for key in ("test_last", "test_best_valid")
        )
        seconds = mean_sd([line["seconds_training"] for line in group], 0)
        if "--setting fast" in what:
            seconds = mean_sd([line["seconds_training"] for line in group], 1)
        found = mean_sd([line["detection_ap"] for line in group if line["detection_ap"] is not None], 3)
        seeds = str(len({line["seed"] for line in group}))
        epoch = mean_sd([line["seconds_per_epoch"] for line in group], 2)
        rows.append([method, noise, what, seeds, last, best, printed, found, epoch, seconds, device])
    head = ["method", "labels", "network", "seeds", "last epoch, %", "best noisy-validation epoch, %"]
    head += ["published, % (epoch)", "suspects' AP", "seconds an epoch", "seconds of training", "device"]
    return table(head, rows) if rows else NOTHING


WRONG = {
    "asym40": "five classes to one other, one after the other: 18.4 %",
    "asym40-once": "five classes to one other, at once: 20 %",
    "cifar10n-aggre": "people's, by majority: 9 %",
}


def wrong_labels(noise: str) -> str:
    """What a name of ``benchmarks/studies/cifar10.py`` means, and how many labels are wrong then."""
    if noise in WRONG:
        return WRONG[noise]
    rate = int(noise[3:5])
    if noise.endswith("-others"):
        return f"drawn from the nine other classes: {rate} %"
    return f"drawn from all ten classes: {0.9 * rate:g} %"


def published() -> str:
    """What the papers print of CIFAR-10, with their noise and the epoch it is of, beside ours of the same settings."""
    sys.path.insert(0, str(DOCS.parent))
    from benchmarks.studies.cifar10 import BAR, PUBLISHED, departures, is_papers, published, suite_hours

    stored = [line for line in lines() if line.get("benchmark") == "cifar10"]
    ours: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
    for line in filter(is_papers, stored):
        ours.setdefault((line["method"], line["noise"], line["setting"].endswith("cosine")), []).append(line)
    rows = []
    for (name, noise), (accuracy, spread) in sorted(PUBLISHED.items(), key=lambda item: item[0][1]):
        method, _, setting = name.partition(" ")
        theirs = published(method, noise, f"elr-{setting}" if setting else None)
        epoch = theirs["epoch"].replace("unread", "not known")
        printed = f"{accuracy:.2f}" + ("" if spread is None else f" ± {spread:.2f}")
        mine = ours.get((method, noise, bool(setting)), [])
        with_ = sorted({f"{line['module']}, {line['rows_trained']:,} rows" for line in mine})
        last = mean_sd([100 * line["test_last"] for line in mine], 2) or "not run yet"
        rows.append(
            [f"``{noise}``", wrong_labels(noise), name, theirs["module"] or "", printed, epoch, last, "; ".join(with_)]
        )
    head = ["labels", "which, and how many are wrong", "method", "network", "published, %", "at the epoch"]
    head += ["ours, last, %", "our network"]
    reached = [
        f"{line['method']} {100 * line['test_last']:.2f} % in {line['seconds_training']:.1f} s (seed {line['seed']})"
        for line in stored
        if (line["setting"], line["noise"], line["rows_asked"]) == ("fast", BAR["noise"], None)
        and BAR["device"] in line["device"]
        and not departures(line)
    ]
    bar = (
        f"The bar for ``--setting fast`` is ELR*'s published {BAR['accuracy']:.2f} % under ``{BAR['noise']}``, at the "
        f"last epoch, in {BAR['seconds']:g} seconds of training on one {BAR['device']}; compilation and test passes "
        f"are counted apart. Measured: {'; '.join(reached) or 'not yet, no GPU was at hand'}."
    )
    hours = f"All of ``--suite`` takes about {suite_hours():.1f} hours on one H200, by arithmetic, give or take 35 %."
    return f"{table(head, rows)}\n\n{bar}\n\n{hours}"


def rules_bank() -> str:
    """MOIT's bank, on rows of their own."""
    return rules("MOIT")


def rules_mixup() -> str:
    """ELR+'s mixup, on rows of their own."""
    return rules("ELR+")


def rules_views() -> str:
    """Views for rows of numbers."""
    return rules("CE", "GCE", "ELR")


def rules_rare() -> str:
    """ELR's lambda where a class is rare."""
    return rules("rare: cross-entropy", "rare: ELR", measure="test_f1")


IMAGES = ("images: cross-entropy", "images: ELR", "images: ELR+")


def rules_images() -> str:
    """ELR's lambda on images."""
    return rules(*IMAGES)


def rules_images_found() -> str:
    """Average precision of ELR's suspects among images."""
    return rules(*IMAGES, measure="average_precision")


def rules(*names: str, measure: str = "test_accuracy") -> str:
    """What ``benchmarks/studies/rules.py`` stored of these methods: test scores by set and labels, and CPU seconds of all."""
    from robustlabels.comparison import read_rows

    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    columns: dict[str, None] = {}
    for line in read_rows(RESULTS / "rules.jsonl"):
        if not names or line["method"].partition(",")[0] in names:
            column = f"{line['data']}, {line['noise']}"
            columns[column] = None
            found.setdefault(line["method"], {}).setdefault(column, []).append(line)
    body = []
    for method, cells in found.items():
        runs = [line for cell in cells.values() for line in cell]
        scores = [mean_sd([line[measure] for line in cells.get(column, ())], 3) for column in columns]
        seconds = sum(line["cpu_seconds"] for line in runs) / len(runs)
        name = method.partition(", ")[2] if len(names) == 1 else method.rpartition(": ")[2]
        body.append([name, *scores, f"{seconds:.0f}"])
    return table(["", *columns, "CPU s a run"], body) if body else NOTHING


def core() -> str:
    """The core suite: a table a data set, and every method's place."""
    return suite("core")


def pixels() -> str:
    """The suite on images."""
    return suite("pixels")


def suite(name: str) -> str:
    """What ``robustlabels compare NAME`` stored."""
    from robustlabels.comparison import read_rows, summarize

    rows = read_rows(RESULTS / f"{name}.jsonl")
    if not rows:
        return NOTHING
    summary = summarize(rows)
    text = [
        f"Made by ``python -m robustlabels compare {name}``: mean ± sd over seeds; a number of seeds in brackets "
        "where some are missing."
    ]
    for its in [summary.ranks, *summary.scores]:
        text += [f"{its.title}:", table(its.head, its.rows), *its.notes]
    return "\n\n".join(text)


KINDS = {
    "digits": "small images as rows",
    "noisyag_news": "text embeddings, labeled by people",
    "wrench_trec": "text embeddings, labeled by rules",
    "jira_defects_dev": "table, a rare class, labeled by a heuristic",
    "cifar10_feats": "image features, labeled by people",
}

AP = "suspects' AP"


def which_method() -> str:
    """What to take: the best methods of the core suite by kind of data and noise, beside cross-entropy."""
    from robustlabels.comparison import PROBLEMS, common_seeds, read_rows, summarize

    stored = read_rows(RESULTS / "core.jsonl")
    if not stored:
        return NOTHING
    enough, short = on_enough_seeds(stored)
    rows = common_seeds(enough)
    scores = {data: PROBLEMS[data].score if data in PROBLEMS else "test_accuracy" for data in KINDS}
    ran: dict[tuple[str, ...], set[str]] = {}  # methods, by set and by set and noise
    for row in rows:
        for where in (row["data"],), (row["data"], row["noise"]):
            ran.setdefault(where, set()).add(row["method"])
    lines = []
    unfinished = [
        f"{KINDS.get(data, data)} ({noise})"
        for data, noise in dict.fromkeys((row["data"], row["noise"]) for row in stored)
        if (data, noise) not in ran
    ]
    for its in summarize(rows).details:
        data, _, noise = its.title.partition(", ")
        if ran[data,] - set(short) != ran[data, noise] - set(short):
            unfinished.append(f"{KINDS.get(data, data)} ({noise})")
            continue
        column = its.head.index("F1" if scores.get(data) == "test_f1" else "test accuracy")
        found = {row[0]: dict(zip(its.head, row, strict=True)) | {"score": row[column]} for row in its.rows}
        found = {method: cells for method, cells in found.items() if cells["score"]}
        if found:
            what = KINDS.get(data, data) + ("; F1" if scores.get(data) == "test_f1" else "")
            lines.append([what, noise, *choices(found)])
    seeds = sorted({row["seed"] for row in rows})
    note = (
        f"Made by ``python -m robustlabels compare core``, {len(seeds)} seed(s), every method with its defaults "
        "(those named *views* with stronger augmentation): test score at the last epoch, mean ± sd (one seed where no "
        "sd stands), and CPU time as a multiple of cross-entropy's. All methods of a line are compared on the same "
        "seeds. Two methods less than a standard deviation apart are as good as each other."
    )
    if short:
        note += f" Run on too few seeds to stand among them everywhere: {', '.join(short)}."
    if unfinished:
        note += f" Left out until every method has run there: {', '.join(unfinished)}."
    head = ["data", "labels", "best", "second", "best in twice CE's time", "CE", "ranks wrong labels best (AP)"]
    return f"{note}\n\n{table(head, lines)}" if lines else NOTHING


def on_enough_seeds(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows but of methods with less than half of the seeds that another has on a set and noise; and their names."""
    seeds: dict[tuple[str, str], dict[str, set[int]]] = {}
    for row in rows:
        if not row.get("error"):
            seeds.setdefault((row["data"], row["noise"]), {}).setdefault(row["method"], set()).add(row["seed"])
    short = {
        (*where, method)
        for where, by_method in seeds.items()
        for method, its in by_method.items()
        if 2 * len(its) < max(map(len, by_method.values()))
    }
    kept = [row for row in rows if (row["data"], row["noise"], row["method"]) not in short]
    return kept, sorted({method for *_, method in short})


def choices(found: dict[str, dict[str, str]]) -> list[str]:
    """Of the methods of one set and noise, by their measures: best, second, best of the quick ones, CE, best AP."""

    def mean(method: str, measure: str) -> float:
        return float(found[method].get(measure, "").partition(" ")[0] or "nan")

    base = mean("CE", "CPU s") if "CE" in found else float("nan")

    def times(method: str) -> float:
        return mean(method, "CPU s") / base if base > 0 else float("nan")

    def cell(method: str) -> str:
        cost = times(method)
        return f"**{method}** {found[method]['score']}" + (f", {cost:.1f} ×" if method != "CE" and cost == cost else "")

    order = sorted(found, key=lambda method: -mean(method, "score"))
    quick = next((method for method in order if times(method) <= 2), "")
    finders = [method for method in order if found[method][AP]]
    finder = max(finders, key=lambda method: mean(method, AP), default="")
    behind = mean("CE", "score") - mean(order[0], "score") if "CE" in found else 0.0
    gap = f" ({behind:.3f})".replace("-", "\N{MINUS SIGN}") if behind else ""
    return [
        cell(order[0]),
        cell(order[1]) if len(order) > 1 else "",
        cell(quick) if quick else "",
        found["CE"]["score"] + gap if "CE" in found else "",
        f"**{finder}** {found[finder][AP]}" if finder else "",
    ]


def detector_runs() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Lines of ``benchmarks.studies.detectors`` by set and method, both in the script's order."""
    sys.path.insert(0, str(DOCS.parent))
    from benchmarks.studies.detectors import METHODS, SETS

    groups: dict[str, dict[str, list[dict[str, Any]]]] = {name: {method: [] for method in METHODS} for name in SETS}
    for line in lines():
        if "average_precision" in line and "set" in line:  # the lines of the suites say "data"
            groups[line["set"]][line["method"]].append(line)
    return {
        name: {method: runs for method, runs in its.items() if runs}
        for name, its in groups.items()
        if any(its.values())
    }


def detectors() -> str:
    """Average precision of every detector and of cleanlab on labels with real and simulated errors."""
    groups = detector_runs()
    if not groups:
        return NOTHING
    counts = sorted({len(runs) for its in groups.values() for runs in its.values()})
    seeds = " to ".join(map(str, sorted({counts[0], counts[-1]})))
    note = (
        f"Made by ``python -m benchmarks.studies.detectors``, {seeds} seeds, at most 10 000 rows of a set. "
        "Seconds are the median CPU time of one thread. *No transitions* and *neutral* are the "
        "default with ``transition_weight=0``, and with ``prior_exponent=0`` besides."
    )
    real = {name: its for name, its in groups.items() if "," not in name}  # the others say how they were made
    made = {name: its for name, its in groups.items() if name not in real}
    tables = [detector_table(part, "average_precision", seconds=True) for part in (real, made) if part]
    return "\n\n".join([note, *tables])


def detectors_more() -> str:
    """On real errors by ROC AUC, and by precision among as many rows as are wrong."""
    groups = detector_runs()
    if not groups:
        return NOTHING
    groups = {name: its for name, its in groups.items() if "," not in name}
    return "\n\n".join(
        f"{title}:\n\n{detector_table(groups, key)}"
        for key, title in (
            ("roc_auc", "ROC AUC"),
            ("precision_at_noise", "Precision among as many rows as there are wrong labels"),
        )
    )


def detector_table(groups: dict[str, dict[str, list[dict[str, Any]]]], key: str, *, seconds: bool = False) -> str:
    """A row a method, a column a set."""
    from benchmarks.studies.detectors import METHODS

    rows = []
    for method in sorted({m for its in groups.values() for m in its}, key=list(METHODS).index):
        row = [method, *(mean_sd([run[key] for run in its.get(method, [])], 3) for its in groups.values())]
        times = [run["cpu_seconds"] for its in groups.values() for run in its.get(method, [])]
        rows.append([*row, f"{statistics.median(times):.1f}"] if seconds else row)
    return table(["method", *groups, *(["seconds"] if seconds else [])], rows)


def cleaning() -> str:
    """Test scores after every repair of ``benchmarks.studies.cleaning``, beside no repair and right labels."""
    cells: dict[str, dict[str, list[float]]] = {}
    for line in lines():
        if "cleaning" in line:
            for what, result in line["results"].items():
                cells.setdefault(what, {}).setdefault(line["cleaning"]["set"], []).append(result["score"])
    if not cells:
        return NOTHING
    names = list(dict.fromkeys(name for row in cells.values() for name in row))
    first = ("given labels", "right labels", "cleanlab, drop")
    order = sorted(cells, key=lambda what: first.index(what) if what in first else len(first))
    rows = [[what, *(mean_sd(cells[what].get(name, []), 3) for name in names)] for what in order]
    return table(["trained on", *names], rows)


def promises() -> str:
    """What ``threshold="fdr"`` asked for and what it was, and noise rates beside the true ones."""
    rows, alphas = [], []
    for name, its in detector_runs().items():
        for method in ("Auto", "confident learning"):
            runs = [run for run in its.get(method, []) if "fdr" in run]
            if not runs:
                continue
            alphas = [f"asked for {alpha}" for alpha in runs[0]["fdr"]]
            cells = []
            for alpha in runs[0]["fdr"]:
                flagged = statistics.mean(run["fdr"][alpha][0] for run in runs)
                wrongly = [run["fdr"][alpha][1] for run in runs if run["fdr"][alpha][1] is not None]
                cells.append(f"{statistics.mean(wrongly):.2f} of {100 * flagged:.1f} %" if wrongly else "none flagged")
            low, high = (statistics.mean(run["interval"][end] for run in runs) for end in (0, 1))
            rate = f"{statistics.mean(run['noise_rate'] for run in runs):.2f} ({low:.2f} to {high:.2f})"
            rows.append([name, method, f"{statistics.mean(run['true_rate'] for run in runs):.2f}", rate, *cells])
    head = ["set", "detector", "wrong labels", "estimate", *alphas]
    return table(head, rows) if rows else NOTHING


def moit() -> str:
    """MOIT's page: every method on three sets, from ``benchmarks.studies.moit_quality``."""
    keys = ("accuracy", "AP", "clean precision", "agreement precision", "estimated noise", "seconds")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines():
        if "clean precision" in line or line.get("method") == "logistic regression":
            groups.setdefault((line["set"], line["method"]), []).append(line)
    rows = [
        [*who, str(len(runs)), *(mean_sd([r[k] for r in runs if k in r], 0 if k == "seconds" else 3) for k in keys)]
        for who, runs in groups.items()
    ]
    note = "Made by ``python -m benchmarks.studies.moit_quality``: mean ± sd over seeds, at the last epoch."
    return f"{note}\n\n{table(['set', 'method', 'seeds', *keys], rows)}" if rows else NOTHING


def pemm_lines(part: str) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """Settings and result of every stored run of a part of ``benchmarks.studies.pemm_ablation``."""
    return [(line["pemm"], line["result"]) for line in lines() if line.get("pemm", {}).get("part") == part]


def pemm() -> str:
    """PEMM's ablation: accuracy on digits by head, label loss, potential, mixture and clipping at three noise rates."""
    cells: dict[tuple[str, ...], dict[float, list[float]]] = {}
    for run, result in pemm_lines("ablation"):
        loss = "CE" if run["loss"] == "ce" else f"SCE, α\N{NO-BREAK SPACE}{run['alpha']:g}"
        parts = ("yes" if run["potential"] else "", "yes" if run["mixture"] else "")
        clip = "" if run["clip"] is None else f"{run['clip']:g}"
        cells.setdefault((run["head"], loss, *parts, clip), {}).setdefault(run["rate"], []).append(result["accuracy"])
    rates = sorted({rate for row in cells.values() for rate in row})
    head = ["head", "label loss", "potential", "mixture", "clip", *(f"{100 * rate:g} % wrong" for rate in rates)]
    rows = [[*parts, *(mean_sd(row.get(rate, []), 3) for rate in rates)] for parts, row in cells.items()]
    return table(head, rows) if rows else NOTHING


def pemm_sets() -> str:
    """PEMM beside other methods: accuracy and average precision."""
    cells: dict[str, dict[str, list[dict[str, float]]]] = {}
    for run, result in pemm_lines("sets"):
        cells.setdefault(run["set"], {}).setdefault(run["method"], []).append(result)
    methods = list(dict.fromkeys(method for row in cells.values() for method in row))
    rows = [
        [name, *(mean_sd([r[key] for r in row.get(method, [])], 3) for key in ("accuracy", "AP") for method in methods)]
        for name, row in cells.items()
    ]
    head = ["set", *(f"{method}, {what}" for what in ("accuracy", "AP") for method in methods)]
    return table(head, rows) if rows else NOTHING


def pemm_density() -> str:
    """What the mixture's log density knows of digits never seen."""
    groups: dict[float, list[dict[str, float]]] = {}
    for run, result in pemm_lines("density"):
        groups.setdefault(run["mixture"], []).append(result)
    keys = list(dict.fromkeys(key for group in groups.values() for result in group for key in result))
    rows = [[f"{mixture:g}", *(mean_sd([r[key] for r in g], 3) for key in keys)] for mixture, g in groups.items()]
    return table(["``mixture_weight``", *keys], rows) if rows else NOTHING


def dividemix() -> str:
    """DivideMix's candidates: accuracy under each noise on digits, then on the small sets; and what it finds."""
    cells: dict[str, dict[str, list[dict[str, float]]]] = {}
    for line in lines():
        if "dividemix" in line:
            run = line["dividemix"]
            where = f"{run['set']}, {run['labels']}"
            cells.setdefault(run["candidate"], {}).setdefault(where, []).append(line["result"])
    if not cells:
        return NOTHING
    columns = sorted({where for row in cells.values() for where in row})
    groups = [[c for c in columns if c.startswith("digits")], [c for c in columns if not c.startswith("digits")]]
    text = [
        table(
            ["", *some],
            [
                [name, *(mean_sd([r["accuracy"] for r in row.get(where, [])], 3) for where in some)]
                for name, row in cells.items()
            ],
        )
        for some in groups
        if some
    ]
    keys = ("AP", "precision", "recall", "flagged", "not labeled", "cpu_seconds")
    found = [
        [where, *(mean_sd([r[key] for r in runs if key in r], 1 if key == "cpu_seconds" else 3) for key in keys)]
        for where, runs in sorted(cells.get("DivideMix", {}).items())
    ]
    return "\n\n".join([*text, "What the defaults find:", table(["", *keys[:-1], "CPU seconds"], found)])


def sanm_over() -> str:
    """Every host alone and under SANM."""
    return plugged("SANM", "under SANM")


def rank_over() -> str:
    """Every host alone and after Influential Rank."""
    return plugged("IR", "post-trained")


def plugged(plug: str, caption: str) -> str:
    """One table a set of ``benchmarks.studies.combinations``: accuracy and average precision, alone and with a plug."""
    sys.path.insert(0, str(DOCS.parent))
    from benchmarks.studies.combinations import PROBLEMS

    cells: dict[str, dict[tuple[str, str], dict[str, list[dict[str, float]]]]] = {}
    for line in lines():
        run = line.get("settings", {})
        if "plug" in run:
            row = cells.setdefault(run["set"], {}).setdefault((run["labels"], run["host"]), {})
            row.setdefault(run["plug"], []).append(line["result"])
    text = []
    for name, rows in cells.items():
        both = sorted((who, runs) for who, runs in rows.items() if plug in runs and "none" in runs)
        if not both:
            continue
        head = [
            "labels",
            "host",
            "accuracy, alone",
            caption,
            "suspects' AP, alone",
            caption,
            "CPU seconds, alone",
            caption,
        ]
        keys = (("test_accuracy", 3), ("average_precision", 3), ("cpu_seconds", 1))
        made = [
            [
                labels,
                host + ("" if len(runs[plug]) > 1 else " (1 seed)"),
                *(mean_sd([r[key] for r in runs[p]], digits) for key, digits in keys for p in ("none", plug)),
            ]
            for (labels, host), runs in both
        ]
        text += [f"{PROBLEMS[name].title}:", table(head, made)]
    return "\n\n".join(text) if text else NOTHING


def influence_groups(part: str, *keys: str) -> dict[tuple[Any, ...], list[dict[str, float]]]:
    """Results of a part of ``benchmarks.studies.influence_quality``, by these settings."""
    groups: dict[tuple[Any, ...], list[dict[str, float]]] = {}
    for line in lines():
        if line.get("influence", {}).get("part") == part:
            groups.setdefault(tuple(line["influence"][key] for key in keys), []).append(line["result"])
    return groups


def influence_fidelity() -> str:
    """Influence against true leave-one-out: rank correlation and median relative error."""
    backends = ("exact", "kfac", "factored", "representer", "one step")
    rows = []
    for (problem, damping), runs in influence_groups("fidelity", "problem", "damping").items():
        mean = {key: statistics.fmean(run[key] for run in runs) for key in runs[0]}
        rows.append([problem, f"{damping:g}", *(f"{mean[f'rho {b}']:.4f}; {mean[f'error {b}']:.1%}" for b in backends)])
    return table(["problem", "``damping``", *backends], rows) if rows else NOTHING


def influence_rule() -> str:
    """What the automatic rule flags first, beside outliers of the influence on the model."""
    rules = ("outliers", "same ridge", "ten times the ridge")

    def cell(runs: list[dict[str, float]], rule: str) -> str:
        text = f"{statistics.fmean(run[f'flagged {rule}'] for run in runs):.3f}"
        for what in "precision", "recall":
            values = [run[f"{what} {rule}"] for run in runs if f"{what} {rule}" in run]
            text += f", {what} {statistics.fmean(values):.2f}" if values else ""
        return text

    rows = []
    for (rate, epochs), runs in influence_groups("rule", "rate", "epochs").items():
        accuracy = mean_sd([run["train accuracy"] for run in runs], 3)
        rows.append([f"{100 * rate:g} %", str(epochs), accuracy, *(cell(runs, rule) for rule in rules)])
    return table(["wrong", "epochs", "training accuracy", *rules], rows) if rows else NOTHING


def influence_features() -> str:
    """ROC AUC of the rank of classifiers that are no networks, by where the features come from."""
    rows = [
        [*who, *(mean_sd([run[f"AUC {layer}"] for run in runs], 3) for layer in ("input", "decision_function"))]
        for who, runs in influence_groups("features", "problem", "classifier").items()
    ]
    return table(["set, wrong labels", "classifier", "X", "decision function"], rows) if rows else NOTHING


def influence_loop() -> str:
    """Test accuracy, and what was flagged, before and after post-training."""
    keys = ("accuracy", "AUC", "flagged", "precision", "recall", "estimated noise")
    rows = [
        [f"{100 * rate:g} %", method, *(mean_sd([run[key] for run in runs if key in run], 3) for key in keys)]
        for (rate, method), runs in sorted(
            influence_groups("loop", "rate", "method").items(), key=lambda row: row[0][0]
        )
    ]
    return table(["wrong", "", *keys], rows) if rows else NOTHING


def jira() -> str:
    """JIRA's defects with and without influence, from ``benchmarks.studies.jira_influence``."""
    keys = ("F1", "AP", "flagged", "precision", "recall")
    groups: dict[str, list[dict[str, float]]] = {}
    for line in lines():
        if "jira" in line:
            groups.setdefault(line["jira"]["method"], []).append(line["result"])
    rows = [
        [method, *(mean_sd([run[key] for run in runs if key in run], 3) for key in keys)]
        for method, runs in groups.items()
    ]
    return table(["gradient boosting trained on", *keys], rows) if rows else NOTHING


def candidates() -> str:
    """Test accuracy of ELR's candidates for its defaults."""
    cells: dict[str, dict[str, dict[int, float]]] = {}
    for line in lines():
        run = line.get("settings", {})
        if "seed" in run and run["seed"] >= 100 and run["method"] in ("CE", "ELR"):
            params = {"lam": 0.0, "beta": 0.0, **run["params"]}
            row = f"λ\N{NO-BREAK SPACE}{params['lam']:g}, β\N{NO-BREAK SPACE}{params['beta']:g}"
            row = row if run["method"] == "ELR" else "cross-entropy"
            column = f"{run['set']}, {run['labels']}"
            cells.setdefault(row, {}).setdefault(column, {})[run["seed"]] = line["result"]["test_accuracy"]
    if not cells:
        return NOTHING
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    clean = [column for column in columns if column.endswith("clean")]
    noisy = [column for column in columns if column not in clean]
    return "\n\n".join(
        table(
            ["", *some],
            [
                [name, *(mean_sd(list(row[column].values()), 3) if column in row else "" for column in some)]
                for name, row in cells.items()
            ],
        )
        for some in (noisy, clean)
        if some
    )


def core_missed() -> str:
    """Where methods of the core suite score less than cross-entropy or logistic regression."""
    from robustlabels.comparison import behind, read_rows

    rows = read_rows(RESULTS / "core.jsonl")
    if not rows:
        return NOTHING
    return "\n".join(
        f"* {where}: below cross-entropy: {below_ce or 'not compared'}; below logistic regression: "
        f"{below_lr or 'not compared'}."
        for where, below_ce, below_lr in behind(rows, ("CE", "LR")).rows
    )


def costs() -> str:
    """CPU time of every method of the core suite over cross-entropy's."""
    from robustlabels.comparison import costs, read_rows

    rows = read_rows(RESULTS / "core.jsonl")
    found = costs(rows)
    return table(found.head, found.rows) if rows else NOTHING


# --- rst --------------------------------------------------------------------------------------------------------------


def mean_sd(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation, as far as there is one."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A list-table."""
    text = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        text += [f"   {'* -' if i == 0 else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(text)


if __name__ == "__main__":
    print(globals()[sys.argv[1]]())
