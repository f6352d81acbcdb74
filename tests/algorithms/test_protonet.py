import numpy as np
import paddle
import pytest
from helpers import (
    check_twice_differentiable,
    episodes,
    gradient_and_differences,
    relative_error,
    scores,
    small_protonet,
)

from maml import functional as fn
from maml.algorithms.metric import class_means
from maml.algorithms.protonet import turns
from maml.system.errors import UserError

POINTS = np.array([[[0.0, 0.0], [4.0, 0.0], [0.0, 2.0], [4.0, 2.0]]])
LABELS = np.array([[0, 1, 0, 1]])


def test_prototypes_of_four_points_are_class_means_by_label():
    assert class_means(paddle.to_tensor(POINTS), paddle.to_tensor(LABELS), 2).numpy().tolist() == [
        [[0, 1], [4, 1]]
    ]


@pytest.mark.parametrize(
    "distance, expected",
    [
        ("euclidean", [[-(1 + 4), -(9 + 4)]]),
        ("cosine", [[3 / np.sqrt(10), 7 / np.sqrt(10 * 17)]]),
        ("dot", [[3, 7]]),
    ],
)
def test_similarities_of_one_point_to_two_prototypes(distance, expected):
    """The query (1, 3) against (0, 1) and (4, 1)."""
    scores = fn.SIMILARITIES[distance](
        paddle.to_tensor([[[1.0, 3.0]]]), paddle.to_tensor([[[0.0, 1.0], [4.0, 1.0]]])
    )
    assert scores.numpy()[0] == pytest.approx(np.array(expected), rel=1e-6)


@pytest.mark.parametrize("distance", fn.SIMILARITIES)
def test_similarities_twice(rng, distance):
    check_twice_differentiable(
        fn.SIMILARITIES[distance], rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 2, 4))
    )


def test_gradient_equals_finite_differences(rng):
    proto, tasks = small_protonet(rng), episodes(rng, tasks=1)
    for i in range(4):
        assert relative_error(*gradient_and_differences(proto, tasks, i)) < 1e-6


@pytest.mark.parametrize("transductive", [False, True])
def test_permuting_the_support_changes_nothing(rng, transductive):
    proto, tasks = small_protonet(rng, transductive=transductive), episodes(rng)
    proto.meta_step(tasks)
    order = rng.permutation(4)
    shuffled = tasks._replace(
        support_x=tasks.support_x[:, order], support_y=tasks.support_y[:, order]
    )
    assert relative_error(scores(proto, tasks), scores(proto, shuffled)) < 1e-10


def test_inductive_queries_do_not_see_each_other(rng):
    proto, tasks = small_protonet(rng), episodes(rng)
    proto.meta_step(tasks)
    assert (
        relative_error(
            scores(proto, tasks._replace(query_x=tasks.query_x[:, :1]))[:, 0],
            scores(proto, tasks)[:, 0],
        )
        < 1e-10
    )


def test_one_encoder_serves_any_way_and_shot(rng):
    proto = small_protonet(rng)
    proto.meta_step(episodes(rng))
    assert scores(proto, episodes(rng, way=5, shot=1)).shape == (2, 15, 5)


def test_running_statistics_follow_the_batches(rng):
    proto, tasks = small_protonet(rng), episodes(rng, tasks=1)
    _, _, record = proto.gradient(*map(paddle.to_tensor, tasks))
    proto.meta_step(tasks)
    first = [s.numpy() for pair in proto.network.running for s in pair]
    assert all((a == b.numpy()).all() for a, b in zip(first, record))  # the first batch sets them
    _, _, record = proto.gradient(*map(paddle.to_tensor, tasks))
    proto.meta_step(tasks)
    for new, old, batch in zip(
        (s.numpy() for pair in proto.network.running for s in pair), first, record
    ):
        assert np.allclose(new, 0.9 * old + 0.1 * batch.numpy(), rtol=1e-12)


def test_training_lowers_the_loss(rng):
    proto, tasks = small_protonet(rng), episodes(rng, tasks=1)
    losses = [proto.meta_step(tasks)["loss"] for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_every_support_is_the_mean_over_all_choices_of_the_support(rng):
    """Two classes with drawings 0, 1, 2, one of them the support: the mean of the three episodes'
    losses.
    """
    z, way = rng.standard_normal((3, 2, 4)), [0, 1]  # [drawings, way, D]

    def loss(support, *query):
        arrays = z[support], way, np.concatenate(z[list(query)]), way * 2
        return (
            small_protonet(rng)
            .losses(*(paddle.to_tensor(np.array(a)[None]) for a in arrays))
            .item()
        )

    arrays = (
        z[0][::-1],
        [1, 0],
        np.concatenate([z[2], z[1]]),
        way * 2,
    )  # in whatever order they come
    found = small_protonet(rng, every_support=True).losses(
        *(paddle.to_tensor(np.array(a)[None].copy()) for a in arrays)
    )
    assert found.shape == [1] and found.item() == pytest.approx(
        (loss(0, 1, 2) + loss(1, 2, 0) + loss(2, 0, 1)) / 3, rel=1e-12
    )


def test_turns_are_the_cyclic_choices_of_drawings():
    """Two of three drawings of each class are support: the first two, the last two, both ends."""
    y = np.array([[1, 0, 0, 1, 0, 1]])
    to_prototypes, is_query = turns(paddle.to_tensor(y), 4, "float64")
    of_0, of_1 = [1, 2, 4], [0, 3, 5]  # where their drawings stand
    expected = np.zeros((3, 2, 6))
    for turn, chosen in enumerate(([0, 1], [1, 2], [2, 0])):
        for drawing in chosen:
            expected[turn, 0, of_0[drawing]] = expected[turn, 1, of_1[drawing]] = 0.5
    assert (to_prototypes.numpy() == expected.reshape(1, 6, 6)).all()
    assert is_query.numpy().tolist() == [[0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]]


@pytest.mark.slow
def test_gradient_with_every_support_equals_finite_differences(rng):
    proto, tasks = small_protonet(rng, every_support=True), episodes(rng, tasks=1)
    assert relative_error(*gradient_and_differences(proto, tasks, 3)) < 1e-6


def test_queries_refine_prototypes_by_hand(rng):
    """Prototypes 0 and 3 of two shots each, queries 1 and 3 on a line: p(0 | 1) = 1 / (1 + e^-3),
    p(0 | 3) = 1 / (1 + e^9).
    """
    support, labels = (
        paddle.to_tensor([[[-1.0], [1.0], [2.0], [4.0]]]),
        paddle.to_tensor([[0, 0, 1, 1]]),
    )
    proto, queries = small_protonet(rng, refine=1), paddle.to_tensor([[[1.0], [3.0]]])
    near, far = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(9))
    c_0 = (0 + near * 1 + far * 3) / (2 + near + far)
    c_1 = (6 + (1 - near) * 1 + (1 - far) * 3) / (2 + 2 - near - far)
    found, shots = proto.refined(proto.learn(support, labels), queries)
    assert found.numpy().ravel() == pytest.approx(
        [c_0, c_1], rel=1e-6
    ) and shots.numpy().ravel().tolist() == [2, 2]
    of_points = proto.of_embeddings()
    (adapted,) = of_points.adapt(support, labels)
    expected = [[-((q - c) ** 2) for c in (c_0, c_1)] for q in (1, 3)]
    assert of_points.predict(adapted, queries).numpy()[0] == pytest.approx(
        np.array(expected), rel=1e-4, abs=1e-5
    )


def test_the_temperature_divides_distances_in_the_loss_in_tests_and_in_refinement(rng):
    """Prototypes 0 and 3, queries 1 and 3 on a line: distances of 1, 4 and 9, 0, half of each."""
    support, labels = paddle.to_tensor([[[0.0], [3.0]]]), paddle.to_tensor([[0, 1]])
    warm, queries = small_protonet(rng, temperature=2.0), paddle.to_tensor([[[1.0], [3.0]]])
    learned = warm.learn(support, labels)
    expected = [[-0.5, -2.0], [-4.5, 0.0]]
    assert warm.scores(learned, queries).numpy()[0] == pytest.approx(np.array(expected), abs=1e-6)
    loss = warm.losses(support, labels, queries, paddle.to_tensor([[0, 1]])).item()
    near, far = 1 / (1 + np.exp(-1.5)), 1 / (1 + np.exp(4.5))
    assert loss == pytest.approx(-(np.log(near) + np.log(1 - far)) / 2, rel=1e-6)
    refined, _ = small_protonet(rng, refine=1, temperature=2.0).refined(learned, queries)
    assert refined[0, 0].item() == pytest.approx((near + 3 * far) / (1 + near + far), rel=1e-6)


@pytest.mark.slow
def test_gradient_with_a_temperature_equals_finite_differences(rng):
    proto, tasks = small_protonet(rng, temperature=3.0), episodes(rng, tasks=1)
    assert relative_error(*gradient_and_differences(proto, tasks, 3)) < 1e-6


def test_no_refinement_without_steps(rng):
    tasks = episodes(rng)

    def refined(**options):
        proto = small_protonet(np.random.default_rng(1), **options)
        proto.meta_step(tasks)
        return scores(proto, tasks)

    assert (refined(refine=0) == refined()).all()
    assert (refined(refine=1) != refined()).any()


def test_without_running_averages_inductive_embeddings_are_refused(rng):
    tasks = episodes(rng)
    with pytest.raises(UserError, match="no running averages.*transductive=True"):
        scores(small_protonet(rng), tasks)
    assert scores(small_protonet(rng, transductive=True), tasks).shape == (2, 6, 2)


def test_embeddings_are_means_over_views(rng):
    proto = small_protonet(rng, views=lambda x: [x, 1 - x, x * x])
    x = paddle.to_tensor(rng.random((2, 3, 1, 6, 6)))
    proto.meta_step(episodes(rng))
    one = small_protonet(rng)
    for p, q in zip(one.meta_parameters, proto.meta_parameters):
        p.set_value(q.numpy())
    one.network.running = proto.network.running
    expected = (one.embed(x) + one.embed(1 - x) + one.embed(x * x)).numpy() / 3
    assert relative_error(proto.embed(x).numpy(), expected) < 1e-12
