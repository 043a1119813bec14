"""A gateway behind the gateway: LiteLLM's proxy stands between ours and the emulator, and what ours books still agrees
with what the emulator billed."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass

from stage import KEYS, LOCAL, PATHS, ROOT, WITHIN_SECONDS, fetch, gateway

NAME = "LiteLLM's proxy"
VENV = ROOT / ".venv-proxy"
MASTER = "sk-behind-4d2a9c7e61f84b03a5d8e2c6"
# It loads a great deal before it listens.
STARTED_WITHIN_SECONDS = 180
# What the proxy calls a model, the vendor that it asks for it, and ours before it, if the catalogue knows one.
MODELS = (("gpt-4o-mini", "openai", "openai/gpt-4o-mini"), ("claude-sonnet-4-5", "anthropic", None))
# What the emulator is told to do in each case.
CASES = {"chat": (), "stream": (), "cached": ({"cached_tokens": 5},)}
QUESTION = "Tell me about tides, né 漢字"
REQUESTS = {
    "/v1/chat/completions": lambda model: {"model": model, "messages": [{"role": "user", "content": QUESTION}]},
    "/v1/messages": lambda model: {
        "model": model, "max_tokens": 200, "messages": [{"role": "user", "content": QUESTION}],
    },
    "/v1/responses": lambda model: {"model": model, "input": QUESTION, "store": False},
}


@dataclass
class Seen:
    path: str
    model: str
    profile: str
    case: str
    held: bool
    note: str


def configuration(emulator):
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"{vendor}/{name}", "api_base": emulator.origin + PATHS[vendor], "api_key": KEYS[vendor],
            },
        }
        for name, vendor, _ in MODELS
    ]
    # What it is not told to leave out it asks of hosts elsewhere.
    return {"model_list": models, "general_settings": {"master_key": MASTER}, "litellm_settings": {"num_retries": 0}}


@contextmanager
def proxy(emulator, directory, environment, log):
    """The proxy as its makers start it, from when it answers until it has ended."""
    config = directory / "proxy.yaml"
    # JSON is YAML.
    config.write_text(json.dumps(configuration(emulator)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [VENV / "bin/litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"],
        env=environment, stdout=log, stderr=log, cwd=directory,
    )
    origin = f"http://127.0.0.1:{port}"
    try:
        give_up = time.monotonic() + STARTED_WITHIN_SECONDS
        while True:
            try:
                fetch(f"{origin}/health/liveliness")
                break
            except (OSError, RuntimeError):
                if process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError("LiteLLM's proxy did not start") from None
                time.sleep(0.2)
        yield origin
    finally:
        process.terminate()
        process.wait(WITHIN_SECONDS)


def asked(built, path, body):
    """The id of a request that was answered whole, and its answer's bytes."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {built.key}"}
    request = urllib.request.Request(built.origin + path, json.dumps(body).encode(), headers)
    try:
        with LOCAL.open(request, timeout=WITHIN_SECONDS) as answer:
            return answer.headers["agent-trace-id"], answer.read().decode()
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{refused.code}: {refused.read().decode()}") from None


def settled(built, trace):
    """The request as ours has it in its books."""
    give_up = time.monotonic() + WITHIN_SECONDS
    while True:
        try:
            return built.admin(f"/v2/requests/{trace}")
        except RuntimeError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def agrees(built, emulator, path, model, profile, case):
    """Asks once, and holds our record to what the emulator counted."""
    emulator.script(*CASES[case])
    before = len(emulator.calls())
    trace, text = asked(built, path, REQUESTS[path](model) | ({} if case == "chat" else {"stream": True}))
    assert "tides" in text, text
    calls = emulator.calls()[before:]
    assert len(calls) == 1, f"{len(calls)} calls"
    billed = tuple(calls[0][name] for name in ("prompt_tokens", "cached_tokens", "said_tokens"))
    row = settled(built, trace)
    booked = (row["input_tokens"], row["cached_tokens"], row["output_tokens"])
    assert row["profile"] == profile, row["profile"]
    assert booked == billed and not row["estimated"], f"booked {booked}, billed {billed}: {row}"
    return f"{booked[0]} ({booked[1]} cached) + {booked[2]}"


def play(stack, emulator, directory, environment, log):
    """Each way with each request, buffered and streamed."""
    given = environment | {"PATH": os.environ["PATH"]}
    origin = stack.enter_context(proxy(emulator, directory, given, log))
    built = gateway(stack, "behind", {}, emulator, directory, log)
    upstream = {"base_url": f"{origin}/v1", "secret": MASTER}
    # The operator's account of a vendor, which is a gateway in truth; and a customer's own server.
    built.admin("/v2/accounts", upstream | {"provider": "openai", "display_name": "through LiteLLM"})
    built.admin("/v2/provider-credentials", upstream | {"provider": "behind", "display_name": "LiteLLM"})
    ways = [(f"behind/{name}", "byok") for name, _, _ in MODELS]
    ways += [(ours, "managed_provider") for _, _, ours in MODELS if ours]
    seen = []
    for path in REQUESTS:
        for model, profile in ways:
            for case in CASES:
                try:
                    note, held = agrees(built, emulator, path, model, profile, case), True
                except (AssertionError, KeyError, OSError, RuntimeError) as error:
                    note, held = f"{type(error).__name__}: {error}"[:400], False
                seen.append(Seen(path, model, profile, case, held, note))
                print(f"{NAME} {path:22} {model:28} {case:7} {'✓' if held else '✗'} {note}", flush=True)
    return seen


def section(seen):
    """The part of the page that tells it."""
    lines = [
        "## A gateway behind the gateway", "",
        f"{NAME}, unmodified, stands between the gateway and the emulator: as a customer's own server (`byok`) and as the "
        "operator's account of a vendor (`managed_provider`). A case holds when the answer is whole, the emulator was "
        "called once, and the record's tokens are those that the emulator billed.", "",
        "| grammar | model | profile | case | held | input + output tokens |", "|---|---|---|---|:-:|---|",
    ]
    lines += [
        f"| `{one.path}` | `{one.model}` | `{one.profile}` | {one.case} | {'✓' if one.held else '✗'} | {one.note if one.held else ''} |"
        for one in seen
    ]
    return [*lines, ""]
