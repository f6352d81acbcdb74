"""Folders, lists and arrays of images as people have them, and tasks of unequal classes."""

import json

import numpy as np
import paddle
import pytest
from helpers import command
from PIL import Image

from maml.data.arrays import read_arrays
from maml.data.banks import ClassImages
from maml.data.form import Form
from maml.data.splits import split_classes
from maml.data.tasks import TaskSampler
from maml.networks.build import build_network
from maml.networks.conv import ConvNet
from maml.networks.plain import plain_layer
from maml.system import safe_pickle
from maml.system.errors import UserError
from maml.training.checkpoint import read, read_run

SUFFIXES = ("jpg", "PNG", "webp", "bmp", "gif", "TIFF")


def photographs(folder, classes=6, groups=("birds", "树 木")):
    """Folders group/class of 3, 4, ... pictures of unlike sizes and formats."""
    rng = np.random.default_rng(0)
    for group in groups:
        for k in range(classes):
            (folder / group / f"é {k}").mkdir(parents=True)
            for n in range(3 + k):
                pixels = rng.integers(0, 255, [20 + n, 30, 3], np.uint8)
                Image.fromarray(pixels).save(folder / group / f"é {k}/{n} a.{SUFFIXES[n % 6]}")
    (folder / "birds/.DS_Store").write_bytes(b"x")
    (folder / "birds/Thumbs.db").write_bytes(b"x")
    (folder / "empty").mkdir()
    (folder / "birds/loop").symlink_to(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("photos"))


def make(out, *flags, status=0):
    return command("data", "--out", out, *flags, status=status)


def test_a_folder_of_all_formats_becomes_an_array_and_an_index(photos, tmp_path):
    said = make(tmp_path, "--raw", photos, "--image-size", 16).stdout
    arrays, index = read_arrays(tmp_path)
    assert index.channels == 3 and "colour, in 2 groups" in said
    assert sum(map(sum, index.counts.values())) == 2 * sum(range(3, 9))
    assert len((tmp_path / "images.csv").read_text().splitlines()) == 1 + 2 * sum(range(3, 9))
    train = arrays["train"]
    pixels = train.images[: train.counts.sum()] / 255
    np.testing.assert_allclose(index.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(index.deviation, pixels.std(axis=(0, 2, 3)), rtol=1e-6)


def test_bad_files_are_listed_all_and_nothing_is_written(photos, tmp_path):
    raw = photographs(tmp_path / "raw", classes=3)
    (raw / "birds/é 0/empty.png").write_bytes(b"")
    (raw / "birds/é 0/x.heic").write_bytes(b"x")
    whole = (raw / "birds/é 0/0 a.jpg").read_bytes()
    (raw / "birds/é 1/cut.jpg").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    said = make(out, "--raw", raw, "--image-size", 16, status=2).stderr
    assert "3 files" in said and "\n" not in said.strip()
    for name in ("empty.png", "x.heic", "cut.jpg"):
        assert name in said
    assert not out.exists() or not list(out.iterdir())
    make(out, "--raw", raw, "--image-size", 16, "--skip-bad")
    _, index = read_arrays(out)  # whose header counts what is left
    assert sorted(path[-8:] for path, _ in index.skipped) == ["/cut.jpg", "0/x.heic", "mpty.png"]


def test_a_csv_and_arrays_give_the_same_images(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, [12, 8, 8], np.uint8)
    lines = ["filename,label"]
    for n, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{n}.png")
        lines.append(f"{n}.png,{n // 2}")
    (tmp_path / "all.csv").write_text("\n".join(lines))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(12) // 2)
    make(tmp_path / "a", "--raw", tmp_path / "all.csv")
    make(tmp_path / "b", "--images", tmp_path / "x.npy", "--labels", tmp_path / "y.npy")
    (one, index), (other, _) = read_arrays(tmp_path / "a"), read_arrays(tmp_path / "b")
    assert (index.image_size, index.channels) == (8, 1)
    np.testing.assert_array_equal(one["train"].images, other["train"].images)


def test_lists_split_and_must_not_share_classes(photos, tmp_path):
    for part, names in (("a", "birds/é 0\nbirds/é 1"), ("b", "birds/é 2"), ("c", "birds/é 3")):
        (tmp_path / f"{part}.txt").write_text(names)
    lists = [tmp_path / f"{part}.txt" for part in "abc"]
    flags = ["--raw", photos, "--image-size", 8, "--channels", 1]
    make(tmp_path / "out", *flags, "--split-files", *lists)
    index = json.loads((tmp_path / "out/images_index.json").read_text())
    assert index["rows"]["train"] == ["birds/é 0", "birds/é 1"]
    lists[2].write_text("birds/é 1")
    said = make(tmp_path / "no", *flags, "--split-files", *lists, status=2).stderr
    assert "c.txt" in said and "birds/é 1 stands in" in said


@pytest.mark.parametrize("split", ["random", "groups"])
def test_splits_share_neither_classes_nor_groups(split):
    names = [f"g{k % 7}/c{k}" for k in range(40)]
    parts = split_classes(names, split, 3, (50, 25, 25))
    assert sorted(sum(parts.values(), [])) == sorted(names)
    if split == "groups":
        groups = [{name.split("/")[0] for name in rows} for rows in parts.values()]
        assert sum(map(len, groups)) == 7 and all(groups)


def ragged(counts):
    counts = np.array(counts)
    images = np.arange(counts.sum(), dtype=np.uint8)[:, None, None, None]
    return ClassImages(images, np.cumsum(counts) - counts, counts)


def test_tasks_of_unequal_classes_draw_each_image_once_and_classes_alike():
    images = ragged([4, 9, 5, 40, 4])
    draw = TaskSampler(images, 3, 1, 3, np.random.default_rng(0)).indices(2000)
    both = [np.concatenate([images.flat(p) for p in draw], axis=1), draw.support.row]
    assert all(len(set(task)) == 12 for task in both[0])
    assert (np.abs(np.bincount(both[1].ravel()) / 6000 - 0.2) < 0.02).all()
    assert all(len(set(rows)) == 3 for rows in both[1])
    assert np.bincount(both[0].ravel(), minlength=62).min() > 0


def test_processes_draw_the_parts_of_one_stream():
    def sampler():
        return TaskSampler(ragged([4, 9, 5]), 2, 1, 2, np.random.default_rng(1))

    whole, one, other = sampler(), sampler(), sampler()
    for _ in range(2):
        expected = whole.sample(4)
        halves = one.sample(4, slice(0, 2)), other.sample(4, slice(2, 4))
        for a, *bs in zip(expected, *halves):
            np.testing.assert_array_equal(a, np.concatenate(bs))


def test_a_class_with_too_few_images_is_named_with_its_count():
    with pytest.raises(UserError, match="rare has 2; lower shot or query"):
        TaskSampler(ragged([9, 2]), 2, 1, 2, np.random.default_rng(0), names=["many", "rare"])


@pytest.mark.parametrize("pooled", [False, True])
def test_a_network_normalises_colours(pooled):
    network = ConvNet(5, np.random.default_rng(0), 16, pooled, filters=4, channels=3)
    x = paddle.rand([1, 4, 3, 16, 16])
    mean, deviation = np.float32([0.1, 0.2, 0.3]), np.float32([0.5, 0.6, 0.7])
    by_hand = network((x - mean.reshape(3, 1, 1)) / deviation.reshape(3, 1, 1))
    network.pixels = (mean.tolist(), deviation.tolist())
    np.testing.assert_allclose(network(x).numpy(), by_hand.numpy(), atol=1e-5)


def test_pictures_take_the_form_of_the_data():
    wide = Image.new("RGB", (40, 20), "red")
    assert Form(10, 3, "crop").of(wide)[:, 0, 0].tolist() == [255, 0, 0]
    assert Form(10, 3, "pad").of(wide)[:, 0, 0].tolist() == [0, 0, 0]
    clear = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    assert (Form(10, 1, "stretch").of(clear) == 255).all()
    assert (Form(10, 1, "stretch", "dark").of(clear) == 0).all()
    deep = Image.fromarray(np.full([10, 10], 32896, np.uint16))
    assert (Form(10, 1, "stretch").of(deep) == 128).all()
    turned = Image.new("L", (10, 20))
    turned.getexif()[0x0112] = 6
    assert Form(8, 1, "crop").of(turned.convert("CMYK")).shape == (1, 8, 8)


def test_training_transfer_and_the_guard(photos, tmp_path):
    make(tmp_path / "data", "--raw", photos, "--image-size", 28, "--channels", 1)
    make(tmp_path / "other", "--raw", photos, "--image-size", 28, "--channels", 1, "--seed", 4)
    flags = ["--algorithm", "protonet", "--way", 2, "--query", 2, "--meta_batch_size", 2]
    flags += ["--meta_iterations", 1, "--val_tasks", 2, "--workers", 1, "--name", "mine"]
    folders = ["--logdir", tmp_path / "log", "--checkpoints", tmp_path]
    said = command("train", *flags, *folders, "--data", tmp_path / "data").stdout
    assert "rotations: off" in said
    task = ["--way", 2, "--query", 2, "--tasks", 8, "--workers", 1]
    mine = ["--checkpoint", tmp_path / "mine.pkl"]
    command("evaluate", *mine, *task, "--data", tmp_path / "data")
    said = command("evaluate", *mine, *task, "--data", tmp_path / "other", status=2).stderr
    assert "was trained or chosen on" in said
    omniglot = ["--checkpoint", "checkpoints/protonet_60w1s.pkl"]
    said = command("evaluate", *omniglot, *task, "--data", tmp_path / "data").stderr
    assert "transfer: " in said and "--ink dark" in said
    # weights that are tested with distorted copies can be measured without them
    copied = safe_pickle.load(omniglot[1])
    copied["config"]["distortions_test"] = 2
    safe_pickle.save(copied, tmp_path / "copied.pkl")
    copies = ["--checkpoint", tmp_path / "copied.pkl", *task, "--data", tmp_path / "data"]
    said = command("evaluate", *copies, status=2).stderr
    assert "drop them: --distortions_test 0" in said
    command("evaluate", *copies, "--distortions_test", 0)
    start = ["--name", "next", "--start", "checkpoints/protonet_60w1s.pkl"]
    again = [*flags[:-2], *folders, "--data", tmp_path / "data", *start]
    said = command("train", *again).stdout
    assert "transfer: checkpoints/protonet_60w1s.pkl was trained on omniglot" in said
    command("train", *again, "--meta_iterations", 2, "--resume")  # which does not forget it
    for trained in (read(tmp_path / "next.pkl"), read_run(tmp_path / "log/next/resume.pkl")):
        (ancestor,) = trained.ancestors
        assert (ancestor.name, ancestor.data.source) == ("protonet_60w1s.pkl", "omniglot")


@pytest.mark.parametrize("replacement", [False, True])
def test_unequal_classes_are_drawn_with_replacement_and_by_drawer(replacement):
    images = ragged([4, 9, 5])
    rng = np.random.default_rng(0)
    support, query = TaskSampler(images, 3, 1, 3, rng, replacement=replacement).indices(500)
    for picks in (support, query):
        assert (picks.drawing < images.counts[picks.row]).all()
    assert query.drawing[query.row == 1].max() == 8  # of the largest class, not of the smallest
    tasks = TaskSampler(images, 3, 1, 3, rng, by_drawer=True).indices(100)
    assert all(len(set(drawn)) == 1 for drawn in tasks.support.drawing)
    assert tasks.query.drawing.max() == 3  # which all classes have


@pytest.mark.parametrize("kind", ["strided", "pooled", "dense", "perceptron"])
def test_what_is_exported_normalises_colours(kind, rng):
    network = build_network(kind, 3, rng, 16, channels=3)
    network.pixels = ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    x = paddle.to_tensor(rng.random([1, 4, 3, 16, 16], np.float32))
    layer = plain_layer(network, network.theta, group=4)
    np.testing.assert_allclose(layer(x[0]).numpy(), network(x)[0].numpy(), atol=1e-5)


def test_keras_network_normalises_colours(rng):
    network = build_network("keras", 3, rng, 16, channels=3)
    x = paddle.to_tensor(rng.random([1, 4, 3, 16, 16], np.float32))
    by_hand = network((x - 0.5) / 0.25)
    network.pixels = ([0.5] * 3, [0.25] * 3)
    np.testing.assert_allclose(network(x).numpy(), by_hand.numpy(), atol=1e-5)
