"""Two prompts with three answers each, and a short way to write acts on them."""

from plaudit.schema import Assignment, Completion, Feedback, Message, Prompt

ASK = [Prompt(text="Where is my order?"), Prompt(messages=(Message("user", "I forgot my password."),))]
SAID = [
    Completion(prompt.id, f"Answer {i}. It is {word}.", (1,), (i,), (-1.0,), "stop", index=i)
    for prompt in ASK
    for i, word in enumerate(("good", "fair", "poor"))
]


def act(kind, judgement, *answers, who="ada", source="human", reason="random", **more):
    """An act on `answers`, completions or their numbers in SAID."""
    on = [SAID[one] if isinstance(one, int) else one for one in answers]
    shown = Assignment(on[0].prompt_id, tuple(one.id for one in on), kind, reason)
    return Feedback(shown, judgement, who, source, **more)


def pair(choice, first=0, second=1, **more):
    return act("pairwise", {"choice": choice}, first, second, **more)
