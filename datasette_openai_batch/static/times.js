// Says the moments of a page, which are written in UTC, in the reader's own time zone.
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

function two(number) {
  return String(number).padStart(2, "0");
}

function local(at) {
  const year = at.getFullYear() === new Date().getFullYear() ? "" : ` ${at.getFullYear()}`;
  return `${at.getDate()} ${MONTHS[at.getMonth()]}${year}, ${two(at.getHours())}:${two(at.getMinutes())}`;
}

export function localise(root) {
  for (const element of root.querySelectorAll("time[datetime], text[data-at]")) {
    const text = element.getAttribute("datetime") || element.dataset.at;
    const at = new Date(text);
    if (Number.isNaN(at.getTime())) continue;
    const utc = `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
    if (element.hasAttribute("data-ago")) {
      element.title = `${local(at)} (${ZONE}), ${utc}`;
      continue;
    }
    element.textContent = local(at);
    if (element.localName === "time") element.title = `${ZONE}; ${utc}`;
  }
  for (const heading of root.querySelectorAll(".ob-utc")) heading.remove();
}

localise(document);
