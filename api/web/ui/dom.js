// Creates and changes elements. It sets text and attributes only, never HTML: what a caller
// put into a stream ID stays text.

const svgSpace = "http://www.w3.org/2000/svg";

// el("div.card", {title: "..."}, child, ...): null attributes and children are
// left out, on* attributes are listeners.
export function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fitted(document.createElement(tag), classes, attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fitted(document.createElementNS(svgSpace, tag), classes, attributes, children);
}

function fitted(node, classes, attributes, children) {
  if (classes.length > 0) node.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : printable(String(value)));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (typeof child === "string" ? printable(child) : child)));
  return node;
}

// printable escapes characters that are invisible or change the direction of writing, as
// the relay does in the names that callers chose; see answer.Escape.
const unseen = /[\p{C}\p{Zl}\p{Zp}]/gu;
export const printable = (text) => text.replace(unseen, (c) =>
  (c === "\n" ? c : [...new TextEncoder().encode(c)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")));

// The setters below do not touch what is unchanged, as most numbers are from one second to
// the next. Then the browser has nothing to do.

export function setText(node, raw) {
  const text = printable(String(raw));
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const text = value === true ? "true" : printable(String(value));
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

export function setStyle(node, property, value) {
  if (node.style.getPropertyValue(property) !== value) node.style.setProperty(property, value);
}

// keyed makes the children of a host match a list: make builds a child, fill writes an item
// into it. An item keeps its child, and so focus and selection.
export function keyed(host, list, key, make, fill) {
  const before = new Map([...host.children].map((child) => [child.dataset.key, child]));
  let place = host.firstElementChild;
  for (const item of list) {
    const name = String(key(item));
    let child = before.get(name);
    before.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    fill(child, item);
    if (child === place) place = place.nextElementSibling;
    else host.insertBefore(child, place);
  }
  for (const gone of before.values()) gone.remove();
}

// address returns the two parts of an address: if it is too long, the host is cut and the
// port is not. setAddress writes an address into an element with these children.
export const address = () => [el("span.host"), el("span.port")];

export function setAddress(node, text) {
  const [, host, port] = /^(.*?)(:\d+)?$/s.exec(text);
  setText(node.firstElementChild, host);
  setText(node.lastElementChild, port ?? "");
}

export const byID = (id) => document.getElementById(id);
