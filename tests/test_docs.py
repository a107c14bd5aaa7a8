"""The documents agree with the program: links and anchors resolve, commands and options exist, tables list what the code has."""

import re
import shlex
from functools import cache
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.main import get_command

from reid.catalogue import columns
from reid.cli.options import NAMES as OTHERWISE
from reid.extractors import REGISTRY
from reid.extractors.classical import NAMES
from reid.formats import READERS, WRITERS
from reid.matchers import MATCHERS
from reid.records.answer import COLUMNS
from reid.settings import GROUP_OF, GROUPS, PRESETS, Settings
from reid.training import EMBEDDING, METHODS
from reid.weights import REGISTRY as WEIGHTS

ROOT = Path(__file__).parents[1]
TOP = ROOT / "README.md"
FOLDERS = ("gallery", "configs", "notebooks", "reid", "reid/training", "reid/trained", "reid/review")
READMES = [TOP, *(ROOT / folder / "README.md" for folder in FOLDERS)]
each_readme = pytest.mark.parametrize("file", READMES, ids=lambda file: file.relative_to(ROOT).as_posix())


def blocks(file, *languages):
    found = re.findall(r"^```(\w*)\n(.*?)^```", file.read_text(), re.DOTALL | re.MULTILINE)
    return [body for language, body in found if language in languages]


def prose(file):
    return re.sub(r"^```.*?^```", "", file.read_text(), flags=re.DOTALL | re.MULTILINE)


def section(file, title):
    """The text below a heading, to the next of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", file.read_text(), re.DOTALL | re.MULTILINE)
    assert found, title
    return found[2]


def first_cells(text):
    """What stands as code in the first cell of each row of the tables in a text, their heads left out."""
    body = re.sub(r"^\|.*\n(?=\|[-|]+\n)", "", text, flags=re.MULTILINE)
    return [name for row in re.findall(r"^\| ?(`[^|]*?)\|", body, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)]


def anchors(file):
    """GitHub's names of the headings of a file."""
    headings = re.findall(r"^#+ (.*)$", prose(file), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def program():
    return get_command(import_module("reid.cli.main").app)


def commands(found=None, name=()):
    """{("models", "fetch"): command} of every command that does something, by its words."""
    found = found or program()
    below = getattr(found, "commands", {})
    own = {name: found} if name else {}
    return own | {key: value for word, one in below.items() for key, value in commands(one, (*name, word)).items()}


def options(found):
    return {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def used(file):
    """(command's words, its arguments) of every line of a file that calls the program; a line of `&&` is several."""
    for block in blocks(file, "sh"):
        for line in block.splitlines():
            for part in line.split(" && "):
                words = shlex.split(part, comments=True)
                if words[:1] == ["reid"]:
                    yield words[1:]


def test_the_readme_is_short():
    assert len(TOP.read_text().splitlines()) <= 150


def test_every_readme_is_looked_at():
    passed = (".", "build", "dist", "node_modules")
    there = {file for file in ROOT.rglob("README.md") if not any(part.startswith(passed) for part in file.relative_to(ROOT).parts)}
    assert there == set(READMES)


@each_readme
def test_links_and_anchors_resolve(file):
    text = re.sub(r"`[^`\n]*`", "", prose(file))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (file.parent / unquote(path)) if path else file
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@each_readme
def test_commands_and_options_exist(file):
    known = commands()
    for words in used(file):
        name = max((name for name in known if tuple(words[: len(name)]) == name), key=len, default=None)
        assert name is not None, words
        given = [word.partition("=")[0] for word in words if word.startswith("-")]
        assert set(given) <= options(known[name]), words


@each_readme
def test_options_in_prose_exist(file):
    known = set().union(*map(options, commands().values()))
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose(file)):
        assert option in known | {"--index-url"}, option


@each_readme
def test_required_options_are_given(file):
    known = commands()
    for words in used(file):
        name = max((name for name in known if tuple(words[: len(name)]) == name), key=len)
        for parameter in known[name].params:
            if parameter.required and parameter.param_type_name == "option":
                assert set(parameter.opts) & set(words), words


def test_every_command_is_in_the_readme():
    assert {name[0] for name in commands()} == {words[0] for words in used(TOP)}


def test_the_first_two_blocks_are_the_door():
    first, second, *_ = blocks(TOP, "sh", "python", "toml", "json", "")
    assert "pip install ." in first and "reid identify gallery/queries/q04.jpg gallery/queries/q07.jpg --gallery gallery" in first
    assert second == "python3 -m venv .venv && . .venv/bin/activate && pip install -e '.[dev]' && python -m pytest\n"  # `.ci/run` runs it


@pytest.mark.parametrize("block", [body for file in READMES for body in blocks(file, "python")])
def test_python_compiles(block):
    compile(block, "README", "exec")


def test_every_setting_stands_in_its_table():
    text = section(ROOT / "configs/README.md", "Every setting")
    before, *rest = re.split(r"^`\[(\w+)\]`", text, flags=re.MULTILINE)
    tables = {"": before, **dict(zip(rest[::2], rest[1::2]))}
    assert set(tables) == {"", *GROUPS}
    for group, table in tables.items():
        rows_of = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", table, re.MULTILINE))
        assert list(rows_of) == [name for name, own in GROUP_OF.items() if own == group]
        for name, shown in rows_of.items():
            default = Settings().get(name)
            wanted = str(default).lower() if isinstance(default, bool) else f"{default:g}" if isinstance(default, float) else str(default)
            assert shown.strip("` ") == wanted, name


def test_every_setting_has_an_option():
    known = commands()
    for name in GROUP_OF:
        command = known["calibrate",] if name == "calibration_queries" else known["identify",]
        assert f"--{OTHERWISE.get(name, name).replace('_', '-')}" in options(command), name


def test_every_preset_stands_in_its_table():
    text = section(ROOT / "configs/README.md", "Presets and their price")
    assert [name for name in PRESETS if f"| `{name}` ([{name}.toml]({name}.toml))" in text] == list(PRESETS)


def test_every_network_stands_in_its_table():
    text = section(ROOT / "configs/README.md", "Networks and licences")
    lines = [line for line in text.splitlines() if line.startswith("| `") and not line.startswith("| `--extractor`")]
    assert {name for line in lines for name in first_cells(line)} == set(REGISTRY)
    for line in lines:
        for name in first_cells(line):
            assert ("`lightglue`" in line) == bool(REGISTRY[name].lightglue), name
    for name in MATCHERS:
        assert f"`{name}`" in text, name
    for names in re.findall(r"reid models fetch ([a-z -]+)`", " ".join(file.read_text() for file in READMES)):
        assert set(names.split()) <= set(WEIGHTS), names


def test_every_training_stands_in_its_table():
    assert set(first_cells(section(ROOT / "reid/training/README.md", "Methods"))) == {*METHODS, EMBEDDING}


def test_the_columns_of_a_table_are_those_that_are_read():
    text = section(ROOT / "gallery/README.md", "How a gallery is laid out")
    lines = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    assert [name for line in lines for name in re.findall(r"`(\w+)`", line[1])] == list(columns.COLUMNS)
    said = {name for line in lines for name in re.findall(r"`(\w+)`", line[3])}
    assert set(columns.SYNONYMS) <= said
    assert said <= set(columns.SYNONYMS) | {name for part in columns.PARTS for name in part} | set(columns.COLUMNS)


def test_the_columns_of_the_csv_are_those_that_are_written():
    assert first_cells(section(ROOT / "gallery/README.md", "CSV and data frames")) == list(COLUMNS)


def test_every_format_stands_in_its_table():
    assert set(first_cells(section(ROOT / "gallery/README.md", "Import"))) == set(READERS)
    assert set(first_cells(section(ROOT / "gallery/README.md", "Export"))) == set(WRITERS)


def test_features_are_measured_of_extractors_that_exist():
    for file in READMES:
        for words in used(file):
            if "--extractors" in words:
                names = words[words.index("--extractors") + 1].split(",")
                assert {name.partition("=")[0] for name in names} <= set(REGISTRY) | set(NAMES), words


@each_readme
def test_no_machine_is_named(file):
    assert not re.search(r"/work/|/tmp/|/home/|\.venv/lib", file.read_text())
