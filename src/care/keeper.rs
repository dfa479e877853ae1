//! What a running node keeps for the care of its data: where everything is, and when it was last looked after.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::backup::{BackupError, Source, files_of};
use super::format::{FORMAT, Head, Manifest};
use crate::clock::{SharedClock, Time};
use crate::config::Config;
use crate::store::blob::Blobs;
use crate::store::redb::{RedbEngine, Snapshot};

/// The data of a node, to be looked after.
pub struct Keeper {
    pub config: Config,
    pub engine: Arc<RedbEngine>,
    pub blobs: Option<Arc<dyn Blobs>>,
    pub incarnation: u64,
    pub clock: SharedClock,
    last_backup: Mutex<Option<LastBackup>>,
}

/// How the last backup went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastBackup {
    pub at: String,
    pub rows: u64,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub damage: usize,
    /// When one was made last that did not fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
}

impl Keeper {
    pub fn new(
        config: Config,
        engine: Arc<RedbEngine>,
        blobs: Option<Arc<dyn Blobs>>,
        incarnation: u64,
        clock: SharedClock,
    ) -> Self {
        Self { config, engine, blobs, incarnation, clock, last_backup: Mutex::default() }
    }

    /// Everything that goes into a backup, as of one moment. Blobs are held before that moment, so that none which a row
    /// of it names is collected.
    ///
    /// # Errors
    /// When the configuration, a key or a secret cannot be read.
    pub async fn source(&self, allow_damage: bool) -> Result<Source, BackupError> {
        let blobs = self.blobs.as_ref().map(|blobs| (blobs.clone(), blobs.hold()));
        let config = self.config.clone();
        let files =
            tokio::task::spawn_blocking(move || files_of(&config)).await.map_err(|_| BackupError::Stopped)??;
        let snapshot = self.engine.snapshot().await;
        let head = self.head(&snapshot);
        Ok(Source { head, files, snapshot, blobs, allow_damage })
    }

    fn head(&self, snapshot: &Snapshot) -> Head {
        let now = self.clock.now();
        Head {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.config.node.name.clone(),
            base: self.config.node.base.clone(),
            incarnation: self.incarnation,
            position: snapshot.position().0,
            created: now.0,
            created_at: now.to_string(),
            rows_about: snapshot.rows_about(),
        }
    }

    /// Keeps in mind what an earlier start knew of backups.
    pub fn recall(&self, last: Option<LastBackup>) {
        *self.last_backup.lock() = last;
    }

    /// Notes how a backup went.
    pub fn backed_up(&self, at: Time, outcome: &Result<Manifest, BackupError>) -> LastBackup {
        let good = self.last_backup().and_then(|last| last.good);
        let last = match outcome {
            Ok(manifest) => LastBackup {
                at: at.to_string(),
                rows: manifest.rows,
                bytes: manifest.row_bytes + manifest.blob_bytes,
                failed: None,
                damage: manifest.damage.len(),
                good: Some(at.to_string()),
            },
            Err(error) => {
                let failed = Some(error.to_string());
                LastBackup { at: at.to_string(), rows: 0, bytes: 0, failed, damage: 0, good }
            }
        };
        *self.last_backup.lock() = Some(last.clone());
        last
    }

    pub fn last_backup(&self) -> Option<LastBackup> {
        self.last_backup.lock().clone()
    }

    /// Sizes and counts of the store. Blocks: what of the table is live is found by walking through its pages.
    pub fn figures(&self) -> Value {
        let stats = self.engine.stats();
        let live = self.engine.live_bytes();
        json!({
            "illness": self.engine.health().err().map(|failure| failure.to_string()),
            "stats": stats,
            "table": match live {
                Ok(live) => json!({ "rows": live.rows, "live_bytes": live.bytes, "file_bytes": stats.table.bytes }),
                Err(failure) => json!({ "file_bytes": stats.table.bytes, "unreadable": failure.to_string() }),
            },
            "log": { "file_bytes": stats.log.bytes },
            "last_backup": self.last_backup(),
        })
    }
}
