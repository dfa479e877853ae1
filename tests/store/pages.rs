//! The pages under the table: what is written is read, in files of several groups of pages, and nothing else is.

use quickbeam::store::disk::File;
use quickbeam::store::redb::Pages;
use redb::StorageBackend;

use crate::dice::{Dice, seed};
use crate::disk::SimulatedDisk;

const PAGE: u64 = 4_096;
const PAGE_BYTES: usize = 4_096;
/// Several groups of pages.
const PAGES_MAX: u64 = 2_500;

fn open(disk: &SimulatedDisk) -> Pages {
    Pages::open(disk.shared().open("table").unwrap()).unwrap()
}

fn content(dice: &mut Dice, pages: u64) -> Vec<u8> {
    (0..pages).flat_map(|_| dice.next().to_le_bytes().repeat(PAGE_BYTES / 8)).collect()
}

#[test]
fn what_is_written_is_read_whatever_the_file_grows_and_shrinks_to() {
    let mut dice = Dice::of(seed("pages"));
    let disk = SimulatedDisk::default();
    let mut pages = open(&disk);
    let mut model: Vec<u8> = Vec::new();
    for _ in 0..400 {
        let len = model.len() as u64 / PAGE;
        match dice.below(8) {
            0 => {
                let len = dice.below(PAGES_MAX);
                pages.set_len(len * PAGE).unwrap();
                model.resize(usize::try_from(len * PAGE).unwrap(), 0);
            }
            1 => {
                pages.sync_data().unwrap();
                pages = open(&disk);
            }
            2 if len > 0 => {
                let header = content(&mut dice, 1);
                pages.write(64, &header[..256]).unwrap();
                model[64..320].copy_from_slice(&header[..256]);
            }
            _ if len > 1 => {
                let first = 1 + dice.below(len - 1);
                let count = 1 + dice.scale(len - first).min(len - first - 1);
                let written = content(&mut dice, count);
                let at = usize::try_from(first * PAGE).unwrap();
                pages.write(first * PAGE, &written).unwrap();
                model[at..at + written.len()].copy_from_slice(&written);
            }
            _ => {}
        }
        assert_eq!(pages.len().unwrap(), model.len() as u64);
        let from = dice.below(model.len() as u64);
        let mut read = vec![0; usize::try_from(dice.scale(40_000).min(model.len() as u64 - from)).unwrap()];
        pages.read(from, &mut read).unwrap();
        let from = usize::try_from(from).unwrap();
        assert!(read == model[from..from + read.len()], "{} bytes from {from}", read.len());
    }
}

#[test]
fn a_page_that_is_not_what_was_written_or_stands_elsewhere_leads_nowhere() {
    const DAMAGED: [u64; 4] = [7, 9, 1_024, 1_050];
    let disk = SimulatedDisk::default();
    let pages = open(&disk);
    pages.set_len(1_100 * PAGE).unwrap();
    let written = content(&mut Dice::of(1), 1_099);
    pages.write(PAGE, &written).unwrap();
    pages.sync_data().unwrap();
    let raw = disk.shared().open("table").unwrap();
    // Of each group the first page on disk holds checksums.
    flip(&*raw, 8 * PAGE + 100);
    flip(&*raw, 9 * 4);
    flip(&*raw, 1_025 * PAGE);
    raw.write(1_052 * PAGE, &page(&*raw, 1_060)).unwrap();
    for page in DAMAGED {
        let pages = open(&disk);
        let mut read = [0; PAGE_BYTES];
        for page in page - 1..=page + 1 {
            let at = usize::try_from((page - 1) * PAGE).unwrap();
            pages.read(page * PAGE, &mut read).unwrap();
            // Of a branch without keys the only child, which has no number that a page can have.
            let leads_nowhere = read[..4] == [2, 0, 0, 0] && read[24..32] == [0xff; 8];
            assert_eq!(leads_nowhere, DAMAGED.contains(&page), "page {page}");
            assert_eq!(read == written[at..at + PAGE_BYTES], !leads_nowhere, "page {page}");
        }
    }
}

fn flip(raw: &dyn File, at: u64) {
    let mut byte = [0];
    raw.read(at, &mut byte).unwrap();
    raw.write(at, &[byte[0] ^ 1]).unwrap();
}

fn page(raw: &dyn File, at: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    raw.read(at * PAGE, &mut page).unwrap();
    page
}

#[test]
fn what_is_no_file_of_pages_and_what_is_no_page_are_refused() {
    let disk = SimulatedDisk::default();
    let bare = disk.shared().open("bare").unwrap();
    bare.write(0, &content(&mut Dice::of(1), 3)).unwrap();
    let refusal = Pages::open(bare).unwrap_err();
    assert_eq!(refusal.kind(), std::io::ErrorKind::InvalidData, "{refusal}");
    let pages = open(&disk);
    pages.set_len(3 * PAGE).unwrap();
    for (offset, bytes) in [(PAGE + 1, PAGE_BYTES), (PAGE, 100), (100, PAGE_BYTES)] {
        let refusal = pages.write(offset, &vec![0; bytes]).unwrap_err();
        assert_eq!(refusal.kind(), std::io::ErrorKind::InvalidInput, "{refusal}");
    }
    assert!(pages.read(3 * PAGE, &mut [0; PAGE_BYTES]).is_err());
}
