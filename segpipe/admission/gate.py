"""The gate that every bundle's configuration must pass before anything of it runs."""

from __future__ import annotations

import copy
import shlex
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser, ReferenceResolver

from segpipe.admission.consent import Copy, copied, discard, is_trusted, keep_consent
from segpipe.configuration.audit.configuration import configuration_problems
from segpipe.configuration.audit.texts import ANYWHERE, quoted
from segpipe.configuration.bundle_modules import bundle_modules, importing_from, shadowing_modules
from segpipe.configuration.finding import ConfigFinding, hint, nearest
from segpipe.configuration.logging_conf import logging_problems
from segpipe.configuration.metadata import read_metadata
from segpipe.configuration.parsing import (
    WITHOUT_END,
    Merged,
    merged_files,
    parsed_configuration,
    require_bounded_macros,
    without_file_macros,
)
from segpipe.configuration.reading import read_configuration, shown_path
from segpipe.configuration.references import sub_items
from segpipe.configuration.values import Values
from segpipe.documents import DocumentError
from segpipe.errors import SegpipeError
from segpipe.regular_files import is_possible

MERGED = Path("configs") / "segpipe_merged.yaml"
"""Path of the merged configuration in the copy of a trusted bundle."""
_MOST_SHOWN = 12
_MOST_RESOLUTIONS = 4
_CONFIGURATIONS = (".json", ".yaml", ".yml")
_INSTALLED = (".dist-info", ".egg-info")
_SET_BY_SEGPIPE = "device"  # this override is ignored if the configuration lacks the id


@dataclass(frozen=True)
class Admitted:
    """A bundle that may run.

    Attributes:
        parser: the configuration with its overrides and metadata; files that macros copy from are already read.
        modules: folder that the bundle's modules are imported from; None if it has none.
    """

    parser: ConfigParser
    modules: Path | None


@contextmanager
def admitted(
    root: Path, files: Sequence[Path], overrides: Mapping[str, Any] | None = None, *, trust: bool = False
) -> Iterator[Admitted]:
    """Admit a bundle that passes the audit, or that the user trusts; its modules can be imported inside the block.

    The judged bytes are the bytes that run: every file is read once. If a bundle needs the user's consent, its files
    are copied first, and the copies are hashed and run.

    Args:
        root: the bundle's folder.
        files: configuration files.
        overrides: id -> value. The user's values are not judged; values that they copy from files are.
        trust: admit the bundle this time, whatever the audit finds.

    Raises:
        SegpipeError: the configuration cannot be read, lacks an overridden id, or may run code that segpipe cannot
            check and the user has not trusted.
    """
    overrides = overrides or {}
    merged = _merged(root, files, overrides)
    _require_known(root, merged)
    parser = _parser(root, merged, root / "configs" / "metadata.json")
    findings = [
        *_module_problems([root]),
        *_macro_problems(root, files, merged),
        *_configuration_problems(root, parser, merged),
    ]
    if not findings:
        yield Admitted(parser, None)
        return
    with copied(root, [*files, *merged.reached]) as trusted_copy:
        if not (trust or is_trusted(trusted_copy)):
            raise _refusal(root, files, _placed(root, files, overrides, findings))
        merged = _merged(root, files, overrides, trusted_copy)
        parser = _parser(root, merged, trusted_copy.root / "configs" / "metadata.json")
        with importing_from(trusted_copy.root):
            yield Admitted(parser, trusted_copy.root if bundle_modules(trusted_copy.root) else None)


def require_admitted(
    root: Path,
    files: Sequence[Path],
    overrides: Mapping[str, Any],
    *,
    logging_file: Path | None,
    trust: bool = False,
) -> Path | None:
    """Admit a bundle that another process will train; the bundle passes the audit, or the user trusts it.

    Args:
        root: the bundle's folder.
        files: configuration files; a later file overrides an earlier one.
        overrides: id -> value.
        logging_file: logging.conf of the training; None: no file.
        trust: admit the bundle this time, whatever the audit finds.

    Returns:
        None for a bundle that passes. Else a new folder with a copy of the bundle's trusted files: its modules,
        `configs/metadata.json` and `configs/logging.conf`, and the merged configuration with its overrides, see
        `MERGED`. The training process removes the folder.

    Raises:
        SegpipeError: as `admitted`.
    """
    findings = audit(root, files, overrides, logging_file=logging_file)
    if not findings:
        return None
    folder = Path(tempfile.mkdtemp(prefix="segpipe-"))
    try:
        merged = _merged(root, files, overrides)
        with copied(root, [*files, *merged.reached], folder) as trusted_copy:
            if not (trust or is_trusted(trusted_copy)):
                raise _refusal(root, files, findings)
            merged = _merged(root, files, overrides, trusted_copy)
            parser = _parser(root, merged, trusted_copy.root / "configs" / "metadata.json")
            shadows = shadowing_modules(trusted_copy.root)
            if shadows:
                raise SegpipeError(f"{root}: {'; '.join(f'{path} {what}' for path, what in shadows.items())}")
            values = {name: value for name, value in parser.get().items() if name != parser.meta_key}
            text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
            (trusted_copy.root / MERGED).write_text(text, encoding="utf-8")
    except BaseException:
        discard(folder)
        raise
    return folder


def audit(
    root: Path,
    files: Sequence[Path],
    overrides: Mapping[str, Any] | None = None,
    *,
    logging_file: Path | None = None,
) -> list[ConfigFinding]:
    """Return the parts of a bundle that segpipe cannot check and a run would execute; nothing is run.

    Args:
        root: the bundle's folder.
        files: configuration files; a later file overrides an earlier one.
        overrides: id -> value.
        logging_file: logging.conf of a training; None: no file.

    Raises:
        SegpipeError: the configuration cannot be read.
    """
    merged = _merged(root, files, overrides or {})
    beside, folder = files[0].parent / "metadata.json", files[0].absolute().parent
    parser = _parser(root, merged, beside if beside.is_file() else root / "configs" / "metadata.json")
    inside = [folder] if folder.is_relative_to(root.absolute()) else []  # MONAI's run imports from it, too
    findings = [
        *_module_problems([root, *inside]),
        *_macro_problems(root, files, merged),
        *_configuration_problems(root, parser, merged),
    ]
    if logging_file is not None and logging_file.is_file():
        for what, line in logging_problems(logging_file, _output_dir(root, parser, merged)):
            findings.append(ConfigFinding("", what, shown_path(logging_file, root), line))
    return _placed(root, files, overrides or {}, findings) if findings else []


def trust_bundle(root: Path, files: Sequence[Path]) -> Path:
    """Store the user's consent to a bundle in its present state; return the path of the file with the consents.

    Args:
        root: the bundle's folder.
        files: configuration files outside the bundle that may be used with it, and files that name such files.

    Raises:
        SegpipeError: the bundle's files cannot be read, or the consent cannot be written.
    """
    present = sorted(path for path in (root / "configs").glob("*") if path.suffix in _CONFIGURATIONS)
    contents = [content for path in [*files, *present] if (content := _ids(path)) is not None]
    reached = [path for content in contents for path in without_file_macros(content).reached]
    with copied(root, [*files, *reached]) as bundle_copy:
        return keep_consent(bundle_copy, root)


def _ids(path: Path) -> dict[str, Any] | None:
    """Return the content of a configuration; None for another file, such as a list of data in `configs/`."""
    try:
        content = parsed_configuration(path)[1]
    except DocumentError:
        return None
    return content if isinstance(content, dict) else None


@dataclass(frozen=True)
class _Overridden:
    """A configuration with its overrides.

    Attributes:
        values: merged, with macros replaced by the content of files.
        overrides: id -> value.
        user_ids: ids whose values come from the user.
        reached: files that macros copy from.
        reached_by_files: those of them that the files' macros name, not the overrides'.
    """

    values: dict[str, Any]
    overrides: dict[str, Any]
    user_ids: tuple[str, ...]
    reached: tuple[Path, ...]
    reached_by_files: tuple[Path, ...]


def _merged(
    root: Path, files: Sequence[Path], overrides: Mapping[str, Any], files_copy: Copy | None = None
) -> _Overridden:
    def located(path: Path) -> Path:
        return path if files_copy is None else files_copy.file(path, root)

    try:
        merged = merged_files([located(file) for file in files], located)
        given: dict[str, Merged] = {
            name: without_file_macros({name: value}, located) for name, value in overrides.items()
        }
    except SegpipeError as error:
        raise SegpipeError(f"{root}: its configuration cannot be read: {error}") from error
    return _Overridden(
        merged.values,
        {name: one.values[name] for name, one in given.items()},
        tuple(ReferenceResolver.normalize_id(name) for name, one in given.items() if not one.reached),
        (*merged.reached, *(path for one in given.values() for path in one.reached)),
        merged.reached,
    )


def _parser(root: Path, merged: _Overridden, metadata: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(merged.values)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about deprecated names in the metadata
            parser.read_meta(read_metadata(metadata))
    except SegpipeError as error:
        raise SegpipeError(f"{root}: its configuration cannot be read: {error}") from error
    try:
        parser.update({"bundle_root": str(root.resolve()), **merged.overrides})
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise SegpipeError(
            f"{root}: an id of {', '.join(merged.overrides)} has no place in the configuration ({error}); "
            "`segpipe check` says more"
        ) from error
    return parser


def _require_known(root: Path, merged: _Overridden) -> None:
    """Refuse overrides of ids that the configuration lacks; they would have no effect."""
    parser = ConfigParser(merged.values)
    for name in merged.overrides:
        if name not in parser and name != _SET_BY_SEGPIPE:
            meant = nearest(ReferenceResolver.normalize_id(name), sub_items(parser.get()))
            raise SegpipeError(f"{root}: its configuration has no {name} to set{hint(meant)}")


def _configuration_problems(root: Path, parser: ConfigParser, merged: _Overridden) -> list[ConfigFinding]:
    written = _written(root, merged)
    read = [Path(path) for path in _texts(_user_values(merged).values())]
    distinct: dict[ConfigFinding, None] = {}
    for resolved in _resolutions(root, parser):
        problems = configuration_problems(resolved, written, read, [*merged.user_ids, "bundle_root"])
        distinct |= dict.fromkeys(problems)
    return list(distinct)


def _written(root: Path, merged: _Overridden) -> list[Path]:
    """Return the folders that a run may write below: the bundle's folder, and folders that the user gives."""
    given = (value for name, value in _user_values(merged).items() if name not in ANYWHERE)
    return [root, *map(Path, _texts(given))]


def _user_values(merged: _Overridden) -> dict[str, Any]:
    given = {ReferenceResolver.normalize_id(name): value for name, value in merged.overrides.items()}
    return {name: value for name, value in given.items() if name in merged.user_ids}


def _output_dir(root: Path, parser: ConfigParser, merged: _Overridden) -> Path | None:
    """Return the folder of the runs; None if a run may not write there."""
    output_dir = Values(parser.get()).of("@output_dir")
    if not isinstance(output_dir, str) or not is_possible(output_dir):
        return None
    whole = Path(output_dir).resolve()
    return whole if any(whole.is_relative_to(path.resolve()) for path in _written(root, merged)) else None


def _resolutions(root: Path, parser: ConfigParser) -> Iterator[dict[str, Any]]:
    """Yield the configuration with macros and relative ids resolved, again and again until nothing changes.

    MONAI resolves them again each time it begins to make objects: relative ids in a text that a macro copied are
    resolved only then.
    """
    before, resolved = None, ConfigParser(copy.deepcopy(parser.get()))
    for _ in range(_MOST_RESOLUTIONS):
        _require_bounded(root, resolved.get())
        try:
            resolved.resolve_macro_and_relative_ids()
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise SegpipeError(f"{root}: a macro or a relative id refers to nothing: {error}") from error
        after = copy.deepcopy(resolved.get())
        if after == before:
            return
        yield after
        before = after
    raise SegpipeError(f"{root}: {WITHOUT_END}")


def _require_bounded(root: Path, values: dict[str, Any]) -> None:
    try:
        require_bounded_macros(values)
    except SegpipeError as error:
        raise SegpipeError(f"{root}: {error}") from error


def _texts(values: Any) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)


def _macro_problems(root: Path, files: Sequence[Path], merged: _Overridden) -> list[ConfigFinding]:
    """Find macros that copy from a file outside the bundle, and outside the folders of the configuration files."""
    folders = [folder.resolve() for folder in (root, *(file.parent for file in files))]
    return [
        ConfigFinding("", f"copies from {quoted(str(path))}, a file outside the bundle's folder")
        for path in merged.reached_by_files
        if not any(path.resolve().is_relative_to(folder) for folder in folders)
    ]


def _module_problems(folders: Sequence[Path]) -> list[ConfigFinding]:
    """Find files in folders that Python would import, or take for an installed package that has plug-ins."""
    problems: dict[Path, ConfigFinding] = {}
    for folder in folders:
        shadows = shadowing_modules(folder)
        for path in bundle_modules(folder).values():
            what = shadows.get(path.name, "can be imported as code")
            problems[path.resolve()] = ConfigFinding("", what, shown_path(path, folders[0]))
        for path in (path for suffix in _INSTALLED for path in sorted(folder.glob(f"*{suffix}"))):
            problems[path.resolve()] = ConfigFinding(
                "", "describes an installed package", shown_path(path, folders[0])
            )
    return list(problems.values())


def _placed(
    root: Path, files: Sequence[Path], overrides: Mapping[str, Any], findings: Sequence[ConfigFinding]
) -> list[ConfigFinding]:
    """Add file and line to each finding; only its message needs them."""
    configuration = read_configuration(root, files, overrides)
    placed = []
    for finding in findings:
        file, line = (finding.file, finding.line) if finding.file else configuration.place(finding.identifier)
        placed.append(ConfigFinding(finding.identifier, finding.what, file, line))
    return list(dict.fromkeys(placed))


def _refusal(root: Path, files: Sequence[Path], findings: Sequence[ConfigFinding]) -> SegpipeError:
    lines = [f"  {finding}" for finding in findings[:_MOST_SHOWN]]
    if len(findings) > _MOST_SHOWN:
        lines.append(f"  and {len(findings) - _MOST_SHOWN} more; `segpipe audit` lists all")
    beside = [file for file in files if not file.resolve().is_relative_to(root.resolve())]
    command = shlex.join(["segpipe", "trust", str(root), *(f"--config={file}" for file in beside)])
    return SegpipeError(
        f"{root}: nothing was run, since this bundle could run code that segpipe does not know to be safe:",
        *lines,
        "Read these places. If you trust the bundle, allow it until one of its files changes:",
        f"  {command}",
        "or give --trust for this run.",
    )
