"""run_training: the `[train]` table of a plan becomes federated trainings, one a defense. Run it again and it goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from gradiometer.core import BadInput, Batch, NotApplicable, Unsupported, Update, derive, save_update
from gradiometer.federation import Federation, Round, advance, begin, load_checkpoint, save_checkpoint
from gradiometer.federation.alone import alone
from gradiometer.federation.leak import leaks

from .dotted import source_hash
from .environment import environment
from .federating import data_behind, federation
from .plan import Plan, digest
from .schema_training import TRAINING_VERSION, Trained, TrainingResult
from .setup import Setup, set_up
from .store import lock, unwritable, write_whole
from .trained import assembled, summary, trained

CHECKPOINT, UPDATES, ALONE = "checkpoint.safetensors", "updates", "alone.json"


@dataclass(frozen=True, kw_only=True)
class Trains:
    """What a caller is told after every round."""

    defense: str
    round: Round
    rounds: int


def run_training(
    plan: Plan,
    folder: str | Path,
    *,
    runtime: Literal["process", "flower"] = "process",
    progress: Callable[[Trains], None] = lambda _: None,
    command: str = "",
) -> TrainingResult:
    """Trains with no defense and with each of the plan's.

    A folder that holds a part of the same training is continued, and ends with the same weights, bit for bit, as if it
    had never been interrupted.

    Args:
        runtime: `process` is deterministic and quick; `flower` is a real deployment on loopback, a process a message,
            with every update recorded. There a training that was interrupted starts anew.
        progress: called after every round in this process.

    Returns:
        The result, also written to `training.json`.

    Raises:
        BadConfig, BadInput: before any computation; or a folder that cannot be written.
    """
    torch.set_num_threads(1)
    setup = set_up(plan)
    folder = Path(folder)
    federations = {name: federation(setup, name) for name in setup.defenses}
    identity = _identity(setup)
    try:
        with ExitStack() as held:
            folder.mkdir(parents=True, exist_ok=True)
            lock(held.enter_context((folder / ".lock").open("w")), folder)
            write_whole(folder / "plan.toml", plan.dump())
            if runtime == "flower":
                runs = _in_flower(plan, federations, folder, identity)
            else:
                runs = [_train(one, name, setup, folder, identity, progress) for name, one in federations.items()]
            whole = next(iter(federations.values()))
            single = _alone(whole, setup, folder, identity, progress) if plan.train.alone else {}
            result = assembled(setup, whole, runs, single, command)
            write_whole(folder / "env.json", json.dumps(environment(), indent=1))
            write_whole(folder / "training.json", result.model_dump_json(indent=1))
    except OSError as error:
        raise unwritable(folder, error) from error
    return result


def _alone(
    federation: Federation, setup: Setup, folder: Path, identity: str, progress: Callable[[Trains], None]
) -> dict[str, int]:
    """How many test examples every member gets right by itself; those that were trained before are read."""
    path, rounds = folder / ALONE, setup.plan.train.rounds
    if federation.test is None:
        return {}
    kept = json.loads(path.read_text()) if path.exists() else {}
    found: dict[str, int] = kept["correct"] if kept.get("identity") == identity else {}
    for member in federation.members:
        if member.name not in found:
            try:
                last = alone(federation, member, rounds)
            except BadInput:  # diverged
                found[member.name] = 0
            else:
                assert last.accuracy is not None
                found[member.name] = last.accuracy.correct
                progress(Trains(defense=f"{member.name} alone", round=last, rounds=rounds))
            write_whole(path, json.dumps({"identity": identity, "correct": found}))
    return found


def _in_flower(plan: Plan, federations: dict[str, Federation], folder: Path, identity: str) -> list[Trained]:
    from gradiometer.federation.flower.deployment import deployment

    if plan.train.dropout:
        raise Unsupported("dropouts are drawn in this process only", fix="leave dropout out, or stop nodes yourself")
    from .flower import train_in_flower

    nodes = len(next(iter(federations.values())).members)
    with deployment(folder / f"flower-{identity}", nodes) as running:
        return [
            train_in_flower(running, plan, name, folder, folder / f"flower-{identity}" / place_of(name))
            for name in federations
        ]


def place_of(name: str) -> str:
    """The folder of a defense."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _train(
    federation: Federation,
    name: str,
    setup: Setup,
    folder: Path,
    identity: str,
    progress: Callable[[Trains], None],
) -> Trained:
    settings = setup.plan.train
    place = folder / place_of(name)
    (place / UPDATES).mkdir(parents=True, exist_ok=True)
    checkpoint, last = place / CHECKPOINT, settings.rounds - 1
    identity = digest([identity, name])
    wanted = recorded_rounds(setup.plan)
    error = ""
    try:
        state = load_checkpoint(checkpoint, federation, identity=identity) if checkpoint.exists() else begin(federation)
    except (NotApplicable, Unsupported) as other:  # of this defense to this model; the others are trained all the same
        return summary(federation, name, None, [], settings.target, [], [], other.message)

    def record(member: int | None, update: Update, batch: Batch) -> None:
        if update.round in wanted and (member or 0) < settings.recorded:
            path = place / UPDATES / update_name(update.round, member)
            save_update(update, path)
            if settings.attack_seconds:
                found = attacked(setup, name, update, batch, member)
                write_whole(path.with_suffix(".json"), json.dumps(found))

    while len(state.rounds) < settings.rounds:
        number = len(state.rounds)
        ends = number == last
        try:
            state = advance(federation, state, measured=ends or (number + 1) % settings.measure == 0, seen=record)
        except BadInput as stopped:
            error = stopped.message
            break
        progress(Trains(defense=name, round=state.rounds[-1], rounds=settings.rounds))
        if ends or (number + 1) % settings.checkpoint == 0:
            save_checkpoint(state, checkpoint, identity=identity)
    updates = sorted(str(path.relative_to(folder)) for path in (place / UPDATES).glob("*.safetensors"))
    told = [leak for path in sorted((place / UPDATES).glob("*.json")) for leak in json.loads(path.read_text())]
    return trained(federation, name, state, settings.target, updates, told, error)


def update_name(round: int, member: int | None) -> str:
    """The file of one update: a member's, or the sum over all."""
    return f"round-{round:04d}-{'sum' if member is None else f'member-{member:03d}'}.safetensors"


def recorded_rounds(plan: Plan) -> set[int]:
    """Rounds, from 0, whose updates are kept."""
    return {number % plan.train.rounds if number < 0 else number for number in plan.train.record}


def attacked(setup: Setup, defense: str, update: Update, batch: Batch, member: int | None) -> list[dict[str, Any]]:
    """What the plan's attacks read off one update, each adapted to the defense where it can be."""
    found = leaks(
        update,
        data_behind(setup, batch),
        list(setup.attacks.values()),
        rng=derive(setup.plan.seed, update.round, "sum" if member is None else member, "self-audit"),
        threat=setup.threat,
        defense=setup.defenses[defense],
        budget=setup.plan.train.attack_seconds,
    )
    return [leak.told() | {"member": member} for leak in found]


def _identity(setup: Setup) -> str:
    """What the weights depend on: a folder is only continued with the same training."""
    told = setup.plan.model_dump(mode="json")
    kept = {name: told[name] for name in ("seed", "client", "train")}
    for name in ("target", "checkpoint", "attack_seconds", "alone"):
        del kept["train"][name]
    prints = {name: victim.fingerprint for name, victim in setup.victims.items()}
    return digest(["train", TRAINING_VERSION, kept, prints, source_hash(told)])
