"""A whole batch out of one gradient, exactly: SPEAR, scored over what can be guessed without the gradient."""

import torch

from gradiometer import Client, Recipe, Threat, data, models, play
from gradiometer.attacks.image import SPEAR
from gradiometer.core import derive
from gradiometer.metrics import score

torch.set_num_threads(1)

digits = data.digits()
model = models.mlp((1, 8, 8), 10, widths=(200, 200))
client = Client(model=model, layout=digits.layout, recipe=Recipe(examples=8))
batch = digits.private.take(range(8))
update = play(client, batch, rng=derive(0, "round"), threat=Threat(batch_size=False, public=False))

guess = SPEAR().run(update, derive(0, "attack"))
print(f"batch size read from the gradient: {len(guess['x'])}, told as exact: {guess.notes['exact']}")
for label, one in zip(batch["y"], score(guess, batch, digits, rng=derive(0, "score")), strict=True):
    print(f"a {int(label)}: {one.psnr:.1f} dB, blind {one.blind_psnr:.1f} dB ({one.blind_name})")
