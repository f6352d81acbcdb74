"""Pictures and zips on the page in a real browser."""

import base64
import io
import zipfile

import pytest
from browsing import eventually, in_a_browser
from drawn import CROSS, DENSE
from paged import BAR, LEARNED, RING

from maml.data import pictures
from maml.data.form import Form

pytestmark = in_a_browser


FILE = """
const [selector, url] = arguments, data = new DataTransfer();
const bytes = Uint8Array.from(atob(url.split(",")[1]), c => c.charCodeAt(0));
const [, type] = url.match(/^data:(.*);/), end = type.split("/")[1];
data.items.add(new File([bytes], `a.${end}`, { type }));
const element = document.querySelector(selector);
"""
DROP = FILE + "element.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }));"
PASTE = (
    FILE
    + """
element.focus();
document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
"""
)
CHOOSE = (
    FILE
    + """
HTMLInputElement.prototype.click = function () {
  this.files = data.files;
  this.dispatchEvent(new Event("change"));
};
element.click();
"""
)


def test_the_download_is_the_folder_that_the_support_flag_takes(page, tmp_path):
    page.teach()
    page.one(".class input").send_keys("鱼")
    page.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click("#download")
    file = tmp_path / "support.zip"
    eventually(file.exists)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "mine")
    read = pictures.read_support(pictures.classes(tmp_path / "mine"), Form(28))
    assert read.classes == ["A鱼", "B"] and read.y.tolist() == [0, 1] and not read.skipped


@pytest.mark.parametrize("by, element", [(DROP, "h1"), (CHOOSE, "#open")], ids=["drop", "choose"])
def test_the_download_is_learned_again_as_it_was(page, by, element):
    """In the place of what was drawn meanwhile, which Undo brings back."""
    page.teach().ask(RING)
    page.says("This is B.")
    page.one(".class input").send_keys("鱼\n")
    chances = page.text("chances")
    downloaded = page.run(
        """const made = URL.createObjectURL, click = HTMLAnchorElement.prototype.click;
        return new Promise(resolve => {
          HTMLAnchorElement.prototype.click = () => {};
          URL.createObjectURL = blob => {
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result);
            reader.readAsDataURL(blob);
            [URL.createObjectURL, HTMLAnchorElement.prototype.click] = [made, click];
            return made(blob);
          };
          document.querySelector("#download").click();
        })"""
    )
    page.click("#more")
    page.pad(0).find_element("css selector", ".clear").click()
    page.says("Draw an example of A鱼, A.")
    other = page.state()
    page.run(by, element, downloaded)
    page.says("This is B.")
    assert [one["name"] for one in page.state()["classes"]] == ["A鱼", "B"]
    assert page.text("chances") == chances and page.text("trouble") == ""
    page.click("#undo")
    assert page.state() == other


def test_what_cannot_be_used_of_a_zip_is_named(page):
    page.teach()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for name, url in (("鱼/1.png", CROSS), ("鱼/2.png", DENSE), ("b/1.png", CROSS)):
            written.writestr(name, base64.b64decode(url.partition(",")[2]))
    text = base64.b64encode(content.getvalue()).decode()
    page.run(DROP, "#query", f"data:application/zip;base64,{text}")
    page.says("These show no character that could be read: 鱼/2.png.", "trouble")
    assert [len(one["examples"]) for one in page.state()["classes"]] == [1, 1]
    kept = page.state()
    page.run(DROP, "#query", f"data:application/zip;base64,{text[:80]}")
    page.says("the zip cannot be read", "trouble")
    assert page.state() == kept


@pytest.mark.parametrize("by", [DROP, PASTE], ids=["drop", "paste"])
def test_pictures_are_taken_where_they_are_dropped_or_pasted(page, by):
    page.run(by, ".class:nth-child(2) canvas", CROSS)
    eventually(lambda: page.state() and page.state()["classes"][1]["examples"])
    page.draw(0, BAR)
    page.says(LEARNED)
    page.run(by, "#query", CROSS)
    page.says("This is B.")
    assert page.state()["query"]["picture"].startswith("data:image/png")
    page.run(by, "#query", DENSE)
    page.says("The picture is too dense", "trouble")


def test_a_photograph_is_taken_by_the_camera(page):
    """The browser's stand-in for one, which shows no character that could be relied on."""
    page.click("#photograph")
    eventually(lambda: page.run("return document.querySelector('video').videoWidth > 0"))
    page.click("#take")
    eventually(lambda: page.all("#querypad.used") or page.text("trouble"))
    assert not page.one("#camera").is_displayed()
    assert page.run("return document.querySelector('video').srcObject") is None
