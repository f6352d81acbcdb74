"""python -m maml draw, as a process: where it serves, and how it ends."""

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import left_behind
import pytest
from helpers import ROOT, command, free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def start(folder):
    """Starts the command with these flags; returns the process and the address that it printed."""
    started = []

    def start(*flags):
        process = subprocess.Popen(
            [sys.executable, "-m", "maml", "draw", "--checkpoints", folder, "--port", "0", *flags],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # whatever starts the tests in the background lets Ctrl-C be ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        said = process.stdout.readline()
        found = re.fullmatch(r"draw on (http://\S+) with maml, reptile, protonet; .*\n", said)
        assert found, said + process.stderr.read()
        return process, found[1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def status(url, **headers):
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=60
        ) as got:
            return got.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_serves_this_machine_until_ctrl_c(start, tmp_path):
    with left_behind.nothing(tmp_path):
        process, url = start()
        assert url.startswith("http://127.0.0.1:")
        assert status(url) == status(f"{url}/models") == 200
        assert status(url, Host="evil.example") == status(url, Origin="http://evil.example") == 403
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_it_serves_others_by_a_token_and_warns(start):
    process, url = start("--host", "0.0.0.0")
    port, token = re.fullmatch(r"http://[\w.-]+:(\d+)/\?token=(\S{16,})", url).groups()
    local = f"http://127.0.0.1:{port}"
    assert status(local) == status(f"{local}/models") == 403
    assert status(f"{local}/?token={token}", Host="tablet") == 200
    assert status(f"{local}/models", **{"X-Token": token}) == 200
    process.terminate()
    warning = process.communicate(timeout=60)[1].splitlines()[0]
    assert warning.startswith("warning: other machines reach the page too")


def test_a_port_in_use_is_said_in_a_line_and_nothing_is_advertised(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = command("draw", "--checkpoints", folder, "--port", port, status=2)
    assert said.stdout == ""
    assert said.stderr == (
        f"error: port {port} cannot be used (Address already in use); name another by --port\n"
    )


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--port", 65536], "--port must be 0 to 65535, not 65536"),
        (["--host", "192.0.2.1", "--port", free_port()], "name an address of this machine"),
        (["--host", "no.such.host.invalid"], "name an address of this machine"),
    ],
    ids=["port", "address", "name"],
)
def test_what_cannot_be_served_is_refused(folder, flags, message):
    said = command("draw", "--checkpoints", folder, *flags, status=2)
    assert said.stdout == "" and message in said.stderr and said.stderr.count("\n") == 1
