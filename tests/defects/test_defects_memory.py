"""Defects of TRL's PPO in memory and wasted work (letters as in docs/trl-ppo-defects.md): what is made, and how often."""

import inspect
import re
from pathlib import Path

import torch
from defects_world import LENGTHS, PROMPT, Watch, ppo_learner, products, rollouts
from torch.utils.weak import WeakIdKeyDictionary

import plaudit
from plaudit.algorithms.ppo import PPOConfig
from plaudit.core.batch import Batch
from plaudit.core.logprob import head_logprob
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.base import AdapterConfig
from plaudit.models.forward import Layout, decoder_of, hidden_states
from plaudit.models.load import load
from plaudit.models.scorer import save_reward
from plaudit.schema import Prompt, Sampling
from plaudit.training import run
from plaudit.training.assemble import Assembly, ModelConfig
from plaudit.training.options import TrainingConfig

WIDTH = 64
"""Hidden size of the tiny model."""


def largest_with_vocabulary(work, vocabulary):
    """Rows of the largest tensor [rows, V] that `work` makes, the [D, V] view of the output head left out."""
    rows = [0]

    def see(name, inputs, outputs):
        for x in outputs:
            if x.dim() and x.shape[-1] == vocabulary and x._base is None and tuple(x.shape) != (WIDTH, vocabulary):
                rows.append(x.numel() // vocabulary)

    with Watch(see):
        work()
    return max(rows)


def test_defect_b_logits_of_a_whole_rollout_never_exist():
    """There: [tokens, vocabulary] of every answer, from generation on. Here no more rows than logit_chunk, or than slots."""
    loaded = load("tiny")
    vocabulary = loaded.model.config.vocab_size
    learner, batch = ppo_learner(PPOConfig(num_ppo_epochs=1), chunk=10), rollouts()
    assert largest_with_vocabulary(lambda: learner.step(batch), vocabulary) == 10 < sum(LENGTHS)
    engine = TorchEngine.from_model(loaded.model, loaded.tokenizer, slots=4)
    prompts = [Prompt(text=f"order {i}") for i in range(4)]
    made = largest_with_vocabulary(lambda: engine.generate(prompts, 3, Sampling(max_new_tokens=8)), vocabulary)
    assert made == 4 < 12 * 8


def hidden_alive(work, size):
    """Most tensors of so many numbers that are alive at one time during `work`."""
    alive, most = WeakIdKeyDictionary(), [0]

    def see(name, inputs, outputs):
        for x in outputs:
            if x.numel() == size and x._base is None:
                alive[x] = None
        most.append(len(alive))

    with Watch(see), torch.no_grad():
        work()
    return max(most)


def deep_model(layers):
    model = load("tiny").model
    config = type(model.config).from_dict(model.config.to_dict() | {"num_hidden_layers": layers})
    return type(model)(config).eval()


def test_defect_c_hidden_states_of_all_layers_are_not_kept():
    """There: output_hidden_states=True for the sake of the last one. Here scoring holds as many at depth 12 as at depth 3."""
    batch = rollouts()
    size = batch.ids.numel() * WIDTH

    def ours(model: object) -> int:
        return hidden_alive(lambda: hidden_states(model, Layout(batch, False)), size)

    def kept(model: object) -> int:
        return hidden_alive(lambda: decoder_of(model)(input_ids=batch.ids, output_hidden_states=True, use_cache=False), size)

    shallow, deep = deep_model(3), deep_model(12)
    assert ours(deep) == ours(shallow)
    assert kept(deep) >= kept(shallow) + 9  # the watch would see it


def test_defect_d_the_output_head_is_applied_to_answer_tokens_only():
    """There: logits of the prompt too, cut away later. Three products: old, reference, and the forward that is trained on."""
    learner, batch = ppo_learner(PPOConfig(num_ppo_epochs=1), micro_batch=4), rollouts()
    watch, rows = products(WIDTH, load("tiny").model.config.vocab_size)
    with watch:
        learner.step(batch)
    assert sum(rows) == 3 * sum(LENGTHS)
    assert sum(rows) < sum(LENGTHS) + len(LENGTHS) * PROMPT * 4


def test_defect_d_an_entropy_that_is_only_logged_costs_nothing_in_the_backward_pass():
    """There: a full softmax in every micro-batch for a log. Here the backward pass is the same as without any entropy."""

    def wide_operations(with_entropy):
        made = []
        generator = torch.Generator().manual_seed(0)
        hidden, weight = (torch.randn(n, WIDTH, generator=generator).requires_grad_() for n in (40, 50))
        logp, _ = head_logprob(hidden, weight, torch.arange(40), with_entropy=with_entropy)
        with Watch(lambda name, inputs, outputs: made.extend(name for x in outputs if sorted(x.shape) == [40, 50])):
            logp.sum().backward()
        return made

    assert wide_operations(True) == wide_operations(False) != []


def test_defect_u_values_are_computed_for_answer_tokens_only():
    """There: also for what stands behind the stop token. Two products with the value head: before the update, and in it."""
    learner, batch = ppo_learner(PPOConfig(num_ppo_epochs=1), micro_batch=4), rollouts()
    watch, rows = products(WIDTH, 1)
    with watch:
        learner.step(batch)
    assert sum(rows) == 2 * sum(LENGTHS)


def test_defect_f_no_cache_is_emptied_and_no_garbage_collected_in_the_loop():
    """There: empty_cache and gc.collect at eight places of it. Here once in a run, before its loop."""
    sources = list(Path(plaudit.__file__).parent.rglob("*.py"))
    assert len(sources) > 50
    found = [p.name for p in sources for _ in re.findall(r"empty_cache|gc\.collect|^from gc\b", p.read_text(), re.M)]
    assert found == ["run.py"] and "gc.collect()\n    gc.freeze()" in inspect.getsource(run._left_alone)


def lora(folder):
    """Policy, critic, reward model and reference of a LoRA run, the critic started from the reward model in `folder`."""
    training = TrainingConfig(output_dir="nowhere", bf16=False)
    assembly = Assembly(ModelConfig(model_name_or_path="tiny"), AdapterConfig(use_peft=True, lora_r=4), training)
    if not folder.exists():
        reward = assembly.trained("reward", head=True)
        with torch.no_grad():
            for parameter in reward.parameters().values():
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
                parameter.add_(0.1 * noise.to(parameter.device))
        save_reward(folder, reward, mean=0.5, deviation=2.0)
        return lora(folder)
    reward = assembly.reward(folder)
    networks = {"policy": assembly.trained("policy"), "critic": assembly.critic(reward, folder, new_head=False)}
    return {**networks, "reward": reward, "reference": assembly.reference()}


def test_defect_g_with_lora_one_base_serves_all_four_networks_and_the_critic_has_an_adapter(tmp_path):
    """There: four full models, and PEFT around the policy alone."""
    networks = lora(tmp_path / "reward")
    plain = sum(1 for _ in load("tiny").model.parameters())
    held = {p.data_ptr(): p for net in networks.values() for n, p in net.base.model.named_parameters() if ".lora_" not in n}
    assert len(held) == plain
    assert not any(p.requires_grad for p in held.values())
    adapters = {role: {p.data_ptr() for n, p in net.parameters().items() if "lora" in n} for role, net in networks.items()}
    assert len(adapters["policy"]) == len(adapters["critic"]) == len(adapters["reward"]) > 0
    assert not adapters["policy"] & adapters["critic"] and not adapters["critic"] & adapters["reward"]
    assert adapters["reference"] == set()


def values(network, batch: Batch):
    with torch.no_grad():
        return network(batch, {"value"}).value


def test_defect_g_the_critic_starts_as_the_reward_model_and_its_adapter_is_trained(tmp_path):
    networks = lora(tmp_path / "reward")
    learner = ppo_learner(PPOConfig(num_ppo_epochs=1))
    batch = rollouts().to(networks["critic"].base.model.device)
    assert torch.equal(values(networks["critic"], batch), values(networks["reward"], batch))
    learner = type(learner)(
        learner.algorithm,
        {role: networks[role] for role in ("policy", "critic")},
        learner.optimizer,
        10,
        reference=networks["reference"],
    )
    before = {n: p.detach().clone() for n, p in networks["critic"].parameters().items()}
    rewarded = values(networks["reward"], batch)
    learner.step(batch)
    assert all(not torch.equal(before[n], p) for n, p in networks["critic"].parameters().items())
    assert torch.equal(values(networks["reward"], batch), rewarded), "the reward model must stay as it was"
