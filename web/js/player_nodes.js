// Puts the player on the nodes that have a matte, and lets the sliders of GVM Refine Matte act on the frame in view.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { after } from "./after.js";
import { BACKGROUNDS, Player, VIEWS } from "./player.js";
import { text } from "./texts.js";

const KEY = "gvm_review";
const FIRST_VIEWS = { GVMPreviewMatte: ["plate", "over"], GVMRefineMatte: ["matte", "over"], GVMMatteVideo: ["plate", "over"] };
const LEAST = 240; // pixels of height
const PAUSE = 120; // milliseconds between a slider's last move and the question to the server
const FOLLOW = {
  view: (player, name) => VIEWS.includes(name) && player.show(1, name),
  background: (player, name) => BACKGROUNDS.includes(name) && player.setBackground(name),
  colour: (player, code) => player.setColour(code),
};
const players = new Map(); // node -> Player

/** Give a node its player, if it is one of those. */
export function addPlayer(node) {
  const views = FIRST_VIEWS[node.comfyClass];
  if (!views) return;
  const player = new Player(views);
  player.root.style.minHeight = `${LEAST}px`; // ComfyUI's new nodes do not ask for it
  const widget = node.addDOMWidget("player", "gvm_player", player.root, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => LEAST,
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false; // no value of it in prompts and workflows
  players.set(node, player);
  followWidgets(node, player);
  after(node, "onRemoved", () => {
    players.delete(node);
    player.remove();
  });
}

/** Show what a run gave, on the node that it is for. */
export function showOutput(id, output) {
  for (const [node, player] of players) if (idOf(node) === id) show(node, player, output);
}

/** A run has begun, or is over: until a node has its result of it, its player shows that of an earlier run. */
export function markOutdated(on) {
  for (const player of players.values()) player.setOutdated(on);
}

/** Show again what ComfyUI has kept of earlier runs: a workflow is opened once more. */
export function showKept() {
  for (const [node, player] of players) show(node, player, app.nodeOutputs?.[node.id]);
}

/** Inside subgraphs, the server's id of a node is that of every node around it, and its own. */
function idOf(node, graph = app.rootGraph ?? app.graph, around = "") {
  for (const each of graph.nodes) {
    if (each === node) return `${around}${each.id}`;
    const inside = each.subgraph && idOf(node, each.subgraph, `${around}${each.id}:`);
    if (inside) return inside;
  }
  return null;
}

function show(node, player, output) {
  if (!output?.[KEY]?.length) return;
  const { filename, type, fps, frames, empty } = JSON.parse(output[KEY][0]);
  if (!player.file) for (const widget of node.widgets ?? []) FOLLOW[widget.name]?.(player, widget.value); // then a view stays as chosen
  player.load({ url: api.apiURL(`/view?${new URLSearchParams({ filename, type })}`), fps, frames });
  if (empty) player.say(text("empty"));
  forgetPreview(node);
}

/** Remove what ComfyUI showed on the node while it ran. */
function forgetPreview(node) {
  delete app.nodePreviewImages?.[node.id];
  node.imgs = undefined;
  const index = (node.widgets ?? []).findIndex((widget) => widget.name === "$$canvas-image-preview");
  if (index >= 0) node.widgets.splice(index, 1)[0].onRemove?.();
  node.setDirtyCanvas?.(true, true);
}

/** The player follows the node's widgets: views and colours at once, the sliders of a refinement through the server. */
function followWidgets(node, player) {
  const sliders = node.comfyClass === "GVMRefineMatte" ? refiner(node, player) : null;
  for (const widget of node.widgets ?? []) {
    const act = sliders && typeof widget.value === "number" ? sliders : FOLLOW[widget.name]?.bind(null, player);
    if (act) after(widget, "callback", act);
  }
}

/** Asks the server for the refined matte of the frame in view, one question at a time and always the newest. */
function refiner(node, player) {
  let waiting = null, busy = false;
  let used = null; // the sliders of the run whose file is shown
  const sliders = () => Object.fromEntries(node.widgets.filter((each) => typeof each.value === "number").map((each) => [each.name, each.value]));
  const changed = () => player.video.paused && JSON.stringify(sliders()) !== used;
  const question = () => JSON.stringify({ node: idOf(node), frame: player.frame, settings: sliders() });
  const ask = async () => {
    if (busy || !player.file) return;
    if (!changed()) return player.setLive(null);
    busy = true;
    const body = question(), frame = player.frame;
    try {
      const answer = await api.fetchApi("/gvm/refine", { method: "POST", body, headers: { "Content-Type": "application/json" } });
      if (!answer.ok) throw new Error(await answer.text());
      player.setLive({ frame, image: await createImageBitmap(await answer.blob()) });
      player.say("");
    } catch (error) {
      player.say(error.message);
    }
    busy = false;
    if (question() !== body) ask();
  };
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, PAUSE);
  };
  player.onLoad = () => (used = JSON.stringify(sliders()));
  player.onFrame = () => changed() && soon();
  return () => {
    player.video.pause();
    soon();
  };
}
