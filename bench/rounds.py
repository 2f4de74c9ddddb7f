"""Alternating rounds: what a benchmark is, how it runs, and what its samples say.

Rule 1: the contestants of a benchmark take turns, so that noise of the machine hits them all, and every other round goes in the
opposite order.  Rule 2: a ratio is one of two figures of the same round; what is reported is the median of these ratios, not the
ratio of medians.  Rule 3: the spread is reported beside each median.  Rule 4: who cannot take part is left out with the reason;
who fails is too, and the run has failed then.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import attrs

QUICK_ROUNDS = 3
FULL_ROUNDS = 5

Contestant = Callable[[], float | Mapping[str, float]]
"""One round: returns the figure of the first measure, or one figure for each measure by name."""


class Skipped(Exception):
    """Raised by a contestant that cannot take part; the text says what is missing."""


@attrs.frozen
class Measure:
    """What one figure of a round is."""

    name: str
    """For example "requests/s at 16"."""

    unit: str
    """For example "1/s" or "µs"."""

    is_higher_better: bool = False
    is_compared: bool = True
    """Whether the table has a column of ratios for it."""


@attrs.frozen
class Goal:
    """One row of what is to be reached: a figure of a contestant, or how many times as good as another it is."""

    text: str
    """What is measured, for the table."""

    contestant: str
    """Whose figure it is."""

    against: str | None = None
    """Whom the figure is compared with, within the round; by default it is an absolute one.  A ratio says how many times as good
    it is, whatever direction is better, so that more is always better for ratios."""

    measure: str | None = None
    """The measure, by default the first one of the benchmark."""

    due: float | None = None
    """What it must reach."""

    moonshot: float | None = None
    """What we are after."""

    limit: float | str | None = None
    """What is possible: a figure, or the name of the contestant that does it; by default that of the benchmark."""


@attrs.frozen
class Benchmark:
    """Contestants that do the same thing."""

    name: str
    """Short and unique, what the command line takes."""

    title: str
    """One line for the heading of the table."""

    measures: Sequence[Measure]
    """What each round of a contestant gives; the first is the one that a plain float is for."""

    contestants: Mapping[str, Contestant]
    """By name, in the order of the first round."""

    reference: str | None = None
    """The contestant that ratios of the table are against; none for a table without ratios."""

    limit: str | None = None
    """The contestant that does what is possible, for the goals' column."""

    goals: Sequence[Goal] = ()
    notes: Sequence[str] = ()
    """Lines under the table: what differs between the contestants."""

    rounds: int | None = None
    """How many rounds are usual, by default QUICK_ROUNDS or FULL_ROUNDS."""


@attrs.frozen
class Summary:
    """The median of some figures, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Summary | None:
        """Return the summary of *figures*, or None if there are none."""
        return cls(statistics.median(figures), min(figures), max(figures)) if figures else None


@attrs.define(eq=False)
class Result:
    """The samples of one benchmark."""

    benchmark: Benchmark
    samples: dict[str, list[dict[str, float]]] = attrs.field(factory=dict)
    """By contestant, one mapping of measure to figure for each round."""

    skipped: dict[str, str] = attrs.field(factory=dict)
    """Why somebody did not take part, by contestant."""

    failed: dict[str, str] = attrs.field(factory=dict)
    """What went wrong, by contestant."""

    def measure(self, name: str | None) -> Measure:
        """Return the measure of that name, by default the first.

        Raises:
          KeyError: if there is none.
        """
        for measure in self.benchmark.measures:
            if name is None or measure.name == name:
                return measure
        raise KeyError(name)

    def figures(self, contestant: str, measure: str | None = None) -> list[float]:
        """Return the figures of all rounds that have one."""
        name = self.measure(measure).name
        return [sample[name] for sample in self.samples.get(contestant, ()) if name in sample]

    def summary(self, contestant: str, measure: str | None = None) -> Summary | None:
        """Return the median and spread of a contestant, or None if it has no figure."""
        return Summary.of(self.figures(contestant, measure))

    def ratio(self, contestant: str, against: str, measure: str | None = None) -> Summary | None:
        """Return how many times as good as *against* the contestant is: median and spread of the rounds' ratios."""
        found = self.measure(measure)
        ratios = []
        for own, other in zip(self.samples.get(contestant, ()), self.samples.get(against, ()), strict=False):
            if found.name not in own or found.name not in other:
                continue
            better, worse = own[found.name], other[found.name]
            if not found.is_higher_better:
                better, worse = worse, better
            if worse:
                ratios.append(better / worse)
        return Summary.of(ratios)

    def reached(self, goal: Goal, contestant: str | None = None) -> Summary | None:
        """Return what is compared with the figures of *goal*, of its contestant or of another one."""
        who = contestant or goal.contestant
        if goal.against is None:
            return self.summary(who, goal.measure)
        return self.ratio(who, goal.against, goal.measure)

    def limit(self, goal: Goal) -> float | None:
        """Return what is possible: a number of the goal's own, or what the benchmark's limit reaches."""
        limit = goal.limit if goal.limit is not None else self.benchmark.limit
        if not isinstance(limit, str):
            return limit
        summary = self.reached(goal, limit)
        return summary.median if summary is not None else None

    def verdict(self, goal: Goal) -> str:
        """Say how far the goal is reached: "moonshot", "due", "short", or "" where that cannot be said."""
        summary = self.reached(goal)
        if summary is None or goal.due is None:
            return ""
        is_more_better = goal.against is not None or self.measure(goal.measure).is_higher_better
        for name, figure in (("moonshot", goal.moonshot), ("due", goal.due)):
            if figure is None:
                continue
            if summary.median >= figure if is_more_better else summary.median <= figure:
                return name
        return "short"


def run(benchmark: Benchmark, rounds: int, say: Callable[[str], None] = lambda text: None) -> Result:
    """Run all rounds of a benchmark.

    Args:
      benchmark: what to run.
      rounds: how many rounds.
      say: gets a line of progress for each figure.
    """
    result = Result(benchmark)
    for number in range(rounds):
        names = [name for name in benchmark.contestants if name not in result.skipped and name not in result.failed]
        for name in names if number % 2 == 0 else reversed(names):
            _run_one(result, name, number, say)
    return result


def _run_one(result: Result, name: str, number: int, say: Callable[[str], None]) -> None:
    benchmark = result.benchmark
    try:
        figures = benchmark.contestants[name]()
    except Skipped as exc:
        result.skipped[name] = str(exc)
        say(f"{benchmark.name}: {name} is skipped: {exc}")
        return
    except Exception as exc:
        # One contestant that fails must not cost the rest of an hour's run.
        result.failed[name] = f"{type(exc).__name__}: {exc}"
        say(f"{benchmark.name}: {name} FAILED: {result.failed[name]}")
        return
    sample = dict(figures) if isinstance(figures, Mapping) else {benchmark.measures[0].name: float(figures)}
    result.samples.setdefault(name, []).append(sample)
    shown = ", ".join(f"{measure} {figure:,.5g}" for measure, figure in sample.items())
    say(f"{benchmark.name}: round {number + 1}, {name}: {shown}")
