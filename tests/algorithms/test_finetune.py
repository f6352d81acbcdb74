import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import episodes, relative_error, small_protonet

from maml.algorithms.finetune import Adapted, FineTune


def tensor(values):
    return paddle.to_tensor(np.array([values]))


def test_the_classifier_starts_as_the_normalised_class_means(rng):
    """Class 0: (1, 0) and (5, 0), mean (3, 0); class 1: (3, 4)."""
    w, b = FineTune(small_protonet(rng), 5).initial(
        tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 0.0]]), tensor([0, 1, 0])
    )
    assert w.numpy()[0] == pytest.approx(np.array([[1, 0], [0.6, 0.8]])) and b.numpy().tolist() == [
        [[0, 0]]
    ]


def test_without_a_step_it_is_the_nearest_mean_by_cosine(rng):
    proto, tasks = small_protonet(rng), episodes(rng)
    proto.meta_step(tasks)
    support_x, support_y, query_x, _ = map(paddle.to_tensor, tasks)
    tuned = FineTune(proto, 0)
    (adapted,) = tuned.adapt(support_x, support_y)
    z, q = proto.embed(support_x).numpy(), proto.embed(query_x).numpy()
    means = np.stack([[z[t][tasks.support_y[t] == k].mean(0) for k in (0, 1)] for t in (0, 1)])
    cosine = (
        np.einsum("tnd,tkd->tnk", q, means)
        / np.linalg.norm(q, axis=-1)[:, :, None]
        / np.linalg.norm(means, axis=-1)[:, None]
    )
    assert relative_error(tuned.predict(adapted, query_x).numpy() / tuned.scale, cosine) < 1e-9


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_a_step_descends_on_cross_entropy_and_entropy(rng, entropy):
    """One step equals gradient descent on the loss written with Paddle's own functions."""
    tuned = FineTune(small_protonet(rng), 1, rate=0.3, entropy=entropy)
    z, y, q = (
        paddle.to_tensor(rng.standard_normal((1, 4, 3))),
        tensor([0, 1, 2, 1]),
        paddle.to_tensor(rng.standard_normal((1, 6, 3))),
    )
    w, b = (paddle.to_tensor(p.numpy(), stop_gradient=False) for p in tuned.initial(z, y))

    def scores(x):
        return (
            tuned.scale * paddle.matmul(F.normalize(x[0]), F.normalize(w[0]), transpose_y=True)
            + b[0]
        )

    p = F.softmax(scores(q))
    loss = F.cross_entropy(scores(z), y[0]) - entropy * (p * p.log()).sum(-1).mean()
    expected = [v - 0.3 * g for v, g in zip((w, b), paddle.grad(loss, [w, b]))]
    w, b = expected
    tuned.learner.embed = lambda x: x
    assert relative_error(tuned.predict(Adapted(z, y, 1), q).numpy()[0], scores(q).numpy()) < 1e-9


def test_entropy_makes_predictions_surer_and_looks_at_all_queries(rng):
    proto, tasks = small_protonet(rng), episodes(rng)
    proto.meta_step(tasks)
    support_x, support_y, query_x, _ = map(paddle.to_tensor, tasks)

    def probabilities(weight, queries=query_x):
        *_, adapted = (tuned := FineTune(proto, 20, entropy=weight)).adapt(support_x, support_y)
        return F.softmax(tuned.predict(adapted, queries)).numpy()

    def entropy(p):
        return -(p * np.log(p)).sum(-1).mean()

    assert entropy(probabilities(1.0)) < entropy(probabilities(0.0))
    assert relative_error(probabilities(0.0, query_x[:, :1]), probabilities(0.0)[:, :1]) < 1e-9
    assert relative_error(probabilities(1.0, query_x[:, :1]), probabilities(1.0)[:, :1]) > 1e-9
