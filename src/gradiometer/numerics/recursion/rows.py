"""The shift structure read from the input's side: a layer's input maps from its own gradient, under BatchNorm in train mode.

The slice of dL/dW at kernel offset k is S_k = Q T_k U with delta maps Q, shifts T_k and input maps U (see `shift`).
BatchNorm's backward pass makes every delta map sum to zero over the batch: Q 1 = 0, so Q loses one direction and its
column space tells nothing of single positions. The row space is that of U. With V its basis, U = F V^T and D_k = S_k V:

    D_0 D_0^+ D_k = D_k,   A_k = D_0^+ D_k = F^-1 T_k F - F^-1 1 w_k    with one unknown row w_k for every shift

so the rows f_p of F, p a position of one example, solve the homogeneous linear system

    f_p A_k + w_k = f_{p+k}    (0 where p + k leaves the map)    for all p and k.

Its solutions have as many dimensions as there are examples. The zeros of U, which stands behind a ReLU, tell the
examples apart, and that all share the same w_k fixes their sizes relative to each other.

References:
    Derived here. The zeros as a guide are from Dimitrov et al., SPEAR, 2024, arXiv:2403.03945 (fully connected layers).
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 6500
"""Unknowns above which the system takes too long."""
ZERO = 1e-3
"""Value of a ReLU's zero, relative to the size of its position, up to which a float32 client's gradient tells it."""
SHARE = 0.15
"""Of an example's entries, the least that must be zeros."""


def input_maps(
    gradient: Tensor, size: tuple[int, int], examples: int, *, rng: torch.Generator, sums: bool = True
) -> Tensor | str:
    """Input maps [examples, in, height, width] up to one scale for all and the order of examples, or why there are none.

    Args:
        gradient: [out, in, kernel, kernel] of a layer with `Layer.shifts()` behind a ReLU and below a BatchNorm.
        size: height and width of the maps.
        sums: whether delta maps sum to zero; without it, the sizes of examples relative to each other stay open.
    """
    positions = size[0] * size[1]
    rank = positions * examples
    shifts = gradient.shape[2] * gradient.shape[3] - 1
    if rank > min(gradient.shape[:2]):
        return f"{min(gradient.shape[:2])} channels are too few for {examples} examples at {positions} positions"
    if (positions + shifts) * rank > LARGEST:
        return f"{examples} examples at {positions} positions make too large a system"
    flat = gradient.transpose(0, 1).flatten(1)
    basis = torch.linalg.eigh(flat @ flat.T).eigenvectors[:, -rank:]
    system = _normal_matrix(_moves(gradient, basis, sums), size)
    system = system if sums else system[: positions * rank, : positions * rank]
    solutions = null_space(system, examples).T.reshape(examples, -1, rank)
    mixed = torch.einsum("bpr,cr->pcb", solutions[:, :positions], basis).reshape(-1, examples)
    found = _examples(mixed, rng)
    if found is None:
        return f"the zeros of the maps do not tell {examples} examples apart"
    maps = mixed @ found.T
    if sums:
        common = torch.einsum("eb,bkr->ekr", found, solutions[:, positions:]).flatten(1)
        maps = maps / (common @ torch.linalg.svd(common, full_matrices=False).Vh[0])
    maps = maps.reshape(positions, -1, examples)
    maps = maps.permute(2, 1, 0).reshape(examples, -1, *size)
    return maps * maps.sum().sign()


def _moves(gradient: Tensor, basis: Tensor, sums: bool) -> dict[tuple[int, int], Tensor]:
    """A_k of every shift (down, right) but none, [rank, rank]."""
    slices = torch.einsum("oikl,ir->klor", gradient, basis)
    down, across = gradient.shape[2] // 2, gradient.shape[3] // 2
    left, values, right = torch.linalg.svd(slices[down, across], full_matrices=False)
    rank = len(values) - sums  # where Q 1 = 0 the last direction is the client's rounding
    inverse = (right[:rank].T / values[:rank]) @ left[:, :rank].T
    steps = [(y - down, x - across) for y in range(gradient.shape[2]) for x in range(gradient.shape[3])]
    return {(y, x): inverse @ slices[y + down, x + across] for y, x in steps if (y, x) != (0, 0)}


def _normal_matrix(moves: dict[tuple[int, int], Tensor], size: tuple[int, int]) -> Tensor:
    """Of the system, over the unknowns (f of all positions, w of all shifts), both as columns."""
    height, width = size
    count = height * width
    (rank, _), dtype = next(iter(moves.values())).shape, next(iter(moves.values())).dtype
    unit = torch.eye(rank, dtype=dtype)
    blocks = torch.zeros(count + len(moves), count + len(moves), rank, rank, dtype=dtype)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    everywhere = torch.arange(count)
    own = torch.stack([move @ move.T for move in moves.values()]).sum(0)
    blocks[everywhere, everywhere] += own
    for w, ((down, right), move) in enumerate(moves.items(), start=count):
        inside = ((y + down >= 0) & (y + down < height) & (x + right >= 0) & (x + right < width)).flatten()
        here = everywhere[inside]
        there = here + down * width + right
        blocks[here, there] -= move
        blocks[there, here] -= move.T
        blocks[there, there] += unit
        blocks[everywhere, w] += move
        blocks[w, everywhere] += move.T
        blocks[there, w] -= unit
        blocks[w, there] -= unit
        blocks[w, w] += count * unit
    return blocks.transpose(1, 2).reshape(len(blocks) * rank, -1)


def null_space(normal: Tensor, dimensions: int, *, iterations: int = 8) -> Tensor:
    """Eigenvectors [unknowns, dimensions] of the smallest eigenvalues of a normal matrix, by inverse iteration."""
    shift = 1e-12 * normal.diagonal().mean()
    factor = torch.linalg.cholesky(normal + shift * torch.eye(len(normal), dtype=normal.dtype))
    rng = torch.Generator().manual_seed(0)
    vectors = torch.randn(len(normal), dimensions, generator=rng, dtype=normal.dtype)
    for _ in range(iterations):
        vectors = torch.linalg.qr(torch.cholesky_solve(vectors, factor)).Q
    return vectors


def _examples(mixed: Tensor, rng: torch.Generator, *, tries: int = 400) -> Tensor | None:
    """Directions [examples, examples] in which many rows vanish: each leaves one example's values, and its zeros.

    Args:
        mixed: [rows, examples].
        tries: sets of 1000 samples; a sample are examples - 1 rows, and often all are zeros of one example.
    """
    count = mixed.shape[1]
    triangle = torch.linalg.cholesky(mixed.T @ mixed / len(mixed))
    rows = torch.linalg.solve_triangular(triangle, mixed.T, upper=False).T
    size = rows.norm(dim=1, keepdim=True)
    rows = (rows / size)[size[:, 0] > ZERO * size.max()]
    if count == 1:
        return triangle.inverse()
    found: list[Tensor] = []
    for _ in range(tries):
        drawn = rows[torch.randint(len(rows), (1000, count - 1), generator=rng)]
        candidates = torch.linalg.svd(drawn).Vh[:, -1]
        few = rows[torch.randint(len(rows), (400,), generator=rng)]
        for c in candidates[((few @ candidates.T).abs() < ZERO).double().mean(0) > SHARE]:
            zeros = rows[(rows @ c).abs() < ZERO]
            values, vectors = torch.linalg.eigh(zeros.T @ zeros / len(zeros))
            # Where two examples vanish together, a mixture of them vanishes as well: two small values.
            if values[1] < 0.2 / count or len(zeros) < SHARE * len(rows):
                continue
            if all(float((vectors[:, 0] @ other).abs()) < 0.999 for other in found):
                found.append(vectors[:, 0])
            if len(found) == count:
                return torch.linalg.solve_triangular(triangle.T, torch.stack(found).T, upper=True).T
    return None
