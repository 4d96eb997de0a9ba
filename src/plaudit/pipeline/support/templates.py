"""The customers' words. A held-out template shares no four words in a row with any training template (tested).

Placeholders: {order}, {item}, {fact}, {other} (the colour that came), each also with an article: {a_item}.
"""

OPENERS = {
    "train": ("Hello!", "Hi.", "Hi there.", "Good morning.", "Dear Lindenshop team!"),
    "heldout": ("Good evening!", "Hey team!", "Greetings."),
}

TRAIN = {
    "late": (
        "Where is my order {order}? I have been waiting {fact} for the {item} and nobody tells me anything.",
        "My {item} still has not come. The order is {order} and it is {fact} since you took my money.",
        "I bought {a_item} (order {order}) and after {fact} there is still no parcel. What is going on?",
        "The {item} was promised quickly, now it has been {fact}. When will it arrive? My order number is {order}.",
        "The tracking page for {order} has not moved. It is {fact} already and I need the {item}.",
        "Can you check on my {item}? Order {order}, paid {fact} ago, and nothing has reached me.",
        "It has taken {fact} so far and the {item} from order {order} is not here. Please find out where it is.",
    ),
    "damaged": (
        "The {item} from order {order} arrived {fact}. What can you do about it?",
        "I opened my parcel today and the {item} is {fact}. My order number is {order}. I am quite disappointed.",
        "Unfortunately you sent me {a_fact} {item}. Order {order}. I would like one that is fine.",
        "Order {order} came this morning, but the {item} inside was {fact}. The box looked all right.",
        "My new {item} is {fact} and I cannot use it. It belongs to order {order}. Please help.",
        "Is this normal? The {item} I got with order {order} is {fact} on one side.",
        "I paid full price for {a_item} and it came {fact}. The order is {order}.",
    ),
    "refund": (
        "I sent the {item} back on {fact} and have not seen my refund. Order {order}.",
        "When do I get my money back for order {order}? The {item} went back to you on {fact}.",
        "My refund for the {item} is missing. I returned it on {fact}, order number {order}.",
        "On {fact} I returned {a_item} from order {order}. Has the money been paid out yet?",
        "The return of my {item} was posted on {fact} but my bank shows nothing. It is order {order}.",
        "Please tell me the status of my refund. Order {order}, the {item}, handed in at the post office on {fact}.",
        "I gave the {item} to your driver on {fact}. Why is there still no refund for order {order}?",
    ),
    "wrong": (
        "I ordered the {item} in {fact} and got it in {other}. The order is {order}.",
        "You sent the wrong colour. Order {order} was for {a_fact} {item}, this one is {other}.",
        "My parcel had {a_other} {item} in it, but I wanted {fact}. Order number {order}.",
        "Order {order} is not right: the {item} should be {fact} and it is {other}.",
        "There is a mistake with my {item}. I chose {fact} in the shop and {other} came. Order {order}.",
        "Why did I get {a_other} {item}? On order {order} it clearly says {fact}.",
        "I need the {item} in {fact} for a present and received {other} instead, order {order}.",
    ),
    "login": (
        "I cannot log in with {fact} and I need to see order {order} for my {item}.",
        "My password does not work any more. The account is {fact}, I want to track the {item}, order {order}.",
        "Please reset my password for {fact}. I have to look at order {order}, the {item}.",
        "The reset mail never comes to {fact}. How do I check on my {item}? Order {order}.",
        "I am locked out of my account {fact} and my order {order} for {a_item} is in there.",
        "Your website says my password is wrong. I use {fact}. It is about order {order}, {a_item}.",
        "How can I get back into my account? My address is {fact}, and I ordered {a_item} under {order}.",
    ),
    "address": (
        "I am moving to {fact} and my {item}, order {order}, is still going to the old address. Can you change it?",
        "Please send order {order} to my new address in {fact}. It is the {item}.",
        "I gave the wrong address for the {item}. Order {order} has to go to {fact}.",
        "Can order {order} still be delivered to {fact} instead? I will be there when the {item} comes.",
        "The delivery address of my {item} is out of date, I live in {fact} now. Order number {order}.",
        "I need to change where order {order} goes. The {item} is for my mother in {fact}.",
        "My {item} must not go to my old flat. I have moved to {fact}. The order is {order}.",
    ),
    "cancel": (
        "I want to cancel order {order}. I bought the {item} on {fact} and do not need it any more.",
        "Please cancel the {item} I ordered on {fact}. The number is {order}.",
        "Can I still stop order {order} from {fact}? My wife already bought {a_item}.",
        "I made a mistake on {fact} and ordered {a_item} that I cannot use. Please cancel {order}.",
        "The {item} I ordered on {fact} is too expensive for me after all. Cancel order {order} please.",
        "It says order {order} is being prepared. I would like to cancel the {item}, I only ordered it on {fact}.",
        "My order {order} from {fact} should not be sent. I found the {item} somewhere else.",
    ),
    "charged": (
        "You charged me twice for order {order}. My bank shows {fact} two times for one {item}.",
        "Why was {fact} taken from my card twice? I only bought one {item}, order {order}.",
        "There are two payments of {fact} for the {item}. The order is {order}. Please pay one back.",
        "Order {order} was billed double. It is {fact} each time and I have only one {item}.",
        "My card was debited two times, {fact} each, for {a_item}. Order number {order}.",
        "I think there is an error with order {order}: the {item} cost {fact} and I paid that twice.",
        "Please check the invoice for my {item}. The {fact} went off my account twice. It is order {order}.",
    ),
}

HELDOUT = {
    "late": (
        "{fact} of silence about purchase {order}. Is the {item} lost somewhere?",
        "A birthday is coming up, yet the {item} I chose has spent {fact} in transit. My reference: {order}.",
        "Did the courier lose something? Reference {order}, one {item}, shipped {fact} back, doorstep empty.",
        "Every evening the mailbox holds nothing: {order}, {a_item}, {fact} by now. Any news?",
    ),
    "damaged": (
        "What a pity: {order} was delivered, only to reveal {a_fact} {item} under the wrapping.",
        "Somebody must have dropped the box, since our {item} turned out {fact}. Purchase {order}, any solution?",
        "We were looking forward to the {item}, yet found it {fact}. Reference {order}.",
        "Unboxing {order} was no fun. There lies the {item}, {fact}, with a party on Saturday.",
    ),
    "refund": (
        "Still no repayment for {order}! The {item} left my house {fact}, according to the receipt.",
        "How long does a reimbursement take? Return label dated {fact}, article {item}, reference {order}.",
        "Checked my balance again: zero. Since {fact} the {item} of purchase {order} has been with your warehouse.",
        "Would someone look into {order}? Parcel with the {item} dropped off {fact}, credit never appeared.",
    ),
    "wrong": (
        "Somebody mixed things up with {order}. Expected: {fact} {item}. Found: {other} one.",
        "Nice {item}, wrong shade! Mine was meant to be {fact}, not {other}. Reference {order}.",
        "Looks like the warehouse grabbed {other} rather than {fact} when packing our {item}. Purchase {order}.",
        "We unpacked {order} together and laughed, {a_other} {item}. Still, {fact} would match the kitchen, so how do we swap?",
    ),
    "login": (
        "Sign-in fails every time for {fact}, although I only wish to download papers for {order}, the {item}.",
        "Forgot the secret word again, sorry! User {fact}, latest purchase {order}, one {item}.",
        "After three attempts the page blocked {fact}. Without access there is no way to view the {item}, reference {order}.",
        "Could somebody unlock {fact}? Waiting for a link since breakfast, while {order} with the {item} must be reviewed.",
    ),
    "address": (
        "New home, new street: next week we are in {fact}. Would {order} with the {item} follow us?",
        "Oops, autofill picked an ancient entry. {order}, one {item}, belongs in {fact}.",
        "Is there time to redirect {order}? Nobody is home this week, so the {item} had better reach my office in {fact}.",
        "Relocating sooner than planned! Kindly route the {item} of purchase {order} towards {fact}.",
    ),
    "cancel": (
        "Changed my mind about the {item}. Is {order}, placed {fact} evening, possible to withdraw?",
        "Kids and tablets... {fact} my son pressed buy on {a_item}. Reference {order}, kindly call it off.",
        "Hold everything on {order}! Since {fact} I learned that the {item} does not fit our shelf.",
        "No longer wanted: one {item}, purchased {fact}, reference {order}. How may I back out?",
    ),
    "charged": (
        "Strange statement from the bank: {fact}, then {fact} again, all for {order}. Surely {a_item} is payable once?",
        "Duplicate transaction spotted. Purchase {order}, {item}, {fact} on both lines.",
        "PayPal lists {order} with a second deduction of {fact}. We possess a single {item}, so something went astray.",
        "Who handles double billing? Reference {order}, amount {fact}, article {item}.",
    ),
}
