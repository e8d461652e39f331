// The head of the page, the views, and the first drawing.

function aboutLine() {
  const { scorer, proxies, unit, lds, selection } = data.about;
  const parts = [`${plural(pool.size, "training example")}`, `scored by ${scorer}`];
  if (proxies > 1) parts.push(`mean of ${plural(proxies, "proxy", "proxies")}`);
  if (unit === "tokens" && isWhole) parts.push(`${whole(pool.lengths.reduce((sum, one) => sum + one, 0))} tokens`);
  if (selection) parts.push(`kept by ${selection}`);
  for (const one of lds) parts.push(`LDS of ${one.scorer} ${one.value.toFixed(2)} [${one.low.toFixed(2)}, ${one.high.toFixed(2)}], n = ${one.subsets} subsets`);
  if (!lds.length) parts.push("LDS not measured");
  return parts.join(" · ");
}

document.getElementById("about").textContent = visible(aboutLine());
if (data.about.missing) {
  const note = document.getElementById("missing");
  note.hidden = false;
  replace(note, `${data.about.missing}. The others have no room here.`, data.commands.serve ? [" All of it, on your own machine: ", h("code", {}, data.commands.serve)] : "");
}

const nav = document.getElementById("views");
for (const [name, label, applies] of VIEWS) {
  if (applies()) nav.append(button(label, () => change({ view: name }), { "data-view": name }));
}
draws(() => {
  for (const one of nav.children) {
    if (one.dataset.view === state.view) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  document.body.dataset.view = state.view;
});
state.row = orderOf(data.columns[0])[0] ?? 0;
draw();
