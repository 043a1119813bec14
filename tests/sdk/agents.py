"""Drives a gateway's agents with inference.sh's own Python client, unmodified.

usage: python agents.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import sys

from inferencesh import inference

BASE_URL, KEY, _ = sys.argv[1:]
client = inference(api_key=KEY, base_url=BASE_URL.removesuffix("/v1"))


def text_of(message):
    return "".join(part.get("text") or "" for part in message["content"])


agent = client.agent("helper")
messages, deltas = {}, []
agent.send_message("hello there", on_message=lambda message: messages.update({message["id"]: message}), on_delta=deltas.append)
answers = [message for message in messages.values() if message["role"] == "assistant"]
assert text_of(answers[-1]) == "You said: hello there", answers
assert answers[-1]["status"] == "ready", answers
print("ok stored_agent")

last = {}
agent.send_message("once more", on_message=lambda message: last.update({message["role"]: message}))
assert text_of(last["assistant"]) == "You said: once more", last
chat = agent.get_chat()
assert chat["status"] == "idle" and len(chat["chat_messages"]) == 4, chat
print("ok second_turn")

config = {
    "name": "beeper",
    "core_app": {"ref": "openai/gpt-4o-mini@latest"},
    "system_prompt": "Beep.",
    "tools": [{"name": "beep", "type": "client", "client": {"input_schema": {"type": "object", "properties": {}}}}],
}
beeper = client.agent(config)
called = []


def on_tool_call(call):
    called.append((call.name, call.args))
    beeper.submit_tool_result(call.id, {"beeped": 2})


beeper.send_message("beep", on_tool_call=on_tool_call)
assert called == [("beep", {"times": "2"})], called
assert beeper.get_chat()["status"] == "idle"
print("ok client_tool")

schema = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
placer = client.agent({"name": "placer", "core_app": {"ref": "openai/gpt-4o-mini"}, "output_schema": schema})
placer.send_message("where?", on_message=lambda message: None)
assert placer.get_chat()["output"] == {"city": "Rome"}
print("ok output")

placer.stop_chat()
placer.reset()
assert placer.chat_id is None
print("ok stop")
