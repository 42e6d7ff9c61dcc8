"""A report is written as Markdown and as one HTML file without other files."""

import base64
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments.report import figures, markdown, page, plane, terminal
from experiments.report.document import Figure, Section, Table, publish, write
from experiments.report.printable import printable
from experiments.report.terminal import show

CONTENT = {
    "data": "digits: `train` drawn into three",
    "command": "python -m experiments.x --flag '<b>'",
    "config": {"epochs": 3},
    "hardware": {"processor": "some"},
    "versions": {"jax": "1.2"},
    "seconds": 61.6,
}


class Page(HTMLParser):
    """Collects tags, their attributes, and text."""

    VOID = ("meta", "img", "br", "hr")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path / "one.png")
    rows = [["<script>alert(1)</script>", "-1 ± 2"], ["a_name *_", "[a](b) *"]]
    table = Table("Scores", ["prior", "log p(x|y)"], rows, ["A note & more.", "* of `standard`: 1 &lt; 2"])
    sections = [
        Section("First", ["A paragraph: 1 < 2."], [table]),
        Section("Second", figures=[Figure("one.png", "A figure", 'What to see: "blue" is a hole.')]),
    ]
    write(path, CONTENT, "Title of p(z|y) & more", sections)
    folded = Section("Tables <details>", ["<details>", "</details>"], details=[table])
    write(path, CONTENT, "Again", [*sections[:1], folded], "evaluation")
    return path


def test_page_is_whole_and_needs_nothing_else(folder):
    parsed = Page((folder / "report.html").read_text())
    assert parsed.open == []  # every tag was closed, in order
    names = [tag for tag, _ in parsed.tags]
    assert not {"script", "link", "iframe", "object"} & set(names)
    assert dict(parsed.tags)["html"]["lang"] == "en"
    assert any(attributes.get("name") == "viewport" for tag, attributes in parsed.tags if tag == "meta")
    addresses = [
        value for _, attributes in parsed.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    (image,) = addresses
    assert base64.b64decode(image.removeprefix("data:image/png;base64,")) == (folder / "one.png").read_bytes()
    # What a user names reaches the page as text.
    for text in (
        "<script>alert(1)</script>",
        "A note & more.",
        "1 < 2",
        'What to see: "blue" is a hole.',
        "log p(x|y)",
        "a_name *_",
        "[a](b) *",
        "* of standard: 1 &lt; 2",
        "digits: `train` drawn into three",
    ):
        assert text in parsed.text
    assert not {"em", "a"} & set(names[: names.index("img")])
    for made in (CONTENT["command"], "epochs = 3", "processor = some", "jax = 1.2", "62 seconds"):
        assert made in parsed.text


def test_details_are_folded_without_a_script(folder):
    parsed = Page((folder / "evaluation.html").read_text())
    names = [tag for tag, _ in parsed.tags]
    assert parsed.open == []
    assert names.count("details") == names.count("summary") == 1  # what a user wrote like them is text
    assert names.index("summary") < len(names) - 1 - names[::-1].index("table")
    assert "script" not in names
    text = (folder / "evaluation.md").read_text()
    assert "\n<details>\n<summary>All measures</summary>\n\n**Scores**" in text


def test_markdown_says_the_same(folder):
    text = (folder / "report.md").read_text()
    for part in (r"log p(x\|y)", "-1 ± 2", "A note & more.", "![A figure](one.png)", "What to see", "`epochs = 3`"):
        assert part in text
    assert sorted(path.name for path in folder.iterdir()) == [
        *("evaluation.html", "evaluation.json", "evaluation.md"),
        *("one.png", "report.html", "report.md", "results.json"),
    ]


@pytest.mark.parametrize("text", ["1. first", "- point", "# title", "> quoted", "===", "2) two", "~~~"])
def test_plain_text_starts_no_list_or_heading(text):
    assert page.to_html("", markdown.escape(text), None).split("<body>\n")[1].startswith("<p>")


def test_a_map_is_blank_where_samples_do_not_tell():
    """p by samples: known at the top, at least so far below q where q is high, and unknown where both are low.

    Exact densities: blank where both are low, too.
    """
    log_q, log_p = np.array([[0.0, -1.0, -20.0]]), np.array([[-2.0, -30.0, -30.0]])
    found = SimpleNamespace(log_q=log_q, log_p=log_p, difference=log_q - log_p, q_is_exact=True, p_is_exact=False)
    np.testing.assert_allclose(figures.known_difference(found), [[2.0, 5.5, np.nan]])
    found.p_is_exact = True
    np.testing.assert_allclose(figures.known_difference(found), [[2.0, 29.0, np.nan]])


@pytest.mark.parametrize(("inches", "scrolls"), [(7, False), (12, True)])
def test_figures_fit_a_phone_unless_their_letters_would_be_too_small(tmp_path, inches, scrolls):
    Image.fromarray(np.zeros((50, 100 * inches), np.uint8)).save(tmp_path / "one.png", dpi=(100, 100))
    (attributes,) = [found for tag, found in Page(page.to_html("", "![a](one.png)", tmp_path)).tags if tag == "img"]
    assert (attributes.get("class") == "wide") == scrolls
    assert attributes["alt"] == "a"


HOSTILE = "a\x1b[2J[/b]$b^{$c\n<i>|`x`\u202e"


def test_names_of_files_do_nothing_in_a_terminal_or_a_page(tmp_path, capsys):
    """Control characters, markup of rich, HTML and Markdown, and what would be a formula in a figure."""
    table = Table(HOSTILE, [HOSTILE, HOSTILE], [[HOSTILE, HOSTILE]], [HOSTILE])
    name = printable(HOSTILE)  # as that of a data set is
    figures.image_panels(tmp_path / "one.png", {name: np.ones((1, 8, 8))}, num_columns=1, title=name)
    sections = [Section(HOSTILE, [HOSTILE], [table], [Figure("one.png", HOSTILE, HOSTILE)])]
    publish(tmp_path, CONTENT | {"command": HOSTILE}, HOSTILE, sections)
    printed = capsys.readouterr().out
    assert r"a\x1b[2J[/b]$b^{$c\n<i>" in printed
    for text in (printed, (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()):
        assert not {"\x1b", "\u202e"} & set(text)
    parsed = Page((tmp_path / "report.html").read_text())
    assert "i" not in {tag for tag, _ in parsed.tags}
    assert r"a\x1b[2J[/b]$b^{$c\n<i>|" in parsed.text


def test_a_narrow_terminal_shows_every_number_whole(monkeypatch, capsys):
    names = ["standard", "standard, refit mixture"]
    header = ["prior", *(f"measure number {i}" for i in range(9))]
    rows = [[name, *(f"-{i}{j}.25 ± 0.125" for i in range(9))] for j, name in enumerate(names)]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # which makes it a terminal
    monkeypatch.setenv("TERM", "dumb")
    show([Section("", tables=[Table("Scores", header, rows, ["A note."])])])
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert all(cell in text for row in rows for cell in row)
    assert text.count("Scores") == text.count("A note.") == 1
    assert text.count(f"│ {names[1]} │") == text.count(f"│ {names[0]} ") == 3  # each part names its rows


def test_a_grid_of_colours_keeps_them_within_their_range():
    images = np.full((3, 2, 2, 3), [2.0, 0.25, -1.0])
    grid = figures.tile(images, 2)
    assert grid.shape == (5, 5, 3)
    np.testing.assert_array_equal(grid[0, 0], [1, 0.25, 0])
    np.testing.assert_array_equal(grid[2], 0.5)  # the line between two rows
    np.testing.assert_array_equal(grid[4, 4], 0.5)  # where there is no fourth image


def test_details_are_printed_with_verbose_only(capsys):
    table = Table("Scores", ["prior", "FID"], [["a", "1"]])
    publish_to = [Section("Answer", ["The words."], details=[table])]
    show(publish_to)
    assert "Scores" not in capsys.readouterr().out
    token = terminal.VERBOSE.set(True)
    show(publish_to)
    terminal.VERBOSE.reset(token)
    assert "Scores" in capsys.readouterr().out


def test_a_number_and_its_error_stay_in_one_cell_of_the_terminal(capsys):
    show([Section("", tables=[Table("Scores", ["prior", "FID"], [["a", "1\u00a0±\u00a02"]])])])
    assert "1 ± 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("masses", "told"),
    [
        (
            [(0.325, 0.008)],
            "32.5 ± 0.8 % of the mass of N(0, I) lies in holes, where no image is encoded. Where a prior",
        ),
        ([(0.325, 0.008), (0.076, 0.006)], "prior0 has less there: 7.6 ± 0.6 %, a difference of 25 standard errors."),
        (
            [(0.02, 0.001), (0.06, 0.0), (0.05, 0.0)],
            "prior1 has the least there: 5.0 ± 0.0 %, a difference of 30 standard",
        ),
        ([(0.02, 0.002), (0.018, 0.002)], "prior0 has less there: 1.8 ± 0.2 %, no clear difference."),
    ],
)
def test_the_answer_on_the_plane_is_that_of_the_hole_masses(masses, told):
    names = ["standard", "prior0", "prior1"]
    rows = [{"prior": name, "hole_mass": mass} for name, mass in zip(names, masses, strict=False)]
    assert told in plane.answer(rows)
