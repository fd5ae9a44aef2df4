// The extension of this pack: samples for its workflows, a player on nodes that have a matte, the state of a model.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { addModelState } from "./model_state.js";
import { addPlayer, markOutdated, showKept, showOutput } from "./player_nodes.js";
import { offerSamples, provideSamples } from "./samples.js";

app.registerExtension({
  name: "GVM",
  setup() {
    api.addEventListener("executed", ({ detail }) => showOutput(String(detail.display_node ?? detail.node), detail.output));
    api.addEventListener("execution_start", () => markOutdated(true));
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) api.addEventListener(end, () => markOutdated(false));
  },
  beforeConfigureGraph: provideSamples,
  afterConfigureGraph() {
    setTimeout(showKept); // ComfyUI brings back what it has kept after the graph
  },
  nodeCreated(node) {
    offerSamples(node);
    addPlayer(node);
    addModelState(node);
  },
});
