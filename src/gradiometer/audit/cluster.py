"""Cluster: trials are computed on the nodes of a Ray cluster. Bytes of JSON go out and come back, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import platform
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from gradiometer.core import BadConfig, BadInput, GradiometerError, Unsupported

from .compute import compute
from .dotted import source_hash
from .environment import environment
from .evidence import Record
from .pictures import keep_pictures
from .setup import Setup
from .trials import Trial
from .workers import Finished, prints_of, rebuilt

LOCAL = "local"


class Cluster:
    """A crew of one task a processor of the cluster. See `workers.Crew`.

    Tasks and not actors: a task that was lost is given again to whatever node is free, where an actor would wait for room.

    Args:
        address: `local` starts Ray on this machine; `auto` joins the cluster that it belongs to; `host:port` joins that one.
        jobs: trials at a time; 0 takes one a processor of the cluster.

    Raises:
        BadConfig: Ray is not installed, there is no such cluster, or the objects of the audit are live.
    """

    attempts = 3

    def __init__(self, setup: Setup, folder: Path, address: str, jobs: int) -> None:
        if setup.live:
            raise BadConfig("live objects cannot be sent to a cluster", fix="spell the audit as a plan")
        self._ray, self._ours = _joined(address, jobs)
        self._folder, self._jobs = folder, jobs
        self._running: dict[Any, Trial] = {}
        told = {"plan": setup.plan.model_dump(mode="json"), "prints": prints_of(setup), "here": _here(setup)}
        self._told = json.dumps(told | {"cwd": os.getcwd()}).encode()
        on_gpu = torch.device(setup.plan.audit.device).type != "cpu"
        self._resource = "GPU" if on_gpu else "CPU"
        self._task = self._ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_retries=0, max_calls=0)(answer)

    @property
    def width(self) -> int:
        """Trials at a time, now: nodes come and go."""
        found = int(self._ray.cluster_resources().get(self._resource, 0))
        return max(1, min(self._jobs or found, found))

    def room(self) -> bool:
        return len(self._running) < self.width

    def idle(self) -> bool:
        return not self._running

    def give(self, trial: Trial) -> None:
        self._running[self._task.remote(self._told, json.dumps(asdict(trial)).encode())] = trial

    def finished(self) -> Iterator[Finished]:
        ready, _ = self._ray.wait(list(self._running), timeout=1.0)
        for reference in ready:
            trial = self._running.pop(reference)
            try:
                answered = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                yield trial, None, f"its node or its process is gone: {_line(error)}"
            else:
                yield trial, *self._taken(trial, json.loads(answered))

    def close(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._ours:
            self._ray.shutdown()

    def _taken(self, trial: Trial, answered: dict[str, Any]) -> tuple[Record, str]:
        """The record of an answer, with its pictures put into the run folder, and what to log.

        Raises:
            BadConfig, BadInput: what went wrong there.
        """
        if error := answered.get("error"):
            kind = BadConfig if error["class"] == "BadConfig" else BadInput
            raise kind(error["message"], where=f"{error['where']} on node {error['node']}".strip(), fix=error["fix"])
        record: Record = answered["record"]
        if record["id"] != trial.id:
            raise BadInput(f"a node answered for trial {record['id']}, asked for {trial.id}")
        if answered["pictures"] is not None:
            keep_pictures(self._folder, trial, base64.b64decode(answered["pictures"]))
        return record, answered["log"]


def answer(told: bytes, asked: bytes) -> bytes:
    """On a node: computes the trial that was asked for.

    Args:
        told: the plan, fingerprints and versions of whoever asks.

    Returns:
        The record, the log's text and the pictures' file; or an error.
    """
    torch.set_num_threads(1)
    node, texts = platform.node(), list[str]()
    try:
        setup = _rebuilt(told)
        with tempfile.TemporaryDirectory() as place:
            record = compute(setup, Trial(**json.loads(asked)), Path(place), texts.append)
            name = record.get("pictures")
            pictures = (Path(place) / "gallery" / name).read_bytes() if name else None
    except GradiometerError as error:
        told_back = {"message": error.message, "where": error.where, "fix": error.fix}
        return json.dumps({"error": told_back | {"class": type(error).__name__, "node": node}}).encode()
    except OSError as error:
        told_back = {
            "message": f"the node's disk: {error.strerror}",
            "where": tempfile.gettempdir(),
            "fix": "free some",
        }
        return json.dumps({"error": told_back | {"class": "BadInput", "node": node}}).encode()
    shown = None if pictures is None else base64.b64encode(pictures).decode()
    return json.dumps({"record": record, "log": "\n".join(texts), "pictures": shown}).encode()


@lru_cache(maxsize=1)
def _rebuilt(told: bytes) -> Setup:
    """The setup that a process of a node computes all its trials with.

    Raises:
        BadConfig: other versions are installed here, or the user's code is another one.
    """
    asked = json.loads(told)
    if Path(asked["cwd"]).is_dir():  # a shared or the same disk; otherwise Ray has put the working directory elsewhere
        os.chdir(asked["cwd"])
    setup = rebuilt(asked["plan"], asked["prints"])
    here = _here(setup)
    other = [
        f"{name} {here[name]} instead of {version}" for name, version in asked["here"].items() if here[name] != version
    ]
    if other:
        raise BadConfig(
            f"a node would compute other results: it has {', '.join(other)}", fix="install the same on every node"
        )
    return setup


def _here(setup: Setup) -> dict[str, str]:
    """What must be the same wherever trials are computed."""
    from gradiometer import __version__

    told = {name: version for name, version in environment().items() if name != "cores"}
    return told | {"gradiometer": __version__, "code": source_hash(setup.plan.model_dump(mode="json"))}


def _joined(address: str, jobs: int) -> tuple[Any, bool]:
    """Ray, connected, and whether it was connected here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is told to anybody, also by a cluster that is started here
    try:
        import ray
    except ImportError as error:
        raise BadConfig("--ray needs Ray, which is not installed", fix='pip install "gradiometer[ray]"') from error
    if ray.is_initialized():
        return ray, False
    if address.startswith("ray://"):
        raise Unsupported("Ray Client is not supported", fix="run on a machine of the cluster: --ray auto or host:port")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            ray.init(LOCAL, num_cpus=jobs or None, include_dashboard=False, **quiet)
        else:
            _reachable(address)
            ray.init(address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise BadConfig(
            f"cannot join the Ray cluster {address!r}: {_line(error)}",
            fix="check the address and that `ray status` works there; `--ray local` needs no cluster",
        ) from error
    return ray, True


def _reachable(address: str) -> None:
    """Asks before Ray does, which would try for a minute."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=10).close()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
