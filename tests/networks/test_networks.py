"""Networks written out with Paddle's own operations and with NumPy."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import relative_error

from maml import functional as fn
from maml.networks.build import build_network
from maml.networks.conv import ConvNet
from maml.networks.dense import DenseNet, Perceptron
from maml.system.errors import UserError

pytestmark = pytest.mark.both_paddles


def convolved(network, params, x, pooled):
    """The scores of one task's images [N, 1, H, W] by Paddle's convolutions."""
    h = paddle.to_tensor(x)
    for k in range(0, len(params) - 2, 3):
        w, gamma, beta = params[k : k + 3]
        kernel = w.reshape(3, 3, -1, w.shape[1]).transpose(3, 2, 0, 1)
        stride = 1 if pooled else 2
        h = F.conv2d(h, paddle.to_tensor(kernel.copy()), stride=stride, padding=1)
        mean = h.mean(axis=[0, 2, 3], keepdim=True)
        variance = ((h - mean) ** 2).mean(axis=[0, 2, 3], keepdim=True)
        shape = [1, -1, 1, 1]
        scale, shift = (paddle.to_tensor(p).reshape(shape) for p in (gamma, beta))
        h = F.relu(scale * (h - mean) / (variance + fn.EPSILON).sqrt() + shift)
        h = F.max_pool2d(h, 2) if pooled else h
    z = h.transpose([0, 2, 3, 1]).numpy()  # positions in any order; one is left here
    return z.reshape(len(x), -1) @ params[-2] + params[-1]


@pytest.mark.parametrize("pooled", [False, True])
def test_convolutions_are_paddles_with_the_weights_of_each_task(rng, pooled):
    network = ConvNet(3, rng, image_size=4, pooled=pooled, filters=5, blocks=2, dtype="float64")
    params = [rng.standard_normal((2, *p.shape)) for p in network.theta]
    x = rng.random((2, 6, 1, 4, 4))
    found = network(paddle.to_tensor(x), [paddle.to_tensor(p) for p in params]).numpy()
    for t in range(2):
        expected = convolved(network, [p[t] for p in params], x[t], pooled)
        assert relative_error(found[t], expected) < 1e-9


def small(kind, rng, way=3):
    if kind in ("strided", "pooled"):
        return ConvNet(way, rng, 6, pooled=kind == "pooled", filters=3, blocks=2, dtype="float64")
    if kind == "dense":
        return DenseNet(way, rng, image_size=6, hidden=(5, 4), dtype="float64")
    return Perceptron(way, rng, inputs=36, hidden=(5, 4), dtype="float64")


EVERY = pytest.mark.parametrize("kind", ["strided", "pooled", "dense", "perceptron"])


@EVERY
def test_weights_have_names_and_scores_begin_without_an_opinion(rng, kind):
    network = small(kind, rng)
    assert len(network.names) == len(network.theta) == len(set(network.names))
    assert network.names[-2:] == ["classifier.weight", "classifier.bias"]
    x = paddle.to_tensor(rng.random((2, 7, 1, 6, 6)))
    scores = network(x)
    assert scores.shape == [2, 7, 3] and float(scores.abs().max()) < 0.5
    params = [p.unsqueeze(0) for p in network.theta]
    z = network.represent(x, params)
    assert z.shape == [2, 7, network.features]
    linear = paddle.matmul(z, params[-2]) + params[-1]
    assert relative_error(scores.numpy(), linear.numpy()) < 1e-12
    assert small(kind, rng, way=None)(x).shape == [2, 7, network.features]


@EVERY
def test_tasks_do_not_see_each_other(rng, kind):
    network = small(kind, rng)
    x = paddle.to_tensor(rng.random((3, 4, 1, 6, 6)))
    whole = network(x).numpy()
    assert relative_error(network(x[1:2]).numpy()[0], whole[1]) < 1e-10


@EVERY
def test_recorded_statistics_given_back_make_images_independent(rng, kind):
    network, record = small(kind, rng), []
    x = paddle.to_tensor(rng.random((1, 8, 1, 6, 6)))
    together = network(x, record=record)
    assert len(record) == (0 if kind == "perceptron" else 2)
    again = network(x, statistics=record)
    assert relative_error(again.numpy(), together.numpy()) < 1e-9
    alone = network(x[:, 2:3], statistics=record)
    assert relative_error(alone.numpy()[:, 0], together.numpy()[:, 2]) < 1e-9


def test_running_averages_move_by_a_tenth(rng):
    network = small("strided", rng)
    first, second = ([fn.Statistics(*map(paddle.to_tensor, [a, a]))] for a in ([1.0], [2.0]))
    network.update_running(first)
    network.update_running(second)
    assert [s.item() for s in network.running[0]] == pytest.approx([1.1, 1.1])


def test_a_perceptron_by_hand(rng):
    network = small("perceptron", rng)
    x = rng.random((1, 4, 1, 6, 6))
    w1, b1, w2, b2, w, b = (p.numpy() for p in network.theta)
    h = np.maximum(np.maximum(x.reshape(4, 36) @ w1 + b1, 0) @ w2 + b2, 0)
    assert relative_error(network(paddle.to_tensor(x)).numpy()[0], h @ w + b) < 1e-12


@EVERY
def test_the_same_seed_gives_the_same_weights(kind):
    one, again, other = (small(kind, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(one.theta, again.theta))
    assert (one.theta[0].numpy() != other.theta[0].numpy()).any()


@pytest.mark.parametrize("name", ["strided", "pooled", "dense", "perceptron", "keras"])
def test_networks_are_built_by_name(name, rng):
    network = build_network(name, 5, rng, 28, 64, 0.2)
    assert network.way == 5 and network(paddle.zeros([1, 2, 1, 28, 28])).shape == [1, 2, 5]


def test_the_papers_networks_have_their_sizes(rng):
    def count(name):
        network = build_network(name, 5, rng, 28, 64, 0.2)
        return sum(int(np.prod(p.shape)) for p in network.theta)

    # four convolutions with 64 filters, without biases, and the classifier of 64 or 4 x 64 features
    body = 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64
    assert count("pooled") == body + 64 * 5 + 5
    assert count("strided") == body + 4 * 64 * 5 + 5


def test_koch_is_for_images_of_its_size(rng):
    with pytest.raises(UserError, match="koch is for images of at least 65 pixels"):
        build_network("koch", None, rng, 28, 64, 0.2)
