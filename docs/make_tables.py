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
        "The masks here are built at once and used once. The product with the bank, which both forms need, is a third "
        "of the time."
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
        if ratio["verdict"] in ("missed", "noisy"):
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
    """Rows of the table of targets that ``benchmarks.robustness`` wrote."""
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
    from benchmarks import functions, harness, memory, training  # noqa: F401 - they register themselves

    return table(["name", "what is compared"], ([f"``{name}``", harness.summary(name)] for name in harness.REGISTRY))


def ratio_lines() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of the benchmark and one ratio, of the last full run of each."""
    last = {line["benchmark"]: line for line in lines() if "ratios" in line and not line["quick"]}
    for name, line in last.items():
        for ratio in line["ratios"]:
            yield name, ratio


def ratios() -> str:
    """Speed and memory."""
    rows = [
        [f"``{name}``", ratio["case"], ratio["ratio"], spread(ratio), goal(ratio), ratio["verdict"] or ""]
        for name, ratio in ratio_lines()
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
    """The target in words."""
    return (ratio["target"] or "").replace(">=", "at least").replace("<=", "at most")


def cifar10() -> str:
    """CIFAR-10 at full size."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines():
        if line.get("benchmark") == "cifar10":
            what = (line["method"], line["noise"], line["module"], line["epochs"], line["rows_trained"], line["device"])
            groups.setdefault(what, []).append(line)
    rows = []
    for (method, noise, module, epochs, n, device), group in groups.items():
        theirs = group[-1]["published"]
        published = "" if theirs is None else f"{theirs['test_best_valid']:.2f}"
        if theirs is not None and theirs["spread"] is not None:
            published += f" ± {theirs['spread']:.2f}"
        rows.append(
            [
                method,
                noise,
                f"{module}, {epochs} epochs, {n:,} rows",
                str(len({line["seed"] for line in group})),
                *(mean_sd([100 * line[key] for line in group], 2) for key in ("test_last", "test_best_valid")),
                published,
                mean_sd([line["detection_ap"] for line in group if line["detection_ap"] is not None], 3),
                mean_sd([line["seconds_per_epoch"] for line in group], 2),
                device,
            ]
        )
    head = ["method", "labels", "network", "seeds", "last epoch, %", "best noisy-validation epoch, %"]
    return table([*head, "published, %", "suspects' AP", "seconds an epoch", "device"], rows) if rows else NOTHING


def moit() -> str:
    """MOIT's page: every method on three sets, from ``benchmarks.moit_quality``."""
    keys = ("accuracy", "AP", "clean precision", "agreement precision", "estimated noise", "seconds")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines():
        if "clean precision" in line or line.get("method") == "logistic regression":
            groups.setdefault((line["set"], line["method"]), []).append(line)
    rows = [
        [*who, str(len(runs)), *(mean_sd([r[k] for r in runs if k in r], 0 if k == "seconds" else 3) for k in keys)]
        for who, runs in groups.items()
    ]
    note = "Made by ``python -m benchmarks.moit_quality``: mean ± sd over seeds, at the last epoch."
    return f"{note}\n\n{table(['set', 'method', 'seeds', *keys], rows)}" if rows else NOTHING


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
