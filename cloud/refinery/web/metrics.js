// What a round found: sealed to the owner as a length (4 bytes, little-endian), CBOR, and zeros.

import { toHex } from "./sealed.js";

const MAX_DEPTH = 16;
const MAX_ITEMS = 1 << 22;

class Reader {
  constructor(bytes) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.bytes = bytes;
    this.at = 0;
    this.items = 0;
  }

  take(count) {
    if (count > this.bytes.length - this.at) throw new Error("CBOR: it ends too early");
    this.at += count;
    return this.at - count;
  }

  argument(short) {
    if (short < 24) return short;
    if (short === 24) return this.view.getUint8(this.take(1));
    if (short === 25) return this.view.getUint16(this.take(2));
    if (short === 26) return this.view.getUint32(this.take(4));
    if (short !== 27) throw new Error("CBOR: lengths must be told beforehand");
    const long = this.view.getBigUint64(this.take(8));
    if (long > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error("CBOR: a number is too large");
    return Number(long);
  }

  simple(short) {
    switch (short) {
      case 20: return false;
      case 21: return true;
      case 22: return null;
      case 25: return half(this.view.getUint16(this.take(2)));
      case 26: return this.view.getFloat32(this.take(4));
      case 27: return this.view.getFloat64(this.take(8));
      default: throw new Error("CBOR: an unknown simple value");
    }
  }

  item(depth = 0) {
    this.items += 1;
    if (depth > MAX_DEPTH || this.items > MAX_ITEMS) throw new Error("CBOR: nested too deeply, or too long");
    const first = this.view.getUint8(this.take(1));
    const [major, short] = [first >> 5, first & 31];
    if (major === 7) return this.simple(short);
    if (major === 6) throw new Error("CBOR: tags are not used");
    const value = this.argument(short);
    switch (major) {
      case 0: return value;
      case 1: return -1 - value;
      case 2: return this.slice(value);
      case 3: return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.slice(value));
      case 4: return this.list(value, depth);
      default: return this.map(value, depth);
    }
  }

  slice(count) {
    const start = this.take(count);
    return this.bytes.subarray(start, start + count);
  }

  list(count, depth) {
    const out = [];
    for (let i = 0; i < count; i += 1) out.push(this.item(depth + 1));
    return out;
  }

  map(count, depth) {
    // Without a prototype, so that no name means something of its own.
    const out = Object.create(null);
    for (let i = 0; i < count; i += 1) {
      const name = this.item(depth + 1);
      if (typeof name !== "string" || name in out) throw new Error("CBOR: names are text, each once");
      out[name] = this.item(depth + 1);
    }
    return out;
  }
}

/** A number of IEEE 754 binary16, which CBOR writes where it loses nothing. */
function half(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 25) * (1024 + fraction) : sign * 2 ** -24 * fraction;
}

/** The one CBOR item (RFC 8949) that these bytes are. Throws for anything else; never reads far or deep. */
export function decodeCbor(bytes) {
  const reader = new Reader(bytes);
  const item = reader.item();
  if (reader.at !== bytes.length) throw new Error("CBOR: something follows");
  return item;
}

function check(holds) {
  if (!holds) throw new Error("these are no metrics");
}

const isNumber = (value) => typeof value === "number";
const optional = (value, is) => value === null || value === undefined || is(value);

function figures(found) {
  if (found === null || found === undefined) return null;
  check(typeof found === "object" && isNumber(found.rows) && isNumber(found.loss));
  for (const name of ["accuracy", "auc", "f1", "f1_macro", "rmse", "r2"]) check(optional(found[name], isNumber));
  const confusion = found.confusion ?? [];
  check(Array.isArray(confusion) && confusion.length <= 32);
  for (const row of confusion) check(Array.isArray(row) && row.length === confusion.length && row.every(isNumber));
  return found;
}

/** Wilson's interval, at 95 % confidence, of a share of so many rows. */
export function interval(share, rows) {
  const n = Math.max(rows, 1);
  const z = 1.959963985 ** 2 / n;
  const half = Math.sqrt(z * (share * (1 - share) + z / 4));
  return [share + z / 2 - half, share + z / 2 + half].map((bound) => Math.min(Math.max(bound / (1 + z), 0), 1));
}

/** Of each class: its rows, how often it is predicted, precision, recall and F1; null where nothing defines them. */
export function classFigures(confusion) {
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  return confusion.map((row, j) => {
    const [rows, predicted, both] = [sum(row), sum(confusion.map((r) => r[j])), row[j]];
    const share = (part, of) => (of > 0 ? part / of : null);
    return { rows, predicted, precision: share(both, predicted), recall: share(both, rows), f1: share(2 * both, rows + predicted) };
  });
}

/** What a round found. Throws for bytes that are no metrics. */
export function decodeMetrics(bytes) {
  check(bytes.length >= 4);
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  check(length <= bytes.length - 4);
  const found = decodeCbor(bytes.subarray(4, 4 + length));
  check(found !== null && typeof found === "object" && isNumber(found.round));
  check(Array.isArray(found.training_loss) && found.training_loss.every(isNumber));
  check(Array.isArray(found.quarantined) && Array.isArray(found.contributors));
  check(optional(found.before, isNumber) && optional(found.failure, (text) => typeof text === "string"));
  const id = (value) => {
    check(value instanceof Uint8Array && value.length === 32);
    return toHex(value);
  };
  return {
    round: found.round,
    trainingLoss: found.training_loss,
    validation: figures(found.validation),
    before: found.before ?? null,
    failure: found.failure ?? null,
    quarantined: found.quarantined.map((q) => {
      check(q !== null && typeof q === "object" && typeof q.reason === "string");
      return { upload: id(q.upload), reason: q.reason };
    }),
    contributors: found.contributors.map((c) => {
      check(c !== null && typeof c === "object" && isNumber(c.rows));
      return { contributor: id(c.contributor), rows: c.rows, validation: figures(c.validation) };
    }),
  };
}
