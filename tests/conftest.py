"""Fixtures of all tests: a small raw corpus, arrays made of it, and a run on them."""

from __future__ import annotations

import os
from pathlib import Path

# before Paddle: its matrix products read the environment once
from maml.system import device

for name, value in device.environment().items():
    os.environ.setdefault(name, value)
os.environ.pop("MAML_CHECKPOINTS", None)  # whoever runs the tests may have weights of his own

import archive_server
import left_behind
import numpy as np
import paddle
import pytest
from helpers import ROOT, train

from maml.data import stand_in
from maml.data.arrays import convert, save_arrays
from maml.system.processes import Processes


def pytest_configure(config):
    config.pluginmanager.register(left_behind.OfSession(config))


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


@pytest.fixture
def together(monkeypatch):
    """A function that calls f(rank, processes) for each rank, as if each were a process, and
    returns what each returned.

    All are called again for each sum over the processes: to learn what they send, given the sums
    before.
    """

    def call(f, size: int) -> list:
        sums: list[paddle.Tensor] = []
        while True:
            sent, returned = [], []
            for rank in range(size):
                processes = Processes()
                processes.rank, processes.size = rank, size
                sent.append([])

                def all_reduce(tensor):
                    k = len(sent[-1])
                    sent[-1].append(tensor.clone())
                    if k < len(sums):
                        tensor.set_value(sums[k])

                monkeypatch.setattr(paddle.distributed, "all_reduce", all_reduce)
                returned.append(f(rank, processes))
            if len(sums) == len(sent[0]):
                return returned
            sums.append(paddle.add_n([of_rank[len(sums)] for of_rank in sent]))

    return call


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


@pytest.fixture(scope="session")
def run(data, tmp_path_factory):
    """An uninterrupted run: its folder and what it printed."""
    out = tmp_path_factory.mktemp("run")
    return out, train(data, out).stdout


@pytest.fixture
def server(monkeypatch):
    """Stands in for Omniglot's: see `archive_server`."""
    with archive_server.running(monkeypatch) as server:
        yield server
