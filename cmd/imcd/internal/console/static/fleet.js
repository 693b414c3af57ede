// The imcd that share the database: asked for with each refresh. Without a fleet there is nothing to see.

import { $, count, el, fill, seconds, since, text } from "./dom.js";

const silence = 0.9; // seconds, after which another imcd takes over

export async function showFleet(link, now) {
  let fleet;
  try {
    fleet = await link.call("imc.fleet");
  } catch {
    return; // the database is away: what was there stays
  }
  $("fleet-panel").hidden = fleet.engine === 0;
  text("fleet-facts", fleet.unowned ? `${count(fleet.unowned)} of ${count(fleet.shards)} shards belong to nobody`
    : `${count(fleet.shards)} shards`, fleet.unowned ? "bad" : "dim");
  fill("engines", fleet.engines.map((e) => {
    const [state, look] = stateOf(e);
    return el("tr", {},
      el("td", { class: "num" }, String(e.engine)),
      el("td", { title: `process ${e.pid}` }, e.host + (e.http ? ` ${e.http}` : ""),
        e.engine === fleet.engine ? el("span", { class: "tag" }, "this one") : ""),
      el("td", { class: "num wide" }, since(Date.parse(e.since), now)),
      el("td", { class: "num", title: shardsOf(e) }, count(e.owns.length)),
      el("td", { class: "num" + (e.silent > silence ? " bad" : "") }, seconds(e.silent)),
      el("td", { class: look }, state));
  }));
}

/** stateOf is what an engine does, in the words of imcctl fleet, and how that looks. */
function stateOf(e) {
  const state = e.ending ? "ending" : e.draining ? "draining" : e.owns.length > 0 ? "owner" : "spare";
  if (!e.ready) return [`${state}, no Kamailio`, "bad"];
  return [state, e.ending || e.draining ? "wait" : "good"];
}

const shardsOf = (e) => (e.owns.length === 0 ? "no shards" : `shards ${e.owns.map((s) => s.shard).join(", ")}`);
