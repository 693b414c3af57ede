// Small helpers. Data gets into the page as text only: nothing here parses HTML.

export const $ = (id) => document.getElementById(id);

/** el makes an element: attributes (class, title, data-…), then children, which are nodes or text. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== undefined && c !== ""));
  return node;
}

/** text sets what an element says, if it says something else. */
export function text(id, value, className) {
  const node = $(id);
  if (node.textContent !== value) node.textContent = value;
  if (className !== undefined) node.className = className;
}

/**
 * fill replaces those of a table's rows that have changed: a click goes to the row
 * that it was meant for, and the focus stays on the row with the same key.
 */
export function fill(id, rows) {
  const body = $(id);
  const focused = body.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  rows.forEach((row, i) => {
    const old = body.children[i];
    if (!old) body.append(row);
    else if (!old.isEqualNode(row)) old.replaceWith(row);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
  if (focused === undefined || body.contains(document.activeElement)) return;
  for (const node of body.querySelectorAll("[data-key]")) {
    if (node.dataset.key === focused) node.focus();
  }
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const count = (n) => whole.format(n ?? 0);

/** rate shows a number per second. */
export const rate = (n) => (!Number.isFinite(n) ? "–" : n >= 100 ? whole.format(n) : n >= 10 ? n.toFixed(1) : n > 0 && n < 0.1 ? n.toFixed(2) : n.toFixed(1));

export function seconds(s) {
  if (!Number.isFinite(s)) return "–";
  return s < 1 ? `${(s * 1000).toFixed(s < 0.01 ? 1 : 0)} ms` : s < 120 ? `${s.toFixed(1)} s` : `${(s / 60).toFixed(0)} min`;
}

export function bytes(n) {
  for (const unit of ["B", "KB", "MB", "GB"]) {
    if (n < 1024 || unit === "GB") return `${n < 10 && unit !== "B" ? n.toFixed(1) : whole.format(n)} ${unit}`;
    n /= 1024;
  }
}

export function since(then, now) {
  const s = Math.max(0, (now - then) / 1000);
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
}

/** The colour of a member's state. */
export const stateClass = { online: "good", offline: "wait", lost: "wait", silent: "bad", failing: "bad" };

export const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

/** short leaves the scheme out. */
export const short = (uri) => (uri ?? "").replace(/^sips?:/, "");

/** inRoom is a user as people in a room know it: without the domain where it is the room's. */
export function inRoom(uri, room) {
  const at = short(room).replace(/^[^@]*/, "");
  const name = short(uri);
  return at && name.toLowerCase().endsWith(at.toLowerCase()) ? name.slice(0, -at.length) : name;
}
