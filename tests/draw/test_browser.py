"""Pages in a real browser: VisualDL's, and the one to draw on."""

import os
import socket
import subprocess
import sys
import threading

import pytest
from browsing import eventually, in_a_browser, stroke
from helpers import free_port, train

from maml.draw.server import create, find_models

pytestmark = in_a_browser


@pytest.fixture(scope="module")
def checkpoints(data, tmp_path_factory):
    """MAML and ProtoNet, trained for a moment, and the log of it."""
    out = tmp_path_factory.mktemp("runs")
    often = ["--meta_iterations", 40, "--print_every", 10, "--val_every", 40]
    for flags in (
        ["--name", "first-run", "--meta_batch_size", 4],
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


@pytest.fixture(scope="module")
def page(checkpoints):
    from werkzeug.serving import make_server

    server = make_server(
        "127.0.0.1",
        0,
        create(find_models(checkpoints / "checkpoints")),
        threaded=True,
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


BAR = [[(0.5, 0.15), (0.5, 0.85)]]
RING = [[(0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5), (0.5, 0.2)]]


@pytest.mark.parametrize("size", [(1200, 900), (390, 800)], ids=["desktop", "phone"])
def test_two_classes_are_drawn_and_a_query_is_told(browser, page, size):
    from selenium.webdriver.common.by import By

    browser.set_window_size(*size)
    browser.get(page)
    says = eventually(lambda: browser.find_element(By.ID, "says"))
    eventually(lambda: "Draw an example of A, B" in says.text)
    assert [b.text for b in browser.find_elements(By.CSS_SELECTOR, "#algorithms button")] == [
        "MAML",
        "Prototypical networks",
    ]
    for k, drawing in enumerate((BAR, RING)):
        row = browser.find_elements(By.CSS_SELECTOR, ".class")[k]
        for line in drawing:
            stroke(browser, row.find_element(By.CSS_SELECTOR, "canvas"), line)
    eventually(lambda: "It has learned" in says.text)
    for method in ("MAML", "Prototypical networks"):
        next(
            b
            for b in browser.find_elements(By.CSS_SELECTOR, "#algorithms button")
            if b.text == method
        ).click()
        for drawing, letter in ((BAR, "A"), (RING, "B")):
            if (clear := browser.find_element(By.CSS_SELECTOR, "#querypad button")).is_displayed():
                clear.click()
            for line in drawing:
                stroke(browser, browser.find_element(By.ID, "query"), line)
            eventually(lambda: f"This is {letter}." in says.text)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#chances .row")) == 2
    width, shown = browser.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    assert width <= shown  # nothing sticks out of a phone
    browser.find_element(By.ID, "again").click()
    eventually(lambda: "Draw an example of A, B" in says.text)
