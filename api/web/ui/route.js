// The address after the # says what the page shows: nothing for the overview,
// #/stream/KEY or #/session/ID.

export function read() {
  const [, view, ...rest] = location.hash.split("/");
  if (view !== "stream" && view !== "session") return { view: "overview", name: "" };
  let name = rest.join("/");
  try {
    name = decodeURIComponent(name);
  } catch {
    // Not encoded as this page does it; take it as it stands.
  }
  return { view, name };
}

// Slashes stay readable in a key.
const encoded = (name) => encodeURIComponent(name).replaceAll("%2F", "/");

export const streamLink = (key) => `#/stream/${encoded(key)}`;
export const sessionLink = (id) => `#/session/${encoded(id)}`;
export const overviewLink = "#/";

// What SRS puts before a key without a virtual host tells nobody anything.
const defaultHost = "__defaultVhost__/";

// keyText is a key as it is shown; titles have it whole.
export function keyText(key) {
  if (key === "") return "(default route)";
  return key.startsWith(defaultHost) && key.length > defaultHost.length ? key.slice(defaultHost.length) : key;
}
