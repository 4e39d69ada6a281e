"""Plans that nobody had to write: the built-in hospital, and a quick look at any client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gradiometer.core import BadConfig, Batch, Client, Data, GradiometerError, did_you_mean, load_update

from .modality import MODALITIES, modality
from .naming import catalogue
from .own import own_file
from .plan import Plan, make_plan
from .spelling import build_call
from .targets import from_target

LIVE = "(a Python object)"
EXAMPLES = 30
"""One more than the 29 that show a leak rate below 10 % if none leaks."""

Spec = str | Mapping[str, Any]

_LABELS = "RowSum"
_READERS: dict[tuple[str, str], list[Spec]] = {
    ("pictures", "gradient"): [
        "RowSum",
        "Recursive",
        "LinearBias",
        {"name": "InvertingGradients", "iterations": 40, "labels": _LABELS},
    ],
    ("pictures", "delta"): ["RowSum", "LinearBias", {"name": "FedAvgMatching", "iterations": 60, "labels": _LABELS}],
    ("sentences", "gradient"): ["RowSum", "BagOfWords", "DAGER"],
    ("sentences", "delta"): ["RowSum", "BagOfWords", "DAGER"],
    ("graphs", "gradient"): ["RowSum", "GRAIN"],
    ("graphs", "delta"): ["RowSum", "GRAIN"],
}
_BATCHES: dict[str, list[Spec]] = {"pictures": ["SPEAR"]}
"""What else reads several examples."""
_PARTNERS = {"pictures": ("mlp", "medical"), "sentences": ("gpt", "notes"), "graphs": ("gcn", "grown")}
"""The model that a data set is scanned under, and the data that a model is scanned on, where only one is named."""
_DEFENSES: list[Spec] = [
    {"name": "Quantize", "bits": 8},
    {"name": "Prune", "keep": 0.1},
    {"chain": [{"name": "Clip", "bound": 1.0}, {"name": "GaussianNoise", "std": 0.05}]},
]


def demo_plan(*, seed: int = 0, budget: float | None = 110.0) -> Plan:
    """A hospital trains a classifier of tissue tiles with its peers. What does the server see?

    Labels, exact reconstructions and an optimization attack, against no defense and three, each met by an attacker who
    does not know it and by one who does; and a whole batch out of a deep network's gradient.
    """
    return make_plan(
        {
            "title": "Demo: a hospital's update",
            "seed": seed,
            "threat": "honest_but_curious",
            "client": [
                {
                    "name": "hospital",
                    "model": {"name": "mlp", "widths": [32]},
                    "data": {"name": "medical", "size": 32},
                    "recipe": {"examples": 1},
                },
                {
                    "name": "hospital with ResNet18",
                    "model": {"name": "resnet18", "init": "torch"},
                    "data": {"name": "medical", "size": 32},
                    "recipe": {"examples": 4},
                    "examples": 4,
                    "attacks": ["RowSum", "Recursive"],
                    "defenses": [],
                },
            ],
            "attack": _READERS["pictures", "gradient"],
            "defense": _DEFENSES,
            "audit": {"examples": EXAMPLES, "budget": budget},
            "utility": {"rounds": 40, "lr": 0.05},
        },
        source="the demo's plan",
    )


def scan_plan(
    target: str | Path | None = None,
    *,
    live: tuple[Client, Data] | None = None,
    model: str | None = None,
    attacks: Iterable[Spec] = (),
    defenses: Iterable[Spec] = (),
    threat: str = "honest_but_curious",
    seed: int = 0,
    budget: float = 120.0,
) -> Plan:
    """A plan for a quick look: attacks that fit what the client sends, and three common defenses.

    Args:
        target: `package.module:function`, a captured `update.safetensors`, a built-in model (on the medical tiles), a
            built-in data set (under an MLP), `model/data`, or a file of your own with SMILES or sentences. None is the demo, with these attacks and defenses if any.
        live: a client and its data instead of a target.
        model: `package.module:function` or a built-in name: the model that a captured update belongs to.
        attacks, defenses: spelled; the defaults where there are none.

    Raises:
        BadConfig, BadInput: the target cannot be found or built.
    """
    demo = demo_plan(seed=seed, budget=budget)
    chosen = {"attack": list(attacks), "defense": list(defenses), "threat": threat}
    if target is None and live is None:
        told = demo.model_dump(mode="json") | {key: value for key, value in chosen.items() if value}
        if chosen["attack"]:  # these meet every client, also the one for which the demo picks its own
            told["client"] = [{k: v for k, v in one.items() if k != "attacks"} for one in told["client"]]
        return make_plan(told, source="scan")
    spec, kind, sends, batch, private = _client(None if target is None else str(target), live, model, demo)
    several = _BATCHES.get(kind, []) if batch > 1 or "update" in spec else []
    return make_plan(
        {
            "title": f"Scan of {spec['name']}",
            "seed": seed,
            "threat": threat,
            "client": [spec],
            "attack": chosen["attack"] or [*_READERS[kind, sends], *several],
            "defense": chosen["defense"] or ([] if spec.get("update") else _DEFENSES),
            "audit": {"examples": min(EXAMPLES * batch, max(private // batch, 1) * batch), "budget": budget},
        },
        source="scan",
    )


def _client(
    target: str | None, live: tuple[Client, Data] | None, model: str | None, demo: Plan
) -> tuple[dict[str, Any], str, str, int, int]:
    """The `[[client]]` table, its modality, what it sends, the size of its batches, and how many private examples there are."""
    if live is not None:
        client, data = live
        return {"name": type(client.model).__name__, "target": LIVE}, *_measured(client, data)
    assert target is not None
    if target.endswith(".safetensors"):
        if model is None:
            raise BadConfig(
                f"{target}: a captured update holds weights but no code",
                fix="name its model: --model package.module:function",
            )
        return {"name": Path(target).stem, "update": target, "model": model}, _recorded(target), "gradient", 1, 1
    own = own_file(target)
    if own is not None:
        kind, source = own
        spec = {"name": Path(target).name, "model": _PARTNERS[kind][0], "data": source}
        return spec, kind, "gradient", 1, build_call(source, "data").private.size
    if ":" in target:
        return {"name": target.rpartition(":")[2], "target": target}, *_measured(*from_target(target))
    from gradiometer.data.catalogue import GRAPHS, TEXTS
    from gradiometer.models.catalogue import MODELS

    models, data_sets = catalogue("model"), catalogue("data")
    name, _, other = target.partition("/")
    reads = (
        MODELS[name][1].modality if name in models else "text" if name in TEXTS else "graph" if name in GRAPHS else ""
    )
    kind = {"text": "sentences", "graph": "graphs"}.get(reads, "pictures")
    model_partner, data_partner = _PARTNERS[kind]
    parts = [name, other] if other else [name, data_partner] if name in models else [model_partner, name]
    if parts[0] not in models or parts[1] not in data_sets:
        known = [*models, *data_sets]
        wrong = next(part for part in (name, other) if part and part not in known)
        raise BadConfig(
            f"there is no target {wrong!r}{did_you_mean(wrong, known)}",
            fix=f"name package.module:function, an update.safetensors, or one of {', '.join(known)}",
        )
    spec = demo.client[0].model_dump(mode="json") | {"name": target, "model": parts[0], "data": parts[1]}
    return spec, kind, "gradient", 1, EXAMPLES


def _measured(client: Client, data: Data | Batch) -> tuple[str, str, int, int]:
    private = data if isinstance(data, Batch) else data.private
    return modality(client.layout).many, client.recipe.sends, client.recipe.examples, private.size


def _recorded(path: str) -> str:
    """The modality of a captured update; a file that cannot be read is reported where the audit reads it."""
    try:
        return modality(load_update(path).layout).many
    except GradiometerError:
        return MODALITIES[0].many
