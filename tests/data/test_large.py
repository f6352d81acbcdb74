"""Large data, simulated: a class of 40,000 images, and a million images in a file with holes."""

import json
import tracemalloc
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import pytest
from helpers import INDEX

import maml
from maml.data.banks import ClassImages
from maml.data.index import IMAGES_INDEX, ImageIndex
from maml.data.tasks import TaskSampler

CLASSES, EACH, SIDE = 1000, 1000, 84
PARTS = {"train": 600, "val": 200, "test": 200}
MIB = 1 << 20


@contextmanager
def little_memory():
    """Fails where NumPy and Python together hold more than 60 MiB at any time."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * MIB


def million(folder):
    """What make_data.py would have written of a million colour images, 21 GB of holes."""
    rows = {part: [f"{part}{k}" for k in range(count)] for part, count in PARTS.items()}
    index = ImageIndex(
        **{**vars(INDEX), "source": "images of all", "image_size": SIDE, "rows": rows},
        channels=3,
        fit="crop",
        ink="",
        mean=[0.5] * 3,
        deviation=[0.2] * 3,
        counts={part: [EACH] * count for part, count in PARTS.items()},
        digests=rows,
        skipped=[],
    )
    (folder / IMAGES_INDEX).write_text(json.dumps(asdict(index)))
    shape = (CLASSES * EACH, 3, SIDE, SIDE)
    with open(folder / "images.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        begin = file.tell()
        file.truncate(begin + int(np.prod(shape)))
        file.seek(begin + (PARTS["train"] * EACH + 7) * int(np.prod(shape[1:])))
        file.write(b"\xff" * int(np.prod(shape[1:])))  # the eighth image of the validation part
    return folder


def test_a_million_images_are_not_read_into_memory(tmp_path):
    million(tmp_path)
    with little_memory():
        data = maml.read_data(tmp_path)
        assert data.shape == (3, SIDE, SIDE) and len(data.train) == PARTS["train"] * EACH
        image, label = data.val[7]
        assert image.min() == 1 and label == 0 and data.val[8][0].max() == 0
        tasks = data.sampler("train", way=5, shot=1, query=15).sample(2)
        assert tasks.query_x.shape == (2, 75, 3, SIDE, SIDE)
        labels = data.train.labels
        (batch,) = maml.data.EpisodeSampler(labels, way=5, shot=5, query=15, batches=1)
        assert len(set(labels[batch])) == 5 and len(set(batch)) == 100


@pytest.mark.parametrize("counts", [[40_000, 20, 30], [40_000] * 3])
def test_a_class_of_40000_images_is_drawn_from_as_from_any(counts):
    counts = np.array(counts)
    images = np.broadcast_to(np.uint8(0), (counts.sum(), 1, 1, 1))
    classes = ClassImages(images, np.cumsum(counts) - counts, counts)
    with little_memory():
        support, query = TaskSampler(classes, 3, 1, 15, np.random.default_rng(0)).indices(64)
    both = np.concatenate([support.drawing, query.drawing], axis=1)
    rows = np.concatenate([support.row, query.row], axis=1)
    assert (both < counts[rows]).all()
    of_largest = both[rows == 0].reshape(64, 16)
    assert all(len(set(task)) == 16 for task in of_largest.tolist())
    assert of_largest.min() < 2000 and of_largest.max() > 38_000
    assert len(np.unique(of_largest)) > 900
