import io
import os
import shutil
import subprocess
import sys
import time
import zipfile
from functools import partial

import pytest
from archive_server import NAMES, serve
from helpers import ROOT, free_port

from maml.cli import demo as command
from maml.data import download, stand_in
from maml.data.arrays import INDEX, read_arrays
from maml.data.raw import BACKGROUND_ALPHABETS, EVALUATION_ALPHABETS, STAND_IN_MARK
from maml.system.errors import UserError


@pytest.fixture
def demo(server, tmp_path, monkeypatch):
    """Runs the module's main in an empty folder, where the official repository is `server`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMNIGLOT", raising=False)
    monkeypatch.setattr(sys, "argv", ["demo_data", "--out", "arrays"])
    official, invent = download.omniglot, stand_in.write
    monkeypatch.setattr(download, "omniglot", lambda folder: official(folder, 5, server.base))
    monkeypatch.setattr(stand_in, "write", partial(invent, alphabets=5, characters=1))
    return command.main


def like_omniglot(folder):
    """A folder whose alphabets have Omniglot's names, and its two archives."""
    made = folder.parent / "made"
    stand_in.write(made, seed=7)  # as the fixture has patched it
    (made / STAND_IN_MARK).unlink()
    for group, names in (
        ("images_background", BACKGROUND_ALPHABETS),
        ("images_evaluation", EVALUATION_ALPHABETS),
    ):
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
    server.base = f"http://127.0.0.1:{free_port()}/"


def test_demo_takes_what_omniglot_names(demo, server, tmp_path, monkeypatch, capsys):
    like_omniglot(tmp_path / "elsewhere")
    monkeypatch.setenv("OMNIGLOT", str(tmp_path / "elsewhere"))
    demo()
    assert "DATA: OMNIGLOT\n" in capsys.readouterr().out
    assert read_arrays("arrays")[1].source == "omniglot"
    assert server.requests == [] and not (tmp_path / "data").exists()


def test_demo_never_falls_back_from_a_wrong_omniglot(tmp_path):
    environment = {**os.environ, "OMNIGLOT": str(tmp_path / "nowhere"), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "maml.demo_data", "--out", "arrays"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2 and ended.stdout == ""
    assert (
        ended.stderr.startswith("error: OMNIGLOT=")
        and ended.stderr.count("\n") == 1
        and "nowhere" in ended.stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_demo_takes_the_folder(demo, server, tmp_path, capsys):
    like_omniglot(tmp_path / "data/omniglot")
    demo()
    assert "DATA: OMNIGLOT\n(data/omniglot, found there)" in capsys.readouterr().out
    assert read_arrays("arrays")[1].source == "omniglot" and server.requests == []


def test_demo_downloads(demo, server, tmp_path, monkeypatch, capsys):
    serve(server, monkeypatch, like_omniglot(tmp_path / "elsewhere"))
    demo()
    assert "DATA: OMNIGLOT\n(data/omniglot, the official download)" in capsys.readouterr().out
    assert (
        read_arrays("arrays")[1].source == "omniglot" and not (tmp_path / "data/stand-in").exists()
    )


def test_demo_completes_a_download_that_broke_off_between_archives(
    demo, server, tmp_path, monkeypatch, capsys
):
    archives = like_omniglot(tmp_path / "elsewhere")
    serve(server, monkeypatch, archives)
    (tmp_path / "data/omniglot").mkdir(parents=True)
    (tmp_path / "data/omniglot" / NAMES[0]).write_bytes(archives[NAMES[0]])
    base = server.base
    go_offline(server)
    demo()
    assert "DATA: OMNIGLOT\n(data/omniglot, INCOMPLETE" in capsys.readouterr().out
    assert sum(map(len, read_arrays("arrays")[1].rows.values())) == 3
    server.base = base
    demo()
    assert "the official download" in capsys.readouterr().out
    assert sum(map(len, read_arrays("arrays")[1].rows.values())) == 5


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
    assert read_arrays("arrays")[1].source == "stand-in"
    made = {
        path: path.stat().st_mtime_ns
        for path in [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.npy")]
    }
    demo()
    assert "PROCEDURAL STAND-IN" in capsys.readouterr().out
    assert len(made) == 103 and {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.parametrize("spoil", ["array", "other images", "newer images", "index", "clock"])
def test_demo_converts_again_when_in_doubt(demo, server, tmp_path, spoil):
    go_offline(server)
    demo()
    index, raw = tmp_path / "arrays" / INDEX, tmp_path / "data/stand-in"
    before = index.stat().st_mtime_ns
    if spoil == "array":
        (tmp_path / "arrays/omniglot_val.npy").unlink()
    elif spoil == "index":
        index.write_text("{}")
    elif spoil == "clock":  # was put back by an hour: images may be newer, whatever their time
        os.utime(index, (time.time() + 3600,) * 2)
    elif spoil == "newer images":
        os.utime(raw, (time.time() + 60,) * 2)
    else:
        shutil.rmtree(raw)
        stand_in.write(raw, alphabets=6)
        os.utime(raw, (0, 0))
    demo()
    assert before < index.stat().st_mtime_ns <= time.time_ns()
    assert len(read_arrays("arrays")[1].rows["train"]) == (
        int(0.6 * 6) if spoil == "other images" else 3
    )
