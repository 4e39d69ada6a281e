"""Shared tiny victims: real digits, small models, one thread."""

from __future__ import annotations

import hypothesis
import pytest
import torch
import typeguard
from sklearn.datasets import load_digits

typeguard.install_import_hook("gradiometer")  # before it is imported
typeguard.config.forward_ref_policy = typeguard.ForwardRefPolicy.IGNORE  # names that only type checkers import

from gradiometer.core import Batch, Client, Data, DataCard, Recipe, image_layout  # noqa: E402
from gradiometer.models.mlp import mlp  # noqa: E402

torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def digits_data() -> Data:
    """scikit-learn's 8x8 digits: 40 private, 800 public, the rest held out. `thick`: more ink than most of its class."""
    raw = load_digits()
    x, y = torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16, torch.tensor(raw.target)
    ink = x.mean((1, 2, 3))
    usual = torch.stack([ink[40:840][y[40:840] == label].median() for label in range(10)])
    batch = Batch(x=x, y=y, thick=(ink > usual[y]).long())
    return Data(
        private=batch.take(slice(0, 40)),
        public=batch.take(slice(40, 840)),
        test=batch.take(slice(840, None)),
        layout=image_layout((1, 8, 8), 10),
        card=DataCard(name="digits", public=True),
        names=tuple("0123456789"),
    )


@pytest.fixture
def tiny_client(digits_data: Data) -> Client:
    """An untrained sigmoid MLP 64-32-10 that sends the gradient of one example: the easiest victim."""
    model = mlp((1, 8, 8), 10, widths=(32,), activation="sigmoid")
    return Client(model=model, layout=digits_data.layout, recipe=Recipe(examples=1))
