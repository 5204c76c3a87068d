"""The documents agree with the program: links, commands, and the tables of its columns, keys and options."""

import ast
import importlib.util
import json
import pkgutil
import re
import shlex
from dataclasses import fields

import pytest
import yaml
from markdown.extensions.toc import slugify

ROOT_PAGES = ("README.md", "CONTRIBUTING.md")
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def root(pytestconfig):
    return pytestconfig.rootpath


@pytest.fixture(scope="module")
def pages(root):
    """Return path -> text of every page, README included."""
    paths = [*(root / name for name in ROOT_PAGES), *root.glob("README.*.md"), *(root / "docs").rglob("*.md")]
    return {page: page.read_text(encoding="utf-8") for page in paths}


def anchors(text):
    """Return the anchors of a page: headings, explicit ids, and objects of the Python API."""
    text = _FENCE.sub("", text)
    names = set(re.findall(r"^::: (\S+)", text, re.MULTILINE)) | set(re.findall(r"\{ ?#([\w-]+) ?\}", text))
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        names.add(slugify(re.sub(r"\{.*\}|[`*]", "", heading).strip(), "-"))
    return names


def test_every_link_leads_to_a_file_and_a_heading(pages):
    broken = []
    for page, text in pages.items():
        for link in _LINK.findall(_FENCE.sub("", text)):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(pages.get(target, ""))):
                broken.append(f"{page.name}: {link}")
    assert broken == []


def commands(pages, program):
    """Return (page, words) of each command line of a program in shell blocks, with continued lines joined."""
    runs = []
    for page, text in pages.items():
        for language, block in _FENCE.findall(text):
            if language not in ("bash", "sh", "console"):
                continue
            for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
                words = [] if "<<" in line else shlex.split(line, comments=True)
                if words[: len(program)] == program:
                    runs.append((page, words[len(program) :]))
    return runs


def test_every_command_line_is_one_that_the_program_takes(pages):
    import typer

    from segpipe.cli import app

    program = typer.main.get_command(app)
    lines = commands(pages, ["segpipe"])
    refused = []
    for page, words in lines:
        command, rest = program, list(words)
        while rest and hasattr(command, "commands") and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        if hasattr(command, "commands") and rest[:1] not in (
            ["--help"],
            ["--version"],
            ["--install-completion"],
        ):
            refused.append(f"{page.name}: segpipe {' '.join(words)}: no such command")
            continue
        try:
            command.make_parser(typer.Context(command)).parse_args(args=rest)
        except Exception as error:  # of a parser that typer brings along, whose class has had several places
            refused.append(f"{page.name}: segpipe {' '.join(words)}: {error}")
    assert refused == []
    assert len(lines) > 30


def test_every_run_of_monai_names_files_and_ids_that_a_bundle_has(pages, root):
    lines = commands(pages, ["python", "-m", "monai.bundle", "run"])
    unknown = []
    for page, words in lines:
        options = dict(zip(words[::2], words[1::2], strict=True))
        files = ast.literal_eval(options["--config_file"]) if "[" in options["--config_file"] else None
        files = files or [options["--config_file"]]
        near = page.parents[1] if page.parent.name == "docs" else root
        bases = [
            base for base in (root, near, *root.glob("bundles/*")) if all((base / f).is_file() for f in files)
        ]
        if not bases:
            unknown.append(f"{page.name}: {files}")
            continue
        known = {"config_file", "bundle_root"}
        for file in files:
            known |= {
                key.lstrip("+~") for key in yaml.safe_load((bases[0] / file).read_text(encoding="utf-8"))
            }
        unknown += [f"{page.name}: {name}" for name in options if name.lstrip("-") not in known]
    assert unknown == []
    assert lines


def test_every_block_of_python_and_json_can_be_read(pages):
    for text in pages.values():
        for language, block in _FENCE.findall(text):
            if language == "python":
                ast.parse(block)
            elif language == "json":
                json.loads(block)


def test_the_page_of_the_command_line_is_the_program_s(root):
    spec = importlib.util.spec_from_file_location("made", root / "scripts" / "make_command_line_page.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    made = script.page()

    assert script.PAGE.read_text(encoding="utf-8") == made, "run: python scripts/make_command_line_page.py"


def test_the_python_api_names_what_there_is(root):
    page = (root / "docs/reference/python_api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: (\S+)", page, re.MULTILINE)

    missing = [name for name in names if named(name) is None]

    assert missing == []
    assert len(names) > 30


def named(name):
    """Return the object of a dotted name; None if there is no such object."""
    try:
        return pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return None


def rows(text, heading):
    """Return the names in the first column of the table below a heading, up to the next one."""
    section = re.split(r"^#", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_outputs_lists_every_column_and_key(root):
    from segpipe.evaluation.metrics import METRICS
    from segpipe.prediction.ledger import EXPECTED_COLUMNS, VOLUMES_COLUMNS, Entry

    page = (root / "docs/reference/outputs.md").read_text(encoding="utf-8")

    assert rows(page, "### metrics.csv { #metrics-csv }") == ["case", "patient", "class", *METRICS]
    assert rows(page, "### volumes.csv { #volumes-csv }") == [
        *VOLUMES_COLUMNS,
        *EXPECTED_COLUMNS,
    ]
    assert rows(page, "### predictions.jsonl { #predictions-jsonl }") == [
        field.name for field in fields(Entry)
    ]


def test_outputs_lists_every_key_of_a_summary(root, tmp_path):
    import numpy as np
    from PIL import Image
    from typer.testing import CliRunner

    from segpipe.cli import app

    page = (root / "docs/reference/outputs.md").read_text(encoding="utf-8")
    for side in ("predictions", "references"):
        (tmp_path / side).mkdir()
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / side / "a.png")
    sides = ["--predictions", str(tmp_path / "predictions"), "--references", str(tmp_path / "references")]

    done = CliRunner().invoke(app, ["evaluate", *sides, "--output", str(tmp_path / "scores")])

    assert done.exit_code == 0, done.output
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text(encoding="utf-8"))
    assert set(rows(page, "### summary.json { #summary-json }")) == set(summary)


def test_the_manifest_page_lists_every_key_of_the_schema(root):
    page = (root / "docs/reference/manifest.md").read_text(encoding="utf-8")
    schema = json.loads((root / "segpipe/dataset/manifest.schema.json").read_text(encoding="utf-8"))["$defs"]

    for name in ("manifest", "case", "split", "download"):
        assert set(rows(page, f"## Keys of a {name}")) == set(schema[name]["properties"]), name


def test_the_manifest_page_shows_a_manifest_that_is_read(root):
    from segpipe.dataset import parse_manifest

    page = (root / "docs/reference/manifest.md").read_text(encoding="utf-8")
    (block,) = (block for language, block in _FENCE.findall(page) if language == "json")

    assert [case.fold for case in parse_manifest(json.loads(block), "manifest.md").training] == [0, 1]


def test_the_metrics_page_has_the_program_s_table_of_empty_cases(root):
    from segpipe.evaluation import metrics

    page = (root / "docs/reference/metrics.md").read_text(encoding="utf-8")
    table = [line for line in metrics.__doc__.splitlines() if line.startswith("|")]

    assert "\n".join(table) in page
    assert set(rows(page, "## Formulas")) == set(metrics.METRICS)


def test_the_refusals_page_quotes_what_the_program_says(root):
    """The program has four successive words of each message, without names or numbers between them."""
    program = "".join(
        part.value
        for file in sorted((root / "segpipe").rglob("*.py"))
        for part in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )
    page = (root / "docs/reference/refusals.md").read_text(encoding="utf-8")
    messages = re.findall(r"^\| [^`|]+ \| `([^`]+)` \|$", page, re.MULTILINE)

    quoted = [message for message in messages if not any(run in program for run in _runs(message))]

    assert quoted == []
    assert len(messages) > 15


def _runs(message):
    """Return all runs of four words."""
    words = message.split(" ")
    return [" ".join(words[place : place + 4]) for place in range(len(words) - 3)]
