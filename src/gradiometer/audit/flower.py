"""A plan's federated training in a real Flower deployment on loopback: the same members, draws, strategy and defense."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradiometer.core import Data, GradiometerError
from gradiometer.federation.local import draw

from .federating import data_behind, federation
from .plan import Plan, load_plan
from .schema_training import Trained, TrainedRound
from .setup import set_up
from .train import recorded_rounds
from .trained import summary

if TYPE_CHECKING:
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    from gradiometer.federation.flower.deployment import Deployment

TIMEOUT = 1800.0
"""Seconds for one training; every message starts a process that imports torch."""


def train_in_flower(running: Deployment, plan: Plan, name: str, folder: Path, place: Path) -> Trained:
    """One training of the plan: `name` is the defense's label, `place` its folder. It starts anew if it is not finished."""
    done = place / "trained.json"
    if done.exists():
        return Trained.model_validate_json(done.read_bytes())
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    apps = {
        side: f"from gradiometer.audit.flower import {side}_app\n\n"
        f"app = {side}_app({str(folder.resolve() / 'plan.toml')!r}, {name!r}, {str(place.resolve())!r})\n"
        for side in ("client", "server")
    }
    error = ""
    try:
        running.run(apps["client"], apps["server"], timeout=TIMEOUT)
    except GradiometerError as stopped:
        error = stopped.message
    told = _collected(plan, name, folder, place, error)
    if not told.error:
        done.write_text(told.model_dump_json(indent=1))
    return told


def client_app(plan: str, defense: str, folder: str) -> ClientApp:
    """The app of a member: it defends, records what leaves, and attacks it."""
    from gradiometer.federation.flower import Defend, Record, SelfAudit
    from gradiometer.federation.flower import client_app as app

    setup = set_up(load_plan(plan))
    one = federation(setup, defense)
    client = replace(one.client, recipe=one.strategy.recipe(one.client.recipe))
    recorded = recorded_rounds(setup.plan)

    def data(member: int, number: int) -> Data:
        batch = draw(one.members[member].train, one.examples, seed=one.seed, round=number, member=member)
        return data_behind(setup, batch)

    mods: list[Any] = [
        SelfAudit(
            client,
            list(setup.attacks.values()),
            data,
            folder=Path(folder) / "leaks",
            budget=setup.plan.train.attack_seconds,
            rounds=recorded,
            threat=setup.threat,
            defense=one.defense,
            seed=one.seed,
        ),
        Record(client, Path(folder) / "sent", rounds=recorded),
        Defend(one.defense, one.client.model, seed=one.seed),
    ]
    return app(one, mods=mods)


def server_app(plan: str, defense: str, folder: str) -> ServerApp:
    """The app of the server."""
    from gradiometer.federation.flower import server_app as app

    setup = set_up(load_plan(plan))
    return app(federation(setup, defense), rounds=setup.plan.train.rounds, folder=Path(folder) / "updates")


def _collected(plan: Plan, name: str, folder: Path, place: Path, error: str) -> Trained:
    """What the apps wrote, as the record that an in-process training gives."""
    rounds = _lines(place / "updates" / "server.jsonl")
    replies = _lines(place / "updates" / "replies.jsonl")
    federated = federation(set_up(plan), name)
    told = []
    for line in rounds[1:]:
        number = line["round"] - 1
        mine = [reply for reply in replies if reply["round"] == number]
        told.append(
            TrainedRound(
                number=number,
                accuracy=line["accuracy"],
                worst=line["worst"],
                worst_member=line["worst_member"],
                uplink_bytes=sum(reply.get("wire_bytes", 0) for reply in mine),
                seconds=line["seconds"],
                defense_seconds=0.0,
                refused={f"node {reply['node']}": reply["refused"] for reply in mine if "refused" in reply},
            )
        )
    if not error and len(told) < plan.train.rounds:
        error = f"the server stopped after {len(told)} rounds: see {place.parent / 'run.log'}"
    updates = sorted(str(path.relative_to(folder)) for path in (place / "updates").glob("*.safetensors"))
    leaks = sorted(_lines(place / "leaks" / "leaks.jsonl"), key=lambda line: (line["round"], line["member"]))
    first = rounds[0]["accuracy"] if rounds else None
    return summary(federated, name, first, told, plan.train.target, updates, leaks, error)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
