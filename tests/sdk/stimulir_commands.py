"""Runs every command of the client in one process, and writes what came of each: one JSON object a line.

The only argument is a JSON object: arguments that the test knows, by command; `null` for a command that it runs itself.
"""

import contextlib
import io
import json
import pathlib
import sys

import stimulir_cli.main as client
from typer.main import get_command

KNOWN = json.loads(sys.argv[1])
UUID = "00000000-0000-4000-8000-000000000000"
FILE = "file.txt"
pathlib.Path(FILE).write_text("{}\n")
pathlib.Path("heard.wav").write_bytes(b"a recording")
# What commands want beyond what their definitions say is required.
MORE = {
    "compute agents deploy": [FILE, "--name", "x", "--version", "1", "--instance", "x", "--key", "x"],
    "compute agents secret set": ["X_KEY", "--value-env", "HOME"],
    "compute down": ["i-1", "--yes"],
    "data bulk-stage": ["--ids", UUID, "--stage", "lab"],
    "data create": ["--name", "x"],
    "data from-trace": [UUID, "--source", "agent_traces"],
    "data remove": [UUID, "--yes"],
    "data stage": [UUID, "lab"],
    "data update": [UUID, "--name", "x"],
    "lab eval create-run": ["--leave-queued"],
    "lab eval delete": [UUID, "--yes"],
    "lab eval derive": [UUID, "--rationale", "x", "--prompt-file", FILE],
    "lab eval evaluator-create": ["--name", "x", "--required-phrase", "x"],
    "lab eval promote": [UUID, "--yes"],
    "lab improve run": ["--preview-token", "x", "--cohort-fingerprint", "x"],
    "lab projectors create": ["--modality", "image", "--stages", "stage1"],
    "lab projectors delete": [UUID, "--yes"],
    "lab rsi run": ["--preview-token", "x", "--cohort-fingerprint", "x"],
    "prompts archive": ["greeting", "1"],
    "prompts create": ["--key", "greeting", "--content", "Hello"],
    "prompts label": ["greeting", "1", "prod"],
    "prompts update": ["greeting", "1", "--active"],
    "skills discover": ["owner/name"],
    "skills import": ["owner/name", "--path", "skills/x"],
    "tunnel start": ["--port", "9", "--label", "x"],
}


def value(param):
    kind = type(param.bare_type).__name__.lower() if hasattr(param, "bare_type") else ""
    choices = getattr(getattr(param, "bare_type", None), "choices", None)
    if choices:
        return str(next(iter(choices)))
    if "path" in kind or "file" in kind or param.name in ("file", "document", "audio", "prompt_file", "manifest"):
        return FILE
    if "int" in kind or "float" in kind:
        return "1"
    return UUID if param.name.endswith("_id") or param.name.endswith("_ids") else "x"


def arguments(name, command):
    if name in KNOWN:
        return KNOWN[name]
    if name in MORE:
        return MORE[name]
    given = []
    for param in command.params:
        if param.required:
            given += [value(param)] if param.param_type_name == "argument" else [param.opts[0], value(param)]
    return given


def run(words):
    out = io.StringIO()
    sys.argv = ["stimulir", *words]
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"The tide is high"))
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            client.app()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception as error:  # the client would end with a traceback
            code, _ = 70, out.write(f"{type(error).__name__}: {error}")
    return code, out.getvalue()


def walk(command, path):
    if hasattr(command, "commands"):
        for name, below in sorted(command.commands.items()):
            walk(below, [*path, name])
        return
    name = " ".join(path)
    given = arguments(name, command)
    code, text = (None, "") if given is None else run([*path, *given])
    print(json.dumps({"command": name, "arguments": given, "code": code, "text": text}), file=sys.__stdout__)


walk(get_command(client.cli), [])
