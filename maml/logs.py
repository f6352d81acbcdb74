"""What a run tells: lines and a progress bar on the console, curves in VisualDL."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from maml.config import Config
from maml.evaluation import Result


def vector(accuracies: np.ndarray) -> str:
    """Accuracies over the update steps as the forerunner printed them."""
    return np.array2string(np.asarray(accuracies), precision=4, floatmode="fixed")


class Log:
    """Console and VisualDL of one run."""

    def __init__(self, config: Config, start: int):
        from visualdl import LogWriter

        self.writer = LogWriter(logdir=str(Path(config.log) / config.name), display_name=config.name)
        self.bar = tqdm(total=config.epochs, initial=start, unit=" epochs", disable=None, dynamic_ncols=True)

    def step(self, epoch: int, metrics: dict[str, float]) -> None:
        self.bar.update(1)
        if epoch % 10 == 0:
            for name, value in metrics.items():
                self.writer.add_scalar(f"train/{name}", value, epoch)

    def train(self, epoch: int, result: Result) -> None:
        self.say(f"epoch: {epoch}\n{vector(result.vector)}")
        self.curve("train", epoch, result)

    def validation(self, epoch: int, result: Result) -> None:
        self.say(f"validation: {vector(result.vector)} +- {100 * result.interval:.2f}%")
        self.curve("validation", epoch, result)

    def curve(self, where: str, epoch: int, result: Result) -> None:
        for step, accuracy in enumerate(result.vector):
            self.writer.add_scalar(f"{where}/accuracy after step {step}", float(accuracy), epoch)

    def say(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
