import io
import os
import shutil
import zipfile

import numpy as np
import pytest
from helpers import command
from PIL import Image

from maml.data import arrays as arrays_module
from maml.data import raw as raw_module
from maml.data.arrays import INDEX, convert, read_arrays, read_index, save_arrays
from maml.data.raw import Character, find_characters, load, source_of
from maml.data.splits import PARTS, split_characters
from maml.system.errors import UserError


def make(raw, out, *flags, status=0):
    return command("data", "--raw", raw, "--out", out, *flags, status=status)


def listing(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def zipped(folder, inner):
    """`folder` as the bytes of a zip in which its files lie below `inner`."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, f"{inner}/{path.relative_to(folder)}")
    return memory.getvalue()


@pytest.fixture(scope="module")
def layouts(raw, tmp_path_factory):
    """The same corpus in every layout that users have."""
    top = tmp_path_factory.mktemp("layouts")
    for group in ("images_background", "images_evaluation"):
        shutil.copytree(raw / group, top / "all in one", dirs_exist_ok=True)
        (top / "zips").mkdir(exist_ok=True)
        (top / "zips" / f"{group}.zip").write_bytes(zipped(raw / group, group))
        shutil.copytree(raw / group, top / "unpacked" / "python" / group)
    with zipfile.ZipFile(top / "folders.zip", "w") as archive:
        for path in sorted(raw.rglob("*.png")):
            archive.write(path, f"omniglot/python/{path.relative_to(raw)}")
    with zipfile.ZipFile(top / "zips.zip", "w") as archive:
        for path in sorted((top / "zips").iterdir()):
            archive.write(path, f"omniglot-master/python/{path.name}")
    return top


def test_the_one_shot_challenge_beside_the_alphabets_adds_no_characters(raw, layouts, tmp_path):
    drawing = next(raw.rglob("*.png")).read_bytes()
    with zipfile.ZipFile(tmp_path / "all_runs.zip", "w") as archive:
        for number in range(20):
            archive.writestr(f"run01/test/item{number:02d}.png", drawing)
    for path in (layouts / "zips").iterdir():
        shutil.copy(path, tmp_path)
    expected = [c.name for c in find_characters(raw)]
    assert [c.name for c in find_characters(tmp_path)] == expected
    with zipfile.ZipFile(tmp_path / "all_runs.zip") as archive:
        archive.extractall(tmp_path / "all_runs")
    assert [c.name for c in find_characters(tmp_path)] == expected


@pytest.mark.parametrize(
    "layout",
    ["all in one", "zips", "unpacked", "folders.zip", "zips.zip", "zips/images_background.zip"],
)
def test_every_layout_gives_the_same_characters(raw, layouts, layout):
    found = find_characters(layouts / layout)
    expected = find_characters(raw)
    if layout == "zips/images_background.zip":
        expected = [c for c in expected if c.background]
    assert [c.name for c in found] == [c.name for c in expected]
    assert (load(found[3].drawings[7], 28) == load(expected[3].drawings[7], 28)).all()
    if layout != "all in one":  # invented alphabets are background only by the folder they lie in
        assert [c.background for c in found] == [c.background for c in expected]


def test_make_data_writes_arrays_and_index_and_prints_the_forerunners_lines(raw, tmp_path):
    shape = "20, 1, 28, 28)"
    written = ", ".join(str(tmp_path / f"omniglot_{part}.npy") for part in PARTS)
    assert make(raw, tmp_path).stdout.splitlines() == [
        "These are the procedural stand-in's characters, NOT Omniglot's.",
        "The number of character folders: 40",
        "The number of train characters is 24",
        "The number of validation characters is 8",
        "The number of test characters is 8",
        f"The shape of train_imgs: (24, {shape}",
        f"The shape of val_imgs: (8, {shape}",
        f"The shape of test_imgs: (8, {shape}",
        f"written: {written}",
    ]
    arrays, index = read_arrays(tmp_path)
    assert arrays["train"].dtype == np.uint8
    assert (index.source, index.image_size) == ("stand-in", 28)
    character = next(c for c in find_characters(raw) if c.name == index.rows["val"][2])
    assert (arrays["val"][2, 5, 0] == load(character.drawings[5], 28)).all()
    # paper is 0, ink is high
    assert arrays["train"][:, :, :, 0, 0].mean() < 25 and arrays["train"].max() > 200


def test_the_same_inputs_give_the_same_bytes(raw, layouts, tmp_path):
    make(raw, tmp_path / "a")
    make(raw, tmp_path / "b")
    assert listing(tmp_path / "a") == listing(tmp_path / "b")
    make(raw, tmp_path / "c", "--seed", 1)
    assert listing(tmp_path / "a") != listing(tmp_path / "c")


def test_image_size_105_is_the_raw_image(raw, tmp_path):
    make(raw, tmp_path, "--image-size", 105)
    arrays, index = read_arrays(tmp_path)
    assert len(index.rows["train"]) == 24
    for row, name in enumerate(index.rows["train"]):
        (folder,) = raw.glob(f"images_*/{name}")
        for drawing, path in enumerate(sorted(folder.iterdir())):
            with Image.open(path) as image:
                raw_ink = 255 - np.asarray(image.convert("L"))
            assert (arrays["train"][row, drawing, 0] == raw_ink).all(), path
    assert set(np.unique(arrays["train"])) == {0, 255}


@pytest.mark.parametrize("size", [7, 106])
def test_an_image_size_that_makes_no_sense_is_refused(raw, tmp_path, size):
    said = make(raw, tmp_path / "out", "--image_size", size, status=2).stderr
    assert said == f"error: --image-size must be between 8 and 105, not {size}\n"


def broken(raw, tmp_path, change):
    folder = tmp_path / "broken"
    shutil.copytree(raw, folder)
    path = sorted(folder.rglob("*.png"))[137]
    change(path)
    return folder, path


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda p: p.unlink(), "has 19 drawings instead of 20"),
        (lambda p: shutil.copy(p, p.with_name("9999_21.png")), "has 21 drawings instead of 20"),
        (lambda p: p.write_bytes(b""), "not a readable image"),
        (lambda p: p.write_bytes(p.read_bytes()[:100]), "not a readable image"),
        (lambda p: Image.new("1", (28, 28)).save(p), "28 x 28 pixels instead of 105 x 105"),
        (lambda p: Image.open(p).convert("RGBA").save(p), "is a RGBA image"),
        (lambda p: Image.open(p).convert("L").convert("P").save(p), "is a P image"),
        (lambda p: p.write_bytes(b"\0" * 1000), "not a readable image"),
        (lambda p: p.write_bytes(b"\0" * (2 << 20)), "2,097,152 bytes, which no drawing needs"),
        (lambda p: (p.unlink(), p.symlink_to(p.name)), "not a readable image"),
    ],
)
def test_bad_drawings_are_named_and_nothing_is_written(raw, tmp_path, change, message):
    folder, path = broken(raw, tmp_path, change)
    done = make(folder, tmp_path / "out", status=2)
    assert (
        message in done.stderr and path.parent.name in done.stderr and done.stderr.count("\n") == 1
    )
    assert not (tmp_path / "out").exists() or not listing(tmp_path / "out")


def test_folders_that_link_to_themselves_end(raw, tmp_path):
    folder, path = broken(raw, tmp_path, lambda p: None)
    path.parent.joinpath("loop").symlink_to(folder)
    assert len(find_characters(folder)) == 40


def test_names_in_any_script_but_not_in_no_script(raw, tmp_path):
    folder, path = broken(raw, tmp_path, lambda p: None)
    alphabet = path.parent.parent
    alphabet.rename(alphabet.with_name("字母 ελ"))
    make(folder, tmp_path / "out")
    assert any(
        row.startswith("字母 ελ/")
        for rows in read_index(tmp_path / "out").rows.values()
        for row in rows
    )
    os.rename(alphabet.with_name("字母 ελ"), os.fsencode(alphabet.parent) + b"/\xff")
    done = make(folder, tmp_path / "none", status=2)
    assert (
        "is not UTF-8" in done.stderr
        and done.stderr.count("\n") == 1
        and not (tmp_path / "none").exists()
    )


def bad_zip(path, change):
    """A zip of one character that `change(archive, name, content)` writes into."""
    content = io.BytesIO()
    Image.new("1", (105, 105), 1).save(content, "png")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        change(archive, "images_background/A/character01/0001_01.png", content.getvalue())


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda z, name, content: z.writestr("../" * 8 + name, content),
            "a path out of its own folder",
        ),
        (lambda z, name, content: z.writestr("/" + name, content), "a path out of its own folder"),
        (
            lambda z, name, content: z.writestr(name, b"\0" * (2 << 20)),
            "would unpack to 2,097,152 bytes",
        ),
        (
            lambda z, name, content: z.writestr("images_background.zip", b"\0" * (3 << 20)),
            "would unpack to 3,145,728 bytes",
        ),
        (
            lambda z, name, content: z.writestr("images_background.zip", b"PK no"),
            "images_background.zip: is not a readable zip",
        ),
    ],
)
def test_zips_that_mean_harm_are_named_and_nothing_is_unpacked(
    tmp_path, monkeypatch, change, message
):
    monkeypatch.setattr(raw_module, "LARGEST_ARCHIVE", 5 << 19)  # 2.5 MB, so that it is quick
    bad_zip(tmp_path / "bad.zip", change)
    done = make(tmp_path / "bad.zip", tmp_path / "out", status=2)
    assert message in done.stderr and "bad.zip" in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["bad.zip"]
    assert not any((above / "images_background").exists() for above in tmp_path.parents)


def test_a_zip_with_a_spoilt_drawing_is_named(raw, tmp_path):
    path = tmp_path / "a.zip"
    content = bytearray(zipped(raw / "images_background", "images_background"))
    start = content.index(b"IDAT")
    content[start + 10 : start + 20] = bytes(10)
    path.write_bytes(content)
    done = make(path, tmp_path / "out", status=2)
    assert "is not a readable image" in done.stderr and done.stderr.count("\n") == 1


def test_too_few_characters_are_refused(raw, tmp_path):
    alphabet = next((raw / "images_background").iterdir())
    for character in sorted(alphabet.iterdir())[:2]:
        shutil.copytree(character, tmp_path / "raw" / alphabet.name / character.name)
    assert "leave none for the val part" in make(tmp_path / "raw", tmp_path, status=2).stderr


def test_missing_and_empty_folders_are_named(tmp_path):
    assert "nowhere: no such folder" in make("nowhere", tmp_path, status=2).stderr
    assert "no images" in make(tmp_path, tmp_path / "out", status=2).stderr
    (tmp_path / "not.zip").write_bytes(b"PK no")
    assert "not a readable zip" in make(tmp_path / "not.zip", tmp_path / "out", status=2).stderr


def test_no_space_leaves_what_was_there(raw, tmp_path, monkeypatch):
    arrays, index = convert(raw, 28, "random", 0)
    save_arrays(arrays, index, tmp_path)
    before = listing(tmp_path)
    calls = []

    def full(file, array):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device", file.name)
        file.write(b"half")

    monkeypatch.setattr(arrays_module, "_write_array", full)
    with pytest.raises(UserError, match="no space left"):
        save_arrays(arrays, index, tmp_path)
    assert listing(tmp_path) == before


def test_read_refuses_what_the_index_does_not_describe(data, tmp_path):
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    array = np.load(tmp_path / "omniglot_val.npy")
    for bad, message in (
        (array[:-1], "not uint8"),
        (array.astype("float32"), "not uint8"),
        (255 - array, "not the array that"),
    ):
        np.save(tmp_path / "omniglot_val.npy", bad)
        with pytest.raises(UserError, match=f"omniglot_val.npy.*{message}"):
            read_arrays(tmp_path)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,), }\n"
    (tmp_path / "omniglot_val.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    )
    with pytest.raises(UserError, match="omniglot_val.npy: cannot be read"):
        read_arrays(tmp_path)
    np.save(tmp_path / "omniglot_val.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match="omniglot_val.npy: cannot be read"):
        read_arrays(tmp_path)
    for text, message in (
        ("{", "not an index"),
        ("[" * 100_000, "not an index"),
        ("{}", "does not tell its data"),
        ("3", "does not tell"),
    ):
        (tmp_path / INDEX).write_text(text)
        with pytest.raises(UserError, match=message):
            read_arrays(tmp_path)


def test_the_forerunners_cell(data, monkeypatch):
    monkeypatch.chdir(data)
    x_train = np.load("omniglot_train.npy")
    assert x_train[0, 0, 0].shape == (28, 28)


@pytest.mark.slow
def test_real_omniglot(real, tmp_path, monkeypatch):
    """Of the twenty drawings of each character, the first is read."""

    def first(drawing, size):
        name, _ = drawing
        return load(drawing, size) if name.endswith("_01.png") else np.zeros((size, size), np.uint8)

    monkeypatch.setattr(arrays_module, "load", first)
    said = make(real, tmp_path).stdout.splitlines()
    shape = "20, 1, 28, 28)"
    assert said[:-1] == [
        "The number of character folders: 1623",
        "The number of train characters is 973",
        "The number of validation characters is 325",
        "The number of test characters is 325",
        f"The shape of train_imgs: (973, {shape}",
        f"The shape of val_imgs: (325, {shape}",
        f"The shape of test_imgs: (325, {shape}",
    ]
    arrays, index = read_arrays(tmp_path)
    assert index.source == "omniglot"
    assert all(array[:, 0].any(axis=(1, 2, 3)).all() for array in arrays.values())
    characters = find_characters(real)
    background = [c.name for c in characters if c.background]
    assert len({name.split("/")[0] for name in background}) == 30 and len(background) == 964
    lists = real / "splits" / "vinyals"
    expected = {"maml": [1100, 100, 423]}
    if lists.exists():
        expected["vinyals"] = [4112, 688, 1692]
    for split, numbers in expected.items():
        rows = split_characters(characters, split, 0, lists)
        assert [len(rows[part]) for part in PARTS] == numbers
        assert len({row for part in PARTS for row in rows[part]}) == sum(numbers)


def test_files_of_other_systems_are_no_drawings(raw, tmp_path):
    shutil.copytree(raw, tmp_path / "raw")
    character = next((tmp_path / "raw").rglob("character01"))
    (character / "._0001_01.png").write_bytes(b"of a Macintosh")
    shutil.copytree(character, tmp_path / "raw" / "__MACOSX" / "Invented" / "character01")
    assert [c.name for c in find_characters(tmp_path / "raw")] == [
        c.name for c in find_characters(raw)
    ]


def test_folders_that_may_not_be_read_are_named(raw, monkeypatch):
    def walk(top, onerror):
        onerror(PermissionError(13, "Permission denied", f"{top}/Hidden"))
        yield from ()

    monkeypatch.setattr(raw_module.os, "walk", walk)
    with pytest.raises(UserError, match="Hidden: cannot be read"):
        find_characters(raw)


def test_a_seed_below_0_is_refused(raw, tmp_path):
    done = command("data", "--raw", raw, "--out", tmp_path, "--seed", -1, status=2)
    assert done.stderr == "error: --seed must be at least 0, not -1\n"


@pytest.mark.parametrize(
    "alphabets, source",
    [(["Latin", "Greek"], "omniglot"), (["Tengwar"], "omniglot"), (["Latin", "Mine"], "other")],
)
def test_omniglots_characters_are_known_by_all_of_their_alphabets(tmp_path, alphabets, source):
    characters = [Character(f"{alphabet}/character01", True, []) for alphabet in alphabets]
    assert source_of(tmp_path, characters) == source
