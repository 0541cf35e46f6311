// A slider for each source; moving one moves the others in proportion, so that the weights add up to 1.

// Weights cut to some decimals, the largest taking what is left to 1.
function cut(weights, decimals) {
  const kept = weights.map((weight) => Number(weight.toFixed(decimals)));
  const largest = kept.indexOf(Math.max(...kept));
  const others = kept.reduce((sum, weight, at) => (at === largest ? sum : sum + weight), 0);
  kept[largest] = Number((1 - others).toFixed(decimals));
  return kept;
}

function recipe(surface, weights) {
  const lines = cut(weights, 4).map((weight, source) => `    ${surface.keys[source]}: ${weight}\n`);
  return `weighting:\n  strategy: explicit\n  weights:\n${lines.join("")}`;
}

// A dot on the trade-off at what is predicted, and a ring at what is predicted for the chosen weights.
function tracer(svg, surface) {
  if (!svg) return () => {};
  const at = Object.fromEntries(Object.entries(svg.dataset).map(([name, value]) => [name, Number(value)]));
  const made = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return svg.appendChild(element);
  };
  const along = (general) => {
    const value = svg.dataset.scale === "root" ? -Math.sqrt(Math.max(general, 0)) : general;
    return at.left + ((value - at.xLow) / (at.xHigh - at.xLow)) * (at.right - at.left);
  };
  const up = (target) => at.bottom - ((target - at.yLow) / (at.yHigh - at.yLow)) * (at.bottom - at.top);
  const across = made("path", { class: "cross", fill: "none" });
  const [target, general] = surface.atChosen;
  made("circle", { class: "ring", r: 6.5, cx: along(general), cy: up(target), fill: "none" });
  const dot = made("circle", { class: "dot", r: 5 });
  return (here) => {
    const [x, y] = [along(here.general), up(here.target)];
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    across.setAttribute("d", `M${at.left} ${y}H${x}V${at.bottom}`);
  };
}

function wireSliders(surface) {
  const part = document.getElementById("explore");
  const one = (name) => part.querySelector(`[data-shows="${name}"]`);
  const inputs = [...part.querySelectorAll("input[type=range]")];
  const values = [...part.querySelectorAll("output")];
  const shares = [...part.querySelectorAll(".bar > span")];
  const trace = tracer(document.querySelector("svg.trade-off"), surface);
  const alone = (source) => surface.chosen.map((_, other) => Number(other === source));
  const atBase = predicted(surface, alone(0));
  const places = { chosen: surface.chosen, base: alone(0), "fine-tune": alone(surface.fineTune) };
  const digits = surface.divergence ? 3 : 1;
  let weights = [...surface.chosen];
  let held = { source: -1, weights }; // where the others stood when a slider was taken up
  let saying = 0;

  function compared(name, value, base, chosen, decimals, lessIsBetter) {
    one(name).textContent = fixed(value, decimals);
    for (const [reference, other] of [["base", base], ["chosen", chosen]]) {
      const element = one(`${name}-${reference}`);
      if (!element) continue;
      const difference = Number((value - other).toFixed(decimals));
      element.textContent = signed(difference, decimals);
      element.className = difference === 0 ? "" : difference > 0 !== lessIsBetter ? "up" : "down";
    }
  }

  function words(here) {
    const general = surface.divergence ? "divergence" : "general";
    return (
      `target ${fixed(here.target, 1)}, ${general} ${fixed(here.general, digits)}, ` +
      `${here.margin >= 0 ? "above" : "below"} the floor`
    );
  }

  function say(text, wait) {
    clearTimeout(saying);
    saying = setTimeout(() => (one("said").textContent = text), wait);
  }

  function show(moved) {
    const here = predicted(surface, weights);
    cut(weights, 3).forEach((weight, source) => {
      if (source !== moved) inputs[source].value = 100 * weights[source];
      inputs[source].setAttribute("aria-valuetext", `${weight.toFixed(3)}; ${words(here)}`);
      values[source].textContent = weight.toFixed(3);
      shares[source].style.width = `${100 * weights[source]}%`;
    });
    const [target, general] = surface.atChosen;
    compared("target", here.target, atBase.target, target, 1, false);
    compared("general", here.general, atBase.general, general, digits, surface.divergence);
    const floor = one("floor");
    floor.textContent = here.margin >= 0 ? "above the floor" : "below the floor";
    floor.className = here.margin >= 0 ? "gain" : "loss";
    one("recipe").textContent = recipe(surface, weights);
    trace(here);
    return `Predicted: ${words(here)}.`;
  }

  function move(source) {
    if (held.source !== source) held = { source, weights: [...weights] };
    const own = Math.round(10 * Number(inputs[source].value)) / 1000;
    const others = surface.spanned.filter((other) => other !== source);
    const sum = others.reduce((total, other) => total + held.weights[other], 0);
    for (const other of others)
      weights[other] = (1 - own) * (sum > 0 ? held.weights[other] / sum : 1 / others.length);
    weights[source] = own;
    say(show(source), 400);
  }

  async function copy() {
    const text = one("recipe").textContent;
    try {
      await navigator.clipboard.writeText(text);
      say("Copied. It goes in the place of the recipe's own weighting.", 0);
    } catch {
      getSelection().selectAllChildren(one("recipe"));
      say("Selected; your browser leaves copying to you.", 0);
    }
  }

  inputs.forEach((input, source) => input.addEventListener("input", () => move(source)));
  part.querySelectorAll("button[data-weights]").forEach((button) =>
    button.addEventListener("click", () => {
      weights = [...places[button.dataset.weights]];
      held = { source: -1, weights };
      say(show(-1), 400);
    }),
  );
  part.querySelector("button[data-copies]").addEventListener("click", copy);
  part.hidden = false;
  show(-1);
}

const surfaceData = dataOf("surface-data");
if (surfaceData) wireSliders(surfaceData);
