"""VisualDL's page in a real browser."""

import os
import socket
import subprocess
import sys

import pytest
from browsing import eventually, in_a_browser
from helpers import free_port, train

pytestmark = in_a_browser


@pytest.fixture(scope="module")
def checkpoints(data, tmp_path_factory):
    """MAML and ProtoNet, trained for a moment, and the log of it."""
    out = tmp_path_factory.mktemp("runs")
    often = ["--meta_iterations", 10, "--print_every", 5, "--val_every", 10]
    for flags in (
        ["--name", "first-run"],
        ["--name", "second-run", "--algorithm", "protonet", "--train_way", 10],
    ):
        train(data, out, *often, *flags)
    return out


def test_visualdl_shows_runs_and_curves(browser, checkpoints):
    port = free_port()
    command = [
        os.path.join(os.path.dirname(sys.executable), "visualdl"),
        "--logdir",
        str(checkpoints / "log"),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:

        def up():
            with socket.socket() as asking:
                return asking.connect_ex(("127.0.0.1", port)) == 0

        eventually(up)
        browser.get(f"http://127.0.0.1:{port}/app/scalar")

        def shows(*expected):
            shown = browser.execute_script("return document.body.innerText")
            return all(part in shown for part in expected)

        eventually(
            lambda: shows(
                "first-run", "second-run", "best validation accuracy", "train", "validation"
            )
        )
        browser.find_element(
            "xpath", "//*[normalize-space(text())='train']"
        ).click()  # unfolds the group's curves
        # their names are painted, not written, so what the page fetched to paint them is looked at
        fetched = (
            "return performance.getEntriesByType('resource').map(entry =>"
            " decodeURIComponent(entry.name)).join()"
        )
        eventually(
            lambda: all(
                f"run={run}&tag=train/accuracy" in browser.execute_script(fetched)
                for run in ("first-run", "second-run")
            )
        )
        tags = browser.execute_script(
            "return fetch('/app/api/scalar/tags').then(answer => answer.text())"
        )
        for part in ("train", "validation"):
            assert f"{part}/accuracy" in tags
            assert all(f"{part} by step/accuracy after step {step}" in tags for step in (0, 1, 2))
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)
