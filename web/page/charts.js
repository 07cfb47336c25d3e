// Draws figures as plain elements, so that text stays text on a narrow screen.

// An element with properties and children.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Milliseconds as people read them.
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? value.toFixed(0) : value.toPrecision(value >= 1 ? 3 : 2);
}

// One row for each operation, with a mark for each kind of time, on one logarithmic scale.
export function dotPlot(into, results) {
  const times = results.flatMap(({ gpu, cpu_ms: cpu }) => [gpu?.ms.median, gpu?.copy_ms.median, cpu.median])
    .filter((time) => time > 0);
  const from = Math.floor(Math.log10(Math.min(...times)));
  const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...times))));
  const place = (time) => `left: ${(100 * (Math.log10(time) - from)) / (to - from)}%`;
  const decades = Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index));
  into.replaceChildren();
  let shape = "";
  for (const { shape: of, operation, gpu, cpu_ms: cpu } of results) {
    if (of !== shape) into.append(element("h3", {}, of));
    shape = of;
    const track = element("div", { class: "track" });
    for (const decade of decades.slice(1, -1)) track.append(element("i", { class: "tick", style: place(decade) }));
    const mark = (kind, time, name) => {
      if (!(time > 0)) return;
      const title = `${name}: ${milliseconds(time)} ms`;
      track.append(element("i", { class: `mark ${kind}`, style: place(time), role: "img", "aria-label": title, title }));
    };
    mark("copy", gpu?.copy_ms.median, "plain copy");
    mark("cpu", cpu.median, "CPU path");
    mark("gpu", gpu?.ms.median, "WebGPU");
    into.append(element("div", { class: "row" }, element("span", {}, operation), track));
  }
  const axis = element("div", { class: "track axis" });
  for (const decade of decades) axis.append(element("span", { style: place(decade) }, `${+decade.toPrecision(1)}`));
  into.append(element("div", { class: "row", "aria-hidden": "true" }, element("span", {}, "ms"), axis));
}

// A histogram of shares, with what stands at its ends.
export function histogram(shares, [low, high], label) {
  // As high as its highest bar, but for one that alone would flatten the rest.
  const sorted = [...shares].sort((a, b) => b - a);
  const usual = 3 * sorted[Math.floor(shares.length / 16)] || Infinity;
  const top = Math.min(sorted[0], usual) || 1;
  const bars = Array.from(shares, (share, bar) => {
    const height = Math.min(share / top, 1) * 100;
    return `M${bar} 100v${-height}h1v${height}z`;
  });
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [key, value] of Object.entries({
    viewBox: `0 0 ${shares.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": label,
  })) svg.setAttribute(key, value);
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", bars.join(""));
  svg.append(path);
  const ends = element("div", { class: "ends" }, element("span", {}, low), element("span", {}, high));
  return element("div", { class: "histogram" }, svg, ends, element("p", {}, label));
}
