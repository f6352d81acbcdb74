"""Drawings of one character out of pictures, photographs and scans."""

import cv2
import numpy as np
import pytest
from helpers import dense_grid
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from maml.data import ink, pictures
from maml.data.form import Form


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
    assert min(overlap(255 * pictures.read(tmp_path / "a.jpg", Form(105))[0], plain)) > 0.85


def likeness(a, b):
    """The correlation of two drawings, whose thin lines are blurred by a pixel."""
    soft = [Image.fromarray(x).filter(ImageFilter.GaussianBlur(1)) for x in (a, b)]
    return np.corrcoef(*(np.asarray(x, float).ravel() for x in soft))[0, 1]


def page(size, paper=(245, 243, 235), noise=3, seed=0):
    """A sheet of paper, or a table, with a little grain."""
    grain = np.random.default_rng(seed).normal(0, noise, (size[1], size[0], 3))
    return Image.fromarray((np.array(paper) + grain).clip(0, 255).astype(np.uint8))


def written(paper, ink=(30, 30, 60), scale=2.5, at=None):
    """The letter of `drawn`, in the middle of `paper` or at a place."""
    letter = drawn(ink=255, paper=0, size=(320, 400), mode="L", scale=scale, width=22)
    paper.paste(ink, at or ((paper.width - 320) // 2, (paper.height - 400) // 2), letter)
    return paper


def grey():
    return np.asarray(written(page((600, 600))).convert("L"), float)


def transparent(ink, mode="RGBA"):
    image = Image.new("RGBA", (600, 600), (*ink, 0))
    alpha = Image.new("L", (600, 600))
    image.putalpha(written(alpha, ink=255))
    return image.convert(mode)


def on_table(turn=0, at=None, table=(45, 35, 30)):
    sheet = written(page((600, 600))).convert("RGBA").rotate(turn, Image.BICUBIC, expand=True)
    around = page((1200, 900), table, noise=5)
    place = at or ((1200 - sheet.width) // 2, (900 - sheet.height) // 2)
    around.paste(sheet, place, sheet)
    return around.filter(ImageFilter.GaussianBlur(1))


def on_lines(colour, step=50, turn=0, squared=False, margin=False, ink=(30, 30, 60)):
    sheet = page((900, 900))
    pen = ImageDraw.Draw(sheet)
    for place in range(step // 2, 900, step):
        pen.line([(0, place), (900, place)], fill=colour, width=3)
        if squared:
            pen.line([(place, 0), (place, 900)], fill=colour, width=3)
    if margin:
        pen.line([(250, 0), (250, 900)], fill=(220, 90, 90), width=3)
    cut = sheet.rotate(turn, Image.BICUBIC).crop((150, 150, 750, 750))
    return cut if ink is None else written(cut, ink)


def framed(inset, width=4, colour=(30, 30, 60), turn=0):
    sheet = written(page((600, 600)))
    corners = [inset, inset, 599 - inset, 599 - inset]
    ImageDraw.Draw(sheet).rectangle(corners, outline=colour, width=width)
    return sheet.rotate(turn, Image.BICUBIC, fillcolor=(245, 243, 235))


def shaded(image, light):
    values = np.asarray(image, float)
    height, width = values.shape[:2]
    y, x = np.mgrid[:height, :width]
    lit = values * light(x / width, y / height)[..., None]
    return Image.fromarray(lit.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


PHOTOGRAPHS = {
    "16 bits": lambda: Image.fromarray((grey() * 257).astype(np.uint16)),
    "12 of 16 bits": lambda: Image.fromarray((grey() * 16).astype(np.uint16)),
    "32 bits": lambda: Image.fromarray((grey() * 257).astype(np.int32)),
    "floats up to 1": lambda: Image.fromarray((grey() / 255).astype(np.float32)),
    "floats about 0": lambda: Image.fromarray((grey() / 127.5 - 1).astype(np.float32)),
    "white on transparency": lambda: transparent((255, 255, 255)),
    "yellow on transparency": lambda: transparent((240, 230, 60)),
    "white and alpha": lambda: transparent((255, 255, 255), "LA"),
    "sheet that was cut out": lambda: on_table().crop((310, 160, 890, 740)).convert("RGBA"),
    "dark table": on_table,
    "sheet turned on a dark table": lambda: on_table(6),
    "sheet on wood": lambda: on_table(-3, table=(120, 90, 60)),
    "sheet half in the picture": lambda: on_table(at=(-90, 350)),
    "ruled": lambda: on_lines((150, 180, 215)),
    "ruled in black": lambda: on_lines((30, 30, 30)),
    "ruled, wide": lambda: on_lines((30, 30, 30), step=150),
    "ruled, slanting": lambda: on_lines((90, 110, 150), turn=3),
    "ruled, pencil": lambda: on_lines((150, 180, 215), ink=(140, 140, 145)),
    "ruled with a margin": lambda: on_lines((150, 180, 215), margin=True),
    "squared": lambda: on_lines((110, 130, 170), squared=True, step=40),
    "frame": lambda: framed(40),
    "frame at the edge": lambda: framed(0, 7),
    "frame, grey and turned": lambda: framed(45, 4, (120, 120, 120), turn=2),
    "lamp at the left": lambda: shaded(written(page((600, 600))), lambda x, y: 1 - 0.6 * x),
    "lamp above": lambda: shaded(written(page((600, 600))), lambda x, y: 0.4 + 0.6 * y),
    "edge of a shadow": lambda: shaded(
        written(page((600, 600))), lambda x, y: np.where(x + y / 3 < 0.6, 0.5, 1)
    ),
    "chalk": lambda: written(page((600, 600), (40, 60, 50)), (230, 230, 220)),
    "from far away": lambda: written(Image.new("RGB", (4000, 4000), "white"), at=(300, 3100)),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_and_scans_are_read_like_the_plain_drawing(plain, name):
    assert likeness(ink.like_omniglot(PHOTOGRAPHS[name](), 105), plain) > 0.9


@pytest.mark.parametrize("angle", range(0, 360, 30))
@pytest.mark.parametrize("size", [(640, 480), (300, 300)])
def test_paper_shaded_by_half_is_not_taken_for_ink(angle, size):
    """Thin pens on a sheet whose one side gets half of the light."""
    sheet = Image.new("RGB", size, (236, 230, 214))
    drawn_on = np.asarray(sheet).copy()
    letter = np.asarray(drawn(ink=1, paper=0, size=size, mode="L", scale=1.2, width=5))
    drawn_on[letter > 0] = (90, 90, 95)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    photograph = shaded(
        Image.fromarray(drawn_on), lambda x, y: 1 - 0.5 * ((x - 0.5) * c + (y - 0.5) * s + 0.5)
    )
    rows, columns = np.flatnonzero(letter.any(axis=1)), np.flatnonzero(letter.any(axis=0))
    cut = letter[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width = round(ink.INK_SIZE * cut.shape[1] / cut.shape[0])
    expected = Image.new("L", (105, 105))
    shrunk = Image.fromarray(255 * cut).resize((width, ink.INK_SIZE), Image.BOX)
    expected.paste(shrunk, ((105 - width) // 2, (105 - ink.INK_SIZE) // 2))
    assert likeness(ink.like_omniglot(photograph, 105), np.asarray(expected)) > 0.8


@pytest.mark.parametrize("width", [20, 45])
def test_a_thick_stroke_of_chalk_is_no_sheet_on_a_table(width):
    board = Image.new("L", (280, 280), 10)
    ImageDraw.Draw(board).line([(140, 40), (140, 240)], fill=240, width=width)
    board = board.filter(ImageFilter.GaussianBlur(4))
    paper = Image.fromarray(255 - np.asarray(board))
    assert likeness(ink.like_omniglot(board, 105), ink.like_omniglot(paper, 105)) > 0.99


def test_strokes_from_edge_to_edge_of_a_tight_crop_are_no_ruled_lines():
    tight = Image.new("L", (200, 300), 255)
    pen = ImageDraw.Draw(tight)
    pen.line([(100, 0), (100, 299)], fill=0, width=12)
    pen.line([(20, 40), (100, 160), (180, 40)], fill=0, width=12)
    wide = Image.new("L", (400, 500), 255)
    wide.paste(tight, (100, 100))
    assert likeness(ink.like_omniglot(tight, 105), ink.like_omniglot(wide, 105)) > 0.9


def test_dots_are_drawings_and_parts_of_drawings():
    dots = Image.new("L", (300, 300), 255)
    pen = ImageDraw.Draw(dots)
    places = [(100, 60), (100, 120), (160, 120), (100, 200)]
    for x, y in places:
        pen.ellipse([x - 6, y - 6, x + 6, y + 6], fill=0)
    assert pieces(ink.like_omniglot(dots, 105)) == 4
    pen.arc([60, 230, 240, 290], 0, 300, fill=0, width=9)
    assert pieces(ink.like_omniglot(dots, 105)) == 5


def pieces(drawing):
    """The number of connected pieces of ink."""
    return cv2.connectedComponents((drawing > 127).astype(np.uint8))[0] - 1


def spot(radius, size=300):
    image = Image.new("L", (size, size), 255)
    corners = [size // 2 - radius, size // 2 - radius, size // 2 + radius, size // 2 + radius]
    ImageDraw.Draw(image).ellipse(corners, fill=0)
    return image


@pytest.mark.parametrize(
    "image, reason",
    [
        (lambda: Image.new("L", (300, 200), 230), "shows no ink"),
        (lambda: page((300, 200), (120, 110, 100)), "shows no ink"),
        (lambda: on_lines((90, 110, 150), ink=None), "shows no ink"),
        (lambda: Image.new("RGBA", (90, 90), (0, 0, 0, 0)), "shows no ink"),
        (lambda: Image.new("I;16", (90, 90), 65535), "shows no ink"),
        (lambda: Image.fromarray(np.full((40, 40), np.nan, np.float32)), "shows no ink"),
        (lambda: Image.new("L", (1, 3000)), "shows no ink"),
        (dense_grid, "is too dense"),
        (lambda: ImageOps.expand(dense_grid(), 200, 255), "is too dense"),
        (lambda: spot(50), "is too dense"),
        (lambda: spot(120), "is too dense"),
        (lambda: spot(3), "less than 3% of the picture's longer side; crop closer"),
        (lambda: spot(12), "less than 15% of the picture's longer side; crop closer"),
    ],
)
def test_what_shows_no_character_is_refused_with_the_reason(image, reason):
    with pytest.raises(ink.NoDrawing, match=reason):
        ink.like_omniglot(image(), 28)


def test_a_shaded_blank_sheet_has_no_ink(rng):
    with pytest.raises(ink.NoDrawing, match="shows no ink|crop closer"):
        ink.find_ink(photo(rng, Image.new("L", (300, 200), 230)))
