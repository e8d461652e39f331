// What is shown of a list: by words, domain, kept or dropped, side, marks, agreement of the proxies, copies.

const has = (row, word) => pool.ids[row].toLowerCase().includes(word);
const choice = (id, label, options, name) => [
  h("label", { for: id, class: "unseen" }, label),
  h("select", { id, on: { change: (event) => change({ [name]: event.target.value }) } }, options.map(([value, text]) => h("option", { value }, text))),
];
const tick = (id, label, name) => {
  const box = h("input", { id, type: "checkbox", on: { change: (event) => change({ [name]: event.target.checked }) } });
  return { box, row: h("label", { class: "tick", for: id }, box, label) };
};

const search = h("input", { id: "search", type: "search", placeholder: "Search texts and ids", "aria-label": "Search texts and ids", autocomplete: "off", spellcheck: "false" });
const domains = pool.domains.length > 1 ? choice("domain", "Domain", [["", "All domains"], ...pool.domains.map((name, place) => [String(place), name || "(none)"])], "domain") : [];
const statuses = pool.kept ? choice("status", "Kept or dropped", [["", "Kept and dropped"], ["kept", "Kept"], ["dropped", "Dropped"]], "status") : [];
const sides = h("div", { class: "sides", role: "group", "aria-label": "Side" },
  ["both", "helpful", "harmful"].map((side) => button("", () => change({ side }), { class: "choice", "data-side": side })));
const fold = tick("fold", "Fold copies", "fold");
const marked = tick("only-marked", "Marked only", "marked");
const differ = tick("differ", "Proxies disagree", "differ");
const numCopies = pool.first ? pool.first.reduce((sum, first, row) => sum + (first !== row), 0) : 0;
const others = h("details", { id: "others", open: !window.matchMedia(NARROW).matches }, h("summary", {}, "Filters"),
  h("div", { class: "others" }, ...domains, ...statuses, h("div", { class: "ticks" }, numCopies ? fold.row : "", marked.row, data.about.spread ? differ.row : "")));
document.getElementById("filters").append(search, sides, others);

// Rows whose id or text holds the words, whatever their case.
async function rowsWith(words) {
  const wanted = words.trim().toLowerCase();
  if (!wanted) return null;
  const found = new Set();
  for (let row = 0; row < numRows; row++) {
    const text = pool.documents && pool.documents[row];
    if (has(row, wanted) || (Array.isArray(text) && text.some((part) => part.toLowerCase().includes(wanted)))) found.add(row);
  }
  if (data.served) {
    const answer = await fetch(`search?${new URLSearchParams({ text: wanted })}`);
    if (answer.ok) for (const row of await answer.json()) found.add(row);
  }
  return found;
}

let typed = 0;
search.addEventListener("input", () => {
  const turn = ++typed;
  setTimeout(async () => {
    if (turn !== typed) return;
    const found = await rowsWith(search.value);
    if (turn === typed) change({ text: search.value.trim().toLowerCase(), found });
  }, 120);
});

const passes = (row) => (!state.found || state.found.has(row))
  && (state.domain === "" || pool.domain[row] === Number(state.domain))
  && (state.status === "" || (pool.kept[row] === 1) === (state.status === "kept"))
  && (!state.marked || marks.has(row));
const disagrees = (item) => item.agreeing !== null && item.agreeing < data.about.proxies;

// The items of a side that pass; of several copies the first, with the others beside it.
function listed(side) {
  const items = itemsOf(side).filter((item) => (isOne() || passes(item.row)) && (!state.differ || disagrees(item)));
  if (isOne() || !state.fold || !pool.first) return items;
  const seen = new Map();
  for (const item of items) {
    const first = pool.first[item.row];
    if (seen.has(first)) seen.get(first).others.push(item);
    else seen.set(first, { ...item, others: [] });
  }
  return [...seen.values()];
}

draws(() => {
  const names = { both: "Both", ...sideNames() };
  if (isOne() && !isSelf()) Object.assign(names, { helpful: "Helped", harmful: "Hurt" });
  for (const one of sides.children) {
    one.textContent = names[one.dataset.side];
    one.setAttribute("aria-pressed", String(state.side === one.dataset.side));
  }
  for (const [id, name] of [["domain", "domain"], ["status", "status"]]) {
    const select = document.getElementById(id);
    if (select) select.value = state[name];
  }
  for (const [one, name] of [[fold, "fold"], [marked, "marked"], [differ, "differ"]]) one.box.checked = state[name];
  const filters = document.getElementById("filters");
  filters.hidden = state.view === "keep" || state.view === "domains";
  sides.hidden = state.view === "labels";
  for (const one of [search, ...domains, ...statuses, fold.row, marked.row]) one.hidden = isOne();
});
