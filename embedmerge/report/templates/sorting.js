// Tables that are sorted by a click on a header, or Enter: most first, least first, as they came.

const COLLATOR = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const NEXT = { none: ["descending", "ascending"], descending: ["ascending", "none"], ascending: ["none", "descending"] };

// A number or a text; null for a dash, which comes last either way.
function valueOf(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  if (text === "" || text === "\u2014") return null;
  const number = Number(text.replace(MINUS, "-").replace(/,/g, ""));
  return Number.isNaN(number) ? text : number;
}

function compareValues(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : COLLATOR.compare(String(a), String(b));
}

function sortBody(body, column, order) {
  const rows = [...body.rows].filter((row) => !row.classList.contains("side"));
  const known = (row) => valueOf(row.cells[column]);
  const sign = order === "descending" ? -1 : 1;
  const sorted = [...rows].sort((one, other) => {
    if (order === "none") return one.dataset.place - other.dataset.place;
    const [a, b] = [known(one), known(other)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * compareValues(a, b);
  });
  body.append(...sorted);
}

function wireTable(table) {
  const headers = [...table.tHead.rows[0].cells];
  for (const body of table.tBodies) [...body.rows].forEach((row, place) => (row.dataset.place = place));
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sorts";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    const isText = header.classList.contains("text"); // names are looked for from A
    button.addEventListener("click", () => {
      const order = NEXT[header.getAttribute("aria-sort")][isText ? 1 : 0];
      headers.forEach((other) => other.setAttribute("aria-sort", other === header ? order : "none"));
      for (const body of table.tBodies) sortBody(body, column, order);
    });
  });
}

document.querySelectorAll("table.sortable").forEach(wireTable);
