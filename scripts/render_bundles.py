"""Write the configs of the shipped bundles from the planner's templates and `scripts/bundle_numbers`.

With --check nothing is written: a difference between a committed and a rendered file is printed, and ends with exit 1.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from segpipe.errors import SegpipeError
from segpipe.planning.image_number_files import is_of_images, read_image_number_file, rendered_image_configs
from segpipe.planning.number_files import read_number_file, rendered_configs

ROOT = Path(__file__).resolve().parents[1]


def rendered_bundles(numbers: Path, bundles: Path) -> dict[Path, str]:
    """Return path -> text of every rendered file.

    Args:
        numbers: folder with a file of numbers for each bundle, `BUNDLE.yaml`, and for each further pair of
            configurations of a classification bundle, `BUNDLE.VARIANT.yaml`.
        bundles: folder with the bundles.

    Raises:
        SegpipeError: a file of numbers that cannot be read, or that has no bundle.
    """
    texts = {}
    for path in sorted(numbers.glob("*.yaml")):
        bundle, _, variant = path.stem.partition(".")
        configs = bundles / bundle / "configs"
        if not configs.is_dir():
            raise SegpipeError(
                f"{path}: there is no bundle {configs.parent}; rename the file, or make the folder"
            )
        if is_of_images(path):
            rendered = rendered_image_configs(read_image_number_file(path), variant)
        else:
            rendered = rendered_configs(read_number_file(path))
        texts |= {configs / name: text for name, text in rendered.items()}
    return texts


def difference(path: Path, text: str) -> str:
    """Return the unified difference from a file to its rendered text; empty where they are equal."""
    committed = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = difflib.unified_diff(
        committed.splitlines(keepends=True),
        text.splitlines(keepends=True),
        f"committed {path}",
        f"rendered {path}",
    )
    return "".join(lines)


def main() -> int:
    """Render, and write or compare; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; print differences and exit 1")
    parser.add_argument("--numbers", type=Path, default=ROOT / "scripts" / "bundle_numbers", metavar="DIR")
    parser.add_argument("--bundles", type=Path, default=ROOT / "bundles", metavar="DIR")
    options = parser.parse_args()
    try:
        texts = rendered_bundles(options.numbers, options.bundles)
    except SegpipeError as error:
        print(f"render_bundles: {error}", file=sys.stderr)
        return 2
    differences = {path: difference(path, text) for path, text in texts.items()}
    changed = {path: text for path, text in differences.items() if text}
    if options.check:
        print("".join(changed.values()), end="")
        print(f"{len(changed)} of {len(texts)} files differ from their rendering", file=sys.stderr)
        return 1 if changed else 0
    for path in changed:
        path.write_text(texts[path], encoding="utf-8")
        print(f"{path}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
