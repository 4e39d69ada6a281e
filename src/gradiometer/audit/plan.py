"""Plan: what an audit does, spelled in TOML. Every fault is reported at once, with its line, before any computation."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from gradiometer.core import THREATS, BadConfig, BadInput, Recipe, Threat, did_you_mean
from gradiometer.core.dotted import load_dotted

from . import toml
from .modality import GIVEN
from .naming import Fault, resolve
from .schema import SCHEMA_VERSION
from .sections import AuditSettings, ClientSpec, Section, TrainSettings, UtilitySettings
from .spelling import call, construct, resolve_call, spell
from .written import label


class Plan(Section):
    """A whole audit. Attacks and defenses are spelled out with every default (`audit.spelling`)."""

    title: str = "Audit"
    seed: int = Field(default=0, ge=0, lt=2**63)
    threat: dict[str, Any] = Field(default={})
    client: list[ClientSpec] = Field(min_length=1)
    attack: list[str | dict[str, Any]] = Field(min_length=1)
    defense: list[str | dict[str, Any]] = Field(default=[])
    audit: AuditSettings = AuditSettings()
    utility: UtilitySettings = UtilitySettings()
    train: TrainSettings = TrainSettings()

    @property
    def hash(self) -> str:
        """What results depend on, as 16 hexadecimal digits: a run folder holds the trials of one hash."""
        told = self.model_dump(mode="json")
        for name in ("budget", "jobs", "fail_on", "gallery"):
            del told["audit"][name]
        del told["title"], told["train"]
        return digest(["plan", SCHEMA_VERSION, told])

    def dump(self) -> str:
        """The plan as TOML, every default written out."""
        return toml.dump(self.model_dump(mode="json"))


def digest(value: Any) -> str:
    """A short stable hash of JSON-like settings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def threat_of(plan: Plan) -> Threat:
    """The threat with every switch resolved."""
    return Threat(**{key: value for key, value in plan.threat.items() if key != "name"})


def load_plan(path: str | Path) -> Plan:
    """Reads a plan file.

    Raises:
        BadInput: the file cannot be read.
        BadConfig: with all faults and their lines.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadInput(f"{path}: cannot read this plan: {reason}", fix="check the path") from error
    return parse_plan(text, source=str(path))


def parse_plan(text: str, *, source: str = "plan.toml") -> Plan:
    """A plan from TOML text; `source` is what messages call it."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise BadConfig(f"{source}: not valid TOML: {' '.join(str(error).split())[:200]}") from error
    return make_plan(document, source=source, text=text)


def make_plan(document: Mapping[str, Any], *, source: str = "plan", text: str = "", live: bool = False) -> Plan:
    """A checked and fully spelled plan from its settings.

    Args:
        source, text: what messages call the plan, and its TOML, to tell lines.
        live: attacks and defenses are spelled already; they need not be found by their names.
    """
    faults: list[Fault] = []
    resolved = dict(document)
    resolved["threat"] = _threat(document.get("threat", {}), faults)
    for kind in ("attack", "defense"):
        specs = document.get(kind, [])
        if isinstance(specs, list) and not live:
            resolved[kind] = _spelled(specs, kind, faults)
    if isinstance(document.get("train"), Mapping):
        resolved["train"] = {**document["train"], **_server_side(document["train"], faults)}
    clients = document.get("client")
    if isinstance(clients, list):
        resolved["client"] = [_client(spec, faults, ("client", i)) for i, spec in enumerate(clients)]
        _unique([c.get("name") for c in clients if isinstance(c, Mapping)], "client", faults)
        for kind in ("attack", "defense"):
            _known_choices(resolved, kind, faults)
    plan = None
    try:
        plan = Plan.model_validate(resolved)
    except ValidationError as error:
        faults += _from_pydantic(error)
    except RecursionError:
        faults.append(Fault((), "the plan is too deeply nested"))
    if plan is None or faults:
        placed = sorted((_placed(fault, source, text) for fault in faults), key=lambda problem: problem[0])
        problems = list(dict.fromkeys(problem for _, problem in placed))
        count = f"{len(problems)} faults" if len(problems) > 1 else "one fault"
        raise BadConfig(f"{source}: the plan has {count}", fix="mend the plan and run again", problems=problems)
    return plan


def _spelled(specs: list[Any], kind: str, faults: list[Fault]) -> list[Any]:
    out, labels = [], []
    for i, spec in enumerate(specs):
        if kind == "defense" and isinstance(spec, Mapping) and set(spec) == {"chain"}:
            spec = {"name": "Chain", "members": spec["chain"]}
        made = construct(spec, kind, faults, (kind, i))
        out.append({"name": "?"} if made is None else spell(made))
        labels.append(None if made is None else label(made))
    _unique(labels, kind, faults)
    return out


def _server_side(train: Mapping[str, Any], faults: list[Fault]) -> dict[str, Any]:
    """Strategy and aggregation with every default written out."""
    from gradiometer.federation import AGGREGATIONS, STRATEGIES

    told: dict[str, Any] = {}
    aggregations = {name: thing for name, (thing, _) in AGGREGATIONS.items()}
    for kind, known in (("strategy", STRATEGIES), ("aggregation", aggregations)):
        if train.get(kind) is not None:
            target, settings = resolve(train[kind], known, kind, faults, ("train", kind))
            made = None if target is None else call(target, settings, faults, ("train", kind))
            told[kind] = None if made is None else spell(made)
    return told


def _known_choices(resolved: Mapping[str, Any], kind: str, faults: list[Fault]) -> None:
    """Names of attacks or defenses that a client's table chooses must be those of some in the plan."""
    specs = resolved.get(kind)
    made = [construct(spec, kind, []) for spec in specs if isinstance(spec, Mapping)] if isinstance(specs, list) else []
    known = {name for thing in made if thing is not None for name in (label(thing), type(thing).__name__)}
    for i, spec in enumerate(resolved["client"]):
        chosen = spec.get(f"{kind}s") if isinstance(spec, Mapping) else None
        for name in chosen if isinstance(chosen, list) and known else ():
            if name not in known:
                hint = did_you_mean(str(name), known) or f"; the plan has {', '.join(sorted(known))}"
                faults.append(Fault(("client", i, f"{kind}s"), f"no {kind} {name!r}{hint}"))


def _unique(labels: list[Any], kind: str, faults: list[Fault]) -> None:
    for i, name in enumerate(labels):
        if name is not None and name in labels[:i]:
            faults.append(Fault((kind, i), f"{name} is listed twice"))


def _threat(spec: Any, faults: list[Fault]) -> dict[str, Any]:
    spec = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(spec, Mapping):
        faults.append(Fault(("threat",), "a threat is a name or a table of switches"))
        return {}
    name = spec.get("name", "honest_but_curious")
    if not isinstance(name, str) or name not in THREATS:
        hint = did_you_mean(str(name), THREATS)
        faults.append(Fault(("threat", "name"), f"no threat {name!r}{hint or '; known are ' + ', '.join(THREATS)}"))
        return {}
    base = {field.name: getattr(THREATS[name], field.name) for field in fields(Threat)}
    switches = {key: value for key, value in spec.items() if key != "name"}
    made = call(Threat, base | switches, faults, ("threat",))
    if made is not None and made.clients < 1:
        faults.append(Fault(("threat", "clients"), f"at least one client is in a sum, got {made.clients}"))
    if made is not None and made.clients > 1 and (made.rounds > 1 or made.tamper):
        faults.append(
            Fault(
                ("threat", "clients"),
                "a sum over clients is observed in one round, by a server that sends its honest model",
            )
        )
    if made is not None and made.rounds < 1:
        faults.append(Fault(("threat", "rounds"), f"at least one round is observed, got {made.rounds}"))
    return {} if made is None else {"name": name} | {f.name: getattr(made, f.name) for f in fields(Threat)}


def _client(spec: Any, faults: list[Fault], path: tuple[str | int, ...]) -> Any:
    if not isinstance(spec, Mapping):
        return spec
    spec = dict(spec)
    if isinstance(spec.get("recipe", {}), Mapping):
        recipe = call(Recipe, spec.get("recipe", {}), faults, (*path, "recipe"))
        spec["recipe"] = {} if recipe is None else {k: v for k, v in spell(recipe).items() if k != "name"}
    for kind in ("model", "data"):
        if spec.get(kind) is not None:
            given = GIVEN if kind == "model" else ()
            spec[kind] = resolve_call(spec[kind], kind, faults, (*path, kind), given) or "?"
    if isinstance(spec.get("loss"), str) and spec["loss"] != "cross_entropy":
        try:
            load_dotted(spec["loss"])
        except BadConfig as error:
            faults.append(Fault((*path, "loss"), error.message))
    ways = [way for way in ("target", "update") if spec.get(way) is not None]
    if not ways and (spec.get("model") is None or spec.get("data") is None):
        faults.append(Fault(path, "a client needs model and data, or target, or update and model"))
    if len(ways) > 1 or (ways == ["target"] and (spec.get("model") or spec.get("data"))):
        faults.append(Fault((*path, ways[0]), "target, update, and model with data exclude each other"))
    if ways == ["update"] and spec.get("model") is None:
        faults.append(
            Fault((*path, "update"), 'a captured update needs model = "..." (its file holds weights, not code)')
        )
    return spec


def _from_pydantic(error: ValidationError) -> list[Fault]:
    sections: dict[str, type[BaseModel]] = {"client": ClientSpec, "audit": AuditSettings, "utility": UtilitySettings}
    sections["train"] = TrainSettings
    faults = []
    for item in error.errors(include_url=False):
        path = tuple(part for part in item["loc"] if not (isinstance(part, str) and "[" in part))
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = sections[str(path[0])].model_fields if len(path) > 1 else Plan.model_fields
            text = f'no setting "{path[-1]}"{did_you_mean(str(path[-1]), known) or "; known are " + ", ".join(known)}'
        elif item["type"] == "missing":
            path, text = path[:-1], f'"{path[-1]}" is missing'
        else:
            text = f"{text[:1].lower()}{text[1:]}, got {str(item['input'])[:60]!r}"
        faults.append(Fault(path, text))
    return faults


def _placed(fault: Fault, source: str, text: str) -> tuple[int, str]:
    """The line of a fault, and what to say of it."""
    found = toml.locate(text, fault.path)
    if found is None:
        name = ".".join(map(str, fault.path))
        return 0, f"{source}: {name + ': ' if name else ''}{fault.text}"
    return found[0], f"{source}:{found[0]}   {found[1]}\n      {fault.text}"
