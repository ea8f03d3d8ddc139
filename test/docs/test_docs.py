"""The docs say what the code does: generated tables, commands, links, counters, names of files."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import pytest
from samples import ROOT
from shell_blocks import PAGES, Command, blocks, commands, prose, split

from docs._extensions import docstrings, generated
from pear_ros.assets.body_assets import load_assets
from pear_ros.cli.main import main, make_parser
from pear_ros.config import Config, SyntheticCameraConfig, settings
from pear_ros.errors import PearError
from pear_ros.people import JOINT_NAMES
from pear_ros.synthetic.held_out import REPERTOIRES
from pear_ros.synthetic.scene import Cast, Scene
from pear_ros.system.installed import shared_file

DOCS = ROOT / "docs"
FIELDS = settings(Config)
CAMERA_FIELDS = settings(SyntheticCameraConfig)
COMMANDS = [command for page in PAGES for command in commands(page)]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def rows_of(table: str) -> dict[str, list[str]]:
    """The rows of all Markdown tables in a text by their first cell, without backticks."""
    rows = {}
    for line in table.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            rows[cells[0].strip("`")] = cells[1:]
    return rows


# --- Parameters ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parameters() -> dict[str, list[str]]:
    return rows_of(generated.parameters())


@pytest.mark.parametrize("name", FIELDS)
def test_parameter(name: str, parameters: dict[str, list[str]]) -> None:
    default, range_, live, description = parameters[name]
    metadata = FIELDS[name].metadata
    assert default == generated.shown(FIELDS[name].default)
    assert (live == "yes") == metadata["live"]
    assert all(f"`{choice}`" in range_ for choice in metadata["choices"])
    if metadata["bounds"]:
        low, high = metadata["bounds"]
        assert range_ == f"{low} to {high} {metadata['unit']}".strip()
    assert description.replace("\\", "") == metadata["doc"]


@pytest.mark.parametrize("name", CAMERA_FIELDS)
def test_camera_parameter(name: str) -> None:
    default, range_, description = rows_of(generated.camera_parameters())[name]
    field = CAMERA_FIELDS[name]
    assert default == generated.shown(field.default)
    assert all(f"`{choice}`" in range_ for choice in field.metadata["choices"])
    if field.metadata["bounds"]:
        assert range_.startswith(f"{field.metadata['bounds'][0]} to {field.metadata['bounds'][1]}")
    assert description.replace("\\", "") == field.metadata["doc"]


def test_every_group_has_a_section() -> None:
    headings = re.findall("^## (.*)", generated.parameters(), re.MULTILINE)
    assert headings == [group or "Without a group" for group in generated.groups(Config)]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("auto", '`"auto"`', id="text"),
        pytest.param(True, "`true`", id="true"),
        pytest.param(0.5, "`0.5`", id="float"),
        pytest.param((), '`[""]`', id="no names"),
    ],
)
def test_defaults_are_shown_as_in_yaml(value: Any, shown: str) -> None:
    assert generated.shown(value) == shown


# --- Messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "msg").glob("*.msg")), ids=lambda path: path.stem)
def test_message(path: Path) -> None:
    text = generated.message(path.stem)
    assert text in generated.messages()
    rows = rows_of(text)
    for line in path.read_text().splitlines():
        declaration, _, comment = (part.strip() for part in line.partition("#"))
        if not declaration:
            assert comment in text
            continue
        kind, name = declaration.partition("=")[0].split()
        type_, *rest = rows[name]
        assert kind in type_.replace("\\", "")
        assert comment in " ".join(rest).replace("\\", "")


def test_joints_have_their_index() -> None:
    cells = re.findall(r"(\d+) `(\w+)`", generated.message("Human"))
    assert cells == [(str(i), name) for i, name in enumerate(JOINT_NAMES)]


def test_comments_of_a_message() -> None:
    about, fields = generated.read_message(
        "# About it.\n# In two lines.\n\n# Above.\nuint8 A=1  # Beside.\n\nuint8[3] b\n"
    )
    assert about == "About it.\nIn two lines."
    first, second = fields
    assert first == generated.Field("uint8", "A", "1", "Above. Beside.")
    assert second == generated.Field("uint8[3]", "b", None, "")


# --- Commands ------------------------------------------------------------------------------------


def all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all subcommands, those of subcommands' subcommands too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield sub
                yield from all_parsers(sub)


PARSERS = {parser.prog: parser for parser in all_parsers(make_parser())}


@pytest.mark.parametrize("prog", PARSERS)
def test_subcommand(prog: str) -> None:
    text = generated.commands()
    (section,) = re.findall(rf"^#+ {prog}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    rows = rows_of(section)
    for action in PARSERS[prog]._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        assert generated.argument_name(action).strip("`") in rows, action
    assert ("```text" in section) == (not generated_nested(prog))


def generated_nested(prog: str) -> bool:
    return any(other.startswith(f"{prog} ") for other in PARSERS)


def test_help_tells_defaults_and_what_is_required() -> None:
    export = rows_of(generated.command(PARSERS["pear-ros export"], "", 2))
    assert export["--checkpoint"][-1].endswith("(required)")
    assert export["--dtype"][-1].endswith("(default: float16)")
    infer = rows_of(generated.command(PARSERS["pear-ros infer"], "", 2))
    assert infer["--output"][-1].endswith("(default: people.npz)")
    assert infer["--no-vertices"][0] == ""


@pytest.mark.parametrize(
    ("page", "generator"),
    [
        ("parameters.md", "parameters"),
        ("parameters.md", "camera_parameters"),
        ("messages.md", "messages"),
        ("commands.md", "commands"),
    ],
)
def test_pages_use_the_generators(page: str, generator: str) -> None:
    assert f"```{{generated}} {generator}\n" in (DOCS / "reference" / page).read_text()
    assert generator in generated.GENERATORS


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("a|b <c> *d* [e]", r"a\|b \<c> \*d\* \[e\]", id="marks"),
        pytest.param("`a*b` c*d", r"`a*b` c\*d", id="code stays"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_cells(text: str, shown: str) -> None:
    assert generated.cell(text) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param("Of `x*y`, a*b and |c|.", r"Of `x*y`, a\*b and \|c\|.", id="marks"),
        pytest.param("a `span that goes on", "a `span that goes on", id="span over two lines"),
        pytest.param("rotation.py  matrices, 6D", "- `rotation.py`: matrices, 6D", id="file"),
        pytest.param("    Args:", "    Args:", id="indented"),
    ],
)
def test_docstrings_are_plain_text(line: str, shown: str) -> None:
    assert docstrings.plain([line]) == [shown]


# --- Commands in code blocks ---------------------------------------------------------------------

# Commands of others, which are not looked into.
OTHERS = {".", "cd", "cp", "export", "git", "mkdir", "pip", "pre-commit", "rosdep", "source",
          "touch"}  # fmt: skip
CAMERA_DRIVERS = {"realsense2_camera"}
MODULES_OF_OTHERS = {"colcon", "pytest", "sphinx", "venv"}
OUTPUTS = {"humans", "markers", "skeletons", "points", "overlay"}
TRANSITIONS = {"configure", "activate", "deactivate", "cleanup", "shutdown"}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command_in_a_code_block(command: Command) -> None:
    check_command(list(command.arguments))


def check_command(words: list[str]) -> None:
    name, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
    if name == "make":
        check_make(arguments)
    elif name == "pear-ros":
        check_pear_ros(arguments)
    elif name == "ros2":
        check_ros2(arguments)
    elif name in ("python", "python3") and arguments[0] == "-m":
        check_module(arguments[1], arguments[2:])
    else:
        assert name in OTHERS, f"{name} is not known to this test"


def check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for argument in arguments:
        variable, is_variable, _ = argument.partition("=")
        if is_variable:
            assert f"$({variable})" in makefile, argument
        else:
            assert re.search(rf"^{argument}:", makefile, re.MULTILINE), argument


def check_pear_ros(arguments: list[str]) -> None:
    if not arguments:
        return None
    if arguments[0] == "node":
        return check_parameters(arguments[1:], FIELDS)
    if arguments[0] == "synthetic-camera":
        return check_parameters(arguments[1:], CAMERA_FIELDS)
    if arguments != ["--help"]:
        try:
            make_parser().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"pear-ros {shlex.join(arguments)} cannot be parsed")
    return None


def check_parameters(arguments: list[str], fields: dict[str, Any]) -> None:
    """Of `-p NAME:=VALUE`; other ROS arguments are not looked into."""
    for option, argument in pairwise(arguments):
        if option == "-p":
            name, is_given, _ = argument.partition(":=")
            assert is_given, argument
            assert name in fields or re.fullmatch(
                r"qos_overrides\./[\w/]+\.(publisher|subscription)\.(history|depth|reliability)",
                name,
            ), name


def check_ros2(arguments: list[str]) -> None:
    verb = arguments[0]
    if verb == "launch" and arguments[1] in CAMERA_DRIVERS:
        return  # its arguments are not known here
    if verb == "launch":
        assert arguments[1] == "pear_ros"
        check_launch(arguments[2], arguments[3:])
    elif verb == "run":
        assert arguments[1] == "pear_ros"
        script = arguments[2]
        assert f"scripts/{script}" in (ROOT / "CMakeLists.txt").read_text()
        assert (ROOT / "scripts" / script).exists()
        if script == "pear-ros":
            check_pear_ros(arguments[3:])
        else:
            fields = CAMERA_FIELDS if script == "synthetic_camera" else FIELDS
            check_parameters(arguments[3:], fields)
    elif verb == "param":
        action, node, name, *value = arguments[1:]
        assert node == "/pear"
        assert name in FIELDS
        if action == "set":
            (text,) = value
            kind = type(FIELDS[name].default)
            assert FIELDS[name].metadata["live"], "it can be set while the node is active"
            Config.of({name: text == "true" if kind is bool else kind(text)})
    elif verb == "lifecycle":
        assert arguments[2] == "/pear"
        assert arguments[1] == "get" or arguments[3] in TRANSITIONS
    else:
        assert verb == "topic", verb
        topics = [topic for topic in arguments if topic.startswith("/pear/")]
        assert all(topic.removeprefix("/pear/") in OUTPUTS for topic in topics)


def check_launch(file: str, arguments: list[str]) -> None:
    known = launch_arguments(file)
    for argument in arguments:
        if argument != "--show-args":
            name, is_given, _ = argument.partition(":=")
            assert is_given, argument
            assert name in known, f"{name} is none of {sorted(known)}"


def launch_arguments(file: str) -> set[str]:
    """The arguments of a launch file, read without importing it."""
    tree = ast.parse((ROOT / "launch" / file).read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "ARGUMENTS":
                assert isinstance(node.value, ast.Dict)
                names |= {ast.literal_eval(key) for key in node.value.keys if key}
            elif node.targets[0].id == "SETTINGS":
                names |= set(ast.literal_eval(node.value))
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "DeclareLaunchArgument"
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(node.args[0].value)
    return names


def test_launch_files_have_arguments() -> None:
    assert {"image", "rviz", "checkpoint"} <= launch_arguments("pear.launch.py")
    assert {"people", "rviz"} <= launch_arguments("demo.launch.py")


def check_module(module: str, arguments: list[str]) -> None:
    """`python -m MODULE`: the module is ours and has the options."""
    if module in MODULES_OF_OTHERS:
        return
    path = ROOT / Path(*module.split("."))
    path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    source = path.read_text()
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert f'"{option}"' in source, f"{module} has no {option}"


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "make demo COLOUR=red",
        "pear-ros toy out",
        "pear-ros infer photo.jpg --colour red",
        "pear-ros node --ros-args -p min_score:=0.5",
        "ros2 launch pear_ros pear.launch.py colour:=red",
        "ros2 launch pear_ros pear.launch.py rviz",
        "ros2 run pear_ros camera",
        "ros2 run pear_ros pear_node --ros-args -p people:=2",
        "ros2 param set /pear detection.min_score 2.0",
        "ros2 param set /pear network.device cpu",
        "ros2 lifecycle set /pear start",
        "ros2 topic hz /pear/people",
        "python -m training.nothing",
        "python -m training.train --colour red",
        "rm -r out",
    ],
)
def test_wrong_commands_are_noticed(line: str) -> None:
    (words,) = split(line)
    with pytest.raises((AssertionError, FileNotFoundError, PearError, pytest.fail.Exception)):
        check_command(words)


def test_the_reader_of_commands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```sh\nrun=\"make demo\"  # kept\nA=1 $run \\\n    B='c d' && make test\n```\n"
        "1. b\n\n   ```sh\n   cd x; ls\n   ```\n\n```python\nno = 1\n```\n"
    )
    found = [list(command.arguments) for command in commands(page)]
    assert found == [["make", "demo", "B=c d"], ["make", "test"], ["cd", "x"], ["ls"]]


# --- Commands and names in the text --------------------------------------------------------------

CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_code_in_the_text(page: Path) -> None:
    for code in CODE.findall(prose(page)):
        check_code(" ".join(code.split()))


def check_code(code: str) -> None:
    """Commands, settings and paths that are mentioned exist."""
    words = code.split()
    if code.startswith("make ") and len(words) > 1:
        check_make(words[1:])
    elif words[0] == "pear-ros" and len(words) > 1:
        prog = " ".join(words[:3]) if " ".join(words[:3]) in PARSERS else " ".join(words[:2])
        assert prog in PARSERS, code
        options = {option for action in PARSERS[prog]._actions for option in action.option_strings}
        if prog not in ("pear-ros node", "pear-ros synthetic-camera"):
            assert {word for word in words if word.startswith("--")} <= options, code
    elif code.startswith(("python -m ", "ros2 run pear_ros ", "ros2 lifecycle set ")):
        check_command(words)
    elif re.fullmatch(rf"({'|'.join(filter(None, generated.groups(Config)))})\.\w+", code):
        assert code in FIELDS or code.endswith((".json", ".npz", ".py")), f"{code} is not a setting"
    elif re.fullmatch(r"(assets|config|demo|docs|launch|msg|scripts|src|test|tools|training)/\S+",
                      code) or re.fullmatch(r"pear_ros/\S+(\.py|/)", code):  # fmt: skip
        assert (ROOT / code).exists(), f"{code} does not exist"


@pytest.mark.parametrize(
    "code",
    ["make nothing", "pear-ros toy", "pear-ros bench --colour", "detection.colour", "docs/no.md",
     "pear_ros/no.py"],
)  # fmt: skip
def test_wrong_names_are_noticed(code: str) -> None:
    with pytest.raises(AssertionError):
        check_code(code)


# --- Links ---------------------------------------------------------------------------------------

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)", re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Headings as they are linked to, and targets `(name)=`."""
    text = prose(page)
    headings = (heading.replace("`", "") for heading in re.findall("^#+ (.*)", text, re.MULTILINE))
    slugs = {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_line_is_a_comment(page: Path) -> None:
    """The site leaves out lines that begin with %, such as those of a broken "5 %"."""
    assert not re.findall(r"^ *%.*", prose(page), re.MULTILINE)


def test_paths_to_pages_in_the_source_exist() -> None:
    """Error messages and docstrings name pages of the docs."""
    folders = (
        "pear_ros",
        "launch",
        "training",
        "demo",
        "tools",
        "scripts",
        "test",
        "msg",
        "config",
    )
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".msg", ".yaml", ".c") and path != Path(__file__).resolve()
        for name in re.findall(r"\bdocs/[\w/]+\.md\b", path.read_text())
        if not (ROOT / name).exists()
    ]
    assert not missing


def test_every_module_is_on_the_api_page() -> None:
    page = (DOCS / "reference/api.md").read_text()
    for path in sorted((ROOT / "pear_ros").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if name.startswith("pear_ros.cli") or path.name == "__init__.py":
            continue
        assert name in page or name == "pear_ros.people", f"{name} is not on the API page"


def test_every_folder_is_on_the_design_page() -> None:
    page = (DOCS / "design.md").read_text()
    for folder in (ROOT / "pear_ros").iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}/`" in page


# --- Troubleshooting -----------------------------------------------------------------------------


def counters() -> set[str]:
    """The kinds of problems that the package counts, read from the calls of `count`."""
    kinds = set()
    for path in (ROOT / "pear_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and (
                    (node.func.attr == "count" and "problems" in ast.unparse(node.func.value))
                    or node.func.attr in ("_count", "_count_lost")
                )
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                kinds.add(str(node.args[0].value))
    return kinds


def test_every_counter_is_explained() -> None:
    section = (DOCS / "troubleshooting.md").read_text().partition("## Counters")[2]
    table = section.partition("## ")[0]
    assert set(rows_of(table)) - {"counter in `/diagnostics"} == counters()


def test_every_statistic_is_explained() -> None:
    page = (DOCS / "reference/topics.md").read_text()
    text = "".join(path.read_text() for path in (ROOT / "pear_ros/ros").glob("*.py"))
    names = set(re.findall(r"count\(\"(images_\w+|people)\"", text))
    assert names >= {"images_received", "images_answered", "images_unwatched", "people"}
    for name in names | {"images_dropped", "median_processing_time_ms"}:
        assert f"| `{name}` |" in page, name


def test_messages_in_the_troubleshooting_are_those_of_the_code() -> None:
    source = " ".join(
        re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in (ROOT / "pear_ros").rglob("*.py")
    )
    page = (DOCS / "troubleshooting.md").read_text()
    section = page.partition("## Messages at the start")[2]
    quoted = re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)
    assert len(quoted) > 4
    for text in quoted:
        assert text in source, f"no message says {text!r}"


# --- Commands that can run here ------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the documented commands read."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "assets").symlink_to(ROOT / "assets")
    scene = Scene(
        Cast(load_assets(shared_file("standin/body.npz"))), REPERTOIRES["held_out"], 2, people=2
    )
    image = scene.shot(0.5, visibility=False).image
    cv2.imwrite(str(folder / "photo.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


RUNNABLE = sorted(
    {
        command.arguments[1:]
        for command in COMMANDS
        if command.arguments[0].removeprefix(".venv/bin/") == "pear-ros"
        and command.arguments[1] == "infer"
        and "--checkpoint" not in command.arguments
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", RUNNABLE, ids=shlex.join)
def test_infer_as_documented(
    arguments: tuple[str, ...], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    assert main(arguments) == 0
    assert (workplace / "people.npz").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("page", ["people_file.md", "api.md"])
def test_python_examples(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    assert main(["infer", "photo.jpg"]) == 0
    examples = list(blocks(DOCS / "reference" / page, "python"))
    assert examples
    for example in examples:
        exec(compile(example, page, "exec"), {})


def test_assets_as_documented(
    small_downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "how_to/get_weights.md"
    found = [c.arguments[1:] for c in commands(page) if c.arguments[:2] == ("pear-ros", "assets")]
    assert [arguments[1] for arguments in found] == ["check", "convert"]
    for arguments in found:
        assert main([str(small_downloads) if a == "DIR" else a for a in arguments]) == 0
    assert load_assets(tmp_path / "body.npz")
