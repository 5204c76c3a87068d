"""Files that a bundle lists for download."""

import pytest

from segpipe.configuration.large_files import download_advice

LIST = "large_files:\n- path: models/model.pt\n  url: https://example.org/model.pt\n- path: models/model.ts\n"


@pytest.mark.parametrize("name", ["large_files.yml", "large_files.yaml"])
def test_a_listed_file_has_the_command_that_downloads_it(name, tmp_path):
    (tmp_path / name).write_text(LIST)

    assert download_advice(tmp_path, tmp_path / "models" / "model.pt") == (
        f"{tmp_path / name} lists it for download: run `python -m monai.bundle download_large_files --bundle_path "
        f"{tmp_path} --large_file_name {name}`"
    )


def test_another_file_has_none(tmp_path):
    (tmp_path / "large_files.yml").write_text(LIST)

    assert download_advice(tmp_path, tmp_path / "models" / "other.pt") == ""


@pytest.mark.parametrize(
    "content", [None, "", "[", "large_files: 1\n", "large_files:\n- model.pt\n- path: 1\n", "1"]
)
def test_a_list_that_is_missing_or_holds_no_paths_has_none(content, tmp_path):
    if content is not None:
        (tmp_path / "large_files.yml").write_text(content)

    assert download_advice(tmp_path, tmp_path / "models" / "model.pt") == ""
