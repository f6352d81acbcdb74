"""Any paddle.nn.Layer as a network: twins against Paddle's own layers, exact second derivatives."""

import copy

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import images, relative_error
from paddle import nn

import maml
from maml.evaluation.accuracy import measure

pytestmark = [pytest.mark.both_paddles, pytest.mark.usefixtures("float64")]


class Residual(nn.Layer):
    """Two convolutions, and a projection around them."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2D(1, 4, 3, 2, 1), nn.Conv2D(4, 4, 3, padding=1)
        self.norm, self.project = nn.BatchNorm2D(4), nn.Conv2D(1, 4, 1, 2)
        self.out = nn.Linear(4, 3)

    def forward(self, x):
        h = F.relu(self.norm(self.one(x)))
        h = F.relu(self.two(h) + self.project(x))
        return self.out(h.mean(axis=[2, 3]))


class Separable(nn.Layer):
    """Depthwise and pointwise convolutions, with the normalisations of groups and of instances."""

    def __init__(self):
        super().__init__()
        self.stem, self.depth = nn.Conv2D(1, 4, 3, 1, 1), nn.Conv2D(4, 4, 3, 2, 1, groups=4)
        self.point, self.group = nn.Conv2D(4, 6, 1), nn.GroupNorm(2, 6)
        self.instance, self.act = nn.InstanceNorm2D(6), nn.Hardswish()
        self.pool, self.out = nn.AdaptiveAvgPool2D(1), nn.Linear(6, 3)

    def forward(self, x):
        h = self.act(self.instance(self.group(self.point(self.depth(self.stem(x))))))
        return self.out(paddle.flatten(self.pool(h), 1))


class Attention(nn.Layer):
    """Attention over patches; its positions are a parameter that the forward uses by itself."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Conv2D(1, 8, 4, 4), nn.LayerNorm(8)
        self.attend, self.out = nn.MultiHeadAttention(8, 2), nn.Linear(8, 3)
        self.positions = self.create_parameter([1, 4, 8])

    def forward(self, x):
        h = self.embed(x).flatten(2).transpose([0, 2, 1]) + self.positions
        return self.out((h + self.attend(self.norm(h))).mean(axis=1))


class Functional(nn.Layer):
    """A forward with functional calls and a skip connection."""

    def __init__(self):
        super().__init__()
        self.weight, self.conv = self.create_parameter([4, 1, 3, 3]), nn.Conv2D(4, 4, 3, padding=1)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        h = F.elu(F.conv2d(x, self.weight, padding=1))
        h = F.max_pool2d(h + F.silu(self.conv(h)), 2)
        return F.log_softmax(self.out(F.avg_pool2d(h, 2).flatten(1)))


class EncoderDecoder(nn.Layer):
    """Pooling and its way back, and activations that are kept as attributes."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2D(1, 3, 3, 1, 1, padding_mode="reflect"), nn.Conv2D(6, 2, 1)
        self.attend = nn.TransformerEncoderLayer(16, 2, 8, dropout=0.0, activation="gelu")
        self.act, self.out = F.silu, nn.Linear(32, 3)

    def forward(self, x):
        h = self.act(self.down(x))
        back = F.interpolate(F.max_pool2d(h, 2), scale_factor=2, mode="bilinear")
        h = F.max_pool2d(self.up(paddle.concat([h, back], axis=1)), 2)
        return self.out(self.attend(h.flatten(2)).flatten(1))


def with_frozen(layer, *names):
    """The layer, of whose parameters some stay as they are."""
    for name, p in layer.named_parameters():
        p.stop_gradient = p.stop_gradient or name in names
    return layer


NETWORKS = {
    "plain": lambda: nn.Sequential(
        nn.Conv2D(1, 3, 3, padding=1),
        nn.BatchNorm2D(3),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Linear(48, 3),
    ),
    "residual": Residual,
    "multilayer": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 9), nn.LayerNorm(9), nn.GELU(), nn.Linear(9, 3)
    ),
    "normalisation without weights, and of images": lambda: nn.Sequential(
        nn.BatchNorm2D(1),
        nn.Conv2D(1, 4, 3, 2, padding=1),
        nn.BatchNorm2D(4, weight_attr=False),
        nn.GroupNorm(2, 4, weight_attr=False, bias_attr=False),
        nn.Conv2D(4, 4, 3),
        nn.BatchNorm2D(4, weight_attr=False, bias_attr=False),
        nn.InstanceNorm2D(4, weight_attr=False, bias_attr=False),
        nn.Flatten(),
        nn.LayerNorm(16, weight_attr=False),
        nn.Linear(16, 3),
    ),
    "frozen": lambda: with_frozen(Residual(), "two.weight", "norm.weight", "project.bias"),
    "separable": Separable,
    "attention": Attention,
    "functional": Functional,
    "encoder-decoder": EncoderDecoder,
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "steps, first_order", [(1, False), (2, False), (5, False), (2, True), (5, True)]
)
def test_meta_gradient_of_any_layer_equals_finite_differences(name, steps, first_order):
    network = maml.from_layer(NETWORKS[name]())
    learner = maml.MAML(network, 0.1, 1e-3, steps, steps, first_order=first_order)
    x, query_x = images(2, 4), images(2, 4, seed=1)
    y = paddle.to_tensor(np.array([[0, 1, 2, 0], [2, 1, 0, 1]]))
    losses, gradient = learner.meta_gradient(x, y, query_x, y)
    rng = np.random.default_rng(0)
    directions = [rng.standard_normal(p.shape) for p in network.theta]
    slope = sum((g.sum(axis=0).numpy() * d).sum() for g, d in zip(gradient, directions))
    values = [p.numpy() for p in network.theta]

    def query_loss(step):
        for p, value, d in zip(network.theta, values, directions):
            p.set_value(value + step * d)
        if not first_order:
            return float(learner.meta_gradient(x, y, query_x, y)[0].sum())
        # theta' moves with theta, and its dependence on theta through the gradient is left out
        moved = [a + step * paddle.to_tensor(d) for a, d in zip(adapted, directions)]
        return float(learner.query_gradient(moved, query_x, y)[0].sum())

    *_, state = learner.adapt(x, y)
    adapted = state.theta
    step = 1e-6
    expected = (query_loss(step) - query_loss(-step)) / (2 * step)
    assert abs(slope - expected) < 1e-5 * max(1.0, abs(expected))


@pytest.mark.parametrize("name", NETWORKS)
def test_all_tasks_at_once_and_one_after_the_other_give_the_same_numbers(name):
    network = maml.from_layer(NETWORKS[name]())
    learner = maml.MAML(network, 0.1, 1e-3, 2, 2)
    y = paddle.to_tensor(np.array([[0, 1, 2], [2, 1, 0]]))
    found = learner.meta_gradient(images(2, 3), y, images(2, 3, seed=1), y)
    assert network.together == (name != "attention")
    network.together = False
    expected = learner.meta_gradient(images(2, 3), y, images(2, 3, seed=1), y)
    assert relative_error(found[0].numpy(), expected[0].numpy()) < 1e-9
    for a, b in zip(found[1], expected[1]):
        assert np.abs(a.numpy() - b.numpy()).max() < 1e-9


def conv4(filters, pooled):
    layers, channels = [], 1
    for _ in range(4):
        stride = 1 if pooled else 2
        layers.append(nn.Conv2D(channels, filters, 3, stride, padding=1, bias_attr=False))
        layers += [nn.BatchNorm2D(filters), nn.ReLU(), *([nn.MaxPool2D(2)] if pooled else [])]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(filters * (1 if pooled else 4), 5))


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 2e-5)])
@pytest.mark.parametrize("pooled", [False, True])
def test_the_built_in_network_written_in_paddle_nn_gives_the_same(dtype, tolerance, pooled):
    paddle.set_default_dtype(dtype)  # the fixture puts it back
    built = maml.ConvNet(5, np.random.default_rng(1), pooled=pooled, filters=4, dtype=dtype)
    network = maml.from_layer(conv4(4, pooled))
    weights, channels = [p.numpy() for p in built.theta], 1
    side, values = built.sizes[-1], []
    for w, gamma, beta in zip(weights[:-2:3], weights[1:-2:3], weights[2:-2:3]):
        kernel = w.reshape(9, channels, 4).transpose(2, 1, 0).reshape(4, channels, 3, 3)
        values += [kernel, gamma[0], beta[0]]
        channels = 4
    head = weights[-2].reshape(side**2, 4, 5).transpose(1, 0, 2)  # pixels, then channels
    values += [head.reshape(-1, 5), weights[-1][0]]
    for p, value in zip(network.theta, values, strict=True):
        p.set_value(value.astype(dtype))
    rng = np.random.default_rng(0)
    x, query_x = (rng.random([2, 10, 1, 28, 28]).astype(dtype) for _ in range(2))
    y = np.tile(np.arange(10) % 5, (2, 1))
    tasks = [paddle.to_tensor(a) for a in (x, y, query_x, y)]
    a, ga = maml.MAML(built, 0.1, 1e-3, 2, 2).meta_gradient(*tasks)
    b, gb = maml.MAML(network, 0.1, 1e-3, 2, 2).meta_gradient(*tasks)
    assert relative_error(b.numpy(), a.numpy()) < tolerance
    for i in (1, 2, 4, 5, 7, 8, 10, 11, 13):  # scales, shifts and the classifier's bias
        found, expected = gb[i].numpy().reshape(2, -1), ga[i].numpy().reshape(2, -1)
        assert relative_error(found, expected) < tolerance


def test_parameters_are_the_layers_own_in_order_and_the_layer_stays_as_it_was():
    shared = nn.Linear(4, 4)
    layer = nn.Sequential(shared, nn.BatchNorm1D(4), shared, nn.Linear(4, 2))
    layer[3].bias.stop_gradient = True
    before = {name: p.numpy() for name, p in layer.state_dict().items()}
    network = maml.from_layer(layer)
    trainable = [p for p in layer.parameters() if not p.stop_gradient]
    assert [p.shape for p in network.theta] == [p.shape for p in trainable]
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(network.theta, trainable))
    assert network.names == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight"]
    learner = maml.MAML(network, 0.1, 1.0, 1, 1)
    y = np.array([[0, 1, 0]])
    x = np.random.default_rng(0).standard_normal([1, 3, 4])
    learner.meta_step(maml.TaskBatch(x, y, x, y))
    assert all((p.numpy() == before[name]).all() for name, p in layer.state_dict().items())
    assert F.relu is paddle.nn.functional.relu and not hasattr(layer[1], "_rows")


def test_batch_normalisation_as_in_the_built_in_networks_and_eval_mode():
    layer = nn.Sequential(nn.Conv2D(1, 2, 3), nn.BatchNorm2D(2), nn.Flatten())
    network = maml.from_layer(layer)
    record = []
    z = network(images(2, 3), record=record)
    assert [list(s.shape) for s in record[0]] == [[2, 1, 2]] * 2
    for t in range(2):  # the statistics of each task's images by themselves
        conv = layer[0](images(2, 3)[t]).numpy()
        assert np.allclose(record[0].mean[t, 0].numpy(), conv.mean(axis=(0, 2, 3)))
    again = network(images(2, 3), statistics=record)
    assert np.allclose(z.numpy(), again.numpy())
    layer[1]._mean.set_value(np.array([0.5, -0.5]))
    layer.eval()
    evaluated = maml.from_layer(layer)(images(2, 3))
    assert np.allclose(evaluated[1].numpy(), layer(images(2, 3)[1]).numpy())


@pytest.mark.filterwarnings("ignore:When training, we now always track")
@pytest.mark.parametrize("frozen", [True, False])
def test_batch_normalisation_whose_statistics_are_chosen_uses_those(frozen):
    layer = nn.Sequential(nn.Conv2D(1, 2, 3), nn.BatchNorm2D(2, use_global_stats=frozen))
    layer[1]._mean.set_value(np.array([0.5, -0.5]))
    if not frozen:
        layer.eval()
    found = maml.from_layer(layer)(images(1, 3))
    assert np.allclose(found[0].numpy(), layer(images(1, 3)[0]).numpy())


def test_a_copy_of_a_network_computes_with_its_own_weights():
    network = maml.from_layer(Residual())
    expected = network(images(1, 3)).numpy()
    twin = copy.deepcopy(network)
    for p in twin.theta:
        p.set_value(p * 2)
    assert relative_error(twin(images(1, 3)).numpy(), expected) > 0.1
    assert (network(images(1, 3)).numpy() == expected).all()
    fresh = maml.from_layer(Residual())
    for p, other in zip(fresh.theta, twin.theta):
        p.set_value(other)
    assert np.allclose(fresh(images(1, 3)).numpy(), twin(images(1, 3)).numpy())


def with_dropout(way=None):
    size = 8 if way is None else way
    return maml.from_layer(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, size)), way)


def test_tests_have_no_dropout_and_training_has():
    x = images(1, 4)
    y = paddle.to_tensor([[0, 0, 1, 1]])
    for learner in (
        maml.ProtoNet(with_dropout(), outer_lr=1e-2),
        maml.MAML(with_dropout(2), alpha=0.1, beta=1e-2, steps=2, steps_test=2),
        maml.Reptile(with_dropout(2), 0.1, 0.1, 2, 4, steps_test=2, batch_test=4),
    ):
        answers = []
        for _ in range(2):
            *_, adapted = learner.adapt(x, y)
            answers.append(learner.predict(adapted, x).numpy())
        assert (answers[0] == answers[1]).all(), type(learner)
        before = learner.network(x).numpy()
        assert not (learner.network(x).numpy() == before).all()


def test_what_mixes_images_is_not_embedded_image_by_image():
    class Centred(nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 3)

        def forward(self, x):
            z = self.linear(x.flatten(1))
            return z - z.mean(axis=0)

    paddle.set_default_dtype("float32")
    learner = maml.ProtoNet(maml.from_layer(Centred()), outer_lr=1e-2)
    assert learner.per_image  # as far as is known
    x = np.random.default_rng(0).integers(0, 255, [6, 20, 1, 8, 8], np.uint8)
    sample = lambda: maml.TaskSampler(x, 5, 1, 3, np.random.default_rng(0))  # noqa: E731
    found = maml.evaluate(learner, sample(), 8)  # 8 tasks ask for more than the 120 drawings
    (expected,) = measure([learner], sample().sample(8))
    assert not learner.per_image
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-4)


def test_a_metric_method_trains_an_encoder_of_ones_own():
    paddle.set_default_dtype("float32")
    rng = np.random.default_rng(0)
    network = maml.from_layer(nn.Sequential(nn.Conv2D(1, 4, 3), nn.BatchNorm2D(4), nn.Flatten()))
    learner = maml.ProtoNet(network, outer_lr=1e-2)
    sampler = maml.TaskSampler(rng.integers(0, 255, [9, 20, 1, 8, 8], np.uint8), 5, 1, 3, rng)
    first = [learner.meta_step(sampler.sample(1))["loss"] for _ in range(3)]
    assert np.isfinite(first).all() and len(network.running) == 1
    assert maml.evaluate(learner, sampler, 4).accuracies.shape == (4, 1)


def test_a_forward_that_mixes_images_runs_one_task_after_the_other_and_says_so():
    class Mixing(nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 3)

        def forward(self, x):
            h = self.linear(x.flatten(1))
            return h - h.mean(axis=0, keepdim=True)

    network = maml.from_layer(Mixing())
    z = network(images(2, 4))
    assert network.together is False and "mixes the images" in network.how()
    assert np.allclose(z.mean(axis=1).numpy(), 0)


def test_other_threads_and_later_calls_see_paddles_own_functions():
    seen = []

    class Spy(nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 3)

        def forward(self, x):
            seen.append(F.softmax)
            return F.softmax(self.linear(x.flatten(1)))

    before = F.softmax
    maml.from_layer(Spy())(images(1, 2))
    assert F.softmax is before and all(function is not before for function in seen)
