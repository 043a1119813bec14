"""Drives a gateway with the official Python SDK, unmodified, where recordings are written down.

usage: audio.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import sys
import zlib

import openai

WHISPER = "openai/whisper-1"
TOKENS = "openai/gpt-4o-transcribe"
NODE = "gpt-4o-mini-transcribe"
SOUND = bytes(range(256)) * 125  # two seconds of the emulator's sound
LONG = bytes(range(251)) * 12_000  # more than is held


def heard(sound):
    """What the emulator hears: a lost or changed byte would be another text."""
    return f"I heard {len(sound)} bytes of {zlib.crc32(sound):08x}."


def transcribe(client, model, sound=SOUND, **more):
    return client.audio.transcriptions.create(model=model, file=("tide.mp3", sound), **more)


def every_form(client):
    answer = transcribe(client, TOKENS)
    assert answer.text == heard(SOUND), answer
    assert (answer.usage.type, answer.usage.input_token_details.audio_tokens) == ("tokens", 20), answer.usage
    answer = transcribe(client, WHISPER, prompt="Names: Ann", temperature=0.2, language="en")
    assert (answer.text, answer.usage.type, answer.usage.seconds) == (heard(SOUND), "duration", 2), answer
    answer = transcribe(client, WHISPER, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (answer.text, answer.duration) == (heard(SOUND), 2.0), answer
    assert transcribe(client, WHISPER, response_format="text") == heard(SOUND) + "\n"
    answer = transcribe(client, WHISPER, response_format="srt")
    assert "00:00:00,000 --> 00:00:02,000" in answer and heard(SOUND) in answer, answer
    assert transcribe(client, WHISPER, response_format="vtt").startswith("WEBVTT")


def translations(client):
    answer = client.audio.translations.create(model=WHISPER, file=("tide.wav", SOUND))
    assert answer.text == heard(SOUND), answer


def streams(client):
    events = list(transcribe(client, TOKENS, stream=True))
    kinds = [event.type for event in events]
    assert kinds[-1] == "transcript.text.done" and set(kinds[:-1]) == {"transcript.text.delta"}, kinds
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == heard(SOUND), events
    assert events[-1].usage.output_tokens == len(heard(SOUND).split(" ")), events[-1]


def long_files(client):
    assert len(LONG) > 2 * 1024 * 1024
    assert transcribe(client, WHISPER, LONG).text == heard(LONG)
    assert list(transcribe(client, TOKENS, LONG, stream=True))[-1].text == heard(LONG)


def nodes(client):
    raw = client.audio.transcriptions.with_raw_response.create(model=NODE, file=("tide.mp3", SOUND))
    assert raw.headers["agent-execution-profile"] == "byoc", raw.headers
    assert raw.parse().text == heard(SOUND)


def refused(client):
    for kind, param, more in [
        (openai.BadRequestError, "file", {"file": ("tide.txt.exe", SOUND)}),
        (openai.NotFoundError, "model", {"model": "openai/no-such-model"}),
        (openai.BadRequestError, "response_format", {"response_format": "poem"}),
    ]:
        arguments = {"model": WHISPER, "file": ("tide.mp3", SOUND)} | more
        try:
            client.audio.transcriptions.create(**arguments)
        except kind as error:
            assert param == "file" or error.param in (param, None), (param, error)
        else:
            raise AssertionError(f"{more} was taken")


def repeated(client):
    """The SDK chooses a boundary for each request: a repeated one is the same nevertheless."""
    again = {"extra_headers": {"Idempotency-Key": "tide-1"}}
    first = client.audio.transcriptions.with_raw_response.create(model=WHISPER, file=("a.mp3", SOUND), **again)
    second = client.audio.transcriptions.with_raw_response.create(model=WHISPER, file=("a.mp3", SOUND), **again)
    assert second.headers["agent-trace-id"] == first.headers["agent-trace-id"], second.headers
    assert second.parse().text == heard(SOUND)
    try:
        client.audio.transcriptions.create(model=WHISPER, file=("a.mp3", SOUND[1:]), **again)
    except openai.ConflictError:
        return
    raise AssertionError("another file was taken under the same key")


def main():
    base_url, key, _ = sys.argv[1:]
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    for case in [every_form, translations, streams, long_files, nodes, refused, repeated]:
        case(client)
        print("ok", case.__name__, flush=True)


main()
