// The page: asks the refinery that served it, opens what is sealed to the key's holder, shows it. Everything that came
// from the refinery enters the page as text.

import { curve, digits } from "./chart.js";
import { classFigures, decodeMetrics, interval } from "./metrics.js";
import { merge } from "./parts.js";
import { fromHex, identity, keysOfFile, refuseOwner, refuseOwnersFile, unseal } from "./sealed.js";
import { signed } from "./signature.js";

const PERIOD = 2000;
const MAX_ANSWER = 64 << 20;
const MAX_EVENT = 1 << 16;
const MOST_REASONS = 100;

const $ = (id) => document.getElementById(id);
/** What the key's holder is looking at; replaced whole, so that answers to an earlier choice are told apart. */
let session = null;

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

function tell(message) {
  $("trouble").textContent = message;
  $("trouble").hidden = !message;
}

/** A signed request; the answer, if it is a good one. */
async function ask(path, more = {}) {
  const url = new URL(path, location.origin);
  const headers = await signed(session.identity, "GET", url);
  const options = { headers, cache: "no-store", credentials: "omit", redirect: "error", ...more };
  const answer = await fetch(url, options).catch((cause) => {
    throw new Error("the refinery does not answer: is it running?", { cause });
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const detail = typeof problem.detail === "string" ? problem.detail : "no reason was given";
  throw new Error(`refused (${answer.status}): ${detail}`);
}

async function askJson(path) {
  const text = await (await ask(path)).text();
  if (text.length > MAX_ANSWER) throw new Error("the refinery's answer is too long");
  return JSON.parse(text);
}

/** A decision as `{ word, reason, version }`. */
function decisionOf(decision) {
  if (typeof decision === "string") return { word: decision };
  const [word, inner] = Object.entries(decision ?? {})[0] ?? ["unknown", {}];
  return { word, reason: inner?.reason, version: inner?.version };
}

const REASONS = {
  screened: "its labels contradict the current model more than chance would: shuffled or wrong labels, or rows of another kind",
  "screened-after":
    "its labels contradict what the other rows teach more than chance would: shuffled or wrong labels, or rows of another kind",
  worse: "training on it made the model worse",
  "out-of-range":
    "training on it made values leave their range, which training without it does not: rows of another scale, or wrong values",
};

/** Opens a round's metrics; null if the key does not. What was opened is kept: it does not change. */
async function open(view, round) {
  if (!view.key) return null;
  const known = view.opened.get(round.metrics);
  if (known) return known;
  try {
    const plain = await unseal(view.key, `metrics ${view.project} ${round.round}`, fromHex(round.metrics));
    const metrics = decodeMetrics(plain);
    view.opened.set(round.metrics, metrics);
    return metrics;
  } catch {
    return null;
  }
}

/** Uploads that a round used and that were withdrawn since. */
function withdrawnFrom(status, number) {
  const used = (u) => Array.isArray(u.used_in) && u.used_in.some(([from, to]) => from <= number && number <= to);
  return status.uploads.filter(used).map((u) => String(u.upload).slice(0, 16));
}

async function roundsOf(view, status) {
  return Promise.all(status.rounds.map(async (round) => {
    const metrics = await open(view, round);
    const { word, reason, version } = decisionOf(round.decision);
    const aside = metrics?.quarantined.length ? metrics.quarantined : round.quarantined;
    const why = [metrics?.failure ?? reason, version !== undefined ? `version ${version} again` : null];
    for (const q of aside) why.push(`quarantined ${String(q.upload).slice(0, 16)}: ${REASONS[q.reason] ?? q.reason}`);
    const withdrawn = withdrawnFrom(status, round.round);
    if (withdrawn.length) why.push(`used uploads that were withdrawn since: ${withdrawn.join(", ")}`);
    return {
      number: round.round, word, current: round.current, uploads: round.uploads, rows: round.rows, metrics,
      rate: round.seconds > 0 && round.rows > 0 ? round.rows / round.seconds : null,
      seconds: round.seconds, why: why.filter(Boolean).join("; "),
      discarded: word === "rolled-back" || word === "failed",
    };
  }));
}

const count = (value) => Number(value).toLocaleString("en");

function tile(name, value) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value));
}

function tiles(status, rounds) {
  const newest = rounds.at(-1);
  const standing = rounds.findLast((r) => r.number === newest?.current) ?? newest;
  const speed = rounds.findLast((r) => r.rate !== null);
  const waiting = status.uploads.filter((u) => u.state === "stored" || u.state === "admitted");
  const validation = standing?.metrics?.validation;
  const list = make("dl", { class: "tiles" }, tile("Current version", newest ? newest.current : "none"));
  if (validation) list.append(tile("Validation loss", digits(validation.loss)), tile("Validation rows", count(validation.rows)));
  if (typeof validation?.accuracy === "number") {
    const [low, high] = interval(validation.accuracy, validation.rows);
    list.append(tile("Accuracy", digits(validation.accuracy)), tile("Accuracy lies in (95 %)", `${low.toFixed(2)} to ${high.toFixed(2)}`));
  }
  for (const [name, title] of [["auc", "Area under curve"], ["rmse", "Root mean square error"], ["r2", "R²"]]) {
    if (typeof validation?.[name] === "number") list.append(tile(title, digits(validation[name])));
  }
  list.append(tile("Rows per second", speed ? count(Math.round(speed.rate)) : "none yet"));
  const rows = waiting.reduce((sum, u) => sum + u.rows, 0);
  list.append(tile("Uploads waiting", count(waiting.length)), tile("Rows waiting", count(rows)));
  list.append(tile("Rounds waiting", count(status.queued)));
  return list;
}

function wardenLine(status) {
  const held = status.ready ? "holds the project's secrets" : "does not hold the project's secrets";
  if (status.warden === null) return make("p", { class: "loud" }, "No warden is connected: nothing is trained.");
  if (status.warden === "simulated") {
    return make("p", { class: "loud" }, `SIMULATED warden: it protects nothing, and is for tests. It ${held}.`);
  }
  return make("p", {}, "Warden: ", make("strong", {}, status.warden), `. It ${held}.`);
}

function progressCard(status, progress) {
  const card = make("section", { class: "card", "aria-label": "Round under way" });
  if (progress && status.busy) {
    const text = `Round ${progress.round}: step ${count(progress.step)} of ${count(progress.steps)}`;
    card.append(make("p", { id: "progress-text" }, text));
    const bar = make("progress", { max: Math.max(progress.steps, 1), value: progress.step, "aria-labelledby": "progress-text" });
    card.append(bar);
  } else {
    card.append(make("p", { class: "faint" }, status.busy ? "A round is due or starting." : "No round is running or due."));
  }
  return card;
}

/** Whether all uploads and all figures are this key's to see. */
function seesAll(view) {
  return view.role === "viewer";
}

function curves(view, rounds, width) {
  const card = make("section", { class: "card", "aria-labelledby": "curve-title" }, make("h2", { id: "curve-title" }, "Learning curve"));
  const opened = rounds.filter((r) => r.metrics);
  const sealed = rounds.length - opened.length;
  if (opened.length && sealed) {
    card.append(make("p", { class: "loud" }, `The figures of ${sealed} rounds do not open: the refinery altered them.`));
  } else if (sealed && seesAll(view)) {
    card.append(make("p", { class: "loud" }, "The figures do not open: this is another project's key, or the refinery altered them."));
  } else if (sealed) {
    card.append(make("p", { class: "faint" }, "Figures are sealed to the project's owner."));
  }
  if (!opened.length) return card;
  const narrow = width < 640;
  const each = Math.max(240, narrow ? width - 34 : (width - 34 - 32) / 3);
  const points = (of) => opened.flatMap((r) => {
    const y = r.metrics.validation ? of(r.metrics.validation) : null;
    return typeof y === "number" ? [{ x: r.number, y, discarded: r.discarded }] : [];
  });
  const training = opened.flatMap((r) => r.metrics.trainingLoss).map((y, i) => ({ x: i + 1, y }));
  const all = [
    { kind: "loss", title: "Validation loss", unit: "version", points: points((v) => v.loss) },
    { kind: "accuracy", title: "Validation accuracy", unit: "version", points: points((v) => v.accuracy) },
    { kind: "training", title: "Training loss", unit: "epoch", points: training },
  ].filter((c) => c.points.length || c.kind === "loss");
  card.append(make("div", { class: "curves" }, ...all.map((c) => curve({ ...c, width: each }))));
  if (opened.some((r) => r.discarded && r.metrics.validation)) {
    card.append(make("p", { class: "faint" }, "Open red circles are models that were discarded."));
  }
  return card;
}

/** The figures of each class in the current version; classes have numbers here, in the order of the project's list. */
function classesCard(rounds) {
  const newest = rounds.at(-1);
  const standing = rounds.findLast((r) => r.number === newest?.current) ?? newest;
  const confusion = standing?.metrics?.validation?.confusion ?? [];
  if (confusion.length < 2) return null;
  const head = ["Class", "Rows", "Predicted", "Precision", "Recall", "F1"].map((name) => make("th", { scope: "col" }, name));
  const share = (value) => (value === null ? "" : digits(value));
  const rows = classFigures(confusion).map((c, i) => {
    const cells = [i, count(c.rows), count(c.predicted), share(c.precision), share(c.recall), share(c.f1)];
    return make("tr", {}, ...cells.map((value) => make("td", {}, String(value))));
  });
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  return make("section", { class: "card", "aria-labelledby": "classes-title" },
    make("h2", { id: "classes-title" }, `Classes at version ${newest.current}`), make("div", { class: "wide" }, table));
}

const COLUMNS = [
  ["Round", (r) => r.number], ["Decision", (r) => r.word, "words"], ["Version", (r) => r.current],
  ["Rows", (r) => (r.rows ? count(r.rows) : "")], ["Rows/s", (r) => (r.rate === null ? "" : count(Math.round(r.rate)))],
  ["Seconds", (r) => r.seconds.toFixed(1)],
  ["Loss", (r) => (r.metrics?.validation ? digits(r.metrics.validation.loss) : "")],
  ["Accuracy", (r) => (typeof r.metrics?.validation?.accuracy === "number" ? digits(r.metrics.validation.accuracy) : "")],
  ["Why", (r) => r.why, "words why"],
];

function roundsCard(rounds) {
  const card = make("section", { class: "card", "aria-labelledby": "rounds-title" }, make("h2", { id: "rounds-title" }, "Versions and rounds"));
  // Only columns that say something: a member sees no figures.
  const columns = COLUMNS.filter(([, of]) => rounds.some((r) => of(r) !== ""));
  const head = make("tr", {}, ...columns.map(([name, , kind]) => make("th", { scope: "col", class: kind ?? "" }, name)));
  const rows = rounds.toReversed().map((r) => make("tr", {}, ...columns.map(([name, of, kind]) => {
    const attributes = { class: kind ?? "", "data-name": name };
    if (name === "Round") return make("th", { ...attributes, scope: "row" }, of(r));
    if (name === "Decision") attributes.class += r.discarded ? " bad" : r.word === "promoted" ? " good" : "";
    // An empty text node would keep the cell from being `:empty`.
    return of(r) === "" ? make("td", attributes) : make("td", attributes, make("span", {}, of(r)));
  })));
  const table = make("table", { class: "rounds" }, make("thead", {}, head), make("tbody", {}, ...rows));
  card.append(make("div", { class: "wide" }, table));
  return card;
}

const STATES = [
  ["stored", "Stored, not yet read"], ["admitted", "Admitted to the next round"], ["used", "Used"],
  ["quarantined", "Quarantined"], ["refused", "Refused"], ["withdrawn", "Withdrawn"],
];

function uploadsCard(view, status) {
  const card = make("section", { class: "card", "aria-labelledby": "uploads-title" }, make("h2", { id: "uploads-title" }, "Uploads"));
  if (!status.uploads.length) {
    const whose = seesAll(view) ? "None yet." : "None of yours yet.";
    card.append(make("p", { class: "faint" }, `${whose} Send rows with `, make("code", {}, "blindsmith push"), "."));
    return card;
  }
  const rows = STATES.flatMap(([state, name]) => {
    const of = status.uploads.filter((u) => u.state === state);
    if (!of.length) return [];
    const sum = of.reduce((all, u) => all + u.rows, 0);
    return [make("tr", {}, make("th", { scope: "row", class: "words" }, name), make("td", {}, count(of.length)), make("td", {}, count(sum)))];
  });
  const names = [["State", "words"], ["Uploads", ""], ["Rows", ""]];
  const head = make("tr", {}, ...names.map(([name, kind]) => make("th", { scope: "col", class: kind }, name)));
  card.append(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  const told = status.uploads.filter((u) => u.reason).toReversed();
  if (told.length) {
    const line = (u) => make("li", {}, make("code", {}, u.upload.slice(0, 16)), ` ${u.state}, ${count(u.rows)} rows: ${u.reason}`);
    card.append(make("ul", { class: "bad" }, ...told.slice(0, MOST_REASONS).map(line)));
    if (told.length > MOST_REASONS) card.append(make("p", {}, `and ${told.length - MOST_REASONS} more`));
  }
  return card;
}

async function draw(view) {
  const { status, progress } = view;
  const rounds = await roundsOf(view, status);
  if (session?.view !== view) return;
  const place = $("project");
  place.hidden = false;
  const parts = [
    make("div", {}, make("h2", {}, status.name), make("code", { class: "faint" }, view.project)),
    wardenLine(status),
  ];
  if (status.failure) parts.push(make("p", { class: "loud" }, `The last round failed: ${status.failure}`));
  parts.push(tiles(status, rounds), progressCard(status, progress), curves(view, rounds, place.clientWidth));
  parts.push(...[classesCard(rounds)].filter(Boolean), roundsCard(rounds), uploadsCard(view, status));
  place.replaceChildren(...parts);
}

/** Follows the round under way, until there is none or another project is looked at. */
async function follow(view) {
  view.following = true;
  try {
    const answer = await ask(`/v1/projects/${view.project}/events`, { signal: view.stop.signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value.replaceAll("\r", "");
      const events = text.split("\n\n");
      text = events.pop();
      if (text.length > MAX_EVENT) return;
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data:"));
        const told = data && JSON.parse(data.slice(5));
        if (![told?.round, told?.step, told?.steps].every(Number.isSafeInteger)) continue;
        view.progress = told;
        await draw(view);
      }
    }
  } catch {
    // Progress is a comfort: what is wrong, the next status tells.
  } finally {
    view.following = false;
  }
}

/** Brings what is known of a project up to date: the refinery sends, in parts, what is new or has changed. */
async function statusOf(view) {
  let known = view.known;
  for (;;) {
    const { run, change, rounds } = known?.seen ?? { run: 0, change: 0, rounds: 0 };
    const part = await askJson(`/v1/projects/${view.project}?run=${run}&change=${change}&rounds=${rounds}`);
    known = merge(known, part);
    if (!part.more) break;
  }
  view.known = known;
  return known;
}

async function update(view) {
  try {
    const status = await statusOf(view);
    if (session?.view !== view) return;
    tell("");
    const text = JSON.stringify({ ...status, seen: null });
    // What has not changed is left as it is: where the reader is, and what is selected.
    if (text !== view.text) {
      Object.assign(view, { text, status });
      const newest = status.rounds.at(-1)?.round ?? 0;
      if (!status.busy || view.progress?.round <= newest) view.progress = null;
      await draw(view);
    }
    if (status.busy && !view.following) follow(view);
  } catch (error) {
    if (session?.view === view) tell(error.message);
  }
}

async function poll(view) {
  while (session?.view === view) {
    if (!document.hidden) await update(view);
    await new Promise((resolve) => setTimeout(resolve, PERIOD));
  }
}

function choose(project, role) {
  session.view?.stop.abort();
  const view = { project, role, key: session.metrics, opened: new Map(), progress: null, text: "", following: false, stop: new AbortController() };
  session.view = view;
  $("project").replaceChildren(make("p", { class: "faint" }, "Asking the refinery…"));
  $("project").hidden = false;
  for (const link of $("project-list").querySelectorAll("a")) {
    if (link.dataset.project === project) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  poll(view);
}

/** Shows the project that the address names, if the key's holder has it. */
function chosen() {
  const found = session?.projects.find((p) => `#${p.project}` === location.hash);
  if (found && session.view?.project !== found.project) choose(found.project, found.role);
}

function list(projects) {
  const link = (p) => {
    const a = make("a", { href: `#${p.project}` }, p.name || p.project.slice(0, 16));
    a.dataset.project = p.project;
    return make("li", {}, a, make("span", { class: "faint" }, ` ${p.role}, ${p.project.slice(0, 16)}`));
  };
  $("project-list").replaceChildren(...projects.map(link));
  $("projects").hidden = projects.length < 2;
}

async function start(file) {
  tell("");
  if (!globalThis.crypto?.subtle) throw new Error("browsers open keys over https or on this machine only: use an https address");
  if (file.size > 4096) throw new Error("this is no key file: it is too long");
  refuseOwnersFile(file.name);
  const { root, metrics } = keysOfFile(await file.text());
  const who = await identity(root).catch((cause) => {
    throw new Error("this browser has no Ed25519: use a newer one", { cause });
  });
  root.fill(0);
  session = { metrics, identity: who, projects: [], view: null };
  const { projects } = await askJson("/v1/projects");
  // One of another name, and from before the mark.
  if (projects.some((p) => p.role === "owner")) {
    session.metrics?.fill(0);
    session = null;
    refuseOwner();
  }
  const good = (p) => /^[0-9a-f]{64}$/.test(p.project) && typeof p.name === "string" && typeof p.role === "string";
  session.projects = projects.filter(good);
  $("start").hidden = true;
  $("forget").hidden = false;
  $("who").textContent = `key ${who.publicKey.slice(0, 16)}`;
  list(session.projects);
  if (!session.projects.length) throw new Error("this key is no member of any project here");
  if (!session.projects.some((p) => `#${p.project}` === location.hash)) {
    // Of several, the reader chooses.
    if (session.projects.length === 1) location.replace(`#${session.projects[0].project}`);
  }
  chosen();
}

$("key").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (!file) return;
  start(file).catch((error) => tell(error.message));
  // So that the page does not hold it, and another one of this name can be chosen.
  event.target.value = "";
});
$("forget").addEventListener("click", () => {
  session.metrics?.fill(0);
  location.replace("/");
});
addEventListener("hashchange", chosen);
let width = innerWidth;
addEventListener("resize", () => {
  if (session?.view?.status && innerWidth !== width) draw(session.view);
  width = innerWidth;
});
