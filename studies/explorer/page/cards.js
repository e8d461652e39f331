// One example of a list: its score, who it is, the whole document, and what can be done with it.

function agreementOf(item) {
  if (!disagrees(item)) return null;
  return h("span", { class: "flag", title: "The scores of the others have the other sign" }, `${item.agreeing} of ${data.about.proxies} proxies agree in sign`);
}

// `scale`: { unit, largest } of the lists.
function scoreLine(item, rank, { unit, largest }) {
  const bar = h("span", { class: "bar", "aria-hidden": "true" });
  bar.style.width = `${Math.max(2, (100 * Math.abs(item.score)) / largest)}%`;
  return h("div", { class: "score-line" },
    h("span", { class: "rank" }, whole(rank)),
    h("span", { class: "score" }, written(item.score, unit, true)),
    item.spread !== null && item.spread >= 0 && data.about.proxies > 1 && h("span", { class: "quiet", title: "Standard deviation over the proxies" }, `± ${written(item.spread, unit)}`),
    agreementOf(item), h("span", { class: "scale", "aria-hidden": "true" }, bar));
}

const cardClass = (target, row) => (typeof documentAt(target, row) === "string" ? "card pictured" : "card");

// A training example; `item.others` are copies of it further down.
function poolCard(item, rank, scale) {
  const { row } = item;
  const isMarked = marks.has(row);
  const same = copiesOf(row).length;
  return h("li", { class: cardClass(null, row), tabindex: -1, "data-row": row, "aria-label": `${rank}: ${pool.ids[row]}` },
    scoreLine(item, rank, scale),
    h("div", { class: "who" },
      pool.domains.length > 1 && h("span", { class: "domain" }, pool.domains[pool.domain[row]] || "(none)"),
      h("span", { class: "id" }, withHits(pool.ids[row], state.text)),
      pool.kept && h("span", { class: pool.kept[row] ? "kept" : "dropped" }, pool.kept[row] ? "kept" : "dropped"),
      labelLine(pool, row)),
    shownDocument(null, row, `Training example ${pool.ids[row]}`, state.text),
    h("div", { class: "acts" },
      button(isMarked ? "Marked" : "Mark", () => mark(row), { class: "plain do-mark", "aria-pressed": String(isMarked), "aria-label": `${isMarked ? "Marked" : "Mark"}: ${pool.ids[row]}` }),
      button("Whom did it affect?", () => lookAt(row), { class: "plain do-one", "aria-label": `Whom did it affect? ${pool.ids[row]}` }),
      same > 1 && h("details", { class: "copies" }, h("summary", {}, `${plural(same - 1, "copy", "copies")}`), copiesTable(row))));
}

function copiesTable(row) {
  const column = currentColumn();
  return h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "The same"), pool.labels && h("th", {}, "Label"), h("th", { class: "n" }, `Score, ${column.name}`))),
    h("tbody", {}, copiesOf(row).slice(0, 100).map((other) => h("tr", {}, h("td", { class: "id" }, pool.ids[other]),
      pool.labels && h("td", {}, data.classes[pool.labels[other]]), h("td", { class: "n" }, columnScore(column, other))))));
}

// A target example that a training example helped or hurt.
function targetCard(item, rank, scale) {
  const { target, row } = item;
  const show = () => change({ view: "examples", column: data.columns.findIndex((column) => column.name === target.name), example: row });
  return h("li", { class: cardClass(target, row), tabindex: -1, "data-example": row, "aria-label": `${rank}: ${target.ids[row]}` },
    scoreLine(item, rank, scale),
    h("div", { class: "who" }, h("span", { class: "domain" }, target.name), h("span", { class: "id" }, target.ids[row]), labelLine(target, row)),
    shownDocument(target, row, `Target example ${target.ids[row]}`),
    h("div", { class: "acts" }, button("What shaped it?", show, { class: "plain do-one", "aria-label": `What shaped it? ${target.ids[row]}` })));
}

function lookAt(row) {
  change({ view: "one", row });
  window.scrollTo({ top: 0 });
}
