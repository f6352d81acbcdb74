"""A classifier as a model for Paddle Inference, or for ONNX: a function from images to scores."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn
from paddle.static import InputSpec

from maml import functional as fn
from maml.algorithms.gradient import GradientLearner
from maml.algorithms.learner import Classifier
from maml.algorithms.metric import MetricLearner
from maml.algorithms.reptile import Reptile
from maml.data.form import Form
from maml.networks.plain import plain_layer
from maml.system.errors import UserError

NAME = "model"
LABELS = "labels.json"


class MetricModel(nn.Layer):
    """An encoder, and the comparison of its embeddings with what was learned of a support."""

    def __init__(self, learner: MetricLearner, learned: Any):
        super().__init__()
        self.encoder, self.head = encoder_layer(learner), learner.head
        self.compare = learner.scores
        self.learned = [f"learned{k}" for k in range(len(learned))]
        for name, tensor in zip(self.learned, learned):
            self.register_buffer(name, tensor.detach())

    def forward(self, x: Tensor) -> Tensor:
        learned = tuple(getattr(self, name) for name in self.learned)
        return self.compare(learned, self.encoder(x).unsqueeze(0))[0]


class WithSupport(nn.Layer):
    """A network that sees each image together with the support: inductive Reptile."""

    def __init__(self, body: nn.Layer, support: Tensor):
        super().__init__()
        self.body = body
        self.register_buffer("support", support.detach())

    def forward(self, x: Tensor) -> Tensor:
        each = x.unsqueeze(1)  # [N, 1, 1, H, W]
        support = paddle.zeros_like(each) + self.support.unsqueeze(0)  # of each image
        groups = paddle.concat([support, each], axis=1)  # [N, N_S + 1, 1, H, W]
        scores = self.body(groups.flatten(0, 1))
        return scores.reshape([-1, groups.shape[1], scores.shape[-1]])[:, -1]


class Scores(nn.Layer):
    """Scores in the order of the labels, divided by the temperature that calibrates them."""

    def __init__(self, model: nn.Layer, columns: list[int], temperature: float):
        super().__init__()
        self.model, self.temperature = model, temperature
        self.register_buffer("columns", paddle.to_tensor(np.array(columns, "int32")))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).index_select(self.columns, axis=1) / self.temperature


def encoder_layer(learner: MetricLearner) -> nn.Layer:
    """Return the encoder as a layer, from images [N, 1, H, W] to embeddings [N, D]."""
    return plain_layer(learner.network, learner.network.theta, learner.network.running)


def fitted_layer(classifier: Classifier, adapted: Any) -> nn.Layer:
    """Return a fitted classifier as a layer, from images [N, 1, H, W] to scores [N, way].

    Raises:
        UserError: if its answers depend on more than the image.
    """
    if isinstance(classifier, GradientLearner) and not classifier.transductive:
        network, theta = classifier.network, [p[0] for p in adapted.theta]
        theta[-2:] = [p / classifier.temperature for p in theta[-2:]]  # of the classifier
        support = adapted.support_x
        if isinstance(classifier, Reptile):
            group = support.shape[1] + 1
            return WithSupport(plain_layer(network, theta, group=group), support[0])
        statistics: list[fn.Statistics] = []
        with paddle.no_grad():
            network(support, adapted.theta, record=statistics)
        return plain_layer(network, theta, statistics)
    if isinstance(classifier, MetricLearner) and not classifier.transductive:
        if not getattr(classifier, "refine", 0):
            return MetricModel(classifier, adapted)
    raise UserError(
        "what answers by all queries together, or by a classifier that is tuned when it is asked, "
        "cannot be exported; drop bn, refine or finetune"
    )


def write(
    layer: nn.Layer, folder: str | Path, form: Form, described: dict[str, Any], onnx: bool
) -> None:
    """Write a layer for Paddle Inference, and what is to know of it beside it.

    Args:
        layer (nn.Layer): takes images [N, C, H, W] to a tensor [N, ...].
        folder (str | Path): it gets model.json (model.pdmodel with PaddlePaddle 2.6),
            model.pdiparams and labels.json.
        form (Form): what the images look like.
        described (dict): what labels.json says beside the form of the images.
        onnx (bool): write model.onnx too, which needs paddle2onnx.
    """
    layer.eval()
    path, side = os.path.join(folder, NAME), form.image_size
    images = [InputSpec([None, form.channels, side, side], "float32", "images")]
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        paddle.jit.save(layer, path, input_spec=images)
        inverted = form.high_ink and form.ink != "light"  # of pictures with dark ink
        seen = {"image_size": side, "channels": form.channels, "inverted": inverted}
        text = json.dumps({**seen, **described}, ensure_ascii=False, indent=1)
        Path(folder, LABELS).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from None
    if onnx:
        try:
            import paddle2onnx  # noqa: F401
        except ImportError:
            raise UserError(
                "ONNX needs paddle2onnx: python -m pip install paddle2onnx onnxruntime"
            ) from None
        paddle.onnx.export(layer, path, input_spec=images, opset_version=13)
