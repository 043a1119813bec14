"""Drives a gateway with the official Python SDK, unmodified: the state of responses where no provider keeps it.

usage: kept_responses.py BASE_URL KEY MODELS
MODELS are parted by commas: the last is one whose provider stores responses itself. Prints `ok CASE` for each case that held.
"""

import sys

import openai

MODELS = []
TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def refused(error, code, call):
    try:
        call()
    except error as raised:
        assert raised.code == code, raised
    else:
        raise AssertionError(f"nothing was raised in place of {code}")


def a_chain_goes_on_over_models_and_providers(client):
    previous = None
    for number, model in enumerate(MODELS):
        made = client.responses.create(model=model, input=f"turn {number}", previous_response_id=previous)
        assert made.status == "completed" and made.output_text == f"You said: turn {number}", made
        if number < len(MODELS) - 1:
            assert made.previous_response_id == previous and made.store is True, made
        previous = made.id


def a_stream_is_kept_and_read_again(client):
    first = client.responses.create(model=MODELS[0], input="begin")
    ended = None
    for event in client.responses.create(
        model=MODELS[0], input="go on", previous_response_id=first.id, stream=True
    ):
        if event.type in ("response.created", "response.completed"):
            ended = event.response
            assert ended.previous_response_id == first.id and ended.store is True, event
    read = client.responses.retrieve(ended.id)
    assert read.output_text == ended.output_text == "You said: go on", read
    assert read.usage.input_tokens == ended.usage.input_tokens > first.usage.input_tokens, read
    again = client.responses.create(model=MODELS[1], input="more", previous_response_id=ended.id)
    assert again.output_text == "You said: more", again


def input_items_are_those_of_the_request(client):
    first = client.responses.create(model=MODELS[0], input="begin")
    words = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "go on"}]
    second = client.responses.create(model=MODELS[0], input=words, previous_response_id=first.id)
    items = list(client.responses.input_items.list(second.id, order="asc", limit=1))
    assert [(item.role, item.content[0].text) for item in items] == [("developer", "be brief"), ("user", "go on")], items
    assert len({item.id for item in items}) == 2, items


def a_tool_s_result_continues_its_call(client):
    called = client.responses.create(model=MODELS[0], input="emulate a call", tools=[TOOL], tool_choice="required")
    call = called.output[-1]
    assert call.type == "function_call" and call.name == "weather", called
    result = [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    told = client.responses.create(model=MODELS[0], input=result, tools=[TOOL], previous_response_id=called.id)
    assert told.status == "completed" and told.output_text, told


def what_is_not_kept_is_not_found(client):
    made = client.responses.create(model=MODELS[0], input="forget this", store=False)
    assert made.store is False, made
    refused(openai.NotFoundError, "response_not_found", lambda: client.responses.retrieve(made.id))
    kept = client.responses.create(model=MODELS[0], input="keep this")
    later = client.responses.create(model=MODELS[0], input="and this", previous_response_id=kept.id)
    client.responses.delete(kept.id)
    refused(openai.NotFoundError, "response_not_found", lambda: client.responses.retrieve(kept.id))
    assert client.responses.retrieve(later.id).output_text == "You said: and this"
    for gone in (made.id, kept.id, later.id):
        refused(
            openai.BadRequestError,
            "previous_response_not_found",
            lambda: client.responses.create(model=MODELS[0], input="go on", previous_response_id=gone),
        )
    refused(openai.BadRequestError, "response_not_in_background", lambda: client.responses.cancel(later.id))


def a_conversation_holds_what_was_said(client):
    opening = [{"role": "user", "content": "my name is Ada"}, {"role": "assistant", "content": "hello Ada"}]
    conversation = client.conversations.create(items=opening, metadata={"topic": "names"})
    assert conversation.metadata == {"topic": "names"}, conversation
    for number, model in enumerate(MODELS):
        made = client.responses.create(model=model, input=f"turn {number}", conversation=conversation.id)
        assert made.conversation.id == conversation.id and made.output_text == f"You said: turn {number}", made
    for event in client.responses.create(
        model=MODELS[0], input="a stream", conversation={"id": conversation.id}, store=False, stream=True
    ):
        if event.type == "response.completed":
            assert event.response.conversation.id == conversation.id and event.response.store is False, event
    added = client.conversations.items.create(
        conversation.id, items=[{"type": "message", "role": "developer", "content": "be brief"}]
    )
    items = list(client.conversations.items.list(conversation.id, order="asc", limit=2))
    said = [(item.role, item.content[0].text) for item in items]
    turns = [text for number in range(len(MODELS)) for text in (f"turn {number}", f"You said: turn {number}")]
    expected = ["my name is Ada", "hello Ada", *turns, "a stream", "You said: a stream", "be brief"]
    assert [text for _, text in said] == expected, said
    assert [role for role, _ in said][-3:] == ["user", "assistant", "developer"], said
    assert added.data[0].id == items[-1].id and len({item.id for item in items}) == len(items), added
    one = client.conversations.items.retrieve(items[0].id, conversation_id=conversation.id)
    assert one.content[0].text == "my name is Ada", one
    assert client.conversations.update(conversation.id, metadata={"topic": "people"}).metadata == {"topic": "people"}
    assert client.conversations.delete(conversation.id).deleted is True
    for gone in (
        lambda: client.conversations.retrieve(conversation.id),
        lambda: client.responses.create(model=MODELS[0], input="go on", conversation=conversation.id),
    ):
        refused(openai.NotFoundError, "conversation_not_found", gone)


def an_answer_in_the_background_is_read_by_its_id(client):
    for model in MODELS[:-1]:
        begun = client.responses.create(model=model, input="in the background", background=True)
        assert begun.status == "queued" and begun.background is True and begun.output == [], begun
        read = begun
        while read.status in ("queued", "in_progress"):
            read = client.responses.retrieve(begun.id)
        assert read.status == "completed" and read.output_text == "You said: in the background", read
        assert read.background is True and read.usage.output_tokens > 0, read
        assert client.responses.cancel(begun.id).status == "completed"
        onward = client.responses.create(model=model, input="go on", previous_response_id=begun.id)
        assert onward.output_text == "You said: go on", onward
    # Also where its provider makes such answers itself: it knows nothing of the conversation.
    conversation = client.conversations.create()
    begun = client.responses.create(model=MODELS[-1], input="later", conversation=conversation.id, background=True)
    while client.responses.retrieve(begun.id).status in ("queued", "in_progress"):
        pass
    items = client.conversations.items.list(conversation.id, order="asc").data
    assert [item.content[0].text for item in items] == ["later", "You said: later"], items


def a_summary_goes_on_over_models_and_an_item_is_deleted(client):
    spoken = [{"role": "user", "content": "my name is Ada"}, {"role": "assistant", "content": "hello Ada"}]
    compacted = client.responses.compact(model=MODELS[0], input=spoken)
    assert compacted.object == "response.compaction" and compacted.usage.total_tokens > 0, compacted
    assert [item.type for item in compacted.output] == ["message", "compaction"], compacted
    carried = [item.to_dict() for item in compacted.output]
    for model in MODELS:
        made = client.responses.create(model=model, input=[*carried, {"role": "user", "content": "go on"}])
        assert made.status == "completed" and made.output_text, made
    conversation = client.conversations.create(items=spoken)
    first, second = client.conversations.items.list(conversation.id, order="asc").data
    assert client.conversations.items.delete(first.id, conversation_id=conversation.id).id == conversation.id
    assert [item.id for item in client.conversations.items.list(conversation.id)] == [second.id]


def main():
    base_url, key, models = sys.argv[1:4]
    MODELS.extend(models.split(","))
    client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0)
    for case in (
        a_chain_goes_on_over_models_and_providers,
        a_stream_is_kept_and_read_again,
        input_items_are_those_of_the_request,
        a_tool_s_result_continues_its_call,
        what_is_not_kept_is_not_found,
        a_conversation_holds_what_was_said,
        an_answer_in_the_background_is_read_by_its_id,
        a_summary_goes_on_over_models_and_an_item_is_deleted,
    ):
        case(client)
        print("ok", case.__name__, flush=True)


main()
