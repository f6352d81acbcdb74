"""Errors that users can mend: one sentence each, without a traceback, and exit status 2."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

NEWEST_PYTHON = (3, 13)  # for which there is a PaddlePaddle
PADDLE = (
    "PaddlePaddle is not installed; install one of its builds: pip install paddlepaddle, or with "
    "an NVIDIA GPU paddlepaddle-gpu, never both"
)
NO_PADDLE = (
    "PaddlePaddle is not installed, and there is no build of it for Python {}.{}; use Python 3.10 "
    "to {}.{}"
)
PACKAGES = {  # of modules that an installation may lack, with what brings them
    "paddle": PADDLE,
    "visualdl": "VisualDL is not installed; install it: pip install visualdl",
    "matplotlib": "Matplotlib is not installed; install it: pip install matplotlib",
    "cv2": "OpenCV is not installed; install it: pip install opencv-python-headless",
    "flask": "Flask is not installed; install it: pip install flask",
    "waitress": "waitress is not installed; install it: pip install waitress",
    "sklearn": "scikit-learn is not installed; install it: pip install scikit-learn",
}


class UserError(Exception):
    """An error that the user can mend.

    Its sentence names the file or the setting, and says what to do.

    Example:
        >>> import maml
        >>> try:
        ...     maml.Config(shot=0)
        ... except maml.UserError as error:
        ...     print(error)
        shot must be at least 1, not 0
    """


class Parser(argparse.ArgumentParser):
    """A command line whose errors are `UserError`s, and whose help shows `epilog` as it is."""

    def __init__(self, description: str, epilog: str, **options: Any):
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        """Raise a `UserError` instead of exiting."""
        raise UserError(f"{message}; {self.prog} --help lists all flags")


def run(main: Callable[[], int | None]) -> None:
    """Call a command's `main` and exit with its status.

    The status is 2 after a `UserError`, which is printed as one line, 130 after Ctrl-C, 143 after
    SIGTERM, and 0 where the reader of standard output has gone, as `| head` does.
    """
    _open_streams()
    try:
        signal.signal(signal.SIGTERM, _terminate)
        sys.exit(main() or 0)
    except UserError as error:
        sys.exit(_refuse(error))
    except ModuleNotFoundError as error:
        if not (reason := missing(error.name)):
            raise
        sys.exit(_refuse(reason))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        forget_reader()
        sys.exit(0)


def missing(package: str | None) -> str:
    """Return what to do about a package that is not installed; nothing if none of ours needs it."""
    python = sys.version_info[:2]
    if package == "paddle" and python > NEWEST_PYTHON:
        return NO_PADDLE.format(*python, *NEWEST_PYTHON)
    return PACKAGES.get(package or "", "")


def forget_reader() -> None:
    """Let standard output go nowhere, where its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit, too


def _open_streams() -> None:
    """Make printing safe where a stream is closed, or its encoding lacks Chinese characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace" if name == "stderr" else "replace")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End after SIGTERM as after Ctrl-C: what is open is closed, and no half of a file stays."""
    raise SystemExit(128 + number)


def _refuse(reason: object) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return 2
