#!/usr/bin/env python3
"""Turn raw Omniglot into omniglot_train.npy, omniglot_val.npy and omniglot_test.npy, (characters,
20, 1, 28, 28) each.
"""

from pathlib import Path

from maml.data.arrays import convert, save_arrays
from maml.data.raw import RAW_SIZE
from maml.data.splits import PARTS, character_of
from maml.system import errors
from maml.system.progress import watched

EXAMPLE = """example:
  python make_data.py --raw data/omniglot
      973 / 325 / 325 characters, at random
  python make_data.py --split vinyals --lists splits/vinyals
      as Matching and Prototypical Networks report
"""


def main() -> None:
    parser = errors.Parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--raw",
        default="data/omniglot",
        metavar="PATH",
        help=(
            "folder with the alphabets, with images_background and images_evaluation (folders or"
            " zips), or a zip of them (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--out",
        default=".",
        metavar="DIR",
        help="where the arrays go (default: the current folder)",
    )
    parser.add_argument(
        "--split",
        default="random",
        choices=["random", "background", "vinyals"],
        help=(
            "random: 60/20/20%% of the characters; background: test on the 20 evaluation alphabets;"
            " vinyals: by lists (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--lists", metavar="DIR", help="train.txt, val.txt and test.txt for --split vinyals"
    )
    parser.add_argument(
        "--image-size",
        "--image_size",
        type=int,
        default=28,
        metavar="PIXELS",
        help="side of the scaled images (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    arguments = parser.parse_args()
    if not 8 <= arguments.image_size <= RAW_SIZE:
        raise errors.UserError(
            f"--image-size must be between 8 and {RAW_SIZE}, not {arguments.image_size}"
        )
    if arguments.seed < 0:
        raise errors.UserError(f"--seed must be at least 0, not {arguments.seed}")

    arrays, index = convert(
        arguments.raw,
        arguments.image_size,
        arguments.split,
        arguments.seed,
        arguments.lists,
        progress=lambda items, total: watched(items, total, "characters", "reading"),
    )
    save_arrays(arrays, index, arguments.out)
    characters = {part: len({character_of(row) for row in index.rows[part]}) for part in PARTS}
    if index.source == "stand-in":
        print("These are the procedural stand-in's characters, NOT Omniglot's.")
    print(
        f"{sum(characters.values())} character folders,"
        f" {' / '.join(str(characters[part]) for part in PARTS)}"
    )
    for part in PARTS:
        print(f"{Path(arguments.out) / f'omniglot_{part}.npy'}: {arrays[part].shape}")


if __name__ == "__main__":
    errors.run(main)
