"""Open a page to draw on: examples of some classes, then a query, whose class a trained learner
names at once. Only this machine reaches the page, unless --host says otherwise.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
import sys
from collections.abc import Sequence

from maml.system import device, errors, launch
from maml.system.errors import UserError

EXAMPLE = """examples:
  python -m maml draw                          then open http://127.0.0.1:8041
  python -m maml draw --checkpoints log/demo --port 9000
  python -m maml draw --host 0.0.0.0           for a telephone in the same network; the address
                                               that is printed holds a token
"""
PORTS = range(0, 1 << 16)
THREADS = 8  # that read drawings; one of them at a time computes


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
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address of this machine at which others reach the page; 0.0.0.0 is all of them; "
        "the page then asks for a token (default: %(default)s, this machine alone)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8041,
        metavar="INT",
        help="of the page; 0 takes a free one (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    if arguments.port not in PORTS:
        raise UserError(f"--port must be {PORTS[0]} to {PORTS[-1]}, not {arguments.port}")
    if not launch.is_worker():
        return launch.start(1)
    device.end_with_parent()
    device.use_device(False)
    serve(arguments.host, arguments.port, arguments.checkpoints)
    return 0


def serve(host: str, port: int, checkpoints: str | None) -> None:
    """Serve the page until Ctrl-C; say where it is once it can be reached."""
    import waitress

    from maml.classifier.choose import weight_folders
    from maml.draw.guard import THIS_MACHINE
    from maml.draw.server import LARGEST_BODY, create, find_models

    with listen(host, port) as listening:
        models = find_models(*([checkpoints] if checkpoints else weight_folders()))
        token = None if host in THIS_MACHINE else secrets.token_urlsafe(12)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # many clients are no fault
        server = waitress.create_server(
            create(models, token),
            sockets=[listening],
            threads=THREADS,
            max_request_body_size=LARGEST_BODY,
            ident=None,
        )
        if token:
            print(
                "warning: other machines reach the page too, and nothing is encrypted; whoever has "
                "the whole address, with its token, can use it",
                file=sys.stderr,
            )
        shown = reachable() if host in ("0.0.0.0", "::") else host
        shown = f"[{shown}]" if ":" in shown else shown
        url = f"http://{shown}:{listening.getsockname()[1]}{f'/?token={token}' if token else ''}"
        print(f"draw on {url} with {', '.join(models)}; Ctrl-C ends", flush=True)
        server.run()


def listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Raises:
        UserError: if it is in use, or `host` is no address of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except socket.gaierror as error:
        raise UserError(
            f"--host {host}: {error.strerror}; name an address of this machine"
        ) from None
    except OSError as error:
        why = os.strerror(error.errno or 0)
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(f"--host {host}: {why}; name an address of this machine") from None
        raise UserError(f"port {port} cannot be used ({why}); name another by --port") from None


def reachable() -> str:
    """The address by which others of its network reach this machine, as far as can be known."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("10.255.255.255", 1))  # nothing is sent
            return asking.getsockname()[0]
        except OSError:
            return socket.gethostname()
