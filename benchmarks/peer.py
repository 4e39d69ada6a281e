"""The peer `breaching` on one update, in a process of its own with its own interpreter; what was computed once can be kept."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gradiometer.core import Batch, Client


def breaching(
    python: str | None,
    client: Client,
    private: Batch,
    iterations: int,
    *options: str,
    kept: Path | None = None,
) -> dict[str, Tensor]:
    """The peer's picture `x`, its CPU `seconds`, and those `until` a threshold.

    Args:
        options: of `peer_breaching.py`.
        kept: where the answer is read from, or written to where it does not exist yet.
    """
    if kept is not None and kept.exists():
        return load_file(kept)
    if python is None:
        raise SystemExit(f"error: {kept} does not exist yet; pass --peer-python to compute it")
    field = client.layout["x"]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.safetensors", Path(folder) / "out.safetensors"
        weights = {f"model.{i:04d}": value for i, value in enumerate(client.model.state_dict().values())}
        scales = {"mean": torch.tensor(field.mean), "std": torch.tensor(field.std)}
        save_file({"x": private["x"].contiguous(), "y": private["y"], **scales, **weights}, source)
        script = str(Path(__file__).with_name("peer_breaching.py"))
        subprocess.run([python, script, str(source), str(target), str(iterations), *options], check=True)
        held = load_file(target)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file(held, kept)
    return held
