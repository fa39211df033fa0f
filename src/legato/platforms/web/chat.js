// The page of the web chat. What anybody wrote becomes text nodes only, never HTML.
"use strict";

const chat = document.getElementById("chat");
const form = document.getElementById("form");
const text = document.getElementById("text");
const state = document.getElementById("state");
const shown = new Map(); // message id -> its element
let typing = 0;

function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== undefined) element.textContent = content;
  return element;
}

async function post(path, body) {
  if (socket) return socket.say(body);
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "x-legato-chat": "1" },
      body: JSON.stringify(body),
    });
    state.textContent = answer.ok ? "" : "not sent: " + (await answer.text());
    return answer.ok;
  } catch {
    state.textContent = "not sent: the bot does not answer";
    return false;
  }
}

function link(address, content) {
  const a = make("a", "", content);
  a.href = address;
  a.target = "_blank";
  a.rel = "noopener noreferrer";
  return a;
}

function paragraph(runs) {
  const box = make("div", "text");
  for (const [content, tags, address] of runs) {
    let node = document.createTextNode(content);
    if (address) node = link(address, content);
    for (const tag of tags.filter((t) => t !== "a").reverse()) {
      const around = make(tag);
      around.append(node);
      node = around;
    }
    box.append(node);
  }
  return box;
}

function medium(media) {
  if (media.kind === "photo" && media.url) {
    const image = make("img");
    image.src = media.url;
    image.alt = media.name || "photo";
    return image;
  }
  const label = "[" + media.kind + ": " + (media.name || media.url) + "]";
  return media.url ? link(media.url, label) : make("div", "note", label);
}

function press(message, button) {
  if (button.request === "contact") {
    const phone = window.prompt("Your phone number?");
    if (phone) post("/web/messages", { phone });
  } else if (button.request === "location") {
    const place = (window.prompt("Latitude, longitude?") || "").split(",").map(Number);
    if (place.length === 2 && place.every(Number.isFinite)) post("/web/messages", { location: place });
  } else if (button.say) {
    post("/web/messages", { text: button.text });
  } else {
    post("/web/buttons", { message, data: button.data });
  }
}

function entry(message) {
  const box = make("div", message.mine ? "message mine" : "message");
  const answered = message.reply_to && shown.get(message.reply_to);
  if (answered) box.append(make("div", "note", "to: " + answered.textContent.slice(0, 60)));
  if (message.media && message.media.kind) box.append(medium(message.media));
  if (message.runs && message.runs.length) box.append(paragraph(message.runs));
  for (const row of message.buttons || []) {
    const line = make("div", "row");
    for (const button of row) {
      if (button.url) {
        line.append(link(button.url, button.text));
      } else {
        const element = make("button", "", button.text);
        element.type = "button";
        element.addEventListener("click", () => press(message.id, button));
        line.append(element);
      }
    }
    box.append(line);
  }
  if (message.marks && message.marks.length) box.append(make("div", "note", message.marks.join(", ")));
  return box;
}

function show(message) {
  const old = shown.get(message.id);
  const fresh = entry(message);
  const atEnd = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 80;
  if (old) old.replaceWith(fresh);
  else chat.append(fresh);
  shown.set(message.id, fresh);
  if (atEnd || message.mine) chat.scrollTop = chat.scrollHeight;
}

const heard = {
  history(messages) {
    chat.replaceChildren();
    shown.clear();
    state.textContent = "";
    for (const message of messages) show(message);
    chat.scrollTop = chat.scrollHeight;
  },
  show(message) {
    if (!message.mine) state.textContent = "";
    show(message);
  },
  delete(id) {
    const gone = shown.get(id);
    if (gone) gone.remove();
    shown.delete(id);
  },
  typing() {
    state.textContent = "typing…";
    clearTimeout(typing);
    typing = setTimeout(() => { state.textContent = ""; }, 5000);
  },
  name(name) {
    document.title = name;
    document.getElementById("name").textContent = name;
  },
};

// Where the page names a WebSocket, it talks through that one (socket.js), else with the server it came from.
const address = document.querySelector('meta[name="legato-socket"]');
let socket = null;
if (address) {
  socket = new ChatSocket(address.content, heard, (told) => { state.textContent = told; });
} else {
  const events = new EventSource("/web/events");
  for (const name of Object.keys(heard)) {
    events.addEventListener(name, (event) => heard[name](JSON.parse(event.data)));
  }
  events.onerror = () => { state.textContent = "the bot does not answer; trying again…"; };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const typed = text.value;
  if (!typed.trim()) return;
  text.value = "";
  if (!(await post("/web/messages", { text: typed })) && !text.value) text.value = typed;
  text.focus();
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
