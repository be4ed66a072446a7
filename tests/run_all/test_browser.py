"""As a person would: JupyterLab and the gallery in a real browser, headless Chromium driven by Playwright.

Skipped, with the reason, where either is missing: ``apt-get install chromium`` and ``pip install eureka-lib[browser]``.
"""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress

import nbformat
import pandas as pd
import pytest

from eureka_lib import paths
from eureka_lib.run_all.gallery import page as gallery
from eureka_lib.run_all.gallery.film import film as film_of
from eureka_lib.run_all.gallery.render import OfflineExporter

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no Playwright: pip install 'eureka-lib[browser]' to test in a real browser"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium to test in a browser")
PATIENCE = 180  # seconds, for a busy machine


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page with room for a notebook, and all that it complains of, as ``page.complaints``."""
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("requestfailed", lambda request: page.complaints.append(request.url))
    yield page
    context.close()


# ---- JupyterLab


def copy_notebook(name: str, folder, **parameters) -> None:
    """A copy to play with, since JupyterLab saves what it runs; with other values for some parameters."""
    notebook = nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    for parameter, value in parameters.items():
        cell.source, n = re.subn(rf"^({parameter}: \w+ = )\S+", rf"\g<1>{value!r}", cell.source, flags=re.MULTILINE)
        assert n == 1, parameter
    nbformat.write(notebook, folder / f"{name}.ipynb")


@contextmanager
def jupyter_lab(folder, products):
    """JupyterLab on loopback with its token on: yields its address and the token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port, token = probe.getsockname()[1], secrets.token_hex(16)
    settings = products / "config" / "labconfig"
    settings.mkdir(parents=True)
    (settings / "page_config.json").write_text(  # it would ask whether to fetch news
        '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}'
    )
    surroundings = {name: value for name, value in os.environ.items() if name != "EUREKA_HEADLESS"} | {
        "PYTHONPATH": str(paths.ROOT), "JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_CONFIG_DIR": str(products / "config"),
        "JUPYTER_RUNTIME_DIR": str(products / "runtime"), "JUPYTERLAB_SETTINGS_DIR": str(products / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(products / "workspaces"), "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }  # fmt: skip
    root = ["--allow-root"] if os.getuid() == 0 else []
    with open(products / "log.txt", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
             "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", *root],
            cwd=folder, env=surroundings, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: server.poll() is not None or answers(f"{address}/api?token={token}"))
        assert server.poll() is None, (products / "log.txt").read_text()[-2000:]
        yield address, token
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=30)
        server.kill()
        server.wait()


def answers(url: str) -> bool:
    with suppress(OSError):
        return urllib.request.urlopen(url, timeout=5).status == 200
    return False


def wait_for(condition) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder, products = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("lab")
    copy_notebook("00_start_here", folder, steps=400)
    copy_notebook("16_explorer", folder, samples=100)
    with jupyter_lab(folder, products) as (address, token):
        yield address, token


def open_notebook(page, lab, name: str) -> None:
    address, token = lab
    page.goto(f"{address}/lab/workspaces/{name}/tree/{name}.ipynb?token={token}")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # in the status bar; what is run before that is lost


def run_all_cells(page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def cell_of(page, source: str):
    """The code cell whose source contains some words; cells that are far away are only there when scrolled to."""
    return page.locator(".jp-CodeCell").filter(has=page.locator(".jp-InputArea", has_text=source)).first


def test_the_server_wants_its_token(lab):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{lab[0]}/api/contents", timeout=30)


def test_notebook_00_shows_a_live_curve(page, lab):
    open_notebook(page, lab, "00_start_here")
    page.evaluate("""() => {
        window.seen = new Set();
        new MutationObserver(() => document.querySelectorAll('.jp-CodeCell').forEach(cell => {
            if (cell.innerText.includes('LiveCurve'))
                cell.querySelectorAll('.jp-OutputArea img').forEach(image => window.seen.add(image.src));
        })).observe(document.body, {childList: true, subtree: true, attributes: true, attributeFilter: ['src']});
    }""")
    run_all_cells(page)
    cell_of(page, "with LiveCurve").scroll_into_view_if_needed()
    wait_for(lambda: page.evaluate("window.seen.size") >= 5)
    last = cell_of(page, "assert (task.oracle(many)")
    last.scroll_into_view_if_needed()
    wait_for(lambda: re.search(r"\[\d+\]", last.locator(".jp-InputPrompt").inner_text()))
    assert not page.locator(".jp-OutputArea-output", has_text="Traceback").count()


def test_the_explorers_knobs_move_its_pictures(page, lab):
    open_notebook(page, lab, "16_explorer")
    run_all_cells(page)
    for source in ("setting_knobs()", "film_knob(film)"):
        cell = cell_of(page, source)
        cell.scroll_into_view_if_needed()
        picture = cell.locator("img.widget-image")
        picture.wait_for()
        before = picture.screenshot()
        handle = cell.locator(".noUi-handle").first
        handle.focus()
        for _ in range(3):
            handle.press("ArrowRight")
        wait_for(lambda picture=picture, before=before: picture.screenshot() != before)


# ---- the gallery


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """A folder of figures as run_all.sh leaves it: the committed ones, and a notebook's page (without outputs)."""
    folder = tmp_path_factory.mktemp("gallery") / "figures"
    shutil.copytree(paths.ROOT / "figures", folder, ignore=shutil.ignore_patterns("notebooks", "smoke", "paper"))
    notebook = nbformat.read(paths.NOTEBOOKS / "00_start_here.ipynb", as_version=4)
    (folder / "notebooks").mkdir()
    html, _ = OfflineExporter().from_notebook_node(notebook)
    (folder / "notebooks" / "00_start_here.html").write_text(html.replace("../figures/", "../"))  # as they lie
    task = folder / "00_the_task.json"
    task.write_text(json.dumps(json.loads(task.read_text()) | {"line_art": False}))
    gallery.build(folder, paths.NOTEBOOKS, "laptop")
    return folder


def test_the_gallery_is_whole_and_its_links_lead_somewhere(page, figures):
    page.goto((figures / "index.html").as_uri())
    images = page.locator("article img")
    assert images.count() == len(list(figures.glob("*.png")))
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 500)")
    page.get_by_role("link", name="07 where the gradient goes").click()
    assert page.url.endswith("#07_where_the_gradient_goes")
    wait_for(
        lambda: page.locator("#\\30 7_where_the_gradient_goes").evaluate("h => h.getBoundingClientRect().top < 100")
    )
    assert page.locator("nav").evaluate("bar => bar.getBoundingClientRect().top") == 0, "it stays in sight"
    page.get_by_role("link", name="The notebook 00").click()
    page.wait_for_url("**/notebooks/00_start_here.html")
    assert page.locator("math").count() >= 5
    page.set_viewport_size({"width": 600, "height": 800})
    wide = "pre => pre.scrollWidth > pre.clientWidth + 1"
    assert not page.evaluate(f"[...document.querySelectorAll('.highlight pre')].some({wide})"), "code wraps"
    page.go_back()
    card = page.locator('article[aria-labelledby="00_one_run"]')
    card.get_by_text("Where it comes from").click()
    card.get_by_role("link", name="provenance").click()
    assert '"notebook": "00_start_here"' in page.inner_text("body")
    assert page.complaints == []


def test_the_gallery_by_keyboard(page, figures):
    page.goto((figures / "index.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")


def test_the_galleries_first_screen(page, figures):
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto((figures / "index.html").as_uri())
    assert page.locator("header img").count() == 2
    assert page.evaluate("document.querySelector('header').getBoundingClientRect().bottom <= innerHeight")


def test_the_film_of_a_run(page, figures):
    page.goto((figures / "index.html").as_uri())
    table = pd.read_csv(figures / "16_stored_run.csv")
    film = page.locator("#film")
    slider, words = film.locator("input"), film.locator("output")
    film.scroll_into_view_if_needed()
    assert not film.locator("img").count() and "Eureka-moment" not in words.inner_text()
    slider.focus()
    slider.press("End")
    assert "Since its Eureka-moment" in words.inner_text() and f"Step {table['step'].iloc[-1]}" in words.inner_text()
    faded = film.locator(".veil").evaluate_all("veils => veils.map(veil => Number(veil.style.opacity))")
    weights = film_of(figures)["frames"][-1]["weights"]
    assert faded == pytest.approx([0.9 * (1 - weight) for weight in weights], abs=1e-3) and len(faded) >= 16
    slider.press("ArrowLeft")
    assert f"Step {table['step'].iloc[-2]}" in words.inner_text()
    assert page.complaints == []


def test_without_a_script_the_film_is_a_picture(browser, figures):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((figures / "index.html").as_uri())
    assert page.locator("#film img").is_visible() and not page.locator("#film input").is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_gallery_on_a_phone_by_day_and_night(browser, figures, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto((figures / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it must not scroll sideways as a whole"
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    wide = page.evaluate("""() => [...document.querySelectorAll('main *, header *')].filter(part =>
        !part.closest('math') && part.getBoundingClientRect().right > innerWidth).map(part => part.outerHTML)""")
    assert wide == [], "nothing is cut"
    assert page.locator("td").first.evaluate("cell => getComputedStyle(cell).display") == "block"
    drawing, picture = page.evaluate("""() => ['01_survival', '00_the_task'].map(name =>
        getComputedStyle(document.querySelector(`article[aria-labelledby="${name}"] img`)).filter)""")
    assert ("invert" in drawing) == (scheme == "dark") and "invert" not in picture
    ink, paper = page.evaluate("""() => ['color', 'backgroundColor'].map(
        name => getComputedStyle(document.body)[name].match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0))""")
    assert (ink < 200 and paper > 650) if scheme == "light" else (ink > 650 and paper < 200)
    context.close()
