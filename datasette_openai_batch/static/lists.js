// Keeps a list of jobs current while one of them isn't finished. The page is complete without it.
import { localise } from "./times.js";

const FIRST = 3000;
const SLOWEST = 60000;
let wait = FIRST;
let timer = null;

function tables(root) {
  return [...root.querySelectorAll("[data-jobs]")];
}

async function poll() {
  timer = null;
  let goesOn = true;
  try {
    const response = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
    if (!response.ok) throw new Error(`${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const now = tables(document);
    let changed = false;
    for (const [place, body] of tables(fresh).entries()) {
      localise(body);
      if (!now[place] || now[place].innerHTML === body.innerHTML) continue;
      if (now[place].contains(document.activeElement)) continue;
      now[place].replaceWith(body);
      changed = true;
    }
    wait = changed ? FIRST : Math.min(wait * 1.5, SLOWEST);
    goesOn = tables(document).some((body) => body.dataset.jobs === "open");
  } catch {
    // The server may be restarting or the network gone: try again, more and more rarely.
    wait = Math.min(wait * 2, SLOWEST);
  }
  if (goesOn) plan();
}

function plan() {
  if (timer === null && !document.hidden) timer = setTimeout(poll, wait);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  timer = null;
  plan();
});

if (tables(document).some((body) => body.dataset.jobs === "open")) plan();
