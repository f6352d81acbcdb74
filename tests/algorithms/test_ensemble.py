"""Several classifiers as one."""

import numpy as np
import paddle
import pytest
from helpers import WAY, episodes, relative_error, small_network, small_protonet, small_tasks

from maml.algorithms.ensemble import Ensemble
from maml.algorithms.finetune import FineTune
from maml.algorithms.maml import MAML
from maml.algorithms.protonet import ProtoNet
from maml.data.tasks import TaskSampler
from maml.evaluation.accuracy import evaluate, measure
from maml.networks.conv import ConvNet

pytestmark = pytest.mark.both_paddles


class Says:
    """Says the same scores of every query, others after each update step."""

    def __init__(self, *scores):
        self.scores = scores

    def adapt(self, support_x, support_y):
        return iter(self.scores)

    def predict(self, adapted, query_x):
        return paddle.to_tensor([[adapted] * query_x.shape[1]] * query_x.shape[0], "float32")


def said(members, tasks):
    """The probabilities of the first query after each step."""
    support_x, support_y, query_x, _ = map(paddle.to_tensor, tasks)
    ensemble = Ensemble(members)
    scores = [ensemble.predict(a, query_x) for a in ensemble.adapt(support_x, support_y)]
    return [np.exp(s.numpy())[0, 0] for s in scores]


def test_probabilities_are_the_mean_of_the_members_by_hand(rng):
    sure, unsure = [np.log(9.0) + 5, 5], [np.log(0.2), np.log(0.8)]  # 0.9 and 0.1, 0.2 and 0.8
    (p,) = said([Says(sure), Says(unsure)], small_tasks(rng))
    np.testing.assert_allclose(p, [0.55, 0.45], rtol=1e-6)


def test_members_with_fewer_steps_stay_as_they_are_after_their_last(rng):
    even, first, second = [0, 0], [100, 0], [0, 100]
    p = said([Says(even), Says(even, first, second)], small_tasks(rng))
    np.testing.assert_allclose(p, [[0.5, 0.5], [0.75, 0.25], [0.25, 0.75]], rtol=1e-6)


def test_members_that_are_sure_and_wrong_leave_the_loss_finite(rng):
    (result,) = measure([Ensemble([Says([1e4, 0]), Says([2e4, 0])])], small_tasks(rng))
    assert np.isfinite(result.losses).all() and (result.accuracies == 0.5).all()


def test_an_ensemble_of_one_predicts_as_that_one(rng):
    tasks = small_tasks(rng)
    alone = MAML(small_network("strided", rng), 0.3, 0.01, 2, 2)
    for a, b in zip(*(measure([c], tasks)[0] for c in (alone, Ensemble([alone, alone])))):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_both_modes_of_batch_normalisation_share_what_adapted(rng):
    networks = [small_network("strided", rng) for _ in range(2)]
    modes = [
        Ensemble([MAML(n, 0.3, 0.01, 2, 2, transductive=mode) for n in networks])
        for mode in (True, False)
    ]
    tasks = small_tasks(rng)
    together = measure(modes, tasks)
    for result, mode in zip(together, modes):
        np.testing.assert_allclose(result.losses, measure([mode], tasks)[0].losses, rtol=1e-6)
    assert relative_error(together[0].losses, together[1].losses) > 1e-3


def trained_protonets(rng):
    members = [small_protonet(rng), small_protonet(rng, distance="cosine")]
    for member in members:
        member.meta_step(episodes(rng, tasks=1))  # which gives them running averages
    return [*members, FineTune(members[0], steps=2)]


def test_each_image_is_embedded_once_where_all_members_look_at_images_one_by_one(rng):
    members = trained_protonets(rng)
    ensemble, tasks = Ensemble(members), episodes(rng)
    assert ensemble.per_image
    x, y, query_x, query_y = map(paddle.to_tensor, tasks)
    z, z_query = ensemble.embed(x), ensemble.embed(query_x)
    assert z.shape[-1] == 3 * members[0].network.features
    twin = ensemble.of_embeddings()
    for a, b in zip(ensemble.adapt(x, y), twin.adapt(z, y)):
        slow, quick = ensemble.predict(a, query_x), twin.predict(b, z_query)
        assert relative_error(quick.numpy(), slow.numpy()) < 1e-9
    assert not Ensemble([*members, MAML(small_network("strided", rng), 0.3, 0.01, 2, 2)]).per_image


def test_averaged_embeddings_of_every_drawing_give_the_same_results(rng):
    """As evaluations of many tasks have it, which embed each drawing once."""
    members = []
    for distance in ("euclidean", "cosine"):
        network = ConvNet(None, rng, image_size=6, pooled=True, filters=3, blocks=2)
        members.append(ProtoNet(network, 0.01, distance))
    x = rng.integers(256, size=(6, 20, 1, 6, 6)).astype(np.uint8)
    sample = lambda: TaskSampler(x, WAY, 1, 9, np.random.default_rng(0))  # noqa: E731
    for member in members:
        member.meta_step(sample().sample(1))
    ensemble = Ensemble(members)
    found = evaluate(ensemble, sample(), 8)  # 8 tasks ask for more than the 120 drawings
    (expected,) = measure([ensemble], sample().sample(8))
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)


def test_an_ensemble_of_several_methods_represents_images_side_by_side(rng):
    maml = MAML(small_network("pooled", rng), 0.3, 0.01, 1, 1)
    ensemble, (x, y, *_) = Ensemble([*trained_protonets(rng)[:1], maml]), small_tasks(rng)
    x, y = paddle.to_tensor(x), paddle.to_tensor(y)
    *_, adapted = ensemble.adapt(x, y)
    z = ensemble.represent(adapted, x)
    features = [m.network.features for m in ensemble.members]
    assert z.shape[-1] == sum(features) and int(y.max()) + 1 == WAY
    assert (z[..., features[0] :].numpy() == maml.represent(adapted[1], x).numpy()).all()
