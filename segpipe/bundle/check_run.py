"""Finds mistakes that MONAI ignores, or reports in a hundred lines, before a run begins."""

from __future__ import annotations

from monai.bundle import ConfigParser

from segpipe.bundle.run_end import watch_setup
from segpipe.bundle.running import merged_configuration, running_parser
from segpipe.configuration.numbers import number_findings
from segpipe.configuration.references import reference_findings, text_findings
from segpipe.configuration.values import Values
from segpipe.errors import SegpipeError
from segpipe.monai_run import refusal_ends_run


@refusal_ends_run()
def check_configuration() -> None:
    """Refuse a running configuration with mistakes; called first in `initialize`.

    After this call, a signal ends MONAI's run with one line, see `watch_setup`.

    Raises:
        SegpipeError: a value that nothing refers to, usually a misspelt override (the message has the nearest id); a
            reference to a missing id; a number (`1e-3`) or truth value (`false`) that is a string; a number that no
            training or inference can use.
    """
    watch_setup()
    findings = configuration_findings(running_parser())
    if findings:
        raise SegpipeError("; ".join(findings))


def configuration_findings(parser: ConfigParser) -> list[str]:
    """Return one sentence per mistake, in the order of the configuration."""
    findings = [
        *reference_findings(parser.get()),
        *text_findings(merged_configuration(parser)),
        *number_findings(Values(parser.get())),
    ]
    return [finding.sentence for finding in findings]
