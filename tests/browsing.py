"""A headless Chromium, and what a hand does in it."""

import shutil
import time

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
in_a_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no Chromium: install Debian's chromium and chromium-driver",
    ),
]
QUIET = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-proxy-server",
    "--window-size=1200,900",
    "--use-fake-device-for-media-stream",  # a camera that needs none
    "--use-fake-ui-for-media-stream",
]


def start_browser(profile):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in [*QUIET, "--lang=en-US", f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


def eventually(condition, seconds=60.0):
    """What `condition` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)
    return found


def stroke(browser, canvas, points, button="left"):
    """Draw a line through points given in shares of the canvas."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.mouse_button import MouseButton

    width, height = canvas.size["width"], canvas.size["height"]
    places = [(round((x - 0.5) * width), round((y - 0.5) * height)) for x, y in points]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    pen = ActionChains(browser, duration=20).move_to_element_with_offset(canvas, *places[0])
    number = MouseButton.RIGHT if button == "right" else MouseButton.LEFT
    pen.w3c_actions.pointer_action.pointer_down(button=number)
    for place in places[1:]:
        pen.move_to_element_with_offset(canvas, *place)
    pen.w3c_actions.pointer_action.pointer_up(button=number)
    pen.perform()
