// The page's data, read once: arrays of numbers out of base 64, everything else as it is.

function numbers(field) {
  if (!field) return null;
  const raw = atob(field.of);
  const bytes = new Uint8Array(raw.length);
  for (let place = 0; place < raw.length; place++) bytes[place] = raw.charCodeAt(place);
  if (field.as === "u") return bytes;
  return field.as === "f" ? new Float32Array(bytes.buffer) : new Int32Array(bytes.buffer);
}

function unpacked(object) {
  for (const [name, value] of Object.entries(object)) {
    if (value && typeof value === "object" && typeof value.of === "string" && value.as) object[name] = numbers(value);
  }
  return object;
}

const data = JSON.parse(document.getElementById("data").textContent);
document.getElementById("data").remove();
unpacked(data.pool);
data.columns.forEach(unpacked);
for (const target of data.targets) {
  unpacked(target);
  if (target.forward) unpacked(target.forward);
  if (target.back) unpacked(target.back);
}
const pool = data.pool;
const numRows = pool.ids.length;
const isWhole = numRows === pool.size;
const targetNamed = new Map(data.targets.map((target) => [target.name, target]));

// Rows from the largest to the smallest score of a column, worked out once.
const orders = new Map();
function orderOf(column) {
  if (!orders.has(column)) {
    const { scores } = column;
    orders.set(column, Int32Array.from({ length: numRows }, (_, row) => row).sort((a, b) => scores[b] - scores[a] || a - b));
  }
  return orders.get(column);
}

// The unit that the scores of a column are written in.
const units = new Map();
function columnUnit(column) {
  if (!units.has(column)) {
    const order = orderOf(column);
    units.set(column, unitOf(order.length ? Math.max(Math.abs(column.scores[order[0]]), Math.abs(column.scores[order[order.length - 1]])) : 0));
  }
  return units.get(column);
}

// A score for a column as a whole, with its unit where it has one.
function columnScore(column, row) {
  const unit = columnUnit(column);
  return written(column.scores[row], unit, true) + (unit.power ? ` \u00b7 ${unitName(unit)}` : "");
}

// What stands at both ends of one query: its helpful and its harmful others, in order.
function endsOf(ends, query, side) {
  const items = [];
  if (!ends || query >= ends.queries) return items;
  const start = query * 2 * ends.k + (side === "helpful" ? 0 : ends.k);
  for (let place = start; place < start + ends.k; place++) {
    const score = ends.scores[place];
    if (ends.places[place] < 0 || (side === "helpful" ? score <= 0 : score >= 0)) continue;
    const spread = ends.spread ? ends.spread[place] : null;
    items.push({ row: ends.places[place], score, spread, agreeing: ends.agreeing ? ends.agreeing[place] : null });
  }
  return items;
}

// Rows that are the same as this one, itself among them.
const copies = new Map();
if (pool.first) {
  pool.first.forEach((first, row) => {
    if (!copies.has(first)) copies.set(first, []);
    copies.get(first).push(row);
  });
}
const copiesOf = (row) => (pool.first ? copies.get(pool.first[row]) : [row]);
