"""A bundle's logging.conf may print; it may neither write files, send data, nor run code."""

from pathlib import Path

import pytest

from segpipe.configuration.logging_conf import logging_problems

SHIPPED = sorted((Path(__file__).parents[2] / "bundles").glob("*/configs/logging.conf"))
CONF = """[loggers]
keys=root

[handlers]
keys=own

[formatters]
keys=plain

[logger_root]
level=INFO
handlers=own

[handler_own]
{handler}
formatter=plain

[formatter_plain]
format=%(asctime)s %(message)s
{formatter}
"""


@pytest.fixture
def problems(tmp_path):
    """Return a function that lists the problems of a handler or a formatter."""

    def problems_with(
        handler="class=StreamHandler\nargs=(sys.stdout,)", formatter="", output_dir=tmp_path / "runs"
    ):
        file = tmp_path / "logging.conf"
        file.write_text(CONF.format(handler=handler, formatter=formatter))
        return list(logging_problems(file, output_dir))

    return problems_with


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.parts[-3])
def test_shipped_logging_files_only_print(file):
    assert list(logging_problems(file, None)) == []


@pytest.mark.parametrize(
    "handler",
    [
        "class=StreamHandler\nargs=(sys.stderr,)",
        "class=logging.StreamHandler\nargs=()",
        "class=NullHandler\nargs=()",
        "class=StreamHandler\nkwargs={'stream': sys.stdout}",
    ],
)
def test_a_handler_that_prints_is_taken(handler, problems):
    assert problems(handler) == []


FILES = [
    "class=FileHandler\nargs=('~/.bashrc', 'a')",
    "class=FileHandler\nargs=('/etc/passwd',)",
    "class=logging.FileHandler\nargs=('run.log',)",
    "class=handlers.RotatingFileHandler\nargs=('../x.log', 'a', 1, 1)",
    "class=logging.handlers.TimedRotatingFileHandler\nkwargs={'filename': '/tmp/x.log'}",
    "class=handlers.WatchedFileHandler\nargs=['/tmp/x.log']",
    "class=FileHandler\nargs=()",
]


@pytest.mark.parametrize("handler", FILES)
def test_a_file_outside_the_run_is_refused(handler, problems):
    ((what, line),) = problems(handler)

    assert what.startswith("[handler_own] writes to the file")
    assert line == 14


def test_a_file_below_the_runs_is_taken(problems, tmp_path):
    handler = f"class=FileHandler\nargs=({str(tmp_path / 'runs' / 'all.log')!r},)"

    assert problems(handler) == []
    assert problems(handler.replace("all.log", ".bashrc")) != []
    ((what, _),) = problems(handler, output_dir=None)
    assert "writes to the file" in what


@pytest.mark.parametrize(
    "handler",
    [
        "class=handlers.SMTPHandler\nargs=('host', 'a', ['b'], 'c')",
        "class=handlers.SocketHandler\nargs=('host', 1)",
        "class=handlers.HTTPHandler\nargs=('host', '/')",
        "class=handlers.SysLogHandler\nargs=()",
        "class=__import__('os').system\nargs=('x',)",
    ],
)
def test_a_handler_that_sends_elsewhere_is_refused(handler, problems):
    ((what, _),) = problems(handler)

    assert "sends a run's messages elsewhere" in what


@pytest.mark.parametrize(
    "handler",
    [
        "class=StreamHandler\nargs=(open('x', 'w'),)",
        "class=StreamHandler\nargs=(sys.stdout.buffer,)",
        "class=StreamHandler\nkwargs={'stream': os.environ}",
        "class=StreamHandler\nargs=(",
        "class=StreamHandler\nargs=('%(other)s',)\nother=x",
    ],
)
def test_what_python_would_evaluate_is_refused(handler, problems):
    ((what, _),) = problems(handler)

    assert "plain values" in what or "has % in args" in what


def test_a_formatter_of_another_class_is_refused(problems):
    ((what, line),) = problems(formatter="class=other.Formatting")

    assert what.startswith("[formatter_plain] has the class other.Formatting")
    assert line == 19


def test_what_is_no_configuration_is_refused(tmp_path):
    (tmp_path / "logging.conf").write_text("no section\n")

    ((what, _),) = logging_problems(tmp_path / "logging.conf", None)

    assert what.startswith("is no configuration of logging")
