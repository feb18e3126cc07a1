"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const genres = data.genres;

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function timeChart(time) {
    const canvas = document.querySelector("#time .canvas");
    const cursor = canvas.querySelector(".cursor");
    const readout = document.getElementById("readout");
    let at = -1;

    // Without this script, the chart is a picture: nothing to focus, and nothing to try in vain.
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "slider");
    canvas.setAttribute("aria-label", "Period shown below the chart");
    canvas.setAttribute("aria-valuemin", 0);
    canvas.setAttribute("aria-valuemax", time.names.length - 1);
    canvas.setAttribute("aria-describedby", "readout");
    document.getElementById("hint").hidden = false;

    function show(index) {
      at = Math.max(0, Math.min(time.names.length - 1, index));
      const order = genres.map((_, k) => k).sort((a, b) => time.share[at][b] - time.share[at][a]);
      const shares = order.map((k) =>
        `\u2068${genres[k]}\u2069 ${(time.share[at][k] / 10).toFixed(1)} % (${(time.low[at][k] / 10).toFixed(1)} – ${(time.high[at][k] / 10).toFixed(1)})`);
      const text = `${time.names[at]}: ${time.tracks[at].toLocaleString("en")} ${time.tracks[at] === 1 ? "track" : "tracks"}; ${shares.join(", ")}`;
      readout.textContent = text;
      canvas.setAttribute("aria-valuenow", at);
      canvas.setAttribute("aria-valuetext", `${time.names[at]}, ${shares[0]}`);
      cursor.hidden = false;
      cursor.style.left = `${100 * time.cells[at] / time.nCells}%`;
      cursor.style.width = `${100 / time.nCells}%`;
    }

    function nearest(cell) {
      let best = 0;
      time.cells.forEach((other, i) => {
        if (Math.abs(other - cell) < Math.abs(time.cells[best] - cell)) best = i;
      });
      return best;
    }

    function point(event) {
      const box = canvas.getBoundingClientRect();
      const index = nearest(Math.floor((event.clientX - box.left) / box.width * time.nCells));
      if (index !== at) show(index);
    }

    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point); // a finger that taps does not move
    canvas.addEventListener("keydown", (event) => {
      const last = time.names.length - 1;
      const moves = { ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1, PageUp: at + 10, PageDown: at - 10, Home: 0, End: last };
      if (!(event.key in moves)) return;
      event.preventDefault();
      show(moves[event.key]);
    });
    show(time.names.length - 1);
  }

  function artistTable(artists) {
    const PAGE = 50;
    const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
    const table = document.getElementById("artists");
    const body = table.tBodies[0];
    const search = document.getElementById("search");
    const genre = document.getElementById("genre");
    const more = document.getElementById("more");
    const found = document.getElementById("found");
    const rows = artists.name.map((name, i) => {
      const shares = artists.shares[i];
      const main = artists.main[i];
      return {
        name, shares, main, share: shares[main], plain: plain(name), tracks: artists.tracks[i],
        from: artists.from[i], to: artists.to[i], confidence: artists.confidence[i],
      };
    });
    const collator = new Intl.Collator();
    let key = "tracks";
    let downwards = true;
    let matching = rows;
    let shown = 0;

    function compare(a, b) {
      if (key === "name") return collator.compare(a.name, b.name);
      if (key === "main") return collator.compare(genres[a.main], genres[b.main]);
      return a[key] - b[key];
    }

    function mix(shares) {
      const space = "http://www.w3.org/2000/svg";
      const svg = document.createElementNS(space, "svg");
      svg.setAttribute("viewBox", "0 0 100 10");
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("class", "mix");
      svg.setAttribute("role", "img");
      const order = shares.map((_, k) => k).filter((k) => shares[k] >= 5).sort((a, b) => shares[b] - shares[a]);
      svg.setAttribute("aria-label", order.map((k) => `${genres[k]} ${shares[k]} %`).join(", "));
      let x = 0;
      shares.forEach((share, k) => {
        const rect = document.createElementNS(space, "rect");
        rect.setAttribute("x", x);
        rect.setAttribute("width", share);
        rect.setAttribute("height", 10);
        rect.setAttribute("fill", `var(--c${k % 20})`);
        svg.append(rect);
        x += share;
      });
      return svg;
    }

    function rowElement(row) {
      const line = element("tr");
      const name = element("th", row.name);
      name.scope = "row";
      const years = row.from === null ? "" : row.from === row.to ? `${row.from}` : `${row.from}–${row.to}`;
      const bar = element("td", undefined, "bar");
      bar.append(mix(row.shares));
      line.append(
        name, element("td", row.tracks.toLocaleString("en"), "number"), element("td", years, "number"),
        element("td", genres[row.main]), element("td", `${row.share} %`, "number"),
        element("td", (row.confidence / 100).toFixed(2), "number"), bar);
      return line;
    }

    function showMore() {
      body.append(...matching.slice(shown, shown + PAGE).map(rowElement));
      shown = Math.min(shown + PAGE, matching.length);
      more.hidden = shown >= matching.length;
      found.textContent = `${shown.toLocaleString("en")} of ${matching.length.toLocaleString("en")} ${matching.length === 1 ? "artist" : "artists"} shown`;
    }

    function refresh() {
      const wanted = plain(search.value.trim());
      const main = Number(genre.value);
      matching = rows.filter((row) => row.plain.includes(wanted) && (main < 0 || row.main === main));
      // Artists without a year come last in either sort order.
      matching.sort((a, b) => (a[key] === null) - (b[key] === null) || (downwards ? compare(b, a) : compare(a, b)));
      for (const button of table.tHead.querySelectorAll("button")) {
        const sorted = button.dataset.key === key ? (downwards ? "descending" : "ascending") : "none";
        button.parentElement.setAttribute("aria-sort", sorted);
      }
      body.replaceChildren();
      shown = 0;
      showMore();
    }

    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      downwards = button.dataset.key === key ? !downwards : !["name", "main", "from"].includes(button.dataset.key);
      key = button.dataset.key;
      refresh();
    });
    search.addEventListener("input", refresh);
    genre.addEventListener("change", refresh);
    more.addEventListener("click", showMore);
    document.getElementById("find").addEventListener("submit", (event) => event.preventDefault());
    refresh();
  }

  if (data.time) timeChart(data.time);
  if (data.artists.name.length) artistTable(data.artists);
})();
