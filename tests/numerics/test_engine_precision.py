"""Mixed precision: near the truth, never a score, and only where the hardware has units and a step shows that they pay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gradiometer.core import Batch, Recipe, cross_entropy, derive, simulate
from gradiometer.models import convnet64, lenet, mlp, vit
from gradiometer.numerics.distances import L1, Cosine, Distance, SquaredL2
from gradiometer.numerics.engine import Engine, Point, precision
from gradiometer.numerics.engine import engine as module

S = (3, 16, 16)
VICTIMS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lambda: lenet(S, 10),
    "convnet": lambda: convnet64(S, 10, width=8),
    "mlp": lambda: mlp(S, 10, widths=(32, 32)),
    "vit": lambda: vit(S, 10, width=16, depth=2, heads=2),
}


def prepared(name: str, distance: Distance, **options: object) -> tuple[Engine, Callable[[bool], Point]]:
    model, recipe, y = VICTIMS[name]().eval(), Recipe(examples=2), torch.tensor([1, 4])
    x, start = (torch.randn(2, *S, generator=derive(seed)) for seed in (1, 2))
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
    engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=distance, sent=sent, **options)  # type: ignore[arg-type]
    return engine, lambda mixed: engine([start], lambda z: Batch(x=z[0], y=y), mixed=mixed)


def off(a: Point, b: Point) -> float:
    return float((a.gradient[0] - b.gradient[0]).norm() / b.gradient[0].norm())


@pytest.mark.parametrize(
    ("name", "distance"), [*((name, Cosine()) for name in VICTIMS), ("mlp", SquaredL2()), ("mlp", L1())]
)
def test_mixed_precision_is_near_and_tells(name: str, distance: Distance) -> None:
    engine, at = prepared(name, distance, precision="bfloat16")
    _, exact = prepared(name, distance, precision="float32")
    near, single = at(True), at(False)
    assert engine.path == "r-operator"
    assert engine.computed.startswith("bfloat16 before the last phase")
    assert (near.mixed, single.mixed) == (True, False)
    assert 0 < off(near, single) < precision.MIXED
    assert near.value == pytest.approx(single.value, rel=0.05, abs=1e-3)
    assert near.gradient[0].dtype == torch.float32
    assert torch.equal(single.gradient[0], exact(False).gradient[0]), "what is compared stays in 32 bits"


def test_it_is_only_taken_where_it_is_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def computed(units: bool, quick: bool, **options: object) -> tuple[str, bool]:
        monkeypatch.setattr(module, "has_units", lambda device: units)
        monkeypatch.setattr(module, "pays", lambda mixed, single, device: quick)
        engine, at = prepared("lenet", Cosine(), **options)
        mixed = at(True).mixed
        return engine.computed, mixed

    assert computed(True, True)[1]
    assert computed(False, True) == ("float32", False)
    assert computed(True, False) == ("float32: bfloat16 does not pay", False)
    assert computed(True, True, precision="float32") == ("float32", False)
    assert computed(True, True, general=True) == ("float32", False)
    monkeypatch.setattr(module, "MIXED", 1e-4)
    found, mixed = computed(True, True)
    assert found.startswith("float32: bfloat16 is off by")
    assert not mixed


def test_units_are_asked_of_the_device_not_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda: False, raising=False)
    assert not precision.has_units(torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert precision.has_units(torch.device("cpu"))
    for capability, has in (((7, 5), False), ((8, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert precision.has_units(torch.device("cuda", 0)) == has
    assert not precision.has_units(torch.device("meta"))


def test_a_step_must_be_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def step(cost: float) -> Callable[[], None]:
        def run() -> None:
            nonlocal now
            now += cost

        return run

    monkeypatch.setattr(precision.time, "process_time", lambda: now)
    assert precision.pays(step(1.0), step(1.5), torch.device("cpu"))
    assert not precision.pays(step(1.0), step(1.2), torch.device("cpu"))
