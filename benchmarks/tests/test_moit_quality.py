"""The study of MOIT on labels that people got wrong."""

import pytest

from benchmarks.studies import moit_quality


@pytest.mark.slow
@pytest.mark.usefixtures("data_home")
def test_news_with_human_labels():
    problem = moit_quality.noisyag_news(0)
    figures = {name: make() for name, make in moit_quality.methods(problem, 0) if name not in ("ELR", "CE", "MOIT+")}
    linear = figures["logistic regression"]
    dropped = next(value for name, value in figures.items() if name.startswith("k-NN"))
    assert figures["MOIT"]["accuracy"] >= linear["accuracy"] + 0.02
    assert figures["MOIT"]["accuracy"] >= dropped["accuracy"]
