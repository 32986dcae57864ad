// The form of a new job, with a script: columns are put in at the cursor, and the first requests
// stand beside the form while it is typed. The form works without it.
const form = document.getElementById("ob-ask");
const shown = document.getElementById("ob-requests");
const prompt = document.getElementById("ob-prompt");
const PAUSE = 700;
let timer = null;
let running = null;

function insert(text) {
  const at = prompt.selectionStart ?? prompt.value.length;
  prompt.setRangeText(text, at, prompt.selectionEnd ?? at, "end");
  prompt.focus();
  soon();
}

function mark(errors, touched) {
  for (const place of form.querySelectorAll(".ob-wrong")) {
    const name = place.dataset.for;
    const sentence = touched.has(name) || name === "answers" ? errors[name] : "";
    place.textContent = sentence || "";
    place.hidden = !sentence;
    // what is wrong isn't hidden in a fold
    if (sentence && place.closest("details")) place.closest("details").open = true;
    form.elements[name]?.setAttribute?.("aria-invalid", String(Boolean(sentence)));
  }
}

function fields() {
  const values = new URLSearchParams(new FormData(form));
  values.set("do", "live");
  return values;
}

async function live() {
  if (!form.elements.prompt.value.trim() && !form.elements.template.value.trim()) return;
  running?.abort();
  running = new AbortController();
  try {
    const response = await fetch(form.action, {
      method: "POST", body: fields(), credentials: "same-origin", signal: running.signal,
    });
    if (!response.ok) return;
    const found = await response.json();
    // Errors of fields that are still empty would only be in the way.
    const touched = new Set([...fields()].filter(([, value]) => value).map(([name]) => name));
    mark(found.errors, touched);
    if (Object.keys(found.errors).length) return;
    shown.hidden = !found.html.trim();
    shown.querySelector("div").innerHTML = found.html;
  } catch (error) {
    if (error.name !== "AbortError") shown.hidden = true;
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(live, PAUSE);
}

if (form && !form.hidden) {
  for (const button of form.querySelectorAll("button[name=insert]")) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      insert(button.dataset.placeholder);
    });
  }
  form.addEventListener("input", soon);
  soon();
}
