#!/usr/bin/env python3
"""What transformers makes of the small models of crates/engine/tests/it/cases.rs, written to crates/engine/tests/fixtures/models/goldens.json.

    cargo run -p engine --example made_models -- DIRECTORY
    python scripts/model-goldens.py DIRECTORY

It needs torch and transformers (2.15.0 and 5.23.0 made those that are there), which the suite does not: it is run by hand.
Each folder of DIRECTORY has a model and `text.json`. What is kept of each is the state behind some tokens, after the last
norm; the score of a model with a head of one row; and for the models that are published, how fast each pair of a head turns.
"""

import json
import pathlib
import sys

import torch
import transformers

GOLDENS = pathlib.Path(__file__).parent.parent / "crates/engine/tests/fixtures/models/goldens.json"

# As the makers of Qwen3 and of Llama 3.1 have it in their files.
PUBLISHED = {
    "qwen3_yarn": transformers.Qwen3Config(
        head_dim=128,
        max_position_embeddings=40960,
        rope_parameters={
            "rope_theta": 1000000.0,
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
        },
    ),
    "llama3": transformers.LlamaConfig(
        hidden_size=4096,
        num_attention_heads=32,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_theta": 500000.0,
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    ),
}


def rounded(numbers):
    return [float(f"{number:.8g}") for number in numbers]


def golden(folder):
    text = json.loads((folder / "text.json").read_text())
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.tensor([text["tokens"]])
    with torch.no_grad():
        states = model.model(tokens).last_hidden_state[0]
    kept = {"states": [rounded(states[place].tolist()) for place in text["places"]]}
    if hasattr(model, "score"):
        with torch.no_grad():
            kept["score"] = model.score(states[-1]).item()
    return kept


def turning(config):
    kind = config.rope_parameters["rope_type"]
    frequencies, attention = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS[kind](config, "cpu")
    return {"frequencies": rounded(frequencies.tolist()), "attention": attention}


def main():
    folders = sorted(path.parent for path in pathlib.Path(sys.argv[1]).glob("*/text.json"))
    goldens = {folder.name: golden(folder) for folder in folders}
    goldens["published"] = {name: turning(config) for name, config in PUBLISHED.items()}
    lines = [f" {json.dumps(name)}: {json.dumps(kept)}" for name, kept in goldens.items()]
    GOLDENS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(", ".join(goldens))


if __name__ == "__main__":
    main()
