// Matte exported cases with Robust Video Matting (Lin et al., WACV 2022), for `gvm evaluate ... --result`.
//
//     node benchmarks/rivals/rvm.mjs CASES OUT --packages FOLDER --model rvm.json [--frame-by-frame]
//
// FOLDER is where `npm install @tensorflow/tfjs @tensorflow/tfjs-backend-wasm pngjs` was run. Each case starts with
// empty recurrent states; with --frame-by-frame each frame does. Frames are taken at their own size (downsample_ratio
// 1), which its authors advise up to 512 pixels. Prints one line of JSON; seconds are what the network took, without
// reading and writing.

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { packages: { type: "string" }, model: { type: "string" }, "frame-by-frame": { type: "boolean" } },
});
if (positionals.length !== 2 || !options.packages || !options.model) {
  console.error("usage: node rvm.mjs CASES OUT --packages FOLDER --model rvm.json [--frame-by-frame]");
  process.exit(2);
}
const [cases, out] = positionals;
const load = createRequire(resolve(options.packages, "package.json"));
const tf = load("@tensorflow/tfjs");
load("@tensorflow/tfjs-backend-wasm"); // one thread: it starts no more in Node
const { PNG } = load("pngjs");

const OUTPUTS = ["pha", "r1o", "r2o", "r3o", "r4o"];

/** The network, the names of its nodes that give `OUTPUTS`, and the bytes of its files. */
async function network(file) {
  const graph = JSON.parse(readFileSync(file));
  const weightSpecs = graph.weightsManifest.flatMap((group) => group.weights);
  const files = graph.weightsManifest.flatMap((group) => group.paths).map((path) => join(dirname(file), path));
  const weightData = new Uint8Array(Buffer.concat(files.map((each) => readFileSync(each)))).buffer;
  const model = await tf.loadGraphModel({ load: async () => ({ ...graph, weightSpecs, weightData }) });
  const nodes = OUTPUTS.map((name) => graph.signature.outputs[name].name);
  return [model, nodes, weightData.byteLength + statSync(file).size];
}

/** A PNG of 8 or 16 bits as [1, H, W, 3], 0..1. */
function readFrame(file) {
  const { data, depth, width, height } = PNG.sync.read(readFileSync(file), { skipRescale: true });
  const rgb = new Float32Array(width * height * 3);
  for (let i = 0; i < rgb.length; i++) rgb[i] = data[4 * Math.floor(i / 3) + (i % 3)] / (2 ** depth - 1);
  return tf.tensor4d(rgb, [1, height, width, 3]);
}

/** Alpha, 0..1, as a grey PNG of 16 bits. */
function writeMatte(file, alpha, width, height) {
  const levels = Uint16Array.from(alpha, (value) => Math.round(65535 * Math.min(Math.max(value, 0), 1)));
  const grey = { bitDepth: 16, colorType: 0, inputColorType: 0, inputHasAlpha: false };
  writeFileSync(file, PNG.sync.write({ data: Buffer.from(levels.buffer), width, height }, grey));
}

await tf.setBackend("wasm");
const [model, outputs, bytes] = await network(options.model);
const ratio = tf.scalar(1);
const empty = () => [0, 0, 0, 0].map(() => tf.scalar(0));
const found = readdirSync(cases, { recursive: true, withFileTypes: true });
const folders = found.filter((entry) => entry.isDirectory() && entry.name === "com");
let frames = 0, seconds = 0;
for (const folder of folders.map((entry) => entry.parentPath).sort()) {
  const place = join(out, relative(cases, folder));
  if (!mkdirSync(place, { recursive: true })) throw new Error(`${place} is there already; choose another folder`);
  let states = empty();
  for (const name of readdirSync(join(folder, "com")).filter((file) => file.endsWith(".png")).sort()) {
    const src = readFrame(join(folder, "com", name));
    const started = performance.now();
    const [r1i, r2i, r3i, r4i] = states;
    const inputs = { src, r1i, r2i, r3i, r4i, downsample_ratio: ratio };
    const [alpha, ...next] = await model.executeAsync(inputs, outputs);
    const values = await alpha.data();
    seconds += (performance.now() - started) / 1000;
    writeMatte(join(place, name), values, src.shape[2], src.shape[1]);
    tf.dispose([src, alpha, ...states]);
    states = options["frame-by-frame"] ? (tf.dispose(next), empty()) : next;
    frames++;
  }
  tf.dispose(states);
}
const rounded = (value, digits) => Number(value.toFixed(digits));
const each = rounded(seconds / Math.max(frames, 1), 4);
const megabytes = rounded(bytes / 1e6, 1);
console.log(JSON.stringify({ cases: folders.length, frames, seconds_a_frame: each, megabytes }));
