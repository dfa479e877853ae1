//! A file system of a few megabytes that only this test sees, and something that fills it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the small file system is, for a test that was started on it.
const MOUNTED: &str = "QUICKBEAM_TESTS_TMPFS";
const MOUNT: &str = r#"mount -t tmpfs -o size="$1" quickbeam "$2" && shift 2 && exec "$@""#;

/// Runs `work` on a file system of this size, in a process of its own: the test named `test`, once more.
pub(crate) fn on_small_disk(test: &str, size: &str, work: impl FnOnce(&Path)) {
    if let Some(mounted) = std::env::var_os(MOUNTED) {
        return work(Path::new(&mounted));
    }
    let folder = tempfile::tempdir().unwrap();
    let rights = rights(folder.path());
    let output = mounting(rights, size, folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MOUNTED, folder.path())
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "on a tmpfs of {size}: {said}\n{warned}");
    assert!(said.contains("1 passed"), "{test} is not the name of this test: {said}");
    println!("{said}");
}

fn mounting(rights: &str, size: &str, folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args([rights, "sh", "-c", MOUNT, "sh", size]).arg(folder);
    command
}

/// How this process can come to a mount: as root, or as the root of a namespace of its own.
fn rights(folder: &Path) -> &'static str {
    let can = |rights: &&str| {
        let tried = mounting(rights, "1m", folder).arg("true").output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    ["-m", "-rm"].into_iter().find(can).expect(
        "this test mounts a small tmpfs, and may not: run it as root, or let users have namespaces \
         (sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=1000); it needs unshare and mount (util-linux)",
    )
}

/// A file that takes all the room there is.
pub(crate) struct Ballast(PathBuf);

impl Ballast {
    /// Fills the file system to the last block.
    pub(crate) fn fill(folder: &Path) -> Self {
        let path = folder.join("ballast");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for piece in [1 << 20, 4096] {
            until_full(&mut file, &vec![1; piece]);
        }
        Self(path)
    }

    pub(crate) fn remove(self) {
        std::fs::remove_file(self.0).unwrap();
    }
}

fn until_full(file: &mut File, piece: &[u8]) {
    loop {
        match file.write_all(piece) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}
