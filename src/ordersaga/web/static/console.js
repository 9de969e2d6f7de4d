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
    if (!ended) setTimeout(again, EVERY_MS);
    else live?.remove();
  }
  setTimeout(again, EVERY_MS);
}

for (const part of document.querySelectorAll("[data-refresh]")) refresh(part);
