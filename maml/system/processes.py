"""The processes that share each batch of tasks, which communicate by gloo on CPUs, NCCL on GPUs.

Every process draws the same tasks and computes on its own part of the tasks, or of each task's
images. Then the results are averaged, so that one process and several processes take the same
steps.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from maml.system.device import NO_GLOO
from maml.system.errors import UserError
from maml.system.launch import LAUNCHED

if TYPE_CHECKING:
    from paddle import Tensor


class Processes:
    """This process and the other processes that work on the same tasks.

    For a single process, every operation returns what that process has.

    Args:
        gpu (bool): the processes compute on GPUs.

    Raises:
        UserError: if there are several, and this build of PaddlePaddle cannot connect them.

    Attributes:
        rank (int): the number of this process, from 0 on.
        size (int): the number of processes.
    """

    def __init__(self, gpu: bool = False):
        self.rank = int(os.environ.get("PADDLE_TRAINER_ID", 0))
        self.size = int(os.environ.get(LAUNCHED, 1))
        if self.size > 1:
            os.environ.setdefault("PADDLE_DISTRI_BACKEND", "nccl" if gpu else "gloo")
            import paddle.distributed

            if not gpu and not hasattr(paddle.base.core, "ProcessGroupGloo"):
                raise UserError(NO_GLOO)
            # On standard error, Paddle would list its own flags.
            with contextlib.redirect_stderr(io.StringIO()):
                paddle.distributed.init_parallel_env()

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and saves."""
        return self.rank == 0

    def part(self, tasks: int) -> slice:
        """Return this process's part of `tasks` tasks; two parts differ by at most one task."""
        return slice(tasks * self.rank // self.size, tasks * (self.rank + 1) // self.size)

    def average(self, tensors: Sequence) -> list:
        """Return the means of tensors over the tasks of all processes.

        Args:
            tensors (Sequence[Tensor]): values of this process's tasks, [T, ...] each.

        Returns:
            list[Tensor]: the means, [...] each.
        """
        import paddle

        with paddle.no_grad():
            # the sum over one task would be a slow copy
            sums = [t.squeeze(0) if t.shape[0] == 1 else t.sum(axis=0) for t in tensors]
            if self.size == 1:
                return [s / tensors[0].shape[0] for s in sums]
            count = paddle.to_tensor([tensors[0].shape[0]], sums[0].dtype)
            flat = paddle.concat([*(s.reshape([-1]) for s in sums), count])
            flat = self.total(flat)
            parts = paddle.split(flat[:-1] / flat[-1], [s.size for s in sums])
            return [part.reshape(s.shape) for part, s in zip(parts, sums)]

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; every process must call this."""
        if self.size == 1:
            return tensor
        import paddle

        with paddle.no_grad():
            total = tensor.clone()
            paddle.distributed.all_reduce(total)
            return total

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of a float32 array over all processes."""
        if self.size == 1:
            return array
        import paddle

        return self.total(paddle.to_tensor(array)).numpy()

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process; every process must call this."""
        return bool(self.sum(np.array([flag], np.float32))[0])
