"""Omniglot's two archives of images from the repository of its authors, in pieces if need be, and
checked.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from maml.system.errors import UserError

BASE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
MD5 = {
    "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
}
_BLOCK = 1 << 16


class Offline(UserError):
    """No connection, so that something else may stand in; an answer that is no good is another
    `UserError`.
    """


def _bar(name: str, total: int | None, done: int):
    from tqdm import tqdm

    return tqdm(desc=name, total=total, initial=done, unit="B", unit_scale=True, disable=None)


def omniglot(
    folder: str | Path, connect_seconds: float = 10, base: str = BASE, progress: Callable = _bar
) -> None:
    """Fetch the archives that `MD5` names to `folder`, except those that are there with the right
    sum; others are replaced.

    A download stands in `<name>.part` until its sum is right, and the next call continues it.
    `connect_seconds` is also the time to wait for each further piece. `progress(name, total,
    done)`, in bytes, gives a context manager with `update(bytes)`; `total` is None where the server
    does not say. Raises `Offline`, or `UserError` for an answer that is no good or a full disk.
    """
    folder = Path(folder)
    for name, expected in MD5.items():
        final, part = folder / name, folder / f"{name}.part"
        try:
            if _md5(final) == expected:
                continue
            broken = (
                None
                if _md5(part) == expected
                else _continue(base.rstrip("/") + "/" + name, part, connect_seconds, progress)
            )
            found = _md5(part)
            if found == expected:
                os.replace(part, final)
            elif broken:
                raise UserError(
                    f"{part}: the download broke off ({broken}); run this again to continue it"
                )
            else:
                part.unlink()
                raise UserError(
                    f"{name}: the MD5 sum should be {expected}, but what came has {found}; run this"
                    " again"
                )
        except OSError as error:
            raise UserError(
                f"{error.filename or part}: cannot be read or written ({error.strerror})"
            ) from None


def _md5(path: Path) -> str | None:
    return (
        hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if path.is_file()
        else None
    )


def _continue(url: str, part: Path, seconds: float, progress: Callable) -> str | None:
    """Append what `part` lacks of `url`, or write it anew if the server sends all of it. Returns
    why it broke off, if it did.
    """
    done = part.stat().st_size if part.exists() else 0
    response = _open(url, done, seconds)
    piece = response.headers.get("Content-Range", "")
    if response.status == 416 or response.status == 206 and not piece.startswith(f"bytes {done}-"):
        # it has nothing from that byte on, or sends another piece, so what is here is of no use
        response.close()
        done, response = 0, _open(url, 0, seconds)
    with response:
        if response.status not in (200, 206):
            raise UserError(
                f"{url}: the server answers {response.status}; try again later, or put the file in"
                " place by hand"
            )
        done = done if response.status == 206 else 0
        total = None if response.length is None else done + response.length
        part.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab" if done else "wb") as file, progress(part.stem, total, done) as bar:
            while True:
                try:
                    block = response.read(_BLOCK)
                except (OSError, http.client.HTTPException) as error:
                    return str(error) or type(error).__name__
                if not block:
                    return None if total in (None, done) else f"{done} of {total} bytes"
                file.write(block)
                done += len(block)
                bar.update(len(block))


def _open(url: str, start: int, seconds: float):
    """The server's answer, also one that refuses, to a request for `url` from byte `start` on.
    Raises `Offline`.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask():
        try:
            answers.put(urllib.request.urlopen(request, timeout=seconds))
        except Exception as error:
            answers.put(error)

    # urlopen's own limit holds anew for each address of the server and not at all for looking up
    # its name, so a thread waits
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        answer = TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(answer, urllib.error.HTTPError) or not isinstance(answer, Exception):
        return answer
    raise Offline(
        f"{url}: no connection ({getattr(answer, 'reason', answer)}); try again, or put the file in"
        " place by hand"
    )
