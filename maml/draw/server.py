"""A page to draw on: examples of some classes, then a query, and at once what a trained learner
thinks of it.

python -m maml.draw starts it on this machine alone.
"""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response, jsonify, request
from PIL import Image
from werkzeug.exceptions import HTTPException

from maml.classifier.measure import predicted
from maml.config import METRIC
from maml.data import ink
from maml.data.raw import DAMAGED
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint, read
from maml.training.restore import restore

ALGORITHMS = ("maml", "reptile", "protonet")
WAYS, SHOTS = range(2, 21), range(1, 6)
LARGEST_BODY = 4 << 20  # bytes; 20 classes of 5 drawings are a tenth of it
REMEMBERED = 16  # supports that were adapted to


class Adaptation:
    """One learner's states after each update step on one support."""

    def __init__(self, model: Checkpoint, x: np.ndarray, y: np.ndarray):
        import paddle

        self.way, self.size = int(y.max()) + 1, x.shape[-1]
        self.learner = restore(model, self.way, bn="inductive")
        self.states = list(self.learner.adapt(paddle.to_tensor(x[None]), paddle.to_tensor(y[None])))

    def probabilities(self, query: np.ndarray) -> np.ndarray:
        """Probabilities [steps + 1, way] of one query [1, H, W]."""
        return np.stack(
            [predicted(self.learner, state, query[None, None])[0, 0] for state in self.states]
        )


class AdaptedModels:
    """The models that there are, and what they were lately adapted to."""

    def __init__(self, models: dict[str, Checkpoint]):
        self.models = models
        self.adapted: OrderedDict[str, Adaptation] = OrderedDict()
        self.lock = (
            threading.Lock()
        )  # one computation at a time: a page asks again with every stroke
        self.count = 0

    def adapt(self, algorithm: str, x: np.ndarray, y: np.ndarray) -> str:
        """Adapt to a support [N, 1, H, W] with labels [N]; the name to ask by."""
        with self.lock:
            made = Adaptation(self.models[algorithm], x, y)
            self.count += 1
            self.adapted[str(self.count)] = made
            while len(self.adapted) > REMEMBERED:
                self.adapted.popitem(last=False)
            return str(self.count)

    def classify(self, name: str, query: np.ndarray) -> np.ndarray:
        with self.lock:
            return self.adapted[name].probabilities(query)


def find_models(folder: str | Path) -> dict[str, Checkpoint]:
    """The best checkpoint of each algorithm in `folder`; a `UserError` where there is none at all.

    Best is what was validated on the most classes by the fewest shots: of several, what was not
    trained on validation characters, then what is of the random split, as most are, then the most
    accurate.
    """

    def place(model: Checkpoint) -> tuple[int, int, bool, bool, float]:
        return (
            model.config.way,
            -model.config.shot,
            not model.config.train_on_val,
            model.data.split == "random",
            model.accuracy,
        )

    models = [
        model
        for model in map(read, sorted(Path(folder).glob("*.pkl")))
        if model.config.algorithm in ALGORITHMS
    ]
    found = {model.config.algorithm: model for model in sorted(models, key=place)}
    if not found:
        raise UserError(
            f"{folder}: no checkpoint of {', '.join(ALGORITHMS)}; train one, or name their folder"
            " by --checkpoints"
        )
    return {algorithm: found[algorithm] for algorithm in ALGORITHMS if algorithm in found}


def drawing(text: Any, size: int) -> np.ndarray:
    """A PNG as a data URL -> [1, size, size], ink 1; a `UserError` where it is none, or blank."""
    if not isinstance(text, str) or not text.startswith("data:image/png;base64,"):
        raise UserError("a drawing must be a PNG as a data URL")
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2], validate=True)))
        if max(image.size) > 1000:
            raise UserError("a drawing may have 1000 x 1000 pixels at most")
        drawn = ink.like_omniglot(image, size)
    except DAMAGED as error:
        raise UserError(
            f"a drawing is not a readable PNG ({' '.join(str(error).split())})"
        ) from None
    if not drawn.any():
        raise UserError("a drawing is blank")
    return drawn[None].astype(np.float32) / 255


def support(stated: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A list of drawings for each class -> images [N, 1, size, size] and labels [N]."""
    if (
        not isinstance(stated, list)
        or len(stated) not in WAYS
        or not all(isinstance(s, list) and len(s) in SHOTS for s in stated)
    ):
        raise UserError(
            f"the support must be {WAYS[0]} to {WAYS[-1]} classes of {SHOTS[0]} to {SHOTS[-1]}"
            " drawings each"
        )
    x = np.stack([drawing(text, size) for drawings in stated for text in drawings])
    return x, np.repeat(np.arange(len(stated)), [len(drawings) for drawings in stated])


def create(models: dict[str, Checkpoint]) -> Flask:
    """The application: one page, and two questions that it asks."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    adapted_models, page = (
        AdaptedModels(models),
        (Path(__file__).parent / "page.html").read_text(encoding="utf-8"),
    )

    def body() -> dict:
        stated = request.get_json()
        if not isinstance(stated, dict):
            raise UserError("the request must be a JSON object")
        return stated

    @app.get("/")
    def index() -> Response:
        return Response(
            page,
            mimetype="text/html",
            headers={"Content-Security-Policy": "default-src 'self' 'unsafe-inline' data:"},
        )

    @app.get("/models")
    def list_models() -> Response:
        return jsonify(
            [
                {
                    "algorithm": name,
                    "checkpoint": model.path.name,
                    "most": WAYS[-1] if name in METRIC else min(WAYS[-1], model.config.way),
                }
                for name, model in models.items()
            ]
        )

    @app.post("/adapt")
    def adapt() -> Response:
        stated = body()
        model = models.get(str(stated.get("algorithm")))
        if model is None:
            raise UserError(f"the algorithm must be one of {', '.join(models)}")
        x, y = support(stated.get("support"), model.data.image_size)
        return jsonify({"adapted": adapted_models.adapt(model.config.algorithm, x, y)})

    @app.post("/classify")
    def classify() -> Response:
        stated = body()
        name = stated.get("adapted")
        if not isinstance(name, str) or name not in adapted_models.adapted:
            raise UserError("this support is not known, or no longer; draw on")
        steps = adapted_models.classify(
            name, drawing(stated.get("query"), adapted_models.adapted[name].size)
        )
        return jsonify({"steps": np.round(steps, 4).tolist()})

    @app.errorhandler(UserError)
    def refuse(error: UserError) -> tuple[Response, int]:
        return jsonify({"error": str(error)}), 400

    @app.errorhandler(400)
    @app.errorhandler(404)
    @app.errorhandler(405)
    @app.errorhandler(413)
    @app.errorhandler(415)
    def decline(error: HTTPException) -> tuple[Response, int]:
        reasons = {
            413: f"the request is larger than {LARGEST_BODY >> 20} MB",
            415: "the request must be of type application/json",
        }
        code = error.code or 400
        return jsonify({"error": reasons.get(code, error.description)}), code

    return app
