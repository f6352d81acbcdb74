"""The page to draw on in a real browser, with weights that come with the project."""

import pytest
from browsing import eventually, in_a_browser, stroke
from paged import BAR, LEARNED, RING, ZIGZAG

pytestmark = in_a_browser


def phone(page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.cdp("Emulation.setDeviceMetricsOverride", **size)
    page.cdp("Emulation.setTouchEmulationEnabled", enabled=True)
    return page.open()


def test_two_classes_are_drawn_and_a_query_is_told_by_each_method(page):
    page.says("Draw an example of A, B")
    names = [button.text for button in page.all("#algorithms button")]
    assert names == ["MAML", "Reptile", "Prototypical networks"]
    page.draw(0, BAR)
    page.draw(1, RING)
    page.says(LEARNED)
    for points, letter in ((BAR, "A"), (RING, "B")):
        page.ask(points)
        for method in page.all("#algorithms button"):
            page.run("arguments[0].click()", method)
            page.says(f"This is {letter}.")
            assert page.text("about").startswith(method.text)
        page.click("#querypad .clear")
    page.click("#again")
    page.says("Draw an example of A, B")


def test_it_fits_a_phone(page):
    phone(page)
    page.draw(0, BAR)
    page.draw(1, RING)
    page.says(LEARNED)
    page.ask(RING)
    page.says("This is B.")
    assert len(page.all("#chances .row")) == 2
    assert page.one("#view img").get_attribute("src").startswith("data:image/png")
    width, shown = page.run("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= shown  # nothing sticks out


def test_a_finger_draws_on_a_pad_and_scrolls_beside_it(page):
    phone(page).teach()
    place = """arguments[0].scrollIntoView({block: "center"});
    const box = arguments[0].getBoundingClientRect();
    return [box.left + box.width / 2, box.top + 30, window.scrollY]"""
    x, y, scrolled = page.run(place, page.one("#query"))

    def swipe(x):
        for kind, way in (("Start", 0), ("Move", 50), ("Move", 100), ("Move", 150)):
            touch = [{"x": x, "y": y + way}]
            page.cdp("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=touch)
        page.cdp("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        return page.run("return window.scrollY"), len(page.state()["query"]["strokes"])

    assert scrolled > 150
    assert swipe(x) == (scrolled, 1)
    scrolled_beside, strokes = swipe(3)
    assert scrolled_beside < scrolled and strokes == 1


def test_an_example_that_cannot_be_used_is_marked_and_the_others_are_learned(page):
    page.teach()
    page.draw(1, ZIGZAG, number=1)
    page.says("Example 2 of B is too dense", "refusals")
    assert "refused" in page.pad(1, 1).get_attribute("class") and len(page.all(".refused")) == 1
    page.says(LEARNED)
    page.ask(BAR)
    page.says("This is A.")
    page.pad(1, 1).find_element("css selector", ".clear").click()
    page.says("This is A.")
    assert not page.all(".refused") and page.text("refusals") == ""


def test_a_class_without_a_usable_example_is_asked_for(page):
    page.draw(0, BAR)
    page.draw(1, ZIGZAG)
    page.says("Example 1 of B is too dense", "refusals")
    page.says("Draw an example of B.")


def test_a_query_that_cannot_be_used_has_no_answer(page):
    page.teach().ask(BAR)
    page.says("This is A.")
    page.ask(ZIGZAG)
    page.says("Your drawing is too dense", "trouble")
    assert page.text("says") == "" and not page.all("#chances .row")
    page.click("#querypad .clear")
    page.says(LEARNED)
    assert page.text("trouble") == ""


def test_an_answer_that_comes_too_late_is_not_shown(page):
    page.teach()
    page.run(
        """const asked = window.fetch; window.answers = 0;
        window.fetch = async (...call) => {
          const answer = await asked(...call);
          await new Promise(resolve => setTimeout(resolve, 700));
          window.answers++;
          return answer;
        }"""
    )
    page.ask(BAR)
    page.click("#querypad .clear")
    eventually(lambda: page.run("return window.answers") == 1)
    assert page.text("says") == LEARNED and not page.all("#chances .row")


def test_a_support_that_the_server_forgot_is_taught_again(page, server):
    page.teach()
    server.restart()
    page.ask(RING)
    page.says("This is B.")
    assert page.text("trouble") == ""


def test_the_page_waits_for_a_server_that_is_away(page):
    page.teach()
    page.cdp("Network.enable")
    away = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.cdp("Network.emulateNetworkConditions", offline=True, **away)
    page.ask(RING)
    page.says("The server does not answer", "trouble")
    page.cdp("Network.emulateNetworkConditions", offline=False, **away)
    page.says("This is B.")
    assert page.text("trouble") == ""
    page.browser.get_log("browser")  # the browser has complained of it, rightly


def test_drawings_names_and_method_outlive_a_reload(page):
    page.teach().ask(BAR)
    page.one(".class input").send_keys("house\n")
    page.click("#algorithms button[value=protonet]")
    page.says("This is Ahouse.")
    page.open()
    page.says("This is Ahouse.")
    assert page.one("[aria-pressed=true]").get_attribute("value") == "protonet"


def test_undo_takes_back_strokes_clearing_removal_and_starting_again(page):
    page.teach()
    page.draw(0, [(0.2, 0.5), (0.8, 0.5)])
    assert [len(d["strokes"]) for d in page.state()["classes"][0]["examples"]] == [2]
    page.click("#undo")
    assert [len(d["strokes"]) for d in page.state()["classes"][0]["examples"]] == [1]
    taught = page.state()
    page.pad(0).find_element("css selector", ".clear").click()
    page.says("Draw an example of A.")
    page.click("#undo")
    assert page.state() == taught
    page.click("#more")
    page.all(".tools button[aria-label='Remove A']")[0].click()
    assert [one["name"] for one in page.state()["classes"]] == ["B", "C"]
    page.click("#undo")
    page.click("#undo")
    assert page.state() == taught
    page.click("#again")
    page.run("document.activeElement.blur()")
    page.one("body").send_keys("\ue009z")  # Ctrl and Z
    assert page.state() == taught
    page.says(LEARNED)


def test_the_right_button_does_not_draw(page):
    stroke(page.browser, page.one("#query"), BAR, button="right")
    page.draw(0, BAR)
    assert page.state()["query"]["strokes"] == []
    assert len(page.state()["classes"][0]["examples"]) == 1


def test_strokes_are_smooth_and_take_the_points_between_two_frames(page):
    from selenium.webdriver import ActionChains

    canvas = page.one("#query")
    hand = ActionChains(page.browser).move_to_element_with_offset(canvas, -100, 100)
    hand.click_and_hold().perform()
    page.run(
        """const [canvas] = arguments, box = canvas.getBoundingClientRect(), name = "pointermove";
        const at = (x, y) => new PointerEvent(name,
          { clientX: box.left + x * box.width, clientY: box.top + y * box.height });
        const coalescedEvents = [at(.3, .3), at(.5, .1), at(.7, .3)];
        canvas.dispatchEvent(new PointerEvent(name, { coalescedEvents }))""",
        canvas,
    )
    ActionChains(page.browser).release().perform()
    (points,) = page.state()["query"]["strokes"]
    assert points[2:8] == pytest.approx([0.3, 0.3, 0.5, 0.1, 0.7, 0.3], abs=0.01)

    def inked(y):
        return page.run(
            """const [{ width }, y] = arguments, place = [.5, y].map(v => Math.round(v * width));
            return arguments[0].getContext("2d").getImageData(...place, 1, 1).data[3] > 200""",
            canvas,
            y,
        )

    assert inked(0.15) and not inked(0.1)  # a curve, no corner


def test_the_network_sees_what_is_shown(page):
    page.teach()
    assert not page.pad(0).find_element("css selector", ".seen").is_displayed()
    page.click("#see")
    shown = page.pad(0).find_element("css selector", ".seen")
    assert shown.is_displayed() and page.run("return arguments[0].naturalWidth", shown) == 28
    assert not page.pad(0, 1).find_element("css selector", ".seen").is_displayed()


def test_chinese_by_the_browser_and_by_the_switch(page):
    agent = page.run("return navigator.userAgent")
    page.cdp("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage="zh-CN,en")
    try:
        page.open().says("请画出 A、B 的样本。")
        assert page.run("return document.documentElement.lang") == "zh-CN"
        page.click("#language")
        page.says("Draw an example of A, B.")
        page.open().says("Draw an example of A, B.")  # the choice is kept
    finally:
        page.cdp("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage="en-US")


def test_both_languages_say_the_same_things(page):
    said = page.run(
        """const values = text => (text.match(/{\\w+}/g) ?? []).sort();
        return import("./static/texts.js").then(({ TEXTS }) => Object.values(TEXTS).map(texts =>
          Object.entries(texts).map(([key, text]) => [key, ...values(text)])))"""
    )
    english, chinese = ({key: values for key, *values in texts} for texts in said)
    assert english == chinese


def test_it_is_dark_where_the_user_wants_it_and_sends_the_same(page):
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    page.cdp("Emulation.setEmulatedMedia", features=[dark])
    light = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert max(page.run(light)) < 60
    page.teach().ask(RING)
    page.says("This is B.")
    page.run("document.querySelector('#view img').style.filter = 'none'")
    assert (
        page.run(
            """const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
        pen.drawImage(document.querySelector("#view img"), 0, 0);
        return pen.getImageData(0, 0, 1, 1).data[0]"""
        )
        == 255
    )  # paper is white for the network


def test_everything_has_a_name_and_the_keyboard_reaches_it(page):
    page.teach().ask(BAR)
    page.says("This is A.")
    nodes = page.cdp("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if not node["ignored"] and "name" in node]
    acting = [node for node in shown if node["role"]["value"] in ("button", "textbox")]
    names = [node["name"]["value"] for node in acting]
    assert len(names) > 15 and all(len(name) > 1 for name in names)
    assert page.one("#says").get_attribute("aria-live") == "polite"
    assert any("Example 1 of A, drawn" in name for name in names)
    canvas = page.one("#query")
    page.run("arguments[0].focus()", canvas)
    canvas.send_keys("\ue017")  # Delete
    page.says(LEARNED)
    canvas.send_keys("\ue009z")
    page.says("This is A.")


def test_a_finger_finds_its_targets(page):
    phone(page).teach()
    small = """return [...document.querySelectorAll("button, .label input")].filter(each => {
        const { width, height } = each.getBoundingClientRect();
        return width && (width < 44 || height < 44);
    }).map(each => each.outerHTML)"""
    assert page.run(small) == []
    overlaps = """const box = each => each.getBoundingClientRect();
    const pads = [...document.querySelectorAll(".pad canvas")].map(box);
    return [...document.querySelectorAll(".clear")].map(box).filter(a => pads.some(b =>
        a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length"""
    assert page.run(overlaps) == 0


def test_examples_are_filled_in_for_those_who_invent_none(page):
    page.click("#fill")
    page.says("This is A.")
    assert len(page.all(".class")) == 3 and not page.one("#fill").is_displayed()
