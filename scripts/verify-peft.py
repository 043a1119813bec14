#!/usr/bin/env python3
"""Compares what the node's trainer says with what PEFT makes of the adapters that it wrote.

    make verify-peft

It needs torch, transformers and peft, which the suite does not: it is run by hand. Each folder of its DIRECTORY has `base`,
`adapter` and `said.json`.
"""

import json
import pathlib
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

FURTHEST = 1e-4


def verify(folder: pathlib.Path) -> bool:
    said = json.loads((folder / "said.json").read_text())
    tokens = torch.tensor([said["tokens"]])
    wanted = torch.tensor(said["scores"])
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32).eval()
    with torch.no_grad():
        plain = base(tokens).logits[0]
        with_adapter = PeftModel.from_pretrained(base, folder / "adapter").eval()(tokens).logits[0]
    far = (with_adapter - wanted).abs().max().item()
    effect = (with_adapter - plain).abs().max().item()
    print(f"{folder.name}: furthest {far:.2e}, where the adapter changes {effect:.2f} and scores spread {wanted.std():.2f}")
    return far <= FURTHEST and effect > 100 * FURTHEST


def main() -> int:
    folders = sorted(path.parent for path in pathlib.Path(sys.argv[1]).glob("*/said.json"))
    if not folders:
        print("nothing is there to be verified")
        return 1
    return 0 if all([verify(folder) for folder in folders]) else 1


if __name__ == "__main__":
    sys.exit(main())
