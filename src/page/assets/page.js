// Asks for the page each second, and changes what is shown where it differs: elements stay, so that focus, scroll
// and selection do. Without this script the page is the same, and reloaded by hand.
"use strict";
(() => {
  const EVERY = 1000;
  const AFTER_FAILURE = 5000;
  const byId = (id) => document.getElementById(id);
  const live = byId("live");
  const state = byId("state");
  const pause = byId("pause");
  const search = byId("q");
  let paused = false;
  let timer = 0;
  let asked = 0;

  // --- what is shown becomes what has come ---

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && node.id) || null;

  const isSame = (a, b) =>
    a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

  function change(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    changeChildren(old, fresh);
  }

  function changeChildren(old, fresh) {
    const keyed = new Map();
    for (const child of old.childNodes) {
      if (keyOf(child)) keyed.set(keyOf(child), child);
    }
    const wanted = new Set([...fresh.childNodes].map(keyOf));
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      // What is gone goes first, so that what stays need not move.
      while (at && keyOf(at) && !wanted.has(keyOf(at))) at = drop(at);
      const known = keyOf(child) ? keyed.get(keyOf(child)) : at && !keyOf(at) ? at : null;
      if (known && isSame(known, child)) {
        if (known === at) at = at.nextSibling;
        else old.insertBefore(known, at);
        change(known, child);
      } else {
        old.insertBefore(document.importNode(child, true), at);
      }
    }
    while (at) at = drop(at);
  }

  function drop(node) {
    const next = node.nextSibling;
    // Whoever works by keyboard is not to lose their place.
    if (node.contains(document.activeElement)) byId("main").focus({ preventScroll: true });
    node.remove();
    return next;
  }

  // --- asking ---

  function show(text, kind) {
    if (state.textContent !== text) state.textContent = text;
    state.className = "state " + kind;
  }

  function say(text) {
    byId("say").textContent = text;
  }

  async function ask() {
    clearTimeout(timer);
    const number = ++asked;
    let next = EVERY;
    try {
      const answer = await fetch(location.href, {
        headers: { Accept: "text/html" },
        cache: "no-store",
        credentials: "same-origin",
      });
      if (answer.status === 401) return location.reload();
      const text = await answer.text();
      if (number !== asked) return;
      // Nothing in such a document is run.
      const fresh = new DOMParser().parseFromString(text, "text/html");
      const content = fresh.getElementById("live");
      if (!content) throw new Error("no page");
      changeChildren(live, content);
      document.title = fresh.title;
      show(paused ? "Paused" : "Live", paused ? "paused" : "");
    } catch {
      if (number !== asked) return;
      show("No answer", "lost");
      next = AFTER_FAILURE;
    }
    later(next);
  }

  function later(time) {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(ask, time);
  }

  function found() {
    const note = document.querySelector("#h-open + .note");
    if (note) say("Open: " + note.textContent);
  }

  async function go(url) {
    history.replaceState(null, "", url);
    await ask();
  }

  // --- what people do ---

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume" : "Pause";
    show(paused ? "Paused" : "Live", paused ? "paused" : "");
    say(paused ? "Updates are paused" : "Updates go on");
    if (paused) clearTimeout(timer);
    else ask();
  });

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : later(0)));

  live.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-live]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.href);
  });

  if (search) {
    let typed = 0;
    const changed = () => {
      const url = new URL(location.href);
      if (search.value.trim()) url.searchParams.set("q", search.value.trim());
      else url.searchParams.delete("q");
      return go(url).then(found);
    };
    search.addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(changed, 150);
    });
    search.form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typed);
      changed();
    });
  }

  state.hidden = pause.hidden = false;
  show("Live", "");
  later(EVERY);
})();
