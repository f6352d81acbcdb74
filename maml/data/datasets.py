"""Datasets for `paddle.io`: Omniglot, any folder of images, and what make_data.py wrote.

Of this folder's modules this one and episodes.py import Paddle, and of Paddle `paddle.io` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from paddle.io import Dataset
from PIL import Image

from maml.data import download as downloads
from maml.data.arrays import read_arrays, read_drawings
from maml.data.banks import ClassImages, Stack, as_ink
from maml.data.folders import Bad, Item, from_folder
from maml.data.form import Form
from maml.data.index import Index
from maml.data.ink import NoDrawing
from maml.data.raw import find_characters
from maml.data.splits import PARTS, split_characters, split_classes
from maml.data.tasks import AlphabetSampler, TaskSampler
from maml.system.errors import UserError

Transform = Callable[[Image.Image], Any]


class Pixels(Protocol):
    """Images by their numbers: an array, or what reads files."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> np.ndarray:
        """[C, H, W] uint8"""


class ImageDataset(Dataset):
    """Images and the number of each one's class.

    An item is a pair: the image, [C, H, W] float32 between 0 and 1, and its label, an int. With a
    `transform` the image is what that makes of it.

    Args:
        images (Pixels): the images, [N, C, H, W] uint8.
        labels (ndarray): the class of each, [N] int.
        classes (list[str]): the names of the classes.
        transform (Callable | None): takes a PIL image, as those of `paddle.vision.transforms` do.

    Example:
        >>> import numpy as np
        >>> from maml.data import ImageDataset
        >>> images = np.full([4, 3, 8, 8], 255, np.uint8)
        >>> dataset = ImageDataset(images, np.array([0, 0, 1, 1]), ["paper", "snow"])
        >>> image, label = dataset[3]
        >>> image.shape, float(image.max()), dataset.classes[label]
        ((3, 8, 8), 1.0, 'snow')
    """

    def __init__(
        self,
        images: Pixels,
        labels: np.ndarray,
        classes: list[str],
        transform: Transform | None = None,
    ):
        super().__init__()
        self.images, self.labels, self.classes = images, labels, classes
        self.transform = transform

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        """The image of this number and its label."""
        image, label = np.asarray(self.images[number]), int(self.labels[number])
        if self.transform is None:
            return as_ink(image), label
        flat = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        return self.transform(Image.fromarray(flat)), label


class Omniglot(ImageDataset):
    """Omniglot's drawings of the characters of one part, with ink in high values.

    Items and `transform` are as in `maml.data.ImageFolder`. All drawings are read at once.

    Args:
        root (str | Path): folder or zip of the raw data, in any form that make_data.py reads.
        mode (str): the part: "train", "val" or "test".
        image_size (int): side of the images in pixels, 8 to 105.
        split (str): "random", "maml", "groups", "background", "background-alphabets" or "vinyals",
            see docs/data.md.
        seed (int): seed of the split.
        transform (Callable | None): takes a PIL image; None for arrays [1, H, W] float32.
        download (bool): fetch Omniglot (15 MB) to `root` if it is not there.
        lists (str | Path | None): folder with the lists of the split "vinyals", whose classes are
            rotations of characters.

    Raises:
        UserError: if the raw data are not there or cannot be read, or there is no such part.

    Example:
        >>> from maml.data import Omniglot, stand_in
        >>> stand_in.write("raw", alphabets=3, characters=2)
        >>> dataset = Omniglot("raw", mode="train")
        >>> image, label = dataset[25]
        >>> len(dataset), image.shape, label, len(dataset.classes)
        (60, (1, 28, 28), 1, 3)
    """

    def __init__(
        self,
        root: str | Path = "data/omniglot",
        mode: str = "train",
        image_size: int = 28,
        split: str = "random",
        seed: int = 0,
        transform: Transform | None = None,
        download: bool = False,
        lists: str | Path | None = None,
    ):
        _check_mode(mode, PARTS)
        if download and not Path(root).exists():
            downloads.omniglot(Path(root))
        if not Path(root).exists():
            raise UserError(f"{root}: no such folder or zip; download=True fetches Omniglot")
        characters = find_characters(root)
        rows = split_characters(characters, split, seed, lists)[mode]
        images = read_drawings(characters, {mode: rows}, image_size)[mode]
        labels = np.arange(len(rows)).repeat(images.shape[1])
        super().__init__(images.reshape(-1, *images.shape[2:]), labels, rows, transform)


class ImageFolder(ImageDataset):
    """The images below a folder, which holds a folder for each class, maybe in groups.

    An image is read when it is asked for. An item is a pair of the image, [C, H, W] float32 between
    0 and 1, and its label, an int. A `transform` takes the PIL image of that form instead, so that
    what it returns is the item's image.

    Args:
        root (str | Path): the folder, as make_data.py reads it.
        mode (str): "train", "val" or "test" for the classes of that part of the split; "all" for
            all classes.
        form (Form): side, channels and fit of the images.
        split (str): "random" (60 / 20 / 20 % of the classes), "groups" or "maml".
        seed (int): seed of the split.
        transform (Callable | None): takes a PIL image, as those of `paddle.vision.transforms` do.

    Raises:
        UserError: if there is no image in a class's folder, or there is no such part. An image that
            cannot be read raises it when it is asked for.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from maml.data import Form, ImageFolder
        >>> for name in ("red", "blue"):
        ...     Path("photos", name).mkdir(parents=True)
        ...     Image.new("RGB", (50, 40), name).save(f"photos/{name}/1.png")
        >>> dataset = ImageFolder("photos", form=Form(84, channels=3, fit="pad"))
        >>> image, label = dataset[1]
        >>> image.shape, dataset.classes[label], image[:, 42, 42].tolist()
        ((3, 84, 84), 'red', [1.0, 0.0, 0.0])
    """

    def __init__(
        self,
        root: str | Path,
        mode: str = "all",
        form: Form = Form(84, channels=3, fit="crop"),  # noqa: B008
        split: str = "random",
        seed: int = 0,
        transform: Transform | None = None,
    ):
        _check_mode(mode, ("all", *PARTS))
        items = [item for item in from_folder(root) if item.name]
        classes = sorted({item.name for item in items})
        if mode != "all":
            classes = sorted(split_classes(classes, split, seed)[mode])
        number = {name: k for k, name in enumerate(classes)}
        items = [item for item in items if item.name in number]
        labels = np.array([number[item.name] for item in items], int)
        super().__init__(_Files(items, form), labels, classes, transform)


class _Files:
    """Images that are read when they are asked for."""

    def __init__(self, items: Sequence[Item], form: Form):
        self.items, self.form = items, form

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> np.ndarray:
        item = self.items[number]
        try:
            return self.form.of(item.read().picture)
        except (Bad, NoDrawing) as error:
            raise UserError(f"{item.file}: {error}; replace or remove it") from None


def _check_mode(mode: str, known: Sequence[str]) -> None:
    if mode not in known:
        raise UserError(f"mode is one of {', '.join(known)}, not {mode}")


@dataclass(frozen=True)
class Data:
    """The images of each part, what describes them, and the tasks that they give.

    Args:
        images (dict[str, ndarray | ClassImages]): by part, as `read_arrays` returns them.
        index (Index): what make_data.py made them of.
    """

    images: dict[str, Stack]
    index: Index

    @property
    def train(self) -> ImageDataset:
        """The training part."""
        return self.dataset("train")

    @property
    def val(self) -> ImageDataset:
        """The validation part."""
        return self.dataset("val")

    @property
    def test(self) -> ImageDataset:
        """The test part."""
        return self.dataset("test")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: channels, height, width."""
        form = self.index.form
        return (form.channels, form.image_size, form.image_size)

    @property
    def pixels(self) -> tuple[list[float], list[float]] | None:
        """Mean and deviation of the training part's pixels, by channel; a network's `pixels`.

        None for Omniglot's arrays, which networks take as they are.
        """
        return self.index.pixels

    def dataset(self, part: str, transform: Transform | None = None) -> ImageDataset:
        """Return a part as a `paddle.io.Dataset`, with the `transform` of `ImageFolder`."""
        _check_mode(part, PARTS)
        stack, rows = self.images[part], self.index.rows[part]
        if isinstance(stack, ClassImages):
            first, counts = int(stack.start[0]), stack.counts
            images = stack.images[first : first + int(counts.sum())]
        else:
            images = stack.reshape(-1, 1, *stack.shape[3:])
            counts = np.full(len(stack), stack.shape[1])
        return ImageDataset(images, np.arange(len(rows)).repeat(counts), rows, transform)

    def sampler(
        self,
        part: str,
        way: int = 5,
        shot: int = 1,
        query: int = 15,
        seed: int = 0,
        rotations: bool = False,
        within_groups: bool = False,
    ) -> TaskSampler | AlphabetSampler:
        """Return what draws tasks of a part.

        Args:
            part (str): "train", "val" or "test".
            way (int): classes in a task, at least 2.
            shot (int): support images of each class.
            query (int): query images of each class.
            seed (int): the same tasks come of the same seed.
            rotations (bool): an image turned by 90, 180 or 270 degrees is of a class of its own.
            within_groups (bool): draw all classes of a task from one group, such as an alphabet;
                it takes no rotations.

        Raises:
            UserError: if there are too few classes, or images of a class.
        """
        _check_mode(part, PARTS)
        images, rows, rng = self.images[part], self.index.rows[part], np.random.default_rng(seed)
        if within_groups:
            return AlphabetSampler(images, rows, way, shot, query, rng)
        return TaskSampler(images, way, shot, query, rng, rotations, names=rows)


def read_data(data: str | Path) -> Data:
    """Read what make_data.py wrote: Omniglot's arrays, or the images of any classes.

    Args:
        data (str | Path): the folder that --out named.

    Returns:
        Data: the datasets `train`, `val` and `test`; `sampler(part, way, shot, query, seed)`, which
        draws tasks; the `index`; and `pixels`, the mean and deviation to normalise images by.

    Raises:
        UserError: if a file cannot be read, or is not what the index describes.

    Example:
        >>> import maml
        >>> from maml.data import arrays, stand_in
        >>> stand_in.write("raw", alphabets=3, characters=3)
        >>> arrays.save_arrays(*arrays.convert("raw", 28, "random", 0), "data")
        >>> data = maml.read_data("data")
        >>> len(data.train), data.train.classes[0], data.shape
        (100, 'Standin_02/character02', (1, 28, 28))
        >>> tasks = data.sampler("train", way=5, shot=1, query=15, seed=0).sample(4)
        >>> tasks.query_x.shape
        (4, 75, 1, 28, 28)
    """
    return Data(*read_arrays(data))
