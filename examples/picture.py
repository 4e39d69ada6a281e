"""Draws README's picture with the tool itself: truth, what the server reads off one gradient, and the same behind a defense."""

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from gradiometer import Client, Recipe, data, models, play
from gradiometer.attacks.image import LinearBias
from gradiometer.core import derive
from gradiometer.defenses import Clip, GaussianNoise, chain
from gradiometer.metrics import psnr

SIDE, GAP, MARGIN, TOP = 96, 8, 96, 22

torch.set_num_threads(1)
tiles = data.medical()
client = Client(model=models.mlp((3, 32, 32), 5, widths=(256,)), layout=tiles.layout, recipe=Recipe(examples=1))
defenses = {"leaked": None, "defended": chain(Clip(bound=1.0), GaussianNoise(std=0.1))}
chosen = [int((tiles.private["y"] == label).nonzero()[3]) for label in range(5)]

sheet = Image.new("RGB", (MARGIN + 5 * (SIDE + GAP), TOP + 3 * (SIDE + GAP)), "white")
draw = ImageDraw.Draw(sheet)
for row, name in enumerate(["truth", *defenses]):
    draw.text((GAP, TOP + row * (SIDE + GAP) + SIDE // 2 - 6), name, fill="black")
for column, index in enumerate(chosen):
    batch = tiles.private.take([index])
    pictures, figures = [batch["x"]], []
    for name, defense in defenses.items():
        update = play(client, batch, rng=derive(0, name, column), defense=defense)
        attack = LinearBias()
        attack = (defense and defense.informed(attack)) or attack
        guess = tiles.layout["x"].clamp(attack.run(update, derive(0, "attack", column))["x"])
        pictures.append(guess)
        figures.append(f"{float(psnr(guess, batch['x'])):.0f} dB")
    left = MARGIN + column * (SIDE + GAP)
    draw.text((left, 5), tiles.names[int(batch["y"])], fill="black")
    for row, picture in enumerate(pictures):
        pixels = (picture[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        sheet.paste(
            Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST), (left, TOP + row * (SIDE + GAP))
        )
    print(tiles.names[int(batch["y"])], *figures)
if len(sys.argv) > 1:
    sheet.save(Path(sys.argv[1]), optimize=True)
