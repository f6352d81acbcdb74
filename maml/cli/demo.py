"""Make the arrays for the demo: of Omniglot or, without a connection to download it, of invented
alphabets. The output says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maml.data.arrays import convert, save_arrays
from maml.data.demo import (
    NAMES,
    SEED,
    SIZE,
    SPLIT,
    find_raw,
    is_up_to_date,
    reading_progress,
)
from maml.data.raw import find_characters, source_of
from maml.system import errors

EXAMPLE = """examples:
  python -m maml demo --out data/demo
  OMNIGLOT=/mnt/omniglot.zip python -m maml demo --out data/demo
      raw images from there, and from nowhere else
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Find or make the raw images, and write the arrays."""
    parser = errors.Parser(__doc__, EXAMPLE, prog="python -m maml demo")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where the arrays go"
    )
    out = parser.parse_args(argv).out
    raw, why = find_raw()
    characters = find_characters(raw)
    source = source_of(raw, characters)
    print("=" * 80, f"DATA: {NAMES[source]}", f"({raw}, {why})", "=" * 80, sep="\n", flush=True)
    if not is_up_to_date(out, raw, characters, source):
        save_arrays(*convert(raw, SIZE, SPLIT, SEED, progress=reading_progress), out)
    print(f"{out}: holds the arrays of its {len(characters)} characters")
