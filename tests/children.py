"""The command line in processes of their own: forked from one that has imported all that is slow."""

from __future__ import annotations

import ipaddress
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOAD = ["children", "figment.workbench", "figment.cli.commands", "figment.data.digits", "sklearn.datasets",
           "figment.models.autoencoders.vae", "torch.distributed", "accelerate"]  # fmt: skip


def block_network() -> None:
    """Connections in this process reach this machine only."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not is_loopback(address[0]):
            raise OSError(f"tests have no network: {address}")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign]


def is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def run_command(words: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
    """`figment WORDS` in this process, with its output in `stdout` and `stderr` of a folder."""
    import torch

    from figment.cli import main

    torch.set_num_threads(1)
    block_network()
    os.environ.update(environment)
    os.chdir(folder)
    suffix = environment.get("RANK", "")
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(f"{name}{suffix}", os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1)
    sys.argv = ["figment", *words]
    main()


def start(words: Sequence[object], folder: Path, **environment: str) -> BaseProcess:
    """Starts `figment WORDS` in a folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    environment = {"FIGMENT_CACHE": os.environ.get("FIGMENT_CACHE", ""), **environment}
    process = context.Process(target=run_command, args=([str(w) for w in words], str(folder), environment))
    process.start()
    return process


def finish(process: BaseProcess, seconds: float = 120) -> int:
    """Its exit code; a process that does not end in time is killed and the test fails."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running after {seconds} s")
    return process.exitcode


def launch(words: Sequence[object], folder: Path, count: int) -> list[BaseProcess]:
    """`figment WORDS` in `count` processes that train together, as a launcher would start them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}  # fmt: skip
    return [start(words, folder, **shared, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(count)]


def together(words: Sequence[object], folder: Path, count: int) -> list[int]:
    """The exit codes of processes that trained together."""
    return [finish(rank) for rank in launch(words, folder, count)]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Returns once a condition holds; the test fails where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
