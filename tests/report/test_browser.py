"""The page in a real browser: headless Chromium, spoken to in plain WebDriver through chromedriver."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertline.report import stage

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
DESKTOP, PHONE = (1280, 900), (390, 844)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver on PATH (Debian: chromium-driver)"
)


class Browser:
    """One headless Chromium."""

    def __init__(self, profile: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert DRIVER is not None
        self._driver = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._url = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            self._wait_for_driver()
            options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
            self._url += f"/session/{self._call('/session', {'capabilities': wanted})['sessionId']}"
        except BaseException:
            self._stop()
            raise

    def close(self) -> None:
        try:
            self._call("", method="DELETE")
        finally:
            self._stop()

    def open(
        self,
        page: Path,
        size: tuple[int, int] = DESKTOP,
        scheme: str = "light",
        *,
        scripts: bool = True,
        drawn: str | None = None,
    ) -> None:
        """Load a page as a device of that size and taste would, and wait until its charts are drawn."""
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        self.command("Emulation.setDeviceMetricsOverride", **screen)
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.command("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.errors()  # forget those of the page before
        self._call("/url", {"url": page.as_uri()})
        end = time.monotonic() + 20
        while scripts and time.monotonic() < end and not self.ask(drawn or DRAWN):
            time.sleep(0.1)

    def ask(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        return self._call("/execute/sync", {"script": f"return {expression}", "args": []})

    def errors(self) -> list[str]:
        """What the console was told since the last call, from warnings on."""
        return [entry["message"] for entry in self._call("/se/log", {"type": "browser"}) if entry["level"] != "INFO"]

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._call("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def screenshot(self, path: Path) -> bytes:
        """The whole page as PNG."""
        image = base64.b64decode(self.command("Page.captureScreenshot", captureBeyondViewport=True)["data"])
        path.write_bytes(image)
        return image

    def _call(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._url + path, data=data, method=method, headers={"Content-Type": "application/json"}
        )
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def _wait_for_driver(self) -> None:
        end = time.monotonic() + 30
        while True:
            try:
                if self._call("/status", method="GET")["ready"]:
                    return
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)

    def _stop(self) -> None:
        self._driver.terminate()
        self._driver.wait(30)


DRAWN = "[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('svg .mark-symbol path'))"

MARKS = """[...document.querySelectorAll('.chart')].map(chart => {
    const within = (kind) => [...chart.querySelectorAll(`svg .mark-${kind}.role-mark path`)]
        .filter(path => { const box = path.getBoundingClientRect(); return box.width > 0 || box.height > 0; }).length;
    return {id: chart.id, width: chart.querySelector('svg')?.getBoundingClientRect().width ?? 0,
            points: within('symbol'), lines: within('line')};
})"""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def page(fill: Callable[..., Any], tmp_path: Path) -> Path:
    filled = fill(evaluate__seeds=[1, 2, 3])
    return stage.render(filled.store, filled.reference, tmp_path / "out")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_draws_its_charts_and_fits_the_screen(
    browser: Browser, page: Path, tmp_path: Path, size: tuple[int, int], scheme: str
):
    browser.open(page, size, scheme)
    screenshot = browser.screenshot(tmp_path / "page.png")
    assert browser.errors() == []
    assert browser.ask(OVERFLOW) <= 0
    assert browser.ask("performance.getEntriesByType('resource').length") == 0  # nothing was asked of the network
    accuracy, loss = browser.ask(MARKS)
    assert (accuracy["id"], accuracy["points"], accuracy["lines"]) == ("accuracy-MNLI-m", 10, 2)
    assert (loss["id"], loss["points"], loss["lines"]) == ("held-out-loss", 100, 2)
    assert accuracy["width"] > 0.85 * size[0] or accuracy["width"] > 900
    assert len(screenshot) > 20_000


def test_dark_and_light_differ_and_text_of_charts_follows(browser: Browser, page: Path):
    colors = {}
    for scheme in ("light", "dark"):
        browser.open(page, DESKTOP, scheme)
        text = "getComputedStyle(document.querySelector('.chart svg .role-axis-label text')).fill"
        colors[scheme] = (browser.ask("getComputedStyle(document.body).backgroundColor"), browser.ask(text))
    assert colors["light"] == ("rgb(255, 255, 255)", "rgb(29, 35, 41)")
    assert colors["dark"] == ("rgb(20, 23, 27)", "rgb(226, 230, 234)")


def test_an_empty_chart_is_noticed(browser: Browser, page: Path, tmp_path: Path):
    """The test above isn't blind: the same page with its rows taken out has no marks."""
    text = page.read_text()
    begin = text.index('id="charts">') + len('id="charts">')
    end = text.index("</script>", begin)
    specs = json.loads(text[begin:end])
    for chart in specs:
        chart["spec"]["datasets"] = {name: [] for name in chart["spec"]["datasets"]}
    empty = tmp_path / "empty.html"
    empty.write_text(text[:begin] + json.dumps(specs).replace("<", "\\u003c") + text[end:])
    browser.open(empty, drawn="document.querySelectorAll('.chart svg').length == 2")
    assert [chart["points"] + chart["lines"] for chart in browser.ask(MARKS)] == [0, 0]


def test_without_scripts_a_drawn_chart_is_there(browser: Browser, page: Path):
    browser.open(page, PHONE, scripts=False)
    browser.command("Emulation.setScriptExecutionDisabled", value=False)  # to be able to ask
    assert browser.ask("document.querySelectorAll('.static svg .mark-symbol.role-mark path').length") == 110
    assert browser.ask(OVERFLOW) <= 0


def test_gaps_and_long_names_fit_a_phone(browser: Browser, fill: Callable[..., Any], tmp_path: Path):
    names = [f"{'a-model-with-a-very-long-name' * 2}"[:37] + f"-{layers}L" for layers in (2, 4)]
    filled = fill(
        lambda config: getattr(config, "end_epoch", 0) > 10 or (config.STAGE == "evaluate" and config.seed == 2),
        models={name: {"layers": int(name[-2]), "batch_size": 64} for name in names},
        evaluate__seeds=[1, 2],
        description="<script>alert(1)</script>" + "unbroken" * 30,
    )
    browser.open(stage.render(filled.store, filled.reference, tmp_path / "out"), PHONE)
    assert browser.errors() == []
    assert browser.ask(OVERFLOW) <= 0
