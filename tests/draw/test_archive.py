"""The zip that the page's support is kept in."""

import base64
import io
import random
import zipfile

import numpy as np
import pytest
from drawn import BAR, CROSS, DOT, as_image, png
from PIL import Image

from maml.data import pictures
from maml.data.form import Form
from maml.draw import archive
from maml.draw.archive import folder_names, pack, unpack
from maml.draw.drawings import SIDE, read_drawing
from maml.system.errors import UserError

FORM = Form(28)


def as_zip(**files: bytes) -> str:
    """A zip of these files, as the page sends it."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    return as_text(memory.getvalue())


def as_text(content: bytes) -> str:
    return "data:application/zip;base64," + base64.b64encode(content).decode()


def content(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def on_paper(url: str) -> np.ndarray:
    paper = Image.new("RGBA", as_image(url).size, "white")
    return np.asarray(Image.alpha_composite(paper, as_image(url).convert("RGBA")).convert("L"))


def test_the_folder_is_read_by_the_support_flag_as_the_page_read_it(tmp_path):
    written = pack(["house", "鱼"], [[BAR, CROSS], [CROSS]])
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        assert archive.namelist() == ["house/1.png", "house/2.png", "鱼/1.png"]
        archive.extractall(tmp_path)
    read = pictures.read_support(pictures.classes(tmp_path), FORM)
    assert read.classes == ["house", "鱼"] and read.y.tolist() == [0, 0, 1]
    drawn = [read_drawing(url, FORM) for url in (BAR, CROSS, CROSS)]
    assert np.array_equal(np.rint(255 * read.x), drawn)


def test_names_of_folders_are_distinct_and_allowed_everywhere():
    names = ["A", "a", "A", "../up", ".hidden", "a/b", "", " . ", "con", "x" * 99, "COM1.txt"]
    found = folder_names(names)
    assert found[:4] == ["A", "a 2", "A 3", "_up"] and found[4:6] == ["hidden", "a_b"]
    assert found[6:9] == ["class 7", "class 8", "_con"] and len(found[9]) == 60
    assert found[10] == "_COM1.txt" and len({name.casefold() for name in found}) == len(names)


def test_what_was_packed_is_unpacked_as_it_was():
    """Its names, its order and its pixels, though a drawing is small and not in the middle."""
    corner = png([(20, 20), (50, 60)])
    found = unpack(as_text(pack(["house", "鱼"], [[BAR, corner], [CROSS]])))
    assert found.names == ["house", "鱼"] and not found.refused
    assert [len(of_class) for of_class in found.drawings] == [2, 1]
    for url, expected in zip(sum(found.drawings, []), [BAR, corner, CROSS]):
        assert np.array_equal(on_paper(url), np.asarray(as_image(expected).convert("L")))


def test_other_pictures_in_folders_are_read_as_pictures_are():
    """Wherever the folders lie; what systems hide and what lies beside is passed over."""
    photograph = content(png([(20, 20), (50, 60)]))
    found = unpack(
        as_zip(
            **{
                "mine/b/2.jpg": photograph,
                "mine/a/1.png": photograph,
                "mine/a/blank.png": content(png()),
                "mine/a/notes.txt": b"no picture",
                "mine/a/.hidden.png": photograph,
                "__MACOSX/mine/a/._1.png": b"",
                "beside.png": photograph,
                "mine/c/dot.png": content(DOT),
            }
        )
    )
    assert found.names == ["b", "a"] and [len(each) for each in found.drawings] == [1, 1]
    assert as_image(found.drawings[0][0]).size == (SIDE, SIDE)
    refused = [one["file"] for one in found.refused]
    assert refused == ["mine/a/blank.png", "mine/a/notes.txt", "mine/c/dot.png"]
    assert all("picture" in one["error"] for one in found.refused)


def test_of_a_class_with_too_many_pictures_the_first_are_taken():
    many = {f"a/{k}.png": content(BAR) for k in range(6)}
    found = unpack(as_zip(**many, **{"b/1.png": content(CROSS)}))
    assert [len(each) for each in found.drawings] == [5, 1]


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "the zip must be a data URL"),
        ("data:application/zip;base64,!", "the zip is not a readable file"),
        (as_text(b"no zip"), "the zip cannot be read"),
        (as_zip(**{"a.png": content(BAR)}), "holds no folder with readable pictures"),
        (as_zip(**{"a/1.png": content(png())}), "holds no folder with readable pictures"),
        (as_zip(**{f"{k}/1.png": content(BAR) for k in range(21)}), "more than 20 classes"),
    ],
)
def test_what_is_no_zip_of_folders_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        unpack(text)


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(archive, "LARGEST", 3 << 20)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as written:
        for k in range(4):
            written.writestr(f"a/{k}.png", bytes(1 << 20))
    with pytest.raises(UserError, match="more than 3 MB"):
        unpack(as_text(memory.getvalue()))


def test_a_damaged_zip_is_read_or_refused_in_a_sentence():
    """Whatever byte is another one."""
    whole, chance = pack(["A", "B"], [[BAR], [CROSS]]), random.Random(0)
    for _ in range(150):
        spoilt = bytearray(whole)
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        try:
            unpack(as_text(bytes(spoilt)))
        except UserError as error:
            assert "\n" not in str(error)
