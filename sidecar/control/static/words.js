// Numbers and names as people read them.

export function usd(value) {
  if (value === null || value === undefined) return "unknown";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (size === 0) return "$0";
  if (size < 0.000001) return `${sign}<$0.000001`;
  const digits = size >= 100 ? 0 : size >= 1 ? 2 : size >= 0.01 ? 4 : 6;
  return sign + "$" + size.toLocaleString("en-US", { minimumFractionDigits: digits === 6 ? 6 : Math.min(2, digits), maximumFractionDigits: digits });
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
