// The little that a page cannot do by itself: count ages on, follow the live stream, take keys.
// Every word it shows comes from the page.
"use strict";
(() => {
  const body = document.body;
  const byId = (id) => document.getElementById(id);

  // The server's clock, as far as the last answer told it.
  let ahead = 0;
  function readClock() {
    const now = Number(byId("bar").dataset.now);
    if (now) ahead = now - Date.now();
  }
  const serverNow = () => Date.now() + ahead;

  // Ages: the same units and bounds as shown::short_span.
  function span(millis) {
    const seconds = Math.max(0, Math.floor(millis / 1000));
    const fill = (pattern, number) => pattern.replace("#", String(number));
    if (seconds < 60) return fill(body.dataset.seconds, seconds);
    if (seconds < 3600) return fill(body.dataset.minutes, Math.floor(seconds / 60));
    if (seconds < 172800) return fill(body.dataset.hours, Math.floor(seconds / 3600));
    return fill(body.dataset.days, Math.floor(seconds / 86400));
  }
  function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }
  function tick() {
    const now = serverNow();
    for (const node of document.querySelectorAll("time[data-at]")) {
      setText(node, span(now - Number(node.dataset.at)));
    }
    // Countdowns: the same form as page::isolation::clock_span.
    for (const node of document.querySelectorAll("time[data-until]")) {
      const left = Math.max(0, Math.floor((Number(node.dataset.until) - now) / 1000));
      setText(node, `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`);
    }
    const offset = Number(byId("bar").dataset.offset) * 60000;
    setText(byId("clock"), new Date(now + offset).toISOString().slice(11, 19));
    veil();
  }

  // A screen that hears nothing is stale, and says so over everything it shows.
  const STALE_AFTER = 15000;
  let heard = performance.now();
  function hear() {
    heard = performance.now();
    veil();
  }
  function veil() {
    const silence = performance.now() - heard;
    const stale = silence > STALE_AFTER;
    byId("veil").hidden = !stale;
    body.classList.toggle("stale-screen", stale);
    if (stale) setText(byId("veil-age"), span(silence));
  }

  // Turns the old part of a page into the new one and leaves alone what is the same: focus,
  // selection, scroll place, opened details, text being typed.
  function morph(old, next) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name) && !keeps(old, name)) old.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value && !keeps(old, name)) old.setAttribute(name, value);
    }
    morphChildren(old, next);
  }
  function keeps(node, name) {
    return (name === "open" && node.nodeName === "DETAILS") || (name === "hidden" && node.id === "show-keys");
  }
  function morphChildren(old, next) {
    const keyed = new Map();
    for (const child of old.children) if (child.id) keyed.set(child.id, child);
    let at = old.firstChild;
    for (const wanted of [...next.childNodes]) {
      let match = null;
      if (wanted.id) match = keyed.get(wanted.id) || null;
      else if (at && !at.id && at.nodeName === wanted.nodeName) match = at;
      if (match && match.nodeName !== wanted.nodeName) match = null;
      if (!match) {
        old.insertBefore(document.importNode(wanted, true), at);
        continue;
      }
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      morph(match, wanted);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  // One fetch at a time, at most one a second, none for a page nobody sees.
  const PAUSE = 1000;
  let dirty = false;
  let busy = false;
  async function refresh() {
    dirty = true;
    if (busy || document.hidden) return;
    busy = true;
    dirty = false;
    try {
      const answer = await fetch(location.href, {
        headers: { "X-Fragment": "main" },
        cache: "no-store",
        redirect: "error",
      });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      if (answer.ok) {
        show(await answer.text());
        hear();
      }
    } catch {
      // The veil tells when nothing is heard for long.
    }
    setTimeout(() => {
      busy = false;
      if (dirty) refresh();
    }, PAUSE);
  }
  function show(text) {
    const next = new DOMParser().parseFromString(text, "text/html");
    const focus = document.activeElement && document.activeElement.id;
    for (const id of ["bar", "main"]) {
      const part = next.getElementById(id);
      if (part) morph(byId(id), document.importNode(part, true));
    }
    if (focus && byId(focus) && document.activeElement !== byId(focus)) byId(focus).focus({ preventScroll: true });
    document.title = byId("bar").dataset.title;
    readClock();
    liveWord();
    tick();
  }

  // The stream says that something changed; the page then asks for itself again. Where there is no
  // stream, the page asks every so often.
  const POLL = 15000;
  const RETRY = 10000;
  const polled = byId("live").textContent;
  let streaming = false;
  let seen = null;
  function liveWord() {
    setText(byId("live"), streaming ? body.dataset.live : polled);
    byId("live").classList.toggle("on", streaming);
  }
  function stream() {
    const source = new EventSource(body.dataset.stream);
    source.addEventListener("open", () => {
      streaming = true;
      hear();
      liveWord();
    });
    source.addEventListener("alive", hear);
    source.addEventListener("revision", (event) => {
      hear();
      if (seen !== event.data) refresh();
      seen = event.data;
    });
    source.addEventListener("error", () => {
      streaming = false;
      liveWord();
      if (source.readyState === EventSource.CLOSED) {
        refresh();
        setTimeout(stream, RETRY);
      }
    });
  }

  // Search narrows the list while it is typed; the address line follows.
  let typing = 0;
  function search(field) {
    const form = field.form;
    const address = new URL(form.action);
    if (address.pathname !== location.pathname) return;
    for (const [name, value] of new FormData(form)) if (value) address.searchParams.set(name, value);
    history.replaceState(null, "", address);
    refresh();
  }

  // Keys.
  let chord = 0;
  function move(step) {
    const rows = [...document.querySelectorAll("main a.row-link")];
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
    const writes = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.nodeName);
    if (writes) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const chorded = performance.now() - chord < 1000;
    chord = 0;
    const actions = {
      "/": () => byId("q").focus(),
      "?": () => byId("keys").showModal(),
      g: () => { chord = performance.now(); },
      h: () => { if (chorded) location.assign("/hosts"); },
      a: () => { if (chorded) location.assign("/alerts"); },
      i: () => { if (chorded) location.assign("/isolation"); },
      j: () => move(1),
      k: () => move(-1),
    };
    const action = Object.hasOwn(actions, event.key) ? actions[event.key] : null;
    if (!action) return;
    event.preventDefault();
    action();
  }

  readClock();
  byId("show-keys").hidden = false;
  document.addEventListener("click", (event) => {
    if (event.target.id === "show-keys") byId("keys").showModal();
  });
  document.addEventListener("input", (event) => {
    if (event.target.id !== "q") return;
    clearTimeout(typing);
    typing = setTimeout(search, 250, event.target);
  });
  document.addEventListener("keydown", key);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
  setInterval(tick, 1000);
  setInterval(() => {
    if (!streaming) refresh();
  }, POLL);
  stream();
  tick();
})();
