// One user: the rooms, what is owed in each and why, and the devices.

import { actRow } from "./acts.js";
import { $, clock, count, el, fill, short, stateClass, text } from "./dom.js";

const every = 3000;
const when = (time) => new Date(time).toLocaleString("en-GB");

const mostRooms = 10;

/** lacks says in words which messages of which rooms a device has not got. */
function lacks(rooms) {
  const lines = rooms.slice(0, mostRooms).map((r) => el("div", {
    title: `has each message up to number ${count(r.has)}; the user's other devices have ${count(r.owed)} more`,
  }, `${short(r.room)}: has ${count(r.has)} of ${count(r.sequence)}`));
  if (rooms.length > mostRooms) lines.push(el("div", {}, `and ${count(rooms.length - mostRooms)} more rooms`));
  return lines;
}

export class User {
  uri = "";
  #timer = 0;

  /** open is called with a room that was chosen. */
  constructor(link, open) {
    Object.assign(this, { link, open });
    $("user-close").addEventListener("click", () => { location.hash = ""; });
  }

  /** show shows a user; an empty uri closes the panel. */
  show(uri) {
    clearInterval(this.#timer);
    this.uri = uri;
    $("user-panel").hidden = uri === "";
    if (uri === "") return;
    text("h-user", short(uri));
    text("user-facts", "");
    fill("user-rooms", []);
    fill("user-devices", []);
    fill("user-acts", []);
    $("user-panel").scrollIntoView({ block: matchMedia("(max-width: 1000px)").matches ? "start" : "nearest" });
    this.#timer = setInterval(() => this.refresh(), every);
    return this.refresh();
  }

  async refresh() {
    const uri = this.uri;
    if (uri === "") return;
    try {
      const [rooms, devices, acts] = await Promise.all(["imc.user_rooms", "imc.devices", "imc.user_acts"].map((m) => this.link.call(m, { user: uri })));
      if (this.uri === uri) this.#draw(rooms ?? [], devices ?? [], acts ?? []);
    } catch (err) {
      if (this.uri === uri) text("user-facts", err.message);
    }
  }

  #draw(rooms, devices, acts) {
    const owed = rooms.reduce((n, r) => n + r.lag, 0);
    text("user-facts", rooms.length === 0 ? "is in no room" : `${count(rooms.length)} room${rooms.length === 1 ? "" : "s"} · owed ${count(owed)} message${owed === 1 ? "" : "s"}`);
    fill("user-rooms", rooms.map((r) => el("tr", {},
      el("td", {}, el("button", { type: "button", "data-key": r.room, onclick: () => this.open(r.room) }, short(r.room))),
      el("td", { class: "word" }, r.role + (r.muted ? ", muted" : "")),
      el("td", { class: "state " + (stateClass[r.state_code] ?? "dim") }, r.state),
      el("td", {}, r.last_result ? `${r.last_result} ${r.last_reason}, ${clock(r.last_at)}` : ""),
      el("td", { class: "num" }, r.role === "invited" ? "" : count(r.lag)),
      el("td", { class: "num wide" }, r.role === "invited" ? "" : `${count(r.cursor)} of ${count(r.sequence)}`))));
    $("user-rooms").closest("table").hidden = rooms.length === 0;
    $("user-devices").closest("table").hidden = devices.length === 0;
    $("no-devices").hidden = devices.length > 0;
    $("user-acts").closest("table").hidden = acts.length === 0;
    $("no-user-acts").hidden = acts.length > 0;
    fill("user-acts", acts.reverse().map((a) => actRow(a, short, {
      room: el("button", { type: "button", "data-key": a.room + a.time, onclick: () => this.open(a.room) }, short(a.room)),
    })));
    fill("user-devices", devices.map((d) => el("tr", {},
      el("td", { title: d.contact }, d.agent || d.device),
      el("td", { class: "state " + (d.registered ? "good" : "wait") }, d.state || (d.registered ? "registered" : "not registered")),
      el("td", {}, d.registered && d.expires ? when(d.expires) : ""),
      el("td", {}, ...lacks(d.rooms ?? [])))));
  }
}
