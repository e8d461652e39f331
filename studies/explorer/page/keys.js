// The keyboard: everything that a mouse can do with a list.

const KEYS = [
  ["j  ↓", "the next example", () => move(1)],
  ["k  ↑", "the example before", () => move(-1)],
  ["h  ←", "the list on the left", () => across(0)],
  ["l  →", "the list on the right", () => across(1)],
  ["m", "mark the example", () => press(".do-mark")],
  ["o  Enter", "unfold or fold its document", () => press(".open")],
  ["t", "whom did it affect, or what shaped it", () => press(".do-one")],
  ["r", "choose it to be relabelled", () => press(".do-relabel")],
  ["]", "the next query", () => step(1)],
  ["[", "the query before", () => step(-1)],
  ["a", "the average of the target", () => change({ view: state.view === "one" ? "examples" : state.view, example: -1 })],
  ["n", "the next page of the list", () => turnPage("Next page")],
  ["p", "the page before", () => turnPage("Page before")],
  ["/", "search", () => search.focus()],
  ["1 to 5", "views", null],
  ["?", "this list; Escape closes it", () => openKeys()],
];
const NAMES = { "↓": "ArrowDown", "↑": "ArrowUp", "←": "ArrowLeft", "→": "ArrowRight" };
const actions = new Map(KEYS.flatMap(([names, , act]) => (act ? names.split("  ").map((name) => [NAMES[name] || name, act]) : [])));
const dialog = document.getElementById("keys");

const lists = () => [...document.querySelectorAll("ol.cards")];
const currentCard = () => document.activeElement && document.activeElement.closest(".card");
const currentList = () => (currentCard() ? currentCard().closest("ol") : lists()[0]);

function focusCard(card) {
  if (!card) return;
  card.focus({ preventScroll: true });
  const top = document.getElementById("query").getBoundingClientRect().bottom + 12;
  const box = card.getBoundingClientRect();
  if (box.top < top || box.bottom > window.innerHeight) window.scrollBy({ top: box.top - top });
}

function move(by) {
  if (!currentList()) return;
  const cards = [...currentList().children];
  const place = cards.indexOf(currentCard());
  focusCard(cards[place < 0 ? 0 : Math.min(Math.max(place + by, 0), cards.length - 1)]);
}

function across(to) {
  const from = currentList();
  const list = lists()[Math.min(to, lists().length - 1)];
  if (!list || !from) return;
  const place = Math.max([...from.children].indexOf(currentCard()), 0);
  focusCard(list.children[Math.min(place, list.children.length - 1)]);
}

function press(selector) {
  const control = currentCard() && currentCard().querySelector(selector);
  if (control) control.click();
}

function turnPage(label) {
  const list = currentList();
  const next = list && list.parentElement.querySelector(`.pager [aria-label="${label}"]`);
  if (!next || next.disabled) return;
  const place = lists().indexOf(list);
  next.click();
  focusCard(lists()[place].children[0]);
}

function openKeys() {
  replace(dialog, h("h2", { id: "keys-title" }, "Keys"), h("dl", {}, KEYS.map(([names, what]) => h("div", {}, h("dt", {}, names.split("  ").map((name) => [h("kbd", {}, name), " "])), h("dd", {}, what)))),
    button("Close", () => dialog.close(), { class: "choice" }));
  dialog.showModal();
}

document.getElementById("help").addEventListener("click", openKeys);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  const { target } = event;
  if (target.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (event.key === "Enter" && target.matches("button, summary, a, input")) return;
  if (event.key.startsWith("Arrow") && target.matches(".subject, .wide, pre")) return;
  const views = VIEWS.filter(([, , applies]) => applies());
  const place = Number(event.key) - 1;
  if (views[place]) change({ view: views[place][0] });
  else if (actions.has(event.key)) actions.get(event.key)();
  else return;
  event.preventDefault();
});
