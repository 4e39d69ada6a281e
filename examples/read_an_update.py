"""A digit read off one client's gradient: play a round, attack what was sent, compare. Runs in a second."""

import torch

from gradiometer import Client, Recipe, data, models, play
from gradiometer.attacks.image import LinearBias
from gradiometer.core import derive
from gradiometer.metrics import psnr

torch.set_num_threads(1)
digits = data.digits()
client = Client(model=models.mlp((1, 8, 8), 10, widths=(64,)), layout=digits.layout, recipe=Recipe(examples=1))
batch = digits.private.take([0])

update = play(client, batch, rng=derive(0, "round"))  # what the server sees
guess = LinearBias().run(update, derive(0, "attack"))  # what it makes of it
print(f"recovered at {float(psnr(guess['x'], batch['x'])):.0f} dB")
