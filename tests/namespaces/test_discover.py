"""Finding servers with the command, and being found, on a link between two hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.namespaces.conftest import MakeHost
from tests.namespaces.network import Host, connect, ip

PATIENCE = 30
COAP = [sys.executable, "-m", "trio_coap"]
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin", "/usr/local/bin"))
LIBCOAP_SERVER = shutil.which("coap-server-notls", path=PATH)
LIBCOAP_CLIENT = shutil.which("coap-client-notls", path=PATH)


@contextmanager
def run_server(host: Host, *command: str, says: str = "") -> Iterator[None]:
    """Run a server on *host*, until it says that it is ready."""
    with host.entered():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            if says:
                assert process.stdout is not None
                assert says in process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.fixture
def neighbour(own_host: Host, make_host: MakeHost) -> Host:
    other = make_host()
    connect(own_host, "own", other, "wire")
    own_host.add_addresses("own", "10.0.1.1/24", "2001:db8:1::1/64")
    other.add_addresses("wire", "10.0.1.2/24", "2001:db8:1::2/64")
    own_host.wait_until_up("own")
    other.wait_until_up("wire")
    ip("route", "add", "224.0.0.0/4", "dev", "own")  # libcoap leaves the choice of the interface to the routes.
    return other


def run_all(*commands: list[str]) -> list[tuple[int, str, str]]:
    """Run programs side by side, each of which waits for a group's leisure; return status, output and errors of each."""
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    done = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=PATIENCE)
            done.append((process.returncode, output, errors))
    finally:
        for process in processes:
            process.kill()
    return done


def discover(*words: str) -> list[str]:
    return [*COAP, "discover", *words]


@pytest.mark.slow
@pytest.mark.skipif(LIBCOAP_SERVER is None, reason="coap-server-notls is not installed (Debian: libcoap3-bin)")
def test_discover_finds_our_servers_and_libcoaps(neighbour: Host, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    assert LIBCOAP_SERVER is not None
    group = "224.0.1.187"
    with ExitStack() as stack:
        run = stack.enter_context
        run(run_server(neighbour, *COAP, "serve", str(tmp_path), says="listening"))
        run(run_server(neighbour, *COAP, "plugtest", "--bind", ":5684", says="listening"))
        run(run_server(neighbour, LIBCOAP_SERVER, "-p", "5685", "-g", group, "-G", "wire"))
        files, plugtest, libcoap, everybody = run_all(
            discover(group), discover(f"{group}:5684"), discover(f"{group}:5685"), discover("--href", "/readme.txt")
        )
    assert "<coap://10.0.1.2/readme.txt>" in files[1]
    assert "<coap://10.0.1.2:5684/obs>" in plugtest[1]
    assert "coap://10.0.1.2:5685/" in libcoap[1]
    assert everybody[0] == 0
    hosts = [line.partition("/readme.txt")[0] for line in everybody[1].splitlines()]
    assert any("10.0.1.2" in host for host in hosts)
    assert any("[" in host for host in hosts), "and by IPv6"


@pytest.mark.slow
@pytest.mark.skipif(LIBCOAP_CLIENT is None, reason="coap-client-notls is not installed (Debian: libcoap3-bin)")
def test_libcoaps_client_finds_our_server(neighbour: Host, tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    assert LIBCOAP_CLIENT is not None
    with run_server(neighbour, *COAP, "serve", str(tmp_path), says="listening"):
        ask = [LIBCOAP_CLIENT, "-N", "-B", "7"]
        for _, output, errors in run_all(
            [*ask, "coap://224.0.1.187/.well-known/core"], [*ask, "coap://[ff02::fd]/.well-known/core"]
        ):
            assert "</readme.txt>" in output, errors


@pytest.mark.slow
def test_get_to_a_group_shows_each_member(neighbour: Host) -> None:
    get = [*COAP, "get"]
    with run_server(neighbour, *COAP, "plugtest", says="listening"):
        asked, nobody = run_all([*get, "coap://[ff02::fd]/test"], [*get, "coap://224.0.1.187:9/test", "--timeout", "1"])
    assert asked[0] == 0
    assert asked[1]
    assert "coap://[fe80::" in asked[2] or "coap://[2001:db8:1::2]" in asked[2]
    assert nobody[0] == 1
    assert "nobody in 224.0.1.187:9 answered within 1 s" in nobody[2]
