"""The documentation site in a real browser: search, dark mode, no errors, nothing from elsewhere, at two widths."""
import json
import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers.site import site  # noqa: F401

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

PAGES = ("index.html", "tutorials/first_run.html", "metrics/confusion.html", "commands.html", "howto/resume.html",
         "explanations/void_pixels.html")
FLAGS = ("--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
         "--disable-sync --no-first-run")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(site):  # noqa: F811
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module", params=[1280, 390])
def browser(request, tmp_path_factory):
    "Chromium with a profile of its own, at one width."
    binary, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not (binary and driver):
        if os.environ.get("SEGFAST_NEEDS_BROWSER"):
            pytest.fail("chromium and chromedriver are not installed")
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           dict(width=request.param, height=900, deviceScaleFactor=1, mobile=request.param < 600))
    opened.wide = request.param > 1200
    yield opened
    opened.quit()


def wait(browser, ready, seconds=20):
    return WebDriverWait(browser, seconds).until(lambda _: ready())


def scheme(browser):
    return browser.execute_script("return document.body.dataset.mdColorScheme")


def test_search_finds_a_symbol_and_leads_to_it(browser, address):
    browser.get(f"{address}/index.html")
    if not browser.wide:
        browser.execute_script("document.querySelector('label[for=__search].md-header__button').click()")
    box = wait(browser, lambda: browser.find_element(By.CSS_SELECTOR, "input.md-search__input"))
    wait(browser, lambda: box.is_displayed())
    box.send_keys("ConfusionMatrix")
    links = wait(browser, lambda: [a.get_attribute("href")
                                   for a in browser.find_elements(By.CSS_SELECTOR, ".md-search-result__link")])
    hit = next(link for link in links if "metrics/confusion.html" in link and link.endswith("#confusionmatrix"))
    browser.get(hit)
    top = "document.getElementById('confusionmatrix').getBoundingClientRect().top"
    wait(browser, lambda: browser.execute_script(f"const at = {top}; return at >= 0 && at < innerHeight"))


def test_the_dark_switch_works_and_is_remembered(browser, address):
    browser.get(f"{address}/index.html")
    first = wait(browser, lambda: scheme(browser))
    light = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    switch = next(find_element for find_element in browser.find_elements(By.CSS_SELECTOR,
        "label.md-header__button[for^=__palette]") if find_element.is_displayed())
    switch.click()
    wait(browser, lambda: scheme(browser) != first)
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") != light
    browser.get(f"{address}/metrics/confusion.html")
    assert scheme(browser) != first


def test_pages_fit_have_no_errors_and_ask_nobody_else(browser, address):
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    shots = os.environ.get("SEGFAST_SHOTS")
    for page in PAGES:
        browser.get(f"{address}/{page}")
        wait(browser, lambda: browser.execute_script("return document.readyState") == "complete")
        assert browser.execute_script("return document.documentElement.scrollWidth <= "
                                      "document.documentElement.clientWidth"), page
        browser.execute_script("document.querySelectorAll('img[loading=lazy]').forEach(o => o.loading = 'eager')")
        wait(browser, lambda: browser.execute_script("return [...document.images].every(o => o.complete)"))
        assert browser.execute_script("return [...document.images].every(o => o.naturalWidth > 0)"), page
        if shots:
            browser.save_screenshot(
                str(Path(shots)/f"{page.replace('/', '-')}-{browser.get_window_size()['width']}.png"))
    assert [item["message"] for item in browser.get_log("browser") if item["level"] in ("SEVERE", "WARNING")] == []
    asked = [m["params"]["request"]["url"] for item in browser.get_log("performance")
             if (m := json.loads(item["message"])["message"])["method"] == "Network.requestWillBeSent"]
    assert asked and [url for url in asked if not url.startswith((address, "data:", "chrome:", "chrome-"))] == []


def test_blocks_can_be_copied_symbols_have_anchors_and_pages_have_neighbors(browser, address):
    browser.get(f"{address}/metrics/confusion.html")
    wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR,
                                                "button[data-clipboard-target], .md-code__button, .md-clipboard"))
    assert browser.execute_script(
        "return document.querySelector('#confusionmatrix a.headerlink').getAttribute('href')") == "#confusionmatrix"
    source = browser.execute_script("return document.querySelector('a.source[title=\"Source of "
                                    "ConfusionMatrix\"]').href")
    assert "/blob/main/segfast/metrics/confusion.py#L" in source
    assert len(browser.find_elements(By.CSS_SELECTOR, ".md-footer__link")) == 2
