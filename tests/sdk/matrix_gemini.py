"""The cells of the matrix as the user of Google's SDK writes them."""

import base64
import json
from functools import cache

from google import genai
from google.genai import types
from matrix_case import ASK, HOOKS, THINKING_TOKENS, TIMEOUT_S, round_of


@cache
def gemini_client(url, key):
    options = types.HttpOptions(base_url=url, timeout=TIMEOUT_S * 1000, client_args={"event_hooks": HOOKS})
    return genai.Client(api_key=key, http_options=options)


class Gemini:
    def __init__(self, command):
        self.client = gemini_client(command["base_url"], command["api_key"])
        self.stream = command["stream"]
        self.model = command["model"]
        self.contents = [types.Content(role="user", parts=[types.Part.from_text(text=ASK["question"])])]
        self.config = {}
        self.calls = []
        getattr(self, command["case"])()

    def text(self):
        pass

    def system(self):
        self.config["system_instruction"] = ASK["instructions"]
        self.contents = [
            types.Content(role="model" if role == "assistant" else role, parts=[types.Part.from_text(text=text)])
            for role, text in ASK["history"]
        ]

    def length(self):
        self.config["max_output_tokens"] = ASK["answer_tokens_max"]

    def stop(self):
        self.config |= {"stop_sequences": [ASK["stop"]], "temperature": 0.5}

    def image(self):
        part = types.Part.from_bytes(data=base64.b64decode(ASK["image"]), mime_type="image/png")
        self.contents[0].parts.append(part)

    def schema(self):
        self.config |= {"response_mime_type": "application/json", "response_json_schema": ASK["schema"]}

    def tools(self):
        declarations = [
            {"name": tool["name"], "description": tool["description"], "parameters_json_schema": tool["parameters"]}
            for tool in ASK["tools"]
        ]
        self.config["tools"] = [types.Tool(function_declarations=declarations)]

    def thinking(self):
        self.config["thinking_config"] = {"include_thoughts": True, "thinking_budget": THINKING_TOKENS}

    def thinking_tools(self):
        self.tools()
        self.thinking()

    def ask(self):
        asked = {"model": self.model, "contents": self.contents, "config": self.config}
        models = self.client.models
        chunks = list(models.generate_content_stream(**asked)) if self.stream else [models.generate_content(**asked)]
        candidates = [chunk.candidates[0] for chunk in chunks if chunk.candidates]
        parts = [part for one in candidates if one.content for part in one.content.parts or []]
        ends = [one.finish_reason.value for one in candidates if one.finish_reason]
        usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata][-1]
        assert len(ends) == 1, ends
        self.contents.append(types.Content(role="model", parts=parts))
        self.calls = [part.function_call for part in parts if part.function_call]
        thoughts = usage.thoughts_token_count or 0
        asked_tokens = usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0)
        said_tokens = (usage.candidates_token_count or 0) + thoughts
        assert usage.total_token_count == asked_tokens + said_tokens, usage
        return round_of(
            "".join(part.text or "" for part in parts if not part.thought),
            [{"name": call.name, "arguments": json.dumps(call.args or {}, ensure_ascii=False, separators=(",", ":"))} for call in self.calls],
            ends[0],
            {
                "input": asked_tokens,
                "output": said_tokens,
                "cached": usage.cached_content_token_count or 0,
                "reasoning": thoughts,
            },
            "".join(part.text or "" for part in parts if part.thought),
        )

    def reply(self):
        parts = [
            types.Part.from_function_response(name=call.name, response={"result": ASK["results"][call.name]})
            for call in self.calls
        ]
        self.contents.append(types.Content(role="user", parts=parts))
