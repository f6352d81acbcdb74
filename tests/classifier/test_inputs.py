"""What users give the classifier: images and labels of any kind."""

import numpy as np
import paddle
import pytest
from PIL import Image

import maml
from maml.data import pictures
from maml.data.form import Form
from maml.system.errors import UserError


def fitted(drawings):
    """Three drawings of each of five classes."""
    return maml.load("protonet_60w1s").fit(
        drawings[:5, :3].reshape(-1, 28, 28), list("aaabbbcccdddeee")
    )


def test_images_are_what_a_user_has(drawings, tmp_path):
    """Paths, PIL images, arrays of either type and any number of axes."""
    model = fitted(drawings)
    image = drawings[0, 10]
    expected = model.predict_proba(image[None])
    tensor = paddle.to_tensor(image)
    forms = [image, [image], image[None, None], image / 255, [image[None]], image[:, :, None]]
    for form in (*forms, tensor, [tensor], (each for each in [image])):
        assert np.allclose(model.predict_proba(form), expected, atol=1e-6)
    paper = Image.fromarray(255 - image).resize((280, 280))
    paper.save(tmp_path / "a.png")
    of_pictures = model.predict_proba([paper, tmp_path / "a.png", str(tmp_path / "a.png")])
    assert np.allclose(of_pictures, of_pictures[0], atol=1e-6)
    assert model.predict(paper) == model.predict(image)
    assert model.predict(np.array([str(tmp_path / "a.png")])) == model.predict(image)
    colours = np.repeat(np.asarray(paper)[:, :, None], 4, axis=2)
    colours[:, :, 3] = 255
    for form in (colours, colours[:, :, :3], colours[None], colours[:, :, :3] / 255):
        assert np.allclose(model.predict_proba(form), of_pictures[:1], atol=0.02)


@pytest.mark.parametrize(
    "images, message",
    [
        ([], "there are no images"),
        (np.zeros([0, 28, 28]), "there are no images"),
        (None, "images must be paths, PIL images or arrays, not of type NoneType"),
        (np.zeros([28]), r"images must be .* not \(28,\)"),
        (np.zeros([0, 0]), r"\[H, W\] or in colour \[H, W, 3\], not \(0, 0\) of float64"),
        (np.zeros([2, 28, 28, 2]), r"not \(28, 28, 2\) of float64"),
        ([np.zeros([28, 28], complex)], "must hold numbers.* of complex128"),
        (np.full([28, 28], 9), "not of uint8 must hold ink between 0 and 1"),
        ([3], "an image must be a path, a PIL image or an array, not int"),
        ([np.full([28, 28], 2.0)], "between 0 and 1"),
        ([np.full([28, 28], np.nan)], "between 0 and 1"),
        ([Image.new("L", (50, 50), 255)], "shows no ink"),
        (["nowhere.png"], "nowhere.png: no such file"),
    ],
)
def test_what_is_no_image_is_refused(drawings, images, message):
    model = fitted(drawings)
    with pytest.raises(UserError, match=message):
        model.predict(images)


def test_paths_are_read_as_own_pictures_are(drawings, tmp_path):
    """All that are refused are named, with their reasons, and nothing is learned."""
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    for k, path in enumerate(paths):
        Image.fromarray(255 - drawings[k, 0]).resize((280, 280)).save(path)
    model = maml.load("protonet_60w1s").fit(paths, list("abcd"))
    read = np.stack([pictures.read(path, Form(28)) for path in paths])
    assert (model.predict_proba(paths) == model.predict_proba(read)).all()
    assert model.predict(paths) == list("abcd")
    paths[1].write_text("no picture")
    Image.new("L", (90, 90), 255).save(paths[3])
    with pytest.raises(UserError) as error:
        model.fit(paths, list("aabb"))
    said = str(error.value)
    assert f"{paths[1]}: is not a readable picture" in said
    assert f"{paths[3]}: shows no ink" in said and "0.png" not in said
    assert model.classes_ == list("abcd")
    with pytest.raises(UserError, match="image 1 shows no ink"):
        model.predict([Image.open(paths[0]), Image.new("L", (50, 50), 255)])


@pytest.mark.parametrize("kind", ["uint16", "float32", "int32", "bool"])
def test_arrays_of_other_sizes_are_pictures_of_any_depth(drawings, kind):
    model = fitted(drawings)
    paper = 255 - np.kron(drawings[0, 10], np.ones((5, 5), np.uint8))
    expected = model.predict_proba(paper)
    if kind == "bool":
        found = model.predict_proba(paper > 127)
        assert found.argmax() == expected.argmax()
    else:
        scale = {"uint16": 257, "float32": 1 / 255, "int32": 9}[kind]
        found = model.predict_proba((paper.astype(float) * scale).astype(kind))
        assert np.allclose(found, expected, atol=0.02)


@pytest.mark.parametrize(
    "labels, message",
    [
        (None, "a label for each image, not of type NoneType"),
        ("abc", "a label for each image, not of type str"),
        ([[1], [2], [3]], "hashable value, not of type list"),
        (np.eye(3), "hashable value, not of type ndarray"),
        ([1, 2, float("nan")], "a label is NaN"),
        ([], "there are 3 images, but 0 labels"),
    ],
)
def test_what_is_no_label_is_refused(drawings, labels, message):
    model = maml.load("protonet_60w1s").fit(drawings[:2, 0], ["a", "b"])
    for call in (model.fit, model.score):
        with pytest.raises(UserError, match=message):
            call(drawings[:3, 0], labels)
    for label in ([1], float("nan")):
        with pytest.raises(UserError, match="a label"):
            model.add(drawings[2, 0], label)
    assert model.classes_ == ["a", "b"]


def test_labels_of_arrays_and_tensors_become_plain_values(drawings, tmp_path):
    for labels in (np.arange(3), list(np.arange(3)), paddle.arange(3), (k for k in range(3))):
        model = maml.load("protonet_60w1s").fit(drawings[:3, 0], labels)
        assert [type(label) for label in model.classes_] == [int] * 3
        assert model.score(drawings[:3, 0], np.arange(3)) == 1
    model.save(tmp_path / "a.pkl")
    again = maml.load(tmp_path / "a.pkl").add(drawings[2, 1], np.int64(2))
    assert again.classes_ == [0, 1, 2] and again.fitted.labels.count(2) == 2


def test_a_class_that_is_called_none_is_not_mistaken_for_a_refusal(drawings):
    model = maml.load("protonet_60w1s").fit(drawings[:2, 0], [None, "a"])
    assert model.predict(drawings[0, 0]) == [None]
    with pytest.raises(UserError, match="a class is called None"):
        model.predict(drawings[0, 0], reject=0.05)


def test_labels_of_several_kinds(drawings):
    model = maml.load("protonet_60w1s").fit(drawings[:3, 0], ["b", 1, None])
    assert sorted(map(repr, model.classes_)) == sorted(["'b'", "1", "None"])
    assert model.predict(drawings[:3, 0]) == ["b", 1, None]
