"""Generators on disk: one `.safetensors` file with a card, or known `.npz` weights. Nothing is ever unpickled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradiometer.core import BadInput, GradiometerError

from .generator import Generator, GeneratorCard

FORMAT, VERSION = "gradiometer.generator", 1
LARGEST = 2**30
"""Bytes. Generators that an attack can differentiate are far smaller."""
PRINTS = "prints"


def save_generator(generator: Generator, path: str | Path) -> Path:
    """Writes weights, card and fingerprints of the training pictures, whole or not at all."""
    from safetensors.torch import save_file

    path = Path(path)
    flat = {f"blocks/{name}": t.detach().cpu().contiguous() for name, t in generator.blocks.state_dict().items()}
    if generator.prints is not None:
        flat[PRINTS] = generator.prints
    header = {"format": FORMAT, "version": VERSION, "card": asdict(generator.card)}
    partial = path.with_name(path.name + ".part")
    try:
        save_file(flat, partial, metadata={"gradiometer": json.dumps(header)})
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error}", fix="choose another place") from error
    return path


def load_generator(path: str | Path) -> Generator:
    """Reads a generator, trusting nothing in the file.

    A `.npz` file holds the weights of a perceptron: of a generator (`0.weight`, `2.weight`, ... with tanh at the end), or of a
    variational autoencoder whose decoder is `fc3`, `fc4` (sigmoid). Its card says no more than that.

    Raises:
        BadInput: naming the file and the fault.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: there is no such generator", fix="train one with `gradiometer prior train`") from error
    if size > LARGEST:
        raise BadInput(f"{path} weighs {size / 2**30:.1f} GiB; generators here weigh less than 1 GiB")
    card, weights, prints = _archive(path) if path.suffix == ".npz" else _safetensors(path)
    try:
        blocks = card.build()
        _check_sizes(blocks.state_dict(), weights)
        blocks.load_state_dict(weights, strict=True)
    except (GradiometerError, RuntimeError, ValueError, TypeError) as error:
        raise BadInput(f"{path}: weights and card do not belong together: {_line(error)}", fix=_AGAIN) from error
    return Generator(card=card, blocks=blocks, prints=prints)


_AGAIN = "train it again, or ask for an undamaged copy"


def _safetensors(path: Path) -> tuple[GeneratorCard, dict[str, Tensor], Tensor | None]:
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {}).get("gradiometer", "null"))
            for key in file.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                tensors[key] = file.get_tensor(key)
        card = _card(header)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError, RecursionError) as error:
        raise BadInput(f"{path} is not a readable generator: {_line(error)}", fix=_AGAIN) from error
    prints = tensors.pop(PRINTS, None)
    odd = next((key for key in tensors if not key.startswith("blocks/")), None)
    if odd is not None or (prints is not None and (prints.dtype != torch.int64 or prints.ndim != 1)):
        raise BadInput(f"{path}: entry {odd or PRINTS!r} belongs to no generator", fix=_AGAIN)
    return card, {key.removeprefix("blocks/"): value for key, value in tensors.items()}, prints


def _card(header: Any) -> GeneratorCard:
    from pydantic import TypeAdapter

    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ValueError(f'"format" and "version" are not "{FORMAT}" and {VERSION}')
    raw = header["card"]
    unknown = sorted({*raw} - {field.name for field in fields(GeneratorCard)})
    if unknown:
        raise ValueError(f"unknown entry {unknown[0]!r} in the card")
    return TypeAdapter(GeneratorCard).validate_python(raw)


def _archive(path: Path) -> tuple[GeneratorCard, dict[str, Tensor], Tensor | None]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except Exception as error:  # parsers of foreign bytes raise a dozen kinds
        raise BadInput(f"{path} cannot be read as an .npz archive: {_line(error)}", fix=_AGAIN) from error
    names = ["fc3", "fc4"] if "fc3.weight" in held else [str(i) for i in range(0, len(held), 2)]
    layers = [(f"{name}.weight", f"{name}.bias") for name in names]
    if not layers or any(name not in held or held[name].ndim < 1 for layer in layers for name in layer):
        raise BadInput(f"{path} holds no layers {', '.join(names)}, only {', '.join(held) or 'nothing'}", fix=_AGAIN)
    side = math.isqrt(held[layers[-1][1]].numel())
    first, *others = (held[weight].shape[-1] for weight, _ in layers)
    card = GeneratorCard(
        architecture="perceptron",
        shape=(1, side, side),
        latent=first,
        widths=tuple(others),
        output="sigmoid" if names[0] == "fc3" else "tanh",
        method="vae" if names[0] == "fc3" else "gan",
        data=path.stem,
        split="unknown: the file has no card",
    )
    renamed = {
        f"{i}.0.{kind}": held[name] for i, layer in enumerate(layers) for kind, name in zip(("weight", "bias"), layer)
    }
    return card, renamed, None


def _check_sizes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name, value in found.items():
        if name in expected and expected[name].shape != value.shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)} where {tuple(expected[name].shape)} is due")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name} holds numbers that are not finite")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
