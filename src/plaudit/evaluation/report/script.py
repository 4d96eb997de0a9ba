"""The report's only script: it recolours tokens, lets arrow keys walk over them, and opens the configuration in print.

It reads classes and titles from the page and writes classes and text, never HTML. Without it the page shows the default
stream and the table of all values.
"""

SCRIPT = """
document.documentElement.classList.add("script");
for (const trace of document.querySelectorAll(".trace")) {
  const tokens = [...trace.querySelectorAll(".tok")];
  const part = name => trace.querySelector(name);
  const show = radio => {
    for (const token of tokens) token.className = "tok " + token.dataset.c.split(" ")[radio.value];
    part(".which").textContent = radio.nextSibling.textContent;
    part(".help").textContent = radio.dataset.help;
    for (const size of trace.querySelectorAll(".size")) size.textContent = radio.dataset.scale;
  };
  for (const radio of trace.querySelectorAll(".picker input")) radio.addEventListener("change", () => show(radio));
  const chosen = part(".picker input:checked");
  if (chosen) show(chosen);
  const read = token => { part(".readout").textContent = token.title.split("\\n").join("  ·  "); };
  part(".readout").textContent = "Point at a token to read its values.";
  let current = 0;
  const walk = place => {
    tokens[current].tabIndex = -1;
    current = Math.max(0, Math.min(tokens.length - 1, place));
    tokens[current].tabIndex = 0;
    tokens[current].focus();
  };
  tokens.forEach((token, place) => {
    token.tabIndex = place ? -1 : 0;
    token.setAttribute("role", "note");
    token.addEventListener("mouseenter", () => read(token));
    token.addEventListener("focus", () => read(token));
    token.addEventListener("click", () => walk(place));
  });
  trace.addEventListener("keydown", event => {
    if (!event.target.classList.contains("tok")) return;
    const moves = {ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: tokens.length - 1};
    if (event.key in moves) { event.preventDefault(); walk(moves[event.key]); }
  });
}
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("#configuration details")) part.open = true;
});
"""
