#!/usr/bin/env bash
# Makes .venv, segpipe's own environment, or keeps the one that is there and up to date.
#
#   scripts/setup.sh
#
# The other scripts begin with it. SEGPIPE_PYTHON=/path/to/python makes them use an environment of yours instead.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/segpipe-stamp # what the installation was made from; empty while it is being made
log=$venv/install.log

if [[ -n ${SEGPIPE_PYTHON:-} ]]; then
    if ! "$SEGPIPE_PYTHON" -c 'import importlib.util as i, sys; sys.exit(i.find_spec("segpipe") is None)'; then
        echo "SEGPIPE_PYTHON=$SEGPIPE_PYTHON: cannot import segpipe; install it there: pip install -e '.[dev]'" >&2
        exit 2
    fi
    exit 0
fi

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do # 3.11 first: it is what CI runs
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer with its venv module was found." >&2
    echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name yours: SEGPIPE_PYTHON=..." >&2
    exit 2
}

works() {
    "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# another folder, list of dependencies or list of pins wants another installation
made_from() {
    "$venv/bin/python" - "$root" <<'PYTHON'
import hashlib, pathlib, sys

content = hashlib.sha256()
for name in ("pyproject.toml", "constraints.txt"):
    content.update(pathlib.Path(sys.argv[1], name).read_bytes())
print(sys.argv[1], content.hexdigest())
PYTHON
}

# segpipe as installed there is this checkout, not a copy
is_checkout() {
    (cd / && "$venv/bin/python" - "$root/" <<'PYTHON'
import importlib.util, sys

spec = importlib.util.find_spec("segpipe")
sys.exit(spec is None or not str(spec.origin).startswith(sys.argv[1]))
PYTHON
    )
}

if works; then
    if [[ -f $stamp && $(<"$stamp") == "$(made_from)" ]] && is_checkout; then
        echo "Environment: $venv (up to date)"
        exit 0
    fi
elif [[ -e $venv && ! -f $stamp ]]; then
    echo "$venv is no working environment of Python 3.11 or newer, and not this script's; move it away" >&2
    exit 2
else
    python=$(find_python)
    "$python" -m venv --clear "$venv"
fi

echo "Environment: installing into $venv with $("$venv/bin/python" -V), a few minutes the first time"
: >"$stamp"
export PIP_DISABLE_PIP_VERSION_CHECK=1
(cd "$root" && exec "$venv/bin/python" -m pip install -c constraints.txt -e '.[dev]') >"$log" 2>&1 </dev/null &
pip=$!
trap 'kill "$pip" 2>/dev/null || true' INT TERM
next_line=15
while kill -0 "$pip" 2>/dev/null; do
    sleep 1
    if ((SECONDS >= next_line)); then
        printf '  %3d s  %s\n' "$SECONDS" "$(tail -n 1 "$log" | cut -c 1-100)"
        next_line=$((SECONDS + 15))
    fi
done
if ! wait "$pip"; then
    tail -n 20 "$log" >&2
    echo "The installation failed; all of its output is in $log" >&2
    exit 1
fi
"$venv/bin/python" -m compileall -q "$root/segpipe" # as pip does; some environments forbid it later
made_from >"$stamp"
echo "Environment: installed in $SECONDS s"
