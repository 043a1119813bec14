//! The fields of Gemini's `generateContent`, `countTokens` and embedding requests, in camelCase.

use conversation::shared_fields::FieldRule::{Object, Plain, Reference, Text};
use conversation::shared_fields::{FieldRule, Fields, Text as Words};

pub(crate) static REQUEST: Fields = Fields(&[
    ("cachedContent", Text(Words::File)),
    ("contents", CONTENT),
    ("generateContentRequest", Object(Words::Plain, &REQUEST)),
    ("generationConfig", Object(Words::Plain, &GENERATION)),
    ("labels", Plain),
    ("model", Plain),
    ("safetySettings", Plain),
    ("serviceTier", Plain),
    ("store", Plain),
    ("systemInstruction", CONTENT),
    ("toolConfig", Object(Words::Plain, &TOOL_CONFIG)),
    ("tools", Object(Words::Plain, &TOOL)),
]);

pub(crate) static CACHED_CONTENT: Fields = Fields(&[
    ("contents", CONTENT),
    ("displayName", Plain),
    ("expireTime", Plain),
    ("model", Plain),
    ("systemInstruction", CONTENT),
    ("toolConfig", Object(Words::Plain, &TOOL_CONFIG)),
    ("tools", Object(Words::Plain, &TOOL)),
    ("ttl", Plain),
]);

pub(crate) static EMBED: Fields = Fields(&[
    ("content", CONTENT),
    ("model", Plain),
    ("outputDimensionality", Plain),
    ("requests", Object(Words::Plain, &EMBED)),
    ("taskType", Plain),
    ("title", Plain),
]);

const CONTENT: FieldRule =
    Object(Words::Plain, &Fields(&[("parts", Object(Words::Plain, &PART)), ("role", Plain)]));

static PART: Fields = Fields(&[
    ("codeExecutionResult", Plain),
    ("executableCode", Plain),
    ("fileData", FILE),
    ("functionCall", Plain),
    ("functionResponse", Object(Words::Plain, &RESULT)),
    ("inlineData", Plain),
    ("mediaResolution", Plain),
    ("partMetadata", Plain),
    ("text", Plain),
    ("thought", Plain),
    ("thoughtSignature", Plain),
    ("toolCall", Plain),
    ("toolResponse", Plain),
    ("videoMetadata", Plain),
]);

const FILE: FieldRule = Object(
    Words::Reference,
    &Fields(&[("displayName", Plain), ("fileUri", Text(Words::Address)), ("mimeType", Plain)]),
);

static RESULT: Fields = Fields(&[
    ("id", Plain),
    ("name", Plain),
    ("parts", Object(Words::Plain, &Fields(&[("fileData", FILE), ("inlineData", Plain)]))),
    ("response", Plain),
    ("scheduling", Plain),
    ("willContinue", Plain),
]);

static TOOL: Fields = Fields(&[
    ("codeExecution", Plain),
    ("computerUse", Plain),
    ("enterpriseWebSearch", Plain),
    ("fileSearch", Reference),
    ("functionDeclarations", Plain),
    ("googleMaps", Object(Words::Reference, &Fields(&[("enableWidget", Plain)]))),
    ("googleSearch", Plain),
    ("googleSearchRetrieval", Plain),
    (
        "mcpServers",
        Object(Words::Reference, &Fields(&[("name", Plain), ("streamableHttpTransport", TRANSPORT)])),
    ),
    // Data stores of the account, of any kind.
    ("retrieval", Reference),
    ("urlContext", Plain),
]);

const TRANSPORT: FieldRule = Object(
    Words::Reference,
    &Fields(&[
        ("headers", Plain),
        ("sseReadTimeout", Plain),
        ("terminateOnClose", Plain),
        ("timeout", Plain),
        ("url", Text(Words::Address)),
    ]),
);

static TOOL_CONFIG: Fields = Fields(&[
    ("functionCallingConfig", Plain),
    ("includeServerSideToolInvocations", Plain),
    ("retrievalConfig", Object(Words::Reference, &Fields(&[("languageCode", Plain), ("latLng", Plain)]))),
]);

static GENERATION: Fields = Fields(&[
    ("audioTimestamp", Plain),
    ("audioTranscriptionConfig", Plain),
    ("candidateCount", Plain),
    ("continuationToken", Plain),
    ("enableEnhancedCivicAnswers", Plain),
    ("frequencyPenalty", Plain),
    ("imageConfig", Object(Words::Plain, &IMAGE)),
    ("logprobs", Plain),
    ("maxOutputTokens", Plain),
    ("mediaResolution", Plain),
    ("presencePenalty", Plain),
    ("responseFormat", Plain),
    ("responseJsonSchema", Plain),
    ("responseLogprobs", Plain),
    ("responseMimeType", Plain),
    ("responseModalities", Plain),
    ("responseSchema", Plain),
    ("seed", Plain),
    ("speechConfig", Object(Words::Plain, &SPEECH)),
    ("stopSequences", Plain),
    ("temperature", Plain),
    ("thinkingConfig", Plain),
    ("topK", Plain),
    ("topP", Plain),
]);

static IMAGE: Fields = Fields(&[
    ("aspectRatio", Plain),
    ("imageOutputOptions", Plain),
    ("imageSize", Plain),
    ("personGeneration", Plain),
    ("prominentPeople", Plain),
]);

static SPEECH: Fields = Fields(&[
    ("languageCode", Plain),
    (
        "multiSpeakerVoiceConfig",
        Object(
            Words::Plain,
            &Fields(&[(
                "speakerVoiceConfigs",
                Object(Words::Plain, &Fields(&[("speaker", Plain), ("voiceConfig", VOICE)])),
            )]),
        ),
    ),
    ("voiceConfig", VOICE),
]);

const VOICE: FieldRule = Object(Words::Plain, &Fields(&[("prebuiltVoiceConfig", Plain)]));
