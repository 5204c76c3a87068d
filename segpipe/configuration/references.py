"""Finds references to ids that do not exist, ids that nothing refers to, and texts that MONAI misreads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser, ReferenceResolver
from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS

from segpipe.configuration.finding import ConfigFinding, and_more, hint, nearest, written

RUN_BY_MONAI = ("imports", "initialize", "run", "finalize")
READ_BY_SEGPIPE = ("heatmap_layer", "mirror_axes")  # `segpipe predict --heatmaps` and `--accuracy`
READ_BY_MONAI = {
    *RUN_BY_MONAI,
    *(str(known["id"]) for known in (*TrainProperties.values(), *InferProperties.values())),
}
# ids that the handlers of MONAI's `--tracking mlflow` refer to
_OF_TRACKING = set(DEFAULT_MLFLOW_SETTINGS["configs"]) - set(DEFAULT_MLFLOW_SETTINGS["handlers_id"])
# ids of paths and names: their texts may look like numbers
TEXTS = {
    *("bundle_root", "dataset_dir", "manifest", "output_dir"),
    *("experiment_name", "run_name", "series_uid", "tracking_uri", "vgg16_weights", "weights"),
}
_REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")
_WRITTEN_REFERENCE = re.compile(r"[@%][\w#:]*")
_RUNS = re.compile(r"\$\s*@[\w#:]+\.run\(\)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_EXPONENT = re.compile(r"[eE]")
_ALIKE = 0.85
_HINTS = 20  # for more mistakes than this no suggestion is searched, which takes time
_FREE = ("_desc_", "_disabled_")  # MONAI ignores any text in the first, and takes any text in the second


def strings(value: Any, identifier: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a configuration with its id."""
    if isinstance(value, str):
        yield identifier, value
    else:
        for part, item in _items(value, identifier):
            yield from strings(item, part)


def contents(value: Any, identifier: str = "") -> Iterator[tuple[str, Any]]:
    """Yield id and value of everything in a configuration, with arguments of components and items of lists."""
    for part, item in _items(value, identifier):
        yield part, item
        yield from contents(item, part)


def sub_items(value: Any) -> Iterator[str]:
    """Yield the ids of everything in a value."""
    return (identifier for identifier, _ in contents(value))


def _items(value: Any, identifier: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for _, part, item in ReferenceResolver.iter_subconfigs(identifier, value):
            yield part, item


def references_in(value: Any) -> set[str]:
    """Return all ids after an @ in the texts of a value, also those that MONAI would not resolve."""
    return {
        ReferenceResolver.normalize_id(reference)
        for _, text in strings(value)
        for reference in _REFERENCE.findall(text)
    }


def reference_findings(
    configuration: Mapping[str, Any], read: Iterable[str] = (), *, strict: bool = True
) -> Iterator[ConfigFinding]:
    """Find references to missing ids, and ids that nothing uses; an id that was misspelt is reported once.

    Args:
        configuration: with the metadata; without metadata, references into it are not checked.
        read: ids that run beside MONAI's usual ones.
        strict: find every unused id, not only those that resemble an id that MONAI runs.
    """
    settings = {name: value for name, value in configuration.items() if name != ConfigParser.meta_key}
    meant = set()
    for number, (name, users) in enumerate(_missing(configuration).items()):
        definition = nearest(name, sub_items(settings)) if number < _HINTS else None
        meant.add(definition)
        what = f"refers to @{written(name)}, which is not there{and_more(users)}{hint(definition)}"
        yield ConfigFinding(users[0], what)
    for finding in _unused(settings, read):
        if finding.identifier not in meant and (strict or is_like_one_that_runs(finding.identifier)):
            yield finding


def is_like_one_that_runs(name: str) -> bool:
    """Return whether an id resembles one that MONAI's run knows."""
    return bool(difflib.get_close_matches(name, RUN_BY_MONAI, n=1, cutoff=_ALIKE))


def _missing(configuration: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return missing id -> ids that refer to it."""
    there = set(sub_items(configuration))
    users: dict[str, list[str]] = {}
    for identifier, text in strings(configuration):
        if identifier.partition("::")[0] != ConfigParser.meta_key:
            for name in ReferenceResolver.match_refs_pattern(text):
                if name not in there and not _is_unknown(name, configuration):
                    users.setdefault(name, []).append(identifier)
    return users


def _is_unknown(name: str, configuration: Mapping[str, Any]) -> bool:
    """Return whether only MONAI's parser can resolve an id: relative, below a macro, or of missing metadata."""
    whole = name.partition("::")[0]
    value = configuration.get(whole)
    return not whole or (whole == ConfigParser.meta_key and not value) or _is_macro(value)


def _is_macro(value: Any) -> bool:
    return any(text.startswith("%") for _, text in strings(value))


def _unused(configuration: dict[str, Any], also_read: Iterable[str]) -> Iterator[ConfigFinding]:
    """Find ids that the configuration does not refer to and MONAI does not read."""
    references = references_in(configuration)
    properties = TrainProperties if "train" in configuration else InferProperties
    read = {
        *RUN_BY_MONAI,
        *READ_BY_SEGPIPE,
        *(_OF_TRACKING if "train" in configuration else ()),
        *also_read,
        *references,
        *(str(known["id"]) for known in properties.values()),
    }
    # using an id uses everything inside it, and using a part uses every id that contains the part
    wholes = {identifier.rpartition("::")[0] for identifier in read} | {i.partition("::")[0] for i in read}
    used, hints = read | wholes, 0
    for name, value in configuration.items():
        if name not in used:
            hints += 1
            yield _nothing_uses(name, {*configuration, *RUN_BY_MONAI} if hints <= _HINTS else set())
        elif name not in references and isinstance(value, dict) and "_target_" not in value:
            for key in value:
                if f"{name}::{key}" not in used:
                    yield _nothing_uses(f"{name}::{key}", {f"{name}::{other}" for other in value})


def _nothing_uses(name: str, others: set[str]) -> ConfigFinding:
    meant = nearest(name, sorted(others))
    return ConfigFinding(name, f"is used by nothing in this configuration{hint(meant, 'leave it out')}")


def text_findings(
    configuration: Mapping[str, Any], is_strict: Callable[[str], bool] = lambda _: True
) -> Iterator[ConfigFinding]:
    """Find texts that were probably meant as numbers or truth values, and paths that MONAI has changed.

    Args:
        configuration: without the metadata.
        is_strict: id -> whether to report also a number or truth value in quotes, which a user may mean as text. A
            number with an exponent and 'False', which Python takes for true, are always reported.
    """
    for identifier, text in strings(configuration):
        named = identifier.partition("::")[0] in TEXTS
        always = _EXPONENT.search(text) and text.strip().lower() != "true"
        if identifier.rpartition("::")[2] in _FREE or not (is_strict(identifier) or always):
            continue
        if named and "::" in text and not text.startswith(("$", "@", "%")):
            what = f"is {text!r}: MONAI turns # into ::, so no path or name may hold either; rename it"
            yield ConfigFinding(identifier, what)
        elif not named and _NUMBER.fullmatch(text.strip()):
            what = f"is the text {text!r}, not a number; write it without quotes and with a point, as 1.0e-3"
            yield ConfigFinding(identifier, what)
        elif not named and text.strip().lower() in ("true", "false"):
            yield ConfigFinding(identifier, f"is the text {text!r}, not a truth value; write True or False")


def changed_text_findings(configuration: Mapping[str, Any]) -> Iterator[ConfigFinding]:
    """Find texts that are not ids and in which MONAI replaces # by ::.

    Args:
        configuration: as written, without the metadata.
    """
    known = set(sub_items(configuration))
    for identifier, text in strings(configuration):
        is_named = identifier.partition("::")[0] in TEXTS and not text.startswith(
            ("$", "@")
        )  # see text_findings
        is_free = identifier.rpartition("::")[2] in _FREE or is_named
        rest = _WRITTEN_REFERENCE.sub("", text) if text.startswith(("$", "@")) else text
        is_text = (
            "#" in rest and not text.startswith("%") and ReferenceResolver.normalize_id(text) not in known
        )
        if is_text and not is_free:
            yield ConfigFinding(
                identifier, f"is {text!r}: MONAI turns # into ::, in any text; write it without"
            )


def unresolved_findings(configuration: Mapping[str, Any]) -> Iterator[ConfigFinding]:
    """Find texts with an id in them that MONAI does not resolve: it resolves only whole texts and expressions.

    Args:
        configuration: without the metadata.
    """
    known = set(sub_items(configuration))
    for identifier, text in strings(configuration):
        names = [] if text.startswith(("$", "%")) else _REFERENCE.findall(text)
        is_path = identifier.partition("::")[0] in TEXTS and not text.startswith("@")
        if is_path or identifier.rpartition("::")[2] in _FREE or ReferenceResolver.match_refs_pattern(text):
            continue
        if text.startswith("@") or known.intersection(map(ReferenceResolver.normalize_id, names)):
            yield ConfigFinding(
                identifier, f"is the text {text!r}: MONAI reads @ in expressions, or alone; begin it with $"
            )


def reached(configuration: Mapping[str, Any], roots: Iterable[str]) -> set[str]:
    """Return the ids that MONAI makes during a run, with all ids that they refer to.

    Args:
        configuration: with macros and relative ids resolved.
        roots: ids that MONAI runs.
    """
    known = dict(contents(configuration))
    ids: set[str] = set()
    waiting = [root for root in roots if root in known]
    while waiting:
        identifier = waiting.pop()
        if identifier not in ids:
            ids.add(identifier)
            references = ReferenceResolver.find_refs_in_config(known[identifier], identifier)
            waiting += [other for other in references if other in known]
    return ids


def calls_of_run(configuration: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids at the top level that run an engine: an expression `$@id.run()`, or a list with one.

    Args:
        configuration: with macros and relative ids resolved.
    """
    for name, value in configuration.items():
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, str) and _RUNS.fullmatch(text.strip()) for text in texts):
            yield name


def circular_findings(configuration: Mapping[str, Any], roots: Iterable[str]) -> Iterator[ConfigFinding]:
    """Find ids that refer to themselves, directly or through other ids, so that MONAI cannot make them.

    Args:
        configuration: with macros and relative ids resolved.
        roots: ids that MONAI runs.
    """
    known = dict(contents(configuration))
    done: set[str] = set()
    for root in roots:
        way: list[str] = []
        waiting = [(root, False)]
        while waiting:
            identifier, is_done = waiting.pop()
            if is_done:
                done.add(way.pop())
            elif identifier in way:
                circle = [*way[way.index(identifier) :], identifier]
                yield ConfigFinding(circle[0], f"refers to itself: {' -> '.join(map(written, circle))}")
            elif identifier in known and identifier not in done:
                way.append(identifier)
                waiting.append((identifier, True))
                others = ReferenceResolver.find_refs_in_config(known[identifier], identifier)
                waiting += [(other, False) for other in reversed(list(others))]
