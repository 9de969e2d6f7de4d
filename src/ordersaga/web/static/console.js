"use strict";
// Parts of a page that change by themselves. The page works without: then it is loaded again by hand.

const EVERY_MS = 3000;

function refresh(part) {
  const live = document.getElementById("live");
  const still = live?.textContent;

  function show(html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    localTimes(fresh.content);
    for (const next of fresh.content.children) {
      const old = document.getElementById(next.id);
      if (!old || old.contains(document.activeElement)) continue;
      // A form that somebody fills in is replaced only when it becomes another form.
      if (old.dataset.state !== undefined && old.dataset.state === next.dataset.state) continue;
      if (next.dataset.state !== undefined) old.dataset.state = next.dataset.state;
      for (const [n, each] of next.querySelectorAll("details").entries()) {
        const before = each.id ? document.getElementById(each.id) : old.querySelectorAll("details")[n];
        each.open = !!before?.open;
      }
      if (old.className !== next.className) old.className = next.className;
      if (old.innerHTML !== next.innerHTML) old.replaceChildren(...next.childNodes);
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
        if (answer.type === "opaqueredirect") return location.reload();
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
