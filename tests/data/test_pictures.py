"""Pictures of one's own as a support and as queries."""

import json
import shutil

import pytest
from helpers import command, dense_grid, train
from PIL import Image, ImageDraw

from maml.data import ink, pictures
from maml.data.form import Form
from maml.system.errors import UserError


@pytest.fixture
def mine(tmp_path):
    """Two classes of two pictures, and queries."""

    def bar(angle, name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("L", (200, 200), 255)
        pen = ImageDraw.Draw(image)
        pen.line([(100, 20), (100, 180)], fill=0, width=7)
        if angle:
            pen.line([(20, 100), (180, 100)], fill=0, width=7)
        image.rotate(angle or 4, fillcolor=255).save(path)

    for name in ("support/bar/1.png", "support/bar/2.jpg", "query/bar/a.png"):
        bar(0, name)
    for name in ("support/cross/1.png", "support/cross/2.png", "query/cross/b.png", "query/c.png"):
        bar(10, name)
    return tmp_path


@pytest.fixture(scope="module")
def checkpoints(data, tmp_path_factory):
    """A ProtoNet and a two-way MAML, hardly trained."""
    out = tmp_path_factory.mktemp("checkpoints")
    rare = ["--meta_iterations", 30, "--print_every", 100, "--val_every", 100, "--filters", 64]
    for flags in (
        ["--algorithm", "protonet", "--train_way", 10, "--meta_batch_size", 1],
        ["--way", 2, "--meta_batch_size", 4, "--inner_steps_test", 3],
    ):
        train(data, out, *rare, *flags)
    return out / "checkpoints"


def evaluate(checkpoints, mine, *flags, status=0, support="support", query="query"):
    places = ["--support", mine / support, "--query-images", mine / query]
    return command("evaluate", "--checkpoints", checkpoints, *places, *flags, status=status)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["protonet", "maml"])
def test_own_pictures_are_told_apart(checkpoints, mine, algorithm):
    done = evaluate(
        checkpoints, mine, "--algorithm", algorithm, "--json", "--figures", mine / "figures"
    )
    report = json.loads(done.stdout)
    assert (
        report["classes"] == ["bar", "cross"]
        and report["accuracy"] == 1
        and report["bn"] == "inductive"
    )
    assert [query["class"] for query in report["queries"]] == ["cross", "bar", "cross"]
    assert all(abs(sum(query["probabilities"].values()) - 1) < 1e-3 for query in report["queries"])
    with Image.open(mine / "figures" / "pictures.png") as figure:
        assert figure.size[0] > 200
    text = evaluate(checkpoints, mine, "--algorithm", algorithm).stdout
    assert "c.png" in text and "cross" in text and "accuracy: 100.0%" in text


@pytest.mark.slow
def test_own_pictures_that_cannot_be_used_are_named(checkpoints, mine):
    def complaint(**places):
        error = evaluate(checkpoints, mine, "--algorithm", "protonet", status=2, **places).stderr
        assert error.splitlines()[-1].startswith("error: ") and error.count("error: ") == 1
        return error

    assert "no such folder" in complaint(support="nowhere")
    assert "at least 2 classes, found 0" in complaint(support="support/bar")
    (mine / "support" / "empty").mkdir()
    assert "empty: has no pictures" in complaint()
    (mine / "support" / "empty").rmdir()
    (mine / "nothing").mkdir()
    assert "no pictures" in complaint(query="nothing")
    assert "nowhere: no such file or folder" in complaint(query="nowhere")
    assert "belong together" in command("evaluate", "--support", mine, status=2).stderr


def test_more_classes_than_a_classifier_has_are_refused(checkpoints, mine):
    shutil.copytree(mine / "support" / "bar", mine / "support" / "third")
    assert (
        "no checkpoint for way 3"
        in evaluate(checkpoints, mine, "--algorithm", "maml", status=2).stderr
    )
    path = checkpoints / "maml_2w1s.pkl"
    assert (
        "was trained for way 2"
        in evaluate(checkpoints, mine, "--checkpoint", path, status=2).stderr
    )


def test_reading_an_unsorted_set_keeps_labels(mine):
    found = pictures.read_support(pictures.classes(mine / "support"), Form(28))
    assert (
        found.classes == ["bar", "cross"]
        and found.y.tolist() == [0, 0, 1, 1]
        and found.x.shape == (4, 1, 28, 28)
    )
    with pytest.raises(UserError, match="no pictures .*bar: is passed over, for no class has"):
        pictures.read_queries([mine / "support"], ["other"], Form(28))


def test_pictures_that_cannot_be_used_are_skipped_with_the_reason(mine):
    (mine / "support/bar/0.png").write_text("no picture")
    dense_grid().save(mine / "support/cross/9.png")
    found = pictures.read_support(pictures.classes(mine / "support"), Form(28))
    assert found.y.tolist() == [0, 0, 1, 1] and len(found.paths) == len(found.x) == 4
    assert [path.name for path, _ in found.skipped] == ["0.png", "9.png"]
    reasons = [reason for _, reason in found.skipped]
    assert reasons[0] == "is not a readable picture (its format is not known)"
    assert reasons[1].startswith("is too dense")
    with pytest.raises(ink.NoDrawing, match="bar/0.png: is not a readable picture"):
        pictures.read(mine / "support/bar/0.png", Form(28))


@pytest.mark.parametrize("broken", ["truncated", "folder", "forbidden"])
def test_files_that_cannot_be_read_have_one_clean_reason(mine, broken, monkeypatch):
    path = mine / "query/bar/a.png"
    if broken == "truncated":
        path.write_bytes(path.read_bytes()[:-60])
    elif broken == "folder":
        path.unlink()
        path.mkdir()
    else:

        def refuse(*_):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(ink.NoDrawing) as error:
        pictures.read(path, Form(28))
    said = str(error.value)
    assert said.startswith(f"{path}: is not a readable picture (") and said.count("a.png") == 1
    assert "Errno" not in said
