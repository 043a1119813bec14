#!/usr/bin/env python3
"""Compares what a model says here with what transformers says of the same files: twenty conversations through the model's own
template, greedy, token by token. The first difference is told with what either side held likeliest.

    make verify-model ARGS=DIRECTORY

It is run by scripts/verify-model.sh, which builds the program that it asks.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SHOWN = 5


def user(text):
    return {"role": "user", "content": text}


CONVERSATIONS = [
    [user("When is high tide?")],
    [user("Count from one to ten, in words.")],
    [user("Décris la mer en une phrase.")],
    [user("潮汐是什么？")],
    [user("Напиши три слова о море.")],
    [user("Write a function in Python that adds two numbers.")],
    [user("fn main() {\n    println!(\"{}\", 6 * 7);\n}\n\nWhat does it print?")],
    [user("1, 1, 2, 3, 5, 8, 13, what is next?")],
    [user("  Two spaces first, and a tab\there.\n\n\nThree breaks.")],
    [user("A sail ⛵, a wave 🌊 and a flag 🏳️‍🌈.")],
    [user("Give JSON with the keys a and b.")],
    [user("x" * 200)],
    [user("the tide " * 60 + "turns. What turns?")],
    [{"role": "system", "content": "You answer in one word."}, user("What colour is the sea?")],
    [{"role": "system", "content": "You are a harbour master."}, user("May I moor here?")],
    [user("My name is Ada."), {"role": "assistant", "content": "Hello, Ada."}, user("What is my name?")],
    [user("2+2?"), {"role": "assistant", "content": "4"}, user("And times 3?"), {"role": "assistant", "content": "12"}, user("Minus 5?")],
    [{"role": "system", "content": "Be brief."}, user("Hi"), {"role": "assistant", "content": "Hi!"}, user("Who are you?")],
    [user("Translate to German: the ship leaves at noon.")],
    [user("Say nothing but the word: ebb.")],
]


def ask(program, directory, tokens, device, conversations):
    """What the engine says: of each conversation its prompt's tokens, and each token that it said with the likeliest ones."""
    command = [program, "ask", str(directory), "--tokens", str(tokens), "--device", device]
    done = subprocess.run(command, input=json.dumps(conversations), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"the engine refuses: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def show(tokenizer, likeliest):
    return ", ".join(f"{tokenizer.decode([token])!r} ({token}) {score:.4f}" for token, score in likeliest)


def first_difference(model, prompt, said):
    """Where transformers would have said something else, one pass over all that was said."""
    ids = [step["token"] for step in said]
    with torch.no_grad():
        scores = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1 if ids else None].float()
    scores = torch.log_softmax(scores, dim=-1)
    far = 0.0
    for place, step in enumerate(said):
        top = torch.topk(scores[place], SHOWN)
        theirs = list(zip(top.indices.tolist(), top.values.tolist()))
        held = {token: scores[place][token].item() for token, _ in step["likeliest"]}
        far = max([far] + [abs(held[token] - score) for token, score in step["likeliest"]])
        if theirs[0][0] != step["token"]:
            return (place, step["likeliest"], theirs), far
    return None, far


def ended(model, said, most):
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return len(said) == most or (said and said[-1]["token"] in ends)


def verify(number, messages, tokenizer, model, answer, most):
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    if answer["text"] != text:
        print(f"{number}: the template says another text\n  here          {answer['text']!r}\n  transformers  {text!r}")
        return False, 0.0
    if answer["prompt"] != prompt:
        print(f"{number}: the text has other tokens\n  here          {answer['prompt']}\n  transformers  {prompt}")
        return False, 0.0
    said = answer["said"]
    difference, far = first_difference(model, prompt, said)
    if difference:
        place, ours, theirs = difference
        print(
            f"{number}: token {place} differs, behind {tokenizer.decode([step['token'] for step in said[:place]])!r}\n"
            f"  here          {show(tokenizer, ours)}\n  transformers  {show(tokenizer, theirs)}"
        )
        return False, far
    if not ended(model, said, most):
        print(f"{number}: it ended after {len(said)} tokens, where transformers does not")
        return False, far
    return True, far


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--device", default="cpu", help="what computes the engine's side (cpu, cpu-tensors, cuda, metal)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    given = parser.parse_args()
    if not (given.directory / "config.json").is_file():
        sys.exit(f"{given.directory} is no directory with a config.json: transformers reads plain weights, and no GGUF here")
    answers = ask(given.program, given.directory, given.tokens, given.device, CONVERSATIONS)
    tokenizer = AutoTokenizer.from_pretrained(given.directory)
    model = AutoModelForCausalLM.from_pretrained(given.directory, dtype=torch.float32).eval()
    good, furthest, tokens = 0, 0.0, 0
    for number, (messages, answer) in enumerate(zip(CONVERSATIONS, answers, strict=True), 1):
        is_same, far = verify(number, messages, tokenizer, model, answer, given.tokens)
        good, furthest, tokens = good + is_same, max(furthest, far), tokens + len(answer["said"])
    print(f"{good} of {len(CONVERSATIONS)} conversations are the same, {tokens} tokens; log-probabilities of the likeliest differ by {furthest:.1e} at most")
    return 0 if good == len(CONVERSATIONS) else 1


if __name__ == "__main__":
    sys.exit(main())
