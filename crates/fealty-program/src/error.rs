//! What is wrong with a programme file.

use std::fmt;

/// The path of what is wrong with the file's form.
pub(crate) const FILE: &str = "file";

/// Something that is wrong with a programme file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ProgramError {
    /// Where in the file, for example `earning.base.earn`; `file` for its form.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    /// Line and column, from 1, of the value, or of what it is missing from.
    pub location: Option<(u64, u64)>,
    /// How many characters further on it is, in an expression.
    pub(crate) offset: Option<usize>,
}

/// Something that a programme does and its reader may not expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramNote {
    /// Where in the file.
    pub path: String,
    /// What happens.
    pub message: String,
}

impl ProgramError {
    /// What is wrong, with line and column where they are known.
    #[must_use]
    pub fn placed_message(&self) -> String {
        match self.location {
            // The reader of the text's form has named them already.
            Some((line, column)) if self.path != FILE => {
                format!("{} (line {line}, column {column})", self.message)
            }
            _ => self.message.clone(),
        }
    }

    /// What is wrong with the file as a whole.
    pub(crate) fn of_file(message: String) -> Self {
        Self {
            path: FILE.to_owned(),
            message,
            location: None,
            offset: None,
        }
    }
}

/// All that is wrong with a programme file: at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramErrors(Vec<ProgramError>);

impl ProgramErrors {
    pub(crate) fn new(errors: Vec<ProgramError>) -> Self {
        if errors.is_empty() {
            return ProgramError::of_file("cannot be read".to_owned()).into();
        }
        Self(errors)
    }

    /// The first, in the order of the sections.
    #[must_use]
    pub fn first(&self) -> &ProgramError {
        &self.0[0]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ProgramError> {
        self.0.iter()
    }
}

impl From<ProgramError> for ProgramErrors {
    fn from(error: ProgramError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ProgramErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {}", error.path, error.placed_message())?;
        }
        Ok(())
    }
}

impl std::error::Error for ProgramErrors {}
