//! Gemini's request messages: every field, its type, and whether it repeats.

/// The type of a field on the wire.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    /// Base64 in the standard or the URL-safe alphabet, padded or not.
    Bytes,
    Flag,
    Int32,
    Float,
    /// Seconds with an `s` suffix.
    Duration,
    Timestamp,
    /// Any JSON object.
    Struct,
    /// Any JSON value.
    Any,
    Enum(&'static Names),
    Message(&'static Message),
    /// String keys with values of one message type.
    Map(&'static Message),
}

pub(crate) struct Names {
    pub(crate) name: &'static str,
    pub(crate) values: &'static [&'static str],
}

pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
    /// At most one of these may be set.
    pub(crate) data: &'static [&'static str],
}

pub(crate) struct Field {
    /// In camel case; snake case is accepted as well.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) many: bool,
}

const fn one(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, many: false }
}

const fn many(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, many: true }
}

const fn message(name: &'static str, fields: &'static [Field]) -> Message {
    Message { name, fields, data: &[] }
}

const fn names(name: &'static str, values: &'static [&'static str]) -> Names {
    Names { name, values }
}

/// `:generateContent` and `:streamGenerateContent`.
#[rustfmt::skip]
pub(crate) static GENERATE: Message = message("GenerateContentRequest", &[
    one("model", Kind::Text), many("contents", Kind::Message(&CONTENT)),
    one("systemInstruction", Kind::Message(&CONTENT)), many("tools", Kind::Message(&TOOL)),
    one("toolConfig", Kind::Message(&TOOL_CONFIG)), many("safetySettings", Kind::Message(&SAFETY)),
    one("generationConfig", Kind::Message(&GENERATION)), one("cachedContent", Kind::Text),
    one("serviceTier", Kind::Enum(&TIER)), one("store", Kind::Flag), one("labels", Kind::Struct),
]);

pub(crate) static COUNT: Message = message(
    "CountTokensRequest",
    &[many("contents", Kind::Message(&CONTENT)), one("generateContentRequest", Kind::Message(&GENERATE))],
);

#[rustfmt::skip]
pub(crate) static EMBED: Message = message("EmbedContentRequest", &[
    one("model", Kind::Text), one("content", Kind::Message(&CONTENT)), one("taskType", Kind::Enum(&TASK)),
    one("title", Kind::Text), one("outputDimensionality", Kind::Int32),
]);

pub(crate) static BATCH_EMBED: Message =
    message("BatchEmbedContentsRequest", &[many("requests", Kind::Message(&EMBED))]);

pub(crate) static BATCH_GENERATE: Message =
    message("BatchGenerateContentRequest", &[one("batch", Kind::Message(&BATCH))]);

#[rustfmt::skip]
static BATCH: Message = message("GenerateContentBatch", &[
    one("model", Kind::Text), one("displayName", Kind::Text), one("inputConfig", Kind::Message(&BATCH_INPUT)),
    one("priority", Kind::Int32), one("webhookConfig", Kind::Struct),
]);

static BATCH_INPUT: Message =
    message("InputConfig", &[one("fileName", Kind::Text), one("requests", Kind::Message(&INLINED))]);

static INLINED: Message = message("InlinedRequests", &[many("requests", Kind::Message(&INLINED_REQUEST))]);

static INLINED_REQUEST: Message =
    message("InlinedRequest", &[one("request", Kind::Message(&GENERATE)), one("metadata", Kind::Struct)]);

#[rustfmt::skip]
pub(crate) static CACHED_CONTENT: Message = message("CachedContent", &[
    one("name", Kind::Text), one("displayName", Kind::Text), one("model", Kind::Text),
    many("contents", Kind::Message(&CONTENT)), one("systemInstruction", Kind::Message(&CONTENT)),
    many("tools", Kind::Message(&TOOL)), one("toolConfig", Kind::Message(&TOOL_CONFIG)),
    one("ttl", Kind::Duration), one("expireTime", Kind::Timestamp),
]);

static CONTENT: Message = message("Content", &[many("parts", Kind::Message(&PART)), one("role", Kind::Text)]);

#[rustfmt::skip]
static PART: Message = Message {
    name: "Part",
    fields: &[
        one("text", Kind::Text), one("inlineData", Kind::Message(&BLOB)),
        one("fileData", Kind::Message(&FILE)), one("functionCall", Kind::Message(&FUNCTION_CALL)),
        one("functionResponse", Kind::Message(&FUNCTION_RESPONSE)),
        one("executableCode", Kind::Message(&EXECUTABLE_CODE)),
        one("codeExecutionResult", Kind::Message(&CODE_RESULT)), one("toolCall", Kind::Message(&TOOL_CALL)),
        one("toolResponse", Kind::Message(&TOOL_RESPONSE)), one("thought", Kind::Flag),
        one("thoughtSignature", Kind::Bytes), one("videoMetadata", Kind::Message(&VIDEO)),
        one("mediaResolution", Kind::Message(&PART_RESOLUTION)), one("partMetadata", Kind::Struct),
    ],
    data: &[
        "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode",
        "codeExecutionResult", "toolCall", "toolResponse",
    ],
};

static BLOB: Message = message("Blob", &[one("mimeType", Kind::Text), one("data", Kind::Bytes)]);
static FILE: Message = message("FileData", &[one("mimeType", Kind::Text), one("fileUri", Kind::Text)]);
static VIDEO: Message = message(
    "VideoMetadata",
    &[one("startOffset", Kind::Duration), one("endOffset", Kind::Duration), one("fps", Kind::Float)],
);
static PART_RESOLUTION: Message =
    message("MediaResolution", &[one("level", Kind::Text), one("numTokens", Kind::Int32)]);
static FUNCTION_CALL: Message =
    message("FunctionCall", &[one("id", Kind::Text), one("name", Kind::Text), one("args", Kind::Struct)]);
#[rustfmt::skip]
static FUNCTION_RESPONSE: Message = message("FunctionResponse", &[
    one("id", Kind::Text), one("name", Kind::Text), one("response", Kind::Struct),
    many("parts", Kind::Message(&RESPONSE_PART)), one("willContinue", Kind::Flag),
    one("scheduling", Kind::Enum(&SCHEDULING)),
]);
static RESPONSE_PART: Message = Message {
    name: "FunctionResponsePart",
    fields: &[one("inlineData", Kind::Message(&BLOB)), one("fileData", Kind::Message(&FILE))],
    data: &["inlineData", "fileData"],
};
static EXECUTABLE_CODE: Message = message(
    "ExecutableCode",
    &[one("id", Kind::Text), one("language", Kind::Enum(&LANGUAGE)), one("code", Kind::Text)],
);
static CODE_RESULT: Message = message(
    "CodeExecutionResult",
    &[one("id", Kind::Text), one("outcome", Kind::Enum(&OUTCOME)), one("output", Kind::Text)],
);
static TOOL_CALL: Message =
    message("ToolCall", &[one("id", Kind::Text), one("toolType", Kind::Text), one("args", Kind::Struct)]);
static TOOL_RESPONSE: Message = message(
    "ToolResponse",
    &[one("id", Kind::Text), one("toolType", Kind::Text), one("response", Kind::Struct)],
);

#[rustfmt::skip]
static TOOL: Message = message("Tool", &[
    many("functionDeclarations", Kind::Message(&DECLARATION)), one("googleSearch", Kind::Struct),
    one("googleSearchRetrieval", Kind::Struct), one("codeExecution", Kind::Message(&EMPTY)),
    one("urlContext", Kind::Message(&EMPTY)), one("googleMaps", Kind::Struct),
    one("fileSearch", Kind::Struct), one("computerUse", Kind::Struct), many("mcpServers", Kind::Struct),
]);
static EMPTY: Message = message("Empty", &[]);
#[rustfmt::skip]
static DECLARATION: Message = message("FunctionDeclaration", &[
    one("name", Kind::Text), one("description", Kind::Text), one("behavior", Kind::Enum(&BEHAVIOR)),
    one("parameters", Kind::Message(&SCHEMA)), one("parametersJsonSchema", Kind::Any),
    one("response", Kind::Message(&SCHEMA)), one("responseJsonSchema", Kind::Any),
]);

/// Gemini's subset of OpenAPI's schema, without references and `additionalProperties`.
#[rustfmt::skip]
static SCHEMA: Message = message("Schema", &[
    one("type", Kind::Enum(&TYPE)), one("format", Kind::Text), one("title", Kind::Text),
    one("description", Kind::Text), one("nullable", Kind::Flag), many("enum", Kind::Text),
    one("items", Kind::Message(&SCHEMA)), one("maxItems", Kind::Int32), one("minItems", Kind::Int32),
    one("properties", Kind::Map(&SCHEMA)), many("required", Kind::Text), one("minProperties", Kind::Int32),
    one("maxProperties", Kind::Int32), one("minLength", Kind::Int32), one("maxLength", Kind::Int32),
    one("pattern", Kind::Text), one("example", Kind::Any), many("anyOf", Kind::Message(&SCHEMA)),
    many("propertyOrdering", Kind::Text), one("default", Kind::Any), one("minimum", Kind::Float),
    one("maximum", Kind::Float),
]);

#[rustfmt::skip]
static TOOL_CONFIG: Message = message("ToolConfig", &[
    one("functionCallingConfig", Kind::Message(&CALLING)), one("retrievalConfig", Kind::Struct),
    one("includeServerSideToolInvocations", Kind::Flag),
]);
static CALLING: Message = message(
    "FunctionCallingConfig",
    &[one("mode", Kind::Enum(&MODE)), many("allowedFunctionNames", Kind::Text)],
);

static SAFETY: Message = message(
    "SafetySetting",
    &[one("category", Kind::Enum(&CATEGORY)), one("threshold", Kind::Enum(&THRESHOLD))],
);

#[rustfmt::skip]
static GENERATION: Message = message("GenerationConfig", &[
    one("temperature", Kind::Float), one("topP", Kind::Float), one("topK", Kind::Float),
    one("candidateCount", Kind::Int32), one("maxOutputTokens", Kind::Int32),
    many("stopSequences", Kind::Text), one("seed", Kind::Int32), one("presencePenalty", Kind::Float),
    one("frequencyPenalty", Kind::Float), one("responseLogprobs", Kind::Flag), one("logprobs", Kind::Int32),
    one("responseMimeType", Kind::Text), one("responseSchema", Kind::Message(&SCHEMA)),
    one("responseJsonSchema", Kind::Any), many("responseModalities", Kind::Enum(&MODALITY)),
    one("speechConfig", Kind::Struct), one("imageConfig", Kind::Struct),
    one("mediaResolution", Kind::Enum(&RESOLUTION)), one("thinkingConfig", Kind::Message(&THINKING)),
    one("enableEnhancedCivicAnswers", Kind::Flag), one("audioTranscriptionConfig", Kind::Struct),
    one("continuationToken", Kind::Bytes),
]);
#[rustfmt::skip]
static THINKING: Message = message("ThinkingConfig", &[
    one("includeThoughts", Kind::Flag), one("thinkingBudget", Kind::Int32),
    one("thinkingLevel", Kind::Enum(&LEVEL)),
]);

static TYPE: Names = names("Type", &["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"]);
static MODE: Names =
    names("FunctionCallingConfig.Mode", &["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"]);
static LEVEL: Names = names(
    "ThinkingConfig.ThinkingLevel",
    &["THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"],
);
static TIER: Names = names("ServiceTier", &["UNSPECIFIED", "FLEX", "STANDARD", "PRIORITY"]);
static BEHAVIOR: Names = names("FunctionDeclaration.Behavior", &["UNSPECIFIED", "BLOCKING", "NON_BLOCKING"]);
static SCHEDULING: Names =
    names("FunctionResponse.Scheduling", &["SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT"]);
static LANGUAGE: Names = names("ExecutableCode.Language", &["LANGUAGE_UNSPECIFIED", "PYTHON"]);
static OUTCOME: Names = names(
    "CodeExecutionResult.Outcome",
    &["OUTCOME_UNSPECIFIED", "OUTCOME_OK", "OUTCOME_FAILED", "OUTCOME_DEADLINE_EXCEEDED"],
);
static MODALITY: Names =
    names("GenerationConfig.Modality", &["MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", "VIDEO"]);
#[rustfmt::skip]
static RESOLUTION: Names = names("GenerationConfig.MediaResolution", &[
    "MEDIA_RESOLUTION_UNSPECIFIED", "MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM",
    "MEDIA_RESOLUTION_HIGH",
]);
#[rustfmt::skip]
static CATEGORY: Names = names("HarmCategory", &[
    "HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_HATE_SPEECH", "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT", "HARM_CATEGORY_CIVIC_INTEGRITY",
]);
#[rustfmt::skip]
static THRESHOLD: Names = names("SafetySetting.HarmBlockThreshold", &[
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH",
    "BLOCK_NONE", "OFF",
]);
#[rustfmt::skip]
static TASK: Names = names("TaskType", &[
    "TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION",
    "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
]);
