"""A plan's federated training in a real Flower deployment on loopback: the same members, draws, strategy and defense."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradiometer.core import Data, GradiometerError, concatenate, load_update
from gradiometer.federation import Federation
from gradiometer.federation.local import draw
from gradiometer.federation.secure import load_directory, load_member, save_members

from .federating import data_behind, federation
from .plan import Plan, load_plan
from .schema_training import Trained, TrainedRound
from .setup import Setup, set_up
from .train import attacked, recorded_rounds, update_name
from .trained import summary

if TYPE_CHECKING:
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    from gradiometer.federation.flower.deployment import Deployment

KEYS = "keys"
"""Folder of the identities of secure aggregation: this machine plays every member, and so holds all keys."""
TIMEOUT = 1800.0
"""Seconds for one training; every message starts a process that imports torch."""


def train_in_flower(running: Deployment, plan: Plan, name: str, folder: Path, place: Path) -> Trained:
    """One training of the plan: `name` is the defense's label, `place` its folder. It starts anew if it is not finished."""
    done = place / "trained.json"
    if done.exists():
        return Trained.model_validate_json(done.read_bytes())
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if plan.train.aggregation:
        save_members(place / KEYS, range(len(federation(set_up(plan), name).members)))
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
    from gradiometer.federation.flower import Defend, Mask, Record, SelfAudit
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
        Defend(one.defense, one.client.model, seed=one.seed, summed=one.aggregation is not None),
    ]
    if one.aggregation is not None:
        mods.insert(0, Mask(one.client.model, partial(load_member, Path(folder) / KEYS), most=one.most))
    return app(one, mods=mods)


def server_app(plan: str, defense: str, folder: str) -> ServerApp:
    """The app of the server."""
    from gradiometer.federation.flower import server_app as app

    setup = set_up(load_plan(plan))
    one = federation(setup, defense)
    directory = None if one.aggregation is None else load_directory(Path(folder) / KEYS)
    updates = Path(folder) / "updates"
    return app(one, rounds=setup.plan.train.rounds, folder=updates, directory=directory)


def _collected(plan: Plan, name: str, folder: Path, place: Path, error: str) -> Trained:
    """What the apps wrote, as the record that an in-process training gives."""
    rounds = _lines(place / "updates" / "server.jsonl")
    replies = _lines(place / "updates" / "replies.jsonl")
    setup = set_up(plan)
    federated = federation(setup, name)
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
                refused=_refused(mine),
                clients=sum(reply.get("clients", 1) for reply in mine if "refused" not in reply),
            )
        )
    if not error and len(told) < plan.train.rounds:
        error = f"the server stopped after {len(told)} rounds: see {place.parent / 'run.log'}"
    updates = sorted(str(path.relative_to(folder)) for path in (place / "updates").glob("*.safetensors"))
    if federated.aggregation is None:
        leaks = sorted(_lines(place / "leaks" / "leaks.jsonl"), key=lambda line: (line["round"], line["member"]))
    else:
        leaks = [leak for line in replies for leak in _of_sum(setup, federated, name, place, line)]
    first = rounds[0]["accuracy"] if rounds else None
    return summary(federated, name, first, told, plan.train.target, updates, leaks, error)


def _refused(replies: list[dict[str, Any]]) -> dict[str, str]:
    """Why nodes have no part in a round, or why there is no round at all."""
    told: dict[str, str] = {}
    for reply in (reply for reply in replies if "refused" in reply):
        who = f"node {reply['node']}" if "node" in reply else "the round"
        told[who] = f"{told[who]}; {reply['refused']}" if who in told else reply["refused"]
    return told


def _of_sum(setup: Setup, federated: Federation, name: str, place: Path, line: dict[str, Any]) -> list[dict[str, Any]]:
    """What attacks read off one recorded sum, judged with the examples of those who are in it."""
    number = line["round"]
    path = place / "updates" / update_name(number, None)
    if "survivors" not in line or number not in recorded_rounds(setup.plan) or not setup.plan.train.attack_seconds:
        return []
    model = federated.client.model
    update = load_update(path, model=model, loss=federated.client.loss)
    batches = [
        draw(federated.members[i].train, federated.examples, seed=federated.seed, round=number, member=i)
        for i in line["survivors"]
    ]
    return attacked(setup, name, update, concatenate(batches), None)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
