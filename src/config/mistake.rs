//! What is wrong with a configuration, and where: one line each, all of them at once.

use std::fmt;

/// Where something stands: in the file, or in a variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Line and column from 1, in characters.
    File {
        line: usize,
        column: usize,
    },
    Environment(String),
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file as it was named, or `environment QUICKBEAM_…`.
    pub file: String,
    /// From 1; 0 when it is not in the file.
    pub line: usize,
    /// From 1, in characters; 0 when it is not in the file.
    pub column: usize,
    /// Where in the settings: `type.article.fields.title.kind`.
    pub path: String,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.file)?;
        if self.line > 0 {
            write!(out, ":{}:{}", self.line, self.column)?;
        }
        write!(out, ": {}", self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(out, "; {}", self.remedy) }
    }
}

impl std::error::Error for Mistake {}

/// Gathers mistakes while a configuration is read.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub file: String,
    mistakes: Vec<Mistake>,
}

impl Report {
    pub fn new(file: impl Into<String>) -> Self {
        Self { file: file.into(), mistakes: Vec::new() }
    }

    pub fn add(&mut self, place: &Place, path: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let (file, line, column) = match place {
            Place::File { line, column } => (self.file.clone(), *line, *column),
            Place::Environment(name) => (format!("environment {name}"), 0, 0),
        };
        let (what, remedy) = (what.into(), remedy.into());
        self.mistakes.push(Mistake { file, line, column, path: path.to_owned(), what, remedy });
    }

    pub fn count(&self) -> usize {
        self.mistakes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// All of them, as they stand in the file.
    pub fn into_mistakes(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        self.mistakes
    }
}
