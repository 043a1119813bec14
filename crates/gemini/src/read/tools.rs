//! Reads tools and the tool choice.

use domain::prompt::{Tool, ToolChoice, ToolKind};
use domain::{Fault, Json};
use json::refusal::wrong_value;
use json::{Cursor, Kind};

use super::Reading;
use crate::names::{each, members, raw, text, word};
use crate::schema::to_json_schema;

impl Reading {
    pub(super) fn tools(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        each(cursor, |cursor, index| {
            let path = format!("{path}[{index}]");
            members(cursor, &path, |cursor, name, written| {
                let path = format!("{path}.{written}");
                if name == "functionDeclarations" {
                    return each(cursor, |cursor, index| self.function(cursor, &format!("{path}[{index}]")));
                }
                // Tools that Google runs itself: search, code execution, maps, and any that are added later.
                if let Some(json) = raw(cursor)? {
                    self.add_tool(ToolKind::Hosted { kind: name.to_owned(), json });
                }
                Ok::<(), Box<Fault>>(())
            })
        })
    }

    fn add_tool(&mut self, kind: ToolKind) {
        self.prompt.tools.push(Tool { kind, cache: None });
    }

    fn function(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let mut function_name = None;
        let mut description = None;
        let mut vendor_schema = None;
        let mut json_schema: Option<Json> = None;
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "name" => function_name = text(cursor, &path)?,
                "description" => description = text(cursor, &path)?,
                "parameters" if cursor.kind()? == Kind::Object => {
                    vendor_schema = Some(to_json_schema(cursor)?)
                }
                "parametersJsonSchema" => json_schema = raw(cursor)?,
                // The schema of the tool's response, and whether the model waits for it: hints that can be
                // dropped.
                "response" | "responseJsonSchema" | "behavior" => self.extra(cursor, path, false)?,
                _ => self.extra(cursor, path, true)?,
            }
            Ok::<(), Box<Fault>>(())
        })?;
        let schema = json_schema.or(vendor_schema);
        let name = function_name.unwrap_or_default();
        self.add_tool(ToolKind::Function { name, description, schema, strict: None });
        Ok(())
    }

    pub(super) fn tool_config(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "functionCallingConfig" => self.calling(cursor, &path),
                "retrievalConfig" | "includeServerSideToolInvocations" => {
                    Ok(self.extra(cursor, path, false)?)
                }
                _ => Ok(self.extra(cursor, path, true)?),
            }
        })
    }

    fn calling(&mut self, cursor: &mut Cursor<'_>, path: &str) -> Result<(), Box<Fault>> {
        let mut mode = None;
        let mut names = Vec::new();
        let mut mode_path = String::new();
        members(cursor, path, |cursor, name, written| {
            let path = format!("{path}.{written}");
            match name {
                "mode" => {
                    mode = word(cursor, &path)?;
                    mode_path = path;
                }
                "allowedFunctionNames" => each(cursor, |cursor, _| {
                    names.extend(text(cursor, &path)?);
                    Ok::<(), Box<Fault>>(())
                })?,
                // Streaming the arguments does not change them.
                "streamFunctionCallArguments" => self.extra(cursor, path, false)?,
                _ => self.extra(cursor, path, true)?,
            }
            Ok::<(), Box<Fault>>(())
        })?;
        let unspecified = matches!(mode.as_deref(), None | Some("MODE_UNSPECIFIED"));
        self.prompt.tool_choice = match mode.as_deref() {
            Some("NONE") => Some(ToolChoice::None),
            Some("ANY") => Some(match names.len() {
                0 => ToolChoice::Required,
                1 => ToolChoice::Named { name: names.swap_remove(0), is_custom: false },
                _ => ToolChoice::Allowed { names, is_required: true },
            }),
            _ if !names.is_empty() => Some(ToolChoice::Allowed { names, is_required: false }),
            Some("AUTO") => Some(ToolChoice::Auto),
            Some("VALIDATED") => {
                // Other dialects cannot guarantee that every call matches its schema.
                self.note(mode_path, false);
                Some(ToolChoice::Auto)
            }
            _ if unspecified => None,
            _ => {
                let fix = "Send AUTO, ANY, NONE or VALIDATED.".to_owned();
                return Err(wrong_value(mode_path, "isn't a function calling mode", fix));
            }
        };
        Ok(())
    }
}
