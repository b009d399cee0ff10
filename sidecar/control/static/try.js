// A prompt decided as a request would be, with every reason on the way.

import { ask } from "./api.js";
import { candidates, chain, hue } from "./feed.js";
import { because, count, el, ms, percent, tone } from "./words.js";

export class Try {
  constructor(tones) {
    this.tones = tones;
    this.text = document.getElementById("try-text");
    this.route = document.getElementById("try-route");
    this.go = document.getElementById("try-go");
    this.story = document.getElementById("story");
    document.getElementById("try").addEventListener("submit", (event) => { event.preventDefault(); this.explain(); });
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.explain(); }
    });
    for (const button of document.querySelectorAll("[data-sample]")) {
      button.addEventListener("click", () => { this.text.value = button.dataset.sample; this.explain(); });
    }
  }

  choices(routes, models) {
    const names = [...routes, ...models];
    if (names.join() === [...this.route.options].map((option) => option.value).join()) return;
    const kept = this.route.value;
    this.route.replaceChildren(
      el("optgroup", { label: "Routes" }, ...routes.map((name) => el("option", { value: name }, name))),
      el("optgroup", { label: "Models" }, ...models.map((name) => el("option", { value: name }, name))),
    );
    if (names.includes(kept)) this.route.value = kept;
  }

  async explain() {
    if (!this.text.value.trim()) { this.text.focus(); return; }
    this.go.disabled = true;
    this.go.textContent = "Deciding …";
    try {
      const said = await ask("/admin/explain", {
        method: "POST",
        body: { model: this.route.value, messages: [{ role: "user", content: this.text.value }] },
      });
      this.story.replaceChildren(...this.tell(said));
    } catch (fault) {
      this.story.replaceChildren(el("p", { class: "fault" }, fault.message));
    }
    this.go.disabled = false;
    this.go.textContent = "Explain";
  }

  tell(said) {
    const reading = said.reading;
    const facts = [
      ["Input", `at most ${count(said.input_tokens_bound)} tokens`],
      ["Needs", said.needs.join(", ")],
      ["Read at", said.late && reading ? `try ${said.late + 1}: a request whose reading is late goes to the default` : ""],
      ["Falls back to", said.fallbacks.join(said.fallbacks.length > 3 ? ", " : ", then ")],
      ["Took", Object.entries(said.timings_ms).map(([stage, spent]) => `${stage} ${ms(spent)}`).join(" · ")],
    ];
    if (reading) {
      facts.unshift(
        ["Difficulty", reading.difficulty.toFixed(2)],
        ["Task", likely(reading.task, reading.task_probs)],
        ["Domain", likely(reading.domain, reading.domain_probs)],
        ["Tier", likely(reading.tier, reading.tier_probs)],
        ["Unlike its training", percent(reading.ood)],
        ["Answer", reading.output_tokens ? `about ${count(reading.output_tokens)} tokens` : ""],
      );
    }
    return [
      el("p", { class: `verdict ${hue(this.tones, said.model)}` }, el("i", { class: "dot", "aria-hidden": "true" }), el("b", {}, said.model), el("span", { class: `tag ${tone(said.reason)}` }, said.reason), el("span", { class: "faint" }, because(said.reason))),
      chain(said.steps.map((step) => [step.stage, step.verdict])),
      candidates(said.candidates, said.model, this.tones),
      el("dl", { class: "details" }, ...facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    ].filter(Boolean);
  }
}

function likely(label, probs) {
  if (!label) return "";
  const chance = probs[label];
  return chance === undefined ? label.replace("_", " ") : `${label.replace("_", " ")} (${percent(chance)})`;
}
