//! JSON lines as a Parquet file: a column for each field of the lines, all of them optional. Lists and objects are JSON texts.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};

/// What the values of a column have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flag,
    Integer,
    Number,
    Text,
}

impl Kind {
    /// `None` for a null, which is in any column.
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::Flag),
            Value::Number(number) if number.is_i64() => Some(Self::Integer),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) | Value::Array(_) | Value::Object(_) => Some(Self::Text),
        }
    }

    fn with(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Integer | Self::Number, Self::Integer | Self::Number) => Self::Number,
            _ => Self::Text,
        }
    }

    fn column(self, name: &str) -> Result<TypePtr, ParquetError> {
        let physical = match self {
            Self::Flag => Physical::BOOLEAN,
            Self::Integer => Physical::INT64,
            Self::Number => Physical::DOUBLE,
            Self::Text => Physical::BYTE_ARRAY,
        };
        let logical = (self == Self::Text).then_some(LogicalType::String);
        let column = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        column.build().map(Arc::new)
    }
}

/// A file with these lines.
pub(crate) fn parquet_of(lines: &[Map<String, Value>]) -> Result<Vec<u8>, ParquetError> {
    let columns = columns_of(lines);
    let fields = columns.iter().map(|(name, kind)| kind.column(name)).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("line").with_fields(fields).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    if !columns.is_empty() {
        let mut group = writer.next_row_group()?;
        for (name, kind) in &columns {
            write_column(&mut group, lines, name, *kind)?;
        }
        group.close()?;
    }
    writer.into_inner()
}

/// The fields in the order in which they first come. One that is null in every line is a text.
fn columns_of(lines: &[Map<String, Value>]) -> Vec<(String, Kind)> {
    let mut columns: Vec<(String, Option<Kind>)> = Vec::new();
    for (name, value) in lines.iter().flatten() {
        let kind = Kind::of(value);
        match columns.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => {
                *known = match (*known, kind) {
                    (Some(known), Some(kind)) => Some(known.with(kind)),
                    (known, kind) => known.or(kind),
                };
            }
            None => columns.push((name.clone(), kind)),
        }
    }
    columns.into_iter().map(|(name, kind)| (name, kind.unwrap_or(Kind::Text))).collect()
}

fn write_column(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    lines: &[Map<String, Value>],
    name: &str,
    kind: Kind,
) -> Result<(), ParquetError> {
    let values: Vec<Option<&Value>> =
        lines.iter().map(|line| line.get(name).filter(|value| !value.is_null())).collect();
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let present = values.into_iter().flatten();
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns".to_owned()));
    };
    match kind {
        Kind::Flag => {
            let values: Vec<bool> = present.filter_map(Value::as_bool).collect();
            column.typed::<BoolType>().write_batch(&values, Some(&levels), None)?;
        }
        Kind::Integer => {
            let values: Vec<i64> = present.filter_map(Value::as_i64).collect();
            column.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
        }
        Kind::Number => {
            let values: Vec<f64> = present.filter_map(Value::as_f64).collect();
            column.typed::<DoubleType>().write_batch(&values, Some(&levels), None)?;
        }
        Kind::Text => {
            let values: Vec<ByteArray> = present.map(text).collect();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
        }
    }
    column.close()
}

fn text(value: &Value) -> ByteArray {
    match value {
        Value::String(text) => ByteArray::from(text.as_str()),
        other => ByteArray::from(other.to_string().into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The lines of a file, as another reads them.
    fn read(file: Vec<u8>) -> Vec<Map<String, Value>> {
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        let value = |field: &Field| match field {
            Field::Null => Value::Null,
            Field::Bool(flag) => json!(flag),
            Field::Long(number) => json!(number),
            Field::Double(number) => json!(number),
            Field::Str(text) => json!(text),
            other => panic!("{other:?}"),
        };
        rows.map(|row| {
            row.unwrap().get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
        })
        .collect()
    }

    fn lines(values: &[Value]) -> Vec<Map<String, Value>> {
        values.iter().map(|value| value.as_object().unwrap().clone()).collect()
    }

    #[test]
    fn lines_read_back_with_their_types() {
        let written = lines(&[
            json!({"id": "trc_1", "tokens": 7, "share": 1, "stream": true, "tag": null, "odd": 1}),
            json!({"id": "ü\n", "share": 0.5, "stream": null, "plan": {"a": [1]}, "odd": "x"}),
        ]);
        let expected = lines(&[
            json!({"id": "trc_1", "tokens": 7, "share": 1.0, "stream": true, "tag": null, "odd": "1", "plan": null}),
            json!({"id": "ü\n", "tokens": null, "share": 0.5, "stream": null, "tag": null, "odd": "x", "plan": "{\"a\":[1]}"}),
        ]);
        assert_eq!(read(parquet_of(&written).unwrap()), expected);
        assert!(read(parquet_of(&[]).unwrap()).is_empty());
    }

    proptest! {
        #[test]
        fn texts_and_numbers_are_not_changed(rows in prop::collection::vec((any::<Option<i64>>(), ".{0,8}"), 0..20)) {
            let written: Vec<_> = rows.iter().map(|(number, text)| {
                Map::from_iter([("number".to_owned(), json!(number)), ("text".to_owned(), json!(text))])
            }).collect();
            let known = rows.iter().any(|(number, _)| number.is_some());
            let back = read(parquet_of(&written).unwrap());
            prop_assert_eq!(back.len(), rows.len());
            for (line, (number, text)) in back.iter().zip(&rows) {
                prop_assert_eq!(&line["text"], &json!(text));
                prop_assert!(!known || line["number"] == json!(number));
            }
        }
    }
}
