#!/usr/bin/env bash
# Looks up the packages that constraints.txt pins in the databases of known vulnerabilities, by pip-audit.
#
#   scripts/audit_dependencies.sh
#
# Exit status: 0 all packages were looked up and none has a known vulnerability; 1 some have, each is printed;
# 3 not audited: no database could be reached, or it does not know some packages. pip-audit alone calls that success.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
python=${SEGPIPE_PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# the services of pip-audit whose database answers, and knows an old vulnerability: a mirror of PyPI can lack them all
services_that_answer() {
    "$python" - <<'PYTHON'
import json, urllib.request

known = {
    "pypi": ("https://pypi.org/pypi/urllib3/1.26.0/json", "vulnerabilities"),
    "osv": ("https://api.osv.dev/v1/vulns/PYSEC-2021-108", "id"),
}
for service, (url, key) in known.items():
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            if json.load(answer).get(key):
                print(service)
    except (OSError, ValueError, AttributeError):
        continue
PYTHON
}

services="pypi osv"
if [[ -z ${SEGPIPE_AUDIT_TOOLS:-} ]]; then
    services=$(services_that_answer)
    if [[ -z $services ]]; then # before the tools are installed for nothing
        echo "not audited: no database of vulnerabilities answers; run again with a network" >&2
        exit 3
    fi
fi
if ! tools=$(scripts/audit_tools.sh 2>"$work/tools.log"); then
    tail -n 1 "$work/tools.log" >&2
    echo "not audited: pip-audit cannot be installed; run again with a network" >&2
    exit 3
fi

for service in $services; do # the second where the first does not know all packages
    "$tools/pip-audit" --requirement constraints.txt --no-deps --disable-pip --vulnerability-service "$service" \
        --timeout 20 --progress-spinner off --format json >"$work/$service.json" 2>"$work/$service.log" || true
    status=0
    "$python" - "$work/$service.json" "$service" <<'PYTHON' || status=$?
import json, pathlib, sys

try:
    packages = json.loads(pathlib.Path(sys.argv[1]).read_text())["dependencies"]
except (ValueError, KeyError, TypeError):
    sys.exit(3)
skipped = [package["name"] for package in packages if "skip_reason" in package]
looked_up = len(packages) - len(skipped)
for package in packages:
    for found in package.get("vulns", ()):
        names = ", ".join([found["id"], *found.get("aliases", ())])
        fixed = ", ".join(found.get("fix_versions", ())) or "no version yet"
        print(f"{package['name']} {package['version']}: {names}; fixed in {fixed}")
if looked_up:
    print(f"{looked_up} of {len(packages)} packages looked up in the database {sys.argv[2]}")
if skipped and looked_up:
    print(f"not audited: {', '.join(skipped)}")
if any(package.get("vulns") for package in packages):
    sys.exit(1)
sys.exit(3 if skipped or not packages else 0)
PYTHON
    if ((status != 3)); then
        exit "$status"
    fi
done
echo "not audited: no database of vulnerabilities answered for all packages; run again with a network" >&2
exit 3
