// What a person has chosen, and how a choice reaches the page: `change` notes it, then everything is drawn anew.

const NARROW = "(max-width: 719px)";
const VIEWS = [
  ["examples", "For a target", () => true],
  ["one", "Of one training example", () => true],
  ["domains", "By domain", () => pool.domains.length > 1],
  ["keep", "What to keep", () => true],
  ["labels", "Wrong labels", () => pool.labels !== null && data.classes.length > 1],
];

const state = {
  view: "examples",
  column: 0,
  example: -1, // of the target; -1: the target as a whole
  row: 0, // the training example that is looked at by itself
  side: window.matchMedia(NARROW).matches ? "helpful" : "both",
  text: "",
  found: null, // rows that hold the text; null: no text
  domain: "",
  status: "",
  marked: false,
  differ: false, // only where proxies disagree in sign
  fold: true,
  pages: { helpful: 0, harmful: 0, labels: 0 },
  keep: null, // how many examples; null: as selected, or a fifth
  unequal: true, // of wrong labels, only those where the prediction differs
};
const KEEPS_PAGES = new Set(["pages", "keep"]);
const drawers = [];
const draws = (draw) => drawers.push(draw);

function change(patch) {
  const moved = Object.keys(patch).some((name) => !KEEPS_PAGES.has(name));
  Object.assign(state, patch);
  if (moved) state.pages = { helpful: 0, harmful: 0, labels: 0 };
  draw();
}

function draw() {
  for (const one of drawers) one();
}

const currentColumn = () => data.columns[state.column];
const currentTarget = () => targetNamed.get(currentColumn().name) || null;
const isSelf = () => currentColumn().kind === "self";
const sideNames = () => (isSelf() ? { helpful: "Highest", harmful: "Lowest" } : { helpful: "Helpful", harmful: "Harmful" });
