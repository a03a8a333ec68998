"""The published comparison, and yours: methods x data x noise x seeds, one row of results a run.

::

    robustlabels benchmark smoke                      # one data set, every method, a few minutes
    robustlabels benchmark core --results core.jsonl  # goes on where it was stopped
    robustlabels benchmark core --results core.jsonl --table

A seed fixes split, noise and network; where a set has its own rows and labels it varies the network only. Every method
runs with one setting on every row: its default, but for the two named "views", which show what augmentation alone
brings. Where a problem says so, all of them share another network and number of epochs. Accuracy is on right labels at
the *last* epoch, since nobody without right labels can choose another; the best epoch stands beside it for reference.
Results are lines of JSON, one a run, written as soon as the run is done; a run that is there already is not repeated.

To compare a method of your own, pass any scikit-learn classifier:

>>> from sklearn.neighbors import KNeighborsClassifier
>>> from robustlabels.benchmark import run_benchmark, summarise
>>> mine = KNeighborsClassifier(15)
>>> rows = run_benchmark({"mine": mine}, data=["digits"], noise=["sym40"], seeds=2, verbose=0)
>>> print(summarise(rows).scores[0])
digits: 1257 training rows of 8 x 8 pixels, 10 classes; test accuracy at the last epoch
method  sym40 (40.0 % wrong)
mine    0.9... ± 0.0...
"""

from robustlabels.benchmark.command import CORE, SUITES, Suite, register
from robustlabels.benchmark.measuring import detection, measure, out_of_fold
from robustlabels.benchmark.methods import METHODS, CleanlabClassifier, Method
from robustlabels.benchmark.problems import INJECTED, PROBLEMS, Problem, Split, make_split, relabelled
from robustlabels.benchmark.processes import isolated, peak_mib
from robustlabels.benchmark.runs import describe, run_benchmark
from robustlabels.benchmark.storage import ELSEWHERE, Row, append_row, defaults, environment, find, read_rows, settings
from robustlabels.benchmark.tables import (
    MEASURES,
    Cells,
    Summary,
    Table,
    behind,
    common_seeds,
    costs,
    mean_sd,
    plot,
    summarise,
)

__all__ = [
    "CORE",
    "ELSEWHERE",
    "INJECTED",
    "MEASURES",
    "METHODS",
    "PROBLEMS",
    "SUITES",
    "Cells",
    "CleanlabClassifier",
    "Method",
    "Problem",
    "Row",
    "Split",
    "Suite",
    "Summary",
    "Table",
    "append_row",
    "behind",
    "common_seeds",
    "costs",
    "defaults",
    "describe",
    "detection",
    "environment",
    "find",
    "isolated",
    "make_split",
    "mean_sd",
    "measure",
    "out_of_fold",
    "peak_mib",
    "plot",
    "read_rows",
    "register",
    "relabelled",
    "run_benchmark",
    "settings",
    "summarise",
]
