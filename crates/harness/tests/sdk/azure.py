"""Drives an Azure resource with the official Python SDK and checks what a user of it would see.

usage: azure.py RESOURCE KEY DEPLOYMENT
"""

import sys

import openai
from openai import AzureOpenAI, OpenAI

ASK = [{"role": "user", "content": "Tell me about tides"}]
SAID = "You said: Tell me about tides"
resource, key, deployment = sys.argv[1:4]


def old():
    return AzureOpenAI(azure_endpoint=resource, api_key=key, api_version="2024-10-21", max_retries=0)


def current():
    return OpenAI(base_url=f"{resource}/openai/v1/", api_key=key, max_retries=0)


def buffered(client):
    answer = client.chat.completions.create(model=deployment, messages=ASK)
    assert answer.choices[0].message.content == SAID, answer
    assert answer.model == "gpt-4o-mini", answer.model
    assert answer.prompt_filter_results[0]["content_filter_results"]["hate"]["filtered"] is False, answer
    assert answer.usage.total_tokens > 0


def streamed(client):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=deployment, messages=ASK, stream=True, stream_options=options))
    assert chunks[0].choices == [] and chunks[0].prompt_filter_results, chunks[0]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == SAID, text
    assert chunks[-1].usage.completion_tokens > 0


def listed(client):
    assert any(model.id == "gpt-4o-mini" for model in client.models.list())


def answered(client):
    answer = client.responses.create(model=deployment, input="Tell me about tides")
    assert answer.output_text == SAID, answer.output_text


def not_deployed(client):
    try:
        client.chat.completions.create(model="gpt-4o-mini", messages=ASK)
    except openai.NotFoundError as error:
        assert error.code == "DeploymentNotFound", error.body
    else:
        raise AssertionError("a model's own name is no deployment")


def filtered(client):
    try:
        client.chat.completions.create(
            model=deployment, messages=ASK, user="emu:status=400,code=content_filter,message=filtered"
        )
    except openai.BadRequestError as error:
        assert error.code == "content_filter", error.body
        assert error.body["innererror"]["code"] == "ResponsibleAIPolicyViolation", error.body
    else:
        raise AssertionError("the filter said nothing")


def wrong_key(client):
    try:
        client.with_options(api_key="nobody").chat.completions.create(model=deployment, messages=ASK)
    except openai.AuthenticationError as error:
        assert "invalid subscription key" in error.message, error.message
    else:
        raise AssertionError("any key was taken")


for make in (old, current):
    for case in (buffered, streamed, listed, answered, not_deployed, filtered, wrong_key):
        case(make())
        print("ok", make.__name__, case.__name__)
