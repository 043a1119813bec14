//! PostgreSQL's binary row format, for `COPY ... FROM STDIN (FORMAT binary)`.

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const NO_FLAGS: [u8; 4] = [0; 4];
const NO_EXTENSION: [u8; 4] = [0; 4];
const END: [u8; 2] = (-1_i16).to_be_bytes();

/// The rows of one COPY.
pub(crate) struct Rows(Vec<u8>);

impl Rows {
    pub(crate) fn new() -> Self {
        Self([SIGNATURE, &NO_FLAGS, &NO_EXTENSION].concat())
    }

    /// Adds a row of values in the binary formats of their types. `None` if a value is too long for the
    /// format.
    pub(crate) fn add<const COLUMNS: usize>(&mut self, values: [&[u8]; COLUMNS]) -> Option<()> {
        self.0.extend_from_slice(&i16::try_from(COLUMNS).ok()?.to_be_bytes());
        for value in values {
            self.0.extend_from_slice(&i32::try_from(value.len()).ok()?.to_be_bytes());
            self.0.extend_from_slice(value);
        }
        Some(())
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&END);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_counts_and_lengths() {
        let mut rows = Rows::new();
        rows.add([b"ab", &7_i64.to_be_bytes()]).unwrap();
        let bytes = rows.finish();
        let row = bytes.strip_prefix(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0").unwrap();
        assert_eq!(row, b"\0\x02\0\0\0\x02ab\0\0\0\x08\0\0\0\0\0\0\0\x07\xff\xff");
    }
}
