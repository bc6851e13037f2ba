// The fragment of the URL says what the page shows: #/stream/KEY, #/session/ID, #/relays, or
// nothing for the overview.

export function read() {
  const [, view, ...rest] = location.hash.split("/");
  if (view === "relays") return { view, name: "" };
  if (view !== "stream" && view !== "session") return { view: "overview", name: "" };
  let name = rest.join("/");
  try {
    name = decodeURIComponent(name);
  } catch {
    // It is not encoded as this page encodes it: use it as it is.
  }
  return { view, name };
}

// Slashes stay readable in a key.
const encoded = (name) => encodeURIComponent(name).replaceAll("%2F", "/");

export const streamLink = (key) => `#/stream/${encoded(key)}`;
export const sessionLink = (id) => `#/session/${encoded(id)}`;
export const overviewLink = "#/";

// SRS's default virtual host, which says nothing.
const defaultHost = "__defaultVhost__/";

// keyText returns a key as it is shown. Titles have the whole key.
export function keyText(key) {
  if (key === "") return "(default route)";
  return key.startsWith(defaultHost) && key.length > defaultHost.length ? key.slice(defaultHost.length) : key;
}
