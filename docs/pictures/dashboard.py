"""Makes the pictures of docs/dashboard.md: `python docs/pictures/dashboard.py`, from the project's folder.

It runs a collector, a dashboard and a browser, and takes some 80 seconds: so long does the shop sell, whose
rates are shown. Needs Chromium and playwright.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.helpers.browser import chromium  # noqa: E402  # the path above leads to tests
from tests.tracing.dashboard.serving import scene  # noqa: E402  # the path above leads to tests

SECONDS = 70
SIZE = {"width": 1280, "height": 760}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, scene(Path(folder)) as shown, chromium() as browser:
        for number in range(SECONDS):
            began = time.monotonic()
            # Mornings are quiet, and at noon there is a sale.
            shown.shop.second(checkouts=16 + abs(number % 40 - 20))
            time.sleep(max(1.0 - (time.monotonic() - began), 0.0))
        # name: (view, theme, what is there once it is drawn, what is clicked then)
        pictures = {
            "rates-light": (
                "rates",
                "light",
                ".table tbody tr",
                ".table tr:has-text('payments') >> text=charge",
            ),
            "rates-dark": ("rates", "dark", ".table tbody tr", ""),
            "graph": ("graph", "light", ".node", ""),
            "open": ("open", "light", ".table tbody tr", ""),
            "trace": (
                f"trace?id={shown.declined}",
                "light",
                ".wf-name",
                ".wf-name:has-text('payments.charge')",
            ),
            "trace-dark": (f"trace?id={shown.report}", "dark", ".wf-name", ""),
        }
        for name, (view, theme, ready, click) in pictures.items():
            page = browser.new_page(viewport=SIZE, color_scheme=theme)
            page.goto(f"{shown.page}#/{view}")
            page.wait_for_selector(ready)
            if click:
                page.click(click)
            shown.shop.second()
            page.wait_for_timeout(1_500)
            page.screenshot(path=HERE / f"dashboard-{name}.png")
            page.close()


if __name__ == "__main__":
    main()
