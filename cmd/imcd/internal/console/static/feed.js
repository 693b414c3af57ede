// Events as lines of text, newest first.

import { $, clock, count, el, inRoom, short } from "./dom.js";

// name shows a URI: whole where many rooms are, without the room's domain in one room.
const who = (name, uri, display) => el("span", { class: "who", title: uri }, display ? `${display} (${name(uri)})` : name(uri));
const by = (e, name) => (e.by && e.by !== e.user ? ` by ${name(e.by)}` : "");
const kind = (e) => e.content_type || "text/plain";

function message(e, name) {
  const line = [who(name, e.sender, e.display)];
  if (e.body === undefined) return [...line, el("span", { class: "raw" }, ` ${kind(e)}, ${count(e.size)} bytes`)];
  if (e.base64) return [...line, el("span", { class: "raw" }, ` ${kind(e)}, ${count(e.size)} bytes, not text`)];
  return [...line, el("span", { class: "body" }, e.body)];
}

const words = {
  message,
  join: (e, name) => [who(name, e.user), ` joined${e.role !== "member" ? ` as ${e.role}` : ""}${by(e, name)}`],
  leave: (e, name) => [who(name, e.user), e.by && e.by !== e.user ? ` was removed${by(e, name)}` : " left"],
  role: (e, name) => [who(name, e.user), ` is now ${e.role}${by(e, name)}`],
  room_created: (e, name) => [`created${e.private ? " (private)" : ""}${e.user ? ` by ${name(e.user)}` : " by the operator"}`],
  room_destroyed: (e, name) => [`destroyed${e.by ? ` by ${name(e.by)}` : ""}`],
  failure: (e, name) => [el("span", { class: e.outcome === "offline" ? "wait" : "bad" }, `${e.code} ${e.reason}`), ` (${e.outcome}) message ${e.seq} to `, who(name, e.member)],
  kamailio: (e) => [el("span", { class: e.up ? "good" : "bad" }, `${e.kamailio} ${e.up ? "connected" : "lost"}`)],
};

/** Feed shows the last events in a list; many at once are drawn together. */
export class Feed {
  #new = [];
  #drawing = false;

  /** withRoom: the room is named in each line. keep: an event is shown if it says so. remove: deletes a message. */
  constructor(list, empty, { withRoom, limit = 200, keep = () => true, remove }) {
    Object.assign(this, { list: $(list), empty: $(empty), withRoom, limit, keep, remove });
  }

  add(event) {
    if (!words[event.event] || !this.keep(event)) return;
    this.#new.push(event);
    if (this.#new.length > this.limit) this.#new.shift();
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => this.#draw());
  }

  /** forget takes a message out that was deleted. */
  forget(seq) {
    this.#new = this.#new.filter((e) => e.seq !== seq || e.event !== "message");
    this.list.querySelector(`li[data-seq="${seq}"]`)?.remove();
    this.empty.hidden = this.list.children.length > 0;
  }

  clear() {
    this.#new = [];
    this.list.replaceChildren();
    this.empty.hidden = false;
  }

  #draw() {
    this.#drawing = false;
    const lines = this.#new.map((e) => this.#line(e)).reverse();
    this.#new = [];
    this.list.prepend(...lines);
    while (this.list.children.length > this.limit) this.list.lastElementChild.remove();
    this.empty.hidden = this.list.children.length > 0;
  }

  #line(e) {
    const room = this.withRoom && e.room ? [el("span", { class: "dim" }, short(e.room) + "  ")] : [];
    const name = this.withRoom ? short : (uri) => inRoom(uri, e.room);
    const seq = e.event === "message" && e.seq ? e.seq : undefined;
    const remove = seq && this.remove
      ? [el("button", { type: "button", class: "delete", "aria-label": `Delete message ${seq}`, onclick: () => this.remove(seq) }, "Delete")] : [];
    return el("li", { "data-event": e.event, "data-seq": seq }, el("time", { datetime: e.time }, clock(e.time)),
      el("span", { class: "what" }, ...remove, ...room, ...words[e.event](e, name)));
  }
}
