#!/usr/bin/env bash
# Makes an environment with MONAI Label and MONAI Deploy beside segpipe, once, and prints its Python.
#
#   scripts/embedding_environment.sh
#
# It lies in .venv/embedding, or where SEGPIPE_EMBEDDING says, above segpipe's own environment: torch and the rest come
# from there. Only what the tested classes import is installed, and numpy and jsonschema in the versions that the rest of
# MONAI Label needs (pydicom-seg: numpy below 2, jsonschema below 4). tests/helpers/embedding/standins stands for what is
# left out, and says so.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${SEGPIPE_PYTHON:-$root/.venv/bin/python}
folder=${SEGPIPE_EMBEDDING:-$root/.venv/embedding}
stamp=$folder/pins
pins=(
    monai==1.6.1 monailabel==0.8.5 monai-deploy-app-sdk==4.0.0 holoscan-cu13==4.6.0 # Deploy lies inside monai's folder
    wheel-axle-runtime==0.0.13 filelock==4.2.11 # link holoscan's libraries when this Python starts first
    numpy==1.26.4 jsonschema==3.2.0 pyrsistent==0.20.0
    expiring_dict==1.1.2 sortedcontainers==2.4.0 pydantic-settings==2.16.3 python-dotenv==1.2.4 cachetools==8.0.2
    itk-core==5.4.7 itk-io==5.4.7 # MONAI Label writes its label maps with ITK
    shapely==2.2.0 pynrrd==1.1.3 'cloudpickle>=3,<4' typeguard==4.6.1 colorama==0.4.6 requests==2.34.2 'urllib3>=2,<3' six==1.17.0
)

if [[ ! -f $stamp || $(<"$stamp") != "${pins[*]}" ]]; then
    "$python" -m venv --clear "$folder" >&2
    purelib='import sysconfig; print(sysconfig.get_path("purelib"))'
    "$python" -c "$purelib" >"$("$folder/bin/python" -c "$purelib")/segpipe_environment.pth" # lib64 is a link to lib
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --ignore-installed --no-deps \
        "${pins[@]}" >&2 </dev/null
    echo "${pins[*]}" >"$stamp"
fi
echo "$folder/bin/python"
