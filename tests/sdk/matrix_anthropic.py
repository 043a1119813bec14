"""The cells of the matrix as the user of Anthropic's SDK writes them."""

import json
from functools import cache

import anthropic
from matrix_case import ASK, HOOKS, THINKING_TOKENS, TIMEOUT_S, round_of

ANSWER_TOKENS_MAX = 4096


@cache
def anthropic_client(url, key):
    http = anthropic.DefaultHttpxClient(event_hooks=HOOKS)
    return anthropic.Anthropic(base_url=url, api_key=key, timeout=TIMEOUT_S, http_client=http)


class Messages:
    def __init__(self, command):
        self.client = anthropic_client(command["base_url"], command["api_key"])
        self.stream = command["stream"]
        messages = [{"role": "user", "content": ASK["question"]}]
        self.request = {"model": command["model"], "max_tokens": ANSWER_TOKENS_MAX, "messages": messages}
        self.calls = []
        getattr(self, command["case"])()

    def text(self):
        pass

    def system(self):
        self.request["system"] = ASK["instructions"]
        self.request["messages"] = [{"role": role, "content": content} for role, content in ASK["history"]]

    def length(self):
        self.request["max_tokens"] = ASK["answer_tokens_max"]

    def stop(self):
        self.request["stop_sequences"] = [ASK["stop"]]

    def image(self):
        source = {"type": "base64", "media_type": "image/png", "data": ASK["image"]}
        self.request["messages"][0]["content"] = [
            {"type": "text", "text": ASK["question"]},
            {"type": "image", "source": source},
        ]

    def schema(self):
        self.request["output_config"] = {"format": {"type": "json_schema", "schema": ASK["schema"]}}

    def tools(self):
        self.request["tools"] = [
            {"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]}
            for tool in ASK["tools"]
        ]

    def thinking(self):
        self.request["thinking"] = {"type": "enabled", "budget_tokens": THINKING_TOKENS}

    def thinking_tools(self):
        self.tools()
        self.thinking()

    def ask(self):
        raw = {}
        if self.stream:
            with self.client.messages.stream(**self.request) as stream:
                for event in stream:
                    if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
                        raw[event.index] = raw.get(event.index, "") + event.delta.partial_json
                message = stream.get_final_message()
        else:
            message = self.client.messages.create(**self.request)
        usage, blocks = message.usage, list(enumerate(message.content))
        self.request["messages"].append({"role": "assistant", "content": message.content})
        self.calls = [block for _, block in blocks if block.type == "tool_use"]
        written = usage.cache_creation_input_tokens or 0
        cached = usage.cache_read_input_tokens or 0
        details = usage.output_tokens_details
        return round_of(
            "".join(block.text for _, block in blocks if block.type == "text"),
            [
                {"name": block.name, "arguments": raw.get(at) or json.dumps(block.input, ensure_ascii=False, separators=(",", ":"))}
                for at, block in blocks
                if block.type == "tool_use"
            ],
            message.stop_reason,
            {
                "input": usage.input_tokens + cached + written,
                "output": usage.output_tokens,
                "cached": cached,
                "reasoning": (details and details.thinking_tokens) or 0,
            },
            "".join(block.thinking for _, block in blocks if block.type == "thinking"),
        )

    def reply(self):
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": ASK["results"][call.name]} for call in self.calls
        ]
        self.request["messages"].append({"role": "user", "content": results})
