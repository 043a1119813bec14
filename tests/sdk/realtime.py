"""Drives a gateway, or the provider's own server, with the official Python SDK's realtime client, unmodified.

usage: realtime.py BASE_URL KEY READ_ONLY_KEY [MODEL]
Prints `ok CASE` for each case that held.
"""

import asyncio
import base64
import sys

import openai
import websockets

BASE_URL, KEY, READER = sys.argv[1:4]
MODEL = sys.argv[4] if len(sys.argv) > 4 else "openai/gpt-realtime-1.5"
SAID = "The tide comes in twice daily."
SECOND_OF_SOUND = base64.b64encode(b"\x01" * 48_000).decode()


def ask(connection, text):
    content = [{"type": "input_text", "text": text}]
    connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    connection.response.create()


def answer(connection):
    text, sound = "", b""
    for event in connection:
        match event.type:
            case "response.output_text.delta" | "response.output_audio_transcript.delta":
                text += event.delta
            case "response.output_audio.delta":
                sound += base64.b64decode(event.delta)
            case "error":
                raise AssertionError(event)
            case "response.done":
                return text, sound, event.response


def two_responses(client):
    with client.realtime.connect(model=MODEL) as connection:
        assert connection.recv().type == "session.created"
        connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        ask(connection, "hello")
        text, sound, response = answer(connection)
        assert (text, sound, response.status) == (SAID, b"", "completed"), response
        assert response.usage.output_token_details.text_tokens == 6, response.usage
        ask(connection, "and again")
        text, _, response = answer(connection)
        assert text == SAID and response.usage.input_token_details.cached_tokens > 0, response


def spoken(client):
    with client.realtime.connect(model=MODEL) as connection:
        connection.input_audio_buffer.append(audio=SECOND_OF_SOUND)
        connection.input_audio_buffer.commit()
        connection.response.create()
        text, sound, response = answer(connection)
        assert text == SAID and len(sound) == 6 * 2_400, (text, len(sound))
        assert response.usage.input_token_details.audio_tokens == 10, response.usage


def errors_are_events(client):
    with client.realtime.connect(model=MODEL) as connection:
        assert connection.recv().type == "session.created"
        connection.input_audio_buffer.commit()
        event = connection.recv()
        assert event.type == "error" and event.error.code == "input_audio_buffer_commit_empty", event
        ask(connection, "hello")
        assert answer(connection)[2].status == "completed"


def refused(key):
    client = openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=0)
    try:
        with client.realtime.connect(model=MODEL):
            raise AssertionError("it was let in")
    except websockets.exceptions.InvalidStatus as error:
        return error.response.status_code


def wrong_key(_):
    assert refused("sk-nobody") == 401


async def at_once():
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY) as client:
        async with client.realtime.connect(model=MODEL) as connection:
            await connection.response.create(response={"output_modalities": ["text"]})
            async for event in connection:
                if event.type == "response.done":
                    return event.response.status


def asynchronous(_):
    assert asyncio.run(at_once()) == "completed"


def main():
    client = openai.OpenAI(base_url=BASE_URL, api_key=KEY)
    for case in [two_responses, spoken, errors_are_events, wrong_key, asynchronous]:
        case(client)
        print("ok", case.__name__)
    if READER != "-":
        assert refused(READER) == 403
        print("ok", "no_scope")


main()
