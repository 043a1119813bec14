"""A child of the bench: trains an adapter by PEFT, as the other child does by the engine. A line asks for so many steps, and is
told their seconds and the last loss.

    train_by_peft.py DIRECTORY THREADS TOKENS RANK
"""

import sys
import time

begun = time.perf_counter()

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    directory, threads, count, rank = sys.argv[1], *map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    vocabulary = base.config.vocab_size
    model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS, lora_dropout=0.0))
    model.train()
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=2e-4, weight_decay=0.0)
    tokens = torch.tensor([[place * 37 % vocabulary for place in range(count)]])
    print(time.perf_counter() - begun, flush=True)
    for line in sys.stdin:
        verb, steps = line.split()
        if verb != "train":
            sys.exit(f"{line!r} is no command")
        started = time.perf_counter()
        for _ in range(int(steps)):
            optimizer.zero_grad(set_to_none=True)
            loss = model(tokens, labels=tokens).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        print(time.perf_counter() - started, loss.item(), flush=True)


if __name__ == "__main__":
    main()
