// Drives the page as a visitor does, in headless Chromium, with WebGPU and without; every state leaves its screenshots.
//
// PAGE is the page's address, BROWSER the browser's program, SCREENSHOTS a directory.

import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { PAGE, BROWSER, SCREENSHOTS } = process.env;
const ARGUMENTS = [
  "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync",
];
const WIDE = { width: 1180, height: 900 };
const NARROW = { width: 360, height: 780 };
// A software adapter compiles some kernels for seconds.
const PATIENCE = { timeout: 240_000 };

// Text that is there at last.
async function status(page, section, pattern) {
  const place = page.locator(`${section} .status`);
  const deadline = Date.now() + PATIENCE.timeout;
  for (;;) {
    const text = await place.textContent();
    if (pattern.test(text)) return text;
    assert(!text.startsWith("Failed"), text);
    assert(Date.now() < deadline, `${section} still says: ${text}`);
    await page.waitForTimeout(100);
  }
}

async function screenshots(page, state) {
  for (const [width, viewport] of [["wide", WIDE], ["narrow", NARROW]]) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: join(SCREENSHOTS, `${state}-${width}-${colorScheme}.png`), fullPage: true });
    }
    const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert(beyond <= 0, `${state}, ${width}: the page is ${beyond} pixels too wide`);
  }
  await page.setViewportSize(WIDE);
  await page.emulateMedia({ colorScheme: "light" });
}

// Everything by keyboard: from where the focus is, on to an element, and pressed.
async function press(page, selector, key = "Enter") {
  await page.keyboard.press("Tab");
  for (let steps = 0; steps < 40; steps += 1) {
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) {
      await page.keyboard.press(key);
      return;
    }
    await page.keyboard.press("Tab");
  }
  assert.fail(`${selector} cannot be reached with the tabulator`);
}

// The image that a visitor drops: two colours, so that mean and variance are known.
async function dropImage(page) {
  await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 32 });
    const context = canvas.getContext("2d");
    context.fillStyle = "rgb(255 51 0)";
    context.fillRect(0, 0, 64, 32);
    context.fillStyle = "rgb(0 51 102)";
    context.fillRect(0, 0, 32, 32);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const transfer = new DataTransfer();
    transfer.items.add(new File([blob], "two colours.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  });
  await status(page, "#see", /two colours\.png: 64 × 32/);
  const formulas = await page.locator(".channel .formula").allTextContents();
  assert.deepEqual(formulas, [
    "y = (x − 0.5000) / √(0.2500 + 0.00001)",
    "y = (x − 0.2000) / √(0.0000 + 0.00001)",
    "y = (x − 0.2000) / √(0.0400 + 0.00001)",
  ]);
  // 1 and −1 in red and blue, 0 in green.
  const after = await page.evaluate(() => {
    const at = (x) => [...document.querySelector("#after").getContext("2d").getImageData(x, 3, 1, 1).data];
    return [at(3), at(60)];
  });
  const near = (got, expected) => got.every((value, index) => Math.abs(value - expected[index]) <= 1);
  assert(near(after[0], [77, 128, 178, 255]) && near(after[1], [178, 128, 77, 255]), `${after}`);
}

async function photograph(page) {
  await page.locator(".photograph", { hasText: "Flower" }).click();
  const said = await status(page, "#see", /Flower: 240 × 160 pixels/);
  for (const text of await page.locator(".channel .histogram:last-child p").allTextContents()) {
    assert.match(text, /mean 0\.0000, variance (1\.0000|0\.999\d)/);
  }
  return said;
}

async function check(page, count) {
  await page.fill("#check-count", `${count}`);
  await press(page, "#check-start");
  return status(page, "#check", /\d+ passed, \d+ failed/);
}

async function download(page) {
  const waiting = page.waitForEvent("download");
  await page.click("#download");
  return JSON.parse(await readFile(await (await waiting).path(), "utf8"));
}

async function open(browser) {
  const page = await browser.newPage({ viewport: WIDE });
  const errors = [];
  page.on("pageerror", (error) => errors.push(`${error}`));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("request", (request) => request.url().startsWith("http") && !request.url().startsWith(PAGE)
    && errors.push(`${request.url()} is not of this page`));
  await page.goto(PAGE);
  await page.waitForSelector("body[data-ready]", PATIENCE);
  return { page, errors };
}

async function withWebGpu() {
  const browser = await chromium.launch({ executablePath: BROWSER, args: [...ARGUMENTS, "--enable-unsafe-webgpu"] });
  const { page, errors } = await open(browser);
  assert.equal(await page.getAttribute("body", "data-ready"), "gpu");
  console.log(await page.textContent("#device"));
  assert.match(await page.textContent("#limits"), /largest binding\s*[\d.]+ [MG]iB/);
  await screenshots(page, "1-loaded");

  console.log(await photograph(page));
  await screenshots(page, "2-photograph");
  await dropImage(page);
  await screenshots(page, "3-dropped");

  const checking = check(page, 5);
  await page.waitForSelector("#check tbody tr:nth-child(10)", PATIENCE);
  await screenshots(page, "4-checking");
  const checked = await checking;
  console.log(checked);
  assert.match(checked, /^61 passed, 0 failed; /);
  await screenshots(page, "5-checked");

  await page.click("#bench-start");
  await page.waitForFunction(() => document.querySelector("#bench progress").value > 0.1, null, PATIENCE);
  await screenshots(page, "6-measuring");
  console.log(await status(page, "#bench", /^Done/));
  assert.equal(await page.locator("#bench tbody tr").count(), 9);
  assert.equal(await page.locator(".plot .mark").count(), 27);
  await screenshots(page, "7-measured");

  const results = await download(page);
  assert.equal(results.check.passed, 61);
  assert.equal(results.image.name, "two colours.png");
  for (const { shape, operation, gpu, cpu_ms: cpu } of results.benchmark.results) {
    console.log(`${shape} ${operation}: ${gpu.ms.median.toFixed(3)} ms, ${gpu.ratio_to_copy.median.toFixed(2)} × copy, `
      + `CPU path ${cpu.median.toFixed(3)} ms`);
    assert(gpu.ms.median > 0 && gpu.copy_ms.median > 0 && cpu.median > 0 && gpu.worst <= 1);
  }
  await writeFile(join(SCREENSHOTS, "results.json"), JSON.stringify(results, null, 1));
  assert.deepEqual(errors, []);
  await browser.close();
}

async function withoutWebGpu() {
  const browser = await chromium.launch({ executablePath: BROWSER, args: [...ARGUMENTS, "--disable-features=WebGPU"] });
  const { page, errors } = await open(browser);
  assert.equal(await page.getAttribute("body", "data-ready"), "cpu");
  assert.match(await page.textContent("#notice"), /WebGPU.*CPU path/);
  await photograph(page);
  await dropImage(page);
  console.log(`without WebGPU: ${await check(page, 5)}`);
  assert.match(await page.textContent("#check .status"), /^56 passed, 0 failed; /);
  await page.click("#bench-start");
  await status(page, "#bench", /^Done, on the CPU path alone/);
  assert.equal(await page.locator(".plot .mark").count(), 9);
  await screenshots(page, "8-without-webgpu");
  assert.equal((await download(page)).adapter, null);
  assert.deepEqual(errors, []);
  await browser.close();
}

await mkdir(SCREENSHOTS, { recursive: true });
await withWebGpu();
await withoutWebGpu();
console.log("the page passed");
