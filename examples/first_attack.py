"""Your own attack: the mean of the public pictures of the class whose bias gradient is most negative."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from gradiometer import Attack, Card, Client, Guess, Recipe, Update, data, models, play
from gradiometer.core import derive
from gradiometer.metrics import psnr
from gradiometer.numerics.heads import find_head

torch.set_num_threads(1)


@dataclass(frozen=True, kw_only=True)
class ClassMean(Attack):
    """Guesses the average public picture of the leaked class."""

    card: ClassVar[Card] = Card(
        summary="Shows the mean public picture of the leaked class.", modality="image", needs=("model", "public")
    )

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        gradient, public = update.as_gradient(), update.need("public")
        head = find_head(update.need("model"), gradient, update.layout["y"].classes)
        label = gradient[head.bias].argmin()
        return Guess(tensors={"x": public["x"][public["y"] == label].mean(0, keepdim=True), "y": label[None]})


digits = data.digits()
client = Client(model=models.mlp((1, 8, 8), 10, widths=(64,)), layout=digits.layout, recipe=Recipe(examples=1))
batch = digits.private.take([0])
update = play(client, batch, rng=derive(0, "round"), public=digits.public)
guess = ClassMean().run(update, derive(0, "attack"))
print(f"label {int(guess['y'])} (true {int(batch['y'])}), picture at {float(psnr(guess['x'], batch['x'])):.1f} dB")
