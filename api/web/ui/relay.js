// Calls the relay's API. URLs are relative, so that the page works behind a proxy that
// gives the API another path.

// Away: the relay did not answer. Refused: it answered with an error.
export class Away extends Error {}
export class Refused extends Error {
  constructor(status, body, pause) {
    super(body.error ?? `status ${status}`);
    this.status = status;
    this.data = body.data; // of an error that says more
    this.pause = pause; // seconds it asks to wait, or 0
  }
}

// The relay answers from memory: an answer that takes so long will not come.
const patience = 10_000;

export const root = (path) => new URL(path, document.baseURI).href;

async function call(path, { method = "GET", signal, headers = {} } = {}) {
  const limit = AbortSignal.timeout(patience);
  let response;
  let body;
  try {
    response = await fetch(root(path), {
      method, headers, cache: "no-store", signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    body = await response.json();
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    // A proxy in front of a relay that is away answers with a page of its own.
    throw new Away("the relay does not answer", { cause });
  }
  if (!response.ok || body.code) {
    throw new Refused(response.status, body, Number(response.headers.get("Retry-After")) || 0);
  }
  return body;
}

function query(parameters) {
  const set = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return new URLSearchParams(set.map(([key, value]) => [key, String(value)])).toString();
}

// A login is a cookie that no script can read. The token itself is stored nowhere.
export const login = (token) => call("api/v1/login", { method: "POST", headers: { Authorization: `Bearer ${token}` } });

// ready returns the answer of /ready, which is an error if the relay takes no callers.
export async function ready(signal) {
  try {
    return (await call("ready", { signal })).data;
  } catch (error) {
    if (error instanceof Refused && error.data) return error.data;
    throw error;
  }
}

export const versions = (signal) => call("api/v1/versions", { signal });
export const shards = async (signal) => (await call("api/v1/shards", { signal })).data;
export const backends = async (signal) => (await call("api/v1/backends", { signal })).data;
export const streams = async (parameters, signal) => (await call(`api/v1/streams?${query(parameters)}`, { signal })).data;
export const relays = async (signal) => (await call("api/v1/cluster", { signal })).data;
export const clusterStreams = async (parameters, signal) => (await call(`api/v1/cluster/streams?${query(parameters)}`, { signal })).data;
export const session = async (id, signal) => (await call(`api/v1/sessions/${encodeURIComponent(id)}`, { signal })).data;
export const closeSession = (id) => call(`api/v1/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
export const drain = (id, is) => call(`api/v1/backends/${encodeURIComponent(id)}/${is ? "drain" : "undrain"}`, { method: "POST" });

// The key of the default route is empty, and must be in the query all the same.
export const stream = async (key, signal) => (await call(`api/v1/streams/one?key=${encodeURIComponent(key)}`, { signal })).data;
