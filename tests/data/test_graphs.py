"""Graph data: packing, valences, molecules from SMILES, neighborhoods of citations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gradiometer.core import BadConfig, BadInput
from gradiometer.data import Graph, citations, from_graphs, grown
from gradiometer.data.graphs import one_hot


def test_grown_molecules_keep_their_valences_and_fit_their_layout() -> None:
    data = grown(9, count=60)
    blocks = data.layout["nodes"].blocks
    for batch in (data.private, data.public, data.test):
        assert batch is not None
        mask = batch["mask"].bool()
        element, degree, hydrogens = (part.argmax(2) for part in batch["nodes"].split(blocks, 2))
        assert torch.equal(degree[mask], batch["adjacency"].sum(2)[mask].long())
        valence = torch.tensor([4, 3, 2, 2, 1])[element]
        assert bool((degree + hydrogens <= valence)[mask].all())
        assert torch.equal(batch["adjacency"], batch["adjacency"].transpose(1, 2))
        assert not batch["nodes"][~mask].any()
    assert torch.equal(grown(9, count=60).private["nodes"], data.private["nodes"])


def test_graphs_that_do_not_fit_are_refused() -> None:
    nodes = one_hot([(0, 1), (1, 1)], (2, 2))
    good = Graph(nodes=nodes, edges=[(0, 1)])
    with pytest.raises(BadInput, match="edge"):
        from_graphs([Graph(nodes=nodes, edges=[(0, 2)])], (2, 2), test_share=0.0, public_share=0.0)
    with pytest.raises(BadInput, match="block"):
        from_graphs([Graph(nodes=nodes * 0, edges=[])], (2, 2), test_share=0.0, public_share=0.0)
    with pytest.raises(BadInput, match="at most 1"):
        from_graphs([good], (2, 2), most=1)
    with pytest.raises(BadConfig):
        from_graphs([good], (2, 2), most=0, public_share=1.0)


def test_neighborhoods_hold_all_within_two_citations(tmp_path: Path) -> None:
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6]])
    arrays = {"x_data": np.ones(7), "x_indices": np.arange(7), "x_indptr": np.arange(8), "x_shape": np.array([7, 7])}
    np.savez(tmp_path / "path.npz", edges=edges, y=np.arange(7) % 3, **arrays)
    data = citations(tmp_path / "path.npz", least=3, most=5, public_share=0.0)
    assert data.private.size == 7
    sizes = sorted(data.private["mask"].sum(1).tolist())
    assert sizes == [3, 3, 4, 4, 5, 5, 5]
    degree = data.private["nodes"][:, :, 7:].argmax(2)
    assert torch.equal(degree * data.private["mask"], data.private["adjacency"].sum(2).long())
    assert data.layout["nodes"].shape[1] == 7 + 5
    np.savez(tmp_path / "bad.npz", edges=edges + 3, y=np.arange(7), **arrays)
    with pytest.raises(BadInput, match=r"bad\.npz"):
        citations(tmp_path / "bad.npz")


def test_molecules_come_from_smiles(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    from gradiometer.data import molecule, molecules

    graph = molecule("OCC(=O)[O-]")
    assert graph is not None
    assert len(graph.nodes) == 5
    assert len(graph.edges) == 4
    element, charge = graph.nodes[:, :54].argmax(1).tolist(), graph.nodes[:, 54:60].argmax(1).tolist()
    assert element == [8, 6, 6, 8, 8]
    assert charge == [2, 2, 2, 2, 1]
    assert molecule("no molecule") is None
    path = tmp_path / "some.csv"
    path.write_text("smiles,score\nCCO,1.5\nCC(C)O,2.5\nc1ccccc1,\nC1CC1,3.5\nnonsense,1\n")
    data = molecules(path, "score", public_share=0.0, test_share=0.0)
    assert sorted(data.private["mask"].sum(1).tolist()) == [3, 3, 4]
    assert sorted(data.private["y"].tolist()) == [0, 1, 1]
    with pytest.raises(BadInput, match="no column 'label'"):
        molecules(path, "label")
