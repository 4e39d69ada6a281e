"""Computing one trial: a round is played, the attack reads what the observer sees, and `metrics.score` judges it."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gradiometer.attacks.graph import Unread
from gradiometer.core import (
    Attack,
    GradiometerError,
    Guess,
    Memory,
    MissingKnowledge,
    NotApplicable,
    Unsupported,
    Update,
    derive,
)
from gradiometer.numerics.generators import diffusion_of

from . import control, pricing
from .claims import claims
from .drawing import drawings
from .evidence import Record
from .generators import GENERATIVE, generator_of, looked_at, named
from .judging import judged
from .modality import modality
from .pictures import fingerprint, save_pictures
from .quoting import quotes
from .setup import UNDEFENDED, Setup
from .targets import Victim
from .trials import Trial


def compute(setup: Setup, trial: Trial, folder: Path | None, log: Callable[[str], None] = lambda _: None) -> Record:
    """The trial's line: what it was, how it ended, and its figures.

    Raises:
        OSError: the disk is full. Everything else that goes wrong is part of the record.
    """
    started = time.process_time()
    status, reason, body = "ok", "", {}
    try:
        body = _KINDS[trial.kind](setup, trial, folder)
    except Unread as error:
        status, reason, body = "not_applicable", _reason(error), {"cause": error.cause.name}
    except (NotApplicable, Unsupported) as error:
        status, reason = "not_applicable", _reason(error)
    except MissingKnowledge as error:
        status, reason = "missing_knowledge", _reason(error)
    except GradiometerError as error:
        status, reason = "failed", _reason(error)
    except Exception as error:  # attacks, defenses and models may be anybody's code: the record says what happened
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        status, reason = "failed", _line(f"{type(error).__name__}: {error}")
        log(f"{trial}\n{traceback.format_exc()}")
    told: Record = {"id": trial.id, "kind": trial.kind, "client": trial.client, "defense": trial.defense}
    told |= {
        "attack": trial.attack,
        "informed": trial.informed,
        "batch": trial.batch,
        "status": status,
        "reason": reason,
    }
    return {**told, "seconds": round(time.process_time() - started, 4), **body}


def observe(setup: Setup, victim: Victim, number: int, defense: str, attack: Attack | None = None) -> Update:
    """What the observer sees of one batch. All attacks see the same update, unless they tamper with the model.

    Where the threat grants several rounds, the client repeats the batch and the observer averages: what is random in
    the defense averages out, and nothing else does.
    """
    if victim.captured is not None:
        return victim.captured.under(setup.threat)
    rng = derive(setup.plan.seed, "round", victim.name, defense, number)
    memory: Memory = {}
    updates = [
        victim.play(
            number,
            rng=rng,
            threat=setup.threat,
            defense=setup.defenses.get(defense),
            attack=attack,
            memory=memory,
            round=i,
        )
        for i in range(setup.threat.rounds)
    ]
    guard = setup.defenses.get(defense)
    if len(updates) == 1 or (guard is not None and guard.cuts()):  # parts of the model cannot be averaged
        return updates[-1]
    return updates[-1].replace(
        values={name: torch.stack([u.values[name] for u in updates]).mean(0) for name in updates[0].values}
    )


def _attack(setup: Setup, trial: Trial, folder: Path | None) -> Record:
    victim = setup.victims[trial.client]
    attack = setup.attack(trial.attack, trial.defense, trial.informed)
    update = observe(setup, victim, trial.batch, trial.defense, attack).to(setup.plan.audit.device)
    seed = setup.plan.seed
    started = time.process_time()
    guess = attack.run(update, derive(seed, "attack", trial.id)).to("cpu")
    seconds = time.process_time() - started
    noise, refused = _on_noise(attack, update, guess, seed, trial)
    returned = fingerprint(guess)
    body: Record = {}
    if victim.data is not None:
        generator = generator_of(attack, update)
        if generator is not None and diffusion_of(generator.blocks) is not None:
            generator = None  # it shows every picture somewhere: there is no nearest one
        body = judged(setup, victim, victim.batch(trial.batch), guess, noise, trial.batch, generator)
    else:
        body |= {"claims": claims(update, guess, noise)}
    body |= {
        "attack_seconds": round(seconds, 4),
        "objective": None if guess.objective is None else float(guess.objective),
        "curve": _thinned(guess.curve),
        "noise_refused": refused,
        "probe": _floats(attack.probe(update, derive(seed, "probe", trial.id))),
        "guess": returned,
        "unaltered": returned == fingerprint(guess),
        # An update of zeros is its own noise.
        "ignores": noise is not None
        and returned == fingerprint(noise)
        and any(v.any() for v in update.values.values()),
        "notes": _plain(guess.notes),
    }
    if folder is not None:
        body |= save_pictures(setup, victim, trial, guess, folder, [e["guess"] for e in body.get("examples", [])])
    matched = [e["guess"] for e in body.get("examples", [])]
    body |= quotes(setup, victim, trial.batch, guess, matched) | drawings(setup, victim, trial.batch, guess, matched)
    return body


def _on_noise(attack: Attack, update: Update, guess: Guess, seed: int, trial: Trial) -> tuple[Guess | None, str]:
    """The attack's guess from noise of the same size, or why it makes none: some recognize that this is no gradient.

    Of a generative attack the labels that it found are granted: with them and the generator alone it shows plausible pictures.
    """
    try:
        blind = update.noise(derive(seed, "noise", trial.id))
        if attack.card.family == GENERATIVE and "y" in guess:
            blind = blind.replace(labels=guess["y"].to(next(iter(update.values.values())).device))
        return attack.run(blind, derive(seed, "attack", trial.id)).to("cpu"), ""
    except GradiometerError as error:
        return None, _reason(error)


def _decoy(setup: Setup, trial: Trial, folder: Path | None) -> Record:
    """The attack reads the update of another batch, and its guess is compared with this one: nothing may match."""
    victim, attack = setup.victims[trial.client], setup.attacks[trial.attack]
    update = observe(setup, victim, len(victim.batches) - 1, trial.defense, attack).to(setup.plan.audit.device)
    guess = attack.run(update, derive(setup.plan.seed, "attack", trial.id)).to("cpu")
    return judged(setup, victim, victim.batch(trial.batch), guess, None, trial.batch)


def _control(setup: Setup, trial: Trial, folder: Path | None) -> Record:
    victim, attack = setup.victims[trial.client], setup.attacks[trial.attack]
    recipe = victim.client.recipe
    kind = modality(victim.client.layout)
    told = control.positive(attack, recipe, setup.threat, setup.plan.seed, setup.plan.audit.device, kind)
    if victim.data is not None and victim.captured is None and named(attack) is not None:
        generator = generator_of(attack, observe(setup, victim, 0, UNDEFENDED, attack))
        if generator is not None:
            told["generator"] = looked_at(generator, victim, derive(setup.plan.seed, "generator", trial.client))
    return told


def _defense(setup: Setup, trial: Trial, folder: Path | None) -> Record:
    return pricing.price(setup, setup.victims[trial.client], trial.defense)


_KINDS: dict[str, Callable[[Setup, Trial, Path | None], Record]] = {
    "attack": _attack,
    "decoy": _decoy,
    "control": _control,
    "defense": _defense,
}


def _reason(error: GradiometerError) -> str:
    return _line(error.message)


def _line(text: str) -> str:
    """On one line, short, and writable as UTF-8."""
    return " ".join(text.split())[:300].encode("utf-8", "replace").decode()


def _floats(values: Any) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def _thinned(curve: tuple[float, ...], points: int = 50) -> list[float]:
    step = max(1, -(-len(curve) // points))
    return [float(value) for value in (*curve[::step], *curve[-1:])][: points + 1]


def _plain(value: Any) -> Any:
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
