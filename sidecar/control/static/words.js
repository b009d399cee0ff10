// Numbers and names as people read them.

// Amounts that stand in one column have the same number of decimals, so that they line up;
// six, which is a request's scale, unless `decimals` of the column says otherwise.
export function usd(value, digits = 6) {
  if (value === null || value === undefined) return "unknown";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (size === 0) return "$0";
  const least = 10 ** -digits;
  if (size < least / 2) return `${sign}<$${least.toFixed(digits)}`;
  return `${sign}$${size.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

// How many decimals suit all of `values`: cents from `cents` dollars on, four from `fine`.
export function decimals(values, cents = 100, fine = 1) {
  const most = Math.max(0, ...values.map(Math.abs));
  return most >= cents ? 2 : most >= fine ? 4 : 6;
}

// What a million tokens of each model cost, in words that line up.
export function prices(models) {
  const shown = (value) => (String(Number(value.toFixed(6))).split(".")[1] || "").length;
  const digits = Math.max(2, ...models.flatMap(({ price }) => [shown(price.input), shown(price.output)]));
  return models.map(({ price }) => `${usd(price.input, digits)} in, ${usd(price.output, digits)} out a million`);
}

export function count(value) {
  if (value >= 1e6) return (value / 1e6).toFixed(value >= 1e7 ? 1 : 2) + " M";
  return Math.round(value).toLocaleString("en-US");
}

export function plural(value, noun) {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

export function ms(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value >= 10000) return (value / 1000).toFixed(1) + " s";
  return (value >= 100 ? Math.round(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2)) + " ms";
}

export function percent(share) {
  const value = share * 100;
  return (Math.abs(value) >= 99.95 || value === 0 ? value.toFixed(0) : value.toFixed(1)) + " %";
}

export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function clock(when) {
  return new Date(when).toLocaleTimeString([], { hour12: false });
}

const REASONS = {
  "policy": "the policy weighed chance against price",
  "explicit": "the request named the model",
  "default": "there was nothing to read: the route’s default",
  "deadline": "no reading in time: the route’s default",
  "classifier-down": "the classifier was down: the route’s default",
  "capability": "only this model can do what was asked",
  "session": "the session stayed where its cache is",
  "cache": "the same prompt was decided before",
  "budget": "a budget or a cost limit bound the choice",
  "kill-switch": "the kill switch pins everything",
};

export function because(reason) {
  if (reason.startsWith("rule:")) return `the rule ${reason.slice(5)} matched`;
  if (reason.startsWith("fallback:")) return `${reason.slice(9)} before it failed`;
  return REASONS[reason] || reason;
}

export function tone(reason) {
  if (reason === "deadline" || reason === "classifier-down" || reason.startsWith("fallback")) return "warn";
  if (reason === "kill-switch") return "bad";
  if (reason === "policy" || reason === "session" || reason === "cache") return "good";
  return "calm";
}

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
