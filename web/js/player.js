// A player for mattes. It shows one file, in which each frame is above its matte, in two views side by side with a wipe.
// It draws with a plain 2D canvas, so it needs no graphics card. ComfyUI loads this file too; by itself it does nothing.
import { text } from "./texts.js";

export const VIEWS = ["plate", "matte", "status", "over", "edges", "difference"];
export const BACKGROUNDS = ["checker", "colour", "plate, darkened"];
const NEARLY = 5; // of 255: alpha nearer to 0 or 255 is shown in colour, if it is not there
const NOISE = 1; // of 255: a video with losses is so far from 0 and 255 where the matte is there
const BLUE = [26, 51, 179], ORANGE = [230, 115, 26];
const SQUARE = 16; // of the checkerboard, in pixels of the frame
const LIGHT = 160, DARK = 96;
const DARKENED = 0.25;
const GAIN = 4;
const ZOOMS = [1, 2, 4, 8, 16];

/** Write one view into `out` (RGBA bytes), for columns `from` to `to`. `plate`, `matte`, `before` are RGBA bytes. */
export function paint(view, from, to, width, height, { plate, matte, before }, look, out) {
  const { background, colour, origin, scale } = look;
  for (let y = 0; y < height; y++) {
    const row = Math.floor((origin[1] + y / scale) / SQUARE);
    for (let x = from; x < to; x++) {
      const i = 4 * (y * width + x);
      const a = matte[i];
      let r = plate[i], g = plate[i + 1], b = plate[i + 2];
      if (view === "matte") r = g = b = a;
      else if (view === "status") [r, g, b] = status(a);
      else if (view === "edges") {
        const soft = (4 * a * (255 - a)) / 65025;
        (r *= soft), (g *= soft), (b *= soft);
      } else if (view === "difference") {
        const change = GAIN * (a - (before ? before[i] : a));
        (r = change), (g = 0), (b = -change); // the array of bytes clamps
      } else if (view === "over") {
        const share = a / 255;
        let behind;
        if (background === "checker") {
          const square = (row + Math.floor((origin[0] + x / scale) / SQUARE)) % 2 ? DARK : LIGHT;
          behind = [square, square, square];
        } else behind = background === "colour" ? colour : [r * DARKENED, g * DARKENED, b * DARKENED];
        r = r * share + behind[0] * (1 - share);
        g = g * share + behind[1] * (1 - share);
        b = b * share + behind[2] * (1 - share);
      }
      (out[i] = r), (out[i + 1] = g), (out[i + 2] = b), (out[i + 3] = 255);
    }
  }
}

function status(a) {
  if (a <= NOISE || a >= 255 - NOISE) return a < 128 ? [0, 0, 0] : [255, 255, 255];
  if (a < NEARLY) return BLUE;
  return a > 255 - NEARLY ? ORANGE : [128, 128, 128];
}

/** The column that has as much of a matte (RGBA bytes) on its left as on its right; the middle one if it is empty. */
export function middle(matte, [width, height]) {
  const columns = new Float64Array(width);
  for (let i = 0; i < width * height; i++) columns[i % width] += matte[4 * i];
  const all = columns.reduce((sum, each) => sum + each, 0);
  let left = 0;
  return all ? columns.findIndex((each) => (left += each) >= all / 2) : width / 2;
}

/** "#00b140" to [0, 177, 64]; null if it is not a colour. */
export function rgbOf(code) {
  const found = /^#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(code ?? "");
  return found && found.slice(1).map((part) => parseInt(part, 16));
}

function element(tag, fields = {}, style = {}) {
  const made = Object.assign(document.createElement(tag), fields);
  Object.assign(made.style, style);
  return made;
}

function button(label, title, press) {
  const made = element("button", { textContent: label, title, type: "button" }, { minWidth: "2.2em", padding: "0 .4em" });
  made.setAttribute("aria-label", title);
  made.addEventListener("click", press);
  return made;
}

/** A list of `names`; what it shows for them are the texts `kind`.name. */
function choice(title, kind, names, chosen, change) {
  const made = element("select", { title }, { flex: "1 1 4em", minWidth: "4em" });
  made.setAttribute("aria-label", title);
  for (const name of names) made.append(element("option", { value: name, textContent: text(`${kind}.${name}`) }));
  made.value = chosen;
  made.addEventListener("change", () => change(made.value));
  return made;
}

/** The player. `root` is its element; `load` gives it a file. It calls `onLoad` then, and `onFrame` when it goes to a frame. */
export class Player {
  constructor(views = ["plate", "over"]) {
    this.views = [...views];
    this.background = "checker";
    this.colour = rgbOf("#00b140");
    this.wipe = null; // a share of the canvas' width; null: to be put through the middle of the subject
    this.wiped = false; // by the user
    this.outdated = false;
    this.zoom = 0; // index in ZOOMS; 0 fits the frame
    this.center = [0.5, 0.5];
    this.file = null;
    this.frame = 0;
    this.live = null; // { frame, image }: a matte that replaces the file's
    this.onLoad = this.onFrame = null;
    this.build();
  }

  build() {
    const quiet = { background: "var(--comfy-input-bg, #222)", color: "var(--input-text, #ddd)", font: "12px sans-serif" };
    this.root = element("div", { className: "gvm-player" }, { ...quiet, display: "flex", flexDirection: "column", height: "100%" });
    this.canvas = element("canvas", { tabIndex: 0, title: text("help") }, { flex: "1 1 0", minHeight: "0", width: "100%", touchAction: "none" });
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${text("player")} ${text("help")}`);
    this.video = element("video", { muted: true, loop: true, playsInline: true, preload: "auto", crossOrigin: "anonymous" });
    this.earlier = null; // another element of the same file, one frame behind, for "difference"
    this.seek = element("input", { type: "range", min: 0, max: 0, step: 1, value: 0, title: text("frame") }, { flex: "1 1 auto", minWidth: "3em" });
    this.seek.setAttribute("aria-label", text("frame"));
    this.play = button("▶", text("play"), () => this.toggle());
    this.count = element("span", {}, { minWidth: "5.5em", textAlign: "right", fontVariantNumeric: "tabular-nums" });
    this.note = element("span", { role: "status" }, { padding: "0 4px", overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" });
    this.left = choice(text("left"), "view", VIEWS, this.views[0], (name) => this.show(0, name));
    this.right = choice(text("right"), "view", VIEWS, this.views[1], (name) => this.show(1, name));
    this.behind = choice(text("behind"), "background", BACKGROUNDS, this.background, (name) => this.setBackground(name));
    this.repeat = button("⟳", text("loop"), () => this.setLoop(!this.video.loop));
    const line = (...parts) => {
      const made = element("div", {}, { display: "flex", gap: "4px", alignItems: "center", flex: "0 0 auto", padding: "2px" });
      made.append(...parts);
      return made;
    };
    const back = button("|◀", text("back"), () => this.step(-1));
    const on = button("▶|", text("on"), () => this.step(1));
    const fit = button(text("fit"), text("fit the frame"), () => this.setZoom(0));
    const closer = button("+", text("zoom in"), () => this.setZoom(this.zoom + 1));
    this.transport = line(this.play, back, on, this.seek, this.count, this.repeat);
    this.root.append(this.canvas, this.transport, line(this.left, this.right, this.behind, fit, closer), this.note);
    this.listen();
    this.setLoop(true);
    this.say(text("run first"));
  }

  listen() {
    this.seek.addEventListener("input", () => this.goto(Number(this.seek.value)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("pointerdown", (event) => this.grab(event));
    for (const kind of ["pointerdown", "mousedown", "keydown", "wheel", "contextmenu"])
      this.root.addEventListener(kind, (event) => event.stopPropagation()); // or the graph moves, or hears its shortcuts
    this.video.addEventListener("loadeddata", () => this.goto(this.frame));
    this.video.addEventListener("seeked", () => this.draw());
    this.video.addEventListener("play", () => this.setPlaying(true));
    this.video.addEventListener("pause", () => this.setPlaying(false));
    this.video.addEventListener("error", () => this.video.src && this.say(text("cannot play")));
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.canvas);
  }

  /** Show a file: its address, frames per second, and number of frames. */
  load({ url, fps, frames }) {
    this.video.pause();
    this.file = { url, fps, frames };
    this.live = null;
    if (!this.wiped) this.wipe = null;
    this.frame = Math.min(this.frame, frames - 1);
    this.seek.max = frames - 1;
    this.transport.style.visibility = frames > 1 ? "visible" : "hidden"; // a picture does not play
    this.setOutdated(false);
    this.say("");
    this.onLoad?.();
    if (this.earlier) this.earlier.src = url;
    this.video.src = url;
  }

  remove() {
    this.sized.disconnect();
    this.video.pause();
    for (const each of [this.video, this.earlier]) {
      each?.removeAttribute("src");
      each?.load();
    }
  }

  say(sentence) {
    this.note.textContent = sentence;
    this.note.style.display = sentence ? "" : "none";
  }

  /** Say whether what is shown comes from an earlier run than the one that is going on. */
  setOutdated(on) {
    if (!this.file || on === this.outdated) return;
    this.outdated = on;
    this.canvas.style.opacity = on ? 0.5 : 1;
    this.say(on ? text("outdated") : "");
  }

  // ------------------------------------------------------------------------------------------------ what is shown

  show(side, name) {
    this.views[side] = name;
    [this.left, this.right][side].value = name;
    this.goto(this.frame);
  }

  setBackground(name) {
    this.background = this.behind.value = name;
    this.draw();
  }

  setColour(code) {
    const found = rgbOf(code);
    if (found) this.colour = found;
    this.draw();
  }

  setWipe(share) {
    this.wipe = Math.min(Math.max(share, 0), 1);
    this.wiped = true;
    this.draw();
  }

  setZoom(index) {
    this.zoom = Math.min(Math.max(index, 0), ZOOMS.length);
    if (!this.zoom) this.center = [0.5, 0.5];
    this.draw();
  }

  setLoop(on) {
    this.video.loop = on;
    this.repeat.setAttribute("aria-pressed", on);
    this.repeat.style.opacity = on ? 1 : 0.5;
  }

  /** Replace the matte of a frame; null takes the file's again. */
  setLive(live) {
    this.live = live;
    this.draw();
  }

  // ------------------------------------------------------------------------------------------------ where it is

  get shown() {
    return this.video.paused ? this.frame : Math.min(Math.floor(this.video.currentTime * this.file.fps + 0.01), this.file.frames - 1);
  }

  goto(frame) {
    if (!this.file) return;
    this.frame = Math.min(Math.max(frame, 0), this.file.frames - 1);
    this.video.currentTime = (this.frame + 0.5) / this.file.fps; // the middle of a frame: its edges are rounded
    if (this.views.includes("difference") && this.frame > 0) {
      if (!this.earlier) {
        this.earlier = element("video", { muted: true, playsInline: true, preload: "auto", src: this.file.url });
        this.earlier.addEventListener("seeked", () => this.draw());
      }
      this.earlier.currentTime = (this.frame - 0.5) / this.file.fps;
    }
    this.tell();
  }

  step(frames) {
    this.video.pause();
    this.goto(this.frame + frames);
  }

  toggle() {
    if (!this.file) return;
    if (this.video.paused) this.video.play().catch((error) => this.say(String(error)));
    else this.video.pause();
  }

  setPlaying(on) {
    this.play.textContent = on ? "❚❚" : "▶";
    if (!on) return this.goto(this.frame);
    const next = () => {
      if (this.video.paused) return;
      this.frame = this.shown;
      this.tell();
      this.draw();
      requestAnimationFrame(next);
    };
    next();
  }

  tell() {
    this.seek.value = this.frame;
    this.count.textContent = `${this.frame + 1} / ${this.file.frames}`;
    this.onFrame?.(this.frame);
  }

  // ------------------------------------------------------------------------------------------------ keys and mouse

  key(event) {
    const view = "123456".indexOf(event.code.replace("Digit", ""));
    const does = {
      " ": () => this.toggle(), ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1),
      Home: () => this.goto(0), End: () => this.goto(this.file.frames - 1), w: () => this.setWipe((this.wipe ?? 0.5) - 0.05),
      e: () => this.setWipe((this.wipe ?? 0.5) + 0.05), "+": () => this.setZoom(this.zoom + 1), "=": () => this.setZoom(this.zoom + 1),
      "-": () => this.setZoom(this.zoom - 1), 0: () => this.setZoom(0), l: () => this.setLoop(!this.video.loop),
    }; // prettier-ignore
    const act = /^Digit[1-6]$/.test(event.code) ? () => this.show(event.shiftKey ? 0 : 1, VIEWS[view]) : does[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || !this.file) return;
    event.preventDefault();
    act();
  }

  wheel(event) {
    event.preventDefault();
    const place = this.place();
    const box = this.canvas.getBoundingClientRect();
    if (!place) return;
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const size = [this.video.videoWidth, this.video.videoHeight / 2];
    const under = at.map((share, axis) => (place.origin[axis] + (share * [this.canvas.width, this.canvas.height][axis]) / place.scale) / size[axis]);
    if (event.deltaY < 0) this.center = under.map((share) => Math.min(Math.max(share, 0), 1));
    this.setZoom(this.zoom + (event.deltaY < 0 ? 1 : -1));
  }

  grab(event) {
    this.canvas.focus();
    if (!this.file || event.button) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    const box = this.canvas.getBoundingClientRect();
    const pans = this.zoom > 0 && !event.shiftKey;
    let last = [event.clientX, event.clientY];
    const move = (moved) => {
      if (pans) {
        const { scale } = this.place();
        const size = [this.video.videoWidth, this.video.videoHeight / 2];
        const perPixel = this.canvas.width / box.width / scale;
        this.center = [moved.clientX, moved.clientY].map((now, axis) => Math.min(Math.max(this.center[axis] - ((now - last[axis]) * perPixel) / size[axis], 0), 1));
        last = [moved.clientX, moved.clientY];
        this.draw();
      } else this.setWipe((moved.clientX - box.left) / box.width);
    };
    const stop = () => {
      this.canvas.removeEventListener("pointermove", move);
      this.canvas.removeEventListener("pointerup", stop);
      this.canvas.removeEventListener("pointercancel", stop);
    };
    this.canvas.addEventListener("pointermove", move);
    this.canvas.addEventListener("pointerup", stop);
    this.canvas.addEventListener("pointercancel", stop);
    if (!pans) move(event);
  }

  // ------------------------------------------------------------------------------------------------ drawing

  /** Canvas pixels for a frame's pixel, and which pixel of the frame is in the canvas' corner. */
  place() {
    const [width, height] = [this.video.videoWidth, this.video.videoHeight / 2];
    if (!width) return null;
    const fit = Math.min(this.canvas.width / width, this.canvas.height / height);
    const scale = this.zoom ? ZOOMS[this.zoom - 1] : fit;
    const corner = (size, share, room) => (room >= size * scale ? (size - room / scale) / 2 : Math.min(Math.max(size * share - room / scale / 2, 0), size - room / scale));
    return { scale, origin: [corner(width, this.center[0], this.canvas.width), corner(height, this.center[1], this.canvas.height)] };
  }

  draw() {
    const shape = [this.canvas.clientWidth, this.canvas.clientHeight].map((edge) => Math.round(edge * Math.min(devicePixelRatio, 2)));
    if (!shape[0] || !shape[1]) return;
    if (this.canvas.width !== shape[0] || this.canvas.height !== shape[1]) [this.canvas.width, this.canvas.height] = shape;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, ...shape);
    const place = this.file && this.video.readyState >= 2 ? this.place() : null;
    if (!place) return;
    const size = [this.video.videoWidth, this.video.videoHeight / 2];
    const begin = place.origin.map((edge) => Math.max(edge, 0));
    const end = place.origin.map((edge, axis) => Math.min(edge + shape[axis] / place.scale, size[axis]));
    const at = begin.map((edge, axis) => Math.round((edge - place.origin[axis]) * place.scale));
    const room = begin.map((edge, axis) => Math.max(Math.round((end[axis] - edge) * place.scale), 1));
    const part = (image, down) => this.pixels(image, [begin[0], begin[1] + down, end[0] - begin[0], end[1] - begin[1]], room, place.scale);
    const source = { plate: part(this.video, 0), matte: part(this.video, size[1]), before: null };
    if (this.live?.frame === this.frame && this.video.paused) source.matte = part(this.live.image, 0);
    if (this.earlier?.readyState >= 2 && this.frame > 0 && this.video.paused) source.before = part(this.earlier, size[1]);
    else if (!this.video.paused) [source.before, this.last] = [this.last?.length === source.matte.length ? this.last : null, source.matte];
    const made = new ImageData(room[0], room[1]);
    this.wipe ??= (at[0] + middle(source.matte, room)) / shape[0];
    const split = Math.round(Math.min(Math.max(this.wipe * shape[0] - at[0], 0), room[0]));
    const look = { background: this.background, colour: this.colour, origin: begin, scale: place.scale };
    paint(this.views[0], 0, split, room[0], room[1], source, look, made.data);
    paint(this.views[1], split, room[0], room[0], room[1], source, look, made.data);
    context.putImageData(made, at[0], at[1]);
    if (this.views[0] !== this.views[1] && split > 0 && split < room[0]) {
      context.fillStyle = "rgba(255, 255, 255, 0.7)";
      context.fillRect(at[0] + split - 1, at[1], 2, room[1]);
    }
  }

  /** A part of an image as RGBA bytes of the size `room`. */
  pixels(image, [x, y, width, height], room, scale) {
    this.scratch ??= document.createElement("canvas");
    [this.scratch.width, this.scratch.height] = room;
    const context = this.scratch.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = scale < 1;
    context.drawImage(image, x, y, width, height, 0, 0, ...room);
    return context.getImageData(0, 0, ...room).data;
  }
}
