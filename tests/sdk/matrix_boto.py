"""The cells of the matrix as the user of boto3 writes them."""

import base64
import json
from functools import cache

import boto3
from botocore.config import Config
from matrix_case import ASK, RECORDER, THINKING_TOKENS, TIMEOUT_S, round_of


@cache
def boto_client(url, pair):
    # It tries again whatever it is told, and what is looked at here is what the gateway does.
    config = Config(proxies={}, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1})
    client = boto3.client("bedrock-runtime", endpoint_url=url, region_name="us-east-1", config=config, **json.loads(pair))
    client.meta.events.register("before-send.bedrock-runtime.*", lambda request, **named: RECORDER.bodies.append(request.body))
    return client


class Converse:
    def __init__(self, command):
        pair = json.dumps({f"aws_{name}": value for name, value in json.loads(command["api_key"]).items()})
        self.client = boto_client(command["base_url"], pair)
        self.stream = command["stream"]
        messages = [{"role": "user", "content": [{"text": ASK["question"]}]}]
        self.request = {"modelId": command["model"], "messages": messages}
        self.calls = []
        getattr(self, command["case"])()

    def text(self):
        pass

    def system(self):
        self.request["system"] = [{"text": ASK["instructions"]}]
        self.request["messages"] = [{"role": role, "content": [{"text": text}]} for role, text in ASK["history"]]

    def length(self):
        self.request["inferenceConfig"] = {"maxTokens": ASK["answer_tokens_max"]}

    def stop(self):
        self.request["inferenceConfig"] = {"stopSequences": [ASK["stop"]]}

    def image(self):
        image = {"format": "png", "source": {"bytes": base64.b64decode(ASK["image"])}}
        self.request["messages"][0]["content"].append({"image": image})

    def schema(self):
        schema = {"name": "tide", "schema": json.dumps(ASK["schema"])}
        self.request["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}

    def tools(self):
        self.request["toolConfig"] = {
            "tools": [
                {"toolSpec": {"name": tool["name"], "description": tool["description"], "inputSchema": {"json": tool["parameters"]}}}
                for tool in ASK["tools"]
            ]
        }

    def thinking(self):
        thinking = {"type": "enabled", "budget_tokens": THINKING_TOKENS}
        self.request["additionalModelRequestFields"] = {"thinking": thinking}

    def thinking_tools(self):
        self.tools()
        self.thinking()

    def ask(self):
        raw = []
        if self.stream:
            answer, raw = gathered(self.client.converse_stream(**self.request)["stream"])
        else:
            answer = self.client.converse(**self.request)
        message, usage = answer["output"]["message"], answer["usage"]
        self.request["messages"].append(message)
        blocks = message["content"]
        self.calls = [block["toolUse"] for block in blocks if "toolUse" in block]
        written = [json.dumps(call["input"], ensure_ascii=False, separators=(",", ":")) for call in self.calls]
        cached = usage.get("cacheReadInputTokens", 0)
        return round_of(
            "".join(block.get("text", "") for block in blocks),
            [
                {"name": call["name"], "arguments": arguments}
                for call, arguments in zip(self.calls, raw or written, strict=True)
            ],
            answer["stopReason"],
            {
                "input": usage["inputTokens"] + cached + usage.get("cacheWriteInputTokens", 0),
                "output": usage["outputTokens"],
                "cached": cached,
                "reasoning": 0,
            },
            "".join(block["reasoningContent"]["reasoningText"]["text"] for block in blocks if "reasoningContent" in block),
        )

    def reply(self):
        results = [
            {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": ASK["results"][call["name"]]}]}}
            for call in self.calls
        ]
        self.request["messages"].append({"role": "user", "content": results})


def gathered(stream):
    """The answer that events tell, and the arguments of its calls as they were written."""
    blocks, raw, answer = [], {}, {}
    for event in stream:
        ((name, said),) = event.items()
        at = said.get("contentBlockIndex")
        if name == "contentBlockStart":
            blocks.append({"toolUse": {**said["start"]["toolUse"], "input": {}}})
            raw[at] = ""
        elif name == "contentBlockDelta":
            delta = said["delta"]
            if "toolUse" in delta:
                raw[at] += delta["toolUse"]["input"]
                continue
            if at == len(blocks):
                blocks.append({"text": ""} if "text" in delta else {"reasoningContent": {"reasoningText": {"text": ""}}})
            if "text" in delta:
                blocks[at]["text"] += delta["text"]
            else:
                # A text comes by and by, and its signature behind it.
                for part, said in delta["reasoningContent"].items():
                    thought = blocks[at]["reasoningContent"]["reasoningText"]
                    thought[part] = thought.get(part, "") + said
        elif name in ("messageStop", "metadata"):
            answer.update(said)
    for at, arguments in raw.items():
        blocks[at]["toolUse"]["input"] = json.loads(arguments)
    answer["output"] = {"message": {"role": "assistant", "content": blocks}}
    return answer, list(raw.values())
