// What the server says of the query: a bar for each class, and a table of the update steps.

import { at, make } from "./dom.js";
import { text } from "./texts.js";

const THUMBNAIL = 56; // pixels

// `said` is the server's answer, or undefined where there is none yet; `classes` have a name, and a
// pad that shows an example.
export function renderAnswer(said, classes) {
  at("view").hidden = !said;
  at("steps").hidden = !said || said.steps.length < 2;
  at("chances").replaceChildren();
  if (!said) return;
  at("view").querySelector("img").src = said.seen;
  const chances = said.steps.at(-1), best = said.none ? -1 : bestOf(said);
  at("chances").append(...classes.map((one, k) => row(one, chances[k], k === best)));
  at("steps").lastElementChild.replaceChildren(table(said.steps, classes));
}

export function bestOf(said) {
  const chances = said.steps.at(-1);
  return chances.indexOf(Math.max(...chances));
}

function row(one, chance, best) {
  const example = make("canvas", { width: THUMBNAIL, height: THUMBNAIL }), part = make("div", { className: "part" });
  example.setAttribute("aria-hidden", "true");
  part.style.width = `${100 * chance}%`;
  const element = make("div", { className: best ? "row best" : "row" }, example, make("span", { className: "who", textContent: one.name }),
    make("div", { className: "full" }, part), make("span", { textContent: `${(100 * chance).toFixed(1)}%` }));
  element.setAttribute("role", "listitem");
  one.pad?.drawTo(example, getComputedStyle(one.pad.canvas).color);
  return element;
}

function table(steps, classes) {
  const head = make("tr", {}, make("th", { textContent: text("step") }), ...classes.map(one => make("th", { textContent: one.name })));
  const rows = steps.map((chances, step) => make("tr", {}, make("td", { textContent: step }), ...chances.map(cell)));
  return make("table", {}, head, ...rows);
}

function cell(chance) {
  const element = make("td", { textContent: `${(100 * chance).toFixed(0)}%` });
  element.style.setProperty("--p", chance);
  return element;
}
