// Keys as the programs derive them (docs/protocol.md, "Keys" and "Sealed messages"), with WebCrypto alone.

const utf8 = new TextEncoder();
const SALT = 32;
const TAG = 16;
// PKCS #8 (RFC 8410) of an Ed25519 seed, without the seed: WebCrypto takes private keys in no simpler form.
const PKCS8 = fromHex("302e020100300506032b657004220420");

/** Bytes of hexadecimal digits. Throws if the text is anything else. */
export function fromHex(text) {
  if (!/^([0-9a-f]{2})*$/i.test(text)) throw new Error("hexadecimal digits are expected");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** Hexadecimal digits of bytes. */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Base64 of bytes. */
export function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

/** What an owner's key file begins with, and what the page says of one. */
const OWNER_MARK = "# The owner's key";
const REFUSAL =
  "this is an owner's key, and the page does not use it: the page comes from the refinery, and whoever serves it could take " +
  "the key, which opens every model. Make a key that shows the figures and nothing else: " +
  "blindsmith viewer --project DIR --out viewer.key";

/** Throws because a key is the owner's. */
export function refuseOwner() {
  throw new Error(REFUSAL);
}

/** Throws if a file's name is that of the owner's key, also as browsers and people name copies: such a file is not even read. */
export function refuseOwnersFile(name) {
  if (/owner/i.test(name) && !/viewer|member/i.test(name)) refuseOwner();
}

/**
 * The keys in a key file, lines of 64 hexadecimal digits: the root, and in a viewer's file the key of the metrics, else null.
 * Throws if the file is none.
 */
export function keysOfFile(text) {
  const lines = text.trim().split(/\r?\n/);
  if (lines[0].startsWith(OWNER_MARK)) refuseOwner();
  if (lines.length > 2 || !lines.every((line) => /^[0-9a-f]{64}$/i.test(line))) {
    throw new Error("this is no key file: choose one that blindsmith viewer wrote, or member.key of a project's directory");
  }
  return { root: fromHex(lines[0]), metrics: lines.length > 1 ? fromHex(lines[1]) : null };
}

/** Joins byte arrays. */
export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * HKDF-Expand (RFC 5869) with SHA-256 to 32 bytes, one block: HMAC of the info and 1. WebCrypto's HKDF always extracts
 * first, which the programs do not. Every part enters with its length.
 */
export async function derive(key, label, parts = []) {
  const info = ["blindsmith", label].map((text) => utf8.encode(text)).concat(parts).flatMap((part) => {
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(part.length));
    return [length, part];
  });
  const hmac = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", hmac, concat(...info, Uint8Array.of(1))));
}

/** Opens what was sealed under a key in a context. Throws for a wrong key, a wrong context or altered data. */
export async function unseal(key, context, sealed) {
  if (sealed.length < SALT + TAG) throw new Error("a sealed message is longer");
  const once = await derive(key, "seal", [sealed.subarray(0, SALT)]);
  const aes = await crypto.subtle.importKey("raw", once, "AES-GCM", false, ["decrypt"]);
  // The key is used once, so the nonce may be fixed.
  const algorithm = { name: "AES-GCM", iv: new Uint8Array(12), additionalData: utf8.encode(context) };
  return new Uint8Array(await crypto.subtle.decrypt(algorithm, aes, sealed.subarray(SALT)));
}

/** The identity of a key file: the public key in hexadecimal digits, and what signs. */
export async function identity(root) {
  const pkcs8 = concat(PKCS8, await derive(root, "identity"));
  // WebCrypto tells a public key only in a copy that may be exported; the one that is kept may not.
  const open = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", true, ["sign"]);
  const { x } = await crypto.subtle.exportKey("jwk", open);
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", false, ["sign"]);
  pkcs8.fill(0);
  const publicKey = Uint8Array.from(atob(x.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return {
    publicKey: toHex(publicKey),
    sign: async (bytes) => new Uint8Array(await crypto.subtle.sign("Ed25519", key, bytes)),
  };
}
