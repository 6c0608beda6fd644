// Looks at the live page in Debian's Chromium, as a person would: by mouse, by keyboard alone, on a phone, in the
// dark, without scripts. Pictures go into target/browser/.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const pictures = new URL("../target/browser/", import.meta.url).pathname;
const program = process.env.CAPSPAN_STAGE ?? new URL("../target/debug/stage", import.meta.url).pathname;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
mkdirSync(pictures, { recursive: true });

// --- the stage ---

const stage = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
const said = createInterface({ input: stage.stdout })[Symbol.asyncIterator]();
const hear = async () => (await said.next()).value;
const tell = async (word) => {
  stage.stdin.write(`${word}\n`);
  assert.equal(await hear(), "done");
};
const url = await hear();
const origin = new URL(url).origin;

// --- the browser ---

const browser = await chromium.launch({
  executablePath: process.env.CAPSPAN_CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
  ],
});

const complaints = [];

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    return dialog.dismiss();
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) complaints.push(`request: ${request.url()}`);
  });
  await page.goto(url);
  return page;
}

const row = (page, name) => page.locator("#live tbody tr", { hasText: name }).first();

async function openForgotten(page) {
  await row(page, "nightly report").getByRole("link").click();
  await page.getByRole("heading", { name: "nightly report" }).waitFor();
}

const overflow = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** What axe finds: roles, names, contrast, structure. It is run by the debugger, past the page's policy. */
async function assertAccessible(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] }));
  const found = violations.map((v) => `${v.id}: ${v.help}: ${v.nodes[0].html} ${v.nodes[0].failureSummary}`);
  assert.deepEqual(found, [], where);
}

/** Presses Tab until what has the focus is `selector`. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < 60; presses += 1) {
    if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`Tab does not lead to ${selector}`);
}

const checks = {
  async "it opens, and shows a held capability with its origin"() {
    const page = await open({ viewport: { width: 1280, height: 1000 } });
    await row(page, "nightly report").waitFor();
    await openForgotten(page);
    await page.waitForTimeout(1200);
    await page.screenshot({ path: `${pictures}page.png` });
    const held = page.locator("table.held tbody tr").first();
    assert.match(await held.innerText(), /Catalog\/openCursor/);
    assert.match(await held.innerText(), /in its results/);
    assert.match(await held.innerText(), /the peer/);
    assert.match(await held.innerText(), /never/);
    await held.getByRole("link").click();
    const call = page.locator("tr:target");
    assert.match(await call.innerText(), /Catalog\/openCursor/);
    return page;
  },

  async "in light and in dark"() {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open({ colorScheme });
      await row(page, "nightly report").waitFor();
      await page.waitForTimeout(1200);
      const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const brightness = paper.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
      assert.ok(colorScheme === "dark" ? brightness < 150 : brightness > 600, paper);
      await assertAccessible(page, colorScheme);
      await page.screenshot({ path: `${pictures}overview-${colorScheme}.png` });
      await openForgotten(page);
      await page.waitForTimeout(1200);
      await assertAccessible(page, colorScheme);
      await page.screenshot({ path: `${pictures}session-${colorScheme}.png` });
      await page.getByRole("link", { name: "Limits" }).click();
      await page.getByRole("heading", { name: "This page" }).waitFor();
      await assertAccessible(page, colorScheme);
      await page.screenshot({ path: `${pictures}limits-${colorScheme}.png` });
      await page.context().close();
    }
  },

  async "it changes by itself, and what one does in it stays"() {
    const page = await open();
    await openForgotten(page);
    const link = page.locator("table.held tbody tr a").first();
    await link.focus();
    await page.evaluate(() => {
      window.isTheSame = true;
      scrollTo(0, 60);
      getSelection().selectAllChildren(document.querySelector("dd code"));
    });
    const before = await page.evaluate(() => [getSelection().toString(), scrollY]);
    const held = page.locator("table.held tbody tr", { hasText: "openCursor" });
    assert.match(await held.innerText(), /never/);
    await tell("call");
    await held.getByText("Catalog/price").waitFor();
    assert.deepEqual(await page.evaluate(() => [getSelection().toString(), scrollY]), before);
    assert.ok(before[0].length === 32 && before[1] > 0);
    assert.ok(await page.evaluate(() => window.isTheSame && document.activeElement.closest("table.held") !== null));
    return page;
  },

  async "it can be paused"() {
    const page = await open();
    const pause = page.getByRole("button", { name: "Pause" });
    await pause.click();
    await page.getByText("Paused", { exact: true }).waitFor();
    const asked = [];
    page.on("request", (request) => asked.push(request.url()));
    await page.waitForTimeout(2500);
    assert.deepEqual(asked, []);
    await page.getByRole("button", { name: "Resume" }).click();
    await page.waitForRequest(url);
    return page;
  },

  async "hostile names are text"() {
    await tell("hostile");
    const page = await open();
    await page.getByRole("searchbox").fill("onload");
    await page.locator("#h-open + .note", { hasText: "1 of" }).waitFor();
    const hostile = row(page, "alert(1)");
    assert.match(await hostile.innerText(), /<script>alert\(1\)<\/script>/);
    assert.match(await hostile.innerText(), /\\u\{202e\}/);
    await hostile.getByRole("link").click();
    await page.getByRole("heading", { name: "alert(1)" }).waitFor();
    await page.waitForTimeout(1500);
    assert.equal(await page.locator("main :is(script, img, iframe, object, embed, form)").count(), 0);
    assert.equal(await page.locator("script").count(), 1);
    assert.ok((await page.locator("main").innerText()).length < 20_000);
    assert.equal(await overflow(page), 0);
    await assertAccessible(page, "hostile");
    await page.screenshot({ path: `${pictures}hostile.png` });
    return page;
  },

  async "by keyboard alone: search, sort, open"() {
    const page = await open();
    await tabTo(page, ".skip");
    await tabTo(page, "#q");
    await page.keyboard.type("report");
    await page.locator("#h-open + .note", { hasText: "1 of" }).waitFor();
    await page.locator("#say", { hasText: "Open: 1 of" }).waitFor({ state: "attached" });
    await tabTo(page, "#sort-open-name");
    await page.keyboard.press("Enter");
    await page.locator("th[aria-sort=ascending] #sort-open-name:focus").waitFor();
    await page.keyboard.press("Enter");
    await page.locator("th[aria-sort=descending] #sort-open-name:focus").waitFor();
    await tabTo(page, "#live tbody a");
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(ring, "solid");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "nightly report" }).waitFor();
    return page;
  },

  async "on a phone nothing is wider than the screen"() {
    const page = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    await row(page, "nightly report").waitFor();
    assert.equal(await overflow(page), 0);
    await page.screenshot({ path: `${pictures}overview-phone.png` });
    await openForgotten(page);
    assert.equal(await overflow(page), 0);
    await assertAccessible(page, "phone");
    await page.screenshot({ path: `${pictures}session-phone.png`, fullPage: true });
    await page.goto(`${url}/limits`);
    assert.equal(await overflow(page), 0);
    return page;
  },

  async "without scripts it is the same"() {
    const page = await open({ javaScriptEnabled: false });
    await page.getByRole("searchbox").fill("report");
    await page.keyboard.press("Enter");
    await page.locator("#h-open + .note", { hasText: "1 of" }).waitFor();
    assert.ok(page.url().endsWith("?q=report"), page.url());
    await page.locator("#sort-open-name").click();
    assert.match(page.url(), /q=report&open=name$/);
    assert.equal(await page.getByRole("button").count(), 0);
    await page.getByRole("link", { name: "Reload" }).click();
    assert.match(page.url(), /q=report&open=name$/);
    await openForgotten(page);
    return page;
  },

  async "an event loop that stands still is told"() {
    await tell("stall");
    const page = await open();
    assert.match(await page.locator("#silent").innerText(), /loop 1/);
    await tell("go on");
    await page.locator("#silent").waitFor({ state: "detached" });
    return page;
  },

  async "a session that ends is shown as closed"() {
    const page = await open();
    await openForgotten(page);
    await tell("find");
    await page.locator("h1 + .badge.ok").waitFor();
    assert.equal(await page.locator("table.held").count(), 0);
    await page.screenshot({ path: `${pictures}session-closed.png` });
    return page;
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    const page = await check();
    await page?.context().close();
    assert.deepEqual(complaints, []);
    console.log(`ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n${error.stack}`);
  }
  complaints.length = 0;
}
await browser.close();
stage.stdin.end();
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed; pictures in target/browser/`);
process.exitCode = failed ? 1 : 0;
