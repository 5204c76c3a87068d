"""How many good images does `segpipe predict` warn of, and how many with planted faults?

    python benchmarks/image_ranges.py --data SHARED_DATA [--bundle cxr_findings_efficientnet]

Measures the images of a bundle's manifest as its network gets them. For each fold the reference ranges
come from the patients of the other folds; each image of the fold is compared with them, and one of twelve again with
each planted fault. The bundle's weights saw all images, which matters for one measure only, the uncertainty. A line is
added to results/image_ranges.jsonl.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from bundle_runs import ROOT, append_line
from torch.nn.functional import avg_pool2d, interpolate

from segpipe.bundle.open_classifier import open_classifier
from segpipe.dataset import load_manifest
from segpipe.prediction.classifier import Classifier
from segpipe.prediction.image_measures import measured_image
from segpipe.provenance import commit
from segpipe.reference_ranges import Measures, ReferenceRanges
from segpipe.training.run_folder import processor_name

RESULTS = Path(__file__).with_name("results") / "image_ranges.jsonl"
MANIFESTS = {"cxr_findings_efficientnet": "nih_cxr64", "oct_retina_efficientnet": "oct2017"}
EVERY = 12  # images of a fold, of which one gets the faults
MEAN, DEVIATION = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def with_faults(image: torch.Tensor, generator: torch.Generator) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each planted fault with the network's input that has the fault."""
    pixels = image * DEVIATION + MEAN
    small = torch.zeros_like(pixels)
    size = pixels.shape[1] // 2
    small[:, size // 2 : size // 2 + size, size // 2 : size // 2 + size] = interpolate(
        pixels[None], (size, size), mode="bilinear"
    )[0]
    noise = 0.1 * torch.randn(pixels.shape[1:], generator=generator)
    changed = {
        "inverted": 1 - pixels,
        "upside down": pixels.flip(1),
        "turned by 90 degrees": pixels.rot90(1, (1, 2)),
        "noise of 10 %": (pixels + noise).clamp(0, 1),
        "darkened to 40 %": pixels * 0.4,
        "half as large on black": small,
        "blurred over 5 pixels": avg_pool2d(pixels[None], 5, 1, 2)[0],
    }
    for name, faulty in changed.items():
        yield name, (faulty - MEAN) / DEVIATION


def main() -> None:
    """Measure, print and add a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with nih_cxr64/ and oct2017/")
    parser.add_argument("--bundle", default="cxr_findings_efficientnet", choices=MANIFESTS)
    options = parser.parse_args()
    manifest = MANIFESTS[options.bundle]
    opened = open_classifier(ROOT / "bundles" / options.bundle)
    classifier = Classifier(opened)

    def measured(image: torch.Tensor) -> Measures:
        probabilities = classifier.probabilities("image", classifier.logits([image])[0])
        return measured_image(image, probabilities, exclusive=opened.categories.exclusive)

    cases = load_manifest(manifest).training
    images = [classifier.read(str(options.data / manifest / case.images[0])) for case in cases]
    measures = [measured(image) for image in images]
    generator = torch.Generator().manual_seed(0)
    good, faulty, caught = 0, Counter[str](), Counter[str]()
    for fold in sorted({case.fold for case in cases}):
        inside = [place for place, case in enumerate(cases) if case.fold != fold]
        outside = [place for place, case in enumerate(cases) if case.fold == fold]
        patients = [str(cases[place].patient) for place in inside]
        ranges = ReferenceRanges.of([measures[place] for place in inside], (), {}, patients)
        good += sum(bool(ranges.warnings(measures[place])) for place in outside)
        for place in outside[::EVERY]:
            for name, image in with_faults(images[place], generator):
                faulty[name] += 1
                caught[name] += bool(ranges.warnings(measured(image)))
    line = {
        "set": manifest,
        "images": len(cases),
        "good_warned": good,
        "faults": {name: f"{caught[name]} of {count}" for name, count in faulty.items()},
        "command": f"python benchmarks/image_ranges.py --data SHARED_DATA --bundle {options.bundle}",
        "commit": commit(),
        "machine": processor_name(),
    }
    print(line)
    append_line(RESULTS, line)


if __name__ == "__main__":
    main()
