"""The audit of pinned packages has three outcomes; the bill of materials lists libraries inside wheels."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch"}
FOUND = {
    "name": "pillow",
    "version": "13.0.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2030-1"], "fix_versions": ["13.0.1"]}],
}


def audit(folder, **answers):
    """Run the script with a pip-audit that returns one answer a service; a service without an answer fails."""
    for service, packages in answers.items():
        (folder / service).write_text(json.dumps({"dependencies": packages, "fixes": []}))
    stub = folder / "pip-audit"
    stub.write_text(
        "#!/usr/bin/env bash\n"
        'while [[ $1 != --vulnerability-service ]]; do shift; done\ncat "$(dirname "$0")/$2"\n'
    )
    stub.chmod(0o755)
    environment = {**os.environ, "SEGPIPE_AUDIT_TOOLS": str(folder), "SEGPIPE_PYTHON": sys.executable}
    script = ROOT / "scripts" / "audit_dependencies.sh"
    ran = subprocess.run([script], env=environment, capture_output=True, text=True)
    return ran.returncode, ran.stdout + ran.stderr


def test_packages_that_were_all_looked_up_are_clean(tmp_path):
    status, printed = audit(tmp_path, pypi=[CLEAN])

    assert status == 0
    assert "1 of 1 packages looked up in the database pypi" in printed


def test_a_finding_is_named_with_the_version_that_mends_it(tmp_path):
    status, printed = audit(tmp_path, pypi=[CLEAN, FOUND, UNKNOWN])

    assert status == 1
    assert "pillow 13.0.0: PYSEC-1, CVE-2030-1; fixed in 13.0.1" in printed
    assert "2 of 3 packages looked up" in printed


@pytest.mark.parametrize(
    "answers", [{}, {"pypi": [UNKNOWN]}, {"pypi": []}, {"pypi": [CLEAN, UNKNOWN]}], ids=str
)
def test_what_no_database_answers_for_is_not_audited(tmp_path, answers):
    """pip-audit exits with success if it skipped every package."""
    status, printed = audit(tmp_path, **answers)

    assert status == 3
    assert "not audited: no database of vulnerabilities answered for all packages" in printed


def test_the_second_database_is_asked_where_the_first_does_not_know_the_packages(tmp_path):
    status, printed = audit(tmp_path, pypi=[UNKNOWN], osv=[CLEAN])

    assert status == 0
    assert "looked up in the database osv" in printed


def test_a_pip_audit_that_is_not_there_is_no_success(tmp_path):
    environment = {**os.environ, "SEGPIPE_AUDIT_TOOLS": str(tmp_path), "SEGPIPE_PYTHON": sys.executable}

    ran = subprocess.run([ROOT / "scripts" / "audit_dependencies.sh"], env=environment, capture_output=True)

    assert ran.returncode == 3


def test_a_mirror_without_advisories_is_no_database(tmp_path):
    """The mirror reports no advisory for an old urllib3, and would do so for all packages."""
    (tmp_path / "sitecustomize.py").write_text(
        "import io, urllib.request\n"
        "urllib.request.urlopen = lambda url, timeout: io.BytesIO(b'{\"vulnerabilities\": []}')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SEGPIPE_PYTHON": sys.executable}
    environment.pop("SEGPIPE_AUDIT_TOOLS", None)

    ran = subprocess.run(
        [ROOT / "scripts" / "audit_dependencies.sh"], env=environment, capture_output=True, text=True
    )

    assert (ran.returncode, ran.stdout) == (3, "")
    assert "not audited: no database of vulnerabilities answers" in ran.stderr


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(
        "bundled_libraries", ROOT / "scripts" / "bundled_libraries.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.slow  # searches 270 MB of SimpleITK
def test_libraries_inside_wheels_state_their_own_versions(script):
    versions = {(library.package, library.name): library.version for library in script.bundled_libraries()}

    for package, name in [
        ("simpleitk", "itk"),
        ("simpleitk", "gdcm"),
        ("simpleitk", "libpng"),
        ("simpleitk", "openjpeg"),
        ("simpleitk", "libjpeg"),
        ("simpleitk", "zlib-ng"),
        ("pillow", "libjpeg-turbo"),
        ("pillow", "libpng"),
        ("pillow", "openjpeg"),
    ]:
        assert versions[package, name][0].isdigit(), (package, name)
    assert ("simpleitk", "libtiff") in versions  # states no version, and is listed all the same


def test_a_library_is_a_component_of_its_package(script):
    package = {"type": "library", "name": "SimpleITK", "version": "2"}
    document = {"bomFormat": "CycloneDX", "components": [package, {"type": "library", "name": "numpy"}]}
    library = script.Library("simpleitk", "libpng", "1.6", "text in a.so")

    first, second = script.with_libraries(document, [library])["components"]

    assert [(part["name"], part["version"]) for part in first["components"]] == [("libpng", "1.6")]
    assert "components" not in second
    assert "version" not in script.Library("simpleitk", "libtiff", "", "text in a.so").component()


def test_an_environment_with_other_versions_than_pinned_is_none_to_describe(script, tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# made by pip\npytest==0.0.1\nnot-there==1.0\n")

    problems = script.other_than_pinned(constraints)

    assert problems == [f"pytest: {pytest.__version__}, pinned 0.0.1", "not-there: not installed, pinned 1.0"]


@pytest.mark.slow
def test_the_bill_of_materials_follows_the_schema_of_cyclonedx(tmp_path):
    tools = Path(os.environ.get("SEGPIPE_AUDIT_TOOLS", ROOT / ".venv" / "audit-tools" / "bin"))
    if not (tools / "cyclonedx-py").exists():
        pytest.skip("cyclonedx-py is not installed; scripts/audit_tools.sh installs it")
    output = tmp_path / "sbom.cdx.json"
    environment = {**os.environ, "SEGPIPE_AUDIT_TOOLS": str(tools), "SEGPIPE_PYTHON": sys.executable}

    ran = subprocess.run(
        [ROOT / "scripts" / "sbom.sh", output], env=environment, capture_output=True, text=True
    )

    if "the environment is not the one" in ran.stderr:
        pytest.skip(ran.stderr.strip())
    assert ran.returncode == 0, ran.stderr
    content = json.loads(output.read_text())
    packages = {component["name"].lower(): component for component in content["components"]}
    assert content["bomFormat"] == "CycloneDX"
    assert {"torch", "monai", "nibabel", "pydicom"} <= set(packages)
    assert {part["name"] for part in packages["simpleitk"]["components"]} >= {"gdcm", "libpng", "itk"}
