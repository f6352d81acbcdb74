"""Who may ask the server: this machine's pages, or whoever has the token."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from flask import Flask, request

from maml.system.errors import UserError

THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


class Stranger(UserError):
    """A request that is not answered."""


def protect(app: Flask, token: str | None) -> None:
    """Have the application refuse strangers.

    Without a token, requests are answered if their Host and Origin are this machine: a page of
    another site can neither read nor ask anything, not even if its name leads to 127.0.0.1. With a
    token, everything but the static files asks for it, for the names of the machine are not known.

    Args:
        app (Flask): the application.
        token (str | None): the token, or None for a server that only this machine reaches.
    """

    @app.before_request
    def check() -> None:
        if token is None:
            stated = [f"//{request.headers.get('Host', '')}", request.headers.get("Origin")]
            if any(_host(url) not in THIS_MACHINE for url in stated if url is not None):
                raise Stranger("this page is for this machine alone; --host opens it to others")
        elif request.endpoint != "static":
            given = request.headers.get("X-Token") or request.args.get("token", "")
            if not hmac.compare_digest(given.encode(), token.encode()):
                raise Stranger("open the whole address that the program printed, with its token")


def _host(url: str) -> str | None:
    """The name or number of a URL's host, or None where there is none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
