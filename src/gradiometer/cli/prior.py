"""`gradiometer prior train`: a generator from public pictures, for attacks that search in its latent space."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from .messages import say


def run(arguments: Namespace) -> int:
    """`train` writes a file; `show` prints the card of one."""
    return {"train": _train, "show": _show}[arguments.action](arguments)


def _train(arguments: Namespace) -> int:
    from gradiometer.audit.spelling import build_call
    from gradiometer.core import BadConfig, Data
    from gradiometer.models.generators import train_prior
    from gradiometer.numerics.generators import save_generator

    data = build_call(arguments.source, "data")
    if not isinstance(data, Data):
        raise BadConfig(f"{arguments.source!r} is no data set but {type(data).__name__}")
    path = Path(arguments.output or f"{data.card.name}-{arguments.method}.safetensors")
    if not arguments.quiet:
        count = 0 if data.public is None else data.public.size
        say(f"{arguments.method} of the public part of {data.card.name}, {count} pictures: {arguments.steps} steps")
    made = train_prior(
        data,
        method=arguments.method,
        latent=arguments.latent,
        width=arguments.width,
        steps=arguments.steps,
        limit=arguments.limit,
        seed=arguments.seed,
    )
    save_generator(made, path)
    print(f"{path}: {made.card.seconds:g} s, {path.stat().st_size / 2**20:.1f} MiB")
    return 0


def _show(arguments: Namespace) -> int:
    from gradiometer.numerics.generators import load_generator

    made = load_generator(arguments.source)
    told = {name: value for name, value in asdict(made.card).items() if value not in ("", 0, 0.0)}
    told["parameters"] = sum(parameter.numel() for parameter in made.blocks.parameters())
    told["fingerprints"] = "unknown" if made.prints is None else len(made.prints)
    for name, value in told.items():
        print(f"{name:14} {'x'.join(map(str, value)) if isinstance(value, tuple) else value}")
    return 0
