"""The notebook of docs/ runs from its first cell to its last."""

import nbformat
from nbclient import NotebookClient

from helpers import ROOT


def test_the_notebook_runs_top_to_bottom():
    notebook = nbformat.read(ROOT / "docs" / "your_own_video.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": ROOT / "docs"}}).execute()
    kinds = [
        kind
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert kinds.count("image/png") >= 2
