"""Asks a node for vectors with OpenAI's Python SDK, unmodified.

usage: local_vectors.py BASE_URL
Prints `ok CASE` for each case that held.
"""

import base64
import struct
import sys

import openai

TEXTS = ["high tide", "low tide né 漢字"]


def main():
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
    create = client.embeddings.create
    # The SDK asks for base64 where nothing is said, and decodes it.
    usual = create(model="tiny", input=TEXTS)
    assert [row.index for row in usual.data] == [0, 1] and usual.model == "tiny", usual
    assert usual.usage.prompt_tokens == usual.usage.total_tokens > 4, usual.usage
    print("ok usual")
    plain = create(model="tiny", input=TEXTS, encoding_format="float")
    for one, other in zip(usual.data, plain.data):
        assert all(abs(a - b) < 1e-7 for a, b in zip(one.embedding, other.embedding))
    print("ok float")
    coded = create(model="tiny", input=TEXTS[0], encoding_format="base64").data[0].embedding
    numbers = struct.unpack("<256f", base64.b64decode(coded))
    assert all(abs(a - b) < 1e-7 for a, b in zip(numbers, plain.data[0].embedding))
    print("ok base64")
    short = create(model="tiny", input=TEXTS[0], dimensions=16).data[0].embedding
    assert len(short) == 16 and abs(sum(number * number for number in short) - 1) < 1e-5
    scale = short[0] / plain.data[0].embedding[0]
    assert all(abs(a - b * scale) < 1e-6 for a, b in zip(short, plain.data[0].embedding))
    print("ok dimensions")
    try:
        create(model="tiny", input=TEXTS, dimensions=4096)
    except openai.BadRequestError as error:
        assert error.param == "dimensions", error
        print("ok refused")


if __name__ == "__main__":
    main()
