#!/usr/bin/env bash
# The whole way on synthetic MRI, without a download: phantoms, training, new scans, label maps, scores.
#
#   scripts/demo.sh [FOLDER]
#
# FOLDER is new or empty; without it, a folder named by date and time below demo_output/. The demo trains the bundle's
# own network with its own transforms; only the numbers under "overrides" and "window" differ from configs/train.yaml.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bundle=$root/bundles/mri_hippocampus_unet
output=${1:-$root/demo_output/$(date +%Y%m%d-%H%M%S)}
if (($# > 1)) || [[ $output == -* ]]; then
    echo "usage: scripts/demo.sh [FOLDER]" >&2
    exit 2
fi
if [[ -e $output && (! -d $output || -n $(ls -A "$output")) ]]; then
    echo "$output: exists and is not an empty folder; choose another" >&2
    exit 2
fi

"$root/scripts/setup.sh"
python=${SEGPIPE_PYTHON:-$root/.venv/bin/python}
python=$("$python" -c 'import sys; print(sys.executable)') # absolute, whatever SEGPIPE_PYTHON is
bin=$(dirname "$python")
mkdir -p "$output"
output=$(cd "$output" && pwd)
cd "$output" # the commands below name what they make relative to it
export PYTHONUNBUFFERED=1
export OMP_PROC_BIND=${OMP_PROC_BIND:-true} # on a busy machine, threads that wander wait for each other ten times longer

begun=$SECONDS
step=0
announce() {
    step=$((step + 1))
    step_begun=$SECONDS
    printf '\n[%d/5] %s\n' "$step" "$1"
}
took() { printf '      %d s\n' $((SECONDS - step_begun)); }

# Run a command with its output in a log, of which the lines that match a pattern are shown without their date.
logged() {
    local log=$1 shown=$2
    shift 2
    if ! "$@" 2>&1 </dev/null | tee "$log" | while IFS= read -r line; do
        if [[ $line =~ $shown ]]; then
            printf '      %s\n' "${line##* INFO }"
        fi
    done; then
        tail -n 30 "$log" >&2
        printf 'demo: step %d failed; all of its output is in %s\n' "$step" "$output/$log" >&2
        exit 1
    fi
}

announce "Making phantoms to train on: synthetic MRI volumes with labels"
"$bin/segpipe" phantoms dataset phantoms --cases 160 >/dev/null
took

announce "Training $(basename "$bundle") on them"
overrides=(--epochs 5 --val_interval 5 --warm_up_share 0.1 --patch_size "[32,40,32]")
window=(--window_size "[32,40,32]")
logged training.log 'INFO Epoch [0-9]+[/:]|^Cases:' \
    "$python" -m monai.bundle run --config_file "$bundle/configs/train.yaml" --bundle_root "$bundle" \
    --manifest phantoms/dataset.json --dataset_dir phantoms \
    --output_dir runs --run_name demo "${overrides[@]}" "${window[@]}"
took

announce "Making new scans to segment: NIfTI, MetaImage, NRRD and a DICOM series"
"$bin/segpipe" phantoms scans scans --references references >/dev/null
took

announce "Segmenting them"
logged inference.log 'INFO [0-9]+/[0-9]+:' \
    "$python" -m monai.bundle run --config_file "$bundle/configs/inference.yaml" --bundle_root "$bundle" \
    --dataset_dir scans --output_dir label_maps --weights "['runs/demo/best.pt']" "${window[@]}"
took

announce "Scoring the label maps against the phantoms' true labels"
"$bin/segpipe" evaluate --predictions label_maps --references references --images scans \
    --labels "$bundle/configs/metadata.json" --output scores
took

cat <<END

Done in $((SECONDS - begun)) s. Everything is in $output

Label maps, one a scan, on the scan's own grid and in its format (a DICOM series gets NIfTI):
$(find "$output/label_maps" -type f ! -name '*raw' | sort | sed 's/^/    /')
  look at one (ITK-SNAP; 3D Slicer opens them too):
    itksnap -g "$output/scans/nrrd/phantom.nrrd" -s "$output/label_maps/nrrd/phantom.nrrd"

Scores: a page for any browser, and a row a scan and class:
    $output/scores/report.html
    cat "$output/scores/metrics.csv"

Training: loss, validation Dice and pictures in TensorBoard, then http://localhost:6006/#custom_scalars in a browser:
    "$bin/tensorboard" --logdir "$output/runs/demo/tensorboard"
END
