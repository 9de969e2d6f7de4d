"use strict";
// Parts of a page that change by themselves. The page works without: then it is loaded again by hand.

const EVERY_MS = 3000;

// A part in which somebody types, chooses or marks text stays as it is, however long it takes.
function inUse(part) {
  const focused = part.contains(document.activeElement) && !document.activeElement.matches("a[href], details[id] > summary");
  const typed = [...part.querySelectorAll("input:not([type=hidden]), textarea")].some((each) => each.value !== each.defaultValue || each.checked !== each.defaultChecked);
  const selection = getSelection();
  return focused || typed || part.matches("[data-typed]") || (!selection.isCollapsed && selection.containsNode(part, true));
}

// New content in the place of the old. Opened details stay open, with what was loaded into them, and the focus stays on its link.
function renew(old, next) {
  for (const [n, each] of next.querySelectorAll("details").entries()) {
    const before = each.id ? document.getElementById(each.id) : old.querySelectorAll("details")[n];
    each.open = !!before?.open;
    if (before?.dataset.loaded !== undefined) {
      each.dataset.loaded = before.dataset.loaded;
      each.lastElementChild.replaceWith(before.lastElementChild.cloneNode(true));
    }
  }
  if (old.className !== next.className) old.className = next.className;
  for (const name of ["version", "state"]) if (next.dataset[name] !== undefined) old.dataset[name] = next.dataset[name];
  if (old.innerHTML === next.innerHTML) return;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const link = focused?.getAttribute("href");
  old.replaceChildren(...next.childNodes);
  if (focused?.matches("summary")) document.getElementById(focused.parentElement.id)?.querySelector("summary").focus();
  if (link) [...old.querySelectorAll("a[href]")].find((each) => each.getAttribute("href") === link)?.focus();
}

function isBeingWritten() {
  return [...document.querySelectorAll("form[method=post] textarea, form[method=post] input:not([type=hidden])")].some(
    (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked,
  );
}

function refresh(part) {
  const live = document.getElementById("live");
  const still = live?.textContent;
  live?.setAttribute("aria-live", "polite");

  function show(html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    localTimes(fresh.content);
    const parts = fresh.content.querySelectorAll("[data-part]");
    for (const next of parts.length ? parts : fresh.content.children) {
      const old = document.getElementById(next.id);
      // What a service that is away has said before stays readable; a banner names the service.
      if (!old || (next.matches("[data-away]") && old.firstElementChild)) continue;
      // A form with a state is replaced only when it becomes another form.
      const isForm = next.dataset.state !== undefined;
      if (isForm && old.dataset.state === next.dataset.state) continue;
      if (isForm ? !old.contains(document.activeElement) : !inUse(old)) {
        renew(old, next);
        continue;
      }
      const kept = old.querySelector("[data-kept]");
      if (kept) kept.hidden = old.dataset.version === next.dataset.version;
    }
    return fresh.content.querySelector("[data-ended]");
  }

  function told(isLost) {
    if (!live) return;
    const text = isLost ? live.dataset.lost : still;
    if (live.textContent !== text) live.textContent = text;
    live.classList.toggle("interrupted", isLost);
    part.classList.toggle("stale", isLost);
  }

  async function again() {
    let ended = false;
    if (!document.hidden) {
      try {
        const answer = await fetch(part.dataset.refresh, { redirect: "manual", signal: AbortSignal.timeout(10000) });
        if (answer.type === "opaqueredirect") {
          // To the sign-in, which leads back. What somebody is writing is kept by the form's own answer.
          if (!isBeingWritten()) return location.reload();
          return told(true);
        }
        told(!answer.ok);
        if (answer.ok) ended = show(await answer.text());
      } catch {
        told(true);
      }
    }
    if (!ended) setTimeout(again, every);
    else live?.remove();
  }
  const every = Number(part.dataset.every) || EVERY_MS;
  setTimeout(again, every);
}

for (const part of document.querySelectorAll("[data-refresh]")) refresh(part);

// Details whose content costs a look elsewhere: it is loaded when they are opened, as a part of a page that has the content of all of them.
const pages = new Map();

async function partOf(address, id) {
  const answer = await fetch(address, { redirect: "manual", signal: AbortSignal.timeout(20000) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  pages.set(address, page);
  return page.getElementById(id);
}

async function load(details) {
  const { load: address, content, wait, lost } = details.dataset;
  const told = details.querySelector("[data-told]");
  if (told) told.textContent = wait;
  try {
    // What was found is so for ever. What was not there may have come meanwhile.
    const known = pages.get(address)?.getElementById(content);
    const part = known && known.dataset.missing === undefined ? known : await partOf(address, content);
    if (!part) throw new Error("not there");
    localTimes(part);
    const now = document.getElementById(details.id) ?? details;
    now.lastElementChild.replaceChildren(...part.cloneNode(true).childNodes);
    now.dataset.loaded = part.dataset.missing === undefined ? "found" : "missing";
  } catch {
    if (told) told.textContent = lost;
  }
}
document.addEventListener("toggle", ({ target }) => {
  if (target.matches("details[data-load]") && target.open && target.dataset.loaded !== "found") load(target);
}, true);

// One box for all boxes of a form; the form's button counts those that are ticked.
for (const all of document.querySelectorAll("[data-all]")) {
  const boxes = [...all.form.querySelectorAll("input[type=checkbox]")].filter((each) => each !== all);
  all.hidden = boxes.length === 0;
  const count = () => {
    const ticked = boxes.filter((each) => each.checked).length;
    all.checked = ticked === boxes.length;
    all.indeterminate = 0 < ticked && ticked < boxes.length;
    all.form.querySelector("[data-count]").textContent = ticked ? ` (${ticked})` : "";
  };
  all.form.addEventListener("change", ({ target }) => {
    if (target === all) for (const each of boxes) each.checked = all.checked;
    count();
  });
  addEventListener("pageshow", count);
}

// A slider says its value while it moves; in a live form it takes effect when it is let go.
document.addEventListener("input", ({ target }) => {
  if (target.type === "range") target.form.querySelector("output").value = target.value;
});
document.addEventListener("change", ({ target }) => {
  if (target.type !== "range" || target.form.dataset.live === undefined) return;
  const body = new URLSearchParams(new FormData(target.form));
  body.set("act", "steer");
  fetch(target.form.action, { method: "POST", body, redirect: "manual" }).catch(() => {});
});

// A search is its address, which may be sent to somebody: what was left empty is not in it.
document.addEventListener("formdata", ({ target, formData }) => {
  if (target.method === "get") for (const [name, value] of [...formData]) if (!value) formData.delete(name);
});

// A form that has grown past what the server takes is told so, and stays as it is. A text has no `maxlength`: with one, browsers cut off the
// end of what is pasted and say nothing.
for (const form of document.querySelectorAll("form[data-bytes-max]")) {
  form.addEventListener("submit", (event) => {
    const sent = new URLSearchParams(new FormData(form, event.submitter)).toString().length;
    const text = form.querySelector("[data-chars-max]");
    const isTooLarge = sent > Number(form.dataset.bytesMax) || text?.value.length > Number(text?.dataset.charsMax);
    form.querySelector("[data-too-large]").hidden = !isTooLarge;
    if (isTooLarge) event.preventDefault();
  });
}

// A text may come from a file, which stays here: only the text is sent.
for (const field of document.querySelectorAll("[data-file]")) {
  const text = document.getElementById("value");
  field.hidden = false;
  field.querySelector("input").addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    if (!file) return;
    const said = await file.text();
    const isTooLarge = said.length > Number(text.dataset.charsMax);
    field.querySelector("[role=alert]").hidden = !isTooLarge;
    if (!isTooLarge) text.value = said;
    target.value = "";
  });
}
