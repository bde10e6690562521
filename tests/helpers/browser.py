"""A real Chromium without a window, for pages that people look at."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.helpers.requirements import lacking

ARGUMENTS = (
    "--no-sandbox",  # in a container there are no namespaces to make one of
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def require_chromium() -> str:
    """The path of chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        lacking("Chromium is not installed: on Debian, apt-get install chromium")
    if importlib.util.find_spec("playwright") is None:
        lacking("playwright is not installed: pip install playwright")
    return program


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, as playwright has it."""
    program = require_chromium()
    from playwright.sync_api import sync_playwright

    # Its driver asks a proxy for 127.0.0.1 otherwise, where the environment names one.
    os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
