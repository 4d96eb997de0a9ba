"""What docs/gpu.md shows: speed on one GPU, of a model of a billion random weights.

python docs/gpu.py TOKENIZER [--out gpu.json] [--size tiny]

TOKENIZER is a folder with a tokenizer of at most 49,152 tokens. Each figure is printed when it is there, and the file is
written anew each time. TRL's side needs TRL 1.16 in the same environment, and is left out without it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from plaudit.bench.flops import Shape, phases
from plaudit.bench.prepare import prepare
from plaudit.bench.work import Sizes, Work, work
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.load import load
from plaudit.schema import Prompt, Sampling

PEERS = Path(__file__).parents[1] / "src" / "plaudit" / "bench" / "peers"
SHAPES = {
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 16},
}
STEPS = {
    "sft": Sizes(pairs=64, batch=64),
    "grpo": Sizes(samples=128, new_tokens=128, batch=32),
    "dpo": Sizes(pairs=32, batch=32),
}
"""Larger than on a CPU: a GPU is not filled by eight rows."""
LIMIT = 70
"""Seconds after which a process is given up."""


def model_folder(tokenizer, size, place):
    """A Llama of random weights in bf16, 8 key-value heads."""
    torch.manual_seed(0)
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=49152, num_key_value_heads=8, max_position_embeddings=8192, tie_word_embeddings=True, **ends, **SHAPES[size]
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return sum(weight.numel() for weight in model.parameters())


def timed(run, repeats=3):
    """The fastest of some runs after one that does not count, seconds."""
    found = []
    for _ in range(repeats + 1):
        wait()
        clock = time.perf_counter()
        run()
        wait()
        found.append(time.perf_counter() - clock)
    return min(found[1:])


def wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ceilings(device, size):
    """Bytes per second of a copy, read and written; operations per second of a large bf16 product."""
    length = 8192 if size == "1b" else 256
    x, y = (torch.randn(length, length, device=device, dtype=torch.bfloat16) for _ in range(2))
    long = torch.randn(2**29 if size == "1b" else 2**20, device=device, dtype=torch.bfloat16)
    other = torch.empty_like(long)
    product = timed(lambda: [x @ y for _ in range(10)]) / 10
    return {"bytes_per_s": 4 * long.numel() / timed(lambda: other.copy_(long)), "flops_per_s": 2 * length**3 / product}


def rollouts(folder, found, size):
    """Ours with recorded steps, ours step by step in torch, and transformers' `generate`: the rollouts of `plaudit bench`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    job, loaded = work("rollout", str(folder), Sizes()), load(folder)
    prompts, limits = [Prompt(text=row["prompt"]) for row in job.rows], job.new_tokens
    tokens, sampling = sum(limits), Sampling(max(limits))
    for name, compiled in (("recorded, Triton", None), ("torch", False)):
        engine = TorchEngine(loaded.model.config, loaded.tokenizer, dtype=torch.bfloat16, device=device, compiled=compiled)
        engine.load(loaded.model.state_dict().items(), "gpu")
        seconds = timed(lambda engine=engine: engine.generate(prompts, 1, sampling, limits=limits))
        say(found, f"rollout, {name}", seconds=seconds, tokens_per_s=tokens / seconds)
        if compiled is None:
            rates(engine, found, loaded.model, size)
        del engine
    generate(folder, job, found, device)


def rates(engine, found, model, size):
    """One recorded decoding step alone: its bytes are the weights and the keys and values of all rows."""
    rows, place = 64, 128
    engine.slots = 256 if size == "1b" else 64
    many = [Prompt(text=f"Where is order {number}, which I placed a week ago?") for number in range(engine.slots)]
    seconds = timed(lambda: engine.generate(many, 1, Sampling(128)), 1)
    say(found, f"rollout, recorded, {engine.slots} rows of 128", seconds=seconds, tokens_per_s=engine.slots * 128 / seconds)
    if not engine.graphs.serve():
        return
    with torch.inference_mode():
        engine.graphs.step([5] * rows, [place] * rows, [0.5] * rows, Sampling())
        graph = max(engine.graphs.recorded.items(), key=lambda pair: pair[0][0] == rows)[1].graph
        seconds = timed(lambda: [graph.replay() for _ in range(50)]) / 50
    shape = engine.decoder.shape
    held = 2 * sum(weight.numel() for weight in model.parameters())
    read = 2 * 2 * rows * place * shape.kv_heads * shape.head_dim * model.config.num_hidden_layers
    share = (held + read) / seconds / found["ceilings"]["bytes_per_s"]
    say(found, "decoding step, 64 rows at place 128", seconds=seconds, bytes_per_s=(held + read) / seconds, share_of_copy=share)


def generate(folder, job, found, device):
    """transformers' `generate`, all rows in one batch to the longest answer. Only tokens that were asked for count."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().to(device)
    inputs = tokenizer([row["prompt"] for row in job.rows], return_tensors="pt", padding=True).to(device)
    inputs.pop("token_type_ids", None)
    options = {"do_sample": True, "top_k": 0, "max_new_tokens": max(job.new_tokens), "min_new_tokens": max(job.new_tokens)}
    seconds = timed(lambda: model.generate(**inputs, **options), 1)
    say(found, "rollout, transformers' generate", seconds=seconds, tokens_per_s=sum(job.new_tokens) / seconds)


def step(name, folder, found, place):
    """One kind of optimiser step, ours and TRL's, each in a process of its own."""
    sizes = STEPS[name]
    job = work(name, str(folder), sizes, warmup=3, steps=3)
    made = prepare(job, place)
    groups = [(prompt, answers) for prompt, answers in made["groups"]]
    parts = phases(name, Shape(**made["shape"]), groups, batch=sizes.batch, slots=64, epochs=1, peft=False)
    flops = sum(part.flops for part in parts)
    job = job.prepared(made)
    ours = child(
        [sys.executable, "-m", "plaudit.bench.ours"], replace(job, words=["rollout_slots=128"] * (name == "grpo")), place
    )
    theirs = (
        child([sys.executable, PEERS / f"trl_{name}.py"], replace(job, dtype="default"), place) if find_spec("trl") else None
    )
    for side, result in (("ours", ours), ("TRL 1.16", theirs)):
        if result:
            seconds = sorted(result["seconds"])[len(result["seconds"]) // 2]
            figures = {
                "seconds": seconds,
                "tokens_per_s": result["tokens"][0] / seconds,
                "peak_gb": result["device_bytes"] / 1e9,
            }
            mfu = flops / seconds / found["ceilings"]["flops_per_s"]
            say(found, f"{name} step, {side}, {result['dtype']}", **figures, mfu=mfu, loss=result["losses"][0])


def child(command, job: Work, place):
    """What a side wrote; None, and the end of its output, where it failed."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        given, result = job.write(Path(folder) / "work.json"), Path(folder) / "result.json"
        try:
            done = subprocess.run([*map(str, command), given, result], capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            print(f"{command[-1]}: given up after {LIMIT} s", flush=True)
            return None
        if done.returncode or not result.exists():
            print(done.stderr[-1500:], flush=True)
            return None
        return json.loads(result.read_text())


def say(found, name, **figures):
    """Keep figures and print them."""
    found["figures"].append({"name": name, **figures})
    print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items() if value is not None), flush=True)
    found["out"].write_text(json.dumps({key: value for key, value in found.items() if key != "out"}, indent=1) + "\n")


def main():
    """Ceilings, rollouts, steps."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tokenizer")
    options.add_argument("--out", type=Path, default=Path("gpu.json"))
    options.add_argument("--size", choices=SHAPES, default="1b")
    given = options.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    found = {
        "device": name,
        "torch": torch.__version__,
        "ceilings": ceilings(device, given.size),
        "figures": [],
        "out": given.out,
    }
    print(name, found["ceilings"], flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        found["weights"] = model_folder(AutoTokenizer.from_pretrained(given.tokenizer), given.size, folder)
        rollouts(folder, found, given.size)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        for kind in STEPS:
            (Path(place) / kind).mkdir()
            step(kind, folder, found, Path(place) / kind)


if __name__ == "__main__":
    main()
