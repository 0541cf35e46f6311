// Predictions between the points of a lattice on the simplex of weights.

function choose(from, number) {
  let product = 1;
  for (let k = 1; k <= number; k++) product = (product * (from - number + k)) / k;
  return product;
}

// The place of a point in the lists, by the combinatorial number system.
function place(corner) {
  const last = corner.length;
  return corner.reduce((sum, value, at) => sum + choose(value + last - 1 - at, last - at), 0);
}

// Corners of the small simplex around some weights, by Freudenthal's triangulation, with what each counts for.
function around(weights, steps) {
  const total = weights.reduce((sum, value) => sum + value, 0);
  const tails = weights
    .slice(1)
    .map((_, k) => weights.slice(k + 1).reduce((sum, value) => sum + value, 0))
    .map((tail) => Math.min(Number(((tail / total) * steps).toFixed(9)), steps));
  const corner = tails.map(Math.floor);
  const fractions = tails.map((tail, k) => tail - corner[k]);
  const order = fractions.map((_, k) => k).sort((a, b) => fractions[b] - fractions[a] || a - b);
  const found = [];
  let before = 1;
  for (const k of [...order, -1]) {
    const after = k < 0 ? 0 : fractions[k];
    if (before > after) found.push([place(corner), before - after]);
    if (k >= 0) corner[k] += 1;
    before = after;
  }
  return found;
}

function predicted(surface, weights) {
  const corners = around(
    surface.spanned.map((source) => weights[source]),
    surface.steps,
  );
  const of = (values) => corners.reduce((sum, [at, share]) => sum + share * values[at], 0);
  return { target: of(surface.target), general: of(surface.general), margin: of(surface.margins) };
}
