import json
import re

import pytest
from helpers import ROOT

from maml.system import launch

NOTEBOOK = ROOT / "notebooks" / "maml_omniglot.ipynb"
FORERUNNERS = ["x_train = np.load('omniglot_train.npy')\n", "plt.imshow(x_train[0,0,0])"]


def test_it_is_stored_without_outputs_and_with_the_forerunners_cell():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    assert any(cell["source"][-2:] == FORERUNNERS for cell in cells)


def test_the_page_with_its_outputs_is_of_this_notebook():
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        lines = "\n".join(line.rstrip() for line in source.splitlines())
        assert re.sub(r"\n{3,}", "\n\n", lines) in page, "make notebook"


@pytest.mark.slow
def test_it_runs_from_start_to_end_whatever_its_folder_is_called(raw, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    here, mine = tmp_path / "少 样本", tmp_path / "my data"
    here.mkdir()
    mine.symlink_to(raw)
    for name in ("maml", "configs", "make_data.py", "train.py", "evaluate.py"):
        (here / name).symlink_to(ROOT / name)
    (here / "checkpoints").mkdir()  # of its own: runs write into it
    for path in [*(ROOT / "checkpoints").glob("*.pkl"), ROOT / "checkpoints/index.json"]:
        (here / "checkpoints" / path.name).symlink_to(path)
    for name, value in {"OMNIGLOT": str(mine), "EPOCHS": "2", "TASKS": "5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(launch.LAUNCHED, "1")  # so that each script is one process
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(here)}},
    ).execute()
    text = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    pictures = sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert (
        "(24, 20, 1, 28, 28)" in text
        and "The best acc on validation set is" in text
        and "checkpoints/own/notebook.pkl" in text
        and "accuracy: " in text
        and "['alpha', 'beta', 'gamma', 'delta', 'epsilon']" in text
        and pictures == 8
    )
