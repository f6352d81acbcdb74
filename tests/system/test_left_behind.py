"""Nothing outlives a program that is killed; and what other tests look for would be found."""

import os
import socket
import subprocess
import sys
import tempfile
import uuid
from types import SimpleNamespace

import left_behind
import pytest
from helpers import ROOT

LAUNCHER = """
import sys
from maml.system import launch
if launch.is_worker():
    import os, time
    from maml.system import device
    device.end_with_parent()
    os.write(1, b"ready\\n")
    time.sleep(60)
launch.start(2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends them")
def test_workers_end_with_a_launcher_that_is_killed(tmp_path):
    (tmp_path / "program.py").write_text(LAUNCHER)
    with left_behind.nothing(tmp_path):
        launcher = subprocess.Popen(
            [sys.executable, tmp_path / "program.py"],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert [launcher.stdout.readline() for _ in range(2)] == [b"ready\n"] * 2
        launcher.kill()
        launcher.communicate()


def leave_a_process(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    return lambda: (process.kill(), process.communicate())


def leave_a_segment(folder):
    segment = left_behind.SHARED / f"test_{uuid.uuid4().hex}"
    segment.write_bytes(b"shared")
    return segment.unlink


def leave_a_temporary_file(folder):
    subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkstemp()"], check=True)
    return lambda: None


def leave_half_of_a_file(folder):
    (folder / ".weights.pkl.part").touch()
    return lambda: None


@pytest.mark.skipif(not left_behind.SHARED.is_dir(), reason="looks as Linux does")
@pytest.mark.parametrize(
    "leave", [leave_a_process, leave_a_segment, leave_a_temporary_file, leave_half_of_a_file]
)
def test_what_is_left_is_found(tmp_path, monkeypatch, leave):
    monkeypatch.setattr(left_behind, "PATIENCE", 0.0)
    clear = None
    try:
        with pytest.raises(AssertionError), left_behind.nothing(tmp_path):
            clear = leave(tmp_path)
    finally:
        clear()


def finish(plugin):
    """End a session with this plugin, and return its status."""
    session = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    hook = plugin.pytest_sessionfinish(session)
    next(hook)
    with pytest.raises(StopIteration):
        next(hook)
    return session.exitstatus


@pytest.mark.skipif(not left_behind.SHARED.is_dir(), reason="looks as Linux does")
def test_a_session_that_leaves_something_fails(tmp_path, monkeypatch):
    """It, or a worker of it, which tells it at its end."""
    for name in ("TMPDIR", left_behind.MARK, "PYTEST_DEBUG_TEMPROOT"):
        monkeypatch.setenv(name, str(tmp_path))  # and as before, after this test
    monkeypatch.setattr(tempfile, "tempdir", None)
    listening, others = left_behind.listening, left_behind.listening()  # of fixtures beside it
    monkeypatch.setattr(left_behind, "listening", lambda: listening() - others)
    said = []
    writer = SimpleNamespace(line=lambda text, **style: said.append(text))
    config = SimpleNamespace(get_terminal_writer=lambda: writer)
    plugin = left_behind.OfSession(config)
    plugin.pytest_sessionstart()
    worker = SimpleNamespace(workeroutput={}, get_terminal_writer=lambda: writer)
    with socket.create_server(("127.0.0.1", 0)) as left:
        finish(left_behind.OfSession(worker))
        port = left.getsockname()[1]
    plugin.pytest_testnodedown(SimpleNamespace(workeroutput=worker.workeroutput), None)
    plugin.pytest_testnodedown(SimpleNamespace(), "it crashed")
    with tempfile.NamedTemporaryFile(delete=False) as file:
        name = os.path.basename(file.name)
    assert finish(plugin) == pytest.ExitCode.TESTS_FAILED
    assert said == [f"\nThe tests left behind ports: {port}; temporary files: {name}"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plugin = left_behind.OfSession(config)
    plugin.pytest_sessionstart()
    assert finish(plugin) == pytest.ExitCode.OK and len(said) == 1
