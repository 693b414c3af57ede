// Light, dark, or as the system has it; the choice stays in this browser.

import { $ } from "./dom.js";

const themes = { "": ["◐", "as the system has them"], light: ["☀", "light"], dark: ["☾", "dark"] };
const order = Object.keys(themes);
const button = $("theme");

function set(name) {
  const [sign, words] = themes[name];
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  button.textContent = sign;
  button.setAttribute("aria-label", `Colours: ${words}`);
  button.title = `Colours: ${words}`;
  localStorage.setItem("imcd-theme", name);
}

button.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? "";
  set(order[(order.indexOf(now) + 1) % order.length]);
});
const kept = localStorage.getItem("imcd-theme");
set(kept in themes ? kept : "");
