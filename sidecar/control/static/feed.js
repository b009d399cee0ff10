// The latest decisions, newest first, each of which opens to its whole chain of reasons.

import { because, clock, count, decimals, el, ms, percent, tone, usd } from "./words.js";

const KEPT = 300;
const SHOWN = 120;

export class Feed {
  constructor() {
    this.list = document.getElementById("feed");
    this.rows = [];
    this.seen = new Set();
    this.tones = new Map();
    this.paused = false;
    this.held = [];
    this.model = document.getElementById("f-model");
    this.reason = document.getElementById("f-reason");
    this.bad = document.getElementById("f-bad");
    this.button = document.getElementById("pause");
    document.getElementById("filters").addEventListener("change", () => this.draw());
    document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
    this.button.addEventListener("click", () => this.pause(!this.paused));
  }

  pause(on) {
    this.paused = on;
    this.button.setAttribute("aria-pressed", String(on));
    if (!on) this.take(this.held.splice(0));
    this.label();
  }

  label() {
    this.button.textContent = this.paused ? `Resume${this.held.length ? ` (${this.held.length} new)` : ""}` : "Pause";
  }

  add(decisions) {
    const fresh = decisions.filter((row) => !this.seen.has(row.request_id));
    for (const row of fresh) this.seen.add(row.request_id);
    if (this.paused) {
      this.held = [...this.held, ...fresh].slice(-KEPT);
      this.label();
    } else this.take(fresh);
  }

  take(fresh) {
    if (!fresh.length) { this.empty(); return; }
    const first = this.rows.length === 0;
    this.rows = [...fresh.reverse(), ...this.rows].slice(0, KEPT);
    this.seen = new Set([...this.rows, ...this.held].map((row) => row.request_id));
    choices(this.reason, [...new Set(this.rows.map((row) => row.answered))].sort(), "All reasons");
    const matching = fresh.filter((row) => this.matches(row));
    this.list.prepend(...matching.slice(0, SHOWN).map((row) => this.entry(row, !first)));
    while (this.list.children.length > SHOWN) this.list.lastElementChild.remove();
    this.empty();
  }

  // The configured models, as of now: a reload may bring some and take others away.
  models(names) {
    const before = this.model.value;
    if (!choices(this.model, names, "All models")) return;
    this.tones.clear();
    names.forEach((name, i) => this.tones.set(name, i % 6));
    if (this.model.value !== before || this.rows.length) this.draw();
  }

  matches(row) {
    return (!this.model.value || row.model === this.model.value)
      && (!this.reason.value || row.answered === this.reason.value)
      && (!this.bad.checked || troubled(row));
  }

  draw() {
    const matching = this.rows.filter((row) => this.matches(row)).slice(0, SHOWN);
    this.list.replaceChildren(...matching.map((row) => this.entry(row, false)));
    this.empty();
  }

  empty() {
    document.getElementById("feed-empty").hidden = this.rows.length > 0;
    document.getElementById("feed-none").hidden = !this.rows.length || this.list.children.length > 0;
    this.list.parentElement.hidden = this.rows.length === 0;
  }

  entry(row, fresh) {
    const reading = row.reading;
    const tokens = row.tokens;
    const known = tokens.input !== null && tokens.output !== null;
    const saved = row.cost_usd === null ? null : row.cost_strong_usd - row.cost_usd;
    const prompt = el("span", { class: "prompt" });
    if (row.prompt) prompt.append(el("q", {}, row.prompt.replace(/\s+/g, " ")));
    else if (reading) {
      prompt.append(
        el("span", { class: "task" }, (reading.task || row.dialect).replace("_", " ")),
        meter(reading.difficulty),
      );
    } else prompt.append(el("span", { class: "faint" }, row.dialect));
    const more = el("div", { class: "more", hidden: true, id: `more-${row.request_id}` });
    const button = el("button", { class: "row", type: "button", "aria-expanded": "false", "aria-controls": more.id },
      el("time", { datetime: row.time }, clock(row.time)),
      el("span", { class: `model ${hue(this.tones, row.model)}`, title: row.model }, el("i", { "aria-hidden": "true" }), el("span", {}, row.model)),
      el("span", {}, el("span", { class: `tag ${tone(row.answered)}`, title: because(row.answered) }, row.answered)),
      prompt,
      cell("decided in", ms(row.ms.decision)),
      cell("tokens in and out", known ? `${count(tokens.input)} → ${count(tokens.output)}` : "unknown", known ? "" : "faint"),
      cell("cost", usd(row.cost_usd), row.cost_usd === null ? "faint" : ""),
      cell("saved", saved === null ? "–" : saved === 0 ? "–" : usd(saved), saved > 0 ? "gain" : "faint"),
      cell("answer", answer(row), broken(row) ? "trouble" : ""),
    );
    button.addEventListener("click", () => {
      if (!more.childElementCount) more.append(...this.chain(row));
      more.hidden = !more.hidden;
      button.setAttribute("aria-expanded", String(!more.hidden));
      if (more.hidden) return;
      more.scrollIntoView({ block: "nearest" });
      button.scrollIntoView({ block: "nearest" }); // of a long story, its head
    });
    return el("li", { class: fresh ? "entry fresh" : "entry" }, button, more);
  }

  chain(row) {
    const steps = row.steps.map((step) => [step.stage, step.verdict]);
    for (const each of row.failed) steps.push(["failed", `${each.model}: ${each.why}`]);
    steps.push(["answered", `${row.model}, ${row.status}, ${row.ended}, first content after ${ms(row.ms.first)}, all after ${ms(row.ms.total)}`]);
    const facts = [
      ["Route", row.route], ["API", row.dialect + (row.stream ? ", streamed" : "")], ["Tenant", row.tenant],
      ["Difficulty", row.reading && row.reading.difficulty !== null ? row.reading.difficulty.toFixed(2) : null],
      ["Task", row.reading && row.reading.task], ["Domain", row.reading && row.reading.domain], ["Tier", row.reading && row.reading.tier],
      ["Strongest", row.cost_strong_usd === null ? null : `${row.strong}, ${usd(row.cost_strong_usd)}`],
      ["Stages", Object.entries(row.stages_ms).map(([stage, spent]) => `${stage} ${ms(spent)}`).join(" · ")],
      ["Request", row.request_id],
    ];
    return [
      chain(steps),
      candidates(row.candidates, row.decided, this.tones),
      el("dl", { class: "details" }, ...facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))))),
    ].filter(Boolean);
  }
}

// Offer exactly `names`, and keep what was chosen while it is among them. Whether any changed.
function choices(select, names, all) {
  const offered = [...select.options].slice(1).map((option) => option.value);
  if (offered.join("\n") === names.join("\n")) return false;
  const chosen = select.value;
  select.replaceChildren(el("option", { value: "" }, all), ...names.map((name) => el("option", { value: name }, name)));
  select.value = names.includes(chosen) ? chosen : "";
  return true;
}

function cell(name, text, kind = "") {
  return el("span", { class: `n ${kind}` }, el("span", { class: "sr" }, `${name} `), text);
}

function broken(row) {
  return row.status >= 400 || row.failed.length > 0 || row.ended !== "complete";
}

function troubled(row) {
  return broken(row) || row.reason === "deadline" || row.reason === "classifier-down";
}

function answer(row) {
  if (row.ended === "hang-up") return "hung up";
  if (row.ended === "upstream-broken") return "broke off";
  return `${row.status}${row.failed.length ? ` after ${row.failed.length}` : ""}`;
}

export function meter(value) {
  const filled = el("i");
  filled.style.width = `${Math.round(100 * (value ?? 0))}%`;
  return el("span", { class: "meter", title: `difficulty ${(value ?? 0).toFixed(2)}` }, el("span", { class: "sr" }, `difficulty ${(value ?? 0).toFixed(2)}`), filled);
}

export function chain(steps) {
  return el("ol", { class: "chain" }, ...steps.map(([stage, verdict]) => el("li", { "data-stage": stage }, el("b", {}, stage), el("span", {}, verdict))));
}

// A configured model's colour; none for one that a reload took away.
export function hue(tones, name) {
  return tones.has(name) ? `m${tones.get(name)}` : "";
}

export function candidates(rows, chosen, tones) {
  if (!rows.length) return null;
  const digits = decimals(rows.map((row) => row.cost_usd));
  return el("ul", { class: "candidates", "aria-label": "Candidates" }, ...rows.map((row) => {
    const chance = row.p ?? row.probability;
    const bar = el("i");
    bar.style.width = `${Math.round(100 * (chance ?? 0))}%`;
    return el("li", { class: `${hue(tones, row.model)}${row.model === chosen ? " chosen" : ""}` },
      el("span", { class: "who", title: row.model }, el("span", {}, row.model), row.model === chosen ? el("em", {}, "chosen") : null),
      el("span", { class: "track" }, bar),
      el("span", { class: "n" }, chance === null || chance === undefined ? "not asked" : `${percent(chance)} suffices`),
      el("span", { class: "n faint" }, `${usd(row.cost_usd, digits)} expected`));
  }));
}
