// The query, always on screen: a target as a whole, one of its examples, or one training example.

const query = document.getElementById("query");
const picks = {
  column: h("select", { id: "pick-target", "aria-label": "Target", on: { change: (event) => change({ column: Number(event.target.value), example: -1, keep: null }) } },
    data.columns.map((column, place) => h("option", { value: place }, column.kind === "self" ? "each example itself" : column.name))),
  whole: button("Average", () => change({ example: -1 }), { class: "choice" }),
  before: button("‹", () => step(-1), { class: "choice", "aria-label": "The example before", title: "Example before  [" }),
  number: h("input", { id: "pick-example", type: "number", min: 1, inputmode: "numeric", placeholder: "one", "aria-label": "Number of the target example",
    on: { change: (event) => pick(Number(event.target.value) - 1) } }),
  after: button("›", () => step(1), { class: "choice", "aria-label": "The next example", title: "Next example  ]" }),
  of: h("span", { class: "quiet" }),
};
const picker = h("div", { class: "picks" },
  h("label", { for: "pick-target" }, "Target"), picks.column,
  h("span", { class: "examples" }, picks.whole, picks.before, picks.number, picks.after, picks.of));
const subject = h("div", { id: "subject", class: "subject", tabindex: 0, role: "region", "aria-label": "The query itself" });
query.append(picker, subject);

const numExamples = () => (currentTarget() ? currentTarget().ids.length : 0);
const isOne = () => state.view === "one";

function pick(example) {
  const last = numExamples() - 1;
  if (last >= 0) change({ example: Math.min(Math.max(Number.isFinite(example) ? Math.trunc(example) : 0, 0), last) });
}

// The next target example, or in the view of one training example the next of those by score.
function step(by) {
  if (!isOne()) return pick(Math.max(state.example + by, state.example < 0 ? 0 : -Infinity));
  const order = orderOf(currentColumn());
  const place = order.indexOf(state.row) + by;
  if (place >= 0 && place < order.length) change({ row: order[place] });
}

// Others for this query on one side, in order; `whole`: whether all there are stand in the page.
function itemsOf(side) {
  const sign = side === "helpful" ? 1 : -1;
  if (isOne()) {
    const targets = currentTarget() ? [currentTarget()] : data.targets;
    return targets.flatMap((target) => endsOf(target.back, state.row, side).map((item) => ({ ...item, target })))
      .sort((a, b) => sign * (b.score - a.score));
  }
  if (state.example >= 0) return endsOf(currentTarget().forward, state.example, side);
  const column = currentColumn();
  const order = orderOf(column);
  const items = [];
  for (let place = 0; place < order.length; place++) {
    const row = order[sign > 0 ? place : order.length - 1 - place];
    const score = column.scores[row];
    if (!isSelf() && (sign > 0 ? score <= 0 : score >= 0)) break;
    items.push({ row, score, spread: column.spread ? column.spread[row] : null, agreeing: column.agreeing ? column.agreeing[row] : null });
  }
  return items;
}

function labelLine(side, row) {
  if (!side.labels) return null;
  const parts = [`label ${data.classes[side.labels[row]]}`];
  if (side.predicted) {
    const same = side.predicted[row] === side.labels[row];
    parts.push(same ? `predicted too, with ${side.confidence[row].toFixed(2)}`
      : `predicted ${data.classes[side.predicted[row]]} with ${side.confidence[row].toFixed(2)}; the label has ${side.given[row].toFixed(2)}`);
    return h("span", { class: same ? "label" : "label differs" }, parts.join(" · "));
  }
  return h("span", { class: "label" }, parts);
}

function drawAverage(target) {
  const column = currentColumn();
  if (column.kind === "self") return [h("p", {}, "Each training example's score for itself: large for what is rare, hard or mislabelled.")];
  if (!target) return [h("p", {}, `The mean over ${plural(data.columns.length - 1, "target")}, each brought to mean 0 and spread 1 first, so that 0 is the pool's own mean.`)];
  const shown = target.ids.slice(0, 12).map((id, place) => {
    const found = documentAt(target, place);
    return typeof found === "string" && h("button", { type: "button", class: "thumb", on: { click: () => pick(place) } }, picture(found, `Example ${id}`));
  });
  return [h("p", {}, h("strong", {}, `The average of ${plural(target.size, "example")} of ${target.name}. `),
    target.forward ? h("span", { class: "more" }, "Step through them to see what helped and what hurt each.") : ""), h("div", { class: "thumbs" }, shown)];
}

function drawSubject() {
  const target = currentTarget();
  if (isOne()) {
    const scores = data.columns.map((column) => h("span", { class: "fact" }, `${column.name} `, h("b", {}, columnScore(column, state.row))));
    return [h("p", { class: "who" }, h("strong", {}, "Training example "), h("span", { class: "id" }, pool.ids[state.row]), " ",
      labelLine(pool, state.row), " ", scores), shownDocument(null, state.row, `Training example ${pool.ids[state.row]}`)];
  }
  if (state.example < 0) return drawAverage(target);
  return [h("p", { class: "who" }, h("strong", {}, `${target.name} `), h("span", { class: "id" }, target.ids[state.example]), " ", labelLine(target, state.example)),
    shownDocument(target, state.example, `Target example ${target.ids[state.example]}`)];
}

let drawnSubject = "";
draws(async () => {
  const target = currentTarget();
  const canStep = isOne() || numExamples() > 0;
  picks.column.value = String(state.column);
  picks.whole.hidden = isOne();
  picks.whole.setAttribute("aria-pressed", String(state.example < 0));
  picks.number.hidden = isOne() || !numExamples();
  picks.number.max = numExamples();
  picks.number.value = state.example < 0 ? "" : state.example + 1;
  picks.before.disabled = picks.after.disabled = !canStep;
  picks.of.textContent = isOne() ? "by score" : numExamples() ? `of ${whole(numExamples())}` : "";
  const key = [state.view === "one", state.column, state.example, state.row].join();
  if (key === drawnSubject) return;
  drawnSubject = key;
  replace(subject, drawSubject());
  subject.scrollTop = 0;
  const wanted = isOne() ? [null, [state.row]] : target && [target, state.example < 0 ? [...target.ids.slice(0, 12).keys()] : [state.example]];
  if (wanted && (await fetchDocuments(...wanted)) && key === drawnSubject) replace(subject, drawSubject());
});
