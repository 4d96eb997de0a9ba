"""The first half of the loop through the pages: log in, judge, correct, chat, decide, export, and train on the file."""

from __future__ import annotations

import json
import subprocess
import sys

from browser_world import IN_A_BROWSER, kept, press
from plaudit.data.readers import read_rankings

pytestmark = IN_A_BROWSER
PASSWORD = "correct horse battery"
KEYS = ("1", "ArrowRight", "Shift+Digit2", "s", "w", "q", "d", "3", "ArrowLeft", "e")
SAID = [("a", 2), ("b", 2), ("b", 3), ("tie", 0), ("both_bad", 0), ("a", 1), ("b", 2), ("tie", 0), ("a", 2), ("b", 1)]


def test_from_the_login_to_a_reward_model_trained_on_what_was_said(site, page, tmp_path):
    url, store = site
    before = len(kept(store))
    join(page, url)
    log_in_by_keyboard(page, f"{url}/judge/pairwise")
    for key in KEYS:
        press(page, key)
    given = kept(store)[before:]
    assert [(act.judgement["choice"], act.judgement["strength"]) for act in given] == SAID
    assert {act.annotator for act in given} == {"lin"} and all(act.seconds is not None for act in given)
    press(page, "z")  # undo the last one, and answer it anew
    press(page, "1")
    assert kept(store)[-1].supersedes == given[-1].id

    correct(page, url)
    assert kept(store)[-1].judgement["text"].endswith(" Thank you.")
    chat_and_thumb(page, url)
    assert kept(store)[-1].judgement["value"] == 1 and kept(store)[-1].assignment.reason == "chat"
    adjudicate(page, url)
    assert kept(store)[-1].assignment.reason == "adjudication"

    file = export(page, url, tmp_path / "pairs.jsonl")
    pairs = read_rankings(str(file))
    assert len(pairs) >= 8 and any("Thank you." in str(pair.answers[0]) for pair in pairs)
    assert "lin" not in {word.strip('",') for word in file.read_text("utf-8").split()}, "an export names nobody"
    take_in_again(page, url, file)

    trained = reward_model(file, tmp_path / "runs" / "reward-1")
    assert (trained["verb"], trained["status"], trained["steps"]) == ("reward", "finished", 3)
    assert (tmp_path / "runs" / "reward-1" / "model" / "head.safetensors").exists()
    page.goto(f"{url}/runs/reward-1")
    assert page.locator(".charts svg").count() > 0 and "finished" in page.inner_text("main").lower()


def join(page, url):
    """Whoever sits at the machine makes the first account, and leaves."""
    page.goto(f"{url}/people")
    page.select_option('form[action="/people/invite"] [name="role"]', "admin")
    page.click("text=Make a link")
    page.goto(page.inner_text(".saved .secret"))
    page.fill('[name="name"]', "lin")
    page.fill('[name="password"]', PASSWORD)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.goto(f"{url}/account")
    with page.expect_navigation():
        page.click('form[action="/logout"] button')


def log_in_by_keyboard(page, address):
    """The door stands before every page, and leads to it."""
    page.goto(address)
    assert "/login?next=" in page.url
    page.wait_for_selector("[name=name]:focus")
    page.keyboard.type("lin")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    press(page, "Enter")
    assert page.url == address, page.inner_text("main")


def correct(page, url):
    page.goto(f"{url}/judge/correction")
    page.fill("#edit", page.input_value("#edit") + " Thank you.")
    assert page.inner_text("#changes ins").strip().startswith("Thank you")
    press(page, "Control+Enter")


def chat_and_thumb(page, url):
    page.goto(f"{url}/chat")
    page.check('[name="consent"]')
    page.fill('[name="message"]', "Where is my order?")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".bubble.assistant strong")
    page.get_by_role("button", name="Good answer").click()
    page.wait_for_selector("#notice:has-text('toy@')")
    page.reload()
    assert page.inner_text(".bubble.assistant").startswith("Your order left yesterday")


def adjudicate(page, url):
    page.goto(f"{url}/disagreements")
    page.click("button:has-text('Decide') >> nth=0")
    page.wait_for_selector(".verdict")
    press(page, "1")
    assert "What everybody said" in page.inner_text("h1") and "Ada" in page.inner_text("table")


def export(page, url, file):
    page.goto(f"{url}/exchange")
    page.select_option('[name="format"]', "trl-preference")
    with page.expect_download() as download:
        page.click("text=Save the file")
    download.value.save_as(file)
    return file


def take_in_again(page, url, file):
    page.goto(f"{url}/exchange")
    page.set_input_files('input[type="file"]', file)
    page.click("#upload button")
    page.wait_for_selector("#upload-result:not([hidden])")
    assert "prompts" in page.inner_text("#upload-result")


def reward_model(file, run):
    """`plaudit train reward` on the file, as a person would type it."""
    words = ["model_name_or_path=tiny", f"train_file={file}", "max_steps=3", "max_length=512", f"output_dir={run}"]
    command = [sys.executable, "-m", "plaudit", "train", "reward", *words, "bf16=false", "seed=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((run / "summary.json").read_text())
