from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from maml.algorithms.finetune import FineTune
from maml.algorithms.maml import MAML
from maml.algorithms.protonet import ProtoNet
from maml.data.tasks import AlphabetSampler, TaskBatch, TaskSampler
from maml.evaluation import accuracy
from maml.networks.conv import ConvNet


class Known:
    """Right about a query if its first pixel is even in the source image, after step 1; before,
    never. No network, nothing learnt.
    """

    per_image = False

    class network:
        @staticmethod
        def prepare(x):
            return x

    def adapt(self, support_x, support_y):
        yield (0, support_x, support_y)
        yield (1, support_x, support_y)

    def predict(self, adapted, query_x):
        step, support_x, support_y = adapted
        class_of = {
            round(x[0, 0, 1].item() * 255): int(y) for x, y in zip(support_x[0], support_y[0])
        }
        scores = np.zeros((1, query_x.shape[1], 5), np.float32)
        for n, x in enumerate(query_x[0].numpy()):
            right = class_of[round(float(x[0, 0, 1]) * 255)]
            even = round(float(x[0, 0, 0]) * 255) % 2 == 0
            scores[0, n, right if step == 1 and even else (right + 1) % 5] = 1
        return paddle.to_tensor(scores)


def images():
    """Drawing d of class c: pixels (0, 0) = d, (0, 1) = c; so half of all drawings are even."""
    x = np.zeros((5, 20, 1, 2, 2), np.uint8)
    _, d, _ = np.indices(x.shape[:3])
    x[..., 0, 0] = d
    x[..., 0, 1] = np.arange(5)[:, None, None]
    return x


def test_accuracies_of_a_learner_that_is_known(monkeypatch, rng):
    monkeypatch.setattr(accuracy, "TASKS_AT_ONCE", 1)
    sampler = TaskSampler(images(), 5, 1, 19, rng)
    result = accuracy.evaluate(Known(), sampler, 30)
    assert result.accuracies.shape == (30, 2) and (result.accuracies[:, 0] == 0).all()
    # 100 drawings, 50 of them even; a task's queries are all but 5 of them, so between 45 and 50
    # even of 95
    exact = result.accuracies[:, 1] * 95
    assert np.allclose(exact, exact.round(), atol=1e-4) and exact.min() >= 45 and exact.max() <= 50
    assert result.mean == pytest.approx(0.5, abs=0.01) and result.vector[0] == 0


@pytest.mark.parametrize(
    "sample",
    [
        lambda x: TaskSampler(x, 5, 1, 19, np.random.default_rng(0)),
        lambda x: AlphabetSampler(
            x, [f"a/{n}" for n in range(5)], 5, 1, 19, np.random.default_rng(0)
        ),
    ],
    ids=["any alphabet", "one alphabet"],
)
def test_it_is_known_which_drawings_were_asked_and_which_were_told_right(monkeypatch, sample):
    monkeypatch.setattr(accuracy, "TASKS_AT_ONCE", 1)
    result = accuracy.evaluate(Known(), sample(images()), 7)
    asked = accuracy.drawn_tasks(sample(images()), 7).query
    assert asked.row.shape == (7, 95) and result.correct.shape == (7, 95)
    assert (result.correct == (asked.drawing % 2 == 0)).all()
    assert np.allclose(result.correct.mean(axis=1), result.accuracies[:, 1])


@pytest.mark.parametrize("size", [2, 3])
def test_processes_work_at_the_same_time(monkeypatch, size):
    """Each measures a batch between two calls of `progress`, where they wait for each other."""
    monkeypatch.setattr(accuracy, "TASKS_AT_ONCE", 1)

    def sample():
        return TaskSampler(images(), 5, 1, 19, np.random.default_rng(0))

    def measured_by(rank):
        processes, known = SimpleNamespace(rank=rank, size=size, sum=lambda part: part), Known()
        asked, counts = [], []
        known.predict = lambda *arguments: asked.append(1) or Known.predict(known, *arguments)

        def progress(items):
            for item in items:
                yield item
                counts.append(len(asked))

        return accuracy.evaluate(known, sample(), 7, processes, progress), np.diff(counts[:3])

    found, counts = zip(*map(measured_by, range(size)))
    assert (np.array(counts)[:, 0] == counts[0][0]).all() and counts[0][0] > 0
    alone = accuracy.evaluate(Known(), sample(), 7)
    assert (sum(result.accuracies for result in found) == alone.accuracies).all()


def test_interval_is_of_the_mean_over_tasks():
    accuracies = np.array([[0.0, 0.5], [0.0, 0.7], [0.0, 0.9], [0.0, 0.7]])
    result = accuracy.Result(accuracies, accuracies, accuracies)
    assert result.mean == pytest.approx(0.7)
    assert result.interval == pytest.approx(1.96 * np.std([0.5, 0.7, 0.9, 0.7], ddof=1) / 2)


def test_results_do_not_depend_on_how_many_tasks_go_at_once(rng):
    x = rng.integers(256, size=(8, 20, 1, 12, 12)).astype(np.uint8)
    learner = MAML(
        ConvNet(5, rng, image_size=12, filters=4), alpha=0.4, beta=0.1, steps=1, steps_test=2
    )
    tasks = TaskSampler(x, 5, 1, 3, rng).sample(6)
    (together,) = accuracy.measure([learner], tasks)
    one_each = [TaskBatch(*(a[t : t + 1] for a in tasks)) for t in range(6)]
    alone = [accuracy.measure([learner], one)[0] for one in one_each]
    assert (together.accuracies == np.concatenate([r.accuracies for r in alone])).all()
    assert np.allclose(together.losses, np.concatenate([r.losses for r in alone]), rtol=1e-4)


@pytest.mark.parametrize(
    "wrap", [lambda learner: learner, lambda learner: FineTune(learner, steps=2)]
)
def test_embedding_every_drawing_once_gives_the_same_results(rng, wrap):
    x = rng.integers(256, size=(6, 20, 1, 12, 12)).astype(np.uint8)
    proto = ProtoNet(
        ConvNet(None, rng, image_size=12, pooled=True, filters=4, blocks=2), outer_lr=0.1
    )
    assert proto.per_image
    proto.meta_step(TaskSampler(x, 5, 1, 3, rng).sample(1))
    learner = wrap(proto)
    sample = lambda: TaskSampler(x, 5, 1, 3, np.random.default_rng(0))  # noqa: E731
    assert sample().image_count == 120 and sample().images_per_task == 20
    seen = []
    hook = proto.network.register_forward_pre_hook(
        lambda layer, inputs: seen.append(inputs[0].shape[0] * inputs[0].shape[1])
    )
    found = accuracy.evaluate(learner, sample(), 8)
    hook.remove()
    assert sum(seen) == 120
    (expected,) = accuracy.measure([learner], sample().sample(8))
    assert (found.accuracies == expected.accuracies).all() and np.allclose(
        found.losses, expected.losses, rtol=1e-4
    )
    assert (found.correct == expected.correct).all()


def test_tasks_within_an_alphabet_are_the_same_with_embeddings(rng):
    x, rows = (
        rng.integers(256, size=(6, 20, 1, 4, 4)).astype(np.uint8),
        [f"{alphabet}/{n}" for alphabet in "ab" for n in range(3)],
    )
    sample = lambda: AlphabetSampler(x, rows, 3, 1, 2, np.random.default_rng(0))  # noqa: E731
    assert sample().image_count == 120 and sample().images_per_task == 9
    images, embedded = (
        sample().sample(5),
        sample().embedded(lambda images: images.reshape(len(images), -1)[:, :3]).sample(5),
    )
    assert embedded.query_x.shape == (5, 6, 3) and (embedded.query_y == images.query_y).all()
    assert (embedded.support_x == images.support_x.reshape(5, 3, -1)[..., :3]).all()
