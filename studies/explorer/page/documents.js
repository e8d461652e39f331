// Whole documents: out of the page, or from the server that gave it. A document is [scored], [before, scored, after]
// or the address of a picture; null is one that is not in the page.

const LONG = 900;
const LINES = 14;
const BEGINNING = 4000;
const served = new Map();

const sourceOf = (target) => (target ? target.documents : pool.documents);
const keyOf = (target, row) => `${target ? `=${target.name}` : ""}\n${row}`;

// undefined: not known yet.
function documentAt(target, row) {
  const inside = sourceOf(target);
  return inside ? inside[row] ?? null : served.get(keyOf(target, row));
}

// Fetches those of the rows that are not known; gives whether there were any.
async function fetchDocuments(target, rows) {
  if (sourceOf(target)) return false;
  const missing = [...new Set(rows)].filter((row) => !served.has(keyOf(target, row)));
  if (!missing.length) return false;
  const query = new URLSearchParams({ of: target ? `=${target.name}` : "", rows: missing.join(",") });
  const answer = await fetch(`documents?${query}`);
  const found = answer.ok ? await answer.json() : missing.map(() => null);
  missing.forEach((row, place) => served.set(keyOf(target, row), found[place]));
  return true;
}

// The part of `text` with the places of what is searched for set apart.
function withHits(text, wanted) {
  if (!wanted) return [text];
  const low = text.toLowerCase();
  const parts = [];
  let done = 0;
  for (let place = low.indexOf(wanted); place >= 0 && parts.length < 400; place = low.indexOf(wanted, done)) {
    parts.push(text.slice(done, place), h("b", { class: "hit" }, text.slice(place, place + wanted.length)));
    done = place + wanted.length;
  }
  return [...parts, text.slice(done)];
}

// How a document is shown, whole; long ones begin folded. `wanted`: what is searched for, in small letters.
function shownDocument(target, row, alt, wanted = "") {
  const found = documentAt(target, row);
  if (found === undefined) return h("p", { class: "quiet" }, "Reading …");
  if (found === null) return h("p", { class: "quiet" }, "Not in this page, which has no room for all documents.");
  if (typeof found === "string") return h("div", { class: "picture" }, picture(found, alt));
  return textOf(found, wanted);
}

function textOf(found, wanted) {
  const parts = found.length === 1 ? ["", found[0], ""] : found;
  const length = parts[0].length + parts[1].length + parts[2].length;
  const lines = parts.reduce((sum, part) => sum + part.split("\n").length - 1, 1);
  // What is indented is code or a table: its columns stand below each other.
  const isIndented = parts.join("").split("\n").filter((line) => /^(\t| {2,})\S/.test(line)).length > 0.15 * lines;
  const isLong = length > LONG || lines > LINES;
  const text = h("div", { class: isIndented ? "text even" : "text" });
  const write = (most) => {
    let left = most;
    const pieces = parts.map((part) => {
      const piece = part.slice(0, left);
      left -= piece.length;
      return piece;
    });
    replace(
      text,
      pieces[0] && h("span", { class: "given" }, withHits(pieces[0], wanted)),
      h(found.length === 1 ? "span" : "mark", {}, withHits(pieces[1], wanted)),
      pieces[2] && h("span", { class: "given" }, withHits(pieces[2], wanted)),
    );
  };
  write(isLong ? BEGINNING : length);
  if (!isLong) return text;
  text.classList.add("folded");
  const open = button(`Whole document, ${plural(length, "character")}`, () => {
    const folded = text.classList.toggle("folded");
    write(folded ? BEGINNING : length);
    open.textContent = folded ? `Whole document, ${plural(length, "character")}` : "Fold";
    open.setAttribute("aria-expanded", String(!folded));
  }, { class: "plain open", "aria-expanded": "false" });
  return h("div", {}, text, open);
}
