"""`segpipe ...`: one module per command group; a command parses, calls one public function and prints.

Commands import what they need when they run, so that `segpipe --help` answers at once.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from segpipe import __version__
from segpipe.cli import data, imports, phantoms
from segpipe.cli.audit import audit, trust
from segpipe.cli.bundles import bundles
from segpipe.cli.check import check
from segpipe.cli.compare import compare
from segpipe.cli.confidence import confidence
from segpipe.cli.crossval import crossval
from segpipe.cli.evaluate import evaluate
from segpipe.cli.export import export
from segpipe.cli.info import info
from segpipe.cli.plan import plan
from segpipe.cli.postprocess import postprocess
from segpipe.cli.predict import predict
from segpipe.cli.predict_images import PredictCommand
from segpipe.cli.printed import say
from segpipe.cli.promote import promote
from segpipe.cli.quantize import quantize
from segpipe.cli.reference_ranges import reference_ranges
from segpipe.cli.search import search
from segpipe.cli.serve import serve
from segpipe.cli.terminal import visible_text
from segpipe.cli.train import train
from segpipe.errors import SegpipeError, raise_interruption
from segpipe.import_time import hide_trackers
from segpipe.printable import PrintableFormatter, printable

EXIT_REFUSED = 2
hide_trackers()  # here, so that worker processes of a command do so too


class _MessageGroup(TyperGroup):
    """A command group that ends with the message of a SegpipeError; other exceptions keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SegpipeError as error:
            first, *others = str(error).split("\n")
            say(f"segpipe: {first}", *others, err=True)
            raise typer.Exit(EXIT_REFUSED) from None
        except Exception as error:
            raise_interruption(error)
            if hasattr(error, "format_message"):  # a wrong argument, which may be a file name
                error.message = printable(error.message)  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    name="segpipe",
    cls=_MessageGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Medical image segmentation as MONAI bundles. Research use only.",
)
app.add_typer(phantoms.app, name="phantoms")
app.add_typer(data.app, name="data")
app.add_typer(imports.app, name="import")
app.command()(check)
app.command()(audit)
app.command()(trust)
app.command()(train)
app.command()(crossval)
app.command()(search)
app.command()(evaluate)
app.command()(compare)
app.command()(postprocess)
app.command()(info)
app.command()(bundles)
app.command()(export)
app.command()(plan)
app.command(cls=PredictCommand)(predict)
app.command()(serve)
app.command()(reference_ranges)
app.command()(confidence)
app.command()(promote)
app.command()(quantize)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segpipe {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; exit status 0: all done, 1: some cases failed, 2: refused."""
    with visible_text():
        _print_progress()
        app()


def _print_progress() -> None:
    """Print the lines of `segpipe.dataset.progress` on stderr where no progress bar is shown."""
    logger = logging.getLogger("segpipe.dataset.progress")
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
