"""Exact recursion against noise: PSNR and the spectrum's gap at every level, with what was predicted.

GRADIOMETER_DATA=... python benchmarks/recursion_defenses.py noise --record noise.json
python benchmarks/recursion_noise_plot.py noise.json docs/assets/recursion_noise.png
"""

import json
import math
import sys
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 60, 70, 20, 50
LOWEST, DECADES, HIGHEST, GAPS = 1e-7, 7, 140, 7
FOUND, TOLD, GAP = "#0b6e99", "#999999", "#b35900"

record = json.loads(Path(sys.argv[1]).read_text())
rows = [row for row in record["rows"] if row["level"]]
sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
draw = ImageDraw.Draw(sheet)


def across(level: float) -> float:
    return LEFT + math.log10(level / LOWEST) / DECADES * (WIDTH - LEFT - RIGHT)


def decibels(level: float, value: float) -> tuple[float, float]:
    return across(level), TOP + (1 - min(value, HIGHEST) / HIGHEST) * (HEIGHT - TOP - BOTTOM)


def gap(level: float, value: float) -> tuple[float, float]:
    return across(level), TOP + (1 - math.log10(max(value, 1.0)) / GAPS) * (HEIGHT - TOP - BOTTOM)


for value in range(0, HIGHEST + 1, 20):
    x, y = decibels(LOWEST, value)
    draw.line([x, y, WIDTH - RIGHT, y], fill="#dddddd")
    draw.text((20, y - 6), f"{value} dB", fill=FOUND)
    draw.text((WIDTH - RIGHT + 8, y - 6), f"1e{value // 20}", fill=GAP)
for decade in range(DECADES + 1):
    draw.text((across(LOWEST * 10**decade) - 12, HEIGHT - BOTTOM + 8), f"1e{decade - 7}", fill="black")
draw.text((LEFT, HEIGHT - 22), "noise, relative to the root mean square of each tensor", fill="black")
levels = [LOWEST * 10 ** (k / 20) for k in range(20 * DECADES + 1)]
draw.line(
    [decibels(s, record["line"] - 20 * math.log10(s)) for s in levels if s < record["closes"]], fill=TOLD, width=2
)
draw.line([gap(s, record["closes"] / s) for s in levels if record["closes"] / s < 10**GAPS], fill=TOLD, width=2)
draw.line([decibels(record["closes"], 0), decibels(record["closes"], HIGHEST)], fill=TOLD)
draw.line([decibels(LOWEST, record["blind"]), decibels(1.0, record["blind"])], fill="black")
draw.text((LEFT + 6, decibels(LOWEST, record["blind"])[1] - 14), "blind", fill="black")
for row in rows:
    for value in row["found"]:
        x, y = decibels(row["level"], value)
        draw.ellipse([x - 2, y - 2, x + 2, y + 2], outline=FOUND)
draw.line([decibels(row["level"], median(row["found"])) for row in rows], fill=FOUND, width=2)
for row in rows:
    x, y = gap(row["level"], median(v for v in row["gaps"] if not math.isnan(v)))
    draw.rectangle([x - 3, y - 3, x + 3, y + 3], outline=GAP)
for line, (text, color) in enumerate([("PSNR", FOUND), ("gap of the spectrum", GAP), ("predicted", TOLD)]):
    draw.text((WIDTH - RIGHT - 130, TOP + 8 + 14 * line), text, fill=color)
sheet.save(Path(sys.argv[2]), optimize=True)
