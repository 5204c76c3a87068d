#!/usr/bin/env bash
# Sets everything up and runs the checks and the fast tests; further arguments go to pytest.
#
#   scripts/test.sh [-k geometry] [-x] ...
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh"
python=${SEGPIPE_PYTHON:-$root/.venv/bin/python}
bin=$(dirname "$("$python" -c 'import sys; print(sys.executable)')")
cd "$root"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # small networks: more threads wait for each other, above all on a busy machine

stage() {
    local began=$SECONDS
    printf '\n== %s\n' "$*"
    "$@" || { printf '== FAILED after %d s: %s\n' $((SECONDS - began)) "$*" >&2; exit 1; }
    printf '== passed in %d s\n' $((SECONDS - began))
}

stage "$bin/ruff" check .
stage "$bin/ruff" format --check --quiet .
stage "$bin/mypy" --num-workers 2
stage "$bin/lint-imports"
# a process a core, a file's tests in one of them, since they share trainings
stage "$python" -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow and not gpu and not realdata and not browser" "$@"
printf '\nAll checks and fast tests passed in %d s.\n' "$SECONDS"
