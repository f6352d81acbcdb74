#!/usr/bin/env python3
"""Measure weights on handwritten digits that no model here has seen, 8 x 8 pixels: scikit-learn's.

Each of the ten digits has 174 to 183 images, of which the first 174 are taken. They are scaled to
the size that the weights know; ink is high in them, as in Omniglot's arrays.

setup:
  pip install scikit-learn
example:
  python examples/digits.py --checkpoint protonet_60w1s maml_20w1s
"""

import argparse
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

warnings.filterwarnings("ignore", "No ccache found")  # of PaddlePaddle's import

import numpy as np
from PIL import Image

import maml
from maml.system import device, errors
from maml.training.restore import restore

QUERY = 10  # images of each digit in a task


def digits(side: int) -> np.ndarray:
    """The images of each digit, [10, 174, 1, side, side] uint8, ink 255."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.rint(found.images * (255 / 16)).astype(np.uint8)
    size, smooth = (side, side), Image.Resampling.BICUBIC
    images = np.stack([Image.fromarray(x).resize(size, smooth) for x in pixels])
    fewest = np.bincount(found.target).min()
    classes = [images[found.target == digit][:fewest] for digit in range(10)]
    return np.stack(classes)[:, :, None]


def main(argv=None):
    """Print a line for each of the weights and each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", nargs="+", default=["protonet_60w1s", "maml_20w1s"], help="weights"
    )
    parser.add_argument("--tasks", type=int, default=1000)
    arguments = parser.parse_args(argv)
    device.use_device(False)
    for name in arguments.checkpoint:
        trained = maml.load(name).trained
        images = digits(trained.data.image_size)
        for way, shot in ((5, 1), (5, 5), (10, 1), (10, 5)):
            learner = restore(trained, way)
            sampler = maml.TaskSampler(images, way, shot, QUERY, np.random.default_rng(0))
            result = maml.evaluate(learner, sampler, arguments.tasks, every_step=False)
            accuracy, interval = 100 * result.mean, 100 * result.interval
            print(f"{name}: {way}-way {shot}-shot {accuracy:.2f} +- {interval:.2f}%", flush=True)


if __name__ == "__main__":
    errors.run(main)
