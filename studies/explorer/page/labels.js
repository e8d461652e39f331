// Wrong labels: the most suspicious first, the given label beside the predicted one, and a list to relabel.

const A_LABEL_PAGE = 20;
const relabelled = new Map(); // row -> number of the new class

// Low scores for a target are suspicious, and high ones of an example for itself.
function suspects() {
  const order = [...orderOf(currentColumn())];
  const rows = isSelf() ? order : order.reverse();
  return rows.filter((row) => passes(row) && (!pool.predicted || !state.unequal || pool.predicted[row] !== pool.labels[row]));
}

function relabelLines() {
  const rows = [...relabelled].sort((a, b) => a[0] - b[0]);
  const lines = rows.map(([row, label]) => [pool.ids[row], data.classes[pool.labels[row]], data.classes[label],
    pool.predicted ? data.classes[pool.predicted[row]] : "", pool.predicted ? pool.confidence[row].toFixed(4) : "", String(currentColumn().scores[row])].map(cell).join(","));
  return [["id", "given", "label", "predicted", "confidence", "score"].join(","), ...lines, ""].join("\n");
}

function suspectCard(row, rank) {
  const chosen = relabelled.get(row);
  const start = chosen ?? (pool.predicted ? pool.predicted[row] : pool.labels[row]);
  const select = h("select", { "aria-label": `New label of ${pool.ids[row]}`, on: { change: (event) => { relabelled.set(row, Number(event.target.value)); draw(); } } },
    data.classes.map((name, place) => h("option", { value: place, selected: place === start }, name)));
  const box = h("input", { type: "checkbox", class: "do-relabel", "aria-label": `Relabel as: ${pool.ids[row]}`,
    on: { change: (event) => { event.target.checked ? relabelled.set(row, Number(select.value)) : relabelled.delete(row); draw(); } } });
  box.checked = chosen !== undefined;
  return h("li", { class: "card suspect", tabindex: -1, "data-row": row, "aria-label": `${rank}: ${pool.ids[row]}` },
    h("div", { class: "score-line" }, h("span", { class: "rank" }, whole(rank)), h("span", { class: "score" }, written(currentColumn().scores[row], columnUnit(currentColumn()), true)), h("span", { class: "id" }, pool.ids[row])),
    shownDocument(null, row, `Training example ${pool.ids[row]}`, state.text),
    h("div", { class: "labels" }, h("span", {}, "given ", h("strong", {}, data.classes[pool.labels[row]]), pool.given ? h("span", { class: "quiet" }, ` ${pool.given[row].toFixed(2)}`) : ""),
      pool.predicted && h("span", { class: pool.predicted[row] !== pool.labels[row] ? "differs" : "" }, "predicted ", h("strong", {}, data.classes[pool.predicted[row]]), h("span", { class: "quiet" }, ` ${pool.confidence[row].toFixed(2)}`))),
    h("div", { class: "acts" }, h("label", { class: "tick" }, box, "Relabel as"), select,
      button(marks.has(row) ? "Marked" : "Mark", () => mark(row), { class: "plain do-mark", "aria-pressed": String(marks.has(row)), "aria-label": `${marks.has(row) ? "Marked" : "Mark"}: ${pool.ids[row]}` })));
}

function drawLabels() {
  const rows = suspects();
  const start = state.pages.labels * A_LABEL_PAGE;
  const shown = rows.slice(start, start + A_LABEL_PAGE);
  const unequal = h("input", { id: "unequal", type: "checkbox", on: { change: (event) => change({ unequal: event.target.checked }) } });
  unequal.checked = state.unequal;
  count.textContent = `${plural(rows.length, "example")} of ${whole(pool.size)}`;
  replace(view, h("section", { class: "panel labels-panel", "aria-labelledby": "list-labels" },
    h("h2", { id: "list-labels" }, "The most suspicious first"),
    h("p", { class: "quiet" }, isSelf() ? "A high score of an example for itself: rare, hard or wrongly labelled." : `Low scores for ${currentColumn().name}: what hurts a clean target most is often wrongly labelled.`,
      pool.predicted ? ` Predictions and probabilities are means over ${plural(data.about.models, "model")}.` : ""),
    h("div", { class: "label-tools" }, pool.predicted && h("label", { class: "tick", for: "unequal" }, unequal, "Only where the prediction differs"),
      button(`Download relabel.csv (${whole(relabelled.size)})`, () => download("relabel.csv", relabelLines(), "text/csv"), { class: "main", id: "relabel", disabled: !relabelled.size })),
    shown.length ? h("ol", { class: "cards suspects" }, shown.map((row, place) => suspectCard(row, start + place + 1))) : h("p", { class: "quiet" }, "Nothing passes the filters."),
    pager("labels", rows.length, A_LABEL_PAGE)));
  return shown;
}

draws(async () => {
  if (state.view !== "labels") return;
  const own = ++turn;
  const shown = keepingFocus(drawLabels);
  if ((await fetchDocuments(null, shown)) && own === turn) keepingFocus(drawLabels);
});
