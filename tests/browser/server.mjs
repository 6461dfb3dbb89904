// A stand-in for the refinery: the page's files with the headers that the refinery gives them, and recorded answers to
// requests whose signatures it verifies.

import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const source = readFileSync(new URL("../../cloud/refinery/src/http/page.rs", import.meta.url), "utf8");
const policy = source.match(/POLICY: &str = "([^"]*)"/)[1].replace(/\\\n\s*/g, "");
const media = Object.fromEntries([...source.matchAll(/const ([A-Z]+): &str = "([^"]*)";/g)].map(([, name, text]) => [name, text]));
const files = new Map([...source.matchAll(/^ {4}"([^"]+)" "([^"]+)" ([A-Z]+);$/gm)].map(([, path, name, kind]) => {
  return [path, { text: readFileSync(new URL(`../../cloud/refinery/web/${name}`, import.meta.url)), type: media[kind] }];
}));

/** Whether a request was signed by the key that it names, within five minutes, with a nonce that was not seen. */
function verified(request, seen) {
  const { signature, "signature-input": input = "", "content-digest": digest } = request.headers;
  const [, params, created, nonce, keyid] =
    input.match(/^blindsmith=(\("@method" "@authority" "@path" "@query" "content-digest"\);created=(\d+);nonce="([0-9a-f]{32})";keyid="([0-9a-f]{64})";alg="ed25519";tag="blindsmith-v1")$/) ?? [];
  if (!params || seen.has(nonce) || Math.abs(Date.now() / 1000 - Number(created)) > 300) return null;
  seen.add(nonce);
  const { pathname, search } = new URL(request.url, "http://host");
  const base = [
    `"@method": ${request.method}`, `"@authority": ${request.headers.host}`, `"@path": ${pathname}`, `"@query": ${search || "?"}`,
    `"content-digest": ${digest}`, `"@signature-params": ${params}`,
  ].join("\n");
  const key = createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(keyid, "hex").toString("base64url") } });
  const bytes = Buffer.from(signature?.match(/^blindsmith=:(.*):$/)?.[1] ?? "", "base64");
  return verify(null, Buffer.from(base), key, bytes) ? keyid : null;
}

/** Of `site.status` what follows `seen`, a few uploads and rounds at a time: as the refinery's parts, but smaller. */
function partOf(site, query) {
  const seen = Object.fromEntries([...query].map(([name, value]) => [name, Number(value)]));
  const told = (site.told ??= []);
  for (const [place, upload] of site.status.uploads.entries()) {
    const text = JSON.stringify(upload);
    if (told[place]?.text !== text) told[place] = { text, change: (site.changes = (site.changes ?? 0) + 1) };
  }
  const { run } = site.status.seen;
  const { change, rounds: from } = seen.run === run ? seen : { change: 0, rounds: 0 };
  const changed = told.map((t, place) => ({ ...t, place })).filter((t) => t.change > change).sort((a, b) => a.change - b.change);
  const some = changed.slice(0, 4);
  const rounds = site.status.rounds.slice(from, from + 3);
  const last = some.length < changed.length ? some.at(-1).change : site.changes;
  const next = { run, change: last, rounds: from + rounds.length };
  const uploads = some.map(({ place }) => ({ ...site.status.uploads[place], place }));
  const more = some.length < changed.length || next.rounds < site.status.rounds.length;
  return { ...site.status, uploads, rounds, seen: next, more };
}

/** Serves on a free port of this machine. `site.status` may be changed while it runs. */
export async function serve(site) {
  const seen = new Set();
  const server = createServer((request, response) => {
    const answer = (status, type, body, more = {}) => response.writeHead(status, { "Content-Type": type, ...more }).end(body);
    const json = (status, body) => answer(status, status < 400 ? "application/json" : "application/problem+json", JSON.stringify(body));
    const refuse = (status, detail) => json(status, { type: "about:blank", title: "refused", status, detail });
    const file = files.get(request.url);
    if (file) return answer(200, file.type, file.text, { "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff" });
    const key = verified(request, seen);
    if (!key) return refuse(401, "the signature does not fit the request");
    site.requests.push(request.url);
    if (!site.keys[key]) return refuse(403, "this key owns no project here, and is no member of any");
    const { status } = site;
    const [project, role] = [status.project, site.keys[key]];
    if (request.url === "/v1/projects") return json(200, { projects: [{ project, name: status.name, role }] });
    const { pathname, searchParams } = new URL(request.url, "http://host");
    if (pathname === `/v1/projects/${project}`) return json(200, partOf(site, searchParams));
    if (request.url === `/v1/projects/${project}/events`) {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      // Cut where it hurts.
      response.write("event: progress\ndata: {\"round\":6,");
      return response.write("\"step\":90,\"steps\":240}\n\n");
    }
    return refuse(404, "there is no such thing");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { origin: `http://127.0.0.1:${server.address().port}`, close };
}
