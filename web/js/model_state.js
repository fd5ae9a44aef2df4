// Says on Load GVM Model whether the chosen model is there, and downloads the released one at the press of a button.
import { api } from "../../../scripts/api.js";

const COLOURS = { found: "#4a4", downloading: "#48c", incomplete: "#c82", missing: "#c82", gone: "#c44" };
const MEGABYTE = 1e6;
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
      root.textContent = `The state of the model is not known: ${error.message}`;
    }
  };
  const post = (path) => ask(path, { method: "POST" });
  const refresh = () => ask(`/gvm/model/${encodeURIComponent(chosen.value)}`);
  const before = chosen.callback;
  chosen.callback = function (...rest) {
    const answer = before?.apply(this, rest);
    refresh();
    return answer;
  };
  const heard = ({ detail }) => show(detail);
  api.addEventListener("gvm.download", heard);
  api.addEventListener("execution_success", refresh);
  const removed = node.onRemoved;
  node.onRemoved = function (...rest) {
    api.removeEventListener("gvm.download", heard);
    api.removeEventListener("execution_success", refresh);
    return removed?.apply(this, rest);
  };
  const configured = node.onConfigure;
  node.onConfigure = function (...rest) {
    const answer = configured?.apply(this, rest);
    refresh();
    return answer;
  };
  refresh();
}

/** Fill the line. */
function fill(root, facts, post) {
  const mark = document.createElement("span");
  mark.textContent = "● ";
  mark.style.color = COLOURS[facts.state];
  const text = document.createElement("span");
  text.setAttribute("role", "status");
  text.textContent = facts.state === "downloading" ? progressOf(facts) : facts.text;
  root.replaceChildren(mark, text);
  if (facts.state === "downloading") {
    const bar = document.createElement("progress");
    Object.assign(bar, facts.total ? { max: facts.total, value: facts.done } : {});
    bar.style.width = "100%";
    root.append(bar, button("Stop", () => post("/gvm/download/stop")));
  } else if (facts.state === "missing" || facts.state === "incomplete") {
    const notice = document.createElement("div");
    notice.textContent = facts.notice;
    notice.style.margin = "4px 0";
    root.append(document.createElement("br"), button(`Download ${(facts.size / 1e9).toFixed(1)} GB from ${facts.repo}`, () => post("/gvm/download/start")), notice);
  }
}

function progressOf({ done, total, text }) {
  return total ? `${Math.round(done / MEGABYTE)} of ${Math.round(total / MEGABYTE)} MB, ${text}` : `asking for the files, ${text}`;
}

function button(label, press) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", textContent: label });
  made.addEventListener("click", press);
  return made;
}
