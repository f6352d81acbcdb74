"""What is exported says the same in Paddle Inference, and in ONNX, as the classifier itself."""

import importlib.util
import json
import sys

import numpy as np
import paddle
import pytest
from helpers import ROOT, script
from PIL import Image

import maml
from maml.classifier import export
from maml.data.form import Form
from maml.data.tasks import as_ink
from maml.networks.build import build_network
from maml.networks.plain import plain_layer
from maml.system.errors import UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Paddle's own, of its static graphs
]
WEIGHTS = [
    "protonet_60w1s",
    "maml_5w1s",
    "maml_tempered_20w1s",
    "reptile_5w5s",
    "matching_20w1s",
    "siamese_pairs",
]
WEIGHTS += ["siamese_triplets"]
DRAWINGS = {"image_size": 28, "channels": 1, "inverted": True}
"""what labels.json says of Omniglot's form"""


@pytest.fixture(scope="module")
def drawings():
    """Four noisy copies of each of five patterns, [5, 4, 28, 28] uint8."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, [5, 1, 7, 7]).repeat(4, axis=2).repeat(4, axis=3)
    return (255 * np.abs(classes - (rng.random([5, 4, 28, 28]) < 0.1))).astype(np.uint8)


@pytest.fixture(scope="module")
def inference():
    """examples/inference.py, which imports nothing of the project."""
    path = ROOT / "examples" / "inference.py"
    assert "import maml\n" not in path.read_text()
    spec = importlib.util.spec_from_file_location("inference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fitted(name, drawings):
    """Fitted on classes of one and of two drawings, with labels in another order than outputs."""
    x = np.concatenate([drawings[:, 0], drawings[:2, 1]])
    return maml.load(name).fit(x, [*"cebda", *"ce"])


def softmax(scores):
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.both_paddles
@pytest.mark.parametrize("name", WEIGHTS)
def test_paddle_inference_says_the_same(name, drawings, inference, tmp_path):
    """To the rounding of the processor (1.3e-5 at most on an AMD EPYC), of any number of images."""
    model = fitted(name, drawings)
    model.export(tmp_path / "new" / "folder")
    exported = inference.Exported(tmp_path / "new" / "folder")
    assert exported.labels == {**DRAWINGS, "labels": list("abcde")}
    for asked in (drawings[:, 2], drawings[:1, 3], drawings[1:, 3]):
        p = softmax(exported(as_ink(asked[:, None])))
        assert np.abs(p - model.predict_proba(asked)).max() < 3e-5
        assert [exported.labels["labels"][k] for k in p.argmax(axis=1)] == model.predict(asked)


def test_an_encoder_is_exported_before_it_is_fitted(drawings, inference, tmp_path):
    maml.load("protonet_60w1s").export(tmp_path)
    exported = inference.Exported(tmp_path)
    assert exported.labels == DRAWINGS
    x = as_ink(drawings[:, 0, None])
    model = fitted("protonet_60w1s", drawings)
    expected = model.fitted.classifier.embed(paddle.to_tensor(x[None]))[0].numpy()
    assert np.allclose(exported(x), expected, atol=1e-4)
    with pytest.raises(UserError, match="maml is exported after fit; call it first"):
        maml.load("maml_5w1s").export(tmp_path)


@pytest.mark.parametrize(
    "form",
    [
        Form(12, 1, "crop"),
        Form(12, 3, "crop"),
        Form(12, 1, "stretch", "dark"),
        Form(12, 1, "stretch", "light"),
    ],
    ids=str,
)
def test_the_example_reads_pictures_as_the_weights_saw_them(form, inference, rng, tmp_path):
    picture = Image.fromarray(rng.integers(0, 255, [12, 12, 3]).astype(np.uint8))
    picture.save(tmp_path / "picture.png")
    export.write(paddle.nn.Flatten(), tmp_path, form, {}, onnx=False)
    exported = inference.Exported(tmp_path)
    x = inference.read(tmp_path / "picture.png", exported.labels)
    np.testing.assert_allclose(x, as_ink(form.of(picture)), atol=1e-6)
    np.testing.assert_allclose(exported(x[None]), x.reshape(1, -1))


def test_the_example_needs_nothing_but_the_folder(drawings, tmp_path):
    model = fitted("protonet_60w1s", drawings)
    model.export(tmp_path / "exported")
    paths = [tmp_path / f"{k}.png" for k in range(2)]
    for path, image in zip(paths, drawings[:2, 2]):
        Image.fromarray(255 - image).save(path)
    example = tmp_path / "inference.py"
    example.write_text((ROOT / "examples" / "inference.py").read_text())
    said = script(example, tmp_path / "exported", *paths, cwd=tmp_path).stdout.splitlines()
    p = model.predict_proba(drawings[:2, 2])
    for path, row, label in zip(paths, p, model.predict(drawings[:2, 2])):
        assert f"{path}  {label}  {100 * row.max():.1f}%" in said


def test_what_depends_on_other_queries_is_not_exported(drawings, tmp_path):
    for name, options in (
        ("protonet_60w1s", {"refine": 2}),
        ("protonet_60w1s", {"finetune": 2}),
        ("protonet_60w1s", {"distortions_test": 1}),
        ("maml_5w1s", {"bn": "transductive"}),
    ):
        model = maml.load(name, **options).fit(drawings[:2, 0], ["a", "b"])
        with pytest.raises(UserError, match="cannot be exported; drop .*" + next(iter(options))):
            model.export(tmp_path)
    with pytest.raises(UserError, match="labels must be texts or numbers to be exported"):
        maml.load("maml_5w1s").fit(drawings[:2, 0], [(1,), (2,)]).export(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot be written"):
        fitted("protonet_60w1s", drawings).export(tmp_path / "file")


@pytest.mark.parametrize(
    "kind",
    ["strided", "pooled", "dense", "perceptron", "koch"],
)
def test_a_plain_layer_computes_what_the_network_does(kind, rng):
    """With given statistics, and with those of the images, for sizes that do not halve."""
    if kind == "koch":
        size, network = 105, maml.KochNet(rng, features=8)
    else:
        filters = 5 if kind in ("strided", "pooled") else 64
        size, network = 27, build_network(kind, 3, rng, 27, filters)
        for p in network.theta:  # batch normalisation starts at 1 and 0
            p.set_value(p.numpy() + 0.1 * rng.standard_normal(p.shape).astype("float32"))
    x = paddle.to_tensor(rng.random([1, 4, 1, size, size], np.float32))
    record = []
    expected = network(x, record=record)[0].numpy()
    given = plain_layer(network, network.theta, record)
    assert np.allclose(given(x[0]).numpy(), expected, atol=1e-4)
    assert np.allclose(given(x[0, :1]).numpy(), expected[:1], atol=1e-4)
    two = paddle.concat([x[0], x[0].flip(0)])
    of_group = plain_layer(network, network.theta, group=4)(two).numpy()
    assert np.allclose(of_group, np.concatenate([expected, expected[::-1]]), atol=1e-4)


def test_networks_of_ones_own_are_left_to_their_owner():
    network = maml.from_layer(paddle.nn.Sequential(paddle.nn.Flatten(), paddle.nn.Linear(4, 2)))
    with pytest.raises(UserError, match="export its layer by paddle.jit.save"):
        plain_layer(network, network.theta)


@pytest.mark.parametrize("name", ["protonet_60w1s", "maml_5w1s"])
def test_onnx_says_the_same(name, drawings, tmp_path):
    pytest.importorskip("paddle2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = fitted(name, drawings)
    model.export(tmp_path, onnx=True)
    assert json.loads((tmp_path / export.LABELS).read_text())["labels"] == list("abcde")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", options)
    for asked in (drawings[:, 2], drawings[:1, 3]):
        (scores,) = session.run(None, {session.get_inputs()[0].name: as_ink(asked[:, None])})
        assert np.abs(softmax(scores) - model.predict_proba(asked)).max() < 1e-5


def test_onnx_without_its_package_says_what_to_install(drawings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)
    with pytest.raises(UserError, match="ONNX needs paddle2onnx: python -m pip install"):
        fitted("protonet_60w1s", drawings).export(tmp_path, onnx=True)
