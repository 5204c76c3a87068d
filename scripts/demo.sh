#!/usr/bin/env bash
# The whole way on synthetic MRI, without a download: phantoms, training, new scans, label maps, scores.
#
#   scripts/demo.sh [FOLDER]
#
# FOLDER is new or empty; without it, a folder named by date and time below demo_output/. The demo trains the bundle's
# own network with its own transforms; only the numbers under "overrides" and the window differ from configs/train.yaml.
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
    printf '\n%s[%d/5] %s%s\n' "$bold" "$step" "$1" "$plain"
}
took() { printf '      %d s\n' $((SECONDS - step_begun)); }
bold='' plain='' again='' # colours and lines written over each other are for a terminal
if [[ -t 1 ]]; then
    bold=$'\e[1m' plain=$'\e[0m' again=$'\r\e[K'
fi

# Run the training with its output in a log. Each epoch shows its line; a terminal shows the steps within it, too.
train() {
    if ! TTY_COMPATIBLE=1 "$@" 2>&1 </dev/null | tee training.log | while IFS= read -r line; do
        text=${line##* INFO }
        if [[ $line =~ 'INFO Epoch '[0-9]+/[0-9]+': step' ]]; then
            if [[ -n $again ]]; then printf '%s      %s' "$again" "$text"; else printf '      %s\n' "$text"; fi
        elif [[ $line =~ 'INFO Epoch '[0-9]+[/:]|'Cases: ' ]]; then
            printf '%s      %s\n' "$again" "$text"
        fi
    done; then
        tail -n 30 training.log >&2
        printf 'demo: the training failed; all of its output is in %s\n' "$output/training.log" >&2
        exit 1
    fi
}

announce "Making phantoms to train on: 120 synthetic MRI volumes with labels"
"$bin/segpipe" phantoms dataset phantoms --cases 120 >/dev/null
took

announce "Training the network of $(basename "$bundle") on them"
echo "      loading MONAI and checking every file"
overrides=(--epochs 5 --val_interval 5 --warm_up_share 0.1 --patch_size "[32,40,32]")
train "$python" -m monai.bundle run --config_file "$bundle/configs/train.yaml" --bundle_root "$bundle" \
    --manifest phantoms/dataset.json --dataset_dir phantoms \
    --output_dir runs --run_name demo "${overrides[@]}" --window_size "[32,40,32]"
took

announce "Making new scans: NIfTI, MetaImage, NRRD and a DICOM series"
"$bin/segpipe" phantoms scans scans --references references >/dev/null
took

announce "Segmenting them with the trained network"
"$bin/segpipe" predict scans --bundle "$bundle" --weights runs/demo/best.pt --set "window_size=[32,40,32]" \
    --output label_maps >/dev/null
took

announce "Scoring the label maps against the phantoms' true labels"
"$bin/segpipe" evaluate --predictions label_maps --references references --images scans \
    --labels "$bundle/configs/metadata.json" --output scores
took

cat <<END

${bold}Done in $((SECONDS - begun)) s.${plain} Look at this picture first, a new scan with its label map:
    $output/label_maps/overlays/nifti/phantom_oblique.png

The page of scores, for any browser:
    $output/scores/report.html

Label maps, one for each scan, on the scan's own grid and in its format (a DICOM series gets NIfTI):
$(find "$output/label_maps" -type f \( -name '*.nii.gz' -o -name '*.mhd' -o -name '*.nrrd' \) | sort | sed 's/^/    /')
  look at one (ITK-SNAP; 3D Slicer opens them too):
    itksnap -g "$output/scans/nrrd/phantom.nrrd" -s "$output/label_maps/nrrd/phantom.nrrd"

A row for each scan and class: volumes in ml, and scores
    cat "$output/label_maps/volumes.csv"
    cat "$output/scores/metrics.csv"

The training: loss, validation Dice and pictures in TensorBoard, then http://localhost:6006/#custom_scalars in a browser:
    "$bin/tensorboard" --logdir "$output/runs/demo/tensorboard"
END
