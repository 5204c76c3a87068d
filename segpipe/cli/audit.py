"""`segpipe audit` and `segpipe trust`: list the code that a bundle would run, and record the user's consent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from segpipe.cli.bundle_options import Bundle
from segpipe.cli.check import FOUND, INFERENCE, TRAIN, Configs, Overrides
from segpipe.cli.overrides import parse_overrides
from segpipe.cli.printed import say
from segpipe.import_time import collecting_nothing

if TYPE_CHECKING:
    from segpipe.configuration.finding import ConfigFinding


def audit(bundle: Bundle, override: Overrides = None, config: Configs = None) -> None:
    """List a bundle's code that segpipe does not know to be safe: exit status 2 and a line each, or 0 and one line.

    Without --config, train.yaml and inference.yaml are looked at, each by itself. Nothing of the bundle's is run.
    """
    audited, findings = _audited(bundle, config or (), parse_overrides(override or ()))
    for finding in findings:
        say(finding)
    if findings:
        raise typer.Exit(FOUND)
    say(f"{bundle}: runs only code that segpipe knows to be safe, in {', '.join(audited)}")


def trust(bundle: Bundle, config: Configs = None) -> None:
    """Allow a bundle to run its own code, until one of its files changes; give --config for files outside of it.

    What `segpipe audit` lists is printed first. The hash of the bundle's files is kept in your configuration folder.
    """
    audited, findings = _audited(bundle, config or (), {})
    with collecting_nothing():
        from segpipe.admission.gate import trust_bundle
        from segpipe.configuration.reading import configuration_files

    if not findings:
        say(
            f"{bundle}: needs no consent: it runs only code that segpipe knows to be safe, in {', '.join(audited)}"
        )
        return
    for finding in findings:
        say(finding)
    kept = trust_bundle(bundle, configuration_files(bundle, config) if config else [])
    say(f"{bundle}: trusted until one of its files changes; kept in {kept}")


def _audited(
    bundle: Path, config: Sequence[Path], overrides: dict[str, Any]
) -> tuple[list[str], list[ConfigFinding]]:
    """Return the audited files, and the findings in them."""
    with collecting_nothing():
        from segpipe.admission.gate import audit as audit_bundle
        from segpipe.configuration.reading import configuration_files, shown_path

    if config:
        groups = [configuration_files(bundle, config)]
    else:
        names = [
            [name for name in names if (bundle / "configs" / name).is_file()][:1]
            for names in (TRAIN, INFERENCE)
        ]
        groups = [configuration_files(bundle, configs) for configs in names if configs]
        groups = groups or [configuration_files(bundle, (), (*TRAIN, *INFERENCE))]
    findings: dict[ConfigFinding, None] = {}
    for files in groups:
        findings |= dict.fromkeys(
            audit_bundle(bundle, files, overrides, logging_file=files[0].parent / "logging.conf")
        )
    return [shown_path(file, bundle) for files in groups for file in files], list(findings)
