"use strict";
// Two photos side by side: fitted to panels of one size, moved together or apart, with the marks that match drawn over both.

const LOOK = { brightness: 1, contrast: 1, linked: true, shown: 0, least: 0.5, contour: false }; // stays from pair to pair
const SHOWN = ["lines", "marks", "nothing"];
let pair = null;

class Panel {
  constructor(figure) {
    this.stage = figure.querySelector(".stage");
    this.image = figure.querySelector("img");
    this.reset();
  }
  reset() { Object.assign(this, { zoom: 1, x: 0, y: 0, quarters: +this.image.dataset.quarters || 0, mirrored: this.image.dataset.mirrored === "1" }); }
  get size() { return [+this.image.getAttribute("width"), +this.image.getAttribute("height")]; }
  matrix() { // from pixels of the photo to pixels of the stage
    const [w, h] = this.size, { clientWidth: W, clientHeight: H } = this.stage;
    const fit = Math.min(W / (this.quarters % 2 ? h : w), H / (this.quarters % 2 ? w : h));
    return new DOMMatrix().translate(W / 2 + this.x, H / 2 + this.y).scale(fit * this.zoom)
      .scale(this.mirrored ? -1 : 1, 1).rotate(-90 * this.quarters).translate(-w / 2, -h / 2);
  }
  place() {
    this.image.style.transform = this.matrix().toString();
    this.image.style.filter = `brightness(${LOOK.brightness}) contrast(${LOOK.contrast})`;
    this.stage.classList.toggle("zoomed", this.zoom > 1);
  }
  zoomTo(zoom, at) { // keeps what lies at [x, y] of the stage where it is
    zoom = Math.max(1, Math.min(16, zoom));
    const [x, y] = at || [this.stage.clientWidth / 2, this.stage.clientHeight / 2], ratio = zoom / this.zoom;
    this.x = (x - this.stage.clientWidth / 2) * (1 - ratio) + this.x * ratio;
    this.y = (y - this.stage.clientHeight / 2) * (1 - ratio) + this.y * ratio;
    this.zoom = zoom;
    this.keep();
  }
  keep() { // some of the photo in sight
    const limit = side => side * Math.max(0, this.zoom - 0.5) / 2;
    const within = (value, most) => Math.max(-most, Math.min(most, value));
    this.x = this.zoom === 1 ? 0 : within(this.x, limit(this.stage.clientWidth));
    this.y = this.zoom === 1 ? 0 : within(this.y, limit(this.stage.clientHeight));
  }
  at(event) { const box = this.stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; }
}

class Pair {
  constructor(section) {
    this.section = section;
    this.panels = [...section.querySelectorAll("figure.panel:has(img)")].map(one => new Panel(one));
    this.canvas = section.querySelector("canvas");
    this.marks = null;
    this.pointers = new Map();
    this.panels.forEach(panel => this.listen(panel));
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.canvas.parentElement);
    section.querySelectorAll("[data-look]").forEach(one => { one.value = LOOK[one.dataset.look]; });
    this.outlines = [];
    this.load();
    if (LOOK.contour) this.outline();
  }
  async outline() { // where the animal was found in both photos
    this.outlines = await Promise.all(this.panels.map(async panel => {
      const answer = await fetch(panel.image.dataset.outline);
      return answer.ok ? answer.json() : { polygons: [], said: await answer.text() };
    }));
    this.sayOutlines();
    this.draw();
  }
  sayOutlines() {
    const names = ["Query", "Candidate"], said = LOOK.contour ? this.outlines.map((one, side) => `${names[side]}: ${one.said}.`) : [];
    this.section.querySelector("#contours").textContent = said.length ? [...said, "Where this is wrong, reid review --no-segment uses whole photos."].join(" ") : "";
  }
  async load(by = -1) { // by the features that speak for the pair most, or by the pipeline of this number
    this.by = by;
    if (!this.section.dataset.marks) return this.draw();
    const answer = await fetch(this.section.dataset.marks + (by < 0 ? "" : `?by=${by}`));
    this.marks = answer.ok ? await answer.json() : null;
    const count = this.section.querySelector("#n-marks");
    if (count) count.textContent = this.marks ? this.marks.said : "marks could not be read";
    if (this.marks && (this.marks.quarters || this.marks.mirrored)) {
      Object.assign(this.panels[0], { quarters: this.marks.quarters, mirrored: this.marks.mirrored });
      Object.assign(this.panels[0].image.dataset, { quarters: this.marks.quarters, mirrored: this.marks.mirrored ? "1" : "0" });
    }
    this.draw();
  }
  both(panel, change) { (LOOK.linked ? this.panels : [panel || this.panels.at(-1)]).forEach(change); this.draw(); }
  listen(panel) {
    const stage = panel.stage;
    stage.addEventListener("wheel", event => {
      event.preventDefault();
      const at = panel.at(event);
      this.both(panel, one => one.zoomTo(one.zoom * Math.exp(-event.deltaY * 0.002), at));
    }, { passive: false });
    stage.addEventListener("dblclick", event => this.zoom(panel, panel.at(event)));
    stage.addEventListener("pointerdown", event => { stage.setPointerCapture(event.pointerId); this.pointers.set(event.pointerId, panel.at(event)); });
    stage.addEventListener("pointermove", event => {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      const now = panel.at(event), spread = () => { const [a, b] = this.pointers.values(); return Math.hypot(a[0] - b[0], a[1] - b[1]); };
      const wide = this.pointers.size === 2 ? spread() : 0;
      this.pointers.set(event.pointerId, now);
      if (wide) return this.both(panel, one => one.zoomTo(one.zoom * spread() / wide, now));
      this.both(panel, one => { one.x += now[0] - before[0]; one.y += now[1] - before[1]; one.keep(); });
    });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, event => this.pointers.delete(event.pointerId));
  }
  zoom(panel, at) {
    const to = this.panels.some(one => one.zoom > 1) ? 1 : 2.5;
    this.both(panel, one => one.zoomTo(to, at));
  }
  draw() {
    this.panels.forEach(panel => panel.place());
    const box = this.canvas.getBoundingClientRect(), dots = window.devicePixelRatio || 1, pen = this.canvas.getContext("2d");
    this.canvas.width = Math.round(box.width * dots);
    this.canvas.height = Math.round(box.height * dots);
    pen.scale(dots, dots);
    if (LOOK.contour) this.outlines.forEach((one, side) => this.drawOutline(pen, this.panels[side], one.polygons, box));
    if (!this.marks || SHOWN[LOOK.shown] === "nothing") return;
    const ends = this.panels.map((panel, side) => {
      const stage = panel.stage.getBoundingClientRect(), matrix = panel.matrix(), [w, h] = panel.size;
      return this.marks.points[side].map(([x, y]) => {
        const found = matrix.transformPoint(new DOMPoint(x * w, y * h));
        const seen = found.x >= 0 && found.y >= 0 && found.x <= stage.width && found.y <= stage.height;
        return { x: found.x + stage.left - box.left, y: found.y + stage.top - box.top, seen };
      });
    });
    this.marks.confidence.forEach((sure, place) => {
      if (sure < LOOK.least) return;
      const [start, end] = [ends[0][place], ends[1][place]];
      pen.globalAlpha = 0.15 + 0.85 * sure * sure;
      pen.strokeStyle = `hsl(${52 + 90 * Math.max(0, sure - 0.5) * 2}, 95%, 60%)`;
      pen.lineWidth = 1.25;
      if (SHOWN[LOOK.shown] === "lines" && start.seen && end.seen) {
        pen.beginPath(); pen.moveTo(start.x, start.y); pen.lineTo(end.x, end.y); pen.stroke();
      }
      pen.lineWidth = 1.75;
      for (const one of [start, end].filter(one => one.seen)) { pen.beginPath(); pen.arc(one.x, one.y, 4, 0, 7); pen.stroke(); }
    });
  }
  drawOutline(pen, panel, polygons, box) {
    const stage = panel.stage.getBoundingClientRect(), matrix = panel.matrix(), [w, h] = panel.size, path = new Path2D();
    for (const polygon of polygons) {
      polygon.forEach(([x, y], at) => {
        const found = matrix.transformPoint(new DOMPoint(x * w, y * h));
        path[at ? "lineTo" : "moveTo"](found.x, found.y);
      });
      path.closePath();
    }
    pen.save();
    pen.translate(stage.left - box.left, stage.top - box.top);
    pen.beginPath(); pen.rect(0, 0, stage.width, stage.height); pen.clip();
    for (const [width, colour] of [[4, "#000a"], [2, "#ff6ad5"]]) { pen.lineWidth = width; pen.strokeStyle = colour; pen.stroke(path); }
    pen.restore();
  }
}

const DO = {
  zoom: () => pair.zoom(),
  in: () => pair.both(null, one => one.zoomTo(one.zoom * 1.4)),
  out: () => pair.both(null, one => one.zoomTo(one.zoom / 1.4)),
  marks: button => { LOOK.shown = (LOOK.shown + 1) % SHOWN.length; button.setAttribute("aria-pressed", SHOWN[LOOK.shown] !== "nothing"); },
  by: () => { if (pair.marks) pair.load((pair.by + 1) % pair.marks.n_pipelines); },
  contour: button => {
    LOOK.contour = !LOOK.contour;
    button.setAttribute("aria-pressed", LOOK.contour);
    if (LOOK.contour && !pair.outlines.length) pair.outline();
    pair.sayOutlines();
  },
  link: button => { LOOK.linked = !LOOK.linked; button.setAttribute("aria-pressed", LOOK.linked); },
  turn: button => { const one = pair.panels[+button.dataset.side]; one.quarters = (one.quarters + 1) % 4; },
  mirror: button => { const one = pair.panels[+button.dataset.side]; one.mirrored = !one.mirrored; },
  reset: () => {
    Object.assign(LOOK, { brightness: 1, contrast: 1, least: 0.5 });
    pair.section.querySelectorAll("[data-look]").forEach(one => { one.value = LOOK[one.dataset.look]; });
    pair.panels.forEach(one => one.reset());
  },
};
document.addEventListener("click", event => {
  const button = event.target.closest("[data-do]");
  if (button && pair) { DO[button.dataset.do](button); pair.draw(); }
});
document.addEventListener("input", event => {
  if (pair && event.target.dataset.look) { LOOK[event.target.dataset.look] = +event.target.value; pair.draw(); }
});

const begin = () => {
  const section = document.getElementById("pair");
  const before = pair && section?.dataset.marks && pair.section.dataset.marks === section.dataset.marks ? pair.panels : []; // the same pair, shown again
  if (pair) pair.sized.disconnect();
  pair = section && new Pair(section);
  before.forEach((one, side) => Object.assign(pair.panels[side] || {}, { zoom: one.zoom, x: one.x, y: one.y, quarters: one.quarters, mirrored: one.mirrored }));
  if (!section) return;
  section.querySelectorAll("[data-do=link]").forEach(one => one.setAttribute("aria-pressed", LOOK.linked));
  section.querySelectorAll("[data-do=marks]").forEach(one => one.setAttribute("aria-pressed", SHOWN[LOOK.shown] !== "nothing"));
  section.querySelectorAll("[data-do=contour]").forEach(one => one.setAttribute("aria-pressed", LOOK.contour));
  const ahead = () => JSON.parse(section.dataset.ahead).forEach(url => { url.startsWith("/marks/") ? fetch(url) : (new Image().src = url); });
  Promise.all([...section.querySelectorAll("figure.panel img")].map(one => one.decode().catch(() => null))).then(ahead);
};
begin();
document.addEventListener("htmx:afterSwap", event => { if (event.detail.target.id === "main") begin(); });
