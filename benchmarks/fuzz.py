"""Mutated updates, plans and result files, through the command line's own `main`: a message and exit code 2, always.

    python benchmarks/fuzz.py [--cases 2000] [--seed 0]

Every case is one of: flipped, cut, doubled or foreign bytes (pickles and archives among them), JSON and TOML values of
other types, huge numbers, deep nesting, missing and unknown keys. A case that is still a valid file may run and must end
with the exit code of a run. A miss is: a traceback, an internal error, a message that does not name the file, or a file
that appears where none should (the pickles would make one if anybody loaded them).
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gzip
import io
import json
import os
import pickle
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import tomllib
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gradiometer.audit import toml
from gradiometer.cli import main

CANARY = "canary"
RUN_CODES = (0, 1, 3)
PLAN = """
title = "fuzz"

[threat]
name = "honest_but_curious"

[[client]]
name = "digits"
model = { name = "mlp", widths = [4] }
data = { name = "digits" }
recipe = { sends = "gradient", examples = 1 }

[[attack]]
name = "LinearBias"

[[attack]]
name = "InvertingGradients"
iterations = 2
labels = "RowSum"

[[defense]]
name = "Quantize"
bits = 4

[[defense]]
chain = [{ name = "Clip", bound = 1.0 }, { name = "GaussianNoise", std = 0.1 }]

[audit]
examples = 2
candidates = 5
controls = false
budget = "1min"
jobs = 1

[utility]
rounds = 0
"""


class Poison:
    """Whoever unpickles it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (CANARY, "w")


def other_value(rng: random.Random) -> Any:
    """A value that hardly any field is meant to hold."""
    deep: Any = []
    for _ in range(rng.choice([3, 400])):
        deep = [deep]
    choices = [
        True,
        -1,
        0,
        2**31,
        2**63,
        10**30,
        1e308,
        -1e308,
        0.5,
        "",
        "x" * 20000,
        "\u202e\x00",
        [],
        {},
        deep,
        [[1, "a"]],
        {"a": {"b": []}},
    ]
    return rng.choice([*choices, None, float("nan"), float("inf"), "../../etc/passwd", "NaN", [None], {"name": 3}])


def mutated_tree(tree: Any, rng: random.Random) -> Any:
    """The tree with one to three nodes exchanged, dropped, doubled or renamed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 3)):
        holder, key = _node(tree, rng)
        if holder is None:
            return other_value(rng)
        action = rng.randrange(5)
        if action <= 1:
            holder[key] = other_value(rng)
        elif action == 2:
            del holder[key]
        elif action == 3 and isinstance(holder, dict):
            holder[str(key) + rng.choice(["x", " ", "é", ""])] = holder.pop(key)
        else:
            other, place = _node(tree, rng)
            if other is not None:
                holder[key] = copy.deepcopy(other[place])
    return tree


def _node(tree: Any, rng: random.Random) -> tuple[Any, Any]:
    places = []
    stack = [tree]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            stack.append(node[key])
    return rng.choice(places) if places else (None, None)


def mutated_bytes(raw: bytes, rng: random.Random) -> bytes:
    """The bytes flipped, cut, doubled, filled, wrapped, or exchanged for something that other tools would execute."""
    data = bytearray(raw)
    action = rng.randrange(12)
    if action <= 3:
        for _ in range(rng.choice([1, 3, 50])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif action == 4:
        del data[rng.randrange(len(data)) :]
    elif action == 5:
        start = rng.randrange(len(data))
        data[start:start] = data[start : start + rng.randrange(1, 200)]
    elif action == 6:
        start = rng.randrange(len(data))
        data[start : start + 16] = rng.randbytes(16)
    elif action == 7:
        start = rng.randrange(len(data))
        data[start : start + 64] = b"\0" * len(data[start : start + 64])
    elif action == 8:
        return pickle.dumps(Poison(), protocol=rng.randrange(6)) + (bytes(data) if rng.random() < 0.5 else b"")
    elif action == 9:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("archive/data.pkl", pickle.dumps(Poison()))
            file.writestr("archive/version", "3\n")
        return archive.getvalue()
    elif action == 10:
        return gzip.compress(raw)
    else:
        return rng.choice([b"", b"\0" * 100, b"[" * 100000, b"\xff\xfe" + raw, raw[::-1], b"null", b"{}", b'"' + raw])
    return bytes(data)


def mutated_update(raw: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return mutated_bytes(raw, rng)
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    if rng.random() < 0.7:
        own = mutated_tree(json.loads(header["__metadata__"]["gradiometer"]), rng)
        header["__metadata__"]["gradiometer"] = json.dumps(own)
    else:
        header = mutated_tree(header, rng)
    text = json.dumps(header).encode()
    length = len(text) if rng.random() < 0.9 else rng.choice([0, 2**62, size + 1])
    return struct.pack("<Q", length) + text + raw[8 + size :]


def mutated_plan(raw: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return mutated_bytes(raw, rng)
    tree = mutated_tree(tomllib.loads(raw.decode()), rng)
    try:
        return toml.dump(tree).encode("utf-8", "surrogatepass")
    except (TypeError, AttributeError, RecursionError):  # not even TOML can hold it
        return repr(tree).encode()


def mutated_json(raw: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return mutated_bytes(raw, rng)
    return json.dumps(mutated_tree(json.loads(raw), rng)).encode()


def mutated_lines(raw: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return mutated_bytes(raw, rng)
    lines = raw.splitlines()
    number = rng.randrange(len(lines))
    action = rng.randrange(4)
    if action == 0:
        lines[number] = mutated_bytes(lines[number], rng)
    elif action == 1:
        lines.insert(rng.randrange(len(lines)), lines[number])
    else:
        lines[number] = json.dumps(mutated_tree(json.loads(lines[number]), rng)).encode()
    return b"\n".join(lines) + b"\n"


class Bench:
    """A folder with one healthy file of each kind, and the command that reads it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        os.chdir(root)
        (root / "good.toml").write_text(PLAN)
        self.quietly(["audit", "good.toml", "--output", "good", "-q"], expect=RUN_CODES)
        self._update()
        self.kinds: dict[
            str,
            tuple[bytes, Callable[[bytes, random.Random], bytes], Callable[[random.Random], tuple[Path, list[str]]]],
        ] = {
            "update": ((root / "good.safetensors").read_bytes(), mutated_update, self._scan),
            "plan": (PLAN.encode(), mutated_plan, self._audit),
            "result.json": ((root / "good/result.json").read_bytes(), mutated_json, self._report),
            "results.jsonl": ((root / "good/results.jsonl").read_bytes(), mutated_lines, self._resume),
        }

    def _update(self) -> None:
        from gradiometer import Client, Recipe, data, models, play, save_update
        from gradiometer.core import derive

        digits = data.digits()
        assert digits.public is not None
        client = Client(
            model=models.mlp((1, 8, 8), 10, widths=(4,)), layout=digits.layout, recipe=Recipe(shares_buffers=True)
        )
        update = play(client, digits.private.take([0]), rng=derive(0), public=digits.public.take(slice(0, 4)))
        save_update(update, self.root / "good.safetensors")

    def _scan(self, rng: random.Random) -> tuple[Path, list[str]]:
        path = self.root / "case.safetensors"
        options = (
            ["--dry-run"]
            if rng.random() < 0.7
            else ["--attack", "LinearBias", "--attack", "RowSum", "--jobs", "1", "-q"]
        )
        return path, ["scan", path.name, "--model", "mlp:widths=[4]", "--output", "case", *options]

    def _audit(self, rng: random.Random) -> tuple[Path, list[str]]:
        path = self.root / "case.toml"
        return path, ["audit", path.name, "--output", "case", "--dry-run"]

    def _report(self, rng: random.Random) -> tuple[Path, list[str]]:
        path = self.root / "case" / "result.json"
        return path, ["report", "case", "-f", rng.choice(["html", "md", "json", "sarif", "junit", "terminal"])]

    def _resume(self, rng: random.Random) -> tuple[Path, list[str]]:
        shutil.copytree(self.root / "good/gallery", self.root / "case/gallery", dirs_exist_ok=True)
        return self.root / "case" / "results.jsonl", ["audit", "good.toml", "--output", "case", "--jobs", "1", "-q"]

    def quietly(self, arguments: list[str], expect: tuple[int, ...] = ()) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
        assert not expect or code in expect, err.getvalue()
        return code, out.getvalue(), err.getvalue()

    def case(self, kind: str, seed: str) -> tuple[str, str]:
        """Runs one mutated file. Returns `refused`, `valid`, or what went wrong, and the message."""
        shutil.rmtree(self.root / "case", ignore_errors=True)
        (self.root / "case").mkdir()
        rng = random.Random(seed)
        raw, mutate, command = self.kinds[kind]
        path, arguments = command(rng)
        path.write_bytes(mutate(raw, rng))
        before = set(os.listdir(self.root))
        code, out, err = self.quietly(arguments)
        appeared = set(os.listdir(self.root)) - before - {"runs"}
        if appeared:
            return f"made {sorted(appeared)}", err
        if "Traceback" in out + err or "internal error" in err:
            return "traceback", err
        if code in RUN_CODES:
            return "valid", err
        if code != 2:
            return f"exit code {code}", err
        return ("refused" if path.name in err or path.parent.name in err.split() else "unnamed file"), err


def fuzz(cases: int, seed: int = 0, *, loud: bool = True) -> Counter[tuple[str, str]]:
    """Runs the cases; returns how many of each kind ended how."""
    torch.set_num_threads(1)
    counted: Counter[tuple[str, str]] = Counter()
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as place:
        try:
            bench = Bench(Path(place).resolve())
            for i in range(cases):
                kind = list(bench.kinds)[i % len(bench.kinds)]
                outcome, message = bench.case(kind, f"{seed} {i}")
                counted[kind, outcome] += 1
                if outcome not in ("refused", "valid") and loud:
                    print(f"case {i} ({kind}): {outcome}\n{message[:2000]}")
        finally:
            os.chdir(home)
    return counted


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    resource.setrlimit(
        resource.RLIMIT_AS, (16 * 2**30, resource.RLIM_INFINITY)
    )  # a huge number must not fill the machine
    began = time.monotonic()
    counted = fuzz(options.cases, options.seed)
    missed = sum(count for (_, outcome), count in counted.items() if outcome not in ("refused", "valid"))
    for (kind, outcome), count in sorted(counted.items()):
        print(f"{kind:14} {outcome:12} {count}")
    print(
        f"n = {options.cases} cases in {time.monotonic() - began:.0f} s: {missed} misses "
        f"(threshold: 0): {'PASS' if not missed else 'MISS'}"
    )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(run())
