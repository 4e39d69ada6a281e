"""Pictures of the gallery. What is not public is blurred before it is written anywhere: a report must not leak itself."""

from __future__ import annotations

import base64
import hashlib
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import Field, Guess

from .setup import Setup
from .targets import Victim
from .trials import Trial

CELLS = 6
"""A blurred picture keeps this many numbers a side and channel; they are all that is left of it."""
SIDE = 96
"""Pictures are written at most this large."""


def fingerprint(guess: Guess) -> str:
    """A hash of everything that the attack returned."""
    digest = hashlib.sha256()
    for name in sorted(guess.tensors):
        value = guess[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()[:16]


def blurs(setup: Setup, victim: Victim) -> bool:
    """Whether pictures of this client are blurred: yes, unless its data are public or the plan says `full`."""
    return setup.plan.audit.gallery != "full" and not (victim.data is not None and victim.data.card.public)


def save_pictures(
    setup: Setup, victim: Victim, trial: Trial, guess: Guess, folder: Path, matched: list[int | None]
) -> dict[str, Any]:
    """Writes the trial's guesses, and its truths beside them, to `gallery/<id>.safetensors` as bytes [n, c, h, w].

    Args:
        matched: for every true example the position of its guess, or None.

    Returns:
        The file's name and hash; nothing where there is nothing to show.
    """
    from safetensors.torch import save

    field = victim.client.layout.get("x")
    if setup.plan.audit.gallery == "none" or field is None or field.kind != "pixels" or "x" not in guess:
        return {}
    blur = blurs(setup, victim)
    found = guess["x"].detach().cpu()
    if victim.data is None:
        tensors = {"guess": as_bytes(found, field, blur=blur)}
    else:
        shown = [i for i, j in enumerate(matched) if j is not None]
        if not shown:
            return {}
        truth = victim.batch(trial.batch)["x"][shown]
        picked = found[[j for j in matched if j is not None]]
        tensors = {"guess": as_bytes(picked, field, blur=blur), "truth": as_bytes(truth, field, blur=blur)}
        tensors["example"] = torch.tensor(shown)
    path = keep_pictures(folder, trial, save(tensors, metadata={"blurred": str(blur)}))
    return {"pictures": path.name, "pictures_hash": file_hash(path), "blurred": blur}


def keep_pictures(folder: Path, trial: Trial, content: bytes) -> Path:
    """Writes a trial's pictures to `gallery/<id>.safetensors` of a run folder, completely or not at all."""
    path = folder / "gallery" / f"{trial.id}.safetensors"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    return partial.replace(path)


def file_hash(path: Path) -> str:
    """A short hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def as_bytes(pictures: Tensor, field: Field, *, blur: bool) -> Tensor:
    """Pictures as uint8, no larger than `SIDE`; blurred ones are averaged down to `CELLS` x `CELLS` and smeared out."""
    pixels = field.denormalize(pictures.float()).nan_to_num(0.5).clamp(0, 1)
    side = max(pixels.shape[-2:])
    if blur:
        small = F.adaptive_avg_pool2d(
            pixels, (min(CELLS, pixels.shape[-2] // 2 or 1), min(CELLS, pixels.shape[-1] // 2 or 1))
        )
        # Rounded first: what is smeared out below are these few coarse numbers and nothing finer.
        small = (small * 16).round() / 16
        size = [min(SIDE, s) for s in pixels.shape[-2:]]
        pixels = F.interpolate(small, size=size, mode="bilinear", align_corners=False)
    elif side > SIDE:
        pixels = F.interpolate(pixels, scale_factor=SIDE / side, mode="area", recompute_scale_factor=True)
    return (pixels * 255).round().to(torch.uint8).contiguous()


def png(picture: Tensor) -> str:
    """A picture [c, h, w] of bytes as base64 PNG; more than three channels show the first three's mean."""
    from PIL import Image

    channels = picture.shape[0]
    array = (
        picture.permute(1, 2, 0).numpy() if channels == 3 else picture.float().mean(0).round().to(torch.uint8).numpy()
    )
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


@lru_cache(maxsize=1)
def nothing() -> str:
    """What stands where there is no picture: no truth to compare with, or no guess."""
    return png(torch.full((1, 8, 8), 128, dtype=torch.uint8))
