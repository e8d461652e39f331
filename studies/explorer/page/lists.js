// Two lists side by side, a page of each at a time: what helped on the left, what hurt on the right.

const A_PAGE = 10;
const view = document.getElementById("view");
const count = document.getElementById("count");

function pager(name, total, size) {
  const last = Math.max(Math.ceil(total / size) - 1, 0);
  const page = Math.min(state.pages[name], last);
  if (!last) return null;
  const go = (to) => {
    change({ pages: { ...state.pages, [name]: Math.min(Math.max(to, 0), last) } });
    const head = document.getElementById(`list-${name}`);
    if (head && head.getBoundingClientRect().top < 0) head.scrollIntoView();
  };
  return h("div", { class: "pager", role: "group", "aria-label": `Pages of ${name}` },
    button("First", () => go(0), { class: "choice", disabled: page === 0 }),
    button("‹", () => go(page - 1), { class: "choice", disabled: page === 0, "aria-label": "Page before" }),
    h("span", { class: "quiet" }, `${whole(page * size + 1)} to ${whole(Math.min((page + 1) * size, total))} of ${whole(total)}`),
    button("›", () => go(page + 1), { class: "choice", disabled: page === last, "aria-label": "Next page" }),
    button("Last", () => go(last), { class: "choice", disabled: page === last }));
}

function emptyLine(side) {
  if (isOne() && !data.targets.some((target) => target.back)) {
    return "What it did to single target examples is not known: it needs the features the scores were made from, or a score of every pair. Its scores for whole targets stand above.";
  }
  if (!isOne() && state.example >= 0 && !currentTarget().forward) {
    return "Scores for single target examples are not known: they need the features the scores were made from, or scores made with --top.";
  }
  const filtered = state.found || state.domain || state.status || state.marked || state.differ;
  if (filtered) return "Nothing passes the filters.";
  return side === "helpful" ? "No score is above 0." : "No score is below 0.";
}

function drawSide(side, heading, items, scale) {
  const start = state.pages[side] * A_PAGE;
  const shown = items.slice(start, start + A_PAGE);
  const cards = shown.map((item, place) => (isOne() ? targetCard : poolCard)(item, start + place + 1, scale));
  return { shown, total: items.length,
    part: h("section", { class: `side ${side}`, "aria-labelledby": `list-${side}` },
      h("h2", { id: `list-${side}` }, heading, " ", h("span", { class: "quiet" }, whole(items.length))),
      cards.length ? h("ol", { class: "cards" }, cards) : h("p", { class: "quiet" }, emptyLine(side)),
      pager(side, items.length, A_PAGE)) };
}

function drawLists() {
  const names = isOne() && !isSelf() ? { helpful: "Helped", harmful: "Hurt" } : sideNames();
  const wanted = ["helpful", "harmful"].filter((side) => state.side === "both" || state.side === side);
  const lists = wanted.map(listed);
  const largest = Math.max(...lists.flatMap((items) => items.slice(0, 1).map((item) => Math.abs(item.score))), 1e-30);
  const scale = { unit: !isOne() && state.example < 0 ? columnUnit(currentColumn()) : unitOf(largest), largest };
  const drawn = wanted.map((side, place) => drawSide(side, names[side], lists[place], scale));
  // Of scores for themselves both lists are the same examples, from either end.
  const total = isSelf() && !isOne() ? Math.max(...drawn.map((one) => one.total)) : drawn.reduce((sum, one) => sum + one.total, 0);
  const ends = isOne() || state.example >= 0 ? " at the ends" : "";
  const of = isOne() ? "" : ` of ${whole(pool.size)}`;
  count.textContent = `${plural(total, "example")}${of}${ends}${scale.unit.power ? `, scores in ${unitName(scale.unit)}` : ""}`;
  replace(view, h("div", { class: wanted.length > 1 ? "two" : "two single" }, drawn.map((one) => one.part)));
  return drawn.flatMap((one) => one.shown);
}

let turn = 0;
draws(async () => {
  if (state.view !== "examples" && state.view !== "one") return;
  const own = ++turn;
  const shown = keepingFocus(drawLists);
  const groups = new Map();
  for (const item of shown) groups.set(item.target || null, [...(groups.get(item.target || null) || []), item.row]);
  const fetched = await Promise.all([...groups].map(([target, rows]) => fetchDocuments(target, rows)));
  if (fetched.some(Boolean) && own === turn) keepingFocus(drawLists);
});

// Draws, and gives the focus back to what had it: the same card, or the same button of it.
function keepingFocus(drawIt) {
  const active = document.activeElement;
  const card = active && active.closest(".card");
  const pages = active && active.closest(".pager");
  const within = card && active !== card ? [...card.querySelectorAll("button, summary")].indexOf(active) : -1;
  const selector = card && (card.dataset.row ? `.card[data-row="${card.dataset.row}"]` : `.card[data-example="${card.dataset.example}"]`);
  const pageLabel = pages && [pages.getAttribute("aria-label"), active.textContent];
  const result = drawIt();
  const again = selector && document.querySelector(selector);
  if (again) (within < 0 ? again : [...again.querySelectorAll("button, summary")][within] || again).focus({ preventScroll: true });
  if (pageLabel) {
    const own = document.querySelector(`.pager[aria-label="${pageLabel[0]}"]`);
    const same = own && [...own.querySelectorAll("button")].find((one) => one.textContent === pageLabel[1] && !one.disabled);
    if (same) same.focus({ preventScroll: true });
  }
  return result;
}
