"use strict";
// A convenience only: without it the tables stand in the order of the datastores.
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
      const rows = [...table.tBodies[0].rows].sort((a, b) => (rising ? order(a, b) : order(b, a)));
      table.tBodies[0].append(...rows);
    });
  });
}
// What is folded away is printed too, and a link to a run unfolds it.
const unfold = (element) => {
  for (let each = element; each; each = each.parentElement?.closest("details")) each.open = true;
};
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
const follow = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target) unfold(target.closest("details")), target.scrollIntoView();
};
addEventListener("hashchange", follow);
follow();
