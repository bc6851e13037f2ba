// A table of any length that keeps only the visible rows, and a few around them, in the
// document. For the keyboard it is one control: arrows move the active row, Enter opens it.

import { el, setAttribute, setStyle } from "./dom.js";

// Rows above and below the visible ones, so that scrolling shows rows at once.
const margin = 8;

let grids = 0;

export class Grid {
  // columns: {id, title, hint, sort, className}; make(row) builds a row's cells and returns
  // the parts for fill(parts, item); open(item) is called for Enter and click; key(item)
  // returns an item's name; viewed() is called when the visible rows change; sorted(id)
  // when a column's head is pressed.
  constructor(host, { label, columns, make, fill, open, key, viewed = () => {}, sorted = null }) {
    Object.assign(this, { host, make, fill, open, key, viewed });
    this.name = `grid${++grids}`;
    this.items = new Map(); // by index
    this.total = 0;
    this.pool = []; // {row, parts, index}
    this.active = -1;
    this.activeKey = null;
    this.entering = false;
    this.heads = new Map();
    this.body = el("div.grid-body", { role: "rowgroup" });
    const head = el("div.grid-row.grid-head", { role: "row", "aria-rowindex": 1 }, ...columns.map((c) => this.head(c, sorted)));
    host.classList.add("grid");
    for (const [name, value] of [["role", "grid"], ["tabindex", "0"], ["aria-label", label], ["aria-readonly", "true"]]) {
      host.setAttribute(name, value);
    }
    host.append(el("div", { role: "rowgroup", class: "grid-heads" }, head), this.body);
    host.addEventListener("scroll", () => this.draw(), { passive: true });
    host.addEventListener("keydown", (event) => this.keyed(event));
    host.addEventListener("click", (event) => this.clicked(event));
    new ResizeObserver(() => this.resized()).observe(host);
  }

  head(column, sorted) {
    const able = sorted && column.sort;
    const inside = able
      ? el("button.sort", { type: "button", title: column.hint, onclick: () => sorted(column.sort) }, column.title)
      : el("span", { title: column.hint }, column.title);
    const cell = el("div", { role: "columnheader", class: `cell ${column.className ?? ""}` }, inside);
    if (able) this.heads.set(column.sort, cell);
    return cell;
  }

  setSort(by, direction) {
    for (const [id, cell] of this.heads) setAttribute(cell, "aria-sort", id === by ? direction : "none");
  }

  // The height of a row is in the style sheet, and depends on the width of the page.
  resized() {
    const height = parseFloat(getComputedStyle(this.host).getPropertyValue("--row"));
    this.rowHeight = Number.isFinite(height) && height > 0 ? height : 40;
    this.headHeight = this.body.offsetTop - this.host.firstElementChild.offsetTop;
    for (const slot of this.pool) slot.index = -1;
    this.draw();
  }

  // inSight returns the first index and the number of the rows to keep.
  inSight() {
    const height = this.rowHeight ?? 40;
    const first = Math.max(0, Math.floor(this.host.scrollTop / height) - margin);
    const wanted = Math.ceil(this.host.clientHeight / height) + 2 * margin;
    return { first, count: Math.max(1, wanted, this.pool.length) };
  }

  // set replaces all items: list is the part of total that begins at offset.
  set(list, offset, total) {
    this.items.clear();
    list.forEach((item, i) => this.items.set(offset + i, item));
    this.total = total;
    setAttribute(this.host, "aria-rowcount", total + 1);
    this.follow();
    this.draw();
    if (this.entering) this.enter();
  }

  // follow keeps the active row on its item when the order changes.
  follow() {
    if (this.active < 0) return;
    for (const [index, item] of this.items) {
      if (this.activeKey !== null && this.key(item) === this.activeKey) {
        this.active = index;
        return;
      }
    }
    this.active = Math.min(this.active, this.total - 1);
    const item = this.items.get(this.active);
    if (item) this.activeKey = this.key(item);
  }

  draw() {
    const { first, count } = this.inSight();
    while (this.pool.length < count) this.pool.push(this.slot());
    setStyle(this.body, "height", `${this.total * (this.rowHeight ?? 40)}px`);
    const size = this.pool.length;
    for (let i = first; i < first + size; i++) this.place(this.pool[i % size], i);
    const active = this.active >= first && this.active < first + size && this.active < this.total;
    setAttribute(this.host, "aria-activedescendant", active ? `${this.name}-${this.active}` : null);
    this.viewed();
  }

  slot() {
    const row = el("div.grid-row", { role: "row", hidden: true });
    const parts = this.make(row);
    for (const cell of row.children) cell.setAttribute("role", "gridcell");
    this.body.append(row);
    return { row, parts, index: -1 };
  }

  place(slot, index) {
    const { row } = slot;
    const item = this.items.get(index);
    if (index >= this.total) {
      setAttribute(row, "hidden", true);
      slot.index = -1;
      return;
    }
    if (slot.index !== index) {
      slot.index = index;
      row.id = `${this.name}-${index}`;
      setAttribute(row, "aria-rowindex", index + 2);
      setStyle(row, "transform", `translateY(${index * this.rowHeight}px)`);
    }
    setAttribute(row, "hidden", null);
    setAttribute(row, "aria-selected", index === this.active ? "true" : "false");
    row.classList.toggle("waiting", !item);
    if (item) this.fill(slot.parts, item);
  }

  clicked(event) {
    const row = event.target.closest(".grid-body .grid-row");
    if (!row || event.target.closest("button, a") || String(getSelection()) !== "") return;
    const slot = this.pool.find((s) => s.row === row);
    this.move(slot.index, false);
    this.enter();
  }

  keyed(event) {
    if (event.target !== this.host || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor((this.host.clientHeight - this.headHeight) / this.rowHeight) - 1);
    const to = {
      ArrowDown: this.active + 1, ArrowUp: this.active < 0 ? 0 : this.active - 1,
      PageDown: this.active + page, PageUp: this.active - page, Home: 0, End: this.total - 1,
    }[event.key];
    if (to !== undefined) this.move(to, true);
    else if (event.key === "Enter") this.enter();
    else return;
    event.preventDefault();
  }

  // move makes a row the active one and scrolls to it.
  move(to, scroll) {
    if (this.total === 0) return;
    this.active = Math.max(0, Math.min(this.total - 1, to));
    const item = this.items.get(this.active);
    this.activeKey = item ? this.key(item) : null;
    this.entering = false;
    if (scroll) {
      const top = this.active * this.rowHeight;
      const space = this.host.clientHeight - this.headHeight;
      if (top < this.host.scrollTop) this.host.scrollTop = top;
      else if (top + this.rowHeight > this.host.scrollTop + space) this.host.scrollTop = top + this.rowHeight - space;
    }
    this.draw();
  }

  // enter opens the active row, as soon as it is loaded.
  enter() {
    const item = this.items.get(this.active);
    this.entering = !item && this.active >= 0;
    if (item) this.open(item);
  }
}
