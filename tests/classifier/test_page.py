"""docs/classifier.md: its server is the one of examples/, and answers."""

import importlib.util
import io
import re

import pytest
from helpers import ROOT
from PIL import Image, ImageDraw

PAGE = (ROOT / "docs" / "classifier.md").read_text(encoding="utf-8")
SERVER = ROOT / "examples" / "server.py"


def sketch(kind, slant=0):
    """A bar, a cross or a circle as the bytes of a JPEG."""
    image, file = Image.new("L", (200, 200), 255), io.BytesIO()
    pen = ImageDraw.Draw(image)
    if kind == "circle":
        pen.ellipse([40, 40, 160, 160], outline=0, width=7)
    else:
        pen.line([(100, 20), (100, 180)], fill=0, width=7)
    if kind == "cross":
        pen.line([(20, 100), (180, 100)], fill=0, width=7)
    image.rotate(slant, fillcolor=255).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def client(tmp_path, monkeypatch):
    """The server, in a folder with pictures of two classes."""
    for kind in ("bar", "cross"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
        for n in (1, 2):
            (tmp_path / "mine" / kind / f"{n}.jpg").write_bytes(sketch(kind, 6 * n - 9))
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("server", SERVER)
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    return server.app.test_client()


def ask(client, picture):
    answer = client.post("/classify", data={"picture": (io.BytesIO(picture), "a.jpg")})
    return answer.status_code, answer.json


def test_the_server_of_the_page_answers(client):
    for kind in ("bar", "cross"):
        status, said = ask(client, sketch(kind))
        assert status == 200 and said["class"] == kind
        assert said["probabilities"][kind] > 0.5 and len(said["probabilities"]) == 2
    status, said = ask(client, sketch("circle"))
    assert status == 200 and said["class"] is None
    paper = io.BytesIO()
    Image.new("L", (200, 200), 255).save(paper, "JPEG")
    status, said = ask(client, paper.getvalue())
    assert status == 400 and "shows no ink" in said["error"]


def test_the_page_shows_the_server_and_ten_lines():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert SERVER.read_text(encoding="utf-8") in blocks
    lines = [line for line in blocks[0].splitlines() if line and "import" not in line]
    assert len(lines) <= 10
