"""The frame of the command: help, version, Ctrl-C."""

from __future__ import annotations

import importlib.metadata
import io
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from trio_coap.cli import main as cli_main
from trio_coap.cli.parser import VERBS


def test_the_help_names_every_verb_and_exit_status_and_has_examples(coap) -> None:
    outcome = coap("--help")
    assert outcome.status == 0
    assert all(verb in outcome.text for verb in VERBS)
    assert "exit status:" in outcome.text
    assert "coap put lamp.local/mode -d on" in outcome.text


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_has_examples_that_can_be_read(coap, verb: str) -> None:
    outcome = coap(verb, "--help")
    assert outcome.status == 0
    assert f"coap {verb} " in outcome.text.partition("examples:")[2]
    assert "  130  Ctrl-C" in outcome.text


def test_the_version_is_that_of_the_package(coap) -> None:
    try:
        installed = version("trio-coap")
    except PackageNotFoundError:
        pytest.skip("trio-coap is not installed, only its source is here: pip install -e .")
    assert coap("--version").text == f"coap {installed}\n"


def test_without_an_installed_package_the_version_is_not_known(coap, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", fail)
    outcome = coap("--version")
    assert (outcome.status, outcome.stdout) == (1, b"")
    assert outcome.stderr == (
        "coap: the version is not known, as the package is not installed: run pip install trio-coap\n"
    )


def test_ctrl_c_is_status_130_and_silent(coap, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_main, "_dispatch", interrupt)
    outcome = coap("get", "localhost")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (130, b"", "")


def test_characters_that_the_terminal_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli_main.main(["decode", "40011a2bb2c3bc"]) == 0
    stream.seek(0)
    assert 'Uri-Path: "\\xfc"' in stream.read()
