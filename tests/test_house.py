"""The sizes and habits of the house: short files, short functions, docstrings, nothing left over."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "trio_coap"

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60

LEFT_OVER = re.compile(r"\b(TODO|FIXME|XXX)\b")


def source_files() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(REPOSITORY / "bench").rglob("*.py")])


def long_file(source: str) -> list[str]:
    lines = len(source.splitlines())
    return [f"1: the file has {lines} lines, over {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []


def long_functions(source: str) -> list[str]:
    """Functions that do not fit one screen, docstring included: that is what a reader scrolls past."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                found.append(f"{node.lineno}: {node.name} has {lines} lines, over {MAX_FUNCTION_LINES}")
    return found


def left_over_notes(source: str) -> list[str]:
    return [
        f"{number}: {match[0]} is for the issue tracker"
        for number, line in enumerate(source.splitlines(), start=1)
        if (match := LEFT_OVER.search(line))
    ]


def missing_docstring(source: str) -> list[str]:
    return [] if ast.get_docstring(ast.parse(source)) else ["1: the module has no docstring"]


RULES = [long_file, long_functions, left_over_notes, missing_docstring]


def is_all_assignment(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]


LAZY_TABLES = {"_NAMES", "_MODULES", "_ROOMS"}


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def is_for_lazy_imports(node: ast.stmt) -> bool:
    """The imports that type checkers read, and what does them when a name is asked for (PEP 562)."""
    if isinstance(node, ast.If) and not node.orelse:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return all(is_import(child) for child in node.body)
        names = {child.name if isinstance(child, ast.FunctionDef) else "" for child in node.body}
        return ast.unparse(node.test) == "not TYPE_CHECKING" and names <= {"__getattr__", "__dir__"}
    if isinstance(node, ast.Assign):
        return {ast.unparse(target) for target in node.targets} <= LAZY_TABLES
    return False


def definitions_in_init(source: str) -> list[str]:
    """Everything in the package's ``__init__`` but its docstring, imports, one literal ``__all__``, and lazy importing."""
    found = []
    exports = 0
    for index, node in enumerate(ast.parse(source).body):
        is_docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_all_assignment(node):
            exports += 1
            if not exported_names(source):
                found.append(f"{node.lineno}: __all__ is not a literal list of names")
        elif not is_docstring and not is_import(node) and not is_for_lazy_imports(node):
            found.append(f"{node.lineno}: {ast.unparse(node).splitlines()[0]} is more than an import")
    if exports != 1:
        found.append(f"1: __all__ is assigned {exports} times, not once")
    return found


def exported_names(source: str) -> list[str]:
    for node in ast.parse(source).body:
        if is_all_assignment(node):
            assert isinstance(node, ast.Assign)
            try:
                names = ast.literal_eval(node.value)
            except ValueError:
                return []
            return [name for name in names if isinstance(name, str)]
    return []


def test_there_is_something_to_check() -> None:
    assert PACKAGE / "__init__.py" in source_files()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_the_file_keeps_the_rule(path: Path, rule) -> None:
    relative = path.relative_to(REPOSITORY)
    found = [f"{relative}:{violation}" for violation in rule(path.read_text(encoding="utf-8"))]
    assert not found, "\n" + "\n".join(found)


def test_the_package_defines_nothing_itself() -> None:
    found = definitions_in_init((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    assert not found, "\n" + "\n".join(found)


def test_every_exported_name_exists_once() -> None:
    names = exported_names((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    package = importlib.import_module("trio_coap")
    assert names == package.__all__
    assert [name for name in names if not hasattr(package, name)] == []
    assert len(names) == len(set(names))


def test_a_file_of_501_lines_is_found() -> None:
    assert long_file("pass\n" * 500) == []
    assert long_file("pass\n" * 501) == ["1: the file has 501 lines, over 500"]


@pytest.mark.parametrize("head", ["def f():", "async def f():"])
def test_a_function_of_61_lines_is_found(head: str) -> None:
    assert long_functions(f"{head}\n" + "    pass\n" * 59) == []
    assert long_functions(f"\n{head}\n" + "    pass\n" * 60) == ["2: f has 61 lines, over 60"]


def test_a_long_method_is_found() -> None:
    source = "class C:\n    def m(self):\n" + "        pass\n" * 60
    assert long_functions(source) == ["2: m has 61 lines, over 60"]


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_a_left_over_note_is_found(word: str) -> None:
    assert left_over_notes(f"a = 1\nb = 2  # {word}: think\n") == [f"2: {word} is for the issue tracker"]
    assert left_over_notes(f"a = '{word}ES'\n") == []


def test_a_missing_docstring_is_found() -> None:
    assert missing_docstring('"""What it is."""\n') == []
    assert missing_docstring("import os\n") == ["1: the module has no docstring"]
    assert missing_docstring("") == ["1: the module has no docstring"]


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ("def f():\n    pass", "3: def f(): is more than an import"),
        ("class C:\n    pass", "3: class C: is more than an import"),
        ("__version__ = '1'", "3: __version__ = '1' is more than an import"),
        ("if True:\n    import os", "3: if True: is more than an import"),
        ("'a second string'", "3: 'a second string' is more than an import"),
        ("__all__ = ['a']", "1: __all__ is assigned 2 times, not once"),
    ],
)
def test_a_definition_in_the_package_file_is_found(planted: str, expected: str) -> None:
    source = '"""The package."""\nfrom .a import a\n{}\n__all__ = ["a"]\n'
    assert definitions_in_init(source.format("")) == []
    assert definitions_in_init(source.format(planted)) == [expected]


def test_an_unreadable_list_of_exports_is_found() -> None:
    assert definitions_in_init("import os\n") == ["1: __all__ is assigned 0 times, not once"]
    assert definitions_in_init("__all__ = dir()\n") == ["1: __all__ is not a literal list of names"]


@pytest.mark.parametrize(
    "planted",
    [
        "if TYPE_CHECKING:\n    x = 1",
        "if not TYPE_CHECKING:\n    def open_client(): ...",
        "if not TYPE_CHECKING:\n    x = 1",
        "_TABLE = {}",
    ],
)
def test_lazy_importing_does_not_hide_definitions(planted: str) -> None:
    assert len(definitions_in_init(f"{planted}\n__all__ = ['a']\n")) == 1
