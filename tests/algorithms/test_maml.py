import numpy as np
import paddle
import pytest
from helpers import (
    meta_gradient,
    numerical_gradient,
    relative_error,
    slope,
    small_network,
    small_problem,
    small_tasks,
)

from maml import functional as fn
from maml.algorithms.maml import MAML
from maml.data.tasks import TaskBatch
from maml.system.errors import UserError
from maml.training.build import _with_views

pytestmark = pytest.mark.both_paddles


def learner(network, steps=2, **options):
    return MAML(network, alpha=0.3, beta=0.01, steps=steps, steps_test=steps, **options)


def differences_along(maml, tasks, directions):
    """The slope of the sum of query losses along `directions` of theta."""
    theta = [p.numpy() for p in maml.network.theta]

    def loss_at(t):
        for p, value, d in zip(maml.network.theta, theta, directions):
            p.set_value(value + t * d)
        return meta_gradient(maml, tasks)[0]

    found = slope(loss_at)
    loss_at(0)
    return found


EVERY_NETWORK = pytest.mark.parametrize(
    "kind", ["strided", "pooled", "dense", "perceptron", "keras"]
)
EVERY_STEP = pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])


@EVERY_NETWORK
@EVERY_STEP
def test_meta_gradient_equals_finite_differences(rng, kind, steps):
    network, tasks = small_problem(kind, rng)
    maml = learner(network, steps)
    _, gradient = meta_gradient(maml, tasks)
    for _ in range(3):
        directions = [rng.standard_normal(p.shape) for p in network.theta]
        expected = differences_along(maml, tasks, directions)
        assert abs(
            sum((g * d).sum() for g, d in zip(gradient, directions)) - expected
        ) < 1e-6 * abs(expected)


@EVERY_NETWORK
@EVERY_STEP
def test_first_order_gradient_equals_finite_differences_at_the_adapted_weights(rng, kind, steps):
    network, tasks = small_problem(kind, rng)
    maml = learner(network, steps, first_order=True)
    support_x, support_y, query_x, query_y = map(paddle.to_tensor, tasks)
    _, gradient = maml.meta_gradient(support_x, support_y, query_x, query_y)
    *_, adapted = maml.adapt(support_x, support_y)
    directions = [paddle.to_tensor(rng.standard_normal(p.shape)) for p in adapted.theta]

    def loss_at(t):
        return (
            fn.cross_entropy(
                network(query_x, [p + t * d for p, d in zip(adapted.theta, directions)]), query_y
            )
            .sum()
            .item()
        )

    expected = slope(loss_at)
    assert abs(
        sum((g * d).sum().item() for g, d in zip(gradient, directions)) - expected
    ) < 1e-6 * abs(expected)


def test_meta_gradient_with_a_temperature_equals_finite_differences(rng):
    network, tasks = small_problem("strided", rng)
    maml = learner(network, temperature=0.2)
    _, gradient = meta_gradient(maml, tasks)
    directions = [rng.standard_normal(p.shape) for p in network.theta]
    expected = differences_along(maml, tasks, directions)
    found = sum((g * d).sum() for g, d in zip(gradient, directions))
    assert abs(found - expected) < 1e-6 * abs(expected)


def test_the_temperature_divides_scores_of_queries_and_leaves_the_inner_loop_alone(rng):
    network, tasks = small_network("strided", rng), small_tasks(rng)
    support_x, support_y, query_x, query_y = map(paddle.to_tensor, tasks)
    *_, plain = learner(network).adapt(support_x, support_y)
    cold = learner(network, temperature=0.25)
    *_, adapted = cold.adapt(support_x, support_y)
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(plain.theta, adapted.theta))
    scores = 4 * network(query_x, plain.theta)
    assert relative_error(cold.predict(adapted, query_x).numpy(), scores.numpy()) < 1e-12
    loss, _ = cold.query_gradient(adapted.theta, query_x, query_y)
    assert relative_error(loss.numpy(), fn.cross_entropy(scores, query_y).numpy()) < 1e-12


def test_first_order_differs_from_second(rng):
    network, tasks = small_problem("strided", rng)
    exact, first = (
        meta_gradient(learner(network), tasks)[1],
        meta_gradient(learner(network, first_order=True), tasks)[1],
    )
    assert max(relative_error(a, b) for a, b in zip(exact, first)) > 0.01


class Line:
    """y = x w, a network as far as MAML can tell; w [D, 1]."""

    def __init__(self, w):
        self.theta = [
            paddle.create_parameter(
                list(w.shape), "float64", default_initializer=paddle.nn.initializer.Assign(w)
            )
        ]

    def prepare(self, x):
        return x

    def __call__(self, x, params, twice=False):
        return paddle.matmul(x, params[0])


def test_meta_gradient_of_linear_regression_is_the_closed_form(rng):
    """theta' = theta - alpha/n X'(X theta - y), so grad = (I - alpha/n X'X) 1/m Q'(Q theta' - z),
    for the loss 1/2n |X theta - y|^2.
    """
    w, alpha = rng.standard_normal((3, 1)), 0.3
    x, y, q, z = (rng.standard_normal((1, *shape)) for shape in ((5, 3), (5, 1), (7, 3), (7, 1)))
    maml = MAML(
        Line(w),
        alpha=alpha,
        beta=1.0,
        steps=1,
        steps_test=1,
        loss=lambda out, y: ((out - y) ** 2).mean(axis=[1, 2]) / 2,
    )
    _, (gradient,) = meta_gradient(maml, TaskBatch(x, y, q, z))
    x, y, q, z = x[0], y[0], q[0], z[0]
    adapted = w - alpha / 5 * x.T @ (x @ w - y)
    assert (
        relative_error(gradient, (np.eye(3) - alpha / 5 * x.T @ x) @ q.T @ (q @ adapted - z) / 7)
        < 1e-12
    )


@pytest.mark.parametrize("first_order", [False, True])
def test_batched_tasks_equal_one_at_a_time(rng, first_order):
    network, tasks = small_network("strided", rng), small_tasks(rng, tasks=5)
    _, together = learner(network, first_order=first_order).meta_gradient(
        *map(paddle.to_tensor, tasks)
    )
    for t in range(5):
        _, alone = learner(network, first_order=first_order).meta_gradient(
            *(paddle.to_tensor(a[t : t + 1]) for a in tasks)
        )
        assert (
            max(relative_error(a[t].numpy(), b[0].numpy()) for a, b in zip(together, alone)) < 1e-10
        )


def test_meta_gradient_does_not_depend_on_the_order_of_support_and_query(rng):
    network, tasks = small_network("strided", rng), small_tasks(rng)
    s, q = rng.permutation(4), rng.permutation(6)
    shuffled = TaskBatch(
        tasks.support_x[:, s], tasks.support_y[:, s], tasks.query_x[:, q], tasks.query_y[:, q]
    )
    for a, b in zip(
        meta_gradient(learner(network), tasks)[1], meta_gradient(learner(network), shuffled)[1]
    ):
        assert relative_error(a, b) < 1e-9


def test_meta_step_applies_adam_to_the_mean_gradient(rng):
    network, tasks = small_network("dense", rng), small_tasks(rng, size=4)
    before = [p.numpy() for p in network.theta]
    expected = [g / 2 for g in meta_gradient(learner(network), tasks)[1]]
    metrics = learner(network).meta_step(tasks)
    for p, old, g in zip(network.theta, before, expected):
        assert np.allclose(
            p.numpy(), old - 0.01 * g / (np.abs(g) + 1e-8), atol=1e-9
        )  # Adam's first step
    assert metrics["gradient norm"] == pytest.approx(np.sqrt(sum((g**2).sum() for g in expected)))


def test_clip_bounds_each_tasks_gradient(rng):
    network, tasks = small_network("dense", rng), small_tasks(rng, tasks=1, size=4)
    assert learner(network, clip=1e-3).meta_step(tasks)["gradient norm"] == pytest.approx(
        1e-3, rel=1e-4
    )


def test_adapt_yields_the_weights_before_and_after_each_step_and_lowers_the_support_loss(rng):
    network, tasks = small_network("strided", rng), small_tasks(rng)
    support_x, support_y = map(paddle.to_tensor, tasks[:2])
    adapted = list(learner(network, steps=3).adapt(support_x, support_y))
    assert len(adapted) == 4
    assert (adapted[0].theta[0][1].numpy() == network.theta[0].numpy()).all()
    losses = [
        fn.cross_entropy(network(support_x, a.theta), support_y).sum().item() for a in adapted
    ]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("kind", ["strided", "pooled"])
def test_a_support_and_its_exact_copies_teach_what_the_support_does(rng, kind):
    network, tasks = small_network(kind, rng), small_tasks(rng)
    support_x, support_y = map(paddle.to_tensor, tasks[:2])
    twice = learner(
        network,
        steps=2,
        augment=lambda x, y: (paddle.concat([x, x], axis=1), paddle.concat([y, y], axis=1)),
    )
    (*_, once), (*_, doubled) = (
        learner(network, steps=2).adapt(support_x, support_y),
        twice.adapt(support_x, support_y),
    )
    assert (
        max(relative_error(a.numpy(), b.numpy()) for a, b in zip(once.theta, doubled.theta)) < 1e-9
    )


def test_distorted_copies_stand_behind_their_support_with_its_labels(rng):
    x, y = (
        paddle.to_tensor(np.rint(rng.random((2, 3, 1, 28, 28)) * 255) / 255, "float32"),
        paddle.to_tensor([[0, 1, 2], [2, 0, 1]]),
    )
    images, labels = _with_views(x, y, copies=4)
    assert images.shape == [2, 15, 1, 28, 28] and labels.tolist() == [[0, 1, 2] * 5, [2, 0, 1] * 5]
    np.testing.assert_allclose(images[:, :3].numpy(), x.numpy(), atol=1e-6)
    assert all(0.01 < float(((images[:, n : n + 3] - x) ** 2).mean()) for n in range(3, 15, 3))
    assert (_with_views(x, y, copies=0)[0].numpy() == x.numpy()).all()
    for task in range(2):  # whatever stands beside it
        assert (
            _with_views(x[task : task + 1], y[task : task + 1], copies=4)[0].numpy()
            == images[task : task + 1].numpy()
        ).all()


def test_inductive_prediction_does_not_depend_on_the_other_queries(rng):
    network, tasks = small_network("strided", rng), small_tasks(rng)
    support_x, support_y, query_x, _ = map(paddle.to_tensor, tasks)

    def of_the_first(transductive, queries):
        maml = learner(network, transductive=transductive)
        *_, adapted = maml.adapt(support_x, support_y)
        return maml.predict(adapted, query_x[:, :queries]).numpy()[:, 0]

    assert relative_error(of_the_first(False, 1), of_the_first(False, 6)) < 1e-9
    assert relative_error(of_the_first(True, 2), of_the_first(True, 6)) > 1e-3


@pytest.mark.parametrize("transductive", [True, False])
def test_tasks_are_predicted_one_after_the_other_as_they_are_together(rng, transductive):
    network, (support_x, support_y, query_x, _) = (
        small_network("pooled", rng),
        map(paddle.to_tensor, small_tasks(rng, tasks=3)),
    )
    maml = learner(network, transductive=transductive)
    *_, adapted = maml.adapt(support_x, support_y)
    scores = []
    for images in (1, 18):  # of one task at once, and of all three
        maml.QUERY_IMAGES = images
        scores.append(maml.predict(adapted, query_x).numpy())
    assert relative_error(*scores) < 1e-9


def test_inductive_prediction_of_the_support_equals_transductive(rng):
    network, tasks = small_network("pooled", rng), small_tasks(rng)
    support_x, support_y = map(paddle.to_tensor, tasks[:2])
    scores = []
    for transductive in (False, True):
        maml = learner(network, transductive=transductive)
        *_, adapted = maml.adapt(support_x, support_y)
        scores.append(maml.predict(adapted, support_x).numpy())
    assert relative_error(*scores) < 1e-9


def test_numerical_gradient_itself():
    assert np.allclose(numerical_gradient(lambda x: (x**3).sum(), np.array([1.0, 2.0])), [3, 12])


@EVERY_STEP
def test_gradient_of_learned_rates_equals_finite_differences(rng, steps):
    network, tasks = small_problem("strided", rng)
    maml = learner(network, steps, learned_rates=True)
    (alpha,) = maml.learned
    alpha.set_value(rng.uniform(0.1, 0.5, alpha.shape))
    values, direction = alpha.numpy(), rng.standard_normal(alpha.shape)
    *_, gradient = meta_gradient(maml, tasks)[1]

    def loss_at(t):
        alpha.set_value(values + t * direction)
        return meta_gradient(maml, tasks)[0]

    expected = slope(loss_at)
    assert alpha.shape == [steps, len(network.theta)] and abs(
        (gradient * direction).sum() - expected
    ) < 1e-6 * abs(expected)


def test_learned_rates_begin_as_alpha_and_the_last_goes_on(rng):
    network, tasks = small_problem("strided", rng)
    support = [paddle.to_tensor(a) for a in tasks[:2]]
    learned, fixed = learner(network, 1, learned_rates=True), learner(network, 1)
    learned.steps_test = fixed.steps_test = 3
    for a, b in zip(learned.adapt(*support), fixed.adapt(*support)):
        assert all((p.numpy() == q.numpy()).all() for p, q in zip(a.theta, b.theta))
    before = learned.learned[0].numpy()
    learned.meta_step(tasks)
    assert (learned.learned[0].numpy() != before).all()


@pytest.mark.parametrize("patterns", [["classifier.*"], ["block1.weight", "*.bias"]])
def test_only_the_named_parameters_adapt_and_the_meta_gradient_is_that_of_this_inner_loop(
    rng, patterns
):
    """ANIL (Raghu et al. 2020) is the first of these."""
    network, tasks = small_problem("strided", rng)
    maml = learner(network, 2, adapt=patterns)
    *_, adapted = maml.adapt(*map(paddle.to_tensor, tasks[:2]))
    for name, p, own in zip(network.names, adapted.theta, network.theta):
        named = name.startswith("classifier") if len(patterns) == 1 else name in SOME
        assert np.allclose(p.numpy(), own.numpy()) != named, name
    _, gradient = meta_gradient(maml, tasks)
    directions = [rng.standard_normal(p.shape) for p in network.theta]
    expected = differences_along(maml, tasks, directions)
    found = sum((g * d).sum() for g, d in zip(gradient, directions))
    assert abs(found - expected) < 1e-6 * abs(expected)


SOME = {"block1.weight", "classifier.bias"}


def test_a_pattern_that_names_no_parameter_is_refused(rng):
    with pytest.raises(UserError, match="no parameter is named head"):
        learner(small_network("strided", rng), adapt=["classifier.*", "head"])


@pytest.mark.parametrize("side, parts", [(6, [8, 1]), (28, [8, 1]), (40, [3, 3, 3]), (90, [1] * 9)])
def test_fewer_tasks_of_large_images_adapt_at_once(rng, monkeypatch, side, parts):
    """So that memory stays small; tasks of Omniglot's size are taken as they always were."""
    taken, maml = [], learner(small_network("strided", rng))

    def meta_gradient(support_x, *rest):
        taken.append(support_x.shape[0])
        gradient = [paddle.zeros([taken[-1], *p.shape], p.dtype) for p in maml.meta_parameters]
        return paddle.zeros([taken[-1]], "float64"), gradient

    monkeypatch.setattr(maml, "meta_gradient", meta_gradient)
    maml.meta_step(small_tasks(rng, tasks=9, size=side, support=2, query=2))
    assert taken == parts
