//! Secrets: read from a file or a variable of the environment, never from the configuration, never printed.

use std::fmt;
use std::path::Path;

use super::mistake::Report;
use super::reader::Section;

/// Fewest bytes of a shared secret: as many as the hash of its signatures gives.
pub const SECRET_MIN: usize = 32;

/// Bytes that nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// For those who sign and verify.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// Where secrets are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secrets<'a> {
    /// What relative paths count from.
    pub(super) folder: &'a Path,
    pub(super) environment: &'a [(String, String)],
}

impl Secrets<'_> {
    /// The secret that `secret_file` or `secret_env` names, if one of them is there.
    pub(super) fn read(&self, section: &mut Section<'_>, report: &mut Report) -> Option<Secret> {
        let file = section.text("secret_file", report);
        let variable = section.text("secret_env", report);
        if file.is_some() && variable.is_some() {
            let what = format!("{} has `secret_file` and `secret_env`", section.named());
            section.wrong("secret_env", what, "keep one of them", report);
            return None;
        }
        let (key, found) = match (file, variable) {
            (Some(file), _) => ("secret_file", self.file(&file)),
            (None, Some(variable)) => ("secret_env", self.variable(&variable)),
            (None, None) => return None,
        };
        match found {
            Ok(bytes) if bytes.len() >= SECRET_MIN => Some(Secret(bytes)),
            Ok(bytes) => {
                let what = format!("the secret has {} bytes, at least {SECRET_MIN} are needed", bytes.len());
                section.wrong(key, what, "make one with `openssl rand -hex 32`", report);
                None
            }
            Err(what) => {
                section.wrong(key, what, "the secret belongs to one pair of nodes: both need the same", report);
                None
            }
        }
    }

    /// The secret that `file` or `env` names. One of them has to be there, and hold something.
    pub(super) fn named(&self, section: &mut Section<'_>, report: &mut Report) -> Option<Secret> {
        let file = section.text("file", report);
        let variable = section.text("env", report);
        let (key, found) = match (file, variable) {
            (Some(file), None) => ("file", self.file(&file)),
            (None, Some(variable)) => ("env", self.variable(&variable)),
            (several, _) => {
                let what = if several.is_some() { "has `file` and `env`" } else { "has neither `file` nor `env`" };
                let path = section.path("");
                report.add(section.place(), &path, format!("{} {what}", section.named()), "say one of them");
                return None;
            }
        };
        match found {
            Ok(bytes) if !bytes.is_empty() => Some(Secret(bytes)),
            Ok(_) => {
                section.wrong(key, "the secret is empty", "", report);
                None
            }
            Err(what) => {
                section.wrong(key, what, "", report);
                None
            }
        }
    }

    fn file(&self, file: &str) -> Result<Vec<u8>, String> {
        let path = self.folder.join(file);
        let bytes = std::fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Ok(bytes.trim_ascii().to_vec())
    }

    fn variable(&self, variable: &str) -> Result<Vec<u8>, String> {
        let found = self.environment.iter().find(|(name, _)| name == variable);
        let (_, value) = found.ok_or_else(|| format!("the environment has no variable `{variable}`"))?;
        Ok(value.trim().as_bytes().to_vec())
    }
}
