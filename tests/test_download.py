import hashlib
import http.server
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial

import numpy as np
import pytest
from conftest import ROOT

from maml import demo_data, download, glyphs, omniglot
from maml.errors import UserError

NAMES = ("images_background.zip", "images_evaluation.zip")


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`, well or as badly as `server.mode` says."""

    def do_GET(self):
        server, name = self.server, self.path.strip("/")
        body, asked = server.files.get(name), self.headers.get("Range")
        server.requests.append((name, asked))
        if body is None:
            return self.send_error(404)
        start = int(asked[len("bytes="):-1]) if asked and server.mode != "ignores range" else 0
        if start >= len(body):
            return self.send_error(416)
        if start and server.mode == "other piece":
            start += 1
        piece = body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.mode != "no length":
            self.send_header("Content-Length", str(len(piece) + {"long length": 9, "short length": -9}.get(server.mode, 0)))
        self.end_headers()
        if server.mode in ("drops", "stalls"):
            piece = piece[:len(piece) // 2]
        self.wfile.write(piece)
        self.wfile.flush()
        if server.mode == "stalls":
            server.released.wait(5)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine, and `download` made to expect what it holds."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.mode, server.requests, server.released = "good", [], threading.Event()
    server.base = f"http://127.0.0.1:{server.server_port}/python/"
    serve(server, monkeypatch, {name: np.random.default_rng(i).bytes(300_000 + i) for i, name in enumerate(NAMES)})
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def serve(server, monkeypatch, contents):
    server.files = {f"python/{name}": data for name, data in contents.items()}
    monkeypatch.setattr(download, "MD5", {name: hashlib.md5(data).hexdigest() for name, data in contents.items()})


def fetch(server, folder, **options):
    download.omniglot(folder, base=server.base, **options)


def assert_whole(server, folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    for name in NAMES:
        assert (folder / name).read_bytes() == server.files[f"python/{name}"]


def test_whole(server, tmp_path):
    bars = []

    class Bar:
        def __init__(self, *arguments):
            self.arguments, self.bytes = arguments, 0
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, count):
            self.bytes += count

    fetch(server, tmp_path / "new" / "omniglot", progress=Bar)
    assert_whole(server, tmp_path / "new" / "omniglot")
    assert [(*bar.arguments, bar.bytes) for bar in bars] == [(NAMES[0], 300_000, 0, 300_000), (NAMES[1], 300_001, 0, 300_001)]


def test_what_is_there_is_not_fetched_unless_it_is_wrong(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / NAMES[1]).write_bytes(b"something else")
    server.requests.clear()
    fetch(server, tmp_path)
    assert server.requests == [(f"python/{NAMES[1]}", None)]
    assert_whole(server, tmp_path)


def test_resumes(server, tmp_path):
    (tmp_path / f"{NAMES[0]}.part").write_bytes(server.files[f"python/{NAMES[0]}"][:100_000])
    fetch(server, tmp_path)
    assert server.requests == [(f"python/{NAMES[0]}", "bytes=100000-"), (f"python/{NAMES[1]}", None)]
    assert_whole(server, tmp_path)


def test_whole_part_needs_no_connection(server, tmp_path):
    for name in NAMES:
        (tmp_path / f"{name}.part").write_bytes(server.files[f"python/{name}"])
    fetch(server, tmp_path)
    assert server.requests == []
    assert_whole(server, tmp_path)


@pytest.mark.parametrize("mode", ["ignores range", "other piece"])
def test_server_without_usable_ranges(server, tmp_path, mode):
    server.mode = mode
    (tmp_path / f"{NAMES[0]}.part").write_bytes(server.files[f"python/{NAMES[0]}"][:100_000])
    fetch(server, tmp_path)
    assert server.requests[0] == (f"python/{NAMES[0]}", "bytes=100000-")
    assert_whole(server, tmp_path)


def test_part_longer_than_the_file(server, tmp_path):
    (tmp_path / f"{NAMES[0]}.part").write_bytes(bytes(400_000))
    fetch(server, tmp_path)
    assert [asked for _, asked in server.requests] == ["bytes=400000-", None, None]
    assert_whole(server, tmp_path)


@pytest.mark.parametrize("mode", ["no length", "long length"])
def test_length_that_says_nothing(server, tmp_path, mode):
    server.mode = mode
    fetch(server, tmp_path)
    assert_whole(server, tmp_path)


def test_length_that_is_too_short(server, tmp_path):
    server.mode = "short length"
    with pytest.raises(UserError, match="MD5"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_sum(server, tmp_path):
    expected = download.MD5[NAMES[0]]
    server.files[f"python/{NAMES[0]}"] = b"<html>please log in</html>"
    with pytest.raises(UserError) as caught:
        fetch(server, tmp_path)
    assert not isinstance(caught.value, download.Offline)
    for part in (NAMES[0], expected, hashlib.md5(b"<html>please log in</html>").hexdigest()):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_part_of_something_else_is_given_up(server, tmp_path):
    (tmp_path / f"{NAMES[0]}.part").write_bytes(b"x" * 100_000)
    with pytest.raises(UserError, match="MD5"):
        fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert_whole(server, tmp_path)


@pytest.mark.parametrize("mode", ["drops", "stalls"])
def test_broken_off_and_continued(server, tmp_path, mode):
    server.mode = mode
    begin = time.monotonic()
    with pytest.raises(UserError, match="broke off") as caught:
        fetch(server, tmp_path, connect_seconds=1)
    assert time.monotonic() - begin < 3
    assert not isinstance(caught.value, download.Offline)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAMES[0]}.part"]
    kept = (tmp_path / f"{NAMES[0]}.part").read_bytes()
    assert len(kept) > 50_000 and server.files[f"python/{NAMES[0]}"].startswith(kept)
    server.mode = "good"
    fetch(server, tmp_path)
    assert server.requests[1] == (f"python/{NAMES[0]}", f"bytes={len(kept)}-")
    assert_whole(server, tmp_path)


def test_refused_by_the_server_is_not_offline(server, tmp_path):
    del server.files[f"python/{NAMES[0]}"]
    with pytest.raises(UserError, match="answers 404") as caught:
        fetch(server, tmp_path)
    assert not isinstance(caught.value, download.Offline)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_offline_nobody_listens(server, tmp_path):
    begin = time.monotonic()
    with pytest.raises(download.Offline, match="no connection"):
        download.omniglot(tmp_path / "new", base=f"http://127.0.0.1:{closed_port()}/")
    assert time.monotonic() - begin < 2
    assert not (tmp_path / "new").exists()


def test_offline_no_answer(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(download.Offline):
            download.omniglot(tmp_path, connect_seconds=0.3, base=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        assert 0.2 < time.monotonic() - begin < 2


def test_offline_while_the_name_is_looked_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: server.released.wait(5))
    begin = time.monotonic()
    with pytest.raises(download.Offline, match="no answer within 0.3 s"):
        fetch(server, tmp_path, connect_seconds=0.3)
    assert time.monotonic() - begin < 2


def test_expects_the_published_sums():
    assert download.MD5 == {"images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
                            "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811"}
    assert download.BASE == "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"


@pytest.fixture
def demo(server, tmp_path, monkeypatch):
    """Runs the module's main in an empty folder, where the official repository is `server`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMNIGLOT", raising=False)
    monkeypatch.setattr(sys, "argv", ["demo_data", "--out", "arrays"])
    official, invent = download.omniglot, glyphs.write
    monkeypatch.setattr(download, "omniglot", lambda folder: official(folder, 5, server.base))
    monkeypatch.setattr(glyphs, "write", partial(invent, alphabets=5, characters=1))
    return demo_data.main


def like_omniglot(folder):
    """A folder whose alphabets have Omniglot's names, and its two archives."""
    made = folder.parent / "made"
    glyphs.write(made, seed=7)  # as the fixture has patched it
    (made / omniglot.STAND_IN_MARK).unlink()
    for group, names in (("images_background", omniglot.BACKGROUND_ALPHABETS), ("images_evaluation", omniglot.EVALUATION_ALPHABETS)):
        for alphabet, name in zip(sorted((made / group).iterdir()), names):
            alphabet.rename(alphabet.with_name(name))
    archives = {}
    for group in ("images_background", "images_evaluation"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path in sorted((made / group).rglob("*.png")):
                archive.write(path, path.relative_to(made))
        archives[f"{group}.zip"] = buffer.getvalue()
    folder.parent.mkdir(parents=True, exist_ok=True)
    made.rename(folder)
    return archives


def go_offline(server):
    server.base = f"http://127.0.0.1:{closed_port()}/"


def test_demo_takes_what_omniglot_names(demo, server, tmp_path, monkeypatch, capsys):
    like_omniglot(tmp_path / "elsewhere")
    monkeypatch.setenv("OMNIGLOT", str(tmp_path / "elsewhere"))
    demo()
    assert "DATA: OMNIGLOT\n" in capsys.readouterr().out
    assert omniglot.read("arrays")[1].source == "omniglot"
    assert server.requests == [] and not (tmp_path / "data").exists()


def test_demo_never_falls_back_from_a_wrong_omniglot(tmp_path):
    environment = {**os.environ, "OMNIGLOT": str(tmp_path / "nowhere"), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-m", "maml.demo_data", "--out", "arrays"], cwd=tmp_path, env=environment,
                           capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: OMNIGLOT=") and ended.stderr.count("\n") == 1 and "nowhere" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_demo_takes_the_folder(demo, server, tmp_path, capsys):
    like_omniglot(tmp_path / "data/omniglot")
    demo()
    assert "DATA: OMNIGLOT\n(data/omniglot, found there)" in capsys.readouterr().out
    assert omniglot.read("arrays")[1].source == "omniglot" and server.requests == []


def test_demo_downloads(demo, server, tmp_path, monkeypatch, capsys):
    serve(server, monkeypatch, like_omniglot(tmp_path / "elsewhere"))
    demo()
    assert "DATA: OMNIGLOT\n(data/omniglot, the official download)" in capsys.readouterr().out
    assert omniglot.read("arrays")[1].source == "omniglot" and not (tmp_path / "data/stand-in").exists()


def test_demo_completes_a_download_that_broke_off_between_archives(demo, server, tmp_path, monkeypatch, capsys):
    archives = like_omniglot(tmp_path / "elsewhere")
    serve(server, monkeypatch, archives)
    (tmp_path / "data/omniglot").mkdir(parents=True)
    (tmp_path / "data/omniglot" / NAMES[0]).write_bytes(archives[NAMES[0]])
    base = server.base
    go_offline(server)
    demo()
    assert "DATA: OMNIGLOT\n(data/omniglot, INCOMPLETE" in capsys.readouterr().out
    assert sum(map(len, omniglot.read("arrays")[1].rows.values())) == 3
    server.base = base
    demo()
    assert "the official download" in capsys.readouterr().out
    assert sum(map(len, omniglot.read("arrays")[1].rows.values())) == 5


def test_demo_stops_when_a_download_breaks_off(demo, server, tmp_path):
    server.mode = "drops"
    with pytest.raises(UserError, match="broke off"):
        demo()
    assert not (tmp_path / "data/stand-in").exists() and not (tmp_path / "arrays").exists()


def test_demo_offline_invents_once_and_says_so(demo, server, tmp_path, capsys):
    go_offline(server)
    demo()
    out = capsys.readouterr().out
    assert "DATA: PROCEDURAL STAND-IN, NOT OMNIGLOT\n(data/stand-in, no connection" in out
    assert omniglot.read("arrays")[1].source == "stand-in"
    made = {path: path.stat().st_mtime_ns for path in [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.npy")]}
    demo()
    assert "PROCEDURAL STAND-IN" in capsys.readouterr().out
    assert len(made) == 103 and {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.parametrize("spoil", ["array", "other images", "newer images", "index"])
def test_demo_converts_again_when_in_doubt(demo, server, tmp_path, spoil):
    go_offline(server)
    demo()
    index, raw = tmp_path / "arrays" / omniglot.INDEX, tmp_path / "data/stand-in"
    before = index.stat().st_mtime_ns
    if spoil == "array":
        (tmp_path / "arrays/omniglot_val.npy").unlink()
    elif spoil == "index":
        index.write_text("{}")
    elif spoil == "newer images":
        os.utime(raw, (time.time() + 60,) * 2)
    else:
        shutil.rmtree(raw)
        glyphs.write(raw, alphabets=6)
        os.utime(raw, (0, 0))
    demo()
    assert index.stat().st_mtime_ns > before
    assert len(omniglot.read("arrays")[1].rows["train"]) == (int(0.6 * 6) if spoil == "other images" else 3)
