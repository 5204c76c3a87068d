"""The READMEs are short, alike in both languages, and their links lead to files."""

import re
import tomllib

import pytest

READMES = ["README.md", "README.zh.md"]
PAGES = ["lung_ct", "chest_xray", "retinal_oct", "mhd_volumes"]
MOST_LINES = 120
LONGEST_LINE = 120
LONGEST_PARAGRAPH = 3
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def paragraphs(text):
    """Return the paragraphs of prose as lists of lines: a list item is a paragraph, tables and code are not."""
    prose = re.sub(r"^\s*[-*] ", "\n", CODE.sub("", text), flags=re.MULTILINE)
    blocks = [block.splitlines() for block in re.split(r"\n\s*\n", prose) if block.strip()]
    return [
        [line for line in block if line.strip()] for block in blocks if not block[0].startswith(("|", "#"))
    ]


def commands(text):
    """Return the lines of all code blocks, without comments."""
    lines = "\n".join(block.strip("`") for block in CODE.findall(text)).splitlines()
    return [re.split(r"\s{2,}", line)[0].rstrip() for line in lines]


def test_a_paragraph_ends_at_an_empty_line_and_at_the_next_item():
    text = "# Head\n\none\ntwo\n\n- three\n- four\n  five\n\n```bash\nsix\n```\n\n| seven |\n"

    assert paragraphs(text) == [["one", "two"], ["three"], ["four", "  five"]]


@pytest.mark.parametrize("name", READMES)
def test_a_readme_is_short(pytestconfig, name):
    text = (pytestconfig.rootpath / name).read_text(encoding="utf-8")

    assert len(text.splitlines()) <= MOST_LINES
    for paragraph in paragraphs(text):
        assert len(paragraph) <= LONGEST_PARAGRAPH, paragraph[0]
        assert all(len(line) <= LONGEST_LINE for line in paragraph), paragraph[0]


@pytest.mark.parametrize("name", ["README", *(f"docs/tutorial/{page}" for page in PAGES)])
def test_both_languages_have_the_same_commands(pytestconfig, name):
    english, chinese = (
        commands((pytestconfig.rootpath / f"{name}{suffix}").read_text(encoding="utf-8"))
        for suffix in (".md", ".zh.md")
    )

    assert english
    assert chinese == english


@pytest.mark.parametrize(
    "name",
    [
        *READMES,
        "DECISIONS.md",
        "docs/tutorial.md",
        *(f"docs/tutorial/{page}{suffix}" for page in PAGES for suffix in (".md", ".zh.md")),
    ],
)
def test_a_link_to_a_file_leads_somewhere(pytestconfig, name):
    page = pytestconfig.rootpath / name
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))

    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_contributing_has_the_layers_of_import_linter(pytestconfig):
    root = pytestconfig.rootpath
    linter = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    rows = re.findall(r"^\| (`[^|]+`) \|", (root / "CONTRIBUTING.md").read_text(), re.MULTILINE)

    table = [re.findall(r"`(\w+)`", row) for row in rows]

    assert table[-len(layers) :] == [re.findall(r"segpipe\.(\w+)", layer) for layer in layers]
