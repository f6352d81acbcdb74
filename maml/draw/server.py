"""The server of a page to draw on.

The user draws examples of some classes, and then a query. With every stroke of the query, the page
shows the probability of each class, which a trained learner predicts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from maml.classifier import candidates
from maml.classifier.candidates import Candidate
from maml.classifier.choose import candidates_in
from maml.config import METRIC
from maml.draw import archive, drawings, guard
from maml.draw.memory import Forgotten, Memory
from maml.draw.support import WAYS, Reader, Unusable, check_names, check_support
from maml.system.errors import UserError
from maml.training.checkpoint import Checkpoint

ALGORITHMS = ("maml", "reptile", "protonet")
LARGEST_BODY = 4 << 20  # bytes of a request; 20 classes of 5 drawings need a tenth of them
STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",  # the address may hold a token
    "X-Content-Type-Options": "nosniff",
}


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

    def rank(model: Candidate) -> tuple[int, int, bool, bool, float]:
        return (
            model.config.way,
            -model.config.shot,
            not model.config.train_on_val,
            model.split == "random",
            model.accuracy,
        )

    every, passed_over = candidates_in(folders)
    best_first = sorted(every, key=rank)[::-1]
    found = {}
    for name in ALGORITHMS:
        of_method = (model for model in best_first if model.config.algorithm == name)
        if chosen := candidates.first(of_method, passed_over):
            found[name] = chosen
    if not found:
        raise UserError(
            f"{', '.join(map(str, folders)) or 'no folder of weights here'}: no checkpoint of "
            f"{', '.join(ALGORITHMS)}; train one, or name their folder by --checkpoints"
        )
    return found


def create(models: dict[str, Checkpoint], token: str | None = None) -> Flask:
    """Return the web application: the page, and what the page requests.

    Args:
        models (dict[str, Checkpoint]): by algorithm, the weights; see `find_models`.
        token (str | None): what requests must know; see `guard.protect`.
    """
    app = Flask(__name__, static_folder=str(STATIC))
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    guard.protect(app, token)
    memory, reader = Memory(models), Reader()
    page, icon = ((STATIC / name).read_text("utf-8") for name in ("page.html", "icon.svg"))

    def body() -> dict:
        stated = request.get_json()
        if not isinstance(stated, dict):
            raise UserError("the request must be a JSON object")
        return stated

    @app.get("/")
    def index() -> Response:
        return Response(page, mimetype="text/html")

    @app.get("/favicon.ico")
    def favicon() -> Response:
        return Response(icon, mimetype="image/svg+xml")

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
        read = reader.support(stated.get("support"), model.data.form)
        name = memory.adapt(model.config.algorithm, read.images, read.labels)
        return jsonify({"adapted": name, "seen": read.seen, "refused": read.refused})

    @app.post("/classify")
    def classify() -> Response:
        stated = body()
        name = str(stated.get("adapted"))
        form = memory.form(name)
        query = reader.drawing(stated.get("query"), form)
        found = memory.classify(name, query)
        steps = np.round(found.steps, 4).tolist()
        seen = drawings.seen(query, form)
        return jsonify({"seen": seen, "steps": steps, "none": found.none})

    @app.post("/picture")
    def picture() -> Response:
        return jsonify({"drawing": drawings.read_picture(body().get("picture"))})

    @app.post("/support.zip")
    def download() -> Response:
        stated = body()
        support: Any = stated.get("support")
        names: Any = stated.get("names")
        check_support(support)
        check_names(names, support)
        return Response(archive.pack(names, support), mimetype="application/zip")

    @app.post("/unpack")
    def unpack() -> Response:
        return jsonify(archive.unpack(body().get("zip"))._asdict())

    @app.errorhandler(UserError)
    def refuse(error: UserError) -> tuple[Response, int]:
        told: dict[str, Any] = {"error": str(error)}
        if isinstance(error, drawings.Refused):
            told["reason"] = error.reason
        elif isinstance(error, Unusable):
            told["refused"] = error.refused
        elif isinstance(error, Forgotten):
            told["forgotten"] = True  # the page teaches it again
        return jsonify(told), 403 if isinstance(error, guard.Stranger) else 400

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

    @app.after_request
    def confine(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    return app
