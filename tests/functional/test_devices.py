"""On a GPU, which is simulated: tables of its own, and more at once."""

import paddle

from maml import functional as fn
from maml.functional.devices import ON_A_GPU, at_once, remembered


def test_a_table_is_made_once_for_each_device(monkeypatch):
    made = []

    @remembered(4)
    def table(size, *, turned=False):
        made.append((size, turned))
        return object()

    first = table(3, turned=True)
    assert table(3, turned=True) is first and table(3) is not first
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    other = table(3, turned=True)
    assert other is not first and table(3, turned=True) is other
    assert made == [(3, True), (3, False), (3, True)]


def test_more_tasks_at_once_give_the_same_in_fewer_calls(monkeypatch):
    x, calls = paddle.arange(40, dtype="float32").reshape([40, 1]), []

    def twice(part):
        calls.append(part.shape[0])
        return 2 * part

    expected = fn.in_parts(twice, 4, x).tolist()
    assert at_once(4) == 4 and calls == [4] * 10
    calls.clear()
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    assert fn.in_parts(twice, 2, x).tolist() == expected
    assert at_once(2) == 2 * ON_A_GPU and calls == [32, 8]
