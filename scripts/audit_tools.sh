#!/usr/bin/env bash
# Installs pip-audit and cyclonedx-py into a folder of their own in .venv, once, and prints the folder of their commands.
#
# They are not part of segpipe's environment, which they look at. SEGPIPE_AUDIT_TOOLS names a folder that has them.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pins=(pip-audit==2.10.1 cyclonedx-bom==7.5.0)
tools=$root/.venv/audit-tools
stamp=$tools/pins

if [[ -n ${SEGPIPE_AUDIT_TOOLS:-} ]]; then
    echo "$SEGPIPE_AUDIT_TOOLS"
    exit 0
fi
if [[ ! -f $stamp || $(<"$stamp") != "${pins[*]}" ]]; then
    python=${SEGPIPE_PYTHON:-$root/.venv/bin/python}
    "$python" -m venv --clear "$tools" >&2
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check "${pins[@]}" >&2 </dev/null
    echo "${pins[*]}" >"$stamp"
fi
echo "$tools/bin"
