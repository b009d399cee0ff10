// Everything above the decisions: money, key figures, charts, health.

import { histogram, quantile, spark } from "./charts.js";
import { because, count, decimals, el, ms, percent, plural, prices, span, tone, usd } from "./words.js";

const ROOM = 120;
const MANY = 6; // models that are shown a line each beyond this
const REASONS = 8;
const RECENT_S = 60;
const at = (id) => document.getElementById(id);
const write = (id, text) => { if (at(id).textContent !== text) at(id).textContent = text; };

// Draw anew only what has changed: a selection, a scroll and a hint under the pointer stay.
const drawn = new Map();
function list(id, shown, make) {
  const said = JSON.stringify(shown);
  if (drawn.get(id) === said) return;
  drawn.set(id, said);
  at(id).replaceChildren(...make());
}

// A quantile in words: of what lies beyond the last bucket only that much is known.
function within(seconds, bounds) {
  const last = bounds[bounds.length - 1];
  return seconds >= last ? `over ${ms(last * 1000)}` : ms(seconds * 1000);
}

function against(share) {
  if (Math.abs(share) < 0.0005) return "the same as always the strongest";
  return `${percent(Math.abs(share))} ${share > 0 ? "less" : "more"} than always the strongest`;
}

export class Figures {
  constructor() {
    this.rates = [];
    this.before = null;
    this.minute = []; // [when, decisions by bucket] of the last one
    this.last = null;
    addEventListener("resize", () => { if (this.last) this.chart(this.last); });
  }

  show(said) {
    this.last = said;
    this.money(said.figures);
    this.tiles(said);
    this.chart(said);
    this.models(said.figures);
    this.reasons(said.figures);
    this.upstreams(said.upstreams, said.state.workers);
  }

  money(f) {
    const saved = f.cost_strong_usd - f.cost_usd;
    const share = f.cost_strong_usd > 0 ? saved / f.cost_strong_usd : 0;
    const digits = decimals([f.cost_usd, f.cost_strong_usd], 1, 0.01);
    write("saved", usd(saved, digits));
    write("saved-share", f.cost_strong_usd > 0 ? against(share) : "nothing spent yet");
    write("spent", usd(f.cost_usd, digits));
    write("strong", usd(f.cost_strong_usd, digits));
    const most = Math.max(f.cost_usd, f.cost_strong_usd, 1e-12);
    at("bar-spent").style.width = `${(100 * f.cost_usd) / most}%`;
    at("bar-strong").style.width = `${(100 * f.cost_strong_usd) / most}%`;
    at("versus").setAttribute("aria-label", `Spent ${usd(f.cost_usd, digits)}; always the strongest would have cost ${usd(f.cost_strong_usd, digits)}`);
    const left = [];
    if (f.unknown_cost) left.push(`${plural(f.unknown_cost, "answer")} whose tokens nobody counted`);
    if (f.attempts_failed) left.push(plural(f.attempts_failed, "failed attempt"));
    write("money-note", `For the tokens that upstreams counted, at the configured prices.${left.length ? ` Left out: ${left.join(", ")}.` : ""}`);
    at("saved-share").classList.toggle("faint", !(saved > 0));
  }

  tiles({ figures: f, now, state }) {
    if (this.before && now > this.before.now) {
      const rate = Math.max(0, f.requests - this.before.requests) / (now - this.before.now);
      this.rates = [...this.rates, rate].slice(-ROOM);
    }
    this.before = { now, requests: f.requests };
    const recent = this.rates.slice(-10);
    const rate = recent.length ? recent.reduce((a, b) => a + b, 0) / recent.length : 0;
    write("k-requests", count(f.requests));
    write("k-rate", `${rate >= 10 ? Math.round(rate) : rate.toFixed(1)} a second now`);
    spark(at("spark"), this.rates, ROOM);
    const { bounds_s: bounds, counts } = f.decision;
    const p99 = quantile(0.99, bounds, counts);
    const p50 = quantile(0.5, bounds, counts);
    write("k-p99", p99 === null ? "–" : within(p99, bounds));
    const late = this.lately(now, bounds, counts);
    write("k-p50", p50 === null ? `deadline ${state.deadline_ms} ms` : `since the start, median ${within(p50, bounds)}${late === null ? "" : ` · last minute ${within(late, bounds)}`}`);
    at("k-p99").classList.toggle("trouble", p99 !== null && p99 * 1000 > state.deadline_ms);
    const share = f.answers ? f.failed / f.answers : 0;
    write("k-failed", f.answers ? percent(share) : "–");
    at("k-failed").classList.toggle("trouble", share > 0.01);
    write("k-failed-sub", `${count(f.failed)} failed · ${count(f.fallbacks)} saved by a fallback · ${count(f.refused)} refused`);
    write("k-flight", count(f.in_flight));
    write("k-queue", `${count(f.queue)} waiting to be read · ${count(f.hang_ups)} hung up`);
  }

  // The p99 of the decisions of the last minute that this page has seen, in seconds.
  lately(now, bounds, counts) {
    if (this.minute.length && counts.some((value, i) => value < this.minute[0][1][i])) this.minute = []; // it began anew
    this.minute.push([now, counts]);
    while (this.minute.length > 2 && this.minute[1][0] <= now - RECENT_S) this.minute.shift();
    const [, first] = this.minute[0];
    return quantile(0.99, bounds, counts.map((value, i) => value - first[i]));
  }

  chart({ figures: f, state }) {
    histogram(at("latency"), f.decision, state.deadline_ms);
    const rows = Object.entries(f.stages).filter(([, each]) => each.count);
    const order = ["parse", "cache", "classify", "decide"];
    rows.sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
    list("stages", rows, () => rows.map(([stage, each]) => el("li", {}, el("span", {}, stage), el("b", {}, ms((1000 * each.sum_s) / each.count)))));
  }

  models(f) {
    const total = f.models.reduce((sum, model) => sum + model.answers, 0);
    const priced = prices(f.models);
    const digits = decimals(f.models.map((model) => model.cost_usd));
    const many = f.models.length > MANY;
    const rows = f.models.map((model, i) => ({ model, i }));
    if (many) rows.sort((a, b) => b.model.answers - a.model.answers || a.i - b.i);
    at("models").classList.toggle("dense", many);
    at("models").tabIndex = many ? 0 : -1; // it scrolls, by keyboard too
    list("models", [total, f.models], () => rows.map(({ model, i }) => {
      const share = total ? model.answers / total : 0;
      const bar = el("i");
      bar.style.width = `${100 * share}%`;
      return el("li", { class: `m${i % 6}`, title: `${model.name}: ${priced[i]}` },
        el("span", { class: "who" }, el("i", { class: "dot", "aria-hidden": "true" }), el("span", {}, model.name)),
        el("span", { class: "n" }, total ? percent(share) : "–"),
        el("span", { class: "track" }, bar),
        el("span", { class: "faint left" }, priced[i]),
        el("span", { class: "faint n" }, usd(model.cost_usd, digits)));
    }));
  }

  reasons(f) {
    const rows = Object.entries(f.reasons).sort(([, a], [, b]) => b - a);
    const total = rows.reduce((sum, [, value]) => sum + value, 0);
    if (!rows.length) {
      list("reasons", rows, () => [el("li", { class: "faint none" }, "Nothing was decided yet.")]);
      return;
    }
    const shown = rows.slice(0, REASONS);
    const left = rows.length - shown.length;
    list("reasons", rows, () => [...shown.map(([reason, value]) => {
      const bar = el("i");
      bar.style.width = `${(100 * value) / total}%`;
      return el("li", { title: because(reason) },
        el("span", { class: "who" }, el("span", { class: `tag ${tone(reason)}` }, reason)),
        el("span", { class: "n" }, count(value)),
        el("span", { class: "track" }, bar),
        el("span", { class: "faint left" }, because(reason)));
    }), left ? el("li", { class: "faint none" }, `and ${plural(left, "rarer reason")}`) : ""]);
  }

  upstreams(rows, workers) {
    at("upstreams").tabIndex = rows.length > MANY ? 0 : -1; // it scrolls, by keyboard too
    list("upstreams", [rows, workers], () => rows.map((row) => {
      const rests = row.resting > 0;
      const some = rests && row.resting < workers;
      return el("li", { class: rests ? "rests" : "" },
        el("i", { class: "lamp", "aria-hidden": "true" }),
        el("span", { class: "who" }, row.name, el("small", {}, row.url.replace(/^https?:\/\//, ""))),
        el("span", { class: "n" }, rests ? (some ? `rests in ${row.resting} of ${workers}` : "rests: breaker open") : "in use", el("small", {}, `${count(row.in_flight)} in flight`)));
    }));
  }

  facts({ figures, state, now }) {
    write("fact-backend", state.encoder ? `${state.backend} · ${state.encoder}` : state.backend);
    write("fact-config", `generation ${state.config.generation} · ${state.config.hash}`);
    write("fact-up", span(now - figures.started));
    at("fact-workers-box").hidden = state.workers < 2;
    write("fact-workers", String(state.workers));
    write("foot", `Pointsman ${state.version}`);
  }
}
