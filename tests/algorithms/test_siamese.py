import numpy as np
import paddle
import pytest
from helpers import episodes, gradient_and_differences, relative_error, scores

from maml.algorithms.siamese import Pairs, Triplets, semi_hard
from maml.config import Config
from maml.data.tasks import TaskSampler
from maml.evaluation import accuracy
from maml.networks.conv import ConvNet
from maml.system.errors import UserError

pytestmark = [pytest.mark.both_paddles, pytest.mark.usefixtures("float64")]


def network(rng):
    return ConvNet(None, rng, image_size=6, pooled=True, filters=3, blocks=2, dtype="float64")


def pairs(rng, **options):
    return Pairs(network(rng), outer_lr=0.01, **options)


def triplets(rng, negatives="random", margin=0.5):
    return Triplets(network(rng), outer_lr=0.01, margin=margin, negatives=negatives)


def both(rng):
    return [pairs(rng), triplets(rng), triplets(rng, "semi-hard")]


def tensor(values):
    return paddle.to_tensor(np.array([values]))


SUPPORT, QUERY = (
    [[0.0, 0.0], [2.0, 1.0]],
    [[2.0, 2.0], [1.0, 0.0]],
)  # of labels 1, 0 and 0, 1: another order


def test_the_loss_of_pairs_by_hand(rng):
    """Same: (2, 1) with (2, 2) of class 0, (0, 0) with (1, 0) of class 1; different: each with the
    other query.
    """
    siamese = pairs(rng)
    siamese.alpha = paddle.nn.Linear(2, 1)
    siamese.alpha.weight.set_value(np.array([[-1.0], [-2.0]]))
    siamese.alpha.bias.set_value(np.array([1.5]))
    same = np.array([1.5 - 2, 1.5 - 1])  # |(0, 1)|, |(1, 0)|
    different = np.array([1.5 - 1 - 2, 1.5 - 2 - 4])  # |(1, 1)|, |(2, 2)|
    p = 1 / (1 + np.exp(-np.concatenate([same, different])))
    expected = -np.log(np.concatenate([p[:2], 1 - p[2:]])).mean()
    found = siamese.losses(tensor(SUPPORT), tensor([1, 0]), tensor(QUERY), tensor([0, 1]))
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_loss_of_triplets_by_hand(rng):
    """Directions 0, 90 degrees (support of labels 1, 0) and 90, 45 (queries of 0, 1): squared
    distances are 2 - 2 cos.
    """
    siamese = triplets(rng, margin=0.5)
    found = siamese.losses(
        tensor([[3.0, 0.0], [0.0, 1.0]]),
        tensor([1, 0]),
        tensor([[0.0, 5.0], [1.0, 1.0]]),
        tensor([0, 1]),
    )
    cos45 = 1 / np.sqrt(2)
    anchor_0 = max(0, 0 - (2 - 2 * cos45) + 0.5)
    anchor_1 = max(0, (2 - 2 * cos45) - 2 + 0.5)
    assert found.item() == pytest.approx((anchor_0 + anchor_1) / 2, rel=1e-6)


def test_semi_hard_negatives_by_hand():
    """Nearest beyond the positive; a nearer one is passed over; where all are nearer, the farthest
    of them.
    """
    distance = paddle.to_tensor(
        [[[0.5, 0.2, 0.9, 0.7], [0.1, 0.0, 3.0, 2.0], [0.3, 0.6, 0.8, 0.2], [4.0, 3.9, 4.0, 4.0]]]
    )
    assert semi_hard(distance).tolist() == [[3, 0, 1, 0]]


def test_semi_hard_triplets_use_their_negatives(rng):
    siamese = triplets(rng, "semi-hard", margin=0.5)
    z = rng.standard_normal((2, 1, 5, 3))
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    distance = ((unit[0, 0][:, None] - unit[1, 0][None]) ** 2).sum(-1)
    negative = semi_hard(paddle.to_tensor(distance[None])).numpy()[0]
    expected = np.maximum(0, distance.diagonal() - distance[np.arange(5), negative] + 0.5).mean()
    labels = paddle.arange(5).unsqueeze(0)
    assert siamese.losses(
        paddle.to_tensor(z[0]), labels, paddle.to_tensor(z[1]), labels
    ).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", range(3))
def test_gradient_equals_finite_differences(rng, kind):
    siamese, tasks = both(rng)[kind], episodes(rng, tasks=1, way=4, shot=1, query=1)
    for i in {0, 4, len(siamese.meta_parameters) - 1}:
        found, expected = gradient_and_differences(siamese, tasks, i)
        assert np.abs(found - expected).max() < 1e-6 * max(np.abs(expected).max(), 1)


@pytest.mark.parametrize("kind", range(3))
def test_training_lowers_the_loss_and_moves_every_parameter(rng, kind):
    siamese, tasks = both(rng)[kind], episodes(rng, tasks=1, way=5, shot=1, query=1)
    before = [p.numpy() for p in siamese.meta_parameters]
    losses = [siamese.meta_step(tasks)["loss"] for _ in range(80)]
    assert losses[-1] < 0.7 * losses[0] and all(
        (p.numpy() != old).any() for p, old in zip(siamese.meta_parameters, before)
    )


@pytest.mark.parametrize("kind", range(3))
def test_permuting_support_and_labels_changes_nothing(rng, kind):
    siamese, tasks = both(rng)[kind], episodes(rng, way=2, shot=2)
    siamese.meta_step(episodes(rng, way=4, shot=1, query=1))
    order = rng.permutation(4)
    shuffled = tasks._replace(
        support_x=tasks.support_x[:, order], support_y=tasks.support_y[:, order]
    )
    assert relative_error(scores(siamese, tasks), scores(siamese, shuffled)) < 1e-10
    renamed = tasks._replace(support_y=1 - tasks.support_y)
    assert relative_error(scores(siamese, tasks)[:, :, ::-1], scores(siamese, renamed)) < 1e-10


def test_of_several_support_images_the_mean_counts(rng):
    siamese, z, query = pairs(rng), rng.standard_normal((1, 4, 3)), rng.standard_normal((1, 2, 3))
    one = siamese.similarity(paddle.to_tensor(query), paddle.to_tensor(z)).numpy()[0]
    found = siamese.scores(
        siamese.learn(paddle.to_tensor(z), tensor([0, 1, 1, 0])), paddle.to_tensor(query)
    ).numpy()[0]
    assert found == pytest.approx(
        np.stack([one[:, [0, 3]].mean(1), one[:, [1, 2]].mean(1)], axis=1), rel=1e-9
    )


@pytest.mark.parametrize("way", [2, 20])
def test_constant_outputs_score_nothing(rng, way):
    """An encoder that says the same of all images gives ties only, which are misses."""
    siamese = pairs(rng)
    siamese.network.embed = lambda params, x, statistics, record, twice: paddle.ones(
        [*x.shape[:2], 12]
    )
    siamese.network.prepare = lambda x: x
    siamese.alpha = paddle.nn.Linear(12, 1)
    images = rng.integers(0, 256, (30, 20, 1, 6, 6)).astype(np.uint8)
    assert accuracy.evaluate(siamese, TaskSampler(images, way, 1, 1, rng), 5).mean == 0


def test_the_penalty_is_part_of_the_loss(rng):
    siamese, tasks = pairs(rng), episodes(rng, tasks=1, way=3, shot=1, query=1)
    plain = siamese.gradient(*map(paddle.to_tensor, tasks))[1]
    siamese.network.penalty = lambda params: 0.5 * (params[0] * params[0]).sum()
    more = siamese.gradient(*map(paddle.to_tensor, tasks))[1]
    assert (
        relative_error((more[0] - plain[0])[0].numpy(), siamese.meta_parameters[0].numpy()) < 1e-9
    )


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"train_shot": 2, "train_query": 1}, "train_shot and train_query must be 1"),
        ({"train_query": 1, "network": "dense"}, "network dense is for maml and reptile"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(UserError, match=message):
        Config(algorithm="siamese", **settings)
