// Signed requests: HTTP Message Signatures (RFC 9421) with Ed25519, in the one profile that the refinery takes.

import { toBase64, toHex } from "./sealed.js";

const COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest")';

/** The value of Content-Digest (RFC 9530) for a body. */
export async function contentDigest(body) {
  return `sha-256=:${toBase64(new Uint8Array(await crypto.subtle.digest("SHA-256", body)))}:`;
}

/** The parameters of a signature; `created` in seconds since 1970, `nonce` and `keyid` in hexadecimal digits. */
export function parameters({ created, nonce, keyid }) {
  return `${COMPONENTS};created=${created};nonce="${nonce}";keyid="${keyid}";alg="ed25519";tag="blindsmith-v1"`;
}

/** What is signed. `url` is a URL object; an absent query is `?`, as RFC 9421 has it. */
export function signatureBase(method, url, digest, params) {
  return [
    `"@method": ${method}`,
    `"@authority": ${url.host.toLowerCase()}`,
    `"@path": ${url.pathname}`,
    `"@query": ${url.search || "?"}`,
    `"content-digest": ${digest}`,
    `"@signature-params": ${params}`,
  ].join("\n");
}

/** The headers that make a request without a body one of whoever holds the identity. */
export async function signed(identity, method, url, now = Date.now()) {
  const digest = await contentDigest(new Uint8Array());
  const nonce = toHex(crypto.getRandomValues(new Uint8Array(16)));
  const params = parameters({ created: Math.floor(now / 1000), nonce, keyid: identity.publicKey });
  const base = new TextEncoder().encode(signatureBase(method, url, digest, params));
  return {
    "Content-Digest": digest,
    "Signature-Input": `blindsmith=${params}`,
    Signature: `blindsmith=:${toBase64(await identity.sign(base))}:`,
  };
}
