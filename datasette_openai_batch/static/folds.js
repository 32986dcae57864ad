// Keeps open what a reader has opened. Datasette's own script shuts every open <details> at a click
// elsewhere, which is right for its menus, and wrong for a section that is being read.
let open = [];

document.addEventListener(
  "click",
  () => {
    open = [...document.querySelectorAll("details[data-fold][open]")];
  },
  { capture: true },
);

// After Datasette's, and before the browser itself shuts or opens the one that was clicked.
document.addEventListener("click", () => {
  for (const fold of open) fold.open = true;
});
