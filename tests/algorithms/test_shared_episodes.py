"""Processes that share the images of an episode take the step of one process."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import episodes, relative_error, small_protonet
from paddle import nn

from maml import functional as fn
from maml.algorithms.matching import FullContext, Matching
from maml.algorithms.protonet import ProtoNet
from maml.algorithms.siamese import Pairs, Triplets
from maml.networks.conv import ConvNet
from maml.networks.from_layer import from_layer

pytestmark = [pytest.mark.both_paddles, pytest.mark.usefixtures("float64")]


def encoder(pooled=True):
    rng = np.random.default_rng(0)
    return ConvNet(None, rng, image_size=6, pooled=pooled, filters=3, blocks=2, dtype="float64")


def convolutions():
    """A paddle.nn network whose images meet in batch normalisation alone."""
    layers = [nn.Conv2D(1, 3, 3, padding=1), nn.BatchNorm2D(3, epsilon=1e-2), nn.ReLU()]
    layers += [nn.MaxPool2D(2), nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Flatten()]
    return from_layer(nn.Sequential(*layers))


class Mixing(nn.Layer):
    """A network whose every embedding depends on all images."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(36, 4)

    def forward(self, x):
        z = F.relu(self.linear(x.flatten(1)))
        return z - z.mean(axis=0)


def averages(learner, tasks):
    """What `learner` averages over processes in an update: loss, gradient and statistics."""
    found, average = [], learner.average

    def remember(tensors):
        found.extend(average(tensors))
        return found

    learner.average = remember
    learner.meta_step(tasks)
    return [a.numpy() for a in found]


def check(together, learner, tasks, size):
    """`learner` makes a learner of options, always with the same weights."""

    def made(**options):
        paddle.seed(1)
        found = learner(**options)
        found.network(paddle.to_tensor(tasks.query_x))  # its first images decide on an own network
        return found

    def shared(_, processes):
        team = fn.Team(processes.part, processes.total)
        return averages(made(team=team, average=processes.average), tasks)

    alone = averages(made(), tasks)
    for found in together(shared, size):
        for a, b in zip(found, alone, strict=True):  # some gradients are 0 but for rounding
            assert np.abs(a - b).max() < 1e-9 * max(np.abs(b).max(), 1e-3)


LEARNERS = {
    "protonet": lambda **o: ProtoNet(encoder(), 0.01, **o),
    "protonet, strided": lambda **o: ProtoNet(encoder(pooled=False), 0.01, **o),
    "matching": lambda **o: Matching(encoder(), 0.01, context=FullContext(3, 2), **o),
    "pairs": lambda **o: Pairs(encoder(), 0.01, **o),
    "triplets": lambda **o: Triplets(encoder(), 0.01, 0.5, negatives="semi-hard", **o),
    "paddle.nn": lambda **o: ProtoNet(convolutions(), 0.01, **o),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_two_processes_take_the_step_of_one(rng, together, name):
    one_image_a_class = name in ("pairs", "triplets")
    each = {"way": 5, "shot": 1, "query": 1} if one_image_a_class else {"way": 3, "query": 2}
    check(together, LEARNERS[name], episodes(rng, tasks=1, **each), 2)


def test_three_processes_share_two_episodes_unequally(rng, together):
    """Ten images of each episode fall to them as three, three and four."""
    check(together, LEARNERS["protonet"], episodes(rng, tasks=2), 3)


def test_statistics_of_processes_with_very_different_images(rng, together):
    """The part of the second process is nearly constant, and far from that of the first."""
    tasks = episodes(rng, tasks=1)
    x = tasks.query_x
    x[:, 1:] = 30 + 1e-3 * x[:, 1:]
    check(together, LEARNERS["protonet"], tasks._replace(query_x=x), 2)


def test_each_process_embeds_its_own_images_alone(rng, together, monkeypatch):
    embedded, forward = [], ConvNet.prepare

    def prepare(network, x):
        embedded.append(x.shape[1])
        return forward(network, x)

    monkeypatch.setattr(ConvNet, "prepare", prepare)
    proto = small_protonet(rng)
    tasks = list(map(paddle.to_tensor, episodes(rng, tasks=1)))

    def shared(rank, processes):
        proto.team = fn.Team(processes.part, processes.total)
        embedded.clear()
        proto.gradient(*tasks)
        return list(embedded)

    assert together(shared, 3) == [[3], [3], [4]]


def test_a_network_that_mixes_images_embeds_all_of_them_in_every_process(rng, together):
    check(together, lambda **o: ProtoNet(from_layer(Mixing()), 0.01, **o), episodes(rng, 1), 2)


def test_shared_batch_normalisation_is_exact_in_float32(rng, together):
    """A mean far from 0 with a small variance, as where float32 cancels."""
    x = (100 + rng.standard_normal((1, 40, 3))).astype(np.float32)
    g = rng.standard_normal((1, 40, 3)).astype(np.float32)

    def normalised(x, g, given):
        x = paddle.to_tensor(x, stop_gradient=False)
        gamma, beta = paddle.full([1, 1, 3], 2.0, x.dtype), paddle.zeros([1, 1, 3], x.dtype)
        y = fn.batch_norm(x, gamma, beta, given, twice=False)
        (dx,) = paddle.grad(y, [x], paddle.to_tensor(g))
        return y.numpy(), dx.numpy()

    def shared(_, processes):
        own, team = processes.part(40), fn.Team(processes.part, processes.total)
        return normalised(x[:, own], g[:, own], team)

    parts = together(shared, 2)
    exact = normalised(x.astype(np.float64), g.astype(np.float64), None)
    for k in range(2):
        assert relative_error(np.concatenate([p[k] for p in parts], axis=1), exact[k]) < 1e-4
