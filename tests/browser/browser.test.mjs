// The page in a real browser: what an owner, a member and a stranger see, on a phone and on a desk. With BLINDSMITH_URL
// and BLINDSMITH_KEY (a file) also a project of that running refinery, which must have validation figures; with
// BLINDSMITH_PUSH, a command that sends rows to it which start no round, how they wait.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { serve } from "./server.mjs";

const { chromium } = createRequire(`${process.env.BLINDSMITH_BROWSER_MODULES}/`)("playwright-core");
const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url)));
const pictures = process.env.BLINDSMITH_PICTURES;
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1280, height: 900 };
const MEMBER = "07".repeat(32);
const VIEWER = `${vectors.root}\n${vectors.viewer}\n`;
const OWNERS = /this is an owner's key, and the page does not use it: .* blindsmith viewer --project DIR --out viewer.key/;
const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

let browser;
before(async () => {
  const executablePath = process.env.BLINDSMITH_CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, headless: true, args: ARGUMENTS });
});
after(() => browser?.close());

const running = process.env.BLINDSMITH_URL;

/** Opens the page in a fresh browser, watching what it asks for and what it complains of. */
async function open(t, { url, viewport = DESK, colorScheme = "light", status = vectors.status, keys } = {}) {
  const site = { status: structuredClone(status), requests: [], keys: keys ?? { [vectors.identity]: "viewer" } };
  const server = url ? { origin: new URL(url).origin, close() {} } : await serve(site);
  const context = await browser.newContext({ viewport, colorScheme });
  t.after(async () => {
    await context.close();
    server.close();
  });
  const page = await context.newPage();
  const [elsewhere, complaints] = [[], []];
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== server.origin) elsewhere.push(request.url());
  });
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(server.origin);
  const pick = (text, name = "sales.viewer.key") =>
    page.getByLabel(/Key file/).setInputFiles({ name, mimeType: "", buffer: Buffer.from(text) });
  return { page, site, pick, elsewhere, complaints };
}

/** The number under this name at the top. */
function tileOf(page, name) {
  return page.locator("dl div").filter({ has: page.getByText(name, { exact: true }) }).locator("dd").innerText();
}

async function picture(page, name) {
  if (!pictures) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
}

for (const [name, viewport, colorScheme] of [["phone", PHONE, "light"], ["phone-dark", PHONE, "dark"], ["desk", DESK, "light"], ["desk-dark", DESK, "dark"]]) {
  test(`a viewer sees everything: ${name}`, async (t) => {
    const { page, pick, elsewhere, complaints } = await open(t, { viewport, colorScheme });
    await picture(page, `${name}-start`);
    await pick(VIEWER);
    await page.getByRole("heading", { name: "Handwritten digits" }).waitFor();
    const text = await page.locator("main").innerText();
    const newest = vectors.metrics[2].validation;
    for (const part of [
      "SIMULATED warden: it protects nothing", newest.accuracy.toFixed(4), newest.loss.toFixed(4), "rolled-back", "restored",
      "the validation loss rose by more than the rules allow", "version 2 again", "b2b2b2b2b2b2b2b2 quarantined, 120 rows",
      "b3b3b3b3b3b3b3b3 refused, 80 rows", "Quarantined", "Admitted to the next round", "850",
      "used uploads that were withdrawn since: a6a6a6a6a6a6a6a6", "Classes at version 2", "0.6610", "0.7959",
    ]) assert.ok(text.includes(part), `${part} in\n${text}`);
    for (const [name, value] of [["Uploads waiting", "2"], ["Rows waiting", "850"], ["Rounds waiting", "2"], ["Validation rows", "359"], ["Accuracy lies in (95 %)", "0.74 to 0.83"]]) {
      assert.equal(await tileOf(page, name), value, name);
    }
    await page.getByText("Round 6: step 90 of 240").waitFor();
    assert.equal(await page.locator("progress").getAttribute("value"), "90");
    const curve = page.getByRole("img", { name: /^Validation accuracy: from 0.1000 at version 0 to / });
    assert.equal(await curve.locator("circle").count(), 5, "a mark for each version with figures");
    assert.equal(await curve.locator("circle.discarded").count(), 1);
    assert.equal(await page.getByRole("img").count(), 3);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `the page is ${wide} pixels wider than the screen`);
    await picture(page, name);
    assert.deepEqual(elsewhere, [], "a request left the origin");
    assert.deepEqual(complaints, []);
  });
}

test("what changes is shown without being asked for, and trouble is told", async (t) => {
  const { page, pick, site } = await open(t);
  await pick(VIEWER);
  await page.getByText("Rows waiting").waitFor();
  site.status.uploads.push({ ...site.status.uploads[4], upload: "a5".repeat(32), rows: 4321 });
  await page.getByText("5,171").waitFor();
  site.keys = {};
  await page.getByRole("alert").filter({ hasText: "refused (403): this key owns no project here" }).waitFor();
});

test("a member sees no figures", async (t) => {
  const { identity } = await import("../../cloud/refinery/web/sealed.js");
  const { publicKey } = await identity(Uint8Array.from({ length: 32 }, () => 7));
  const { page, pick } = await open(t, { keys: { [publicKey]: "contributor" } });
  await pick(MEMBER, "member.key");
  await page.getByText("Figures are sealed to the project's owner.").waitFor();
  assert.equal(await page.getByRole("img").count(), 0);
  assert.ok(!(await page.locator("main").innerText()).includes("0.8"), "a figure");
});

test("attack an owner's key that is shown to the page: refused, told why, and not used", async (t) => {
  const bare = `${vectors.root}\n`;
  for (const [text, name, requests] of [
    // By its name alone it is not even read, by its mark no request is signed with it.
    [bare, "owner.key", []],
    [`# The owner's key, which opens every model\n${bare}`, "sales.key", []],
    // A bare one of another name is known by what the refinery calls it, and is dropped.
    [bare, "sales.key", ["/v1/projects"]],
  ]) {
    const { page, pick, site, complaints } = await open(t, { keys: { [vectors.identity]: "owner" } });
    await pick(text, name);
    await page.getByRole("alert").filter({ hasText: OWNERS }).waitFor();
    await page.waitForTimeout(200);
    assert.deepEqual(site.requests, requests, name);
    assert.ok(await page.getByRole("heading", { name: "Open your projects" }).isVisible());
    assert.equal(await page.locator("#project").innerText(), "");
    assert.equal(await page.evaluate(() => document.getElementById("key").files.length), 0, "the page holds the file");
    await picture(page, `owner-${name}`);
    // A viewer's file goes on from there.
    site.keys[vectors.identity] = "viewer";
    await pick(VIEWER);
    await page.getByText("Learning curve").waitFor();
    assert.deepEqual(complaints, []);
  }
});

test("a viewer's file shows its figures, and with another key says that they do not open", async (t) => {
  const { identity } = await import("../../cloud/refinery/web/sealed.js");
  const { publicKey } = await identity(Uint8Array.from({ length: 32 }, () => 7));
  for (const [metrics, figures] of [[vectors.viewer, true], ["08".repeat(32), false]]) {
    const { page, pick } = await open(t, { keys: { [publicKey]: "viewer" } });
    await pick(`${MEMBER}\n${metrics}\n`);
    await page.getByRole("heading", { name: "Uploads" }).waitFor();
    await (figures ? page.getByRole("img").first() : page.getByText("The figures do not open")).waitFor();
    assert.equal((await page.getByRole("img").count()) > 0, figures);
  }
});

test("figures that the refinery altered are told of loudly", async (t) => {
  const status = structuredClone(vectors.status);
  const { metrics } = status.rounds[2];
  status.rounds[2].metrics = metrics.slice(0, -1) + (metrics.endsWith("0") ? "1" : "0");
  const { page, pick } = await open(t, { status });
  await pick(VIEWER);
  await page.getByText("The figures of 1 rounds do not open: the refinery altered them.").waitFor();
});

test("what the refinery says is text, never markup", async (t) => {
  const status = structuredClone(vectors.status);
  const markup = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>";
  status.name = markup;
  status.failure = markup;
  status.uploads[2].reason = markup;
  status.uploads[2].upload = markup;
  status.rounds[3].decision = { "rolled-back": { reason: markup } };
  const { page, pick, complaints, elsewhere } = await open(t, { status });
  await pick(VIEWER);
  await page.getByRole("heading", { name: markup }).waitFor();
  assert.equal(await page.title(), "Blindsmith");
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.deepEqual([complaints, elsewhere], [[], []]);
});

test("a file that is no key is refused, and no request made of it", async (t) => {
  const { page, pick, site } = await open(t);
  for (const text of ["", "hello", vectors.root.repeat(2), "0".repeat(5000)]) {
    await pick(text);
    await page.getByRole("alert").filter({ hasText: "this is no key file" }).waitFor();
  }
  assert.deepEqual(site.requests, []);
});

test("a stranger's key is told that it has no project", async (t) => {
  const { page, pick } = await open(t);
  await pick("42".repeat(32));
  await page.getByRole("alert").filter({ hasText: "refused (403)" }).waitFor();
});

test("it is used from the keyboard alone, and the key is forgotten", async (t) => {
  const { page, pick } = await open(t);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "key");
  await pick(VIEWER);
  await page.getByText("Learning curve").waitFor();
  await page.getByRole("button", { name: "Forget the key" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Open your projects" }).waitFor();
  assert.equal(await page.locator("#project").innerText(), "");
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length), 0);
});

for (const [name, viewport] of [["phone", PHONE], ["desk", DESK]]) {
  test(`a project of a running refinery is opened: ${name}`, { skip: running ? false : "BLINDSMITH_URL names none" }, async (t) => {
    const { page, pick, elsewhere, complaints } = await open(t, { url: running, viewport });
    await pick(readFileSync(process.env.BLINDSMITH_KEY, "utf8"));
    await page.getByRole("img", { name: /^Validation accuracy: from / }).waitFor();
    assert.match(await tileOf(page, "Accuracy"), /^[01]\.\d{4}$/);
    for (const name of ["Uploads waiting", "Rows waiting", "Rounds waiting"]) assert.match(await tileOf(page, name), /^[\d,]+$/);
    const uploads = page.getByRole("region", { name: "Uploads" });
    assert.match(await uploads.getByRole("row", { name: /^Used / }).innerText(), /^Used\s+\d+\s+[\d,]+$/);
    assert.ok((await page.locator("table.rounds tbody tr").count()) >= 2, "rounds are listed");
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `the page is ${wide} pixels wider than the screen`);
    await picture(page, `running-${name}`);
    assert.deepEqual([elsewhere, complaints], [[], []]);
  });
}

test("rows that arrive at a running refinery wait until a round used them", { skip: process.env.BLINDSMITH_PUSH ? false : "BLINDSMITH_PUSH names no command" }, async (t) => {
  const { page, pick } = await open(t, { url: running });
  await pick(readFileSync(process.env.BLINDSMITH_KEY, "utf8"));
  await page.getByRole("heading", { name: "Uploads" }).waitFor();
  const before = Number(await tileOf(page, "Uploads waiting"));
  const pushed = spawnSync("bash", ["-c", process.env.BLINDSMITH_PUSH], { encoding: "utf8" });
  assert.equal(pushed.status, 0, pushed.stderr);
  const tile = page.locator("dl div").filter({ has: page.getByText("Uploads waiting", { exact: true }) });
  await tile.getByText(String(before + 1), { exact: true }).waitFor();
  await picture(page, "running-waiting");
});
