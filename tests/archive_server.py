"""A server on this machine that stands in for Omniglot's, and behaves as badly as it is told to."""

import hashlib
import http.server
import threading
from contextlib import contextmanager
from functools import partial

import numpy as np

from maml.data import download

NAMES = ("images_background.zip", "images_evaluation.zip")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, well or as badly as `server.mode` says."""

    def do_GET(self):
        server, name = self.server, self.path.strip("/")
        body, asked = server.files.get(name), self.headers.get("Range")
        server.requests.append((name, asked))
        if body is None:
            return self.send_error(404)
        start = int(asked[len("bytes=") : -1]) if asked and server.mode != "ignores range" else 0
        if start >= len(body):
            return self.send_error(416)
        if start and server.mode == "other piece":
            start += 1
        piece = body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.mode != "no length":
            self.send_header(
                "Content-Length",
                str(len(piece) + {"long length": 9, "short length": -9}.get(server.mode, 0)),
            )
        self.end_headers()
        if server.mode in ("drops", "stalls"):
            piece = piece[: len(piece) // 2]
        self.wfile.write(piece)
        self.wfile.flush()
        if server.mode == "stalls":
            server.released.wait(5)

    def log_message(self, *_):
        pass


@contextmanager
def running(monkeypatch):
    """The server, and `download` made to expect what it holds."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.mode, server.requests, server.released = "good", [], threading.Event()
    server.base = f"http://127.0.0.1:{server.server_port}/python/"
    serve(
        server,
        monkeypatch,
        {name: np.random.default_rng(i).bytes(300_000 + i) for i, name in enumerate(NAMES)},
    )
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


def serve(server, monkeypatch, contents):
    server.files = {f"python/{name}": data for name, data in contents.items()}
    monkeypatch.setattr(
        download, "MD5", {name: hashlib.md5(data).hexdigest() for name, data in contents.items()}
    )
