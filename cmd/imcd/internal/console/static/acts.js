// What was done in rooms, as rows of a table.

import { el } from "./dom.js";

const when = (time) => new Date(time).toLocaleString("en-GB");

/** actRow is a row of an act: who did what, and why; to whom, in a room; in which room, of a user. name shows a URI. */
export const actRow = (a, name, { whom, room }) => el("tr", {},
  el("td", { class: "word" }, when(a.time)),
  ...(room ? [el("td", {}, room)] : []),
  el("td", {}, a.by ? name(a.by) : "operator"),
  el("td", { class: "word" }, room && a.user?.startsWith("*") ? `${a.act} ${a.user}` : a.act),
  ...(whom === undefined ? [] : [el("td", {}, whom)]),
  el("td", {}, [a.why, a.until ? `until ${when(a.until)}` : ""].filter(Boolean).join(" · ")));
