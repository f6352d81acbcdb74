"""Datasets and tasks for paddle.io, and the public reader of what make_data.py wrote."""

import warnings

import numpy as np
import paddle
import pytest
from helpers import command
from paddle.io import DataLoader
from paddle.vision import transforms
from PIL import Image

import maml
from maml.data import EpisodeSampler, Form, ImageFolder, Omniglot, arrays, stand_in
from maml.data.raw import find_characters
from maml.data.tasks import TaskSampler
from maml.system.errors import UserError

COUNTS = {"a/red": 5, "a/green": 7, "b/blue": 6, "b/grey": 9, "c/é 白": 5}
COLOURS = ("red", "green", "blue", "grey", "white")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawings")
    stand_in.write(folder / "raw", alphabets=3, characters=4)
    arrays.save_arrays(*arrays.convert(folder / "raw", 28, "random", 0), folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Classes of unlike counts and of one colour each, and their arrays."""
    folder = tmp_path_factory.mktemp("photos")
    for (name, count), colour in zip(COUNTS.items(), COLOURS):
        (folder / "raw" / name).mkdir(parents=True)
        for n in range(count):
            Image.new("RGB", (30 + n, 20), colour).save(folder / "raw" / name / f"{n}.png")
    command("data", "--raw", folder / "raw", "--out", folder / "data", "--image-size", 9)
    return folder


def episodes_of(loader):
    return [maml.TaskBatch(*(part.numpy() for part in tasks)) for tasks in loader]


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_omniglot_is_what_the_arrays_hold(drawings, part):
    """Drawing k of row n is item 20 n + k, with label n and ink in high values."""
    dataset, data = Omniglot(drawings / "raw", part), maml.read_data(drawings)
    rows = data.images[part]
    assert dataset.classes == data.index.rows[part] and len(dataset) == 20 * len(rows)
    for number in (0, 19, 20, len(dataset) - 1):
        image, label = dataset[number]
        assert image.dtype == np.float32 and label == number // 20
        np.testing.assert_allclose(image, rows[label, number % 20] / np.float32(255), rtol=1e-6)
        same, also = getattr(data, part)[number]
        np.testing.assert_array_equal(same, image)
        assert also == label and dataset.labels[number] == label
    assert data.pixels is None and data.shape == (1, 28, 28)


def test_omniglot_by_lists_is_what_its_arrays_hold(drawings, tmp_path):
    """Each rotation of a character is a class."""
    names = [character.name for character in find_characters(drawings / "raw")]
    for part, name in zip(("train", "val", "test"), names):
        (tmp_path / f"{part}.txt").write_text(f"{name}/rot000\n{name}/rot270\n")
    dataset = Omniglot(drawings / "raw", "val", split="vinyals", lists=tmp_path)
    images, index = arrays.convert(drawings / "raw", 28, "vinyals", 0, tmp_path)
    assert dataset.classes == index.rows["val"] and dataset.classes[1].endswith("rot270")
    image, label = dataset[33]
    np.testing.assert_allclose(image * 255, images["val"][1, 13], rtol=1e-6)
    assert label == 1 and len(dataset) == 40
    with pytest.raises(UserError, match="^split vinyals needs lists"):
        Omniglot(drawings / "raw", split="vinyals")


def test_a_folder_is_what_its_arrays_hold(photos):
    """With classes of unlike counts, and a part's images where they begin in the file."""
    data, form = maml.read_data(photos / "data"), Form(9, 3, "crop")
    for part in ("train", "val", "test"):
        dataset, stored = ImageFolder(photos / "raw", part, form), data.dataset(part)
        assert dataset.classes == stored.classes
        assert dataset.labels.tolist() == stored.labels.tolist()
        assert [dataset.classes[k] for k in dataset.labels] == [
            name for name in dataset.classes for _ in range(COUNTS[name])
        ]
        for ours, theirs in zip(dataset, stored):
            np.testing.assert_array_equal(ours[0], theirs[0])
    whole = ImageFolder(photos / "raw", form=form)
    assert whole.classes == sorted(COUNTS) and len(whole) == sum(COUNTS.values())
    assert whole[0][0][:, 4, 4].tolist() == pytest.approx([0, 128 / 255, 0])  # a/green
    mean, deviation = data.pixels
    assert data.shape == (3, 9, 9) and len(mean) == len(deviation) == 3


def test_a_transform_takes_a_picture_as_those_of_paddle_vision_do(photos, drawings):
    form = Form(9, 3, "pad")
    tensor = ImageFolder(photos / "raw", form=form, transform=transforms.ToTensor())[0][0]
    assert isinstance(tensor, paddle.Tensor) and tensor.shape == [3, 9, 9]
    seen = Omniglot(drawings / "raw", transform=lambda picture: picture)[0][0]
    assert (seen.mode, seen.size) == ("L", (28, 28))
    data = maml.read_data(photos / "data")
    assert data.dataset("val", lambda picture: (picture.mode, picture.size))[0][0][0] == "RGB"


def test_episodes_are_those_of_the_task_sampler(photos):
    """To the image; labels are a renaming of them, the same for support and query."""
    dataset = maml.read_data(photos / "data").train
    sampler = EpisodeSampler(dataset.labels, way=2, shot=2, query=3, tasks=4, batches=3, seed=7)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=sampler.collate)
    found = episodes_of(loader)
    assert len(loader) == len(found) == 3
    plain = maml.read_data(photos / "data").sampler("train", way=2, shot=2, query=3, seed=7)
    for tasks in found:
        expected = plain.sample(4)
        np.testing.assert_array_equal(tasks.support_x, expected.support_x)
        np.testing.assert_array_equal(tasks.query_x, expected.query_x)
        for task in range(4):
            names = dict(zip(expected.support_y[task], tasks.support_y[task]))
            assert sorted(names.values()) == [0, 1]
            for ours, theirs in zip(tasks[1::2], expected[1::2]):
                assert [names[y] for y in theirs[task]] == ours[task].tolist()
    assert tasks.support_y.dtype == np.int64


def test_a_batch_is_plain_indices_of_disjoint_support_and_query(photos):
    """So that any dataset and any collate function serve; each pass draws other tasks."""
    labels = ImageFolder(photos / "raw").labels
    sampler = EpisodeSampler(labels, way=3, shot=1, query=4, tasks=2, batches=50)
    first, second = list(sampler), list(sampler)
    assert len(sampler) == len(first) == 50 and first != second
    assert all(type(number) is int for number in first[0])
    drawn = np.array(first).reshape(100, 15)
    assert all(len(set(task)) == 15 for task in drawn.tolist())
    of_class = labels[drawn]
    assert all((np.bincount(task, minlength=5) % 5 == 0).all() for task in of_class)
    assert all(len(set(task)) == 3 for task in of_class[:, :3].tolist())  # one of each, support
    assert list(EpisodeSampler(labels, 3, 1, 4, tasks=2, batches=50)) == first  # of the same seed


def test_processes_draw_their_parts_of_one_stream(photos):
    labels = ImageFolder(photos / "raw").labels
    task = {"way": 2, "shot": 1, "query": 2, "tasks": 4, "batches": 3}
    whole = list(EpisodeSampler(labels, **task))
    one = list(EpisodeSampler(labels, **task, part=slice(0, 1)))
    other = list(EpisodeSampler(labels, **task, part=slice(1, 4)))
    assert [a + b for a, b in zip(one, other)] == whole


def test_any_datasets_labels_serve_in_any_order():
    """Those of paddle.vision's datasets are arrays [N, 1] and not sorted."""
    labels = np.array([3, 9, 3, 9, 9, 3, 3])[:, None]
    batches = EpisodeSampler(labels, way=2, shot=1, query=2, batches=20)
    for batch in batches:
        assert sorted(labels[batch].ravel().tolist()) == [3, 3, 3, 9, 9, 9]
        items = [(np.zeros([1, 2, 2], np.float32), labels[number]) for number in batch]
        tasks = batches.collate(items)
        assert tasks.query_y.sum() == 2 and tasks.query_x.shape == (1, 4, 1, 2, 2)
    with pytest.raises(UserError, match="class 9 has 3; lower shot or query"):
        EpisodeSampler(labels, way=2, shot=2, query=2)


def test_a_learner_trains_from_a_loader(drawings, rng):
    dataset = Omniglot(drawings / "raw")
    sampler = EpisodeSampler(dataset.labels, way=3, shot=1, query=2, tasks=2, batches=2)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=sampler.collate)
    learner = maml.MAML(maml.ConvNet(3, rng, filters=4), 0.1, 1e-3, steps=1, steps_test=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = [learner.meta_step(maml.TaskBatch(*tasks)) for tasks in loader]
    assert len(losses) == 2 and all(np.isfinite(list(said.values())).all() for said in losses)


def test_what_is_wrong_is_named(photos, tmp_path):
    with pytest.raises(UserError, match="mode is one of train, val, test, not all"):
        Omniglot(tmp_path, "all")
    with pytest.raises(UserError, match="mode is one of all, train, val, test, not tset"):
        ImageFolder(photos / "raw", "tset")
    with pytest.raises(UserError, match="no such folder or zip; download=True fetches Omniglot"):
        Omniglot(tmp_path / "none")
    with pytest.raises(UserError, match="mode is one of train, val, test, not x"):
        maml.read_data(photos / "data").sampler("x")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="a/1.png: is not an image .*; replace or remove it"):
        ImageFolder(tmp_path)[0]
    Image.new("L", (40, 40), "white").save(tmp_path / "a/1.png")
    with pytest.raises(UserError, match="a/1.png: shows no ink .*; replace or remove it"):
        ImageFolder(tmp_path, form=Form())[0]


def test_tasks_within_groups(drawings):
    data = maml.read_data(drawings)
    sampler = data.sampler("train", way=2, shot=1, query=1, within_groups=True)
    rows = sampler.indices(20).support.row
    assert all(len({data.index.rows["train"][r].split("/")[0] for r in task}) == 1 for task in rows)
    turned = data.sampler("train", way=2, rotations=True)
    assert isinstance(turned, TaskSampler) and turned.classes == 4 * len(data.images["train"])
