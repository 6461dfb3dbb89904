// A project's status, which comes in parts.

/** As clients on the command line: more of either is no refinery's. */
const MAX_UPLOADS = 8192;
const MAX_ROUNDS = 1 << 20;

/** What was known with the part that followed it; throws if it does not follow. */
export function merge(known, part) {
  const wrong = () => new Error("the refinery's answers do not follow one another");
  const before = known?.seen.run === part.seen?.run ? known : null;
  const next = part.seen;
  if (![next?.run, next?.change, next?.rounds].every((n) => Number.isSafeInteger(n) && n >= 0)) throw wrong();
  if (!Array.isArray(part.uploads) || !Array.isArray(part.rounds)) throw wrong();
  if (part.more && before && before.seen.change === next.change && before.seen.rounds === next.rounds) throw wrong();
  const uploads = new Map(before?.uploads.map((u) => [u.place, u]));
  for (const upload of part.uploads) {
    if (!Number.isSafeInteger(upload.place) || upload.place < 0 || upload.place >= MAX_UPLOADS) throw wrong();
    uploads.set(upload.place, upload);
  }
  const rounds = [...(before?.rounds ?? []), ...part.rounds];
  if (rounds.length !== next.rounds || rounds.length > MAX_ROUNDS || rounds.some((r, i) => r.round !== i)) throw wrong();
  return { ...part, uploads: [...uploads.values()].sort((a, b) => a.place - b.place), rounds };
}
