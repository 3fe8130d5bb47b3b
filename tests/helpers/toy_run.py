"""Trains the toy of helpers.toy, life after life, each ended as asked: see test_killed.

Reads one life a line, as JSON, and answers 'status' and how it ended. A life is a fork of this
process, which has imported everything and started nothing, so that it begins at once. Each has the
folder of its run and the epochs that the run wants, and dies so:
  {}                                  it lives to the end, and leaves its states in states.npz;
  {"kill": "SIGKILL", "after": 2, "part": 1.5}
                                      of the signal, one and a half epochs after its second one;
  {"kill": "writing", "after": 2}     when Orbax writes a checkpoint, after its second epoch.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_prep.common.command import INTERRUPTED
from helpers.toy import FOLDS, trainer
from helpers.toy_clips import NAMES, made_clips
from mser_jax.data.feed import Resident
from mser_jax.storage.checkpoints import Checkpoints
from mser_jax.storage.log import Log
from mser_jax.train import loop
from mser_jax.train.monitor import Monitor

HALF = "*.orbax-checkpoint-tmp/*.orbax-checkpoint-tmp/*"  # within: the arrays are being written


class Counted(Log):
    """Says when this process has logged so many epochs, and how long the last one took."""

    def __init__(self, path: Path, epochs: int):
        super().__init__(path)
        self.left, self.seconds, self.reached = epochs, 0.0, threading.Event()

    def write(self, event: str, **fields: Any) -> None:
        super().write(event, **fields)
        if event == "epoch":
            self.left, self.seconds = self.left - 1, fields["seconds"]
        if self.left == 0:
            self.reached.set()


def die(folder: Path, log: Counted, kill: str, part: float) -> None:
    log.reached.wait()
    if kill == "writing":
        while not any(folder.glob(f"checkpoints/{HALF}")):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(part * log.seconds)
    os.kill(os.getpid(), signal.Signals[kill])


def live(folder: str, epochs: int, kill: str = "", after: int = 0, part: float = 0) -> None:
    home = Path(folder)
    log = Counted(home / "log.jsonl", after)
    if kill:
        threading.Thread(target=die, args=(home, log, kill, part), daemon=True).start()
    of = trainer(epochs=epochs, checkpoint_every=1)
    feed, monitor = Resident(made_clips(), of.mesh), Monitor(log, of, NAMES)
    checkpoints = Checkpoints(home / "checkpoints", [fold.title for fold in FOLDS], "made")
    state = jax.device_get(loop.train(of, of.train_steps(), feed, checkpoints, monitor))
    np.savez(home / "states.npz", *jax.tree.leaves(state))


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                live(**json.loads(line))
            except KeyboardInterrupt:
                os._exit(INTERRUPTED)
            os._exit(0)
        print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
