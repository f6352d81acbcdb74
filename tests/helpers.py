"""Shared by tests: runs of the commands on a small corpus, and gradients by finite differences."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
import pytest
from PIL import Image, ImageDraw

from maml.algorithms.protonet import ProtoNet
from maml.config import Config
from maml.data.index import Index
from maml.data.raw import find_characters
from maml.data.splits import PARTS
from maml.data.tasks import TaskBatch
from maml.networks.conv import ConvNet
from maml.networks.dense import DenseNet, Perceptron
from maml.networks.keras import KerasNet
from maml.system import device, launch
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"


def script(
    *arguments, status: int = 0, cwd: Path = ROOT, **environment
) -> subprocess.CompletedProcess:
    """Run a script of the project, such as script("train.py", "--meta_iterations", 2), as users do,
    and expect this exit status.
    """
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == status, (
        f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    return done


class Said(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def command(name: str, *arguments, status: int = 0) -> Said:
    """Run `maml.cli.<name>.main` within this process, which is quick, and expect this exit status.

    Where it would start processes, this process is the only one of them. A `UserError` is told as
    the scripts tell it.
    """
    main = importlib.import_module(f"maml.cli.{name}").main
    argv = [str(argument) for argument in arguments]

    def start(workers, more=(), gpu=False):
        assert workers >= 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(launch.LAUNCHED, "1")
            return main([*argv, *more])

    out, err, ended = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "start", start)
        patch.setattr(device, "end_with_parent", lambda: None)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                ended = main(argv) or 0
            except UserError as error:
                assert "\n" not in str(error)
                print(f"error: {error}", file=sys.stderr)
                ended = 2
            except SystemExit as end:  # of --help
                ended = end.code
    assert ended == status, f"{name} {argv} ended with {ended}:\n{out.getvalue()}{err.getvalue()}"
    return Said(out.getvalue(), err.getvalue())


def run_main(module, *arguments) -> Said:
    """Run the `main` of an example or a benchmark within this process, with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module.__file__, *map(str, arguments)])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                assert not module.main()
            except SystemExit as end:  # of --help
                assert not end.code
    return Said(out.getvalue(), err.getvalue())


def names_word(text: str, word: str) -> bool:
    """Whether `word` stands in `text` by itself, not as a part of another."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def free_port() -> int:
    """A port of this machine that nobody uses at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


TINY = {
    "filters": 8,
    "meta_batch_size": 2,
    "query": 2,
    "inner_steps": 1,
    "inner_steps_test": 2,
    "val_tasks": 5,
    "val_every": 4,
    "print_every": 4,
    "save_every": 3,
    "meta_iterations": 8,
}
"""a run of a few seconds"""
OF_GRADIENT = ("inner_steps", "inner_steps_test")
"""settings that maml and reptile alone take"""


def as_flags(settings: dict) -> list[str]:
    """Settings as flags of train.py."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def tiny(*flags) -> list[str]:
    """The flags of `TINY` that `flags` do not contradict and their method knows."""
    stated = {str(flag) for flag in flags}
    metric = stated & {"protonet", "matching", "siamese"}
    unused = OF_GRADIENT if metric else ()
    unused += ("filters",) if "--network" in stated else ()
    left = {k: v for k, v in TINY.items() if k not in unused}
    return as_flags({k: v for k, v in left.items() if f"--{k}" not in stated})


def folders(data, out) -> list:
    """Flags that read arrays from `data` and write below `out`."""
    return ["--data", data, "--logdir", out / "log", "--checkpoints", out / "checkpoints"]


def train(data, out, *flags, status: int = 0, workers: int | None = None):
    """Train for a few seconds: in this process, or, where a number of `workers` is given, by
    train.py in processes of its own.
    """
    arguments = [*folders(data, out), *tiny(*flags), *flags]
    if workers is None:
        return command("train", *arguments, status=status)
    return script("train.py", *arguments, "--workers", workers, status=status)


def resume_file(out, name: str = "maml_5w1s") -> Path:
    """Where `train` leaves what --resume needs."""
    return out / "log" / name / "resume.pkl"


def evaluate(data, run, *flags, status: int = 0, workers: int | None = None):
    """Measure the weights that `train` left below `run`, in this process or by evaluate.py."""
    arguments = ["--data", data, "--checkpoints", run / "checkpoints", "--tasks", 9, *flags]
    if workers is None:
        return command("evaluate", *arguments, status=status)
    return script("evaluate.py", *arguments, "--workers", workers, status=status)


def write_runs(folder, raw, runs=2, way=20):
    """A challenge of stand-in characters: the items of run 1 are the very drawings of their
    classes, those of run 2 others.
    """
    characters = find_characters(raw)[:way]
    for run in range(1, runs + 1):
        here = folder / f"run{run:02}"
        for part in ("training", "test"):
            (here / part).mkdir(parents=True)
        lines = []
        order = np.random.default_rng(run).permutation(way)
        for item, c in enumerate(order):
            for part, name, drawing in (
                ("training", f"class{c + 1:02}", 0),
                ("test", f"item{item + 1:02}", run - 1),
            ):
                (here / part / f"{name}.png").write_bytes(characters[c].drawings[drawing][1]())
            lines.append(
                f"run{run:02}/test/item{item + 1:02}.png run{run:02}/training/class{c + 1:02}.png\n"
            )
        (here / "class_labels.txt").write_text("".join(lines))
    return folder


INDEX = Index(
    "stand-in",
    "random",
    0,
    28,
    "ink high",
    "11",
    dict.fromkeys(PARTS, ""),
    {"train": [], "val": []},
)


def save_description(path, accuracy=0.5, split="random", image_size=28, **settings):
    """Write a checkpoint without weights, of which nothing but its description is of interest."""
    config = Config(**{"algorithm": "protonet", "train_way": 20, **settings})
    index = dataclasses.replace(INDEX, split=split, image_size=image_size)
    best = {"accuracy": accuracy, "epoch": 1}
    Checkpoint(path, config, index, [], [], 1, best, [], 1.0, "").save()
    return path


def same(a, b, but=("seconds", "core_seconds", "logdir", "checkpoints", "workers")) -> bool:
    """Whether two states are equal to the bit, but for what is called so, times and places."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], but) for k in a if k not in but)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, but) for x, y in zip(a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


def numerical_gradient(f, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of the scalar function f at x, float64."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (f(up) - f(down)) / (2 * step)
    return gradient


def gradient_and_differences(learner, tasks, i: int) -> tuple[np.ndarray, np.ndarray]:
    """A metric learner's gradient on one episode with respect to its parameter i, as it says and by
    finite differences.
    """
    _, gradient, _ = learner.gradient(*map(paddle.to_tensor, tasks))
    p, value = learner.meta_parameters[i], learner.meta_parameters[i].numpy()

    def loss(a):
        p.set_value(a)
        return learner.gradient(*map(paddle.to_tensor, tasks))[0].item()

    expected = numerical_gradient(loss, value)
    p.set_value(value)
    return gradient[i][0].numpy(), expected


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))


def tensors(arrays, grad=True):
    return [paddle.to_tensor(a, stop_gradient=not grad) for a in arrays]


def images(tasks: int, n: int, side: int = 8, channels: int = 1, seed: int = 0) -> paddle.Tensor:
    """Normal noise for images of some tasks, [tasks, n, channels, side, side] float64."""
    rng = np.random.default_rng(seed)
    return paddle.to_tensor(rng.standard_normal([tasks, n, channels, side, side]))


def dense_grid() -> Image.Image:
    """A picture that is too dense to be a character."""
    image = Image.new("L", (300, 300), 255)
    pen = ImageDraw.Draw(image)
    for place in range(20, 290, 8):
        pen.line([(15, place), (285, place)], fill=0, width=4)
        pen.line([(place, 15), (place, 285)], fill=0, width=4)
    return image


def check_twice_differentiable(f, *arrays: np.ndarray, tolerance: float = 1e-6) -> None:
    """First and second derivatives of f(*tensors) -> tensor, float64, along random directions
    against finite differences.
    """
    rng = np.random.default_rng(1)
    weights = paddle.to_tensor(rng.standard_normal(f(*tensors(arrays)).shape))
    directions = [rng.standard_normal(a.shape) for a in arrays]

    def first(arrays, create_graph=False):
        inputs = tensors(arrays)
        return inputs, paddle.grad((f(*inputs) * weights).sum(), inputs, create_graph=create_graph)

    def slope(values):  # <grad f, directions>
        return sum((g.numpy() * d).sum() for g, d in zip(first(values)[1], directions))

    _, gradients = first(arrays)
    for k, gradient in enumerate(gradients):

        def value(a):
            return (
                (f(*tensors([*arrays[:k], a, *arrays[k + 1 :]], grad=False)) * weights).sum().item()
            )

        assert relative_error(gradient.numpy(), numerical_gradient(value, arrays[k])) < tolerance
    inputs, gradients = first(arrays, create_graph=True)
    second = paddle.grad(
        gradients, inputs, [paddle.to_tensor(d) for d in directions], allow_unused=True
    )
    for k, gradient in enumerate(second):
        expected = numerical_gradient(
            lambda a: slope([*arrays[:k], a, *arrays[k + 1 :]]), arrays[k]
        )
        found = np.zeros_like(expected) if gradient is None else gradient.numpy()
        assert np.abs(found - expected).max() < tolerance * max(np.abs(expected).max(), 1.0)


def episodes(rng, tasks: int = 2, way: int = 2, shot: int = 2, query: int = 3) -> TaskBatch:
    """Tasks of random images of 6 x 6 pixels, float64, sorted by class."""

    def images(count):
        x = rng.random((tasks, way * count, 1, 6, 6))
        return x, np.tile(np.arange(way).repeat(count), (tasks, 1))

    return TaskBatch(*images(shot), *images(query))


def small_protonet(rng, **options) -> ProtoNet:
    """Prototypical networks for `episodes`."""
    network = ConvNet(None, rng, image_size=6, pooled=True, filters=3, blocks=2, dtype="float64")
    return ProtoNet(network, outer_lr=0.01, **options)


def scores(learner, tasks: TaskBatch) -> np.ndarray:
    """What a metric learner says of the queries."""
    support_x, support_y, query_x, _ = map(paddle.to_tensor, tasks)
    (adapted,) = learner.adapt(support_x, support_y)
    return learner.predict(adapted, query_x).numpy()


WAY = 2
"""of the problems below, for learners that adapt"""


def small_network(kind, rng, dtype="float64"):
    if kind == "dense":
        return DenseNet(WAY, rng, image_size=4, hidden=(5, 3), dtype=dtype)
    if kind == "perceptron":
        return Perceptron(WAY, rng, inputs=16, hidden=(5, 3), dtype=dtype)
    if kind == "keras":
        return KerasNet(WAY, rng, image_size=6, filters=3, blocks=2, dtype=dtype)
    return ConvNet(
        WAY, rng, image_size=6, pooled=kind == "pooled", filters=3, blocks=2, dtype=dtype
    )


def small_tasks(rng, tasks=2, size=6, support=4, query=6, dtype="float64"):
    def images(count):
        return rng.random((tasks, count, 1, size, size)).astype(dtype), np.tile(
            np.arange(count) % WAY, (tasks, 1)
        )

    return TaskBatch(*images(support), *images(query))


def small_problem(kind, rng):
    """A network whose classifier has an opinion, and tasks for it."""
    network = small_network(kind, rng)
    if (
        kind == "perceptron"
        # its biases of 0 put units whose inputs are all 0 on ReLU's kink, where differences say
        # nothing
    ):
        for b in network.theta[1::2]:
            b.set_value(0.1 * rng.standard_normal(b.shape))
    network.theta[-2].set_value(rng.standard_normal(network.theta[-2].shape))
    return network, small_tasks(rng, size=4 if kind in ("dense", "perceptron") else 6)


def meta_gradient(maml, tasks):
    losses, gradient = maml.meta_gradient(*map(paddle.to_tensor, tasks))
    return losses.sum().item(), [g.sum(0).numpy() for g in gradient]


def slope(f, step=2e-5):
    """df/dt at 0, by central differences of fourth order."""
    return (8 * (f(step) - f(-step)) - f(2 * step) + f(-2 * step)) / (12 * step)
