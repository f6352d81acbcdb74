import hashlib
import socket
import time

import pytest
from archive_server import NAMES
from helpers import free_port

from maml.data import download
from maml.system.errors import UserError


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
    assert [(*bar.arguments, bar.bytes) for bar in bars] == [
        (NAMES[0], 300_000, 0, 300_000),
        (NAMES[1], 300_001, 0, 300_001),
    ]


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
    assert server.requests == [
        (f"python/{NAMES[0]}", "bytes=100000-"),
        (f"python/{NAMES[1]}", None),
    ]
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


@pytest.mark.slow
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


def test_offline_nobody_listens(server, tmp_path):
    begin = time.monotonic()
    with pytest.raises(download.Offline, match="no connection"):
        download.omniglot(tmp_path / "new", base=f"http://127.0.0.1:{free_port()}/")
    assert time.monotonic() - begin < 2
    assert not (tmp_path / "new").exists()


def test_offline_no_answer(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(download.Offline):
            download.omniglot(
                tmp_path, connect_seconds=0.3, base=f"http://127.0.0.1:{silent.getsockname()[1]}/"
            )
        assert 0.2 < time.monotonic() - begin < 2


def test_offline_while_the_name_is_looked_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: server.released.wait(5))
    begin = time.monotonic()
    with pytest.raises(download.Offline, match="no answer within 0.3 s"):
        fetch(server, tmp_path, connect_seconds=0.3)
    assert time.monotonic() - begin < 2


def test_expects_the_published_sums():
    assert download.MD5 == {
        "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
        "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
    }
    assert download.BASE == "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
