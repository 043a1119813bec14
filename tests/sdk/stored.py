"""Drives a gateway with the official Python SDK, unmodified, where a provider keeps its answers.

usage: stored.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import openai
from driver import openai_client, refused, run

MODEL = "openai/gpt-4o-mini"
ASK = "How high is the tide?"
SAID = "You said: How high is the tide?"


def fails(kind, code, call):
    error = refused(kind, call)
    assert error.code == code, (error.code, code)
    return error


def lifecycle(client):
    made = client.responses.create(model=MODEL, input=[{"role": "user", "content": word} for word in "abc"])
    assert client.responses.retrieve(made.id) == made
    include = ["message.output_text.logprobs"]
    assert client.responses.retrieve(made.id, include=include).output_text == made.output_text
    words = lambda **how: [item.content for item in client.responses.input_items.list(made.id, **how)]
    assert len(words()) == 3 and words() == words(order="asc")[::-1]
    page = client.responses.input_items.list(made.id, order="asc", limit=2)
    assert len(page.data) == 2 and page.has_more
    assert words(order="asc", after=page.last_id) == words(order="asc")[2:]
    client.responses.delete(made.id)
    for ask in (client.responses.retrieve, client.responses.input_items.list, client.responses.delete):
        fails(openai.NotFoundError, "response_not_found", lambda: ask(made.id))


def chain(client):
    first = client.responses.create(model=MODEL, input="The sea is wide")
    second = client.responses.create(model=MODEL, input="and deep", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens
    with client.responses.stream(model=MODEL, input="and blue", previous_response_id=second.id) as stream:
        third = stream.get_final_response()
    assert third.usage.input_tokens > second.usage.input_tokens
    assert client.responses.retrieve(third.id).output_text == "You said: and blue"
    refused = lambda: client.responses.create(model=MODEL, input="x", previous_response_id="resp_none")
    assert fails(openai.BadRequestError, "previous_response_not_found", refused).param == "previous_response_id"


def background(client):
    answer = client.responses.create(model=MODEL, input=ASK, background=True)
    seen = [answer.status]
    while answer.status in ("queued", "in_progress"):
        answer = client.responses.retrieve(answer.id)
        seen.append(answer.status)
    assert seen == ["queued", "in_progress", "completed"], seen
    assert answer.output_text == SAID and answer.usage.output_tokens > 0
    assert client.responses.retrieve(answer.id) == answer


def cancel(client):
    answer = client.responses.create(model=MODEL, input=ASK, background=True)
    assert client.responses.cancel(answer.id).status == "cancelled"
    assert client.responses.cancel(answer.id).status == "cancelled"
    assert client.responses.retrieve(answer.id).status == "cancelled"
    plain = client.responses.create(model=MODEL, input=ASK)
    try:
        client.responses.cancel(plain.id)
    except openai.BadRequestError as error:
        assert "Cannot cancel a synchronous response." in error.message, error
    else:
        raise AssertionError("a synchronous answer was cancelled")


def resume(client):
    seen, stream = [], client.responses.create(model=MODEL, input=ASK, background=True, stream=True)
    for event in stream:
        seen.append(event)
        if len(seen) == 5:
            break
    stream.close()
    made, after = seen[0].response, seen[-1].sequence_number
    rest = list(client.responses.retrieve(made.id, stream=True, starting_after=after))
    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers))), numbers
    assert rest[-1].type == "response.completed" and rest[-1].response.output_text == SAID
    assert client.responses.retrieve(made.id).output_text == SAID


def unkept(client):
    made = client.responses.create(model=MODEL, input=ASK, store=False)
    fails(openai.NotFoundError, "response_not_found", lambda: client.responses.retrieve(made.id))


run(openai_client(), lifecycle, chain, background, cancel, resume, unkept)
