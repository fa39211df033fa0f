// A user of tmi.js, moved by lines of JSON: ["say", "#ronni", "hi"] calls client.say("#ronni", "hi").
// Prints what happens as lines of JSON: [event, ...arguments].
const readline = require("readline");
const tmi = require(process.argv[2]);

const tell = (...what) => process.stdout.write(JSON.stringify(what) + "\n");
const client = new tmi.Client(JSON.parse(process.argv[3]));
const EVENTS = [
  "connecting", "connected", "logon", "join", "roomstate", "globaluserstate", "message", "notice",
  "disconnected", "reconnect", "ping", "pong", "timeout", "ban", "clearchat", "messagedeleted", "part",
];
for (const event of EVENTS) client.on(event, (...args) => tell(event, ...args));
client.connect().catch((error) => tell("failed", String(error)));

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const [does, ...args] = JSON.parse(line);
  if (does === "reply") {
    const [channel, text, parent] = args;
    client.ws.send(`@reply-parent-msg-id=${parent} PRIVMSG ${channel} :${text}`);
    return;
  }
  client[does](...args).then(
    (result) => tell("done", does, result),
    (error) => tell("failed", does, String(error)),
  );
});
lines.on("close", () => process.exit(0));
