"""This process among those that share each batch of tasks: gloo on CPUs, NCCL on GPUs.

Every process draws the same tasks, computes on its part of them, and the results are averaged, so
that one process and many take the same steps.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence

import numpy as np

from maml.system.launch import LAUNCHED


class Processes:
    """This process among its peers; alone, all operations are the identity."""

    def __init__(self, gpu: bool = False):
        self.rank, self.size = (
            int(os.environ.get("PADDLE_TRAINER_ID", 0)),
            int(os.environ.get(LAUNCHED, 1)),
        )
        if self.size > 1:
            os.environ.setdefault("PADDLE_DISTRI_BACKEND", "nccl" if gpu else "gloo")
            import paddle.distributed

            with contextlib.redirect_stderr(
                io.StringIO()
            ):  # where it would list Paddle's own flags
                paddle.distributed.init_parallel_env()

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and saves."""
        return self.rank == 0

    def part(self, tasks: int) -> slice:
        """This process's share of `tasks` tasks, which differs from others' by one at most."""
        return slice(tasks * self.rank // self.size, tasks * (self.rank + 1) // self.size)

    def average(self, tensors: Sequence) -> list:
        """Tensors [T, ...] of this process's tasks -> their means [...] over the tasks of all
        processes.
        """
        import paddle

        with paddle.no_grad():
            sums = [t.sum(axis=0) for t in tensors]
            flat = paddle.concat(
                [
                    *(s.reshape([-1]) for s in sums),
                    paddle.to_tensor([tensors[0].shape[0]], sums[0].dtype),
                ]
            )
            if self.size > 1:
                paddle.distributed.all_reduce(flat)
            parts = paddle.split(flat[:-1] / flat[-1], [s.size for s in sums])
            return [part.reshape(s.shape) for part, s in zip(parts, sums)]

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over processes of a float32 array."""
        if self.size == 1:
            return array
        import paddle

        total = paddle.to_tensor(array)
        paddle.distributed.all_reduce(total)
        return total.numpy()

    def any(self, flag: bool) -> bool:
        """Whether any process says so; all must ask."""
        return bool(self.sum(np.array([flag], np.float32))[0])
