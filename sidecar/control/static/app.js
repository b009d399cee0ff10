// The page: what it asks, what it shows, and the switches an operator may throw.

import { Poll, Refused, ask, keep } from "./api.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { Try } from "./try.js";
import { clock, count, el, prices } from "./words.js";

const at = (id) => document.getElementById(id);
const feed = new Feed();
const figures = new Figures();
const trial = new Try(feed.tones);
let last = null;
let heard = null;
let counting = 0;

const MODES = { ready: "Routing", starting: "Starting", draining: "Draining", killed: "Kill switch on", lost: "Disconnected" };

function mode(name) {
  document.body.dataset.state = name;
  const pill = at("mode");
  if (pill.dataset.mode === name) return;
  pill.dataset.mode = name;
  pill.lastElementChild.textContent = MODES[name] || name;
}

function toast(text, kind = "") {
  const made = el("p", { class: `toast ${kind}` }, text);
  at("toasts").append(made);
  setTimeout(() => made.remove(), kind === "bad" ? 12000 : 5000);
}

// -- news ------------------------------------------------------------------------

function news(said) {
  last = said;
  heard = Date.now();
  clearInterval(counting);
  const { state } = said;
  mode(state.kill_switch && state.mode === "ready" ? "killed" : state.mode);
  at("notice-lost").hidden = true;
  at("notice-killed").hidden = !state.kill_switch;
  at("killed-model").textContent = state.kill_switch || "";
  at("kill").hidden = Boolean(state.kill_switch);
  at("notice-draining").hidden = state.mode !== "draining";
  at("draining-left").textContent = said.figures.in_flight === 1 ? "1 request is" : `${count(said.figures.in_flight)} requests are`;
  at("notice-warnings").hidden = !state.warnings.length;
  at("notice-warnings").firstElementChild.textContent = state.warnings.join(" · ");
  const names = said.figures.models.map((model) => model.name);
  feed.models(names);
  figures.facts(said);
  figures.show(said);
  feed.add(said.decisions);
  trial.choices(state.routes.map((route) => route.name), names);
  hint(state);
  document.title = state.kill_switch ? `⛔ ${state.kill_switch} · Pointsman` : "Pointsman";
}

function lost(fault, wait) {
  mode("lost");
  at("notice-lost").hidden = false;
  at("lost-what").textContent = fault instanceof Refused ? "Refused by the sidecar" : "No answer from the sidecar";
  at("lost-since").textContent = heard ? clock(heard) : "this page was opened";
  at("lost-why").textContent = fault instanceof Refused ? fault.message : "";
  let left = Math.round(wait / 1000);
  const tell = () => { at("lost-next").textContent = left > 0 ? `Trying again in ${left} s.` : "Trying …"; left -= 1; };
  clearInterval(counting);
  tell();
  counting = setInterval(tell, 1000);
}

function locked(fault) {
  at("token-fault").textContent = heard || at("token").value ? fault.message : "";
  if (!at("ask-token").open) at("ask-token").showModal();
}

function hint(state) {
  const route = state.routes.length ? state.routes[0].name : "auto";
  const socket = state.listen.startsWith("unix:") ? `--unix-socket ${state.listen.slice(5)} ` : "";
  const host = socket ? "localhost" : state.listen;
  const text = `curl ${socket}http://${host}/v1/chat/completions \\\n  -H 'Content-Type: application/json' \\\n  -d '{"model": "${route}", "messages": [{"role": "user", "content": "hi"}]}'`;
  if (at("hint").textContent !== text) at("hint").textContent = text;
}

const poll = new Poll({ news, lost, locked });

// -- switches --------------------------------------------------------------------

at("kill").addEventListener("click", () => {
  if (!last) return;
  const models = last.figures.models;
  const priced = prices(models);
  at("kill-fault").textContent = "";
  at("kill-choices").replaceChildren(el("legend", {}, "Model"), ...models.map((model, i) =>
    el("label", { class: `choice m${i % 6}` },
      el("input", { type: "radio", name: "model", value: model.name, checked: i === models.length - 1 }),
      el("i", { class: "dot", "aria-hidden": "true" }),
      el("span", {}, model.name),
      el("small", {}, priced[i]))));
  at("ask-kill").showModal();
  const chosen = at("kill-choices").querySelector("input:checked");
  if (chosen) chosen.focus();  // among many it is scrolled to
});

at("kill-yes").addEventListener("click", async () => {
  const chosen = at("kill-choices").querySelector("input:checked");
  if (!chosen) return;
  try {
    await ask("/admin/kill-switch", { method: "POST", body: { model: chosen.value } });
    at("ask-kill").close();
    toast(`Everything goes to ${chosen.value} now.`, "bad");
    poll.now();
  } catch (fault) {
    at("kill-fault").textContent = fault.message;
  }
});

at("release").addEventListener("click", async () => {
  try {
    await ask("/admin/kill-switch", { method: "DELETE" });
    toast("Requests are routed again.");
    at("kill").hidden = false;
    at("kill").focus();
    poll.now();
  } catch (fault) { toast(fault.message, "bad"); }
});

at("reload").addEventListener("click", async () => {
  at("reload").disabled = true;
  try {
    const said = await ask("/admin/reload", { method: "POST" });
    toast(`Configuration ${said.hash} is live, generation ${said.generation}.`);
    poll.now();
  } catch (fault) {
    toast(fault.faults && fault.faults.length ? `Kept the last good one. ${fault.faults.join(" · ")}` : fault.message, "bad");
  }
  at("reload").disabled = false;
});

at("retry").addEventListener("click", () => poll.now());

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keep(at("token").value.trim());
  at("ask-token").close();
  poll.now();
});
at("ask-token").addEventListener("cancel", (event) => event.preventDefault());

at("copy").addEventListener("click", async () => {
  try { await navigator.clipboard.writeText(at("hint").textContent); toast("Copied."); } catch { getSelection().selectAllChildren(at("hint")); }
});

// -- theme -----------------------------------------------------------------------

const THEMES = { "": "light", light: "dark", dark: "" };
const root = document.documentElement;

function theme(name) {
  if (name) root.dataset.theme = name; else delete root.dataset.theme;
  at("theme").dataset.theme = name;
  at("theme").setAttribute("aria-label", `Theme: ${name || "as the system"}`);
  try { if (name) localStorage.setItem("theme", name); else localStorage.removeItem("theme"); } catch { /* not kept, then */ }
}
theme(root.dataset.theme || "");
at("theme").addEventListener("click", () => theme(THEMES[at("theme").dataset.theme]));

poll.now();
