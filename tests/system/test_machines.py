"""Machines that are not here: without gloo, with GPUs, with Windows. All of it is simulated."""

import os
import subprocess
import sys

import paddle
import pytest

from maml.system import device, files, launch, signals
from maml.system.errors import UserError
from maml.system.processes import Processes


@pytest.fixture
def mac(monkeypatch):
    """A Mac with 8 cores."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(launch, "cores", lambda: 8)


@pytest.fixture
def without_gloo(mac, monkeypatch):
    """Its PaddlePaddle lacks gloo."""
    monkeypatch.setattr(device, "_asked", lambda expression: str(expression != device.HAS_GLOO))


def test_without_gloo_one_process_takes_all_cores(without_gloo, capsys):
    assert launch.choose_workers(0, 32) == launch.choose_workers(0) == 1
    assert "1 process with 8 threads, for this PaddlePaddle lacks gloo" in capsys.readouterr().err
    (environment,) = launch._environments(1, gpu=False)
    assert environment["OMP_NUM_THREADS"] in ("8", os.environ.get("OMP_NUM_THREADS"))


def test_without_gloo_several_workers_are_refused_in_a_sentence(without_gloo, monkeypatch):
    with pytest.raises(UserError, match="lacks gloo; drop --workers"):
        launch.choose_workers(2, 32)
    monkeypatch.delattr(paddle.base.core, "ProcessGroupGloo")
    monkeypatch.setenv(launch.LAUNCHED, "2")  # by PaddlePaddle's own launcher
    with pytest.raises(UserError, match="lacks gloo"):
        Processes()


@pytest.mark.slow
def test_paddle_is_asked_in_a_process_of_its_own(mac):
    """This PaddlePaddle has gloo and no GPU, and says so."""
    assert launch.choose_workers(0, 32) == 8
    assert device.gpus() == 0


@pytest.mark.parametrize(
    "answer, expected",
    [("noise\n\n2\n", 2), ("\n0\n", 0), ("\nFalse\n", 0)],
    ids=["two GPUs", "no driver", "no GPU build"],
)
def test_gpus_are_those_that_paddle_counts(monkeypatch, answer, expected):
    def run(command, **options):
        assert "device_count" in command[-1]
        return subprocess.CompletedProcess(command, 0, answer, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert device.gpus() == expected


@pytest.mark.parametrize(
    "failure", [OSError("no such file"), subprocess.TimeoutExpired("python", 1), None]
)
def test_a_paddle_that_crashes_where_there_is_no_driver_has_no_gpu(monkeypatch, failure):
    def run(command, **options):
        if failure:
            raise failure
        return subprocess.CompletedProcess(command, -6, "", "Aborted")

    monkeypatch.setattr(subprocess, "run", run)
    assert device.gpus() == 0


def test_processes_share_images_where_there_are_fewer_tasks(monkeypatch):
    monkeypatch.setattr(launch, "cores", lambda: 8)
    assert launch.choose_workers(0, 1) == 1
    assert launch.choose_workers(0, 1, images=600) == 8
    assert launch.choose_workers(0, 1, images=3 * launch.FEWEST_IMAGES) == 3
    assert launch.choose_workers(0, 4, images=10) == 4
    assert launch.choose_workers(10, 4, images=10) == 10  # whoever asks gets them
    with pytest.raises(UserError, match="10 images, so there is no image for each of 11 workers"):
        launch.choose_workers(11, 4, images=10)


def test_there_are_never_more_workers_than_gpus_and_each_has_its_own(monkeypatch):
    assert launch.choose_workers(0, 32, gpus=4) == 4
    assert launch.choose_workers(0, 3, gpus=4) == 3
    with pytest.raises(UserError, match="no GPU for each of 3 workers; ask for 2 at most"):
        launch.choose_workers(3, 32, gpus=2)
    # a worker's number is that among the visible devices, however these are named
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937,GPU-1b2c3d4e")
    environments = launch._environments(2, gpu=True)
    assert [e["FLAGS_selected_gpus"] for e in environments] == ["0", "1"]
    assert {e["CUDA_VISIBLE_DEVICES"] for e in environments} == {"GPU-8932f937,GPU-1b2c3d4e"}


@pytest.fixture
def busy(monkeypatch):
    """Makes `os.replace` fail the first times, as on Windows while a program reads the file."""

    def fail(times):
        replace, failures = os.replace, iter(range(times))

        def held(*paths):
            if next(failures, None) is not None:
                raise PermissionError(13, "The process cannot access the file")
            replace(*paths)

        monkeypatch.setattr(os, "replace", held)
        monkeypatch.setattr(files.time, "sleep", lambda seconds: None)

    return fail


def test_a_file_is_replaced_when_its_reader_has_closed_it(busy, tmp_path):
    busy(3)
    files.write({tmp_path / "a": lambda file: file.write(b"new")})
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


def test_a_file_that_is_read_for_ever_stays_and_is_named(busy, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    busy(100)
    with pytest.raises(UserError, match="a: cannot be written .*cannot access"):
        files.write({tmp_path / "a": lambda file: file.write(b"new")})
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_where_processes_cannot_be_sent_ctrl_c_the_parent_waits_for_them(monkeypatch, tmp_path):
    """On Windows, `send_signal` refuses it, and the console has sent it to all of them."""

    class Process(subprocess.Popen):
        def send_signal(self, number):
            raise ValueError(f"Unsupported signal: {number}")

    code = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.3)"
    monkeypatch.setattr(launch.subprocess, "Popen", Process)
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", code])
    assert launch.start(1) == 0


def test_signals_that_windows_lacks_are_not_needed(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    for name in ("SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM"):
        monkeypatch.delattr(f"signal.{name}")
    device.end_with_parent()
    with signals.Interruption() as interruption:
        assert not interruption.asked
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", ""])
    assert launch.start(1) == 0
