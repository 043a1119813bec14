"""Claude Code, Codex and opencode, as they are installed: set up by `tidegate connect`, and given a file to read."""

import json
import subprocess
from dataclasses import dataclass

from stage import BUILT

INSTALLED = "tests/clients/node/node_modules/.bin"
SAID = "High water is at noon, né 漢字 🙂"
TIDE = "the tide stands at 4.27 metres"
ASKED = "How high is the tide? It is written in tide.txt."
NONE_SUCH = "none-such-7"
WITHIN_SECONDS = 120
# What was set before: `tidegate connect` leaves it as it is.
CODEX = """
check_for_update_on_startup = false
[model_providers.tidegate]
request_max_retries = 1
stream_max_retries = 1
[analytics]
enabled = false
# These fetch what they offer from elsewhere.
[features]
apps = false
plugins = false
"""


@dataclass
class Told:
    """What a command line said: its words, and the pieces in which it showed them, where it shows pieces."""

    words: str
    pieces: list
    failed: bool


class CommandLine:
    # What it looks for elsewhere, and goes on without.
    looks_for = ()

    def __init__(self, root, home, environment):
        self.root, self.home = root, home
        self.environment = environment | {"HOME": str(home)}
        self.scratch = home / "scratch"
        self.scratch.mkdir(parents=True)
        (self.scratch / "tide.txt").write_text(TIDE + "\n")

    def connect(self, gateway, model, verify=False):
        """Has `tidegate connect` write the tool's settings."""
        command = [BUILT / "tidegate", "connect", self.tool, "--model", model, "--write"]
        subprocess.run(
            command + ([] if verify else ["--no-verify"]), check=True, capture_output=True, timeout=WITHIN_SECONDS,
            env=self.environment | {"TIDEGATE_URL": gateway.origin, "TIDEGATE_API_KEY": gateway.key},
        )

    def run(self, command, **environment):
        ended = subprocess.run(
            [self.root / INSTALLED / command[0], *command[1:]], cwd=self.scratch, stdin=subprocess.DEVNULL,
            env=self.environment | environment, capture_output=True, text=True,
            timeout=WITHIN_SECONDS,
        )
        lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        if not lines:
            raise AssertionError(f"it said nothing: {ended.stderr[-500:]}")
        return lines


class ClaudeCode(CommandLine):
    name, tool, grammar = "Claude Code", "claude-code", "messages"
    cases = ("chat", "stream", "tool loop", "404", "429")
    # It heeds the gateway, which says that it has tried already.
    tries = 1

    def call(self):
        return {"call": "Read", "arguments": {"file_path": str(self.scratch / "tide.txt")}}

    def ask(self, gateway, stream):
        shown = ["stream-json", "--verbose", "--include-partial-messages"] if stream else ["json"]
        lines = self.run(
            ["claude", "-p", ASKED, "--allowedTools", "Read", "--output-format", *shown],
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        )
        deltas = [line["event"].get("delta", {}) for line in lines if line["type"] == "stream_event"]
        pieces = [delta["text"] for delta in deltas if delta.get("type") == "text_delta"]
        return Told(lines[-1]["result"], pieces, lines[-1]["is_error"])


class Codex(CommandLine):
    name, tool, grammar = "Codex", "codex", "responses"
    # It shows whole messages only, though what it reads is always a stream.
    cases = ("chat", "tool loop", "404", "429")
    # As its settings say.
    tries = 2

    def call(self):
        return {"call": "exec_command", "arguments": {"cmd": "cat tide.txt"}}

    def __init__(self, root, home, environment):
        super().__init__(root, home, environment)
        (home / ".codex").mkdir()
        (home / ".codex/config.toml").write_text(CODEX)

    def ask(self, gateway, stream):
        lines = self.run(
            ["codex", "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "--json", ASKED],
            TIDEGATE_API_KEY=gateway.key,
        )
        items = [line["item"] for line in lines if line["type"] == "item.completed"]
        said = [item["text"] for item in items if item["type"] == "agent_message"]
        wrong = [line["error"]["message"] for line in lines if line["type"] == "turn.failed"]
        return Told("".join(wrong or said[-1:]), [], bool(wrong))


class OpenCode(CommandLine):
    name, tool, grammar = "opencode", "opencode", "responses"
    # It shows whole messages only, though what it reads is always a stream.
    cases = ("chat", "tool loop", "404")
    # Its plugin package.
    looks_for = ("CONNECT registry.npmjs.org:443",)

    def call(self):
        return {"call": "read", "arguments": {"filePath": str(self.scratch / "tide.txt")}}

    def ask(self, gateway, stream):
        lines = self.run(
            ["opencode", "run", "--format", "json", "--title", "Tide", ASKED],
            OPENCODE_DISABLE_MODELS_FETCH="1", OPENCODE_DISABLE_AUTOUPDATE="1",
        )
        said = [line["part"]["text"] for line in lines if line["type"] == "text"]
        wrong = [json.dumps(line["error"]) for line in lines if line["type"] == "error"]
        return Told("".join(wrong or said[-1:]), [], bool(wrong))


def play(client, case, stage, counter, model):
    """Plays one case; returns a note, or raises what was wrong."""
    stage.emulator.script({"text": SAID, "tools": "none", "times": 0})
    if case in ("chat", "stream"):
        client.connect(stage.sound, model, verify=case == "chat")
        told = client.ask(stage.sound, case == "stream")
        same(told.words, SAID)
        if case == "stream":
            same("".join(told.pieces), SAID)
            assert len(told.pieces) > 1, "it came in one piece"
        return ""
    if case == "tool loop":
        stage.emulator.script(client.call() | {"text": SAID, "times": 0})
        client.connect(stage.sound, model)
        before = len(stage.emulator.calls())
        same(client.ask(stage.sound, False).words, SAID)
        entries = stage.emulator.calls()[before:]
        same([(TIDE in entry["body"], entry["status"]) for entry in entries], [(False, 200), (True, 200)])
        return ""
    if case == "404":
        client.connect(stage.sound, f"openai/{NONE_SUCH}")
        told = client.ask(stage.sound, False)
        assert told.failed and NONE_SUCH in told.words, told.words
        return ""
    counter.statuses.clear()
    limited = type(stage.limited)(counter.origin, stage.limited.key, stage.limited.admin_key)
    client.connect(limited, model)
    told = client.ask(limited, False)
    assert told.failed and "429" in told.words, told.words
    same(counter.statuses, [429] * client.tries)
    return f"asked {client.tries}×"


def same(seen, expected):
    assert seen == expected, f"expected {expected!r}, saw {seen!r}"
