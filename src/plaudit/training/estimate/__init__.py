"""What a run will take before it starts: memory, FLOPs, time and cost, and what to change to make it fit.

`parts` are the figures; `rows` says what is trained on, `passes` how it is cut into passes, `fleet` which networks are in
memory, `memory` and `work` count, `probe` measures this machine's `rates`, `gpus` knows others, `seconds` divides one by the
other, `hints` tries changes, `estimate` puts it together.
"""
