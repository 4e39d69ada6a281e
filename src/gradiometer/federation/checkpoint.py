"""Checkpoints: one `.safetensors` file with a JSON header, replaced whole. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gradiometer.core import BadConfig, BadInput, GradiometerError, clone_model

from .checking import check_alike
from .federation import Federation
from .measuring import Accuracy
from .packing import pack, unpack
from .rounds import Round, State

FORMAT, VERSION = "gradiometer.checkpoint", 1
_AGAIN = "delete the file to train from the start"


def save_checkpoint(state: State, path: str | Path, *, identity: str) -> Path:
    """Writes a state, whole or not at all.

    Args:
        identity: of plan and data; only the same training is continued.

    Raises:
        Unsupported: a defense remembers something that is neither a tensor nor plain data.
    """
    from dataclasses import asdict

    from safetensors.torch import save_file

    path = Path(path)
    flat: dict[str, Tensor] = {f"model/{name}": value for name, value in state.model.state_dict().items()}
    flat |= {f"moments/{kind}/{k}": v for kind, group in state.moments.items() for k, v in group.items()}
    kept: list[Tensor] = []
    header = {
        "format": FORMAT,
        "version": VERSION,
        "identity": identity,
        "first": asdict(state.first),
        "rounds": [asdict(one) for one in state.rounds],
        "memories": [pack(memory, kept) for memory in state.memories],
    }
    flat |= {f"memory/{i}": tensor for i, tensor in enumerate(kept)}
    partial = path.with_name(path.name + ".part")
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in flat.items()}
    save_file(whole, partial, metadata={"gradiometer": json.dumps(header)})
    partial.replace(path)
    return path


def load_checkpoint(path: str | Path, federation: Federation, *, identity: str) -> State:
    """Reads the state of this federation, trusting nothing in the file.

    Raises:
        BadConfig: it is the state of another training.
        BadInput: the file is damaged.
    """
    from pydantic import TypeAdapter

    path = Path(path)
    header, tensors = _read(path)
    if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise BadInput(f"{path}: not a checkpoint of version {VERSION}", fix=_AGAIN)
    if header.get("identity") != identity:
        raise BadConfig(f"{path}: the checkpoint of another training", fix="name a new folder, or delete this one")
    model = federation.defense.on_model(clone_model(federation.client.model))
    try:
        stored = _under(tensors, "model/")
        check_alike(stored, model.state_dict(), str(path))
        model.load_state_dict(stored)
        remembered = _under(tensors, "memory/")
        memories = tuple(unpack(memory, remembered) for memory in header["memories"])
        moments: dict[str, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "moments/").items():
            kind, _, parameter = name.partition("/")
            moments.setdefault(kind, {})[parameter] = tensor
        first = TypeAdapter(Accuracy).validate_python(header["first"])
        rounds = TypeAdapter(tuple[Round, ...]).validate_python(header["rounds"])
        if len(memories) != len(federation.members) or [one.number for one in rounds] != list(range(len(rounds))):
            raise ValueError("members or rounds are missing")
    except (GradiometerError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: a damaged checkpoint: {' '.join(str(error).split())[:200]}", fix=_AGAIN) from error
    return State(model=model, first=first, moments=moments, memories=memories, rounds=rounds)


def _read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {}).get("gradiometer", "null"))
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{path}: not a readable checkpoint: {' '.join(str(error).split())[:200]}", fix=_AGAIN
        ) from error


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
