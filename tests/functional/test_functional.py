import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import check_twice_differentiable, relative_error

from maml import functional as fn
from maml.functional import convolution, pooling, positions, winograd
from maml.functional.algebra import norm
from maml.functional.first_layer import input_statistics
from maml.functional.pooling import max_pool_product
from maml.functional.rows import append_zero_row

pytestmark = pytest.mark.both_paddles
TASKS, IMAGES, CHANNELS, FILTERS = 2, 3, 2, 3


def rows(x, stride=1):
    """[T, N, C, H, W] -> [T, H * W * N, C], the positions in the order of convolutions of this
    stride.
    """
    t, n, c, h, w = x.shape
    order = np.concatenate(positions.by_remainder(h, w, stride))
    return np.ascontiguousarray(
        x.reshape(t, n, c, h * w)[..., order].transpose(0, 3, 1, 2).reshape(t, h * w * n, c)
    )


def filters(w):
    """[T, 9 * C_in, C_out] -> [T, C_out, C_in, 3, 3]"""
    t, rows_, out = w.shape
    return w.reshape(t, 3, 3, rows_ // 9, out).transpose(0, 4, 3, 1, 2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 1), (2, 2), (5, 6), (7, 5)])
def test_convolve_is_paddles_convolution(rng, stride, size):
    x, w = (
        rng.standard_normal((TASKS, IMAGES, CHANNELS, *size)),
        rng.standard_normal((TASKS, 9 * CHANNELS, FILTERS)),
    )
    y = fn.convolve(
        paddle.to_tensor(rows(x, stride)), paddle.to_tensor(w), fn.patches(*size, stride, IMAGES)
    ).numpy()
    expected = [
        F.conv2d(paddle.to_tensor(x[t]), paddle.to_tensor(filters(w)[t]), stride=stride, padding=1)
        for t in range(TASKS)
    ]
    assert relative_error(y, rows(np.stack([e.numpy() for e in expected]), stride)) < 1e-12


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("zero_row", [False, True])
def test_convolve_twice(rng, stride, zero_row):
    at = fn.patches(4, 3, stride, 2)

    def f(x, w):
        return fn.convolve(append_zero_row(x) if zero_row else x, w, at)

    check_twice_differentiable(
        lambda x, w: f(x * x, w * w),
        rng.standard_normal((2, 24, 2)),
        rng.standard_normal((2, 18, 2)),
    )


@pytest.mark.parametrize("twice", [True, False])
def test_batch_norm_is_the_papers(rng, twice):
    x, gamma, beta = (rng.standard_normal(shape) for shape in ((2, 7, 3), (2, 1, 3), (2, 1, 3)))
    expected = (
        gamma * (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + fn.EPSILON)
        + beta
    )
    assert (
        relative_error(
            fn.batch_norm(*map(paddle.to_tensor, (x, gamma, beta)), twice=twice).numpy(), expected
        )
        < 1e-12
    )


def test_batch_norm_twice(rng):
    check_twice_differentiable(
        lambda x, gamma, beta: fn.batch_norm(x * x, gamma * gamma, beta * beta),
        *(rng.standard_normal(shape) for shape in ((2, 6, 3), (2, 1, 3), (2, 1, 3))),
    )


def test_batch_norm_has_the_same_gradient_for_one_differentiation_as_for_two(rng):
    leaves = fn.leaves(
        [
            paddle.to_tensor(rng.standard_normal(shape))
            for shape in ((2, 6, 3), (2, 1, 3), (2, 1, 3))
        ]
    )
    g = paddle.to_tensor(rng.standard_normal((2, 6, 3)))
    for once, twice in zip(
        *(paddle.grad(fn.batch_norm(*leaves, twice=twice), leaves, g) for twice in (False, True))
    ):
        assert relative_error(once.numpy(), twice.numpy()) < 1e-10


@pytest.mark.parametrize("constant", [[0], [1], [2], [0, 1], [0, 2], [1, 2]])
def test_batch_norm_where_some_inputs_are_constants(rng, constant):
    """As without weights, with frozen ones, or directly on images."""
    arrays = [rng.standard_normal(shape) for shape in ((2, 6, 3), (2, 1, 3), (2, 1, 3))]
    free = [k for k in range(3) if k not in constant]

    def f(*given, twice=True):
        inputs = [paddle.to_tensor(a) for a in arrays]
        for k, tensor in zip(free, given):
            inputs[k] = tensor * tensor
        return fn.batch_norm(*inputs, twice=twice)

    check_twice_differentiable(f, *(arrays[k] for k in free))
    leaves = fn.leaves([paddle.to_tensor(arrays[k]) for k in free])
    g = paddle.to_tensor(rng.standard_normal((2, 6, 3)))
    for once, twice in zip(*(paddle.grad(f(*leaves, twice=t), leaves, g) for t in (False, True))):
        assert relative_error(once.numpy(), twice.numpy()) < 1e-10


def test_batch_norm_with_given_statistics(rng):
    x, other = rng.standard_normal((2, 6, 3)), rng.standard_normal((2, 9, 3))
    gamma, beta = rng.standard_normal((2, 1, 3)), rng.standard_normal((2, 1, 3))
    mean, variance = other.mean(1, keepdims=True), other.var(1, keepdims=True)
    fn.batch_norm(*map(paddle.to_tensor, (other, gamma, beta)), record=(record := []))
    assert (
        relative_error(record[0].mean.numpy(), mean) < 1e-12
        and relative_error(record[0].variance.numpy(), variance) < 1e-12
    )
    y = fn.batch_norm(*map(paddle.to_tensor, (x, gamma, beta)), given=record[0])
    assert (
        relative_error(y.numpy(), gamma * (x - mean) / np.sqrt(variance + fn.EPSILON) + beta)
        < 1e-12
    )


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("given", [False, True])
def test_input_block_is_convolution_and_batch_norm(rng, channels, given):
    x, w = rng.random((2, 3, channels, 6, 5)), rng.standard_normal((2, 9 * channels, 4))
    gamma, beta = rng.standard_normal((2, 1, 4)), rng.standard_normal((2, 1, 4))
    statistics = (
        fn.Statistics(
            *map(paddle.to_tensor, (rng.standard_normal((2, 1, 4)), rng.random((2, 1, 4))))
        )
        if given
        else None
    )
    tensors = [paddle.to_tensor(a) for a in (w, gamma, beta)]
    y = fn.input_block(fn.input_patches(paddle.to_tensor(x), 2), *tensors, given=statistics).numpy()
    z = fn.convolve(paddle.to_tensor(rows(x, 2)), tensors[0], fn.patches(6, 5, 2, 3))
    expected = fn.batch_norm(z, *tensors[1:], given=statistics).numpy()
    assert relative_error(y[:, :-1], expected) < 1e-9
    assert (y[:, -1] == 0).all()
    fn.batch_norm(z, *tensors[1:], record=(record := []))
    measured, direct = (
        input_statistics(fn.input_patches(paddle.to_tensor(x), 2), tensors[0]),
        record[0],
    )
    assert relative_error(measured.mean.numpy(), direct.mean.numpy()) < 1e-9
    assert relative_error(measured.variance.numpy(), direct.variance.numpy()) < 1e-9


def test_input_block_twice(rng):
    x = fn.input_patches(paddle.to_tensor(rng.random((2, 2, 1, 4, 4))), 2)
    check_twice_differentiable(
        lambda w, gamma, beta: fn.input_block(x, w, gamma, beta),
        rng.standard_normal((2, 9, 3)),
        rng.standard_normal((2, 1, 3)),
        rng.standard_normal((2, 1, 3)),
    )


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (5, 6), (7, 5)])
def test_max_pool_of_a_convolution_is_paddles(rng, size):
    x, w = (
        rng.standard_normal((TASKS, IMAGES, CHANNELS, *size)),
        rng.standard_normal((TASKS, 9 * CHANNELS, FILTERS)),
    )
    y = fn.convolve(
        paddle.to_tensor(rows(x)), paddle.to_tensor(w), fn.patches(*size, 1, IMAGES, pooled=True)
    )
    expected = [
        F.max_pool2d(
            F.conv2d(paddle.to_tensor(x[t]), paddle.to_tensor(filters(w)[t]), padding=1), 2
        ).numpy()
        for t in range(TASKS)
    ]
    assert relative_error(fn.max_pool(y, *size, IMAGES).numpy(), rows(np.stack(expected))) < 1e-12


@pytest.mark.parametrize("keep", [0, 1 << 20])
def test_tiles_in_many_blocks_give_the_gradients_of_patches(rng, monkeypatch, keep):
    """Five images of 6 x 7 pixels have sixty tiles."""
    monkeypatch.setattr(winograd, "BLOCK", 7)
    monkeypatch.setattr(winograd, "KEEP", keep)
    x, w = rng.standard_normal((2, 42 * 5, 2)), rng.standard_normal((2, 18, 3))
    g = paddle.to_tensor(rng.standard_normal((2, 42 * 5, 3)))

    def results():
        at = convolution.patches.__wrapped__(6, 7, 1, 5, True)  # none that is remembered
        leaves = fn.leaves([paddle.to_tensor(a) for a in (x, w)])
        y = fn.convolve(*leaves, at)
        return type(at), [t.numpy() for t in (y, *paddle.grad(y, leaves, g))]

    tiled, found = results()
    monkeypatch.setattr(convolution, "worth_it", lambda height, width: False)
    patched, expected = results()
    assert tiled is not patched
    for a, b in zip(found, expected):
        assert relative_error(a, b) < 1e-12


def test_tiles_are_kept_for_a_gradient_only():
    at = fn.patches(6, 6, 1, 2)
    x = paddle.ones([1, 72, 2])
    assert at.view(x).keep
    with paddle.no_grad():
        assert not at.view(x).keep


def test_max_pool_twice(rng):
    at = fn.patches(5, 4, 1, 2, pooled=True)
    check_twice_differentiable(
        lambda x, w: fn.max_pool(fn.convolve(x * x, w, at), 5, 4, 2),
        rng.standard_normal((2, 40, 2)),
        rng.standard_normal((2, 18, 2)),
    )


def test_max_pool_gives_a_tie_to_one():
    x = paddle.zeros([1, 4, 1])
    x.stop_gradient = False
    (gradient,) = paddle.grad(fn.max_pool(x, 2, 2, 1).sum(), [x])
    assert gradient.numpy().ravel().tolist() == [1, 0, 0, 0]


def test_log_softmax_and_cross_entropy(rng):
    scores, labels = 5 * rng.standard_normal((2, 4, 3)), rng.integers(3, size=(2, 4))
    expected = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    assert relative_error(fn.log_softmax(paddle.to_tensor(scores)).numpy(), expected) < 1e-12
    loss = fn.cross_entropy(paddle.to_tensor(scores), paddle.to_tensor(labels)).numpy()
    assert (
        relative_error(loss, -np.take_along_axis(expected, labels[..., None], -1)[..., 0].mean(-1))
        < 1e-12
    )
    summed = fn.summed_cross_entropy(paddle.to_tensor(scores), paddle.to_tensor(labels)).numpy()
    assert relative_error(summed, 4 * loss) < 1e-12
    check_twice_differentiable(lambda s: fn.cross_entropy(s, paddle.to_tensor(labels)), scores)


def test_log_softmax_stays_finite_for_large_scores():
    assert np.isfinite(fn.log_softmax(paddle.to_tensor([[[1e4, -1e4, 0.0]]])).numpy()).all()


def test_absolute_differences_of_each_pair_in_each_task(rng):
    a, b = rng.standard_normal((2, 3, 5)), rng.standard_normal((2, 4, 5))
    found = fn.absolute_differences(paddle.to_tensor(a), paddle.to_tensor(b)).numpy()
    assert np.array_equal(found, abs(a[:, :, None] - b[:, None]))


def test_a_tie_is_a_miss():
    scores = paddle.to_tensor([[[1.0, 1.0], [2.0, 1.0], [2.0, 1.0]]])
    assert fn.accuracy(scores, paddle.to_tensor([[0, 0, 1]])).item() == pytest.approx(1 / 3)


def test_accuracy_of_constant_scores_is_zero():
    assert fn.accuracy(paddle.zeros([1, 50, 5]), paddle.zeros([1, 50], "int64")).item() == 0


def test_list_algebra():
    theta, gradient = (
        [paddle.to_tensor([1.0, 2.0]), paddle.to_tensor([[3.0]])],
        [paddle.to_tensor([10.0, 0.0]), paddle.to_tensor([[-1.0]])],
    )
    assert [p.numpy().tolist() for p in fn.descend(theta, gradient, [0.1, 0.2])] == [
        [0.0, 2.0],
        [[pytest.approx(3.2)]],
    ]
    assert norm([paddle.to_tensor([3.0]), paddle.to_tensor([[4.0]])]) == pytest.approx(5)
    copies = fn.for_each_task(theta, 3)
    assert copies[0].shape == [3, 2] and not copies[0].stop_gradient
    assert fn.mean_over_tasks(copies)[0].numpy().tolist() == [1.0, 2.0]


def test_clip_by_task_scales_only_what_is_too_long():
    short, long = np.array([[0.3], [3.0]]), np.array([[[0.4]], [[4.0]]])
    clipped = fn.clip_by_task([paddle.to_tensor(short), paddle.to_tensor(long)], 1.0)
    assert np.allclose(clipped[0].numpy().ravel(), [0.3, 0.6]) and np.allclose(
        clipped[1].numpy().ravel(), [0.4, 0.8]
    )


def test_in_parts_equals_the_whole(rng):
    a, b, c = (paddle.to_tensor(rng.standard_normal((5, columns))) for columns in (3, 2, 2))

    def f(nested, b):
        return [p + q for p, q in nested], b * 2

    (whole, doubled), (parts, doubled_in_parts) = (
        f([(a, a), (b, c)], b),
        fn.in_parts(f, 2, [(a, a), (b, c)], b),
    )
    assert len(parts) == 2 and all(
        (p.numpy() == w.numpy()).all()
        for p, w in zip([*parts, doubled_in_parts], [*whole, doubled])
    )


@pytest.fixture(params=[1 << 8, 1 << 22], ids=["many blocks", "one block"])
def block_size(request, monkeypatch):
    monkeypatch.setattr(pooling, "CACHE", request.param)


def test_max_pool_product_is_max_pool_of_the_product(rng, block_size):
    columns, w = (
        paddle.to_tensor(rng.standard_normal(shape)) for shape in ((2, 5 * 4 * 3 + 1, 4), (2, 4, 3))
    )
    w.stop_gradient = False
    together, apart = (
        max_pool_product(columns, w, 5, 4, 3),
        fn.max_pool(paddle.matmul(columns, w), 5, 4, 3),
    )
    assert (together[:, -1].numpy() == 0).all() and relative_error(
        together[:, :-1].numpy(), apart.numpy()
    ) < 1e-12
    for a, b in zip(*(paddle.grad((y * y).sum(), [w]) for y in (together, apart))):
        assert relative_error(a.numpy(), b.numpy()) < 1e-12


def test_max_pool_product_twice(rng, block_size):
    columns = paddle.to_tensor(rng.standard_normal((2, 4 * 4 * 2, 4)))
    check_twice_differentiable(
        lambda w: max_pool_product(columns, w * w, 4, 4, 2), rng.standard_normal((2, 4, 3))
    )


def test_batch_norm_of_one_task_by_paddles_own_operation(rng):
    x, gamma, beta, g = (
        rng.standard_normal(shape) for shape in ((1, 6, 3), (1, 1, 3), (1, 1, 3), (1, 6, 3))
    )
    results = []
    for twice in (True, False):
        inputs = [paddle.to_tensor(a, stop_gradient=False) for a in (x, gamma, beta)]
        y = fn.batch_norm(*inputs, record=(record := []), twice=twice)
        results.append([y, *paddle.grad(y, inputs, [paddle.to_tensor(g)]), *record[0]])
    for a, b in zip(*results):
        assert a.shape == b.shape and relative_error(a.numpy(), b.numpy()) < 1e-10
