// Puts a bundled sample clip into ComfyUI's input folder when a workflow that names it is opened and it is not there.
// Nothing else of this pack needs JavaScript.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const SAMPLES = ["gvm_sample_drawn.webp", "gvm_sample_photo.mp4"];
const LOADERS = { LoadImage: "image", LoadVideo: "file" };

async function provide(name) {
  const sample = await fetch(new URL(`../samples/${name}`, import.meta.url));
  if (!sample.ok) throw new Error(`${name}: ${sample.status}`);
  const form = new FormData();
  form.append("image", new File([await sample.blob()], name)); // the route takes any file under this field
  const answer = await api.fetchApi("/upload/image", { method: "POST", body: form });
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
}

app.registerExtension({
  name: "GVM.Samples",
  async loadedGraphNode(node) {
    const widget = node.widgets?.find((candidate) => candidate.name === LOADERS[node.type]);
    const known = widget?.options?.values;
    if (!widget || !SAMPLES.includes(widget.value) || !Array.isArray(known) || known.includes(widget.value)) return;
    const name = widget.value;
    try {
      await provide(name);
      known.push(name);
      widget.callback?.(name); // shows the preview
    } catch (error) {
      console.warn("ComfyUI-GVM: the sample could not be brought into the input folder:", error);
    }
  },
});
