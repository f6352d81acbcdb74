"""The page's server: what it answers, and to whom."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import numpy as np
import pytest
from drawn import ARC, BAR, CROSS, DENSE, DOT, png
from helpers import ROOT

from maml.draw.guard import THIS_MACHINE
from maml.draw.server import LARGEST_BODY, STATIC, create, find_models
from maml.system import safe_pickle
from maml.system.errors import UserError

TORN = BAR[:-80]  # a PNG that ends too early


def teach(client, algorithm="protonet", support=((BAR,), (CROSS,))):
    answer = client.post("/adapt", json={"algorithm": algorithm, "support": support})
    assert answer.status_code == 200, answer.json
    return answer.json


def test_the_page_asks_nobody_else(client):
    answer = client.get("/")
    assert answer.status_code == 200 and "Draw a few" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for file in STATIC.iterdir():
        with client.get(f"/static/{file.name}") as served:
            assert served.status_code == 200 and served.text == file.read_text("utf-8")
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", served.text)


def test_there_is_an_icon(client):
    assert client.get("/favicon.ico").mimetype == "image/svg+xml"


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


def test_a_drawing_of_none_of_the_classes_is_told_where_the_weights_were_judged(client):
    published = create(find_models(ROOT / "checkpoints")).test_client()
    for asked, knows in ((published, True), (client, False)):
        name = teach(asked)["adapted"]
        for query, none in ((BAR, False), (ARC, knows)):
            said = asked.post("/classify", json={"adapted": name, "query": query})
            assert said.json["none"] is none


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
        ("/adapt", {"algorithm": "maml", "support": [[BAR], [DENSE]]}, "is too dense"),
        ("/picture", {"picture": "a file"}, "must be a data URL"),
        ("/picture", {"picture": "data:image/jpeg;base64,AAAA"}, "its format is not known"),
        ("/picture", {"picture": png()}, "a picture is blank"),
        ("/support.zip", {"support": [[BAR], [CROSS]], "names": ["A"]}, "a list of 2 texts"),
        ("/support.zip", {"support": [[BAR]], "names": ["A"]}, "2 to 20 classes"),
        ("/support.zip", {"support": [[BAR], [3]], "names": ["A", "B"]}, "PNG as a data URL"),
        ("/support.zip", {"support": [[BAR], [TORN]], "names": ["A", "B"]}, "not a readable PNG"),
        ("/adapt", {"algorithm": "maml", "support": [[BAR], [TORN]]}, "not a readable PNG"),
        ("/unpack", {"zip": 3}, "the zip must be a data URL"),
        ("/unpack", {"zip": BAR}, "the zip cannot be read"),
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


def test_what_cannot_be_used_is_named_and_the_others_are_learned(client):
    told = teach(client, support=[[BAR, png()], [DENSE, CROSS, DOT]])
    assert [(one["class"], one["drawing"], one["reason"]) for one in told["refused"]] == [
        (0, 1, "blank"),
        (1, 0, "dense"),
        (1, 2, "small"),
    ]
    assert [[url is None for url in of_class] for of_class in told["seen"]] == [
        [False, True],
        [True, False, True],
    ]
    assert told["adapted"] == teach(client)["adapted"]  # as if they had not been there


def test_a_class_of_which_nothing_can_be_used_is_an_error_that_names_all(client):
    answer = client.post(
        "/adapt", json={"algorithm": "protonet", "support": [[BAR, DOT], [png(), DENSE]]}
    )
    assert answer.status_code == 400
    assert [(one["class"], one["drawing"]) for one in answer.json["refused"]] == [
        (0, 1),
        (1, 0),
        (1, 1),
    ]


@pytest.mark.parametrize("query, reason", [(png(), "blank"), (DENSE, "dense"), (DOT, "small")])
def test_a_query_that_cannot_be_used_is_refused_with_a_reason(client, query, reason):
    name = teach(client)["adapted"]
    answer = client.post("/classify", json={"adapted": name, "query": query})
    assert answer.status_code == 400 and answer.json["reason"] == reason


def test_a_support_has_the_same_name_after_a_restart(client, folder):
    again = create(find_models(folder)).test_client()
    name = teach(client)["adapted"]
    unknown = again.post("/classify", json={"adapted": name, "query": BAR})
    assert unknown.status_code == 400 and unknown.json["forgotten"]
    assert teach(again)["adapted"] == name != teach(again, "maml")["adapted"]


@pytest.mark.slow
def test_forty_clients_at_once_are_all_answered_right(folder, monkeypatch):
    """Although no more than three fitted classifiers are kept."""
    monkeypatch.setattr("maml.draw.memory.FITTED", 3)
    app, together = create(find_models(folder)), threading.Barrier(40)
    orders = list(permutations((BAR, CROSS, ARC)))

    def visit(number):
        order, client = orders[number % len(orders)], app.test_client()
        together.wait()
        name = teach(client, support=[[drawing] for drawing in order])["adapted"]
        answers = []
        for query in (BAR, CROSS, ARC, BAR):
            answer = client.post("/classify", json={"adapted": name, "query": query})
            answers.append(order[np.argmax(answer.json["steps"][-1])] == query)
        return answers

    with ThreadPoolExecutor(40) as visitors:
        assert list(visitors.map(visit, range(40))) == [[True] * 4] * 40


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8041"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example:8041"},
    ],
    ids=str,
)
def test_pages_of_other_machines_are_refused(client, headers):
    for answer in (
        client.get("/models", headers=headers),
        client.post("/classify", json={"adapted": "1", "query": BAR}, headers=headers),
    ):
        assert answer.status_code == 403 and "this machine alone" in answer.json["error"]


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_this_machine_is_answered_by_any_of_its_names(client, host):
    netloc = f"[{host}]:8041" if ":" in host else f"{host}:8041"
    headers = {"Host": netloc, "Origin": f"http://{netloc}"}
    assert client.get("/models", headers=headers).status_code == 200


def test_with_a_token_everything_but_the_static_files_asks_for_it(folder):
    client = create(find_models(folder), token="secret").test_client()
    phone = {"Host": "192.168.1.7:8041"}
    for path in ("/", "/models", "/?token=wrong", "/favicon.ico"):
        assert client.get(path, headers=phone).status_code == 403
    assert client.post("/adapt", json={}, headers=phone).status_code == 403
    assert client.get("/?token=secret", headers=phone).status_code == 200
    with client.get("/static/main.js", headers=phone) as served:
        assert served.status_code == 200
    assert client.get("/models", headers={**phone, "X-Token": "secret"}).status_code == 200


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
