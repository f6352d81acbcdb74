"""Drawings and pictures that the page sends."""

import numpy as np
import pytest
from drawn import BAR, as_image, as_url, png
from PIL import Image, ImageDraw, ImageFilter

from maml.data import pictures
from maml.data.form import Form
from maml.draw.drawings import SIDE, Refused, read_drawing, read_picture, seen
from maml.draw.memory import Latest
from maml.system.errors import UserError

FORM = Form(28)


@pytest.fixture
def photograph(rng) -> Image.Image:
    """A letter in blue ink on shaded, noisy paper, not in its middle."""
    image = Image.new("RGB", (500, 400), (236, 230, 214))
    ImageDraw.Draw(image).line([(90, 300), (150, 100), (210, 300)], (30, 40, 120), 9, "curve")
    ImageDraw.Draw(image).line([(115, 230), (185, 235)], (30, 40, 120), 9)
    values = np.asarray(image.filter(ImageFilter.GaussianBlur(1)), float)
    shaded = values * np.linspace(0.55, 1, 500)[None, :, None] + rng.normal(0, 4, values.shape)
    return Image.fromarray(shaded.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_becomes_the_drawing_that_the_support_flag_reads(photograph, tmp_path, kind):
    file = tmp_path / f"letter.{kind}"
    photograph.save(file)
    expected = pictures.read(file, FORM)[0]
    drawing = as_image(read_picture(as_url(photograph, kind)))
    assert drawing.size == (SIDE, SIDE) and drawing.mode == "LA"
    paper = Image.new("LA", drawing.size, "white")
    found = read_drawing(
        as_url(Image.alpha_composite(*(i.convert("RGBA") for i in (paper, drawing)))), FORM
    )
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.97


def test_a_picture_of_nothing_is_refused_with_its_reason():
    with pytest.raises(Refused, match="a picture is blank") as raised:
        read_picture(png())
    assert raised.value.reason == "blank"


@pytest.mark.parametrize("form", [Form(28), Form(20, 3, "crop"), Form(20, 1, "pad", "dark")])
def test_a_blank_drawing_is_refused_whatever_the_weights_are_for(form):
    for colour in ("white", "black", (200, 30, 90)):
        with pytest.raises(Refused, match="^a drawing is blank$") as raised:
            read_drawing(as_url(Image.new("RGB", (60, 60), colour)), form)
        assert raised.value.reason == "blank"
    assert read_drawing(BAR, form).shape == (form.channels, form.image_size, form.image_size)


def test_a_picture_that_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(UserError, match="50 megapixels at most"):
        read_picture(as_url(Image.new("1", (10_000, 5001))))


def test_what_the_network_sees_is_shown_as_ink_on_paper():
    image = read_drawing(BAR, FORM)
    assert (
        np.array_equal(255 - np.asarray(as_image(seen(image, FORM))), image[0])
        and image.max() > 100
    )


def test_the_latest_are_kept_and_asking_renews():
    kept = Latest(2)
    kept.keep("a", 1), kept.keep("b", 2)
    assert kept.get("a") == 1
    kept.keep("c", 3)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]
