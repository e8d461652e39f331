// A histogram with what is kept set apart; the table of the same numbers stands behind it.

const BINS = 60;

// The middle of a sorted column, without the few that lie far out: (low, high).
function bulk(sorted) {
  const at = (part) => sorted[Math.min(Math.floor(part * sorted.length), sorted.length - 1)];
  const [low, high] = [at(0.002), at(0.998)];
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

function binned(scores, [low, high]) {
  const bins = new Array(BINS).fill(0);
  for (const score of scores) bins[Math.min(Math.max(Math.floor(((score - low) / (high - low)) * BINS), 0), BINS - 1)]++;
  return bins;
}

// `cut`: scores from here on are kept. `drag(score)` is called while a person pulls the line.
function histogram(scores, range, cut, unit, drag) {
  const [low, high] = range;
  const [width, height] = [600, 150];
  const bins = binned(scores, range);
  const most = Math.max(...bins, 1);
  const x = (score) => (Math.min(Math.max((score - low) / (high - low), 0), 1)) * width;
  const bars = bins.map((number, place) => {
    const start = low + ((high - low) * place) / BINS;
    const tall = number ? Math.max((number / most) * height, 1) : 0;
    return svg("rect", { x: (place * width) / BINS + 0.5, y: height - tall, width: width / BINS - 1, height: tall, class: start >= cut ? "in" : "out" });
  });
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true", class: "histogram" },
    bars, svg("line", { x1: x(cut), x2: x(cut), y1: 0, y2: height, class: "cut" }));
  const scoreAt = (event) => {
    const box = chart.getBoundingClientRect();
    return low + (high - low) * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  };
  chart.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    drag(scoreAt(event));
    const move = (later) => drag(scoreAt(later));
    const stop = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
      window.removeEventListener("pointercancel", stop);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    window.addEventListener("pointercancel", stop);
  });
  return h("div", { class: "chart" }, chart, h("div", { class: "axis quiet", "aria-hidden": "true" }, h("span", {}, written(low, unit)), h("span", {}, written(high, unit))));
}
