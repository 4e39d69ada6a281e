"""Time and memory of one iteration of the engine against batch, side and parameters, with the fitted laws.

python benchmarks/engine_scaling.py all --record scaling.json
python benchmarks/engine_scaling_plot.py scaling.json docs/assets/engine_scaling.png
"""

import json
import math
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from engine_scaling import fitted

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 340, 56, 64, 40, 46
FIGURES = {"seconds": ("#0b6e99", -3, 2), "mebibytes": ("#b35900", 0, 5)}
"""Color, lowest and highest power of ten."""
NAMES = {"batch": "examples a batch", "side": "pixels a side", "parameters": "parameters"}

record = json.loads(Path(sys.argv[1]).read_text())
sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
draw = ImageDraw.Draw(sheet)
panel = (WIDTH - LEFT - RIGHT) / len(NAMES)


def down(figure: str, value: float) -> float:
    _, low, high = FIGURES[figure]
    return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


for step in range(6):
    y = down("seconds", 10.0 ** (step - 3))
    draw.line([LEFT, y, WIDTH - RIGHT, y], fill="#dddddd")
    draw.text((14, y - 6), f"{10.0 ** (step - 3):g} s", fill=FIGURES["seconds"][0])
    draw.text((WIDTH - RIGHT + 6, y - 6), f"{10**step} MiB", fill=FIGURES["mebibytes"][0])
for number, (axis, name) in enumerate(NAMES.items()):
    points = record[axis]
    left, right = LEFT + number * panel + 24, LEFT + (number + 1) * panel - 24
    first, last = math.log(points[0]["at"]), math.log(points[-1]["at"])

    def across(
        value: float, left: float = left, right: float = right, first: float = first, last: float = last
    ) -> float:
        return left + (math.log(value) - first) / (last - first) * (right - left)

    draw.text(((left + right) / 2 - 3 * len(name), HEIGHT - 20), name, fill="black")
    for one in (points[0], points[len(points) // 2], points[-1]):
        shown = f"{one['at']:.0e}" if axis == "parameters" else f"{one['at']}"
        draw.text((across(one["at"]) - 3 * len(shown), HEIGHT - BOTTOM + 8), shown, fill="black")
    for line, (figure, (color, _, _)) in enumerate(FIGURES.items()):
        law = fitted(points, figure)
        sizes = [math.exp(first + (last - first) * i / 60) for i in range(61)]
        draw.line([(across(size), down(figure, law(size))) for size in sizes], fill=color)
        for one in points:
            x, y = across(one["at"]), down(figure, one[figure])
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], outline=color, fill="white")
        word = "time" if figure == "seconds" else "memory"
        draw.text((left + 4, 8 + 14 * line), f"{word}: exponent {law}", fill=color)
sheet.save(Path(sys.argv[2]), optimize=True)
