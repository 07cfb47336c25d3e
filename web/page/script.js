// Wires the page to the compiled library.

import start, { Session, photographs } from "./batchnorm_web.js";
import { dotPlot, element, histogram, milliseconds } from "./charts.js";

const CHANNELS = ["red", "green", "blue"];
const ROUNDS = 7;
// The longer side of an image, in pixels: larger ones are scaled down.
const IMAGE_SIDE = 640;
const LIMITS = {
  maxBufferSize: "largest buffer",
  maxStorageBufferBindingSize: "largest binding",
  maxStorageBuffersPerShaderStage: "storage buffers in a shader",
  maxComputeInvocationsPerWorkgroup: "invocations in a workgroup",
  maxComputeWorkgroupStorageSize: "memory of a workgroup",
  maxComputeWorkgroupsPerDimension: "workgroups in a dimension",
  minStorageBufferOffsetAlignment: "alignment of a binding",
};
const IN_BYTES = /Size$|Alignment$/;

const find = (selector, within = document) => within.querySelector(selector);
const buttons = [...document.querySelectorAll("button, #see-file")];
const results = { page: "wgpu-batchnorm", browser: navigator.userAgent };
let session;
let photos;

// The rest of the browser gets its turn: what has changed is drawn, and a key is heard.
const breathe = () => new Promise((resolve) => setTimeout(resolve));

function bytes(count) {
  const unit = Math.min(3, Math.floor(Math.log2(count) / 10));
  return `${+(count / 1024 ** unit).toFixed(1)} ${["B", "KiB", "MiB", "GiB"][unit]}`;
}

// Runs one thing at a time; what goes wrong is told in its own section.
async function busy(section, run) {
  const status = find(".status", section);
  buttons.forEach((button) => { button.disabled = true; });
  section.setAttribute("aria-busy", "true");
  status.className = "status";
  try {
    await run(status);
  } catch (error) {
    status.textContent = `Failed: ${error.message ?? error}`;
    status.classList.add("bad");
  }
  section.removeAttribute("aria-busy");
  buttons.forEach((button) => { button.disabled = false; });
}

async function openDevice() {
  if (!navigator.gpu) return "This browser does not offer WebGPU.";
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) return "This browser offers WebGPU, but found no graphics adapter.";
  try {
    session = await Session.onGpu();
  } catch (error) {
    return `The graphics adapter gave no device: ${error.message}`;
  }
  const { vendor, architecture, device, description } = adapter.info;
  const limits = Object.fromEntries(Object.keys(LIMITS).map((name) => [name, adapter.limits[name]]));
  const features = [...adapter.features].sort();
  const name = [description || device, architecture, vendor].filter(Boolean).join(", ") || "an adapter without a name";
  results.adapter = { name, vendor, architecture, device, description, limits, features };
  find("#device").replaceChildren("WebGPU on ", element("b", {}, name));
  const row = (title, value) => element("div", {}, element("dt", {}, title), element("dd", {}, value));
  find("#limits").replaceChildren(
    ...Object.entries(limits).map(([name, value]) => row(LIMITS[name], IN_BYTES.test(name) ? bytes(value) : `${value}`)),
    row("timestamps", features.includes("timestamp-query") ? "yes" : "no"),
  );
  find("#floor").hidden = false;
  return null;
}

async function open() {
  await start();
  const why = await openDevice();
  if (why) {
    session = Session.onCpu();
    results.adapter = null;
    const notice = find("#notice");
    notice.textContent = `${why} Everything below runs on this library's CPU path instead: one thread of WebAssembly.`;
    notice.hidden = false;
    find("#device").textContent = "CPU path, WebAssembly with simd128";
  }
  buttons.forEach((button) => { button.disabled = false; });
  document.body.dataset.ready = why ? "cpu" : "gpu";
}

function checkRow({ name, shape, dtype, passed, worst, note }) {
  const word = passed ? "passed" : "FAILED";
  const kind = passed ? "good" : "bad";
  const told = element("td", {}, name);
  if (note) told.append(element("div", { class: "small" }, note));
  return element("tr", {}, element("td", { class: kind }, word), told, element("td", { class: "shape" }, shape),
    element("td", {}, dtype), element("td", { class: "number" }, worst === null ? "–" : worst.toFixed(3)));
}

async function check() {
  const section = find("#check");
  const bar = find("progress", section);
  const body = find("tbody", section);
  await busy(section, async (status) => {
    body.replaceChildren();
    bar.hidden = false;
    find(".scroll", section).hidden = false;
    const count = Math.max(0, Math.min(2000, Number(find("#check-count").value) || 0));
    const report = await session.check(count, (share, outcome) => {
      bar.value = share;
      status.textContent = `${outcome.kind} case: ${outcome.name}`;
      body.append(checkRow(outcome));
      return breathe();
    });
    results.check = report;
    const worst = Math.max(...report.results.map((result) => result.worst ?? 0));
    status.textContent = `${report.passed} passed, ${report.failed} failed; the largest error is `
      + `${worst.toFixed(3)} of its bound`;
    status.classList.add(report.failed ? "bad" : "good");
    // What failed stands at the top.
    body.prepend(...[...body.rows].filter((row) => row.cells[0].textContent === "FAILED"));
  });
  bar.hidden = true;
}

function benchRow({ shape, operation, gpu, cpu_ms: cpu }) {
  const number = (text) => element("td", { class: "number" }, text);
  return element("tr", {}, element("td", {}, shape), element("td", {}, operation), number(milliseconds(gpu?.ms.median)),
    number(gpu ? gpu.ratio_to_copy.median.toFixed(2) : "–"), number(gpu ? gpu.ratio_limit.toFixed(2) : "–"),
    number(milliseconds(cpu.median)), number(gpu ? (cpu.median / gpu.ms.median).toFixed(2) : "–"));
}

async function benchmark() {
  const section = find("#bench");
  const bar = find("progress", section);
  await busy(section, async (status) => {
    bar.value = 0;
    bar.hidden = false;
    const large = find("#bench-size").value === "large";
    const report = await session.benchmark(large, ROUNDS, (share, what) => {
      bar.value = share;
      status.textContent = what;
      return breathe();
    });
    results.benchmark = report;
    dotPlot(find(".plot", section), report.results);
    find("tbody", section).replaceChildren(...report.results.map(benchRow));
    [find("figure", section), find(".scroll", section), find("#bench-note")].forEach((part) => { part.hidden = false; });
    const clock = { timestamps: "the device's timestamps", wall: "the page's clock over repeated submissions" };
    status.textContent = report.clock ? `Done; the device was timed by ${clock[report.clock]}.` : "Done, on the CPU path alone.";
  });
  bar.hidden = true;
}

function draw(canvas, rgba, width, height) {
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(rgba), width, height), 0, 0);
}

// A channel's numbers, put into the formula, between its histograms.
function channel(name, index, done) {
  const of = (values, count = 1) => values.subarray(index * count, (index + 1) * count);
  const fixed = (value, digits) => value.toFixed(digits).replace(/^-(0\.0*)$/, "$1").replace("-", "−");
  const formula = `y = (x − ${fixed(done.mean[index], 4)}) / √(${fixed(done.variance[index], 4)} + 0.00001)`;
  const bars = done.before.length / CHANNELS.length;
  const after = `mean ${fixed(done.meanAfter[index], 4)}, variance ${fixed(done.varianceAfter[index], 4)}`;
  const before = `mean ${fixed(done.mean[index], 4)}, variance ${fixed(done.variance[index], 4)}`;
  return element("div", { class: `channel ${name}` }, element("h3", {}, name),
    element("p", { class: "formula" }, formula),
    histogram(of(done.before, bars), ["0", "1"], before),
    histogram(of(done.after, bars), ["−2.5", "2.5"], after));
}

async function show(name, image) {
  const section = find("#see");
  await busy(section, async (status) => {
    status.textContent = "Normalising …";
    await breathe();
    const { width, height, rgba } = await image();
    const done = await session.normalise(rgba, width, height);
    draw(find("#before"), rgba, width, height);
    draw(find("#after"), done.rgba, width, height);
    find(".images", section).hidden = false;
    find(".channels", section).replaceChildren(...CHANNELS.map((name, index) => channel(name, index, done)));
    const where = results.adapter ? "on the device, with both transfers" : "on the CPU path";
    const took = done.milliseconds < 0.1 ? "under 0.1" : milliseconds(done.milliseconds);
    status.textContent = `${name}: ${width} × ${height} pixels, normalised in ${took} ms ${where}`;
    const list = (values) => Array.from(values);
    results.image = {
      name, width, height, mean: list(done.mean), variance: list(done.variance),
      mean_after: list(done.meanAfter), variance_after: list(done.varianceAfter), milliseconds: done.milliseconds,
    };
  });
}

// The pixels of an image file, scaled down where it is large.
async function pixels(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name} is not an image that this browser can read`);
  });
  const scale = Math.min(1, IMAGE_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0, width, height);
  return { width, height, rgba: context.getImageData(0, 0, width, height).data };
}

async function photograph(index) {
  if (!photos) {
    const answer = await fetch("photos_nhwc.npy");
    if (!answer.ok) throw new Error(`the photographs could not be loaded: ${answer.status}`);
    photos = photographs(new Uint8Array(await answer.arrayBuffer()));
  }
  return photos[index];
}

function download() {
  const file = new Blob([JSON.stringify({ ...results, date: new Date().toISOString() }, null, 1)], { type: "application/json" });
  const link = element("a", { href: URL.createObjectURL(file), download: "batchnorm-in-your-browser.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href));
}

find("#check-start").addEventListener("click", check);
find("#bench-start").addEventListener("click", benchmark);
find("#download").addEventListener("click", download);
for (const button of document.querySelectorAll(".photograph")) {
  button.addEventListener("click", () => show(button.textContent, () => photograph(Number(button.value))));
}
find("#see-file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (file) show(file.name, () => pixels(file));
  // The same file can be chosen again.
  target.value = "";
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file && !find("#see-file").disabled) show(file.name, () => pixels(file));
});

open().catch((error) => {
  const notice = find("#notice");
  notice.textContent = `This page could not start: ${error.message ?? error}`;
  notice.hidden = false;
  find("#device").textContent = "";
});
