// Keeps the headline and outcomes of an unfinished job current. The page is complete without it.
import { localise } from "./times.js";

const live = document.getElementById("ob-live");
const said = document.getElementById("ob-said");
const FIRST = 1000;
const SLOWEST = 60000;
const CONTENT = ".content";
const tell = document.getElementById("ob-tell");
const TITLE = document.title;
const ENDED = new Set(["completed", "cancelled", "failed"]);

let wait = FIRST;
// Whether nothing was heard at first: then the page may be older than what is heard at last.
let missed = false;
let timer = null;
let busy = false;
let over = false;
let seen = null;
let announced = null;

// What a reader would notice; a poll that finds the same costs the page nothing.
function sight(job) {
  return JSON.stringify([
    job.status, job.message, job.outcomes, job.cost_usd, job.checked_at,
    job.parts.map((part) => part.status),
  ]);
}

async function load(url, options) {
  const response = await fetch(url, { credentials: "same-origin", ...options });
  if (!response.ok) throw new Error(`${response.status}`);
  return response;
}

async function redraw() {
  const html = await (await load(location.href)).text();
  const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("ob-live");
  if (!fresh) throw new Error("no headline");
  const focused = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  live.replaceChildren(...fresh.childNodes);
  localise(live);
  if (focused) {
    for (const link of live.querySelectorAll("a")) {
      if (link.getAttribute("href") === focused) link.focus();
    }
  }
  return fresh.hasAttribute("data-json");
}

// Said aloud when the status changes or another tenth is done, not at each poll.
function announce(job) {
  const done = job.requests - (job.outcomes.pending || 0);
  const tenth = job.requests ? Math.floor((10 * done) / job.requests) : 0;
  const now = `${job.status} ${tenth}`;
  if (announced !== null && now !== announced) {
    said.textContent = `${job.status_words}: ${done} of ${job.requests} requests`;
  }
  announced = now;
}

// The tab says how far the job is; at its end a notification does, where somebody asked for that.
function show(job) {
  const done = job.requests - (job.outcomes.pending || 0);
  const ended = ENDED.has(job.status) || job.status === "paused";
  document.title = ended ? `${job.status}: ${TITLE}` : `${done}/${job.requests} ${TITLE}`;
  if (ended && seen !== null && wanted()) {
    new Notification(`Job ${job.id}: ${job.status_words}`, { tag: location.pathname });
    sessionStorage.removeItem(location.pathname);
  }
}

function wanted() {
  return "Notification" in window && Notification.permission === "granted" &&
    sessionStorage.getItem(location.pathname) === "tell";
}

async function ask() {
  if ((await Notification.requestPermission()) !== "granted") return;
  sessionStorage.setItem(location.pathname, "tell");
  tell.textContent = "You will be told when it ends.";
}

if (tell && "Notification" in window) {
  tell.hidden = false;
  tell.addEventListener("click", ask);
  if (wanted()) tell.textContent = "You will be told when it ends.";
}

async function poll() {
  timer = null;
  busy = true;
  let goesOn = true;
  try {
    const job = await (await load(live.dataset.json, { cache: "no-store" })).json();
    const now = sight(job);
    if (seen === null && !missed) {
      goesOn = !ENDED.has(job.status);
    } else if (now !== seen) {
      goesOn = await redraw();
      wait = FIRST;
    } else {
      wait = Math.min(wait * 1.5, SLOWEST);
    }
    show(job);
    seen = now;
    announce(job);
  } catch {
    // The server may be restarting or the network gone: try again, more and more rarely.
    wait = Math.min(wait * 2, SLOWEST);
    missed = true;
  }
  busy = false;
  if (goesOn) plan();
  else await complete();
}

// The rest of the page (answers, errors, files) is complete once the job has ended. It is put in
// place of what is here, not loaded anew: what a reader has opened, typed or focused stays so.
async function complete() {
  over = true;
  try {
    const html = await (await load(location.href)).text();
    const fresh = new DOMParser().parseFromString(html, "text/html").querySelector(CONTENT);
    const old = document.querySelector(CONTENT);
    if (!fresh?.querySelector("#ob-live") || !old) throw new Error("no page");
    keep(old, fresh);
    const focused = place(document.activeElement, old);
    const [x, y] = [scrollX, scrollY];
    old.replaceChildren(...fresh.childNodes);
    localise(old);
    // What was last said aloud stays until it is heard.
    if (said) old.append(said);
    scrollTo(x, y);
    if (focused) old.querySelector(focused)?.focus({ preventScroll: true });
  } catch {
    location.reload();
  }
}

// Sections that were opened, or shut, and fields as they were filled in.
function keep(old, fresh) {
  for (const fold of old.querySelectorAll("details[data-fold]")) {
    const same = fresh.querySelector(`details[data-fold="${CSS.escape(fold.dataset.fold)}"]`);
    if (same) same.open = fold.open;
  }
  for (const field of old.querySelectorAll("input[type=text][name]")) {
    const same = fresh.querySelector(`input[type=text][name="${CSS.escape(field.name)}"]`);
    if (same) same.value = field.value;
  }
}

// A selector for the element that has the focus, where it will be found again.
function place(element, within) {
  if (!element || !within.contains(element)) return null;
  if (element.localName === "summary") {
    const fold = element.parentElement.dataset.fold;
    return fold ? `details[data-fold="${CSS.escape(fold)}"] > summary` : null;
  }
  if (element.name) return `${element.localName}[name="${CSS.escape(element.name)}"]`;
  const href = element.getAttribute("href");
  return href ? `a[href="${CSS.escape(href)}"]` : null;
}

function plan(delay = wait) {
  // A hidden tab is asked about only where somebody waits to be told.
  const seen = !document.hidden || wanted();
  if (timer === null && !busy && !over && seen) timer = setTimeout(poll, delay);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  timer = null;
  plan(0);
});

if (live?.dataset.json) plan(0);
