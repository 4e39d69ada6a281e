"""What generative attacks show of one picture, over the same attack on noise and under what its generator could show at all.

    GRADIOMETER_DATA=... python benchmarks/generative.py --generators FOLDER --keep FILE.jsonl

Cases: MNIST (t10k private, generator of the first 55,000 training pictures) behind a LeNet with sigmoid and with ReLU, PneumoniaMNIST,
MedNIST at 32 pixels, CIFAR-10. Every picture has a network of its own (or they share
`--networks N`: `ROG` learns for each of them anew), and labels are not granted. Settings were chosen on training
pictures that the generators had not seen (`--part dev`). The prior-only attacker has the label, the restarts and the
evaluations of the real one, and noise of equal norm in place of the gradient. What is in FILE is not computed again, so that a long run may be
cut into pieces (`--cases`, `--defenses`, `--attacks`, `--images`). With `--informed` the attacker knows the defense and its strength. One thread; about 10 CPU s a picture and attack at 1,000 evaluations.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from cifar import PLAIN, pictures
from gradiometer.attacks.generative import GGL, GIAS, GIFD, ROG, CINet, GuidedDiffusion
from gradiometer.attacks.image import InvertingGradients
from gradiometer.attacks.inference import RowSum
from gradiometer.attacks.matching import Diffused, Features, Latent, LatentThenWeights
from gradiometer.core import Attack, Batch, Client, Data, DataCard, Defense, NotApplicable, derive, image_layout, play
from gradiometer.defenses import Clip, GaussianNoise, Prune, Quantize
from gradiometer.metrics import score
from gradiometer.models import lenet
from gradiometer.models.generators import train_prior
from gradiometer.numerics.generators import Generator, load_generator, save_generator
from gradiometer.numerics.intervals import clopper_pearson, median_interval
from gradiometer.numerics.priors import TotalVariation

CASES = {
    "mnist-sigmoid": ("mnist", "sigmoid"),
    "mnist-relu": ("mnist", "relu"),
    "pneumonia-sigmoid": ("pneumonia", "sigmoid"),
    "pneumonia-relu": ("pneumonia", "relu"),
    "mednist-relu": ("mednist", "relu"),
    "cifar10-sigmoid": ("cifar10", "sigmoid"),
    "cifar10-relu": ("cifar10", "relu"),
}
DEFENSES: dict[str, Defense | None] = {
    "none": None,
    "noise 0.1": GaussianNoise(std=0.1),
    "clip to 1": Clip(bound=1.0),
    "90 % pruned": Prune(keep=0.1),
    "2 bits": Quantize(bits=2),
}
ATTACKS = ("pixels", "GGL", "GIFD", "GIAS", "CINet", "ROG", "GuidedDiffusion")
TRAINING = {"mnist": 700, "pneumonia": 500, "mednist": 500, "cifar10": 600}
DIFFUSION_STEPS = 1000
BLIND = 10_000
"""Public pictures that the blind baselines are made of; the generators learn from all."""
LEAST_DB, LEAST_SHARE, SECONDS = 3.0, 0.9, 60.0


def root() -> Path:
    found = os.environ.get("GRADIOMETER_DATA")
    if not found:
        sys.exit("error: set GRADIOMETER_DATA to the folder that holds images/ and medical/")
    return Path(found)


def mnist(part: str) -> Data:
    with np.load(root() / "images" / "mnist.npz") as held:
        train, test = (_batch(held[f"x_{side}"], held[f"y_{side}"]) for side in ("train", "test"))
    private = test if part == "test" else train.take(slice(55_000, None))
    return _data("mnist", private, train.take(slice(0, 55_000)), 10)


def pneumonia(part: str) -> Data:
    with np.load(root() / "medical" / "pneumoniamnist28.npz") as held:
        train, val, test = (_batch(held[f"x_{side}"], held[f"y_{side}"]) for side in ("train", "val", "test"))
    return _data("pneumonia", test if part == "test" else val, train, 2)


def mednist(part: str) -> Data:
    with np.load(root() / "medical" / "mednist64_jpeg.npz") as held:
        train, test = (_jpegs(held[f"jpeg_{s}"], held[f"offset_{s}"], held[f"y_{s}"]) for s in ("train", "test"))
    mixed = train.take(torch.randperm(train.size, generator=derive(0, "mednist")))
    return _data("mednist", test if part == "test" else mixed.take(slice(5000, None)), mixed.take(slice(0, 5000)), 6)


def cifar10(part: str) -> Data:
    train = pictures("cifar10_train8000", PLAIN)
    mixed = train.take(torch.randperm(train.size, generator=derive(0, "dev")))
    private = pictures("cifar10_test3000", PLAIN) if part == "test" else mixed.take(slice(7000, None))
    return _data("cifar10", private, mixed.take(slice(0, 7000)), 10)


def _data(name: str, private: Batch, public: Batch, classes: int) -> Data:
    order = torch.randperm(private.size, generator=derive(0, "order"))
    channels, height, width = private["x"].shape[1:]
    layout = image_layout((channels, height, width), classes)
    return Data(private=private.take(order), public=public, layout=layout, card=DataCard(name=name, public=True))


def _batch(x: np.ndarray, y: np.ndarray) -> Batch:
    return Batch(x=torch.tensor(x)[:, None].float() / 255, y=torch.tensor(y.reshape(-1)).long())


def _jpegs(raw: np.ndarray, offsets: np.ndarray, y: np.ndarray) -> Batch:
    content = raw.tobytes()
    spans = zip(offsets[:-1].tolist(), offsets[1:].tolist())
    found = np.stack([np.asarray(Image.open(io.BytesIO(content[a:b])).convert("L")) for a, b in spans])
    whole = _batch(found, y)
    return whole.replace(x=F.avg_pool2d(whole["x"], 2))


READERS = {"mnist": mnist, "pneumonia": pneumonia, "mednist": mednist, "cifar10": cifar10}


def generator_of(name: str, data: Data, folder: Path, method: Literal["vae", "diffusion"] = "vae") -> Path:
    """The file of the case's generator, trained where there is none yet."""
    path = folder / (f"{name}.safetensors" if method == "vae" else f"{name}-{method}.safetensors")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        small = name in ("mnist", "pneumonia")
        latent, width = (64, 8) if small else (96, 12)
        began = time.process_time()
        if method == "vae":
            made = train_prior(data, latent=latent, width=width, steps=TRAINING[name])
        else:
            made = train_prior(data, method=method, width=12, steps=DIFFUSION_STEPS)
        print(f"{name}: {method} trained in {time.process_time() - began:.0f} CPU s", flush=True)
        save_generator(made, path)
    return path


def attacks(path: Path, diffusion: Path | None, iterations: int) -> dict[str, Attack]:
    name = str(path)
    guided = {}
    if diffusion is not None:
        guided["GuidedDiffusion"] = GuidedDiffusion(unknown=Diffused(generator=str(diffusion)), iterations=iterations)
    return guided | {
        "ROG": ROG(),
        "pixels": InvertingGradients(labels=RowSum(), iterations=iterations, priors=(TotalVariation(weight=1e-3),)),
        "GGL": GGL(unknown=Latent(generator=name), iterations=iterations),
        "GIFD": GIFD(unknown=Features(generator=name), iterations=iterations),
        "GIAS": GIAS(unknown=LatentThenWeights(generator=name), iterations=iterations),
        "CINet": CINet(iterations=iterations),
    }


@dataclass(frozen=True)
class Cell:
    """One picture under one defense, read by one attack."""

    case: str
    defense: str
    attack: str
    part: str
    iterations: int
    picture: int
    networks: int | None = None
    informed: bool = False


def measured(cell: Cell, data: Data, attack: Attack, generator: Generator) -> dict[str, Any]:
    """What the attack shows, what it shows of noise with the same label, and (with GGL) what the generator could show."""
    i, defense = cell.picture, DEFENSES[cell.defense]
    if cell.informed and defense is not None:
        attack = defense.informed(attack) or attack
    truth = data.private.take([i])
    classes, network = data.layout["y"].classes or 2, i if cell.networks is None else i % cell.networks
    channels, height, width = truth["x"].shape[1:]
    model = lenet((channels, height, width), classes, activation=CASES[cell.case][1], seed=network)
    client = Client(model=model, layout=data.layout)
    update = play(client, truth, rng=derive(0, "round", i), defense=defense, public=data.public)
    began = time.process_time()
    guess = attack.run(update, derive(0, "attack", i))
    seconds = time.process_time() - began
    shown = generator if cell.attack == "GGL" and cell.defense == "none" else None  # of one picture always the same
    noise = update.noise(derive(0, "noise", i)).replace(labels=guess["y"])
    blind = attack.run(noise, derive(0, "attack", i))
    found = score(guess, truth, data, rng=derive(0, "score", i), noise_guess=blind, generator=shown)[0]
    control = score(blind, truth, data, rng=derive(0, "score", i))[0]
    return {
        "psnr": found.psnr,
        "noise": found.noise_psnr,
        "oracle": found.oracle_psnr,
        "identified": found.identified,
        "noise_identified": control.identified,
        "label": bool(torch.equal(guess["y"], truth["y"])),
        "distance": guess.notes["distance"],
        "seconds": seconds,
    }


Kept = dict[Cell, dict[str, Any]]


def load(path: Path) -> Kept:
    lines = path.read_text().splitlines() if path.exists() else []
    return {Cell(**line.pop("cell")): line for line in map(json.loads, lines)}


def computed(settings: argparse.Namespace) -> Iterator[Cell]:
    """Computes what is missing, picture by picture."""
    kept = load(settings.keep)
    wanted = [
        Cell(case, defense, attack, settings.part, settings.iterations, i, settings.networks, settings.informed)
        for case in settings.cases
        for i in range(settings.images)
        for defense in settings.defenses
        for attack in settings.attacks
    ]
    ready: dict[str, tuple[Data, dict[str, Attack], Generator]] = {}
    for cell in wanted:
        name = CASES[cell.case][0]
        if cell in kept:
            yield cell
            continue
        if name not in ready:
            data = READERS[name](settings.part)
            path = generator_of(name, data, settings.generators)
            guided = "GuidedDiffusion" in settings.attacks
            diffusion = generator_of(name, data, settings.generators, "diffusion") if guided else None
            blind = None if data.public is None else data.public.take(slice(0, BLIND))
            ready[name] = (
                replace(data, public=blind),
                attacks(path, diffusion, settings.iterations),
                load_generator(path),
            )
        data, by_name, generator = ready[name]
        try:
            told = measured(cell, data, by_name[cell.attack], generator)
        except NotApplicable as refusal:
            print(f"{cell.case}, {cell.attack}: {refusal.message}", flush=True)
            continue
        with settings.keep.open("a") as stream:
            stream.write(json.dumps({"cell": vars(cell), **told}) + "\n")
        figures = f"{told['psnr']:.1f} dB, noise {told['noise']:.1f}"
        print(
            f"{cell.case}, {cell.defense}, {cell.attack} {cell.picture}: {figures}, {told['seconds']:.1f} s", flush=True
        )
        yield cell


def interval(values: list[float]) -> str:
    found = median_interval(values)
    return f"{found.value:.1f} [{found.lower:.1f}, {found.upper:.1f}]"


def share(values: list[bool]) -> str:
    found = clopper_pearson(sum(values), len(values))
    return f"{found.value:.0%} [{found.lower:.0%}, {found.upper:.0%}]"


def _row(cell: Cell) -> tuple[str, str, str]:
    return cell.case, f"{cell.defense}, told" if cell.informed else cell.defense, cell.attack


def table(kept: Kept) -> None:
    print(
        "\nMedian dB with its 95 % interval between order statistics; identification among 100 with its exact interval."
    )
    print(
        "| case | defense | attack | n | PSNR | prior-only | gain over prior-only | oracle | identified | prior-only | label | CPU s |"
    )
    print("|---" * 12 + "|")
    for key in dict.fromkeys(_row(cell) for cell in kept):
        rows = [told for cell, told in kept.items() if _row(cell) == key]
        entries = [interval([row[name] for row in rows]) for name in ("psnr", "noise")]
        entries.append(interval([row["psnr"] - row["noise"] for row in rows]))
        oracle = [row["oracle"] for row in rows if row["oracle"] is not None]
        entries.append(interval(oracle) if oracle else "as above")
        entries += [share([row[name] for row in rows]) for name in ("identified", "noise_identified", "label")]
        entries.append(f"{np.median([row['seconds'] for row in rows]):.1f}")
        print(f"| {' | '.join(key)} | {len(rows)} | {' | '.join(entries)} |")


def verdicts(kept: Kept) -> bool:
    """Prints what was to be shown, and whether it was."""
    passed = []

    def line(text: str, ok: bool) -> None:
        passed.append(ok)
        print(f"{'PASS' if ok else 'MISS'}  {text}")

    for case in dict.fromkeys(cell.case for cell in kept):
        bare = {cell: told for cell, told in kept.items() if cell.case == case and cell.defense == "none"}
        by_attack = {name: {c.picture: told for c, told in bare.items() if c.attack == name} for name in ATTACKS}
        ggl, gifd = by_attack["GGL"], by_attack["GIFD"]
        if ggl:
            gain = median_interval([row["psnr"] - row["noise"] for row in ggl.values()])
            text = (
                f"{case}: GGL over prior-only {gain.value:.1f} dB [{gain.lower:.1f}, {gain.upper:.1f}], n = {len(ggl)}"
            )
            line(f"{text}, threshold {LEAST_DB} dB", gain.value >= LEAST_DB)
            hits = [row["identified"] for row in ggl.values()]
            line(
                f"{case}: GGL identifies {share(hits)} among 100, threshold {LEAST_SHARE:.0%}",
                np.mean(hits) >= LEAST_SHARE,
            )
            slowest = max(row["seconds"] for row in ggl.values())
            line(f"{case}: GGL takes at most {slowest:.0f} CPU s, threshold {SECONDS:.0f} s", slowest <= SECONDS)
        for name in ("ROG", "GuidedDiffusion"):
            if by_attack[name]:
                gain = median_interval([row["psnr"] - row["noise"] for row in by_attack[name].values()])
                over = f"{gain.value:.1f} dB [{gain.lower:.1f}, {gain.upper:.1f}], n = {len(by_attack[name])}"
                line(f"{case}: {name} over prior-only {over}, threshold {LEAST_DB} dB", gain.value >= LEAST_DB)
        both = sorted(ggl.keys() & gifd.keys())
        if both:
            ahead = median_interval([gifd[i]["psnr"] - ggl[i]["psnr"] for i in both])
            text = f"{case}: GIFD over GGL {ahead.value:.1f} dB [{ahead.lower:.1f}, {ahead.upper:.1f}], n = {len(both)}"
            line(f"{text}, threshold 0 dB", ahead.value >= 0)
    return all(passed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--defenses", nargs="+", choices=DEFENSES, default=list(DEFENSES))
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=["pixels", "GGL", "GIFD"])
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--networks", type=int, help="share so many networks among the pictures")
    parser.add_argument("--informed", action="store_true", help="the attacker knows the defense")
    parser.add_argument("--part", choices=["test", "dev"], default="test")
    parser.add_argument(
        "--generators", type=Path, required=True, help="folder of the cases' generators; trained if missing"
    )
    parser.add_argument("--keep", type=Path, required=True, help="figures of every picture, one line each")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    cells = list(computed(settings))
    kept = load(settings.keep)
    found = {cell: kept[cell] for cell in cells}
    table(found)
    print()
    return 0 if verdicts(found) else 1


if __name__ == "__main__":
    sys.exit(main())
