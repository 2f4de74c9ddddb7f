"""Results as Markdown and as JSON, and the machine that they come from."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from bench.rounds import Benchmark, Goal, Measure, Result, Summary

JsonValue = str | float | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]


@attrs.frozen
class Machine:
    """What figures depend on."""

    processor: str
    cores: int
    system: str
    python: str
    versions: dict[str, str]
    load: float
    """The load average of the minute before."""


def machine() -> Machine:
    """Return what this machine is."""
    versions = {}
    for package in ("trio", "attrs", "aiocoap"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "missing"
    if node := shutil.which("node"):
        versions["node"] = subprocess.run(
            [node, "--version"], capture_output=True, text=True, check=False
        ).stdout.strip()
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions=versions,
        load=round(os.getloadavg()[0], 2),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def number(figure: float | None) -> str:
    """Return a figure with three digits or so that say something, and an empty text for none."""
    if figure is None:
        return ""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    if abs(figure) >= 10:
        return f"{figure:.1f}"
    return f"{figure:.2f}"


def spread(summary: Summary | None) -> str:
    """Return a median with its spread."""
    if summary is None:
        return "–"
    return f"{number(summary.median)} ({number(summary.low)} to {number(summary.high)})"


def markdown(results: Sequence[Result], about: Machine) -> str:
    """Return the goals of all benchmarks in one table, and a table for each benchmark."""
    versions = ", ".join(f"{name} {version}" for name, version in about.versions.items())
    lines = [
        f"{about.processor}, {about.cores} cores, {about.system}, Python {about.python}, {versions}; "
        f"load average at the beginning: {about.load}.",
        "Medians of alternating rounds, lowest and highest in parentheses; ratios are medians of the rounds' ratios, and more than "
        "1 is always better.",
    ]
    if any(result.benchmark.goals for result in results):
        lines += ["", *_goals_table(results)]
    for result in results:
        lines += ["", *_benchmark_table(result)]
    return "\n".join(lines) + "\n"


def _goals_table(results: Sequence[Result]) -> list[str]:
    rows = ["| what | reached | due | moonshot | limit | |", "|---|---|---|---|---|---|"]
    for result in results:
        for goal in result.benchmark.goals:
            unit = f", {result.measure(goal.measure).unit}" if goal.against is None else ""
            cells = [
                f"{goal.text}{unit}",
                spread(result.reached(goal)),
                number(goal.due),
                number(goal.moonshot),
                number(result.limit(goal)),
                result.verdict(goal),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def _benchmark_table(result: Result) -> list[str]:
    benchmark = result.benchmark
    lines = [f"## {benchmark.title}", "", *_benchmark_head(benchmark)]
    for name in benchmark.contestants:
        if name not in result.samples:
            continue
        cells = [name]
        for measure in benchmark.measures:
            cells.append(spread(result.summary(name, measure.name)))
            if _has_ratios(benchmark, measure):
                ratio = result.ratio(name, benchmark.reference or "", measure.name)
                cells.append(number(ratio.median) if ratio is not None else "–")
        lines.append(f"| {' | '.join(cells)} |")
    notes = list(benchmark.notes)
    notes += [f"{name} was skipped: {reason}" for name, reason in result.skipped.items()]
    notes += [f"**{name} failed**: {reason}" for name, reason in result.failed.items()]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return lines


def _has_ratios(benchmark: Benchmark, measure: Measure) -> bool:
    return benchmark.reference is not None and measure.is_compared


def _benchmark_head(benchmark: Benchmark) -> list[str]:
    cells = [""]
    for measure in benchmark.measures:
        cells.append(f"{measure.name}, {measure.unit}")
        if _has_ratios(benchmark, measure):
            cells.append(f"times {benchmark.reference}")
    return [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]


def as_json(results: Sequence[Result], about: Machine) -> Mapping[str, JsonValue]:
    """Return everything, rounds included, for ``json.dump``."""
    return {"machine": attrs.asdict(about), "benchmarks": [_benchmark_json(result) for result in results]}


def _benchmark_json(result: Result) -> Mapping[str, JsonValue]:
    contestants: dict[str, JsonValue] = {}
    for name in result.samples:
        measures: dict[str, JsonValue] = {}
        for measure in result.benchmark.measures:
            if figures := result.figures(name, measure.name):
                measures[measure.name] = {
                    "unit": measure.unit,
                    "rounds": list(figures),
                    **_summary_json(result.summary(name, measure.name)),
                }
        contestants[name] = measures
    return {
        "name": result.benchmark.name,
        "title": result.benchmark.title,
        "reference": result.benchmark.reference,
        "contestants": contestants,
        "goals": [_goal_json(result, goal) for goal in result.benchmark.goals],
        "skipped": dict(result.skipped),
        "failed": dict(result.failed),
    }


def _goal_json(result: Result, goal: Goal) -> Mapping[str, JsonValue]:
    return {
        "text": goal.text,
        "contestant": goal.contestant,
        "against": goal.against,
        "measure": result.measure(goal.measure).name,
        "due": goal.due,
        "moonshot": goal.moonshot,
        "limit": result.limit(goal),
        "verdict": result.verdict(goal),
        **_summary_json(result.reached(goal)),
    }


def _summary_json(summary: Summary | None) -> Mapping[str, JsonValue]:
    if summary is None:
        return {"median": None, "low": None, "high": None}
    return {"median": summary.median, "low": summary.low, "high": summary.high}


REGRESSION = 0.9
"""A ratio below nine tenths of the stored one is a defect."""


def regressions(results: Sequence[Result], stored: Mapping[str, JsonValue]) -> list[str]:
    """Compare the goals that are ratios with those of an earlier run, as :func:`as_json` describes it.

    Absolute figures depend on the machine, and are not compared.

    Returns:
      a line for each ratio that has become worse by more than a tenth.
    """
    before = {}
    for benchmark in _mappings(stored.get("benchmarks")):
        for goal in _mappings(benchmark.get("goals")):
            if goal.get("against") is not None:
                before[benchmark.get("name"), goal.get("text")] = goal.get("median")
    found = []
    for result in results:
        for described in result.benchmark.goals:
            then = before.get((result.benchmark.name, described.text))
            now = result.reached(described)
            if isinstance(then, float | int) and now is not None and now.median < REGRESSION * then:
                found.append(f"{described.text}: {number(now.median)}, but it was {number(then)}")
    return found


def _mappings(value: JsonValue) -> list[Mapping[str, JsonValue]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
