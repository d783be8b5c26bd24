"""A headless Chromium for tests of what a browser makes of a page."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def open_browser() -> "Iterator[Any]":
    """Give a driver of Debian's Chromium, and skip the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="driving a browser takes selenium")
    if not (shutil.which("chromium") and (service := shutil.which("chromedriver"))):
        pytest.skip("no chromium and chromedriver on this machine (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    driver.set_script_timeout(20)
    try:
        yield driver
    finally:
        driver.quit()


def set_window(driver: Any, *, width: int, height: int = 900, dark: bool = False, media: str = "") -> None:
    """Give the page a window of this size in pixels, and colours that the system is said to prefer."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})


def wait_for(driver: Any, condition: str, seconds: float = 20) -> Any:
    """Give the value of a JavaScript expression once it is true."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(driver, seconds, poll_frequency=0.05).until(
        lambda _: driver.execute_script(f"return {condition}"), f"never true: {condition}"
    )


def go_to_run(driver: Any, run_id: int, charts: int) -> None:
    """Open the page of a run in a report, and see that it draws so many charts."""
    driver.execute_script(f"location.hash = 'run-{run_id}'")
    wait_for(driver, f"document.getElementById('run-page').dataset.run === '{run_id}'")
    for place in range(charts):  # each chart is drawn once it comes near the window
        scroll = "document.querySelectorAll('#run-charts .plot')[arguments[0]].scrollIntoView({behavior: 'instant'})"
        driver.execute_script(scroll, place)
        wait_for(driver, f"Charts.drawn.size > {place}")
    assert driver.execute_script("return Charts.drawn.size") == charts


def console(driver: Any) -> list[str]:
    """Give what the page said on the console since the last call, violations of its policy included."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requests(driver: Any) -> list[str]:
    """Give the addresses that the browser asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
