// Marks: examples that a person picked out, kept while the page is read again, and handed on as ids.txt.

const STORE = `thresher marks ${data.title} ${pool.size} ${pool.ids[0]}`;

function remembered() {
  try {
    const known = new Map(pool.ids.map((id, row) => [id, row]));
    return JSON.parse(localStorage.getItem(STORE) || "[]").map((id) => known.get(id)).filter((row) => row !== undefined);
  } catch {
    return []; // no storage here, as in some readers of mail
  }
}

const marks = new Set(remembered());

function remember() {
  try {
    localStorage.setItem(STORE, JSON.stringify([...marks].map((row) => pool.ids[row])));
  } catch {
    // as above
  }
}

function mark(row) {
  if (!marks.delete(row)) marks.add(row);
  remember();
  draw();
}

function download(name, text, kind) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  h("a", { download: name, href: url }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// One id a line, in the order of the pool; an id with a line break would make two of one, and is left out.
function idLines(rows) {
  const ids = [...rows].sort((a, b) => a - b).map((row) => pool.ids[row]);
  return ids.filter((id) => !/[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/.test(id));
}

// A field of a table of comma-separated values, which no spreadsheet takes for a formula.
function cell(text) {
  const plain = visible(text).replace(/[\n\t]/g, " ");
  const safe = /^[=+\-@]/.test(plain) && !Number.isFinite(Number(plain)) ? `'${plain}` : plain;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

const panel = document.getElementById("marks");
const marksCount = h("strong", {});
const marksNote = h("span", { class: "quiet" });
panel.append(marksCount,
  button("Download ids.txt", () => {
    const lines = idLines(marks);
    download("ids.txt", lines.map((id) => `${id}\n`).join(""), "text/plain");
    const left = marks.size - lines.length;
    marksNote.textContent = left ? `${plural(left, "id")} with a line break left out` : "";
  }, { class: "main" }),
  button("Unmark all", () => { marks.clear(); remember(); change({ marked: false }); }, { class: "plain" }), marksNote);

draws(() => {
  panel.hidden = marks.size === 0;
  marksCount.textContent = `${whole(marks.size)} marked`;
});
