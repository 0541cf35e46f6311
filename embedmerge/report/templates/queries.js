// Queries one by one: the base's nDCG@10 along, the merged model's up; a point tells its query and documents.

const SIDE = 420;
const EDGE = { left: 48, right: 18, top: 18, bottom: 48 };
const REACH = 18;

function inSvg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function inHtml(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

const along = (score) => EDGE.left + (score / 100) * (SIDE - EDGE.left - EDGE.right);
const upward = (score) => SIDE - EDGE.bottom - (score / 100) * (SIDE - EDGE.top - EDGE.bottom);

// Queries with the same two scores lie in a sunflower around their place, so that all are seen.
function spreadOut(points) {
  const met = new Map();
  return points.map(([, before, after]) => {
    const key = `${before} ${after}`;
    const rank = met.get(key) ?? 0;
    met.set(key, rank + 1);
    const reach = Math.min(1.5 * Math.sqrt(rank), 12);
    return [along(before) + reach * Math.cos(2.4 * rank), upward(after) + reach * Math.sin(2.4 * rank)];
  });
}

function axes(base, merged) {
  const group = inSvg("g", { class: "axes" });
  const [low, high] = [along(0), along(100)];
  group.append(inSvg("path", { d: `M${low} ${upward(0)}L${high} ${upward(100)}`, class: "diagonal" }));
  group.append(inSvg("path", { d: `M${low} ${upward(100)}V${upward(0)}H${high}` }));
  for (const tick of [0, 25, 50, 75, 100]) {
    group.append(inSvg("text", { x: along(tick), y: SIDE - 26, "text-anchor": "middle" }, tick));
    group.append(inSvg("text", { x: EDGE.left - 8, y: upward(tick) + 4, "text-anchor": "end" }, tick));
  }
  const middle = (low + high) / 2;
  group.append(inSvg("text", { x: middle, y: SIDE - 6, "text-anchor": "middle" }, `${base}, nDCG@10 \u2192`));
  const turned = { transform: `translate(12 ${(upward(0) + upward(100)) / 2}) rotate(-90)`, "text-anchor": "middle" };
  group.append(inSvg("text", turned, `${merged}, nDCG@10 \u2192`));
  return group;
}

function ranking(title, places, data, relevant) {
  const part = inHtml("div");
  part.append(inHtml("h4", title));
  if (!places.length) part.append(inHtml("p", "Its documents were not kept.", "soft"));
  const list = inHtml("ol");
  for (const place of places) {
    const item = inHtml("li");
    if (relevant.includes(place)) item.append(inHtml("span", "relevant", "tag"), " ");
    item.append(data.documents[place] || "(empty)");
    list.append(item);
  }
  if (places.length) part.append(list);
  return part;
}

function wireQueries(data) {
  const part = document.getElementById("queries");
  const svg = part.querySelector("svg.queries");
  const told = part.querySelector("[data-tells]");
  const filter = part.querySelector("select");
  const places = spreadOut(data.points);
  const dots = inSvg("g", {});
  const mark = inSvg("circle", { r: 7, class: "held", visibility: "hidden" });
  const circles = data.points.map(([, before, after], at) => {
    const tone = after > before ? "better" : after < before ? "worse" : "same";
    return inSvg("circle", { cx: places[at][0], cy: places[at][1], r: 2.6, class: tone });
  });
  dots.append(...circles);
  svg.append(axes(data.base, data.merged), dots, mark);
  const isShown = (at) => filter.value === "" || data.points[at][0] === Number(filter.value);
  const byLoss = data.points.map((_, at) => at);
  byLoss.sort((a, b) => data.points[a][2] - data.points[a][1] - (data.points[b][2] - data.points[b][1]));
  let held = -1;

  function tell(at) {
    held = at;
    const [task, before, after, query, first, second, relevant] = data.points[at];
    mark.setAttribute("cx", places[at][0]);
    mark.setAttribute("cy", places[at][1]);
    mark.setAttribute("visibility", "visible");
    const change = inHtml("span", signed(after - before, 1), after > before ? "up" : after < before ? "down" : "");
    const line = inHtml("p", `${data.tasks[task]}: ${fixed(before, 1)} to ${fixed(after, 1)}, `, "soft");
    line.append(change);
    const both = inHtml("div", undefined, "rankings");
    both.append(ranking(data.base, first, data, relevant), ranking(data.merged, second, data, relevant));
    told.replaceChildren(inHtml("h3", query), line, both);
  }

  function nearest(event) {
    const box = svg.getBoundingClientRect();
    const scale = SIDE / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let [best, distance] = [-1, REACH];
    places.forEach(([cx, cy], at) => {
      const off = Math.hypot(cx - x, cy - y);
      if (off < distance && isShown(at)) [best, distance] = [at, off];
    });
    return best;
  }

  function point(event) {
    const at = nearest(event);
    if (at >= 0 && at !== held) tell(at);
  }

  function step(event) {
    const order = byLoss.filter(isShown);
    const now = order.indexOf(held);
    const next = {
      ArrowRight: now + 1,
      ArrowDown: now + 1,
      ArrowLeft: Math.max(now - 1, 0),
      ArrowUp: Math.max(now - 1, 0),
      Home: 0,
      End: order.length - 1,
    }[event.key];
    if (next === undefined || !order.length) return;
    event.preventDefault();
    tell(order[Math.min(next, order.length - 1)]);
  }

  data.tasks.forEach((task, place) => filter.append(new Option(task, place)));
  filter.addEventListener("change", () =>
    circles.forEach((circle, at) => circle.setAttribute("visibility", isShown(at) ? "visible" : "hidden")),
  );
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("keydown", step);
  part.hidden = false;
}

const queriesData = dataOf("queries-data");
if (queriesData) wireQueries(queriesData);
