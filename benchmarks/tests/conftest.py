"""One torch thread, and the folder of the data sets."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_home():
    """The folder that ``ROBUSTLABELS_DATA`` names; tests of real data skip without it."""
    folder = os.environ.get("ROBUSTLABELS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ROBUSTLABELS_DATA names no folder")
    return folder
