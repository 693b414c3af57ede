// The console: asks for an overview every two seconds, and at once when an event
// says that rooms have changed.

import { Act } from "./act.js";
import { Chart } from "./chart.js";
import { $, bytes, count, el, fill, rate, seconds, short, since, text } from "./dom.js";
import { Feed } from "./feed.js";
import { showFleet } from "./fleet.js";
import { Link } from "./link.js";
import { measure, RoomRates } from "./meter.js";
import { Room } from "./room.js";
import "./theme.js";
import { User } from "./user.js";

const every = 2000, soon = 150;
const watched = ["join", "leave", "role", "room_created", "room_destroyed", "failure", "kamailio"];

const state = { sort: "room", match: "", last: null, bodies: false, watching: 0 };
const rates = new RoomRates();
const charts = {
  rate: new Chart($("c-rate"), ["messages", "deliveries"], { show: rate, scale: (n) => String(Number(n.toPrecision(3))), least: 1 }),
  latency: new Chart($("c-latency"), ["p50", "p95", "commit"], { show: seconds, least: 0.01 }),
};
const failuresOnly = $("only-failures");
const events = new Feed("events", "no-events", {
  withRoom: true, keep: (e) => !failuresOnly.checked || e.event === "failure" || e.event === "kamailio",
});

const link = new Link({ up, down, event, token: askToken });
const act = new Act(link);
const open = (uri) => { location.hash = "room=" + encodeURIComponent(uri); };
const openUser = (uri) => { location.hash = "user=" + encodeURIComponent(uri); };
const room = new Room(link, act, openUser);
const user = new User(link, open);
let timer = 0, due = Infinity; // of the next refresh

async function up() {
  text("link", "live", "badge good");
  document.body.classList.remove("away");
  try {
    state.watching = (await link.call("imc.subscribe", { events: watched })).subscription;
    if (!state.last) await recall();
    await refresh();
    await showPlace(true);
  } catch { /* lost again */ }
  later(every);
}

/** recall fills charts and events with what imcd remembers of the last minutes. */
async function recall() {
  const { samples, events: past } = await link.call("imc.recent");
  samples.forEach((s, i) => drawSample(s, measure(s, samples[i - 1])));
  for (const e of past) events.add(e);
  state.last = samples.at(-1) ?? null;
}

function down() {
  text("link", "reconnecting", "badge wait");
  document.body.classList.add("away");
  clearTimeout(timer);
  due = Infinity;
}

function event(e) {
  room.event(e);
  if (e.subscription !== state.watching) return;
  events.add(e);
  if (e.event !== "failure") later(soon);
}

// A refresh that is due sooner than the planned one takes its place.
function later(ms) {
  if (performance.now() + ms >= due) return;
  clearTimeout(timer);
  due = performance.now() + ms;
  timer = setTimeout(() => {
    due = Infinity;
    refresh().catch(() => {}).finally(() => later(every)); // a failed one is asked again as well
  }, ms);
}

async function refresh() {
  const now = await link.call("imc.overview", { match: state.match, sort: state.sort });
  const m = measure(now, state.last);
  const tooSoon = state.last && Date.parse(now.time) - Date.parse(state.last.time) < every / 2;
  rates.add(now);
  state.bodies = now.event_bodies;
  drawState(now);
  drawRooms(now);
  drawTables(now, m);
  if (!tooSoon) { // a shorter span would make the charts jump
    drawMeasured(now, m);
    state.last = now;
  }
  await showFleet(link, Date.parse(now.time));
}

function drawState(o) {
  const down = o.kamailios.filter((k) => !k.up);
  text("version", o.version);
  text("uptime", `up ${since(Date.parse(o.started), Date.parse(o.time))}`);
  text("t-rooms", count(o.stats.active_rooms));
  text("t-members", `${count(o.stats.members)} member${o.stats.members === 1 ? "" : "s"}`);
  text("t-outstanding", `per second · ${count(o.stats.outstanding)} under way`);
  text("t-backlog", bytes(o.stats.backlog_bytes));
  text("t-waiting", o.stats.waiting === 0 ? "nobody is away" : `${count(o.stats.waiting)} member${o.stats.waiting === 1 ? "" : "s"} away`);
  text("t-database", o.stats.database_ok ? "ok" : "down", o.stats.database_ok ? "good" : "bad");
  text("t-kamailio", `${o.kamailios.length - down.length}/${o.kamailios.length}`, down.length === 0 ? "good" : "bad");
  text("t-down", down.length === 0 ? "connected" : `${down.map((k) => k.name).join(", ")} missing`);
}

function drawMeasured(o, m) {
  text("t-messages", m ? rate(m.messages) : "–");
  text("t-deliveries", m ? rate(m.deliveries) : "–");
  text("t-commit", m && Number.isFinite(m.commit) ? `commit ${seconds(m.commit)}` : "");
  drawSample(o, m);
}

function drawSample(o, m) {
  const time = Date.parse(o.time);
  charts.rate.add(time, m ? [m.messages, m.deliveries] : [NaN, NaN]);
  charts.latency.add(time, m ? [m.p50, m.p95, m.commit] : [NaN, NaN, NaN]);
}

function drawRooms(o) {
  text("found", count(o.found) + (o.found > o.rooms.length ? `, the first ${count(o.rooms.length)}` : ""));
  $("no-rooms").hidden = o.rooms.length > 0;
  text("no-rooms", state.match ? "No room with that name." : "No room yet. Who sends #create or #join to one makes it.");
  fill("rooms", o.rooms.map((r) => el("tr", { class: r.room === room.uri ? "chosen" : undefined },
    el("td", {}, el("button", { type: "button", "data-key": r.room, title: `owner ${short(r.owner) || "none"}`, onclick: () => open(r.room) }, short(r.room)),
      r.private ? el("span", { class: "tag" }, "private") : ""),
    el("td", { class: "num" }, count(r.members) + (r.invited ? ` +${count(r.invited)}` : "")),
    el("td", { class: "num wide" }, count(r.sequence)),
    el("td", { class: "num" }, rate(rates.of(r))),
    el("td", { class: "num" + (r.backlog > 0 ? " wait" : "") }, count(r.backlog)))));
}

function drawTables(o, m) {
  const results = Object.entries(o.deliveries).sort(([a], [b]) => (a < b ? -1 : 1));
  $("no-deliveries").hidden = results.length > 0;
  fill("deliveries", results.map(([name, n]) => el("tr", {}, el("td", {}, name),
    el("td", { class: "num" }, count(n)), el("td", { class: "num" }, m ? rate(m.results[name] ?? 0) : "–"))));
  fill("kamailios", o.kamailios.map((k) => el("tr", {}, el("td", {}, k.name),
    el("td", { class: k.up ? "good" : "bad" }, k.up ? "connected" : "not connected"),
    el("td", { class: "num" }, count(k.queued)), el("td", { class: "num" }, k.shm_free ? bytes(k.shm_free) : "–"))));
}

async function showPlace(again) {
  let uri = "", who = "";
  try {
    uri = decodeURIComponent(/^#room=(.+)/.exec(location.hash)?.[1] ?? "");
    who = decodeURIComponent(/^#user=(.+)/.exec(location.hash)?.[1] ?? "");
  } catch { /* no room has such a name */ }
  if (who !== user.uri || again) user.show(who);
  if (uri === room.uri && !again) return;
  if (uri === room.uri) await room.open();
  else await room.show(uri, state.bodies);
  if (state.last) later(0);
}

function askToken(wrong) {
  $("token-wrong").hidden = !wrong;
  $("token").value = "";
  $("ask-token").showModal();
  return new Promise((resolve) => {
    $("ask-token").addEventListener("close", () => resolve($("token").value), { once: true });
  });
}

$("filter").addEventListener("input", () => { state.match = $("filter").value.trim(); later(soon); });
failuresOnly.addEventListener("change", () => events.clear());
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    state.sort = button.dataset.sort;
    for (const th of document.querySelectorAll("th[aria-sort]")) th.removeAttribute("aria-sort");
    button.parentElement.setAttribute("aria-sort", state.sort === "room" ? "ascending" : "descending");
    later(0);
  });
}
addEventListener("hashchange", () => showPlace(false));
$("create").addEventListener("click", () => act.ask("create", { done: (result) => { later(0); open(result.room); } }));
$("find-user").addEventListener("submit", (e) => {
  e.preventDefault();
  const name = $("user-name").value.trim();
  if (name) openUser(name.includes("@") ? (/^sips?:/.test(name) ? name : "sip:" + name) : withDomain(name));
});

/** withDomain gives a name the domain that most rooms have. */
function withDomain(name) {
  const first = document.querySelector("#rooms button")?.dataset.key ?? "";
  return `sip:${name}${first.slice(first.indexOf("@"))}`;
}
$("ask-token").addEventListener("cancel", (e) => e.preventDefault()); // there is nothing to see without
link.open();
