"""Open a page to draw on: examples of some classes, then a query, whose class a trained learner
names at once. The page is served to this machine alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from maml.system import device, errors, launch
from maml.system.errors import UserError

EXAMPLE = """examples:
  python -m maml draw                          then open http://127.0.0.1:8041
  python -m maml draw --checkpoints log/demo --port 9000
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags; start the process that serves, or be it."""
    parser = errors.Parser(__doc__ or "", EXAMPLE, prog="python -m maml draw")
    parser.add_argument(
        "--checkpoints",
        metavar="DIR",
        help="folder with trained weights (default: MAML_CHECKPOINTS, or checkpoints here or "
        "beside the package, or the weights in it)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8041,
        metavar="INT",
        help="of the page on 127.0.0.1 (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    if not launch.is_worker():
        return launch.start(1)
    device.end_with_parent()
    device.use_device(False)

    from maml.classifier.choose import weight_folders
    from maml.draw.server import create, find_models

    named = arguments.checkpoints
    models = find_models(*([named] if named else weight_folders()))
    print(
        f"draw on http://127.0.0.1:{arguments.port} with {', '.join(models)}; Ctrl-C ends",
        flush=True,
    )
    try:
        create(models).run(host="127.0.0.1", port=arguments.port)
    except OSError as error:
        raise UserError(
            f"port {arguments.port} cannot be used ({error.strerror}); name another by --port"
        ) from None
    return 0
