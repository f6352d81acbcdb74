import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import relative_error

from maml.networks.keras import KerasNet

pytestmark = [pytest.mark.both_paddles, pytest.mark.usefixtures("float64")]


def test_it_is_the_network_of_the_example_in_inference_mode(rng):
    """Paddle's own operations written out, on paper 1: bias, (h - 0) / sqrt(1 + 1e-3), ReLU."""
    network = KerasNet(3, rng, image_size=7, filters=4, blocks=2, dtype="float64")
    params = [paddle.to_tensor(rng.standard_normal([2, *p.shape])) for p in network.theta]
    x = rng.random((2, 5, 1, 7, 7))
    found = network(paddle.to_tensor(x), params)
    for task in range(2):
        h = paddle.to_tensor(1 - x[task])
        for w, b, gamma, beta in zip(*(params[k:8:4] for k in range(4))):
            kernel = w[task].reshape([3, 3, -1, 4]).transpose([3, 2, 0, 1])
            h = F.conv2d(h, kernel, b[task, 0], stride=2, padding=1)
            h = h / np.sqrt(1.001) * gamma[task].reshape([1, 4, 1, 1])
            h = F.relu(h + beta[task].reshape([1, 4, 1, 1]))
        h = h.transpose([0, 2, 3, 1]).flatten(1)  # [N, P * C]; 2 x 2 positions are in rows' order
        expected = paddle.matmul(h, params[-2][task]) + params[-1][task]
        assert relative_error(found[task].numpy(), expected.numpy()) < 1e-12


def test_its_initial_weights_are_glorot_uniform(rng):
    """Keras counts 9 * channels in and out; the layers' other weights are 0 and 1."""
    network = KerasNet(5, rng)
    by_name = dict(zip(network.names, network.theta))
    for name, fans in (("block1", 9 + 9 * 64), ("block2", 18 * 64), ("classifier", 256 + 5)):
        w, limit = by_name[f"{name}.weight"].numpy(), np.sqrt(6 / fans)
        assert 0.95 * limit < np.abs(w).max() <= limit
        assert w.std() == pytest.approx(limit / np.sqrt(3), rel=0.06)
    for part, value in (("bias", 0), ("beta", 0), ("gamma", 1)):
        assert (by_name[f"block3.{part}"].numpy() == value).all()
