import numpy as np
import paddle
import pytest
from helpers import episodes, gradient_and_differences, relative_error, scores

from maml import functional as fn
from maml.algorithms.matching import FullContext, Matching
from maml.networks.conv import ConvNet

pytestmark = [pytest.mark.both_paddles, pytest.mark.usefixtures("float64")]


def learner(rng, context=True, **options):
    network = ConvNet(None, rng, image_size=6, pooled=True, filters=3, blocks=2, dtype="float64")
    return Matching(
        network,
        outer_lr=0.01,
        context=FullContext(network.features, 2) if context else None,
        **options,
    )


def probabilities(matching, support, labels, query):
    z_support, z_query = (paddle.to_tensor(np.array([a], np.float64)) for a in (support, query))
    found = matching.scores(
        matching.learn(z_support, paddle.to_tensor(np.array([labels]))), z_query
    )
    return paddle.nn.functional.softmax(found)[0].numpy()


def test_attention_on_three_points(rng):
    """Support e1, e2 and (e1 + e2)/sqrt 2 of classes 0, 1, 0; the query e1 has cosines 1, 0 and
    1/sqrt 2.
    """
    weights = np.exp([1, 0, 1 / np.sqrt(2)])
    expected = [(weights[0] + weights[2]) / weights.sum(), weights[1] / weights.sum()]
    found = probabilities(
        learner(rng, context=False), [[2, 0], [0, 3], [5, 5]], [0, 1, 0], [[4, 0]]
    )
    assert found[0] == pytest.approx(np.array(expected), rel=1e-9)


def test_squared_distances_and_dot_products_instead_of_cosine(rng):
    """Query (1, 0) against (0, 0) and (3, 0): squared distances 1 and 4, products 0 and 3."""
    for distance, difference in (("euclidean", 3.0), ("dot", -3.0)):
        found = probabilities(
            learner(rng, context=False, distance=distance), [[0, 0], [3, 0]], [0, 1], [[1, 0]]
        )
        assert found[0, 0] == pytest.approx(1 / (1 + np.exp(-difference)), rel=1e-9)


def test_the_temperature_divides_the_similarities(rng):
    """Query (1, 0) against (0, 0) and (3, 0): squared distances 1 and 4, a quarter of each."""
    matching = learner(rng, context=False, distance="euclidean", temperature=4.0)
    found = probabilities(matching, [[0, 0], [3, 0]], [0, 1], [[1, 0]])
    assert found[0, 0] == pytest.approx(1 / (1 + np.exp(-0.75)), rel=1e-9)


def test_the_loss_is_the_negative_logarithm_of_the_true_class(rng):
    matching = learner(rng, context=False)
    support, labels, query = [[1, 0], [0, 1], [1, 2]], [0, 1, 1], [[3, 1], [0, 1]]
    p = probabilities(matching, support, labels, query)
    arguments = [
        np.array([support], np.float64),
        np.array([labels]),
        np.array([query], np.float64),
        np.array([[0, 1]]),
    ]
    assert matching.losses(*map(paddle.to_tensor, arguments)).item() == pytest.approx(
        -np.log([p[0, 0], p[1, 1]]).mean(), rel=1e-9
    )


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm(x, h, c, w_x, w_h, b):
    """A step of a cell with gates in Paddle's order: input, forget, cell, output."""
    i, f, g, o = np.split(w_x @ x + w_h @ h + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def softmax(a):
    return np.exp(a - a.max()) / np.exp(a - a.max()).sum()


def test_attention_lstm_against_the_equations_written_out(rng):
    context, features = FullContext(4, 3), 4
    z, g = rng.standard_normal((2, 3, features)), rng.standard_normal((2, 5, features))
    found = context.f(paddle.to_tensor(z), paddle.to_tensor(g)).numpy()
    w_x, w_h, b_x, b_h = (p.numpy() for p in context.cell.parameters())
    w_f, w_r = w_x[:, :features], w_x[:, features:]
    for t in range(2):
        for n in range(3):
            h = c = np.zeros(features)
            for _ in range(3):
                r = softmax(g[t] @ h) @ g[t]  # eq. 5 and 6
                both = np.concatenate([h, r])
                h_hat, c = lstm(
                    z[t, n], both, c, w_f, np.hstack([w_h, w_r]), b_x + b_h
                )  # eq. 3: [h, r] is what the cell remembers
                h = h_hat + z[t, n]  # eq. 4
            assert found[t, n] == pytest.approx(h, rel=1e-9)


def test_support_embedding_against_the_equations_written_out(rng):
    context, z = FullContext(3, 1), rng.standard_normal((1, 4, 3))
    found = context.g(paddle.to_tensor(z)).numpy()[0]
    w = [p.numpy() for p in context.bidirectional.parameters()]
    expected = z[0].copy()
    for (w_x, w_h, b_x, b_h), order in ((w[:4], range(4)), (w[4:], range(3, -1, -1))):
        h = c = np.zeros(3)
        for i in order:
            h, c = lstm(z[0, i], h, c, w_x, w_h, b_x + b_h)
            expected[i] += h
    assert found == pytest.approx(expected, rel=1e-9)


def test_one_step_moves_every_parameter(rng):
    matching = learner(rng)
    assert len(matching.meta_parameters) == len(matching.network.theta) + 12
    before = [p.numpy() for p in matching.meta_parameters]
    matching.meta_step(episodes(rng))
    assert all((p.numpy() != old).any() for p, old in zip(matching.meta_parameters, before))


def test_gradient_equals_finite_differences(rng):
    matching, tasks = learner(rng), episodes(rng, tasks=1)
    for i in (0, 4, len(matching.network.theta), len(matching.meta_parameters) - 1):
        assert relative_error(*gradient_and_differences(matching, tasks, i)) < 1e-6


def test_only_full_context_embeddings_see_the_supports_order(rng):
    tasks, order = episodes(rng), np.array([2, 0, 3, 1])
    shuffled = tasks._replace(
        support_x=tasks.support_x[:, order], support_y=tasks.support_y[:, order]
    )
    plain, context = learner(rng, context=False), learner(rng)
    for matching in (plain, context):
        matching.meta_step(tasks)
    assert relative_error(scores(plain, tasks), scores(plain, shuffled)) < 1e-10
    assert relative_error(scores(context, tasks), scores(context, shuffled)) > 1e-6


@pytest.mark.parametrize("context", [False, True])
def test_queries_and_tasks_do_not_see_each_other(rng, context):
    matching, tasks = learner(rng, context), episodes(rng)
    matching.meta_step(tasks)
    whole = scores(matching, tasks)
    assert (
        relative_error(
            scores(matching, tasks._replace(query_x=tasks.query_x[:, :1]))[:, 0], whole[:, 0]
        )
        < 1e-10
    )
    assert (
        relative_error(scores(matching, type(tasks)(*(a[1:] for a in tasks)))[0], whole[1]) < 1e-10
    )


def test_several_episodes_are_averaged(rng):
    matching, tasks = learner(rng), episodes(rng)
    first, second = (
        matching.gradient(*(paddle.to_tensor(a[t : t + 1]) for a in tasks))[1] for t in (0, 1)
    )
    expected = [(a[0] + b[0]).numpy() / 2 for a, b in zip(first, second)]
    found = []

    def average(tensors):
        means = fn.mean_over_tasks(tensors)
        found.extend(m.numpy() for m in means)
        return means

    matching.average = average
    matching.meta_step(tasks)
    assert all(relative_error(a, b) < 1e-10 for a, b in zip(found[1:], expected))
