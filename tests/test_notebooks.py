"""Every notebook runs from the first cell to the last and draws its figures; it imports `reid` and defines nothing."""

import ast
import json
from pathlib import Path

import matplotlib
import pytest

SAID = ("/*nova*/ 00001 1;", "q04.jpg: match", "a known animal: match", "signed W1, all keypoints                         top-1 100.0 %")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_there_are_notebooks():
    assert [notebook.stem for notebook in NOTEBOOKS] == ["field_day", "first_identification", "is_this_animal_new", "which_score"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_defines_nothing(notebook):
    for cell in code(notebook):
        assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.walk(ast.parse(cell)))


@pytest.mark.parametrize(("notebook", "said"), zip(NOTEBOOKS, SAID), ids=lambda value: str(value)[-20:])
@pytest.mark.slow
def test_a_notebook_runs(notebook, said, monkeypatch, capsys):
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    monkeypatch.chdir(notebook.parent)
    names = {}
    for cell in code(notebook):
        exec(compile(cell, notebook.name, "exec"), names)
    assert said in capsys.readouterr().out
    assert plt.get_fignums()
    plt.close("all")
