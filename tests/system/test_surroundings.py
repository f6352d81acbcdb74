"""Training where little is as usual: locale, streams, home, folders; and what is left behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from helpers import ROOT, folders, resume_file, tiny

from maml.system import safe_pickle

pytestmark = pytest.mark.slow
BARE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONOPTIMIZE": "1"}


def shell(line, data, out, *flags, **environment):
    """Run a shell's line with train.py and its flags as "$@"; no temporary file may stay."""
    temporary = out / "tmp"
    temporary.mkdir(parents=True)
    arguments = ["train.py", *folders(data, out), *tiny(*flags), *flags, "--workers", 1]
    done = subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary), **environment},
        capture_output=True,
        timeout=300,
    )
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr, done.stderr
    assert not list(out.rglob("*.part")) and not list(out.rglob("running.json"))
    left = {path.name for path in temporary.iterdir()}
    assert left <= {".cache"}  # PaddlePaddle's own, where it has no home
    return done


def test_a_c_locale_no_home_no_terminal_and_a_folder_with_a_space(data, tmp_path):
    out = tmp_path / "my runs"
    for path in Path(matplotlib.get_cachedir()).glob("fontlist-*"):
        shutil.copy(path, tmp_path)  # else matplotlib would look for all fonts
    home = {"HOME": "/proc/nowhere", "MPLCONFIGDIR": str(tmp_path)}
    done = shell('umask 077; exec "$@" <&-', data, out, **BARE, **home)
    assert done.returncode == 0, done.stderr
    assert b"The best acc on validation set is" in done.stdout and b"??????: [" in done.stdout
    assert safe_pickle.load(resume_file(out))["epoch"] == 8


def test_without_standard_output_it_trains_to_the_end(data, tmp_path):
    done = shell('exec "$@" >&-', data, tmp_path / "out")
    assert done.returncode == 0
    assert safe_pickle.load(resume_file(tmp_path / "out"))["epoch"] == 8


def test_where_the_reader_has_gone_the_run_saves_and_ends(data, tmp_path):
    out = tmp_path / "out"
    more = ["--meta_iterations", 100_000, "--save_every", 100_000]
    shell('set -o pipefail; "$@" | head -n 9 > /dev/null', data, out, *more)
    assert 4 <= safe_pickle.load(resume_file(out))["epoch"] < 100_000
