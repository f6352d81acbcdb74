// A field that is drawn on by mouse, pen or touch, or that holds a picture's ink.
//
// What it holds never changes in place: { strokes: [[x, y, x, y, ...], ...], picture }, coordinates
// in shares of its side, the picture as the URL of a black drawing on transparency, or null.

export const EMPTY = { strokes: [], picture: null };
const SENT = 168; // pixels of the side of what the server gets
const PEN = 1 / 22; // width of a stroke, as a share of the side
const NEAR = 0.004; // points that are nearer than this to the last one add nothing

export class Pad {
  // `started` is called when a stroke begins, `changed` when the pad holds something else by hand.
  constructor(holder, { started = () => {}, changed }) {
    this.holder = holder;
    this.canvas = holder.querySelector("canvas");
    this.changed = changed;
    this.started = started;
    this.image = null; // the picture, once it is loaded
    this.stroke = null; // the one that is being drawn
    this.canvas.addEventListener("pointerdown", event => this.#begin(event));
    this.canvas.addEventListener("pointermove", event => this.#go(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => this.#end());
    this.canvas.addEventListener("keydown", event => {
      if (event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); this.clear(); }
    });
    holder.querySelector(".clear").addEventListener("click", () => { this.clear(); this.canvas.focus(); });
    this.set(EMPTY);
  }

  get used() { return this.content.strokes.length > 0 || this.content.picture !== null; }

  set(content) {
    this.content = content;
    this.image = null;
    this.refuse(null);
    this.see(null);
    this.loaded = content.picture ? this.#load(content.picture) : Promise.resolve();
    this.paint();
  }

  clear() {
    if (!this.used) return;
    this.set(EMPTY);
    this.changed();
  }

  // Shows the image that the network gets of it, or null.
  see(url) {
    const shown = this.holder.querySelector(".seen");
    if (!shown) return;
    if (url) shown.src = url; else shown.removeAttribute("src");
  }

  // Marks it as a drawing that cannot be used for this reason, or null.
  refuse(reason) {
    this.refused = reason;
    this.holder.classList.toggle("refused", reason !== null);
  }

  paint() {
    this.holder.classList.toggle("used", this.used || this.stroke !== null);
    const side = Math.max(1, Math.round(this.canvas.clientWidth * (window.devicePixelRatio || 1)));
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    this.drawTo(this.canvas, getComputedStyle(this.canvas).color);
  }

  // Draws what it holds to a square canvas in this colour.
  drawTo(canvas, colour, paper = null) {
    const pen = canvas.getContext("2d"), side = canvas.width;
    pen.globalCompositeOperation = "source-over";
    pen.clearRect(0, 0, side, side);
    if (this.image) pen.drawImage(this.image, 0, 0, side, side);
    pen.lineWidth = side * PEN;
    pen.lineCap = pen.lineJoin = "round";
    for (const stroke of this.content.strokes) trace(pen, stroke, side);
    if (this.stroke) trace(pen, this.stroke, side);
    fill(pen, "source-in", colour);
    if (paper) fill(pen, "destination-over", paper);
  }

  // What it holds as a PNG for the server, black on white.
  async url() {
    await this.loaded;
    const canvas = Object.assign(document.createElement("canvas"), { width: SENT, height: SENT });
    this.drawTo(canvas, "#000", "#fff");
    return canvas.toDataURL("image/png");
  }

  async #load(url) {
    const image = Object.assign(new Image(), { src: url });
    await image.decode().catch(() => {}); // a picture that the browser's memory lost shows nothing
    if (this.content.picture === url) { this.image = image; this.paint(); }
  }

  #begin(event) {
    if (event.button !== 0 || !event.isPrimary) return; // neither the right button nor a second finger
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    this.stroke = [];
    this.refuse(null);
    this.see(null);
    this.started();
    this.#go(event);
  }

  #go(event) {
    if (!this.stroke) return;
    const between = event.getCoalescedEvents?.() ?? []; // the browser bundles those of a frame
    for (const each of between.length ? between : [event]) this.#point(each);
    this.paint();
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect(), stroke = this.stroke;
    const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
    if (stroke.length && Math.hypot(x - stroke.at(-2), y - stroke.at(-1)) < NEAR) return;
    stroke.push(Math.round(1e4 * x) / 1e4, Math.round(1e4 * y) / 1e4);
  }

  #end() {
    if (!this.stroke) return;
    this.content = { ...this.content, strokes: [...this.content.strokes, this.stroke] };
    this.stroke = null;
    this.changed();
  }
}

// A smooth line: quadratic curves from middle to middle, whose control points are those of the hand.
function trace(pen, points, side) {
  const at = i => [points[i] * side, points[i + 1] * side], last = points.length - 2;
  pen.beginPath();
  pen.moveTo(...at(0));
  for (let i = 2; i < last; i += 2) {
    const [x, y] = at(i), [nextX, nextY] = at(i + 2);
    pen.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  const [x, y] = at(last);
  pen.lineTo(x + 0.01, y); // a point has no length, and would not be drawn
  pen.stroke();
}

function fill(pen, operation, colour) {
  pen.globalCompositeOperation = operation;
  pen.fillStyle = colour;
  pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
}
