//! Bearer tokens: kept as hashes, each with its name, scopes and end; and the file that they are in.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::clock::Time;
use crate::config::nearest::nearest;
use crate::config::reader::parse_span;
use crate::hex::hex;
use crate::private::{self, PrivateError};
use crate::programs::Prefix;
use crate::programs::name::NameError;

mod scope;

pub use scope::Scope;

/// So that scanners for leaked secrets can know one.
const PREFIX: &str = "qb_";
/// As much randomness as the hash keeps.
pub const SEED_BYTES: usize = 32;
const NAME_MAX: usize = 64;
/// A file with more tokens is checked at every request for longer than a turn takes.
const TOKENS_MAX: usize = 10_000;
/// The name of the token in `admin.token`, which no other can have.
const ADMIN: &str = "admin";

/// One token. What its bearer sends is known to nobody but him.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub name: String,
    /// SHA-256 of the token, in hexadecimal digits.
    pub hash: String,
    pub scopes: BTreeSet<Scope>,
    /// Names of the store that the token is limited to; all of them without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
    pub created: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
}

/// A token as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Prefix>,
    /// RFC 3339.
    pub created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// What the bearer of a valid token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub name: String,
    pub scopes: BTreeSet<Scope>,
    /// Of the store, what is under this; the empty prefix is all of it.
    pub prefix: Prefix,
}

/// What a new token is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub name: &'a str,
    pub scopes: &'a [Scope],
    /// Limits what `store:read` and `store:write` reach: `shop/`.
    pub prefix: Option<&'a str>,
    /// Counts from now: `30d`.
    pub expires: Option<&'a str>,
}

/// All tokens but the administrator's, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    pub tokens: Vec<Token>,
}

/// The tokens of one node: [`Book`] in memory, and its file. Reading them takes no IO; adding and revoking does.
#[derive(Debug, Clone)]
pub struct TokenStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    admin: Option<Token>,
    book: RwLock<Book>,
}

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{given:?} is no name of a token: take 1 to {NAME_MAX} of the letters a-z, A-Z, 0-9, -, _ and .")]
    Name { given: String },
    #[error("there is a token {name} already: take another name, or revoke it first")]
    Taken { name: String },
    #[error("there is no token {name}{}; `quickbeam token list` names all", hint(near.as_deref()))]
    Unknown { name: String, near: Option<String> },
    #[error("{ADMIN} is the token in admin.token: {remedy}")]
    Admin { remedy: &'static str },
    #[error("a token without a scope can do nothing: give one or more of {}", Scope::words())]
    NoScopes,
    #[error("{given:?} is no scope{}: there are {}", hint(near.as_deref()), Scope::words())]
    Scope { given: String, near: Option<String> },
    #[error("the prefix {given:?} cannot be one: {source}")]
    Prefix {
        given: String,
        #[source]
        source: NameError,
    },
    #[error("an empty prefix limits nothing: name one, like shop/, or leave it out for a token of the whole store")]
    NoPrefix,
    #[error("a prefix limits store:read and store:write: give one of these scopes, and not admin, which has no limit")]
    NothingToLimit,
    #[error("{given:?} is no time from now: write 12h, 30d or the like")]
    Expiry { given: String },
    #[error("there are {TOKENS_MAX} tokens already: revoke some")]
    Full,
    #[error("a token needs {SEED_BYTES} random bytes, not {bytes}")]
    Seed { bytes: usize },
    #[error("{} does not hold tokens: {source}; move it away to start without any", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} cannot be locked: {source}", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    File(#[from] PrivateError),
}

/// Where the administrator's token is.
pub fn admin_file(data: &Path) -> PathBuf {
    data.join("admin.token")
}

/// Where all others are, as hashes.
pub fn file(data: &Path) -> PathBuf {
    data.join("tokens.json")
}

/// A new token of 32 random bytes.
///
/// # Errors
/// With fewer or more.
pub fn token_of(seed: &[u8]) -> Result<String, TokenError> {
    if seed.len() != SEED_BYTES {
        return Err(TokenError::Seed { bytes: seed.len() });
    }
    Ok(format!("{PREFIX}{}", hex(seed)))
}

impl Grant {
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

impl Token {
    fn is_over(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn listed(&self) -> Listed {
        Listed {
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            prefix: self.prefix.clone(),
            created: self.created.to_string(),
            expires: self.expires.map(|expires| expires.to_string()),
        }
    }
}

impl Book {
    /// Adds a token, whose text is in the answer and nowhere else.
    ///
    /// # Errors
    /// When the name is none or taken, without scopes, with a prefix that limits nothing, or with an `expires` that is
    /// no span.
    pub fn add(&mut self, wanted: &Wanted<'_>, now: Time, seed: &[u8]) -> Result<String, TokenError> {
        let &Wanted { name, scopes, .. } = wanted;
        check_name(name)?;
        if self.tokens.iter().any(|token| token.name == name) {
            return Err(TokenError::Taken { name: name.to_owned() });
        }
        if scopes.is_empty() {
            return Err(TokenError::NoScopes);
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(TokenError::Full);
        }
        let prefix = wanted.prefix.map(|prefix| limit(prefix, scopes)).transpose()?;
        let expires = wanted.expires.map(|span| expiry(span, now)).transpose()?;
        let (text, scopes) = (token_of(seed)?, scopes.iter().copied().collect());
        self.tokens.push(Token { name: name.to_owned(), hash: hash(&text), scopes, prefix, created: now, expires });
        Ok(text)
    }

    /// Takes a token out.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn revoke(&mut self, name: &str) -> Result<(), TokenError> {
        if name == ADMIN {
            return Err(TokenError::Admin { remedy: "put another one into the file and start the node again" });
        }
        let before = self.tokens.len();
        self.tokens.retain(|token| token.name != name);
        if self.tokens.len() < before {
            return Ok(());
        }
        let near = nearest(name, self.tokens.iter().map(|token| token.name.as_str())).map(str::to_owned);
        Err(TokenError::Unknown { name: name.to_owned(), near })
    }
}

impl TokenStore {
    /// Reads the tokens of a data folder; files that are not there hold none.
    ///
    /// # Errors
    /// When a file can be read by others, or holds something else.
    pub fn open(data: &Path) -> Result<Self, TokenError> {
        let admin = match private::read_text(&admin_file(data)) {
            Ok(token) => {
                let (scopes, prefix, expires) = (BTreeSet::from([Scope::Admin]), None, None);
                Some(Token { name: ADMIN.to_owned(), hash: hash(&token), scopes, prefix, created: Time(0), expires })
            }
            Err(PrivateError::Missing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let book = RwLock::new(read(&file(data))?);
        Ok(Self(Arc::new(Inner { folder: data.to_owned(), admin, book })))
    }

    /// What the bearer of this token may do; nothing for one that is unknown, revoked or over.
    pub fn verify(&self, token: &str, now: Time) -> Option<Grant> {
        let given = hash(token);
        let book = self.0.book.read();
        let known: Vec<&Token> = self.0.admin.iter().chain(&book.tokens).collect();
        // Every hash is compared to its end, so that the time taken tells nothing of any of them.
        let mut found = 0_u32;
        for (number, token) in (1_u32..).zip(&known) {
            let same: Choice = given.as_bytes().ct_eq(token.hash.as_bytes());
            found.conditional_assign(&number, same);
        }
        let token = known.get(usize::try_from(found.checked_sub(1)?).ok()?)?;
        (!token.is_over(now)).then(|| Grant {
            name: token.name.clone(),
            scopes: token.scopes.clone(),
            prefix: token.prefix.clone().unwrap_or_default(),
        })
    }

    /// All tokens but the administrator's, by age.
    pub fn list(&self) -> Vec<Listed> {
        self.0.book.read().tokens.iter().map(Token::listed).collect()
    }

    /// As [`Book::add`], on disk before it answers.
    ///
    /// # Errors
    /// As [`Book::add`], and when the file cannot be written; then nothing has changed.
    pub fn add(&self, wanted: &Wanted<'_>, now: Time, seed: &[u8]) -> Result<String, TokenError> {
        self.change(|book| book.add(wanted, now, seed))
    }

    /// As [`Book::revoke`], on disk before it answers.
    ///
    /// # Errors
    /// As [`Book::revoke`], and when the file cannot be written; then nothing has changed.
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        self.change(|book| book.revoke(name))
    }

    /// Another process may have changed the file: it is read again, changed and written under a lock.
    fn change<T>(&self, change: impl FnOnce(&mut Book) -> Result<T, TokenError>) -> Result<T, TokenError> {
        private::make_folder(&self.0.folder)?;
        let _lock = lock(&self.0.folder.join("tokens.lock"))?;
        let path = file(&self.0.folder);
        let mut book = read(&path)?;
        let done = change(&mut book)?;
        let text = serde_json::to_vec_pretty(&book).expect("a book of texts and numbers has a JSON form");
        private::replace(&path, &text)?;
        *self.0.book.write() = book;
        Ok(done)
    }
}

fn check_name(name: &str) -> Result<(), TokenError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if name == ADMIN {
        return Err(TokenError::Admin { remedy: "take another name; the scope admin makes it as mighty" });
    }
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
        return Err(TokenError::Name { given: name.to_owned() });
    }
    Ok(())
}

fn limit(prefix: &str, scopes: &[Scope]) -> Result<Prefix, TokenError> {
    let of_store = |scope: &Scope| matches!(scope, Scope::StoreRead | Scope::StoreWrite);
    if !scopes.iter().any(of_store) || scopes.contains(&Scope::Admin) {
        return Err(TokenError::NothingToLimit);
    }
    if prefix.is_empty() {
        return Err(TokenError::NoPrefix);
    }
    prefix.parse().map_err(|source| TokenError::Prefix { given: prefix.to_owned(), source })
}

fn expiry(span: &str, now: Time) -> Result<Time, TokenError> {
    let expires = parse_span(span).filter(|span| !span.is_zero()).map(|span| now.plus(span));
    expires.ok_or_else(|| TokenError::Expiry { given: span.to_owned() })
}

fn read(path: &Path) -> Result<Book, TokenError> {
    match private::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|source| TokenError::Unreadable { path: path.into(), source })
        }
        Err(PrivateError::Missing { .. }) => Ok(Book::default()),
        Err(error) => Err(error.into()),
    }
}

/// Held until the file is dropped.
fn lock(path: &Path) -> Result<File, TokenError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let locked = file.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| TokenError::Lock { path: path.into(), source })
}

fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.trim().as_bytes()))
}

fn hint(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
