// What happened between two overviews: rates and latencies.

/** delta of two histograms, as a histogram that is not cumulative. */
function delta(now, before) {
  const had = before?.counts ?? [];
  const cumulative = (now.counts ?? []).map((c, i) => c - (had[i] ?? 0));
  return {
    bounds: now.bounds ?? [],
    counts: cumulative.map((c, i) => c - (cumulative[i - 1] ?? 0)),
    count: now.count - (before?.count ?? 0),
    sum: now.sum - (before?.sum ?? 0),
  };
}

/** quantile estimates: the place in the bucket is taken to be even. */
function quantile(h, q) {
  if (h.count <= 0) return NaN;
  let left = q * h.count;
  for (let i = 0; i < h.counts.length; i++) {
    const low = i > 0 ? h.bounds[i - 1] : 0;
    if (h.counts[i] >= left && h.counts[i] > 0) return low + ((h.bounds[i] - low) * left) / h.counts[i];
    left -= h.counts[i];
  }
  return h.bounds.at(-1) ?? NaN;
}

const per = (now, before, seconds) => Math.max(0, ((now ?? 0) - (before ?? 0)) / seconds);

/** measure compares two overviews of the same imcd; null if they are not. */
export function measure(now, before) {
  if (!before || before.started !== now.started) return null;
  const span = (Date.parse(now.time) - Date.parse(before.time)) / 1000;
  if (span <= 0) return null;
  const results = {};
  for (const name of Object.keys(now.deliveries)) results[name] = per(now.deliveries[name], before.deliveries[name], span);
  const delivery = delta(now.delivery_seconds, before.delivery_seconds);
  const commit = delta(now.commit_seconds, before.commit_seconds);
  return {
    messages: per(now.messages, before.messages, span),
    deliveries: results.ok ?? 0,
    results,
    p50: quantile(delivery, 0.5),
    p95: quantile(delivery, 0.95),
    commit: commit.count > 0 ? commit.sum / commit.count : NaN,
  };
}

/** RoomRates remembers where rooms stood some seconds ago. */
export class RoomRates {
  #past = []; // {time, at: Map of room → sequence}
  #started = "";

  add(overview) {
    if (overview.started !== this.#started) this.#past = [];
    this.#started = overview.started;
    const time = Date.parse(overview.time);
    this.#past.push({ time, at: new Map(overview.rooms.map((r) => [r.room, r.sequence])) });
    while (this.#past.length > 2 && this.#past[1].time <= time - 10_000) this.#past.shift();
  }

  of(room) {
    const now = this.#past.at(-1);
    const then = this.#past.find((p) => p.at.has(room.room));
    if (!now || !then || then === now) return 0;
    return per(room.sequence, then.at.get(room.room), (now.time - then.time) / 1000);
  }
}
