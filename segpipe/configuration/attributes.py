"""Finds attributes that a component does not have, in expressions such as `$@labels.num_classes`."""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigComponent

from segpipe.configuration.components import Targets
from segpipe.configuration.finding import ConfigFinding, hint, nearest
from segpipe.configuration.parsed import ParsedClass
from segpipe.configuration.references import contents, strings
from segpipe.configuration.values import expression_tree, reference_of


def attribute_findings(settings: Mapping[str, Any], targets: Targets) -> Iterator[ConfigFinding]:
    """Find attributes that a component's class does not have; no object is made.

    Args:
        settings: of the configuration, without the metadata.
        targets: finds classes and functions by `_target_`.
    """
    known = dict(contents(settings))
    for identifier, text in strings(settings):
        if not text.startswith("$"):
            continue
        try:
            tree = expression_tree(text)
        except (SyntaxError, ValueError):  # see expression_findings
            continue
        for node in ast.walk(tree):
            named = reference_of(node.value) if isinstance(node, ast.Attribute) else None
            if not isinstance(node, ast.Attribute) or named is None:
                continue
            made = _class_of(known.get(named), targets)
            if made is not None and not _can_have(made, node.attr):
                meant = nearest(node.attr, _names_of(made))
                what = (
                    f"reads {node.attr} of @{named.replace('::', '#')}, a {made.__name__}, which has no such "
                    "attribute"
                )
                yield ConfigFinding(identifier, f"{what}{hint(meant)}")


def _class_of(component: Any, targets: Targets) -> type | ParsedClass | None:
    """Return the class that a component is an instance of; None if it is not known."""
    if not ConfigComponent.is_instantiable(component) or component.get("_mode_", "default") != "default":
        return None
    target = targets.find(component["_target_"])
    if inspect.isfunction(target):
        try:
            target = typing.get_type_hints(target).get("return")
        except (NameError, TypeError):  # names that exist only for a type checker
            return None
    return target if isinstance(target, type | ParsedClass) else None


def _can_have(made: type | ParsedClass, name: str) -> bool:
    """Return whether instances of a class may have an attribute: the class has it, or its source names it."""
    if isinstance(made, ParsedClass):
        known = {name, "__getattr__", "__getattribute__"} & made.words
        bases = (isinstance(base, type | ParsedClass) and not _can_have(base, name) for base in made.bases)
        return bool(known) or hasattr(object, name) or not all(bases)
    if hasattr(made, name) or any("__getattr__" in vars(base) for base in made.__mro__):
        return True
    sources = _sources(made)
    return None in sources or any(re.search(rf"\b{re.escape(name)}\b", source or "") for source in sources)


def _names_of(made: type | ParsedClass) -> list[str]:
    """Return the public attributes of a class, with those that it declares or that its methods set."""
    if isinstance(made, ParsedClass):
        return sorted(word for word in made.words if word.isidentifier() and not word.startswith("_"))
    declared = (name for base in made.__mro__ for name in inspect.get_annotations(base))
    names = {*dir(made), *declared}
    names.update(*(re.findall(r"\bself\.(\w+)", source or "") for source in _sources(made)))
    return sorted(name for name in names if not name.startswith("_"))


def _sources(made: type) -> list[str | None]:
    """Return the source of a class and of its bases; None for a compiled class."""
    sources: list[str | None] = []
    for base in made.__mro__[:-1]:  # the last is object
        try:
            sources.append(inspect.getsource(base))
        except (OSError, TypeError):
            sources.append(None)
    return sources
