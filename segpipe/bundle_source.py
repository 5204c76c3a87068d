"""Names the bundle to open, its weights and configuration, and the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segpipe.bundle_names import bundle_folder


@dataclass(frozen=True)
class BundleSource:
    """A bundle with everything that changes its computation, as a user names it.

    Attributes:
        root: the bundle's folder, with `configs/metadata.json` and `configs/inference.yaml` or `.json`; or its name,
            see `segpipe.bundle_names.bundle_folder`. The source then has the folder.
        weights: weights files; several are an ensemble whose scores are averaged. Default: the files that the
            configuration names, or `models/model.pt`.
        configs: configuration files, by name in `configs/` or by path; a later one overrides an earlier one. Default:
            inference.
        overrides: id -> value of the configuration, as on the command line of `monai.bundle run`.
        device: cpu, cuda or cuda:N, as a text or torch device; default: the configuration's device.
        trust: run the bundle whatever `segpipe audit` finds; default: run only a bundle that passes or is trusted.
    """

    root: str | Path
    weights: Sequence[str | Path] = ()
    configs: Sequence[str | Path] = ()
    overrides: Mapping[str, Any] | None = field(default_factory=dict)
    device: object = None
    trust: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", bundle_folder(self.root))

    @classmethod
    def of(cls, bundle: str | Path | BundleSource) -> BundleSource:
        """Return a source for a bundle's folder or name with default values; a source is returned unchanged."""
        return bundle if isinstance(bundle, BundleSource) else cls(bundle)

    @property
    def settings(self) -> dict[str, Any]:
        """Id -> value: the overrides, including the device."""
        return {**(self.overrides or {}), **({"device": str(self.device)} if self.device else {})}
