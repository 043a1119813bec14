#!/usr/bin/env python3
"""What transformers makes of the conversations in crates/prompts/tests/fixtures/templates, written beside them as goldens.json.

Needs a Python with `transformers` and `jinja2` (5.23.0 and 3.1.6 made those that are there); torch is not needed.
"""

import datetime
import json
import pathlib

import transformers.utils.chat_template_utils as templates

FOLDER = pathlib.Path(__file__).parent.parent / "crates/prompts/tests/fixtures/templates"
SIGNS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|im_end|>"}


class Noon(datetime.datetime):
    """The time that the Rust test gives, too."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 5, 12, 0, 0)


def render(template, case):
    settings = {key: value for key, value in case.items() if key not in ("name", "messages", "tools")}
    settings.setdefault("add_generation_prompt", not settings.get("continue_final_message"))
    try:
        texts, _ = templates.render_jinja_template(
            conversations=[case["messages"]], tools=case["tools"], chat_template=template, **SIGNS, **settings
        )
        return {"text": texts[0]}
    except Exception:  # what is raised depends on the template; that it refuses is what counts
        return {"refused": True}


def main():
    templates.datetime = Noon
    cases = json.loads((FOLDER / "conversations.json").read_text())
    goldens = {}
    for path in sorted(FOLDER.glob("*.jinja")):
        goldens[path.stem] = {case["name"]: render(path.read_text(), case) for case in cases}
    (FOLDER / "goldens.json").write_text(json.dumps(goldens, indent=1, ensure_ascii=False) + "\n")
    for name, all_of_it in goldens.items():
        print(name, sum("text" in golden for golden in all_of_it.values()), "of", len(all_of_it))


if __name__ == "__main__":
    main()
