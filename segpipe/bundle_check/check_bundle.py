"""Checks a bundle's configuration as a whole before anything of it runs."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import monai.bundle

from segpipe.bundle_check.files import file_findings, logging_findings, metadata_findings, twin_findings
from segpipe.configuration.attributes import attribute_findings
from segpipe.configuration.bundle_modules import shadowing_modules
from segpipe.configuration.chains import chain_findings
from segpipe.configuration.components import Targets, component_findings
from segpipe.configuration.expressions import expression_findings
from segpipe.configuration.finding import ConfigFinding, hint, nearest
from segpipe.configuration.metrics import metric_findings
from segpipe.configuration.modules import Modules
from segpipe.configuration.numbers import number_findings
from segpipe.configuration.reading import COMMAND_LINE, Configuration, read_configuration, shown_path
from segpipe.configuration.references import (
    calls_of_run,
    changed_text_findings,
    circular_findings,
    is_like_one_that_runs,
    reached,
    reference_findings,
    text_findings,
    unresolved_findings,
)
from segpipe.configuration.values import Values
from segpipe.errors import SegpipeError

# arguments of MONAI's run that are not ids of a configuration
RUN_ARGUMENTS = tuple(
    name
    for name, parameter in inspect.signature(monai.bundle.run).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD
)
_RUN = {"init_id": "initialize", "run_id": "run", "final_id": "finalize"}
_GIVEN_OTHERWISE = ("config_file", "args_file")


def check_bundle(
    root: Path,
    files: Sequence[Path],
    overrides: Mapping[str, Any],
    *,
    look_for_files: bool = True,
    is_inference: bool = False,
) -> list[ConfigFinding]:
    """Find the mistakes in the configuration of a `python -m monai.bundle run`.

    Nothing of the bundle runs: no expression is evaluated, no component created, no module imported. Modules are parsed
    instead, see `Modules`. Of data, only the existence of files is checked.

    Args:
        root: the bundle's folder.
        files: configuration files, see `configuration_files`.
        overrides: id -> value, and arguments of MONAI's run such as `run_id`.
        look_for_files: also find missing data, weights and folders.
        is_inference: the run is an inference. Then a folder of scans in a file of the bundle stands for the user's, and
            is a note where it does not exist.

    Returns:
        one finding per mistake and note, in the order of the files.

    Raises:
        SegpipeError: an argument of MONAI's run has a form that MONAI does not take.
    """
    for name in _GIVEN_OTHERWISE:
        if name in overrides:
            raise SegpipeError(
                f"{name}: name the configuration's files with --config, and its ids as ID=VALUE"
            )
    arguments = {name: value for name, value in overrides.items() if name in RUN_ARGUMENTS}
    ids = {name: value for name, value in overrides.items() if name not in RUN_ARGUMENTS}
    configuration = read_configuration(
        root, files, {"bundle_root": str(root.resolve()), **ids}, arguments.get("meta_file")
    )
    if "tracking" in arguments and "tracking" in configuration.settings:
        _require_tracker(arguments["tracking"])
    findings = list(configuration.findings)
    for path, what in shadowing_modules(root).items():
        findings.append(
            ConfigFinding("", f"{what}, and would run in its place; rename it, or remove it", path)
        )
    if configuration.is_whole:
        findings += _all_findings(configuration, files, arguments, look_for_files=look_for_files)
    return [
        replace(
            finding, is_note=finding.is_note or (is_inference and _is_placeholder(finding, configuration))
        )
        for finding in _in_order(configuration, findings)
    ]


def _require_tracker(given: Any) -> None:
    """Refuse a tracker that segpipe's bundles do not take; MONAI's run would look for a file of this name."""
    if given == "none":
        raise SegpipeError(
            "tracking=none: an argument of MONAI's run only switches a tracker on; leave it out, and write tracking: "
            "none into the configuration"
        )
    if given not in (None, "mlflow"):
        raise SegpipeError(
            f"tracking is {given!r}, must be mlflow; other settings belong into the configuration"
        )


def _is_placeholder(finding: ConfigFinding, configuration: Configuration) -> bool:
    """Return whether a finding is about the folder of scans that a file of the bundle names."""
    return finding.identifier == "dataset_dir" and not configuration.is_overridden("dataset_dir")


def _all_findings(
    configuration: Configuration, files: Sequence[Path], arguments: Mapping[str, Any], *, look_for_files: bool
) -> Iterator[ConfigFinding]:
    settings = configuration.settings
    values, modules = Values(configuration.values), Modules(configuration.root)
    targets = Targets(modules)
    runs = [arguments.get(argument, default) for argument, default in _RUN.items()]
    missing = [
        name
        for argument, name in zip(_RUN, runs, strict=True)
        if _is_not_run(argument, name, arguments, settings)
    ]
    others = [] if "run_id" in arguments or "run" in settings else list(calls_of_run(configuration.values))
    if others:  # many bundles of the model zoo name the id to run in their README
        missing.remove("run")
        runs += others
        yield _run_by_name(others, shown_path(files[0], configuration.root))
    for name in missing:
        what = f"has no {name}, which MONAI's run would run{hint(nearest(name, settings))}"
        yield ConfigFinding("", what, shown_path(files[0], configuration.root))
    meant = [nearest(name, settings) for name in missing]
    findings = [
        *changed_text_findings(configuration.written_settings),
        *reference_findings(configuration.values, runs, strict=configuration.is_ours),
        *unresolved_findings(settings),
        *text_findings(settings, lambda name: configuration.is_ours or configuration.is_overridden(name)),
        *expression_findings(settings, modules),
        *component_findings(settings, values, targets),
        *attribute_findings(settings, targets),
        *metric_findings(settings, values, targets),
        *chain_findings(settings, values, targets),
        *(number_findings(values) if configuration.is_ours else ()),
        *(file_findings(configuration, values, targets) if look_for_files else ()),
    ]
    made = reached(configuration.values, runs)
    for finding in findings:
        if finding.identifier not in meant and _matters(finding.identifier, configuration, made):
            yield finding
    yield from circular_findings(configuration.values, runs)
    yield from metadata_findings(configuration)
    yield from twin_findings(configuration, files)
    logging_file = arguments.get("logging_file")
    if logging_file is not False:  # with False, MONAI reads no logging.conf
        file = Path(logging_file or files[0].parent / "logging.conf")
        yield from logging_findings(configuration, file, values.of(values.at("output_dir")))


def _run_by_name(ids: Sequence[str], file: str) -> ConfigFinding:
    """Return the note on a configuration without `run` that has other ids to run."""
    if len(ids) == 1:
        what = f"has no run; {ids[0]} was checked as the id to run: give MONAI's run run_id={ids[0]}"
    else:
        what = f"has no run; {', '.join(ids)} were checked as ids to run: give MONAI's run one as run_id=ID"
    return ConfigFinding("", what, file, is_note=True)


def _matters(identifier: str, configuration: Configuration, made: Collection[str]) -> bool:
    """Return whether a finding counts: in a foreign bundle, only in parts that a run reaches."""
    wholes = accumulate(identifier.split("::"), "{}::{}".format)
    return (
        configuration.is_ours
        or configuration.is_overridden(identifier)
        or is_like_one_that_runs(identifier)
        or any(whole in made for whole in wholes)
    )


def _is_not_run(argument: str, name: str, arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Return whether MONAI needs an id that is missing: an id that it runs, or that an argument names."""
    return name not in settings and (argument == "run_id" or argument in arguments)


def _in_order(configuration: Configuration, findings: Sequence[ConfigFinding]) -> list[ConfigFinding]:
    placed = []
    for finding in findings:
        file, line = (finding.file, finding.line) if finding.file else configuration.place(finding.identifier)
        placed.append(replace(finding, file=file, line=line))
    order = [COMMAND_LINE, *dict.fromkeys(file for file, _ in configuration.places.values())]
    return sorted(
        dict.fromkeys(placed),
        key=lambda finding: (
            order.index(finding.file) if finding.file in order else len(order),
            finding.line,
        ),
    )
