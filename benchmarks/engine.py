"""The engine beside its rivals: CPU seconds of one iteration, interleaved, and what limits it.

    GRADIOMETER_DATA=... python benchmarks/engine.py steps --peer-python PEER/bin/python
    GRADIOMETER_DATA=... python benchmarks/engine.py attention
    GRADIOMETER_DATA=... python benchmarks/engine.py quality
    python benchmarks/engine.py large
    python benchmarks/engine.py rule

`steps`: an iteration of Inverting Gradients (cosine, total variation, signed Adam) on pictures of `cifar10_test3000`, ours in this
process and the peer's in its own, in turns; the factor is the median of the ratios of neighbors. The floor is what seven (a ghost
layer: six) products of the forward's size take at the rate of a matrix product of 1024, measured beside.
`attention`: the same against double backward, as the peer has no such victims. `quality`: Gauss-Newton on the sigmoid LeNet of
DLG, `--repeats` pictures. `large`: seconds and memory of a ViT with 87 million parameters. `rule`: predicted and measured seconds of
every way to compute a convolution. One thread. The peer's environment is that of benchmarks/matching.py.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from cifar import LAYOUT, PLAIN, pictures
from gradiometer.attacks.image import InvertingGradients
from gradiometer.attacks.inference import IDLGLabels
from gradiometer.attacks.matching import GaussNewton, Matching
from gradiometer.attacks.matching.trial import Exhausted
from gradiometer.core import Batch, Client, Recipe, Threat, cross_entropy, derive, play, simulate
from gradiometer.metrics.image import psnr
from gradiometer.models import convnet64, lenet, mlp, resnet18, vit
from gradiometer.numerics.distances import Cosine, SquaredL2
from gradiometer.numerics.engine import Engine, choice, unfolded, winograd
from gradiometer.numerics.engine.rule import Slot
from gradiometer.numerics.intervals import median_interval
from starting import begun

S = (3, 32, 32)
TURN = 0.2
"""Seconds of one turn: a cold cache after every change of process would count on small networks."""
VICTIMS: dict[str, tuple[Callable[[], nn.Module], dict[int, float]]] = {
    "lenet": (lambda: lenet(S, 10), {1: 3.0, 8: 2.5}),
    "mlp": (lambda: mlp(S, 10, widths=(1024, 1024, 1024)), {1: 7.0, 8: 4.0}),
    "convnet64": (lambda: convnet64(S, 10), {1: 1.5, 4: 1.5, 8: 1.5}),
    "resnet18": (lambda: resnet18(S, 10, init="torch"), {1: 3.0, 8: 4.0}),
}


class Encoder(nn.Module):
    """Four blocks like those of BERT on 32 embedded tokens of width 256."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = vit((1, 8, 4), 2, patch=1, width=256, depth=4, heads=4, pool="mean")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.blocks
        return inside.head(inside.norm(inside.blocks(x + inside.position)).mean(1))


def peak() -> float:
    """Floating-point operations a second of a matrix product."""
    a = torch.randn(1024, 1024)
    best = min(seconds(lambda: a @ a) for _ in range(5))
    return 2 * 1024**3 / best


def seconds(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def operations(model: nn.Module, x: torch.Tensor) -> int:
    """Floating-point operations of one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return int(counter.get_total_flops())


class Peer:
    """The peer in a process of its own."""

    def __init__(self, python: str, name: str, batch: int) -> None:
        script = str(Path(__file__).with_name("peer_steps.py"))
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [python, script, name, str(batch)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self.parameters = int(self._line()[1])
        self.memory = 0.0

    def _line(self) -> list[str]:
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if not words:
            raise SystemExit("error: the peer ended; run benchmarks/peer_steps.py by hand to see why")
        return words

    def steps(self, count: int) -> float:
        """CPU seconds of so many iterations."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        spent, memory = map(float, self._line())
        self.memory = memory
        return spent

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def steps(options: argparse.Namespace) -> bool:
    """One row a victim and batch size."""
    data, good = pictures("cifar10_test3000"), []
    for name in options.victims or VICTIMS:
        make, wanted = VICTIMS[name]
        for batch, factor in wanted.items():
            model = make()
            private = data.take(list(range(batch)))
            client = Client(model=model, layout=LAYOUT, recipe=Recipe(examples=batch))
            update = play(client, private, rng=derive(0), threat=Threat(labels=True))
            attack = InvertingGradients(iterations=10**6)
            problem, trial = begun(attack, update, derive(1), derive(2))
            ours = attack.optimizer.descend(trial)
            peer = Peer(options.peer_python, name, batch)

            def turn(count: int, ours: Iterator[None] = ours, peer: Peer = peer) -> tuple[float, float]:
                own = seconds(lambda: [next(ours) for _ in range(count)])
                return own / count, peer.steps(count) / count

            turn(2)
            count = max(1, round(TURN / turn(1)[0]))
            pairs = [turn(count) for _ in range(options.repeats)]
            peer.end()
            ratio = median_interval([theirs / own for own, theirs in pairs])
            own = sorted(p[0] for p in pairs)[len(pairs) // 2]
            other = sorted(p[1] for p in pairs)[len(pairs) // 2]
            floor = 7 * operations(model, private["x"]) / peak()
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            passed = ratio.value >= factor
            good.append(passed)
            print(
                f"{name}, batch {batch}: factor {ratio.value:.2f} [{ratio.lower:.2f}, {ratio.upper:.2f}] (n = {len(pairs)} pairs), "
                f"{1e3 * own:.2f} ms against {1e3 * other:.2f} ms; path {problem.engine.path}; arithmetic floor {1e3 * floor:.2f} ms "
                f"({100 * floor / own:.0f} %); memory {memory} MiB (all rows so far) against {peer.memory:.0f}; "
                f"parameters {sum(p.numel() for p in model.parameters())} against {peer.parameters}; "
                f"wanted {factor:g}: {'PASS' if passed else 'MISS'}",
                flush=True,
            )
    return all(good)


def attention(options: argparse.Namespace) -> bool:
    """Transformers against double backward in the same process."""
    victims = {
        "vit (6 blocks, width 192, patch 4)": (lambda: vit(S, 10, width=192, depth=6, heads=3), S, 10),
        "encoder (4 blocks, width 256, 32 tokens)": (Encoder, (32, 256), 2),
    }
    good = []
    for name, (make, shape, classes) in victims.items():
        for batch in (1, 4):
            model = make().eval()
            rng = derive(3, batch)
            x, y = torch.randn(batch, *shape, generator=rng), torch.arange(batch) % classes
            recipe = Recipe(examples=batch)
            sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
            start = [torch.randn(x.shape, generator=rng)]
            fast, slow = (
                Engine(model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent, general=general)
                for general in (False, True)
            )

            def step(engine: Engine, start: list[torch.Tensor] = start, y: torch.Tensor = y) -> float:
                return seconds(lambda: engine(start, lambda u: Batch(x=u[0], y=y)))

            pairs = [(step(fast), step(slow)) for _ in range(options.repeats + 1)][1:]
            ratio = median_interval([other / own for own, other in pairs])
            own = sorted(p[0] for p in pairs)[len(pairs) // 2]
            floor = 7 * operations(model, x) / peak()
            good.append(ratio.value >= 4)
            print(
                f"{name}, batch {batch}: factor {ratio.value:.2f} [{ratio.lower:.2f}, {ratio.upper:.2f}] (n = {len(pairs)} pairs), "
                f"{1e3 * own:.1f} ms; path {fast.path}; arithmetic floor {1e3 * floor:.1f} ms ({100 * floor / own:.0f} %); "
                f"wanted 4: {'PASS' if good[-1] else 'MISS'}",
                flush=True,
            )
    return all(good)


def large(options: argparse.Namespace) -> bool:
    """A ViT of the size of ViT-B/16 at 224 pixels, one example: seconds of both paths and the largest memory."""
    model = vit((3, 224, 224), 1000, patch=16, width=768, depth=12, heads=12).eval()
    x, y, recipe = torch.randn(1, 3, 224, 224, generator=derive(4)), torch.tensor([3]), Recipe(examples=1)
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
    start = [torch.zeros_like(x)]
    spent = {}
    for general in (False, True):
        engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent, general=general)

        def step(engine: Engine = engine) -> object:
            return engine(start, lambda u: Batch(x=u[0], y=y))

        step()
        spent[engine.path] = min(seconds(step) for _ in range(3))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    shown = ", ".join(f"{path} {value:.2f} s" for path, value in spent.items())
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    verdict = "PASS" if memory <= 8 else "MISS"
    print(
        f"ViT of {parameters:.1f} million parameters, 224 px, batch 1: {shown}; memory {memory:.1f} GiB, wanted 8: {verdict}"
    )
    return memory <= 8


def quality(options: argparse.Namespace) -> bool:
    """Gauss-Newton on the sigmoid LeNet: CPU seconds to 30 dB, and what is reached in ten. Labels are recovered."""
    data, found, reached = pictures("cifar10_test3000", PLAIN), [], []
    for i in range(options.repeats):
        private = data.take([i])
        client = Client(model=lenet(S, 10, seed=i), layout=PLAIN, recipe=Recipe())
        update = play(client, private, rng=derive(0, i), threat=Threat())
        attack = Matching(
            distance=SquaredL2(),
            priors=(),
            optimizer=GaussNewton(),
            start="gray",
            labels=IDLGLabels(),
            iterations=10**6,
        )
        begin, thirty, last = time.process_time(), float("inf"), 0.0
        problem, trial = begun(attack, update, derive(1, i), derive(2, i))
        with contextlib.suppress(Exhausted):
            for _ in attack.optimizer.descend(trial):
                spent = time.process_time() - begin
                if spent > 10:
                    break
                last = float(psnr(problem.answer(trial.unknowns)["x"], private["x"]))
                thirty = spent if last >= 30 and thirty > spent else thirty
        found.append(last)
        reached.append(thirty)
        print(
            f"  picture {i}: {last:.1f} dB in 10 s, 30 dB after {thirty:.1f} s, {trial.evaluations} products",
            flush=True,
        )
    middle, times = median_interval(found), median_interval([min(value, 1e3) for value in reached])
    good = middle.value >= 60
    print(
        f"Gauss-Newton, sigmoid LeNet: median {middle.value:.1f} dB [{middle.lower:.1f}, {middle.upper:.1f}] within 10 CPU s "
        f"(n = {len(found)}), 30 dB after {times.value:.1f} s [{times.lower:.1f}, {times.upper:.1f}]; wanted 60 dB: "
        f"{'PASS' if good else 'MISS'}"
    )
    return good


SHAPES = [
    (3, 12, 32, 5, 2),
    (12, 12, 16, 5, 2),
    (12, 12, 8, 5, 1),
    (3, 64, 32, 3, 1),
    (64, 64, 32, 3, 1),
    (64, 128, 32, 3, 1),
]
SHAPES += [(256, 256, 32, 3, 1), (256, 256, 10, 3, 1), (64, 128, 32, 3, 2), (64, 128, 32, 1, 2), (128, 128, 16, 3, 1)]
SHAPES += [(128, 256, 16, 3, 2), (256, 256, 8, 3, 1), (256, 512, 8, 3, 2), (512, 512, 4, 3, 1)]


@torch.no_grad()
def rule(options: argparse.Namespace) -> bool:
    """All ways of all shapes, and what the rule's choice costs over the best one."""
    losses = []
    for inputs, outputs, side, kernel, stride in SHAPES:
        for batch in (1, 8):
            geometry = unfolded.Geometry(
                shape=(batch, inputs, side, side),
                outputs=outputs,
                kernel=(kernel, kernel),
                stride=(stride, stride),
                padding=(kernel // 2, kernel // 2),
                dilation=(1, 1),
                groups=1,
            )
            predicted = choice.costs_of(geometry)
            least = min(predicted.values())
            taken = {way: measured(geometry, way) for way, cost in predicted.items() if cost < 5 * least}
            chosen = min(predicted, key=predicted.__getitem__)
            losses.append(taken[chosen] / min(taken.values()))
            shown = ", ".join(f"{way} {1e3 * taken[way]:.2f} ({1e3 * predicted[way]:.2f})" for way in taken)
            print(
                f"batch {batch}, {inputs} to {outputs} channels, {side} px, kernel {kernel}, stride {stride}: {shown} ms "
                f"measured (predicted); chosen {chosen}, {losses[-1]:.2f} times the best",
                flush=True,
            )
    found = median_interval(losses)
    print(f"choice over best: median {found.value:.2f} [{found.lower:.2f}, {found.upper:.2f}], worst {max(losses):.2f}")
    return True


def measured(geometry: unfolded.Geometry, way: str) -> float:
    """CPU seconds of all four passes, least of three."""
    weight = torch.randn(geometry.outputs, geometry.shape[1], *geometry.kernel) / 30
    layout = winograd.slot_layout if way.startswith("winograd") else unfolded.slot_layout
    slot = Slot(name="weight", value=layout(weight).contiguous())
    made = choice.made(way, slot, None, geometry)
    last = torch.channels_last
    x = torch.randn(geometry.shape).contiguous(memory_format=last)
    delta = torch.randn(geometry.shape[0], geometry.outputs, *geometry.sides).contiguous(memory_format=last)
    sent = torch.randn_like(slot.value)
    ghost = made.matrix if isinstance(made, unfolded.Unfolded) and made.matrix.ghost else None
    gradient = torch.zeros_like(sent)
    if ghost is not None:
        ghost.send(sent)
    else:
        slot.gradient = gradient

    def once() -> None:
        made.forward(x)
        made.backward(delta, True)
        if ghost is not None:
            ghost.products()
            ghost.along, ghost.across = 0.3, 0.4
        else:
            flat, target = gradient.view(-1), sent.view(-1)
            torch.dot(flat, target), torch.dot(flat, flat)
            slot.move = gradient
            flat.mul_(0.3).add_(target, alpha=0.4)
        made.tangent(x)
        made.pull(delta)

    once()
    return min(seconds(once) for _ in range(3))


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("steps", "attention", "rule", "quality", "large"))
    parser.add_argument("--victims", nargs="*", choices=tuple(VICTIMS))
    parser.add_argument("--peer-python", help="interpreter with `breaching` installed, for `steps`")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    if options.what == "steps" and not options.peer_python:
        parser.error("steps needs --peer-python")
    good = {"steps": steps, "attention": attention, "rule": rule, "quality": quality, "large": large}[options.what](
        options
    )
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
