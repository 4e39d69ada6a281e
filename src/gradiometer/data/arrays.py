"""Arrays that are already in memory: checked, brought to one shape, and dealt to the two sides of the wall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gradiometer.core import BadConfig, BadInput, Batch, Data, DataCard, derive, image_layout

from .dealing import dealt, refuse_unless_dealable

Array = np.ndarray
MAX_CLASSES = 100_000


def from_arrays(
    x: Array | Tensor,
    y: Array | Tensor,
    *,
    x_test: Array | Tensor | None = None,
    y_test: Array | Tensor | None = None,
    names: Sequence[str] = (),
    card: DataCard = DataCard.default,
    public_share: float = 0.5,
    test_share: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Pictures and labels as `Data`.

    Args:
        x: [n, height, width], [n, height, width, channels] or [n, channels, height, width] with 1 or 3 channels; integers
            in 0..255 or floating-point numbers in [0,1].
        y: [n] or [n, 1], integers from 0.
        x_test, y_test: held-out examples; without them, `test_share` of all examples is held out.
        names: of the classes; numbers where not given.
        public_share: how much of what is not held out is public: 0 leaves none for blind baselines.
        limit: use so many examples only, drawn by `seed` (so many test examples likewise).
        seed: who goes where.

    Returns:
        Data with `x` [n, channels, height, width] in [0,1].

    Raises:
        BadConfig: shares outside [0,1), or a limit below 1.
        BadInput: shapes, values or labels that do not fit the above.
    """
    refuse_unless_dealable("examples", public_share=public_share, test_share=test_share, limit=limit)
    if (x_test is None) != (y_test is None):
        raise BadInput("test pictures need test labels, and the other way round")
    rng = derive(seed, "split")
    own = x_test is None or y_test is None
    private, public, test = dealt(
        _batch(x, y, limit, rng), public_share=public_share, test_share=test_share if own else 0.0
    )
    if x_test is not None and y_test is not None:
        test = _batch(x_test, y_test, limit, rng)
    labels = torch.cat([batch["y"] for batch in (private, public, test) if batch is not None])
    classes = max(int(labels.max()) + 1, len(names), 2)
    if names and classes > len(names):
        raise BadInput(f"there are labels up to {classes - 1}, but only {len(names)} class names")
    shape = (private["x"].shape[1], private["x"].shape[2], private["x"].shape[3])
    if test is not None and tuple(test["x"].shape[1:]) != shape:
        raise BadInput(f"test pictures have shape {tuple(test['x'].shape[1:])}, the others {shape}")
    names = tuple(names) or tuple(map(str, range(classes)))
    return Data(private=private, public=public, test=test, layout=image_layout(shape, classes), card=card, names=names)


def normalized(data: Data, *, mean: Sequence[float], std: Sequence[float]) -> Data:
    """The same pictures as a model with input normalization takes them: `(pixel - mean) / std`, a channel each.

    Raises:
        BadConfig: not one number a channel (or one for all), or a deviation that is not positive.
    """
    field = data.layout["x"]
    if not len(mean) == len(std) or len(mean) not in (1, field.shape[0]) or min(std) <= 0:
        raise BadConfig(f"{field.shape[0]} channels cannot be normalized with mean {list(mean)} and std {list(std)}")
    field = replace(field, mean=tuple(mean), std=tuple(std))

    def convert(batch: Batch) -> Batch:
        return batch.replace(x=field.normalize(data.layout["x"].denormalize(batch["x"])))

    return replace(
        data,
        private=convert(data.private),
        public=None if data.public is None else convert(data.public),
        test=None if data.test is None else convert(data.test),
        layout={**data.layout, "x": field},
    )


def _batch(x: Array | Tensor, y: Array | Tensor, limit: int | None, rng: torch.Generator) -> Batch:
    pictures, labels = _channels_first(np.asarray(x)), np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "uib":
        raise BadInput(f"labels must be integers [n], got {labels.dtype} of shape {labels.shape}")
    if len(pictures) != len(labels) or not len(labels):
        raise BadInput(
            f"there are {len(pictures)} pictures and {len(labels)} labels", fix="give each picture one label"
        )
    if not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
        raise BadInput(f"labels must count from 0, below {MAX_CLASSES}, got {labels.min()}..{labels.max()}")
    order = torch.randperm(len(labels), generator=rng)[:limit].numpy()
    return Batch(x=_unit(pictures[order]), y=torch.tensor(labels[order].astype(np.int64)))


def _channels_first(x: Array) -> Array:
    if 0 in x.shape[1:]:
        raise BadInput(f"pictures of shape {x.shape} have no pixels")
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4 and x.shape[3] in (1, 3):
        return x.transpose(0, 3, 1, 2)
    if x.ndim == 4 and x.shape[1] in (1, 3):
        return x
    raise BadInput(
        f"pictures must have 1 or 3 channels, got shape {x.shape}",
        fix="use [n, height, width], [n, height, width, channels] or [n, channels, height, width]",
    )


def _unit(x: Array) -> Tensor:
    """Pixels in [0,1], float32."""
    whole = x.dtype.kind in "ui"
    if not whole and x.dtype.kind != "f":
        raise BadInput(f"pictures must hold numbers, got {x.dtype}")
    high = 255 if whole else 1
    if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= high):
        raise BadInput(
            f"pixels must lie in 0..{high} for {x.dtype}, got {x.min()}..{x.max()}", fix="rescale the pixels"
        )
    return torch.tensor(np.ascontiguousarray(x), dtype=torch.float32) / high
