import paddle
import paddle.nn.functional as F
import pytest
from helpers import relative_error

from maml.config import Config
from maml.networks.koch import KochNet
from maml.system.errors import UserError
from maml.training.build import build_learner

pytestmark = [pytest.mark.both_paddles, pytest.mark.usefixtures("float64")]


def test_koch_network_as_published(rng):
    """Shapes of figure 4, and the forward pass with Paddle's own operations written out."""
    koch = KochNet(rng, features=8, dtype="float64")
    assert [p.shape for p in koch.theta[::2]] == [
        [64, 1, 10, 10],
        [128, 64, 7, 7],
        [128, 128, 4, 4],
        [256, 128, 4, 4],
        [9216, 8],
    ]
    assert [float(p.numpy().std()) for p in koch.theta[::2]] == pytest.approx(
        [0.01] * 4 + [0.2], rel=0.05
    )
    assert all(
        abs(p.numpy().mean() - 0.5) < 0.02 and p.numpy().std() < 0.02 for p in koch.theta[1::2]
    )
    x = rng.random((2, 1, 1, 105, 105))
    h = paddle.to_tensor(x[:, 0])
    for i in range(4):
        h = F.relu(F.conv2d(h, koch.theta[2 * i]) + koch.theta[2 * i + 1].reshape([1, -1, 1, 1]))
        h = F.max_pool2d(h, 2) if i < 3 else h
    assert h.shape == [2, 256, 6, 6]
    expected = F.sigmoid(paddle.matmul(h.reshape([2, -1]), koch.theta[8]) + koch.theta[9])
    assert relative_error(koch(paddle.to_tensor(x)).numpy()[:, 0], expected.numpy()) < 1e-10


def test_koch_networks_penalties(rng):
    koch = KochNet(rng, features=4, dtype="float64")
    squares = [float((p.numpy() ** 2).sum()) for p in koch.theta[::2]]
    assert koch.penalty(koch.theta).item() == pytest.approx(
        2e-4 * sum(squares[:4]) + 1e-3 * squares[4], rel=1e-9
    )


def test_koch_network_wants_its_image_size():
    with pytest.raises(
        UserError,
        match=(
            "network koch is for images of at least 65 pixels a side, these have 28; make others by"
            " make_data.py"
        ),
    ):
        build_learner(Config(algorithm="siamese", network="koch", train_way=4, train_query=1), 28)
