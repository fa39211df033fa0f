"""A quiz for a whole chat room: whoever answers right first gets the point.

    legato run examples/quiz.py

A moderator starts it with !quiz, on Twitch as in a group of any other platform. Wrong guesses cost
nothing: a message that does not fit the pattern never even wakes the dialog.
"""

from legato import App, Chat, MessageReceived, Timeout

app = App("quiz", scope="chat")  # one dialog with everybody in the room

SECONDS = 20
QUESTIONS = [
    ("What is the capital of Latvia?", "Riga", r"\b(riga|rīga)\b"),
    ("How many strings does a violin have?", "Four", r"\b(4|four)\b"),
    ("Which planet is the largest?", "Jupiter", r"\bjupiter\b"),
]


@app.command("quiz", only="moderators", help="Start a quiz")
async def quiz(chat: Chat) -> None:
    scores: dict[str, int] = {}
    for number, (question, answer, pattern) in enumerate(QUESTIONS, 1):
        await chat.say(f"Question {number} of {len(QUESTIONS)}: {question}")
        try:
            right: MessageReceived = await chat.receive(pattern=f"(?i){pattern}", timeout=SECONDS)
        except Timeout:
            await chat.say(f"Nobody knew: {answer}.")
            continue
        winner = right.user.mention if right.user else "somebody"
        scores[winner] = scores.get(winner, 0) + 1
        await chat.say(f"{answer}! {winner} was first.", reply_to=right)
    await chat.say(result(scores))


@app.command("stop", "cancel", only="moderators", cancels=True, help="Stop it")
async def stop(chat: Chat) -> None:
    await chat.say("The quiz is over. Nobody has lost.")


def result(scores: dict[str, int]) -> str:
    if not scores:
        return "The end. Next time, then!"
    ranking = sorted(scores.items(), key=lambda item: -item[1])
    return "The end. " + ", ".join(f"{name}: {points}" for name, points in ranking)
