// Elements made from names and texts alone: nothing of the data is ever read as HTML.

const PROSE = "\n\t\u200c\u200d";
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
const MINUS = "\u2212";

// `text` with what nobody sees, or what turns the writing direction, written as an escape.
function visible(text) {
  return String(text).replace(/\r\n/g, "\n").replace(HIDDEN, (char) => {
    if (PROSE.includes(char)) return char;
    const code = char.codePointAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

// An element. `attributes`: `on` holds listeners; false and null leave one out. Children: elements, texts, or null.
function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, listen] of Object.entries(value)) element.addEventListener(event, listen);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, visible(value));
  }
  fill(element, children);
  return element;
}

function fill(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
}

function replace(element, ...children) {
  element.replaceChildren();
  fill(element, children);
}

// An image from a `data:` URI, and from nothing else.
function picture(uri, alt) {
  return h("img", { src: uri.startsWith("data:image/") ? uri : "data:,", alt });
}

const whole = (number) => Math.round(number).toLocaleString("en-US");
const share = (number) => `${(100 * number).toFixed(1)} %`;

// How scores whose largest is `largest` are written, all alike: in powers of ten where they are small or huge.
function unitOf(largest) {
  const power = largest > 0 && Number.isFinite(largest) ? Math.floor(Math.log10(largest)) : 0;
  return power < -2 || power > 4 ? { power, digits: 2 } : { power: 0, digits: Math.max(2 - power, 0) };
}

const RAISED = { "-": "\u207b", 0: "\u2070", 1: "\u00b9", 2: "\u00b2", 3: "\u00b3", 4: "\u2074", 5: "\u2075", 6: "\u2076", 7: "\u2077", 8: "\u2078", 9: "\u2079" };
const unitName = ({ power }) => (power ? `10${[...String(power)].map((char) => RAISED[char]).join("")}` : "");

// A score in its unit, with a true minus; `signed`: with a plus too.
function written(value, unit, signed = false) {
  if (!Number.isFinite(value)) return "–";
  const text = (Math.abs(value) / 10 ** unit.power).toFixed(unit.digits);
  const sign = Number(text) === 0 ? "" : value < 0 ? MINUS : signed ? "+" : "";
  return sign + text;
}

const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

function button(label, listen, attributes) {
  return h("button", { type: "button", ...attributes, on: { click: listen } }, label);
}
