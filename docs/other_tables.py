"""Tables of the documentation that are not pivots: each is a function that returns rst, or "" without results."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pivot import show, stored, table

from benchmarks.speed import scaling as growth
from benchmarks.speed.__main__ import registry
from benchmarks.studies import cifar10 as full_size
from benchmarks.studies.combinations import PROBLEMS as WRAPPED
from robustlabels.comparison import PROBLEMS, Row, behind, common_seeds, mean_sd, measured, summarize
from robustlabels.comparison import costs as cost_table

DOCS = Path(__file__).resolve().parent
ROBUSTNESS = DOCS / "benchmarks" / "robustness.inc"


def robustness() -> str:
    """Return the tables that the study of robustness wrote."""
    return ROBUSTNESS.read_text(encoding="utf-8") if ROBUSTNESS.exists() else ""


# --- speed ------------------------------------------------------------------------------------------------------------

# Why a ratio misses its target: shown beside it as long as it does.
REASONS = {
    "elr_state": "What is left are six small operations, among them the guard against predictions that are not finite.",
    "skorch": "At 784-256-10 the work is matrix products on both sides; what skorch spends on rows is little.",
    "contrastive": (
        "The masks here are built at once and used once. What is left is to a large part the two products with the "
        "bank, which both forms need."
    ),
}


def last_runs(rows: Iterable[Row]) -> list[Row]:
    """Return the ratios of the last full run of each benchmark, whose rows share date and wall time."""
    runs: dict[str, dict[tuple[object, ...], list[Row]]] = {}
    for row in rows:
        if not row["params"]["quick"]:
            run = (row.get("date"), measured(row, "wall_seconds"))
            runs.setdefault(row["method"], {}).setdefault(run, []).append(row)
    return [row for its in runs.values() for row in list(its.values())[-1]]


def spread(row: Row) -> str:
    """Return median and range over the rounds."""
    median, low, high = (measured(row, name) for name in ("median", "min", "max"))
    return f"{median:.3g} ({low:.3g} to {high:.3g})"


def goal(row: Row) -> str:
    """Return the target in words, or a dash."""
    return (row["params"]["target"] or "\N{EN DASH}").replace(">=", "at least").replace("<=", "at most")


def ratio(row: Row) -> list[str]:
    params = row["params"]
    return [f"``{row['method']}``", params["case"], params["ratio"], spread(row), goal(row), row["verdict"] or ""]


def ratios() -> str:
    """Return speed and memory, except for ``epochs``, which has its own table."""
    rows = [row for row in last_runs(stored("speed")) if row["method"] != "epochs"]
    if not rows:
        return ""
    machines = dict.fromkeys(machine(row) for row in stored("speed") if not row["params"]["quick"])
    text = table(["benchmark", "case", "ratio", "median (range)", "target", ""], map(ratio, rows))
    return f"{text}\n\nMeasured on: {'; '.join(sorted(machines))}."


def machine(row: Row) -> str:
    its = {**row["machine"], **row["versions"]}.items()
    return ", ".join(f"{name} {' '.join(value) if isinstance(value, list) else value}" for name, value in its)


def targets() -> list[list[str]]:
    """Return the lines of the table of targets that the study of robustness wrote."""
    text = ROBUSTNESS.read_text(encoding="utf-8") if ROBUSTNESS.exists() else ""
    lines = text.partition(".. csv-table:: Targets")[2].partition("\n\n")[2].splitlines()
    return [line for line in csv.reader(lines, skipinitialspace=True) if len(line) == 4]


def missed() -> str:
    """Return the targets that the stored results do not reach."""
    judged = [row for row in last_runs(stored("speed")) if row["params"]["target"]]
    found = [
        f"* {what}: at least {least} was asked for, {got} was measured."
        for what, least, got, verdict in targets()
        if verdict == "missed"
    ]
    for row in judged:
        if row["verdict"] in ("missed", "noisy"):
            name, case, sides, measured_, target, verdict = ratio(row)
            noisy = " The machine was too noisy to say for sure." if verdict == "noisy" else ""
            reason = f" {REASONS[row['method']]}" if row["method"] in REASONS else ""
            found.append(f"* {name}, {case}, {sides}: {measured_}; the target is {target}.{noisy}{reason}")
    if found:
        return "\n".join(found)
    count = len(targets()) + len(judged)
    return f"None: the {count} that were judged so far are all reached." if count else ""


def benchmarks() -> str:
    """Return the names of the speed benchmarks, and what they compare."""
    return table(["name", "what is compared"], ([f"``{name}``", what] for name, what in registry().items()))


def scaling() -> str:
    """Return how seconds and memory grow with rows, classes and columns."""
    points = stored("scaling")
    found = growth.curves(points)
    if not found:
        return ""
    steeper = [f"{growth.TASKS[curve.task].title} along {curve.axis}" for curve in found if curve.steeper]
    note = f"Steeper than expected by more than {growth.STEEPER:g}, over all sizes or between the last two: "
    where = sorted({f"{row['machine']['cpu']}, torch {row['versions']['torch']}, one thread" for row in points})
    head = ["", "along", "at", "CPU seconds", "slope", "last two sizes", "expected, at most", "MiB beyond the inputs"]
    text = table(head, map(of_curve, found))
    return f"{text}\n\n{note}{'; '.join(steeper) or 'none'}.\n\nMeasured on: {'; '.join(where)}."


def of_curve(curve: growth.Curve) -> list[str]:
    task = growth.TASKS[curve.task]
    return [
        task.title,
        f"{curve.axis} = {curve.sizes[0]:,} to {curve.sizes[-1]:,}",
        ", ".join(f"{axis} = {size:,}" for axis, size in task.base.items() if axis != curve.axis),
        " to ".join(f"{seconds:.2g}" for seconds in (curve.seconds[0], curve.seconds[-1])),
        *(f"{curve.slope:.2f}", f"{curve.last_slope:.2f}", f"{curve.expected:g}"),
        " to ".join(f"{mib:.0f}" for mib in (curve.extra_mib[0], curve.extra_mib[-1])),
    ]


# --- the comparison ---------------------------------------------------------------------------------------------------


def suite(name: str) -> str:
    """Return all tables of a suite that ``robustlabels compare`` stored."""
    rows = stored(name)
    if not rows:
        return ""
    summary = summarize(rows)
    text = [
        f"Made by ``python -m robustlabels compare {name}``: mean ± sd over seeds; a number of seeds in brackets "
        "where some are missing."
    ]
    for its in [summary.ranks, *summary.scores]:
        text += [f"{its.title}:", table(its.head, its.rows), *its.notes]
    return "\n\n".join(text)


def core_missed() -> str:
    """Return where methods of the core suite score less than cross-entropy or logistic regression."""
    return "\n".join(
        f"* {where}: below cross-entropy: {below_ce or 'not compared'}; below logistic regression: "
        f"{below_lr or 'not compared'}."
        for where, below_ce, below_lr in behind(stored("core"), ("CE", "LR")).rows
    )


def costs() -> str:
    """Return the CPU time of every method of the core suite as a multiple of cross-entropy's."""
    rows = stored("core")
    found = cost_table(rows)
    return table(found.head, found.rows) if rows else ""


KINDS = {
    "digits": "small images as rows",
    "noisyag_news": "text embeddings, labeled by people",
    "wrench_trec": "text embeddings, labeled by rules",
    "jira_defects_dev": "table, a rare class, labeled by a heuristic",
    "cifar10_feats": "image features, labeled by people",
}

AP = "detection AP"


def which_method() -> str:
    """Return the best methods of the core suite by kind of data and noise, beside cross-entropy."""
    rows = stored("core")
    enough, short = on_enough_seeds(rows)
    common = common_seeds(enough)
    complete = [row for row in common if row["method"] not in short]
    lines, unfinished = [], left_out(rows, common)
    for its in summarize(common).details:
        data, _, noise = its.title.partition(", ")
        if methods_of(complete, data) != methods_of(complete, data, noise):
            unfinished.append(f"{KINDS.get(data, data)} ({noise})")
        elif found := scored(data, its.head, its.rows):
            f1 = "; F1" if is_f1(data) else ""
            lines.append([KINDS.get(data, data) + f1, noise, *choices(found)])
    head = ["data", "labels", "best", "second", "best in twice CE's time", "CE", "ranks wrong labels best (AP)"]
    n_seeds = len({row["seed"] for row in common})
    return f"{what_was_compared(n_seeds, short, unfinished)}\n\n{table(head, lines)}" if lines else ""


def what_was_compared(n_seeds: int, short: Sequence[str], unfinished: Sequence[str]) -> str:
    note = (
        f"Made by ``python -m robustlabels compare core``, {n_seeds} seed(s), every method with its defaults "
        "(those named *views* with stronger augmentation): test score at the last epoch, mean ± sd (one seed where no "
        "sd stands), and CPU time as a multiple of cross-entropy's. All methods of a line are compared on the same "
        "seeds. Two methods less than a standard deviation apart are as good as each other."
    )
    if short:
        note += f" Run on too few seeds to stand among them everywhere: {', '.join(short)}."
    if unfinished:
        note += f" Left out until every method has run there: {', '.join(unfinished)}."
    return note


def on_enough_seeds(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Drop methods with less than half of the seeds of another on a set and noise; return rows and their names."""
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


def left_out(rows: Sequence[Row], common: Sequence[Row]) -> list[str]:
    """Return sets and noise on which no seed is common to all methods."""
    both = [dict.fromkeys((row["data"], row["noise"]) for row in its) for its in (rows, common)]
    return [f"{KINDS.get(data, data)} ({noise})" for data, noise in both[0] if (data, noise) not in both[1]]


def methods_of(rows: Iterable[Row], data: str, noise: str | None = None) -> set[str]:
    return {row["method"] for row in rows if row["data"] == data and noise in (None, row["noise"])}


def is_f1(data: str) -> bool:
    return data in PROBLEMS and PROBLEMS[data].score == "test_f1"


def scored(data: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> dict[str, dict[str, str]]:
    """Return the measures of the methods that have a score, which is added to them."""
    score = "F1" if is_f1(data) else "test accuracy"
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    return {method: its | {"score": its[score]} for method, its in found.items() if its[score]}


def mean_of(cells: dict[str, str], measure: str) -> float:
    """Return the mean of a cell, or NaN if it is empty."""
    return float(cells.get(measure, "").partition(" ")[0] or "nan")


def choices(found: dict[str, dict[str, str]]) -> list[str]:
    """Return the cells of a set and noise: best, second, best of the quick methods, CE, best detection AP."""
    base = found.get("CE", {})
    order = sorted(found, key=lambda method: -mean_of(found[method], "score"))
    # Without cross-entropy a time is NaN, and no method counts as quick.
    times = {method: mean_of(its, "CPU s") / (mean_of(base, "CPU s") or float("nan")) for method, its in found.items()}

    def cell(method: str) -> str:
        cost = times[method]
        return f"**{method}** {found[method]['score']}" + (f", {cost:.1f} ×" if method != "CE" and cost == cost else "")

    quick = [cell(method) for method in order if times[method] <= 2]
    finders = sorted((m for m in order if found[m][AP]), key=lambda method: -mean_of(found[method], AP))
    gap = mean_of(base, "score") - mean_of(found[order[0]], "score") if base else 0.0
    behind_ = f" ({gap:.3f})".replace("-", "\N{MINUS SIGN}") if gap else ""
    return [
        *[*map(cell, order[:2]), ""][:2],
        *[*quick, ""][:1],
        base["score"] + behind_ if base else "",
        *[*(f"**{finder}** {found[finder][AP]}" for finder in finders), ""][:1],
    ]


# --- detectors --------------------------------------------------------------------------------------------------------


def how_detectors_ran() -> str:
    """Return the paragraph above the table of detectors."""
    counts = Counter((row["data"], row["method"]) for row in stored("detectors")).values()
    seeds = " to ".join(map(str, sorted({min(counts, default=0), max(counts, default=0)})))
    return (
        f"Made by ``python -m benchmarks.studies.detectors``, {seeds} seeds, at most 10 000 rows of a set. "
        "Seconds are the median CPU time of one thread. *No transitions* and *neutral* are the "
        "default with ``transition_weight=0``, and with ``prior_exponent=0`` besides."
    )


# --- wrappers ---------------------------------------------------------------------------------------------------------


def around(wrapper: str, caption: str) -> str:
    """Return one table per data set of the study of combinations: base classifiers alone, and in a wrapper."""
    rows = stored("combinations")
    text = []
    for name in dict.fromkeys(row["data"] for row in rows):
        its = [row for row in rows if row["data"] == name]
        both = {which: [row for row in its if row["params"]["wrapper"] == which] for which in (None, wrapper)}
        pairs = [{(row["noise"], row["params"]["base"]) for row in found} for found in both.values()]
        lines = [wrapped_line(*pair, both) for pair in sorted(set.intersection(*pairs))]
        titles = ("accuracy", "detection AP", "CPU seconds")
        head = ["labels", "base classifier", *(t for title in titles for t in (f"{title}, alone", caption))]
        text += [f"{WRAPPED[name].title}:", table(head, lines)] if lines else []
    return "\n\n".join(text)


def wrapped_line(noise: str, base: str, both: dict[str | None, list[Row]]) -> list[str]:
    """Return the measures of a base classifier under a noise, each alone and in the wrapper."""
    found = [[row for row in rows if (row["noise"], row["params"]["base"]) == (noise, base)] for rows in both.values()]
    measures = (("test_accuracy", 3), ("average_precision", 3), ("cpu_seconds", 1))
    seeds = "" if len(found[1]) > 1 else " (1 seed)"
    return [noise, base + seeds, *(show(measure, rows) for measure in measures for rows in found)]


# --- CIFAR-10 at full size --------------------------------------------------------------------------------------------

WRONG = {
    "asym40": "five classes to one other, one after the other: 18.4 %",
    "asym40-once": "five classes to one other, at once: 20 %",
    "cifar10n-aggre": "people's, by majority: 9 %",
}


def wrong_labels(noise: str) -> str:
    """Return what a noise of the full-size study means, and how many labels are wrong then."""
    if noise in WRONG:
        return WRONG[noise]
    rate = int(noise[3:5])
    if noise.endswith("-others"):
        return f"drawn from the nine other classes: {rate} %"
    return f"drawn from all ten classes: {0.9 * rate:g} %"


def network_of(row: Row) -> str:
    """Return network, setting, epochs and rows of a run, with the parameters that its setting has otherwise today."""
    setting = [] if row["setting"] == "default" else [f"``--setting {row['setting']}``"]
    short = f" instead of {row['paper_epochs']}" if row["max_epochs"] < row["paper_epochs"] else ""
    changed = [f"{name} = {value}" for name, value in full_size.departures(row).items() if name != "module"]
    epochs = f"{row['measures']['epochs']} epochs{short}"
    return ", ".join([row["module"], *setting, epochs, f"{row['rows_trained']:,} rows", *changed])


def device_of(row: Row) -> str:
    return row["machine"]["device"] + ("" if row["precision"] == "bfloat16" else f", {row['precision']}")


def in_percent(name: str) -> Callable[[list[Row]], str]:
    """Return the cell of a share, in percent."""
    return lambda rows: mean_sd([100 * value for row in rows if (value := measured(row, name)) is not None], 2)


def number_published(rows: list[Row]) -> str:
    """Return the published number of the paper's own settings."""
    row = rows[-1]
    theirs = full_size.published(row["method"], row["noise"], row["setting"]) if full_size.is_papers(row) else None
    return "" if theirs is None else f"{with_spread(theirs['accuracy'], theirs['spread'])} ({theirs['epoch']})"


def with_spread(accuracy: float, spread_: float | None) -> str:
    return f"{accuracy:.2f}" + ("" if spread_ is None else f" ± {spread_:.2f}")


def training_seconds(rows: list[Row]) -> str:
    return show(("seconds_training", 1 if rows[0]["setting"] == "fast" else 0), rows)


def published() -> str:
    """Return what the papers print of CIFAR-10, with noise and epoch, beside stored runs of the same settings."""
    rows = stored("cifar10")
    ours: dict[tuple[str, str, bool], list[Row]] = {}
    for row in filter(full_size.is_papers, rows):
        ours.setdefault((row["method"], row["noise"], row["setting"].endswith("cosine")), []).append(row)
    lines = []
    for name, noise in sorted(full_size.PUBLISHED, key=lambda key: key[1]):
        method, _, setting = name.partition(" ")
        lines.append(published_line(name, noise, ours.get((method, noise, bool(setting)), [])))
    head = ["labels", "which, and how many are wrong", "method", "network", "published, %", "at the epoch"]
    head += ["ours, last, %", "our network"]
    hours = full_size.suite_hours()
    note = f"All of ``--suite`` takes about {hours:.1f} hours on one H200, by arithmetic, give or take 35 %."
    return f"{table(head, lines)}\n\n{bar(rows)}\n\n{note}"


def published_line(name: str, noise: str, mine: list[Row]) -> list[str]:
    """Return a published number with its circumstances, beside stored runs."""
    method, _, setting = name.partition(" ")
    theirs = full_size.published(method, noise, f"elr-{setting}" if setting else None)
    networks = sorted({f"{row['module']}, {row['rows_trained']:,} rows" for row in mine})
    return [
        *(f"``{noise}``", wrong_labels(noise), name, theirs["module"] or ""),
        with_spread(theirs["accuracy"], theirs["spread"]),
        theirs["epoch"].replace("unread", "not known"),
        in_percent("test_last")(mine) or "not run yet",
        "; ".join(networks),
    ]


def bar(rows: Iterable[Row]) -> str:
    """Return what ``--setting fast`` aims at, and which stored runs reached it."""
    aim = full_size.BAR
    reached = [
        f"{row['method']} {100 * row['measures']['test_last']:.2f} % in {row['measures']['seconds_training']:.1f} s "
        f"(seed {row['seed']})"
        for row in rows
        if (row["setting"], row["noise"], row["rows_asked"]) == ("fast", aim["noise"], None)
        and aim["device"] in row["machine"]["device"]
        and not full_size.departures(row)
    ]
    return (
        f"The bar for ``--setting fast`` is ELR*'s published {aim['accuracy']:.2f} % under ``{aim['noise']}``, at the "
        f"last epoch, in {aim['seconds']:g} seconds of training on one {aim['device']}; compilation and test passes "
        f"are counted apart. Measured: {'; '.join(reached) or 'not yet, no GPU was at hand'}."
    )
