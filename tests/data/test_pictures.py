import json
import shutil

import numpy as np
import pytest
from helpers import command, train
from PIL import Image, ImageDraw

from maml.data import ink, pictures
from maml.system.errors import UserError


def drawn(
    ink=(0, 0, 0),
    paper=(255, 255, 255),
    size=(400, 300),
    at=(60, 40),
    scale=1.0,
    mode="RGB",
    width=9,
):
    """A picture of a letter like h."""
    image = Image.new(mode, size, paper)
    pen = ImageDraw.Draw(image)
    place = [
        (at[0] + scale * x, at[1] + scale * y)
        for x, y in ((0, 0), (0, 120), (0, 60), (50, 50), (60, 120))
    ]
    pen.line(place[:2], fill=ink, width=width)
    pen.line(place[2:], fill=ink, width=width, joint="curve")
    return image


def overlap(a, b):
    """Of two drawings, ink in both over ink in either, with a pixel of tolerance."""
    near = [
        np.max([np.roll(x > 127, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
        for x in (a, b)
    ]
    return ((a > 127) & near[1]).sum() / (a > 127).sum(), ((b > 127) & near[0]).sum() / (
        b > 127
    ).sum()


@pytest.fixture(scope="module")
def plain():
    return ink.like_omniglot(drawn(), 105)


def test_ink_is_centred_of_omniglots_size_and_thin(plain):
    rows, columns = (
        np.flatnonzero((plain > 127).any(axis=1)),
        np.flatnonzero((plain > 127).any(axis=0)),
    )
    assert (
        abs(len(rows) - ink.INK_SIZE) <= 4
        and abs(rows.mean() - 52) < 2
        and abs(columns.mean() - 52) < 2
    )
    assert 200 < (plain > 127).sum() < 900
    assert plain.dtype == np.uint8 and plain.shape == (105, 105)


@pytest.mark.parametrize(
    "change",
    [
        lambda: drawn(ink=(255, 255, 255), paper=(0, 0, 0)),
        lambda: drawn(ink=(20, 40, 120), paper=(235, 225, 200)),
        lambda: drawn(ink=255, paper=0, mode="L"),
        lambda: drawn(ink=(0, 0, 0, 255), paper=(0, 0, 0, 0), mode="RGBA"),
        lambda: drawn().convert("P"),
        lambda: drawn().convert("1"),
        lambda: drawn(size=(1600, 1200), at=(700, 300), scale=4, width=34),
        lambda: drawn(size=(300, 300), at=(150, 120)),
        lambda: drawn(width=5),
    ],
    ids=[
        "white on black",
        "blue on yellow",
        "grey",
        "transparent",
        "palette",
        "bits",
        "large",
        "off centre",
        "thin",
    ],
)
def test_any_size_place_and_polarity_gives_the_same_drawing(plain, change):
    assert min(overlap(ink.like_omniglot(change(), 105), plain)) > 0.85


def photo(rng, image):
    """`image` as a camera sees it: dim, a shadow across it, noise, and specks of dirt."""
    values = np.asarray(image.convert("L"), float)
    height, width = values.shape
    shadow = np.linspace(0.5, 1, width) * np.linspace(0.8, 1, height)[:, None]
    values = (30 + 0.75 * values) * shadow + rng.normal(0, 4, values.shape)
    for _ in range(4):
        i, j = rng.integers(height - 3), rng.integers(width - 3)
        values[i : i + 2, j : j + 2] = 20
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def test_a_photograph_with_shadow_noise_and_dirt(plain, rng):
    assert (
        min(
            overlap(
                ink.like_omniglot(
                    photo(rng, drawn(size=(800, 600), at=(250, 150), scale=2, width=18)), 105
                ),
                plain,
            )
        )
        > 0.85
    )


def test_a_photograph_that_was_taken_on_its_side(plain, tmp_path):
    turned = drawn().transpose(Image.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert min(overlap(255 * pictures.read(tmp_path / "a.jpg", 105)[0], plain)) > 0.85


def test_blank_paper_has_no_ink(rng):
    assert not ink.find_ink(photo(rng, Image.new("L", (300, 200), 230))).any()
    assert not ink.like_omniglot(Image.new("L", (300, 200), 230), 28).any()


def test_otsu_on_two_groups():
    assert 20 < ink.otsu(np.array([10, 20, 20, 200, 210])) < 200


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
    rare = ["--meta_iterations", 30, "--print_every", 100, "--val_every", 100]
    for flags in (
        ["--algorithm", "protonet", "--train_way", 10, "--meta_batch_size", 1],
        ["--way", 2, "--meta_batch_size", 4, "--inner_steps_test", 3],
    ):
        train(data, out, *rare, *flags)
    return out / "checkpoints"


def evaluate(checkpoints, mine, *flags, status=0, support="support", query="query"):
    places = ["--support", mine / support, "--query-images", mine / query]
    return command("evaluate", "--checkpoints", checkpoints, *places, *flags, status=status)


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
    assert "nowhere: is not a readable picture" in complaint(query="nowhere")
    (mine / "query" / "text.png").write_text("no picture")
    assert "text.png: is not a readable picture" in complaint()
    Image.new("L", (50, 50), 255).save(mine / "query" / "text.png")
    assert "text.png: shows no ink" in complaint()
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
    found = pictures.read_support(pictures.classes(mine / "support"), 28)
    assert (
        found.classes == ["bar", "cross"]
        and found.y.tolist() == [0, 0, 1, 1]
        and found.x.shape == (4, 1, 28, 28)
    )
    with pytest.raises(UserError, match="no pictures"):
        pictures.read_queries([mine / "support"], ["other"], 28)
