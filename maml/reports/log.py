"""What a run tells while it goes on: lines and a progress bar on the console, curves and a picture
in VisualDL.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from maml.config import Config
from maml.data.tasks import TaskBatch
from maml.system import files
from maml.system.errors import UserError
from maml.system.progress import Progress

if TYPE_CHECKING:  # so that who only wants a vector in words need not wait for Paddle
    from maml.evaluation.accuracy import Result


SCALARS_EVERY = 10  # epochs
NOT_OMNIGLOT = "These are NOT Omniglot's characters, but {} ones."


def vector(accuracies: np.ndarray) -> str:
    """Accuracies before and after each update step, as the forerunner printed them."""
    return np.array2string(np.asarray(accuracies), precision=4, floatmode="fixed")


class Silent:
    """The log of a process that is not the first."""

    def step(self, epoch: int, metrics: dict[str, float]) -> None: ...

    def train(self, epoch: int, tasks: TaskBatch, result: Result) -> None: ...

    def validation(self, epoch: int, result: Result) -> None: ...

    def close(self, best: float) -> None: ...


class Log:
    """Console and VisualDL of one run, from epoch `start`, on data from `source`, as an index names
    it.
    """

    def __init__(self, config: Config, start: int, source: str):
        from visualdl import LogWriter

        self.config = config
        folder = Path(config.logdir) / config.name
        try:
            self.writer = LogWriter(logdir=str(folder), display_name=config.name)
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({files.reason(error)}); name another folder by"
                " --logdir"
            ) from None
        settings = {
            key: value if type(value) in (int, float) else str(value)
            for key, value in dataclasses.asdict(config).items()
        }
        self.writer.add_hparams(
            hparams_dict={**settings, "source": source}, metrics_list=["best validation accuracy"]
        )
        self.progress = Progress(config.epochs, "epochs", start, say=self.say)
        if source != "omniglot":
            self.say(NOT_OMNIGLOT.format(source))

    def step(self, epoch: int, metrics: dict[str, float]) -> None:
        """After every epoch."""
        if epoch % SCALARS_EVERY == 0:
            for name, value in metrics.items():
                self.writer.add_scalar(f"train/{name}", value, epoch)
        self.progress.step()

    def train(self, epoch: int, tasks: TaskBatch, result: Result) -> None:
        """Accuracies on training characters, and a batch of training tasks for the picture."""
        from maml.reports import plots

        self.say(f"epoch: {epoch}\n{vector(result.vector)}")
        self._curves("train", epoch, result)
        self.writer.add_image(
            "episode", plots.pixels(plots.episode(tasks, f"a training task, epoch {epoch}")), epoch
        )

    def validation(self, epoch: int, result: Result) -> None:
        """The accuracies on validation characters."""
        self.say(
            f"validation: {vector(result.vector)}, the last {100 * result.mean:.2f} +-"
            f" {100 * result.interval:.2f}%"
        )
        self._curves("validation", epoch, result)

    def _curves(self, where: str, epoch: int, result: Result) -> None:
        for name, values in (("accuracy", result.vector), ("loss", result.losses.mean(axis=0))):
            for step, value in enumerate(values):
                tag = f"{where}/{name} after step {step}" if len(values) > 1 else f"{where}/{name}"
                self.writer.add_scalar(tag, float(value), epoch)

    def say(self, text: str) -> None:
        """A line, above the bar where there is one."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def close(self, best: float) -> None:
        """After the last epoch: what the hyperparameters led to."""
        self.writer.add_scalar("best validation accuracy", best, self.config.epochs)
        self.writer.close()
        self.progress.close()
