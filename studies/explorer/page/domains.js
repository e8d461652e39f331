// The query's scores by domain: how many, their mean with its interval, and how much of each is kept.

const FIRST_DOMAINS = 40;
const WIDEST = 45; // per cent of the cell, to either side of its middle
let allDomains = false;

function domainRows() {
  const { scores } = currentColumn();
  const rows = pool.domains.map((name, place) => ({ name, place, n: 0, sum: 0, squares: 0, above: 0, kept: 0 }));
  for (let row = 0; row < numRows; row++) {
    const one = rows[pool.domain[row]];
    one.n += 1;
    one.sum += scores[row];
    one.squares += scores[row] ** 2;
    one.above += scores[row] > 0;
    one.kept += pool.kept ? pool.kept[row] : 0;
  }
  for (const one of rows) {
    one.mean = one.sum / one.n;
    const variance = Math.max(one.squares / one.n - one.mean ** 2, 0) * (one.n / Math.max(one.n - 1, 1));
    one.half = 1.96 * Math.sqrt(variance / one.n);
  }
  return rows.sort((a, b) => b.mean - a.mean);
}

function domainRow(one, largest, unit) {
  const bar = h("span", { class: one.mean < 0 ? "bar below" : "bar" });
  bar.style.width = `${(WIDEST * Math.abs(one.mean)) / largest}%`;
  const line = h("span", { class: "whisker" });
  line.style.left = `${Math.max(50 + (WIDEST * (one.mean - one.half)) / largest, 0)}%`;
  line.style.right = `${Math.max(50 - (WIDEST * (one.mean + one.half)) / largest, 0)}%`;
  const interval = one.n > 1 ? `[${written(one.mean - one.half, unit, true)}, ${written(one.mean + one.half, unit, true)}]` : "–";
  return h("tr", {},
    h("th", { scope: "row" }, button(one.name || "(none)", () => change({ view: "examples", domain: String(one.place) }), { class: "plain" })),
    h("td", { class: "n" }, written(one.mean, unit, true)),
    h("td", { class: "diverging", "aria-hidden": "true" }, h("span", { class: "zero" }), bar, line),
    h("td", { class: "n quiet" }, interval),
    h("td", { class: "n" }, whole(one.n)),
    h("td", { class: "n" }, share(one.above / one.n)),
    pool.kept && h("td", { class: "n" }, share(one.kept / one.n)));
}

draws(() => {
  if (state.view !== "domains") return;
  const rows = domainRows();
  const largest = Math.max(...rows.map((one) => Math.abs(one.mean)), 1e-30);
  const unit = unitOf(largest);
  const shown = allDomains ? rows : rows.slice(0, FIRST_DOMAINS);
  count.textContent = "";
  replace(view, h("section", { class: "panel", "aria-labelledby": "domains-title" },
    h("h2", { id: "domains-title" }, "Mean score of each domain"),
    h("p", { class: "quiet" }, `For ${currentColumn().name}${state.example >= 0 ? " as a whole" : ""}; bars are means, lines their 95 % normal intervals. Choose a domain to see its examples.${unit.power ? ` Scores in ${unitName(unit)}.` : ""}`,
      isWhole ? "" : ` Of the ${whole(numRows)} examples listed in this page, which are those at the ends.`),
    h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Table of domains" }, h("table", { class: "domains" },
      h("thead", {}, h("tr", {}, h("th", {}, "Domain"), h("th", { class: "n" }, "Mean"), h("th", { "aria-hidden": "true" }, ""), h("th", { class: "n" }, "95 % interval"), h("th", { class: "n" }, "Examples"), h("th", { class: "n" }, "Above 0"), pool.kept && h("th", { class: "n" }, "Kept"))),
      h("tbody", {}, shown.map((one) => domainRow(one, largest, unit))))),
    shown.length < rows.length && button(`All ${whole(rows.length)} domains`, () => { allDomains = true; draw(); }, { class: "choice" })));
});
