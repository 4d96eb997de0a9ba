"""The reader of configurations: what a user types, and what is said when it is wrong."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, MinLen

from plaudit.config import Resolved, config, diff, load, options, template
from plaudit.schema import Sampling, UserError


@config
class Optim:
    """How the weights move."""

    learning_rate: Annotated[float, Gt(0)] = 2e-5
    """Step size of AdamW,
    at its highest."""
    max_steps: Annotated[int, Ge(1)] | None = None
    """Stop here."""
    bf16: bool = False
    betas: tuple[float, float] = (0.9, 0.999)


@config
class Rewards:
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Which estimator."""
    eval_strategy: Literal["no", "steps"] = "no"
    reward_weights: dict[str, float] = field(default_factory=lambda: {"length": -0.5, "helpful": 1.0})
    stop: tuple[str, ...] = ()
    run_name: str = "it's 12: yes"
    output_dir: Path | None = None
    lam: Annotated[float, Interval(ge=0, le=1)] = 0.95

    def __post_init__(self) -> None:
        if self.kl_estimator == "k3" and self.lam == 0:
            raise ValueError("kl_estimator k3 needs lam above 0")


@config
class Needy:
    data: Annotated[str, MinLen(1)]
    """The training file."""


BOTH = [Optim, Rewards]


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(*arguments, **named) -> str:
    with pytest.raises(UserError) as caught:
        load(*arguments, **named)
    return str(caught.value)


def test_defaults_then_file_then_words(tmp_path):
    path = written(tmp_path, "learning_rate: 3e-6\nmax_steps: 10\nkl_estimator: k3\n")
    resolved = load(BOTH, path, ["max_steps=20"], {"bf16": True, "max_steps": 5})
    assert resolved[Optim] == Optim(learning_rate=3e-6, max_steps=20, bf16=True)
    assert resolved[Rewards].kl_estimator == "k3"


@pytest.mark.parametrize("text", ["3e-6", "3.0e-06", "3E-6", ".000003", "0.000003", "+3e-6"])
def test_every_way_to_write_a_small_number(tmp_path, text):
    assert load(BOTH, written(tmp_path, f"learning_rate: {text}"))[Optim].learning_rate == 3e-6
    assert load(BOTH, None, [f"learning_rate={text}"])[Optim].learning_rate == 3e-6


def test_whole_numbers_may_be_written_as_powers_of_ten():
    value = load(BOTH, None, ["max_steps=1e3"])[Optim].max_steps
    assert value == 1000 and type(value) is int
    assert load(BOTH, None, ["max_steps=010"])[Optim].max_steps == 10
    assert "max_steps must be an integer, 1 or more or null, not 1.5" in refusal(BOTH, None, ["max_steps=1.5"])


def test_words_that_yaml_1_1_would_change_stay_text(tmp_path):
    resolved = load(BOTH, written(tmp_path, "eval_strategy: no\nrun_name: 2026-11-22\nstop: [yes, 'no', on]\n"))
    assert resolved[Rewards].eval_strategy == "no"
    assert resolved[Rewards].run_name == "2026-11-22"
    assert resolved[Rewards].stop == ("yes", "no", "on")


def test_none_means_null_where_null_is_allowed_and_is_text_elsewhere(tmp_path):
    resolved = load(BOTH, written(tmp_path, "max_steps: none\noutput_dir: None\nrun_name: none\n"), [], {"max_steps": 3})
    assert resolved[Optim].max_steps is None and resolved[Rewards].output_dir is None
    assert resolved[Rewards].run_name == "none"
    assert "lam must be a number, 0 or more, 1 or less, not null" in refusal(BOTH, None, ["lam=none"])


def test_text_options_take_a_number_as_it_is_written(tmp_path):
    assert load(BOTH, written(tmp_path, "run_name: 0012"))[Rewards].run_name == "0012"
    assert load(BOTH, None, ["run_name=1e5"])[Rewards].run_name == "1e5"
    assert load(BOTH, None, ["run_name=a: [b"])[Rewards].run_name == "a: [b"
    assert load(BOTH, None, ["output_dir=runs/7"])[Rewards].output_dir == Path("runs/7")
    assert "run_name must be text, not null" in refusal(BOTH, None, ["run_name="])


@pytest.mark.parametrize("text", ["yes", "1", "on", "'true'"])
def test_booleans_are_true_or_false(text):
    assert "bf16 must be true or false, not" in refusal(BOTH, None, [f"bf16={text}"])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("learning_rate=fast", "learning_rate must be a number, more than 0, not fast"),
        ("learning_rate=0", "learning_rate must be a number, more than 0, not 0"),
        ("learning_rate=true", "learning_rate must be a number, more than 0, not true"),
        ("learning_rate=.nan", "learning_rate must be a number, more than 0, not "),
        ("learning_rate=1e999", "learning_rate must be a number, more than 0, not Infinity"),
        ("lam=1.1", "lam must be a number, 0 or more, 1 or less, not 1.1"),
        ("kl_estimator=k4", "kl_estimator must be one of k1, k2, k3, not k4"),
        ("betas=[0.9]", "betas must be a list of 2: a number; a number, not [0.9]"),
        ("stop=Human", "stop must be a list, each text, not Human"),
        ("reward_weights.length=long", "reward_weights must be a mapping, each value a number, not"),
        ("lam.x=1", "lam holds no mapping"),
        ("lr", "'lr' is not of the form key=value"),
    ],
)
def test_each_wrong_word_is_answered(word, said):
    assert said in refusal(BOTH, None, [word])


def test_dotted_words_change_one_entry(tmp_path):
    path = written(tmp_path, "reward_weights: {length: -1, judge: 2}")
    weights = load(BOTH, path, ["reward_weights.length=-0.1", "reward_weights.new=3"])[Rewards].reward_weights
    assert weights == {"length": -0.1, "judge": 2.0, "new": 3.0}
    assert load(BOTH, None, ["reward_weights.length=-0.1"])[Rewards].reward_weights == {"length": -0.1, "helpful": 1.0}
    assert Rewards().reward_weights == {"length": -0.5, "helpful": 1.0}, "an override must not leak into the defaults"


def test_a_typo_names_the_nearest_option_the_file_and_the_line(tmp_path):
    path = written(tmp_path, "max_steps: 3\nlearning-rat: 1\n")
    assert refusal(BOTH, path) == f"{path}, line 2: there is no option learning-rat; did you mean learning_rate?"


def test_all_mistakes_are_told_together(tmp_path):
    path = written(tmp_path, "lam: 2\nzzz: 1\nbf16: maybe\n")
    message = refusal([*BOTH, Needy], path, ["max_steps=0"])
    assert message.splitlines()[0] == "5 mistakes in the options:"
    for part in ["line 1: lam", "no option zzz", "line 3: bf16", "max_steps must be", "data (The training file) is required"]:
        assert part in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", "line 2: a is there twice"),
        ("reward_weights: {a: 1, a: 2}", "line 1: this is not valid YAML: 'a' is there twice"),
        ("- a\n", "expected lines of `option: value`, found something else"),
        ("lam: [1, 2\n", "this is not valid YAML"),
        ("lam: !!python/object:os.system {}", "this is not valid YAML"),
        ("lam: {[a]: 1}", "line 1: this is not valid YAML: a key must be a plain word"),
        ("lam: &x [*x]", "this is not valid YAML"),
        ("lam: '\x00'", "this is not valid YAML"),
    ],
)
def test_broken_files(tmp_path, text, said):
    message = refusal(BOTH, written(tmp_path, text))
    assert said in message and str(tmp_path) in message


def test_unreadable_files(tmp_path):
    assert "No such file" in refusal(BOTH, tmp_path / "nothing.yaml")
    assert "Is a directory" in refusal(BOTH, tmp_path)
    (tmp_path / "latin.yaml").write_bytes("run_name: caf\xe9".encode("latin-1"))
    assert "not UTF-8 text" in refusal(BOTH, tmp_path / "latin.yaml")


def test_a_section_may_check_several_options_together():
    assert refusal(BOTH, None, ["kl_estimator=k3", "lam=0"]) == "kl_estimator k3 needs lam above 0"


def test_a_config_made_in_python_is_checked_too_and_frozen():
    with pytest.raises(UserError, match="lam must be a number, 0 or more, 1 or less, not 3"):
        Rewards(lam=3)
    assert Rewards(stop=["a"]).stop == ("a",)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        Rewards().lam = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Rewards(lamb=1)  # type: ignore[call-arg]


def test_a_plain_dataclass_serves_as_a_section():
    assert load([Sampling], None, ["top_p=0.9", "stop_token_ids=[2]"])[Sampling] == Sampling(top_p=0.9, stop_token_ids=(2,))


def test_the_template_loads_back_to_the_defaults(tmp_path):
    text = template(
        BOTH, {"run_name": "3e-6", "stop": ["no", "\n", "\U0001f600", "true"], "output_dir": "a/b"}, title="A title"
    )
    resolved = load(BOTH, written(tmp_path, text))
    assert resolved[Optim] == Optim()
    assert resolved[Rewards] == Rewards(run_name="3e-6", stop=("no", "\n", "\U0001f600", "true"), output_dir=Path("a/b"))
    assert text.startswith("# A title\n")
    assert "# Step size of AdamW, at its highest. (a number, more than 0)\nlearning_rate: 2e-05\n" in text
    assert "# ---- How the weights move -" in text
    assert all(f"\n{name}: " in text for name in options(BOTH))


def test_a_required_option_stands_in_the_template_commented_out(tmp_path):
    text = template([Needy])
    assert "# data:   # required" in text
    assert "data (The training file) is required" in refusal([Needy], written(tmp_path, text))


def test_a_run_writes_its_whole_configuration_as_a_file(tmp_path):
    resolved = load([*BOTH, Needy], None, ["data=a.jsonl", "max_steps=3"])
    text = template(list(resolved), resolved.flat())
    assert load(list(resolved), written(tmp_path, text)) == resolved


def test_flat_is_json_and_replace_is_checked():
    resolved = load(BOTH, None, ["output_dir=x"])
    assert resolved.flat()["betas"] == [0.9, 0.999] and resolved.flat()["output_dir"] == "x"
    changed = resolved.replace(max_steps=7)
    assert isinstance(changed, Resolved) and changed[Optim].max_steps == 7 and resolved[Optim].max_steps is None
    with pytest.raises(UserError, match="did you mean max_steps"):
        resolved.replace(max_step=7)


def test_diff_says_what_changed_from_what_to_what():
    before, after = load(BOTH).flat(), load(BOTH, None, ["learning_rate=1e-5", "stop=[x]", "lam=0.5"]).flat()
    assert diff(before, before) == []
    assert diff(before, after, ignore=["lam"]) == [
        "learning_rate was 2e-05 and is now 1e-05",
        'stop was [] and is now ["x"]',
    ]
    assert diff({"a": 1}, {"b": 2}) == ["a was 1 and is gone", "b is new, 2"]


def test_one_name_in_two_sections_is_our_mistake():
    @config
    class Other:
        lam: float = 0.0

    with pytest.raises(TypeError, match="option lam is in both Rewards and Other"):
        load([Rewards, Other])
    with pytest.raises(TypeError, match="no option"):
        template([Rewards], {"nothing": 1})


def test_reading_options_needs_neither_torch_nor_pydantic():
    code = "import sys, plaudit.config; print([m for m in ('torch', 'pydantic', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_choice_of_types_keeps_the_type_given():
    @config
    class Choice:
        share: float | int = 1
        bf16: Literal["auto"] | bool = "auto"
        names: list[str] | str = "all"

    chosen = load([Choice], None, ["share=3", "bf16=false", "names=[a]"])[Choice]
    assert type(chosen.share) is int and chosen.bf16 is False and chosen.names == ["a"]
    assert load([Choice])[Choice] == Choice(share=1, bf16="auto", names="all")
    assert "bf16 must be auto or true or false, not maybe" in refusal([Choice], None, ["bf16=maybe"])


def test_upper_bounds_alone():
    @config
    class Bounded:
        share: Annotated[float, Le(1)] = 1.0

    assert "share must be a number, 1 or less, not 2" in refusal([Bounded], None, ["share=2"])
