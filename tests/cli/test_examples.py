"""The examples in the help and in docs/command.md do what stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from trio_coap.cli.parser import VERBS, read_words

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command.md"


def commands_in_help(coap) -> Iterator[str]:
    for words in [[], *([verb] for verb in VERBS)]:
        examples = coap(*words, "--help").text.partition("examples:\n")[2].partition("\n\n")[0]
        yield from (line.strip() for line in examples.splitlines())


def sessions_on_page() -> Iterator[tuple[str, str]]:
    """Yield each command on the page with the output that stands below it."""
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = session.partition("\n")
            yield command, output


def words_of(command: str) -> list[str]:
    """Return the words of the coap command in a line for the shell."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|<;")
    lexer.whitespace_split = True
    words = list(lexer)
    words = words[words.index("coap") + 1 :]
    ends = [words.index(sign) for sign in ("|", "<", ";") if sign in words]
    return words[: min(ends, default=len(words))]


def test_every_example_in_the_help_can_be_read(coap) -> None:
    commands = list(commands_in_help(coap))
    assert len(commands) > 30
    for command in commands:
        assert read_words(words_of(command)).verb in VERBS


def test_every_example_on_the_page_can_be_read() -> None:
    sessions = list(sessions_on_page())
    assert len(sessions) > 10
    for command, _ in sessions:
        assert read_words(words_of(command)).verb in VERBS


def test_what_the_page_shows_of_decode_is_what_comes_out(coap) -> None:
    shown = [(command, output) for command, output in sessions_on_page() if command.startswith("coap decode")]
    assert len(shown) == 2
    for command, output in shown:
        assert coap(*words_of(command)).text == output


def test_what_the_page_shows_of_a_wrong_word_is_what_comes_out(coap) -> None:
    (output,) = [output for command, output in sessions_on_page() if "Uri-Pth" in command]
    outcome = coap("get", "localhost", "-o", "Uri-Pth=x")
    assert f"{outcome.stderr}{outcome.status}\n" == output
