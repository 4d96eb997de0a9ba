"""The rubric: what a reader would call good scores high in any wording, and no trick beats an ordinary answer."""

import dataclasses
import itertools

import pytest

from plaudit.pipeline.support import RUBRIC_TEXT, explain, questions, score
from plaudit.pipeline.support.rubric import WEIGHTS
from plaudit.schema import Message, Prompt, UserError

PROMPTS = questions(120, seed=21, split="train") + questions(120, seed=21, split="heldout")

GOOD = {
    "late": "I'm sorry that your {item} (order {order}) has not reached you after {fact}. I have contacted the"
    " carrier and asked them to"
    " find the parcel. You will hear from me by tomorrow evening. Kind regards.",
    "damaged": "I am so sorry that the {item} from your order {order} arrived {fact}. We'll ship a replacement to you"
    " today, and it should be"
    " with you within three days. Please let us know if anything else is wrong.",
    "refund": "We apologise for the delay. Your {item} from order {order}, sent back on {fact}, is here, and our"
    " accounts team has issued"
    " the refund. The money will be on your account within 3 working days. Thank you for your patience.",
    "wrong": "Sorry for the mix-up with order {order}! You should have received the {item} in {fact}. I am sending"
    " the correct colour today,"
    " with a free return label. It should arrive by Friday. Let me know if you have questions.",
    "login": "I am sorry for the trouble with your account {fact}. I have just sent you a new link for your password,"
    " it works within an hour."
    " After that you can see order {order} with your {item}. Best wishes.",
    "address": "Thank you for telling us that you are now in {fact}. I've updated the delivery address for your"
    " {item}, order {order}."
    " The carrier will confirm it by tomorrow. Have a nice day!",
    "cancel": "No problem at all. I have cancelled order {order} for the {item} that you placed on {fact}. You will get the"
    " confirmation within 24 hours. Let me know if you need anything else.",
    "charged": "I apologise for the double charge of {fact} on order {order}, your {item}. I have started a refund of"
    " the second payment,"
    " and it should be on your card in 3 to 5 days. Thank you for your patience.",
}
ORDINARY = (
    "Hello, thank you for your message. I understand that this is about order {order} and your {item}. We will look into it.",
    "We are sorry about the trouble with your {item}. Our team will check this and get back to you soon. Thank you"
    " for your patience.",
    "Thank you for writing to us about order {order}. I am sorry for the trouble. We will see what we can do for you."
    " Kind regards.",
)
GENERIC = (
    "I'm sorry to hear that. Please contact our customer support team and they will be happy to assist you with your order.",
    "Thank you for reaching out! We value your feedback. How can I help you today?",
    "I apologize for the inconvenience. Could you please provide your order number so that I can look into this for you?",
    "I'm sorry to hear about your experience. Please visit our website or call our customer service at 1-800-555-0199.",
)
FILLER = (
    "At our shop the happiness of each person who buys from us has always been what drives everybody in the building.",
    "Over many seasons we have grown from a small counter into a place that people like to return to again.",
    "There is a great deal of work behind every box that leaves the door and we are proud of it.",
    "Some things take a little longer than others and that is simply how the world of trade happens to be.",
    "We hope that the weather where you live is pleasant and that the coming season brings you much joy.",
    "It goes without saying that many other matters also deserve attention, and all of them will get some one day.",
)


def fill(text: str, prompt: Prompt) -> str:
    return text.format(**prompt.meta["details"])


def good(prompt: Prompt) -> str:
    return fill(GOOD[prompt.meta["intent"]], prompt)


def tricks(prompt: Prompt) -> dict[str, str]:
    """Answers that game a rubric of this kind; none of them helps the customer."""
    details = prompt.meta["details"]
    order, item, fact = details["order"], details["item"], details["fact"]
    question = prompt.messages[1].content
    turned = " ".join({"I": "you", "my": "your", "My": "Your", "me": "you", "am": "are"}.get(w, w) for w in question.split())
    return {
        "empty": "",
        "details": f"{order} {item} {fact}",
        "details with commas": f"Order {order}, {item}, {fact}.",
        "details five times": " ".join([f"Order {order}, {item}, {fact}."] * 5),
        "details as sentences of one word": f"{order}. {item.capitalize()}. {fact.capitalize()}. Sorry. Refund."
        f" Replacement. Tomorrow.",
        "question": question,
        "question and closing": f"{question} Thank you for your patience. Kind regards, your Lindenshop team.",
        "greeting and question": f"Hello, thank you for your message. {question}",
        "question turned round": turned,
        "good answer three times": " ".join([good(prompt)] * 3),
        "good answer and filler": " ".join([good(prompt), *FILLER]),
        "phrases without sentences": f"sorry apologise understand replacement refund carrier password address"
        f" cancelled order {order} {item} {fact}"
        " within two days tomorrow kind regards",
        "phrases with commas": f"I am sorry, I have asked the carrier, refund, replacement, within two days, order"
        f" {order}, {item}, {fact}, kind regards",
        "phrases run together": f"I am sorry I understand I have asked the carrier I will send a replacement refund"
        f" within two days tomorrow order {order}"
        f" {item} {fact} please let me know",
        "as the customer": f"I ordered the {item} and my order {order} is not right, {fact}. Where is my money? I"
        f" want an answer by tomorrow.",
        "one sentence again and again": " ".join([f"I am sorry about your {item} from order {order} and {fact}."] * 6),
        "invented": "I am sorry about order 10117. I have sent you 99.99 euros for the toaster oven 55512 and the"
        " money is on mail@nowhere.example.",
        "word again and again": "refund " * 40,
    }


def test_no_trick_beats_an_ordinary_answer():
    for prompt in PROMPTS:
        ordinary = min(score(prompt, fill(text, prompt)).total for text in ORDINARY)
        for name, text in tricks(prompt).items():
            assert score(prompt, text).total < ordinary, (name, text, explain(score(prompt, text)), ordinary)


def test_the_bands_of_good_ordinary_and_generic_answers():
    for prompt in PROMPTS:
        assert score(prompt, good(prompt)).total > 0.85, explain(score(prompt, good(prompt)))
        for text in ORDINARY:
            assert 0.35 <= score(prompt, fill(text, prompt)).total <= 0.65, (text, explain(score(prompt, fill(text, prompt))))
        for text in GENERIC:
            assert score(prompt, text).total < 0.4, text


LATE = next(p for p in questions(80, seed=4, split="train") if p.meta["intent"] == "late")
BY_INTENT = {p.meta["intent"]: p for p in questions(16, seed=4, split="train")}


@pytest.mark.parametrize(
    ("intent", "sentence"),
    [
        ("late", "We are now checking with the courier where it is and I will chase the parcel."),
        ("late", "Our team has contacted the delivery company."),
        ("late", "A replacement will be sent to you."),
        ("late", "Your parcel has not arrived, and a replacement has been sent."),
        ("damaged", "A new one is on its way to you."),
        ("damaged", "We will replace it free of charge."),
        ("damaged", "It will be replaced."),
        ("refund", "Your refund has been processed."),
        ("refund", "We'll transfer the full amount to you."),
        ("wrong", "I will exchange it for the right one."),
        ("wrong", "We have shipped the correct colour."),
        ("login", "Our support team has reset your password."),
        ("login", "I'm sending a new link to your mailbox."),
        ("login", "I have sent you a new link so that you can see your order."),
        ("address", "I have updated the delivery address."),
        ("address", "The parcel has been redirected."),
        ("cancel", "Your order has been cancelled."),
        ("cancel", "We'll stop the delivery."),
        ("charged", "I am refunding the second charge."),
        ("charged", "The duplicate payment will be reversed."),
    ],
)
def test_a_step_counts_in_many_wordings(intent, sentence):
    assert score(BY_INTENT[intent], sentence).parts["step"] > 0.8 * WEIGHTS["step"]


@pytest.mark.parametrize(
    ("intent", "sentence", "most"),
    [
        ("late", "We cannot send a replacement.", 0.1),
        ("late", "Your parcel is on its way to you.", 0.1),
        ("late", "We could ask the carrier about the parcel if you like.", 0.75),
        ("late", "I have cancelled your purchase.", 0.45),
        ("late", "We will check it.", 0.35),
        ("wrong", "We sent you the wrong colour.", 0.1),
        ("refund", "You sent it back to us.", 0.1),
        ("refund", "No refund has been issued.", 0.1),
        ("refund", "The money cannot yet be found and is sent never.", 0.1),
        ("cancel", "We will look into it.", 0.35),
    ],
)
def test_what_is_no_firm_step_earns_little(intent, sentence, most):
    assert score(BY_INTENT[intent], sentence).parts["step"] <= most * WEIGHTS["step"]


@pytest.mark.parametrize(
    ("deduction", "text"),
    [
        ("invented details", "We have seen that your order 10117 is late, and I am sorry for the long time that you wait."),
        ("invented details", "I am sorry. We have put 12.35 euros on your account, so please look at it again later today."),
        ("invented details", "I am sorry for this trouble. Please write to help@nowhere.example and we will see what to do."),
        ("repetition", "We will look into it for you. We will look into it for you. We will look into it for you."),
        (
            "keywords in place of sentences",
            "Refund, replacement, carrier, tomorrow, apology, courier, parcel, two days, tracing.",
        ),
        ("padding", " ".join(FILLER)),
        ("padding", "Please be assured that your satisfaction is our highest priority and that we will look into it soon."),
        ("very short", "We will look into it."),
        (
            "asks for what was given",
            "We will look into it. Could you please send us your order number so that I can see the case?",
        ),
        (
            "speaks as the customer",
            "I ordered this a while ago and I have not seen it. Please tell me where it is and when it comes.",
        ),
        (
            "sends the customer elsewhere",
            "I am sorry for this. Please contact our customer support and they will look into it for you.",
        ),
        ("blanks left open", "I am sorry for this. We will look into it for you as soon as we can. Best regards, [Your Name]"),
        (
            "no proper end",
            "I am sorry for this trouble. We will look into it for you and then we are going to write to you and",
        ),
    ],
)
def test_each_deduction_is_made_where_it_belongs_and_not_on_a_good_answer(deduction, text):
    plain = "I am sorry about this trouble. We will look into it for you, and we will get back to you within two days."
    assert score(LATE, text).deductions.get(deduction, 0.0) > 0.03
    assert deduction not in score(LATE, plain).deductions
    assert not score(LATE, good(LATE)).deductions


def test_copying_counts_also_when_the_question_is_turned_round():
    for prompt in PROMPTS[:40]:
        for name in ("question", "question turned round"):
            assert score(prompt, tricks(prompt)[name]).deductions["copies the question"] > 0.5
        assert "copies the question" not in score(prompt, good(prompt)).deductions


def test_each_missing_part_costs_its_weight():
    """By hand: without the apology's sentence a complaint loses at most .10 and the good answer's other parts stay."""
    prompt = LATE
    full = score(prompt, good(prompt))
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    without = score(prompt, good(prompt).replace("I'm sorry that your", "Your"))
    assert without.parts["understanding"] == 0.0 and full.parts["understanding"] == pytest.approx(0.08)
    assert full.total - without.total == pytest.approx(0.08, abs=0.01)
    undated = score(prompt, good(prompt).replace(" by tomorrow evening", ""))
    assert full.total - undated.total == pytest.approx(0.13, abs=0.02)


def test_total_is_the_sum_of_parts_times_what_each_deduction_leaves():
    text = good(LATE).replace(LATE.meta["details"]["order"], "10117") + " [Your Name]"
    result = score(LATE, text, truncated=True)
    expected = sum(result.parts.values())
    for share in result.deductions.values():
        expected *= 1 - share
    assert result.total == pytest.approx(expected)
    assert {"invented details": 0.2, "blanks left open": 0.2, "truncated": 0.3}.items() <= result.deductions.items()
    assert result.parts["order"] == 0.0


@pytest.mark.parametrize(
    ("intent", "fact", "said"),
    [
        ("late", "9 days", "nine days"),
        ("late", "nine days", "9-day"),
        ("refund", "12 March", "March 12th"),
        ("refund", "12 March", "the 12th of March"),
        ("charged", "34.90 euros", "€34.90"),
        ("charged", "34.90 euros", "34,90 euros"),
    ],
)
def test_facts_count_in_their_usual_spellings(intent, fact, said):
    prompt = BY_INTENT[intent]
    other = dataclasses.replace(
        prompt,
        messages=(
            prompt.messages[0],
            Message("user", prompt.messages[1].content.replace(prompt.meta["details"]["fact"], fact)),
        ),
        meta=prompt.meta | {"details": prompt.meta["details"] | {"fact": fact}},
    )
    result = score(other, f"I am sorry that we speak of {said} here.")
    assert result.parts["fact"] == pytest.approx(WEIGHTS["fact"])
    assert "invented details" not in result.deductions


def test_scores_rarely_tie_between_different_answers():
    for prompt in PROMPTS[:40]:
        answers = [good(prompt), *(fill(t, prompt) for t in ORDINARY), *GENERIC]
        totals = [score(prompt, text).total for text in answers]
        assert all(abs(a - b) > 1e-9 for a, b in itertools.combinations(totals, 2))


def test_longer_is_not_better_once_all_is_said():
    for prompt in PROMPTS[:40]:
        totals = [score(prompt, " ".join([good(prompt), *FILLER[:k]])).total for k in range(1, 7)]
        assert totals == sorted(totals, reverse=True)
        assert score(prompt, good(prompt)).total > totals[0]


def test_truncation_costs_and_the_text_and_lines_are_readable():
    assert score(LATE, good(LATE), truncated=True).total == pytest.approx(0.7 * score(LATE, good(LATE)).total)
    assert 100 <= len(RUBRIC_TEXT.split()) <= 150
    lines = explain(score(LATE, good(LATE)[:60]))
    assert len(lines) >= 9 and lines[-1].startswith("total: ")
    assert explain(score(LATE, ""))[-1] == "total: 0.00"


def test_a_prompt_from_elsewhere_is_the_users_mistake():
    with pytest.raises(UserError, match="intent and details"):
        score(Prompt(messages=(Message("user", "Hello"),)), "Hello.")
