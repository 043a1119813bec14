"""Drives Bedrock's other endpoint with the official Python SDKs of two vendors and checks what their users would see.

usage: mantle.py BASE_URL ACCESS_KEY_ID SECRET_ACCESS_KEY REGION API_KEY
"""

import sys

import anthropic
import openai
from anthropic import AnthropicBedrockMantle
from openai import OpenAI
from openai.providers import bedrock

base, key_id, secret, region, api_key = sys.argv[1:6]
ASK = [{"role": "user", "content": "Tell me about tides"}]
SAID = "You said: Tell me about tides"


def claude(**more):
    settings = {"aws_access_key": key_id, "aws_secret_key": secret, "aws_region": region, **more}
    return AnthropicBedrockMantle(base_url=f"{base}/anthropic", max_retries=0, **settings)


def common(surface="/openai/v1", **more):
    settings = {"access_key_id": key_id, "secret_access_key": secret, **more}
    provider = bedrock(endpoint="mantle", region=region, base_url=f"{base}{surface}", **settings)
    return OpenAI(provider=provider, max_retries=0)


def messages():
    asked = {"model": "anthropic.claude-haiku-4-5", "max_tokens": 100, "messages": ASK}
    answer = claude().messages.create(**asked)
    assert answer.content[0].text == SAID, answer
    with claude().messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == SAID
    assert claude().messages.count_tokens(model=asked["model"], messages=ASK).input_tokens > 0


def messages_by_key():
    answer = AnthropicBedrockMantle(base_url=f"{base}/anthropic", api_key=api_key, aws_region=region).messages.create(
        model="anthropic.claude-haiku-4-5", max_tokens=100, messages=ASK
    )
    assert answer.content[0].text == SAID, answer


def responses():
    answer = common().responses.create(model="openai.gpt-5.4", input="Tell me about tides")
    assert answer.output_text == SAID, answer
    events = list(common().responses.create(model="openai.gpt-5.4", input="Tell me about tides", stream=True))
    assert events[-1].type == "response.completed", events[-1]


def completions():
    answer = common("/v1").chat.completions.create(model="openai.gpt-oss-120b", messages=ASK)
    assert answer.choices[0].message.content == SAID, answer
    assert any(model.id == "openai.gpt-oss-120b" for model in common("/v1").models.list())


def wrong_place():
    for surface, model in (("/v1", "openai.gpt-5.4"), ("/openai/v1", "openai.gpt-oss-120b"), ("/v1", "anthropic.claude-haiku-4-5")):
        try:
            common(surface).chat.completions.create(model=model, messages=ASK)
        except openai.BadRequestError as error:
            assert "does not support" in str(error), error
        else:
            raise AssertionError(f"{model} answered below {surface}")
    try:
        claude().messages.create(model="us.anthropic.claude-haiku-4-5", max_tokens=100, messages=ASK)
    except anthropic.NotFoundError as error:
        assert "us.anthropic" in str(error), error
    else:
        raise AssertionError("a profile answered")


def wrong_keys():
    for call in (
        lambda: claude(aws_secret_key="nobody").messages.create(
            model="anthropic.claude-haiku-4-5", max_tokens=100, messages=ASK
        ),
        lambda: common(secret_access_key="nobody").responses.create(model="openai.gpt-5.4", input="x"),
    ):
        try:
            call()
        except (anthropic.PermissionDeniedError, openai.PermissionDeniedError) as error:
            assert "does not match" in str(error), error
        else:
            raise AssertionError("a forged signature passed")


for case in (messages, messages_by_key, responses, completions, wrong_place, wrong_keys):
    case()
    print(f"ok {case.__name__}")
