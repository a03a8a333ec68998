"""MOIT's parts against the shapes the authors' code gives them, and its epoch against cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from benchmarks.speed.harness import Ratio, benchmark, compare
from benchmarks.speed.nets import PlainCNN
from benchmarks.speed.training import classifier, epochs_of, has_bfloat16, noise, seeded
from robustlabels import CrossEntropyClassifier, MOITClassifier
from robustlabels.maths.functional import count_votes, most_votes, nearest_neighbors, two_pass_votes
from robustlabels.methods.moit import interpolated_contrastive_loss


@benchmark
def votes(quick: bool) -> Iterator[Ratio]:
    """Two-pass vote of 250 neighbors, against two searches with one-hot labels; brute-force search beside it."""
    n, d, k, n_classes = (2_000 if quick else 10_000), 128, 250, 10
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(n_classes, (n,), generator=generator)
    centers = torch.randn(n_classes, d, generator=generator)
    z = F.normalize(1.5 * centers[y] + 4 * torch.randn(n, d, generator=generator), dim=1)

    def two_searches() -> Tensor:
        labels = y
        for _ in range(2):
            counts = []
            for start in range(0, n, 100):
                similarity = z[start : start + 100] @ z.T
                own = torch.arange(len(similarity))
                similarity[own, start + own] = -1
                _, found = similarity.topk(k, dim=1)
                weight = torch.ones(found.shape)
                one_hot = torch.zeros(found.numel(), n_classes).scatter_(1, labels[found].view(-1, 1), 1)
                counts.append((one_hot.view(*found.shape, n_classes) * weight[:, :, None]).sum(1))
            labels = most_votes(torch.cat(counts))
        return torch.cat(counts).int()

    def ours(backend: str) -> Tensor:
        return two_pass_votes(nearest_neighbors(z, k, backend=backend), y, n_classes)[1]

    def scikit_learn() -> Tensor:
        index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(z.numpy())
        found = torch.from_numpy(index.kneighbors(return_distance=False))
        return count_votes(found, most_votes(count_votes(found, y, n_classes)), n_classes)

    expected = two_searches()
    how = {"rounds": 3 if quick else 5, "budget": 30}
    for backend, target, equal in (("exact", 1.5, 1.0), ("bf16", 2.5, 0.995), ("faiss", 2.5, 0.995)):
        if backend == "bf16" and not has_bfloat16():
            continue
        share = (most_votes(ours(backend)) == most_votes(expected)).float().mean().item()
        assert share >= equal - 1e-3 * (equal == 1.0), f"{backend}: only {share:.4f} of the votes are equal"
        case = f"{backend}, {n:,} rows, {share:.2%} equal votes"
        yield compare(case, ("two searches", two_searches), (backend, lambda b=backend: ours(b)), speedup=target, **how)
    yield compare("scikit-learn's search", ("scikit-learn", scikit_learn), ("exact", lambda: ours("exact")), **how)


@benchmark
def contrastive(quick: bool) -> Iterator[Ratio]:
    """Interpolated contrastive loss by class sums, against masks of pairs: batch of 128 x 2 views, bank of 2000."""
    b, m, d, n_classes, tau = 128, 2_000, 128, 10, 0.1
    generator = torch.Generator().manual_seed(0)
    z = F.normalize(torch.randn(2 * b, d, generator=generator), dim=1).requires_grad_()
    bank = F.normalize(torch.randn(m, d, generator=generator), dim=1)
    y, bank_y = (torch.randint(n_classes, (size,), generator=generator) for size in (b, m))
    partner = torch.randperm(b, generator=generator), torch.randperm(b, generator=generator)
    lam, offset = (0.8, 0.6), m - 2 * b
    bank[offset:], bank_y[offset:] = z.detach(), torch.cat([y, y])
    share = torch.cat([torch.full((b,), v) for v in lam])
    minor = torch.cat(partner)

    def masked(candidates: Tensor, candidate_y: Tensor, start: int) -> Tensor:
        s = z @ candidates.T / tau
        here = torch.arange(2 * b)
        allowed = torch.ones_like(s)
        allowed[here, start + here] = 0
        log_p = s - torch.log((s.exp() * allowed).sum(1, keepdim=True))
        dominant = allowed * (torch.cat([y, y])[:, None] == candidate_y).float()
        minority = (y[minor][:, None] == candidate_y).float()
        minority[here, start + minor] += 1
        minority[here, start + minor + b] += 1
        minority = minority * allowed
        first, second = ((w * log_p).sum(1) / w.sum(1) for w in (dominant, minority))
        return -(share * first + (1 - share) * second).mean()

    def by_masks() -> Tensor:
        z.grad = None
        loss = masked(z, torch.cat([y, y]), 0) + masked(bank, bank_y, offset)
        loss.backward()
        return loss.detach()

    def by_sums() -> Tensor:
        z.grad = None
        loss = interpolated_contrastive_loss(z, y, n_classes, lam, partner)
        loss = loss + interpolated_contrastive_loss(
            z, y, n_classes, lam, partner, bank=bank, bank_y=bank_y, offset=offset
        )
        loss.backward()
        return loss.detach()

    values = [(make(), z.grad.clone()) for make in (by_masks, by_sums)]
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-5)
    yield compare(
        "value and gradient", ("masks", by_masks), ("sums", by_sums), speedup=3, rounds=5 if quick else 31, budget=20
    )


@benchmark
def moit(quick: bool) -> Iterator[Ratio]:
    """An epoch of MOIT with label correction and vote, against one of cross-entropy, on the same augmented images."""
    x, y = noise(1_000 if quick else 4_000, 1, 28, 28)
    x = x.astype(np.float32)
    dtype = "bfloat16" if has_bfloat16() else "float32"
    module = seeded(PlainCNN)
    how = {"precision": dtype, "augment": "strong"}
    base = classifier(CrossEntropyClassifier, module, **how)
    other = classifier(MOITClassifier, module, correction_start=0, memory_start=0, memory_size=2_000, **how)
    yield compare(
        f"PlainCNN, {dtype}",
        ("cross-entropy", epochs_of(base, x, y)),
        ("MOIT", epochs_of(other, x, y)),
        overhead=3.5,
        rounds=3 if quick else 7,
        budget=60,
    )
