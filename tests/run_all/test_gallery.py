"""The gallery of the committed figures: complete, described, in one file; and formulas that need no network."""

import base64
import io
import json
import re
import shutil
from urllib.parse import unquote

import nbformat
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image, ImageChops

from eureka_lib import paths
from eureka_lib.claims import scorecard
from eureka_lib.claims.registry import CLAIMS, load
from eureka_lib.plots.verdicts import COLOURS
from eureka_lib.run_all.gallery import entries, film, page as gallery, render
from eureka_lib.run_all.gallery.links import links_from, relink
from eureka_lib.run_all.jobs import find_notebooks
from eureka_lib.tasks.two_step import CELL_NAMES

FIGURES = paths.ROOT / "figures"
NAMES = sorted(path.stem for path in FIGURES.glob("*.png"))


def change(folder, name, **facts):
    """Give a figure other facts than it was saved with."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the committed figures, one of whose notebooks has been executed."""
    copy = tmp_path_factory.mktemp("checkout") / "figures"
    shutil.copytree(FIGURES, copy, ignore=shutil.ignore_patterns("notebooks", "smoke", "paper", "index.html"))
    (copy / "notebooks").mkdir()
    (copy / "notebooks" / "01_the_eureka_moment.html").write_text("executed")
    (copy.parent / "notebooks").symlink_to(paths.NOTEBOOKS)
    (copy.parent / "eureka_lib").symlink_to(paths.ROOT / "eureka_lib")  # which texts link to
    change(copy, "01_survival", says="p < 0.1 & so on", setting="digits, 12 seeds", line_art=False)
    change(copy, "01_training_loss", says="", setting="", line_art=True)
    return copy


@pytest.fixture(scope="module")
def page(folder):
    path = gallery.build(folder, folder.parent / "notebooks", "laptop")
    assert path == folder / "index.html" and path.stat().st_size < 7_000_000
    return BeautifulSoup(path.read_text(), "html.parser")


def test_every_figure_is_there_with_its_words(page):
    assert sorted(article["aria-labelledby"] for article in page.select("article")) == NAMES
    for article in page.select("article"):
        name = article["aria-labelledby"]
        assert len(article.select_one(".guide").get_text().split()) > 10, name
        assert len(article.img["alt"].split()) > 10 and "$" not in article.img["alt"], name
        assert json.loads((FIGURES / f"{name}.json").read_text())["command"] in article.get_text()


def test_every_verdict_is_there_under_its_figure(page):
    for file in (FIGURES / "claims").glob("*.json"):
        for row in load(file):
            article = page.select_one(f'article[aria-labelledby="{row.figure}"]')
            texts = [" ".join(p.get_text().split()) for p in article.select("p:has(.verdict)")]
            wanted = f"{row.verdict} {row.claim}: {row.statement} Measured: {row.effect}."
            assert any(text.startswith(wanted) for text in texts), wanted
            assert page.select_one(f'table a[href="#{row.figure}"]')


def test_the_first_screen_is_the_finding(page, folder):
    pictures = [link["href"] for link in page.select("header figure > a:has(img)")]
    assert pictures == [f"{gallery.HERO}.png", f"{gallery.SCORECARD}.png"]
    said = page.select_one("header figure p").get_text().split()
    assert said == scorecard.findings(scorecard.read("laptop", folder)).replace("`", "").split()
    assert [link["href"] for link in page.select("nav a")][:3] == ["#film", "#claims", "#00_start_here"]
    assert page.nav.find_next("header")


def test_a_card_goes_from_what_is_said_to_where_it_comes_from(page):
    said, silent = (page.select_one(f'article[aria-labelledby="01_{name}"]') for name in ("survival", "training_loss"))
    assert said.h3.get_text() == "p < 0.1 & so on" and said.img["alt"].startswith("p < 0.1 & so on. ")
    assert said.h3.find_next_sibling("p").get_text() == "digits, 12 seeds"
    assert silent.h3.get_text() == "The training loss" and not silent.h3.find_next_sibling("p")
    assert "line-art" not in said.img.get("class", ()) and silent.img["class"] == ["line-art"]
    for article in (said, silent):
        (guide,), verdicts = article.select(".guide"), article.select(".verdict")
        parts = [article.h3, article.img, guide, *verdicts, *article.select("figure ~ details")]
        assert parts == sorted(parts, key=lambda part: (part.sourceline, part.sourcepos)) and len(parts) >= 5
        assert article.img.parent["href"] == f"{article['aria-labelledby']}.png"
    assert "No verdict" not in page.get_text()


def test_a_claim_is_a_line_with_its_rows_folded(page):
    lines = page.select("details.claim")
    assert [line.summary.get_text().split(":")[0] for line in lines] == list(CLAIMS)
    assert all(line.select("tbody tr") and not line.has_attr("open") for line in lines)


def test_verdicts_have_the_colours_of_the_scorecard(page):
    for kind, colour in COLOURS.items():
        assert f".{kind.replace(' ', '-')} {{ background: {colour}; }}" in page.style.string
    assert {name for chip in page.select(".verdict") for name in chip["class"][1:]} <= {
        kind.replace(" ", "-") for kind in COLOURS
    }


def test_the_film_shows_what_its_figure_has_stored(page):
    table = pd.read_csv(FIGURES / f"{film.NAME}.csv")
    frames = json.loads(re.search(r"const frames = (\[.*?\]), film", page.script.string)[1])
    assert [frame["x"] * table["step"].max() for frame in frames] == pytest.approx(table["step"], abs=0.1)
    weights = np.array([frame["weights"] for frame in frames])
    assert len(page.select("#film .veil")) == weights.shape[1]
    assert weights[:, 3::4].sum(axis=1) == pytest.approx(
        table.filter(regex=f" to {CELL_NAMES[-1]}$").mean(axis=1) * weights.shape[1] / 4, abs=0.01
    )
    for frame, row in zip(frames, table.to_dict("records"), strict=True):
        assert f"Step {row['step']}: accuracy {row['test_accuracy']:.2f}." in frame["measured"]
    *_, network = page.select("#film polyline")
    points = [float(point.split(",")[1]) for point in network["points"].split()]
    assert points == pytest.approx(table["test_accuracy"])
    first, *_, last = [frame["said"] for frame in frames]
    assert first.startswith("Before the plateau: ") and last.startswith("Since its Eureka-moment at step ")


def test_a_folder_of_few_figures_has_a_page_too(tmp_path, monkeypatch):
    for file in FIGURES.glob("01_*.*"):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(gallery, "HERO", "01_survival")
    page = BeautifulSoup(gallery.build(tmp_path, paths.NOTEBOOKS, "laptop").read_text(), "html.parser")
    assert [link["href"] for link in page.select("header a:has(img)")] == ["01_survival.png"]
    assert not page.select("#film, #claims, script") and len(page.select("article")) == len([*tmp_path.glob("*.png")])


def test_every_claim_has_a_link_to_its_page(page, folder):
    links = {link["href"] for link in page.select('a[href^="claims/"]')}
    assert links == {f"claims/{claim}.md" for claim in CLAIMS}


def dead_links(page, folder):
    """The links of a page in ``folder`` that lead to no file, or to no place of the page itself."""
    ids = {element["id"] for element in page.select("[id]")}
    for url in (link["href"] for link in page.select("a[href]")):
        name, _, place = url.partition("#")
        if ":" not in url and not ((folder / unquote(name)).exists() if name else unquote(place) in ids):
            yield url


def test_it_is_one_file_whose_links_lead_somewhere(page, folder):
    assert len(page.select("script")) == 1 and not page.select("[src]:not(img), link:not([rel=icon])")
    pictures = [image["src"] for image in page.select("img")] + [image["href"] for image in page.select("image")]
    assert all(picture.startswith("data:image/webp") for picture in pictures)
    assert len(page.select("a")) > 200 and not list(dead_links(page, folder))
    executed = page.select('a[href="notebooks/01_the_eureka_moment.html"]')
    assert executed and not page.select('a[href="../notebooks/01_the_eureka_moment.ipynb"]')
    assert page.select('a[href="../notebooks/02_it_takes_two_steps.ipynb"]')


def write_page(name, folder):
    """The page of a notebook (not executed, which changes no link) as the runner writes it."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    html, _ = render.OfflineExporter(links_from(folder, paths.NOTEBOOKS)).from_notebook_node(notebook)
    (folder / f"{name}.html").write_text(html)


def read_page(name, folder):
    return BeautifulSoup((folder / f"{name}.html").read_text(), "html.parser")


@pytest.mark.parametrize("name", find_notebooks(paths.NOTEBOOKS))
def test_a_notebooks_page_made_alone_has_no_dead_link(name, tmp_path):
    write_page(name, tmp_path)
    assert not list(dead_links(read_page(name, tmp_path), tmp_path))


def test_pages_link_to_each_other_as_they_come_and_go(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()

    def links():
        relink(folder, paths.NOTEBOOKS)
        page = read_page("00_start_here", folder)
        assert not list(dead_links(page, folder))
        return {link["href"] for link in page.select("a[href]") if ":" not in link["href"]}

    write_page("00_start_here", folder)
    alone = links()
    write_page("glossary", folder)
    write_page("01_the_eureka_moment", folder)
    assert {"01_the_eureka_moment.html", "glossary.html", "glossary.html#Seed"} <= links()
    (folder / "01_the_eureka_moment.html").unlink()
    assert "01_the_eureka_moment.html" not in links() and "glossary.html#Seed" in links()
    (folder / "glossary.html").unlink()
    assert links() == alone


def test_pictures_lose_nothing(page, folder):
    image = page.select_one('article[aria-labelledby="01_survival"] img')
    packed = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
    original = Image.open(folder / "01_survival.png").convert("RGB")
    assert packed.size == original.size and ImageChops.difference(packed.convert("RGB"), original).getbbox() is None


def test_without_figures_there_is_no_page(tmp_path):
    assert gallery.build(tmp_path, paths.NOTEBOOKS, "smoke") is None and not list(tmp_path.iterdir())


def test_a_figure_has_the_words_that_stand_before_it(tmp_path):
    cells = [new_markdown_cell("# Title\n\n**The claim.** *So* it is.\n\nMore."), new_code_cell('Page("03_one")'),
             new_markdown_cell("## Look: first\n\nRead $x$ so.\n\nAnd so.\n\n[the committed figure](../03_one.png)"),
             new_code_cell('save(figure, "03_one")'),
             new_markdown_cell("## Look\n\nOtherwise."), new_code_cell('save(figure, "03_two_words", 1)')]  # fmt: skip
    nbformat.write(new_notebook(cells=cells), tmp_path / "03_small.ipynb")
    for name in ("03_two_words", "03_one"):
        (tmp_path / f"{name}.png").touch()
        (tmp_path / f"{name}.json").write_text(json.dumps({"figure": name, "notebook": "03_small"}))
    (chapter,) = entries.gather(tmp_path, tmp_path)
    first, second = chapter.entries
    assert (chapter.title, chapter.claim) == ("Title", "**The claim.** *So* it is.")
    assert (first.name, first.title, first.paragraphs) == ("03_one", "First", ["Read $x$ so.", "And so."])
    assert (second.name, second.title) == ("03_two_words", "Two words")
    assert first.alternative == "First. Read x so."


@pytest.mark.parametrize("path", sorted(paths.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_is_translated(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            html = BeautifulSoup(render.to_html(cell.source), "html.parser")
            for code in html.select("code"):
                code.decompose()
            assert "$" not in html.get_text() and "\\" not in html.get_text(), cell.id


def test_a_notebooks_page_fetches_nothing(tmp_path):
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    code = new_code_cell("draw()", outputs=[new_output("display_data", {"image/png": pixel})])
    text = "## Look at $W_Q$\n\n$$a = \\frac{1}{2}$$\n\n[next](02_next.ipynb#Look) [code](../code.py) [web](https://example.org/a.ipynb)"
    folded = "<details><summary>$x$?</summary>\n\nYes.\n</details>"
    notebook = new_notebook(cells=[new_markdown_cell(text), code, new_markdown_cell(folded)])
    html, _ = render.OfflineExporter(links_from(tmp_path, tmp_path)).from_notebook_node(notebook)
    page = BeautifulSoup(html, "html.parser")
    assert not re.findall(r'(?:src|href)="?(?:https?:)?//(?!example)', html) and not page.select("script[src]")
    assert page.img["alt"] == "Figure: Look at W_Q"
    links = {"02_next.ipynb#Look", "../code.py", "https://example.org/a.ipynb"}
    assert links <= {a["href"] for a in page.select("a")}
    assert page.select("h2 math msub") and page.select('math[display="block"] mfrac') and page.select("summary math")
    assert notebook.cells[1].outputs[0].metadata == {}, "the notebook itself stays as it is"


def test_a_picture_in_a_notebooks_words_is_found_from_its_page(tmp_path):
    link_to = links_from(tmp_path / "figures" / "notebooks", tmp_path / "notebooks")
    html = render.to_html("![alt](../figures/01_a.png)", link_to)
    assert 'src="../01_a.png"' in html and 'alt="alt"' in html
