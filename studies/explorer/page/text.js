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

// Three digits that count, with a true minus; `signed`: with a plus too.
function number3(value, signed = false) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? size.toExponential(2) : String(Number(size.toPrecision(3)));
  return (value < 0 ? MINUS : signed && value > 0 ? "+" : "") + text;
}

const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

function button(label, listen, attributes) {
  return h("button", { type: "button", ...attributes, on: { click: listen } }, label);
}
