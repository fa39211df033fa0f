// The web chat over a WebSocket whose other end is a cloud function: see legato/deploy/function/websocket.py.
// What was written is kept until the function says that it took it, and is sent again on every new connection;
// one thing after the other, since the gateway hands frames on side by side.
"use strict";

const ALIVE_MS = 4 * 60 * 1000; // the gateway closes what is silent for 10 minutes
const AGAIN_MS = 60 * 1000; // no answer to a message for so long: it is sent again
const FAILED_MS = 5 * 1000;
const LONGEST_PAUSE_MS = 30 * 1000;
const MOST_BYTES = 30000; // of one frame; the gateway takes 32 KB

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

class ChatSocket {
  constructor(address, heard, tell) {
    this.address = address;
    this.heard = heard;
    this.tell = tell;
    this.waiting = new Map(); // id -> what was written and not taken yet
    this.seq = -1;
    this.pieces = new Map();
    this.pause = 500;
    this.session = localStorage.getItem("legato_session");
    if (!this.session) {
      this.session = random() + random();
      localStorage.setItem("legato_session", this.session);
    }
    this.open();
    setInterval(() => this.send({}), ALIVE_MS);
    setInterval(() => this.again(), AGAIN_MS);
  }

  open() {
    const socket = new WebSocket(this.address);
    this.socket = socket;
    socket.onopen = () => {
      this.pause = 500;
      this.pieces.clear();
      this.tell("");
      this.send({});
      this.again();
    };
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = () => {
      this.tell("the bot does not answer; trying again…");
      setTimeout(() => this.open(), this.pause * (0.5 + Math.random()));
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
    };
  }

  send(frame) {
    if (this.socket.readyState !== 1) return; // it goes out once there is a connection
    this.socket.send(JSON.stringify({ session: this.session, seq: this.seq, ...frame }));
  }

  say(body) {
    const frame = { id: random(), ...body };
    if (new TextEncoder().encode(JSON.stringify(frame)).length > MOST_BYTES) {
      this.tell("not sent: too long");
      return false;
    }
    this.waiting.set(frame.id, frame);
    if (this.waiting.size === 1) this.again();
    return true;
  }

  again() {
    const [first] = this.waiting.values();
    if (first) this.send(first);
  }

  done(id) {
    if (this.waiting.delete(id)) this.again();
  }

  take(news) {
    if (news.of) {
      const text = (this.pieces.get(news.of) || "") + news.part;
      if (news.more) this.pieces.set(news.of, text);
      else {
        this.pieces.delete(news.of);
        this.take(JSON.parse(text));
      }
    } else if (news.taken) {
      this.done(news.taken);
    } else if (news.refused) {
      this.tell("not sent: " + news.why);
      this.done(news.refused);
    } else if (news.again) {
      if (this.waiting.has(news.again)) setTimeout(() => this.again(), news.after_s * 1000);
    } else if (news.changes) {
      this.changed(news);
    } else if (news.message) {
      setTimeout(() => this.again(), FAILED_MS); // of the gateway: the function failed
    }
  }

  changed(news) {
    if (news.seq !== undefined) {
      const whole = news.changes.some(([name]) => name === "history");
      if (news.seq <= this.seq) return; // old, or known
      if (!whole && news.seq !== this.seq + 1) {
        this.send({}); // something was lost on the way: everything comes again
        return;
      }
      this.seq = news.seq;
    }
    for (const [name, data] of news.changes) {
      if (Object.hasOwn(this.heard, name)) this.heard[name](data);
    }
  }
}
