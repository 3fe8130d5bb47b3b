"""Trains the toy of helpers.toy in several processes at once: see test_hosts.

Reads one run a line, as JSON, and answers 'statuses' and how each of its processes ended. They are
forks of this process, which has imported everything and started nothing. Each run has a folder and
the processes' wishes:
  {}                    to train, and leave the states and answers in <process>.npz;
  {"signal": "SIGTERM", "epoch": 2}
                        to get that signal as its third epoch begins;
  {"fails": true}       to end with a UserError while the others wait for it.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_prep.common.command import INTERRUPTED, MISTAKE
from data_prep.common.errors import UserError
from helpers.toy import trainer
from helpers.toy_clips import GROUPS, NAMES, made_clips
from mser_jax import hosts, parallel
from mser_jax.data.feed import Resident
from mser_jax.data.folds import loso, replicate
from mser_jax.storage.log import Log
from mser_jax.train import loop, throughput
from mser_jax.train.engine import Engine

LIMIT = 120  # seconds of a process
EPOCHS, EACH = 3, 2  # folds of a device at once
FOLDS = replicate(loso(GROUPS), [5, 6])
OPTIONS = {"folds_per_device": EACH, "limit": 10**9, "flops_per_clip": 1e6}


class Signalling(Resident):
    """Hands out the clips, and the process gets a signal with those of an epoch."""

    def __init__(self, clips, mesh, number: int, epoch: int):
        super().__init__(clips, mesh)
        self.number, self.left = number, epoch + 1  # the clips of the compilation come first

    def windows(self, schedule, first, stop):
        if not self.left:
            os.kill(os.getpid(), self.number)
        self.left -= 1
        yield from super().windows(schedule, first, stop)


def engine(folder: Path, **how_it_ends) -> Engine:
    """Of all folds, on all devices of all processes."""
    of = trainer(FOLDS, devices=len(jax.devices()), epochs=EPOCHS, checkpoint_every=1)
    number = signal.Signals[how_it_ends["signal"]] if how_it_ends else 0
    feed = Signalling(made_clips(), of.mesh, number, how_it_ends.get("epoch", -2))
    return Engine(of, feed, NAMES, "made", folder, 2)


def train(of: Engine) -> dict[str, Any]:
    """To the last epoch; gives the states of every round and the answers."""
    of.train(Log(of.folder / "log.jsonl" if hosts.is_first() else Path(os.devnull)), **OPTIONS)
    states = [parallel.fetch(each.restore()) for each in of.rounds()]
    leaves = {str(at): leaf for at, leaf in enumerate(jax.tree.leaves(states))}
    return leaves | {"logits": of.logits()}


def work(folder: str, number: int, fails: bool = False, **how_it_ends) -> None:
    hosts.join_processes()
    with hosts.first_process_first():
        if fails:
            raise UserError("This one cannot go on.")
    np.savez(Path(folder) / f"{number}.npz", **train(engine(Path(folder), **how_it_ends)))


def start(folder: str, number: int, of: int, port: int, wishes: dict) -> int:
    """A process of the run; gives its id."""
    if child := os.fork():
        return child
    signal.alarm(LIMIT)
    place = {"COORDINATOR_ADDRESS": f"localhost:{port}", "NUM_PROCESSES": of, "PROCESS_ID": number}
    os.environ |= {f"JAX_{name}": str(value) for name, value in place.items()}
    try:
        work(folder, number, **wishes)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(MISTAKE)
    sys.exit(0)


def main() -> None:
    loop.SECONDS = 0.0  # a call of each step, so that a signal finds the midst of an epoch
    throughput.peak_flops = lambda mesh, dtype: 0.0  # to measure it takes longer than to train
    for line in sys.stdin:
        run = json.loads(line)
        with socket.create_server(("localhost", 0)) as free:
            port = free.getsockname()[1]
        wishes = run["processes"]
        children = [
            start(run["folder"], number, len(wishes), port, wish)
            for number, wish in enumerate(wishes)
        ]
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print("statuses", *ends, flush=True)


if __name__ == "__main__":
    main()
