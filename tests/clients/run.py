"""Plays every client against a gateway on the loopback, and writes what held to docs/proofs/clients.md.

usage: run.py [WORD]: only the clients whose name has this word, without writing the page
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import behind
import command_lines
from counter import Counter
from stage import ROOT, stage

PAGE = ROOT / "docs/proofs/clients.md"
HERE = ROOT / "tests/clients"
CASES = ("chat", "stream", "tool loop", "404", "429")
OPENAI, CLAUDE, GEMINI, GROK = (
    "openai/gpt-5-mini", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash", "xai/grok-4.3",
)
SIGNING = "google/gemini-3-pro-preview"
EACH = (OPENAI, CLAUDE, GEMINI, GROK, SIGNING)
GRAMMARS = {
    "chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages",
    "generate": "…:generateContent",
}
# Which models each framework is played on, by grammar: that of the grammar's own vendor, and others'.
FRAMEWORKS = [
    ("LangChain", "langchain_client", {
        "chat": (OPENAI, CLAUDE, SIGNING), "responses": (OPENAI, CLAUDE), "messages": (CLAUDE, OPENAI),
        "generate": (GEMINI, OPENAI),
    }),
    # It always sends a temperature, which OpenAI's newer models refuse; its Anthropic class takes only Anthropic's names.
    ("LlamaIndex", "llama_index_client", {"chat": ("openai/gpt-4o-mini", CLAUDE, SIGNING), "messages": ("claude-sonnet-4-5",)}),
    ("Pydantic AI", "pydantic_ai_client", {
        "chat": (OPENAI, GEMINI), "responses": (OPENAI, CLAUDE), "messages": (CLAUDE, SIGNING),
        "generate": (GEMINI, CLAUDE),
    }),
    ("LiteLLM", "litellm_client", {
        "chat": (OPENAI, CLAUDE, SIGNING), "messages": (CLAUDE, OPENAI), "generate": (GEMINI, CLAUDE),
    }),
    ("Vercel AI SDK", "ai.mjs", {
        "chat": (OPENAI, SIGNING), "responses": (OPENAI, CLAUDE), "messages": (CLAUDE, GEMINI),
        "generate": (GEMINI, OPENAI),
    }),
]
DISTRIBUTIONS = (
    "langchain", "langchain-openai", "langchain-anthropic", "langchain-google-genai", "llama-index-core",
    "llama-index-llms-openai-like", "llama-index-llms-anthropic", "pydantic-ai-slim", "litellm", "openai",
    "anthropic", "google-genai",
)
WITHIN_SECONDS = 600


@dataclass
class Row:
    client: str
    grammar: str
    model: str
    # By case: whether it held, and what there is to say of it.
    seen: dict


def environment(home, trap):
    """All that a client is given: no proxy but the trap, and nothing of ours that could reach a vendor."""
    quiet = {"DO_NOT_TRACK": "1", "DISABLE_TELEMETRY": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    local = {"NO_PROXY": "127.0.0.1,localhost", "HTTP_PROXY": trap.url, "HTTPS_PROXY": trap.url}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"} | quiet | local


def framework(name, file, grammar, models, given, log):
    script = HERE / ("node" if file.endswith(".mjs") else "python") / file
    program = ["node", script] if file.endswith(".mjs") else [sys.executable, script.with_suffix(".py")]
    rows = {model: Row(name, GRAMMARS[grammar], model, {}) for model in models}
    try:
        ended = subprocess.run(
            [*program, grammar, *models], env=given, stdout=subprocess.PIPE, stderr=log, text=True,
            timeout=WITHIN_SECONDS, cwd=script.parent,
        )
        lines = ended.stdout.splitlines()
    except subprocess.TimeoutExpired as over:
        lines = (over.stdout or b"").decode().splitlines()
    for line in lines:
        if line.startswith('{"model"'):
            told = json.loads(line)
            rows[told["model"]].seen[told["case"]] = (told["ok"], told["note"])
    for row in rows.values():
        for case in CASES:
            row.seen.setdefault(case, (False, "it ended before"))
    return list(rows.values())


def command_line(client, model, stage, counter, log):
    row = Row(client.name, GRAMMARS[client.grammar], model, {})
    for case in client.cases:
        try:
            row.seen[case] = (True, command_lines.play(client, case, stage, counter, model))
        except (AssertionError, KeyError, OSError, subprocess.SubprocessError) as error:
            print(f"{client.name} {model} {case}: {error}", file=log)
            row.seen[case] = (False, f"{type(error).__name__}: {error}")
    return row


def play(only, directory):
    rows, elsewhere, through = [], [], []
    with stage(directory) as built, open(directory / "clients.log", "w") as log:
        counter = Counter(built.limited.origin)

        def watched(name, made, looks_for=()):
            rows.extend(made)
            elsewhere.extend(f"{name} asked for {line}" for line in built.trap.wanted if line not in looks_for)
            built.trap.wanted.clear()
            for row in made:
                marks = " ".join(f"{case} {mark(row, case)}" for case in CASES)
                print(f"{row.client:14} {row.grammar:22} {row.model:30} {marks}", flush=True)

        given = environment(directory, built.trap) | {
            "CLIENTS_GATEWAY": built.sound.origin, "CLIENTS_KEY": built.sound.key,
            "CLIENTS_LIMITED": counter.origin, "CLIENTS_LIMITED_KEY": built.limited.key,
            "CLIENTS_EMULATOR": built.emulator.origin,
        }
        for name, file, grammars in FRAMEWORKS:
            for grammar, models in grammars.items() if only in name.lower() else ():
                watched(name, framework(name, file, grammar, models, given, log))
        for kind in (command_lines.ClaudeCode, command_lines.Codex, command_lines.OpenCode):
            if only in kind.name.lower():
                client = kind(ROOT, directory / kind.__name__, environment(directory, built.trap))
                for model in EACH:
                    watched(kind.name, [command_line(client, model, built, counter, log)], kind.looks_for)
        if only in behind.NAME.lower():
            with ExitStack() as stack:
                given = environment(directory, built.trap)
                through = behind.play(stack, built.emulator, directory, given, log)
            elsewhere.extend(f"{behind.NAME} asked for {line}" for line in built.trap.wanted)
        violations = built.emulator.ask("violations")
    return rows, through, elsewhere, violations


def mark(row, case):
    return "–" if case not in row.seen else "✓" if row.seen[case][0] else "✗"


def versions():
    lock = json.loads((HERE / "node/package.json").read_text())["dependencies"]
    python = [f"{name} {metadata.version(name)}" for name in DISTRIBUTIONS]
    return python + [f"{name} {version}" for name, version in lock.items()]


def page(rows, through, wrong, seconds):
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    machine = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line), "unknown")
    cut_off = os.environ.get("CLIENTS_CUT_OFF") == "1"
    lines = [
        "# Clients through the gateway", "",
        "Written by `make test-clients`. Each client is unmodified and talks to the gateway on the loopback, behind which "
        "the strict emulators answer for the providers: no real provider is asked. Beside base URL, key and model it is "
        "told what its file in tests/clients shows: what keeps it from other hosts, and of the command lines which tool "
        "they may use and how often Codex tries. Command lines are set up by `tidegate connect TOOL --write`.", "",
        "The models were chosen so that the client's own request is one that they take; docs/clients.md says which are "
        "not. The emulator lets LiteLLM's `provider_specific_fields` pass. The 404 is always that of a model that "
        "OpenAI does not have, or that the gateway does not know.", "",
        f"- date: {time.strftime('%Y-%m-%dT%H:%MZ', time.gmtime())}, after {seconds} s",
        f"- commit: {commit or 'none'}",
        f"- machine: {machine}, {os.cpu_count()} cores, Linux {platform.release()}",
        f"- Python {platform.python_version()}, Node {node}",
        f"- clients: {', '.join(versions())}",
        f"- network: {'none but the loopback' if cut_off else 'watched'}; whoever asked a proxy for another host failed; other ways out are not watched",
        "", "| client | grammar | model | " + " | ".join(CASES) + " |",
        "|---|---|---|" + ":-:|" * len(CASES),
    ]
    for row in rows:
        cells = [f"{mark(row, case)} {tries(row, case)}".strip() for case in CASES]
        lines.append(f"| {row.client} | `{row.grammar}` | `{row.model}` | " + " | ".join(cells) + " |")
    lines += ["", "Beside a 429 stands how often the client asked before it gave up.", ""]
    lines += behind.section(through)
    lines += ["## What failed", ""] + [f"- {line}" for line in wrong] if wrong else ["Nothing failed."]
    return "\n".join(lines) + "\n"


def tries(row, case):
    held, note = row.seen.get(case, (False, ""))
    return note.rpartition("asked ")[2] if case == "429" and held else ""


def main():
    only = sys.argv[1].lower() if len(sys.argv) > 1 else ""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tidegate-clients-") as directory:
        rows, through, elsewhere, violations = play(only, Path(directory))
        kept = ROOT / "target/clients"
        kept.mkdir(parents=True, exist_ok=True)
        for log in Path(directory).glob("*.log"):
            (kept / log.name).write_bytes(log.read_bytes())
    failed = [(row, case, note) for row in rows for case, (held, note) in row.seen.items() if not held]
    wrong = [f"{row.client}, `{row.grammar}`, `{row.model}`, {case}: {note[:400]}" for row, case, note in failed]
    wrong += [f"{behind.NAME}, `{seen.path}`, `{seen.model}`, {seen.case}: {seen.note}" for seen in through if not seen.held]
    wrong += elsewhere + [f"the emulator was sent {violation['what']} at {violation['path']}" for violation in violations]
    if not only:
        PAGE.write_text(page(rows, through, wrong, round(time.monotonic() - began)))
        print(f"kept in {PAGE.relative_to(ROOT)}")
    cases = sum(len(row.seen) for row in rows) + len(through)
    held = cases - len(failed) - sum(not seen.held for seen in through)
    print(*wrong, f"{held} of {cases} cases held; what was said is in target/clients", sep="\n")
    return 1 if wrong or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
