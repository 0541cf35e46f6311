// Numbers in words, as the rest of the page writes them.

const MINUS = "\u2212";

function fixed(value, decimals) {
  const rounded = Number(value.toFixed(decimals)) + 0;
  return rounded.toFixed(decimals).replace("-", MINUS);
}

function signed(value, decimals) {
  const rounded = Number(value.toFixed(decimals)) + 0;
  if (rounded === 0) return (0).toFixed(decimals);
  return (rounded > 0 ? "+" : "") + fixed(rounded, decimals);
}

function dataOf(id) {
  const element = document.getElementById(id);
  return element ? JSON.parse(element.textContent) : null;
}
