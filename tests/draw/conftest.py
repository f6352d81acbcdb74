"""Untrained weights for the page's server, and the page in a browser."""

import shutil
import threading

import numpy as np
import pytest
from browsing import start_browser
from helpers import ROOT
from paged import Page, Server

from maml.config import Config
from maml.draw.server import ALGORITHMS, create, find_models
from maml.system import safe_pickle
from maml.training.build import build_learner


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Untrained checkpoints of all three methods."""
    out = tmp_path_factory.mktemp("checkpoints")
    data = {
        "source": "other",
        "split": "random",
        "seed": 0,
        "image_size": 28,
        "polarity": "ink high",
        "pillow": "11",
        "sha256": {"train": "", "val": ""},
        "rows": {"train": [], "val": []},
    }
    for algorithm in ALGORITHMS:
        config = {"algorithm": algorithm, "way": 3}
        if algorithm != "protonet":
            config["inner_steps_test"] = 4
        if algorithm == "reptile":
            config["inner_batch_test"] = 2
        made = build_learner(Config(**config))
        running = []
        if algorithm == "protonet":
            running = [
                a
                for _ in range(4)
                for a in (np.zeros((1, 1, 64), np.float32), np.ones((1, 1, 64), np.float32))
            ]
        state = {
            "weights": [p.numpy() for p in made.meta_parameters],
            "running": running,
            "config": config,
            "data": data,
            "best": {"accuracy": 0.5, "epoch": 1},
            "history": [],
        }
        safe_pickle.save(state, out / f"{algorithm}.pkl")
    return out


@pytest.fixture
def client(folder):
    return create(find_models(folder)).test_client()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name in ("maml_20w1s", "reptile_20w1s", "protonet_60w1s"):
        shutil.copy(ROOT / "checkpoints" / f"{name}.pkl", folder)
    return find_models(folder)


@pytest.fixture(scope="session")
def server(models):
    served = Server(models)
    thread = threading.Thread(target=served.server.serve_forever)
    thread.start()
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


@pytest.fixture
def page(browser, server):
    page = Page(browser, server.url)
    page.cdp("Emulation.clearDeviceMetricsOverride")
    page.cdp("Emulation.setTouchEmulationEnabled", enabled=False)
    page.cdp("Emulation.setEmulatedMedia", features=[])
    page.cdp("Storage.clearDataForOrigin", origin=server.url, storageTypes="local_storage")
    browser.get_log("browser")
    yield page.open()
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [entry for entry in severe if "400" not in entry["message"]] == []
