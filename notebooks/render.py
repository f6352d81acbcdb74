#!/usr/bin/env python3
"""Run the notebook from top to bottom, and write it with its outputs to docs/notebook.md.

  make notebook

The notebook itself is stored without outputs. Pictures go to docs/notebook_files/.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbclient
import nbconvert
import nbformat
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK, PAGE = ROOT / "notebooks/maml_omniglot.ipynb", ROOT / "docs/notebook.md"
NOTE = (
    "*This page is [notebooks/maml_omniglot.ipynb](../notebooks/maml_omniglot.ipynb) with its "
    "outputs, written by `make notebook`.*\n\n"
)


def main() -> None:
    """Execute the notebook in the project's folder, and render it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(notebook, timeout=3600, resources=resources).execute()
    for cell in notebook.cells:  # warnings name folders of this machine
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    exporter = nbconvert.MarkdownExporter(config=Config())
    names = {"unique_key": PAGE.stem, "output_files_dir": f"{PAGE.stem}_files"}
    text, found = exporter.from_notebook_node(notebook, resources=names)
    folder = PAGE.with_name(names["output_files_dir"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in found["outputs"].items():
        PAGE.with_name(folder.name).joinpath(Path(name).name).write_bytes(content)
    text = re.sub(r"\n    <Figure size[^\n]*>\n", "\n", text)  # the object behind each picture
    text = re.sub(r"!\[png\]", "![a figure]", text)
    text = "\n".join(line.rstrip() for line in text.splitlines())
    PAGE.write_text(NOTE + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
