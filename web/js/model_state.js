// Says on Load GVM Model whether the chosen model is there, and downloads the released one at the press of a button.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { after } from "./after.js";
import { text } from "./texts.js";

const COLOURS = { bundled: "#4a4", found: "#4a4", downloading: "#48c", incomplete: "#c82", missing: "#c82", gone: "#c44" };
const MEGABYTE = 1e6, GIGABYTE = 1e9;
const HEIGHT = 76; // pixels: a longer text scrolls

/** Give a model loader its line of state. */
export function addModelState(node) {
  if (node.comfyClass !== "GVMLoadModel") return;
  const chosen = node.widgets?.find((widget) => widget.name === "model");
  if (!chosen) return;
  const root = document.createElement("div");
  root.className = "gvm-model-state";
  Object.assign(root.style, { font: "12px sans-serif", color: "var(--input-text, #ddd)", padding: "2px 4px", overflow: "auto" });
  const widget = node.addDOMWidget("state", "gvm_model_state", root, {
    serialize: false, hideOnZoom: false, getMinHeight: () => HEIGHT, getValue: () => "", setValue: () => {},
  }); // prettier-ignore
  widget.serialize = false;
  const show = (facts) => {
    if (facts.name !== chosen.value) return;
    fill(root, facts, post);
    node.setDirtyCanvas?.(true, true);
  };
  const ask = async (path, options) => {
    try {
      const answer = await api.fetchApi(path, options);
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
      show(await answer.json());
    } catch (error) {
      root.textContent = text("state.unknown", { why: error.message });
    }
  };
  const post = (path) => ask(path, { method: "POST" });
  const refresh = () => ask(`/gvm/model/${encodeURIComponent(chosen.value)}`);
  after(chosen, "callback", refresh);
  const heard = ({ detail }) => show(detail);
  api.addEventListener("gvm.download", heard);
  api.addEventListener("execution_success", refresh);
  after(node, "onRemoved", () => {
    api.removeEventListener("gvm.download", heard);
    api.removeEventListener("execution_success", refresh);
  });
  after(node, "onConfigure", refresh);
  refresh();
}

/** Fill the line. */
function fill(root, facts, post) {
  const mark = document.createElement("span");
  mark.textContent = "● ";
  mark.style.color = COLOURS[facts.state];
  const line = document.createElement("span");
  line.setAttribute("role", "status");
  line.textContent = root.title = sentence(facts); // all of it at a glance when the pointer rests on it
  root.replaceChildren(mark, line);
  if (facts.state === "downloading") {
    const bar = document.createElement("progress");
    Object.assign(bar, facts.total ? { max: facts.total, value: facts.done } : {});
    bar.style.width = "100%";
    root.append(bar, button(text("stop"), () => post("/gvm/download/stop")));
  } else if (facts.state === "missing" || facts.state === "incomplete") {
    const label = text("download", { size: gigabytes(facts), repo: facts.repo });
    const start = async () => {
      if (await agreed(label)) post("/gvm/download/start");
    };
    root.prepend(button(label, start), document.createElement("br")); // first: a long text below it scrolls
  }
}

/** Show the terms of the released weights. Return whether the user wants to download them. */
async function agreed(title) {
  return app.extensionManager.dialog.confirm({ title, message: text("notice") });
}

/** The state in the user's language. Why a download failed stays as the server says it. */
function sentence({ state, name, folder, done, total, stopped, failure, ...facts }) {
  if (state === "downloading") {
    const [here, all] = [done, total].map((bytes) => Math.round(bytes / MEGABYTE));
    return total ? text("state.downloading", { done: here, total: all, folder }) : text("state.asking", { folder });
  }
  const said = text(`state.${state}`, { name, folder, size: gigabytes(facts) });
  const why = stopped ? text("stopped") : failure;
  return why ? text("because", { text: said, why }) : said;
}

function gigabytes({ size }) {
  return (size / GIGABYTE).toFixed(1);
}

function button(label, press) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", textContent: label });
  made.addEventListener("click", press);
  return made;
}
