"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """One sentence that names the file or the setting and says what to do; reaches the user without a traceback."""


def run(main: Callable[[], int | None]) -> None:
    """Call a script's `main` and exit: with its status, or with 2 after printing a `UserError` as one line."""
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
