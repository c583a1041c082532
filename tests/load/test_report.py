"""A report on disk: it reads back as it was, and its page needs nothing but itself."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from contracts.failures import FatalError, RetryableError
from load.report import plots, texts
from load.report.machine import machine, machine_name, versions
from load.report.model import FORMAT_VERSION, Figure, Plot, Report, Series, Verdict
from load.report.page import page
from load.report.write import read_report, write_report
from tests.load.sample_report import sample_report

VOID = {"meta", "br", "link", "img", "input", "hr", "source"}


class Reader(HTMLParser):
    """Tags that do not close, what would be fetched, and the visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.fetched: list[str] = []
        self.scripts = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "data", "action", "srcset") and (value or "")[:1] != "#":
                self.fetched.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@pytest.fixture(scope="module")
def html() -> str:
    return page(sample_report())


def test_a_report_reads_back_as_it_was(tmp_path: Path) -> None:
    written = sample_report()
    paths = write_report(written, tmp_path / "below" / "here")
    found = read_report(paths.json.parent)
    # NaN is equal to nothing, itself included.
    assert math.isnan(found.figures[1].ours[1])
    assert found.started_at == written.started_at
    assert repr(replace(found, started_at=written.started_at)) == repr(written)
    assert json.loads(paths.json.read_text())["started_at"] == "2026-03-01T12:30:05.250000Z"
    assert sorted(path.name for path in paths.json.parent.iterdir()) == [
        "report.html",
        "report.json",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": FORMAT_VERSION + 1}, "newer"),
        ({"format_version": "1"}, "no report"),
        ({"figures": [{"name": 1}]}, "figures.0"),
        ({"figures": 5}, "figures"),
        ({"started_at": "noon"}, "started_at"),
    ],
)
def test_what_is_no_report_of_ours_is_named(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = write_report(sample_report(), tmp_path).json
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FatalError, match=said):
        read_report(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "5", "\x00"])
def test_a_file_that_is_no_report_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(FatalError, match="reading the report"):
        read_report(path)


def test_a_place_that_cannot_be_written_is_a_known_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RetryableError, match="writing the report"):
        write_report(sample_report(), tmp_path / "file" / "report")


def test_the_page_is_well_formed_and_fetches_nothing(html: str) -> None:
    reader = read(html)
    assert reader.faults == []
    assert reader.open == []
    assert reader.fetched == []
    own_styles = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in own_styles and "@import" not in own_styles
    # Whatever the plots' library may try, the browser refuses it.
    assert "default-src 'none'" in html
    # The library, the drawings, and what draws them: no text of the report became a script.
    assert reader.scripts == 3


def test_the_page_shows_everything_that_is_in_the_report(html: str) -> None:
    report, text = sample_report(), read(html).text
    wanted = [report.command, "seed 7", "2026-03-01 12:30:05 UTC", "not ok"]
    wanted += [figure.title for figure in report.figures]
    wanted += [figure.verdict.value for figure in report.figures]
    wanted += [
        "1.50×",
        texts.interval_text(report.figures[0]),
        "≥ 1.0×",
        "5.90 s",
        "not <i>installed</i>",
    ]
    for section in report.sections:
        wanted += [section.title, *(table.title for table in section.tables)]
        wanted += [plot.title for plot in section.plots]
    wanted += ["Orthanc <1>", "answered A700", "2 times", "2.25.2", "Example CPU", "abc"]
    wanted += ["Second, with </script><script>alert(1)</script>.", "612", "sample_s"]
    assert [one for one in wanted if one not in text] == []


def test_failures_stand_before_figures_and_figures_before_sections(html: str) -> None:
    places = [html.index(f'id="{name}"') for name in ("failures", "figures", "section-1", "about")]
    assert places == sorted(places)


def test_every_plot_has_its_place_and_its_drawing(html: str) -> None:
    start = html.index('id="drawings">') + len('id="drawings">')
    drawings = json.loads(html[start : html.index("</script>", start)])
    assert len(drawings) == 1 + 3
    assert all(f'id="plot-{index}"' in html for index in range(len(drawings)))
    # Plotly reads a little HTML in texts: ours arrives escaped.
    assert drawings[1]["data"][0]["name"] == "a&lt;/script&gt;&lt;b&gt;"


def test_a_report_without_plots_carries_no_library() -> None:
    bare = replace(sample_report(), figures=(), sections=(), failures=())
    html = page(bare)
    assert read(html).scripts == 0
    assert len(html) < 20_000


def test_error_bars_reach_from_the_value_to_the_ends_of_the_interval() -> None:
    series = Series("a", (1.0, 2.0), (10.0, float("nan")), (8.0, 1.0), (11.0, 2.0))
    drawing = plots.drawn(Plot("t", "line", "x", "y", (series,), log_x=True))
    [trace] = drawing["data"]
    assert list(trace["error_y"]["array"]) == [1.0, 0.0]
    assert list(trace["error_y"]["arrayminus"]) == [2.0, 0.0]
    assert list(trace["y"]) == [10.0, None]
    assert drawing["layout"]["xaxis"]["type"] == "log"


def test_ratios_share_one_plot_and_keep_their_verdict() -> None:
    drawing = plots.ratios_drawn(sample_report().figures)
    assert drawing is not None
    assert [trace["name"] for trace in drawing["data"]] == ["met"]
    assert plots.ratios_drawn(()) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (1.5, "1.50"),
        (99.95, "100.0"),
        (612.25, "612"),
        (1234567, "1,234,567"),
        (3, "3"),
        (24.0, "24"),
        (-2.5, "-2.50"),
        (2.5e-7, "2.50e-07"),
        (float("inf"), "–"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert texts.number_text(value) == text


def test_a_figure_says_its_unit_or_that_it_is_a_ratio() -> None:
    alone = Figure("a", "a", "ms", Verdict.SHOWN, 12.0, 11.0, 13.0)
    assert texts.figure_value_text(alone) == "12 ms"
    assert texts.interval_text(replace(alone, peer="DCMTK")) == "11.0 … 13.0×"
    assert texts.samples_text((1.0, float("nan"), 3.0), "s") == "2 s"


def test_machine_and_versions_are_told(tmp_path: Path) -> None:
    found = machine(tmp_path / "not" / "there")
    assert {"cpu", "cores", "memory_bytes", "kernel", "file_system"} <= set(found)
    assert f"{found['cores']} cores" in machine_name(found)
    told = versions("plotly", "no-such-package")
    assert told["hilum"] and told["python"]
    assert told["no-such-package"] == "not installed"


def test_a_machine_of_an_unknown_format_still_has_a_name() -> None:
    assert machine_name({}) == "unknown, ? cores, memory unknown, ?"


def test_a_report_of_fewer_keys_reads_with_its_defaults(tmp_path: Path) -> None:
    path = write_report(sample_report(), tmp_path).json
    document = json.loads(path.read_text())
    for name in ("parameters", "figures", "sections", "failures"):
        del document[name]
    path.write_text(json.dumps(document))
    found = read_report(path)
    assert isinstance(found, Report) and found.figures == ()
