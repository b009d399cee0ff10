// Talking to the admin port: the token, and one steady poll that backs off.

const KEY = "pointsman-token";
let token = null;
try { token = sessionStorage.getItem(KEY); } catch { token = null; }

export class Refused extends Error {
  constructor(status, said) {
    super((said && said.error && said.error.message) || `The sidecar answered ${status}.`);
    this.status = status;
    this.faults = (said && said.faults) || [];
  }
}

export function keep(value) {
  token = value;
  try { sessionStorage.setItem(KEY, value); } catch { /* then for as long as the page is open */ }
}

export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, signal, cache: "no-store",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  let said = null;
  try { said = await answer.json(); } catch { said = null; }
  if (!answer.ok) throw new Refused(answer.status, said);
  return said;
}

const EVERY = 1000;
const LONGEST = 15000;

// Calls `news` with each answer, `lost` with each failure and the wait that follows it.
export class Poll {
  constructor({ news, lost, locked }) {
    Object.assign(this, { news, lost, locked });
    this.cursor = "";
    this.wait = EVERY;
    this.timer = 0;
    this.asking = false;
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.now(); });
  }

  now() {
    clearTimeout(this.timer);
    this.wait = EVERY;
    return this.turn();
  }

  async turn() {
    if (this.asking) return;
    this.asking = true;
    let next = EVERY;
    try {
      const said = await ask(`/admin/live?after=${encodeURIComponent(this.cursor)}`, { signal: AbortSignal.timeout(8000) });
      this.cursor = said.cursor;
      this.wait = EVERY;
      this.news(said);
    } catch (fault) {
      if (fault instanceof Refused && fault.status === 401) {
        this.asking = false;
        this.locked(fault);
        return;
      }
      next = this.wait;
      this.wait = Math.min(LONGEST, this.wait * 2);
      this.lost(fault, next);
    }
    this.asking = false;
    if (!document.hidden || next > EVERY) this.timer = setTimeout(() => this.turn(), next);
  }
}
