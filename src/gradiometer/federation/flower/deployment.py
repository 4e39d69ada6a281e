"""Deployment: a real SuperLink and real SuperNodes on this machine's loopback, started, used and stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gradiometer.core import BadInput, Unsupported

APP = """\
[project]
name = "gradiometer-app"
version = "0.1.0"
description = "a federation of gradiometer"
license = "Apache-2.0"
dependencies = []

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["gradiometer_app"]

[tool.flwr.app]
publisher = "gradiometer"

[tool.flwr.app.components]
serverapp = "gradiometer_app.server_app:app"
clientapp = "gradiometer_app.client_app:app"
"""


class Deployment:
    """A running SuperLink with its SuperNodes.

    Args:
        folder: of logs and of Flower's own files.
    """

    def __init__(
        self, folder: Path, nodes: Sequence[subprocess.Popen[bytes]], environment: dict[str, str], port: int
    ) -> None:
        self.folder, self.nodes, self.environment, self.port = folder, nodes, environment, port

    def run(self, client: str, server: str, *, timeout: float) -> None:
        """Runs a pair of apps to their end.

        Args:
            client, server: Python files that bind `app`. They run in processes of their own, on this machine.

        Raises:
            BadInput: the run fails or takes longer; the message names the log.
        """
        place = self.folder / "app"
        shutil.rmtree(place, ignore_errors=True)
        (place / "gradiometer_app").mkdir(parents=True)
        (place / "pyproject.toml").write_text(APP)
        (place / "gradiometer_app" / "__init__.py").touch()
        (place / "gradiometer_app" / "client_app.py").write_text(client)
        (place / "gradiometer_app" / "server_app.py").write_text(server)
        log = self.folder / "run.log"
        try:
            with log.open("a") as file:
                code = subprocess.run(
                    [_tool("flwr"), "run", str(place), "loop", "--stream"],
                    env=self.environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    check=False,
                ).returncode
        except subprocess.TimeoutExpired as error:
            raise BadInput(f"the Flower run took longer than {timeout:.0f} s", where=str(log)) from error
        if code:
            raise BadInput(f"flwr run ended with code {code}", where=str(log), fix="read the log")

    def kill(self, node: int) -> None:
        """Ends a node and all that it started, as a machine that fails does."""
        _stop(self.nodes[node], signal.SIGKILL)

    def online(self) -> int:
        """How many nodes answer."""
        done = subprocess.run(
            [_tool("flwr"), "supernode", "ls", "loop", "--format", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.count('"online"')


@contextmanager
def deployment(
    folder: str | Path, nodes: int, *, paths: Sequence[str] = (), patience: float = 180.0
) -> Iterator[Deployment]:
    """A SuperLink and `nodes` SuperNodes, as separate processes without encryption on 127.0.0.1; stopped on leaving.

    Args:
        paths: folders that the apps' processes may import from, beside those of this process.
        patience: seconds until all nodes must be online.

    Raises:
        Unsupported: Flower's commands are not installed.
        BadInput: the nodes do not come up.
    """
    folder = Path(folder).resolve()
    home = folder / "flower-home"
    home.mkdir(parents=True, exist_ok=True)
    port, *node_ports = _free_ports(1 + nodes)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "loop"\n\n[superlink.loop]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    environment = _environment(home, paths)
    link = [_tool("flower-superlink"), "--insecure", "--host", "127.0.0.1", "--port", str(port)]
    commands = {"superlink": [*link, "--disable-runtime-dependency-installation"]}
    for i, own in enumerate(node_ports):
        node = [_tool("flower-supernode"), "--insecure", "--superlink", f"127.0.0.1:{port}", "--host", "127.0.0.1"]
        commands[f"node{i}"] = [*node, "--port", str(own), "--node-config", f"partition-id={i} num-partitions={nodes}"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("a") as log:
                # A session of its own, so that the processes that Flower starts for every message can be stopped with it.
                started.append(
                    subprocess.Popen(
                        command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                    )
                )
        running = Deployment(folder, started[1:], environment, port)
        ends = time.monotonic() + patience
        while running.online() < nodes:
            if time.monotonic() > ends or any(process.poll() is not None for process in started):
                raise BadInput("Flower's nodes do not come up", where=str(folder), fix="read the logs there")
            time.sleep(3.0)  # each look starts a process
        yield running
    finally:
        for process in started:
            _stop(process)


def _stop(process: subprocess.Popen[bytes], first: signal.Signals = signal.SIGTERM) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, first)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5.0)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(home: Path, paths: Sequence[str]) -> dict[str, str]:
    tools = str(Path(sys.executable).parent)
    here = [*paths, *(str(Path(path or ".").resolve()) for path in sys.path if not path.endswith(".zip"))]
    return os.environ | {
        "PATH": os.pathsep.join([tools, os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(here)),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",  # both would otherwise call home
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _tool(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        raise Unsupported(f"there is no command {name}", fix='pip install "gradiometer[flower]"')
    return found


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
