"""Drives an Azure resource with the official Python SDK and checks what a user of it would see.

usage: azure.py RESOURCE KEY DEPLOYMENT FOUNDRY
"""

import sys

import anthropic
import openai
from openai import AzureOpenAI, OpenAI

ASK = [{"role": "user", "content": "Tell me about tides"}]
SAID = "You said: Tell me about tides"
resource, key, deployment, foundry = sys.argv[1:5]


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
        raise AssertionError("a model's own name isn't a deployment")


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


def claude(**more):
    return anthropic.AnthropicFoundry(base_url=f"{foundry}/anthropic", max_retries=0, **{"api_key": key, **more})


def message():
    ask = {"model": "my-claude-haiku-4-5", "messages": ASK}
    assert claude().messages.create(max_tokens=100, **ask).content[0].text == SAID
    with claude().messages.stream(max_tokens=100, **ask) as stream:
        assert stream.get_final_message().content[0].text == SAID
    assert claude().messages.count_tokens(**ask).input_tokens > 0


def message_refused():
    for client, model, kind in [
        (claude(), "claude-haiku-4-5", anthropic.NotFoundError),
        (claude(api_key="nobody"), "my-claude-haiku-4-5", anthropic.AuthenticationError),
    ]:
        try:
            client.messages.create(model=model, max_tokens=9, messages=ASK)
        except kind:
            continue
        raise AssertionError(f"{model} was taken")


for case in (message, message_refused):
    case()
    print("ok", case.__name__)
for make in (old, current):
    for case in (buffered, streamed, listed, answered, not_deployed, filtered, wrong_key):
        case(make())
        print("ok", make.__name__, case.__name__)
