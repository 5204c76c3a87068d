#!/usr/bin/env bash
# Builds the documentation with MkDocs; a broken link or a missing anchor fails the build.
#
#   scripts/docs.sh [FOLDER]       default: site/
#
# To read it: python -m http.server --directory site, then http://localhost:8000 in a browser.
# The first build fetches MkDocs by pip and Mermaid's script by npm, and checks the script's SHA-256. Pages load nothing
# from other hosts. SEGPIPE_PYTHON=/path/to/python builds with an environment of yours, which must have the extra `docs`.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
site=$(realpath -m "${1:-$root/site}")
mermaid=mermaid@11.17.2 # the major version that the theme is made for
mermaid_sha256=581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8
cached=$root/.cache/${mermaid/@/-}.min.js
"$root/scripts/setup.sh"
python=${SEGPIPE_PYTHON:-$root/.venv/bin/python}
cd "$root"

# The requirements of the extra, one a line.
extra() {
    "$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")'
}

if ! "$python" -c 'import material, mkdocstrings_handlers.python' 2>/dev/null; then
    if [[ -n ${SEGPIPE_PYTHON:-} ]]; then
        echo "SEGPIPE_PYTHON=$SEGPIPE_PYTHON: has no MkDocs; install it there: pip install -c constraints.txt -e '.[docs]'" >&2
        exit 2
    fi
    extra | "$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -r /dev/stdin
fi

is_mermaid() { [[ -f $1 ]] && echo "$mermaid_sha256  $1" | sha256sum --check --status; }

if ! is_mermaid "$cached"; then
    if ! command -v npm >/dev/null; then
        echo "npm is missing, which fetches Mermaid's script; install Node.js (Debian, Ubuntu: apt-get install npm)" >&2
        exit 2
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    npm pack --silent --pack-destination "$work" "$mermaid" >/dev/null # no script of the package runs
    tar -xzf "$work"/mermaid-*.tgz -C "$work" package/dist/mermaid.min.js
    if ! is_mermaid "$work/package/dist/mermaid.min.js"; then
        echo "$mermaid: dist/mermaid.min.js has another SHA-256 than scripts/docs.sh expects" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$cached")"
    mv "$work/package/dist/mermaid.min.js" "$cached"
fi

export NO_MKDOCS_2_WARNING=1 # says that another program succeeds MkDocs
"$python" -m mkdocs build --strict --quiet --site-dir "$site"
cp "$cached" "$site/assets/mermaid.min.js"
echo "Documentation: $site/index.html"
