"use strict";
// Small conveniences; every page works without them.

const language = document.documentElement.lang;

// Times in the visitor's own time zone and manner.
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const clock = { hour: "numeric", minute: "2-digit" };
    const styles = { short: { second: "2-digit" }, exact: { second: "2-digit", fractionalSecondDigits: 3 } };
    const style = { ...clock, ...(styles[time.dataset.time] ?? { month: "short", day: "numeric" }) };
    time.textContent = new Intl.DateTimeFormat(language, style).format(at);
    time.title = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" }).format(at);
  }
}

// A second click on a button that acts sends nothing. The server would not act twice either, but its answer to the second click would take the
// place of the first one's. The button says at once that it works, and after a while a form says that the answer takes longer (`data-slow`).
const SLOW_MS = 2000;
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "1";
  (event.submitter ?? form.querySelector("button"))?.setAttribute("aria-busy", "true");
  const slow = form.querySelector("[data-slow]");
  if (slow) form.dataset.timer = setTimeout(() => (slow.textContent = slow.dataset.slow), SLOW_MS);
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    form.querySelector("button[aria-busy]")?.removeAttribute("aria-busy");
    clearTimeout(form.dataset.timer);
    for (const slow of form.querySelectorAll("[data-slow]")) slow.textContent = "";
  }
});

// The steps of an order, as the server sends them. The parts stay in the page and get new content, so a screen reader hears the change.
//
// A browser has six connections to one host for all its windows, and a stream holds one. So only `STREAMS_MAX` windows have a stream; any other
// window asks now and then, and takes the place of one that is closed. A browser without locks (an address without https) does not count.
const STREAMS_MAX = 4;
const LOOK_MS = 3000;

// Resolves to what gives the place for a stream back, or to null if there is none.
async function placeForStream() {
  for (let n = 1; n <= STREAMS_MAX; n++) {
    const place = await new Promise((resolve, reject) => {
      const held = (lock) => lock ? new Promise((giveBack) => resolve(giveBack)) : resolve(null);
      navigator.locks.request(`stream ${n}`, { ifAvailable: true }, held).catch(reject);
    });
    if (place) return place;
  }
  return null;
}

function follow(panel) {
  const live = document.getElementById("live");
  const still = live?.textContent;
  live?.setAttribute("aria-live", "polite");
  let seen = panel.dataset.seen;
  let wait = 1000;

  function show(html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    localTimes(fresh.content);
    for (const part of fresh.content.children) {
      const old = document.getElementById(part.id);
      if (!old || old.innerHTML === part.innerHTML) continue;
      old.className = part.className;
      old.replaceChildren(...part.childNodes);
    }
    return fresh.content.querySelector("[data-ended]");
  }

  function connected(isConnected) {
    if (!live) return;
    live.textContent = isConnected ? still : live.dataset.interrupted;
    live.classList.toggle("interrupted", !isConnected);
  }

  let source = null;
  let giveBack = null;
  let timer = null;
  let turns = 0;

  // What was begun before the window was hidden, closed or told of the end is no longer wanted.
  async function open() {
    if (document.hidden) return;
    const turn = ++turns;
    const place = await (navigator.locks ? placeForStream() : null);
    if (turn !== turns) return place?.();
    giveBack = place;
    if (place || !navigator.locks) return listen();
    await look(turn);
    if (turn === turns) timer = setTimeout(open, LOOK_MS);
  }

  async function look(turn) {
    const answer = await fetch(panel.dataset.now, { redirect: "manual", signal: AbortSignal.timeout(10000) }).catch(() => null);
    const html = answer?.ok && (await answer.text().catch(() => null));
    if (turn !== turns) return;
    if (answer?.type === "opaqueredirect") return location.reload(); // to the sign-in, which leads back
    connected(!!html);
    if (html && show(html)) end();
  }

  function listen() {
    source = new EventSource(`${panel.dataset.stream}?seen=${encodeURIComponent(seen)}`);
    source.onopen = () => {
      wait = 1000;
      connected(true);
    };
    source.addEventListener("progress", (event) => {
      seen = event.lastEventId || seen;
      show(event.data);
    });
    source.addEventListener("end", end);
    source.onerror = () => {
      connected(false);
      if (source.readyState !== EventSource.CLOSED) return;
      // The server answered, but with no stream: the browser gives up, and we do not.
      close();
      look(turns);
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, 15000);
    };
  }

  function close() {
    turns++;
    clearTimeout(timer);
    source?.close();
    giveBack?.();
    source = giveBack = null;
  }

  function end() {
    close();
    document.removeEventListener("visibilitychange", turned);
    live?.remove();
  }

  // A tab that nobody sees needs no stream; it asks for what it missed when it is seen.
  function turned() {
    close();
    open();
  }

  document.addEventListener("visibilitychange", turned);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  open();
}

// A page in whose place a service did not answer looks again by itself, and comes as soon as there is another answer.
const AGAIN_MS = 4000;
const back = document.querySelector("[data-comes-back]");
async function comeBack() {
  const answer = document.hidden ? null : await fetch(location.href, { redirect: "manual" }).catch(() => null);
  if (answer && answer.status !== 503) location.reload();
  else setTimeout(comeBack, AGAIN_MS);
}
if (back) {
  back.hidden = false;
  setTimeout(comeBack, AGAIN_MS);
}

localTimes(document);
// On a phone the menu is one line that scrolls: the page that is open is to be seen in it.
for (const here of document.querySelectorAll(".links [aria-current]")) {
  here.parentElement.scrollLeft = here.offsetLeft - (here.parentElement.clientWidth - here.offsetWidth) / 2;
}
const panel = document.querySelector("[data-stream]");
if (panel) follow(panel);
