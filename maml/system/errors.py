"""The one kind of error that is the user's to mend, and how it reaches him: as one line, with exit
status 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """One sentence that names the file or the setting and says what to do; reaches the user without
    a traceback.
    """


class Parser(argparse.ArgumentParser):
    """A command line whose errors are `UserError`s, and whose help shows `epilog` as it stands."""

    def __init__(self, description: str, epilog: str, **options):
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help lists what there is")


def run(main: Callable[[], int | None]) -> None:
    """Call a script's `main` and exit: with its status, with 2 after printing a `UserError` as one
    line, or with 130 after Ctrl-C.
    """
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
