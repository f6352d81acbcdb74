"""Shared by all tests: a small raw corpus, arrays made of it, runs of the scripts on them, and
gradients by finite differences.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# before Paddle: its matrix products read the environment once
from maml.system import device

for name, value in device.environment().items():
    os.environ.setdefault(name, value)

import archive_server
import numpy as np
import paddle
import pytest

from maml.data import stand_in
from maml.data.arrays import convert, save_arrays


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
    p, value = learner.theta[i], learner.theta[i].numpy()

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


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def float64():
    """Paddle's own layers, which take the default type, in float64 and with the same initial
    weights in every test.
    """
    paddle.seed(0)
    paddle.set_default_dtype("float64")
    yield
    paddle.set_default_dtype("float32")


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """A small raw corpus in Omniglot's layout: 4 invented alphabets of 10 characters, 3 of them
    background.
    """
    folder = tmp_path_factory.mktemp("raw") / "standin"
    stand_in.write(folder, alphabets=4, characters=10, seed=1)
    return folder


@pytest.fixture(scope="session")
def data(raw, tmp_path_factory) -> Path:
    """The corpus as arrays: 24 training, 8 validation and 8 test characters."""
    folder = tmp_path_factory.mktemp("data")
    save_arrays(*convert(raw, 28, "random", 0), folder)
    return folder


@pytest.fixture(scope="session")
def real() -> Path:
    """Real raw Omniglot: OMNIGLOT's folder, data/omniglot, or a folder `omniglot` in `shared`
    beside the checkout; skips elsewhere.
    """
    places = [Path(os.environ["OMNIGLOT"])] if os.environ.get("OMNIGLOT") else []
    for place in [*places, ROOT / "data" / "omniglot", ROOT.parent / "shared" / "omniglot"]:
        if place.exists():
            return place
    pytest.skip("no real Omniglot: set OMNIGLOT=path, or put it into data/omniglot")


def script(
    *arguments, status: int = 0, cwd: Path = ROOT, **environment
) -> subprocess.CompletedProcess:
    """Run a script of the project, such as script("train.py", "--epochs", 2), and expect this exit
    status.
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


TINY = [
    "--task_num",
    2,
    "--k_query",
    2,
    "--glob_update_step",
    1,
    "--glob_update_step_test",
    2,
    "--val_tasks",
    5,
    "--val_every",
    4,
    "--print_every",
    4,
    "--save_every",
    3,
    "--epochs",
    8,
    "--workers",
    1,
]


def folders(data, out):
    """Flags that read arrays from `data` and write below `out`."""
    return ["--data", data, "--logdir", out / "log", "--checkpoints", out / "checkpoints"]


def train(data, out, *flags, status=0):
    """Run train.py for a few seconds."""
    return script("train.py", *folders(data, out), *TINY, *flags, status=status)


def resume_file(out, name="maml_5w1s"):
    """Where `train` leaves what --resume needs."""
    return out / "log" / name / "resume.pkl"


def evaluate(data, run, *flags, status=0):
    """Run evaluate.py on the weights that `train` left below `run`."""
    return script(
        "evaluate.py",
        "--data",
        data,
        "--checkpoints",
        run / "checkpoints",
        "--tasks",
        9,
        "--workers",
        1,
        *flags,
        status=status,
    )


@pytest.fixture(scope="session")
def run(data, tmp_path_factory):
    """An uninterrupted run: its folder and what it printed."""
    out = tmp_path_factory.mktemp("run")
    return out, train(data, out).stdout


def same(a, b):
    """Whether two states are equal to the bit, but for times and places."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(
            same(a[k], b[k]) for k in a if k not in ("seconds", "logdir", "checkpoints", "workers")
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return a == b


@pytest.fixture
def server(monkeypatch):
    """Stands in for Omniglot's: see `archive_server`."""
    with archive_server.running(monkeypatch) as server:
        yield server
