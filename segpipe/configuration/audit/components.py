"""Judges the components of a configuration: the callable of each `_target_`, and its arguments."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigComponent, ReferenceResolver

from segpipe.configuration.audit.callables import Allowed, Place, allowed_arguments
from segpipe.configuration.audit.expressions import holds_import
from segpipe.configuration.audit.texts import quoted
from segpipe.configuration.components import Targets, components
from segpipe.configuration.finding import ConfigFinding
from segpipe.configuration.modules import Modules
from segpipe.configuration.values import UNKNOWN, Values
from segpipe.regular_files import is_possible

_MODES = ("default", "callable")
_CHANGING = frozenset({"exists", "isdir", "isfile", "realpath"})
_SCORED_WEIGHTS = ("weights_to_score", "image_weights_to_score")
_MOST_LOOKED_AT = 10_000  # files that are checked in an output folder


class Components:
    """Judges the components of a configuration.

    Args:
        settings: the configuration, with macros and relative ids resolved.
        modules: finds the object of a dotted name.
        written: folders below which a run may write; the first is the bundle's.
        read: further folders and files that a run may read.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        modules: Modules,
        written: Sequence[Path],
        read: Sequence[Path] = (),
    ) -> None:
        self._settings = settings
        self._targets, self._values = Targets(modules), _LastingValues(settings)
        self._written = [folder.resolve() for folder in written]
        self._read = [*self._written, *(path.resolve() for path in read)]

    def findings(self) -> Iterator[ConfigFinding]:
        """Find callables that are not on the list, and arguments that are not safe."""
        for identifier, component in components(self._settings):
            target = component["_target_"]
            allowed = allowed_arguments(self._targets.find(target))
            if allowed is None:
                name = target if isinstance(target, str) else repr(target)
                yield ConfigFinding(
                    identifier, f"calls {quoted(name)}, which is not on the list of safe callables"
                )
                continue
            for key, value in component.items():
                what = self._argument_problem(key, value, allowed)
                if what is not None:
                    yield ConfigFinding(f"{identifier}::{key}", f"is given to {target}: {what}")
            for key, rule in allowed.arguments.items():
                if rule is Place.WRITTEN and key not in component:
                    yield ConfigFinding(
                        identifier, f"gives {target} no {key}: it writes into the working directory"
                    )

    def _argument_problem(self, key: Any, value: Any, allowed: Allowed) -> str | None:
        if key == "_mode_":
            return self._mode_problem(value, allowed)
        if key in ConfigComponent.non_arg_keys:
            return None
        if key == "_debug_":
            return "it starts a debugger"
        if holds_import(value):
            return "it is a module, of which any function can be called"
        if allowed.only is not None and key not in allowed.only:
            return "this argument is not on the list"
        rule = allowed.arguments.get(key)
        return None if rule is None else self._value_problem(value, rule)

    def _value_problem(self, value: Any, rule: Place | frozenset[str]) -> str | None:
        if rule is Place.NAME:
            return self._name_problem(value)
        known = self._values.of(value)
        if rule is Place.WRITTEN and not known:
            return "it writes into the working directory"
        if rule is Place.ANYWHERE or known is None or known is False:
            return None
        if isinstance(rule, Place):
            return self._place_problem(known, value, rule)
        words = known if isinstance(known, list) else [known]
        if not all(isinstance(word, str) and word.lower() in rule for word in words):
            words = sorted(filter(None, rule))
            return f"the value may be {', '.join(words)} or null" if words else "no value is safe"
        return None

    def _mode_problem(self, value: Any, allowed: Allowed) -> str | None:
        if value not in _MODES:
            return f"only the modes {' and '.join(_MODES)} are safe"
        if value == "callable" and allowed.arguments:
            return "arguments that are given later cannot be judged"
        return None

    def _place_problem(self, known: Any, value: Any, place: Place) -> str | None:
        if known is UNKNOWN:
            scored = place is Place.WRITTEN and self._is_folder_of_weights(value)
            return None if scored else f"the path of {place.value} is not known without running the bundle"
        folders = self._written if place is Place.WRITTEN else self._read
        for path in known if isinstance(known, list) else [known]:
            if not isinstance(path, str | Path):
                return f"the path of {place.value} is no text"
            if not is_possible(path):
                return f"the path of {place.value} is none that a file can have"
            whole = Path(path).resolve()
            if not any(whole.is_relative_to(folder) for folder in folders):
                return f"{path} is {place.value}, outside the bundle's folder"
            is_in_bundle = place is Place.WRITTEN and whole.is_relative_to(self._written[0])
            if is_in_bundle and (link := _link_to_elsewhere(whole)) is not None:
                return f"it is written, and {link} there is a link to {link.resolve()}"
        return None

    def _name_problem(self, value: Any) -> str | None:
        """Return why a name leads to another folder; the keys of a dictionary are names of files."""
        if isinstance(value, str) and ReferenceResolver.id_matcher.fullmatch(value):
            _, value = self._values.written_at(value[1:])
        known = list(value) if isinstance(value, Mapping) else [self._values.of(value)]
        if any(name is UNKNOWN or isinstance(name, list) for name in known) or "_target_" in known:
            return "the name of a file that is written is not known without running the bundle"
        if any("/" in str(name) or "\\" in str(name) or ".." in str(name) for name in known):
            return "the name of a file that is written leads to another folder"
        return None

    def _is_folder_of_weights(self, value: Any) -> bool:
        """Return whether a folder is that of the scored weights, whose place is judged by itself."""
        text = value.replace(" ", "") if isinstance(value, str) else ""
        name = text.removeprefix("$@").removesuffix(".folder")
        return text == f"$@{name}.folder" and any(self._calls(name, one) for one in _SCORED_WEIGHTS)

    def _calls(self, identifier: str, function: str) -> bool:
        _, component = self._values.written_at(identifier)
        target = component.get("_target_") if isinstance(component, Mapping) else None
        target_object = self._targets.find(target)
        return (
            getattr(target_object, "__name__", "") == function
            and allowed_arguments(target_object) is not None
        )


class _LastingValues(Values):
    """Values that stay the same until the bundle runs; a file that exists now may be gone then."""

    def _of_node(self, node: ast.expr, depth: int) -> Any:
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _CHANGING:
            return UNKNOWN
        return super()._of_node(node, depth)


def _link_to_elsewhere(folder: Path) -> Path | None:
    """Return a link in a folder that leads out of it: a file written there would be written elsewhere."""
    for number, path in enumerate(folder.rglob("*")):
        if number > _MOST_LOOKED_AT:
            break
        if path.is_symlink() and not path.resolve().is_relative_to(folder):
            return path
    return None
