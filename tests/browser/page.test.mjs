// What the page computes, against vectors that the programs' own code makes: `node --test tests/browser`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { classFigures, decodeCbor, decodeMetrics, interval } from "../../cloud/refinery/web/metrics.js";
import { merge } from "../../cloud/refinery/web/parts.js";
import { derive, fromHex, identity, keysOfFile, refuseOwnersFile, toHex, unseal } from "../../cloud/refinery/web/sealed.js";
import { contentDigest, parameters, signatureBase, signed } from "../../cloud/refinery/web/signature.js";

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url)));
const root = fromHex(vectors.root);

test("keys are derived as the programs do", async () => {
  for (const { label, parts, key } of vectors.derived) {
    assert.equal(toHex(await derive(root, label, parts.map(fromHex))), key, label);
  }
  assert.equal((await identity(root)).publicKey, vectors.identity);
});

test("a key file has 64 digits a line, and nothing else is one", () => {
  const line = vectors.root;
  assert.deepEqual(keysOfFile(`${line}\n`), { root, metrics: null });
  assert.deepEqual(keysOfFile(`${line}\n${"07".repeat(32)}\n`), { root, metrics: fromHex("07".repeat(32)) });
  for (const text of ["", line.slice(1), `${line}0`, `${line} ${line}`, `${line}\n${line}\n${line}`, `${line}\n0`, "g".repeat(64)]) {
    assert.throws(() => keysOfFile(text), /no key file/);
  }
});

test("what was sealed opens under its key, in its context, unaltered, and not otherwise", async () => {
  const { context, plaintext, sealed } = vectors.sealed;
  const bytes = fromHex(sealed);
  assert.equal(toHex(await unseal(root, context, bytes)), plaintext);
  await assert.rejects(unseal(root, `${context} `, bytes));
  await assert.rejects(unseal(fromHex("07".repeat(32)), context, bytes));
  for (const at of [0, 31, 32, bytes.length - 1]) {
    const altered = bytes.slice();
    altered[at] ^= 1;
    await assert.rejects(unseal(root, context, altered), `byte ${at}`);
  }
  for (const length of [0, 31, 47, bytes.length - 1]) await assert.rejects(unseal(root, context, bytes.slice(0, length)));
});

test("requests are signed as the programs sign", async () => {
  const signer = await identity(root);
  for (const { method, url, created, nonce, base, ...headers } of vectors.requests) {
    const params = parameters({ created, nonce, keyid: signer.publicKey });
    const digest = await contentDigest(new Uint8Array());
    assert.equal(digest, headers.content_digest);
    assert.equal(signatureBase(method, new URL(url), digest, params), base);
    // Ed25519 is deterministic; with another nonce the signature is another.
    const raw = await signer.sign(new TextEncoder().encode(base));
    assert.equal(`blindsmith=:${Buffer.from(raw).toString("base64")}:`, headers.signature);
    const made = await signed(signer, method, new URL(url), created * 1000);
    const form = (text) => text.replace(/nonce="[0-9a-f]{32}"/, "nonce");
    assert.equal(form(made["Signature-Input"]), form(headers.signature_input));
    assert.notEqual(made.Signature, headers.signature);
  }
});

test("numbers of every width are read", () => {
  for (const { value, cbor } of vectors.cbor) assert.ok(Object.is(decodeCbor(fromHex(cbor)), value), cbor);
  // RFC 8949, appendix A.
  const examples = {
    "00": 0, 17: 23, 1818: 24, "1903e8": 1000, "1a000f4240": 1e6, 20: -1, "3903e7": -1000, f4: false, f6: null,
    f97c00: Infinity, "60": "", "62c3bc": "ü", "83010203": [1, 2, 3],
  };
  for (const [cbor, value] of Object.entries(examples)) assert.deepEqual(decodeCbor(fromHex(cbor.padStart(2, "0"))), value);
});

test("CBOR that is not well formed, too deep or too long is refused", () => {
  const bad = {
    "nothing": "", "ends in a number": "19ff", "ends in a text": "63616263".slice(0, 6), "more than one item": "0000",
    "a length that is not there": "9bffffffffffffffff", "a long list that is not there": "9affffffff",
    "a number beyond 2^53": "1b0020000000000000", "an indefinite length": "9fff", "a tag": "c000", "undefined": "f7",
    "a name twice": "a2616101616102", "a name that is no text": "a10102", "bytes that are no UTF-8": "61ff",
    "nested too deeply": `${"81".repeat(40)}00`,
  };
  for (const [defect, cbor] of Object.entries(bad)) assert.throws(() => decodeCbor(fromHex(cbor)), Error, defect);
});

test("a name never means more than a name", () => {
  const found = decodeCbor(fromHex("a1695f5f70726f746f5f5fa1616101"));
  assert.deepEqual(Object.keys(found), ["__proto__"]);
  assert.equal(found.a, undefined);
});

test("an owner's key is refused by its mark and by its name", () => {
  const marked = `# The owner's key, which opens every model\n${vectors.root}\n`;
  for (const text of [marked, `\n${marked}`, marked.replaceAll("\n", "\r\n")]) {
    assert.throws(() => keysOfFile(text), /owner's key, .* whoever serves it could take .* blindsmith viewer --project DIR/);
  }
  for (const name of ["owner.key", "Owner.KEY", "owner (1).key", "owner.key.txt", "sales-owner.key"]) {
    assert.throws(() => refuseOwnersFile(name), /owner's key/, name);
  }
  for (const name of ["viewer.key", "member.key", "sales.viewer.key", "owner-sales.viewer.key"]) refuseOwnersFile(name);
});

test("metrics open under a viewer's key", async () => {
  const key = fromHex(vectors.viewer);
  assert.deepEqual(key, await derive(await derive(root, "owner", [fromHex(vectors.project)]), "metrics"));
  for (const [i, round] of vectors.status.rounds.entries()) {
    const opened = await unseal(key, `metrics ${vectors.project} ${i}`, fromHex(round.metrics));
    const metrics = decodeMetrics(opened);
    const plain = JSON.parse(JSON.stringify(metrics));
    assert.deepEqual(plain, vectors.metrics[i]);
    await assert.rejects(unseal(key, `metrics ${vectors.project} ${i + 1}`, fromHex(round.metrics)), "another round's");
    assert.throws(() => decodeMetrics(opened.slice(0, 40)));
  }
});

test("a status comes in parts, changes replace what was, and another run begins anew", () => {
  const upload = (place, state) => ({ place, state });
  const part = ([run, change, number], uploads, rounds, more = true) =>
    ({ seen: { run, change, rounds: number }, uploads, rounds: rounds.map((round) => ({ round })), more });
  let known = merge(null, part([7, 5, 2], [upload(3, "stored"), upload(0, "used")], [0, 1]));
  known = merge(known, part([7, 9, 3], [upload(1, "stored"), upload(3, "admitted")], [2], false));
  assert.deepEqual(known.uploads, [upload(0, "used"), upload(1, "stored"), upload(3, "admitted")]);
  assert.equal(known.rounds.length, 3);
  const anew = merge(known, part([8, 1, 1], [upload(4, "used")], [0]));
  assert.deepEqual([anew.uploads, anew.rounds.length], [[upload(4, "used")], 1]);
  for (const [defect, wrong] of [
    ["a round is missing", part([7, 9, 5], [], [4])], ["a round comes twice", part([7, 9, 4], [], [0])],
    ["it counts other rounds than it brings", part([7, 9, 9], [], [3])], ["nothing new, and more to come", part([7, 9, 3], [], [])],
    ["a place beyond the limit", part([7, 10, 3], [upload(8192, "used")], [])], ["no numbers", { uploads: [], rounds: [] }],
    ["another run that begins in the middle", part([8, 5, 2], [], [1])],
  ]) assert.throws(() => merge(known, wrong), /do not follow/, defect);
});

test("figures of classes and their interval are those of the command line", () => {
  const [none, ill] = classFigures([[90, 8], [1, 1]]);
  assert.deepEqual(ill, { rows: 2, predicted: 9, precision: 1 / 9, recall: 1 / 2, f1: 2 / 11 });
  assert.equal(none.rows, 98);
  assert.equal(classFigures([[5, 0], [0, 0]])[1].recall, null);
  const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-4, `${a} for ${b}`);
  near(interval(1, 14)[0], 0.7847);
  near(interval(81 / 263, 263)[1], 0.3662);
});

test("what is no metrics is refused", () => {
  const framed = (cbor) => {
    const body = fromHex(cbor);
    return Uint8Array.from([body.length, 0, 0, 0, ...body]);
  };
  for (const cbor of ["f6", "00", "80", "a0", "a165726f756e6401", "a165726f756e6461"]) assert.throws(() => decodeMetrics(framed(cbor)));
  assert.throws(() => decodeMetrics(new Uint8Array(3)));
  assert.throws(() => decodeMetrics(Uint8Array.of(255, 255, 255, 255, 0)));
});
