"""Telegram, by the Bot API.

What Telegram promises, and what it does (read on 2026-11-28):

- Updates. A webhook request is repeated until it is answered with 2xx: after 1 s, then at doubling
  distance up to 60-120 s; `Retry-After` is obeyed. It waits 60 s for an answer. Updates are kept at
  most 24 h. One request per chat is in flight, the next waits for its answer; presses of buttons
  travel in a queue of their own, so a press and a message of one person may arrive swapped.
  `getUpdates` cannot be used while a webhook is set, nor by two at once (409); an update is
  confirmed by asking for a higher `offset`.
  https://core.telegram.org/bots/api#getting-updates,
  https://core.telegram.org/bots/webhooks,
  https://github.com/tdlib/telegram-bot-api (WebhookActor.cpp, Client.cpp)
- Authenticity. The header X-Telegram-Bot-Api-Secret-Token repeats the `secret_token` of setWebhook,
  1-256 characters of A-Z, a-z, 0-9, _ and -. https://core.telegram.org/bots/api#setwebhook
- Sending. No idempotency key. One method may ride in the answer to the webhook; its result is then
  never known. https://core.telegram.org/bots/api#making-requests-when-getting-updates
- Limits. About 1 message a second in one chat (short bursts pass), 20 a minute in a group, 30 a
  second in all for bulk; beyond them 429 with `parameters.retry_after`. The exact numbers are not
  published. https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
- Sizes. 4,096 characters (UTF-16 units, after the markup) in a text, 1,024 in a caption, 64 bytes
  in a button; 50 MB to send, 20 MB to download. https://core.telegram.org/bots/api
"""

from legato.platforms.telegram.platform import Telegram as Telegram
