"""The batch size, read off one weight gradient: singular values of ResNet18's last convolution, batches of 1, 2 and 4."""

import math
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from gradiometer import Client, Recipe, data, models, play
from gradiometer.core import derive
from gradiometer.numerics.recursion.shift import spectrum

WIDTH, HEIGHT, LEFT, TOP, SHOWN, DECADES = 720, 300, 60, 16, 96, 10
COLORS = {1: "#0b6e99", 2: "#b35900", 4: "#5b3f8c"}

torch.set_num_threads(1)
tiles = data.medical()
model = models.resnet18((3, 32, 32), 5, init="torch")
sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
draw = ImageDraw.Draw(sheet)


def place(index: float, value: float) -> tuple[float, float]:
    down = -math.log10(max(value, 10.0**-DECADES)) / DECADES
    return LEFT + index / SHOWN * (WIDTH - LEFT - 20), TOP + down * (HEIGHT - TOP - 40)


for decade in range(0, DECADES + 1, 2):
    x, y = place(0, 10.0**-decade)
    draw.line([x, y, WIDTH - 20, y], fill="#dddddd")
    draw.text((12, y - 6), f"1e-{decade}", fill="black")
for index in range(0, SHOWN + 1, 16):
    draw.text((place(index, 1)[0] - 6, HEIGHT - 34), str(index), fill="black")
draw.text((LEFT, HEIGHT - 18), "singular value, relative to the largest, by its number", fill="black")
for row, (examples, color) in enumerate(COLORS.items()):
    client = Client(model=model, layout=tiles.layout, recipe=Recipe(examples=examples))
    update = play(client, tiles.private.take(list(range(examples))), rng=derive(0))
    seen = spectrum(update.values["layer4.1.conv2.weight"].double(), 4 * 4)
    print(f"batch of {examples}: rank {seen.rank} = {seen.rank / 16:g} x 16 positions, gap {seen.gap:.0e}")
    draw.line([place(i, float(v)) for i, v in enumerate(seen.values[:SHOWN])], fill=color, width=2)
    draw.text((WIDTH - 170, TOP + 14 * row), f"batch of {examples}: rank {seen.rank}", fill=color)
if len(sys.argv) > 1:
    sheet.save(Path(sys.argv[1]), optimize=True)
