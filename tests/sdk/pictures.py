"""Drives a gateway with the official Python SDK, unmodified, where pictures are made of others.

usage: pictures.py BASE_URL KEY READ_ONLY_KEY
Prints `ok CASE` for each case that held.
"""

import base64
import sys
import zlib

import openai

PAINTER = "openai/gpt-image-1-mini"
OLD = "openai/dall-e-2"
PICTURE = bytes(range(256)) * 40
LONG = bytes(range(251)) * 12_000  # more than is held


def told(*files):
    """What the emulator writes behind its pixel: a lost or changed byte would be another sum."""
    return "; ".join(f"{name}: {len(data)} bytes of {zlib.crc32(data):08x}" for name, data in files).encode()


def seen(picture):
    return base64.b64decode(picture).partition(b"IEND\xaeB`\x82")[2]


def edit(client, image, **more):
    return client.images.edit(model=PAINTER, prompt="a high tide", image=image, **more)


def one(client):
    answer = edit(client, ("tide.png", PICTURE), n=2, size="1024x1024", quality="low", input_fidelity="high")
    assert [seen(image.b64_json) for image in answer.data] == [told(("image", PICTURE))] * 2, answer
    usage = answer.usage
    assert (usage.input_tokens_details.image_tokens, usage.output_tokens) == (4_483, 2 * 272), usage


def several_with_a_mask(client):
    files = [("one.png", PICTURE), ("two.webp", LONG), ("three.jpg", PICTURE[1:])]
    answer = edit(client, files, mask=("mask.png", PICTURE[2:]))
    expected = told(("image[]", PICTURE), ("image[]", LONG), ("image[]", PICTURE[1:]), ("mask", PICTURE[2:]))
    assert seen(answer.data[0].b64_json) == expected, answer
    assert answer.usage.input_tokens_details.image_tokens == 4 * 323, answer.usage


def by_and_by(client):
    for picture in [PICTURE, LONG]:
        events = list(edit(client, ("tide.png", picture), stream=True, partial_images=2))
        kinds = [event.type.removeprefix("image_edit.") for event in events]
        assert kinds == ["partial_image", "partial_image", "completed"], kinds
        assert [event.partial_image_index for event in events[:2]] == [0, 1], events
        assert seen(events[-1].b64_json) == told(("image", picture)), events[-1]
        assert events[-1].usage.output_tokens == 272, events[-1].usage


def variations(client):
    answer = client.images.create_variation(model=OLD, image=("tide.png", PICTURE), n=2, response_format="b64_json")
    assert [seen(image.b64_json) for image in answer.data] == [told(("image", PICTURE))] * 2, answer
    answer = client.images.create_variation(model=OLD, image=("tide.png", PICTURE), response_format="url")
    assert answer.data[0].url.startswith("https://"), answer


def refused(client):
    for kind, param, more in [
        (openai.BadRequestError, "image", {"image": ("tide.gif", PICTURE)}),
        (openai.BadRequestError, "n", {"n": 0}),
        (openai.BadRequestError, "partial_images", {"partial_images": 2}),
        (openai.NotFoundError, None, {"model": "openai/no-such-model"}),
    ]:
        arguments = {"model": PAINTER, "prompt": "x", "image": ("tide.png", PICTURE)} | more
        try:
            client.images.edit(**arguments)
        except kind as error:
            assert param is None or error.param == param, (param, error)
        else:
            raise AssertionError(f"{more} was taken")


def repeated(client):
    """The SDK chooses a boundary for each request: a repeated one is the same nevertheless."""
    create, again = client.images.with_raw_response.edit, {"extra_headers": {"Idempotency-Key": "tide-1"}}
    first, second = (create(model=PAINTER, prompt="x", image=("a.png", LONG), **again) for _ in range(2))
    assert second.headers["agent-trace-id"] == first.headers["agent-trace-id"], second.headers
    try:
        create(model=PAINTER, prompt="x", image=("a.png", LONG[1:]), **again)
    except openai.ConflictError:
        return
    raise AssertionError("another picture was taken under the same key")


def main():
    base_url, key, _ = sys.argv[1:]
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    for case in [one, several_with_a_mask, by_and_by, variations, refused, repeated]:
        case(client)
        print("ok", case.__name__, flush=True)


main()
