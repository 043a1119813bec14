"""The cells of the matrix as the user of OpenAI's SDK writes them."""

from functools import cache

import openai
from matrix_case import ASK, HOOKS, TIMEOUT_S, round_of


@cache
def openai_client(url, key):
    http = openai.DefaultHttpxClient(event_hooks=HOOKS)
    return openai.OpenAI(base_url=url + "/v1", api_key=key, timeout=TIMEOUT_S, http_client=http)


class Chat:
    def __init__(self, command):
        self.client = openai_client(command["base_url"], command["api_key"])
        self.stream = command["stream"]
        self.request = {"model": command["model"], "messages": [{"role": "user", "content": ASK["question"]}]}
        self.calls = []
        getattr(self, command["case"])()

    def text(self):
        pass

    def system(self):
        self.request["messages"] = [{"role": "system", "content": ASK["instructions"]}] + [
            {"role": role, "content": content} for role, content in ASK["history"]
        ]

    def length(self):
        self.request["max_completion_tokens"] = ASK["answer_tokens_max"]

    def stop(self):
        self.request |= {"stop": [ASK["stop"]], "temperature": 0.5}

    def image(self):
        url = "data:image/png;base64," + ASK["image"]
        self.request["messages"][0]["content"] = [
            {"type": "text", "text": ASK["question"]},
            {"type": "image_url", "image_url": {"url": url}},
        ]

    def schema(self):
        schema = {"name": "harbour", "schema": ASK["schema"], "strict": True}
        self.request["response_format"] = {"type": "json_schema", "json_schema": schema}

    def tools(self):
        self.request["tools"] = [{"type": "function", "function": tool} for tool in ASK["tools"]]

    def thinking(self):
        self.request["reasoning_effort"] = "low"

    def thinking_tools(self):
        self.tools()
        self.thinking()

    def ask(self):
        if self.stream:
            options = {"include_usage": True}
            chunks = self.client.chat.completions.create(**self.request, stream=True, stream_options=options)
            message, finish, usage = self.gathered(chunks)
        else:
            completion = self.client.chat.completions.create(**self.request)
            choice, usage = completion.choices[0], completion.usage
            message, finish = choice.message, choice.finish_reason
        self.request["messages"].append(message)
        said = message if isinstance(message, dict) else message.model_dump()
        self.calls = said.get("tool_calls") or []
        cached, reasoning = usage.prompt_tokens_details, usage.completion_tokens_details
        # xAI counts thoughts beside what was said, and its bytes pass.
        beside = (reasoning and reasoning.reasoning_tokens) or 0
        rest = usage.total_tokens - usage.prompt_tokens - usage.completion_tokens
        assert rest in (0, beside), usage
        return round_of(
            said.get("content") or "",
            [call["function"] for call in self.calls],
            finish,
            {
                "input": usage.prompt_tokens,
                "output": usage.completion_tokens,
                "cached": (cached and cached.cached_tokens) or 0,
                "reasoning": (reasoning and reasoning.reasoning_tokens) or 0,
            },
            said.get("reasoning_content") or "",
        )

    def gathered(self, chunks):
        """Puts a message together as applications do that read a stream themselves."""
        message, calls, finish, usage = {"role": "assistant"}, {}, None, None
        for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                for name in ("content", "reasoning_content"):
                    if piece := getattr(choice.delta, name, None):
                        message[name] = message.get(name, "") + piece
                for piece in choice.delta.tool_calls or []:
                    call = calls.setdefault(piece.index, {"id": piece.id, "type": "function", "name": "", "arguments": ""})
                    call["name"] += piece.function.name or ""
                    call["arguments"] += piece.function.arguments or ""
        if calls:
            message["tool_calls"] = [
                {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
                for call in calls.values()
            ]
        return message, finish, usage

    def reply(self):
        for call in self.calls:
            content = ASK["results"][call["function"]["name"]]
            self.request["messages"].append({"role": "tool", "tool_call_id": call["id"], "content": content})


class Responses:
    def __init__(self, command):
        self.client = openai_client(command["base_url"], command["api_key"])
        self.stream = command["stream"]
        self.request = {"model": command["model"], "input": [{"role": "user", "content": ASK["question"]}]}
        self.calls = []
        getattr(self, command["case"])()

    def text(self):
        pass

    def system(self):
        self.request["instructions"] = ASK["instructions"]
        self.request["input"] = [{"role": role, "content": content} for role, content in ASK["history"]]

    def length(self):
        self.request["max_output_tokens"] = ASK["answer_tokens_max"]

    def image(self):
        url = "data:image/png;base64," + ASK["image"]
        self.request["input"][0]["content"] = [
            {"type": "input_text", "text": ASK["question"]},
            {"type": "input_image", "image_url": url, "detail": "auto"},
        ]

    def schema(self):
        schema = {"type": "json_schema", "name": "harbour", "schema": ASK["schema"], "strict": True}
        self.request["text"] = {"format": schema}

    def tools(self):
        self.request["tools"] = [{"type": "function", "strict": False} | tool for tool in ASK["tools"]]

    def thinking(self):
        include = ["reasoning.encrypted_content"]
        self.request |= {"reasoning": {"effort": "low", "summary": "auto"}, "store": False, "include": include}

    def thinking_tools(self):
        self.tools()
        self.thinking()

    def ask(self):
        if self.stream:
            response = self.streamed(self.client.responses.create(**self.request, stream=True))
        else:
            response = self.client.responses.create(**self.request)
        usage = response.usage
        self.request["input"] += response.output
        self.calls = [item for item in response.output if item.type == "function_call"]
        why = response.incomplete_details
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens, usage
        return round_of(
            response.output_text,
            [{"name": call.name, "arguments": call.arguments} for call in self.calls],
            f"{response.status}:{why.reason}" if why else response.status,
            {
                "input": usage.input_tokens,
                "output": usage.output_tokens,
                "cached": usage.input_tokens_details.cached_tokens,
                "reasoning": usage.output_tokens_details.reasoning_tokens,
            },
            "".join(
                part.text
                for item in response.output
                if item.type == "reasoning"
                for part in (item.content or item.summary)
            ),
        )

    def streamed(self, events):
        spelt, last = "", None
        for event in events:
            if event.type == "response.output_text.delta":
                spelt += event.delta
            if event.type in ("response.completed", "response.incomplete"):
                last = event.response
            if event.type == "response.failed":
                raise openai.APIError(event.response.error.message, None, body=event.response.error.to_dict())
        assert last is not None, "the stream ended without an end"
        assert spelt == last.output_text, (spelt, last.output_text)
        return last

    def reply(self):
        for call in self.calls:
            output = ASK["results"][call.name]
            self.request["input"].append({"type": "function_call_output", "call_id": call.call_id, "output": output})
