"""attribute_findings: attributes that expressions read from components; no component is made."""

from dataclasses import dataclass

import pytest

from segpipe.configuration.attributes import attribute_findings
from segpipe.configuration.components import Targets


class Base:
    size: int

    def __init__(self):
        self.provenance = {}


class Derived(Base):
    def run(self):
        return self.provenance


class Open:
    def __getattr__(self, name):
        return name


@dataclass
class Row:
    value: int


def made() -> Derived:
    return Derived()


def untold():
    return Derived()


def misled() -> "Nowhere":  # noqa: F821
    return Derived()


class Known(Targets):
    """Resolve every target to a class or function of this file."""

    def find(self, target):
        return globals()[target]


def findings(expression, **component):
    settings = {"own": component, "asked": expression}
    return [str(finding) for finding in attribute_findings(settings, Known())]


@pytest.mark.parametrize("target", ["Derived", "made"])
def test_a_missing_attribute_is_a_finding_with_the_nearest_name(target):
    assert findings("$@own.provenence", _target_=target) == [
        "asked reads provenence of @own, a Derived, which has no such attribute; did you mean provenance?"
    ]
    assert findings("$[@own.rum() for _ in '12']", _target_=target) == [
        "asked reads rum of @own, a Derived, which has no such attribute; did you mean run?"
    ]


@pytest.mark.parametrize("name", ["run", "provenance", "size", "__class__"])
def test_an_existing_attribute_is_no_finding(name):
    """Methods, attributes that a method sets, and attributes that are only declared."""
    assert findings(f"$@own.{name}", _target_="Derived") == []


@pytest.mark.parametrize("target", ["Open", "untold", "misled"])
def test_a_component_of_unknown_attributes_has_no_finding(target):
    assert findings("$@own.anything", _target_=target) == []


def test_a_function_that_is_not_called_is_no_instance():
    assert findings("$@own.keywords", _target_="made", _mode_="partial") == []


def test_fields_are_attributes():
    assert findings("$@own.value + @own.valu", _target_="Row") == [
        "asked reads valu of @own, a Row, which has no such attribute; did you mean value?"
    ]


def test_other_ids_and_broken_expressions_are_left_to_others():
    assert findings("$@nothing.here", _target_="Row") == []
    assert findings("$@own.valu +", _target_="Row") == []
    assert findings("@own.valu", _target_="Row") == []
