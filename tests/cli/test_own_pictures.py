"""evaluate.py --support on folders as users have them: with pictures that cannot be used, files
that are not read, and names that do not match.
"""

import json

import pytest
from helpers import command, script
from PIL import Image, ImageDraw

pytestmark = pytest.mark.slow


def sketch(path, kind, slant=0):
    """A bar or a cross, drawn with a pen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (200, 200), 255)
    pen = ImageDraw.Draw(image)
    pen.line([(100, 20), (100, 180)], fill=0, width=7)
    if kind == "cross":
        pen.line([(20, 100), (180, 100)], fill=0, width=7)
    image.rotate(slant, fillcolor=255).save(path)


@pytest.fixture
def mine(tmp_path):
    """Two classes of two pictures, and three queries, of which two have a known class."""
    for kind in ("bar", "cross"):
        sketch(tmp_path / "support" / kind / "1.png", kind, 3)
        sketch(tmp_path / "support" / kind / "2.png", kind, -3)
        sketch(tmp_path / "query" / kind / "a.png", kind)
    sketch(tmp_path / "query" / "b.png", "cross", 5)
    return tmp_path


def blank(path):
    Image.new("L", (200, 200), 255).save(path)


def dot(path):
    image = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(image).rectangle([200, 200, 204, 204], fill=0)
    image.save(path)


def solid(path):
    image = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(image).rectangle([100, 100, 300, 300], fill=0)
    image.save(path)


def asked(mine, *flags, status=0, query=("query",)):
    queries = [mine / name for name in query]
    support = ["--support", mine / "support", "--query-images", *queries]
    return command("evaluate", "--checkpoint", "protonet_60w1s", *support, *flags, status=status)


def test_all_pictures_that_can_be_read_leave_nothing_to_say(mine):
    said = asked(mine, "--json")
    report = json.loads(said.stdout)
    assert report["skipped"] == [] and report["accuracy"] == 1 and said.stderr == ""


def test_what_cannot_be_used_is_named_and_the_others_are_answered(mine):
    bad = {
        mine / "support/bar/3.png": "shows no ink that differs from its paper",
        mine / "query/c.png": "is not a readable picture (its format is not known)",
        mine / "query/d.png": "crop closer",
        mine / "query/bar/e.png": "is too dense",
    }
    blank(mine / "support/bar/3.png")
    (mine / "query/c.png").write_text("no picture")
    dot(mine / "query/d.png")
    solid(mine / "query/bar/e.png")
    said = asked(mine, "--json", "--figures", mine / "figures", status=3)
    report = json.loads(said.stdout)
    assert [each["path"] for each in report["skipped"]] == [str(path) for path in bad]
    for each, reason in zip(report["skipped"], bad.values()):
        assert reason in each["reason"]
        assert f"skipped: {each['path']}: {each['reason']}" in said.stderr.splitlines()
    answers = {query["picture"]: query["class"] for query in report["queries"]}
    assert answers == {
        str(mine / "query/b.png"): "cross",
        str(mine / "query/bar/a.png"): "bar",
        str(mine / "query/cross/a.png"): "cross",
    }
    assert report["support"] == 4 and report["accuracy"] == 1
    assert (mine / "figures/pictures.png").exists()
    text = asked(mine, status=3)
    assert "accuracy: 100.0%" in text.stdout and "c.png" not in text.stdout
    assert text.stderr.count("skipped: ") == 4


def test_the_script_ends_with_the_same_status(mine):
    blank(mine / "query/c.png")
    places = ["--support", mine / "support", "--query-images", mine / "query"]
    done = script("evaluate.py", "--checkpoint", "protonet_60w1s", *places, status=3)
    assert "b.png" in done.stdout and done.stderr.count("skipped: ") == 1


def test_a_class_of_which_nothing_is_left_ends_it(mine):
    for name in ("1.png", "2.png"):
        blank(mine / "support/cross" / name)
    said = asked(mine, status=2)
    assert said.stdout == "" and said.stderr.count("\n") == 1
    assert "support/cross: none of its pictures can be used" in said.stderr
    assert "1.png: shows no ink" in said.stderr and "2.png: shows no ink" in said.stderr
    assert "bar" not in said.stderr


def test_queries_of_which_nothing_is_left_end_it(mine):
    blank(mine / "c.png")
    dot(mine / "d.png")
    said = asked(mine, status=2, query=("c.png", "d.png"))
    assert said.stdout == "" and said.stderr.count("\n") == 1
    assert "none of the pictures to classify can be used" in said.stderr
    assert "c.png: shows no ink" in said.stderr and "d.png: shows too small" in said.stderr


def test_files_that_are_not_read_and_names_of_no_class_are_told(mine):
    for name in ("support/bar/x.HEIC", "query/y.avif", "query/z.heic", "query/cross/w.avif"):
        (mine / name).write_bytes(b"not read")
    (mine / "query/notes.txt").write_text("no picture, and nobody takes it for one")
    sketch(mine / "query/kross/1.png", "cross")
    said = asked(mine, "--json")
    assert json.loads(said.stdout)["skipped"] == []
    lines = said.stderr.splitlines()
    assert len(lines) == 4 and all(line.startswith("warning: ") for line in lines)
    assert f"{mine / 'support/bar'}: 1 file of a kind that is not read (.heic)" in lines[0]
    assert f"{mine / 'query'}: 2 files of a kind that is not read (.avif, .heic)" in lines[1]
    assert f"{mine / 'query/cross'}: 1 file of a kind that is not read (.avif)" in lines[2]
    assert f"{mine / 'query/kross'}: is passed over" in lines[3] and "bar, cross" in lines[3]


def test_a_class_of_files_that_are_not_read_is_refused_for_that(mine):
    (mine / "support/third").mkdir()
    (mine / "support/third/a.heic").write_bytes(b"not read")
    said = asked(mine, status=2)
    assert "third: 1 file of a kind that is not read (.heic); save as JPEG or PNG" in said.stderr


def test_a_missing_query_is_told_in_one_clean_sentence(mine):
    said = asked(mine, status=2, query=("query", "nowhere.jpg"))
    assert said.stderr.count("\n") == 1 and said.stderr.count("nowhere.jpg") == 1
    assert "nowhere.jpg: no such file or folder" in said.stderr
    assert "Errno" not in said.stderr and "readable" not in said.stderr


def test_a_class_with_more_pictures_does_not_count_more(mine):
    """The same picture four times is the same support: MAML's loss is no mean over all pictures."""

    def probabilities():
        said = asked(mine, "--checkpoint", "maml_20w1s", "--json")
        return [query["probabilities"]["bar"] for query in json.loads(said.stdout)["queries"]]

    before = probabilities()
    for copy in ("1b.png", "1c.png", "1d.png"):
        sketch(mine / "support" / "bar" / copy, "bar", 3)
    for copy in ("2b.png", "2c.png", "2d.png"):
        sketch(mine / "support" / "bar" / copy, "bar", -3)
    assert probabilities() == pytest.approx(before, abs=2e-4)


def test_what_is_none_of_the_classes_is_refused(mine):
    """A circle is neither a bar nor a cross; what was asked before is answered as before."""
    image = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(image).ellipse([40, 40, 160, 160], outline=0, width=7)
    image.save(mine / "query/c.png")
    plain = json.loads(asked(mine, "--json").stdout)
    refusing = json.loads(asked(mine, "--json", "--reject", 0.05).stdout)
    assert "reject" not in plain and refusing["reject"] == 0.05
    for before, after in zip(plain["queries"], refusing["queries"]):
        stranger = after["picture"].endswith("c.png")
        assert after["class"] == (None if stranger else before["class"])
        assert (after["typicality"] < 0.05) == stranger
        assert after["likeliest"] == before["likeliest"] == before["class"]
        assert after["probabilities"] == before["probabilities"]
    said = asked(mine, "--reject", 0.05, "--figures", mine / "figures").stdout.splitlines()
    (line,) = [line for line in said if "query/c.png" in line]
    assert "none of these (nearest: " in line and "usual   0%" in line
    assert any(
        line.startswith("refused: what is farther from every class than 95%") for line in said
    )
    assert sum("none of these" in line for line in said) == 1


def test_refusing_asks_for_own_pictures_and_a_share(mine):
    said = asked(mine, "--reject", 5, status=2)
    assert "reject must be between 0 and 1, such as 0.05, not 5" in said.stderr
    said = command("evaluate", "--checkpoint", "protonet_60w1s", "--reject", 0.05, status=2)
    assert "--reject is for your own pictures; name them by --support" in said.stderr


def test_the_number_of_pictures_counts_in_the_choice_of_weights(mine):
    """Two pictures of each class, or nine, are judged by the tasks nearest to these."""

    def weights():
        flags = ["--support", mine / "support", "--query-images", mine / "query"]
        return command("evaluate", *flags).stderr

    assert "expected accuracy" in weights() and "as in 5-way 1-shot tasks" in weights()
    for kind in ("bar", "cross"):
        for n in range(3, 10):
            sketch(mine / "support" / kind / f"{n}.png", kind, n)
    assert "as in 5-way 5-shot tasks" in weights()
