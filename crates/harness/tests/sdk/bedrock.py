"""Drives Bedrock with the official Python SDK and checks what a user of it would see.

usage: bedrock.py BASE_URL STS_URL ACCESS_KEY_ID SECRET_ACCESS_KEY REGION ROLE EXTERNAL_ID WEB_TOKEN
"""

import base64
import json
import os
import sys
import tempfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

base, sts_url, key_id, secret, region, role, external_id, web_token = sys.argv[1:9]
ONCE = Config(retries={"total_max_attempts": 1})
MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
ARN = f"arn:aws:bedrock:{region}:123456789012:application-inference-profile/a1b2c3d4e5f6"
ASK = [{"role": "user", "content": [{"text": "Tell me about tides"}]}]
SAID = "You said: Tell me about tides"
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": "get_weather",
                "description": "The weather of a city.",
                "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
            }
        }
    ]
}


def client(service="bedrock-runtime", **more):
    settings = {
        "region_name": region,
        "endpoint_url": sts_url if service == "sts" else base,
        "aws_access_key_id": key_id,
        "aws_secret_access_key": secret,
        "config": ONCE,
        **more,
    }
    return boto3.client(service, **settings)


def refused(kind, words, call):
    try:
        call()
    except ClientError as error:
        assert error.response["Error"]["Code"] == kind, error.response
        assert words in error.response["Error"]["Message"], error.response
    else:
        raise AssertionError(f"{kind} was expected")


def buffered():
    for model in (MODEL, ARN, "amazon.nova-micro-v1:0"):
        answer = client().converse(modelId=model, messages=ASK, inferenceConfig={"maxTokens": 100})
        assert answer["output"]["message"]["content"] == [{"text": SAID}], answer
        assert answer["stopReason"] == "end_turn", answer
        usage = answer["usage"]
        assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 0, usage


def streamed():
    events = list(client().converse_stream(modelId=MODEL, messages=ASK)["stream"])
    assert list(events[0]) == ["messageStart"] and list(events[-1]) == ["metadata"], events
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    assert "".join(delta["text"] for delta in deltas) == SAID, deltas
    assert events[-2] == {"messageStop": {"stopReason": "end_turn"}}, events[-2]
    assert events[-1]["metadata"]["usage"]["outputTokens"] > 0


def called():
    ask = [{"role": "user", "content": [{"text": "Use get_weather"}]}]
    answer = client().converse(modelId=MODEL, messages=ask, toolConfig=TOOLS)
    assert answer["stopReason"] == "tool_use", answer
    message = answer["output"]["message"]
    call = message["content"][0]["toolUse"]
    assert (call["name"], call["input"]) == ("get_weather", {"city": "value"}), call
    result = {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "sunny"}]}}
    again = ask + [message, {"role": "user", "content": [result]}]
    assert client().converse(modelId=MODEL, messages=again, toolConfig=TOOLS)["stopReason"] == "end_turn"
    events = client().converse_stream(modelId=MODEL, messages=ask, toolConfig=TOOLS)["stream"]
    pieces = [event["contentBlockDelta"]["delta"]["toolUse"]["input"] for event in events if "contentBlockDelta" in event]
    assert "".join(pieces) == '{"city":"value"}', pieces
    refused("ValidationException", "toolResult", lambda: client().converse(modelId=MODEL, messages=again[:2] + ASK, toolConfig=TOOLS))
    refused("ValidationException", "toolConfig", lambda: client().converse(modelId=MODEL, messages=again))


def ordered():
    turn = {"role": "assistant", "content": [{"text": "x"}]}
    refused("ValidationException", "start with a user", lambda: client().converse(modelId=MODEL, messages=[turn]))
    refused("ValidationException", "alternate", lambda: client().converse(modelId=MODEL, messages=ASK + ASK))


def identified():
    small = "anthropic.claude-haiku-4-5-20251001-v1:0"
    refused("ValidationException", "on-demand throughput isn", lambda: client().converse(modelId=small, messages=ASK))
    refused("ValidationException", "identifier is invalid", lambda: client().converse(modelId="eu." + small, messages=ASK))


def broken():
    scripted = {"requestMetadata": {"emulate": "error_event=mid,code=throttlingException,message=slow"}}
    try:
        list(client().converse_stream(modelId=MODEL, messages=ASK, **scripted)["stream"])
    except EventStreamError as error:
        assert error.response["Error"] == {"Code": "throttlingException", "Message": "slow"}, error.response
    else:
        raise AssertionError("the stream did not break")


def thoughtful():
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    scripted = {"requestMetadata": {"emulate": "reasoning=4"}, "additionalModelRequestFields": thinking}
    message = client().converse(modelId=MODEL, messages=ASK, **scripted)["output"]["message"]
    thought = message["content"][0]["reasoningContent"]["reasoningText"]
    client().converse(modelId=MODEL, messages=ASK + [message] + ASK)
    thought["text"] += "!"
    refused("ValidationException", "signature", lambda: client().converse(modelId=MODEL, messages=ASK + [message] + ASK))


def listed():
    models = client("bedrock").list_foundation_models()["modelSummaries"]
    assert any(model["modelId"] == "amazon.nova-micro-v1:0" for model in models), models


def counted():
    ask = {"converse": {"messages": ASK, "system": [{"text": "Be brief."}]}}
    base_model = MODEL.removeprefix("us.")
    assert client().count_tokens(modelId=base_model, input=ask)["inputTokens"] > 0
    for model in (MODEL, "amazon.nova-lite-v1:0"):
        refused("ValidationException", "counting tokens", lambda: client().count_tokens(modelId=model, input=ask))


def invoked(model, **body):
    return json.loads(client().invoke_model(modelId=model, body=json.dumps(body), contentType="application/json")["body"].read())


def embedded():
    titan = "amazon.titan-embed-text-v2:0"
    answer = invoked(titan, inputText="tide", dimensions=256)
    assert len(answer["embedding"]) == 256 and answer["inputTextTokenCount"] > 0, answer
    answer = invoked("cohere.embed-english-v3", texts=["tide", "moon"], input_type="search_query")
    assert [len(vector) for vector in answer["embeddings"]] == [1024, 1024], answer
    refused("ValidationException", "extraneous key", lambda: invoked(titan, inputText="tide", texts=[]))
    refused("ValidationException", "input_type", lambda: invoked("cohere.embed-v4:0", texts=["tide"]))


def drawn():
    canvas, core = "amazon.nova-canvas-v1:0", "stability.stable-image-core-v1:1"
    task = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "A tide"}}
    answer = invoked(canvas, **task, imageGenerationConfig={"numberOfImages": 2, "width": 1280, "height": 720})
    assert len(answer["images"]) == 2 and base64.b64decode(answer["images"][0])[1:4] == b"PNG", answer
    refused("ValidationException", "numberOfImages", lambda: invoked(canvas, **task, imageGenerationConfig={"numberOfImages": 9}))
    refused("ValidationException", "extraneous key", lambda: invoked(canvas, prompt="A tide"))
    answer = invoked(core, prompt="A tide", aspect_ratio="16:9", seed=7)
    assert answer["seeds"] == [7] and answer["finish_reasons"] == [None] and len(answer["images"]) == 1, answer
    assert invoked(core, prompt="all filtered")["finish_reasons"] == ["Filter reason: prompt"]
    refused("ValidationException", "aspect_ratio", lambda: invoked(core, prompt="A tide", aspect_ratio="4:3"))


def ranked():
    texts = ["Boats are blue.", "The tide turns at six.", "Never."]
    for model, more in (("cohere.rerank-v3-5:0", {"api_version": 2}), ("amazon.rerank-v1:0", {})):
        answer = invoked(model, query="When turns the tide?", documents=texts, top_n=2, **more)
        assert [row["index"] for row in answer["results"]][0] == 1 and len(answer["results"]) == 2, answer
    refused("ValidationException", "api_version", lambda: invoked("cohere.rerank-v3-5:0", query="a", documents=["b"]))
    refused("ValidationException", "extraneous key", lambda: invoked("amazon.rerank-v1:0", query="a", documents=["b"], api_version=2))


def lent():
    ask = {"RoleArn": role, "RoleSessionName": "tests", "ExternalId": external_id}
    keys = client("sts").assume_role(**ask)["Credentials"]
    own = {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
        "aws_session_token": keys["SessionToken"],
    }
    answer = client(**own).converse(modelId=MODEL, messages=ASK)
    assert answer["output"]["message"]["content"] == [{"text": SAID}], answer
    own["aws_session_token"] += "x"
    refused("UnrecognizedClientException", "invalid", lambda: client(**own).converse(modelId=MODEL, messages=ASK))
    refused("AccessDenied", "sts:AssumeRole", lambda: client("sts").assume_role(**{**ask, "ExternalId": "another"}))


def vouched():
    with tempfile.NamedTemporaryFile("w", suffix=".jwt") as file:
        file.write(web_token)
        file.flush()
        os.environ |= {
            "AWS_WEB_IDENTITY_TOKEN_FILE": file.name,
            "AWS_ROLE_ARN": role,
            "AWS_ROLE_SESSION_NAME": "tests",
            "AWS_ENDPOINT_URL_STS": sts_url,
        }
        own = boto3.Session(region_name=region).client("bedrock-runtime", endpoint_url=base, config=ONCE)
        answer = own.converse(modelId=MODEL, messages=ASK)
        assert answer["output"]["message"]["content"] == [{"text": SAID}], answer
    ask = {"RoleArn": role, "RoleSessionName": "tests", "WebIdentityToken": web_token}

    def asked(**more):
        return lambda: client("sts").assume_role_with_web_identity(**ask | more)

    refused("InvalidIdentityToken", "signature", asked(WebIdentityToken=web_token[:-9] + "AAAAAAAAA"))
    refused("AccessDenied", "AssumeRoleWithWebIdentity", asked(RoleArn=role + "-another"))


def wrong():
    def ask(**more):
        return lambda: client(**more).converse(modelId=MODEL, messages=ASK)

    refused("InvalidSignatureException", "does not match", ask(aws_secret_access_key="nobody"))
    refused("UnrecognizedClientException", "invalid", ask(aws_access_key_id="AKIANOBODY"))
    refused("InvalidSignatureException", "valid region", ask(region_name="eu-west-1"))


for case in (buffered, streamed, called, ordered, identified, broken, thoughtful, listed, counted, embedded, drawn, ranked, lent, vouched, wrong):
    case()
    print("ok", case.__name__)
