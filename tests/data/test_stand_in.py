import io

import numpy as np
import pytest
from PIL import Image

from maml.data import stand_in
from maml.data.arrays import convert
from maml.data.raw import BACKGROUND_ALPHABETS, STAND_IN_MARK, find_characters, load
from maml.system.errors import UserError


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glyphs") / "raw"
    stand_in.write(folder, alphabets=5, characters=6, seed=3)
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_layout_is_omniglots(raw):
    characters = find_characters(raw)
    assert [c.name for c in characters[:2]] == [
        "Standin_01/character01",
        "Standin_01/character02",
    ] and len(characters) == 30
    assert [c.background for c in characters] == 18 * [True] + 12 * [False]
    assert (raw / "images_background/Standin_02/character01/0007_20.png").is_file()
    assert (raw / "images_evaluation/Standin_05/character06/0030_01.png").is_file()
    assert not {c.name.split("/")[0] for c in characters} & set(BACKGROUND_ALPHABETS)


def test_drawings_are_one_bit_and_ink_is_black(raw):
    for name, data in contents(raw).items():
        if name.endswith(".png"):
            image = Image.open(io.BytesIO(data))
            assert image.mode == "1" and image.size == (105, 105)
            ink = ~np.asarray(image)
            assert 0.003 < ink.mean() < 0.35, name
            assert not (ink[0].any() or ink[-1].any() or ink[:, 0].any() or ink[:, -1].any()), name


def test_every_hand_draws_differently(raw):
    for character in find_characters(raw):
        assert len({read() for _, read in character.drawings}) == 20


def test_marked_so_that_arrays_of_it_say_so(raw):
    assert "NOT Omniglot" in (raw / STAND_IN_MARK).read_text()
    assert convert(raw, 28, "random", 0)[1].source == "stand-in"


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        stand_in.write(tmp_path / name, alphabets=2, characters=3, seed=seed)
    one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert contents(tmp_path / "again") == one and len(one) == 121
    assert [name for name in one if one[name] == other[name]] == []


def test_nearest_neighbour_is_better_than_chance_and_not_perfect(raw):
    rng = np.random.default_rng(0)
    images = (
        np.stack([[load(d, 28).ravel() for d in c.drawings] for c in find_characters(raw)]) / 255
    )
    right = []
    for _ in range(400):
        task = images[rng.choice(len(images), 5, replace=False)]
        support, query = task[:, rng.choice(20, 2, replace=False)].transpose(1, 0, 2)
        right.append(((query[:, None] - support) ** 2).sum(2).argmin(1) == np.arange(5))
    assert 0.5 < np.mean(right) < 0.9


def test_characters_of_an_alphabet_resemble_each_other():
    """They lie closer to each other than to those of other alphabets, on average."""
    of = np.repeat(np.arange(12), 5)
    characters = [
        character
        for a in range(12)
        for character in stand_in._alphabet(np.random.default_rng(a), 5)
    ]
    clouds = [
        np.concatenate([stand_in._path(stroke, 17) for stroke in character])
        for character in characters
    ]
    apart = np.array([[stand_in._nearest(one, other).mean() for other in clouds] for one in clouds])
    same, itself = of[:, None] == of, np.eye(len(of), dtype=bool)
    assert apart[same & ~itself].mean() < 0.97 * apart[~same].mean()


def test_many_characters_of_one_alphabet_end_and_differ(tmp_path):
    alphabet = stand_in._alphabet(np.random.default_rng(0), 60)
    assert (
        len(
            {tuple(np.concatenate([s.points for s in character]).ravel()) for character in alphabet}
        )
        == 60
    )


def test_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match="mine: is there already"):
        stand_in.write(tmp_path / "mine", alphabets=1, characters=1)
    assert list((tmp_path / "mine").iterdir()) == []


def test_all_or_nothing(tmp_path):
    def stop(items, total):
        for item in items:
            yield item
            if item == 1:
                assert list(tmp_path.rglob("*.png")) and not (tmp_path / "raw").exists()
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stand_in.write(tmp_path / "raw", alphabets=3, characters=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        stand_in.write(tmp_path / "file" / "raw", alphabets=1, characters=1)
