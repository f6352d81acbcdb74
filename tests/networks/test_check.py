"""Second derivatives that are missing, wrong or right, as `maml.check_second_order` finds them."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import images, numerical_gradient, relative_error
from paddle import nn

import maml
from maml.networks import check
from maml.system.errors import UserError

pytestmark = [pytest.mark.both_paddles, pytest.mark.usefixtures("float64")]


class Broken(nn.Layer):
    def __init__(self, forward, *more):
        super().__init__()
        self.linear, self.more = nn.Linear(64, 3), nn.LayerList(more)
        self.function = forward

    def forward(self, x):
        return self.function(self.linear(x.flatten(1)))


class Upwards(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.up = nn.Conv2D(1, 1, 2), nn.Conv2DTranspose(1, 1, 2)
        self.linear = nn.Linear(64, 3)

    def forward(self, x):
        return self.linear(self.up(F.tanh(self.conv(x))).flatten(1))


class Recurrent(nn.Layer):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 3)

    def forward(self, x):
        return self.lstm(x.flatten(1, 2))[0][:, -1]


@pytest.mark.parametrize(
    "layer, sentence",
    [
        (lambda: nn.Sequential(nn.Flatten()), "Sequential has no trainable parameters"),
        (lambda: Broken(lambda h: h.mean()), "one row of scores or embeddings for each"),
        (lambda: Broken(lambda h: h, nn.Linear(2, 2)), "does not use the parameter more.0.weight"),
        (lambda: Broken(lambda h: F.sigmoid(h).add_(h)), "changes a tensor in place"),
        (lambda: Broken(lambda h: h[:, :2]), "returns 2 scores, but there are 3 classes"),
        (lambda: Broken(lambda h: h.undefined), "Broken.forward failed on float64 images"),
        (lambda: Broken(lambda h: h.cumsum(1)), "cumsum has no second derivative"),
        (lambda: Broken(lambda h: h * h.detach()), "detaches tensors"),
        (lambda: Upwards(), "conv2d_transpose has no second derivative"),
        (
            lambda: nn.Sequential(nn.Conv2DTranspose(1, 1, 2), nn.Flatten(), nn.Linear(81, 3)),
            "conv2d_transpose has no second derivative in PaddlePaddle; use nn.Upsample",
        ),
        (lambda: Recurrent(), r"LSTM cannot take .* use nn.RNN\(nn.LSTMCell"),
        (lambda: Broken(lambda h: paddle.einsum("ni->ni", h * h)), "use paddle.matmul"),
    ],
)
def test_a_mistake_is_named_in_one_sentence_before_training(layer, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        maml.check_second_order(maml.from_layer(layer(), way=3), images(1, 4))
    assert "\n" not in str(error.value)


def test_closed_form_of_a_quadratic_network():
    """The second derivative of (w x)^2 along d is 2 x (x d), by hand and by the check."""
    layer = nn.Linear(3, 1, bias_attr=False)
    network = maml.from_layer(layer)
    x = images(1, 1)[:, :, 0, :1, :3].reshape([1, 1, 3])
    (w,) = params = [paddle.to_tensor(np.ones([1, 3, 1]), stop_gradient=False)]
    y = network(x, params, twice=True)
    (g,) = paddle.grad((y * y).sum(), params, create_graph=True)
    d = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
    (h,) = paddle.grad((g * paddle.to_tensor(d)).sum(), [w])
    row = x.numpy().ravel()
    assert np.allclose(h.numpy().ravel(), 2 * row * (row @ d.ravel()))
    assert (
        relative_error(h.numpy(), numerical_gradient(lambda a: _slope(network, x, a, d), w.numpy()))
        < 1e-6
    )


def _slope(network, x, w, d):
    params = [paddle.to_tensor(w, stop_gradient=False)]
    y = network(x, params)
    (g,) = paddle.grad((y * y).sum(), params)
    return float((g.numpy() * d).sum())


def test_kinks_within_a_step_of_differences_do_not_hide_that_derivatives_are_right(monkeypatch):
    """As images of many pixels have: the steps become smaller. Here one is 3e-9 away."""
    monkeypatch.setattr(check, "NOISE", 0.0)
    initial = paddle.ParamAttr(initializer=nn.initializer.Constant(3e-9))
    layer = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, initial, bias_attr=False), nn.ReLU())
    assert maml.check_second_order(maml.from_layer(layer), paddle.ones([1, 2, 1, 1, 1])) < 1e-4


def test_blank_paper_does_not_put_the_kink_of_a_relu_under_the_check():
    layer = nn.Sequential(nn.Conv2D(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    assert maml.check_second_order(maml.from_layer(layer), paddle.zeros([1, 2, 1, 8, 8])) < 1e-4


def test_what_a_forward_creates_has_the_type_of_the_check():
    class Cells(nn.Layer):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(nn.GRUCell(8, 3))

        def forward(self, x):
            return self.rnn(x.flatten(1, 2)[:, :3])[0][:, -1]

    paddle.set_default_dtype("float32")
    x = images(1, 2).astype("float32")
    assert maml.check_second_order(maml.from_layer(Cells()), x) < 1e-4
    assert paddle.get_default_dtype() == "float32"
