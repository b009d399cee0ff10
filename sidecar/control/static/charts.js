// Small charts in SVG, drawn to the size of their box.

const SVG = "http://www.w3.org/2000/svg";

function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A quantile of bucket counts, linear within a bucket, as Prometheus does it. In seconds.
export function quantile(share, bounds, counts) {
  const total = counts.reduce((a, b) => a + b, 0);
  if (!total) return null;
  let below = 0;
  for (let i = 0; i < counts.length; i += 1) {
    if (below + counts[i] >= share * total) {
      if (i >= bounds.length) return bounds[bounds.length - 1];
      const low = i ? bounds[i - 1] : 0;
      return low + (bounds[i] - low) * ((share * total - below) / Math.max(counts[i], 1));
    }
    below += counts[i];
  }
  return bounds[bounds.length - 1];
}

function label(seconds) {
  const value = seconds * 1000;
  return value >= 1 ? String(Math.round(value)) : value.toFixed(1);
}

// Bars a bucket, with the deadline between two of them.
export function histogram(box, { bounds_s: bounds, counts }, deadline) {
  const total = counts.reduce((a, b) => a + b, 0);
  const width = Math.max(280, box.clientWidth);
  const height = 190;
  const low = 28;
  const top = 22;
  const step = width / counts.length;
  const most = Math.max(1, ...counts);
  const limit = deadline / 1000;
  const picture = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  const p99 = quantile(0.99, bounds, counts);
  picture.setAttribute("aria-label", total
    ? `${total} decisions; 99 of 100 took ${p99 >= bounds[bounds.length - 1] ? "more than" : "at most"} ${(p99 * 1000).toFixed(1)} ms; the deadline is ${deadline} ms.`
    : "No decisions yet.");
  picture.append(shape("line", { class: "axis", x1: 0, x2: width, y1: height - low + 0.5, y2: height - low + 0.5 }));
  let line = width;
  counts.forEach((value, i) => {
    const upper = i < bounds.length ? bounds[i] : Infinity;
    const lower = i ? bounds[i - 1] : 0;
    const tall = value ? Math.max(2, (value / most) * (height - low - top)) : 0;
    const bar = shape("rect", {
      class: upper <= limit + 1e-9 ? "in" : "late",
      x: i * step + 2, width: Math.max(1, step - 4), y: height - low - tall, height: tall, rx: 2,
    });
    const told = upper === Infinity ? `over ${label(lower)} ms` : `${label(lower)} to ${label(upper)} ms`;
    bar.append(shape("title", {}, `${told}: ${value} (${total ? ((100 * value) / total).toFixed(1) : 0} %)`));
    picture.append(bar);
    if (i < bounds.length && (step > 30 || i % 2 === 1)) {
      picture.append(shape("text", { class: "tick", x: (i + 1) * step, y: height - 9, "text-anchor": "middle" }, i === bounds.length - 1 ? `${label(upper)} ms` : label(upper)));
    }
    if (limit > lower && limit <= upper) {
      const within = upper === Infinity ? 0.5 : (limit - lower) / (upper - lower);
      line = (i + within) * step;
    }
  });
  const left = line > width - 120;
  picture.append(shape("line", { class: "deadline", x1: line, x2: line, y1: 4, y2: height - low }));
  picture.append(shape("text", { class: "deadline-name", x: line + (left ? -6 : 6), y: 14, "text-anchor": left ? "end" : "start" }, `deadline ${deadline} ms`));
  box.replaceChildren(picture);
}

// A line through the latest values, the newest at the right.
export function spark(picture, values, room) {
  const width = 220;
  const height = 36;
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  picture.setAttribute("preserveAspectRatio", "none");
  const most = Math.max(1, ...values);
  const points = values.map((value, i) => {
    const x = width - ((values.length - 1 - i) * width) / (room - 1);
    return `${x.toFixed(1)},${(height - 3 - (value / most) * (height - 8)).toFixed(1)}`;
  });
  const first = points.length ? points[0].split(",")[0] : width;
  picture.replaceChildren(
    shape("polygon", { class: "area", points: points.length ? `${first},${height} ${points.join(" ")} ${width},${height}` : "" }),
    shape("polyline", { class: "line", points: points.join(" ") }),
  );
}
