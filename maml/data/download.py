"""Download of Omniglot's two archives of images from the repository of its authors.

An interrupted download is continued, and the result is checked.
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
from typing import Any

from maml.system.errors import UserError

BASE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
MD5 = {
    "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
}
_BLOCK = 1 << 16  # bytes that are read at once


class Offline(UserError):
    """There is no connection, so that the caller may use other data.

    A wrong answer of the server is a plain `UserError` instead.
    """


def _bar(name: str, total: int | None, done: int) -> Any:
    from tqdm import tqdm

    return tqdm(desc=name, total=total, initial=done, unit="B", unit_scale=True, disable=None)


def omniglot(
    folder: str | Path, connect_seconds: float = 10, base: str = BASE, progress: Callable = _bar
) -> None:
    """Download the archives that `MD5` names to a folder.

    An archive that is in the folder and has the right MD5 sum is kept; any other is replaced. Until
    its sum is right, a download is a file `<name>.part`, which the next call continues.

    Args:
        folder (str | Path): where the archives go.
        connect_seconds (float): how long to wait for a connection, and for each further piece.
        base (str): address of the folder with the archives.
        progress (Callable): takes an archive's name, its size in bytes (None if the server does not
            state it) and the number of bytes that are already there. Returns a context manager
            with a method `update(bytes)`.

    Raises:
        Offline: if there is no connection.
        UserError: if the server's answer is wrong, or if a file cannot be written.
    """
    folder = Path(folder)
    for name, expected in MD5.items():
        final, part = folder / name, folder / f"{name}.part"
        try:
            if _md5(final) == expected:
                continue
            interruption = None
            if _md5(part) != expected:
                url = base.rstrip("/") + "/" + name
                interruption = _continue(url, part, connect_seconds, progress)
            found = _md5(part)
            if found == expected:
                os.replace(part, final)
            elif interruption:
                raise UserError(
                    f"{part}: the download broke off ({interruption}); run this again to continue "
                    "it"
                )
            else:
                part.unlink()
                raise UserError(
                    f"{name}: the MD5 sum should be {expected}, but what came has {found}; run "
                    "this again"
                )
        except OSError as error:
            raise UserError(
                f"{error.filename or part}: cannot be read or written ({error.strerror})"
            ) from None


def _md5(path: Path) -> str | None:
    """Return the MD5 sum of a file, or None if there is no such file."""
    if not path.is_file():
        return None
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _continue(url: str, part: Path, seconds: float, progress: Callable) -> str | None:
    """Append to the file `part` the bytes of `url` that it lacks.

    If the server sends all bytes, the file is written from its start. Return why the download was
    interrupted, or None if it was not.
    """
    done = part.stat().st_size if part.exists() else 0
    response = _open(url, done, seconds)
    piece = response.headers.get("Content-Range", "")
    if response.status == 416 or response.status == 206 and not piece.startswith(f"bytes {done}-"):
        # The server has no bytes from there on, or sends another piece: start again from 0.
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


def _open(url: str, start: int, seconds: float) -> Any:
    """Return the server's response to a request for `url` from byte `start` on.

    The response may be a refusal. Without a response, `Offline` is raised.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=seconds))
        except Exception as error:
            answers.put(error)

    # urlopen applies its own timeout to each address of the server, and not to the look-up of the
    # server's name. So a thread calls urlopen, and this function waits for the thread.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        answer = TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(answer, urllib.error.HTTPError) or not isinstance(answer, Exception):
        return answer
    raise Offline(
        f"{url}: no connection ({getattr(answer, 'reason', answer)}); try again, or put the file "
        "in place by hand"
    )
