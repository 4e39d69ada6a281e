"""The generator that an attack names: read from its file, or trained on the public data that the threat grants."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from gradiometer.core import NotApplicable, Update
from gradiometer.numerics.generators import Generator, load_generator, train_vae
from gradiometer.numerics.generators.generator import as_pixels

PUBLIC = "public"
LATENT, WIDTH, STEPS, MOST = 32, 8, 400, 10_000
"""Of the decoder that is trained on public data: seconds on small pictures."""


def generator_for(name: str, update: Update, like: Tensor) -> Generator:
    """The generator, in the type and on the device of `like`.

    Raises:
        BadInput: the file is damaged, or there is none.
        MissingKnowledge: `public`, and the threat grants no public data.
        NotApplicable: it makes pictures of another shape.
    """
    layout = update.layout["x"]
    if name == PUBLIC:
        pictures = as_pixels(update.need("public")["x"][:MOST].detach().cpu(), layout)
        found = _learned(_Pictures(pictures, hashlib.sha256(pictures.contiguous().numpy().tobytes()).hexdigest()))
    else:
        path = Path(name).expanduser()
        found = _loaded(path, path.stat().st_mtime_ns if path.exists() else 0)
    if found.card.shape != layout.shape:
        raise NotApplicable(
            f"the generator {name} makes pictures of shape {found.card.shape}, and the client's have {layout.shape}",
            fix='train one for these pictures with `gradiometer prior train`, or set generator = "public"',
        )
    return found.like(like)


@dataclass(frozen=True)
class _Pictures:
    """Pictures with their hash, by which they are told apart."""

    x: Tensor = field(compare=False)
    digest: str


@lru_cache(maxsize=4)
def _learned(pictures: _Pictures) -> Generator:
    made = train_vae(pictures.x, latent=LATENT, width=WIDTH, steps=STEPS)
    return replace(made, card=replace(made.card, data="the threat's data", split="public"))


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int) -> Generator:
    return load_generator(path)
