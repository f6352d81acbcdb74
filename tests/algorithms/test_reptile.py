import numpy as np
import paddle
import pytest
from helpers import relative_error

from maml import functional as fn
from maml.algorithms.reptile import Reptile
from maml.data.tasks import TaskBatch
from maml.networks.conv import ConvNet


class Point:
    """The parameter itself is the output; x and y are targets of each "image"."""

    def __init__(self, phi):
        self.theta = [
            paddle.create_parameter(
                [1, len(phi)],
                "float64",
                default_initializer=paddle.nn.initializer.Assign(np.array([phi])),
            )
        ]

    def prepare(self, x):
        return x

    def __call__(self, x, params):
        return params[0] + 0 * x  # [T, N, D]


def quadratic(output, target):
    """1/2 |phi - target|^2, the mean over images; its gradient is phi - mean target."""
    return ((output - target) ** 2).sum(-1).mean(-1) / 2


def reptile(network, **options):
    return Reptile(
        network,
        **{
            "inner_lr": 0.5,
            "epsilon": 0.25,
            "inner_steps": 2,
            "inner_batch": 2,
            "steps_test": 2,
            "batch_test": 2,
            "inner_optimizer": "sgd",
            "loss": quadratic,
            **options,
        },
    )


def tasks_of(targets):
    """A TaskBatch whose support images stand for themselves: targets [T, N, D]."""
    targets = np.array(targets, float)
    return TaskBatch(targets, targets, targets[:, :0], targets[:, :0])


def test_a_meta_step_on_a_quadratic_by_hand():
    """One image each, target c: U halves the distance, twice: W = c + (phi - c) / 4. Tasks at 4 and
    8, phi = 0: W = 3 and 6, mean 4.5, so phi moves by epsilon 4.5 = 1.125.
    """
    network = Point([0.0])
    reptile(network, inner_batch=1).meta_step(tasks_of([[[4.0]], [[8.0]]]))
    assert network.theta[0].item() == pytest.approx(1.125)


def test_an_outer_step_of_adam_goes_along_phi_minus_w():
    """As above, phi - W is -4.5; Adam's first step is epsilon times its sign."""
    network = Point([0.0])
    reptile(network, inner_batch=1, outer_optimizer="adam").meta_step(tasks_of([[[4.0]], [[8.0]]]))
    assert network.theta[0].item() == pytest.approx(0.25, rel=1e-6)


def test_inner_batches_cycle_through_the_support():
    """Three images at 1, 2, 4, batches of two: (1, 2), (4, 1), (2, 4): phi = 0 -> 0.75 -> 1.625 ->
    2.3125.
    """
    learner = reptile(Point([0.0]))
    x = paddle.to_tensor([[[1.0], [2.0], [4.0]]], dtype="float64")
    assert [w[0].item() for w, _ in learner.inner_loop(x, x, 3, 2)] == pytest.approx(
        [0.75, 1.625, 2.3125]
    )


@pytest.mark.parametrize("batch", [0, 5])
def test_all_of_the_support_in_each_step_of_tests(batch):
    """The same three images have the mean 7/3: phi = 0 -> 7/6 -> 7/4."""
    x = paddle.to_tensor([[[1.0], [2.0], [4.0]]], dtype="float64")
    adapted = reptile(Point([0.0]), batch_test=batch).adapt(x, x)
    assert [state.theta[0].item() for state in adapted] == pytest.approx([0, 7 / 6, 7 / 4])


def test_adam_without_first_moment_by_hand():
    """The first step is rate * sign(gradient); the second divides by the corrected mean of both
    squares.
    """
    learner = reptile(Point([0.0]), inner_optimizer="adam", inner_lr=0.1)
    x = paddle.to_tensor([[[2.0]]], dtype="float64")
    first, second = (w[0].item() for w, _ in learner.inner_loop(x, x, 2, 1))
    assert first == pytest.approx(0.1)
    squares = (0.999 * 0.001 * 4 + 0.001 * 1.9**2) / (1 - 0.999**2)
    assert second == pytest.approx(0.1 + 0.1 * 1.9 / np.sqrt(squares))


def convnet(rng):
    return ConvNet(2, rng, image_size=6, filters=3, blocks=2, dtype="float64")


def test_tasks_adapt_alike_together_and_alone(rng):
    learner = reptile(convnet(rng), loss=fn.cross_entropy, inner_optimizer="adam")
    x, y = rng.random((3, 4, 1, 6, 6)), np.tile([0, 1, 0, 1], (3, 1))
    *_, (together, _) = learner.inner_loop(paddle.to_tensor(x), paddle.to_tensor(y), 3, 2)
    for t in range(3):
        *_, (alone, _) = learner.inner_loop(
            paddle.to_tensor(x[t : t + 1]), paddle.to_tensor(y[t : t + 1]), 3, 2
        )
        assert (
            max(relative_error(a[t].numpy(), b[0].numpy()) for a, b in zip(together, alone)) < 1e-6
        )


def test_inductive_prediction_sees_support_and_one_query(rng):
    network = convnet(rng)
    x, y, query = (
        paddle.to_tensor(a)
        for a in (
            rng.random((2, 4, 1, 6, 6)),
            np.tile([0, 1, 0, 1], (2, 1)),
            rng.random((2, 3, 1, 6, 6)),
        )
    )
    learner = reptile(network, loss=fn.cross_entropy, transductive=False)
    *_, adapted = learner.adapt(x, y)
    scores = learner.predict(adapted, query)
    assert scores.shape == [2, 3, 2]
    assert (
        relative_error(learner.predict(adapted, query[:, 1:2]).numpy(), scores[:, 1:2].numpy())
        < 1e-12
    )
    expected = network(paddle.concat([x, query[:, 2:]], axis=1), adapted.theta)[:, -1]
    assert relative_error(scores[:, 2].numpy(), expected.numpy()) < 1e-12


def test_transductive_prediction_sees_the_queries_of_its_own_task(rng):
    network = convnet(rng)
    x, y, query = (
        paddle.to_tensor(a)
        for a in (
            rng.random((2, 4, 1, 6, 6)),
            np.tile([0, 1, 0, 1], (2, 1)),
            rng.random((2, 3, 1, 6, 6)),
        )
    )
    learner = reptile(network, loss=fn.cross_entropy)
    *_, adapted = learner.adapt(x, y)
    scores = learner.predict(adapted, query)
    assert relative_error(scores.numpy(), network(query, adapted.theta).numpy()) < 1e-12
    assert (
        relative_error(learner.predict(adapted, query[:, 1:2]).numpy(), scores[:, 1:2].numpy())
        > 1e-3
    )


def test_adapt_yields_before_and_after_each_step(rng):
    learner = reptile(convnet(rng), loss=fn.cross_entropy, steps_test=3)
    x, y = (
        paddle.to_tensor(rng.random((2, 4, 1, 6, 6))),
        paddle.to_tensor(np.tile([0, 1, 0, 1], (2, 1))),
    )
    assert len(list(learner.adapt(x, y))) == 4
