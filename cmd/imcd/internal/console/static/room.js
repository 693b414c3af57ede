// One room: its members, and what happens in it.

import { memberActions, title } from "./act.js";
import { actRow } from "./acts.js";
import { $, count, el, fill, inRoom, short, stateClass, text } from "./dom.js";
import { Feed } from "./feed.js";

const kinds = ["message", "join", "leave", "role", "room_destroyed", "failure"];
const mostMembers = 300;
const every = 3000;

export class Room {
  uri = "";
  #subscription = 0;
  #timer = 0;
  #bodies = false;
  #early; // events that came while the history is asked for: it may be older than they are

  /** act asks for and does what is chosen; user opens a user. */
  constructor(link, act, user) {
    Object.assign(this, { link, act, user });
    for (const button of document.querySelectorAll("[data-act]")) {
      button.addEventListener("click", () => this.#act(button.dataset.act));
    }
    this.feed = new Feed("talk", "no-talk", { withRoom: false, remove: (seq) => this.#act("delete", undefined, seq) });
    $("room-close").addEventListener("click", () => { location.hash = ""; });
  }

  /** show opens a room; an empty uri closes it. */
  async show(uri, bodies) {
    this.hide();
    this.uri = uri;
    this.#bodies = bodies;
    $("room-panel").hidden = uri === "";
    if (uri === "") return;
    text("h-room", short(uri));
    text("room-facts", "");
    fill("acts", []);
    fill("members", []);
    if (matchMedia("(max-width: 1000px)").matches) $("room-panel").scrollIntoView();
    await this.open();
  }

  hide() {
    clearInterval(this.#timer);
    if (this.#subscription) this.link.call("imc.unsubscribe", { subscription: this.#subscription }).catch(() => {});
    this.#subscription = 0;
    this.#early = undefined;
    this.feed.clear();
  }

  /** open subscribes and asks, also after a new connection. */
  async open() {
    if (this.uri === "") return;
    const uri = this.uri;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.refresh(), every);
    this.#subscription = 0;
    this.refresh();
    try {
      const { subscription } = await this.link.call("imc.subscribe", { events: kinds, rooms: [uri], bodies: this.#bodies });
      if (this.uri !== uri) {
        this.link.call("imc.unsubscribe", { subscription }).catch(() => {});
        return;
      }
      this.#subscription = subscription;
      if (this.#bodies) await this.#history(uri);
    } catch { /* the connection is lost: it is opened again with the next */ }
  }

  async #history(uri) {
    const early = this.#early = [];
    const items = await this.link.call("imc.history", { room: uri, n: 20 });
    if (this.uri !== uri || this.#early !== early) return;
    this.#early = undefined;
    this.feed.clear();
    for (const m of items) {
      this.feed.add({ event: "message", room: uri, time: m.time, sender: m.from, display: m.display, content_type: m.content_type,
        size: m.body.length, body: m.body, base64: m.base64, seq: m.seq });
    }
    const last = Math.max(0, ...items.map((m) => m.seq));
    for (const e of early) {
      if (e.event !== "message" || e.seq > last) this.feed.add(e);
    }
  }

  event(e) {
    if (e.subscription !== this.#subscription || !e.room || e.room.toLowerCase() !== this.uri.toLowerCase()) return;
    this.feed.add(e);
    this.#early?.push(e);
    if (e.event !== "message") this.refresh();
  }

  async refresh() {
    const uri = this.uri;
    try {
      const [info, acts] = await Promise.all([this.link.call("imc.room_info", { room: uri }), this.link.call("imc.acts", { room: uri, n: 50 })]);
      if (this.uri !== uri) return;
      this.#draw(info);
      this.#drawActs(acts);
    } catch (err) {
      if (this.uri !== uri || !/no such room/.test(err.message)) return;
      text("room-facts", "is gone");
      fill("members", []);
    }
  }

  /** #act asks for an action about the room, or about one of its members. */
  async #act(name, member, seq) {
    const about = { room: this.uri, given: member ? { user: member.user } : { seq }, choices: {}, done: () => this.refresh() };
    if (member && name === "role") about.given.role = member.role;
    if (name === "set") {
      const settings = await this.link.call("imc.room_settings", { room: this.uri });
      about.choices.name = settings.map((s) => ({ value: s.name, label: `${s.name} (${s.value}): ${s.values}` }));
    }
    this.act.ask(name, about);
  }

  #menu(m) {
    const menu = el("select", { "data-key": m.user, "aria-label": `Do something about ${short(m.user)}` }, el("option", { value: "" }, "…"),
      ...(m.role === "invited" ? ["remove"] : memberActions).map((name) => el("option", { value: name }, title(name))));
    menu.addEventListener("change", () => {
      const name = menu.value;
      menu.value = "";
      if (name) this.#act(name, m);
    });
    return menu;
  }

  #drawActs(acts) {
    for (const a of acts) {
      if (a.act === "delete") this.feed.forget(Number(/\d+/.exec(a.why)?.[0]));
    }
    $("no-acts").hidden = acts.length > 0;
    const name = (uri) => inRoom(uri, this.uri);
    fill("acts", acts.reverse().map((a) => actRow(a, name, { whom: a.user ? name(a.user) : "" })));
  }

  #draw(info) {
    const inside = info.members.filter((m) => m.role !== "invited").length;
    text("room-facts", `${info.private ? "private · " : ""}${count(inside)} member${inside === 1 ? "" : "s"} · message ${count(info.sequence)}${info.read_of ? ` · read by ${count(info.read_by)} of ${count(info.read_of)}` : ""}`);
    fill("members", info.members.slice(0, mostMembers).map((m) => el("tr", {},
      el("td", {}, el("button", { type: "button", class: "name", title: m.user, onclick: () => this.user(m.user) }, inRoom(m.user, this.uri))),
      el("td", { class: "word" }, m.role),
      el("td", { class: "state " + (stateClass[m.state_code] ?? "dim"), title: m.last_result ? `${m.last_result} ${m.last_reason}` : "" },
        m.devices_owed ? `${m.state}, not on all devices` : m.state),
      el("td", { class: "num" }, m.role === "invited" ? "" : count(m.lag)),
      el("td", { class: "num" }, m.role === "invited" || !m.displayed ? "" : count(m.displayed)),
      el("td", {}, this.#menu(m)))));
    const more = info.members.length - mostMembers;
    $("more-members").hidden = more <= 0;
    text("more-members", `and ${count(more)} more`);
  }
}
