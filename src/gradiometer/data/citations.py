"""Neighborhoods in a citation network: the papers within a few citations of one, with their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gradiometer.core import BadInput, Data, DataCard, derive

from .graphs import Graph, from_graphs
from .reading import load_npz, reading

citations_card = DataCard(
    name="citations", source="an .npz with a sparse matrix x (x_data, x_indices, x_indptr, x_shape), y and edges"
)


def citations(
    path: str | Path,
    *,
    hops: int = 2,
    least: int = 5,
    most: int = 30,
    count: int = 200,
    public_share: float = 0.5,
    test_share: float = 0.0,
    seed: int = 0,
) -> Data:
    """Neighborhoods of `least` to `most` papers around papers drawn by `seed`, with a class for every paper.

    A paper's features are its words, a flag each, and its degree in the neighborhood, one-hot.

    Args:
        path: the network; pickled objects are refused.
        hops: citations away from the center at most; larger neighborhoods are left out.
        count: how many neighborhoods to draw at most.
        public_share, test_share: as in `from_arrays`.

    Raises:
        BadInput: no such file, other arrays, or no neighborhood of that size.
    """
    arrays = load_npz(path)
    with reading(Path(path), "a citation network"):
        words = _dense(arrays)
        y, edges = arrays["y"].astype(np.int64), arrays["edges"].astype(np.int64)
        if edges.ndim != 2 or edges.shape[1] != 2 or not 0 <= edges.min() <= edges.max() < len(words) == len(y):
            raise BadInput("edges, words and classes do not fit each other", fix="replace the file")
        near: list[set[int]] = [set() for _ in words]
        for i, j in edges[edges[:, 0] != edges[:, 1]].tolist():
            near[i].add(j)
            near[j].add(i)
    graphs = list[Graph]()
    for center in torch.randperm(len(words), generator=derive(seed, "neighborhoods")).tolist():
        members = _ball(near, center, hops, most)
        if len(graphs) == count:
            break
        if members is None or len(members) < least or (y[members] < 0).any():
            continue
        place = {member: i for i, member in enumerate(members)}
        pairs = [(place[i], place[j]) for i in members for j in near[i] if j in place and i < j]
        ordered = [(min(pair), max(pair)) for pair in pairs]
        degrees = torch.bincount(torch.tensor(ordered, dtype=torch.long).flatten(), minlength=len(members))
        nodes = torch.cat([words[members], torch.nn.functional.one_hot(degrees, most)], 1)
        graphs.append(Graph(nodes=nodes, edges=ordered, label=y[members].tolist()))
    blocks = (1,) * words.shape[1] + (most,)
    return from_graphs(
        graphs,
        blocks,
        degree=words.shape[1],
        most=most,
        names=[str(i) for i in range(int(y.max()) + 1)],
        card=citations_card,
        public_share=public_share,
        test_share=test_share,
        seed=seed,
    )


def _dense(arrays: dict[str, np.ndarray]) -> torch.Tensor:
    """The words [papers, words], zeros and ones."""
    from scipy.sparse import csr_matrix

    sparse = csr_matrix((arrays["x_data"], arrays["x_indices"], arrays["x_indptr"]), shape=tuple(arrays["x_shape"]))
    return torch.from_numpy((sparse.toarray() != 0).astype(np.float32))


def _ball(near: list[set[int]], center: int, hops: int, most: int) -> list[int] | None:
    """All within `hops` of the center, nearest first; None if they are more than `most`."""
    found, edge = [center], [center]
    for _ in range(hops):
        edge = sorted({j for i in edge for j in near[i]} - set(found))
        found += edge
        if len(found) > most:
            return None
    return found
