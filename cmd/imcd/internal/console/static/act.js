// What an operator does: a form for each action, sent when it is confirmed.

import { $, el, short, text } from "./dom.js";

const roles = ["member", "admin", "owner"];
const user = { name: "user", label: "User", placeholder: "sip:user@domain", required: true };
const term = { name: "for", label: "For", placeholder: "10m, 2h, 7d; empty: for good" };
const why = { name: "why", label: "Why" };
const moderate = (act) => ({ method: "imc.moderate", fixed: { act } });

/** The actions: their words, method, fields and what they do to whom. typed: the room's name must be typed again. */
const actions = {
  create: { title: "Create a room", method: "imc.create_room", fields: [
    { name: "room", label: "Room", placeholder: "sip:chat-name@domain", required: true },
    { name: "owner", label: "Owner", placeholder: "sip:user@domain; empty: nobody" },
    { name: "private", label: "Private: only who is invited may join", check: true }] },
  say: { title: "Say as the room", method: "imc.say", fields: [{ name: "text", label: "Text", lines: true, required: true }] },
  add: { title: "Add a member", method: "imc.add_member", fields: [user, { name: "role", label: "Role", choices: roles }] },
  set: { title: "Change a setting", method: "imc.room_set", fields: [
    { name: "name", label: "Setting", choices: [], required: true }, { name: "value", label: "Value", placeholder: "empty: default" }] },
  ban: { title: "Ban", ...moderate("ban"), fields: [{ ...user, placeholder: "sip:user@domain or *@domain" }, term, why] },
  unban: { title: "Lift a ban", ...moderate("unban"), fields: [{ ...user, placeholder: "sip:user@domain or *@domain" }] },
  remove: { title: "Remove from the room", method: "imc.remove_member", fields: [user] },
  role: { title: "Change the role", method: "imc.set_role", fields: [user, { name: "role", label: "Role", choices: roles }] },
  mute: { title: "Mute", ...moderate("mute"), fields: [user, term, why] },
  unmute: { title: "Unmute", ...moderate("unmute"), fields: [user] },
  voice: { title: "Give a voice", ...moderate("voice"), fields: [user] },
  unvoice: { title: "Take the voice back", ...moderate("unvoice"), fields: [user] },
  warn: { title: "Warn", ...moderate("warn"), fields: [user, { ...why, label: "Text", required: true }] },
  skip: { title: "Skip the next owed message", method: "imc.skip", fields: [user] },
  delete: { title: "Delete a message", method: "imc.delete_message", danger: true, fields: [
    { name: "seq", label: "Message, by its number", number: true, required: true }] },
  destroy: { title: "Destroy the room", method: "imc.destroy_room", typed: true, danger: true, fields: [] },
};

/** Those that are about one member. */
export const memberActions = ["remove", "role", "mute", "unmute", "voice", "unvoice", "warn", "ban", "skip"];
export const title = (name) => actions[name].title;

/** Act asks for what an action needs, and carries it out. */
export class Act {
  #now = null; // {name, room, done}

  constructor(link) {
    this.link = link;
    $("act-form").addEventListener("submit", (e) => {
      e.preventDefault();
      this.#send();
    });
    $("act-cancel").addEventListener("click", () => $("act").close());
  }

  /** ask opens the form. given are values of fields, choices those of a field by its name; done is called afterwards. */
  ask(name, { room = "", given = {}, choices = {}, done = () => {} } = {}) {
    const action = actions[name];
    this.#now = { action, room, done };
    text("h-act", action.title);
    text("act-room", room ? short(room) : "");
    text("act-wrong", "");
    const fields = action.fields.map((f) => this.#field(f, given[f.name], choices[f.name]));
    if (action.typed) {
      fields.push(el("label", {}, "Type the room's address again", el("input", { name: "again", required: true, autocomplete: "off", spellcheck: "false" })));
    }
    $("act-fields").replaceChildren(...fields);
    text("act-ok", action.title, action.danger ? "danger" : "");
    $("act").showModal();
    const first = [...$("act-fields").querySelectorAll("input, select, textarea")].find((n) => !n.readOnly);
    (first ?? $("act-ok")).focus();
  }

  #field(f, value, choices) {
    if (f.check) return el("label", { class: "check-line" }, el("input", { type: "checkbox", name: f.name }), f.label);
    const common = { name: f.name, required: f.required, autocomplete: "off" };
    let input;
    if (f.choices) {
      input = el("select", common, ...(choices ?? f.choices).map((c) => el("option", { value: c.value ?? c }, c.label ?? c)));
      if (value) input.value = value;
    } else if (f.lines) {
      input = el("textarea", { ...common, rows: "3" });
    } else {
      input = el("input", { ...common, placeholder: f.placeholder, value, readonly: value !== undefined, spellcheck: "false" });
    }
    return el("label", {}, f.label, input);
  }

  async #send() {
    const { action, room, done } = this.#now;
    const form = new FormData($("act-form"));
    const params = { ...action.fixed };
    if (room) params.room = room;
    for (const f of action.fields) {
      const value = form.get(f.name)?.trim() ?? "";
      if (f.check) params[f.name] = form.has(f.name);
      else if (f.number) params[f.name] = Number(value);
      else if (value !== "" || f.required || f.name === "value") params[f.name] = f.name === "value" && value === "" ? "default" : value;
    }
    if (action.typed && short(form.get("again").trim()).toLowerCase() !== short(room).toLowerCase()) {
      text("act-wrong", "That is not the room's address.");
      return;
    }
    $("act-ok").disabled = true;
    try {
      const result = await this.link.call(action.method, params);
      $("act").close();
      done(result, params);
    } catch (err) {
      text("act-wrong", err.message);
    } finally {
      $("act-ok").disabled = false;
    }
  }
}
