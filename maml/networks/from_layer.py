"""A network out of any paddle.nn.Layer: exact second derivatives, weights for each task."""

from __future__ import annotations

import copy
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MethodType
from typing import Any, NamedTuple

import paddle
from paddle import Tensor, nn

from maml import functional as fn
from maml.functional.randomness import seeded
from maml.networks.base import Network
from maml.networks.passes import Pass, testing
from maml.networks.twins import ELEMENTWISE, LAYERS, METHODS, PLAIN, WITH_TASKS
from maml.system.errors import UserError

_NOW: ContextVar[Pass | None] = ContextVar("pass", default=None)
_SWAPPING = threading.RLock()  # modules and layers belong to all threads
AGREE = 1e-3  # of the outputs' size: how far two ways to compute may be apart in float32


class Place(NamedTuple):
    """Where a layer keeps one of its parameters."""

    layer: nn.Layer
    name: str


def from_layer(layer: nn.Layer, way: int | None = None) -> LayerNetwork:
    """Make a network, as MAML and the other methods take it, out of any paddle.nn.Layer.

    The layer is copied and left as it is. Its `forward` takes images [N, C, H, W] and returns
    scores [N, way], or embeddings [N, D] for the metric methods. Layers and functions of paddle.nn
    that lack a second derivative are replaced, while the network runs, by twins that have one.
    Batch normalisation uses the statistics of each task's batch, or given ones, as in the built-in
    networks; in a layer in eval mode it uses that layer's running statistics.

    Args:
        layer (nn.Layer): the layer, however nested. Parameters with `stop_gradient` stay fixed.
        way (int | None): the outputs of a classifier; None for an encoder.

    Returns:
        LayerNetwork: its `theta` are the layer's trainable parameters, in the order of
        `layer.parameters()`.

    Raises:
        UserError: if the layer has no trainable parameters, or holds an `nn.LSTM` or the like.

    Example:
        >>> import paddle, maml
        >>> layer = paddle.nn.Sequential(
        ...     paddle.nn.Conv2D(1, 8, 3, padding=1), paddle.nn.BatchNorm2D(8), paddle.nn.ReLU(),
        ...     paddle.nn.MaxPool2D(2), paddle.nn.Flatten(), paddle.nn.Linear(8 * 7 * 7, 5))
        >>> network = maml.from_layer(layer)
        >>> list(network(paddle.zeros([2, 3, 1, 14, 14])).shape)
        [2, 3, 5]
        >>> learner = maml.MAML(network, alpha=0.1, beta=1e-3, steps=2, steps_test=2)
    """
    return LayerNetwork(layer, way)


class LayerNetwork(Network):
    """A paddle.nn.Layer as a network; see `from_layer`, which makes it.

    Attributes:
        names (list[str]): the names of `theta`, as in `layer.named_parameters()`.
        together (bool | None): whether all tasks adapt at once, or one after the other; None before
            the first forward pass decides it.
        reason (str): why tasks do not adapt at once.
    """

    def __init__(self, layer: nn.Layer, way: int | None = None):
        nn.Layer.__init__(self)
        self.way, self.features = way, 0
        self.running: list[fn.Statistics] = []
        for sublayer in layer.sublayers(include_self=True):
            if isinstance(sublayer, (nn.SimpleRNN, nn.LSTM, nn.GRU)):
                name = type(sublayer).__name__
                raise UserError(
                    f"{name} cannot take the weights of a task and has no second derivative; use "
                    f"nn.RNN(nn.{name}Cell(...))"
                )
        self.layer = copy.deepcopy(layer)
        self.sha256 = ""  # of the user's file that it comes from
        self.together: bool | None = None
        self.reason = ""
        named = {id(p): name for name, p in self.layer.named_parameters()}
        trainable = [p for p in self.layer.parameters() if not p.stop_gradient]
        if not trainable:
            raise UserError(
                f"{type(layer).__name__} has no trainable parameters; a network needs some"
            )
        self.names = [named[id(p)] for p in trainable]
        self._trainable = trainable
        self._places: list[list[Place]] = [[] for _ in trainable]
        index = {id(p): i for i, p in enumerate(trainable)}
        for sublayer in self.layer.sublayers(include_self=True):
            for name, p in sublayer._parameters.items():
                if id(p) in index:
                    self._places[index[id(p)]].append(Place(sublayer, name))
            twin = LAYERS.get(type(sublayer))
            if twin is not None and "forward" not in vars(sublayer):
                # bound, so that it is a copy's own in a copy of the network
                sublayer.forward = MethodType(_layer_dispatcher(twin), sublayer)  # type: ignore

    @property
    def apart(self) -> bool | None:  # type: ignore[override]
        """Whether images of a batch meet in batch normalisation alone; None: not yet known."""
        return self.together

    @property
    def theta(self) -> list[Tensor]:
        """The layer's trainable parameters."""
        return list(self._trainable)

    def embed(self, *arguments: Any) -> Tensor:
        """Not used: `forward` runs the layer as a whole."""
        return self.forward(*arguments)

    def forward(
        self,
        x: Any,
        params: Sequence[Tensor] | None = None,
        statistics: Sequence[fn.Statistics | fn.Team] | None = None,
        record: list[fn.Statistics] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """Return the layer's outputs [T, N, ...]; see `Network.forward`."""
        x = self.normalised(x)
        if params is None:
            params = [p.unsqueeze(0) for p in self.theta]
        if self.together is None:
            self._decide(x)
        given = None if statistics is None else list(statistics)
        run = self._at_once if self.together else self._in_turn
        return run(x, params, given, record, twice, fixed=testing())

    def represent(
        self,
        x: Any,
        params: Sequence[Tensor],
        statistics: Sequence[fn.Statistics | fn.Team] | None = None,
        record: list[fn.Statistics] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """Return the layer's outputs: where its embedding ends is known to its author alone."""
        return self.forward(x, params, statistics, record, twice)

    def _at_once(
        self,
        x: Tensor,
        params: Sequence[Tensor],
        given: list[Any] | None,
        record: list[fn.Statistics] | None,
        twice: bool,
        fixed: bool,
    ) -> Tensor:
        """Run the layer on the images of all tasks, [T * N, ...]."""
        tasks, images = x.shape[:2]
        now = Pass(tasks, twice, given, record, fixed)
        y = self._run(x.reshape([tasks * images, *x.shape[2:]]), params, now)
        return y.reshape([tasks, images, *y.shape[1:]])

    def _in_turn(
        self,
        x: Tensor,
        params: Sequence[Tensor],
        given: list[Any] | None,
        record: list[fn.Statistics] | None,
        twice: bool,
        fixed: bool,
    ) -> Tensor:
        """Run the layer on the images of one task after the other."""
        outputs, records = [], []
        for t in range(x.shape[0]):
            own = [p[min(t, p.shape[0] - 1)] for p in params]
            statistics: list[fn.Statistics | fn.Team] | None = None
            if given is not None:
                statistics = [
                    fn.Statistics(*(s[min(t, s.shape[0] - 1)].unsqueeze(0) for s in layer))
                    for layer in given
                ]
            found: list[fn.Statistics] = []
            now = Pass(1, twice, statistics, found, fixed)
            outputs.append(self._run(x[t], own, now))
            records.append(found)
        if record is not None:
            for layers in zip(*records):
                record.append(fn.Statistics(*map(paddle.concat, zip(*layers))))
        # PaddlePaddle 2.6 does not differentiate the gradient of stack
        return paddle.concat([output.unsqueeze(0) for output in outputs])

    def _run(self, x: Tensor, params: Sequence[Tensor], now: Pass) -> Tensor:
        """Run the layer with these parameters and with twins in the place of functions."""
        with _SWAPPING, _twins_for(self.layer), self._swapped(params):
            token = _NOW.set(now)
            try:
                return self.layer(x)
            finally:
                _NOW.reset(token)

    @contextmanager
    def _swapped(self, params: Sequence[Tensor]) -> Iterator[None]:
        """Put other tensors into the places of the parameters."""
        try:
            for places, tensor in zip(self._places, params):
                for layer, name in places:
                    layer._parameters[name] = tensor
            yield
        finally:
            for places, own in zip(self._places, self._trainable):
                for layer, name in places:
                    layer._parameters[name] = own

    def _decide(self, x: Tensor) -> None:
        """Find out, on a few images, whether tasks can adapt at once with the same results.

        Raises:
            UserError: if the layer does not do what a network must.
        """
        name = type(self.layer).__name__
        images = x[:1, : min(3, x.shape[1])].detach()
        # the second task's images differ, so that a mean over both tasks' images is noticed
        others = images.index_select(paddle.arange(images.shape[1] - 1, -1, -1), axis=1)
        others = others * 0.7 + 0.1 if others.is_floating_point() else others
        both = paddle.concat([images, others])
        with seeded(0):
            factors = [0.1 * paddle.randn([2, *p.shape]).astype(p.dtype) for p in self.theta]
        params = [p.detach().unsqueeze(0) * (1 + f) for p, f in zip(self.theta, factors)]
        try:
            with paddle.no_grad():
                expected = self._in_turn(both, params, None, None, False, fixed=True)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{name}.forward failed on {str(images.dtype).removeprefix('paddle.')} images "
                f"{list(images.shape[1:])}: {_line(error)}"
            ) from error
        if expected.ndim < 3 or expected.shape[1] != images.shape[1]:
            raise UserError(
                f"{name}.forward returns {list(expected.shape[1:])} for {images.shape[1]} images; "
                "return one row of scores or embeddings for each"
            )
        if self.way is not None and expected.shape[-1] != self.way:
            raise UserError(
                f"{name}.forward returns {expected.shape[-1]} scores, but there are {self.way} "
                "classes; give its last layer as many outputs"
            )
        self.features = expected.shape[-1]
        self._check_used(images)
        self.together, self.reason = self._compare(both, params, expected)

    def _check_used(self, images: Tensor) -> None:
        """Raise a `UserError` that names a parameter on which the outputs do not depend."""
        params = fn.for_each_task(self.theta, 1)
        try:
            with paddle.enable_grad():
                y = self._in_turn(images, params, None, None, False, fixed=True)
                gradient = paddle.grad(y.sum(), params, allow_unused=True)
        except RuntimeError as error:
            reason = "it changes a tensor in place" if "inplace" in str(error) else _line(error)
            raise UserError(
                f"{type(self.layer).__name__}.forward cannot be differentiated: {reason}; use "
                "operations that return a new tensor"
            ) from error
        for name, g in zip(self.names, gradient):
            if g is None:
                raise UserError(
                    f"{type(self.layer).__name__}: its forward does not use the parameter {name}; "
                    "use it, remove it, or set its stop_gradient"
                )

    def _compare(self, x: Tensor, params: Sequence[Tensor], expected: Tensor) -> tuple[bool, str]:
        """Whether all tasks at once give the expected outputs, and if not, why."""
        try:
            with paddle.no_grad():
                found = self._at_once(x, params, None, None, False, fixed=True)
        except Exception as error:  # whatever a forward does with tensors that it does not expect
            return False, f"its forward does not run on images of several tasks ({_line(error)})"
        if found.shape != expected.shape:
            return False, "its forward mixes the images of a batch"
        difference = float((found - expected).abs().max())
        if not difference <= AGREE * max(1.0, float(expected.abs().max())):
            return False, (
                "its forward mixes the images of a batch, uses a parameter by itself, or is random"
            )
        return True, ""

    def how(self) -> str:
        """Say whether tasks adapt at once or in turn, and why."""
        if self.together is None:
            return "not known before the first images"
        return "all tasks at once" if self.together else f"one task after the other: {self.reason}"


def _line(error: Exception) -> str:
    """The sentence of an error that says what happened, of a message in many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = [line for line in lines if re.match(r"\((\w+)\) ", line)]
    return (found or lines or [type(error).__name__])[-1][:200]


def _layer_dispatcher(twin: Callable) -> Callable:
    """A layer's forward: its twin during a pass, else that of its class."""

    def forward(layer: nn.Layer, *arguments: Any, **options: Any) -> Any:
        now = _NOW.get()
        if now is None:
            return type(layer).forward(layer, *arguments, **options)
        return twin(now, layer, *arguments, **options)

    return forward


def _function_dispatcher(original: Callable, twin: Callable, with_tasks: bool) -> Callable:
    """A function of PaddlePaddle's: its twin during a pass of this thread, else itself."""

    def function(*arguments: Any, **options: Any) -> Any:
        now = _NOW.get()
        if now is None:
            return original(*arguments, **options)
        token = _NOW.set(None)  # a twin is made of the original functions
        try:
            return twin(now, *arguments, **options) if with_tasks else twin(*arguments, **options)
        finally:
            _NOW.reset(token)

    function.__name__ = getattr(original, "__name__", "function")
    return function


def _replacements() -> dict[int, Callable]:
    """The dispatcher of each function that has a twin, by the function's id."""
    found: dict[int, Callable] = {}
    F = paddle.nn.functional
    for twins, with_tasks in ((WITH_TASKS, True), (ELEMENTWISE, False), (PLAIN, False)):
        for name, twin in twins.items():
            original = getattr(F, name)
            found[id(original)] = _function_dispatcher(original, twin, with_tasks)
    for name, twin in METHODS.items():
        for owner in (paddle, paddle.Tensor):
            original = getattr(owner, name, None)
            if original is not None:  # operators are the tensors' alone
                found.setdefault(id(original), _function_dispatcher(original, twin, False))
    return found


@contextmanager
def _twins_for(layer: nn.Layer) -> Iterator[None]:
    """Put the dispatchers where the layer's forward looks functions up, and take them back."""
    replacements = _replacements()
    spaces: list[Any] = [paddle.nn.functional, paddle, paddle.Tensor]
    sublayers = layer.sublayers(include_self=True)
    spaces += [sys.modules[m] for m in sorted({type(sub).__module__ for sub in sublayers})]
    spaces += sublayers  # which may keep functions as attributes
    before: list[tuple[Any, str, Any]] = []
    try:
        for space in spaces:
            for name, value in list(vars(space).items()):
                if id(value) in replacements and callable(value):
                    before.append((space, name, value))
                    setattr(space, name, replacements[id(value)])
        yield
    finally:
        for space, name, value in before:
            setattr(space, name, value)
