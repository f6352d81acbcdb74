"""MAML++. Its objective is computed once more here, from what `adapt` yields."""

import numpy as np
import paddle
import pytest
from helpers import meta_gradient, relative_error, slope, small_problem, small_tasks

from maml import functional as fn
from maml.algorithms.maml_plus_plus import MAMLPlusPlus
from maml.system.errors import UserError

pytestmark = pytest.mark.both_paddles
EVERY_STEP = pytest.mark.parametrize("steps", [1, 2, 3])
EVERYTHING = {"per_step_norm": True, "learned_rates": True, "multi_step_loss": 4}
PARTS = pytest.mark.parametrize(
    "kind, options",
    [
        ("strided", {"multi_step_loss": 4}),
        ("pooled", {"per_step_norm": True}),
        ("dense", {"per_step_norm": True, "learned_rates": True}),
        ("strided", EVERYTHING),
        ("pooled", EVERYTHING),
        ("strided", {**EVERYTHING, "adapt": ["classifier.*"]}),
    ],
    ids=str,
)


def problem(kind, rng, steps, **options):
    """A learner whose meta-parameters are no two the same, and tasks."""
    network, tasks = small_problem(kind, rng)
    learner = MAMLPlusPlus(network, 0.3, 0.01, steps, steps, **options)
    for p in learner.later:
        p.set_value(p.numpy() + 0.3 * rng.standard_normal(p.shape))
    for alpha in learner.learned:
        alpha.set_value(rng.uniform(0.1, 0.5, alpha.shape))
    learner.iteration = 2  # of 4 with a loss after every step
    return learner, tasks


def weights_by_hand(options, steps):
    """v_k at iteration 2 of 4."""
    if "multi_step_loss" not in options:
        return [0.0] * (steps - 1) + [1.0]
    return {1: [1], 2: [1 / 4, 3 / 4], 3: [1 / 6, 1 / 6, 2 / 3]}[steps]


def query_loss(learner, theta, tasks):
    _, _, query_x, query_y = map(paddle.to_tensor, tasks)
    return fn.cross_entropy(learner.network(query_x, theta), query_y).sum().item()


def move(learner, values, directions, t):
    for p, value, d in zip(learner.meta_parameters, values, directions):
        p.set_value(value + t * d)


@PARTS
@EVERY_STEP
def test_meta_gradient_equals_finite_differences(rng, kind, options, steps):
    learner, tasks = problem(kind, rng, steps, **options)
    values = [p.numpy() for p in learner.meta_parameters]
    directions = [rng.standard_normal(p.shape) for p in values]

    def loss_at(t):
        move(learner, values, directions, t)
        _, *adapted = learner.adapt(*map(paddle.to_tensor, tasks[:2]))
        v = weights_by_hand(options, steps)
        return sum(w * query_loss(learner, a.theta, tasks) for w, a in zip(v, adapted))

    expected, loss = slope(loss_at), loss_at(0)
    found, gradient = meta_gradient(learner, tasks)
    assert found == pytest.approx(loss, rel=1e-9)
    assert len(gradient) == len(directions)
    along = sum((g * d).sum() for g, d in zip(gradient, directions))
    assert abs(along - expected) < 1e-6 * abs(expected)


@PARTS
@EVERY_STEP
def test_first_order_gradient_is_that_of_constant_inner_gradients(rng, kind, options, steps):
    """theta_k = theta - sum_j alpha_j g_j, where differences move all but g_j."""
    learner, tasks = problem(kind, rng, steps, first_order_until=3, **options)
    theta_0, *later = [a.theta for a in learner.adapt(*map(paddle.to_tensor, tasks[:2]))]
    states = [[p.numpy() for p in theta] for theta in (theta_0, *later)]
    values = [p.numpy() for p in learner.meta_parameters]
    directions = [rng.standard_normal(p.shape) for p in values]
    n, rows = len(states[0]), len(learner.later)
    alphas = values[-1] if learner.learned else np.full([steps, n - rows], 0.3)
    moved = directions[-1] if learner.learned else np.zeros_like(alphas)
    column = {i: c for c, i in enumerate(i for i in range(n) if i not in learner.norm)}

    def theta_at(k, t):
        theta = []
        for i, direction in enumerate(directions[:n]):
            if i in learner.norm:
                d = directions[n + learner.norm.index(i)][k - 1]
                theta.append(states[k][i] + t * d)
                continue
            p = states[0][i] + t * direction
            for j in range(k):
                g = (states[j][i] - states[j + 1][i]) / alphas[j, column[i]]
                p = p - (alphas[j, column[i]] + t * moved[j, column[i]]) * g
            theta.append(p)
        return list(map(paddle.to_tensor, theta))

    def loss_at(t):
        v = enumerate(weights_by_hand(options, steps), 1)
        return sum(w * query_loss(learner, theta_at(k, t), tasks) for k, w in v)

    expected = slope(loss_at)
    _, gradient = meta_gradient(learner, tasks)
    along = sum((g * d).sum() for g, d in zip(gradient, directions))
    assert abs(along - expected) < 1e-6 * abs(expected)


def test_each_pass_has_its_own_scale_and_shift_and_the_last_goes_on(rng):
    learner, tasks = problem("strided", rng, 2, per_step_norm=True)
    learner.steps_test = 4
    names = learner.network.names
    norm = [i for i, name in enumerate(names) if "gamma" in name or "beta" in name]
    assert learner.norm == norm and len(norm) == 4 == len(learner.later)
    states = [a.theta for a in learner.adapt(*map(paddle.to_tensor, tasks[:2]))]
    for i, later in zip(norm, learner.later):
        own = [learner.network.theta[i].numpy(), *later.numpy(), later.numpy()[1], later.numpy()[1]]
        for theta, expected in zip(states, own):
            assert all((of_task == expected).all() for of_task in theta[i].numpy())
    for i in set(range(len(names))) - set(norm):
        assert (states[1][i].numpy() != states[0][i].numpy()).any()


def test_what_does_not_adapt_has_no_inner_rate(rng):
    learner, _ = problem("strided", rng, 2, per_step_norm=True, learned_rates=True)
    assert learner.learned[0].shape == [2, 4]  # two convolutions, the classifier's two
    with pytest.raises(UserError, match="adapt names nothing but what per_step_norm"):
        problem("strided", rng, 2, per_step_norm=True, adapt=["*.gamma"])
    with pytest.raises(UserError, match="per_step_norm needs a network with batch normalis"):
        problem("perceptron", rng, 2, per_step_norm=True)


def test_equal_scales_and_shifts_are_those_of_plain_maml_that_does_not_adapt_them(rng):
    network, tasks = small_problem("pooled", rng)
    patterns = ["*.weight", "classifier.*"]
    plain = MAMLPlusPlus(network, 0.3, 0.01, 3, 3, adapt=patterns)
    by_step = MAMLPlusPlus(network, 0.3, 0.01, 3, 3, per_step_norm=True)
    (loss, gradient), (other, of_steps) = (meta_gradient(m, tasks) for m in (plain, by_step))
    assert loss == pytest.approx(other, rel=1e-9)
    n = len(gradient)
    for i, rows in zip(by_step.norm, of_steps[n:]):
        of_steps[i] = of_steps[i] + rows.sum(axis=0)
    assert max(relative_error(a, b) for a, b in zip(gradient, of_steps[:n])) < 1e-9


@pytest.mark.parametrize(
    "until, iteration, expected",
    [
        (0, 0, [0, 0, 0, 0, 1]),
        (10, 0, [0.2, 0.2, 0.2, 0.2, 0.2]),
        (10, 5, [0.1, 0.1, 0.1, 0.1, 0.6]),
        (100, 99, [0.006, 0.006, 0.006, 0.006, 0.976]),  # the authors' least, 0.03 / K
        (100, 100, [0, 0, 0, 0, 1]),
    ],
)
def test_the_weights_of_the_steps_losses_by_hand(rng, until, iteration, expected):
    network, _ = small_problem("strided", rng)
    learner = MAMLPlusPlus(network, 0.3, 0.01, 5, 5, multi_step_loss=until)
    learner.iteration = iteration
    np.testing.assert_allclose(learner.loss_weights, expected, atol=1e-12)


def test_queries_are_passed_only_where_their_loss_counts(rng, monkeypatch):
    learner, tasks = problem("strided", rng, 3, multi_step_loss=4)
    passes = []
    own = learner.query_gradient
    monkeypatch.setattr(learner, "query_gradient", lambda *a: passes.append(1) or own(*a))
    for iteration, count in ((0, 3), (3, 3), (4, 1)):
        learner.iteration = iteration
        passes.clear()
        meta_gradient(learner, tasks)
        assert len(passes) == count


def test_the_first_meta_iterations_are_of_first_order(rng):
    learner, tasks = problem("strided", rng, 2, first_order_until=3)
    of_first_order, _ = problem("strided", np.random.default_rng(0), 2, first_order=True)
    exact, _ = problem("strided", np.random.default_rng(0), 2)
    for iteration, same in ((2, of_first_order), (3, exact)):
        learner.iteration = iteration
        for a, b in zip(meta_gradient(learner, tasks)[1], meta_gradient(same, tasks)[1]):
            assert (a == b).all()


def test_a_meta_step_counts_itself(rng):
    learner, tasks = problem("dense", rng, 2, multi_step_loss=4)
    learner.meta_step(tasks)
    assert learner.iteration == 3


@pytest.mark.parametrize("first_order", [False, True])
def test_tasks_in_parts_have_the_gradient_of_all_at_once(rng, first_order):
    learner, _ = problem("pooled", rng, 2, first_order=first_order, **EVERYTHING)
    tasks = [paddle.to_tensor(a) for a in small_tasks(rng, tasks=3)]
    _, *at_once = fn.in_parts(learner.meta_gradient, 3, *tasks)
    _, *in_parts = fn.in_parts(learner.meta_gradient, 2, *tasks)
    for a, b in zip(at_once[0], in_parts[0]):
        assert relative_error(a.numpy(), b.numpy()) < 1e-9
