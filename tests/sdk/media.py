"""Drives a gateway with the official Python SDKs, unmodified, where the answers are no text: pictures, speech, ranks.

usage: media.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import base64
import sys

import openai
import together

PAINTER = "openai/gpt-image-1-mini"
FLUX = "black-forest-labs/FLUX.1-schnell"
VOICE = "openai/gpt-4o-mini-tts"
RANKER = "Salesforce/Llama-Rank-v1"
TEXT = "The tide is high"
WORD_BYTES = 480
PNG = b"\x89PNG\r\n"


def pictures(clients):
    answer = clients.openai.images.generate(model=PAINTER, prompt="a tide", n=2, size="1024x1024", quality="low")
    assert [base64.b64decode(image.b64_json).startswith(PNG) for image in answer.data] == [True, True], answer
    assert answer.usage.output_tokens == 2 * 272 and answer.usage.input_tokens > 0, answer.usage


def pictures_by_and_by(clients):
    stream = clients.openai.images.generate(model=PAINTER, prompt="a tide", stream=True, partial_images=2)
    events = list(stream)
    kinds = [event.type.removeprefix("image_generation.") for event in events]
    assert kinds == ["partial_image", "partial_image", "completed"], kinds
    assert [event.partial_image_index for event in events[:2]] == [0, 1], events
    assert events[-1].usage.output_tokens == 272, events[-1].usage


def pictures_of_another_server(clients):
    answer = clients.openai.images.generate(model=FLUX, prompt="a tide", size="640x480", response_format="b64_json")
    assert base64.b64decode(answer.data[0].b64_json).startswith(PNG), answer
    answer = clients.together.images.generate(model=FLUX, prompt="a tide", width=640, height=480, response_format="url")
    assert answer.data[0].url.startswith("https://"), answer


def speech(clients):
    answer = clients.openai.audio.speech.create(model=VOICE, input=TEXT, voice="alloy", response_format="opus")
    assert len(answer.content) == WORD_BYTES * len(TEXT.split()), len(answer.content)
    assert answer.response.headers["content-type"] == "audio/opus", answer.response.headers


def speech_by_and_by(clients):
    create = clients.openai.audio.speech.with_streaming_response.create
    with create(model=VOICE, input=TEXT, voice="alloy") as answer:
        sound = b"".join(answer.iter_bytes())
    assert sound.startswith(b"The\0The\0") and len(sound) == WORD_BYTES * len(TEXT.split()), len(sound)


def speech_is_refused(clients):
    try:
        clients.openai.audio.speech.create(model=VOICE, input="a" * 5000, voice="alloy")
    except openai.BadRequestError as error:
        assert error.param == "input", error
    else:
        raise AssertionError("a text that is too long was read aloud")


def ranks(clients):
    documents = ["a dog", "the tide", "a high tide"]
    answer = clients.together.rerank.create(
        model=RANKER, query="high tide", documents=documents, top_n=2, return_documents=True
    )
    assert [row.index for row in answer.results] == [2, 1], answer
    assert [row.document.text for row in answer.results] == ["a high tide", "the tide"], answer
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0, answer.usage


class Clients:
    def __init__(self, base_url, key):
        self.openai = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
        self.together = together.Together(base_url=base_url.removesuffix("/v1"), api_key=key, max_retries=0)


def main():
    base_url, key, _ = sys.argv[1:]
    clients = Clients(base_url, key)
    for case in [
        pictures,
        pictures_by_and_by,
        pictures_of_another_server,
        speech,
        speech_by_and_by,
        speech_is_refused,
        ranks,
    ]:
        case(clients)
        print("ok", case.__name__, flush=True)


main()
