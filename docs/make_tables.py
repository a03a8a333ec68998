"""Make the tables of the documentation, as rst, from the stored results: no number on a page is typed by hand.

``.. measured:: NAME`` in a page shows the table of that name; ``python docs/make_tables.py NAME`` prints it. Most
tables are pivots, declared in :data:`TABLES`; the others are functions of :mod:`other_tables`.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import other_tables
from other_tables import spread
from pivot import Label, Table, values

from benchmarks.studies.detectors import ALPHAS
from benchmarks.studies.detectors import METHODS as DETECTORS
from benchmarks.studies.detectors import SETS as DETECTED
from robustlabels.comparison import Row

NOTHING = "No results are stored in this checkout; the commands below make them."
NBSP = "\N{NO-BREAK SPACE}"


# --- labels and cells -------------------------------------------------------------------------------------------------


def mean(rows: list[Row], name: str) -> float:
    """Return the mean of a measure over rows."""
    return statistics.fmean(values(rows, name))


def of(name: str) -> Label:
    """Return the label that is a field of a row."""
    return lambda row: str(row[name])


def param(name: str, text: str = "{}") -> Label:
    """Return the label that is a parameter of a row."""
    return lambda row: text.format(row["params"][name])


def percent(text: str = "{:g} %") -> Label:
    """Return the label that is the noise rate in percent."""
    return lambda row: text.format(100 * row["params"]["rate"])


def set_and_noise(row: Row) -> str:
    return f"{row['data']}, {row['noise']}"


def n_seeds(rows: list[Row]) -> str:
    return str(len({row["seed"] for row in rows}))


def part(name: str) -> Callable[[Row], bool]:
    return lambda row: row["params"]["part"] == name


def rules(*names: str, measure: str = "test_accuracy") -> Table:
    """Return a question of the study of rules; a single method is left out of its labels."""
    return Table(
        "rules",
        {"": lambda row: row["method"].partition(", ")[2] if len(names) == 1 else row["method"].rpartition(": ")[2]},
        {"": measure},
        set_and_noise,
        lambda row: row["method"].partition(",")[0] in names,
        {"CPU s a run": lambda rows: f"{mean(rows, 'cpu_seconds'):.0f}"},
    )


def label_loss(row: Row) -> str:
    return "CE" if row["params"]["loss"] == "ce" else f"SCE, α{NBSP}{row['params']['alpha']:g}"


def candidate(row: Row) -> str:
    params = row["params"]
    return "cross-entropy" if row["method"] == "CE" else f"λ{NBSP}{params['lam']:g}, β{NBSP}{params['beta']:g}"


def detectors(measure: str, *, real: bool, seconds: bool = False, before: str = "") -> Table:
    """Return detectors x data sets with real or simulated errors; the name of a simulated one says how it was made."""
    return Table(
        "detectors",
        {"method": of("method")},
        {"": measure},
        of("data"),
        lambda row: ("," not in row["data"]) == real,
        {"seconds": lambda rows: f"{statistics.median(values(rows, 'cpu_seconds')):.1f}"} if seconds else {},
        [list(DETECTORS)],
        list(DETECTED),
        before=before,
    )


def promise(alpha: float) -> Callable[[list[Row]], str]:
    """Return the cell of a false discovery rate: the measured one, of the share of flagged rows."""

    def cell(rows: list[Row]) -> str:
        wrongly = values(rows, f"fdr {alpha}: right")
        flagged = 100 * mean(rows, f"fdr {alpha}: flagged")
        return f"{statistics.fmean(wrongly):.2f} of {flagged:.1f} %" if wrongly else "none flagged"

    return cell


def estimate(rows: list[Row]) -> str:
    rate, low, high = (mean(rows, name) for name in ("noise_rate", "noise_rate_low", "noise_rate_high"))
    return f"{rate:.2f} ({low:.2f} to {high:.2f})"


def fidelity(backend: str) -> Callable[[list[Row]], str]:
    return lambda rows: f"{mean(rows, f'rho {backend}'):.4f}; {mean(rows, f'error {backend}'):.1%}"


def flagged_by(rule: str) -> Callable[[list[Row]], str]:
    """Return the cell of a rule: the share of flagged rows, with precision and recall if labels are wrong."""

    def cell(rows: list[Row]) -> str:
        found = [(what, values(rows, f"{what} {rule}")) for what in ("precision", "recall")]
        shares = [f"{what} {statistics.fmean(its):.2f}" for what, its in found if its]
        return ", ".join([f"{mean(rows, f'flagged {rule}'):.3f}", *shares])

    return cell


# --- the tables -------------------------------------------------------------------------------------------------------

IMAGES = ("images: cross-entropy", "images: ELR", "images: ELR+")
WRONG = percent()
FOUND = {name: name for name in ("flagged", "precision", "recall")}
REPAIRS = ["given labels", "right labels", "cleanlab, drop"]
PROMISED = ["Auto", "confident learning"]


Part = Table | str | Callable[[], str]

TABLES: dict[str, tuple[Part, ...]] = {
    "epochs": (
        Table(
            "speed",
            {"": lambda row: row["params"]["ratio"].partition(" / ")[0]},
            {"": lambda rows: spread(rows[-1]) + (", noisy" if rows[-1]["verdict"] == "noisy" else "")},
            param("case"),
            lambda row: row["method"] == "epochs",
            select=other_tables.last_runs,
        ),
    ),
    "rules_bank": (rules("MOIT"),),
    "rules_mixup": (rules("ELR+"),),
    "rules_views": (rules("CE", "GCE", "ELR"),),
    "rules_rare": (rules("rare: cross-entropy", "rare: ELR", measure="test_f1"),),
    "rules_images": (rules(*IMAGES),),
    "rules_images_found": (rules(*IMAGES, measure="average_precision"),),
    "detectors": (
        other_tables.how_detectors_ran,
        detectors("average_precision", real=True, seconds=True),
        detectors("average_precision", real=False, seconds=True),
    ),
    "detectors_more": (
        detectors("roc_auc", real=True, before="ROC AUC:"),
        detectors("precision_at_noise", real=True, before="Precision among as many rows as there are wrong labels:"),
    ),
    "promises": (
        Table(
            "detectors",
            {"set": of("data"), "detector": of("method")},
            {
                "wrong labels": lambda rows: f"{mean(rows, 'true_rate'):.2f}",
                "estimate": estimate,
                **{f"asked for {alpha}": promise(alpha) for alpha in ALPHAS},
            },
            where=lambda row: row["method"] in PROMISED and "noise_rate" in row["measures"],
            order=[list(DETECTED), PROMISED],
        ),
    ),
    "cleaning": (Table("cleaning", {"trained on": of("method")}, {"": "score"}, of("data"), order=[REPAIRS]),),
    "moit": (
        "Made by ``python -m benchmarks.studies.moit_quality``: mean ± sd over seeds, at the last epoch.",
        Table(
            "moit_quality",
            {"set": of("data"), "method": of("method")},
            {
                "seeds": n_seeds,
                **{k: k for k in ("accuracy", "AP", "clean precision", "agreement precision", "estimated noise")},
                "seconds": ("seconds", 0),
            },
        ),
    ),
    "pemm": (
        Table(
            "pemm_ablation",
            {
                "head": param("head"),
                "label loss": label_loss,
                **{
                    name: lambda row, name=name: "yes" if row["params"][name] else ""
                    for name in ("potential", "mixture")
                },
                "clip": lambda row: "" if row["params"]["clip"] is None else f"{row['params']['clip']:g}",
            },
            {"": "accuracy"},
            percent("{:g} % wrong"),
            part("ablation"),
            column_order="sorted",
        ),
    ),
    "pemm_sets": (
        Table(
            "pemm_ablation",
            {"set": of("data")},
            {"accuracy": "accuracy", "AP": "AP"},
            of("method"),
            part("sets"),
        ),
    ),
    "pemm_density": (
        Table(
            "pemm_ablation",
            {"``mixture_weight``": param("mixture", "{:g}")},
            {
                name: name
                for name in (
                    "accuracy",
                    "AUC of the density, digits 8 and 9",
                    "AUC of the density, random pixels",
                    "AUC of the largest probability, digits 8 and 9",
                )
            },
            where=part("density"),
        ),
    ),
    "dividemix": (
        *(
            Table(
                "dividemix_defaults",
                {"": of("method")},
                {"": "accuracy"},
                set_and_noise,
                lambda row, digits=digits: (row["data"] == "digits") == digits,
                column_order="sorted",
            )
            for digits in (True, False)
        ),
        "What the defaults find:",
        Table(
            "dividemix_defaults",
            {"": set_and_noise},
            {
                **{name: name for name in ("AP", "precision", "recall", "flagged", "not labeled")},
                "CPU seconds": ("cpu_seconds", 1),
            },
            where=lambda row: row["method"] == "DivideMix",
            order=["sorted"],
        ),
    ),
    "influence_fidelity": (
        Table(
            "influence_quality",
            {"problem": of("data"), "``damping``": param("damping", "{:g}")},
            {name: fidelity(name) for name in ("exact", "kfac", "factored", "representer", "one step")},
            where=part("fidelity"),
        ),
    ),
    "influence_rule": (
        Table(
            "influence_quality",
            {"wrong": WRONG, "epochs": param("epochs")},
            {
                "training accuracy": "train accuracy",
                **{rule: flagged_by(rule) for rule in ("outliers", "same ridge", "ten times the ridge")},
            },
            where=part("rule"),
        ),
    ),
    "influence_features": (
        Table(
            "influence_quality",
            {"set, wrong labels": lambda row: f"{row['data']}, {row['noise'][3:]} %", "classifier": of("method")},
            {"X": "AUC input", "decision function": "AUC decision_function"},
            where=part("features"),
        ),
    ),
    "influence_loop": (
        Table(
            "influence_quality",
            {"wrong": WRONG, "": of("method")},
            {"accuracy": "accuracy", "AUC": "AUC", **FOUND, "estimated noise": "estimated noise"},
            where=part("loop"),
            order=[["0 %", "20 %", "40 %"], None],
        ),
    ),
    "jira": (
        Table("jira_influence", {"gradient boosting trained on": of("method")}, {"F1": "F1", "AP": "AP", **FOUND}),
    ),
    "candidates": tuple(
        Table(
            "elr_defaults",
            {"": candidate},
            {"": "test_accuracy"},
            set_and_noise,
            lambda row, clean=clean: row["method"] in ("CE", "ELR") and (row["noise"] == "clean") == clean,
        )
        for clean in (False, True)
    ),
    "cifar10": (
        Table(
            "cifar10",
            {
                "method": of("method"),
                "labels": of("noise"),
                "network": other_tables.network_of,
                "device": other_tables.device_of,
            },
            {
                "seeds": n_seeds,
                "last epoch, %": other_tables.in_percent("test_last"),
                "best noisy-validation epoch, %": other_tables.in_percent("test_best_valid"),
                "published, % (epoch)": other_tables.number_published,
                "detection AP": "detection_ap",
                "seconds an epoch": ("seconds_per_epoch", 2),
                "seconds of training": other_tables.training_seconds,
            },
        ),
    ),
}

FUNCTIONS: dict[str, Callable[[], str]] = {
    **{
        function.__name__: function
        for function in (
            other_tables.missed,
            other_tables.robustness,
            other_tables.benchmarks,
            other_tables.ratios,
            other_tables.scaling,
            other_tables.published,
            other_tables.which_method,
            other_tables.core_missed,
            other_tables.costs,
        )
    },
    "core": lambda: other_tables.suite("core"),
    "pixels": lambda: other_tables.suite("pixels"),
    "sanm_over": lambda: other_tables.around("SANM", "in SANM"),
    "rank_over": lambda: other_tables.around("IR", "post-trained"),
}


def render(name: str) -> str:
    """Return the table of a name, or a sentence that nothing is stored."""
    if name in FUNCTIONS:
        return FUNCTIONS[name]() or NOTHING
    parts = [part if isinstance(part, str) else part() for part in TABLES[name]]
    made = any(text and isinstance(part, Table) for part, text in zip(TABLES[name], parts, strict=True))
    return "\n\n".join(filter(None, parts)) if made else NOTHING


if __name__ == "__main__":
    print(render(sys.argv[1]))
