"""A result such as an audit writes: every verdict, status and missing value, long names, and as many defenses as wanted."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from gradiometer.audit.schema import (
    Cell,
    Check,
    ClientInfo,
    Control,
    Cost,
    DataInfo,
    Estimate,
    Finding,
    Meter,
    Recommendation,
    Result,
    Row,
    ThreatInfo,
)
from gradiometer.audit.schema_shown import Picture

DEFENSES: list[tuple[str, dict[str, Any], float, float, str]] = [
    ("none", {}, 1.0, 1.0, "LEAKS"),
    ("Clip", {"norm": 1.0, "per": "all"}, 1.0, 1.0, "LEAKS"),
    ("Quantize", {"bits": 8, "scheme": "global"}, 0.96, 0.25, "LEAKS"),
    ("Quantize(bits=3)", {"bits": 3, "scheme": "global"}, 0.46, 0.094, "LEAKS"),
    ("Prune", {"keep": 0.01, "feedback": True}, 0.04, 0.02, "INCONCLUSIVE"),
    ("GaussianNoise", {"sigma": 0.01, "clip": 1.0}, 0.0, 1.0, "HOLDS"),
    ("Chain[Clip(norm=1.0), GaussianNoise(sigma=0.1), Quantize(bits=4)]", {"defenses": [{"name": "Clip", "norm": 1.0}]}, 0.0, 0.125, "HOLDS"),
]  # fmt: skip
ATTACKS = ("LinearBias", "InvertingGradients", "SeeThrough", "RowSum")
N = 48


def wilson(value: float, n: int = N) -> Estimate:
    z, p = 1.96, value
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n),
    )
    return Estimate(value=p, lower=max(0.0, middle - half), upper=min(1.0, middle + half), n=n, method="wilson")


def around(value: float, half: float, n: int = N) -> Estimate:
    return Estimate(value=value, lower=value - half, upper=value + half, n=n, method="median")


def tissue(seed: int, size: int = 32) -> np.ndarray:
    """Something like a stained tissue: soft pink ground, darker round nuclei."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    image = np.stack([0.90 + 0 * x, 0.68 + 0.1 * np.sin(5 * x + seed), 0.78 + 0.05 * np.cos(4 * y)], -1)
    for _ in range(9):
        cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.13)
        inside = np.exp(-((((x - cx) ** 2 + (y - cy) ** 2) / r**2) ** 2))[..., None]
        image = image * (1 - inside) + inside * np.array([0.35, 0.2, 0.5])
    return image.clip(0, 1)


def png(image: np.ndarray, *, blur: bool) -> str:
    picture = Image.fromarray((image * 255).round().astype(np.uint8))
    if blur:
        picture = picture.resize((6, 6), Image.Resampling.BOX).resize(picture.size, Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def gallery(
    client: str, defenses: list[tuple[str, dict[str, Any], float, float, str]], *, public: bool
) -> list[Picture]:
    pictures = []
    for kind, seed in (("best", 1), ("median", 2), ("worst", 3)):
        for position, (name, _, rate, _, _) in enumerate(defenses):
            shown = seed + (10 if name == "Prune" else 0)
            truth = tissue(shown)
            noise = np.random.default_rng(position).normal(0, 0.02 + 0.45 * (1 - rate), truth.shape)
            guess = (truth * rate + (1 - rate) * 0.5 + noise).clip(0, 1)
            pictures.append(
                Picture(
                    client=client,
                    defense=name,
                    attack="LinearBias" if rate == 1 else "InvertingGradients",
                    informed=rate < 1,
                    kind=kind,
                    example=f"patient {shown}",
                    truth=png(truth, blur=not public),
                    guess=png(guess, blur=not public),
                    blurred=not public,
                    psnr=None if name == "Prune" else -10 * math.log10(float(((truth - guess) ** 2).mean()) + 1e-12),
                    leaked=rate > 0.3,
                )
            )
    return pictures


def cells(client: str, defenses: list[tuple[str, dict[str, Any], float, float, str]]) -> list[Cell]:
    found = []
    for name, _, rate, _, verdict in defenses:
        for position, attack in enumerate(ATTACKS):
            for informed in (False, True) if name != "none" else (False,):
                share = rate if informed or name == "none" else rate * (0.9, 0.6, 0.3, 1)[position]
                cell = Cell(
                    client=client,
                    defense=name,
                    attack=attack,
                    informed=informed,
                    status="ok",
                    rate=wilson(share),
                    blind_rate=0.0,
                )
                if attack == "RowSum":
                    cell = cell.model_copy(
                        update={"rate": None, "labels": wilson(max(share, 0.42)), "blind_labels": wilson(0.41)}
                    )
                elif verdict == "INCONCLUSIVE" and informed:
                    cell = cell.model_copy(
                        update={"status": "inconclusive", "reason": "the noise was attacked without averaging"}
                    )
                elif attack == "SeeThrough" and name == "GaussianNoise":
                    status = "missing_knowledge" if informed else "failed"
                    cell = cell.model_copy(
                        update={"status": status, "rate": None, "reason": "`buffers` is not granted"}
                    )
                elif attack == "LinearBias" and name.startswith("Chain"):
                    status = "not_applicable" if informed else "skipped"
                    cell = cell.model_copy(
                        update={"status": status, "rate": None, "reason": "no bias left in the first layer"}
                    )
                if attack in ("InvertingGradients", "SeeThrough") and cell.status != "failed":
                    curve = [
                        1.1 * math.exp(-step / (12 + 40 * (1 - rate))) + 0.02 * math.sin(step) ** 2
                        for step in range(60)
                    ]
                    cell = cell.model_copy(update={"curve": curve, "psnr": around(31.2, 1.4), "cpu_seconds": 12.5})
                found.append(cell)
    return found


def rows(client: str, defenses: list[tuple[str, dict[str, Any], float, float, str]]) -> list[Row]:
    found = []
    for position, (name, settings, rate, ratio, verdict) in enumerate(defenses):
        level = "none" if verdict != "LEAKS" else "critical" if rate > 0.9 else "medium"
        found.append(
            Row(
                client=client,
                defense=name,
                settings=settings,
                verdict=verdict,
                level=level,
                reasons=["4 % leaked, and the interval reaches above 10 %"] if verdict == "INCONCLUSIVE" else [],
                rate=None if name == "Prune" and client.startswith("second") else wilson(rate),
                blind_rate=0.01,
                more_examples=41 if verdict == "INCONCLUSIVE" else None,
                worst_attack="LinearBias" if rate == 1 else "InvertingGradients",
                worst_informed=rate < 1,
                cost=Cost(
                    bytes=int(1_089_896 * ratio),
                    bytes_ratio=ratio,
                    seconds=0.031 * (1 + position),
                    accuracy=around(0.87 - 0.03 * position, 0.02) if name != "Prune" else None,
                    accuracy_undefended=around(0.87, 0.02),
                    epsilon={"GaussianNoise": 14.2}.get(name, 1.3 if name.startswith("Chain") else None),
                ),
            )
        )
    return found


def sample(*, defenses: int = len(DEFENSES), clients: int = 1, public: bool = False, pictures: bool = True) -> Result:
    """A whole result; with no defense at all it is the audit of an undefended client."""
    chosen = [DEFENSES[i % len(DEFENSES)] for i in range(defenses)]
    chosen = [(name if i < len(DEFENSES) else f"{name} #{i}", *rest) for i, (name, *rest) in enumerate(chosen)]
    names = ["hospital A", "second client with a rather long name that has to wrap somewhere"][:clients]
    findings = [
        Finding(
            id=f"leaks-{kind}",
            severity=severity,
            title=title,
            detail="48 of 48 private images were retrieved from one update among 100 candidates.",
            client=names[0],
            defense=defense,
            attack=attack,
            rate=wilson(rate) if rate is not None else None,
            fix=fix,
        )
        for kind, severity, title, defense, attack, rate, fix in [
            ("labels", "low", "Labels can be read off the update", "none", "RowSum", None, ""),
            ("images", "critical", "Private images can be read off the update", "none", "LinearBias", 1.0, "Do not send this update undefended."),
            ("images", "medium", "Quantization to 3 bits does not hold", "Quantize(bits=3)", "InvertingGradients", 0.46, "Use fewer bits."),
        ]
    ]  # fmt: skip
    return Result(
        version="0.1.0",
        title="Hospital demo: medical tiles, ResNet-20",
        created="2025-11-20 23:41 UTC",
        seconds=104.2,
        command="gradiometer audit plan.toml --budget 2min --jobs 2",
        seed=0,
        plan={
            "title": "Hospital demo",
            "seed": 0,
            "attack": [{"name": name, "rows": "combined"} for name in ATTACKS],
            "audit": {"examples": 48, "tolerance": 0.1, "budget": None},
        },
        plan_hash="7b0d1c2e9f4a8d35",
        environment={"python": "3.11.7", "torch": "2.13.0", "platform": "Linux-6.1-x86_64", "cpu": "2 cores, AVX2"},
        verdict="LEAKS",
        level="critical",
        headline="Whoever sees one update of hospital A reads its images: 48 of 48 were retrieved. Clipping and 8-bit quantization do not change that.",
        threat=ThreatInfo(
            name="honest_but_curious",
            letter="E",
            granted=["model", "recipe", "batch_size", "buffers", "public"],
            withheld=["labels", "tamper"],
        ),
        clients=[
            ClientInfo(
                name=name,
                model="resnet20",
                parameters=272_474,
                recipe={"sends": "gradient", "mode": "eval", "examples": 1, "lr": 0.01},
                layout={"x": {"shape": [3, 32, 32], "kind": "pixels"}, "y": {"classes": 6}},
                data=DataInfo(name="medical tiles", source="scikit-image: retina, histology, cell", license="CC0", public=public),
                classes=["retina", "histology", "cell", "microaneurysm", "skin", "other"],
                meter=Meter(verdict="partial", reason="layer1.0.conv1 has 444 equations a channel too few", examples=1),
            )
            for name in names
        ],
        rows=[row for name in names for row in rows(name, chosen)],
        cells=[cell for name in names for cell in cells(name, chosen)],
        findings=findings,
        recommendations=[
            Recommendation(
                client=name,
                defense="GaussianNoise",
                text="Use GaussianNoise(sigma = 0.01, clip = 1.0): the cheapest defense that held. It costs 15 points of accuracy and no bytes.",
                ranked=["GaussianNoise: held, leak rate 0%, at most 9%", "Quantize: leaks, leak rate 93%, at most 98%"],
            )
            for name in names
        ],
        gallery=[picture for name in names for picture in gallery(name, chosen, public=public)] if pictures else [],
        controls=[
            Control(attack="LinearBias", passed=True, figure=143.2, threshold=60.0, unit="dB"),
            Control(attack="InvertingGradients", passed=True, figure=31.9, threshold=20.0, unit="dB"),
            Control(attack="SeeThrough", passed=False, figure=11.3, threshold=20.0, unit="dB", reason="the easy victim has no normalization"),
            Control(attack="RowSum", passed=True),
        ],
        checks=[
            Check(name="defense_changes_update", ok=True, where="Quantize"),
            Check(name="objective_falls", ok=False, where="SeeThrough, Prune", detail="the objective fell by 2 % only"),
            Check(name="randomized_defense_averaged", ok=True),
        ],
        not_tried=["attackers with a trained generator of such images", "several rounds of the same client", "a server that tampers with the model"],
    )  # fmt: skip


def tiny() -> Result:
    """The least that is a result: nothing was judged, nothing measured."""
    full = sample(defenses=0, pictures=False)
    empty: dict[str, Any] = {
        name: []
        for name in ("clients", "rows", "cells", "findings", "recommendations", "controls", "checks", "not_tried")
    }
    return full.model_copy(
        update=empty
        | {"verdict": "INCONCLUSIVE", "level": "none", "complete": False, "headline": "Stopped before the first cell."}
    )


if __name__ == "__main__":
    print(sample().model_dump_json(indent=1))
