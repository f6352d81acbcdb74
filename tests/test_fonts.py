"""examples/fonts.py, with the fonts that come with Matplotlib, and examples/digits.py."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import command

from maml.data.arrays import read_arrays

fonts = pytest.importorskip("examples.fonts", reason="examples/ is beside tests/")
digits = pytest.importorskip("examples.digits", reason="examples/ is beside tests/")


@pytest.fixture(autouse=True)
def no_fonts_of_this_machine(monkeypatch):
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: [])


def test_printed_letters_become_classes(tmp_path, monkeypatch, capsys):
    """One of each look, of unequal counts, which make_data.py reads with high ink."""
    letters = "ABCDEabcde\u0391\u03a9\u0416\u05d0é"  # Alpha looks like A; é has a mark
    few = [path for path in fonts.font_files() if re.search("DejaVuSans(Mono)?(-Bold)?.ttf", path)]
    monkeypatch.setattr(fonts, "font_files", lambda: few)
    plain = fonts.is_plain
    monkeypatch.setattr(fonts, "is_plain", lambda letter: letter in letters and plain(letter))
    fonts.main(["--out", str(tmp_path / "printed"), "--fewest", "2", "--most", "3"])
    classes = {path.name: len(list(path.iterdir())) for path in (tmp_path / "printed").glob("*/*")}
    assert "U+0041" in classes and not classes.keys() & {"U+0391", "U+00E9"}
    assert {"U+03A9", "U+0416"} < classes.keys()
    assert classes["U+0041"] == 3 and classes["U+05D0"] == 2  # Hebrew is in two of four faces
    assert f"{len(classes)} letters of 4 scripts" in capsys.readouterr().out
    flags = ["--image-size", 16, "--channels", 1, "--ink", "dark", "--out", tmp_path / "data"]
    command("data", "--raw", tmp_path / "printed", *flags)
    arrays, index = read_arrays(tmp_path / "data")
    assert index.polarity == "ink high" and sum(map(sum, index.counts.values())) > 20
    corners = arrays["train"].images[:, 0, 0, 0]
    assert corners.max() < 100 < arrays["train"].images.max()


def test_a_picture_has_dark_ink_on_light_paper(rng):
    (path,) = [path for path in fonts.font_files() if path.endswith("DejaVuSans.ttf")][:1]
    picture = np.asarray(fonts.picture("\u0416", path, rng).convert("L"))
    assert picture.shape[0] == picture.shape[1] >= 32
    assert picture[0, 0] == picture.max() > 180 and picture.min() < 130


def test_digits_are_measured_in_every_task(monkeypatch, capsys):
    """With images like scikit-learn's: 8 x 8 values between 0 and 16, each digit another corner."""
    target = np.repeat(np.arange(10), [12, 13] * 5)
    images = np.zeros([len(target), 8, 8])
    images[np.arange(len(target)), target // 4 * 3, target % 4 * 2] = 16
    loaded = SimpleNamespace(images=images, target=target)
    datasets = SimpleNamespace(load_digits=lambda: loaded)
    monkeypatch.setitem(sys.modules, "sklearn", SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    assert digits.digits(28).shape == (10, 12, 1, 28, 28)
    monkeypatch.setattr(digits, "QUERY", 2)
    digits.main(["--checkpoint", "protonet_60w1s", "--tasks", "2"])
    lines = capsys.readouterr().out.splitlines()
    tasks = [" ".join(line.split()[1:3]) for line in lines]
    assert tasks == ["5-way 1-shot", "5-way 5-shot", "10-way 1-shot", "10-way 5-shot"]
