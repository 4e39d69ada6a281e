"""Updates on disk: one `.safetensors` file with a JSON header. Nothing is ever unpickled or imported by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .batch import Batch, Field
from .client import Loss, clone_model, cross_entropy, trainable
from .errors import BadInput, GradiometerError
from .recipe import Recipe
from .update import Update

FORMAT, VERSION = "gradiometer.update", 1
MOST_EXAMPLES = 2**16  # attacks allocate that many pictures before they can notice that a header lies


def save_update(update: Update, path: str | Path) -> Path:
    """Writes an update, whole or not at all. The model's weights travel with it; its code and the loss do not."""
    from safetensors.torch import save_file

    path = Path(path)
    groups: dict[str, Mapping[str, Tensor]] = {"values": update.values, "buffers": update.buffers or {}}
    groups["public"] = dict(update.public) if update.public is not None else {}
    groups["model"] = update.model.state_dict() if update.model is not None else {}
    groups["known"] = {"labels": update.labels} if update.labels is not None else {}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "sends": update.sends,
        "layout": {name: _finite(asdict(field)) for name, field in update.layout.items()},
        "recipe": asdict(update.recipe) if update.recipe is not None else None,
        "batch_size": update.batch_size,
        "clients": update.clients,
        "round": update.round,
        "wire_bytes": update.wire_bytes,
    }
    flat = {
        f"{group}/{name}": t.detach().cpu().contiguous().clone()
        for group, part in groups.items()
        for name, t in part.items()
    }
    partial = path.with_name(path.name + ".part")
    save_file(flat, partial, metadata={"gradiometer": json.dumps(header)})
    partial.replace(path)
    return path


def load_update(path: str | Path, *, model: nn.Module | None = None, loss: Loss = cross_entropy) -> Update:
    """Reads an update, trusting nothing in it.

    Args:
        model: the architecture, from code that the caller trusts; it is copied and filled with the file's weights.
        loss: the client's loss.

    Raises:
        BadInput: naming the file and the fault.
    """
    path = Path(path)
    header, groups = _read(path)
    try:
        fields = _validate(header, groups)
    except (GradiometerError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: the header is not that of an update: {_one_line(error)}", fix=_AGAIN) from error
    if not groups["values"]:
        raise BadInput(f"{path}: the file holds no update values", fix=_AGAIN)
    for name, value in groups["values"].items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise BadInput(f"{path}: values/{name} holds numbers that are not finite floats", fix=_AGAIN)
    if model is not None:
        model = _filled(path, model, groups)
    return Update(
        values=groups["values"],
        buffers=groups["buffers"] or None,
        public=fields.pop("public"),
        labels=fields.pop("labels"),
        model=model,
        loss=loss if model is not None else None,
        **fields,
    )


_AGAIN = "record the update again, or ask its sender for an undamaged copy"


def _finite(field: dict[str, Any]) -> dict[str, Any]:
    return {key: (None if isinstance(value, float) and math.isinf(value) else value) for key, value in field.items()}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _read(path: Path) -> tuple[Any, dict[str, dict[str, Tensor]]]:
    from safetensors import SafetensorError, safe_open

    groups: dict[str, dict[str, Tensor]] = {name: {} for name in ("values", "buffers", "public", "model", "known")}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = json.loads((file.metadata() or {}).get("gradiometer", "null"))
            for key in file.keys():  # noqa: SIM118 - a safetensors handle is no mapping
                group, _, name = key.partition("/")
                if group not in groups or not name:
                    raise BadInput(f"{path}: unknown entry {key!r}", fix=_AGAIN)
                groups[group][name] = file.get_tensor(key)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: there is no such file", fix="check the path") from error
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError, RecursionError) as error:
        raise BadInput(f"{path}: not a readable safetensors file: {_one_line(error)}", fix=_AGAIN) from error
    return header, groups


_HEADER = {"format", "version", "sends", "layout", "recipe", "batch_size", "clients", "round", "wire_bytes"}


def _refuse_unknown(found: Iterable[str], known: set[str], where: str) -> None:
    unknown = sorted(set(found) - known)
    if unknown:
        raise ValueError(f"unknown entry {unknown[0]!r} in {where}")


def _validate(header: Any, groups: dict[str, dict[str, Tensor]]) -> dict[str, Any]:
    from pydantic import TypeAdapter

    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f'"format" is not "{FORMAT}"')
    if header.get("version") != VERSION:
        raise ValueError(f"version {header.get('version')!r} is not the supported {VERSION}")
    _refuse_unknown(header, _HEADER, "the header")
    if header.get("sends") not in ("gradient", "delta"):
        raise ValueError('"sends" is neither "gradient" nor "delta"')
    layout: dict[str, Field] = {}
    for name, raw in dict(header["layout"]).items():
        _refuse_unknown(raw, {field.name for field in fields(Field)}, f"the layout of {name!r}")
        layout[name] = TypeAdapter(Field).validate_python({k: v for k, v in raw.items() if v is not None})
    _refuse_unknown(header["recipe"] or {}, {field.name for field in fields(Recipe)}, "the recipe")
    recipe = None if header["recipe"] is None else TypeAdapter(Recipe).validate_python(header["recipe"])
    counts = TypeAdapter(dict[str, int]).validate_python({k: header[k] for k in ("clients", "round", "wire_bytes")})
    batch_size = None if header["batch_size"] is None else TypeAdapter(int).validate_python(header["batch_size"])
    if min(counts.values()) < 0 or (batch_size is not None and batch_size < 1):
        raise ValueError("a count is negative")
    if max(batch_size or 1, recipe.examples if recipe else 1) > MOST_EXAMPLES:
        raise ValueError(f"more than {MOST_EXAMPLES} examples in one update")
    if recipe and batch_size and recipe.examples != batch_size:
        raise ValueError(f"the recipe has {recipe.examples} examples and the update {batch_size}")
    labels = groups["known"].get("labels")
    if labels is not None and (labels.is_floating_point() or labels.ndim != 1 or not labels.numel()):
        raise ValueError("the labels are no list of integers")
    public = Batch(groups["public"]) if groups["public"] else None
    if public is not None:
        for name, tensor in public.items():
            # Marks, such as properties that an attack looks for, stand beside what the layout describes.
            mark = name not in layout and tensor.ndim == 1 and not tensor.is_floating_point()
            if not mark and (name not in layout or tuple(tensor.shape[1:]) != tuple(layout[name].shape)):
                raise ValueError(f"public/{name} does not fit the layout")
    return {
        "sends": header["sends"],
        "layout": layout,
        "recipe": recipe,
        "batch_size": batch_size,
        "labels": labels,
        "public": public,
        **counts,
    }


def _filled(path: Path, model: nn.Module, groups: dict[str, dict[str, Tensor]]) -> nn.Module:
    model = clone_model(model)
    expected = {name: tuple(value.shape) for name, value in trainable(model).items()}
    found = {name: tuple(value.shape) for name, value in groups["values"].items()}
    if expected != found:
        odd = sorted(set(expected.items()) ^ set(found.items()))[:2]
        raise BadInput(
            f"{path}: the update does not belong to this model, which differs in {odd}",
            fix="pass the model that was trained",
        )
    if groups["model"]:
        try:
            model.load_state_dict(groups["model"], strict=True)
        except RuntimeError as error:
            raise BadInput(
                f"{path}: the stored weights do not fit the model: {_one_line(error)}", fix=_AGAIN
            ) from error
    return model
