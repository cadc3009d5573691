// Elements made of plain data. Nothing a paper says ever becomes markup: texts are text nodes, never parsed.

export const $ = (id) => document.getElementById(id);

/** An element; `props`: class, text, and attributes, of which true is set, false and null are not; functions listen. */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Shows a text in an element that is hidden where there is none. */
export function tellIn(element, text) {
  element.textContent = text || "";
  element.hidden = !text;
}

/** A link to another site, which learns nothing of this page. */
export function outLink(href, text, label) {
  return el("a", { href, target: "_blank", rel: "noopener noreferrer", "aria-label": label || null, text });
}

const announcements = { last: 0, timer: 0, text: "" };
const ANNOUNCE_MS = 5000;

/** Tells a screen reader, the newest text at most every few seconds; `now` for what must not wait. */
export function announce(text, now = false) {
  announcements.text = text;
  const wait = now ? 0 : Math.max(0, announcements.last + ANNOUNCE_MS - performance.now());
  if (announcements.timer && !now) return;
  clearTimeout(announcements.timer);
  announcements.timer = setTimeout(() => {
    announcements.timer = 0;
    announcements.last = performance.now();
    $("announcer").textContent = announcements.text;
  }, wait);
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** "3 min ago", or the day. */
export function when(seconds) {
  const age = Date.now() / 1000 - seconds;
  if (age < 60) return "just now";
  if (age < 3600) return `${Math.floor(age / 60)} min ago`;
  if (age < 86400) return `${Math.floor(age / 3600)} h ago`;
  return new Date(seconds * 1000).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return seconds < 120 ? `${Math.round(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
