"""`load studies`: what is written is what the report tells, and nothing of others is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from contracts.failures import FatalError
from load.progress import Progress
from load.studies.command import StudiesOptions, run_studies


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


def run(directory: Path, cache: Path, *kinds: str, compression: str = "none") -> None:
    options = StudiesOptions(
        directory, kinds, compression, count=2, instances_max=3, seed=5, cache=cache
    )
    with Progress() as progress:
        report = run_studies(options, progress)
    assert report.ok and report.failures == ()
    told = {figure.name: figure.value for figure in report.figures}
    files = sorted(directory.rglob("*.dcm"))
    headers = [dcmread(path) for path in files]
    assert told["instances"] == len(files)
    assert told["studies"] == len({header.StudyInstanceUID for header in headers})
    assert len({header.SOPInstanceUID for header in headers}) == len(files)


def test_studies_of_several_kinds_are_told_apart(cache: Path, tmp_path: Path) -> None:
    run(tmp_path / "out", cache, "ct-small", "sr", "pdf")
    assert len(list((tmp_path / "out" / "ct-small").rglob("*.dcm"))) == 6


def test_documents_stay_uncompressed_beside_images(cache: Path, tmp_path: Path) -> None:
    run(tmp_path / "out", cache, "ct-small", "ko", compression="jpeg-ls")
    one = next((tmp_path / "out" / "ct-small").rglob("*.dcm"))
    assert dcmread(one).file_meta.TransferSyntaxUID.is_compressed


def test_a_folder_that_is_not_empty_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FatalError, match="not an empty folder"):
        run(tmp_path, cache, "sr")
    with pytest.raises(FatalError, match="not an empty folder"):
        run(tmp_path / "mine.txt", cache, "sr")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_wrong_use_is_refused_before_anything_is_written(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FatalError, match="did you mean 'us-cine'"):
        run(out, cache, "us-cin")
    with Progress() as progress:
        for options in (
            StudiesOptions(out, (), cache=cache),
            StudiesOptions(out, ("sr",), count=0, cache=cache),
            StudiesOptions(out, ("sr",), instances_max=0, cache=cache),
            StudiesOptions(out, ("ct-small",), count=10_000, cache=cache),
        ):
            with pytest.raises(FatalError):
                run_studies(options, progress)
    assert not out.exists()
