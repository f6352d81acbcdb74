"""The server of a page to draw on.

The user draws examples of some classes, and then a query. With every stroke of the query, the page
shows the probability of each class, which a trained learner predicts.
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

from maml.classifier.choose import candidates_in
from maml.classifier.measure import predicted
from maml.config import METRIC
from maml.data import ink
from maml.data.raw import DAMAGED
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint
from maml.training.restore import restore

ALGORITHMS = ("maml", "reptile", "protonet")
WAYS, SHOTS = range(2, 21), range(1, 6)
LARGEST_BODY = 4 << 20  # bytes of a request; 20 classes of 5 drawings need a tenth of them
REMEMBERED = 16  # adaptations that are kept


class Adaptation:
    """A learner that has adapted to a support.

    Args:
        model (Checkpoint): the weights of the learner.
        x (ndarray): images of the support, [N, 1, H, W] float32 with ink 1.
        y (ndarray): labels of the support, [N] int.

    Attributes:
        states (list): what the learner's `adapt` yields before and after each update step.
    """

    def __init__(self, model: Checkpoint, x: np.ndarray, y: np.ndarray):
        import paddle

        self.way, self.size = int(y.max()) + 1, x.shape[-1]
        self.learner = restore(model, self.way, bn="inductive")
        self.states = list(self.learner.adapt(paddle.to_tensor(x[None]), paddle.to_tensor(y[None])))

    def probabilities(self, query: np.ndarray) -> np.ndarray:
        """Return the probabilities of one query [1, H, W] by each state, [steps + 1, way]."""
        batch = query[None, None]  # 1 task with 1 query
        return np.stack([predicted(self.learner, state, batch)[0, 0] for state in self.states])


class AdaptedModels:
    """The models, and their latest adaptations.

    Args:
        models (dict[str, Checkpoint]): by algorithm, the weights.
    """

    def __init__(self, models: dict[str, Checkpoint]):
        self.models = models
        self.adapted: OrderedDict[str, Adaptation] = OrderedDict()
        # Only one computation runs at a time, since a page sends a request with every stroke.
        self.lock = threading.Lock()
        self.count = 0

    def adapt(self, algorithm: str, x: np.ndarray, y: np.ndarray) -> str:
        """Adapt to a support [N, 1, H, W] with labels [N]; return the adaptation's name."""
        with self.lock:
            adaptation = Adaptation(self.models[algorithm], x, y)
            self.count += 1
            self.adapted[str(self.count)] = adaptation
            while len(self.adapted) > REMEMBERED:
                self.adapted.popitem(last=False)
            return str(self.count)

    def classify(self, name: str, query: np.ndarray) -> np.ndarray:
        """Return the probabilities [steps + 1, way] of a query [1, H, W] by an adaptation."""
        with self.lock:
            return self.adapted[name].probabilities(query)


def find_models(*folders: str | Path) -> dict[str, Checkpoint]:
    """Return the best checkpoint of each algorithm.

    The best checkpoint is chosen by these rules, in this order:

     1. validated on the most classes;
     2. validated with the fewest support images of each class;
     3. not trained on validation characters;
     4. trained on the random split;
     5. the most accurate on validation characters.

    Args:
        *folders (str | Path): folders of checkpoints.

    Returns:
        dict[str, Checkpoint]: by algorithm, the best checkpoint.

    Raises:
        UserError: if there is no checkpoint of any algorithm.
    """

    def rank(model: Checkpoint) -> tuple[int, int, bool, bool, float]:
        return (
            model.config.way,
            -model.config.shot,
            not model.config.train_on_val,
            model.data.split == "random",
            model.accuracy,
        )

    models = sorted(candidates_in(folders)[0], key=rank)
    best = {model.config.algorithm: model for model in models}  # the last one has the best rank
    found = {algorithm: best[algorithm] for algorithm in ALGORITHMS if algorithm in best}
    if not found:
        raise UserError(
            f"{', '.join(map(str, folders)) or 'no folder of weights here'}: no checkpoint of "
            f"{', '.join(ALGORITHMS)}; train one, or name their folder by --checkpoints"
        )
    return found


def drawing(text: Any, size: int) -> np.ndarray:
    """Return a drawing that the page sent.

    Args:
        text: a PNG as a data URL.
        size (int): side of the result, in pixels.

    Returns:
        ndarray: [1, size, size] float32 with ink 1.

    Raises:
        UserError: if `text` is anything else, or if the drawing is blank.
    """
    if not isinstance(text, str) or not text.startswith("data:image/png;base64,"):
        raise UserError("a drawing must be a PNG as a data URL")
    try:
        image = Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2], validate=True)))
        if max(image.size) > 1000:
            raise UserError("a drawing may have 1000 x 1000 pixels at most")
        drawn = ink.like_omniglot(image, size)
    except ink.NoDrawing as error:
        blank = str(error) == ink.NO_INK
        raise UserError("a drawing is blank" if blank else f"a drawing {error}") from None
    except DAMAGED as error:
        reason = " ".join(str(error).split())
        raise UserError(f"a drawing is not a readable PNG ({reason})") from None
    return drawn[None].astype(np.float32) / 255


def support(stated: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the support that the page sent.

    Args:
        stated: a list of classes, each of which is a list of drawings.
        size (int): side of the images, in pixels.

    Returns:
        tuple[ndarray, ndarray]: images [N, 1, size, size] float32 with ink 1, and labels [N].

    Raises:
        UserError: if `stated` is anything else, or if a drawing is blank.
    """
    is_list = isinstance(stated, list) and len(stated) in WAYS
    if not is_list or not all(isinstance(s, list) and len(s) in SHOTS for s in stated):
        raise UserError(
            f"the support must be {WAYS[0]} to {WAYS[-1]} classes of {SHOTS[0]} to {SHOTS[-1]}"
            " drawings each"
        )
    x = np.stack([drawing(text, size) for drawings in stated for text in drawings])
    return x, np.repeat(np.arange(len(stated)), [len(drawings) for drawings in stated])


def create(models: dict[str, Checkpoint]) -> Flask:
    """Return the web application: the page, and what the page requests.

    Args:
        models (dict[str, Checkpoint]): by algorithm, the weights; see `find_models`.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    adapted_models = AdaptedModels(models)
    page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")

    def body() -> dict:
        stated = request.get_json()
        if not isinstance(stated, dict):
            raise UserError("the request must be a JSON object")
        return stated

    @app.get("/")
    def index() -> Response:
        policy = {"Content-Security-Policy": "default-src 'self' 'unsafe-inline' data:"}
        return Response(page, mimetype="text/html", headers=policy)

    @app.get("/models")
    def list_models() -> Response:
        listed = []
        for name, model in models.items():
            max_way = WAYS[-1] if name in METRIC else min(WAYS[-1], model.config.way)
            listed.append({"algorithm": name, "checkpoint": model.path.name, "most": max_way})
        return jsonify(listed)

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
        query = drawing(stated.get("query"), adapted_models.adapted[name].size)
        steps = adapted_models.classify(name, query)
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
