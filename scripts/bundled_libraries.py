"""Adds the libraries that wheels carry to a CycloneDX document of an environment.

    python scripts/bundled_libraries.py --constraints constraints.txt environment.json sbom.json

No version is written here: each comes from the library itself, by its interface or by the text in its binary. A library
that does not state its version is listed without one. Run by scripts/sbom.sh, with the environment's own Python.
"""

from __future__ import annotations

import argparse
import json
import mmap
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions, files
from pathlib import Path
from typing import Any

_STATED_IN_ITK = {  # library -> the text in SimpleITK's binary that states the version
    "libpng": rb"libpng version (\d+\.\d+\.\d+[\w.]*)",
    "zlib-ng": rb"zlib-ng (\d+\.\d+\.\d+)",
    "libjpeg": rb"\0(9[a-z])  \d\d-[A-Z][a-z]{2}-\d{4}\0",
    "openjpeg": rb"\0(\d+\.\d+\.\d+)\0+Codec provided to the opj_setup_decoder",
    "libtiff": rb"LIBTIFF, Version (\d+\.\d+\.\d+)",
    "hdf5": rb"HDF5 library version: (\d+\.\d+\.\d+)",
    "expat": rb"\0expat_(\d+\.\d+\.\d+)\0",
    "nifti_clib": rb"NIFTI1_IO version (\d+\.\d+\.\d+)",
}
_PILLOW_FEATURES = {  # library -> its name in PIL.features
    "libjpeg-turbo": "libjpeg_turbo",
    "openjpeg": "jpg_2000",
    "zlib-ng": "zlib_ng",
    "libtiff": "libtiff",
    "libwebp": "webp",
    "libavif": "avif",
    "freetype": "freetype2",
    "lcms2": "littlecms2",
}
_LIBPNG = rb"libpng version (\d+\.\d+\.\d+[\w.]*)"


@dataclass(frozen=True)
class Library:
    """A library inside a wheel.

    Attributes:
        package: name of the distribution, in lower case.
        name: of the library.
        version: as the library states it; empty where it does not.
        evidence: where the version comes from.
    """

    package: str
    name: str
    version: str
    evidence: str

    def component(self) -> dict[str, Any]:
        """Return the library as a component of CycloneDX."""
        suffix = f"@{self.version}" if self.version else ""
        content: dict[str, Any] = {
            "type": "library",
            "bom-ref": f"{self.package}/{self.name}{suffix}",
            "name": self.name,
            "purl": f"pkg:generic/{self.name}{suffix}",
            "description": f"inside the wheel of {self.package}",
            "properties": [{"name": "segpipe:version-from", "value": self.evidence}],
        }
        return {**content, "version": self.version} if self.version else content


def bundled_libraries() -> list[Library]:
    """Return the libraries that the installed wheels carry."""
    return [*_in_simpleitk(), *_in_pillow(), *_blas("numpy"), *_blas("scipy")]


def _in_simpleitk() -> Iterator[Library]:
    import SimpleITK

    version = SimpleITK.Version
    number = f"{version.ITKMajorVersion()}.{version.ITKMinorVersion()}.{version.ITKPatchVersion()}"
    yield Library("simpleitk", "itk", number, "SimpleITK.Version")
    yield Library(
        "simpleitk", "gdcm", _gdcm_version(), "the ImplementationVersionName of a file that it wrote"
    )
    binary = next(path for path in _files("SimpleITK") if path.name.startswith("_SimpleITK"))
    for name, text in _STATED_IN_ITK.items():
        yield Library("simpleitk", name, _stated(binary, text), f"text in {binary.name}")


def _gdcm_version() -> str:
    """Return the version that GDCM writes into every DICOM file; empty where it wrote none."""
    import pydicom
    import SimpleITK

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one_pixel.dcm"
        SimpleITK.WriteImage(SimpleITK.Image(1, 1, SimpleITK.sitkUInt8), str(path))
        meta = pydicom.dcmread(path, force=True, stop_before_pixels=True).file_meta
    found = re.fullmatch(r"GDCM (\S+)", str(meta.get("ImplementationVersionName", "")))
    return found.group(1) if found else ""


def _in_pillow() -> Iterator[Library]:
    from PIL import features

    for name, feature in _PILLOW_FEATURES.items():
        yield Library("pillow", name, features.version(feature) or "", f"PIL.features.version({feature!r})")
    for path in _files("pillow"):
        if path.name.startswith("libpng"):
            yield Library("pillow", "libpng", _stated(path, _LIBPNG), f"text in {path.name}")


def _blas(package: str) -> Iterator[Library]:
    module = __import__(package)
    blas = module.show_config(mode="dicts")["Build Dependencies"]["blas"]
    if blas.get("found"):
        yield Library(package, "openblas", str(blas["version"]), f"{package}.show_config")


def _files(package: str) -> list[Path]:
    return [Path(str(file.locate())) for file in files(package) or ()]


def _stated(binary: Path, text: bytes) -> str:
    """Return the version that a binary states; empty where it does not, or where it states several."""
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = {match.group(1).decode() for match in re.finditer(text, content)}
    return found.pop() if len(found) == 1 else ""


def other_than_pinned(constraints: Path) -> list[str]:
    """Return the packages that are installed in another version than pinned, or not at all."""
    installed = {_plain_name(found.name): found.version for found in distributions()}
    problems = []
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, found, pinned = line.partition("==")
        if not found or line.startswith("#"):
            continue
        version = installed.get(_plain_name(name), "not installed")
        if version.partition("+")[0] != pinned:  # torch's build for processors is 2.13.0+cpu
            problems.append(f"{name}: {version}, pinned {pinned}")
    return problems


def _plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def with_libraries(document: dict[str, Any], libraries: list[Library]) -> dict[str, Any]:
    """Return a CycloneDX document whose packages have their libraries as components."""
    components = []
    for component in document["components"]:
        inside = [
            library.component() for library in libraries if library.package == _plain_name(component["name"])
        ]
        components.append({**component, "components": inside} if inside else component)
    return {**document, "components": components}


def main() -> None:
    """Add the libraries; refuse an environment that is not the pinned one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("environment", type=Path, help="what cyclonedx-py wrote")
    parser.add_argument("sbom", type=Path, help="file to write")
    parser.add_argument("--constraints", type=Path, required=True)
    given = parser.parse_args()
    problems = other_than_pinned(given.constraints)
    if problems:
        sys.exit(f"the environment is not the one that {given.constraints} pins: {'; '.join(problems)}")
    document = with_libraries(json.loads(given.environment.read_text()), bundled_libraries())
    given.sbom.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
