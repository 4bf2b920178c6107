// What the tests ask of the page. Each function answers with what is wrong, as far as it can.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const unfold = () => all("details").forEach((each) => (each.open = true));

// Elements that lie to the right of the window, and in nothing that scrolls by itself.
const beyond = (width) =>
  all("main *")
    .filter((each) => !each.closest(".scroll") && each.getBoundingClientRect().right > width + 0.5)
    .map((each) => each.outerHTML);

// WCAG 2.2, relative luminance and contrast ratio, of every piece of text that is shown.
const luminance = (colour) => {
  const linear = (channel) => (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4);
  const [red, green, blue] = colour.match(/[\d.]+/g).map((each) => linear(each / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const ground = (element) => {
  const lane = element.closest("svg.spacetime")?.querySelector(".lane");
  if (lane) return getComputedStyle(lane).fill;
  for (let each = element; each; each = each.parentElement) {
    const colour = getComputedStyle(each).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") return colour;
  }
};
const contrasts = () => {
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const shown = texts.currentNode.data.trim();
    if (!shown || element.closest("script, title") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [light, dark] = [element.closest("svg") ? style.fill : style.color, ground(element)]
      .map(luminance)
      .sort((a, b) => b - a);
    found.push([(light + 0.05) / (dark + 0.05), shown]);
  }
  return found;
};

const unnamed = () =>
  all("[role=img], [role=region], nav")
    .filter((each) => !each.ariaLabel && !document.getElementById(each.getAttribute("aria-labelledby"))?.textContent)
    .map((each) => each.outerHTML);
const idsInUseTwice = () => {
  const ids = all("[id]").map((each) => each.id);
  return ids.filter((each, index) => ids.indexOf(each) < index);
};

const lanes = () => all("svg.spacetime").map((each) => all(".process-lane", each).map((lane) => +lane.dataset.process));

// Pairs of words of a diagram that overlap, and words that its edge cuts off.
const covered = () => {
  const found = [];
  for (const drawing of all("svg.spacetime")) {
    const words = all("text", drawing).map((each) => [each.textContent, each.getBoundingClientRect()]);
    const edge = drawing.getBoundingClientRect().right;
    words.forEach(([word, box], index) => {
      if (box.right > edge) found.push([word, "the edge"]);
      for (const [other, next] of words.slice(index + 1)) {
        const beside = box.right <= next.left || next.right <= box.left;
        const above = box.bottom <= next.top + 2 || next.bottom <= box.top + 2;
        if (!beside && !above) found.push([word, other]);
      }
    });
  }
  return found;
};
