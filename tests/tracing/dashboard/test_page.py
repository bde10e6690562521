"""The page in a real Chromium: one browser, one page, view after view."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any

import pytest

import mesh as library
from mesh.core.trace_record import Kind
from mesh.tracing.talk import TIMES
from tests.helpers.browser import chromium, require_chromium
from tests.helpers.peers import free_port
from tests.tracing.dashboard.serving import Scene, collecting, scene, showing

HOSTILE = "<img src=x onerror=document.title='taken'>"
NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 800}


@dataclass
class Shown:
    """page: playwright's. complaints: what the browser's console said; a broken rule of the CSP, too."""

    scene: Scene
    page: Any
    complaints: list[str] = field(default_factory=list)

    def go(self, view: str) -> None:
        self.page.goto(f"{self.scene.page}#/{view}")

    def rows(self) -> list[str]:
        return [text.replace("\t", " ") for text in self.page.locator(".table tbody tr").all_inner_texts()]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    require_chromium()
    with ExitStack() as stack:
        one = stack.enter_context(scene(tmp_path_factory.mktemp("page")))
        page = stack.enter_context(chromium()).new_page(viewport=WIDE, color_scheme="light")
        page.set_default_timeout(20_000)
        shown = Shown(one, page)
        page.on("console", lambda said: said.type == "error" and shown.complaints.append(said.text))
        page.on("pageerror", lambda error: shown.complaints.append(str(error)))
        yield shown


def test_rates(shown: Shown) -> None:
    page = shown.page
    shown.go("rates")
    page.wait_for_selector(".table tbody tr >> text=checkout")
    assert page.locator(".u-wrap canvas").count() == 2
    page.click("th button:has-text('p50')")
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("p50")
    assert shown.rows()[0].startswith("web.checkout")
    page.click("button:has-text('Edges')")
    page.wait_for_selector(".table tbody tr:has-text('orders') >> text=charge")
    page.keyboard.press("/")
    page.keyboard.type("orders charge")
    page.wait_for_selector(".table tbody tr >> nth=1", state="detached")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:has-text('orders → payments.charge: latency')")
    assert "row=" in page.url
    page.click("text=Why it is slow or fails")
    page.wait_for_selector("main section h2:has-text('Failing')")
    assert page.locator("main section").first.locator("a").count() >= 1
    page.go_back()
    page.click("button:has-text('Services')")
    page.wait_for_selector(".table tbody tr:has-text('edge')", state="detached")


def test_graph(shown: Shown) -> None:
    page = shown.page
    shown.go("graph")
    page.wait_for_selector(".node")
    assert {"edge", "web", "orders", "payments", "users"} <= {
        *page.locator(".node .service").all_text_contents()
    }
    assert page.locator("path.edge").count() == page.locator("a.label").count() >= 8
    page.locator("a.node:has-text('payments')").focus()
    assert page.locator("svg.lit .node.near").count() == 2  # itself, and orders
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("#/rates.*q=payments"))


def test_open_calls(shown: Shown) -> None:
    shown.scene.shop.second()
    shown.go("open")
    shown.page.wait_for_selector(".table tbody tr >> text=charge")
    first, second, third = (row.split() for row in shown.rows()[:3])
    assert first[2:4] == ["web.checkout", "orders.place"]
    assert second[2:5] == ["└", "orders.place", "payments.charge"]
    assert third[2:4] == ["└", "payments.charge"] and "nobody" in third
    assert shown.page.inner_text("#open-count") == "9"


def test_what_a_process_says_that_its_calls_wait_for(shown: Shown) -> None:
    """It is asked by the collector, and answers as servers tell of their open calls."""
    trace, about = "ab" * 16, ["thumbs", "box-1", 13, "boot", ""]
    call = {"trace_id": trace, "method": "make", "caller": "api-2:99", "wanted": True, "at": ""}
    pool = {"kind": "worker", "running": 2, "most": 2, "waiting": 31}
    waits = [{"kind": "nothing", "blocks": "a.py:8"}, {"kind": "line", "line": "b.py:7"}, pool]
    rows = [
        {**call, "id": str(number), "span_id": str(number) * 16, "age": 9.0 - number, "waits_for": one}
        for number, one in enumerate(waits)
    ]
    rows[2]["wanted"] = False
    over = threading.Event()

    def answer() -> None:
        with library.connect(f"tcp://127.0.0.1:{shown.scene.port}") as client:
            while not over.is_set():
                asked = client.question(b"p" * 16, about)
                if asked:
                    client.answered(b"p" * 16, asked[0], rows)

    process = threading.Thread(target=answer)
    process.start()
    try:
        shown.go("open?q=thumbs")
        shown.page.wait_for_selector(".table tbody tr >> text=thumbs.make")
        told = [" ".join(row.split()) for row in shown.rows()]
    finally:
        over.set()
        process.join()
    assert told[0].startswith("9.00 s thumbs.make blocks its loop, a.py:8 api-2:99 thumbs@box-1:13")
    assert told[1].startswith("8.00 s thumbs.make b.py:7")
    assert "for nobody: a place in its pool: 2 of 2 run, 31 wait" in told[2]


def test_search_leads_to_a_trace_and_its_traceback(shown: Shown) -> None:
    page = shown.page
    shown.go("traces")
    page.fill("input[name=error]", "CardDeclined")
    page.fill("input[name=service]", "payments")
    page.click("button:has-text('Search')")
    page.wait_for_url(re.compile("error=CardDeclined"))
    page.wait_for_selector(".table tbody tr")
    assert all("CardDeclined" in row for row in shown.rows())
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_selector(".wf-name")
    page.click(".wf-name:has-text('payments.charge')")
    assert "bank.py" in page.inner_text(".traceback")
    assert "hub's queue" in page.inner_text(".parts")
    page.keyboard.press("Escape")
    assert not page.is_visible(".detail")
    with page.expect_download() as waiting:
        page.click("text=Perfetto")
    assert waiting.value.suggested_filename.endswith(".perfetto.json")
    page.keyboard.press("Escape")
    page.wait_for_url(re.compile("#/traces"))


def test_ten_thousand_spans(shown: Shown) -> None:
    page = shown.page
    shown.go(f"trace?id={shown.scene.report}")
    page.wait_for_selector(f".wf-name:has-text('payments.look_up {TIMES}10,000, max ')")
    page.click("text=Unfold all")
    assert page.get_attribute(".wf-scroll", "aria-rowcount") == "10007"
    assert page.locator(".wf-name").count() < 150
    page.keyboard.press("End")
    page.wait_for_selector(".wf-name.chosen:has-text('mail.send')")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute(".wf-scroll", "aria-rowcount") == "1"
    page.keyboard.press("ArrowRight")
    page.fill("input[type=search]", "stock.prices")
    page.wait_for_selector("text=1 spans")
    assert page.locator(".wf-name:visible").all_inner_texts() == ["stock.prices"]
    painted = "(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].some(v => v))"
    assert page.evaluate(f"{painted}(document.querySelector('.wf-bars'))")


def test_names_from_elsewhere_are_text(shown: Shown) -> None:
    page, shop = shown.page, shown.scene.shop
    trace = shop.digits(32)
    now = time()
    times = (now - 1, now - 1, now)
    detail = {"message": HOSTILE, "traceback": HOSTILE, "tags": {HOSTILE: HOSTILE}}
    shop.add("web", Kind.CLIENT, trace, "1" * 16, "", HOSTILE, HOSTILE, times, HOSTILE, detail)
    shop.flush(1.0)
    shown.go(f"trace?id={trace}")
    page.click(f'.wf-name:has-text("{HOSTILE}")')
    assert page.inner_text(".traceback") == HOSTILE
    shown.go("traces?error=*")
    page.wait_for_selector(f".table tbody tr >> text={HOSTILE}")
    assert page.locator("main img").count() == 0
    assert page.title() == "Traces · mesh"


def test_keys_are_told(shown: Shown) -> None:
    page = shown.page
    shown.go("open")
    page.keyboard.press("?")
    assert page.inner_text("#keys").startswith("Keys")
    page.click("#keys button:has-text('Close')")
    page.wait_for_selector("#keys", state="hidden")
    page.keyboard.press("2")
    page.wait_for_url(re.compile("#/graph"))


def test_light_and_dark(shown: Shown) -> None:
    page = shown.page
    theme = "document.documentElement.dataset.theme"
    page.evaluate("localStorage.clear()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]")
    page.keyboard.press("t")
    assert page.evaluate(theme) == "light"
    page.reload()
    assert page.evaluate(theme) == "light"  # as was chosen, whatever the system says


def test_nothing_is_wider_than_a_narrow_screen(shown: Shown) -> None:
    page = shown.page
    page.set_viewport_size(NARROW)
    ready = {
        "rates": ".table tbody tr",
        "rates?by=edge": ".table tbody tr",
        "graph": ".node",
        "open": ".table tbody tr",
        "traces": ".table tbody tr",
        f"trace?id={shown.scene.declined}": ".wf-name",
        "tap": "form",
    }
    for view, what in ready.items():
        shown.scene.shop.second()  # who was silent for long is not shown
        shown.go(view)
        page.wait_for_selector(what)
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"], view
    page.set_viewport_size(WIDE)
    assert shown.complaints == []


def test_a_collector_that_goes_and_comes(shown: Shown, tmp_path: Path) -> None:
    page, port = shown.page, free_port()
    with showing(port, tmp_path) as (_, address):
        page.goto(address)
        page.wait_for_selector(f"#away:has-text('No collector answers at tcp://127.0.0.1:{port}')")
        with collecting(port, tmp_path):
            page.wait_for_selector("#away", state="hidden")
            page.wait_for_selector("#link[data-state=up]")
        page.wait_for_selector("#away:has-text('it goes on by itself')")
    page.wait_for_selector("#away:has-text('The dashboard does not answer')")
