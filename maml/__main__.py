"""The commands of the project: python -m maml COMMAND."""

from __future__ import annotations

import importlib
import sys

from maml.system import errors

COMMANDS = {
    "data": "turn raw Omniglot into arrays (make_data.py)",
    "train": "train a learner, watch it in VisualDL, resume it (train.py)",
    "evaluate": "measure weights; classify your own pictures; write figures (evaluate.py)",
    "draw": "open a page on which to draw your own characters",
    "table": "measure all weights, and write the tables of results",
    "demo": "get the data that `make demo` trains on",
}
OVERVIEW = "\n".join(
    ["commands:", *(f"  python -m maml {name:9} {text}" for name, text in COMMANDS.items())]
)


def main() -> int | None:
    """Run the command that is named first; its flags follow."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        name = sys.argv.pop(1)
        sys.argv[0] = f"maml {name}"
        return importlib.import_module(f"maml.cli.{name}").main()
    parser = errors.Parser(__doc__ or "", f"{OVERVIEW}\n\nEach has --help.", prog="python -m maml")
    parser.add_argument("command", nargs="?", choices=list(COMMANDS), metavar="COMMAND")
    parser.parse_args()
    print(OVERVIEW)
    return 0


def run() -> None:
    """The console script `maml`."""
    errors.run(main)


if __name__ == "__main__":
    run()
