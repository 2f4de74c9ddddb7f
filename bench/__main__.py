"""``python -m bench``: run the measurements and print what they show; ``--full`` takes its time.

A bench module contributes a function ``benchmarks(is_full)`` that returns a list of :class:`Benchmark`.  It must be cheap:
what is expensive happens in the rounds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import servers, tables
from bench.rounds import FULL_ROUNDS, QUICK_ROUNDS, Benchmark, Result, Skipped, run

MODULES: tuple[str, ...] = (
    "server",
    "stalls",
    "clients",
    "blockwise",
    "notifications",
    "codec",
    "memory",
    "imports",
    "collector",
    "curves",
)
"""The modules of bench/ with a function ``benchmarks``, in the order of the report."""

TABLES = ("cache", "blocks")
"""Older measurements, without contestants: they print tables of their own, and belong to the full form."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, and compare with others.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="run only these: modules of bench/, or benchmarks")
    parser.add_argument("--full", action="store_true", help="more rounds, longer ones, more sizes")
    parser.add_argument("--rounds", type=int, help=f"rounds, by default {QUICK_ROUNDS}, in the full form {FULL_ROUNDS}")
    parser.add_argument("--list", action="store_true", help="list the benchmarks, and run none")
    parser.add_argument(
        "--install-peers", action="store_true", help="install node-coap from npm first, in a cache directory"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--before", type=Path, metavar="DIR", help="measure the server of the checkout in DIR too")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="name ratios that are worse than in FILE by a tenth"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to FILE, besides printing them")
    return parser


def chosen(names: Sequence[str], is_full: bool) -> list[Benchmark]:
    """Return the benchmarks that are meant by *names*: of modules, of benchmarks, or none for all."""
    found = []
    for module in MODULES:
        for benchmark in importlib.import_module(f"bench.{module}").benchmarks(is_full):
            if not names or module in names or benchmark.name in names:
                found.append(benchmark)
    return found


def check_names(parser: argparse.ArgumentParser, names: Sequence[str], is_full: bool) -> None:
    """End with an error if one of *names* means nothing."""
    for name in names:
        if name not in TABLES and not chosen([name], is_full):
            parser.error(f"there is no benchmark {name!r}: --list shows them")


def say(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 1 if a contestant failed, or a ratio has become worse."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.before is not None:
        os.environ[servers.BEFORE_VARIABLE] = str(options.before)
    check_names(parser, options.names, options.full)
    benchmarks = chosen(options.names, options.full)
    if options.list:
        for benchmark in benchmarks:
            print(f"{benchmark.name:<20} {benchmark.title}")
        return 0
    if options.install_peers:
        try:
            servers.install_peers()
        except Skipped as exc:
            say(str(exc))
    # It may be the file that is written at the end.
    stored = options.compare.read_text(encoding="utf-8") if options.compare is not None else None
    started_at = time.monotonic()
    about = tables.machine()
    usual = FULL_ROUNDS if options.full else QUICK_ROUNDS
    results = [run(benchmark, options.rounds or benchmark.rounds or usual, say) for benchmark in benchmarks]
    if results:
        _report(results, about, options.json, options.markdown)
    for name in TABLES:
        if name in options.names or (options.full and not options.names):
            importlib.import_module(f"bench.{name}").main()
    say(f"{time.monotonic() - started_at:.0f} s")
    keeps_up = _keeps_up(results, stored)
    return 0 if keeps_up and not any(result.failed for result in results) else 1


def _keeps_up(results: Sequence[Result], stored: str | None) -> bool:
    """Say which ratios have become worse, and return whether none has."""
    worse = tables.regressions(results, json.loads(stored)) if stored is not None else []
    for line in worse:
        say(f"REGRESSION: {line}")
    return not worse


def _report(
    results: Sequence[Result], about: tables.Machine, json_path: Path | None, markdown_path: Path | None
) -> None:
    text = tables.markdown(results, about)
    print(text, end="")
    if markdown_path is not None:
        markdown_path.write_text(text, encoding="utf-8")
    if json_path is not None:
        json_path.write_text(
            json.dumps(tables.as_json(results, about), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    sys.exit(main())
