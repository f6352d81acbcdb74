import base64
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from maml.config import Config
from maml.draw.server import ALGORITHMS, LARGEST_BODY, REMEMBERED, create, find_models
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training.build import build_learner


def png(*lines, size=168):
    image = Image.new("RGB", (size, size), "white")
    for line in lines:
        ImageDraw.Draw(image).line(line, fill="black", width=8)
    memory = io.BytesIO()
    image.save(memory, "png")
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode()


BAR, CROSS = png([(84, 20), (84, 150)]), png([(20, 20), (150, 150)], [(20, 150), (150, 20)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Untrained checkpoints of all three methods."""
    out = tmp_path_factory.mktemp("checkpoints")
    data = {
        "source": "other",
        "split": "random",
        "seed": 0,
        "image_size": 28,
        "polarity": "ink high",
        "pillow": "11",
        "sha256": {"train": "", "val": ""},
        "rows": {"train": [], "val": []},
    }
    for algorithm in ALGORITHMS:
        config = {"algorithm": algorithm, "way": 3}
        if algorithm != "protonet":
            config["inner_steps_test"] = 4
        if algorithm == "reptile":
            config["inner_batch_test"] = 2
        made = build_learner(Config(**config))
        running = []
        if algorithm == "protonet":
            running = [
                a
                for _ in range(4)
                for a in (np.zeros((1, 1, 64), np.float32), np.ones((1, 1, 64), np.float32))
            ]
        state = {
            "weights": [p.numpy() for p in made.meta_parameters],
            "running": running,
            "config": config,
            "data": data,
            "best": {"accuracy": 0.5, "epoch": 1},
            "history": [],
        }
        safe_pickle.save(state, out / f"{algorithm}.pkl")
    return out


@pytest.fixture
def client(folder):
    return create(find_models(folder)).test_client()


def test_the_page_asks_nobody_else(client):
    answer = client.get("/")
    assert answer.status_code == 200 and "Draw a few" in answer.text
    assert (
        "http" not in answer.text.replace("http-equiv", "")
        and "'self'" in answer.headers["Content-Security-Policy"]
    )


def test_models_are_listed_with_the_classes_they_can_tell(client):
    assert {m["algorithm"]: m["most"] for m in client.get("/models").json} == {
        "maml": 3,
        "reptile": 3,
        "protonet": 20,
    }


@pytest.mark.parametrize("algorithm, steps", [("maml", 5), ("reptile", 5), ("protonet", 1)])
def test_a_query_is_told_after_each_step(client, algorithm, steps):
    name = client.post(
        "/adapt", json={"algorithm": algorithm, "support": [[BAR], [CROSS, CROSS]]}
    ).json["adapted"]
    for query, k in ((BAR, 0), (CROSS, 1)):
        chances = np.array(
            client.post("/classify", json={"adapted": name, "query": query}).json["steps"]
        )
        assert (
            chances.shape == (steps, 2)
            and np.allclose(chances.sum(1), 1, atol=1e-3)
            and chances[-1].argmax() == k
        )


@pytest.mark.parametrize(
    "path, body, message",
    [
        ("/adapt", {"algorithm": "magic", "support": [[BAR], [CROSS]]}, "algorithm must be one of"),
        ("/adapt", {"algorithm": "maml", "support": [[BAR]]}, "2 to 20 classes"),
        ("/adapt", {"algorithm": "maml", "support": [[BAR], []]}, "1 to 5 drawings"),
        ("/adapt", {"algorithm": "maml", "support": [[BAR]] * 4}, "was trained for way 3"),
        ("/adapt", {"algorithm": "maml"}, "the support must be"),
        ("/adapt", {"algorithm": "maml", "support": [[BAR], [3]]}, "PNG as a data URL"),
        (
            "/adapt",
            {"algorithm": "maml", "support": [[BAR], ["data:image/png;base64,AAAA"]]},
            "not a readable PNG",
        ),
        ("/adapt", {"algorithm": "maml", "support": [[BAR], [png()]]}, "is blank"),
        ("/adapt", {"algorithm": "maml", "support": [[BAR], [png(size=1001)]]}, "1000 x 1000"),
        ("/adapt", [1], "must be a JSON object"),
        ("/classify", {"adapted": "17", "query": BAR}, "not known"),
        ("/classify", {"adapted": {}, "query": BAR}, "not known"),
    ],
)
def test_malformed_requests_get_400_and_a_sentence(client, path, body, message):
    answer = client.post(path, json=body)
    assert (
        answer.status_code == 400
        and message in answer.json["error"]
        and "\n" not in answer.json["error"]
    )


def test_other_mistakes_get_a_4xx_and_a_sentence(client):
    answers = [
        client.post("/adapt", data="x" * (LARGEST_BODY + 1), content_type="application/json"),
        client.post("/adapt", data="{"),
        client.post("/adapt", data="{", content_type="application/json"),
        client.get("/adapt"),
        client.get("/etc/passwd"),
    ]
    assert [a.status_code for a in answers] == [413, 415, 400, 405, 404] and all(
        a.json["error"] for a in answers
    )


def test_old_supports_are_forgotten(client):
    names = [
        client.post("/adapt", json={"algorithm": "protonet", "support": [[BAR], [CROSS]]}).json[
            "adapted"
        ]
        for _ in range(REMEMBERED + 1)
    ]
    assert client.post("/classify", json={"adapted": names[0], "query": BAR}).status_code == 400
    assert client.post("/classify", json={"adapted": names[1], "query": BAR}).status_code == 200


def test_a_folder_without_models_is_refused(tmp_path):
    with pytest.raises(UserError, match="no checkpoint of maml, reptile, protonet"):
        find_models(tmp_path)


def test_the_page_has_the_best_model_of_each_method(folder, tmp_path):
    state = safe_pickle.load(folder / "maml.pkl")
    for name, accuracy, changes in (
        ("a", 0.95, {"way": 5}),
        ("b", 0.6, {}),
        ("c", 0.8, {}),
        ("d", 0.75, {}),
        ("e", 0.9, {"shot": 5}),
        ("f", 0.9, {"train_on_val": True}),
    ):
        changes = {"way": 20, **changes}
        safe_pickle.save(
            {
                **state,
                "config": {**state["config"], **changes},
                "best": {"accuracy": accuracy, "epoch": 1},
            },
            tmp_path / f"{name}.pkl",
        )
    assert {name: model.path.name for name, model in find_models(tmp_path).items()} == {
        "maml": "c.pkl"
    }
