"""Every network on colour images of an odd size: training, evaluation and the log."""

import io

import numpy as np
import pytest
from helpers import command
from PIL import Image
from visualdl import LogReader

from maml.networks import build
from maml.networks.koch import KochNet
from maml.training.checkpoint import read

SIDE = 17
KINDS = {
    "strided": "maml",
    "pooled": "protonet",
    "dense": "maml",
    "perceptron": "reptile",
    "keras": "reptile",
    "koch": "siamese",
    "examples/resnet.py:four": "matching",
}
"""networks, and a method with which each is trained"""


class SmallKoch(KochNet):
    """With few dense units, which are quick to make."""

    def __init__(self, rng, deviation, **images):
        super().__init__(rng, deviation, features=16, **images)


def write(folder, side):
    """Nine classes of five to seven images each, of more red than blue, as make_data.py's."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(9), [5, 6, 7] * 3)
    shades = rng.integers([150, 0, 0], [200, 200, 10], [9, 1, 1, 3])
    images = shades[labels] + rng.integers(0, 50, [len(labels), side, side, 3])
    np.save(folder / "x.npy", images.astype(np.uint8))
    np.save(folder / "y.npy", labels)
    arrays = ["--images", folder / "x.npy", "--labels", folder / "y.npy"]
    command("data", *arrays, "--out", folder, "--fractions", 34, 33, 33)
    return folder


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return {side: write(tmp_path_factory.mktemp(f"of{side}"), side) for side in (SIDE, 65)}


@pytest.mark.slow
@pytest.mark.parametrize("network", KINDS)
def test_every_network_trains_and_is_measured_on_colours(network, colours, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "KochNet", SmallKoch)
    data = colours[65 if network == "koch" else SIDE]
    steps = ["--inner_steps", 1, "--inner_steps_test", 1]
    flags = ["--algorithm", KINDS[network], "--network", network, "--way", 2, "--query", 1]
    flags += ["--meta_batch_size", 1, "--meta_iterations", 1, "--print_every", 1, "--val_tasks", 2]
    flags += steps if KINDS[network] in ("maml", "reptile") else []
    flags += ["--workers", 1, "--name", "mine", "--checkpoints", tmp_path]
    command("train", *flags, "--data", data, "--logdir", tmp_path / "log")
    trained = read(tmp_path / "mine.pkl")
    assert trained.data.channels == 3 and len(trained.data.mean) == 3
    weights = [
        "--checkpoint",
        tmp_path / "mine.pkl",
        *(["--network", network] if ":" in network else []),
    ]
    task = ["--way", 2, "--query", 1, "--tasks", 2, "--workers", 1]
    said = command("evaluate", *weights, *task, "--data", data).stdout
    assert "images of x" in said and "accuracy: " in said


def test_visualdl_shows_colour_episodes(colours, tmp_path):
    """Frames are blue and letters grey, so that what is red is of the images."""
    flags = ["--algorithm", "protonet", "--way", 2, "--query", 1, "--val_tasks", 2, "--name", "x"]
    flags += ["--meta_iterations", 1, "--print_every", 1, "--meta_batch_size", 1, "--workers", 1]
    flags += ["--checkpoints", tmp_path, "--logdir", tmp_path / "log", "--data", colours[SIDE]]
    command("train", *flags)
    (record,) = (tmp_path / "log/x").glob("vdlrecords.*")
    (shown,) = LogReader(file_path=str(record)).get_data("image", "episode")
    with Image.open(io.BytesIO(shown.image.encoded_image_string)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (pixels[..., 0] > pixels[..., 2] + 60).mean() > 0.2
