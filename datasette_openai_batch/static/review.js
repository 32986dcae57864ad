// Labels by single keys. Without this script the form works all the same: Tab, arrows, Enter.
const form = document.getElementById("ob-review");

function typing(element) {
  return element?.matches?.("input[type=text], textarea, select") ?? false;
}

// The question in which the focus is, else the first without an answer, else the last.
function question() {
  const all = [...form.querySelectorAll("[data-question]:has([data-key])")];
  const here = document.activeElement?.closest?.("[data-question]");
  const open = all.find((one) => !one.querySelector("input:checked"));
  if (here && all.length > 1 && here.querySelector("[data-key]")) {
    // Once a label is chosen the next digit is for the next question.
    const chosen = here.querySelector("input[type=radio]:checked");
    return chosen && here.dataset.touched && open ? open : here;
  }
  return open ?? all.at(-1);
}

function choose(key) {
  const place = question();
  const wanted = place?.querySelector(`[data-key="${key}"]`);
  if (!wanted) return false;
  if (wanted.type === "checkbox") wanted.checked = !wanted.checked;
  else wanted.checked = true;
  place.dataset.touched = "1";
  wanted.focus();
  return true;
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const at = document.activeElement;
  const button = at?.matches?.("button, a, summary");
  if (event.key === "Enter" && !button && !(at?.matches?.("textarea") && event.shiftKey)) {
    event.preventDefault();
    if (!form.dataset.sent) form.requestSubmit(form.querySelector("button[value=save]"));
    return;
  }
  if (event.key === "Escape" && typing(at)) {
    at.blur();
    return;
  }
  if (typing(at)) return;
  const links = { b: "ob-back", s: "ob-skip" };
  if (/^[0-9]$/.test(event.key) && choose(event.key)) event.preventDefault();
  else if (event.key === "n") {
    event.preventDefault();
    document.getElementById("ob-note").focus();
  } else if (links[event.key]) {
    event.preventDefault();
    document.getElementById(links[event.key])?.click();
  }
}

if (form) {
  document.getElementById("ob-keys").hidden = false;
  document.addEventListener("keydown", press);
  // A key that is held down sends one row only once.
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => delete form.dataset.sent);
}
