// What pages do beyond their forms: keys, the time a question takes, sending again after a lost network, live differences.
// Every page works without it, but for the chat and the live curves.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const csrf = () => $('meta[name="csrf"]').content;
const words = document.body.dataset;

function notice(text) {
  const place = $("#notice");
  place.textContent = text || "";
  place.hidden = !text;
}

// ---- Sending: what could not be sent waits in the browser, with its key, and is sent again; the server takes each key once.
const QUEUE = "plaudit-unsent";
const waiting = () => JSON.parse(localStorage.getItem(QUEUE) || "[]");
const keep = (list) => localStorage.setItem(QUEUE, JSON.stringify(list));

async function send(url, body) {
  const headers = { "content-type": "application/x-www-form-urlencoded", accept: "application/json", "x-csrf-token": csrf() };
  const answer = await fetch(url, { method: "POST", headers, body, credentials: "same-origin", redirect: "error" });
  if (answer.status === 503 || answer.status === 502 || answer.status === 504) throw new Error("not now");
  return { ok: answer.ok, status: answer.status, result: await answer.json().catch(() => ({})) };
}

async function sendWaiting() {
  for (const one of waiting()) {
    if (one.person !== words.person) continue;
    try {
      const { ok, result } = await send(one.url, one.body);
      keep(waiting().filter((other) => other.body !== one.body));
      if (!ok) notice(`${words.failed} ${result.error || ""}`);
    } catch {
      notice(`${words.unsaved} (${waiting().length})`);
      setTimeout(sendWaiting, 3000);
      return;
    }
  }
  if (!waiting().length && !$("#notice").hidden && $("#notice").textContent.startsWith(words.unsaved)) notice(words.saved);
}

let busy = false;
async function submit(form, button) {
  if (busy) return;
  busy = true;
  const data = new URLSearchParams(new FormData(form, button));
  data.delete("csrf");
  const body = data.toString();
  try {
    const { ok, result } = await send(form.action, body);
    if (ok) { location.assign(result.next); return; }
    notice(`${words.failed} ${result.error || ""}`);
  } catch {
    keep([...waiting(), { url: form.action, body, person: words.person }]);
    notice(`${words.unsaved} (${waiting().length})`);
    setTimeout(sendWaiting, 1500);
  }
  busy = false;
}

// ---- Judging
const judgement = $("#judgement");
const SOON = 600; // milliseconds after the page came in which no key counts, so that a held key cannot judge twice
const shownAt = performance.now();
let hiddenFor = 0, hiddenAt = document.hidden ? shownAt : null;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt !== null) { hiddenFor += performance.now() - hiddenAt; hiddenAt = null; }
});

if (judgement) {
  judgement.addEventListener("submit", (event) => {
    event.preventDefault();
    judgement.elements.seconds.value = ((performance.now() - shownAt - hiddenFor) / 1000).toFixed(3);
    submit(judgement, event.submitter);
  });
  const skip = $("#skip");
  if (skip) skip.addEventListener("submit", (event) => { event.preventDefault(); submit(skip, event.submitter); });
  const raw = $('[data-action="raw"]');
  raw.hidden = false;
  raw.addEventListener("click", () => {
    for (const text of all(".text.raw, .text.rendered")) text.hidden = !text.hidden;
  });
}

const VERDICTS = {
  1: "a2", ArrowLeft: "a2", a: "a2", 2: "b2", ArrowRight: "b2", d: "b2", q: "a1", e: "b1",
  3: "tie", ArrowDown: "tie", s: "tie", 0: "both_bad", ArrowUp: "both_bad", w: "both_bad",
};
const STRONG = { a2: "a3", b2: "b3" };

function press(selector) {
  const found = $(selector);
  if (found) found.click();
  return Boolean(found);
}

function pairKey(event) {
  const digit = /^Digit(\d)$/.exec(event.code); // with Shift, the key says ! or @
  const verdict = VERDICTS[digit ? digit[1] : event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!verdict) return false;
  return press(`.verdict[value="${(event.shiftKey && STRONG[verdict]) || verdict}"]`);
}

let ranked = [], tieNext = false;
function rankKey(event) {
  const selects = all("select[data-rank]");
  if (event.key === "=") { tieNext = true; return true; }
  if (event.key === "Backspace") {
    const last = ranked.pop();
    if (last) last.select.value = "";
    return true;
  }
  const select = selects[Number(event.key) - 1];
  if (!select || !/^[1-9]$/.test(event.key) || ranked.some((one) => one.select === select)) return false;
  const last = ranked.length ? ranked[ranked.length - 1].rank : 0;
  const rank = tieNext && last ? last : last + 1;
  tieNext = false;
  select.value = String(rank);
  ranked.push({ select, rank });
  return true;
}

function spanKey(event) {
  const sentences = all("[data-sentence]");
  const here = sentences.indexOf(document.activeElement);
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const to = here < 0 ? 0 : Math.min(sentences.length - 1, Math.max(0, here + (event.key === "ArrowDown" ? 1 : -1)));
    sentences[to].focus();
    return true;
  }
  if (here < 0 || !/^[0-4]$/.test(event.key)) return false;
  const select = $("select", sentences[here]);
  select.selectedIndex = select.selectedIndex === Number(event.key) ? 0 : Number(event.key);
  select.dispatchEvent(new Event("change", { bubbles: true }));
  return true;
}
for (const sentence of all("[data-sentence]")) {
  $("select", sentence).addEventListener("change", (event) => { sentence.dataset.tag = event.target.value; });
}

const KEYS = { pairwise: pairKey, ranking: rankKey, span: spanKey, rating: (event) => press(`[data-star="${event.key}"]`) };

document.addEventListener("keydown", (event) => {
  const typing = /^(TEXTAREA|INPUT|SELECT)$/.test(event.target.tagName) && !/^(radio|checkbox)$/.test(event.target.type || "");
  if (event.key === "Escape" && typing) { event.target.blur(); return; }
  if (judgement && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    judgement.requestSubmit($(".bar button.main", judgement) || undefined);
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.repeat || (judgement && performance.now() - shownAt < SOON && event.key !== "Tab")) {
    if (judgement && !["Tab", "Enter", " "].includes(event.key)) event.preventDefault();
    return;
  }
  if (event.key === "?") { location.assign("/help"); return; }
  const key = event.key.toLowerCase();
  const kind = judgement && judgement.closest("[data-kind]").dataset.kind;
  if (kind && KEYS[kind] && KEYS[kind](event)) { event.preventDefault(); return; }
  if (judgement && key === "c") { $(".why").open = true; $(".comment textarea").focus(); event.preventDefault(); return; }
  if (judgement && key === "g" && $("#guideline")) { $("#guideline").open = !$("#guideline").open; return; }
  if (kind && event.key === "Enter" && !/^(BUTTON|A|SUMMARY)$/.test(event.target.tagName)) {
    if (press('[data-key="Enter"]')) event.preventDefault();
    return;
  }
  if (/^[zxr]$/.test(key) && press(`[data-key="${key}"]`)) event.preventDefault();
});

// ---- Live difference of a correction: the longest common run of words (Hunt and McIlroy 1976), both ends cut off first.
function difference(before, after) {
  const cut = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) || [];
  let a = cut(before), b = cut(after);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const head = a.slice(0, start), tail = a.slice(a.length - end);
  a = a.slice(start, a.length - end);
  b = b.slice(start, b.length - end);
  const middle = [];
  if (a.length * b.length > 1e6) middle.push(["del", a.join("")], ["ins", b.join("")]);
  else {
    const table = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
      }
    }
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { middle.push(["", a[i]]); i++; j++; }
      else if (j >= b.length || (i < a.length && table[i + 1][j] >= table[i][j + 1])) middle.push(["del", a[i++]]);
      else middle.push(["ins", b[j++]]);
    }
  }
  const joined = [["", head.join("")]];
  for (const [what, text] of [...middle, ["", tail.join("")]]) {
    const last = joined[joined.length - 1];
    if (last[0] === what) last[1] += text;
    else joined.push([what, text]);
  }
  return joined;
}

const edit = $("#edit");
if (edit) {
  const show = () => {
    const place = $("#changes");
    const changed = edit.value !== edit.dataset.before;
    $("#changes-label").hidden = !changed;
    place.replaceChildren();
    if (!changed) return;
    for (const [what, text] of difference(edit.dataset.before, edit.value)) {
      if (!text) continue;
      const piece = what ? document.createElement(what) : document.createTextNode(text);
      if (what) piece.textContent = text;
      place.append(piece);
    }
  };
  edit.addEventListener("input", show);
  show();
}

// ---- A file chosen for import is sent as it is.
const upload = $("#upload");
if (upload) {
  upload.addEventListener("submit", async (event) => {
    const file = $('input[type="file"]', upload).files[0];
    if (!file) return;
    event.preventDefault();
    const answer = await fetch(`${upload.action}?name=${encodeURIComponent(file.name)}`, {
      method: "POST", body: file, credentials: "same-origin",
      headers: { "content-type": "application/octet-stream", accept: "application/json", "x-csrf-token": csrf() },
    });
    const result = await answer.json().catch(() => ({}));
    $("#upload-result").textContent = answer.ok ? result.lines.join("\n") : result.error || words.failed;
    $("#upload-result").hidden = false;
  });
}

// ---- Chat
const log = $("#chat");
if (log) {
  const form = $("#chat-form"), stop = $("#stop"), say = log.dataset;
  let conversation = say.conversation, running = null;

  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const post = async (path, body) => {
    const headers = { "content-type": "application/json", accept: "application/json", "x-csrf-token": csrf() };
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin" });
    const result = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(result.error || words.failed);
    return result;
  };
  const messages = () => all("[data-role]", log).filter((one) => one.dataset.text !== "").map((one) => (
    { role: one.dataset.role, content: one.dataset.text || one.textContent }));

  function bubble(role, text) {
    const made = make("div", `bubble ${role}`);
    made.dir = "auto";
    made.append(make("div", "text", text));
    log.append(made);
    return made;
  }

  function settled(place, answer) {
    place.classList.remove("writing");
    place.dataset.role = "assistant";
    place.dataset.text = answer.text;
    if (answer.completion) place.dataset.completion = answer.completion;
    $(".text", place).innerHTML = answer.html; // cleaned by the server
  }

  function tools(place) {
    const row = make("div", "row");
    const tool = (text, label, act) => {
      const button = make("button", "quiet", text);
      button.type = "button";
      if (label) button.setAttribute("aria-label", label);
      button.addEventListener("click", () => act(button).catch((error) => notice(error.message)));
      row.append(button);
      return button;
    };
    const completion = place.dataset.completion;
    if (completion) {
      const thumb = (value) => async (button) => {
        const reasons = all("input:checked", row).map((one) => one.value);
        const result = await post("/chat/thumb", { conversation, completion, value, reasons: value ? [] : reasons });
        for (const one of all("button[aria-pressed]", row)) one.setAttribute("aria-pressed", String(one === button));
        notice(`${say.thanks} ${result.models[0]}`);
        if (!value && !$(".chips", row)) {
          const chips = make("fieldset", "chips");
          chips.append(make("legend", "", say.why));
          for (const pair of say.reasons.split("|")) {
            const [name, text] = pair.split("=");
            const label = make("label"), box = make("input");
            box.type = "checkbox";
            box.value = name;
            box.addEventListener("change", () => thumb(0)(button).catch((error) => notice(error.message)));
            label.append(box, make("span", "", text));
            chips.append(label);
          }
          row.append(chips);
        }
      };
      tool(say.up, "", thumb(1)).setAttribute("aria-pressed", "false");
      tool(say.down, "", thumb(0)).setAttribute("aria-pressed", "false");
      tool(say.edit, "", async () => {
        const area = make("textarea");
        area.value = place.dataset.text;
        area.rows = 6;
        const save = make("button", "main", say.save);
        save.type = "button";
        save.addEventListener("click", async () => {
          try {
            const result = await post("/chat/correct", { conversation, completion, text: area.value });
            settled(place, { text: area.value, html: result.html, completion });
            area.remove();
            save.remove();
            notice(say.thanks);
          } catch (error) { notice(error.message); }
        });
        place.append(area, save);
        area.focus();
      });
    }
    tool(say.again, "", async () => {
      place.remove();
      await talk();
    });
    place.append(row);
  }

  async function talk() {
    for (const row of all(".bubble.assistant .row", log).slice(0, -1)) row.querySelectorAll("button").forEach((one) => { if (one.textContent === say.again) one.remove(); });
    const controller = new AbortController();
    running = controller;
    stop.hidden = false;
    const places = [];
    const place = (draft) => {
      while (places.length <= draft) {
        places.push(bubble("assistant writing", ""));
        places[places.length - 1].dataset.draft = "1";
      }
      return places[draft];
    };
    try {
      const asked = { messages: messages(), consent: form.elements.consent.checked, conversation, model: form.elements.model ? Number(form.elements.model.value) : 0 };
      const answer = await fetch("/chat/answer", {
        method: "POST", signal: controller.signal, credentials: "same-origin", body: JSON.stringify(asked),
        headers: { "content-type": "application/json", accept: "application/json", "x-csrf-token": csrf() },
      });
      if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || words.failed);
      await events(answer.body, (name, data) => {
        if (name === "piece") $(".text", place(data.draft)).textContent += data.text;
        else if (name === "problem") throw new Error(data.error);
        else if (name === "done") {
          data.answers.forEach((one, draft) => settled(place(draft), one));
          if (data.not_kept) notice(data.not_kept);
          if (data.conversation) {
            conversation = data.conversation;
            history.replaceState(null, "", `/chat/${conversation}`);
          }
          if (places.length === 2) choosing(places, data.answers.map((one) => one.completion));
          else tools(places[0]);
        }
      });
    } catch (error) {
      for (const one of places) one.remove();
      notice(error.name === "AbortError" ? say.stopped : error.message);
    }
    running = null;
    stop.hidden = true;
  }

  function choosing(places, completions) {
    const row = make("div", "row"), shown = completions;
    const choose = (choice) => async () => {
      await post("/chat/choose", { conversation, completions: shown, choice });
      row.remove();
      places[choice === "b" ? 0 : 1].remove();
      tools(places[choice === "b" ? 1 : 0]);
    };
    [["a", `${say.pick} 1`], ["tie", say.equal], ["b", `${say.pick} 2`]].forEach(([choice, text]) => {
      const button = make("button", "", text);
      button.type = "button";
      button.addEventListener("click", () => choose(choice)().catch((error) => notice(error.message)));
      row.append(button);
    });
    places.forEach((one, number) => one.prepend(make("p", "role", `${say.draft} ${number + 1}`)));
    log.append(row);
  }

  async function events(body, take) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        // no regular expression: for one, U+2028 and U+2029 end a line, and they may stand in the JSON
        const [name, data] = ["event: ", "data: "].map((field) => part.split("\n").find((line) => line.startsWith(field))?.slice(field.length));
        if (name && data) take(name, JSON.parse(data));
      }
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const area = form.elements.message;
    if (running || !area.value.trim()) return;
    const mine = bubble("user", area.value);
    mine.dataset.role = "user";
    mine.dataset.text = area.value;
    area.value = "";
    talk();
  });
  form.elements.message.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });
  stop.addEventListener("click", () => running && running.abort());
  const last = all(".bubble.assistant", log).pop();
  if (last) tools(last);
}

// ---- A run, as it trains
const run = $("[data-events]");
if (run) {
  const source = new EventSource(run.dataset.events);
  source.addEventListener("run", (event) => {
    const { html, finished } = JSON.parse(event.data);
    run.innerHTML = html; // made by the server
    if (finished) source.close();
  });
}

sendWaiting();
window.addEventListener("online", sendWaiting);
