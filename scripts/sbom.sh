#!/usr/bin/env bash
# Writes a software bill of materials (CycloneDX 1.6, JSON) of the environment that constraints.txt pins.
#
#   scripts/sbom.sh [FILE]        default: dist/sbom.cdx.json
#
# The libraries that the wheels of SimpleITK, Pillow, NumPy and SciPy carry are in it, with the versions that these
# libraries state themselves. The result is checked against the schema of CycloneDX. Needs the network once, for the tools.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
output=${1:-dist/sbom.cdx.json}
python=${SEGPIPE_PYTHON:-$root/.venv/bin/python}
tools=$(scripts/audit_tools.sh)
mkdir -p "$(dirname "$output")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$tools/cyclonedx-py" environment "$python" --pyproject pyproject.toml --spec-version 1.6 --output-format JSON \
    --output-reproducible --output-file "$work/environment.json"
"$python" scripts/bundled_libraries.py --constraints constraints.txt "$work/environment.json" "$work/sbom.json"
"$tools/python" - "$work/sbom.json" <<'PYTHON'
import pathlib, sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(pathlib.Path(sys.argv[1]).read_text())
if error is not None:
    sys.exit(f"the bill of materials breaks the schema of CycloneDX 1.6: {error}")
PYTHON
mv "$work/sbom.json" "$output"
echo "$output"
