"""Several processes on one port: the parent keeps the sockets, each worker serves on one of them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
import trio

from tests.transports.sockets import PATIENCE
from trio_coap import Client, LocalProtocolError, open_client, open_endpoint
from trio_coap.transports.udp.sockets import open_shared_sockets

WORKER = """
import socket, sys, trio
from trio_coap import serve

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve(
            lambda request: sys.argv[2], sock=socket.socket(fileno=int(sys.argv[1])), task_status=task_status))
        print("ready", flush=True)

trio.run(main)
"""


@contextmanager
def run_worker(sock: socket.socket, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WORKER, str(sock.fileno()), name]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[sock.fileno()])
    with worker:
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
            yield worker
        finally:
            worker.kill()


@pytest.fixture
def shared() -> Iterator[list[socket.socket]]:
    sockets = open_shared_sockets("127.0.0.1", 0, 2)
    yield sockets
    for sock in sockets:
        sock.close()


@pytest.mark.slow
async def test_a_replaced_worker_serves_the_same_clients(shared: list[socket.socket]) -> None:
    uri = f"coap://127.0.0.1:{shared[0].getsockname()[1]}/"
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(host="127.0.0.1")) for _ in range(12)]
        stack.enter_context(run_worker(shared[0], "first"))
        with run_worker(shared[1], "second"):
            before = await ask_all(clients, uri)
        stack.enter_context(run_worker(shared[1], "replacement"))
        after = await ask_all(clients, uri)
    assert set(before) == {"first", "second"}, "twelve clients, and one worker has them all"
    assert after == [answer.replace("second", "replacement") for answer in before]


async def ask_all(clients: list[Client], uri: str) -> list[str]:
    with trio.fail_after(PATIENCE):
        return [(await client.get(uri)).text for client in clients]


async def test_a_socket_and_an_address_are_too_much(shared: list[socket.socket]) -> None:
    with pytest.raises(LocalProtocolError, match="a socket is given"):
        async with open_endpoint("127.0.0.1", 5683, sock=shared[0]):
            pass
