"""Drives Vertex AI with the official Python SDKs of two makers and checks what a user of them would see.

usage: vertex.py ORIGIN KEY_FILE PROJECT LOCATION POOL_CONFIGURATION TOKEN
"""

import json
import sys
import tempfile

import anthropic
import requests
from anthropic import AnthropicVertex
from google import genai
from google.auth import exceptions as refusals
from google.auth import identity_pool
from google.auth.transport.requests import AuthorizedSession
from google.genai import errors as failures
from google.genai import types
from google.oauth2 import service_account

ASK = "Tell me about tides"
SAID = f"You said: {ASK}"
GEMINI, CLAUDE = "gemini-2.5-flash", "claude-haiku-4-5@20251001"
TURNS = [{"role": "user", "content": ASK}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
origin, file, project, location, pool, token = sys.argv[1:7]
file, pool = json.loads(file), json.loads(pool)
# A client that nobody holds closes under its own requests.
kept = []


def credentials(**changes):
    return service_account.Credentials.from_service_account_info(file | changes, scopes=SCOPES)


def google(**changes):
    options = types.HttpOptions(base_url=origin, timeout=20_000)
    said = {"project": project, "location": location, "credentials": credentials()} | changes
    kept.append(genai.Client(vertexai=True, http_options=options, **said))
    return kept[-1]


def claude(**changes):
    said = {"project_id": project, "region": location, "credentials": credentials()} | changes
    return AnthropicVertex(base_url=f"{origin}/v1", max_retries=0, **said)


def buffered():
    answer = google().models.generate_content(model=GEMINI, contents=ASK)
    assert answer.text == SAID, answer
    assert answer.usage_metadata.total_token_count > answer.usage_metadata.prompt_token_count


def streamed():
    chunks = list(google().models.generate_content_stream(model=GEMINI, contents=ASK))
    assert "".join(chunk.text or "" for chunk in chunks) == SAID
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP


def tools():
    client = google()
    tool = types.Tool(
        function_declarations=[types.FunctionDeclaration(name="get_weather", parameters_json_schema=CITY)]
    )
    config = types.GenerateContentConfig(tools=[tool], labels={"emulate": "tools=single"})
    asked = [types.Content(role="user", parts=[types.Part(text=ASK)])]
    answer = client.models.generate_content(model=GEMINI, contents=asked, config=config)
    (call,) = answer.function_calls
    result = types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"})
    turns = [*asked, answer.candidates[0].content, types.Content(role="user", parts=[types.Part(function_response=result)])]
    config = types.GenerateContentConfig(tools=[tool])
    assert client.models.generate_content(model=GEMINI, contents=turns, config=config).text == SAID


def counted():
    client = google()
    config = types.CountTokensConfig(system_instruction="Be brief.")
    plain = client.models.count_tokens(model=GEMINI, contents=ASK).total_tokens
    assert 0 < plain < client.models.count_tokens(model=GEMINI, contents=ASK, config=config).total_tokens


def refused():
    for changes, status, words in [
        ({"project": "another"}, "PERMISSION_DENIED", "resource project another"),
        ({"location": "atlantis1"}, "PERMISSION_DENIED", "aiplatform.endpoints.predict"),
    ]:
        try:
            google(**changes).models.generate_content(model=GEMINI, contents=ASK)
        except failures.ClientError as error:
            assert (error.code, error.status) == (403, status) and words in error.message, error
        else:
            raise AssertionError(f"{changes} was taken")
    try:
        google().models.generate_content(model="gemini-0", contents=ASK)
    except failures.ClientError as error:
        assert error.code == 404 and "Publisher Model" in error.message, error
    else:
        raise AssertionError("no such model")


def not_exchanged():
    for changes, words in [
        ({"client_email": "nobody@x.iam.gserviceaccount.com"}, "account not found"),
        ({"private_key_id": "deleted"}, "Invalid JWT Signature"),
    ]:
        try:
            google(credentials=credentials(**changes)).models.generate_content(model=GEMINI, contents=ASK)
        except refusals.RefreshError as error:
            assert "invalid_grant" in str(error) and words in str(error), error
        else:
            raise AssertionError(f"{changes} was taken")


def embedded():
    texts = {"text-embedding-005": ["tide", "moon"], "gemini-embedding-001": ["tide"], "gemini-embedding-2": ["tide"]}
    for model, contents in texts.items():
        config = {"output_dimensionality": 8, "task_type": "RETRIEVAL_QUERY"}
        answer = google().models.embed_content(model=model, contents=contents, config=config)
        assert [len(embedding.values) for embedding in answer.embeddings] == [8] * len(contents), answer
        assert all(embedding.statistics.token_count > 0 for embedding in answer.embeddings), answer


def pictured():
    client, model = google(), "imagen-4.0-generate-001"
    config = types.GenerateImagesConfig(
        number_of_images=2,
        aspect_ratio="16:9",
        image_size="2K",
        output_mime_type="image/jpeg",
        output_compression_quality=80,
        safety_filter_level=types.SafetyFilterLevel.BLOCK_ONLY_HIGH,
        person_generation=types.PersonGeneration.ALLOW_ADULT,
        language=types.ImagePromptLanguage.en,
        add_watermark=False,
        seed=7,
        enhance_prompt=True,
        labels={"team": "sea"},
    )
    answer = client.models.generate_images(model=model, prompt=ASK, config=config)
    assert len(answer.generated_images) == 2, answer
    for picture in answer.generated_images:
        assert picture.image.mime_type == "image/jpeg" and picture.image.image_bytes.startswith(b"\x89PNG")
        assert picture.enhanced_prompt.startswith(ASK) and picture.rai_filtered_reason is None
    assert len(client.models.generate_images(model=model, prompt=ASK).generated_images) == 4
    config = {"include_rai_reason": True, "number_of_images": 1}
    answer = client.models.generate_images(model=model, prompt="a tide, all filtered", config=config)
    (held_back,) = answer.generated_images
    assert held_back.image.image_bytes is None and "not be charged" in held_back.rai_filtered_reason, answer
    for changes, words in [
        ({"config": {"number_of_images": 5}}, "sampleCount"),
        ({"config": {"aspect_ratio": "3:2"}}, "aspectRatio"),
        ({"config": {"output_compression_quality": 80}}, "image/jpeg"),
        ({"config": {"seed": 7}}, "watermark"),
        ({"prompt": "something forbidden"}, "Responsible AI practices"),
        ({"model": "imagen-0"}, "Publisher Model"),
    ]:
        try:
            client.models.generate_images(**({"model": model, "prompt": ASK} | changes))
        except failures.ClientError as error:
            assert error.code in (400, 404) and words in error.message, error
        else:
            raise AssertionError(f"{changes} was taken")


def filmed():
    client, model = google(), "veo-3.0-generate-001"

    def made(prompt, model=model, **said):
        operation = client.models.generate_videos(model=model, prompt=prompt, **said)
        assert not operation.done and "/operations/" in operation.name, operation
        looks = 0
        while not operation.done:
            operation, looks = client.operations.get(operation), looks + 1
        assert looks == 2, looks
        return operation

    config = types.GenerateVideosConfig(
        number_of_videos=2,
        duration_seconds=4,
        aspect_ratio="9:16",
        resolution="1080p",
        seed=7,
        negative_prompt="rain",
        person_generation="dont_allow",
        enhance_prompt=True,
        generate_audio=True,
    )
    films = made("sea ", config=config).response.generated_videos
    assert [film.video.mime_type for film in films] == ["video/mp4"] * 2, films
    assert films[0].video.video_bytes == b"sea " * (4 * 16 * 1024)
    picture = types.Image(image_bytes=b"\x89PNG", mime_type="image/png")
    (film,) = made("a tide", image=picture).response.generated_videos
    assert film.video.video_bytes.startswith(b"a tide [") and len(film.video.video_bytes) == 8 * 64 * 1024
    (film,) = made("a tide", config={"output_gcs_uri": "gs://sea"}).response.generated_videos
    assert film.video.uri.startswith("gs://sea/") and film.video.video_bytes is None, film
    held_back = made("a tide, all filtered", model="veo-2.0-generate-001").response
    assert held_back.rai_media_filtered_count == 1 and not held_back.generated_videos, held_back
    assert "usage guidelines" in held_back.rai_media_filtered_reasons[0], held_back
    broken = made("a tide, broken off")
    assert broken.error["code"] == 13 and broken.response is None, broken
    for changes, words in [
        ({"config": {"duration_seconds": 5}}, "duration 5"),
        ({"config": {"aspect_ratio": "1:1"}}, "aspectRatio"),
        ({"model": "veo-2.0-generate-001", "config": {"resolution": "720p"}}, "resolution"),
        ({"prompt": "something forbidden"}, "Responsible AI practices"),
        ({"model": "veo-0"}, "Publisher Model"),
    ]:
        try:
            client.models.generate_videos(**({"model": model, "prompt": ASK} | changes))
        except failures.ClientError as error:
            assert error.code in (400, 404) and words in error.message, error
        else:
            raise AssertionError(f"{changes} was taken")
    unknown = types.GenerateVideosOperation(name=broken.name + "0")
    try:
        client.operations.get(unknown)
    except failures.ClientError as error:
        assert error.code == 404, error
    else:
        raise AssertionError("an operation of nobody was found")


def pictured_by_hand():
    """What no client of the maker's says."""
    models = f"{origin}/v1/projects/{project}/locations/{location}/publishers/google/models"
    address = f"{models}/imagen-4.0-generate-001:predict"
    good = {"instances": [{"prompt": ASK}], "parameters": {"sampleCount": 1}}
    session = AuthorizedSession(credentials())
    assert len(session.post(address, json=good).json()["predictions"]) == 1
    for changes, words in [
        ({"n": 1}, 'Unknown name "n"'),
        ({"parameters": {"size": "1024x1024"}}, 'Unknown name "size"'),
        ({"instances": [{"prompt": ASK, "quality": "high"}]}, 'Unknown name "quality"'),
        ({"instances": [{"prompt": ASK}] * 2}, "one instance"),
        ({"instances": [{"prompt": ""}]}, "prompt is empty"),
        ({"parameters": {"outputOptions": {"mimeType": "image/webp"}}}, "mimeType"),
        ({"labels": {"team": 7}}, "labels.team"),
    ]:
        answer = session.post(address, json=good | changes)
        error = answer.json()["error"]
        assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT") and words in error["message"], error
    for method, elsewhere in [
        ("GET", address),
        ("POST", address.removesuffix(":predict")),
        ("POST", f"{models}/imagen-4.0-generate-001:generateContent"),
        ("POST", f"{models}/{GEMINI}:predict"),
        ("POST", address.replace("/google/", "/anthropic/")),
    ]:
        answer = session.request(method, elsewhere, json=good)
        assert answer.status_code == 404, (method, elsewhere, answer.text)
    for headers in [{}, {"authorization": "Basic bm9ib2R5"}]:
        answer = requests.post(address, json=good, headers=headers, timeout=20)
        assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED"), answer.text


def pooled():
    with tempfile.NamedTemporaryFile("w", suffix=".jwt") as vouching:
        vouching.write(token)
        vouching.flush()
        source = {"credential_source": {"file": vouching.name}}
        own = identity_pool.Credentials.from_info(pool | source, scopes=SCOPES)
        assert google(credentials=own).models.generate_content(model=GEMINI, contents=ASK).text == SAID
        another = identity_pool.Credentials.from_info(pool | source | {"audience": "//another"}, scopes=SCOPES)
        try:
            google(credentials=another).models.generate_content(model=GEMINI, contents=ASK)
        except refusals.OAuthError as error:
            assert "target service" in str(error), error
        else:
            raise AssertionError("another pool's audience was taken")


def message():
    answer = claude().messages.create(model=CLAUDE, max_tokens=100, messages=TURNS)
    assert answer.content[0].text == SAID, answer
    assert answer.model == "claude-haiku-4-5-20251001" and answer.usage.input_tokens > 0, answer


def message_streamed():
    with claude().messages.stream(model=CLAUDE, max_tokens=100, messages=TURNS) as stream:
        assert "".join(stream.text_stream) == SAID


def message_tools():
    client = claude()
    tool = {"name": "get_weather", "input_schema": CITY}
    said = {"model": CLAUDE, "max_tokens": 100, "tools": [tool]}
    turns = [{"role": "user", "content": "Please call get_weather"}]
    answer = client.messages.create(messages=turns, **said)
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(messages=turns, **said).stop_reason == "end_turn"


def message_counted():
    assert claude().messages.count_tokens(model=CLAUDE, messages=TURNS).input_tokens > 0


def message_refused():
    for changes, ask, kind in [
        ({}, {"model": "claude-0"}, anthropic.NotFoundError),
        ({}, {"messages": []}, anthropic.BadRequestError),
        ({"project_id": "another"}, {}, anthropic.PermissionDeniedError),
        ({"access_token": "nobody's"}, {}, anthropic.AuthenticationError),
    ]:
        try:
            claude(**changes).messages.create(**({"model": CLAUDE, "max_tokens": 9, "messages": TURNS} | ask))
        except kind:
            continue
        raise AssertionError(f"{changes} {ask} was taken")


CASES = [
    buffered,
    streamed,
    tools,
    counted,
    refused,
    not_exchanged,
    pooled,
    embedded,
    pictured,
    pictured_by_hand,
    filmed,
    message,
    message_streamed,
    message_tools,
    message_counted,
    message_refused,
]
for case in CASES:
    case()
    print("ok", case.__name__, flush=True)
