"""One torch thread, a derandomized hypothesis, and the digits every behavior test starts from."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from robustlabels.noise import SymmetricNoise

torch.set_num_threads(1)
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def digits():
    """Digits split 70/30 with exactly 40 % of the training labels wrong."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X.astype(np.float32), y, test_size=0.3, random_state=0, stratify=y
    )
    noise = SymmetricNoise(0.4, random_state=0)
    y_noisy = noise.flip(y_train)
    return X_train, y_noisy, X_test, y_test, noise.flip_mask_


@pytest.fixture(scope="session")
def blobs():
    """Two hundred rows of three classes, string labels, quick to fit."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=200)
    X = (rng.normal(size=(200, 5)) + 2.5 * np.eye(3, 5)[y]).astype(np.float32)
    return X, np.array(["ant", "bee", "cat"])[y]


@pytest.fixture(scope="session")
def data_home():
    """The folder with the real data, or a skip that says how to get it."""
    folder = os.environ.get("ROBUSTLABELS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the real data sets: set ROBUSTLABELS_DATA to their folder")
    return folder


TOPICS = {
    "sport": ("match team goal coach league striker season trophy referee penalty", "won lost drew scored played"),
    "science": ("galaxy protein laser telescope gene particle fossil climate reactor virus", "measured found showed"),
    "business": ("market shares profit bank merger investor inflation tariff dividend loan", "rose fell announced"),
}
FILLERS = "the a new big last this week after again before report year people city"


@pytest.fixture
def reviews(tmp_path):
    """A CSV of 600 short texts of three topics, a fifth of whose labels are wrong; the true ones are a column too."""
    rng = np.random.default_rng(0)
    true = np.array(list(TOPICS))[rng.integers(3, size=600)]
    texts = []
    for topic in true:
        nouns, verbs = (words.split() for words in TOPICS[topic])
        stray = TOPICS[rng.choice(list(TOPICS))][0].split()  # a word of any topic
        words = [*rng.choice(nouns, 2), rng.choice(verbs), rng.choice(stray), *rng.choice(FILLERS.split(), 3)]
        texts.append(" ".join(rng.permutation(words)).capitalize() + ".")
    label = SymmetricNoise(0.2, random_state=0).flip(true)
    path = tmp_path / "reviews.csv"
    lines = (f"{text},{a},{b}" for text, a, b in zip(texts, label, true, strict=True))
    path.write_text("\n".join(["text,label,true", *lines]) + "\n")
    return path
