// One stop at a time, by buttons and keys; the colors' switch. Without this script the page has the same text.
"use strict";
{
  const stops = [...document.querySelectorAll(".stop")];
  const squares = [...document.querySelectorAll(".track a")];
  const [previous, next, position, theme] = ["previous", "next", "position", "theme"].map((id) => document.getElementById(id));
  let current = 0;

  // Shows a stop. Its address lets it be linked to, without a step back in the history for each.
  function show(index, isByUser) {
    current = Math.min(Math.max(index, 0), stops.length - 1);
    const stop = stops[current];
    stops.forEach((other) => other.classList.toggle("shown", other === stop));
    squares.forEach((square, at) => (at === current ? square.setAttribute("aria-current", "step") : square.removeAttribute("aria-current")));
    position.textContent = `Stop ${current + 1} of ${stops.length}`;
    previous.disabled = current === 0;
    next.disabled = current === stops.length - 1;
    if (isByUser) {
      history.replaceState(null, "", `#${stop.id}`);
      const section = document.getElementById("stops");
      if (section.getBoundingClientRect().top < 0) section.scrollIntoView();
    }
  }

  function showLinked() {
    const index = stops.findIndex((stop) => `#${stop.id}` === location.hash);
    show(index < 0 ? current : index, false);
    if (index >= 0) stops[index].scrollIntoView();
  }

  const steps = {
    ArrowRight: () => current + 1,
    j: () => current + 1,
    ArrowLeft: () => current - 1,
    k: () => current - 1,
    Home: () => 0,
    End: () => stops.length - 1,
  };
  document.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    // Text that is wider than the page scrolls by its own arrow keys.
    if (event.key.length > 1 && event.target.closest("pre, .scroll")) return;
    event.preventDefault();
    show(step(), true);
  });
  previous.addEventListener("click", () => show(current - 1, true));
  next.addEventListener("click", () => show(current + 1, true));
  window.addEventListener("hashchange", showLinked);

  // What was chosen against the browser's preference is kept in this browser; where it may not be, until the page is closed.
  const root = document.documentElement;
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const nameTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.ariaLabel = `${theme.textContent} colors`;
  };
  try {
    const kept = localStorage.getItem("doorstep-theme");
    if (kept) root.dataset.theme = kept;
  } catch {}
  theme.addEventListener("click", () => {
    const isDarkNow = !isDark();
    if (isDarkNow === prefersDark.matches) delete root.dataset.theme;
    else root.dataset.theme = isDarkNow ? "dark" : "light";
    nameTheme();
    try {
      if (root.dataset.theme) localStorage.setItem("doorstep-theme", root.dataset.theme);
      else localStorage.removeItem("doorstep-theme");
    } catch {}
  });
  prefersDark.addEventListener("change", nameTheme);
  nameTheme();

  document.body.classList.add("stepping");
  document.querySelectorAll("#theme, .controls, .keys").forEach((element) => (element.hidden = false));
  show(0, false);
  showLinked();
}
