"""Networks in files of one's own, and those of examples/."""

import numpy as np
import paddle
import pytest
from helpers import ROOT, images
from PIL import Image

import maml
from maml import functional as fn
from maml.networks.file import read_builder
from maml.system.errors import UserError

pytestmark = [pytest.mark.both_paddles, pytest.mark.usefixtures("float64")]

BUILD = """
from paddle import nn


def build(way, image_size, channels):
    side = image_size // 4
    return nn.Sequential(nn.MaxPool2D(4), nn.Flatten(), nn.Linear(side * side, way or 8))


wrong = 3
"""


def test_a_file_of_ones_own_is_imported_from_the_flag_alone(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(BUILD)
    builder = read_builder(f"{path}:build")
    network = builder.network(5, 28)
    assert network.way == 5 and [p.shape for p in network.theta] == [[49, 5], [5]]
    assert network.sha256 == builder.sha256 and len(builder.sha256) == 64
    again = builder.network(5, 28)
    assert (network.theta[0].numpy() == again.theta[0].numpy()).all()
    for spec, sentence in [
        (f"{path}:wrong", "has no function wrong"),
        (f"{path}:absent", "has no function absent"),
        (f"{tmp_path}/none.py:build", "cannot be read"),
        ("mine.py", "must be of the form"),
    ]:
        with pytest.raises(UserError, match=sentence):
            read_builder(spec)


def test_a_file_that_is_read_again_after_an_edit_keeps_its_twins(tmp_path):
    """Also where it imports functions by name, and another file has its name."""
    text = """
from paddle import nn
from paddle.nn.functional import max_pool2d


class Pooled(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2D(1, 2, 1), nn.Linear(32, 3)

    def forward(self, x):
        return self.linear(max_pool2d(self.conv(x), 2).flatten(1))


def build(way, image_size, channels):
    return Pooled()
"""
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "mine.py", tmp_path / "mine.py", tmp_path / "other/mine.py"):
        path.write_text(text)
        network = read_builder(f"{path}:build").network(3, 8)
        assert maml.check_second_order(network, images(1, 3)) < 1e-5


def test_building_a_network_leaves_the_programs_random_numbers(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(BUILD)
    builder = read_builder(f"{path}:build")
    paddle.seed(5)
    expected = paddle.rand([2]).numpy()
    paddle.seed(5)
    builder.network(5, 28)
    assert (paddle.rand([2]).numpy() == expected).all()


@pytest.mark.parametrize(
    "spec, parameters", [("resnet.py:eight", 8 * 3 + 4 * 3 + 2), ("resnet_wide.py:six", 6 * 3 + 2)]
)
def test_the_residual_examples_have_exact_second_derivatives(spec, parameters):
    network = read_builder(f"{ROOT}/examples/{spec}").network(3, 16)
    x = images(1, 3, side=16)
    assert maml.check_second_order(network, x) < 1e-5 and len(network.theta) == parameters
    assert network(fn.for_each_task([x[0]], 2)[0]).shape == [2, 3, 3] and network.together


@pytest.mark.parametrize(
    # right on an AMD EPYC: 17 by MAML, and 15 where the drawings are enlarged to 42 pixels
    "name, network, at_least",
    [
        ("protonet_resnet", "resnet.py:four", 20),
        ("protonet_resnet8", "resnet.py:eight", 20),
        ("protonet_resnet42_train_val", "resnet.py:four", 13),
        ("protonet_resnet_wide_train_val", "resnet_wide.py:six", 20),
        ("protonet_resnet_wide_background", "resnet_wide.py:six", 20),
        ("maml_resnet", "resnet.py:four", 15),
    ],
)
def test_the_residual_examples_weights_classify(name, network, at_least):
    weights = ROOT / f"examples/{name}.pkl"
    with Image.open(ROOT / "tests/golden/drawings.png") as sheet:
        drawings = np.asarray(sheet).reshape(5, 28, 5, 28).swapaxes(1, 2)
    paddle.set_default_dtype("float32")  # as they were trained
    model = maml.load(weights, network=f"{ROOT}/examples/{network}").fit(
        drawings[:, 0], list("abcde")
    )
    answers = model.predict(drawings[:, 1:].reshape(20, 28, 28))
    assert sum(a == c for a, c in zip(answers, np.repeat(list("abcde"), 4))) >= at_least
