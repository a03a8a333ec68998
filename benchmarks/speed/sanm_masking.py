"""SANM's operator against the authors' loop over images, and its share of a training step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Ratio, benchmark, compare
from benchmarks.speed.nets import PlainCNN
from benchmarks.speed.training import SGD, classifier, noise, seeded
from robustlabels import CrossEntropyClassifier, SANMClassifier
from robustlabels.methods.sanm_masking import adversarial_mask


def stretched(a: np.ndarray, m: int) -> np.ndarray:
    """The rows of an array, linearly interpolated to m of them between half-pixel centers."""
    n = len(a)
    place = ((np.arange(m) + 0.5) * (n / m) - 0.5).clip(0, n - 1)
    low = place.astype(int)
    share = (place - low).astype(np.float32)[:, None]
    return a[low] * (1 - share) + a[np.minimum(low + 1, n - 1)] * share


def nine_steps(
    x: Tensor, look: Tensor, quality: Tensor, target: Tensor, u: Tensor, ratios: tuple[float, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """The authors' function on a batch, by a loop over images; ``u`` (b, 2 + 2c) is their stream of random numbers."""
    lo, hi, gamma = ratios
    x_max, x_min, targets = x.clone(), x.clone(), target.clone()
    b, c, h, w = x.shape
    for i in range(b):
        draws = iter(u[i].tolist())
        energy = look[i].square().sum(0)  # step 1
        energy = energy / energy.norm()
        a = stretched(stretched(energy.numpy(), h).T, w).T  # step 2
        a = (255 * ((a - a.min()) / (a.max() - a.min() + 1e-12))).astype(np.uint8)  # step 3
        places = [np.unravel_index(a.argmax(), a.shape), np.unravel_index(a.argmin(), a.shape)]  # step 4
        rho = lo + (hi - lo) * next(draws) + gamma * (1 - quality[i].item())  # step 5
        k = target[i].argmax().item()  # step 6
        for j in range(target.shape[1]):
            targets[i, j] += -rho if j == k else rho / (target.shape[1] - 1)
        area, aspect = 0.5 * rho * h * w, 0.8 + (1.25 - 0.8) * next(draws)  # step 7
        hh, ww = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        hh, ww = min(max(hh, 1), h - 1), min(max(ww, 1), w - 1)  # the code tries again instead; never needed at 32x32
        for view, (row, column) in zip((x_max, x_min), places, strict=True):
            row, column = min(row, h - hh), min(column, w - ww)  # step 8
            for channel in range(c):  # step 9
                view[i, channel, row : row + hh, column : column + ww] = next(draws)
    return x_max, x_min, targets


def hoisted(
    x: Tensor, look: Tensor, quality: Tensor, target: Tensor, u: Tensor, ratios: tuple[float, float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """The same loop with everything taken out of it that can be, on numpy arrays and Python numbers."""
    lo, hi, gamma = ratios
    x_max, x_min, targets = x.clone(), x.clone(), target.clone()
    _, c, h, w = x.shape
    energy = look.square().sum(1)
    energy = (energy / energy.flatten(1).norm(dim=1)[:, None, None]).numpy()
    up, across = (stretched(np.eye(n, dtype=np.float32), m) for n, m in zip(energy.shape[1:], (h, w), strict=True))
    others = zip(u.tolist(), quality.tolist(), target.argmax(1).tolist(), strict=True)
    for i, ((first, second, *fills), q, k) in enumerate(others):
        a = up @ energy[i] @ across.T
        a = (255 * ((a - a.min()) / (a.max() - a.min() + 1e-12))).astype(np.uint8)
        rho = lo + (hi - lo) * first + gamma * (1 - q)
        targets[i] += rho / (target.shape[1] - 1)
        targets[i, k] = target[i, k] - rho
        area, aspect = 0.5 * rho * h * w, 0.8 + 0.45 * second
        hh, ww = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        for number, (view, place) in enumerate(((x_max, a.argmax()), (x_min, a.argmin()))):
            row, column = min(place // w, h - hh), min(place % w, w - ww)
            for channel in range(c):
                view[i, channel, row : row + hh, column : column + ww] = fills[number * c + channel]
    return x_max, x_min, targets


@benchmark
def mask(quick: bool) -> Iterator[Ratio]:
    """SANM's operator on 128 images, against loops over images and a training step; its epoch beside the host's."""
    b, generator = 128, torch.Generator().manual_seed(0)
    target, quality = torch.eye(10)[torch.randint(10, (b,), generator=generator)], torch.rand(b, generator=generator)
    for case, image, features in (
        ("32x32x3, map 64x10x10", (3, 32, 32), (64, 10, 10)),
        ("32x32x3, map 512x4x4", (3, 32, 32), (512, 4, 4)),
    ):
        x = torch.rand(b, *image, generator=generator)
        look = torch.randn(b, *features, generator=generator).relu()

        def loop(form: Callable = nine_steps, x: Tensor = x, look: Tensor = look) -> tuple[Tensor, ...]:
            u = torch.rand(b, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            return form(x, look, quality, target, u, (0.02, 0.07, 0.03))

        def operator(x: Tensor = x, look: Tensor = look) -> tuple[Tensor, ...]:
            draws = torch.Generator().manual_seed(1)
            out = adversarial_mask(
                x, look, target, quality, generator=draws, mask_anchor="topleft", keep_top_class=False
            )
            return *out.views, out.target

        for one, other in zip(operator(), loop(), strict=True):
            assert torch.equal(one, other), "the operator is not the nine steps"
        same = [(one == other).flatten(1).all(1) for one, other in zip(operator(), loop(hoisted), strict=True)]
        assert torch.cat(same).float().mean() > 0.98, "more than rounding in the last place decides over the patches"
        how = {"rounds": 3 if quick else 31, "budget": 20}
        yield compare(case, ("nine steps an image", loop), ("operator", operator), speedup=8, **how)
        yield compare(case, ("tuned loop", lambda loop=loop: loop(hoisted)), ("operator", operator), **how)

    images, labels = (torch.from_numpy(a) for a in noise(b, 1, 28, 28))
    module = seeded(PlainCNN)
    optimizer = torch.optim.SGD(module.parameters(), **SGD, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(module(images), labels).backward()
        optimizer.step()

    yield compare(
        "32x32x3, beside a step of PlainCNN on 28x28x1",
        ("step", step),
        ("operator", operator),
        overhead=0.10,
        **how,
    )
    x, y = noise(1_000 if quick else 2_000, 1, 28, 28)
    host = classifier(CrossEntropyClassifier, seeded(PlainCNN))
    plug = SANMClassifier(classifier(CrossEntropyClassifier, seeded(PlainCNN)), warmup=0)

    yield compare(
        "fit of one epoch, PlainCNN, float32",
        ("SANM", lambda: plug.fit(x, y)),
        ("cross-entropy", lambda: host.fit(x, y)),
        rounds=3 if quick else 5,
        budget=40,
    )
