// A threshold to drag: how many examples and tokens lie above it, and the command that keeps them.

const sorted = new Map();
function descendingScores(column) {
  if (!sorted.has(column)) sorted.set(column, Float32Array.from(orderOf(column), (row) => column.scores[row]));
  return sorted.get(column);
}

const tokensUpTo = new Map();
function tokenSums(column) {
  if (!tokensUpTo.has(column)) {
    let sum = 0;
    tokensUpTo.set(column, Float64Array.from(orderOf(column), (row) => (sum += pool.lengths[row])));
  }
  return tokensUpTo.get(column);
}

// { tokens, score } of the best `kept`; of a pool that is not whole in the page, between the points that are known.
function atCount(column, kept) {
  if (kept === 0) return { tokens: 0, score: Infinity };
  if (isWhole) return { tokens: tokenSums(column)[kept - 1], score: descendingScores(column)[kept - 1] };
  const next = column.curve.findIndex(([end]) => end >= kept);
  const [end, tokens, score] = column.curve[next];
  const [start, before] = next ? column.curve[next - 1] : [0, 0];
  return { tokens: before + ((tokens - before) * (kept - start)) / (end - start), score };
}

function countAbove(column, score) {
  const scores = isWhole ? descendingScores(column) : column.curve.map((point) => point[2]);
  let [low, high] = [0, scores.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scores[middle] >= score) low = middle + 1;
    else high = middle;
  }
  return isWhole ? low : low ? column.curve[low - 1][0] : 0;
}

const inUnit = (score) => {
  const unit = columnUnit(currentColumn());
  return written(score, unit, true) + (unit.power ? ` \u00b7 ${unitName(unit)}` : "");
};

function commandFor(column, kept) {
  const { select } = data.commands;
  const name = column.kind === "all" ? "" : ` --targets ${/^[\w.@%+:-]+$/.test(column.name) ? column.name : `'${column.name.replace(/'/g, "'\\''")}'`}`;
  return select ? `${select}${name} --count ${kept}` : null;
}

function startingCount() {
  if (state.keep !== null) return state.keep;
  return pool.kept && isWhole ? pool.kept.reduce((sum, one) => sum + one, 0) : Math.round(pool.size / 5);
}

const keepPart = { chart: h("div", {}), facts: h("p", { class: "facts", role: "status" }), table: h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Table of thresholds" }), command: h("code", {}), said: h("span", { class: "quiet", role: "status" }) };
keepPart.range = h("input", { id: "keep-range", type: "range", min: 0, max: pool.size, step: 1, "aria-label": "Examples to keep, as a slider", on: { input: (event) => change({ keep: Number(event.target.value) }) } });
keepPart.number = h("input", { id: "keep-number", type: "number", min: 0, max: pool.size, step: 1, on: { change: (event) => change({ keep: Math.min(Math.max(Math.round(Number(event.target.value)) || 0, 0), pool.size) }) } });
keepPart.copy = button("Copy", async () => {
  try {
    await navigator.clipboard.writeText(keepPart.command.textContent);
    keepPart.said.textContent = "copied";
  } catch {
    window.getSelection().selectAllChildren(keepPart.command);
    keepPart.said.textContent = "selected: copy it by hand";
  }
}, { class: "choice" });
keepPart.mark = button("Mark them all", () => {
  for (const row of orderOf(currentColumn()).slice(0, startingCount())) marks.add(row);
  remember();
  draw();
}, { class: "plain", id: "mark-all" });
keepPart.details = h("details", {}, h("summary", {}, "As a table"), keepPart.table);
keepPart.commandRow = h("div", { class: "command" }, h("pre", { tabindex: 0, "aria-label": "Command" }, keepPart.command), keepPart.copy, keepPart.said);
keepPart.all = h("section", { class: "panel", "aria-labelledby": "keep-title" },
  h("h2", { id: "keep-title" }, "What to keep"), keepPart.chart,
  h("div", { class: "keep" }, keepPart.range, h("label", { for: "keep-number" }, "Examples to keep"), keepPart.number),
  keepPart.facts, keepPart.commandRow, keepPart.mark, keepPart.details);

function keepTable(column) {
  const parts = [0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1].map((part) => Math.max(Math.round(part * pool.size), 1));
  const total = atCount(column, pool.size).tokens;
  return h("table", {}, h("thead", {}, h("tr", {}, h("th", { class: "n" }, "Examples"), h("th", { class: "n" }, "Share"), h("th", { class: "n" }, `${data.about.unit[0].toUpperCase()}${data.about.unit.slice(1)}`), h("th", { class: "n" }, "Share"), h("th", { class: "n" }, "Lowest score"))),
    h("tbody", {}, [...new Set(parts)].map((kept) => {
      const { tokens, score } = atCount(column, kept);
      return h("tr", {}, h("td", { class: "n" }, whole(kept)), h("td", { class: "n" }, share(kept / pool.size)), h("td", { class: "n" }, whole(tokens)), h("td", { class: "n" }, share(tokens / total)), h("td", { class: "n" }, inUnit(score)));
    })));
}

draws(() => {
  if (state.view !== "keep") return;
  const column = currentColumn();
  const kept = startingCount();
  const { tokens, score } = atCount(column, kept);
  const total = atCount(column, pool.size).tokens;
  count.textContent = "";
  keepPart.range.value = keepPart.number.value = kept;
  const known = isWhole ? column.scores : Float32Array.from(column.curve, (point) => point[2]);
  replace(keepPart.chart, histogram(known, bulk([...known].sort((a, b) => a - b)), score, columnUnit(column), (to) => change({ keep: countAbove(column, to) })),
    h("p", { class: "quiet" }, `Scores for ${column.name}${state.example >= 0 ? " as a whole" : ""}${columnUnit(column).power ? `, in ${unitName(columnUnit(column))}` : ""}: drag the line, or the slider.`, isWhole ? "" : " Read at 200 places of the pool; counts between them are about right."));
  replace(keepPart.facts, h("strong", {}, `${plural(kept, "example")}`), ` of ${whole(pool.size)} (${share(kept / pool.size)})`,
    data.about.unit === "tokens" ? `, ${whole(tokens)} tokens (${share(tokens / total)})` : "", kept ? `, scores from ${inUnit(score)} on.` : ".");
  const command = commandFor(column, kept);
  keepPart.mark.hidden = !isWhole || !kept;
  keepPart.commandRow.hidden = !command || !kept;
  keepPart.command.textContent = visible(command || "");
  replace(keepPart.table, keepTable(column));
  if (!keepPart.all.isConnected) replace(view, keepPart.all);
});
