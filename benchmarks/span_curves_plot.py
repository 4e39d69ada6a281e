"""What noise, coarser entries, fewer entries and larger batches leave of SPEAR, DAGER and GRAIN: curves of `span_curves.py`.

python benchmarks/span_curves_plot.py curves.jsonl docs/assets/span_curves.png      (pip install "gradiometer[plots]")
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

from matplotlib import pyplot

from gradiometer.numerics.intervals import wilson

COLORS = {"SPEAR": "tab:blue", "DAGER": "tab:orange", "GRAIN": "tab:green"}
PANELS = {
    "noise over the gradient's root mean square": re.compile(r"noise ([\d.e-]+)"),
    "bits an entry": re.compile(r"(\d+) bits"),
    "largest entries that are sent, %": re.compile(r"top (\d+) %"),
    "examples a batch": re.compile(r"batch (\d+), noise 0$"),
}
USUAL = {"SPEAR": 8, "DAGER": 1, "GRAIN": 1}
UNTOUCHED = {"bits an entry": 32.0, "largest entries that are sent, %": 100.0}
NONE, ASIDE = 1e-9, 1.03
"""Where no noise stands on a logarithmic axis, and how far curves stand apart from each other."""

Curves = dict[tuple[str, str], dict[float, list[bool]]]


def curves(rows: list[dict[str, object]], panel: str) -> Curves:
    """Solved draws by attack, knowledge and level."""
    found: Curves = defaultdict(lambda: defaultdict(list))
    for row in rows:
        attack, name, who = str(row["attack"]), str(row["name"]), str(row["knowing"])
        untouched = name == f"batch {USUAL[attack.split(',')[0]]}, noise 0"
        match = PANELS[panel].search(name)
        if match and (
            panel == "examples a batch" or untouched or name.startswith(f"batch {USUAL[attack.split(',')[0]]},")
        ):
            level = float(match[1]) or NONE
        elif untouched and panel in UNTOUCHED:
            level = UNTOUCHED[panel]
        else:
            continue
        for one in ("naive", "informed") if untouched and panel != "examples a batch" else (who,):
            found[attack, one][level].append(bool(row["solved"]))
    return {key: points for key, points in found.items() if len(points) > 1}


def main() -> None:
    rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 6.4), sharey=True)
    for axis, panel in zip(axes.flat, PANELS):
        for number, ((attack, who), points) in enumerate(sorted(curves(rows, panel).items())):
            levels = sorted(points)
            shares = [wilson(sum(points[level]), len(points[level])) for level in levels]
            spread = [[s.value - s.lower for s in shares], [s.upper - s.value for s in shares]]
            style = {"naive": "--", "informed": "-"}[who] if "not sent" not in attack else ":"
            axis.errorbar(
                [level * ASIDE**number for level in levels],
                [share.value for share in shares],
                spread,
                fmt=f"o{style}",
                color=COLORS[attack.split(",")[0]],
                fillstyle="none" if who == "naive" else "full",
                label=attack if panel == "examples a batch" else f"{attack}, {who}",
                capsize=2,
                lw=1,
                ms=4,
            )
        axis.set(xscale="log", xlabel=panel, ylim=(-0.03, 1.03))
        if panel != "noise over the gradient's root mean square":
            levels = sorted({level for points in curves(rows, panel).values() for level in points})
            axis.set_xticks(levels, [f"{level:g}" for level in levels])
            axis.minorticks_off()
        axis.legend(fontsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("share solved")
    figure.tight_layout()
    figure.savefig(sys.argv[2], dpi=90)


if __name__ == "__main__":
    main()
