"""The page in a browser: its server, and what a user sees and does."""

import json

from browsing import eventually, stroke

from maml.draw.server import create

BAR = [(0.5, 0.15), (0.52, 0.5), (0.5, 0.85)]
RING = [(0.5, 0.2), (0.8, 0.4), (0.7, 0.8), (0.3, 0.8), (0.2, 0.4), (0.5, 0.2)]
ZIGZAG = [(0.06 + 0.88 * ((i + 1) // 2 % 2), 0.06 + 0.88 * (i // 2) / 16) for i in range(34)]
LEARNED = "It has learned. Draw one of them here."


class Server:
    """The page's server, which can be started again: it has forgotten everything then."""

    def __init__(self, models):
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *said):
                pass

        self.models = models
        self.restart()
        self.server = make_server(
            "127.0.0.1", 0, lambda *call: self.app(*call), threaded=True, request_handler=Quiet
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def restart(self):
        self.app = create(self.models)


class Page:
    """What a user sees and does."""

    def __init__(self, browser, url):
        self.browser, self.url = browser, url

    def open(self):
        self.browser.get(self.url)
        eventually(lambda: self.all("#algorithms button"))
        return self

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector):
        return self.browser.find_element("css selector", selector)

    def text(self, name):
        return self.one(f"#{name}").text

    def says(self, words, name="says"):
        eventually(lambda: words in self.text(name), 20)

    def pad(self, k, number=0):
        return self.all(".class")[k].find_elements("css selector", ".pad")[number]

    def draw(self, k, points, number=0):
        stroke(self.browser, self.pad(k, number).find_element("css selector", "canvas"), points)

    def ask(self, points):
        stroke(self.browser, self.one("#query"), points)

    def click(self, selector):
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.one(selector))
        self.one(selector).click()

    def run(self, code, *arguments):
        return self.browser.execute_script(code, *arguments)

    def state(self):
        """What is kept over a reload."""
        return json.loads(self.run("return localStorage['draw-a-few'] ?? 'null'"))

    def cdp(self, name, **parameters):
        return self.browser.execute_cdp_cmd(name, parameters)

    def teach(self):
        """As if a bar and a ring had been drawn before a reload."""
        flat = ([v for point in points for v in point] for points in (BAR, RING))
        drawn = [{"strokes": [stroke], "picture": None} for stroke in flat]
        classes = [{"name": name, "examples": [each]} for name, each in zip("AB", drawn)]
        state = {"classes": classes, "query": {"strokes": [], "picture": None}}
        self.run("localStorage['draw-a-few'] = arguments[0]", json.dumps(state))
        self.open().says(LEARNED)
        return self
