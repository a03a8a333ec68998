"""Single functions against what one would write or call instead."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.speed.harness import Ratio, Skip, benchmark, compare
from robustlabels.augment import Compose, HorizontalFlip, RandomCrop
from robustlabels.maths.functional import fit_two_component_mixture
from robustlabels.methods.elr import TargetMemory


@benchmark
def mixture(quick: bool) -> Iterator[Ratio]:
    """Fit of a two-component mixture and its posteriors, against scikit-learn's GaussianMixture at equal settings."""
    settings = {"max_iter": 10, "tol": 1e-2, "reg_covar": 5e-4}
    for n in (5_000,) if quick else (50_000, 500_000):
        rng = np.random.default_rng(0)
        losses = np.concatenate([rng.exponential(0.3, n * 6 // 10), rng.gamma(6.0, 0.5, n * 4 // 10)])
        x = ((losses - losses.min()) / np.ptp(losses)).astype(np.float32)
        t = torch.from_numpy(x)

        def library(x: np.ndarray = x, **start: np.ndarray) -> np.ndarray:
            model = GaussianMixture(2, random_state=0, **settings, **start).fit(x[:, None])
            return model.predict_proba(x[:, None])[:, model.means_.argmin()]

        def ours(t: Tensor = t) -> np.ndarray:
            return fit_two_component_mixture(t, **settings).posterior(t).numpy()

        w, m, v = (np.array(c, np.float32) for c in fit_two_component_mixture(t, **{**settings, "max_iter": 0})[:3])
        same = library(weights_init=w, means_init=m[:, None], precisions_init=1 / v[:, None, None])
        clean = ours() > 0.5
        assert (clean == (same > 0.5)).mean() > 1 - 2e-5, "decisions differ from scikit-learn's with the same start"
        assert (clean == (library() > 0.5)).mean() > 1 - 2e-3, "decisions differ from scikit-learn's with its own start"
        rounds = 3 if quick else 11
        yield compare(f"{n:,} losses", ("scikit-learn", library), ("histogram", ours), speedup=40, rounds=rounds)


@benchmark
def augment(quick: bool) -> Iterator[Ratio]:
    """Crop and mirror of whole batches, against Pillow image by image; uint8 images in, float32 batches of 128 out."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise Skip("needs pillow") from error

    n, size, padding, batch_size = 512, 32, 4, 128
    images = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    views = Compose([RandomCrop(padding), HorizontalFlip()])

    def view(array: np.ndarray, top: int, left: int, mirror: bool) -> np.ndarray:
        image = ImageOps.expand(Image.fromarray(array), border=padding)
        image = image.crop((left, top, left + size, top + size))
        image = ImageOps.mirror(image) if mirror else image
        return (np.asarray(image, dtype=np.float32) / 255).transpose(2, 0, 1)

    class Items(Dataset):
        def __len__(self) -> int:
            return n

        def __getitem__(self, i: int) -> Tensor:
            shift = random.randint(0, 2 * padding), random.randint(0, 2 * padding)
            return torch.from_numpy(view(images[i], *shift, mirror=random.random() < 0.5))

    def loop(index: Tensor, generator: torch.Generator | None = None) -> np.ndarray:
        offsets = torch.randint(0, 2 * padding + 1, (2, len(index)), generator=generator).T.tolist()
        mirrored = (torch.rand(len(index), generator=generator) < 0.5).tolist()
        zipped = zip(index.tolist(), offsets, mirrored, strict=True)
        return np.stack([view(images[i], top, left, mirror) for i, (top, left), mirror in zipped])

    def at_once(index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return views(x.index_select(0, index).float().div_(255), generator=generator)

    draws = (torch.Generator().manual_seed(0) for _ in range(2))
    np.testing.assert_allclose(*(make(torch.arange(n), next(draws)) for make in (loop, at_once)), rtol=1e-6)

    def epoch(make: Callable[[Tensor], Any]) -> Callable[[], None]:
        return lambda: [make(index) for index in torch.randperm(n).split(batch_size)] and None

    loader = DataLoader(Items(), batch_size=batch_size, shuffle=True)
    how = {"rounds": 5 if quick else 31, "budget": 30.0}
    yield compare("DataLoader", ("Pillow", lambda: list(loader)), ("batch", epoch(at_once)), speedup=10, **how)
    yield compare("Pillow alone, no Dataset", ("Pillow", epoch(loop)), ("batch", epoch(at_once)), **how)


@benchmark
def elr_state(quick: bool) -> Iterator[Ratio]:
    """Update of ELR's targets by a batch of 128, against rows looked up through a Python list."""
    n, b, beta, steps = (2_000 if quick else 50_000), 128, 0.7, 20 if quick else 200
    for n_classes, target in (10, 4), (100, 4), (1000, 2):
        generator = torch.Generator().manual_seed(0)
        batches = [torch.randperm(n, generator=generator)[:b] for _ in range(steps)]
        p = torch.rand(b, n_classes, generator=generator).softmax(1)
        listed = torch.zeros(n, n_classes)
        memory = TargetMemory(n, n_classes, beta)

        def by_list(listed: Tensor = listed, batches: list[Tensor] = batches, p: Tensor = p) -> None:
            for index in batches:
                rows = index.numpy().tolist()
                listed[rows] = beta * listed[rows] + (1 - beta) * p
                listed[rows]  # the target the loss takes

        def ours(memory: TargetMemory = memory, batches: list[Tensor] = batches, p: Tensor = p) -> None:
            for index in batches:
                memory.update(index, p)

        by_list()
        ours()
        torch.testing.assert_close(memory.read(torch.arange(n)), listed)
        yield compare(
            f"{n_classes} classes",
            ("list", by_list),
            ("memory", ours),
            speedup=target,
            rounds=3 if quick else 21,
            budget=15,
        )
