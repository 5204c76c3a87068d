"""Size limits of files and functions, so that a reader can take one in at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "segpipe").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MOST_LINES, MOST_TEST_LINES = 400, 600
MOST_CODE_LINES, MOST_PARAMETERS = 60, 10


def functions(path):
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def code_lines(function):
    """Return the lines of the body, without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


def parameters(function):
    declared = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument.arg for argument in declared if argument.arg not in ("self", "cls")]


def is_command(path, function):
    """Return whether Typer makes a command of the function, with its parameters as options."""
    annotations = [argument.annotation for argument in function.args.args]
    return path.parent.name == "cli" and any(
        annotation is not None and "typer." in ast.unparse(annotation) for annotation in annotations
    )


def test_no_module_is_longer_than_one_reads():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_test_file_is_longer_than_one_reads():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in TESTS}
    assert {name: length for name, length in lengths.items() if length > MOST_TEST_LINES} == {}


def test_no_function_has_more_than_60_lines_of_code():
    lengths = {
        f"{path.relative_to(ROOT)}:{function.name}": code_lines(function)
        for path in MODULES
        for function in functions(path)
    }
    assert {name: length for name, length in lengths.items() if length > MOST_CODE_LINES} == {}


def test_no_function_but_a_command_has_more_than_10_parameters():
    counts = {
        f"{path.relative_to(ROOT)}:{function.name}": len(parameters(function))
        for path in MODULES
        for function in functions(path)
        if not is_command(path, function)
    }
    assert {name: count for name, count in counts.items() if count > MOST_PARAMETERS} == {}


def test_a_class_name_stands_for_one_class():
    """A reader would have to tell two public classes of one name apart by their module."""
    files = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: where for name, where in files.items() if len(where) > 1} == {}
