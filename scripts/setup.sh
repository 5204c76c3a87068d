#!/usr/bin/env bash
# Makes .venv, segpipe's own environment, or keeps the one that is there and up to date.
#
#   scripts/setup.sh
#
# The other scripts begin with it. SEGPIPE_PYTHON=/path/to/python makes them use an environment of yours instead.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
stamp=$venv/segpipe-stamp # holds what a finished environment was made from; empty while it is being made
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

python=$(find_python)

# another Python, folder, list of dependencies or list of pins makes another environment
wanted=$("$python" - "$root" <<'PYTHON'
import hashlib, pathlib, sys

content = hashlib.sha256()
for name in ("pyproject.toml", "constraints.txt"):
    content.update(pathlib.Path(sys.argv[1], name).read_bytes())
print(sys.version.split()[0], sys.argv[1], content.hexdigest())
PYTHON
)

if [[ -f $stamp && $(<"$stamp") == "$wanted" ]] && "$venv/bin/python" -c '' 2>/dev/null; then
    echo "Environment: $venv (up to date)"
    exit 0
fi
if [[ -e $venv && ! -f $stamp ]]; then
    echo "$venv was not made by this script; move it away, or use it: SEGPIPE_PYTHON=$venv/bin/python" >&2
    exit 2
fi

echo "Environment: installing into $venv with $python, a few minutes the first time"
"$python" -m venv --clear "$venv"
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
printf '%s' "$wanted" >"$stamp"
echo "Environment: installed in $SECONDS s"
