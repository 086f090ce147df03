"use strict";
// The page reads well without this: it adds the values under the pointer, the filters of the
// samples and the copy button. It only ever writes text, never markup.

for (const plot of document.querySelectorAll(".plot[data-chart]")) {
  const chart = JSON.parse(plot.dataset.chart);
  const cursor = plot.querySelector(".cursor");
  const tip = plot.querySelector(".tip");
  const steps = [...new Set(chart.series.flatMap((s) => s.points.map((p) => p[0])))].sort((a, b) => a - b);
  let place = -1;

  const show = (index) => {
    place = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[place];
    const share = (step - chart.left) / (chart.right - chart.left);
    const lines = ["step " + step];
    for (const series of chart.series) {
      // The last value at or before this step: a held-out loss is not measured at every step.
      const seen = series.points.filter((p) => p[0] <= step);
      if (seen.length) {
        const [at, value, low, high] = seen[seen.length - 1];
        const band = low === undefined ? "" : " (" + low + " to " + high + ")";
        lines.push(series.name + " " + value + band + (at < step ? " (step " + at + ")" : ""));
      }
    }
    tip.textContent = lines.join("\n");
    cursor.hidden = tip.hidden = false;
    cursor.style.left = share * 100 + "%";
    const room = plot.clientWidth - tip.offsetWidth;
    tip.style.left = Math.max(0, Math.min(room, share * plot.clientWidth + (share > 0.5 ? -tip.offsetWidth - 10 : 10))) + "px";
  };
  const hide = () => { cursor.hidden = tip.hidden = true; };

  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const step = chart.left + ((event.clientX - box.left) / box.width) * (chart.right - chart.left);
    let best = 0;
    steps.forEach((s, i) => { if (Math.abs(s - step) < Math.abs(steps[best] - step)) best = i; });
    show(best);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const jump = { ArrowLeft: -1, ArrowRight: 1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") hide();
    if (jump === undefined) return;
    event.preventDefault();
    show(place < 0 && Number.isFinite(jump) ? (jump > 0 ? 0 : steps.length - 1) : place + jump);
  });
}

const samples = document.getElementById("samples");
if (samples) {
  const BATCH = 10;
  const articles = [...samples.querySelectorAll(".sample")];
  const texts = articles.map((a) => a.textContent.toLowerCase());
  const buttons = [...samples.querySelectorAll("[data-filter]")];
  const search = samples.querySelector("input");
  const task = samples.querySelector("select");
  const found = samples.querySelector(".found");
  const more = samples.querySelector(".more");
  let filter = "all";
  let most = BATCH;

  const update = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let matching = 0;
    articles.forEach((article, i) => {
      const fits =
        (filter === "all" || article.dataset.marks.split(" ").includes(filter)) &&
        (!task || !task.value || article.dataset.task === task.value) &&
        words.every((word) => texts[i].includes(word));
      matching += fits;
      article.hidden = !fits || matching > most;
    });
    const shown = Math.min(matching, most);
    found.textContent = matching ? "Showing " + shown + " of " + matching : "Nothing fits.";
    more.hidden = matching <= most;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
  };
  const again = () => { most = BATCH; update(); };
  for (const button of buttons) {
    button.addEventListener("click", () => { filter = button.dataset.filter; again(); });
  }
  search.addEventListener("input", again);
  if (task) task.addEventListener("change", again);
  more.addEventListener("click", () => { most += 2 * BATCH; update(); });
  samples.querySelector(".controls").hidden = false;
  update();
}

for (const button of document.querySelectorAll(".copy")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
