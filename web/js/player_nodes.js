// Puts the player on the nodes that have a matte, and lets the sliders of GVM Refine Matte act on the frame in view.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { BACKGROUNDS, Player, VIEWS } from "./player.js";

const KEY = "gvm_review";
const FIRST_VIEWS = { GVMPreviewMatte: ["plate", "over"], GVMRefineMatte: ["matte", "over"], GVMMatteVideo: ["plate", "over"] };
const LEAST = 240; // pixels of height
const PAUSE = 120; // milliseconds between a slider's last move and the question to the server
const FOLLOW = {
  view: (player, name) => VIEWS.includes(name) && player.show(1, name),
  background: (player, name) => BACKGROUNDS.includes(name) && player.setBackground(name),
  colour: (player, text) => player.setColour(text),
};
const players = new Map(); // node -> Player

/** Give a node its player, if it is one of those. */
export function addPlayer(node) {
  const views = FIRST_VIEWS[node.comfyClass];
  if (!views) return;
  const player = new Player(views);
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
  const removed = node.onRemoved;
  node.onRemoved = function (...rest) {
    players.delete(node);
    player.remove();
    return removed?.apply(this, rest);
  };
  const known = app.nodeOutputs?.[node.id]; // a workflow that is opened once more
  if (known) show(node, player, known);
}

/** Show what a run gave, on the node that it is for. */
export function showOutput(id, output) {
  for (const [node, player] of players) if (idOf(node) === id) show(node, player, output);
}

/** Inside subgraphs, the server's id of a node is that of every node around it, and its own. */
function idOf(node) {
  const around = [];
  for (let graph = node.graph; graph && !graph.isRootGraph; ) {
    const outer = [...players.keys(), ...(app.graph?.nodes ?? [])].find((each) => each.subgraph === graph);
    if (!outer) break;
    around.unshift(outer.id);
    graph = outer.graph;
  }
  return [...around, node.id].join(":");
}

function show(node, player, output) {
  if (!output?.[KEY]?.length) return;
  const { filename, type, fps, frames } = JSON.parse(output[KEY][0]);
  for (const widget of node.widgets ?? []) FOLLOW[widget.name]?.(player, widget.value);
  player.load({ url: api.apiURL(`/view?${new URLSearchParams({ filename, type })}`), fps, frames });
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
    if (!act) continue;
    const before = widget.callback;
    widget.callback = function (value, ...rest) {
      const answer = before?.call(this, value, ...rest);
      act(value);
      return answer;
    };
  }
}

/** Asks the server for the refined matte of the frame in view, one question at a time and always the newest. */
function refiner(node, player) {
  let waiting = null, busy = false, moved = false;
  const ask = async () => {
    if (busy || !player.file || !moved) return;
    busy = true;
    const frame = player.frame;
    const sliders = (node.widgets ?? []).filter((widget) => typeof widget.value === "number");
    const settings = Object.fromEntries(sliders.map((widget) => [widget.name, widget.value]));
    const asked = JSON.stringify([frame, settings]);
    try {
      const body = JSON.stringify({ node: idOf(node), frame, settings });
      const answer = await api.fetchApi("/gvm/refine", { method: "POST", body, headers: { "Content-Type": "application/json" } });
      if (!answer.ok) throw new Error(await answer.text());
      player.setLive({ frame, image: await createImageBitmap(await answer.blob()) });
      player.say("");
    } catch (error) {
      player.say(error.message);
    }
    busy = false;
    const now = JSON.stringify([player.frame, Object.fromEntries(sliders.map((widget) => [widget.name, widget.value]))]);
    if (now !== asked && player.video.paused) ask();
  };
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, PAUSE);
  };
  player.onFrame = () => moved && player.video.paused && soon();
  const load = player.load.bind(player);
  player.load = (file) => {
    moved = false; // the run has used the sliders as they are
    load(file);
  };
  return () => {
    moved = true;
    player.video.pause();
    soon();
  };
}
