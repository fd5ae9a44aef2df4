// Puts a bundled sample clip into ComfyUI's input folder when a workflow that names it is opened and it is not there.
import { api } from "../../../scripts/api.js";

const SAMPLES = [
  "gvm_sample_background.jpg",
  "gvm_sample_bridge.mp4",
  "gvm_sample_green.mp4",
  "gvm_sample_matte.mp4",
  "gvm_sample_portrait.jpg",
  "gvm_sample_walker.mp4",
];
const LOADERS = {
  LoadImage: { widget: "image", takes: /\.jpg$/ },
  LoadVideo: { widget: "file", takes: /\.mp4$/ },
  GVMLoadClip: { widget: "path", takes: /./ },
};
const provided = new Set();

async function provide(name) {
  const there = await api.fetchApi(`/view?type=input&filename=${name}`, { method: "HEAD" });
  if (!there.ok) {
    const sample = await fetch(new URL(`../samples/${name}`, import.meta.url));
    if (!sample.ok) throw new Error(`${name}: ${sample.status}`);
    const form = new FormData();
    form.append("image", new File([await sample.blob()], name)); // the route takes any file under this field
    const answer = await api.fetchApi("/upload/image", { method: "POST", body: form });
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  }
  provided.add(name);
}

/** Bring the samples that a workflow names. */
export async function provideSamples(graph) {
  const named = (graph.nodes ?? []).filter((node) => node.type in LOADERS).map((node) => node.widgets_values?.[0]);
  for (const name of SAMPLES.filter((sample) => named.includes(sample) && !provided.has(sample))) {
    try {
      await provide(name);
    } catch (error) {
      console.warn("ComfyUI-GVM: the sample could not be brought into the input folder:", error);
    }
  }
}

/** Offer the samples of its kind in a new node: its list of files was made before they came. */
export function offerSamples(node) {
  const loader = LOADERS[node.comfyClass];
  const values = loader && node.widgets?.find((widget) => widget.name === loader.widget)?.options?.values;
  if (Array.isArray(values)) values.push(...[...provided].filter((name) => loader.takes.test(name) && !values.includes(name)));
}
