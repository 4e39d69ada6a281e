"""Arguments, and what to answer when they are misspelled. Nothing heavy is imported here: `--help` is quick."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any, NoReturn

FORMATS = ("terminal", "html", "md", "json", "sarif", "junit")
KINDS = ("attacks", "defenses", "aggregations", "guards", "models", "data", "metrics")
FAIL_ON = ("critical", "high", "medium", "low", "never")
EXAMPLES = """
examples:
  gradiometer scan                                     the built-in demo
  gradiometer scan client:make --defense Quantize:bits=4
  gradiometer scan update.safetensors --model resnet20
  gradiometer init && gradiometer audit plan.toml

exit codes:
  0 nothing at or above --fail-on   1 a finding      2 usage or configuration error
  3 inconclusive                    4 internal error 130 interrupted, state kept
"""


class Parser(argparse.ArgumentParser):
    """argparse whose errors say what to do next."""

    def error(self, message: str) -> NoReturn:
        hint = ""
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown and unknown[1].startswith("-"):
            message, hint = f"no option {unknown[1]}", _closest(unknown[1].partition("=")[0], self.known_options())
        elif unknown:
            message = f"unexpected argument {unknown[1]!r}"
        self.exit(2, f"error: {message}{hint}\n  fix  see {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            hint = _closest(str(value), known) or f"; known are {', '.join(known)}"
            what = "command" if action.dest == "command" else (action.option_strings or [action.dest])[-1]
            self.error(f"no {what} {value!r}{hint}" if what == "command" else f"{what}: {value!r} is no choice{hint}")

    def known_options(self) -> list[str]:
        """Of this parser and of all its commands."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += [option for parser in action.choices.values() for option in parser._option_string_actions]
        return found


def build_parser() -> Parser:
    """The whole command line."""
    parser = Parser(
        prog="gradiometer",
        description="Measures what federated learning really leaks, and what to do about it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    scan = _command(commands, "scan", "quick look: does this client, or this captured update, leak?")
    scan.add_argument("target", nargs="?", metavar="TARGET", help=TARGET)
    scan.add_argument(
        "--model", metavar="MODEL", help="the model behind a captured update: a name or package.module:function"
    )
    _grid_options(scan)

    audit = _command(commands, "audit", "the grid attacks x defenses x seeds; run it again and it resumes")
    audit.add_argument("plan", metavar="PLAN.toml", help="see `gradiometer init` for a commented one")
    _grid_options(audit)
    audit.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="compute on a Ray cluster: `auto` or host:port joins one, `local` starts one here; "
        "--jobs then limits the trials at a time (default: one per core of the cluster)",
    )

    train = _command(
        commands, "train", "federated training, undefended and with each defense; run it again and it resumes"
    )
    train.add_argument("plan", metavar="PLAN.toml", help="its [train] table says how; see `gradiometer init`")
    train.add_argument("--seed", type=int, metavar="N")
    train.add_argument(
        "--runtime",
        choices=("process", "flower"),
        default="process",
        help="in this process, or in a real Flower deployment on loopback (default: process)",
    )
    train.add_argument(
        "-f", "--format", choices=("terminal", "html", "json"), default="terminal", help="default: terminal"
    )
    train.add_argument("-o", "--output", metavar="DIR", help="the run folder (default: runs/TITLE-HASH-train)")
    train.add_argument("-q", "--quiet", action="store_true", help="no progress")

    prior = _command(commands, "prior", "train a generator on public pictures, or show the card of one")
    prior.add_argument("action", choices=("train", "show"), metavar="ACTION", help="train, show")
    prior.add_argument("source", metavar="SOURCE", help="train: data, NAME[:key=value,...]; show: the generator's file")
    prior.add_argument("--method", choices=("vae", "dcgan", "wgan_gp", "diffusion"), default="vae", help="default: vae")
    prior.add_argument(
        "--latent", type=int, default=64, metavar="N", help="entries of the latent vector (default: 64; diffusion: all)"
    )
    prior.add_argument("--width", type=int, default=16, metavar="N", help="channels at the finest grid (default: 16)")
    prior.add_argument("--steps", type=int, default=2000, metavar="N", help="of the optimizer (default: 2000)")
    prior.add_argument("--limit", type=int, metavar="N", help="learn from so many pictures only")
    prior.add_argument("--seed", type=int, default=0, metavar="N")
    prior.add_argument("-o", "--output", metavar="FILE", help="default: DATA-METHOD.safetensors")
    prior.add_argument("-q", "--quiet", action="store_true", help="no progress")

    report = _command(commands, "report", "re-render a run, without computing anything")
    report.add_argument("run", metavar="RUN", help="a run folder or its result.json")
    report.add_argument("-f", "--format", choices=FORMATS, default="html", help="default: html")
    report.add_argument(
        "-o", "--output", metavar="FILE", help="default: RUN/report.html for html, else standard output"
    )

    compare = _command(commands, "compare", "regressions and improvements of one run over another, paired by cell")
    compare.add_argument("before", metavar="RUN_A")
    compare.add_argument("after", metavar="RUN_B")
    compare.add_argument("-f", "--format", choices=("terminal", "md", "json"), default="terminal")
    compare.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    compare.add_argument(
        "--fail-on", choices=FAIL_ON, default="low", help="exit 1 from which severity on (default: low)"
    )

    listing = _command(commands, "list", "the catalogue, from the cards")
    listing.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    listing.add_argument("-f", "--format", choices=("terminal", "json"), default="terminal")

    init = _command(commands, "init", "write a commented plan.toml and client.py to fill in")
    init.add_argument("folder", nargs="?", default=".", metavar="DIR")
    kinds = init.add_mutually_exclusive_group()
    kinds.add_argument("--text", action="store_true", help="for a client that trains on sentences")
    kinds.add_argument("--graphs", action="store_true", help="for a client that trains on graphs, such as molecules")
    return parser


TARGET = (
    "package.module:function that returns a Client and its data, a captured update.safetensors, a file of your own (.csv or .jsonl "
    "of SMILES, .jsonl of sentences), or a built-in name; "
    "without it: the built-in demo"
)


def _command(commands: Any, name: str, help: str) -> Parser:
    parser = commands.add_parser(name, help=help, description=help[:1].upper() + help[1:] + ".", allow_abbrev=False)
    parser.add_argument("-v", "--verbose", action="store_true", help="every step, and tracebacks of internal errors")
    return parser


def _grid_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    spec = "NAME[:key=value,...]"
    add("--attack", action="append", metavar=spec, help="repeatable; replaces those that would be tried")
    add("--defense", action="append", metavar=spec, help="repeatable; replaces those that would be tried")
    add("--threat", metavar="NAME", help="who looks on, e.g. honest_but_curious")
    add("--budget", metavar="TIME", help="start nothing new after e.g. 90s, 2min or 1h")
    add("--seed", type=int, metavar="N")
    add("--device", metavar="NAME", help="where attacks compute, e.g. cpu or cuda:0 (default: cpu)")
    add("--jobs", type=int, metavar="N", help="processes; 0 takes one per core")
    add("--dry-run", action="store_true", help="print the resolved grid and an estimate, and attack nothing")
    add("--fail-on", choices=FAIL_ON, help="exit 1 from which severity on (default: high)")
    add(
        "-f",
        "--format",
        choices=FORMATS,
        default="terminal",
        help="of what goes to standard output (default: terminal)",
    )
    add("-o", "--output", metavar="DIR", help="the run folder (default: runs/TITLE-HASH)")
    add(
        "--gallery",
        choices=("none", "blur", "full"),
        help="pictures, sentences and graphs in the report; `full` shows private data unblurred",
    )
    add("-q", "--quiet", action="store_true", help="no progress")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from gradiometer import __version__

        print(f"gradiometer {__version__}")
        parser.exit(0)


def _closest(name: str, known: Iterable[str]) -> str:
    """Like `core.did_you_mean`, for when torch need not be loaded to answer a misspelling."""
    import difflib

    others = [one for one in known if one != name]  # an option of another command is no suggestion for itself
    close = difflib.get_close_matches(name, others, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
