"""Molecules from SMILES: heavy atoms are nodes, bonds are edges."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from gradiometer.core import BadInput, Data, DataCard, Unsupported

from .graphs import Graph, from_graphs, one_hot
from .reading import existing, reading

ELEMENTS, CHARGES, DEGREES, HYDROGENS = 54, (-2, -1, 0, 1, 2), 7, 6
CHIRALITIES = ("CHI_UNSPECIFIED", "CHI_TETRAHEDRAL_CW", "CHI_TETRAHEDRAL_CCW")
HYBRIDIZATIONS = ("S", "SP", "SP2", "SP3", "SP3D", "SP3D2")
BLOCKS = (ELEMENTS, len(CHARGES) + 1, DEGREES, len(CHIRALITIES), HYDROGENS, 2, len(HYBRIDIZATIONS) + 1)
"""Element (up to iodine; 0 is any other), charge, degree, chirality, hydrogens, aromaticity, hybridization."""
DEGREE = 2
"""Which block is the degree."""

molecules_card = DataCard(
    name="molecules",
    source="a file of comma-separated values or of JSON lines with a column `smiles`, plain or gzipped",
)


def molecules(
    path: str | Path,
    label: str | None = None,
    *,
    smiles: str = "smiles",
    most: int = 25,
    public_share: float = 0.5,
    test_share: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Molecules of a file of your own as graphs of heavy atoms; needs the extra `graph`.

    An atom's features are one-hot blocks: element, charge, degree, chirality, hydrogens, aromaticity, hybridization. Rows
    whose SMILES cannot be read, or without a label, are left out, and so are molecules of more than `most` atoms.

    Args:
        path: comma-separated values with a header, or a JSON object a line (.jsonl), plain or gzipped.
        label: the column of the classes 0 and 1; other numbers are split at their median. None: all are of class 0.
        smiles: the column of the SMILES.
        most: heavy atoms that a molecule has at most.
        public_share, test_share, limit, seed: as in `from_arrays`.

    Raises:
        BadInput: no such file or column, or no molecule is left.
        Unsupported: RDKit is not installed.
    """
    texts, values = _rows(existing(path), smiles, label)
    whole = all(value in (0.0, 1.0) for value in values)
    middle = 0.5 if whole or not values else median(values)
    graphs = [
        graph
        for text, value in zip(texts, values)
        if (graph := molecule(text, int(value > middle), most=most)) is not None
    ]
    return from_graphs(
        graphs,
        BLOCKS,
        degree=DEGREE,
        symbols=("?", *map(_rdkit()[0].GetPeriodicTable().GetElementSymbol, range(1, ELEMENTS))),
        most=most,
        card=molecules_card,
        public_share=public_share,
        test_share=test_share,
        limit=limit,
        seed=seed,
    )


def molecule(smiles: str, label: int = 0, *, most: int | None = None) -> Graph | None:
    """The graph of a molecule's heavy atoms; None if the SMILES cannot be read or has more than `most` atoms.

    Raises:
        Unsupported: RDKit is not installed.
    """
    chemistry, logs = _rdkit()
    with logs.BlockLogs():
        found = chemistry.MolFromSmiles(smiles)
    if found is None or not found.GetNumAtoms() or (most is not None and found.GetNumAtoms() > most):
        return None
    codes = [_atom(atom) for atom in found.GetAtoms()]
    if max(code[DEGREE] for code in codes) >= DEGREES:
        return None
    edges = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in found.GetBonds()]
    return Graph(nodes=one_hot(codes, BLOCKS), edges=edges, label=label)


def _atom(atom: Any) -> list[int]:
    """The position of the 1 in each block."""
    element, charge = atom.GetAtomicNum(), atom.GetFormalCharge()
    return [
        element if element < ELEMENTS else 0,
        _position(CHARGES, charge),
        atom.GetDegree(),
        CHIRALITIES.index(chirality) if (chirality := str(atom.GetChiralTag())) in CHIRALITIES else 0,
        min(atom.GetTotalNumHs(), HYDROGENS - 1),
        int(atom.GetIsAromatic()),
        _position(HYBRIDIZATIONS, str(atom.GetHybridization())),
    ]


def _position(known: Sequence[Any], value: Any) -> int:
    """Where a value stands; unknown ones stand last."""
    return known.index(value) if value in known else len(known)


def _rows(path: Path, smiles: str, label: str | None) -> tuple[list[str], list[float]]:
    texts, values = list[str](), list[float]()
    with (
        reading(path, "a table of molecules"),
        (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as lines,
    ):
        for row in _table(path, lines):
            missing = {smiles, *([label] if label else [])} - set(row)
            if missing:
                raise BadInput(f"there is no column {sorted(missing)[0]!r}", fix=f"choose from {sorted(row)}")
            if label is None or row[label] not in ("", None):
                texts.append(row[smiles].strip())
                values.append(float(row[label]) if label else 0.0)
    return texts, values


def _table(path: Path, lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    return map(json.loads, lines) if path.name.removesuffix(".gz").endswith(".jsonl") else csv.DictReader(lines)


def _rdkit() -> tuple[Any, Any]:
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise Unsupported('molecules need the package "rdkit"', fix='pip install "gradiometer[graph]"') from error
    return Chem, rdBase
