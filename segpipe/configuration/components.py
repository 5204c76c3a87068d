"""Finds components whose `_target_` does not exist, or does not take the given arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Unpack, get_args, get_origin, get_type_hints

from monai.bundle import ComponentLocator, ConfigComponent, ReferenceResolver
from monai.utils import CompInitMode
from torch.utils.data import DataLoader

from segpipe.configuration.finding import ConfigFinding, hint, nearest
from segpipe.configuration.modules import Modules, NotImportable, is_module, names_of, signature_of
from segpipe.configuration.references import contents
from segpipe.configuration.values import UNKNOWN, Values
from segpipe.monai_internals import component_names

_SPECIAL = (*sorted(ConfigComponent.non_arg_keys), "_debug_")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_ALIKE = 0.8
_MODES = [mode.value for mode in CompInitMode]


def components(value: Any, identifier: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every component of a configuration with its id; a component comes before the components inside it."""
    if ConfigComponent.is_instantiable(value):
        yield identifier, value
    if isinstance(value, dict | list):
        for _, part, item in ReferenceResolver.iter_subconfigs(identifier, value):
            yield from components(item, part)


class Targets:
    """Finds the class or function of a `_target_`, by the same rules as MONAI; nothing is called.

    Args:
        modules: finds the object of a dotted name; None if there is no bundle.
    """

    def __init__(self, modules: Modules | None = None) -> None:
        self._modules = modules or Modules()
        self._locator = ComponentLocator()

    def find(self, target: Any) -> Any:
        """Return the class or function, see `Modules.find`; None if none exists, or the target is an expression."""
        if not isinstance(target, str) or target.startswith(("$", "@")):
            return None
        return self._modules.find(self._path(target))

    def has_package_of(self, target: str) -> bool:
        """Return whether the package of a dotted name is installed."""
        return self._modules.find(target.partition(".")[0]) is not None

    def _path(self, target: str) -> str:
        """Return the dotted path of a target; classes of MONAI have a short form."""
        modules = None if "." in target else self._locator.get_component_module_name(target)
        if not modules:
            return target
        return f"{modules if isinstance(modules, str) else modules[0]}.{target}"

    def problem(self, target: str) -> str:
        """Return why a target cannot be imported, and the name that was probably meant."""
        parts = target.split(".")
        last = parts[-1]
        modules = self._locator.get_component_module_name(last)
        if len(parts) == 1:
            return f"MONAI has no {target}{hint(nearest(target, component_names(self._locator)))}"
        if modules and parts[0] == "monai":
            module = modules if isinstance(modules, str) else modules[0]
            return f"there is no {target}{hint(f'{module}.{last}')}"
        whole: Any = None
        for count, part in enumerate(parts):
            path = ".".join(parts[: count + 1])
            inner = self._modules.find(path)
            if inner is None:
                names = names_of(whole) if whole is not None else self._modules.top_names
                meant = nearest(part, names)
                before = ".".join(parts[:count])
                full = None if meant is None else ".".join(filter(None, (before, meant)))
                what = f"{before} has no {part}" if before else f"there is no module {part}"
                return f"{what}{hint(full)}"
            whole = inner
        return f"there is no {target}"


def component_findings(
    configuration: Mapping[str, Any], values: Values, targets: Targets
) -> Iterator[ConfigFinding]:
    """Find misspelt keys such as `_target`, targets that do not exist, and arguments that do not fit."""
    misspelt = {finding.identifier: finding for finding in _misspelt_keys(configuration)}
    yield from misspelt.values()
    for finding in _without_target(configuration):
        if not any(identifier.startswith(f"{finding.identifier}::") for identifier in misspelt):
            yield finding
    for identifier, component in components(configuration):
        disabled = values.of(component.get("_disabled_", False))
        if disabled is True or (isinstance(disabled, str) and disabled.strip().lower() == "true"):
            continue
        target = component["_target_"]
        named = targets.find(target)
        if isinstance(named, NotImportable):
            yield ConfigFinding(identifier, f"names {target}, which cannot be imported: {named.reason}")
        elif is_module(named):
            yield ConfigFinding(identifier, f"names {target}, which is a module, not a class or a function")
        elif named is not None:
            given = [key for key in component if f"{identifier}::{key}" not in misspelt]
            yield from _unbound(identifier, {key: component[key] for key in given}, named, values)
        elif not isinstance(target, str):
            yield ConfigFinding(
                identifier, f"names {target!r}, which is no text; give the dotted path of a class"
            )
        elif not target.startswith(("$", "@")) and not _is_optional(disabled, target, targets):
            yield ConfigFinding(identifier, f"names {target}: {targets.problem(target)}")


def _is_optional(disabled: Any, target: str, targets: Targets) -> bool:
    """Return whether an expression switches a component off and its package is not installed."""
    return disabled is UNKNOWN and not targets.has_package_of(target)


def _without_target(configuration: Mapping[str, Any]) -> Iterator[ConfigFinding]:
    """Find mappings without `_target_` in places where MONAI expects a component."""
    for identifier, value in contents(configuration):
        if isinstance(value, list) and any(map(ConfigComponent.is_instantiable, value)):
            for position, item in enumerate(value):
                if isinstance(item, dict) and "_target_" not in item:
                    yield ConfigFinding(
                        f"{identifier}::{position}",
                        "has no _target_, but the other items of its list have one",
                    )


def _misspelt_keys(configuration: Mapping[str, Any]) -> Iterator[ConfigFinding]:
    for identifier, value in contents(configuration):
        for key in value if isinstance(value, dict) else ():
            if isinstance(key, str) and key not in _SPECIAL and (key.startswith("_") or key.endswith("_")):
                meant = nearest(key, _SPECIAL, cutoff=_ALIKE)
                if meant is not None and meant not in value:
                    yield ConfigFinding(f"{identifier}::{key}", f"is no key that MONAI knows{hint(meant)}")


def _unbound(
    identifier: str, component: Mapping[Any, Any], target: Any, values: Values
) -> Iterator[ConfigFinding]:
    """Find arguments that a target does not take, and required arguments that are missing."""
    mode = component.get("_mode_", _MODES[0])
    if isinstance(mode, str) and not mode.startswith(("$", "@")) and mode not in _MODES:
        yield ConfigFinding(f"{identifier}::_mode_", f"is {mode!r}, must be {', '.join(_MODES)}")
    try:
        parameters = signature_of(target).parameters.values()
    except (ValueError, TypeError):  # some compiled functions have no signature
        return
    named = [parameter.name for parameter in parameters if parameter.kind in _NAMED]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    if takes_any and _is_known_loader(target):  # further arguments go to torch's DataLoader
        named += list(inspect.signature(DataLoader).parameters)
        takes_any = False
    typed = _typed_keywords(target) if takes_any else ()
    if typed:
        named += typed
        takes_any = False
    given = [key for key in component if key not in _SPECIAL and not _is_left_out(component[key], values)]
    meant = set()
    for key in given:
        if not isinstance(key, str):
            yield ConfigFinding(identifier, f"has the argument {key!r}, which is no text: write it in quotes")
        elif key not in named and not takes_any:
            likely = nearest(key, [*named, *_SPECIAL], cutoff=_ALIKE)
            meant.add(likely)
            yield ConfigFinding(
                f"{identifier}::{key}", f"is no argument of {component['_target_']}{hint(likely)}"
            )
    wanted = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in {*given, *meant}
    ]
    if wanted and mode != "callable":
        yield ConfigFinding(
            identifier, f"lacks arguments that {component['_target_']} needs: {', '.join(wanted)}"
        )


def _typed_keywords(target: Any) -> tuple[str, ...]:
    """Return the names of a segpipe function's keywords where a TypedDict lists them; empty for other functions."""
    if not str(getattr(target, "__module__", "")).startswith("segpipe.") or not inspect.isfunction(target):
        return ()
    keywords = [hint for hint in get_type_hints(target).values() if get_origin(hint) is Unpack]
    return tuple(name for hint in keywords for name in get_args(hint)[0].__annotations__)


def _is_known_loader(target: Any) -> bool:
    known = str(getattr(target, "__module__", "")).startswith(("monai.", "segpipe."))
    return known and inspect.isclass(target) and issubclass(target, DataLoader)


def _is_left_out(value: Any, values: Values) -> bool:
    """Return whether MONAI drops an argument because its component is disabled."""
    return ConfigComponent.is_instantiable(value) and values.of(value.get("_disabled_", False)) is True
