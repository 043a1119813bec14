//! The JSON Schemas of apps: what each kind takes, and what it answers.

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::limits::{INPUT_FILES_MAX, INPUT_TEXTS_MAX};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What an app of a kind takes.
pub fn input(kind: Kind) -> Value {
    match kind {
        Kind::Text => text(),
        Kind::Embedding => embedding(),
        Kind::Image => image(),
        Kind::Speech => speech(),
        Kind::Transcription => transcription(),
        Kind::Rerank => rerank(),
        Kind::Moderation => moderation(),
        Kind::Video => video(),
    }
}

/// What an app of a kind answers.
pub fn output(kind: Kind) -> Value {
    let (title, required, properties) = match kind {
        Kind::Text => ("Answer", "response", text_output()),
        Kind::Embedding => (
            "Vectors",
            "embeddings",
            json!({"embeddings": {
                "type": "array",
                "description": "One vector for each text, in their order.",
                "items": {"type": "array", "items": {"type": "number"}},
            }}),
        ),
        Kind::Image => {
            ("Pictures", "images", json!({"images": {"type": "array", "items": made("A picture")}}))
        }
        Kind::Speech => ("Speech", "audio", json!({"audio": made("The sound")})),
        Kind::Transcription => ("Transcript", "text", transcription_output()),
        Kind::Rerank => ("Order", "results", rerank_output()),
        Kind::Moderation => (
            "Findings",
            "results",
            json!({"results": {
                "type": "array",
                "description": "One finding for each text, in their order.",
                "items": {
                    "type": "object",
                    "properties": {
                        "flagged": {"type": "boolean"},
                        "categories": {"type": "object", "additionalProperties": {"type": "boolean"}},
                        "category_scores": {"type": "object", "additionalProperties": {"type": "number"}},
                    },
                    "required": ["flagged"],
                },
            }}),
        ),
        Kind::Video => ("Video", "video", json!({"video": video_output()})),
    };
    json!({"$schema": DIALECT, "title": title, "type": "object", "properties": properties, "required": [required]})
}

#[expect(clippy::needless_pass_by_value, reason = "JSON reads best by value")]
fn object(title: &str, properties: Value, required: &[&str]) -> Value {
    json!({
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn words(title: &str, description: &str) -> Value {
    json!({"type": ["string", "null"], "title": title, "description": description})
}

fn needed_words(title: &str, description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "title": title, "description": description})
}

fn number(title: &str, minimum: f64, maximum: f64) -> Value {
    json!({"type": ["number", "null"], "title": title, "minimum": minimum, "maximum": maximum})
}

fn count(title: &str, description: &str, minimum: u64) -> Value {
    json!({
        "type": ["integer", "null"], "title": title, "description": description,
        "minimum": minimum, "maximum": u32::MAX,
    })
}

/// A file: an https URL or a data URI, alone or with its name and type.
fn file(title: &str, description: &str, is_needed: bool) -> Value {
    let text = json!({"type": ["string", "null"]});
    let mut types = vec!["string", "object"];
    if !is_needed {
        types.push("null");
    }
    json!({
        "type": types,
        "format": "file",
        "title": title,
        "description": format!("{description} An https URL or a data URI, alone or in `uri`."),
        "minLength": 1,
        "properties": {
            "uri": {"type": "string", "minLength": 1},
            "filename": text,
            "content_type": text,
            // File objects of client libraries carry these; they have no effect.
            "path": text,
            "size": {"type": ["integer", "null"]},
        },
        "required": ["uri"],
        "additionalProperties": false,
    })
}

fn files(title: &str, description: &str) -> Value {
    json!({
        "type": ["array", "null"],
        "title": title,
        "items": file(title, description, true),
        "maxItems": INPUT_FILES_MAX,
    })
}

/// One text or several.
fn texts(title: &str, description: &str) -> Value {
    json!({
        "type": ["string", "array"],
        "title": title,
        "description": description,
        "minLength": 1,
        "items": {"type": "string", "minLength": 1},
        "minItems": 1,
        "maxItems": INPUT_TEXTS_MAX,
    })
}

fn text() -> Value {
    let mut schema = object("Prompt", Value::Object(text_fields()), &[]);
    // Either name of the prompt, or a conversation.
    let one_of = ["prompt", "text", "context"].map(|name| json!({"required": [name]}));
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("required");
        fields.insert("anyOf".to_owned(), json!(one_of));
    }
    schema
}

fn text_fields() -> Map<String, Value> {
    let question = json!({
        "prompt": needed_words("Prompt", "What the model is asked."),
        "text": {"type": "string", "title": "Prompt", "description": "Another name of `prompt`."},
        "document": file("Document", "A text, PDF or picture to read first.", false),
        "documents": files("Documents", "A text, PDF or picture to read first."),
        "files": files("Files", "Another name of `documents`."),
        "attachments": files("Attachments", "Another name of `documents`."),
        "image": file("Picture", "A PNG, JPEG, GIF or WebP picture to look at.", false),
        "images": files("Pictures", "A PNG, JPEG, GIF or WebP picture to look at."),
        "system": words("System prompt", "How the model is to answer."),
        "system_prompt": words("System prompt", "Another name of `system`."),
        "context": context(),
        "role": {"type": ["string", "null"], "enum": ["user", "tool", null], "title": "Role",
            "description": "Who speaks: `tool` for the result of a call that `tool_call_id` names."},
        "tool_call_id": words("Call", "The call that this is the result of."),
    });
    let settings = json!({
        "max_tokens": count("Answer's length", "The most tokens of the answer.", 1),
        "temperature": number("Temperature", 0.0, 2.0),
        "top_p": number("Top P", 0.0, 1.0),
        "top_k": {"type": ["integer", "null"], "title": "Top K", "minimum": -1},
        "min_p": number("Min P", 0.0, 1.0),
        "frequency_penalty": number("Frequency penalty", -2.0, 2.0),
        "presence_penalty": number("Presence penalty", -2.0, 2.0),
        "repetition_penalty": {"type": ["number", "null"], "title": "Repetition penalty", "minimum": 0},
        "seed": {"type": ["integer", "null"], "title": "Seed"},
        "stop": {"type": ["string", "array", "null"], "title": "Stop", "items": {"type": "string"},
            "description": "Texts at which the answer ends."},
        "context_size": {"type": ["integer", "null"], "title": "Context",
            "description": "Has no effect: a model's context is its own."},
        "reasoning_effort": words("Reasoning", "How much the model thinks first: such as `low`, `medium` or `high`."),
        "tools": {"type": ["array", "null"], "title": "Tools", "items": {"type": "object"},
            "description": "Functions that the model may call, as in Chat Completions."},
        "tool_choice": {"type": ["string", "object", "null"], "title": "Tool choice",
            "description": "`none`, `auto`, `required`, or the function that is to be called."},
        "response_format": {"type": ["object", "null"], "title": "Form of the answer",
            "description": "`{\"type\": \"json_schema\", \"json_schema\": {…}}`, for an answer of that schema."},
    });
    [question, settings].into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()
}

fn context() -> Value {
    json!({
        "type": ["array", "null"],
        "title": "Context",
        "description": "The conversation so far, the oldest message first.",
        "items": {
            "type": "object",
            "properties": {
                "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
                "text": {"type": ["string", "null"]},
                "content": {"type": ["string", "null"]},
                "image": file("Picture", "A picture.", false),
                "images": files("Pictures", "A picture."),
                "files": files("Files", "A document."),
                "tool_calls": {"type": ["array", "null"], "items": {"type": "object"}},
                "tool_call_id": {"type": ["string", "null"]},
                "tools": {"type": ["array", "null"]},
                "reasoning": {"type": ["string", "null"]},
                "reasoning_state": {"type": ["object", "null"]},
            },
            "required": ["role"],
            "additionalProperties": false,
        },
    })
}

fn embedding() -> Value {
    let mut schema = object(
        "Texts",
        json!({
            "text": texts("Text", "One text or several."),
            "texts": texts("Texts", "Another name of `text`."),
            "input": texts("Texts", "Another name of `text`."),
            "dimensions": count("Dimensions", "How long the vectors are to be, where the model lets one choose.", 1),
            "input_type": words("Use", "What the vectors are for, where the model asks, such as `query`."),
        }),
        &[],
    );
    let one_of = ["text", "texts", "input"].map(|name| json!({"required": [name]}));
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("required");
        fields.insert("anyOf".to_owned(), json!(one_of));
    }
    schema
}

fn image() -> Value {
    object(
        "Picture",
        json!({
            "prompt": needed_words("Prompt", "What is to be seen, or what is to change."),
            "image": file("Picture", "A picture to edit.", false),
            "images": files("Pictures", "A picture to edit."),
            "mask": file("Mask", "Where the picture may change.", false),
            "n": count("Number", "How many pictures are made.", 1),
            "size": words("Size", "Width and height, such as `1024x1024`, or a name that the model knows."),
            "aspect_ratio": words("Sides", "The ratio of the sides, where the model asks for one, such as `16:9`."),
            "quality": words("Quality", "A quality that the model knows, such as `low`."),
            "background": words("Background", "Such as `transparent`."),
            "style": words("Style", "A style that the model knows."),
            "output_format": words("Format", "The form of the file, such as `png`, `jpeg` or `webp`."),
            "output_compression": {"type": ["integer", "null"], "title": "Compression", "minimum": 0, "maximum": 100},
            "negative_prompt": words("Negative prompt", "What is not to be seen, where the model asks."),
            "guidance_scale": {"type": ["number", "null"], "title": "Guidance"},
            "steps": count("Steps", "Steps of the drawing, where the model asks.", 1),
            "seed": {"type": ["integer", "null"], "title": "Seed"},
        }),
        &["prompt"],
    )
}

fn speech() -> Value {
    object(
        "Speech",
        json!({
            "text": needed_words("Text", "What is read aloud."),
            "voice": needed_words("Voice", "The name of one of the model's voices."),
            "instructions": words("Instructions", "How it is read, where the model takes advice."),
            "speed": number("Speed", 0.25, 4.0),
            "format": words("Format", "The form of the file, such as `mp3` or `wav`."),
            "language": words("Language", "The language of the text, where the model asks."),
        }),
        &["text", "voice"],
    )
}

fn transcription() -> Value {
    object(
        "Recording",
        json!({
            "audio": file("Recording", "The sound that is written down.", true),
            "language": words("Language", "The spoken language, such as `en`."),
            "prompt": words("Prompt", "What is talked about, or words that are hard to hear."),
            "temperature": number("Temperature", 0.0, 1.0),
            "timestamps": {"type": ["string", "null"], "enum": ["segment", "word", null], "title": "Times",
                "description": "What gets times in `segments`, where the model tells them."},
            "translate": {"type": ["boolean", "null"], "title": "Translate", "default": false,
                "description": "The text is to be English, whatever is spoken."},
        }),
        &["audio"],
    )
}

fn rerank() -> Value {
    object(
        "Question",
        json!({
            "query": needed_words("Question", "What the texts are compared with."),
            "documents": {
                "type": "array",
                "title": "Texts",
                "items": {
                    "type": ["string", "object"],
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                },
                "minItems": 1,
                "maxItems": INPUT_TEXTS_MAX,
            },
            "top_n": count("Number", "How many of the best are told.", 1),
            "return_documents": {"type": ["boolean", "null"], "title": "With texts", "default": false,
                "description": "Each result has its text."},
        }),
        &["query", "documents"],
    )
}

fn moderation() -> Value {
    object("Texts", json!({"text": texts("Text", "One text or several.")}), &["text"])
}

fn video() -> Value {
    object(
        "Video",
        json!({
            "prompt": needed_words("Prompt", "What is to be seen."),
            "seconds": {"type": ["integer", "string", "null"], "title": "Length", "minimum": 1,
                "description": "Its length in seconds, one that the model knows."},
            "size": words("Size", "Width and height, such as `1280x720`."),
            "image": file("First picture", "A PNG or JPEG picture that it begins with.", false),
        }),
        &["prompt"],
    )
}

fn made(title: &str) -> Value {
    json!({
        "type": "object",
        "title": title,
        "properties": {
            "uri": {"type": "string", "format": "file"},
            "content_type": {"type": "string"},
            "width": {"type": "integer"},
            "height": {"type": "integer"},
        },
        "required": ["uri", "content_type"],
    })
}

fn text_output() -> Value {
    let tokens = ["prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "total_tokens"];
    let tokens: Map<String, Value> =
        tokens.iter().map(|name| ((*name).to_owned(), json!({"type": "integer"}))).collect();
    json!({
        "response": {"type": "string", "description": "What the model answers."},
        "reasoning": {"type": "string", "description": "What it thought first, where it tells."},
        "tool_calls": {"type": "array", "items": {"type": "object"}, "description": "The calls that it makes."},
        "usage": {"type": "object", "properties": tokens},
    })
}

fn transcription_output() -> Value {
    json!({
        "text": {"type": "string"},
        "language": {"type": "string"},
        "segments": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "start": {"type": "number"}, "end": {"type": "number"}, "text": {"type": "string"},
                },
            },
        },
    })
}

fn rerank_output() -> Value {
    json!({"results": {
        "type": "array",
        "description": "The best first.",
        "items": {
            "type": "object",
            "properties": {
                "index": {"type": "integer", "description": "The place of the text in the input."},
                "score": {"type": "number"},
                "document": {"type": "string"},
            },
            "required": ["index", "score"],
        },
    }})
}

fn video_output() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "uri": {"type": "string", "description": "Where this gateway answers with the file, to the same key."},
            "content_type": {"type": "string"},
            "seconds": {"type": "number"},
            "size": {"type": "string"},
        },
        "required": ["id", "uri", "content_type"],
    })
}
