"use strict";
// Every key presses the button or link that names it in data-key; so whatever has a key can also be clicked, touched and read aloud.

const alertBox = document.getElementById("alert");
const tell = text => { alertBox.textContent = text; alertBox.hidden = !text; };

const nameOf = event => {
  const key = event.key === " " ? "space" : event.key.toLowerCase();
  return (event.ctrlKey || event.metaKey ? "ctrl+" : "") + (event.shiftKey && /^[a-z]$/.test(key) ? "shift+" : "") + key;
};
const isShown = one => !one.disabled && one.getClientRects().length > 0;

const walk = (dialog, name) => { // among the tiles of a dialog; whether this key does
  const tiles = [...dialog.querySelectorAll("[data-walk] a")], top = one => one.getBoundingClientRect().top;
  const row = tiles.filter(one => top(one) === top(tiles[0])).length;
  const step = { j: 1, k: -1, arrowright: 1, arrowleft: -1, arrowdown: row, arrowup: -row }[name];
  if (!step) return false;
  const at = tiles.indexOf(document.activeElement);
  tiles[at < 0 ? 0 : Math.max(0, Math.min(tiles.length - 1, at + step))].focus();
  return true;
};

document.addEventListener("keydown", event => {
  if (event.altKey || event.isComposing || (event.repeat && !["+", "-"].includes(event.key))) return; // a key that is held answers once
  const typing = event.target.closest("input:not([type=range], [type=checkbox]), textarea, select");
  const name = nameOf(event), dialog = document.querySelector("dialog[open]");
  if ((typing && !(name === "ctrl+z" && typing.matches("select"))) || (name !== "ctrl+z" && localStorage.getItem("keys") === "off" && name !== "?")) return;
  if (event.target.closest("button, a, summary") && (name === "enter" || (name === "space" && event.target.closest("button, summary")))) return; // presses what has the focus
  if (event.target.matches("input[type=range]") && name.startsWith("arrow")) return;
  if (dialog && walk(dialog, name)) return event.preventDefault();
  const found = [...(dialog || document).querySelectorAll("[data-key]")].find(one => one.dataset.key.split(" ").includes(name) && isShown(one));
  if (!found) return;
  event.preventDefault();
  found.click();
});

document.addEventListener("click", event => {
  if (event.target.matches("dialog") || event.target.closest("[data-close]")) event.target.closest("dialog").close(); // beside it, or its button
  const opener = event.target.closest("[data-open]");
  if (opener) show(document.getElementById(opener.dataset.open));
});

const show = dialog => {
  dialog.showModal();
  const field = dialog.querySelector("[data-focus]");
  (field || dialog).focus();
  field?.select();
  dialog.scrollTop = 0;
};

const keysOn = document.getElementById("keys-on");
keysOn.checked = localStorage.getItem("keys") !== "off";
keysOn.addEventListener("change", () => localStorage.setItem("keys", keysOn.checked ? "on" : "off"));

const estimates = () => [...document.querySelectorAll("[data-estimated]")].filter(one => one.querySelector("select").selectedIndex === 0); // shown, and nothing else said
const recount = () => {
  const button = document.querySelector("[data-accepts]"), n = estimates().length;
  if (button) { button.textContent = n === 1 ? "Accept this estimate" : `Accept these ${n} estimates`; button.disabled = !n; }
};
document.addEventListener("change", recount);
document.addEventListener("htmx:configRequest", event => {
  if (event.detail.elt.matches("[data-accepts]")) event.detail.parameters.photos = estimates().map(one => one.dataset.estimated).join(" ");
});

document.addEventListener("htmx:beforeRequest", event => { if (event.detail.requestConfig.verb !== "get") tell(""); });
document.addEventListener("htmx:afterRequest", event => { // what a list shows is what was recorded
  for (const one of event.detail.elt.options || []) event.detail.successful ? (one.defaultSelected = one.selected) : (one.selected = one.defaultSelected);
  recount();
});
document.addEventListener("told", event => tell(event.detail.value));
document.addEventListener("htmx:sendError", () => tell("reid does not answer: it was stopped. Nothing was recorded; start it again and go on here."));
document.addEventListener("htmx:responseError", event => tell(event.detail.xhr.responseText.slice(0, 300)));
document.addEventListener("htmx:afterSettle", event => { // its links are htmx's from here on, not before
  recount();
  if (["rest-content", "others-content"].includes(event.detail.target.id)) event.detail.target.querySelector("[data-walk] a")?.focus();
});
document.addEventListener("htmx:afterSwap", event => {
  if (event.detail.target.id === "aside-content") document.getElementById("aside").showModal();
  if (event.detail.target.id === "main") {
    window.scrollTo(0, 0);
    document.querySelector(".strip .here")?.scrollIntoView({ block: "nearest", inline: "nearest" });
    document.getElementById("main").focus({ preventScroll: true });
    const asked = document.querySelector("dialog[data-now]"); // by the answer itself
    if (asked) show(asked);
  }
});
