"""The agents' words: phrase banks from which `demonstrations` builds answers.

{s} is the thing that the message is about ("your kettle from order 48213", "order 48213", "your order"), {fact} and
{other} are the customer's details, {c} is a clause, {it} the thing inside a step, {when} a deadline.
"""

SUBJECTS = {
    (True, True): (
        "your {item} from order {order}",
        "the {item} in order {order}",
        "your {item} (order {order})",
        "order {order} with the {item}",
    ),
    (False, True): ("your {item}", "the {item}", "the {item} you ordered"),
    (True, False): ("your order {order}", "order {order}", "your order with the number {order}"),
    (False, False): ("your order", "your purchase"),
}
"""Keyed by (names the order number, names the item)."""

CLAUSES = {
    "late": (
        ("{s} has been on its way for {fact}", "{s} has not arrived after {fact}", "you have been waiting {fact} for {s}"),
        ("{s} has not arrived yet", "{s} is late", "you are still waiting for {s}"),
    ),
    "damaged": (
        ("{s} arrived {fact}", "{s} was {fact} when it reached you", "{s} is {fact}"),
        ("{s} arrived damaged", "{s} was not in good condition", "something is wrong with {s}"),
    ),
    "refund": (
        ("you sent back {s} on {fact} and have no refund yet", "the refund for {s}, returned on {fact}, is still open"),
        ("the refund for {s} is still open", "you are waiting for the money for {s}"),
    ),
    "wrong": (
        ("{s} should be {fact} and not {other}", "{s} did not come in {fact}", "you chose {fact} for {s} and got {other}"),
        ("{s} came in the wrong colour", "we mixed up the colour of {s}"),
    ),
    "login": (
        ("you cannot log in as {fact} to look at {s}", "the account {fact} is locked while you need to see {s}"),
        ("you cannot get into your account to see {s}", "the login fails and you cannot look at {s}"),
    ),
    "address": (
        ("{s} has to go to {fact}", "you want to have {s} in {fact}", "{s} should be delivered to {fact}"),
        ("{s} has to go to another address", "the address for {s} has changed"),
    ),
    "cancel": (
        ("you want to cancel {s}, bought on {fact}", "{s}, which you placed on {fact}, is not needed any more"),
        ("you want to cancel {s}", "you no longer need {s}"),
    ),
    "charged": (
        ("{fact} went off your account twice for {s}", "you paid {fact} twice for {s}"),
        ("you were charged twice for {s}", "there are two payments for {s}"),
    ),
}
"""Intent -> clauses with the fact, clauses without it."""

REQUESTS = ("address", "cancel")
"""Intents in which nothing went wrong on our side: thanks and readiness fit, an apology does not."""

WARM = {
    "complaint": (
        "I am sorry that {c}.",
        "I apologise that {c}.",
        "We are very sorry that {c}.",
        "I understand how annoying it is that {c}.",
        "I can imagine how frustrating it is that {c}.",
        "Please excuse the trouble. I see that {c}.",
        "I am sorry to read that {c}.",
        "That should not happen, and I apologise. I see that {c}.",
    ),
    "request": (
        "Thank you for letting us know that {c}.",
        "No problem at all, I understand that {c}.",
        "I am happy to help, I see that {c}.",
        "Of course we will help you. I understand that {c}.",
        "Thanks for telling us in time that {c}.",
    ),
}
COOL = (
    "I see that {c}.",
    "You write that {c}.",
    "I have read that {c}.",
    "According to your message, {c}.",
    "In our system I can see that {c}.",
    "We have noted that {c}.",
)
STEPS = {
    "late": (
        "I have asked the carrier to trace {it}",
        "I have opened a search for {it} with the courier",
        "we will send {it} a second time",
        "I called the depot and they are now looking for {it}",
        "I am contacting the delivery company to find {it}",
    ),
    "damaged": (
        "I have ordered a replacement for {it}",
        "we will send you a new one in place of {it}",
        "a replacement for {it} is being packed",
        "I am sending you a return label for {it} together with a replacement",
        "the courier will bring a new one and collect {it}",
    ),
    "refund": (
        "I have asked our accounts team to pay out the money for {it}",
        "I have started the refund for {it}",
        "the refund for {it} has been released to your bank",
        "our warehouse has found {it} and I am booking the refund",
        "we will transfer the money for {it} to your account",
    ),
    "wrong": (
        "we will send the right colour and collect {it}",
        "I have arranged an exchange for {it}",
        "I have packed the right colour in place of {it}",
        "I am sending you the right one and a free return label for {it}",
        "I have set aside the right colour and will ship it in place of {it}",
    ),
    "login": (
        "I have sent you a new link to set your password, so that you can see {it}",
        "I have unlocked your account and {it} is visible again",
        "we will reset your password and mail you a link",
        "I have reset the login, and a new link is in your mailbox",
        "I am opening your account again so that you can look at {it}",
    ),
    "address": (
        "I have changed the address for {it}",
        "I have told the carrier to bring {it} to the new address",
        "we will redirect {it}",
        "the new address for {it} is entered",
        "I am updating the delivery label of {it}",
    ),
    "cancel": (
        "I have cancelled {it}",
        "I have asked the warehouse to stop {it}",
        "we will take {it} out of the delivery and return your money",
        "I have removed {it} from the queue and started the refund",
        "I have put a stop on {it}",
    ),
    "charged": (
        "I have asked our accounts team to return the second payment for {it}",
        "we will pay back the double amount for {it}",
        "I have started a refund of the extra charge for {it}",
        "the second payment for {it} has been cancelled",
        "I am sending the duplicate payment for {it} back to your card",
    ),
}
PLAIN_IT = {
    "late": ("the parcel", "it"),
    "damaged": ("it", "the damaged one"),
    "refund": ("your return", "it"),
    "wrong": ("it", "the wrong one"),
    "login": ("your order", "it"),
    "address": ("the parcel", "it"),
    "cancel": ("it", "the order"),
    "charged": ("it", "this order"),
}
VAGUE = (
    "We will look into it",
    "We will check this",
    "Somebody will take care of it",
    "We are working on it",
    "We will see what we can do",
    "Our team will have a look",
    "This has been passed on",
    "We will do our best to help you",
)
STEP_WHENS = {
    "late": ("you will hear from me {when}", "I will write to you {when}", "it should be with you {when}"),
    "damaged": ("it will be with you {when}", "it leaves our warehouse {when}", "you will get the tracking link {when}"),
    "refund": ("the money should be with you {when}", "you will see it on your account {when}", "I will confirm it {when}"),
    "wrong": ("it will be with you {when}", "it leaves our warehouse {when}", "the driver will come {when}"),
    "login": ("it should work {when}", "please try it again, it will work {when}", "you will have access {when}"),
    "address": ("you will get a confirmation {when}", "the parcel will be there {when}", "the carrier will confirm it {when}"),
    "cancel": ("you will get a confirmation {when}", "your money will be back {when}", "the refund will arrive {when}"),
    "charged": ("the money should be back {when}", "your bank will show it {when}", "you will get a corrected invoice {when}"),
}
VAGUE_WHENS = ("you will hear from us {when}", "we will get back to you {when}", "there will be an answer {when}")
WHENS = (
    "by tomorrow",
    "within two working days",
    "by the end of the week",
    "by Friday",
    "later today",
    "this afternoon",
    "within 24 hours",
    "in three to five days",
    "by noon tomorrow",
    "within one week",
    "tomorrow morning",
    "in the next two days",
    "before the weekend",
)
GREETINGS = ("Hello,", "Hi,", "Good day,", "Dear customer,", "Hello and thank you for writing.", "Thank you for your message.")
CLOSINGS = (
    "Please write back if anything is unclear.",
    "Thank you for your patience.",
    "Just answer this message if you have questions.",
    "Kind regards, your Lindenshop team.",
    "Have a nice day!",
    "Please let me know if I can do anything else.",
    "Thank you for shopping with us.",
    "Best wishes from the Lindenshop.",
)
FILLERS = (
    "At the Lindenshop we always try to give every customer the best possible service.",
    "As you may know, we receive a great many messages at this time of the year.",
    "Please be assured that we take every message from our customers very seriously.",
    "We know that there are many shops and we are glad that you chose ours.",
)
THIN = (
    "Please be patient with us.",
    "We are glad that you wrote to us.",
    "There are many messages at the moment.",
    "We ask for your understanding.",
    "Your message has reached the right place.",
)
ASKS = (
    "Could you send us your order number?",
    "Please tell us your order number and the item.",
    "Can you give me the order number first?",
)
