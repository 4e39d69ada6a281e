"""GRAIN on molecules and citation neighborhoods: whole graphs from one gradient, labels not granted.

    GRADIOMETER_DATA=... python benchmarks/grain.py
    GRADIOMETER_DATA=... python benchmarks/grain.py --cases gcn:tox21 gcn:esol --draws 50
    GRADIOMETER_DATA=... python benchmarks/grain.py --cases gat:tox21 --draws 10 --no-prior
    GRADIOMETER_DATA=... python benchmarks/grain.py --cases gcn:clintox --draws 10 --noise 1e-5 1e-4 1e-3
    GRADIOMETER_DATA=... python benchmarks/grain.py --cases dlg:tox21 --draws 5

A case is victim:file, or `dlg:file` or `tableak:file` for the baselines, which are told how many nodes there are, on the same GCN. Victims have 2 layers of
width 300 and random weights, others each draw; gradients are float32. Molecules of at most 25 heavy atoms, salts included, are drawn from
the private half of Tox21 (label SR-ARE) and ESOL (solubility above the median); the other half is public. Neighborhoods are all
within two citations of a paper, 5 to 30 of them; every paper has its class for a label. The attack was developed on ClinTox, BBBP and
other draws of neighborhoods. A noise level is relative to the root mean square of each tensor, met by an attacker who knows it. Printed are graphs that are exact (features and edges, up to the order of nodes), other graphs with the same
gradient, both together with the 95 % interval, those of at most 10 atoms, causes of failures, and CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

import torch

from gradiometer.attacks.graph import GRAIN, GraphDLG, GraphTabLeak, Unread
from gradiometer.core import (
    Attack,
    Client,
    Data,
    Defense,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    derive,
    graph_cross_entropy,
    node_cross_entropy,
    play,
)
from gradiometer.data import citations, molecules
from gradiometer.defenses import GaussianNoise
from gradiometer.metrics import GraphScore, score_graph
from gradiometer.models import gat, gcn
from gradiometer.numerics.intervals import wilson

LABELS = {"tox21": "SR-ARE", "esol": "measured log solubility in mols per litre", "clintox": "CT_TOX", "bbbp": "p_np"}
CASES = ["gcn:tox21", "gcn:esol", "gat:tox21", "gat:esol", "gcn:cora", "gcn:citeseer"]
THREAT = Threat(recipe=False, buffers=False)
SMALL = 10
BASELINES = {"dlg": GraphDLG, "tableak": GraphTabLeak}


def graphs(name: str, seed: int) -> Data:
    """The graphs of a file, private and public."""
    root = os.environ.get("GRADIOMETER_DATA")
    if not root:
        sys.exit("error: set GRADIOMETER_DATA to the folder that holds molecules/tox21.csv.gz")
    if name in LABELS:
        return molecules(Path(root) / "molecules" / f"{name}.csv.gz", LABELS[name], test_share=0.0, seed=seed)
    return citations(Path(root) / "graphs" / f"{name}.npz", seed=seed)


def row(case: str, noise: float, options: argparse.Namespace) -> bool:
    """Prints one row; gives whether at least 80 % are exact or equivalent."""
    method, name = case.split(":")
    data = graphs(name, options.seed)
    per_node = len(data.layout["y"].shape) == 1
    scores, seconds, sizes, causes = list[GraphScore](), list[float](), list[int](), Counter[str]()
    loss, victim = (node_cross_entropy if per_node else graph_cross_entropy), {"gat": gat}.get(method, gcn)
    defense = GaussianNoise(std=noise, relative=True) if noise else Defense()
    for i in range(options.first, min(options.first + options.draws, data.private.size)):
        private = data.private.take([i])
        model = victim(data.layout["nodes"].shape[1], data.layout["y"].classes or 2, per_node=per_node, seed=i)
        client = Client(model=model, layout=data.layout, loss=loss, recipe=Recipe())
        attack: Attack = GRAIN(prior=name in LABELS and not options.no_prior)
        if method in BASELINES:
            attack = BASELINES[method](nodes=int(private["mask"].sum()))
        threat = Threat() if method in BASELINES else THREAT
        update = play(client, private, rng=derive(0, i), threat=threat, defense=defense, public=data.public)
        start = time.process_time()
        try:
            guess = (defense.informed(attack) or attack).run(update, derive(1, i))
            cause = "a wrong graph"
        except NotApplicable as refusal:
            guess = Guess(tensors={}, notes={"refusal": refusal.message})
            cause = refusal.cause.name if isinstance(refusal, Unread) else "refused"
        seconds.append(time.process_time() - start)
        score = score_graph(guess, private, data, rng=derive(2, i), client=client)[0]
        scores.append(score)
        sizes.append(int(private["mask"].sum()))
        if not (score.exact or score.equivalent):
            causes[cause] += 1
        if options.verbose:
            what = "exact" if score.exact else "equivalent" if score.equivalent else cause
            print(f"  {i}: {sizes[-1]} nodes, {what}, {seconds[-1]:.1f} s, {dict(guess.notes)}", flush=True)
    solved = [score.exact or bool(score.equivalent) for score in scores]
    small = [good for good, size in zip(solved, sizes) if size <= SMALL]
    share, count = wilson(sum(solved), len(solved)), len(scores)
    means = [sum(getattr(one, key) for one in scores) / count for key in ("gsm0", "gsm1", "gsm2", "edges", "blind_gsm")]
    print(
        f"{case}{f', noise {noise:g}' if noise else ''}: exact {sum(one.exact for one in scores)}, equivalent {sum(bool(one.equivalent) for one in scores)} of {count}: "
        f"{share.value:.2f} [{share.lower:.2f}, {share.upper:.2f}], of at most {SMALL} nodes {sum(small)} of {len(small)}, "
        f"GSM-0/1/2 {means[0]:.3f} {means[1]:.3f} {means[2]:.3f}, edges {means[3]:.3f}, blind mean GSM {means[4]:.3f}, "
        f"failures {dict(causes)}, nodes {min(sizes)}-{max(sizes)}, median {sorted(seconds)[count // 2]:.2f} s, "
        f"longest {max(seconds):.1f} s",
        flush=True,
    )
    return sum(solved) >= 0.8 * count


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=CASES)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--seed", type=int, default=7, help="of the split into private and public")
    parser.add_argument("--noise", type=float, nargs="*", default=[0.0])
    parser.add_argument("--no-prior", action="store_true", help="expect no molecules")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    good = [row(case, noise, options) for case in options.cases for noise in options.noise]
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
