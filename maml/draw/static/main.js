// The page: classes with their examples, a query, and what the server says of it.

import { bestOf, renderAnswer } from "./answer.js";
import { at, make, write } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { EMPTY, Pad } from "./pad.js";
import * as pictures from "./pictures.js";
import { Refusal, ask, send } from "./server.js";
import { chooseLanguage, known, switchLanguage, text } from "./texts.js";

const LETTERS = "ABCDEFGHIJKLMNOPQRST", MOST_SHOTS = 5, MOST_PAST = 100, KEY = "draw-a-few";
const ICONS = {
  choosing: "M3 5h14v11H3zM3 14l4-4 3 3 3-4 4 5M7 8h.01",
  photographing: "M3 6.5h3L7.5 4.5h5L14 6.5h3v9H3zM10 8.2a2.6 2.6 0 1 0 .01 0",
  removing: "M4.5 6h11M8 6V4h4v2M6 6l.7 10h6.6L14 6",
};

let models = [], algorithm = null, classes = [];
let present = null, past = []; // snapshots, the older ones to go back to by Undo
let turn = 0; // counts what was asked; only the latest question is answered
let adapted = null; // the name of what the server has learned, if it is of the present support
let view = { says: "" }; // what is said now: keys of texts and values, or the server's own words

// ---- classes and their pads

function addClass({ name, examples } = {}) {
  const taken = classes.map(one => one.input.value);
  const input = make("input", { value: name ?? [...LETTERS].find(letter => !taken.includes(letter)) ?? "", maxLength: 40, autocomplete: "off" });
  const one = { input, pads: [], drawings: make("div", { className: "drawings" }), tools: {} };
  const tools = make("div", { className: "tools" });
  for (const [key, path] of Object.entries(ICONS)) tools.append(one.tools[key] = tool(path));
  one.tools.choosing.addEventListener("click", () => takePictures(one, pictures.choose({ multiple: true })));
  one.tools.photographing.addEventListener("click", () => takePictures(one, pictures.photograph(at("camera"))));
  one.tools.removing.addEventListener("click", () => removeClass(one));
  input.addEventListener("change", () => { input.value = input.value.trim() || LETTERS[classes.indexOf(one)]; remember(); render(); });
  one.element = make("div", { className: "class" }, make("div", { className: "label" }, input, tools), one.drawings);
  at("classes").append(one.element);
  classes.push(one);
  for (const content of examples ?? []) addPad(one).set(content);
  if (one.pads.length < MOST_SHOTS) addPad(one);
  return one;
}

function tool(path) {
  const button = make("button");
  button.innerHTML = `<svg viewBox="0 0 20 20" aria-hidden="true"><path d="${path}"/></svg>`;
  return button;
}

function addPad(one) {
  const canvas = make("canvas", { tabIndex: 0 }), seen = make("img", { className: "seen", alt: "" });
  canvas.setAttribute("role", "button");
  const holder = make("div", { className: "pad" }, canvas, seen, make("button", { className: "clear", textContent: "×" }));
  one.drawings.append(holder);
  const pad = new Pad(holder, { started: quiet, changed: () => { tidy(one); supportChanged(); } });
  canvas.addEventListener("keydown", event => { if (event.key === "Enter") takePictures(one, pictures.choose({ multiple: true })); });
  one.pads.push(pad);
  return pad;
}

// Leaves one empty pad at the end of a class, where there is room for another example.
function tidy(one) {
  const unused = one.pads.filter(pad => !pad.used);
  for (const pad of unused.slice(0, -1)) { pad.holder.remove(); one.pads.splice(one.pads.indexOf(pad), 1); }
  if (!unused.length && one.pads.length < MOST_SHOTS) addPad(one);
}

function removeClass(one) {
  one.element.remove();
  classes = classes.filter(other => other !== one);
  supportChanged();
  at("more").focus();
}

const nameOf = one => one.input.value;
const most = () => models.find(model => model.algorithm === algorithm)?.most ?? 2;

// ---- what is remembered: for Undo, and over a reload

function snapshot() {
  return {
    algorithm,
    classes: classes.map(one => ({ name: nameOf(one), examples: one.pads.filter(pad => pad.used).map(pad => pad.content) })),
    query: query.content,
  };
}

function restore(state) {
  for (const one of classes) one.element.remove();
  classes = [];
  for (const one of state.classes) addClass(one);
  while (classes.length < 2) addClass();
  query.set(state.query);
  const serving = models.filter(model => model.most >= classes.length).map(model => model.algorithm);
  algorithm = [state.algorithm, algorithm, serving[0]].find(each => serving.includes(each)) ?? algorithm;
  adapted = null;
}

function remember() {
  if (present) past = [...past, present].slice(-MOST_PAST);
  keep();
}

function keep() {
  present = snapshot();
  try { localStorage.setItem(KEY, JSON.stringify(present)); } catch { note("unsaved"); }
}

function kept() {
  try { return JSON.parse(localStorage.getItem(KEY)); } catch { return null; } // closed, or of another version
}

function undo() {
  if (!past.length) return;
  restore({ ...past.pop(), algorithm });
  keep();
  think();
}

// ---- asking the server

function supportChanged() {
  adapted = null;
  remember();
  think();
}

// A stroke has begun: what was said is of another drawing, and an answer that comes now is, too.
function quiet() {
  turn++;
  tell({ says: "" });
}

async function think() {
  const now = ++turn, stale = () => now !== turn;
  const waiting = { stale, unreachable: () => tell({ says: "", trouble: ["unreachable"] }) };
  const missing = classes.filter(one => !one.pads.some(pad => pad.used && !pad.refused));
  if (missing.length) { tell({ says: ["missing", { names: missing.map(nameOf) }] }); return; }
  try {
    if (!adapted) await teach(waiting);
    if (stale()) return;
    if (!query.used) { tell({ says: "learned" }); return; }
    tell({ says: "" });
    const said = await classify(waiting);
    if (!stale()) tell({ said });
  } catch (error) {
    if (stale()) return;
    const { reason, refused } = error.said ?? {};
    if (refused) { adapted = null; mark(refused); think(); return; }
    if (reason) query.refuse(reason);
    tell({ says: "", trouble: words(error, "query") });
  }
}

async function teach(waiting) {
  tell({ says: "learning" });
  const used = classes.map(one => one.pads.filter(pad => pad.used));
  const support = await Promise.all(used.map(pads => Promise.all(pads.map(pad => pad.url()))));
  const said = await ask("adapt", { algorithm, support }, waiting);
  if (waiting.stale()) return;
  adapted = said.adapted;
  used.flat().forEach((pad, i) => pad.see(said.seen.flat()[i]));
  mark(said.refused, used);
}

// Asks about the query; what the server has forgotten, or never knew since it was started again, is
// taught again first.
async function classify(waiting) {
  const drawn = await query.url();
  try {
    return await ask("classify", { adapted, query: drawn }, waiting);
  } catch (error) {
    if (!error.said?.forgotten || waiting.stale()) throw error;
    await teach(waiting);
    return ask("classify", { adapted, query: drawn }, waiting);
  }
}

function mark(refused, used = classes.map(one => one.pads.filter(pad => pad.used))) {
  for (const pad of used.flat()) pad.refuse(null);
  for (const one of refused) used[one.class][one.drawing].refuse(one.reason);
}

// An error's text and values; the server's own words where it gives no reason that is known here.
function words(error, what) {
  const reason = error.said?.reason;
  if (known(reason)) return [reason, { what: [what] }];
  return [null, error.message];
}

// ---- pictures

async function takePictures(one, chosen) {
  try { await addPictures(one, await chosen); } catch (error) { note("noCamera", { why: error.message }); }
}

// Puts pictures into pads: of a class, or the last one as the query where `one` is null.
async function addPictures(one, files) {
  if (!files.length) return;
  const now = ++turn;
  tell({ says: "reading" });
  const troubles = [];
  for (const file of files) {
    const pad = one ? one.pads.find(each => !each.used) : query;
    if (!pad) { troubles.push(["full", { name: nameOf(one), most: MOST_SHOTS }]); break; }
    try {
      const waiting = { stale: () => now !== turn, unreachable: () => note("unreachable") };
      const { drawing } = await ask("picture", { picture: await pictures.dataUrl(file) }, waiting);
      pad.set({ ...EMPTY, picture: drawing });
      await pad.loaded;
      if (one) { tidy(one); adapted = null; }
    } catch (error) { troubles.push(words(error, "picture")); }
  }
  remember();
  await think();
  if (troubles.length) note(...troubles[0]);
}

const imagesOf = transfer => pictures.images(transfer?.files ?? []);
const classOf = element => classes.find(one => one.element.contains(element)) ?? null;

function drop(event) {
  const place = event.target.closest?.(".class, #asked");
  document.querySelectorAll(".over").forEach(element => element.classList.remove("over"));
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault(); // else the browser would leave the page for the picture
  const zip = event.type === "drop" && [...event.dataTransfer.files].find(pictures.isZip);
  if (zip) openZip(zip);
  else if (event.type === "drop" && place) addPictures(classOf(place), imagesOf(event.dataTransfer));
  if (event.type === "dragover") place?.classList.add("over");
}

async function download() {
  const drawn = classes.filter(one => one.pads.some(pad => pad.used));
  const support = await Promise.all(drawn.map(one => Promise.all(one.pads.filter(pad => pad.used).map(pad => pad.url()))));
  try {
    const answer = await send("support.zip", { names: drawn.map(nameOf), support });
    if (!answer.ok) throw new Refusal(await answer.json());
    const link = make("a", { href: URL.createObjectURL(await answer.blob()), download: "support.zip" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1e4);
  } catch (error) { note(null, error.message); }
}

// Learns the support of a zip in the place of the present one, which Undo brings back.
async function openZip(file) {
  const now = ++turn, waiting = { stale: () => now !== turn, unreachable: () => note("unreachable") };
  tell({ says: "unpacking" });
  try {
    const { names, drawings, refused } = await ask("unpack", { zip: await pictures.asItIs(file) }, waiting);
    if (waiting.stale()) return;
    const examples = drawings.map(urls => urls.map(picture => ({ ...EMPTY, picture })));
    restore({ ...snapshot(), classes: names.map((name, k) => ({ name, examples: examples[k] })) });
    remember();
    await think();
    if (refused.length) note("skipped", { files: refused.map(one => one.file) });
  } catch (error) { if (!waiting.stale()) tell({ says: "", trouble: [null, error.message] }); }
}

// ---- what is shown

function tell(told) { view = told; render(); }

function note(key, values) { view = { ...view, trouble: [key, values] }; render(); }

function sentence(key, values) {
  if (key === null) return values;
  const what = values?.what && text(...values.what);
  return text(key, { ...values, ...(what && { what }) });
}

function render() {
  const drawn = classes.some(one => one.pads.some(pad => pad.used));
  at("more").disabled = classes.length >= most();
  at("undo").disabled = at("undoquery").disabled = !past.length;
  at("fill").hidden = drawn || query.used || most() < EXAMPLES.classes.length;
  at("download").disabled = classes.filter(one => one.pads.some(pad => pad.used)).length < 2;
  for (const button of at("algorithms").children) {
    const model = models.find(each => each.algorithm === button.value);
    button.textContent = text(button.value);
    button.setAttribute("aria-pressed", button.value === algorithm);
    button.disabled = model.most < classes.length;
    button.title = text("upTo", model);
  }
  at("about").textContent = algorithm ? text(`about${algorithm[0].toUpperCase()}${algorithm.slice(1)}`) : "";
  classes.forEach(renderClass);
  const state = text(query.refused ? "refused" : query.used ? "drawn" : "empty");
  query.canvas.setAttribute("aria-label", text("padQuery", { state }));
  query.holder.dataset.hint = text("hereQuery");
  renderRefusals();
  write(at("says"), view.said ? verdict(view.said) : view.says ? text(...[view.says].flat()) : "");
  write(at("trouble"), view.trouble ? sentence(...view.trouble) : "");
  renderAnswer(view.said, classes.map(one => ({ name: nameOf(one), pad: one.pads.find(pad => pad.used && !pad.refused) })));
}

function verdict(said) {
  return said.none ? text("none") : text("answer", { name: nameOf(classes[bestOf(said)]) });
}

function renderClass(one) {
  const name = nameOf(one);
  one.input.setAttribute("aria-label", text("name"));
  for (const [key, button] of Object.entries(one.tools)) {
    button.title = text(key, { name });
    button.setAttribute("aria-label", button.title);
  }
  one.tools.removing.hidden = classes.length <= 2;
  one.pads.forEach((pad, i) => {
    const state = text(pad.refused ? "refused" : pad.used ? "drawn" : "empty"), number = i + 1;
    pad.canvas.setAttribute("aria-label", text("pad", { number, name, state }));
    pad.holder.querySelector(".clear").setAttribute("aria-label", text("clear", { number, name }));
    pad.holder.dataset.hint = text("here");
  });
}

function renderRefusals() {
  const sentences = classes.flatMap(one => one.pads.flatMap((pad, i) =>
    pad.refused ? [text(pad.refused, { what: text("example", { number: i + 1, name: nameOf(one) }) })] : []));
  at("refusals").replaceChildren(...sentences.map(each => make("div", { textContent: each })));
}

// ---- the start

chooseLanguage();
const query = new Pad(at("querypad"), { started: quiet, changed: () => { remember(); think(); } });
query.canvas.addEventListener("keydown", event => { if (event.key === "Enter") takePictures(null, pictures.choose()); });

at("language").addEventListener("click", () => { switchLanguage(); render(); });
at("more").addEventListener("click", () => { addClass().input.focus(); supportChanged(); });
at("undo").addEventListener("click", undo);
at("undoquery").addEventListener("click", undo);
at("fill").addEventListener("click", () => {
  restore({ algorithm, classes: EXAMPLES.classes.map((examples, k) => ({ name: LETTERS[k], examples })), query: EXAMPLES.query });
  supportChanged();
});
at("again").addEventListener("click", () => { restore({ algorithm, classes: [], query: EMPTY }); supportChanged(); });
at("download").addEventListener("click", download);
at("open").addEventListener("click", async () => {
  const [zip] = await pictures.choose({ accept: ".zip" });
  if (zip) openZip(zip);
});
at("choose").addEventListener("click", () => takePictures(null, pictures.choose()));
at("photograph").addEventListener("click", () => takePictures(null, pictures.photograph(at("camera"))));
at("take").addEventListener("click", () => at("camera").close("take"));
at("leave").addEventListener("click", () => at("camera").close());
at("see").addEventListener("click", () => at("see").setAttribute("aria-pressed", document.body.classList.toggle("seeing")));
for (const type of ["dragover", "dragleave", "drop"]) document.addEventListener(type, drop);
document.addEventListener("paste", event => {
  const files = imagesOf(event.clipboardData);
  if (files.length) { event.preventDefault(); addPictures(classOf(document.activeElement), files); }
});
document.addEventListener("keydown", event => {
  const isUndo = (event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z";
  if (isUndo && document.activeElement.tagName !== "INPUT") { event.preventDefault(); undo(); }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const pad of [query, ...classes.flatMap(one => one.pads)]) pad.paint();
  render();
});

try {
  models = await ask("models", null, { unreachable: () => note("unreachable") });
  algorithm = models[0].algorithm;
  at("algorithms").append(...models.map(model => {
    const button = make("button", { value: model.algorithm });
    button.addEventListener("click", () => { algorithm = model.algorithm; adapted = null; keep(); think(); });
    return button;
  }));
  const state = kept();
  try { restore(state ?? { classes: [], query: EMPTY }); } catch { restore({ classes: [], query: EMPTY }); }
  present = snapshot();
  think();
} catch (error) { note(null, error.message); }
