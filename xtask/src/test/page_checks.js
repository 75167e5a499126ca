// What the tests ask of a page: each function gives what is wrong, and so nothing on a good one.
"use strict";

const shown = () => [...document.querySelectorAll(".stop")].filter((stop) => stop.getClientRects().length > 0).map((stop) => stop.id);

const openAll = () => document.querySelectorAll("details").forEach((details) => (details.open = true));

const name = (element) => `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}`;

// The page itself does not scroll to the side, and nothing reaches over the edge but in what scrolls in itself.
function tooWide() {
  const width = document.documentElement.clientWidth;
  const found = [...document.body.querySelectorAll("*")]
    .filter((element) => !element.closest("pre, .scroll") && element.getBoundingClientRect().right > width + 0.5)
    .map(name);
  if (document.documentElement.scrollWidth > width) found.push(`the page: ${document.documentElement.scrollWidth} > ${width}`);
  return found;
}

const channels = (color) => color.match(/[\d.]+/g).map(Number);

// Relative luminance and contrast as WCAG 2.1 defines them.
function luminance(color) {
  const [red, green, blue] = channels(color).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function background(element) {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (channels(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
}

function tooFaint() {
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  return [...document.body.querySelectorAll("*:not(script):not(:disabled)")]
    .filter((element) => hasText(element) && element.getClientRects().length > 0)
    .map((element) => {
      const [one, other] = [getComputedStyle(element).color, background(element)].map(luminance);
      return [(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), element];
    })
    .filter(([contrast]) => contrast < 4.5)
    .map(([contrast, element]) => `${contrast.toFixed(2)}: ${name(element)}`);
}

const isDark = () => luminance(getComputedStyle(document.body).backgroundColor) < 0.2;

// One main heading, no level left out, and the landmarks; everything that can be focused has a name.
function badOutline() {
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((heading) => Number(heading.tagName[1]));
  const found = levels.filter((level, index) => (index === 0 ? level !== 1 : level > levels[index - 1] + 1 || level === 1)).map((level) => `h${level}`);
  found.push(...["header", "main", "nav[aria-label]", "html[lang]"].filter((selector) => !document.querySelector(selector)));
  const focusable = document.querySelectorAll("a, button, summary, [tabindex]");
  found.push(...[...focusable].filter((one) => !one.textContent.trim() && !one.ariaLabel).map(name));
  return found;
}
