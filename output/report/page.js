"use strict";
// The table of connections: the data stand once in the page, as JSON; rows are made as they come
// into view. A ladder is a finished picture, unpacked when it is opened.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const step = 200;
  const rows = data.rows.map((r, i) => ({
    index: i, cells: r.c, ladder: r.l, severity: r.s || "", codes: r.f || [],
    words: r.c.map((c) => (Array.isArray(c) ? c[1] : c)).concat(r.f || [], r.t || []).join(" ").toLowerCase(),
  }));
  const text = (c) => (Array.isArray(c) ? c[1] : c);
  const value = (c) => (Array.isArray(c) ? c[0] : c);
  let sorted = { column: data.sort, down: false };
  let code = "", shown = [], limit = step;
  const body = $("rows");

  const make = (tag, attributes, ...children) => {
    const e = document.createElement(tag);
    for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
    e.append(...children);
    return e;
  };

  const words = () => $("search").value.toLowerCase().split(/\s+/).filter(Boolean);

  function choose() {
    const wanted = words();
    const troubled = $("troubled").checked;
    shown = rows.filter((r) => (!troubled || r.severity === "warning" || r.severity === "error") &&
      (!code || r.codes.includes(code)) && wanted.every((w) => r.words.includes(w)));
    const c = sorted.column, sign = sorted.down ? -1 : 1;
    shown.sort((a, b) => {
      const x = value(a.cells[c]), y = value(b.cells[c]);
      if (x === y) return a.index - b.index;
      if (x === "" || x === null) return 1; // what is not known comes last, either way
      if (y === "" || y === null) return -1;
      return (x < y ? -1 : 1) * sign;
    });
    limit = step;
    draw();
    body.dataset.search = wanted.join(" ");
  }

  function draw() {
    const fragment = document.createDocumentFragment();
    for (const r of shown.slice(0, limit)) fragment.append(row(r));
    body.replaceChildren(fragment);
    status();
  }

  function status() {
    const n = Math.min(limit, shown.length);
    $("count").textContent = shown.length === rows.length ? `${rows.length} ends` : `${shown.length} of ${rows.length} ends`;
    $("more").hidden = n >= shown.length;
    $("more").textContent = `Show ${Math.min(step, shown.length - n)} more`;
    $("listed").textContent = n < shown.length ? `${n} of ${shown.length} are listed` : "";
  }

  function row(r) {
    const opener = make("button", { class: "open", type: "button", "aria-expanded": "false", "aria-label": `Ladder of connection ${text(r.cells[0])}` });
    const tr = make("tr", { class: "row" }, make("td", {}, opener));
    r.cells.forEach((c, i) => {
      const column = data.columns[i];
      const td = make("td", {}, text(c));
      const names = [column.num && "num", column.less && "less", column.long && "long", column.found && r.severity].filter(Boolean);
      if (column.long) td.title = text(c);
      if (names.length) td.className = names.join(" ");
      tr.append(td);
    });
    tr.addEventListener("click", (e) => {
      if (e.target !== opener && window.getSelection().toString()) return; // somebody copies
      toggle(tr, r, opener);
    });
    return tr;
  }

  async function toggle(tr, r, opener) {
    const open = !tr.classList.contains("open");
    tr.classList.toggle("open", open);
    opener.setAttribute("aria-expanded", String(open));
    if (!open) {
      tr.nextElementSibling.remove();
      return;
    }
    const figure = make("figure", {}, "…");
    tr.after(make("tr", { class: "ladder" }, make("td", { colspan: data.columns.length + 1 }, figure)));
    try {
      const picture = new DOMParser().parseFromString(await ladder(r.ladder), "image/svg+xml").documentElement;
      figure.replaceChildren(document.importNode(picture, true));
    } catch (e) {
      figure.textContent = "The ladder cannot be unpacked here: it takes a browser of 2023 or later.";
    }
  }

  const blocks = new Map();
  async function ladder(i) {
    const b = Math.floor(i / data.block);
    if (!blocks.has(b)) {
      const packed = Uint8Array.from(atob($("b" + b).textContent), (c) => c.charCodeAt(0));
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
      blocks.set(b, new Response(stream).json());
    }
    return (await blocks.get(b))[i % data.block];
  }

  data.columns.forEach((column, i) => {
    const button = make("button", { type: "button" }, column.title);
    const th = make("th", { scope: "col", class: [column.num && "num", column.less && "less"].filter(Boolean).join(" ") }, button);
    button.addEventListener("click", () => {
      sorted = { column: i, down: sorted.column === i ? !sorted.down : Boolean(column.num) && i !== data.sort };
      heads();
      choose();
    });
    $("heads").append(th);
  });
  function heads() {
    [...$("heads").children].slice(1).forEach((th, i) => {
      if (i === sorted.column) th.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    });
  }

  for (const button of document.querySelectorAll(".found button")) {
    button.addEventListener("click", () => {
      code = code === button.dataset.code ? "" : button.dataset.code;
      for (const b of document.querySelectorAll(".found button")) b.setAttribute("aria-pressed", String(b.dataset.code === code));
      choose();
    });
  }
  let typing = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { if (words().join(" ") !== body.dataset.search) choose(); }, 80);
  });
  $("troubled").addEventListener("change", choose);
  $("more").addEventListener("click", () => {
    const from = body.querySelectorAll("tr.row").length;
    const fragment = document.createDocumentFragment();
    for (const r of shown.slice(limit, limit + step)) fragment.append(row(r));
    body.append(fragment);
    limit += step;
    status();
    body.querySelectorAll("tr.row")[from]?.querySelector(".open").focus();
  });
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const inField = e.target.tagName === "INPUT" && e.target.type !== "checkbox";
    if (e.key === "/" && !inField) {
      e.preventDefault();
      $("search").focus();
      return;
    }
    if (e.key === "Escape") {
      if (inField && $("search").value) { $("search").value = ""; choose(); }
      const tr = e.target.closest?.("tr.row.open");
      if (tr) tr.querySelector(".open").click();
      return;
    }
    const down = e.key === "ArrowDown" || (e.key === "j" && !inField), up = e.key === "ArrowUp" || (e.key === "k" && !inField);
    if (!down && !up || e.target.type === "checkbox") return;
    const all = [...body.querySelectorAll("tr.row .open")];
    const at = all.indexOf(document.activeElement);
    if (at < 0 && (!inField || up)) { if (inField || down && e.key === "ArrowDown") return; }
    const next = all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + (down ? 1 : -1)))];
    if (next) { e.preventDefault(); next.focus(); next.scrollIntoView({ block: "nearest" }); }
  });
  heads();
  choose();
})();
