"""The generator that an attack names: read from its file, or trained on the public data that the threat grants."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

from torch import Tensor

from gradiometer.core import NotApplicable, Update
from gradiometer.numerics.generators import Generator, load_generator, train_diffusion, train_vae
from gradiometer.numerics.generators.generator import as_pixels

PUBLIC, PUBLIC_DIFFUSION = "public", "public diffusion"
LEARNED: dict[str, Callable[[Tensor], Generator]] = {
    PUBLIC: partial(train_vae, latent=32, width=8, steps=400),
    PUBLIC_DIFFUSION: partial(train_diffusion, width=8, steps=400),
}
"""What is trained on public data by its name: seconds on small pictures."""
MOST = 10_000
"""Public pictures that are learned from."""


def generator_for(name: str, update: Update, like: Tensor) -> Generator:
    """The generator, in the type and on the device of `like`.

    Raises:
        BadInput: the file is damaged, or there is none.
        MissingKnowledge: one of `LEARNED`, and the threat grants no public data.
        NotApplicable: it makes pictures of another shape.
    """
    layout = update.layout["x"]
    if name in LEARNED:
        pictures = as_pixels(update.need("public")["x"][:MOST].detach().cpu(), layout)
        digest = hashlib.sha256(pictures.contiguous().numpy().tobytes()).hexdigest()
        found = _learned(name, _Pictures(pictures, digest))
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
def _learned(name: str, pictures: _Pictures) -> Generator:
    made = LEARNED[name](pictures.x)
    return replace(made, card=replace(made.card, data="the threat's data", split="public"))


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int) -> Generator:
    return load_generator(path)
