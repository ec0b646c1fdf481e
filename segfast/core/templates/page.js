"use strict";
const $ = (q, at = document) => [...at.querySelectorAll(q)];
const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)"), theme = document.getElementById("theme");

// Light or dark. A page that is served keeps the choice for the next page; a file does not.
function chosen(value) {
  if (location.protocol !== "http:") return null;
  try { if (value) sessionStorage.setItem("theme", value); return sessionStorage.getItem("theme"); } catch { return null; }
}
function paint(on) { root.dataset.theme = on ? "dark" : "light"; theme.setAttribute("aria-pressed", on); }
theme.hidden = false; paint(chosen() ? chosen() === "dark" : dark.matches);
theme.addEventListener("click", () => { paint(root.dataset.theme !== "dark"); chosen(root.dataset.theme); });
dark.addEventListener("change", e => paint(e.matches));

// The values of an epoch, in all charts at once.
const slider = document.getElementById("epoch");
if (slider) {
  const names = JSON.parse(slider.dataset.names), text = document.getElementById("epoch-text");
  const charts = $(".curve").map(el => ({el, svg: el.querySelector("svg"), rule: el.querySelector(".rule"), xs: JSON.parse(el.dataset.xs), series: JSON.parse(el.dataset.series), values: $(".keys b", el)}));
  const show = i => {
    slider.value = i + 1;
    for (const c of charts) {
      c.el.classList.add("on");
      c.rule.setAttribute("transform", `translate(${c.xs[i]} 0)`);
      c.values.forEach((b, k) => { b.textContent = c.series[k].values[i]; });
    }
    text.textContent = names[i];
    slider.setAttribute("aria-valuetext", names[i] + ": " + charts.flatMap(c => c.series.map(s => s.label + " " + s.values[i])).join(", "));
  };
  slider.addEventListener("input", () => show(slider.value - 1));
  for (const c of charts) c.svg.addEventListener("pointermove", e => {
    const box = c.svg.getBoundingClientRect(), x = (e.clientX - box.left)/box.width*c.svg.viewBox.baseVal.width;
    show(c.xs.reduce((best, v, i) => Math.abs(v - x) < Math.abs(c.xs[best] - x) ? i : best, 0));
  });
}

// Truth and prediction under a slider.
for (const c of $(".compare")) c.querySelector("input").addEventListener("input", e => {
  c.style.setProperty("--at", e.target.value + "%");
  e.target.setAttribute("aria-valuetext", `${e.target.value}% truth, the rest prediction`);
});

// Copy buttons.
for (const b of $("button[data-copy]")) {
  b.hidden = false;
  b.addEventListener("click", async () => {
    const el = document.getElementById(b.dataset.copy), range = document.createRange();
    range.selectNodeContents(el); getSelection().removeAllRanges(); getSelection().addRange(range);
    let done = false;
    try { await navigator.clipboard.writeText(el.textContent); done = true; } catch { done = document.execCommand("copy"); }
    b.firstChild.data = done ? "Copied" : "Selected";
    document.getElementById("said").textContent = done ? "Copied" : "Selected: copy with your keyboard";
    setTimeout(() => { b.firstChild.data = "Copy"; }, 2000);
  });
}

// The mask over an image, and the choice of runs to compare.
const strength = document.getElementById("strength"), choice = document.querySelector("form.choose");
if (strength) strength.addEventListener("input", () => { document.querySelector(".overlay .mask").style.opacity = strength.value / 100; });
if (choice) {
  const button = choice.querySelector("button"), update = () => { button.disabled = $("input:checked", choice).length < 2; };
  choice.addEventListener("change", update); window.addEventListener("pageshow", update); update();
}

// An image to predict: chosen, or dropped anywhere on the page.
const form = document.querySelector("form.drop");
if (form) {
  const input = form.querySelector("input"), say = form.querySelector("[role=status]"), button = form.querySelector("button");
  const fits = () => {
    const file = input.files[0], ok = file && file.size <= Number(form.dataset.most);
    say.textContent = !file ? "Choose an image first." : ok ? "" : "This file is larger than " + form.dataset.most / 1048576 + " MB.";
    return ok;
  };
  const send = () => { if (fits()) { say.textContent = "Predicting …"; button.disabled = true; form.submit(); } };
  form.addEventListener("submit", e => { e.preventDefault(); send(); });
  input.addEventListener("change", () => { if (input.files.length) fits(); });
  window.addEventListener("pageshow", () => { button.disabled = false; say.textContent = ""; });
  for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, e => { e.preventDefault(); form.classList.add("over"); });
  document.addEventListener("dragleave", e => { if (!e.relatedTarget) form.classList.remove("over"); });
  document.addEventListener("drop", e => {
    e.preventDefault(); form.classList.remove("over");
    if (e.dataTransfer.files.length) { input.files = e.dataTransfer.files; send(); }
  });
}
